//! What goes to the tenant's server and comes from it, as JSON and headers.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use snafu::ensure;
use sync_core::SnapshotId;
use sync_store::identity::Moved;
use sync_store::protocol::{self, Details, ErrorBody, ErrorDetail, Logged};
use sync_transport::{Body, CallBody};

use crate::Error;
use crate::error::{AnswerSnafu, RefusedSnafu};

/// The most bytes of a JSON answer; a page of the log may be long.
const MAX_JSON: usize = 64 << 20;

/// Where the tenant has moved to, where the answer says so; and the answer, as it was.
pub(super) async fn pointer(response: Response<Body>) -> (Response<Body>, Option<Box<Moved>>) {
    let (parts, body) = response.into_parts();
    let bytes = body.read_to_end(MAX_JSON).await.unwrap_or_default();
    let said = serde_json::from_slice::<ErrorBody>(&bytes).ok();
    let moved = said.and_then(|said| match said.error.details? {
        Details::Moved(moved) => Some(moved),
        _ => None,
    });
    (Response::from_parts(parts, Body::full(bytes)), moved)
}

pub(super) fn check_logged(logged: &Logged) -> Result<(), Error> {
    let named = logged
        .snapshot
        .encode()
        .is_ok_and(|(id, _)| id == logged.id);
    ensure!(
        named,
        AnswerSnafu {
            reason: format!("snapshot {} is not what its id promises", logged.id.short())
        }
    );
    if let Some(release) = &logged.release {
        let named = release.encode().ok().map(|(digest, _)| digest);
        ensure!(
            named.is_some() && named == logged.snapshot.roots.release,
            AnswerSnafu {
                reason: format!("the release of snapshot {} is another", logged.id.short())
            }
        );
    }
    Ok(())
}

pub(super) fn json_body(value: &impl Serialize) -> CallBody {
    CallBody::Bytes(Bytes::from(serde_json::to_vec(value).unwrap_or_default()))
}

pub(super) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Error> {
    let bytes = body.read_to_end(MAX_JSON).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        AnswerSnafu {
            reason: error.to_string(),
        }
        .build()
    })
}

/// The body of a success; anything else as an error.
pub(super) async fn expect_ok(response: Response<Body>) -> Result<Body, Error> {
    if response.status().is_success() {
        return Ok(response.into_body());
    }
    Err(refusal(response).await.0)
}

/// What a refusing answer says; a body that is not of the protocol (a proxy's page, say) is told by its status.
pub(super) async fn refusal(response: Response<Body>) -> (Error, Option<Details>) {
    let status = response.status();
    let seconds = response.headers().get(http::header::RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = seconds.map(Duration::from_secs);
    let header = response.headers().get(protocol::REQUEST_ID_HEADER);
    let request_id = header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let bytes = response
        .into_body()
        .read_to_end(MAX_JSON)
        .await
        .unwrap_or_default();
    if let Ok(ErrorBody { mut error }) = serde_json::from_slice::<ErrorBody>(&bytes) {
        let details = error.details.take();
        (refused(status.as_u16(), error, retry_after), details)
    } else {
        let message = format!("answered {status}");
        let refused = RefusedSnafu {
            status: status.as_u16(),
            code: "",
            message,
            advice: None,
            request_id,
            retry_after,
        };
        (refused.build(), None)
    }
}

/// What the server says of a failure, as our own error.
pub(super) fn refused(status: u16, said: ErrorDetail, retry_after: Option<Duration>) -> Error {
    // Text of the server must not write to a terminal.
    let plain = |text: String| text.replace(|c: char| c.is_control(), " ");
    RefusedSnafu {
        status,
        code: said.code,
        message: plain(said.message),
        advice: said.hint.map(plain),
        request_id: said.request_id,
        retry_after,
    }
    .build()
}

pub(super) fn quoted(id: SnapshotId) -> HeaderValue {
    plain(format!("\"{id}\""))
}

/// A header value made of hexadecimal digits, quotes and commas, which always is one.
pub(super) fn plain(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

pub(super) fn typed(content_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
}
