//! Between HTTP bodies and records, in both directions, one record's worth at a time.
//!
//! Invariants: a body that ends early never gets a FIN, and a stream that was cut never ends a body well: its reader gets
//! an error, which closes the connection, as RFC 9112 §8 asks. Small pieces that are ready at once share a record.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, stream};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use layer2_http::bhttp::{self, SectionLimit};
use layer2_http::fields::Fields;
use layer2_http::hop;

use crate::command::AppendError;
use crate::exchange::{RecordReader, RecordWriter};
use crate::record::{DATA_LEN_MAX, Incoming, ReadError};

/// What a body may fail with.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// A body as both doors send it.
pub type BoxedBody = UnsyncBoxBody<Bytes, BodyError>;

/// A body held whole.
pub fn full(content: impl Into<Bytes>) -> BoxedBody {
    Full::new(content.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Why a body did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// Its source failed.
    #[error("the body was cut short: {0}")]
    Source(BodyError),
    /// It is larger than allowed.
    #[error("the body is larger than {max} octets")]
    TooLarge {
        /// The bound.
        max: u64,
    },
    /// Its stream ended.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Writes a body into a stream and ends the stream with it. `idle_max` bounds how long its source may be silent.
///
/// # Errors
/// When the source fails, is too large, or the stream is stopped; the stream is reset then.
pub async fn pump<B>(
    mut body: B,
    mut writer: RecordWriter,
    max: u64,
    compress: bool,
    idle_max: Option<Duration>,
) -> Result<(), PumpError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    let mut total: u64 = 0;
    let mut gathered = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = next_frame(&mut body, idle_max).await? {
        let mut next = Some(frame);
        while let Some(frame) = next.take() {
            match frame.map_err(|error| PumpError::Source(error.into()))?.into_data() {
                Ok(data) => {
                    total += data.len() as u64;
                    if total > max {
                        writer.abort(layer2_http::fin::code::TOO_LARGE);
                        return Err(PumpError::TooLarge { max });
                    }
                    gathered.extend_from_slice(&data);
                }
                Err(other) => trailers = other.into_trailers().ok(),
            }
            if gathered.len() < DATA_LEN_MAX {
                next = body.frame().now_or_never().flatten();
            }
        }
        if !gathered.is_empty() {
            writer.data(gathered.split().freeze(), compress).await?;
        }
    }
    if let Some(trailers) = trailers
        && let Ok(mut fields) = Fields::from_header_map(&trailers)
    {
        hop::strip_trailers(&mut fields);
        if !fields.is_empty() {
            writer.trailers(bhttp::encode_trailers(&fields)).await?;
        }
    }
    Ok(writer.finish().await?)
}

async fn next_frame<B>(
    body: &mut B,
    idle_max: Option<Duration>,
) -> Result<Option<Result<Frame<Bytes>, B::Error>>, PumpError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let Some(idle_max) = idle_max else { return Ok(body.frame().await) };
    tokio::time::timeout(idle_max, body.frame())
        .await
        .map_err(|_| PumpError::Source(format!("no octet of it came for {} s", idle_max.as_secs()).into()))
}

/// The rest of a stream as a body. `first` is what was read of it already; `expected` is the declared length.
///
/// The content that completes a declared length is held back until the end of the stream is verified: whoever counts
/// octets, as HTTP/1.1 peers do, would take the body for whole without ever looking at its end.
pub fn from_records(
    reader: RecordReader,
    first: Option<Incoming>,
    limit: SectionLimit,
    expected: Option<u64>,
) -> BoxedBody {
    let state = State { reader, first, limit, left: expected, over: false };
    let frames = stream::unfold(state, |mut state| async move {
        if state.over {
            return None;
        }
        match state.next().await {
            Ok(Some(frame)) => Some((Ok(frame), state)),
            Ok(None) => None,
            Err(error) => {
                state.over = true;
                Some((Err(BodyError::from(error)), state))
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

struct State {
    reader: RecordReader,
    first: Option<Incoming>,
    limit: SectionLimit,
    /// Octets that the declared length leaves.
    left: Option<u64>,
    over: bool,
}

impl State {
    /// Before the last octets of a declared length: waits for the end of the stream.
    async fn verify_last(&mut self, octets: u64) -> Result<(), ReadError> {
        let Some(left) = self.left else { return Ok(()) };
        let left = left.checked_sub(octets).ok_or(ReadError::Mismatch)?;
        self.left = Some(left);
        if left == 0 {
            let after = self.reader.next().await?;
            self.first = Some(after);
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Frame<Bytes>>, ReadError> {
        loop {
            let incoming = match self.first.take() {
                Some(first) => first,
                None => self.reader.next().await?,
            };
            match incoming {
                Incoming::Data(content) => {
                    self.verify_last(content.len() as u64).await?;
                    return Ok(Some(Frame::data(content)));
                }
                Incoming::Trailers(payload) => {
                    let mut fields = bhttp::decode_trailers(&payload, self.limit).map_err(|_| ReadError::Mismatch)?;
                    hop::strip_trailers(&mut fields);
                    let map = fields.to_header_map().map_err(|_| ReadError::Mismatch)?;
                    return Ok(Some(Frame::trailers(map)));
                }
                Incoming::End => {
                    self.over = true;
                    return Ok(None);
                }
                Incoming::Head(_) | Incoming::Interim(_) | Incoming::Other { .. } => {}
            }
        }
    }
}

/// True for content that is worth compressing on its way: text, and not compressed already.
pub fn compressible(fields: &Fields) -> bool {
    if fields.contains("content-encoding") {
        return false;
    }
    let Some(kind) = fields.get("content-type").and_then(|value| std::str::from_utf8(value).ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || matches!(
            kind.as_str(),
            "application/json" | "application/xml" | "application/javascript" | "application/x-ndjson"
        )
}
