//! What a tenant runs, named by the digest of its canonical JSON.

use serde::{Deserialize, Serialize};
use snafu::{OptionExt, ResultExt, Snafu, ensure};

use crate::Digest;

/// What a tenant runs, and what it was made from.
// Fields are in alphabetical order: that is the canonical order of the JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The commit of the source, as git names it; absent outside of a checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Of everything that the image was made from, and the configuration that it runs with: equal ones need no deploy.
    pub contents: Digest,
    /// Whether the source had changes that the commit does not have.
    pub dirty: bool,
    /// The image: `registry/repository@sha256:…`.
    pub image: String,
    /// What people call it.
    pub tag: String,
}

/// Why bytes are not a release.
#[derive(Debug, Snafu)]
pub enum ReleaseError {
    /// More bytes than any release has.
    #[snafu(display("a release has at most {} bytes", Release::MAX_LEN))]
    TooLong,
    /// Not the JSON of a release.
    #[snafu(display("the bytes are not the JSON of a release"))]
    Malformed {
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The JSON of a release, but not in its one canonical form.
    #[snafu(display("the JSON of the release is not in canonical form"))]
    NotCanonical,
    /// The image is not named by digest.
    #[snafu(display("the image is not named as `repository@sha256:` and 64 hexadecimal digits"))]
    Image,
}

impl Release {
    /// The most bytes of canonical JSON.
    pub const MAX_LEN: usize = 16 * 1024;

    /// The canonical JSON (RFC 8785: sorted keys, no white space) and the digest that names it.
    ///
    /// # Errors
    ///
    /// [`ReleaseError::TooLong`], [`ReleaseError::Image`].
    pub fn encode(&self) -> Result<(Digest, Vec<u8>), ReleaseError> {
        let bytes = serde_json::to_vec(self).context(MalformedSnafu)?;
        ensure!(bytes.len() <= Self::MAX_LEN, TooLongSnafu);
        ensure!(self.has_digest(), ImageSnafu);
        Ok((Digest::of(&bytes), bytes))
    }

    /// Reads canonical JSON; the caller compares [`Digest::of`] the bytes with the name it asked for.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReleaseError> {
        ensure!(bytes.len() <= Self::MAX_LEN, TooLongSnafu);
        let release: Self = serde_json::from_slice(bytes).context(MalformedSnafu)?;
        let canonical = serde_json::to_vec(&release).context(MalformedSnafu)?;
        ensure!(release.has_digest(), ImageSnafu);
        (canonical == bytes)
            .then_some(release)
            .context(NotCanonicalSnafu)
    }

    fn has_digest(&self) -> bool {
        let digest = self.image.split_once("@sha256:");
        digest.is_some_and(|(name, hex)| {
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            !name.is_empty() && hex.len() == 64 && hex.bytes().all(is_hex)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Release {
        Release {
            commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
            contents: Digest::of(b"contents"),
            dirty: false,
            image: format!("registry.example.com/agents@sha256:{}", "ab".repeat(32)),
            tag: "deploy-1700000000-0123456".into(),
        }
    }

    /// The test vector of `docs/formats.md`.
    #[test]
    fn canonical_json_is_stable() {
        let (id, bytes) = example().encode().unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            format!(
                r#"{{"commit":"0123456789abcdef0123456789abcdef01234567","contents":"{}","dirty":false,"image":"registry.example.com/agents@sha256:{}","tag":"deploy-1700000000-0123456"}}"#,
                Digest::of(b"contents"),
                "ab".repeat(32)
            )
        );
        assert_eq!(Release::decode(&bytes).unwrap(), example());
        assert_eq!(id, Digest::of(&bytes));
    }

    #[test]
    fn other_forms_and_images_without_a_digest_are_refused() {
        let (_, bytes) = example().encode().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        for other in [
            text.replace(":false", ": false"),
            text.replace("dirty", "clean"),
            text.replace("@sha256:ab", ":latest"),
            text.replace("@sha256:ab", "@sha256:AB"),
        ] {
            assert!(Release::decode(other.as_bytes()).is_err(), "{other}");
        }
    }
}
