//! That a tenant lives elsewhere now, as it says itself.

use serde::{Deserialize, Serialize};
use snafu::OptionExt;
use sync_core::Digest;

use super::{BadSignature, PublicKey, Signature, Succession, TenantIdentity};
use crate::error::{CorruptSnafu, Error};
use crate::repository::Repository;

/// The note of the tenant with where it has moved to.
const NOTE: &str = "moved";
/// The domain of signatures by which a tenant says where it has moved to.
const MOVED: &str = "moved";

/// A tenant says where it lives now.
///
/// The signature is over the JSON of `key`, `tenant`, `time` and `url` in this order, without white space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// What is signed.
    #[serde(flatten)]
    pub statement: Statement,
    /// By the key of the statement, in the domain `moved`.
    pub signature: Signature,
    /// How the first key of the tenant led to that one, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub successions: Vec<Succession>,
}

/// Which tenant lives where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Who says so.
    pub key: PublicKey,
    /// What the tenant is called, here and there.
    pub tenant: String,
    /// When it was said, in milliseconds since 1970-01-01T00:00:00Z.
    pub time: u64,
    /// The address of the server where it lives.
    pub url: String,
}

impl Statement {
    /// The bytes that are signed.
    fn encode(&self) -> Vec<u8> {
        // A number and texts always have a JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Moved {
    /// The tenant that `identity` is says that it lives at `url`.
    pub fn new(identity: &TenantIdentity, tenant: &str, url: &str, time: u64) -> Self {
        let statement = Statement {
            key: identity.key.public_key(),
            tenant: tenant.to_owned(),
            time,
            url: url.to_owned(),
        };
        Self {
            signature: identity.key.sign(MOVED, &statement.encode()),
            successions: identity.successions.clone(),
            statement,
        }
    }

    /// Whether the tenant of the statement's key really said so.
    pub fn verify(&self) -> Result<(), BadSignature> {
        let Statement { key, .. } = &self.statement;
        key.verify(MOVED, &self.statement.encode(), &self.signature)
    }
}

impl Repository {
    /// Where the tenant lives now; `None` where that is here.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where what is kept does not read.
    pub async fn moved(&self) -> Result<Option<Moved>, Error> {
        let Some(bytes) = self.note(NOTE).await? else {
            return Ok(None);
        };
        let corrupt = CorruptSnafu {
            digest: Digest::of(NOTE.as_bytes()),
            reason: "where the tenant has moved to does not read",
        };
        let moved = serde_json::from_slice(&bytes).ok();
        moved.context(corrupt).map(Some)
    }

    /// Remembers where the tenant lives now; `None` says that it is here. Durable when this returns.
    pub async fn set_moved(&self, moved: Option<&Moved>) -> Result<(), Error> {
        let note = moved.map(|moved| serde_json::to_vec(moved).unwrap_or_default());
        self.set_note(NOTE, note).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[test]
    fn what_a_pointer_says_is_what_was_signed() -> Result<(), Error> {
        let identity = TenantIdentity::generate()?.rotated()?;
        let moved = Moved::new(&identity, "acme", "https://new", 5);
        assert_eq!(moved.verify(), Ok(()));
        let text = serde_json::to_string(&moved).unwrap();
        let read: Moved = serde_json::from_str(&text).unwrap();
        assert_eq!((read.verify(), &read), (Ok(()), &moved));
        let other = TenantIdentity::generate()?.key.public_key();
        for changed in [
            text.replace("https://new", "https://evil"),
            text.replace("\"acme\"", "\"other\""),
            text.replace("\"time\":5", "\"time\":6"),
            text.replacen(&moved.statement.key.to_string(), &other.to_string(), 1),
        ] {
            assert_ne!(changed, text);
            let changed: Moved = serde_json::from_str(&changed).unwrap();
            assert_eq!(changed.verify(), Err(BadSignature));
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_tenant_moves_and_comes_back() -> Result<(), Error> {
        let repository = Store::in_memory().create_tenant("acme").await?;
        assert_eq!(repository.moved().await?, None);
        let identity = TenantIdentity::generate()?;
        let moved = Moved::new(&identity, "acme", "https://new", 5);
        repository.set_moved(Some(&moved)).await?;
        assert_eq!(repository.moved().await?, Some(moved));
        repository.set_moved(None).await?;
        assert_eq!(repository.moved().await?, None);
        Ok(())
    }
}
