//! What the directory has: which files there are, and what those say that have changed.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use sync_core::{Entry, TreePath};
use sync_files::{CaptureOptions, Contents, Refusal, StatCache, Tree};

use crate::Error;
use crate::kind::{Dir, Kind, Look, Reading, Unit, text_of, wrong};

/// The longest file that is read, in bytes.
pub(crate) const MAX_FILE: usize = 4 << 20;

/// Where files are.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The top of the tree.
    pub(crate) tree: PathBuf,
    /// The private directory of the workspace, with the journal of applies.
    pub(crate) private: PathBuf,
    /// Patterns of files that may be synced although they look like secrets.
    pub(crate) allow_secrets: Vec<String>,
}

/// What the directories of a kind hold.
#[derive(Debug)]
pub(crate) struct Captured<K> {
    /// The top of the tree.
    pub(crate) tree: PathBuf,
    pub(crate) kind: K,
    pub(crate) units: Vec<Unit>,
    /// Every file and link there, so that nothing is put over one.
    pub(crate) entries: HashMap<TreePath, Entry>,
    pub(crate) cache: StatCache,
    /// What is wrong with the arrangement of files.
    pub(crate) problems: Vec<Error>,
    /// Directories that are not there.
    pub(crate) missing: Vec<Dir>,
    /// Files that were left out and may be items.
    pub(crate) left_out: Vec<Error>,
}

impl Place {
    pub(crate) fn open(&self) -> Result<Tree, Error> {
        Ok(Tree::open(&self.tree, &self.private)?)
    }

    /// Where the stat cache of a kind is.
    pub(crate) fn cache_dir(&self, kind: &str) -> PathBuf {
        self.private.join("local").join(kind)
    }

    /// Looks at every file of a kind, and reads those whose stat does not vouch for them.
    pub(crate) fn capture<K: Kind>(&self) -> Result<Captured<K>, Error> {
        let tree = self.open()?;
        let kind = K::open(&tree)?;
        let dirs = kind.dirs();
        let options = CaptureOptions {
            ignore: patterns(&dirs),
            allow_secrets: self.allow_secrets.clone(),
            ..CaptureOptions::default()
        };
        let old = StatCache::load(&self.cache_dir(K::NAME));
        let captured = tree.capture(&old, &options, &|_| ())?;
        let missing = dirs
            .iter()
            .filter(|dir| !is_directory(&self.tree, &dir.path));
        let missing = missing.cloned().collect();
        let is_in = |path: &str| dirs.iter().any(|dir| is_below(path, dir.path.as_str()));
        let left_out = captured.refused.iter();
        let left_out = left_out.filter(|refused| {
            let is_link = matches!(refused.reason, Refusal::LinkOutside | Refusal::LinkNotUtf8);
            let hides = is_link && self.hides(&kind, &refused.path);
            is_in(&refused.path) && (hides || kind.may_be(&refused.path))
        });
        let left_out = left_out.map(|refused| Error::LeftOut {
            path: refused.path.clone(),
            reason: refused.reason.to_string(),
        });
        let mut left_out: Vec<Error> = left_out.collect();
        let mut files = captured.cache.entries()?;
        files.retain(|(path, _)| is_in(path.as_str()));
        let links = files.iter().filter(|(path, entry)| {
            matches!(entry, Entry::Link { .. }) && self.hides(&kind, path.as_str())
        });
        left_out.extend(links.map(|(path, _)| Error::LeftOut {
            path: path.to_string(),
            reason: "it is a link, which is not followed".to_owned(),
        }));
        let entries = files.iter().cloned().collect();
        let mut problems = Vec::new();
        let units = kind.units(files, &mut problems);
        Ok(Captured {
            tree: self.tree.clone(),
            kind,
            units,
            entries,
            cache: captured.cache,
            problems,
            missing,
            left_out,
        })
    }
}

impl Place {
    /// Whether a link may stand where items would be: it has the name of one, or leads to what may be a directory of them.
    fn hides<K: Kind>(&self, kind: &K, path: &str) -> bool {
        let is_file = || std::fs::metadata(self.tree.join(path)).is_ok_and(|found| found.is_file());
        kind.may_be(path) || kind.may_hold(path) && !is_file()
    }
}

/// What is at a path of the tree, without following any link; `None` where nothing is, or a link or file leads there.
pub(crate) fn found_at(tree: &Path, path: &str) -> Option<std::fs::Metadata> {
    let above = path.match_indices('/').map(|(at, _)| &path[..at]);
    let stat = |path: &str| std::fs::symlink_metadata(tree.join(path)).ok();
    for dir in above {
        stat(dir).filter(std::fs::Metadata::is_dir)?;
    }
    stat(path)
}

