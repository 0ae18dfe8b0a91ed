//! Whether the head of a request can be read, and in one way only (RFC 9112 §2.2, §3, §5, §6.3, §11.2).
//!
//! Everything that the HTTP library behind would refuse with an answer of its own, an empty one, is refused here with
//! a cause; and two things more that it repairs silently: a length that is given twice, and a length beside a
//! transfer coding. Nothing is smuggled by those here, because every request is framed anew, but whoever sends them
//! is either broken or trying.
//!
//! Invariant: what passes is not changed. It gives no field a meaning but the two that frame. Test to read first:
//! `what_a_head_is_refused_for`.

use http::{HeaderName, HeaderValue, Uri};
use layer2_http::operation::Executed;
use layer2_http::problem::{Problem, ProblemKind};

/// Header lines of one request.
pub(super) const HEADER_LINES_MAX: usize = 256;
/// What an HTTP/2 connection begins with, up to its first empty line.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";
/// Octets of a request target: what the library behind takes.
const TARGET_BYTES_MAX: usize = 65_534;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another head.
    Head,
    /// Content of that length.
    Content(u64),
    /// Content of a length that only its end tells, or a byte stream, or another protocol: nothing that is looked at.
    Past,
}

/// Looks at a whole head, its empty line included.
///
/// # Errors
/// With the problem to answer instead.
pub(super) fn judge(head: &[u8]) -> Result<Next, Problem> {
    if head.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
        // Empty lines before a request are to be passed over.
        return Ok(Next::Head);
    }
    if head.starts_with(HTTP2) {
        // Whoever serves the connection knows whether it speaks that.
        return Ok(Next::Past);
    }
    let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(head) {
        Ok(httparse::Status::Complete(read)) if read == head.len() => {}
        Ok(_) => return Err(bad("the head does not end where it seems to")),
        Err(httparse::Error::TooManyHeaders) => return Err(too_many_lines()),
        Err(error) => return Err(bad(format!("the head is not HTTP/1.1: {error}"))),
    }
    let target = request.path.unwrap_or_default();
    if target.len() > TARGET_BYTES_MAX {
        let mut problem = bad(format!("the target is longer than {TARGET_BYTES_MAX} octets"));
        problem.status = 414;
        return Err(problem);
    }
    Uri::try_from(target).map_err(|error| bad(format!("the target is no URI: {error}")))?;
    let mut framing = Framing { opens: request.method == Some("CONNECT"), ..Framing::default() };
    for line in request.headers.iter() {
        HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| bad("a field name is no token"))?;
        HeaderValue::from_bytes(line.value)
            .map_err(|_| bad(format!("the value of {} has a control octet", line.name)))?;
        framing.take(line)?;
    }
    framing.next(request.version == Some(1))
}

/// Looks at the beginning of a head: what no end can make good is refused without waiting for one.
///
/// # Errors
/// With the problem to answer instead.
pub(super) fn judge_beginning(beginning: &[u8]) -> Result<(), Problem> {
    let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
    match httparse::Request::new(&mut lines).parse(beginning) {
        Err(httparse::Error::TooManyHeaders) => Err(too_many_lines()),
        // An HTTP/2 preface is one too.
        Err(error) if !HTTP2.starts_with(beginning) && !beginning.starts_with(HTTP2) => {
            Err(bad(format!("the head is not HTTP/1.1: {error}")))
        }
        _ => Ok(()),
    }
}

/// The head is larger than `max` octets.
pub(super) fn too_large(max: usize) -> Problem {
    Problem::new(ProblemKind::FieldsTooLarge, format!("the head has more than {max} octets")).executed(Executed::No)
}

fn too_many_lines() -> Problem {
    let detail = format!("the head has more than {HEADER_LINES_MAX} lines");
    Problem::new(ProblemKind::FieldsTooLarge, detail).executed(Executed::No)
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::BadRequest, detail).executed(Executed::No)
}

#[derive(Default)]
struct Framing {
    length: Option<u64>,
    coded: bool,
    chunked: bool,
    /// What follows may be a byte stream.
    opens: bool,
}

impl Framing {
    fn take(&mut self, line: &httparse::Header<'_>) -> Result<(), Problem> {
        if line.name.eq_ignore_ascii_case("content-length") {
            if self.length.is_some() {
                return Err(bad("Content-Length must be one number, given once"));
            }
            self.length = Some(length(line.value).ok_or_else(|| bad("Content-Length must be one number, given once"))?);
        } else if line.name.eq_ignore_ascii_case("transfer-encoding") {
            if self.coded {
                return Err(bad("Transfer-Encoding must be chunked, given once"));
            }
            self.coded = true;
            let last = line.value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
            self.chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        } else if line.name.eq_ignore_ascii_case("upgrade") {
            self.opens = true;
        }
        Ok(())
    }

