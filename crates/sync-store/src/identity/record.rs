//! What is kept of a tenant's identity, and how one key follows another.

use serde::{Deserialize, Serialize};
use snafu::OptionExt;
use sync_core::Digest;

use super::{BadSignature, Identity, NoRandomness, PublicKey, Signature};
use crate::error::{CorruptSnafu, Error, RandomnessSnafu};
use crate::repository::Repository;

/// The note of the tenant with its identity.
const NOTE: &str = "identity";
/// The domain of signatures by which a key names the one that follows it.
const SUCCESSION: &str = "succession";
/// The domain of signatures by which a tenant shows that it has its key.
const HELLO: &str = "hello";

/// A key says which one follows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Succession {
    /// The key that signs no more.
    pub from: PublicKey,
    /// By `from`, over the raw bytes of `to`, in the domain `succession`.
    pub signature: Signature,
    /// The key that signs from now on.
    pub to: PublicKey,
}

impl Succession {
    /// Whether the older key really said so.
    pub fn verify(&self) -> Result<(), BadSignature> {
        self.from
            .verify(SUCCESSION, self.to.as_bytes(), &self.signature)
    }

    /// Whether `chain` leads from `known` to `now`: whoever knew the one may take the other for it.
    pub fn leads(chain: &[Self], known: PublicKey, now: PublicKey) -> bool {
        let mut at = known;
        for link in chain {
            if at == now {
                break;
            }
            if link.from == at && link.verify().is_ok() {
                at = link.to;
            }
        }
        at == now
    }
}

/// The key of a tenant, and those that it had before.
#[derive(Debug)]
pub struct TenantIdentity {
    /// What it signs with.
    pub key: Identity,
    /// How its first key led to this one, the oldest first.
    pub successions: Vec<Succession>,
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Record {
    secret: String,
    #[serde(default)]
    successions: Vec<Succession>,
}

/// A tenant says who it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Introduction {
    /// Its public key; absent where it has none.
    pub key: Option<PublicKey>,
    /// How its first key led to this one, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub successions: Vec<Succession>,
    /// By the key, over the bytes that the caller chose, in the domain `hello`; absent where he chose none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

impl Introduction {
    /// The key, where its holder signed `nonce` just now; `None` where the tenant has no key.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] where whoever answered does not have the key that he names.
    pub fn verify(&self, nonce: &[u8]) -> Result<Option<PublicKey>, BadSignature> {
        let Some(key) = self.key else {
            return Ok(None);
        };
        let signature = self.signature.ok_or(BadSignature)?;
        key.verify(HELLO, nonce, &signature)?;
        Ok(Some(key))
    }
}

impl TenantIdentity {
    /// Says who the tenant is, to who chose `nonce`.
    pub fn introduce(&self, nonce: Option<&[u8]>) -> Introduction {
        Introduction {
            key: Some(self.key.public_key()),
            successions: self.successions.clone(),
            signature: nonce.map(|nonce| self.key.sign(HELLO, nonce)),
        }
    }

    /// A new key without a past.
    ///
    /// # Errors
    ///
    /// [`Error::Randomness`].
    pub fn generate() -> Result<Self, Error> {
        Ok(Self {
            key: generate()?,
            successions: Vec::new(),
        })
    }

    /// A new key that this one vouches for.
    ///
    /// # Errors
    ///
    /// [`Error::Randomness`].
    pub fn rotated(self) -> Result<Self, Error> {
        let key = generate()?;
        let to = key.public_key();
        let mut successions = self.successions;
        successions.push(Succession {
            from: self.key.public_key(),
            signature: self.key.sign(SUCCESSION, to.as_bytes()),
            to,
        });
        Ok(Self { key, successions })
    }

    /// The bytes that it is kept as, secret included.
    pub fn encode(&self) -> Vec<u8> {
        let record = Record {
            secret: self.key.secret(),
            successions: self.successions.clone(),
        };
        // Texts and lists of texts always have a JSON.
        serde_json::to_vec(&record).unwrap_or_default()
    }

    /// Reads what [`TenantIdentity::encode`] wrote; `None` where it is something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let record: Record = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            key: Identity::from_secret(&record.secret).ok()?,
            successions: record.successions,
        })
    }
}

fn generate() -> Result<Identity, Error> {
    Identity::generate().map_err(|NoRandomness| RandomnessSnafu.build())
}

impl Repository {
    /// Who the tenant is; `None` where it was made before tenants had identities and nobody has given it one.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where what is kept is no identity.
    pub async fn identity(&self) -> Result<Option<TenantIdentity>, Error> {
        let Some(bytes) = self.note(NOTE).await? else {
            return Ok(None);
        };
        let identity = TenantIdentity::decode(&bytes);
        let corrupt = CorruptSnafu {
            digest: Digest::of(NOTE.as_bytes()),
            reason: "the identity of the tenant does not read",
        };
        identity.context(corrupt).map(Some)
    }

    /// Makes the tenant who `identity` is. Durable when this returns.
    pub async fn set_identity(&self, identity: &TenantIdentity) -> Result<(), Error> {
        self.set_note(NOTE, Some(identity.encode())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[tokio::test]
    async fn a_tenant_is_somebody_from_the_beginning() -> Result<(), Error> {
        let store = Store::in_memory();
        let one = store.create_tenant("one").await?.identity().await?;
        let two = store.create_tenant("two").await?.identity().await?;
        let key = |identity: Option<TenantIdentity>| identity.map(|i| i.key.public_key());
        let (one, two) = (key(one), key(two));
        assert!(one.is_some() && one != two);
        Ok(())
    }

    #[test]
    fn a_hello_is_to_who_chose_the_bytes() -> Result<(), Error> {
        let identity = TenantIdentity::generate()?;
        let said = identity.introduce(Some(b"nonce"));
        assert_eq!(said.verify(b"nonce"), Ok(Some(identity.key.public_key())));
        assert_eq!(said.verify(b"other"), Err(BadSignature));
        assert_eq!(identity.introduce(None).verify(b""), Err(BadSignature));
        assert_eq!(Introduction::default().verify(b"nonce"), Ok(None));
        // Whoever repeats the public key of another does not have it.
        let stranger = Introduction {
            key: said.key,
            ..TenantIdentity::generate()?.introduce(Some(b"nonce"))
        };
        assert_eq!(stranger.verify(b"nonce"), Err(BadSignature));
        Ok(())
    }

    #[test]
    fn who_knew_a_key_follows_its_successions() -> Result<(), Error> {
        let first = TenantIdentity::generate()?;
        let known = first.key.public_key();
        let third = first.rotated()?.rotated()?;
        let now = third.key.public_key();
        let mut chain = third.successions.clone();
        assert!(Succession::leads(&chain, known, now));
        assert!(Succession::leads(&chain, chain[1].from, now));
        assert!(Succession::leads(&[], now, now));
        assert!(!Succession::leads(&chain[1..], known, now));
        assert!(!Succession::leads(&chain[..1], known, now));
        let kept = TenantIdentity::decode(&third.encode()).map(|i| i.key.public_key());
        assert_eq!(kept, Some(now));
        // A stranger names himself as the one who follows.
        let stranger = TenantIdentity::generate()?.rotated()?;
        chain[1] = Succession {
            from: chain[1].from,
            ..stranger.successions[0].clone()
        };
        assert!(!Succession::leads(&chain, known, chain[1].to));
        Ok(())
    }
}
