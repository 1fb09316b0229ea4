//! YAML with the place of every value, so that one value can be changed and every other byte stays.
//!
//! The parser is `saphyr-parser`, which gives events with positions; the tree here adds what an edit needs to know.
//! Hostile input costs a bounded amount: a text, its depth and its number of values have limits, and aliases are never followed.

use std::collections::HashSet;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::Value as Json;

mod edit;
mod write;

pub(crate) use edit::{EditError, Step, append, remove_item, set};
pub(crate) use write::{Wanted, entry};

/// The longest text that is read as YAML, in bytes.
pub(crate) const MAX_TEXT: usize = 1 << 20;
/// How deep values may be nested.
const MAX_DEPTH: usize = 32;
/// How many values a text may have.
const MAX_NODES: usize = 50_000;

/// What is wrong with a text that is no YAML, or none that we take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct YamlError {
    /// The line, from 1.
    pub(crate) line: usize,
    pub(crate) reason: String,
}

/// A value and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Its bytes in the text; of a block scalar only where it begins is to be relied on.
    pub(crate) span: Range<usize>,
    /// The line where it begins, from 1.
    pub(crate) line: usize,
    /// Whether it has an anchor or a tag.
    pub(crate) is_marked: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Scalar {
        text: String,
        style: Style,
    },
    List {
        items: Vec<Node>,
        flow: bool,
    },
    Map {
        entries: Vec<(Node, Node)>,
        flow: bool,
    },
    Alias,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Single,
    Double,
    Block,
}

/// Reads one document; `None` where there is nothing but comments.
pub(crate) fn parse(text: &str) -> Result<Option<Node>, YamlError> {
    if text.len() > MAX_TEXT {
        return Err(YamlError {
            line: 1,
            reason: format!("the YAML is longer than {MAX_TEXT} bytes"),
        });
    }
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        offsets: Offsets::new(text),
        text,
        nodes: 0,
    };
    let mut root = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            Event::StreamEnd => return Ok(root),
            _ if root.is_some() => return Err(at(span, "there is a second document")),
            event => {
                let node = reader.node(event, span, 0)?;
                root = Some(node);
            }
        }
    }
}

fn at(span: Span, reason: impl Into<String>) -> YamlError {
    YamlError {
        line: span.start.line().max(1),
        reason: reason.into(),
    }
}

struct Reader<'t> {
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    offsets: Offsets,
    text: &'t str,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), YamlError> {
        match self.events.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(YamlError {
                line: error.marker().line().max(1),
                reason: error.info().to_owned(),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, YamlError> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(at(
                span,
                format!("values are nested deeper than {MAX_DEPTH}"),
            ));
        }
        if self.nodes > MAX_NODES {
            return Err(at(span, format!("there are more than {MAX_NODES} values")));
        }
        let start = self.offsets.at(span.start.index());
        let mut end = self.offsets.at(span.end.index()).max(start);
        let (kind, is_marked) = match event {
            Event::Alias(_) => (Kind::Alias, true),
            Event::Scalar(text, style, anchor, tag) => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted => Style::Single,
                    ScalarStyle::DoubleQuoted => Style::Double,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                end = self.scalar_end(start, end, style);
                let text = text.into_owned();
                // No column can hold one.
                if text.contains('\0') {
                    return Err(at(span, "there is a NUL character"));
                }
                (Kind::Scalar { text, style }, anchor > 0 || tag.is_some())
            }
            Event::SequenceStart(anchor, tag) => {
                let mut items: Vec<Node> = Vec::new();
                let flow = self.text[start..].starts_with('[');
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        let last = items.last().map_or(end, |item| item.span.end);
                        end = self.collection_end(span, last, flow);
                        break;
                    }
                    items.push(self.node(event, span, depth + 1)?);
                }
                (Kind::List { items, flow }, anchor > 0 || tag.is_some())
            }
            Event::MappingStart(anchor, tag) => {
                let flow = self.text[start..].starts_with('{');
                let (entries, span) = self.entries(depth)?;
                let last = entries
                    .last()
                    .map_or(end, |(key, value)| value.span.end.max(key.span.end));
                end = self.collection_end(span, last, flow);
                (Kind::Map { entries, flow }, anchor > 0 || tag.is_some())
            }
            _ => return Err(at(span, "a value is missing")),
        };
        Ok(Node {
            kind,
            span: start..end.max(start),
            line: span.start.line().max(1),
            is_marked,
        })
    }

    /// The keys and values of a mapping, and where its end was found.
    fn entries(&mut self, depth: usize) -> Result<(Vec<(Node, Node)>, Span), YamlError> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok((entries, span));
            }
            let key = self.node(event, span, depth + 1)?;
            if let Kind::Scalar { text, .. } = &key.kind
                && !seen.insert(text.clone())
            {
                return Err(at(span, format!("the key `{text}` is there twice")));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            entries.push((key, value));
        }
    }

    /// Where a scalar ends: the parser counts blanks and comments after a closing quote, too.
    fn scalar_end(&self, start: usize, end: usize, style: Style) -> usize {
        let text = &self.text[start..end];
        match style {
            Style::Plain => start + text.trim_end().len(),
            Style::Single | Style::Double => start + quoted_len(text).unwrap_or(text.len()),
            Style::Block => end,
        }
    }

    /// Where a collection ends: with its bracket, or with its last value.
    fn collection_end(&self, span: Span, last: usize, flow: bool) -> usize {
        if !flow {
            return last;
        }
        let from = self.offsets.at(span.start.index()).max(last);
        let bracket = self.text[from..].find([']', '}']);
        bracket.map_or(last, |bracket| from + bracket + 1)
    }
}

