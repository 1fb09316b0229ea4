//! What is to be done with an item, from three digests: pure, total, and the only place that decides.

use std::str::FromStr;

use serde::Serialize;
use sync_core::Digest;

/// Which side is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Files to rows.
    ToDatabase,
    /// Rows to files.
    ToDisk,
}

/// A side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The files.
    Disk,
    /// The rows.
    Database,
}

impl Direction {
    /// Where items come from.
    pub const fn source(self) -> Side {
        match self {
            Self::ToDatabase => Side::Disk,
            Self::ToDisk => Side::Database,
        }
    }
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "disk" => Ok(Self::Disk),
            "database" => Ok(Self::Database),
            _ => Err("expected `disk` or `database`".to_owned()),
        }
    }
}

/// What is known of an item: the digest of each version, `None` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What both sides last agreed on.
    pub base: Option<Digest>,
    /// What the disk has.
    pub disk: Option<Digest>,
    /// What the database has.
    pub database: Option<Digest>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Which side is brought up to date.
    pub direction: Direction,
    /// Whether what is gone on one side goes on the other.
    pub delete: bool,
    /// Who is right where both sides changed; a person decides where that is `None`.
    pub on_conflict: Option<Side>,
    /// Whether the source is the truth for what it manages: what the target alone has changed is taken back, unless
    /// `on_conflict` names the target.
    pub is_truth: bool,
}

/// What is to be done with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both sides are equal.
    InSync,
    /// Both sides have lost it: what was agreed on is forgotten.
    Forget,
    /// It comes to the side that has none.
    Create,
    /// It is brought up to date.
    Update,
    /// It goes from the side that still has it.
    Delete,
    /// It is gone at the source and stays at the target, because nobody asked for its removal.
    Orphan,
    /// The target is ahead: it is left alone.
    Ahead,
    /// Both sides changed, and a person has to choose.
    Conflict,
}

impl Verdict {
    /// Whether it changes the target.
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Delete)
    }
}

