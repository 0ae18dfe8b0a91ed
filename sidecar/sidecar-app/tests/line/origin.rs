//! An upstream whose answers a test makes up, with a journal of what it was asked; and a line with a rule `own` that
//! leads to it.
//!
//! Invariant: a request is in the journal before it is answered. Read first: [`Origin::start`].

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use sidecar_config::ConfigFile;
use sidecar_config::file::OutboundRule;

use crate::harness::{Line, Options, destination, inbound, outbound};
use crate::http::{Conn, Fields, field};

/// What the origin was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Fields,
    /// How often this target was asked for before.
    pub(crate) before: usize,
}

impl Asked {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }
}

/// What it answers: status, fields, content. A field `content-length` of its own is left as it is.
pub(crate) type Reply = (u16, Vec<(String, String)>, Vec<u8>);

/// A reply from its parts.
pub(crate) fn reply(status: u16, fields: &[(&str, &str)], content: &str) -> Reply {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    (status, fields, content.as_bytes().to_vec())
}

/// A running server. Its threads end with the process.
pub(crate) struct Origin {
    pub(crate) port: u16,
    journal: Mutex<Vec<Asked>>,
}

impl Origin {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let origin = Arc::new(Self { port, journal: Mutex::default() });
        let (serving, answer) = (Arc::clone(&origin), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (serving, answer) = (Arc::clone(&serving), Arc::clone(&answer));
                thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    let mut conn = Conn::new(stream);
                    // Connections end in any way.
                    while let Ok(true) = serving.one(&mut conn, answer.as_ref()) {}
                });
            }
        });
        origin
    }

    fn one(&self, conn: &mut Conn, answer: &dyn Fn(&Asked) -> Reply) -> std::io::Result<bool> {
        let Some(head) = conn.read_head()? else { return Ok(false) };
        head.request_body().rest(conn)?;
        let mut words = head.first.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let before = self.asked(&target).len();
        let asked = Asked { method, target, fields: head.fields.clone(), before };
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        let (status, fields, content) = answer(&asked);
        let bodyless = asked.method == "HEAD" || matches!(status, 204 | 304);
        let mut text = format!("HTTP/1.1 {status} -\r\n");
        let promised = fields.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.clone());
        if promised.is_none() && status != 304 {
            text.push_str(&format!("content-length: {}\r\n", content.len()));
        }
        for (name, value) in &fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        conn.write(format!("{text}\r\n").as_bytes())?;
        if !bodyless {
            conn.write(&content)?;
        }
        // More was promised than sent: the connection closes in the middle.
        Ok(promised.is_none_or(|length| bodyless || length == content.len().to_string()))
    }

    /// What was asked for this target, in order.
    pub(crate) fn asked(&self, target: &str) -> Vec<Asked> {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.iter().filter(|asked| asked.target == target).cloned().collect()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

/// A line on which the rule `own`, changed by `change`, leads to the origin.
pub(crate) fn line_to(
    origin: &Origin,
    change: impl Fn(&mut OutboundRule) + 'static,
    near: impl Fn(&mut ConfigFile) + 'static,
    far: impl Fn(&mut ConfigFile) + 'static,
) -> Line {
    let port = origin.port;
    Line::start(&Options {
        near: Box::new(move |file| {
            let target = Some(format!("http://127.0.0.1:{port}/"));
            let mut rule = outbound("own", destination("http", "127.0.0.1", port), target);
            change(&mut rule);
            file.outbound.allow.push(rule);
            near(file);
        }),
        far: Box::new(move |file| {
            file.inbound.allow.push(inbound("own", destination("http", "127.0.0.1", port)));
            far(file);
        }),
        ..Options::default()
    })
}
