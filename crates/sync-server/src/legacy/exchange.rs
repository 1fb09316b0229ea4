//! The token exchange (RFC 8693): an API token for an access token that ends soon.
//!
//! An access token is `synca_<id>_<end>_<proof>`: the id of the API token it was given for, when it ends, and a keyed BLAKE3
//! digest of both. Nothing is stored, so none can pile up. What it allows is read from the API token at every request, so
//! it allows no more, and is void as soon as that one ends or is revoked.
//!
//! The key is random and lives as long as the process: a stolen catalogue holds nothing to make tokens with, and after a
//! restart clients hear 401 and exchange again, as they do every hour.

use std::sync::OnceLock;

use data_encoding::BASE32_NOPAD;
use http::header::{CACHE_CONTROL, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;
use snafu::ResultExt;
use sync_transport::{Body, Peer};

use super::form::Form;
use crate::auth::{self, Caller, Rejection};
use crate::error::{RandomSnafu, UnauthorizedSnafu};
use crate::{Error, Server, answer};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const TYPE: &str = "urn:ietf:params:oauth:token-type:";
const PREFIX: &str = "synca_";

/// How long an access token is good, unless its API token ends before: an hour.
const LIFETIME_MS: u64 = 3_600_000;
/// The most bytes of a request.
const MAX_FORM: usize = 16 * 1024;

/// The key of access tokens, made when it is first needed.
#[derive(Default)]
pub(super) struct Exchange {
    key: OnceLock<[u8; 32]>,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl Exchange {
    fn access_token(&self, id: &str, ends: u64) -> Result<String, Error> {
        if self.key.get().is_none() {
            let mut key = [0; 32];
            getrandom::fill(&mut key).context(RandomSnafu)?;
            // Of two at once the first counts.
            let _ = self.key.set(key);
        }
        let proof = self.key.get().map(|key| proof(key, id, ends));
        let proof = proof.map_or_else(String::new, |proof| {
            BASE32_NOPAD.encode(proof.as_bytes()).to_ascii_lowercase()
        });
        Ok(format!("{PREFIX}{id}_{ends}_{proof}"))
    }

    /// The id of the API token that an access token stands for.
    pub(super) fn subject<'t>(&self, token: &'t str, now: u64) -> Result<&'t str, Rejection> {
        let mut parts = token.splitn(3, '_');
        let (Some(id), Some(ends), Some(presented)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(Rejection::Malformed);
        };
        let ends: u64 = ends.parse().map_err(|_| Rejection::Malformed)?;
        let presented = BASE32_NOPAD
            .decode(presented.to_ascii_uppercase().as_bytes())
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or(Rejection::Malformed)?;
        let key = self.key.get().ok_or(Rejection::Unknown)?;
        // `blake3::Hash` compares in constant time.
        if proof(key, id, ends) != blake3::Hash::from_bytes(presented) {
            return Err(Rejection::WrongSecret);
        }
        if ends <= now {
            return Err(Rejection::Expired);
        }
        Ok(id)
    }
}

fn proof(key: &[u8; 32], id: &str, ends: u64) -> blake3::Hash {
    blake3::keyed_hash(key, format!("{id}_{ends}").as_bytes())
}

/// Who calls, by an API token or an access token.
pub(super) async fn caller(
    server: &Server,
    headers: &HeaderMap,
    peer: Peer,
) -> Result<Caller, Error> {
    let access = auth::bearer(headers).and_then(|token| token.strip_prefix(PREFIX));
    let (Some(access), Peer::Tcp(_)) = (access, peer) else {
        return server.caller(headers, &peer).await;
    };
    let now = server.now();
    let subject = server.legacy().exchange.subject(access, now);
    let rejected = |rejection| UnauthorizedSnafu { rejection }.build();
    let id = subject.map_err(rejected)?;
    let known = server.known_token(id).await?;
    let hash = known.as_ref().map(|known| known.hash).unwrap_or_default();
    auth::judge(id, hash, known, now).map_err(rejected)
}

/// Why an exchange is refused, in the words of RFC 6749.
#[derive(Debug)]
pub(super) struct Grievance {
    error: &'static str,
    description: &'static str,
}

const fn invalid(description: &'static str) -> Grievance {
    Grievance {
        error: "invalid_request",
        description,
    }
}

