//! A body whose trailers go through a rule's list of fields.
//!
//! Invariant: trailers are held to the list that holds for the header section of their direction, so that nothing leaves in
//! them that may not leave before them. Content passes untouched. Test to read first:
//! `trailers_are_held_to_the_list`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use layer2_http::field_filter::FieldFilter;

/// Content, with trailers that pass.
pub(super) struct Filtered<B> {
    inner: B,
    filter: Arc<FieldFilter>,
}

impl<B> Filtered<B> {
    /// `inner` behind a rule's list.
    pub(super) fn new(inner: B, filter: &Arc<FieldFilter>) -> Self {
        Self { inner, filter: Arc::clone(filter) }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Filtered<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let polled = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        Poll::Ready(polled.map(|result| {
            result.map(|frame| match frame.into_trailers() {
                Ok(mut trailers) => {
                    retain(&mut trailers, &this.filter);
                    Frame::trailers(trailers)
                }
                Err(other) => other,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Drops the fields that do not pass.
pub(super) fn retain(fields: &mut HeaderMap, filter: &FieldFilter) {
    if filter.is_all() {
        return;
    }
    let dropped: Vec<_> = fields.keys().filter(|name| !filter.passes(name.as_str())).cloned().collect();
    for name in dropped {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};

    #[tokio::test]
    async fn trailers_are_held_to_the_list() {
        let mut trailers = HeaderMap::new();
        for name in ["x-sum", "x-secret", "set-cookie"] {
            trailers.append(name, "1".parse().unwrap());
        }
        let body =
            || Full::new(Bytes::from_static(b"abc")).with_trailers(std::future::ready(Some(Ok(trailers.clone()))));
        let left = |filter: FieldFilter| {
            let body = Filtered::new(Box::pin(body()), &Arc::new(filter));
            async move {
                let whole = body.collect().await.unwrap();
                let names =
                    whole.trailers().map(|trailers| trailers.keys().map(ToString::to_string).collect::<Vec<_>>());
                (names.unwrap_or_default(), whole.to_bytes())
            }
        };
        let only = FieldFilter::Only(vec!["x-sum".to_owned()]);
        assert_eq!(left(only).await, (vec!["x-sum".to_owned()], Bytes::from_static(b"abc")));
        assert_eq!(left(FieldFilter::All).await.0.len(), 3);
    }
}
