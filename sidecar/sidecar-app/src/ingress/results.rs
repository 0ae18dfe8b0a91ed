//! Stored responses: `/v1/operations/{id}/result`, whole or in part (RFC 9110 §13 and §14).
//!
//! Invariants: a part is of a result that is whole here, and of status 200; its ETag is made from the digest over all of its content,
//! so parts fit together whenever they were read; of the log only the records are read that hold the part. A result that still
//! arrives is sent as it comes, whole and without an ETag. Test to read first: `tests/line/results.rs`.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use layer2_http::fields::Fields;
use layer2_http::fin::Fin;
use layer2_http::operation::{Executed, OperationId, OperationView};
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::range::{self, Selected};

use super::operations::{stopping, unknown};
use super::{Ingress, request, response};
use crate::ask::Ask;
use crate::body::{self, BodyError, BoxedBody};
use crate::command::StoredResult;
use crate::exchange::RecordReader;
use crate::record::{Incoming, ReadError};

/// What the upstream's own ETag is called: the result has one of its own.
const UPSTREAM_ETAG: &str = "hoft-upstream-etag";

/// Answers with a stored response.
///
/// # Errors
/// With the problem to answer instead.
pub(super) async fn answer(
    ingress: &Ingress,
    id: OperationId,
    method: &Method,
    fields: &Fields,
) -> Result<Response<BoxedBody>, Problem> {
    let mut reader = match ingress.driver.stored_result(id).await.map_err(stopping)? {
        StoredResult::Ready(reader) => reader,
        StoredResult::Pending(view) => return Err(pending(ingress, &view).await),
        StoredResult::Gone(view) => return Err(ended(&view)),
        StoredResult::Unknown => return Err(unknown(id)),
    };
    let fin = reader.fin().await;
    let head = match request::final_head(&mut reader).await {
        Ok(head) => head,
        Err(error) => return Err(request::failed(ingress, id, &error).await),
    };
    let content_at = reader.offset();
    let view = ingress.driver.operation(id).await.map_err(stopping)?;
    let to_head = view.is_some_and(|view| view.method == "HEAD");
    let again = reader.again();
    let mut response = response::of_records(ingress, head, reader, id, to_head).await?;
    if to_head {
        // The length that the HEAD told of is not that of this answer.
        response.headers_mut().remove(header::CONTENT_LENGTH);
        return Ok(response);
    }
    match fin.filter(|_| response.status() == StatusCode::OK) {
        Some(fin) => select(response, &fin, (again, content_at), method, fields).await,
        None => Ok(response),
    }
}

/// The whole response, or what of it the request selects.
async fn select(
    mut response: Response<BoxedBody>,
    fin: &Fin,
    (reader, content_at): (RecordReader, u64),
    method: &Method,
    fields: &Fields,
) -> Result<Response<BoxedBody>, Problem> {
    let (etag, length) = (etag(fin), fin.content_length);
    let own = response.headers_mut();
    if let Some(theirs) = own.remove(header::ETAG) {
        own.insert(UPSTREAM_ETAG, theirs);
    }
    own.remove("content-range");
    own.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response::put(&mut response, "etag", &etag);
    match range::select(fields, length, &etag) {
        Selected::NotModified => {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = body::full(Bytes::new());
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        Selected::Unsatisfiable if method == Method::GET => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            *response.body_mut() = body::full(Bytes::new());
            response::put(&mut response, "content-length", "0");
            response::put(&mut response, "content-range", &format!("bytes */{length}"));
        }
        // A range means nothing to a method other than GET (RFC 9110 §14.2).
        Selected::Part { first, last } if method == Method::GET => {
            let content = part(reader, content_at, first, last).await.ok_or_else(gone)?;
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            *response.body_mut() = content;
            response::put(&mut response, "content-length", &(last - first + 1).to_string());
            response::put(&mut response, "content-range", &format!("bytes {first}-{last}/{length}"));
        }
        Selected::Whole | Selected::Part { .. } | Selected::Unsatisfiable => {}
    }
    Ok(response)
}

/// A strong validator: half of the digest over the content.
fn etag(fin: &Fin) -> String {
    let hex: String = fin.digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// The octets from `first` to `last` of the content that begins at `content_at` of the stream.
async fn part(mut reader: RecordReader, content_at: u64, first: u64, last: u64) -> Option<BoxedBody> {
    let begins = reader.seek(content_at.checked_add(first)?).await?;
    let part = Part { skip: content_at.checked_add(first)?.checked_sub(begins)?, left: last - first + 1, reader };
    let pieces = stream::unfold(Some(part), |part| async move {
        let mut part = part.filter(|part| part.left > 0)?;
        match part.next().await {
            Ok(content) => Some((Ok(Frame::data(content)), Some(part))),
            Err(error) => Some((Err(BodyError::from(error)), None)),
        }
    });
    Some(StreamBody::new(pieces).boxed_unsync())
}

struct Part {
    reader: RecordReader,
    /// Octets of the first record that are before the part.
    skip: u64,
    left: u64,
}

impl Part {
    async fn next(&mut self) -> Result<Bytes, ReadError> {
        let Incoming::Data(content) = self.reader.next().await? else { return Err(ReadError::Mismatch) };
        let from = usize::try_from(std::mem::take(&mut self.skip)).unwrap_or(usize::MAX).min(content.len());
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(content.len() - from);
        self.left -= len as u64;
        if len == 0 {
            return Err(ReadError::Mismatch);
        }
        Ok(content.slice(from..from + len))
    }
}

fn gone() -> Problem {
    Problem::new(ProblemKind::ResultGone, "the result was removed while it was asked for")
}

/// There is no response yet.
async fn pending(ingress: &Ingress, view: &OperationView) -> Problem {
    let id = view.id;
    let promised = ingress.driver.ask(|reply| Ask::Known { id, reply }).await;
    let round_trip = promised.ok().and_then(|promised| promised.round_trip);
    Problem::new(ProblemKind::ResultNotReady, format!("the operation is {}; ask again", view.state))
        .of(view.id)
        .retry_after(super::asynchronous::retry_after_s(round_trip))
}

/// An operation that ended without a response that is kept.
fn ended(view: &OperationView) -> Problem {
    let kind = view.problem.as_deref().and_then(ProblemKind::from_slug).unwrap_or(ProblemKind::ResultGone);
    let detail = format!("the operation ended as {} and no response of it is kept", view.state);
    Problem::new(kind, detail).of(view.id).executed(view.executed.unwrap_or(Executed::Maybe))
}
