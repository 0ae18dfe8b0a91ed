//! What a result's callback tells: the outcome of the operation, and its response if that is small.
//!
//! Invariants: no more than the bound is held; a response that cannot be read whole is told by its link only. It changes
//! nothing: the response stays where it is. Test to read first: `tests/line/callbacks.rs`.

use layer2_http::bhttp::SectionLimit;
use layer2_http::cloudevent::{CloudEvent, StoredResponse};
use layer2_http::head::ResponseHead;
use layer2_http::operation::{OperationView, State};

use super::Callbacks;
use crate::command::StoredResult;
use crate::exchange::RecordReader;
use crate::record::Incoming;

/// The event that tells how an operation ended.
pub(super) async fn event(callbacks: &Callbacks, view: &OperationView) -> CloudEvent {
    let response = if view.state == State::Done { stored(callbacks, view).await } else { None };
    CloudEvent::of_result(&callbacks.source, view, response.as_ref())
}

async fn stored(callbacks: &Callbacks, view: &OperationView) -> Option<StoredResponse> {
    let Ok(StoredResult::Ready(mut reader)) = callbacks.driver.stored_result(view.id).await else { return None };
    let head = loop {
        match reader.next().await.ok()? {
            Incoming::Head(payload) => {
                break ResponseHead::decode_within(&payload, SectionLimit::new(usize::MAX)).ok()?;
            }
            Incoming::Interim(_) | Incoming::Other { .. } => {}
            Incoming::Data(_) | Incoming::Trailers(_) | Incoming::End => return None,
        }
    };
    let field = |name| head.fields.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
    let (content_type, content_encoding) = (field("content-type"), field("content-encoding"));
    let content = small(&mut reader, callbacks.inline_bytes_max).await;
    Some(StoredResponse { content_type, content_encoding, content })
}

/// The rest of a response, if it is whole and no larger than this.
async fn small(reader: &mut RecordReader, bytes_max: u64) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        match reader.next().await.ok()? {
            Incoming::Data(piece) => {
                if (content.len() + piece.len()) as u64 > bytes_max {
                    return None;
                }
                content.extend_from_slice(&piece);
            }
            Incoming::End => return Some(content),
            Incoming::Trailers(_) | Incoming::Interim(_) | Incoming::Other { .. } => {}
            Incoming::Head(_) => return None,
        }
    }
}
