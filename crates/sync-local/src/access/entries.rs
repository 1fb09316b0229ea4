//! A file of rules as its entries.

use sync_core::TreePath;

use super::{TYPES, key_of};
use crate::Error;
use crate::kind::{mapping, wrong, wrong_yaml};
use crate::record::Key;
use crate::yaml::{self, Node};

/// What a role may do, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    pub(super) access: String,
    pub(super) justification: Option<String>,
}

/// One entry of `rules`.
#[derive(Debug, Clone)]
pub(super) struct FileEntry {
    pub(super) key: Key,
    pub(super) rule: Rule,
    pub(super) default_included: Option<bool>,
    pub(super) roles: Vec<String>,
    pub(super) line: usize,
}

const KEYS: [&str; 6] = [
    "entity_type",
    "entity_id",
    "access",
    "default_included",
    "roles",
    "justification",
];

/// Every entry of a file, in its order.
pub(super) fn read_entries(path: &TreePath, text: &str) -> Result<Vec<FileEntry>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let node = yaml::parse(text).map_err(|error| wrong_yaml(path, 0, error))?;
    let top = mapping(path, node.as_ref(), 0)?;
    known_keys(path, top, &["rules"])?;
    let Some(rules) = node.as_ref().and_then(|node| node.get("rules")) else {
        // A file that is empty, or cut short, must not look like one that takes every grant away.
        let reason = "there is no `rules` list: `rules: []` says that there are none";
        return Err(wrong(
            path,
            node.as_ref().map_or(1, |node| node.line),
            reason,
        ));
    };
    let Some(items) = rules.items() else {
        return Err(wrong(path, rules.line, "`rules` is not a list"));
    };
    items.iter().map(|item| read_entry(path, item)).collect()
}

/// An unknown key may be a misspelled one, and a rule that is not read is a grant that nobody meant.
fn known_keys(path: &TreePath, entries: &[(Node, Node)], known: &[&str]) -> Result<(), Error> {
    let is_known = |key: &Node| key.text().is_some_and(|key| known.contains(&key));
    match entries.iter().find(|(key, _)| !is_known(key)) {
        None => Ok(()),
        Some((key, _)) => {
            let name = key.text().unwrap_or("?");
            let known = known.join(", ");
            Err(wrong(
                path,
                key.line,
                format!("unknown key `{name}`: expected {known}"),
            ))
        }
    }
}

fn read_entry(path: &TreePath, item: &Node) -> Result<FileEntry, Error> {
    known_keys(path, mapping(path, Some(item), 0)?, &KEYS)?;
    let wrong = |node: Option<&Node>, reason: String| {
        wrong(path, node.map_or(item.line, |node| node.line), reason)
    };
    let text = |key: &str| match item.get(key) {
        None => Ok(None),
        Some(node) => match node.text() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(wrong(Some(node), format!("`{key}` is not a text"))),
        },
    };
    let required = |key: &str| {
        text(key)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| wrong(item.get(key), format!("`{key}` is missing")))
    };
    let kind = required("entity_type")?;
    if !TYPES.contains(&kind.as_str()) {
        let known = TYPES.join(", ");
        let reason = format!("`entity_type` is `{kind}`: expected one of {known}");
        return Err(wrong(item.get("entity_type"), reason));
    }
    let access = text("access")?.unwrap_or_else(|| "allow".to_owned());
    if !["allow", "deny"].contains(&access.as_str()) {
        let reason = format!("`access` is `{access}`: expected `allow` or `deny`");
        return Err(wrong(item.get("access"), reason));
    }
    let default_included = match item.get("default_included") {
        None => None,
        Some(node) => Some(node.flag().ok_or_else(|| {
            wrong(
                Some(node),
                "`default_included` is not `true` or `false`".to_owned(),
            )
        })?),
    };
    let roles = match item.get("roles") {
        None => Vec::new(),
        Some(node) => {
            let names = node.items().map(|items| {
                let name = |item: &Node| {
                    item.text()
                        .filter(|text| !text.is_empty())
                        .map(str::to_owned)
                };
                items.iter().map(name).collect::<Option<Vec<_>>>()
            });
            names
                .flatten()
                .ok_or_else(|| wrong(Some(node), "`roles` is not a list of names".to_owned()))?
        }
    };
    Ok(FileEntry {
        key: key_of(&kind, &required("entity_id")?),
        rule: Rule {
            access,
            justification: text("justification")?,
        },
        default_included,
        roles,
        line: item.line,
    })
}