    fn next(&self, of_1_1: bool) -> Result<Next, Problem> {
        match (self.length, self.coded) {
            (Some(_), true) => Err(bad("Content-Length and Transfer-Encoding must not stand together")),
            (_, true) if !self.chunked || !of_1_1 => Err(bad("Transfer-Encoding must be chunked, given once")),
            (None, true) => Ok(Next::Past),
            (_, false) if self.opens => Ok(Next::Past),
            (None | Some(0), false) => Ok(Next::Head),
            (Some(length), false) => Ok(Next::Content(length)),
        }
    }
}

/// Digits only, and a number that counts octets: the two largest ones mean something else behind.
fn length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits)?;
    text.parse().ok().filter(|length| *length < u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "POST http://a/b?c HTTP/1.1\r\nHost: a\r\n";

    fn refused(head: &str) -> (u16, String) {
        let problem = judge(head.as_bytes()).expect_err(head);
        assert_eq!(problem.executed, Some(Executed::No));
        (problem.status, problem.detail)
    }

    #[test]
    fn what_a_head_is_refused_for() {
        for (fields, words) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "must not stand together"),
            ("transfer-encoding: chunked\r\ncontent-length: 5\r\n", "must not stand together"),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", "given once"),
            ("Content-Length: 5, 5\r\n", "one number"),
            ("Content-Length: +5\r\n", "one number"),
            ("Content-Length: \r\n", "one number"),
            ("Content-Length: 18446744073709551615\r\n", "one number"),
            ("Content-Length: 99999999999999999999999\r\n", "one number"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "given once"),
            ("Transfer-Encoding: xchunked\r\n", "must be chunked"),
            ("Transfer-Encoding: chunked, gzip\r\n", "must be chunked"),
            ("X-Folded: one\r\n two\r\n", "not HTTP/1.1"),
            ("X-Nul: a\0b\r\n", "not HTTP/1.1"),
            ("X-Bare: a\rb\r\n", "not HTTP/1.1"),
            ("X Space: a\r\n", "not HTTP/1.1"),
            ("X-Space : a\r\n", "not HTTP/1.1"),
            (": nameless\r\n", "not HTTP/1.1"),
            ("no colon at all\r\n", "not HTTP/1.1"),
        ] {
            let (status, detail) = refused(&format!("{GOOD}{fields}\r\n"));
            assert!(status == 400 && detail.contains(words), "{status} {detail} for {fields:?}");
        }
    }

    #[test]
    fn a_beginning_that_no_end_can_make_good_is_refused() {
        for hopeless in [&b"\x16\x03\x01\x02"[..], b"GE(T", b"GET / HTTP/1.1\r\nX Space: a\r\n"] {
            assert_eq!(judge_beginning(hopeless).unwrap_err().status, 400);
        }
        for hopeful in [&b""[..], b"G", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX-Y", b"PRI * HTTP/2.0\r", b"\r\n"]
        {
            assert_eq!(judge_beginning(hopeful), Ok(()));
        }
    }

    #[test]
    fn request_lines_that_are_none_are_refused() {
        for line in [
            "GET",
            "GET / HTTP/9.9",
            "GET http://a/a b HTTP/1.1",
            "GE(T / HTTP/1.1",
            "\u{16}\u{3}\u{1}",
            "GET http://a[/ HTTP/1.1",
        ] {
            assert_eq!(refused(&format!("{line}\r\nHost: a\r\n\r\n")).0, 400, "{line}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(TARGET_BYTES_MAX));
        assert_eq!(refused(&long).0, 414);
        let coded = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(refused(coded).0, 400);
    }

    #[test]
    fn more_lines_than_the_bound_are_refused_and_as_many_are_not() {
        let lines = |count: usize| "X-Line: v\r\n".repeat(count);
        assert_eq!(judge(format!("GET / HTTP/1.1\r\n{}\r\n", lines(HEADER_LINES_MAX)).as_bytes()), Ok(Next::Head));
        let (status, _) = refused(&format!("GET / HTTP/1.1\r\n{}\r\n", lines(HEADER_LINES_MAX + 1)));
        assert_eq!(status, 431);
    }

    #[test]
    fn what_follows_a_good_head_is_known() {
        for (fields, next) in [
            ("", Next::Head),
            ("Content-Length: 0\r\n", Next::Head),
            ("Content-Length: 7\r\n", Next::Content(7)),
            ("Transfer-Encoding: gzip, chunked\r\n", Next::Past),
            ("transfer-encoding: Chunked\r\n", Next::Past),
            ("Connection: upgrade\r\nUpgrade: websocket\r\n", Next::Past),
        ] {
            assert_eq!(judge(format!("{GOOD}{fields}\r\n").as_bytes()), Ok(next), "{fields}");
        }
        assert_eq!(judge(b"\r\n\r\n"), Ok(Next::Head));
        assert_eq!(judge(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"), Ok(Next::Past));
        assert_eq!(judge(b"PRI * HTTP/2.0\r\n\r\n"), Ok(Next::Past));
        assert_eq!(judge(b"\r\nGET / HTTP/1.1\nHost: a\n\n"), Ok(Next::Head));
    }
}
