//! What is different between skills, content and access control; everything else is written once.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde_json::{Map, Value as Json};
use sync_core::{Digest, Entry, TreePath};
use sync_files::Tree;

use crate::Error;
use crate::record::{Field, Key, Record};
use crate::yaml::{Node, YamlError};

/// Files that are read together: a page, a skill's directory, a file of rules.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    /// The file that stands for them.
    pub(crate) home: TreePath,
    /// All files that what is read may depend on.
    pub(crate) files: Vec<(TreePath, Entry)>,
    /// A digest of those, and of what else decides how they are read: where it is the same, the items are.
    pub(crate) stamp: Digest,
}

/// What a unit says.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) items: Vec<(Key, Record)>,
    /// What of each file is in no column.
    pub(crate) frames: Vec<Frame>,
}

/// A file without the text that is in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) path: TreePath,
    /// What is before the body; everything, where the file has none.
    pub(crate) head: String,
    /// What is after the body; `None` where the file has none.
    pub(crate) tail: Option<String>,
}

/// A directory that is looked into.
#[derive(Debug, Clone)]
pub(crate) struct Dir {
    pub(crate) path: TreePath,
    /// What should be there, for people.
    pub(crate) what: String,
    /// Whether it may be missing, which then means that nothing is there.
    pub(crate) is_optional: bool,
}

impl Dir {
    /// One at a fixed place, given as the text of a path, that may be missing.
    pub(crate) fn optional(path: &str, what: &str) -> Self {
        Self {
            path: TreePath::new(path).unwrap_or_else(|_| unreachable!("a path by its spelling")),
            what: what.to_owned(),
            is_optional: true,
        }
    }
}

/// Texts of files by path, as a kind is given and gives them.
pub(crate) type Texts = BTreeMap<TreePath, String>;
/// Gives the text of a file; `None` where there is none.
pub(crate) type Look<'l> = dyn FnMut(&TreePath) -> Result<Option<String>, Error> + 'l;

