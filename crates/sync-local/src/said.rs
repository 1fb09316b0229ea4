//! What the disk says: the items of every unit, of which only those are read that have changed.

use std::collections::{BTreeMap, HashMap, HashSet};

use sync_core::{Digest, TreePath};

use crate::Error;
use crate::disk::{Captured, Place, Reader, found_at};
use crate::kind::{Kind, Unit};
use crate::record::Key;
use crate::rows::{Base, Rows};

/// What the disk says, from what was captured: files that are as they were agreed on are not read.
pub(crate) struct Said {
    /// The digest of each item, and its unit.
    pub(crate) items: BTreeMap<Key, (Digest, TreePath)>,
    /// Items that are not decided about.
    pub(crate) blocked: HashSet<Key>,
    pub(crate) problems: Vec<Error>,
    /// Files of items that are there and not taken.
    pub(crate) hidden: Vec<Error>,
    /// Units that do not parse.
    pub(crate) failed: HashSet<TreePath>,
    /// Units that were read because nothing says what is in them.
    pub(crate) read: HashSet<TreePath>,
}

/// Reads the units that have changed.
pub(crate) fn listen<K: Kind>(
    place: &Place,
    captured: &mut Captured<K>,
    rows: &Rows,
) -> Result<Said, Error> {
    let mut recorded: HashMap<&str, Vec<(&Key, &Base)>> = HashMap::new();
    for (key, base) in &rows.bases {
        recorded
            .entry(base.path.as_str())
            .or_default()
            .push((key, base));
    }
    let mut said = Said {
        items: BTreeMap::new(),
        blocked: HashSet::new(),
        problems: std::mem::take(&mut captured.problems),
        hidden: Vec::new(),
        failed: HashSet::new(),
        read: HashSet::new(),
    };
    let tree = place.open()?;
    let mut reader = Reader::new(&tree)?;
    for unit in &captured.units {
        let known = recorded
            .get(unit.home.as_str())
            .map_or(&[][..], Vec::as_slice);
        let stamped = rows.units.get(unit.home.as_str());
        let is_known = stamped.is_some_and(|(stamp, items)| {
            *stamp == unit.stamp.to_string() && *items == known.len()
        });
        if is_known {
            for (key, base) in known {
                said.add::<K>((*key).clone(), base.digest, unit);
            }
            continue;
        }
        match reader.read(&captured.kind, unit) {
            Ok(reading) => {
                said.read.insert(unit.home.clone());
                for (key, record) in reading.items {
                    said.add::<K>(key, record.digest(K::FIELDS), unit);
                }
            }
            // The disk changes under us: that is no mistake in a file.
            Err(error) if error.is_moved() => return Err(error),
            Err(error) => {
                said.blocked
                    .extend(known.iter().map(|(key, _)| (*key).clone()));
                said.failed.insert(unit.home.clone());
                said.problems.push(error);
            }
        }
    }
    said.hold_hidden(captured, rows);
    Ok(said)
}

impl Said {
    /// Holds items whose files are there and were not taken, such as those that `.syncignore` leaves out.
    fn hold_hidden<K: Kind>(&mut self, captured: &Captured<K>, rows: &Rows) {
        let mut told: HashSet<&str> = HashSet::new();
        let absent = rows.bases.iter();
        let absent: Vec<_> = absent
            .filter(|(key, _)| !self.items.contains_key(key))
            .collect();
        for (key, base) in absent {
            let path = base.path.as_str();
            let is_ours = TreePath::new(path).is_ok_and(|home| {
                captured.kind.holds(&home) && !captured.entries.contains_key(&home)
            });
            if !is_ours || found_at(&captured.tree, path).is_none() {
                continue;
            }
            self.blocked.insert(key.clone());
            let is_told = |error: &Error| error.path() == Some(path);
            if told.insert(path) && !captured.left_out.iter().any(is_told) {
                self.hidden.push(Error::LeftOut {
                    path: path.to_owned(),
                    reason: "`.syncignore` leaves it out".to_owned(),
                });
            }
        }
    }

    fn add<K: Kind>(&mut self, key: Key, digest: Digest, unit: &Unit) {
        if let Some((_, first)) = self.items.get(&key) {
            self.problems.push(Error::Twice {
                kind: K::NAME,
                key: key.to_string(),
                first: first.to_string(),
                second: unit.home.to_string(),
            });
            self.blocked.insert(key);
            return;
        }
        self.items.insert(key, (digest, unit.home.clone()));
    }
}

impl Said {
    /// Refuses items whose rows belong to somebody else.
    pub(crate) fn refuse_foreign<K: Kind>(&mut self, rows: &Rows) {
        for (key, (_, home)) in &self.items {
            if let Some(owner) = rows.foreign.get(key) {
                self.problems.push(Error::Taken {
                    kind: K::NAME,
                    key: key.to_string(),
                    path: home.to_string(),
                    owner: owner.clone(),
                });
                self.blocked.insert(key.clone());
            }
        }
    }
}
