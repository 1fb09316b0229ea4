//! Changing one value of a text.
//!
//! Each edit is made as text, and the result is read again: it has to say what was wanted there, and everywhere else what
//! it said before. Where no way of writing comes to that, nothing is changed and the reason is given.

use serde_json::Value as Json;

use super::write::{block, entry, flow_list, inline, scalar};
use super::{Kind, Node, Style, Wanted, parse};

/// A way down from the top of a document.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'p> {
    Key(&'p str),
    Item(usize),
}

/// Why a text cannot be changed as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EditError(pub(crate) String);

type Result<T, E = EditError> = std::result::Result<T, E>;

fn refuse<T>(reason: impl Into<String>) -> Result<T> {
    Err(EditError(reason.into()))
}

/// Gives `key` of the mapping at `path` a value, or takes it out.
pub(crate) fn set(
    text: &str,
    path: &[Step<'_>],
    key: &str,
    value: Option<Wanted<'_>>,
) -> Result<String> {
    let place = Place::find(text, path)?;
    let mut wanted = place.json.clone();
    let Some(Json::Object(map)) = json_at(&mut wanted, path) else {
        return refuse("it is no mapping");
    };
    match value {
        Some(value) => map.insert(key.to_owned(), value.to_json()),
        None => map.remove(key),
    };
    if wanted == place.json && (value.is_some() || !place.has(key)) {
        return Ok(text.to_owned());
    }
    let candidates = match value {
        None => vec![place.without(key)?],
        Some(value) => place.with(key, value)?,
    };
    first_right(candidates, &wanted, key)
}

/// Takes an item out of the list at `path`.
pub(crate) fn remove_item(text: &str, path: &[Step<'_>], index: usize) -> Result<String> {
    let place = Place::find(text, path)?;
    let mut wanted = place.json.clone();
    let (Kind::List { items, flow: false }, Some(Json::Array(list))) =
        (&place.node.kind, json_at(&mut wanted, path))
    else {
        return refuse("it is no list with a line for each item");
    };
    if index >= list.len() {
        return refuse("there is no such item");
    }
    list.remove(index);
    let bounds = place.item_bounds(items, index);
    let mut new = text.to_owned();
    let is_last = list.is_empty();
    // A list without items has to say that it is one.
    let rest = if is_last {
        format!(" []{}", place.eol)
    } else {
        String::new()
    };
    if is_last {
        let head = text[..bounds.0].trim_end().len();
        new.replace_range(head..bounds.1, &rest);
    } else {
        new.replace_range(bounds.0..bounds.1, "");
    }
    first_right(vec![new], &wanted, "the list")
}

/// Adds a mapping to the list at `path`.
pub(crate) fn append(
    text: &str,
    path: &[Step<'_>],
    fields: &[(&str, Wanted<'_>)],
) -> Result<String> {
    let place = Place::find(text, path)?;
    let mut wanted = place.json.clone();
    let (Kind::List { items, flow }, Some(Json::Array(list))) =
        (&place.node.kind, json_at(&mut wanted, path))
    else {
        return refuse("it is no list");
    };
    let item = fields
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.to_json()));
    list.push(Json::Object(item.collect()));
    let eol = place.eol;
    let lines = |indent: usize| {
        let lines: String = fields
            .iter()
            .map(|(key, value)| entry(indent + 2, key, *value, eol))
            .collect();
        format!("{}- {}", " ".repeat(indent), lines.trim_start())
    };
    let mut new = text.to_owned();
    match items.len().checked_sub(1) {
        Some(at) if !flow => {
            let (start, end) = place.item_bounds(items, at);
            let indent = indent_of(text, start);
            new.insert_str(end, &ended(text, end, eol, &lines(indent)));
        }
        None if *flow => {
            // `[]` gives way to the lines.
            let (start, end) = (place.node.span.start, line_end(text, place.node.span.end));
            let head = text[..start].trim_end().len();
            let after = &text[place.node.span.end..end];
            let indent = indent_of(text, line_start(text, start)) + 2;
            let lines = format!("{}{eol}{}", after.trim_end(), lines(indent));
            new.replace_range(head..end, &lines);
        }
        _ => return refuse("a list on one line is not added to"),
    }
    first_right(vec![new], &wanted, "the list")
}

/// The first of several texts that says what is wanted.
fn first_right(candidates: Vec<String>, wanted: &Json, what: &str) -> Result<String> {
    let mut last = "it is written in a way that is not understood".to_owned();
    for text in candidates {
        match parse(&text) {
            Ok(node) if node.as_ref().map_or(Json::Null, Node::to_json) == *wanted => {
                return Ok(text);
            }
            Ok(_) => {}
            Err(error) => last = error.reason,
        }
    }
    refuse(format!("`{what}` cannot be changed as text: {last}"))
}

fn json_at<'j>(json: &'j mut Json, path: &[Step<'_>]) -> Option<&'j mut Json> {
    path.iter().try_fold(json, |json, step| match step {
        Step::Key(key) => json.get_mut(*key),
        Step::Item(index) => json.get_mut(*index),
    })
}

/// A collection in a text.
struct Place<'t> {
    text: &'t str,
    node: Node,
    /// Where what belongs to it ends at the latest.
    limit: usize,
    /// What the whole text says.
    json: Json,
    eol: &'static str,
}

impl<'t> Place<'t> {
    fn find(text: &'t str, path: &[Step<'_>]) -> Result<Self> {
        let root = parse(text).map_err(|error| EditError(error.reason))?;
        let eol = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let Some(mut node) = root else {
            // Nothing but comments: a mapping can begin at the end.
            let node = Node {
                kind: Kind::Map {
                    entries: Vec::new(),
                    flow: false,
                },
                span: text.len()..text.len(),
                line: 1,
                is_marked: false,
            };
            let json = Json::Object(serde_json::Map::new());
            return Ok(Self {
                text,
                node,
                limit: text.len(),
                json,
                eol,
            });
        };
        let json = node.to_json();
        let mut limit = text.len();
        for step in path {
            let (next, end) = match (&node.kind, step) {
                (Kind::Map { entries, .. }, Step::Key(key)) => {
                    let at = position(entries, key);
                    let at = at.ok_or_else(|| EditError(format!("there is no `{key}`")))?;
                    let after = entries.get(at + 1);
                    let after = after.map(|(key, _)| line_start(text, key.span.start));
                    (entries[at].1.clone(), after)
                }
                (Kind::List { items, .. }, Step::Item(index)) => {
                    let item = items.get(*index);
                    let item = item.ok_or_else(|| EditError("there is no such item".to_owned()))?;
                    let after = items.get(index + 1);
                    (
                        item.clone(),
                        after.map(|item| line_start(text, item.span.start)),
                    )
                }
                _ => return refuse("the way to it is not there"),
            };
            if node.is_marked {
                return refuse("it is in something with an anchor or a tag");
            }
            limit = end.unwrap_or(limit);
            node = next;
        }
        if node.is_marked {
            return refuse("it has an anchor or a tag, or is an alias");
        }
        Ok(Self {
            text,
            node,
            limit,
            json,
            eol,
        })
    }

    fn entries(&self) -> &[(Node, Node)] {
        self.node.entries().unwrap_or_default()
    }

    fn has(&self, key: &str) -> bool {
        position(self.entries(), key).is_some()
    }

    /// Where the entry's lines begin, and where they end with what belongs to it.
    fn entry_bounds(&self, at: usize) -> (usize, usize) {
        let (key, value) = &self.entries()[at];
        let start = line_start(self.text, key.span.start);
        let next = self.entries().get(at + 1);
        let limit = next.map_or(self.limit, |(key, _)| line_start(self.text, key.span.start));
        (
            start,
            self.content_end(key.span.start - start, start, limit, value),
        )
    }

    fn item_bounds(&self, items: &[Node], at: usize) -> (usize, usize) {
        let item = &items[at];
        let start = line_start(self.text, item.span.start);
        let next = items.get(at + 1);
        let limit = next.map_or(self.limit, |item| line_start(self.text, item.span.start));
        let column = indent_of(self.text, start);
        (start, self.content_end(column, start, limit, item))
    }

    /// Where what begins at `start` ends: blank lines and comments before the next key are not part of it.
    fn content_end(&self, column: usize, start: usize, limit: usize, value: &Node) -> usize {
        let mut end = limit;
        let ends_in_block = ends_in_block(value);
        while end > start {
            let before = line_start(self.text, end.saturating_sub(1));
            if before <= start {
                break;
            }
            let line = &self.text[before..end];
            let content = line.trim();
            let indent = line.len() - line.trim_start().len();
            let is_comment = content.starts_with('#') && (!ends_in_block || indent <= column);
            if !content.is_empty() && !is_comment {
                break;
            }
            end = before;
        }
        end
    }

    /// The text without a key.
    fn without(&self, key: &str) -> Result<String> {
        let Some(at) = position(self.entries(), key) else {
            return Ok(self.text.to_owned());
        };
        let (start, end) = self.entry_bounds(at);
        if !self.text[start..self.entries()[at].0.span.start]
            .trim()
            .is_empty()
        {
            return refuse(format!("`{key}` shares its line with something else"));
        }
        let mut new = self.text.to_owned();
        new.replace_range(start..end, "");
        Ok(new)
    }

    /// The text with a value for a key, in the ways in which it could be written, the best one first.
    fn with(&self, key: &str, value: Wanted<'_>) -> Result<Vec<String>> {
        let in_flow = matches!(self.node.kind, Kind::Map { flow: true, .. });
        let Some(at) = position(self.entries(), key) else {
            if in_flow {
                return refuse(format!("`{key}` has no place in a mapping on one line"));
            }
            return Ok(vec![self.with_new(key, value)]);
        };
        let (name, old) = &self.entries()[at];
        if old.is_marked || old.has_alias() {
            return refuse(format!("`{key}` has an anchor, an alias or a tag"));
        }
        let bounds = self.entry_bounds(at);
        let colon = self.text[name.span.end..].find(':');
        let after_colon = colon.map_or(name.span.end, |colon| name.span.end + colon + 1);
        let column = name.span.start - line_start(self.text, name.span.start);
        let mut ways = Vec::new();
        if let Kind::List { items, flow } = &old.kind
            && let Wanted::List(wanted) = value
        {
            ways.push(if *flow {
                self.flow_items(old, items, wanted)
            } else {
                self.block_items(items, wanted, bounds.1)
            });
        }
        let replace = |range: std::ops::Range<usize>, with: &str| {
            let mut new = self.text.to_owned();
            new.replace_range(range, with);
            new
        };
        let style = match &old.kind {
            Kind::Scalar { style, .. } => *style,
            _ => Style::Plain,
        };
        let end = trimmed_end(self.text, bounds.1);
        let is_block = ends_in_block(old) && matches!(old.kind, Kind::Scalar { .. })
            || matches!(
                old.kind,
                Kind::List { flow: false, .. } | Kind::Map { flow: false, .. }
            );
        // What takes whole lines gives way as a whole; anything else is replaced where it stands.
        let range = if is_block {
            after_colon..end
        } else if old.span.is_empty() {
            after_colon..after_colon
        } else {
            old.span.clone()
        };
        let lead = if is_block || old.span.is_empty() {
            " "
        } else {
            ""
        };
        if in_flow && old.span.is_empty() {
            return refuse(format!("`{key}` has no value to be replaced"));
        }
        if let (Style::Block, Wanted::Text(text)) = (style, value) {
            let header = self.text[after_colon..].trim_start().chars().next();
            ways.extend(
                self.literal(text, column, header)
                    .map(|new| replace(range.clone(), &new)),
            );
        }
        if let Wanted::Json(json @ (Json::Array(_) | Json::Object(_))) = value
            && is_block
        {
            let lines = block(json, column + 2).join(self.eol);
            ways.push(replace(range.clone(), &format!("{}{lines}", self.eol)));
        }
        for style in [style, Style::Plain, Style::Double] {
            ways.push(replace(
                range.clone(),
                &format!("{lead}{}", inline(value, style, in_flow)),
            ));
        }
        Ok(ways)
    }

    /// The text with a key that was not there, after all others.
    fn with_new(&self, key: &str, value: Wanted<'_>) -> String {
        let (column, end) = match self.entries().len().checked_sub(1) {
            Some(last) => {
                let name = &self.entries()[0].0;
                let column = name.span.start - line_start(self.text, name.span.start);
                (column, self.entry_bounds(last).1)
            }
            None => (0, self.text.len()),
        };
        let line = entry(column, key, value, self.eol);
        let mut new = self.text.to_owned();
        new.insert_str(end, &ended(self.text, end, self.eol, &line));
        new
    }

    /// A list on one line; items that stay are written as they were.
    fn flow_items(&self, old: &Node, items: &[Node], wanted: &[String]) -> String {
        let written = wanted.iter().map(|item| {
            let same = items.iter().find(|old| old.text() == Some(item));
            same.map_or_else(
                || scalar(item, Style::Plain, true),
                |same| self.text[same.span.clone()].to_owned(),
            )
        });
        let mut new = self.text.to_owned();
        new.replace_range(old.span.clone(), &flow_list(written));
        new
    }

    /// A list with a line for each item; those that stay keep their lines and the comments above them.
    fn block_items(&self, items: &[Node], wanted: &[String], end: usize) -> String {
        let Some(first) = items.first() else {
            return self.text.to_owned();
        };
        let top = line_start(self.text, first.span.start);
        let indent = indent_of(self.text, top);
        let mut chunks: Vec<(Option<&str>, &str)> = Vec::new();
        let mut from = top;
        for (at, item) in items.iter().enumerate() {
            let to = if at + 1 == items.len() {
                end
            } else {
                self.item_bounds(items, at).1
            };
            chunks.push((item.text(), &self.text[from..to]));
            from = to;
        }
        let mut new = self.text[..top].to_owned();
        for item in wanted {
            let same = chunks.iter().position(|(text, _)| *text == Some(item));
            let chunk = match same {
                Some(at) => chunks.remove(at).1.to_owned(),
                None => format!(
                    "{}- {}",
                    " ".repeat(indent),
                    scalar(item, Style::Plain, false)
                ),
            };
            new.push_str(chunk.trim_end_matches(['\r', '\n']));
            new.push_str(self.eol);
        }
        if !self.text[..end].ends_with('\n') {
            new.truncate(new.trim_end().len());
        }
        new.push_str(&self.text[end..]);
        new
    }

    /// A text of several lines as a block; none where it cannot be one.
    fn literal(&self, text: &str, column: usize, header: Option<char>) -> Option<String> {
        let (body, chomp) = match text.strip_suffix('\n') {
            None => (text, "-"),
            Some(body) if !body.ends_with('\n') => (body, ""),
            Some(_) => return None,
        };
        if body.is_empty() || body.contains('\r') || body.starts_with([' ', '\n']) {
            return None;
        }
        // A folded text on one line stays folded; line breaks would mean something else there.
        let header = match header {
            Some('>') if !body.contains('\n') => '>',
            _ => '|',
        };
        let pad = " ".repeat(column + 2);
        let lines = body.split('\n').map(|line| {
            if line.is_empty() {
                String::new()
            } else {
                format!("{pad}{line}")
            }
        });
        let lines: Vec<String> = lines.collect();
        Some(format!(
            " {header}{chomp}{}{}",
            self.eol,
            lines.join(self.eol)
        ))
    }
}

/// Whether the last thing in it is a block scalar, of which lines with `#` are part.
fn ends_in_block(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar { style, .. } => *style == Style::Block,
        Kind::List { items, .. } => items.last().is_some_and(ends_in_block),
        Kind::Map { entries, .. } => entries
            .last()
            .is_some_and(|(_, value)| ends_in_block(value)),
        Kind::Alias => false,
    }
}

fn position(entries: &[(Node, Node)], key: &str) -> Option<usize> {
    entries
        .iter()
        .position(|(name, _)| name.text() == Some(key))
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// After the line break that ends the line of `at`.
fn line_end(text: &str, at: usize) -> usize {
    text[at..]
        .find('\n')
        .map_or(text.len(), |newline| at + newline + 1)
}

fn indent_of(text: &str, line: usize) -> usize {
    let line = &text[line..];
    line.len() - line.trim_start_matches(' ').len()
}

/// `end` without the line break before it.
fn trimmed_end(text: &str, end: usize) -> usize {
    text[..end].trim_end_matches(['\r', '\n']).len()
}

/// A line to be put in at `at`, which may be the end of a text whose last line has no line break: then neither has the new.
fn ended(text: &str, at: usize, eol: &str, line: &str) -> String {
    if at == 0 || text[..at].ends_with('\n') {
        line.to_owned()
    } else {
        format!("{eol}{}", line.trim_end_matches(['\r', '\n']))
    }
}
