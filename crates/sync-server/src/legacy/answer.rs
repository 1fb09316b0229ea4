//! The JSON that legacy clients read.

use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use sync_core::Class;
use sync_transport::Body;

use crate::error::Error;
use crate::{answer, route};

/// A time in milliseconds since 1970 as RFC 3339 in UTC.
pub(super) fn time(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    time.to_string()
}

/// The answer to a push.
#[derive(Debug, Serialize)]
pub(super) struct Pushed {
    pub(super) files_uploaded: u64,
    pub(super) uploaded_at: String,
}

pub(super) fn pushed(pushed: &Pushed) -> Response<Body> {
    answer::json(StatusCode::OK, pushed)
}

/// The password of a database is handed to nobody.
pub(super) fn database() -> Response<Body> {
    both(json!({"database_url": null}))
}

/// One body for both kinds of clients: those that read the members, and those that read them from `data`.
pub(super) fn both(mut members: Value) -> Response<Body> {
    members["data"] = members.clone();
    answer::json(StatusCode::OK, &members)
}

/// The answer to a request that was refused, in both shapes.
pub(super) fn refusal(error: &Error, trace_id: &str, now: u64) -> Response<Body> {
    let (status, code) = status_of(error);
    let message = answer::message(error);
    let mut body = json!({
        "code": code,
        "message": message,
        "trace_id": trace_id,
        "timestamp": time(now),
        "error": {"code": code, "message": message},
    });
    if let Error::Tarball { refusal, place } = error {
        body["details"] = json!({"reason": refusal.name(), "path": place});
    }
    if let Error::Import { refusal, place } = error {
        body["details"] = json!({"reason": refusal.name(), "path": place});
    }
    answer::json(status, &body)
}

/// 503 is sent again by itself, so it is for what passes by itself.
fn status_of(error: &Error) -> (StatusCode, &'static str) {
    match error {
        Error::Unauthorized { .. } => (StatusCode::UNAUTHORIZED, "unauthorized"),
        Error::Forbidden { .. } | Error::OperatorOnly => (StatusCode::FORBIDDEN, "forbidden"),
        Error::NoRoute {
            reason: route::NoRoute::Name,
        }
        | Error::Malformed { .. }
        | Error::BranchKept { .. }
        | Error::HasIdentity { .. }
        | Error::NoIdentity { .. }
        | Error::Body { .. } => (StatusCode::BAD_REQUEST, "bad_request"),
        Error::NoRoute { .. }
        | Error::NoTenant { .. }
        | Error::NoSnapshot { .. }
        | Error::NoPlace { .. }
        | Error::NoRelease { .. }
        | Error::NoToken { .. } => (StatusCode::NOT_FOUND, "not_found"),
        Error::Tarball { .. } | Error::Import { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "validation_error")
        }
        Error::Stale { .. } | Error::Deploying { .. } | Error::OtherRelease => {
            (StatusCode::CONFLICT, "conflict_error")
        }
        Error::Moved { .. } => (StatusCode::GONE, "gone"),
        // What failed fails again when it is sent again; no request of theirs leads to a bundle.
        Error::NotDeployed { .. }
        | Error::Bundle { .. }
        | Error::NoSecret { .. }
        | Error::Deploy { .. }
        | Error::Random { .. }
        | Error::NoDatabaseUrl { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
        Error::Store { source } => store_status(source),
        Error::Rows { source } => rows_status(source),
    }
}

fn rows_status(error: &sync_rows::Error) -> (StatusCode, &'static str) {
    use sync_core::Fault as _;
    match error.class() {
        Class::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable"),
        Class::Conflict => (StatusCode::CONFLICT, "conflict_error"),
        // Their senders know nothing of databases and maps: whatever else is wrong with those is no mistake of theirs.
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
    }
}

fn store_status(error: &sync_store::Error) -> (StatusCode, &'static str) {
    use sync_core::Fault as _;
    match (error, error.class()) {
        // What was found stored a moment ago was cleared away meanwhile: sent again, it is kept.
        (sync_store::Error::Incomplete { .. }, _) | (_, Class::Unavailable) => {
            (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable")
        }
        (sync_store::Error::Malformed { .. }, _) | (_, Class::Usage) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "validation_error")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Rejection;
    use crate::legacy::Refusal;

    #[track_caller]
    fn check(error: &Error, status: u16, code: &str) {
        let (found, name) = status_of(error);
        assert_eq!((found.as_u16(), name), (status, code), "{error}");
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(time(1_700_000_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(time(1_700_000_000_120), "2023-11-14T22:13:20.12Z");
        assert!(time(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn only_what_passes_is_sent_again() {
        let store = |source| Error::Store { source };
        let rejection = Rejection::Expired;
        check(&Error::Unauthorized { rejection }, 401, "unauthorized");
        check(&Error::OperatorOnly, 403, "forbidden");
        check(&Error::NoTenant { tenant: "a".into() }, 404, "not_found");
        let reason = route::NoRoute::Method;
        check(&Error::NoRoute { reason }, 404, "not_found");
        check(&Error::Malformed { reason: "x".into() }, 400, "bad_request");
        check(&Error::Stale { head: None }, 409, "conflict_error");
        let tarball = Error::Tarball {
            refusal: Refusal::Link,
            place: "a".into(),
        };
        check(&tarball, 422, "validation_error");
        let missing = sync_store::Error::Incomplete {
            missing: Vec::new(),
            total: 1,
        };
        check(&store(missing), 503, "service_unavailable");
        let damaged = sync_store::Error::Corrupt {
            digest: sync_core::Digest::of(b""),
            reason: "x",
        };
        check(&store(damaged), 500, "internal_error");
    }
}
