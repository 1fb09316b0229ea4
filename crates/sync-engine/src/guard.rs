//! Guards: how much one operation may remove before a person has to say so.

use std::collections::HashMap;
use std::str::FromStr;

use serde::Serialize;
use snafu::ensure;
use sync_core::Entry;

use crate::Error;
use crate::error::{EmptiesSnafu, RemovesSnafu};
use crate::report::FileChange;

/// As few removals as these are never held up, unless hardly anything remains.
const FEW: u64 = 20;
/// A tree that had at least this many files is not to shrink to a tenth unasked.
const SMALL: u64 = 10;

/// The share or number of files that one operation may remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxDelete {
    /// Of a hundred; counts once more than 20 files go.
    Percent(u8),
    /// So many files.
    Files(u64),
}

impl Default for MaxDelete {
    fn default() -> Self {
        Self::Percent(25)
    }
}

impl FromStr for MaxDelete {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a number of files, or a share such as 25%".to_owned();
        match text.strip_suffix('%') {
            Some(share) => {
                let share: u8 = share.parse().map_err(|_| wrong())?;
                (share <= 100)
                    .then_some(Self::Percent(share))
                    .ok_or_else(wrong)
            }
            None => text.parse().map(Self::Files).map_err(|_| wrong()),
        }
    }
}

/// How much an operation may remove, on either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// The bound.
    pub max_delete: MaxDelete,
    /// Whether a person has said that any amount may go.
    pub yes: bool,
}

/// A side of a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The workspace.
    Workspace,
    /// The tenant.
    Tenant,
    /// The tree beside a database.
    Disk,
    /// The database beside a tree.
    Database,
}

impl Place {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Workspace => "the workspace",
            Self::Tenant => "the tenant",
            Self::Disk => "the disk",
            Self::Database => "the database",
        }
    }
}

/// What a side holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Files, links and empty directories.
    Files,
    /// Rows.
    Rows,
    /// Skills, pages, entities under access control.
    Items,
}

impl What {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Rows => "rows",
            Self::Items => "items",
        }
    }
}

/// How many files or rows go, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// Where.
    pub place: Place,
    /// Of what.
    pub what: What,
    /// So many go.
    pub removed: u64,
    /// So many come.
    pub added: u64,
    /// So many were there.
    pub of: u64,
}

impl Removal {
    /// What `changes` do to a side that holds `of` files; what only moves to another path is not removed.
    pub fn of(place: Place, changes: &[FileChange], of: u64) -> Self {
        let gone: Vec<&Entry> = changes
            .iter()
            .filter(|change| change.after.is_none())
            .filter_map(|change| change.before.as_ref())
            .collect();
        let came = changes.iter().filter(|change| change.before.is_none());
        let came = came.filter_map(|change| change.after.as_ref());
        let added = came.clone().count() as u64;
        let mut arrived: HashMap<&Entry, u64> = HashMap::new();
        if !gone.is_empty() {
            for entry in came {
                *arrived.entry(entry).or_default() += 1;
            }
        }
        let mut moved = 0;
        for entry in &gone {
            if let Some(count) = arrived.get_mut(entry).filter(|count| **count > 0) {
                *count -= 1;
                moved += 1;
            }
        }
        Self {
            place,
            what: What::Files,
            removed: gone.len() as u64 - moved,
            added: added - moved,
            of,
        }
    }
}

impl Limits {
    /// Lets any amount go.
    pub const ANY: Self = Self {
        max_delete: MaxDelete::Percent(100),
        yes: true,
    };

    /// Refuses what removes too much.
    ///
    /// # Errors
    ///
    /// [`Error::Empties`] where nothing, or hardly anything, would remain; [`Error::Removes`] above the bound.
    pub fn check(&self, removal: Removal) -> Result<(), Error> {
        let Removal {
            place,
            what,
            removed,
            added,
            of,
        } = removal;
        if self.yes || removed == 0 {
            return Ok(());
        }
        let left = (of + added).saturating_sub(removed);
        let tiny = left == 0 || (of >= SMALL && left < of.div_ceil(10));
        let (place, what) = (place.as_str(), what.as_str());
        ensure!(
            !tiny,
            EmptiesSnafu {
                place,
                what,
                left,
                of
            }
        );
        let allowed = match self.max_delete {
            MaxDelete::Percent(share) => (of * u64::from(share) / 100).max(FEW),
            MaxDelete::Files(files) => files,
        };
        ensure!(
            removed <= allowed,
            RemovesSnafu {
                place,
                what,
                removed,
                of,
                allowed
            }
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(max: &str, removed: u64, of: u64, allowed: bool) {
        let limits = Limits {
            max_delete: max.parse().unwrap(),
            yes: false,
        };
        let removal = Removal {
            place: Place::Tenant,
            what: What::Files,
            removed,
            added: 0,
            of,
        };
        assert_eq!(limits.check(removal).is_ok(), allowed);
        assert!(Limits::ANY.check(removal).is_ok());
    }

    #[test]
    fn what_may_go() {
        check("25%", 0, 0, true);
        check("25%", 20, 30, true);
        check("25%", 21, 84, true);
        check("25%", 21, 83, false);
        check("25%", 251, 1000, false);
        check("50%", 251, 1000, true);
        check("5", 5, 1000, true);
        check("5", 6, 1000, false);
        check("0", 1, 1000, false);
        // Few are removed, and hardly anything remains.
        check("100%", 2, 2, false);
        check("100%", 9, 9, false);
        check("100%", 10, 11, false);
        check("100%", 8, 9, true);
        check("100%", 90, 100, true);
        check("100%", 91, 100, false);
    }

    #[test]
    fn what_people_write() {
        assert_eq!("25%".parse(), Ok(MaxDelete::Percent(25)));
        assert_eq!("3".parse(), Ok(MaxDelete::Files(3)));
        for bad in ["", "%", "101%", "-1", "1.5", "many"] {
            assert!(bad.parse::<MaxDelete>().is_err(), "{bad}");
        }
    }
}
