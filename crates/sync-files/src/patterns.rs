//! Patterns in git's syntax that choose paths of a tree.

use sync_core::TreePath;

use crate::error::Result;
use crate::ignored::Rules;

/// Patterns in git's syntax: `*.md` anywhere, `agents/` with all that is in it, `/config/**` from the root,
/// `!` takes back what a pattern before it chose.
#[derive(Debug, Clone, Default)]
pub struct Patterns(Rules);

impl Patterns {
    /// Reads patterns; `source` is what an error calls them, such as the key of a configuration file.
    ///
    /// # Errors
    ///
    /// [`Error::Ignore`](crate::Error::Ignore) names the pattern that is none.
    pub fn new<S: AsRef<str>>(source: &str, patterns: &[S]) -> Result<Self> {
        let lines: Vec<&str> = patterns.iter().map(AsRef::as_ref).collect();
        Rules::default()
            .with("", source, &lines.join("\n"))
            .map(Self)
    }

    /// Whether they choose nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they choose `path`, or a directory that it is in.
    pub fn matches(&self, path: &TreePath) -> bool {
        !self.is_empty()
            && (self.0.leave_out(path.as_bytes(), false)
                || path
                    .ancestors()
                    .any(|above| self.0.leave_out(above.as_bytes(), true)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, path: &str, expected: bool) {
        let patterns = Patterns::new("--filter", &[pattern]).unwrap();
        assert_eq!(
            patterns.matches(&path.parse().unwrap()),
            expected,
            "{pattern} {path}"
        );
    }

    #[test]
    fn as_git_reads_them() {
        check("agents/", "agents/a/b.yaml", true);
        check("agents", "agents/a.yaml", true);
        check("agents/**", "agents/a.yaml", true);
        check("agents/**", "agents", false);
        check("/agents", "x/agents/a.yaml", false);
        check("*.md", "skills/a/SKILL.md", true);
        check("*.md", "skills/a/run.sh", false);
        check("skills/*/SKILL.md", "skills/a/SKILL.md", true);
        check("skills/*/SKILL.md", "skills/a/b/SKILL.md", false);
        assert!(!Patterns::default().matches(&"a".parse().unwrap()));
    }
}
