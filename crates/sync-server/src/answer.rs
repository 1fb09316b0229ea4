//! Answers: JSON, packs, and error bodies.

use http::header::{CONTENT_TYPE, ETAG, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use sync_core::{Fault, SnapshotId};
use sync_store::protocol::{ErrorBody, ErrorDetail};
use sync_transport::Body;

use crate::Error;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    // Our own types serialise: a failure here would be a bug, and is answered as one.
    let (status, bytes) = match serde_json::to_vec(value) {
        Ok(bytes) => (status, bytes),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, b"{}".to_vec()),
    };
    with_type(status, JSON, Body::full(bytes))
}

/// An answer whose body has this content type.
pub(crate) fn with_type(
    status: StatusCode,
    content_type: HeaderValue,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Adds the entity tag that names a snapshot.
pub(crate) fn tagged(mut response: Response<Body>, id: Option<SnapshotId>) -> Response<Body> {
    if let Some(tag) = id.and_then(|id| HeaderValue::try_from(format!("\"{id}\"")).ok()) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// The answer to a request that was refused.
pub(crate) fn refusal(error: &Error, request_id: &str) -> Response<Body> {
    let error_body = ErrorBody {
        error: detail(error, request_id),
    };
    json(error.status(), &error_body)
}

/// What the caller is told of an error.
pub(crate) fn detail(error: &Error, request_id: &str) -> ErrorDetail {
    ErrorDetail {
        code: error.code().to_owned(),
        message: message(error),
        hint: error.hint(),
        request_id: request_id.to_owned(),
        details: error.details(),
    }
}

/// What the caller reads: the whole chain for his own mistakes, only our first line for ours,
/// because the causes below it name files and addresses of the server.
pub(crate) fn message(error: &Error) -> String {
    if error.status().is_server_error() {
        return match error {
            // It has no line of ours, and its own names the database.
            Error::Rows { .. } => "the tenant's rows could not be served".to_owned(),
            _ => error.to_string(),
        };
    }
    let mut text = match error {
        // The wrapper adds nothing for the caller.
        Error::Store { source } => return chain(source),
        Error::Bundle { source } => return chain(source),
        _ => error.to_string(),
    };
    if let Error::Body { source } = error {
        text = format!("{text}: {source}");
    }
    text
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