/// Reads files of units, each as the capture saw it.
pub(crate) struct Reader {
    contents: Contents,
}

impl Reader {
    pub(crate) fn new(tree: &Tree) -> Result<Self, Error> {
        Ok(Self {
            contents: tree.contents()?,
        })
    }

    /// The text of a file of a unit; `None` where it has no such file.
    pub(crate) fn text(&mut self, unit: &Unit, path: &TreePath) -> Result<Option<String>, Error> {
        let found = unit.files.binary_search_by(|(file, _)| file.cmp(path));
        let Some((_, entry)) = found.ok().map(|at| &unit.files[at]) else {
            return Ok(None);
        };
        if !matches!(entry, Entry::File { .. }) {
            return Err(wrong(path, 1, "it is a link, which is not followed"));
        }
        if entry.size() > MAX_FILE as u64 {
            return Err(wrong(
                path,
                1,
                format!("it is longer than {MAX_FILE} bytes"),
            ));
        }
        let bytes = self.contents.whole(path, entry, MAX_FILE)?;
        text_of(path, bytes).map(Some)
    }

    /// What a unit says.
    pub(crate) fn read<K: Kind>(&mut self, kind: &K, unit: &Unit) -> Result<Reading, Error> {
        let look: &mut Look<'_> = &mut |path| self.text(unit, path);
        kind.read(unit, look)
    }
}

/// Whether there is a directory, and no link to one: links are not followed.
fn is_directory(tree: &Path, path: &TreePath) -> bool {
    found_at(tree, path.as_str()).is_some_and(|found| found.is_dir())
}

/// Whether a path is in a directory.
pub(crate) fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Patterns in git's syntax that leave out everything but these directories.
fn patterns(dirs: &[Dir]) -> Vec<String> {
    let paths: BTreeSet<&str> = dirs.iter().map(|dir| dir.path.as_str()).collect();
    // A directory below another one comes with it.
    let tops = paths
        .iter()
        .filter(|path| !paths.iter().any(|other| is_below(path, other)));
    let mut shut: BTreeSet<(usize, String)> = BTreeSet::from([(0, String::new())]);
    let mut open: BTreeSet<(usize, String)> = BTreeSet::new();
    for path in tops {
        let mut above = String::new();
        for (depth, part) in path.split('/').enumerate() {
            shut.insert((depth, above.clone()));
            above = format!("{above}/{}", literal(part));
            open.insert((depth, above.clone()));
        }
    }
    let deepest = shut.iter().map(|(depth, _)| *depth).max().unwrap_or(0);
    let mut patterns = Vec::new();
    for level in 0..=deepest {
        let at = |(depth, _): &&(usize, String)| *depth == level;
        patterns.extend(shut.iter().filter(at).map(|(_, dir)| format!("{dir}/*")));
        patterns.extend(open.iter().filter(at).map(|(_, dir)| format!("!{dir}/")));
    }
    patterns
}

/// A name as a pattern that matches it alone.
fn literal(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !"_-.".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("t");
        for file in [
            "content/blog/a.md",
            "content/blog/sub/b.md",
            "content/news/c.md",
            "content/d.md",
            "skills/x/SKILL.md",
            "web/e.md",
            "we[i]rd {a}/f.md",
            "weird a/g.md",
        ] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        let tree = Tree::open(&root, &dir.path().join("p")).unwrap();
        let check = |dirs: &[&str], expected: &[&str]| {
            let dirs = dirs.iter().map(|dir| Dir {
                path: dir.parse().unwrap(),
                what: String::new(),
                is_optional: true,
            });
            let options = CaptureOptions {
                ignore: patterns(&dirs.collect::<Vec<_>>()),
                ..CaptureOptions::default()
            };
            let captured = tree.capture(&StatCache::new(), &options, &|_| ()).unwrap();
            let found: Vec<_> = captured
                .changes
                .iter()
                .map(|(path, _)| path.as_str())
                .collect();
            assert_eq!(found, expected);
        };
        check(
            &["content/blog"],
            &["content/blog/a.md", "content/blog/sub/b.md"],
        );
        check(
            &["content/news", "skills"],
            &["content/news/c.md", "skills/x/SKILL.md"],
        );
        check(
            &["content/blog", "content/blog/sub"],
            &["content/blog/a.md", "content/blog/sub/b.md"],
        );
        check(&["we[i]rd {a}"], &["we[i]rd {a}/f.md"]);
        check(&[], &[]);
    }
}
