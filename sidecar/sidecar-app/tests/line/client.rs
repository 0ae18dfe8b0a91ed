//! The caller: a plain HTTP/1.1 client on one connection per call, with the body piece by piece where a test wants that.
//!
//! Invariants: it waits long but not for ever; `send` panics with the call's name where `try_send` gives the error.
//! Read first: [`Door::call`].

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::http::{Body, Conn, Fields, Head, field};

/// How long a caller waits for the next octet: only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(180);

/// A local port of an engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door {
    pub(crate) port: u16,
    patience: Duration,
}

impl Door {
    pub(crate) fn at(port: u16) -> Self {
        Self { port, patience: PATIENCE }
    }

    /// With another limit on waiting.
    pub(crate) fn patient_for(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A call to an absolute target (through the forward proxy) or to a path of the port itself.
    pub(crate) fn call(self, method: &str, target: &str) -> Call {
        Call { door: self, method: method.to_owned(), target: target.to_owned(), fields: Vec::new(), body: None }
    }

    pub(crate) fn get(self, target: &str) -> Answer {
        self.call("GET", target).send()
    }

    pub(crate) fn post(self, target: &str, body: &[u8]) -> Answer {
        self.call("POST", target).body(body).send()
    }

    /// A bare connection, for requests that no client would send.
    pub(crate) fn connect(self) -> io::Result<Conn> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        Ok(Conn::new(stream))
    }

    /// Sends octets as they are; gives the status of the answer, or `None` if the connection ends without one.
    pub(crate) fn raw(self, request: &[u8]) -> Option<u16> {
        let mut conn = self.connect().unwrap();
        // The port may answer and close before everything is written.
        let _ = conn.write(request);
        conn.read_head().ok().flatten().map(|head| head.status())
    }
}

/// A call to be made.
#[derive(Clone)]
pub(crate) struct Call {
    door: Door,
    method: String,
    target: String,
    fields: Fields,
    body: Option<Vec<u8>>,
}

impl Call {
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self
    }

    /// Makes the call and waits for its whole answer.
    pub(crate) fn send(self) -> Answer {
        let name = format!("{} {}", self.method, self.target);
        self.try_send().unwrap_or_else(|error| panic!("{name}: no whole answer: {error}"))
    }

    /// As [`Self::send`]; an answer that is cut short is an error.
    pub(crate) fn try_send(self) -> io::Result<Answer> {
        self.begin()?.answer()
    }

    /// Sends the head, and the body if one was given; with neither body nor framing of its own, a body is sent later.
    pub(crate) fn begin(self) -> io::Result<Exchange> {
        let mut conn = self.door.connect()?;
        let host = match self.target.split_once("://") {
            Some((_, rest)) => rest.split(['/', '?']).next().unwrap_or_default().to_owned(),
            None => format!("localhost:{}", self.door.port),
        };
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let has = |name| field(&self.fields, name).is_some();
        if !has("host") {
            head.push_str(&format!("Host: {host}\r\n"));
        }
        if let Some(body) = self.body.as_ref().filter(|_| !has("content-length")) {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        conn.write(format!("{head}\r\n").as_bytes())?;
        if let Some(body) = &self.body {
            conn.write(body)?;
        }
        Ok(Exchange { conn, method: self.method })
    }
}

/// A call under way.
pub(crate) struct Exchange {
    pub(crate) conn: Conn,
    method: String,
}

impl Exchange {
    /// The head of the answer and the body that follows it; interim answers are passed over.
    pub(crate) fn head(&mut self) -> io::Result<(Head, Body)> {
        loop {
            let head = self.conn.read_head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if head.status() >= 200 {
                let body = head.response_body(&self.method);
                return Ok((head, body));
            }
        }
    }

    /// The whole answer.
    pub(crate) fn answer(mut self) -> io::Result<Answer> {
        let (head, mut body) = self.head()?;
        let content = body.rest(&mut self.conn)?;
        Ok(Answer { status: head.status(), fields: head.fields, body: content, trailers: body.trailers })
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
}

impl Answer {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Asserts the status, with the answer in the message.
    #[track_caller]
    pub(crate) fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.fields, self.text());
        self
    }

    /// Asserts that this is the problem of that slug: status, media type, `type` member, Proxy-Status with that error token.
    /// Gives the problem's JSON.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, slug: &str, token: &str) -> Value {
        let text = self.text();
        assert_eq!(self.status, status, "{:?}\n{text}", self.fields);
        assert_eq!(self.get("content-type"), Some("application/problem+json"), "{:?}\n{text}", self.fields);
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:hoft:problem:{slug}"), "{text}");
        assert_eq!(problem["status"], status, "{text}");
        let proxy_status = self.get("proxy-status").unwrap_or_default();
        assert!(proxy_status.contains(&format!("error={token}")), "Proxy-Status: {proxy_status}");
        problem
    }
}