/// A kind of item.
pub(crate) trait Kind: Debug + Send + Sync + Sized + 'static {
    /// What one is called: in the database's bookkeeping, and for people.
    const NAME: &'static str;
    /// Its fields.
    const FIELDS: &'static [Field];
    /// Its tables.
    const TABLES: &'static [&'static str];
    /// Whether what leaves the files leaves the rows unasked, as far as it is ours.
    const FILES_ARE_TRUTH: bool;
    /// Whether one file has several items.
    const SHARES_FILES: bool;
    /// Whether rows say where the file is, so that they change where an item only moves.
    const ROWS_HAVE_PATHS: bool;
    /// The columns of `k`, which names items by the columns of their rows.
    const KEY_COLUMNS: &'static str;
    /// How `k` is joined to the rows.
    const KEY_JOIN: &'static str;
    /// The columns of `r`, what is written.
    const ROW_COLUMNS: &'static str;

    /// Reads the configuration of the kind from the tree.
    fn open(tree: &Tree) -> Result<Self, Error>;
    /// The directories that are looked into.
    fn dirs(&self) -> Vec<Dir>;
    /// Which files may be items, so that one that is left out is to be told.
    fn may_be(&self, path: &str) -> bool;
    /// Whether a directory of this path may hold items, so that a link in its place is to be told.
    fn may_hold(&self, path: &str) -> bool;
    /// What one item takes for itself: whatever has the same, or is in it, is in the way of another one.
    fn claim<'p>(&self, path: &'p str) -> &'p str;
    /// A file that must be there for the kind to be read, and is not.
    fn missing(&self) -> Option<&'static str> {
        None
    }
    /// Whether a file can be the home of an item.
    fn holds(&self, home: &TreePath) -> bool;
    /// The units among these files, which are in order; what is wrong with their arrangement goes to `problems`.
    fn units(&self, files: Vec<(TreePath, Entry)>, problems: &mut Vec<Error>) -> Vec<Unit>;
    /// The unit of this home with these files.
    fn unit(&self, home: TreePath, files: Vec<(TreePath, Entry)>) -> Unit;
    /// What a unit says.
    fn read(&self, unit: &Unit, look: &mut Look<'_>) -> Result<Reading, Error>;
    /// Where an item belongs that has no file yet.
    fn home(&self, key: &Key, record: &Record) -> Result<TreePath, Error>;
    /// The texts of files that say what is `wanted`, from those that are there; `None` for a file that goes.
    fn write(
        &self,
        home: &TreePath,
        texts: Texts,
        wanted: &[(Key, Option<Record>)],
    ) -> Result<BTreeMap<TreePath, Option<String>>, Error>;
    /// The values of the columns that name an item.
    fn key_columns(key: &Key) -> Vec<(&'static str, Json)>;
    /// Gives a row what it needs and no file says; `fresh` gives a new id.
    fn complete(row: &mut Map<String, Json>, home: &TreePath, fresh: &mut dyn FnMut() -> String);

    /// A query of all rows as `key`, `mark` (which version of the row it is), `owner` (whose it is, where it is not ours),
    /// `made` (whether only a run of ours can have made it) and `value` (the fields as JSON). `{join}` stands where rows
    /// are chosen.
    fn rows(&self) -> String;
    /// The statements that write rows.
    fn statements() -> Statements;
}

/// The statements of a kind, over `r`, the rows that are written, at the time `$2`; those that lock are over `k`.
/// The first one of each changes one row for each item, or the item has changed meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statements {
    pub(crate) lock: &'static [&'static str],
    pub(crate) insert: &'static [&'static str],
    pub(crate) update: &'static [&'static str],
    pub(crate) delete: &'static [&'static str],
    /// Run before rows are inserted or updated: what stands where they go steps aside.
    pub(crate) aside: &'static [&'static str],
    /// A query of what still stands there after that: the key and the path of what is written, and whose the other row is.
    pub(crate) taken: Option<&'static str>,
}

/// The digest that says whether files have to be read again.
pub(crate) fn stamp(context: &str, files: &[(TreePath, Entry)]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut put = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    put(context.as_bytes());
    for (path, entry) in files {
        put(path.as_bytes());
        put(&entry.encode());
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// A mistake in a file.
pub(crate) fn wrong(path: &TreePath, line: usize, reason: impl Into<String>) -> Error {
    Error::Parse {
        path: path.to_string(),
        line,
        reason: reason.into(),
    }
}

/// A mistake in the YAML of a file, which begins below so many lines.
pub(crate) fn wrong_yaml(path: &TreePath, above: usize, error: YamlError) -> Error {
    wrong(path, error.line + above, error.reason)
}

/// A text that a column can hold.
pub(crate) fn text_of(path: &TreePath, bytes: Vec<u8>) -> Result<String, Error> {
    let line = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').count();
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        wrong(path, line(&error.as_bytes()[..at]), "the text is not UTF-8")
    })?;
    match text.find('\0') {
        None => Ok(text),
        Some(at) => Err(wrong(
            path,
            line(&text.as_bytes()[..at]),
            "there is a NUL character",
        )),
    }
}

/// The mapping that a node is.
pub(crate) fn mapping<'n>(
    path: &TreePath,
    node: Option<&'n Node>,
    above: usize,
) -> Result<&'n [(Node, Node)], Error> {
    match node {
        None => Ok(&[]),
        Some(node) => node
            .entries()
            .ok_or_else(|| wrong(path, node.line + above, "expected `key: value` lines")),
    }
}

/// Whether a file name ends so, in whatever case.
pub(crate) fn has_extension(name: &str, extension: &str) -> bool {
    let found = name.rsplit_once('.').map(|(_, found)| found);
    found.is_some_and(|found| found.eq_ignore_ascii_case(extension))
}
