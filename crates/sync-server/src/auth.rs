//! Tokens, and what a caller may do.
//!
//! A token is `sync_<id>_<secret>`: 10 random bytes that it is listed by, and 32 that only its holder knows,
//! both in lower-case base32. The store keeps the BLAKE3 digest of the secret, which needs no slow hash:
//! nobody can try 2^256 secrets.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use http::header::{AUTHORIZATION, HeaderMap};
use sync_core::{Digest, Name};
use sync_store::protocol::Scope;

const PREFIX: &str = "sync_";
const ID_BYTES: usize = 10;
const SECRET_BYTES: usize = 32;

/// A new token: the text for its holder, and what the store keeps.
#[derive(Clone)]
pub struct NewSecret {
    /// What the token is listed and revoked by.
    pub id: String,
    /// The whole token, for its holder alone.
    pub text: String,
    /// The digest of the secret part.
    pub hash: Digest,
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSecret")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Makes a token from random bytes of the operating system.
///
/// # Errors
///
/// Where the operating system has no randomness to give.
pub fn new_secret() -> Result<NewSecret, getrandom::Error> {
    let mut random = [0; ID_BYTES + SECRET_BYTES];
    getrandom::fill(&mut random)?;
    let (id, secret) = random.split_at(ID_BYTES);
    let (id, secret) = (base32(id), base32(secret));
    Ok(NewSecret {
        text: format!("{PREFIX}{id}_{secret}"),
        hash: hash(&secret),
        id,
    })
}

fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn hash(secret: &str) -> Digest {
    Digest::of(secret.as_bytes())
}

/// The token that came with a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

/// Splits a token's text into its id and the digest of its secret.
pub fn parse(text: &str) -> Option<(&str, Digest)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    (plain(id) && plain(secret)).then(|| (id, hash(secret)))
}

/// What is stored of a token, as far as judging needs it.
#[derive(Debug, Clone)]
pub struct Known {
    /// The digest of the secret.
    pub hash: Digest,
    /// The only tenant that it reaches.
    pub tenant: Name,
    /// What it allows.
    pub scope: Scope,
    /// When it ends, in milliseconds since 1970-01-01T00:00:00Z.
    pub expires: Option<u64>,
    /// When it was revoked, likewise.
    pub revoked: Option<u64>,
}

/// Why a token is not accepted: told apart in the operator's log, one and the same 401 for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// No token, or a text that is none.
    Malformed,
    /// No token has that id.
    Unknown,
    /// The id exists, the secret is not its own.
    WrongSecret,
    /// It has ended.
    Expired,
    /// It was revoked.
    Revoked,
}

impl Rejection {
    /// The reason as one word of a log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::WrongSecret => "wrong_secret",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Whoever opened the store's own directory or its private socket: the operator.
    Operator,
    /// The holder of a token.
    Token {
        /// Its id, for logs.
        id: String,
        /// The only tenant that it reaches.
        tenant: Name,
        /// What it allows.
        scope: Scope,
    },
}

/// Judges a presented secret against what is known of the token with that id.
pub fn judge(
    id: &str,
    presented: Digest,
    known: Option<Known>,
    now: u64,
) -> Result<Caller, Rejection> {
    let known = known.ok_or(Rejection::Unknown)?;
    // Both are digests: how many leading bytes agree tells nothing about the secret.
    if known.hash != presented {
        return Err(Rejection::WrongSecret);
    }
    if known.revoked.is_some() {
        return Err(Rejection::Revoked);
    }
    if known.expires.is_some_and(|expires| expires <= now) {
        return Err(Rejection::Expired);
    }
    Ok(Caller::Token {
        id: id.to_owned(),
        tenant: known.tenant,
        scope: known.scope,
    })
}

/// Whether `caller` may do what needs `scope` on `tenant`.
pub fn allows(caller: &Caller, tenant: &Name, scope: Scope) -> bool {
    match caller {
        Caller::Operator => true,
        Caller::Token {
            tenant: own,
            scope: granted,
            ..
        } => own == tenant && *granted >= scope,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known {
            hash: hash("s"),
            tenant: "acme".parse().unwrap(),
            scope: Scope::Write,
            expires: Some(100),
            revoked: None,
        }
    }

    #[test]
    fn a_new_token_is_read_back() {
        let secret = new_secret().unwrap();
        assert_eq!(parse(&secret.text), Some((secret.id.as_str(), secret.hash)));
        assert!(!format!("{secret:?}").contains(secret.text.rsplit('_').next().unwrap()));
        for bad in [
            "",
            "sync_",
            "sync_a",
            "sync__b",
            "sync_a_",
            "other_a_b",
            "sync_a_b c",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[track_caller]
    fn check(secret: &str, known: Option<Known>, now: u64, expected: Option<Rejection>) {
        assert_eq!(judge("id", hash(secret), known, now).err(), expected);
    }

    #[test]
    fn each_rejection_has_its_reason() {
        check("s", Some(known()), 99, None);
        check("s", None, 99, Some(Rejection::Unknown));
        check("t", Some(known()), 99, Some(Rejection::WrongSecret));
        check("s", Some(known()), 100, Some(Rejection::Expired));
        check(
            "s",
            Some(Known {
                revoked: Some(1),
                ..known()
            }),
            99,
            Some(Rejection::Revoked),
        );
        // A wrong secret learns nothing about the token's state.
        check(
            "t",
            Some(Known {
                revoked: Some(1),
                ..known()
            }),
            200,
            Some(Rejection::WrongSecret),
        );
    }

    #[test]
    fn a_token_reaches_its_tenant_and_scope_alone() {
        let acme: Name = "acme".parse().unwrap();
        let other: Name = "other".parse().unwrap();
        let caller = judge("id", hash("s"), Some(known()), 0).unwrap();
        assert!(allows(&caller, &acme, Scope::Read));
        assert!(allows(&caller, &acme, Scope::Write));
        assert!(!allows(&caller, &acme, Scope::Deploy));
        assert!(!allows(&caller, &other, Scope::Read));
        assert!(allows(&Caller::Operator, &other, Scope::Admin));
    }
}
