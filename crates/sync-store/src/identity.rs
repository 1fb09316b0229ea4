//! Who a tenant is: an Ed25519 key (RFC 8032) that it signs with, and that others know it by, wherever it lives.
//!
//! Every signature is over `sync`, a space, a domain, a zero byte and the message, so that what was signed for one purpose
//! says nothing in another.

mod moved;
mod record;

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use snafu::Snafu;

pub use moved::{Moved, Statement};
pub use record::{Introduction, Succession, TenantIdentity};

/// What the text of a public key starts with.
const PREFIX: &str = "ed25519:";
const KEY_LEN: usize = 32;
const SIGNATURE_LEN: usize = 64;

/// The public half of a key: written as `ed25519:` and 64 lower-case hexadecimal digits.
///
/// That text is its own fingerprint: a digest of it would be no shorter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

/// A signature: written as 128 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; SIGNATURE_LEN]);

/// A key that signs. Its secret half is in no output of `Debug`, and leaves by [`Identity::secret`] alone.
pub struct Identity {
    seed: [u8; KEY_LEN],
    pair: Ed25519KeyPair,
}

/// A text is no key and no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Snafu)]
pub enum ParseKeyError {
    /// No public key.
    #[snafu(display("a public key is `ed25519:` and 64 lower-case hexadecimal digits"))]
    PublicKey,
    /// No signature.
    #[snafu(display("a signature is 128 lower-case hexadecimal digits"))]
    Signature,
    /// No secret key.
    #[snafu(display("a secret key is 64 lower-case hexadecimal digits"))]
    Secret,
}

/// A signature is not by the key over the message in the domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Snafu)]
#[snafu(display("the signature is not by this key over these bytes"))]
pub struct BadSignature;

/// The operating system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Snafu)]
#[snafu(display("the operating system gave no randomness"))]
pub struct NoRandomness;

impl PublicKey {
    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Whether `signature` is by this key over `message` in `domain`.
    pub fn verify(
        &self,
        domain: &str,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), BadSignature> {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        let verified = key.verify(&framed(domain, message), &signature.0);
        verified.map_err(|_| BadSignature)
    }
}

impl Identity {
    /// A new key, from the randomness of the operating system.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut seed = [0; KEY_LEN];
        let filled = SystemRandom::new().fill(&mut seed);
        filled.map_err(|_| NoRandomness)?;
        Self::from_seed(seed).ok_or(NoRandomness)
    }

    /// The key whose secret half is this text, as [`Identity::secret`] gave it.
    pub fn from_secret(text: &str) -> Result<Self, ParseKeyError> {
        let seed = hex(text).and_then(Self::from_seed);
        seed.ok_or(ParseKeyError::Secret)
    }

    fn from_seed(seed: [u8; KEY_LEN]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        Some(Self { seed, pair })
    }

    /// The secret half: the seed of RFC 8032, as 64 hexadecimal digits.
    /// Whoever has it is the tenant for everybody else; it belongs into a file or a store that its operator alone reads.
    pub fn secret(&self) -> String {
        HEXLOWER.encode(&self.seed)
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        let mut bytes = [0; KEY_LEN];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs `message` in `domain`. The same bytes always have the same signature.
    pub fn sign(&self, domain: &str, message: &[u8]) -> Signature {
        let mut bytes = [0; SIGNATURE_LEN];
        bytes.copy_from_slice(self.pair.sign(&framed(domain, message)).as_ref());
        Signature(bytes)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("public_key", &self.public_key())
            .finish_non_exhaustive()
    }
}

/// What is signed: the domain cannot hold a zero byte that would end it elsewhere, as domains are constants of the program.
fn framed(domain: &str, message: &[u8]) -> Vec<u8> {
    [b"sync ", domain.as_bytes(), b"\0", message].concat()
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let bytes = text.strip_prefix(PREFIX).and_then(hex);
        bytes.map(Self).ok_or(ParseKeyError::PublicKey)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signature {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        hex(text).map(Self).ok_or(ParseKeyError::Signature)
    }
}

/// As text, in JSON and everywhere else.
macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(PublicKey);
as_text!(Signature);

#[cfg(test)]
mod tests {
    use super::*;

    /// The first vector of RFC 8032, section 7.1: the seed and its public key.
    const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PUBLIC: &str = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn the_vector_of_the_rfc_holds() {
        let identity = Identity::from_secret(SEED).unwrap();
        assert_eq!(identity.public_key().to_string(), PUBLIC);
        assert_eq!(identity.secret(), SEED);
    }

    #[test]
    fn a_signature_holds_for_its_key_domain_and_message_alone() {
        let identity = Identity::generate().unwrap();
        let other = Identity::generate().unwrap();
        let signature = identity.sign("bundle", b"message");
        let key = identity.public_key();
        assert_eq!(key.verify("bundle", b"message", &signature), Ok(()));
        assert_eq!(identity.sign("bundle", b"message"), signature);
        for refused in [
            key.verify("bundle", b"massage", &signature),
            key.verify("moved", b"message", &signature),
            key.verify("bundl", b"e\0message", &signature),
            other.public_key().verify("bundle", b"message", &signature),
        ] {
            assert_eq!(refused, Err(BadSignature));
        }
    }

    #[test]
    fn texts_round_trip_and_are_strict() {
        let identity = Identity::from_secret(SEED).unwrap();
        let signature = identity.sign("bundle", b"");
        assert_eq!(PUBLIC.parse(), Ok(identity.public_key()));
        assert_eq!(signature.to_string().parse(), Ok(signature));
        assert!(!format!("{identity:?}").contains(SEED));
        for bad in ["", "ed25519:", &PUBLIC[8..], &PUBLIC.to_uppercase()] {
            assert_eq!(bad.parse::<PublicKey>(), Err(ParseKeyError::PublicKey));
        }
        assert_eq!("00".parse::<Signature>(), Err(ParseKeyError::Signature));
        assert!(Identity::from_secret(&SEED[2..]).is_err());
    }
}
