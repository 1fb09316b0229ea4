//! Access control: rules of roles in `access-control/*.yaml`, and rows of `access_control_entities` and `access_control_rules`.
//!
//! An item is an entity with the rules that roles have on it. An entity of which the files say nothing (no role, and not
//! included by default) is none, on either side; rules of single users are in the database alone and are never touched.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};
use sync_core::{Entry, TreePath};
use sync_files::Tree;

use crate::Error;
use crate::kind::{
    Dir, Frame, Kind, Look, Reading, Statements, Texts, Unit, has_extension, stamp, wrong,
};
use crate::record::{Field, Key, Record, Shape, Value};

mod entries;
mod rows;
mod write;

use entries::{Rule, read_entries};

/// Rules of roles on entities.
#[derive(Debug, Clone)]
pub(crate) struct AccessControl(());

const FIELDS: &[Field] = &[
    Field::new("default_included", Shape::Flag),
    Field::new("rules", Shape::Json),
];

/// Where rules are, from the top of the tree.
const DIR: &str = "access-control";
/// What rules can be about.
const TYPES: [&str; 7] = [
    "plugin",
    "agent",
    "mcp_server",
    "marketplace",
    "gateway_route",
    "skill",
    "hook",
];

impl Kind for AccessControl {
    const NAME: &'static str = "access-control";
    const FIELDS: &'static [Field] = FIELDS;
    const TABLES: &'static [&'static str] = &[
        "public.access_control_entities",
        "public.access_control_rules",
    ];
    const FILES_ARE_TRUTH: bool = true;
    const SHARES_FILES: bool = true;
    const ROWS_HAVE_PATHS: bool = false;
    const KEY_COLUMNS: &'static str = "entity_type text, entity_id text";
    const KEY_JOIN: &'static str = "k.entity_type = m.entity_type AND k.entity_id = m.entity_id";
    const ROW_COLUMNS: &'static str = rows::COLUMNS;

    fn open(_: &Tree) -> Result<Self, Error> {
        Ok(Self(()))
    }

    fn dirs(&self) -> Vec<Dir> {
        vec![Dir::optional(DIR, "access-control rules")]
    }

    fn may_be(&self, path: &str) -> bool {
        let name = path
            .strip_prefix(DIR)
            .and_then(|rest| rest.strip_prefix('/'));
        name.is_some_and(|name| {
            let is_yaml = has_extension(name, "yaml") || has_extension(name, "yml");
            is_yaml && !name.contains('/')
        })
    }

    fn may_hold(&self, _: &str) -> bool {
        false
    }

    fn claim<'p>(&self, path: &'p str) -> &'p str {
        path
    }

    fn holds(&self, home: &TreePath) -> bool {
        self.may_be(home.as_str())
    }

    fn units(&self, files: Vec<(TreePath, Entry)>, _: &mut Vec<Error>) -> Vec<Unit> {
        let files = files.into_iter().filter(|(path, entry)| {
            matches!(entry, Entry::File { .. }) && self.may_be(path.as_str())
        });
        files
            .map(|(path, entry)| self.unit(path.clone(), vec![(path, entry)]))
            .collect()
    }

    fn unit(&self, home: TreePath, files: Vec<(TreePath, Entry)>) -> Unit {
        let stamp = stamp(DIR, &files);
        Unit { home, files, stamp }
    }

    fn read(&self, unit: &Unit, look: &mut Look<'_>) -> Result<Reading, Error> {
        let text = look(&unit.home)?.unwrap_or_default();
        let entries = read_entries(&unit.home, &text)?;
        let mut items: BTreeMap<Key, Entity> = BTreeMap::new();
        for entry in entries {
            let entity = items.entry(entry.key.clone()).or_default();
            for role in &entry.roles {
                let rule = entry.rule.clone();
                if entity.rules.insert(role.clone(), rule).is_some() {
                    let reason = format!("role `{role}` is named twice for `{}`", entry.key);
                    return Err(wrong(&unit.home, entry.line, reason));
                }
            }
            match (entity.default_included, entry.default_included) {
                (Some(before), Some(now)) if before != now => {
                    let reason = format!("`default_included` of `{}` is said twice", entry.key);
                    return Err(wrong(&unit.home, entry.line, reason));
                }
                (None, now) => entity.default_included = now,
                _ => {}
            }
        }
        let items = items
            .into_iter()
            .filter(|(_, entity)| !entity.says_nothing());
        Ok(Reading {
            items: items.map(|(key, entity)| (key, entity.record())).collect(),
            frames: vec![Frame {
                path: unit.home.clone(),
                head: text,
                tail: None,
            }],
        })
    }

    fn home(&self, key: &Key, _: &Record) -> Result<TreePath, Error> {
        let (kind, id) = named(key);
        let unnamable = |reason: &str| Error::Unnamable {
            kind: Self::NAME,
            key: key.to_string(),
            reason: reason.to_owned(),
        };
        if id.is_empty() || id.contains(char::is_control) {
            return Err(unnamable("its id is empty or has control characters"));
        }
        TreePath::new(format!("{DIR}/{kind}.yaml")).map_err(|error| unnamable(&error.to_string()))
    }

    fn write(
        &self,
        home: &TreePath,
        mut texts: Texts,
        wanted: &[(Key, Option<Record>)],
    ) -> Result<BTreeMap<TreePath, Option<String>>, Error> {
        let text = texts
            .remove(home)
            .unwrap_or_else(|| "rules: []\n".to_owned());
        let text = write::edit(home, &text, wanted)?;
        Ok(BTreeMap::from([(home.clone(), Some(text))]))
    }

    fn key_columns(key: &Key) -> Vec<(&'static str, Json)> {
        let (kind, id) = named(key);
        vec![("entity_type", kind.into()), ("entity_id", id.into())]
    }

    fn complete(row: &mut Map<String, Json>, _: &TreePath, fresh: &mut dyn FnMut() -> String) {
        if let Some(Json::Array(rules)) = row.get_mut("rules") {
            for rule in rules {
                rule["id"] = fresh().into();
            }
        }
    }

    fn rows(&self) -> String {
        rows::query(&TYPES)
    }

    fn statements() -> Statements {
        rows::STATEMENTS
    }
}

