//! HTTP/1.1 written and read by hand, for both the test's client and its upstream: what the engines are judged by must
//! not share their parser.
//!
//! Invariants: a body that ends before its framing says so is an error, never a short body; nothing is buffered beyond
//! one piece. It checks no more than the tests need. Read first: [`Conn`].

use std::io::{self, ErrorKind, Read, Write};

/// Octets that one read asks for, and the most that one piece of a body has.
const PIECE: usize = 256 * 1024;

/// Header fields in order, names as received.
pub(crate) type Fields = Vec<(String, String)>;

/// A byte stream in both directions.
pub(crate) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A connection with what was read ahead of it.
pub(crate) struct Conn {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    at: usize,
}

impl Conn {
    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new(), at: 0 }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Writes one chunk of a chunked body; an empty one is not written, because it would end the body.
    pub(crate) fn write_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
        framed.extend_from_slice(bytes);
        framed.extend_from_slice(b"\r\n");
        self.write(&framed)
    }

    /// Ends a chunked body.
    pub(crate) fn write_last_chunk(&mut self, trailers: &[(&str, &str)]) -> io::Result<()> {
        let lines: String = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.write(format!("0\r\n{lines}\r\n").as_bytes())
    }

    /// Reads more; false at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        let before = self.buffer.len();
        self.buffer.resize(before + PIECE, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    /// At most `max` octets, as soon as there are any; empty at the end of the stream.
    pub(crate) fn read_some(&mut self, max: usize) -> io::Result<Vec<u8>> {
        if self.at == self.buffer.len() && !self.fill()? {
            return Ok(Vec::new());
        }
        let end = self.buffer.len().min(self.at + max);
        let piece = self.buffer[self.at..end].to_vec();
        self.at = end;
        Ok(piece)
    }

    /// A line without its end; `None` at the end of the stream.
    pub(crate) fn read_line(&mut self) -> io::Result<Option<String>> {
        let mut looked = self.at;
        loop {
            if let Some(end) = self.buffer[looked..].iter().position(|byte| *byte == b'\n') {
                let line = &self.buffer[self.at..looked + end];
                let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
                self.at = looked + end + 1;
                return Ok(Some(line));
            }
            let unread = self.buffer.len() - self.at;
            if !self.fill()? {
                return if unread == 0 { Ok(None) } else { Err(cut()) };
            }
            looked = self.at + unread;
        }
    }

    /// Start line and fields of a message; `None` at the end of the stream.
    pub(crate) fn read_head(&mut self) -> io::Result<Option<Head>> {
        let Some(first) = self.read_line()? else { return Ok(None) };
        Ok(Some(Head { first, fields: self.read_fields()? }))
    }

    fn read_fields(&mut self) -> io::Result<Fields> {
        let mut fields = Vec::new();
        loop {
            let line = self.read_line()?.ok_or_else(cut)?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }
}

/// Start line and fields of a message.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) first: String,
    pub(crate) fields: Fields,
}

impl Head {
    /// The first field of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// The status of a response's head.
    pub(crate) fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
    }

    /// The body that follows a request's head.
    pub(crate) fn request_body(&self) -> Body {
        self.body(Framing::Ended)
    }

    /// The body that follows a response's head.
    pub(crate) fn response_body(&self, method: &str) -> Body {
        let status = self.status();
        if method == "HEAD" || status < 200 || matches!(status, 204 | 304) {
            return Body { framing: Framing::Ended, trailers: Vec::new() };
        }
        self.body(Framing::UntilClose)
    }

    fn body(&self, otherwise: Framing) -> Body {
        let chunked = self.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let framing = match self.get("content-length").and_then(|length| length.parse().ok()) {
            _ if chunked => Framing::Chunked { left: 0, first: true },
            Some(length) => Framing::Length { left: length },
            None => otherwise,
        };
        Body { framing, trailers: Vec::new() }
    }
}

/// The first field of that name.
pub(crate) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// All fields of that name, in order.
pub(crate) fn fields_of<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
}

enum Framing {
    Length { left: u64 },
    Chunked { left: u64, first: bool },
    UntilClose,
    Ended,
}

/// What is still to be read of a body.
pub(crate) struct Body {
    framing: Framing,
    /// The trailers, once the body was read to its end.
    pub(crate) trailers: Fields,
}

impl Body {
    /// The next piece; `None` when the body is whole.
    pub(crate) fn next(&mut self, conn: &mut Conn) -> io::Result<Option<Vec<u8>>> {
        match &mut self.framing {
            Framing::Ended => Ok(None),
            Framing::UntilClose => Ok(Some(conn.read_some(PIECE)?).filter(|piece| !piece.is_empty())),
            Framing::Length { left: 0 } => Ok(None),
            Framing::Length { left } => {
                let piece = conn.read_some(usize::try_from(*left).unwrap_or(PIECE).min(PIECE))?;
                *left -= piece.len() as u64;
                if piece.is_empty() { Err(cut()) } else { Ok(Some(piece)) }
            }
            Framing::Chunked { left, first } => {
                if *left == 0 {
                    if !std::mem::take(first) {
                        conn.read_line()?;
                    }
                    let line = conn.read_line()?.ok_or_else(cut)?;
                    let size = line.split(';').next().unwrap_or_default().trim();
                    *left = u64::from_str_radix(size, 16).map_err(|_| invalid(&line))?;
                    if *left == 0 {
                        self.framing = Framing::Ended;
                        self.trailers = conn.read_fields()?;
                        return Ok(None);
                    }
                }
                let piece = conn.read_some(usize::try_from(*left).unwrap_or(PIECE).min(PIECE))?;
                *left -= piece.len() as u64;
                if piece.is_empty() { Err(cut()) } else { Ok(Some(piece)) }
            }
        }
    }

    /// All that is left.
    pub(crate) fn rest(&mut self, conn: &mut Conn) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next(conn)? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }
}

fn cut() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the message was cut short")
}

fn invalid(line: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not HTTP: {line:?}"))
}
