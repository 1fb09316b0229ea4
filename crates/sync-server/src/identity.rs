//! Who a tenant is, and where it lives (ADR 0018).

use data_encoding::HEXLOWER;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use snafu::{OptionExt, ResultExt};
use sync_store::Repository;
use sync_store::identity::{Introduction, Moved, TenantIdentity};
use sync_store::protocol::{IDENTITY_HEADER, MoveTo};
use sync_transport::{Body, Endpoint};

use crate::admin::read_json;
use crate::error::{HasIdentitySnafu, MalformedSnafu, MovedSnafu, NoIdentitySnafu, StoreSnafu};
use crate::route::query;
use crate::{Error, Server, answer};

/// How many bytes a caller may choose for the tenant to sign.
const NONCE: std::ops::RangeInclusive<usize> = 16..=64;

/// Says who the tenant is; signed over what the caller chose, where he did.
pub(crate) async fn show(
    repository: &Repository,
    parameters: Option<&str>,
) -> Result<Response<Body>, Error> {
    let nonce = match query(parameters, "nonce") {
        None => None,
        Some(text) => {
            let bytes = HEXLOWER.decode(text.as_bytes()).ok();
            let bytes = bytes.filter(|bytes| NONCE.contains(&bytes.len()));
            Some(bytes.context(MalformedSnafu {
                reason: "`nonce` is 16 to 64 bytes in hexadecimal digits",
            })?)
        }
    };
    let identity = repository.identity().await.context(StoreSnafu)?;
    let said = match &identity {
        Some(identity) => identity.introduce(nonce.as_deref()),
        None => Introduction::default(),
    };
    Ok(answer::json(StatusCode::OK, &said))
}

/// Makes a tenant somebody that was made before tenants were.
pub(crate) async fn generate(repository: &Repository) -> Result<Response<Body>, Error> {
    let known = repository.identity().await.context(StoreSnafu)?;
    if let Some(known) = known {
        let key = known.key.public_key();
        return HasIdentitySnafu { key }.fail();
    }
    let identity = TenantIdentity::generate().context(StoreSnafu)?;
    become_(repository, &identity).await
}

/// Gives the tenant another key, which the one that it has vouches for.
pub(crate) async fn rotate(repository: &Repository) -> Result<Response<Body>, Error> {
    let rotated = own(repository).await?.rotated().context(StoreSnafu)?;
    become_(repository, &rotated).await
}

async fn become_(
    repository: &Repository,
    identity: &TenantIdentity,
) -> Result<Response<Body>, Error> {
    repository
        .set_identity(identity)
        .await
        .context(StoreSnafu)?;
    Ok(answer::json(StatusCode::OK, &identity.introduce(None)))
}

/// Says where the tenant lives now, from this moment on; or that it lives here again.
pub(crate) async fn set_moved(
    server: &Server,
    repository: &Repository,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let asked: MoveTo = read_json(request).await?;
    let moved = match asked.url {
        None => None,
        Some(url) => {
            Endpoint::parse(&url).map_err(|error| {
                MalformedSnafu {
                    reason: error.to_string(),
                }
                .build()
            })?;
            let url = url.trim_end_matches('/');
            let identity = own(repository).await?;
            Some(Moved::new(&identity, repository.name(), url, server.now()))
        }
    };
    let kept = repository.set_moved(moved.as_ref()).await;
    kept.context(StoreSnafu)?;
    // Who waits for a head of it is told to ask elsewhere.
    server.waiters().moved(repository.name());
    Ok(answer::json(StatusCode::OK, &moved))
}

async fn own(repository: &Repository) -> Result<TenantIdentity, Error> {
    let identity = repository.identity().await.context(StoreSnafu)?;
    identity.with_context(|| NoIdentitySnafu {
        tenant: repository.name(),
    })
}

/// Refuses to go on where the tenant lives elsewhere.
///
/// # Errors
///
/// [`Error::Moved`] with where.
pub(crate) async fn ensure_here(repository: &Repository) -> Result<(), Error> {
    match repository.moved().await.context(StoreSnafu)? {
        Some(moved) => MovedSnafu { moved }.fail(),
        None => Ok(()),
    }
}

/// An answer about heads, with the name of who gives it.
pub(crate) async fn named(
    repository: &Repository,
    mut response: Response<Body>,
) -> Result<Response<Body>, Error> {
    let identity = repository.identity().await.context(StoreSnafu)?;
    let key = identity.and_then(|identity| {
        let key = identity.key.public_key().to_string();
        HeaderValue::try_from(key).ok()
    });
    if let Some(key) = key {
        let name = HeaderName::from_static(IDENTITY_HEADER);
        response.headers_mut().insert(name, key);
    }
    Ok(response)
}
