//! What to do, from where base, workspace and tenant stand: pure, and the same for every command.

use serde::{Deserialize, Serialize};
use sync_core::{Digest, SnapshotId};

/// A snapshot and its roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The snapshot.
    pub id: SnapshotId,
    /// The root of its map of files.
    pub files: Digest,
    /// The root of its map of tables; `None` where no rows were ever captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Digest>,
    /// What the tenant runs; `None` where nobody deployed anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Digest>,
}

/// Where a workspace stands to its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Both hold the same.
    InSync,
    /// Only the workspace has changed since the base.
    LocalAhead,
    /// Only the tenant has changed since the base.
    CloudAhead,
    /// Both have changed since the base.
    Diverged,
}

impl Standing {
    /// The word that people and programs read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::LocalAhead => "local_ahead",
            Self::CloudAhead => "cloud_ahead",
            Self::Diverged => "diverged",
        }
    }
}

/// Compares base, workspace and tenant by the roots of their maps; what is absent counts as the empty map.
pub fn standing(base: Digest, local: Digest, head: Digest) -> Standing {
    match (local == base, head == base) {
        _ if local == head => Standing::InSync,
        (false, true) => Standing::LocalAhead,
        (true, false) => Standing::CloudAhead,
        (true, true) | (false, false) => Standing::Diverged,
    }
}

/// What both sides made of a root that is taken whole, such as the release; `None` where both made something else of it, and
/// a person has to choose.
pub fn whole(
    base: Option<Digest>,
    ours: Option<Digest>,
    theirs: Option<Digest>,
) -> Option<Option<Digest>> {
    match (ours == base, theirs == base) {
        _ if ours == theirs => Some(ours),
        (true, false) => Some(theirs),
        (false, true) => Some(ours),
        (true, true) | (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    #[track_caller]
    fn check(base: &str, local: &str, head: &str, expected: Standing) {
        assert_eq!(standing(root(base), root(local), root(head)), expected);
    }

    #[test]
    fn every_case() {
        check("a", "a", "a", Standing::InSync);
        check("a", "b", "a", Standing::LocalAhead);
        check("a", "a", "b", Standing::CloudAhead);
        check("a", "b", "c", Standing::Diverged);
        check("a", "b", "b", Standing::InSync);
    }

    #[test]
    fn a_release_is_taken_whole() {
        let [a, b, c] = ["a", "b", "c"].map(|name| Some(root(name)));
        assert_eq!(whole(a, a, a), Some(a));
        assert_eq!(whole(a, b, a), Some(b));
        assert_eq!(whole(a, a, b), Some(b));
        assert_eq!(whole(None, None, b), Some(b));
        assert_eq!(whole(a, b, b), Some(b));
        assert_eq!(whole(a, b, c), None);
        assert_eq!(whole(None, b, c), None);
    }
}
