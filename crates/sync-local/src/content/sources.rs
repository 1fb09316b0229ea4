//! `content/config.yaml`: where pages are, and what they are about unless they say so themselves.

use sync_core::TreePath;
use sync_files::Tree;

use crate::Error;
use crate::kind::{mapping, text_of, wrong, wrong_yaml};
use crate::yaml::{self, Node};

/// Where the sources are configured, from the top of the tree.
pub(crate) const CONFIG: &str = "content/config.yaml";
/// Sources with this type of content hold skills, which are synced as such.
const SKILL: &str = "skill";

/// A directory of pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// What the configuration calls it.
    pub(crate) name: String,
    /// `source_id` of its rows.
    pub(crate) id: String,
    pub(crate) dir: TreePath,
    /// The category of pages that name none.
    pub(crate) category: Option<String>,
    /// The kinds that its pages may be of; any, where there are none.
    pub(crate) types: Vec<String>,
    /// Whether pages may be in directories below it.
    pub(crate) is_recursive: bool,
}

impl Source {
    /// Whether a file is in its directory.
    pub(super) fn holds(&self, path: &TreePath) -> bool {
        let below = path.as_str().strip_prefix(self.dir.as_str());
        let name = below.and_then(|below| below.strip_prefix('/'));
        name.is_some_and(|name| self.is_recursive || !name.contains('/'))
    }

    pub(super) fn allows(&self, kind: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|allowed| allowed == kind)
    }

    /// What of it decides how a page is read.
    pub(super) fn context(&self) -> String {
        format!("{:?}", (&self.id, &self.category, &self.types))
    }
}

/// The sources that are enabled and are not of skills; `None` where the configuration is not there.
pub(super) fn read_sources(tree: &Tree) -> Result<Option<Vec<Source>>, Error> {
    read(tree, parse)
}

/// `source_id` of the sources that hold skills.
pub(crate) fn skill_sources(tree: &Tree) -> Result<Vec<String>, Error> {
    let found = read(tree, |path, text, _| {
        let node = parse_yaml(path, text)?;
        let mut ids = Vec::new();
        for (name, node) in configured(path, node.as_ref())? {
            let id = node.get("source_id").and_then(Node::text);
            let id = id.filter(|id| !id.is_empty()).or(name.text());
            let id = id.filter(|_| types(node).iter().any(|kind| kind == SKILL));
            ids.extend(id.map(str::to_owned));
        }
        Ok(ids)
    });
    Ok(found?.unwrap_or_default())
}

fn read<T>(
    tree: &Tree,
    parse: impl FnOnce(&TreePath, &str, &Tree) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let path = TreePath::new(CONFIG).unwrap_or_else(|_| unreachable!("a path by its spelling"));
    let Some(bytes) = tree.read_file(&path, yaml::MAX_TEXT)? else {
        return Ok(None);
    };
    let text = text_of(&path, bytes)?;
    parse(&path, &text, tree).map(Some)
}

fn parse_yaml(path: &TreePath, text: &str) -> Result<Option<Node>, Error> {
    let text = text.trim_start_matches('\u{feff}');
    yaml::parse(text).map_err(|error| wrong_yaml(path, 0, error))
}

/// What the configuration names, with what it says of each.
fn configured<'n>(path: &TreePath, node: Option<&'n Node>) -> Result<&'n [(Node, Node)], Error> {
    let configured = node.and_then(|node| node.get("content_sources"));
    mapping(path, configured, 0)
}

/// The types of content that a source may hold.
fn types(node: &Node) -> Vec<String> {
    let types = node
        .get("allowed_content_types")
        .and_then(Node::items)
        .unwrap_or_default();
    types
        .iter()
        .filter_map(Node::text)
        .map(str::to_owned)
        .collect()
}

