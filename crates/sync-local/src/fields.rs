//! Fields as they stand in YAML: read from it, and edited in it.

use sync_core::TreePath;

use crate::Error;
use crate::instant::canonical;
use crate::kind::wrong;
use crate::record::{Field, Shape, Value};
use crate::yaml::{self, Node, Wanted};

/// YAML of a file, and where in the file it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Front<'f> {
    pub(crate) path: &'f TreePath,
    pub(crate) node: Option<&'f Node>,
    /// How many lines of the file are above it.
    pub(crate) above: usize,
}

impl Front<'_> {
    /// A mistake at a value, or at the top where there is none.
    pub(crate) fn wrong(&self, node: Option<&Node>, reason: impl Into<String>) -> Error {
        let line = node.or(self.node).map_or(1, |node| node.line);
        wrong(self.path, line + self.above, reason)
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.node.and_then(|node| node.get(key))
    }

    /// A text; `None` where the key is not there or has no value.
    pub(crate) fn text(&self, key: &str) -> Result<Option<String>, Error> {
        let Some(node) = self.get(key) else {
            return Ok(None);
        };
        match node.text() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(self.wrong(Some(node), format!("`{key}` is not a text"))),
        }
    }

    /// A text that must be there and say something.
    pub(crate) fn required(&self, key: &str) -> Result<String, Error> {
        match self.text(key)?.filter(|text| !text.trim().is_empty()) {
            Some(text) => Ok(text),
            None => Err(self.wrong(self.get(key), format!("`{key}` is missing"))),
        }
    }

    /// A field by the name `key`; [`Value::Absent`] where it is not there.
    pub(crate) fn value(&self, key: &str, shape: Shape) -> Result<Value, Error> {
        let Some(node) = self.get(key) else {
            return Ok(Value::Absent.normal(match shape {
                // What absence means is the kind's to say.
                Shape::Flag | Shape::Instant => Shape::Optional,
                shape => shape,
            }));
        };
        if node.has_alias() {
            return Err(self.wrong(Some(node), format!("`{key}` is written with an alias")));
        }
        let texts = |node: &Node| {
            let items = node.items()?.iter();
            items
                .map(|item| item.text().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        };
        let found = match shape {
            Shape::Flag => node.flag().map(Value::Flag),
            Shape::List => texts(node).map(Value::List),
            Shape::Json => Some(Value::Json(node.to_json())),
            Shape::Instant => node.text().and_then(canonical).map(Value::Text),
            Shape::Text | Shape::Body => {
                let list = || texts(node).map(|items| items.join(", "));
                node.text()
                    .map(str::to_owned)
                    .or_else(list)
                    .map(Value::Text)
            }
            Shape::Optional => node.text().map(|text| Value::Text(text.to_owned())),
        };
        let expected = match shape {
            Shape::Flag => "`true` or `false`",
            Shape::List => "a list of texts",
            Shape::Instant => "a day as YYYY-MM-DD, or a moment as YYYY-MM-DDTHH:MM:SSZ",
            _ => "a text",
        };
        match found {
            Some(value) => Ok(value.normal(shape)),
            None => Err(self.wrong(Some(node), format!("`{key}` is not {expected}"))),
        }
    }
}

/// One edit of YAML text: `key` says `value`, or is gone.
pub(crate) fn edit(
    path: &TreePath,
    text: &str,
    key: &str,
    value: Option<Wanted<'_>>,
) -> Result<String, Error> {
    yaml::set(text, &[], key, value).map_err(|error| refused(path, error))
}

/// An edit that could not be made.
pub(crate) fn refused(path: &TreePath, error: yaml::EditError) -> Error {
    Error::Edit {
        path: path.to_string(),
        reason: error.0,
    }
}

/// Brings the fields of YAML text that differ to what is wanted. `now` is what the text says; `name` gives the key of a
/// field, `None` where it has none in this text.
pub(crate) fn edit_fields(
    path: &TreePath,
    mut text: String,
    fields: &[Field],
    now: &[Value],
    wanted: &[Value],
    key_of: impl Fn(&'static str) -> Option<&'static str>,
) -> Result<String, Error> {
    for ((field, now), value) in fields.iter().zip(now).zip(wanted) {
        let Some(key) = key_of(field.name).filter(|_| now != value) else {
            continue;
        };
        let listed = match value {
            // Where a list stands for a text of several words, it stays one.
            Value::Text(words) if is_list(&text, key) => words.split(',').map(trimmed).collect(),
            Value::List(items) => items.clone(),
            _ => Vec::new(),
        };
        let joined = listed.join(", ");
        let value = match value {
            Value::Absent if field.shape == Shape::Optional && key == "category" => {
                Some(Wanted::Text(""))
            }
            Value::Absent => None,
            Value::Text(_) if !listed.is_empty() => Some(Wanted::List(&listed)),
            Value::Text(text) => Some(Wanted::Text(text)),
            Value::Flag(flag) => Some(Wanted::Flag(*flag)),
            // And where a text of several words stands for a list, it stays one.
            Value::List(_) if is_words(&text, key) => Some(Wanted::Text(&joined)),
            Value::List(_) => Some(Wanted::List(&listed)),
            Value::Json(json) => Some(Wanted::Json(json)),
        };
        text = edit(path, &text, key, value)?;
    }
    Ok(text)
}

fn trimmed(word: &str) -> String {
    word.trim().to_owned()
}

fn is_list(text: &str, key: &str) -> bool {
    let node = yaml::parse(text).ok().flatten();
    node.is_some_and(|node| node.get(key).is_some_and(|value| value.items().is_some()))
}

fn is_words(text: &str, key: &str) -> bool {
    let node = yaml::parse(text).ok().flatten();
    node.is_some_and(|node| node.get(key).is_some_and(|value| value.text().is_some()))
}
