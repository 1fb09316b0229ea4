//! Which names a capture leaves out: `.syncignore` files in git's syntax, and what is never part of a tree.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Error, Result};

/// The name of the file that lists patterns for its directory and all below.
pub(crate) const FILE_NAME: &str = ".syncignore";

/// Whether a name is never part of a tree: the state of git and of this program.
///
/// Whoever could write `.git/hooks` from afar could run programs here. Case is ignored, as some file systems do.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b".git") || name.eq_ignore_ascii_case(b".sync")
}

/// The patterns that hold in a directory: its own, then those of the directories above.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules(Option<Arc<Layer>>);

#[derive(Debug)]
struct Layer {
    patterns: Gitignore,
    /// How many bytes of a path from the root lead to the directory of the patterns, the slash included.
    prefix: usize,
    above: Rules,
}

impl Rules {
    /// Adds the patterns `text`, found in `source`, that hold in the directory `dir` and below.
    ///
    /// # Errors
    ///
    /// [`Error::Ignore`] names a line that is no pattern: skipping it could send what was meant to stay.
    pub(crate) fn with(&self, dir: &str, source: &str, text: &str) -> Result<Self> {
        let refused = |line: usize, error: &ignore::Error| Error::Ignore {
            path: source.to_owned(),
            line,
            reason: error.to_string(),
        };
        let mut builder = GitignoreBuilder::new("");
        let text = text.trim_start_matches('\u{feff}');
        for (number, line) in text.lines().enumerate() {
            builder
                .add_line(None, line)
                .map_err(|error| refused(number + 1, &error))?;
        }
        let patterns = builder.build().map_err(|error| refused(0, &error))?;
        if patterns.is_empty() {
            return Ok(self.clone());
        }
        Ok(Self(Some(Arc::new(Layer {
            patterns,
            prefix: if dir.is_empty() { 0 } else { dir.len() + 1 },
            above: self.clone(),
        }))))
    }

    /// Whether there are no patterns at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether `path`, from the root, is left out. The directories above it are not.
    pub(crate) fn leave_out(&self, path: &[u8], is_dir: bool) -> bool {
        let mut rules = self;
        while let Some(layer) = &rules.0 {
            let below = Path::new(OsStr::from_bytes(&path[layer.prefix..]));
            let verdict = layer.patterns.matched(below, is_dir);
            if !verdict.is_none() {
                return verdict.is_ignore();
            }
            rules = &layer.above;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `root` holds at the top, `nested` in `a`.
    #[track_caller]
    fn check(root: &str, nested: &str, path: &str, out: bool) {
        let rules = Rules::default().with("", FILE_NAME, root).unwrap();
        let rules = rules.with("a", "a/.syncignore", nested).unwrap();
        let (path, is_dir) = path.strip_suffix('/').map_or((path, false), |p| (p, true));
        assert_eq!(rules.leave_out(path.as_bytes(), is_dir), out, "{path}");
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        check("*.log", "", "a/x.log", true);
        check("*.log", "!keep.log", "a/keep.log", false);
        check("*.log", "!keep.log", "a/other.log", true);
        check("/x", "", "a/x", false);
        check("", "/x", "a/x", true);
        check("", "/x", "a/b/x", false);
        check("build/", "", "a/build/", true);
        check("build/", "", "a/build", false);
        check("# note\n\\#x\n", "", "a/#x", true);
        check("a/**/z", "", "a/b/c/z", true);
        check("\u{feff}x\r\ny\r\n", "", "a/y", true);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Rules::default()
            .with("", FILE_NAME, "ok\n{a,b")
            .unwrap_err();
        assert!(matches!(error, Error::Ignore { line: 2, .. }), "{error}");
    }

    #[test]
    fn reserved_names_ignore_case() {
        assert!(is_reserved(b".git") && is_reserved(b".GIT") && is_reserved(b".Sync"));
        assert!(!is_reserved(b".gitignore") && !is_reserved(b".syncignore"));
    }
}