fn parse(path: &TreePath, text: &str, tree: &Tree) -> Result<Vec<Source>, Error> {
    let node = parse_yaml(path, text)?;
    let mut sources: Vec<Source> = Vec::new();
    for (name, node) in configured(path, node.as_ref())? {
        let Some(source) = source(path, name, node, tree)? else {
            continue;
        };
        if let Some(other) = sources.iter().find(|other| other.id == source.id) {
            let reason = format!(
                "`{}` and `{}` have one `source_id`",
                other.name, source.name
            );
            return Err(wrong(path, node.line, reason));
        }
        if let Some(other) = sources.iter().find(|other| other.dir == source.dir) {
            let reason = format!("`{}` and `{}` have one `path`", other.name, source.name);
            return Err(wrong(path, node.line, reason));
        }
        sources.push(source);
    }
    Ok(sources)
}

/// One source; `None` where it is not enabled, or holds skills.
fn source(path: &TreePath, name: &Node, node: &Node, tree: &Tree) -> Result<Option<Source>, Error> {
    mapping(path, Some(node), 0)?;
    let name = name.text().unwrap_or_default().to_owned();
    let text = |key: &str| {
        node.get(key)
            .and_then(Node::text)
            .filter(|text| !text.is_empty())
    };
    let types = types(node);
    let is_enabled = node.get("enabled").and_then(Node::flag).unwrap_or(true);
    if !is_enabled || types.iter().any(|kind| kind == SKILL) {
        return Ok(None);
    }
    let Some(dir) = text("path") else {
        return Err(wrong(
            path,
            node.line,
            format!("source `{name}` has no `path`"),
        ));
    };
    let indexing = node.get("indexing");
    let recursive = indexing.and_then(|indexing| indexing.get("recursive"));
    Ok(Some(Source {
        id: text("source_id").unwrap_or(&name).to_owned(),
        dir: below(dir, tree).ok_or_else(|| {
            let reason = format!("`{dir}` is not a directory below {}", tree.path().display());
            wrong(path, node.line, reason)
        })?,
        category: text("category_id").map(str::to_owned),
        types,
        is_recursive: recursive.and_then(Node::flag).unwrap_or(true),
        name,
    }))
}

/// A configured path from the top of the tree; `None` where it leads out of it.
fn below(dir: &str, tree: &Tree) -> Option<TreePath> {
    let dir = if dir.starts_with('/') {
        std::path::Path::new(dir)
            .strip_prefix(tree.path())
            .ok()?
            .to_str()?
    } else {
        dir
    };
    let parts = dir
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    TreePath::new(parts.collect::<Vec<_>>().join("/")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[(&str, &str)], &str>) {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::open(dir.path(), &dir.path().join("p")).unwrap();
        let path = TreePath::new(CONFIG).unwrap();
        match (parse(&path, text, &tree), expected) {
            (Ok(found), Ok(expected)) => {
                let found: Vec<_> = found
                    .iter()
                    .map(|s| (s.id.as_str(), s.dir.as_str()))
                    .collect();
                assert_eq!(found, expected);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (outcome, _) => panic!("{text}: {outcome:?}"),
        }
    }

    #[test]
    fn sources() {
        check("", Ok(&[]));
        check("content_sources:\n", Ok(&[]));
        check(
            "content_sources:\n  a: {path: ./content//a/}\n",
            Ok(&[("a", "content/a")]),
        );
        check(
            "content_sources:\n  a: {path: a, source_id: b}\n",
            Ok(&[("b", "a")]),
        );
        check(
            "content_sources:\n  a: {path: a, enabled: false}\n",
            Ok(&[]),
        );
        check(
            "content_sources:\n  a: {path: a, allowed_content_types: [skill]}\n",
            Ok(&[]),
        );
        check(
            "content_sources:\n  a: {path: ../a}\n",
            Err("not a directory below"),
        );
        check(
            "content_sources:\n  a: {path: /etc}\n",
            Err("not a directory below"),
        );
        check(
            "content_sources:\n  a: {}\n",
            Err("line 2: source `a` has no `path`"),
        );
        check(
            "content_sources:\n  a: {path: a}\n  b: {path: b, source_id: a}\n",
            Err("one `source_id`"),
        );
        check("content_sources:\n  a: 1\n", Err("line 2: expected"));
    }
}
