//! Values as YAML text.

use std::fmt::Write;

use serde_json::Value as Json;

use super::{Style, resolve};

/// A value that is to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'v> {
    Text(&'v str),
    Flag(bool),
    List(&'v [String]),
    Json(&'v Json),
}

impl Wanted<'_> {
    /// What a reader is to find.
    pub(super) fn to_json(self) -> Json {
        match self {
            Self::Text(text) => Json::from(text),
            Self::Flag(flag) => Json::from(flag),
            Self::List(items) => Json::from(items.to_vec()),
            Self::Json(json) => json.clone(),
        }
    }
}

/// A line, or several, that say `key: value` at this indentation, each with `eol`.
pub(crate) fn entry(indent: usize, key: &str, value: Wanted<'_>, eol: &str) -> String {
    let key = scalar(key, Style::Plain, false);
    let pad = " ".repeat(indent);
    match value {
        Wanted::Json(json @ (Json::Array(_) | Json::Object(_))) if !is_hollow(json) => {
            let lines = block(json, indent + 2);
            format!("{pad}{key}:{eol}{}{eol}", lines.join(eol))
        }
        value => format!("{pad}{key}: {}{eol}", inline(value, Style::Plain, false)),
    }
}

/// A value on one line, which may be part of a collection on that line.
pub(super) fn inline(value: Wanted<'_>, style: Style, in_flow: bool) -> String {
    match value {
        Wanted::Text(text) => scalar(text, style, in_flow),
        Wanted::Flag(flag) => flag.to_string(),
        Wanted::List(items) => flow_list(items.iter().map(|item| scalar(item, style, true))),
        Wanted::Json(json) => flow(json),
    }
}

/// `[a, b]`.
pub(super) fn flow_list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn flow(json: &Json) -> String {
    match json {
        Json::String(text) => scalar(text, Style::Plain, true),
        Json::Array(items) => flow_list(items.iter().map(flow)),
        Json::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| {
                format!("{}: {}", scalar(key, Style::Plain, true), flow(value))
            });
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}

fn is_hollow(json: &Json) -> bool {
    match json {
        Json::Array(items) => items.is_empty(),
        Json::Object(entries) => entries.is_empty(),
        _ => true,
    }
}

/// A collection that is not empty, a line for each value.
pub(super) fn block(json: &Json, indent: usize) -> Vec<String> {
    let pad = " ".repeat(indent);
    match json {
        Json::Array(items) => {
            let lines = items.iter().flat_map(|item| {
                let mut lines = block(item, indent + 2);
                if let Some(first) = lines.first_mut() {
                    *first = format!("{pad}- {}", first.trim_start());
                }
                lines
            });
            lines.collect()
        }
        Json::Object(entries) => {
            let lines = entries.iter().flat_map(|(key, value)| {
                let key = scalar(key, Style::Plain, false);
                if is_hollow(value) {
                    return vec![format!("{pad}{key}: {}", flow(value))];
                }
                let mut lines = vec![format!("{pad}{key}:")];
                lines.extend(block(value, indent + 2));
                lines
            });
            lines.collect()
        }
        Json::String(text) => vec![format!("{pad}{}", scalar(text, Style::Plain, false))],
        plain => vec![format!("{pad}{plain}")],
    }
}

/// A text as a scalar, in this style where it can be written so, else between double quotes.
pub(super) fn scalar(text: &str, style: Style, in_flow: bool) -> String {
    match style {
        Style::Plain if is_plain(text, in_flow) => text.to_owned(),
        Style::Single if !text.chars().any(char::is_control) => {
            format!("'{}'", text.replace('\'', "''"))
        }
        _ => double(text),
    }
}

/// Whether a text can stand without quotes and is read as this text everywhere, also by readers of YAML 1.1.
fn is_plain(text: &str, in_flow: bool) -> bool {
    const INDICATORS: &str = "-?:,[]{}#&*!|>'\"%@`=";
    const WORDS: [&str; 8] = ["yes", "no", "on", "off", "y", "n", "<<", "="];
    !text.is_empty()
        && text.trim() == text
        && !text.contains(|c: char| c.is_control() || c == '\u{feff}')
        && !text.starts_with(|c| INDICATORS.contains(c))
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with(':')
        && !text.starts_with("...")
        && !(in_flow && text.contains([',', '[', ']', '{', '}', ':']))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
        && resolve(text).is_string()
}

fn double(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // What a reader may take for the end of a line, or drop.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