/// Decides about one item.
///
/// A side that still has the base is never the one that wins over the other, and what only the target has changed is never
/// overwritten, whoever is right in a conflict; but where the source is the truth it is.
pub fn decide(seen: Seen, rules: Rules) -> Verdict {
    let (source, target) = match rules.direction.source() {
        Side::Disk => (seen.disk, seen.database),
        Side::Database => (seen.database, seen.disk),
    };
    let gone = if rules.delete {
        Verdict::Delete
    } else {
        Verdict::Orphan
    };
    let source_wins = rules.on_conflict == Some(rules.direction.source());
    let target_wins = rules.on_conflict.is_some() && !source_wins;
    let is_truth = rules.is_truth && !target_wins;
    // Whoever says that the target is right leaves it as it is.
    let disputed = |change: Verdict| match rules.on_conflict {
        None => Verdict::Conflict,
        Some(_) if source_wins => change,
        Some(_) => Verdict::Ahead,
    };
    match (seen.base, source, target) {
        (_, Some(source), Some(target)) if source == target => Verdict::InSync,
        (_, None, None) => Verdict::Forget,
        (None, Some(_), None) => Verdict::Create,
        (None, None, Some(_)) => Verdict::Ahead,
        (None, Some(_), Some(_)) => disputed(Verdict::Update),
        (Some(base), Some(source), Some(target)) => {
            if source == base {
                if is_truth {
                    Verdict::Update
                } else {
                    Verdict::Ahead
                }
            } else if target == base {
                Verdict::Update
            } else {
                disputed(Verdict::Update)
            }
        }
        // The target has lost it. Bringing it back loses nothing, but is a choice.
        (Some(base), Some(source), None) if source == base => {
            if source_wins || is_truth {
                Verdict::Create
            } else {
                Verdict::Ahead
            }
        }
        (Some(_), Some(_), None) => disputed(Verdict::Create),
        (Some(base), None, Some(target)) if target == base => gone,
        (Some(_), None, Some(_)) => disputed(gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A version as a letter; `-` is none.
    fn version(letter: char) -> Option<Digest> {
        (letter != '-').then(|| Digest::of(&[u8::try_from(letter).unwrap()]))
    }

    /// Base, source and target as three letters.
    fn seen(versions: &str, direction: Direction) -> Seen {
        let mut letters = versions.chars().map(version);
        let mut next = || letters.next().unwrap();
        let (base, source, target) = (next(), next(), next());
        match direction {
            Direction::ToDatabase => Seen {
                base,
                disk: source,
                database: target,
            },
            Direction::ToDisk => Seen {
                base,
                disk: target,
                database: source,
            },
        }
    }

    /// The verdicts: as it is, with removals, where the source is right, where the target is.
    #[track_caller]
    fn check(versions: &str, expected: [Verdict; 4]) {
        check_with(versions, false, expected);
    }

    #[track_caller]
    fn check_with(versions: &str, is_truth: bool, expected: [Verdict; 4]) {
        for direction in [Direction::ToDatabase, Direction::ToDisk] {
            let source = direction.source();
            let target = if source == Side::Disk {
                Side::Database
            } else {
                Side::Disk
            };
            let asked = [
                (false, None),
                (true, None),
                (true, Some(source)),
                (true, Some(target)),
            ];
            let found = asked.map(|(delete, on_conflict)| {
                let rules = Rules {
                    direction,
                    delete,
                    on_conflict,
                    is_truth,
                };
                decide(seen(versions, direction), rules)
            });
            assert_eq!(found, expected, "{versions} {direction:?}");
        }
    }

    #[test]
    fn every_case() {
        use Verdict::{Ahead, Conflict, Create, Delete, Forget, InSync, Orphan, Update};
        check("-aa", [InSync; 4]);
        check("aaa", [InSync; 4]);
        check("abb", [InSync; 4]);
        check("a--", [Forget; 4]);
        check("-a-", [Create; 4]);
        check("--a", [Ahead; 4]);
        check("-ab", [Conflict, Conflict, Update, Ahead]);
        check("aab", [Ahead; 4]);
        check("aba", [Update; 4]);
        check("abc", [Conflict, Conflict, Update, Ahead]);
        check("aa-", [Ahead, Ahead, Create, Ahead]);
        check("ab-", [Conflict, Conflict, Create, Ahead]);
        check("a-a", [Orphan, Delete, Delete, Delete]);
        check("a-b", [Conflict, Conflict, Delete, Ahead]);
        // The truth takes back what the target alone has changed, and nothing else is different.
        check_with("aab", true, [Update, Update, Update, Ahead]);
        check_with("aa-", true, [Create, Create, Create, Ahead]);
        check_with("--a", true, [Ahead; 4]);
        check_with("abc", true, [Conflict, Conflict, Update, Ahead]);
        check_with("a-b", true, [Conflict, Conflict, Delete, Ahead]);
    }

    prop_compose! {
        fn any_digest()(letter in "[a-c-]") -> Option<Digest> {
            version(letter.chars().next().unwrap())
        }
    }

    proptest! {
        /// Doing what is decided leaves nothing to do in the same direction, and nothing that the target alone changed is lost.
        #[test]
        fn an_applied_decision_is_settled(
            base in any_digest(), disk in any_digest(), database in any_digest(),
            to_disk: bool, delete: bool, is_truth: bool, wins in proptest::option::of(any::<bool>()),
        ) {
            let direction = if to_disk { Direction::ToDisk } else { Direction::ToDatabase };
            let on_conflict = wins.map(|disk| if disk { Side::Disk } else { Side::Database });
            let rules = Rules { direction, delete, on_conflict, is_truth };
            let before = Seen { base, disk, database };
            let verdict = decide(before, rules);
            let (source, target) = if to_disk { (database, disk) } else { (disk, database) };
            if verdict.is_change() && on_conflict.is_none() && !is_truth {
                prop_assert!(target == base, "an edit of the target would be lost");
            }
            let after = match verdict {
                Verdict::InSync => Seen { base: source, ..before },
                Verdict::Forget => Seen { base: None, disk: None, database: None },
                Verdict::Create | Verdict::Update | Verdict::Delete => {
                    Seen { base: source, disk: source, database: source }
                }
                Verdict::Orphan | Verdict::Ahead | Verdict::Conflict => before,
            };
            let again = decide(after, rules);
            prop_assert!(!again.is_change());
            if !matches!(verdict, Verdict::Orphan | Verdict::Ahead | Verdict::Conflict) {
                prop_assert!(matches!(again, Verdict::InSync | Verdict::Forget));
            }
        }
    }
}