/// Answers a token request.
pub(super) async fn serve(server: &Server, body: Body) -> Response<Body> {
    let outcome = async {
        let form = body.read_to_end(MAX_FORM).await;
        let form = form.map_err(|_| invalid("the form could not be read"))?;
        let form = std::str::from_utf8(&form).ok().and_then(Form::parse);
        let form = form.ok_or(invalid("the form does not decode"))?;
        exchange(server, subject_token(&form)?).await
    };
    let (status, body) = match outcome.await {
        Ok(body) => (StatusCode::OK, body),
        Err(Grievance { error, description }) => {
            tracing::info!(error, description, "no access token");
            let status = match error {
                "server_error" => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::BAD_REQUEST,
            };
            (
                status,
                json!({"error": error, "error_description": description}),
            )
        }
    };
    let mut response = answer::json(status, &body);
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

pub(super) fn subject_token(form: &Form) -> Result<&str, Grievance> {
    for name in ["grant_type", "subject_token", "subject_token_type"] {
        if form.repeats(name) {
            return Err(invalid("a parameter is given twice"));
        }
    }
    match form.value("grant_type") {
        Some(GRANT) => {}
        Some(_) => {
            return Err(Grievance {
                error: "unsupported_grant_type",
                description: "the only grant is the token exchange",
            });
        }
        None => return Err(invalid("`grant_type` is missing")),
    }
    match form
        .value("subject_token_type")
        .map(|name| name.strip_prefix(TYPE))
    {
        Some(Some("jwt" | "access_token")) => {}
        _ => return Err(invalid("`subject_token_type` is none that is known")),
    }
    let token = form.value("subject_token");
    token.ok_or(invalid("`subject_token` is missing"))
}

async fn exchange(server: &Server, token: &str) -> Result<serde_json::Value, Grievance> {
    let failed = |error: Error| match error {
        Error::Unauthorized { rejection } => {
            tracing::warn!(rejection = rejection.as_str(), "unauthorized");
            invalid("the subject token is not valid")
        }
        error => {
            crate::server::log_refusal(&error);
            Grievance {
                error: "server_error",
                description: "the server could not exchange the token",
            }
        }
    };
    // Of API tokens alone: an access token for an access token would never end.
    let (id, expires) = server.api_token(token).await.map_err(failed)?;
    let now = server.now();
    let ends = now.saturating_add(LIFETIME_MS);
    let ends = expires.map_or(ends, |expires| expires.min(ends));
    let access = server.legacy().exchange.access_token(&id, ends);
    Ok(json!({
        "access_token": access.map_err(failed)?,
        "token_type": "Bearer",
        "expires_in": ends.saturating_sub(now) / 1000,
        "issued_token_type": format!("{TYPE}access_token"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_token_is_good_to_its_end_and_as_it_was_given() {
        let exchange = Exchange::default();
        assert_eq!(exchange.subject("a_9_aa", 0), Err(Rejection::Malformed));
        let token = exchange.access_token("abc", 100).unwrap();
        let token = token.strip_prefix(PREFIX).unwrap();
        assert_eq!(exchange.subject(token, 99), Ok("abc"));
        assert_eq!(exchange.subject(token, 100), Err(Rejection::Expired));
        let later = token.replace("_100_", "_101_");
        assert_eq!(exchange.subject(&later, 99), Err(Rejection::WrongSecret));
        let other = token.replace("abc", "abd");
        assert_eq!(exchange.subject(&other, 99), Err(Rejection::WrongSecret));
        // Another process has another key, and one that was never asked has none.
        let stranger = Exchange::default();
        assert_eq!(stranger.subject(token, 99), Err(Rejection::Unknown));
        stranger.access_token("abc", 100).unwrap();
        assert_eq!(stranger.subject(token, 99), Err(Rejection::WrongSecret));
        for bad in ["", "abc", "abc_100", "abc_x_y", "abc_100_"] {
            assert_eq!(
                exchange.subject(bad, 99),
                Err(Rejection::Malformed),
                "{bad}"
            );
        }
    }

    #[track_caller]
    fn check(form: &str, expected: Result<&str, &str>) {
        let form = Form::parse(form).unwrap();
        assert_eq!(
            subject_token(&form).map_err(|grievance| grievance.error),
            expected
        );
    }

    #[test]
    fn a_form_is_one_grant_of_one_token() {
        let good =
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=t";
        let jwt = "&subject_token_type=urn:ietf:params:oauth:token-type:jwt";
        check(&format!("{good}{jwt}"), Ok("t"));
        check(
            &format!(
                "{good}{}&client_id=sp_web&resource=x",
                jwt.replace("jwt", "access_token")
            ),
            Ok("t"),
        );
        check(good, Err("invalid_request"));
        check(
            &format!("{good}{jwt}&subject_token=u"),
            Err("invalid_request"),
        );
        check(
            &format!("{good}{}", jwt.replace("jwt", "saml2")),
            Err("invalid_request"),
        );
        check("grant_type=password", Err("unsupported_grant_type"));
        check("", Err("invalid_request"));
    }
}
