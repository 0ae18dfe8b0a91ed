//! The HTTP server that the calls are meant for: one thread per connection, plain or TLS, with a journal of every call.
//!
//! | path | answers |
//! |---|---|
//! | `/echo` | the request's body, once it is whole |
//! | `/stream-echo` | each piece of the body as soon as it arrives, chunked |
//! | `/fixed/N` | N octets |
//! | `/status/CODE` | that status, with a small body where one may be |
//! | `/fields` | the request as seen, as JSON; with repeated and hop-by-hop fields |
//! | `/chunks/GATE/N` | N chunks, waiting at the gate before each but the first; a trailer |
//! | `/gate/GATE` | waits at the gate before it answers |
//! | `/cut/N` | promises N octets, sends half and closes; `/cut-chunked/N` the same without a length |
//! | `/close` | closes without an answer |
//! | `/sink` | length and SHA-256 of the body, never held whole |
//! | `/source/N` | N octets of [`Content`] |
//!
//! Invariant: a call is in the journal before anything is answered. Read first: [`Upstream::calls`].

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use wire::digest::{Sha256Stream, hex, sha256};

use crate::gates::Gates;
use crate::http::{Conn, Fields, Head};

/// One call as the upstream saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Fields,
}

/// A running server. Its threads end with the process.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    pub(crate) gates: Gates,
    journal: Mutex<Vec<Seen>>,
}

impl Upstream {
    /// Starts a server for plain HTTP.
    pub(crate) fn start() -> Arc<Self> {
        Self::listen(|stream| Ok(Conn::new(stream)))
    }