/// An entity as the files have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entity {
    default_included: Option<bool>,
    /// By role.
    rules: BTreeMap<String, Rule>,
}

impl Entity {
    fn says_nothing(&self) -> bool {
        self.rules.is_empty() && !self.default_included.unwrap_or(false)
    }

    fn record(&self) -> Record {
        let rules = self.rules.iter().map(|(role, rule)| {
            json!({"role": role, "access": rule.access, "justification": rule.justification})
        });
        let rules = Value::Json(rules.collect()).normal(Shape::Json);
        Record(vec![
            Value::Flag(self.default_included.unwrap_or(false)),
            rules,
        ])
    }

    fn of(record: &Record) -> Self {
        let rules = match record.value(FIELDS, "rules") {
            Value::Json(Json::Array(rules)) => rules.as_slice(),
            _ => &[],
        };
        let rules = rules.iter().map(|rule| {
            let text = |key: &str| rule[key].as_str().map(str::to_owned);
            let said = Rule {
                access: text("access").unwrap_or_default(),
                justification: text("justification"),
            };
            (text("role").unwrap_or_default(), said)
        });
        Self {
            default_included: Some(*record.value(FIELDS, "default_included") == Value::Flag(true)),
            rules: rules.collect(),
        }
    }
}

fn key_of(kind: &str, id: &str) -> Key {
    Key(format!("{kind}/{id}").into())
}

/// Type and id of a key.
fn named(key: &Key) -> (&str, &str) {
    key.as_str().split_once('/').unwrap_or((key.as_str(), ""))
}
