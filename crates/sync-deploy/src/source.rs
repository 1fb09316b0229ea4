//! Which source it is: the commit, whether the tree has more than that, and the tag that says so.

use std::path::Path;
use std::time::Duration;

use snafu::ensure;

use crate::error::{SettingsSnafu, UncleanSnafu};
use crate::{Command, CommandRunner, Error};

/// A question to git takes no longer.
const QUESTION: Duration = Duration::from_mins(1);
/// So much of a commit is in a tag.
const SHORT: usize = 7;
/// The longest tag of a registry.
const MAX_TAG: usize = 128;

/// Which source it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A checkout.
    Commit {
        /// The commit, in full.
        id: String,
        /// How many files of the checkout differ from it, or are not in it and not ignored.
        changed: usize,
    },
    /// No checkout of git, or one without a commit.
    NoGit,
}

impl Source {
    /// Asks git about a directory; where git is not here, or knows nothing of it, that is [`Source::NoGit`].
    ///
    /// # Errors
    ///
    /// Where a checkout cannot be looked at.
    pub async fn look(runner: &dyn CommandRunner, dir: &Path) -> Result<Self, Error> {
        let git = |args: &[&str]| Command::new("git", args).in_dir(dir).within(QUESTION);
        let head = git(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
        let id = match runner.run(&head, &|_| {}).await {
            Ok(ran) => ran.line(),
            Err(Error::Start { .. } | Error::Ended { .. }) => return Ok(Self::NoGit),
            Err(error) => return Err(error),
        };
        // A lock on the index that somebody else waits for is not worth a faster answer.
        let status = git(&[
            "--no-optional-locks",
            "status",
            "--porcelain",
            "--untracked-files=normal",
        ]);
        let ran = runner.run(&status, &|_| {}).await?;
        let changed = ran.stdout.split(|byte| *byte == b'\n');
        let changed = changed.filter(|line| !line.is_empty()).count();
        Ok(Self::Commit { id, changed })
    }

    /// The commit, where there is one.
    pub fn commit(&self) -> Option<&str> {
        match self {
            Self::Commit { id, .. } => Some(id),
            Self::NoGit => None,
        }
    }

    /// Whether there is something that no commit has.
    pub const fn is_dirty(&self) -> bool {
        match self {
            Self::Commit { changed, .. } => *changed > 0,
            Self::NoGit => true,
        }
    }

    /// Refuses what nobody could find again.
    ///
    /// # Errors
    ///
    /// [`Error::Unclean`] where it is not what a commit names.
    pub fn ensure_clean(&self) -> Result<(), Error> {
        let found = match self {
            Self::Commit { changed: 0, .. } => return Ok(()),
            Self::Commit { changed: 1, .. } => "1 file differs from the commit".to_owned(),
            Self::Commit { changed, .. } => format!("{changed} files differ from the commit"),
            Self::NoGit => "the source is in no checkout of git with a commit".to_owned(),
        };
        UncleanSnafu { found }.fail()
    }

    /// The tag of what is built of it now: `deploy-<seconds since 1970>-<short commit>`, then `-dirty` where there is more than
    /// the commit, and `nogit` for a commit where there is none.
    pub fn tag(&self, seconds: u64) -> String {
        match self {
            Self::NoGit => format!("deploy-{seconds}-nogit"),
            Self::Commit { id, changed } => {
                let short = id.get(..SHORT).unwrap_or(id);
                let dirty = if *changed > 0 { "-dirty" } else { "" };
                format!("deploy-{seconds}-{short}{dirty}")
            }
        }
    }
}

/// Checks a tag that a person gave.
///
/// # Errors
///
/// [`Error::Settings`] where registries take no such tag.
pub fn checked_tag(tag: &str) -> Result<(), Error> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_good = tag.len() <= MAX_TAG
        && tag.starts_with(is_word)
        && tag.chars().all(|c| is_word(c) || ".-".contains(c));
    let reason = format!("`{tag}` is no tag: letters, digits, `_`, `.` and `-`, at most {MAX_TAG}");
    ensure!(is_good, SettingsSnafu { key: "tag", reason });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProcessRunner;
    use sync_core::Fault;

    #[track_caller]
    fn check(id: Option<&str>, changed: usize, tag: &str, is_clean: bool) {
        let source = id.map_or(Source::NoGit, |id| Source::Commit {
            id: id.to_owned(),
            changed,
        });
        assert_eq!(source.tag(1_700_000_000), tag);
        assert!(checked_tag(tag).is_ok() && !tag.ends_with('-'), "{tag}");
        assert_eq!(source.ensure_clean().is_ok(), is_clean);
        assert_eq!(source.is_dirty(), !is_clean);
    }

    #[test]
    fn a_tag_says_what_was_built() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        check(Some(id), 0, "deploy-1700000000-0123456", true);
        check(Some(id), 2, "deploy-1700000000-0123456-dirty", false);
        check(None, 0, "deploy-1700000000-nogit", false);
        for tag in ["", "-a", ".a", "a b", "a:b", &"a".repeat(129)] {
            assert_eq!(checked_tag(tag).unwrap_err().code(), "deploy/settings");
        }
    }

    #[tokio::test]
    async fn git_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let look = async || Source::look(&ProcessRunner, dir.path()).await.unwrap();
        let git = async |words: &[&str]| {
            let who = ["-c", "user.name=ada", "-c", "user.email=ada@example.com"];
            let command = Command::new("git", [&who, words].concat()).in_dir(dir.path());
            ProcessRunner.run(&command, &|_| {}).await.unwrap();
        };
        assert_eq!(look().await, Source::NoGit);
        git(&["init", "--quiet"]).await;
        assert_eq!(look().await, Source::NoGit);
        std::fs::write(dir.path().join("a"), "a").unwrap();
        git(&["add", "a"]).await;
        git(&["commit", "--quiet", "--message=a"]).await;
        let clean = look().await;
        assert_eq!(
            (clean.commit().unwrap().len(), clean.is_dirty()),
            (40, false)
        );
        std::fs::write(dir.path().join("a"), "b").unwrap();
        std::fs::write(dir.path().join("b"), "b").unwrap();
        assert!(matches!(look().await, Source::Commit { changed: 2, .. }));
        std::fs::write(dir.path().join(".gitignore"), "b\n.gitignore").unwrap();
        assert!(matches!(look().await, Source::Commit { changed: 1, .. }));
    }
}
