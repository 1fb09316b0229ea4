//! Whose bundles are taken.

use sync_bundle::{Error as BundleError, Opening};
use sync_store::PublicKey;

use crate::Error;

/// Why a bundle is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// A person named a key that vouches for it.
    Named(PublicKey),
    /// The workspace knows the key, by this url and tenant.
    Known(PublicKey, String),
    /// The tenant may know it as its own.
    Own,
    /// A person takes it whoever it is from.
    Anybody,
}

/// Decides whom to trust, of the keys that a person named and of those of tenants that the workspace has `met`; what the tenant
/// itself knows is asked there.
///
/// # Errors
///
/// [`BundleError::Unsigned`].
pub(super) fn trust(
    opening: &Opening,
    met: Vec<(String, PublicKey)>,
    named: &[PublicKey],
    anybody: bool,
) -> Result<Trust, Error> {
    let Some(signer) = &opening.signer else {
        return if anybody {
            Ok(Trust::Anybody)
        } else {
            Err(BundleError::Unsigned.into())
        };
    };
    let mut named = named.iter().filter(|key| signer.follows(**key));
    let mut known = met.into_iter().filter(|(_, key)| signer.follows(*key));
    Ok(match (named.next(), known.next()) {
        (Some(key), _) => Trust::Named(*key),
        (None, Some((name, key))) => Trust::Known(key, name),
        (None, None) if anybody => Trust::Anybody,
        (None, None) => Trust::Own,
    })
}

impl Trust {
    /// What the tenant is told.
    pub(super) fn parameters(&self, force: bool) -> String {
        let trust = match self {
            Self::Named(key) | Self::Known(key, _) => format!("trust={key}&"),
            Self::Own => String::new(),
            Self::Anybody => "trust=anybody&".to_owned(),
        };
        format!("{trust}force={force}")
    }

    /// What a person is told.
    pub(super) fn words(&self, opening: &Opening) -> String {
        let Some(signer) = &opening.signer else {
            return "signed by nobody".to_owned();
        };
        let key = signer.public_key;
        match self {
            Self::Named(_) => format!("signed by {key}, whom you trust"),
            Self::Known(_, name) => format!("signed by {key}, known as {name}"),
            Self::Own => format!("signed by {key}, the tenant itself"),
            Self::Anybody => format!("signed by {key}, whoever that is"),
        }
    }
}

/// The refusal of a tenant that does not know the signer, as our own.
pub(super) fn explain(opening: &Opening, error: sync_engine::Error) -> Error {
    match (&error, &opening.signer) {
        (sync_engine::Error::Refused { code, .. }, Some(signer)) if code == "bundle/untrusted" => {
            let tenant = opening.manifest.source.tenant.to_string();
            let key = signer.public_key;
            BundleError::Untrusted { key, tenant }.into()
        }
        _ => error.into(),
    }
}
