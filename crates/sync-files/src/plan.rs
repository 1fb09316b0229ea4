//! What an apply is to do: paths, each with the entry that is expected there and the one that is wanted.

use std::collections::HashSet;

use sync_core::{Chunk, Content, Entry, TreePath};

use crate::beneath::above;
use crate::error::{PlanSnafu, Result};
use crate::ignored::is_reserved;
use crate::read::link_is_contained;

/// The largest object, and so the largest chunk, in bytes.
pub(crate) const MAX_CHUNK: usize = 1024 * 1024;

/// One path of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub path: TreePath,
    /// What is there now; anything else, and nothing is applied. `None` where nothing is.
    pub expected: Option<Entry>,
    /// What is to be there; `None` for nothing.
    pub wanted: Option<Entry>,
    /// The data chunks of a wanted file in order, where its content is given by lists; else it may be left empty.
    pub chunks: Vec<Chunk>,
}

/// Everything that one apply does: all of it, or nothing.
///
/// Directories come and go with what is in them; [`Entry::Directory`] stands for one that is to be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in any order; no path twice.
    pub steps: Vec<Step>,
    /// Bytes of the caller that [`Tree::recover`](crate::Tree::recover) gives back when it finishes this plan after a crash,
    /// such as the name of the snapshot that the tree then holds.
    pub note: Vec<u8>,
}

impl Plan {
    /// Brings the steps into order, drops those that change nothing, and refuses what contradicts itself
    /// or what no tree may hold: a plan may come from someone who means harm.
    pub(crate) fn checked(mut self) -> Result<Self> {
        self.steps.retain(|step| step.expected != step.wanted);
        self.steps.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        if let Some(pair) = self
            .steps
            .windows(2)
            .find(|pair| pair[0].path == pair[1].path)
        {
            return refuse(&pair[0].path, "it is in the plan twice");
        }
        let wanted: HashSet<&str> = self
            .steps
            .iter()
            .filter(|step| step.wanted.is_some())
            .map(|step| step.path.as_str())
            .collect();
        for step in &self.steps {
            let path = &step.path;
            if path.components().any(|name| is_reserved(name.as_bytes())) {
                return refuse(path, "git's and our own state are not part of a tree");
            }
            if step.wanted.is_some() && above(path.as_str()).any(|dir| wanted.contains(dir)) {
                return refuse(
                    path,
                    "what is above it is not to be a directory with content",
                );
            }
            if let Some(Entry::Link { target }) = &step.wanted
                && !link_is_contained(path, target)
            {
                return refuse(path, "the link leads out of the tree");
            }
        }
        for step in &mut self.steps {
            step.check_chunks()?;
        }
        Ok(self)
    }
}

impl Step {
    /// The data chunks of the wanted file.
    pub(crate) fn data(&self) -> &[Chunk] {
        match &self.wanted {
            Some(Entry::File { content, .. }) if content.depth == 0 => &content.chunks,
            _ => &self.chunks,
        }
    }

    fn check_chunks(&mut self) -> Result<()> {
        let Some(Entry::File { content, .. }) = &self.wanted else {
            self.chunks = Vec::new();
            return Ok(());
        };
        if content.depth == 0 {
            if !self.chunks.is_empty() && self.chunks != content.chunks {
                return refuse(&self.path, "its chunks are not those that it names");
            }
            self.chunks = Vec::new();
        }
        let data = self.data();
        let sum = data
            .iter()
            .try_fold(0u64, |sum, chunk| sum.checked_add(chunk.len));
        if sum.is_none() || sum != content.len() {
            return refuse(&self.path, "its chunks do not add up to its size");
        }
        if data.iter().any(|chunk| chunk.len > MAX_CHUNK as u64) {
            return refuse(&self.path, "a chunk is larger than any object");
        }
        // The lists are digests of chunks, so the chunks prove themselves.
        if content.depth > 0 && Content::from_chunks(self.chunks.clone(), |_, _| ()) != *content {
            return refuse(&self.path, "its chunks are not those that its lists name");
        }
        Ok(())
    }
}

fn refuse<T>(path: &TreePath, reason: &'static str) -> Result<T> {
    PlanSnafu {
        path: path.as_str(),
        reason,
    }
    .fail()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::Digest;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    fn file(len: u64) -> Entry {
        let digest = Digest::of(b"x");
        Entry::File {
            executable: false,
            content: Content {
                depth: 0,
                chunks: vec![Chunk { digest, len }],
            },
        }
    }

    fn step(at: &str, expected: Option<Entry>, wanted: Option<Entry>) -> Step {
        Step {
            path: path(at),
            expected,
            wanted,
            chunks: Vec::new(),
        }
    }

    /// Whether the plan is taken, and why not.
    #[track_caller]
    fn check(steps: Vec<Step>, reason: Option<&str>) {
        let plan = Plan {
            steps,
            note: Vec::new(),
        };
        match (plan.checked(), reason) {
            (Ok(_), None) => {}
            (Err(error), Some(reason)) if error.to_string().contains(reason) => {}
            (outcome, _) => panic!("{outcome:?}"),
        }
    }

    #[test]
    fn contradictions_and_hostile_paths_are_refused() {
        let link = |target: &str| {
            Some(Entry::Link {
                target: target.into(),
            })
        };
        check(vec![step("a", None, Some(file(1)))], None);
        check(
            vec![
                step("a", None, Some(file(1))),
                step("a", Some(file(1)), None),
            ],
            Some("twice"),
        );
        check(
            vec![
                step("a", None, Some(file(1))),
                step("a.b", None, Some(file(1))),
                step("a/b/c", None, Some(file(1))),
            ],
            Some("above it"),
        );
        check(
            vec![
                step("a", Some(file(1)), None),
                step("a/b", None, Some(file(1))),
            ],
            None,
        );
        check(
            vec![step("x/.git/hooks/h", None, Some(file(1)))],
            Some("git"),
        );
        check(vec![step(".SYNC/txn", None, Some(file(1)))], Some("git"));
        check(vec![step("a", None, link("../x"))], Some("leads out"));
        check(vec![step("a", None, link("b/../c"))], Some("leads out"));
        check(vec![step("a/l", None, link("../c"))], None);
        check(vec![step("a", None, Some(file(1 << 21)))], Some("larger"));
        check(vec![step("a", None, Some(file(u64::MAX)))], Some("larger"));
    }

    #[test]
    fn chunks_must_be_those_that_the_content_names() {
        let chunks: Vec<_> = (0..9u8)
            .map(|n| Chunk {
                digest: Digest::of(&[n]),
                len: 1,
            })
            .collect();
        let content = Content::from_chunks(chunks.clone(), |_, _| ());
        assert_eq!(content.depth, 1);
        let wanted = Some(Entry::File {
            executable: false,
            content,
        });
        let with = |chunks: Vec<Chunk>| {
            vec![Step {
                chunks,
                ..step("a", None, wanted.clone())
            }]
        };
        check(with(chunks.clone()), None);
        check(with(Vec::new()), Some("add up"));
        let mut swapped = chunks.clone();
        swapped.swap(0, 1);
        check(with(swapped), Some("lists name"));
        check(with(chunks[..8].to_vec()), Some("add up"));
    }

    #[test]
    fn steps_that_change_nothing_are_dropped() {
        let plan = Plan {
            steps: vec![
                step("b", None, Some(file(1))),
                step("a", Some(file(1)), Some(file(1))),
            ],
            note: Vec::new(),
        };
        let steps = plan.checked().unwrap().steps;
        assert_eq!(steps.len(), 1);
        assert_eq!(steps[0].data().len(), 1);
    }
}