    /// Starts a server for HTTPS with this certificate.
    pub(crate) fn start_tls(cert: &rcgen::Certificate, key: &rcgen::KeyPair) -> Arc<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let config = Arc::new(config);
        Self::listen(move |stream| {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            Ok(Conn::new(rustls::StreamOwned::new(session, stream)))
        })
    }

    fn listen(open: impl Fn(TcpStream) -> io::Result<Conn> + Send + Sync + 'static) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let upstream = Arc::new(Self { port, gates: Gates::default(), journal: Mutex::default() });
        let serving = Arc::clone(&upstream);
        let open = Arc::new(open);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (serving, open) = (Arc::clone(&serving), Arc::clone(&open));
                thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    // Engines are killed in the tests: connections end in any way.
                    let _ = open(stream).and_then(|mut conn| serving.serve(&mut conn));
                });
            }
        });
        upstream
    }

    /// An absolute target on this server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The calls whose path begins so, in order of arrival.
    pub(crate) fn calls(&self, path: &str) -> Vec<Seen> {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.iter().filter(|seen| seen.target.starts_with(path)).cloned().collect()
    }

    fn serve(&self, conn: &mut Conn) -> io::Result<()> {
        while let Some(head) = conn.read_head()? {
            let mut words = head.first.split(' ').map(str::to_owned);
            let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let seen = Seen { method: method.clone(), target: target.clone(), fields: head.fields.clone() };
            self.journal.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
            if !self.answer(conn, &head, &method, &target)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Answers one call; false when the connection is to be closed.
    fn answer(&self, conn: &mut Conn, head: &Head, method: &str, target: &str) -> io::Result<bool> {
        let path = target.split('?').next().unwrap_or_default();
        let mut parts = path.trim_start_matches('/').split('/');
        let (name, first, second) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let mut body = head.request_body();
        match name {
            "stream-echo" => {
                conn.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                while let Some(piece) = body.next(conn)? {
                    conn.write_chunk(&piece)?;
                }
                conn.write_last_chunk(&[])?;
                return Ok(true);
            }
            "sink" => {
                let mut hash = Sha256Stream::new();
                let mut length = 0;
                while let Some(piece) = body.next(conn)? {
                    hash.update(&piece);
                    length += piece.len() as u64;
                }
                let report = json!({"length": length, "sha256": hex(&hash.finish())}).to_string();
                respond(conn, method, 200, &[("Content-Type", "application/json")], report.as_bytes())?;
                return Ok(true);
            }
            _ => {}
        }
        let content = body.rest(conn)?;
        match name {
            "echo" => {
                let kind = head.get("content-type").unwrap_or("application/octet-stream");
                respond(conn, method, 200, &[("Content-Type", kind)], &content)?;
            }
            "fixed" => respond(conn, method, 200, &[("Content-Type", "text/plain")], &fixed(number(first)))?,
            "status" => {
                let code = u16::try_from(number(first)).unwrap_or(500);
                respond(conn, method, code, &[("X-Upstream", "yes")], format!("upstream says {code}").as_bytes())?;
            }
            "fields" => respond_with_fields(conn, method, target, head, &body.trailers, &content)?,
            "chunks" => self.respond_in_chunks(conn, first.unwrap_or_default(), number(second))?,
            "gate" => {
                self.gates.pass(first.unwrap_or_default());
                respond(conn, method, 200, &[], b"the gate was opened")?;
            }
            "cut" => {
                let length = number(first);
                conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
                conn.write(&fixed(length / 2))?;
                return Ok(false);
            }
            "cut-chunked" => {
                conn.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                conn.write_chunk(&fixed(number(first) / 2))?;
                return Ok(false);
            }
            "close" => return Ok(false),
            "source" => send_content(conn, number(first))?,
            _ => respond(conn, method, 404, &[], b"no such page")?,
        }
        Ok(true)
    }

    fn respond_in_chunks(&self, conn: &mut Conn, gate: &str, count: u64) -> io::Result<()> {
        conn.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")?;
        for number in 0..count {
            if number > 0 {
                self.gates.pass(gate);
            }
            conn.write_chunk(format!("chunk {number}\n").as_bytes())?;
        }
        conn.write_last_chunk(&[("X-Sum", "all of it")])
    }
}

fn respond(conn: &mut Conn, method: &str, status: u16, fields: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Whatever\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let bodyless = status < 200 || matches!(status, 204 | 304);
    if !bodyless {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    conn.write(format!("{head}\r\n").as_bytes())?;
    if bodyless || method == "HEAD" { Ok(()) } else { conn.write(body) }
}

fn respond_with_fields(
    conn: &mut Conn,
    method: &str,
    target: &str,
    head: &Head,
    trailers: &Fields,
    content: &[u8],
) -> io::Result<()> {
    let seen = json!({
        "method": method, "target": target, "fields": head.fields, "trailers": trailers,
        "sha256": hex(&sha256(&[content])), "length": content.len(),
    });
    let fields = [
        ("Content-Type", "application/json"),
        ("Set-Cookie", "a=1; Path=/"),
        ("X-Other", "between"),
        ("Set-Cookie", "b=2; Path=/"),
        ("Connection", "keep-alive, X-For-This-Hop"),
        ("Keep-Alive", "timeout=60"),
        ("X-For-This-Hop", "only"),
        ("Proxy-Authenticate", "Basic"),
    ];
    respond(conn, method, 200, &fields, seen.to_string().as_bytes())
}

fn send_content(conn: &mut Conn, length: u64) -> io::Result<()> {
    conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
    let mut content = Content::new(length);
    while let Some(piece) = content.next_piece() {
        conn.write(piece)?;
    }
    Ok(())
}

/// N octets of plain text, the same for the same N.
pub(crate) fn fixed(length: u64) -> Vec<u8> {
    (0..length).map(|at| b"0123456789abcdefghijklmnopqrstuvwxyz\n"[usize::try_from(at % 37).unwrap_or(0)]).collect()
}

/// Content of any length, made piece by piece, that does not compress and in which no piece equals another.
pub(crate) struct Content {
    block: Vec<u8>,
    number: u64,
    left: u64,
    hash: Sha256Stream,
}

impl Content {
    const BLOCK: usize = 1 << 20;
    const STAMP_EVERY: usize = 4096;

    pub(crate) fn new(length: u64) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut block = Vec::with_capacity(Self::BLOCK);
        while block.len() < Self::BLOCK {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
        }
        Self { block, number: 0, left: length, hash: Sha256Stream::new() }
    }

    /// The next piece, or `None` at the end.
    pub(crate) fn next_piece(&mut self) -> Option<&[u8]> {
        if self.left == 0 {
            return None;
        }
        for place in (0..Self::BLOCK).step_by(Self::STAMP_EVERY) {
            self.block[place..place + 8].copy_from_slice(&(self.number << 20 | place as u64).to_le_bytes());
        }
        self.number += 1;
        let piece = &self.block[..Self::BLOCK.min(usize::try_from(self.left).unwrap_or(Self::BLOCK))];
        self.left -= piece.len() as u64;
        self.hash.update(piece);
        Some(piece)
    }

    /// The digest of all pieces so far.
    pub(crate) fn digest(self) -> String {
        hex(&self.hash.finish())
    }
}
