//! The body of a request or an answer: bytes that may still be on their way.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http_body::{Frame, SizeHint};

use crate::error::{BoxError, Error, TooLargeSnafu};
use crate::received::Received;

/// A body, sent or received.
///
/// A received one is read only as fast as it is polled, and the peer is held back accordingly;
/// one that is dropped before its end costs an HTTP/1 connection.
pub struct Body(Kind);

enum Kind {
    Empty,
    Full(Bytes),
    /// The mutex is never locked: it makes the body `Sync`, so that messages can be borrowed across an await.
    Stream(Mutex<Pieces>),
    Received(Box<Received>),
    Limited {
        body: Box<Body>,
        left: u64,
        max_bytes: u64,
    },
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

impl Body {
    /// No bytes at all.
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// Bytes that are all there.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(if bytes.is_empty() {
            Kind::Empty
        } else {
            Kind::Full(bytes)
        })
    }

    /// Bytes as they are produced; polled only when the peer can take more.
    ///
    /// An error of the stream cuts the message, so the peer can tell that it is not whole.
    pub fn stream<E>(stream: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Self
    where
        E: Into<BoxError> + 'static,
    {
        let stream = stream.map_err(Into::into);
        Self(Kind::Stream(Mutex::new(Box::pin(stream))))
    }

    /// The same body, which fails with [`Error::TooLarge`] as soon as more than `max_bytes` of it were read.
    #[must_use]
    pub fn limit(self, max_bytes: u64) -> Self {
        Self(Kind::Limited {
            body: Box::new(self),
            left: max_bytes,
            max_bytes,
        })
    }

    pub(crate) fn received(received: Received) -> Self {
        Self(Kind::Received(Box::new(received)))
    }

    /// The next piece, in whatever size it came; `None` at the end. Trailers are skipped.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`], [`Error::TimedOut`] or [`Error::Protocol`] for a body that is being received,
    /// [`Error::Producer`] for one that was made with [`Body::stream`], [`Error::TooLarge`] past a limit.
    /// Nothing more comes after an error.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        std::future::poll_fn(|cx| self.poll_data(cx)).await
    }

    /// All of it.
    ///
    /// # Errors
    ///
    /// Those of [`Body::next`], and [`Error::TooLarge`] where it is longer than `max_bytes`:
    /// at once where its length is announced. What was read is lost.
    pub async fn read_to_end(self, max_bytes: usize) -> Result<Bytes, Error> {
        let max = u64::try_from(max_bytes).unwrap_or(u64::MAX);
        let hint = http_body::Body::size_hint(&self);
        if hint.lower() > max {
            return TooLargeSnafu { max_bytes: max }.fail();
        }
        let mut limited = self.limit(max);
        let Some(first) = limited.next().await.transpose()? else {
            return Ok(Bytes::new());
        };
        // Most small bodies are one piece, and need no copy.
        let Some(second) = limited.next().await.transpose()? else {
            return Ok(first);
        };
        let expected = usize::try_from(hint.lower()).unwrap_or(0);
        let mut all = BytesMut::with_capacity(expected.max(first.len() + second.len()));
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(piece) = limited.next().await.transpose()? {
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// The pieces as a stream; see [`Body::next`].
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + Sync + 'static {
        futures_util::stream::unfold(self, |mut body| async move {
            let piece = body.next().await?;
            Some((piece, body))
        })
        .fuse()
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            let frame = ready!(http_body::Body::poll_frame(Pin::new(self), cx));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => {
                    self.0 = Kind::Empty;
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(Ok(data))) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                Some(Ok(_)) => {}
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let kind = &mut self.get_mut().0;
        match kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *kind = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Stream(stream) => {
                let stream = stream.get_mut().unwrap_or_else(PoisonError::into_inner);
                let next = ready!(stream.as_mut().poll_next(cx));
                Poll::Ready(match next {
                    Some(Ok(bytes)) => Some(Ok(Frame::data(bytes))),
                    Some(Err(source)) => {
                        *kind = Kind::Empty;
                        Some(Err(Error::Producer { source }))
                    }
                    None => {
                        *kind = Kind::Empty;
                        None
                    }
                })
            }
            Kind::Received(received) => Pin::new(received.as_mut()).poll_frame(cx),
            Kind::Limited {
                body,
                left,
                max_bytes,
            } => {
                let frame = ready!(Pin::new(body.as_mut()).poll_frame(cx));
                if let Some(data) = frame
                    .as_ref()
                    .and_then(|frame| frame.as_ref().ok()?.data_ref())
                {
                    let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    let Some(rest) = left.checked_sub(length) else {
                        let max_bytes = *max_bytes;
                        *kind = Kind::Empty;
                        return Poll::Ready(Some(TooLargeSnafu { max_bytes }.fail()));
                    };
                    *left = rest;
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) | Kind::Stream(_) => false,
            Kind::Received(received) => received.is_end_stream(),
            Kind::Limited { body, .. } => http_body::Body::is_end_stream(body.as_ref()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Kind::Stream(_) => SizeHint::default(),
            Kind::Received(received) => received.size_hint(),
            Kind::Limited { body, .. } => http_body::Body::size_hint(body.as_ref()),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::full(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::full(text)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::full(text)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Empty => f.write_str("Body::Empty"),
            Kind::Full(bytes) => write!(f, "Body::Full({} bytes)", bytes.len()),
            Kind::Stream(_) => f.write_str("Body::Stream"),
            Kind::Received(_) => f.write_str("Body::Received"),
            Kind::Limited {
                body, max_bytes, ..
            } => write!(f, "{body:?} up to {max_bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_can_be_borrowed_across_an_await() {
        fn check<T: Send + Sync + 'static>() {}
        check::<Body>();
        check::<http::Response<Body>>();
        check::<crate::Client>();
    }

    #[track_caller]
    fn check(body: Body, max_bytes: usize, expected: Option<&str>) {
        let got = futures_util::FutureExt::now_or_never(body.read_to_end(max_bytes));
        match (got.expect("nothing to wait for"), expected) {
            (Ok(got), Some(expected)) => assert_eq!(got, expected),
            (Err(Error::TooLarge { .. }), None) => {}
            (got, _) => panic!("{got:?}"),
        }
    }

    fn pieces(pieces: &'static [&'static str]) -> Body {
        let pieces = pieces.iter().map(|text| Ok::<_, Error>(Bytes::from(*text)));
        Body::stream(futures_util::stream::iter(pieces))
    }

    #[test]
    fn reads_to_the_end_or_the_bound() {
        check(Body::empty(), 0, Some(""));
        check(Body::from("abc"), 3, Some("abc"));
        check(Body::from("abc"), 2, None);
        check(pieces(&[]), 0, Some(""));
        check(pieces(&["", "ab", "", "c", ""]), 3, Some("abc"));
        check(pieces(&["ab", "c"]), 2, None);
        check(pieces(&["a", "b", "c"]), 3, Some("abc"));
        check(pieces(&["a", "b", "c", "d"]), 3, None);
        check(Body::from("abc").limit(2), 9, None);
    }
}
