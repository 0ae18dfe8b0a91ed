//! What goes back: the upstream's response as a head to carry, or a problem in its place.
//!
//! Invariants: an upstream's response is passed on or replaced by a problem, never mixed; its framing cannot be read in two
//! ways; a problem's head says by its envelope that it is one, so the near side need not guess from the status. Test to
//! read first: `a_problem_reads_back_with_its_cause`.

use bytes::Bytes;
use http::{Method, StatusCode, Version, response};
use layer2_http::bhttp::SectionLimit;
use layer2_http::envelope::{Envelope, Timings};
use layer2_http::fields::Fields;
use layer2_http::fin::code;
use layer2_http::head::ResponseHead;
use layer2_http::hop;
use layer2_http::operation::{Executed, OperationId};
use layer2_http::problem::{self, Problem, ProblemKind};
use wire::record::kind;

use crate::body;
use crate::command::AppendError;
use crate::exchange::RecordWriter;

/// What an upstream's head becomes.
pub(super) struct Answer {
    /// The HEAD payload.
    pub(super) head: Bytes,
    /// Is its content worth compressing?
    pub(super) compressible: bool,
}

/// What the head of a response is made with.
pub(super) struct Frame<'a> {
    /// This engine's name.
    pub(super) pseudonym: &'a str,
    /// The most a header section may hold.
    pub(super) section: SectionLimit,
    /// The most the content may hold, in octets.
    pub(super) body_max: u64,
    /// The operation that is answered.
    pub(super) operation: Option<OperationId>,
    /// What was measured.
    pub(super) timings: Timings,
}

/// The head of an upstream's response as it is carried.
///
/// # Errors
/// With the problem to answer instead, when the response cannot be carried.
pub(super) fn of_response(head: &response::Parts, method: &Method, frame: &Frame<'_>) -> Result<Answer, Problem> {
    let problem = |kind, detail: String| Problem::new(kind, detail).executed(Executed::Yes);
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(problem(
            ProblemKind::UpgradeFailed,
            "the target switched protocols, which nobody asked for".to_owned(),
        ));
    }
    let invalid = |error: &dyn std::fmt::Display| problem(ProblemKind::ResponseInvalid, error.to_string());
    let mut fields = Fields::from_header_map(&head.headers).map_err(|error| invalid(&error))?;
    let length = hop::check_framing(&fields).map_err(|error| invalid(&error))?;
    let bodiless = *method == Method::HEAD || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !bodiless && length.is_some_and(|length| length > frame.body_max) {
        return Err(invalid(&format!("its body is larger than the {} octets that maxBody allows", frame.body_max)));
    }
    hop::strip_response(&mut fields);
    hop::add_via(&mut fields, version(head.version), frame.pseudonym).map_err(|error| invalid(&error))?;
    if fields.size_bytes() > frame.section.bytes() {
        return Err(invalid(&format!("its header section has more than {} octets", frame.section.bytes())));
    }
    let compressible = body::compressible(&fields);
    let envelope = Envelope {
        operation: frame.operation,
        executed: Some(Executed::Yes),
        timings: Some(frame.timings),
        ..Envelope::default()
    };
    let head = ResponseHead { envelope, status: head.status.as_u16(), fields };
    Ok(Answer { head: head.encode().map_err(|error| invalid(&error))?, compressible })
}

/// The version as Via writes it (RFC 9110 §7.6.3).
pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// A problem as a response: the HEAD payload and the content.
pub fn problem_head(problem: &Problem, pseudonym: &str) -> (Bytes, Bytes) {
    let content = Bytes::from(problem.to_json());
    let mut fields = Fields::new();
    let mut put = |name: &'static str, value: String| {
        // A field that cannot be written would only explain; the envelope has the cause.
        let _ = fields.push(name, value);
    };
    put("content-type", problem::CONTENT_TYPE.to_owned());
    put("content-length", content.len().to_string());
    put("cache-control", "no-store".to_owned());
    put("proxy-status", problem.proxy_status_field(pseudonym));
    if let Some(seconds) = problem.retry_after_s {
        put("retry-after", seconds.to_string());
    }
    let envelope = Envelope {
        operation: problem.operation,
        executed: problem.executed,
        problem: Some(problem.kind.slug().to_owned()),
        ..Envelope::default()
    };
    let head = ResponseHead { envelope, status: problem.status, fields };
    // Everything in it is made here and printable; an empty payload would be taken for an invalid response, which it is.
    (head.encode().unwrap_or_default(), content)
}

