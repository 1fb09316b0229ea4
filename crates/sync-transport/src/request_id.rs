//! The name of one request, the same in both ends' logs and in errors.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use http::{HeaderName, HeaderValue};

/// The header that carries a [`RequestId`] in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The header of a request that is sent again, with the number of the attempt, from 2.
pub const ATTEMPT: HeaderName = HeaderName::from_static("sync-attempt");

/// One to 64 ASCII letters, digits, `-`, `_` and `.`: safe in a log line whoever chose it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The longest id, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// A new one: 64 random bits in hexadecimal.
    pub fn random() -> Self {
        Self(HEXLOWER.encode(&random().to_be_bytes()).into())
    }

    /// Takes over what a peer sent, if it is an id.
    pub fn parse(text: &str) -> Option<Self> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let length = 1..=Self::MAX_BYTES;
        (length.contains(&text.len()) && text.bytes().all(fine)).then(|| Self(text.into()))
    }

    /// The id in a header map, if there is a valid one.
    pub(crate) fn from_headers(headers: &http::HeaderMap) -> Option<Self> {
        Self::parse(headers.get(REQUEST_ID)?.to_str().ok()?)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as the value of a header.
    pub(crate) fn to_header(&self) -> HeaderValue {
        // The alphabet of ids is a part of that of header values.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A random number, for names and jitter; not for keys.
pub(crate) fn random() -> u64 {
    // Without a source of randomness the address of a fresh allocation still differs between calls and processes.
    getrandom::u64().unwrap_or_else(|_| {
        use std::hash::{BuildHasher as _, RandomState};
        RandomState::new().hash_one(0u8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, valid: bool) {
        assert_eq!(RequestId::parse(text).is_some(), valid, "{text:?}");
    }

    #[test]
    fn only_what_is_safe_in_a_log_is_taken_over() {
        check("0123-abc_DEF.9", true);
        check("", false);
        check("a b", false);
        check("a\nb", false);
        check("é", false);
        check(&"x".repeat(64), true);
        check(&"x".repeat(65), false);
    }

    #[test]
    fn random_ids_are_ids_and_differ() {
        let (one, two) = (RequestId::random(), RequestId::random());
        assert_ne!(one, two);
        assert_eq!(RequestId::parse(one.as_str()), Some(one.clone()));
        assert_eq!(one.to_header(), one.as_str());
    }
}