/// How long a quoted scalar is that begins here.
fn quoted_len(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut rest = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = rest.next() {
        if c == '\\' && quote == '"' {
            rest.next();
        } else if c == quote {
            if quote == '\'' && rest.peek().is_some_and(|(_, next)| *next == '\'') {
                rest.next();
            } else {
                return Some(at + 1);
            }
        }
    }
    None
}

/// From the parser's count of characters to bytes.
struct Offsets {
    /// Of each character; none where all of them are one byte.
    starts: Option<Vec<usize>>,
    len: usize,
}

impl Offsets {
    fn new(text: &str) -> Self {
        let starts = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Self {
            starts,
            len: text.len(),
        }
    }

    fn at(&self, index: usize) -> usize {
        match &self.starts {
            None => index.min(self.len),
            Some(starts) => starts.get(index).copied().unwrap_or(self.len),
        }
    }
}

impl Node {
    /// The keys and values, where it is a mapping.
    pub(crate) fn entries(&self) -> Option<&[(Node, Node)]> {
        match &self.kind {
            Kind::Map { entries, .. } => Some(entries),
            _ => None,
        }
    }

    /// The values, where it is a list.
    pub(crate) fn items(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::List { items, .. } => Some(items),
            _ => None,
        }
    }

    /// The value of a key; none where there is none, or where it is null.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let found = self.entries()?.iter();
        let mut found = found.filter(|(name, _)| name.text() == Some(key));
        found
            .next()
            .map(|(_, value)| value)
            .filter(|value| !value.is_null())
    }

    /// The text of a scalar, whatever it would be read as.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether it is written as nothing at all.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, style: Style::Plain } if is_null(text))
    }

    /// `true` or `false`, where it is one of them.
    pub(crate) fn flag(&self) -> Option<bool> {
        match &self.kind {
            Kind::Scalar {
                text,
                style: Style::Plain,
            } => as_flag(text),
            _ => None,
        }
    }

    /// What it says, by the core schema of YAML 1.2; an alias is a text that no YAML can be.
    pub(crate) fn to_json(&self) -> Json {
        match &self.kind {
            Kind::Alias => Json::String(ALIAS.to_owned()),
            Kind::Scalar { text, style } => match style {
                Style::Plain => resolve(text),
                _ => Json::String(text.clone()),
            },
            Kind::List { items, .. } => items.iter().map(Self::to_json).collect(),
            Kind::Map { entries, .. } => {
                let entries = entries.iter().map(|(key, value)| {
                    let key = key
                        .text()
                        .map_or_else(|| key.to_json().to_string(), str::to_owned);
                    (key, value.to_json())
                });
                Json::Object(entries.collect())
            }
        }
    }

    /// Whether an alias is anywhere in it.
    pub(crate) fn has_alias(&self) -> bool {
        match &self.kind {
            Kind::Alias => true,
            Kind::Scalar { .. } => false,
            Kind::List { items, .. } => items.iter().any(Self::has_alias),
            Kind::Map { entries, .. } => entries
                .iter()
                .any(|(key, value)| key.has_alias() || value.has_alias()),
        }
    }
}

/// What stands for an alias: YAML has no way to write this character.
const ALIAS: &str = "\0alias";

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn as_flag(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// What a plain scalar is.
fn resolve(text: &str) -> Json {
    if is_null(text) {
        return Json::Null;
    }
    if let Some(flag) = as_flag(text) {
        return Json::Bool(flag);
    }
    if let Ok(number) = text.strip_prefix('+').unwrap_or(text).parse::<i64>() {
        return Json::from(number);
    }
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || "+-.eE".contains(c))
        && text.contains(|c: char| c.is_ascii_digit());
    let number = is_number.then(|| text.parse::<f64>().ok()).flatten();
    match number.and_then(serde_json::Number::from_f64) {
        Some(number) => Json::Number(number),
        None => Json::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests;
