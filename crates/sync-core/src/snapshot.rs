//! An immutable commit, named by the digest of its canonical JSON.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use snafu::{OptionExt, ResultExt, Snafu, ensure};

use crate::Digest;
use crate::digest::ParseDigestError;

/// The name of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(pub Digest);

impl SnapshotId {
    /// The first seven hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SnapshotId {
    type Err = ParseDigestError;
    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        text.parse().map(Self)
    }
}

/// The roots that a snapshot names; a root that is absent was never captured.
// Fields are in alphabetical order: that is the canonical order of the JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roots {
    /// The root node of the map of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Digest>,
    /// The release that the tenant runs ([`Release`](crate::Release)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Digest>,
    /// The root node of the map of tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Digest>,
}

/// An immutable commit of a workspace.
// Fields are in alphabetical order: that is the canonical order of the JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Who made it, as free text on one line.
    pub author: String,
    /// Why, as free text.
    pub message: String,
    /// What it came from: none for the first, one for an edit, two for a merge.
    pub parents: Vec<SnapshotId>,
    /// What it holds.
    pub roots: Roots,
    /// When, in milliseconds since 1970-01-01T00:00:00Z by the maker's clock; for people, never decided by.
    pub time: u64,
}

/// Why bytes are not a snapshot.
#[derive(Debug, Snafu)]
pub enum SnapshotError {
    /// More bytes than any snapshot has.
    #[snafu(display("a snapshot has at most {} bytes", Snapshot::MAX_LEN))]
    TooLong,
    /// Not the JSON of a snapshot.
    #[snafu(display("the bytes are not the JSON of a snapshot"))]
    Malformed {
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The JSON of a snapshot, but not in its one canonical form.
    #[snafu(display("the JSON of the snapshot is not in canonical form"))]
    NotCanonical,
}

impl Snapshot {
    /// The most bytes of canonical JSON.
    pub const MAX_LEN: usize = 64 * 1024;
    /// The most parents.
    pub const MAX_PARENTS: usize = 2;

    /// The canonical JSON (RFC 8785: sorted keys, no white space) and the id that names it.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::TooLong`] where author and message are too long to store.
    pub fn encode(&self) -> Result<(SnapshotId, Vec<u8>), SnapshotError> {
        let bytes = serde_json::to_vec(self).context(MalformedSnafu)?;
        ensure!(bytes.len() <= Self::MAX_LEN, TooLongSnafu);
        Ok((SnapshotId(Digest::of(&bytes)), bytes))
    }

    /// Reads canonical JSON; the caller compares [`Digest::of`] the bytes with the id it asked for.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        ensure!(bytes.len() <= Self::MAX_LEN, TooLongSnafu);
        let snapshot: Self = serde_json::from_slice(bytes).context(MalformedSnafu)?;
        let canonical = serde_json::to_vec(&snapshot).context(MalformedSnafu)?;
        (canonical == bytes && snapshot.parents.len() <= Self::MAX_PARENTS)
            .then_some(snapshot)
            .context(NotCanonicalSnafu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Snapshot {
        Snapshot {
            author: "ada".into(),
            message: "tune \"triage\" agent\n".into(),
            parents: vec![],
            roots: Roots {
                files: Some(Digest::of(b"root")),
                ..Roots::default()
            },
            time: 1_700_000_000_000,
        }
    }

    /// The test vector of `docs/formats.md`.
    #[test]
    fn canonical_json_is_stable() {
        let (id, bytes) = example().encode().unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            format!(
                r#"{{"author":"ada","message":"tune \"triage\" agent\n","parents":[],"roots":{{"files":"{}"}},"time":1700000000000}}"#,
                Digest::of(b"root")
            )
        );
        assert_eq!(Snapshot::decode(&bytes).unwrap(), example());
        assert_eq!(id.0, Digest::of(&bytes));
    }

    /// The second test vector of `docs/formats.md`: roots in their order, those that are absent left out.
    #[test]
    fn a_release_is_a_root_between_files_and_rows() {
        let mut snapshot = example();
        snapshot.roots.release = Some(Digest::of(b"release"));
        snapshot.roots.rows = Some(Digest::of(b"rows"));
        let (id, bytes) = snapshot.encode().unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            format!(
                r#"{{"author":"ada","message":"tune \"triage\" agent\n","parents":[],"roots":{{"files":"{}","release":"{}","rows":"{}"}},"time":1700000000000}}"#,
                Digest::of(b"root"),
                Digest::of(b"release"),
                Digest::of(b"rows")
            )
        );
        assert_eq!(Snapshot::decode(&bytes).unwrap(), snapshot);
        assert_eq!(id, SnapshotId(Digest::of(&bytes)));
    }

    #[test]
    fn other_forms_of_the_same_json_are_refused() {
        let (_, bytes) = example().encode().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        for other in [
            text.replace(":[]", ": []"),
            text.replace("tune", "t\\u0075ne"),
            text.replace("parents", "parent"),
        ] {
            assert!(Snapshot::decode(other.as_bytes()).is_err(), "{other}");
        }
    }
}
