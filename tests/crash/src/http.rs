//! HTTP/1.1 written and read by hand, for callers and upstream: what the engines are judged by must not share their parser.
//!
//! Invariant: a body that ends before its framing says so is an error, never a short body. It knows no more than the
//! scenarios need: whole bodies, no trailers, no interim answers. Read first: [`Conn`].

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest line of a head.
const LINE_MAX: u64 = 64 << 10;

/// Start line, fields in lower case, and body of a message.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The start line.
    pub first: String,
    /// The fields in order; names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// The first field of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The status of a response.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
    }

    /// The body as JSON; null if it is not.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The last part of the type of a problem; empty if it is none.
    #[must_use]
    pub fn problem(&self) -> String {
        let json = self.json();
        json["type"].as_str().and_then(|kind| kind.strip_prefix("urn:hoft:problem:")).unwrap_or_default().to_owned()
    }
}

/// A connection.
#[derive(Debug)]
pub struct Conn(BufReader<TcpStream>);

impl Conn {
    /// Takes over an accepted connection.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self(BufReader::new(stream))
    }

    /// Connects to a port of this machine; later waits are bounded.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(port: u16, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self::new(stream))
    }

    /// Writes.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        (&mut self.0).take(LINE_MAX).read_until(b'\n', &mut line)?;
        match line.pop() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned())),
            Some(_) => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The head of a message; `None` if the connection ended before it.
    ///
    /// # Errors
    /// It is cut short or not HTTP.
    pub fn head(&mut self) -> io::Result<Option<Message>> {
        let Some(first) = self.line()? else { return Ok(None) };
        let mut fields = Vec::new();
        loop {
            let line = self.line()?.ok_or(ErrorKind::UnexpectedEof)?;
            if line.is_empty() {
                return Ok(Some(Message { first, fields, body: Vec::new() }));
            }
            let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads the body that follows a head.
    ///
    /// # Errors
    /// It is cut short.
    pub fn body(&mut self, message: &mut Message, is_response: bool) -> io::Result<()> {
        if message.get("transfer-encoding").is_some() {
            loop {
                let line = self.line()?.ok_or(ErrorKind::UnexpectedEof)?;
                let size = usize::from_str_radix(line.trim(), 16).map_err(|_| ErrorKind::InvalidData)?;
                self.exactly(size, &mut message.body)?;
                self.line()?.ok_or(ErrorKind::UnexpectedEof)?;
                if size == 0 {
                    return Ok(());
                }
            }
        }
        match message.get("content-length").map(str::parse) {
            Some(Ok(length)) => self.exactly(length, &mut message.body),
            Some(Err(_)) => Err(ErrorKind::InvalidData.into()),
            None if is_response => self.0.read_to_end(&mut message.body).map(drop),
            None => Ok(()),
        }
    }

    fn exactly(&mut self, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let from = into.len();
        into.resize(from + length, 0);
        self.0.read_exact(&mut into[from..])
    }

    /// A whole answer.
    ///
    /// # Errors
    /// There is none, or it is cut short.
    pub fn answer(&mut self) -> io::Result<Message> {
        let mut message = self.head()?.ok_or(ErrorKind::UnexpectedEof)?;
        self.body(&mut message, true)?;
        Ok(message)
    }
}

/// A request as it is written.
#[must_use]
pub fn request(method: &str, target: &str, host: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if method != "GET" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let mut bytes = format!("{head}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Asks for a page of a port of this machine.
///
/// # Errors
/// There is no whole answer.
pub fn get(port: u16, path: &str, patience: Duration) -> io::Result<Message> {
    let mut conn = Conn::open(port, patience)?;
    conn.write(&request("GET", path, &format!("localhost:{port}"), &[], &[]))?;
    conn.answer()
}