/// Answers an exchange with a problem and ends it. If its response has begun it is reset instead.
pub async fn respond_problem(writer: RecordWriter, problem: &Problem, pseudonym: &str) {
    if writer.begun() {
        writer.abort(code::INCOMPLETE);
        return;
    }
    if let Err(error) = write_problem(writer, problem, pseudonym).await {
        tracing::debug!(%error, problem = problem.kind.slug(), "a problem could not be answered");
    }
}

async fn write_problem(mut writer: RecordWriter, problem: &Problem, pseudonym: &str) -> Result<(), AppendError> {
    let (head, content) = problem_head(problem, pseudonym);
    writer.head(kind::HEAD, head).await?;
    writer.data(content, false).await?;
    writer.finish().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn answer(response: response::Builder, method: &Method) -> Result<(ResponseHead, bool), Problem> {
        let frame = Frame {
            pseudonym: "hoft-south",
            section: SectionLimit::new(4096),
            body_max: 1000,
            operation: None,
            timings: Timings { wait_ms: Some(1), connect_ms: None, first_byte_ms: Some(2) },
        };
        let (parts, ()) = response.body(()).unwrap().into_parts();
        let answer = of_response(&parts, method, &frame)?;
        Ok((ResponseHead::decode(&answer.head).unwrap(), answer.compressible))
    }

    #[test]
    fn a_problem_reads_back_with_its_cause() {
        let operation = OperationId::v7(1, &[7; 10]);
        let problem = Problem::new(ProblemKind::DnsError, "no \u{1} such \"name\"")
            .executed(Executed::No)
            .of(operation)
            .retry_after(9);
        let (head, content) = problem_head(&problem, "hoft-south");
        let head = ResponseHead::decode(&head).unwrap();
        assert_eq!(head.status, 502);
        assert_eq!(head.envelope.problem.as_deref(), Some("dns-error"));
        assert_eq!((head.envelope.executed, head.envelope.operation), (Some(Executed::No), Some(operation)));
        let field = |name| head.fields.get(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap();
        assert_eq!(field("content-type"), problem::CONTENT_TYPE);
        assert_eq!(field("content-length"), content.len().to_string());
        assert_eq!(field("retry-after"), "9");
        assert!(field("proxy-status").starts_with("hoft-south; error=dns_error"));
        assert_eq!(&content[..], problem.to_json());
    }

    #[test]
    fn a_response_is_carried_without_what_concerns_only_its_hop() {
        let response = Response::builder()
            .status(207)
            .version(Version::HTTP_2)
            .header("content-type", "application/json; charset=utf-8")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .header("keep-alive", "timeout=5")
            .header("hoft-operation-id", "forged");
        let (head, compressible) = answer(response, &Method::GET).unwrap();
        assert_eq!((head.status, compressible), (207, true));
        let fields: Vec<_> = head.fields.iter().map(|(name, value)| (name, &value[..])).collect();
        assert_eq!(
            fields,
            [
                ("content-type", &b"application/json; charset=utf-8"[..]),
                ("set-cookie", b"a=1"),
                ("set-cookie", b"b=2"),
                ("via", b"2 hoft-south"),
            ]
        );
        assert_eq!(head.envelope.executed, Some(Executed::Yes));
        assert_eq!(head.envelope.timings.unwrap().first_byte_ms, Some(2));
    }

    #[test]
    fn a_response_that_cannot_be_carried_is_a_problem_of_an_executed_call() {
        let with = |name: &str, value: &str| Response::builder().header(name, value);
        for (response, kind) in [
            (Response::builder().status(101), ProblemKind::UpgradeFailed),
            (Response::builder().status(700), ProblemKind::ResponseInvalid),
            (with("content-length", "1001"), ProblemKind::ResponseInvalid),
            (with("transfer-encoding", "gzip, chunked"), ProblemKind::ResponseInvalid),
            (with("content-length", "3").header("transfer-encoding", "chunked"), ProblemKind::ResponseInvalid),
            (with("x", &"y".repeat(5000)), ProblemKind::ResponseInvalid),
        ] {
            let problem = answer(response, &Method::GET).unwrap_err();
            assert_eq!((problem.kind, problem.executed), (kind, Some(Executed::Yes)), "{}", problem.detail);
        }
    }

    #[test]
    fn the_length_of_a_body_that_is_not_sent_has_no_bound() {
        let large = || Response::builder().header("content-length", "5000");
        assert!(answer(large(), &Method::GET).is_err());
        assert!(answer(large(), &Method::HEAD).is_ok());
        assert!(answer(large().status(304), &Method::GET).is_ok());
    }
}
