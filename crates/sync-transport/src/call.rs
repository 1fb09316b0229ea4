//! What a client is asked to send.

use std::fmt;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use crate::body::Body;

/// One request, before it is known over which connection it goes, or how often.
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query, beginning with `/`.
    pub path_and_query: String,
    /// Headers beside those of the client: `authorization`, `host`, lengths, and `x-request-id` unless it is here.
    pub headers: HeaderMap,
    /// The body.
    pub body: CallBody,
    /// Whether sending it twice is as good as sending it once, so that it may be repeated when its fate is unknown.
    pub idempotent: bool,
}

/// The body of a [`Call`].
pub enum CallBody {
    /// No body.
    Empty,
    /// Bytes, which can be sent again.
    Bytes(Bytes),
    /// A stream, which cannot: once it was begun the call is never repeated.
    Stream(Body),
}

impl Call {
    /// A call without headers or body; it is idempotent where its method is (RFC 9110, section 9.2.2).
    pub fn new(method: Method, path_and_query: impl Into<String>) -> Self {
        Self {
            idempotent: method.is_idempotent(),
            method,
            path_and_query: path_and_query.into(),
            headers: HeaderMap::new(),
            body: CallBody::Empty,
        }
    }

    /// A `GET`.
    pub fn get(path_and_query: impl Into<String>) -> Self {
        Self::new(Method::GET, path_and_query)
    }

    /// A `POST`; not idempotent unless [`Call::idempotent`] says so.
    pub fn post(path_and_query: impl Into<String>) -> Self {
        Self::new(Method::POST, path_and_query)
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<CallBody>) -> Self {
        self.body = body.into();
        self
    }

    /// Says whether sending it twice is as good as sending it once.
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }
}

/// Header values may be secrets, and so may bodies: neither is shown.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("path_and_query", &self.path_and_query)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body", &self.body)
            .field("idempotent", &self.idempotent)
            .finish()
    }
}

impl fmt::Debug for CallBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl From<Bytes> for CallBody {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for CallBody {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Body> for CallBody {
    fn from(body: Body) -> Self {
        Self::Stream(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::AUTHORIZATION;

    #[test]
    fn neither_headers_nor_bodies_show() {
        let call = Call::post("/v1")
            .header(AUTHORIZATION, HeaderValue::from_static("Bearer hunter2"))
            .body(b"hunter2".to_vec());
        let shown = format!("{call:?} {call:#?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("authorization") && shown.contains("7 bytes"));
    }

    #[test]
    fn methods_say_whether_they_may_be_repeated() {
        assert!(Call::get("/").idempotent);
        assert!(Call::new(Method::PUT, "/").idempotent);
        assert!(!Call::post("/").idempotent);
        assert!(Call::post("/").idempotent(true).idempotent);
    }
}
