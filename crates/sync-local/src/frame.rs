//! A Markdown file as front matter, body, and all that is around them.
//!
//! `head + body + tail` is the file, byte for byte: the head ends where the body begins, so it has the byte order mark, the
//! `---` lines and the blanks between them and the body; the tail is what follows the last character of the body.

use std::ops::Range;

/// A file in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts<'t> {
    /// Everything before the body.
    pub(crate) head: &'t str,
    /// The YAML between the `---` lines, as a place in the head; `None` where there is no front matter.
    pub(crate) yaml: Option<Range<usize>>,
    /// The text itself, without blanks around it.
    pub(crate) body: &'t str,
    /// Everything after it.
    pub(crate) tail: &'t str,
}

/// Takes a file apart.
///
/// # Errors
///
/// Where front matter begins and does not end.
pub(crate) fn split(text: &str) -> Result<Parts<'_>, &'static str> {
    let start = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let mut lines = text[start..].split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    let (yaml, rest) = if is_fence(first) {
        let from = start + first.len();
        let mut at = from;
        let close = lines.find_map(|line| {
            let here = at;
            at += line.len();
            is_fence(line).then_some(here)
        });
        let close = close.ok_or("the front matter has no closing `---` line")?;
        (Some(from..close), at)
    } else {
        (None, start)
    };
    let body = text[rest..].trim();
    // Where there is no body, all of the blanks are before it.
    let begin = if body.is_empty() {
        text.len()
    } else {
        rest + (text[rest..].len() - text[rest..].trim_start().len())
    };
    let end = begin + body.len();
    Ok(Parts {
        head: &text[..begin],
        yaml,
        body,
        tail: &text[end..],
    })
}

/// A `---` line; editors leave blanks and carriage returns behind it.
fn is_fence(line: &str) -> bool {
    line.trim_end_matches(['\n', '\r', ' ', '\t']) == "---"
}

impl Parts<'_> {
    /// The YAML of the front matter; empty where there is none.
    pub(crate) fn front(&self) -> &str {
        self.yaml.clone().map_or("", |range| &self.head[range])
    }

    /// The line of the file on which the YAML begins, less one.
    pub(crate) fn lines_above(&self) -> usize {
        usize::from(self.yaml.is_some())
    }

    /// The file with other front matter and another body; what is around them stays.
    pub(crate) fn with(&self, front: &str, body: &str) -> String {
        let eol = if self.head.contains("\r\n") {
            "\r\n"
        } else {
            "\n"
        };
        let mut text = match &self.yaml {
            Some(range) => format!(
                "{}{front}{}",
                &self.head[..range.start],
                &self.head[range.end..]
            ),
            None if front.is_empty() => self.head.to_owned(),
            None => format!("---{eol}{front}---{eol}{eol}"),
        };
        if body.is_empty() {
            text.push_str(self.tail);
            return text;
        }
        let is_first = self.body.is_empty();
        if is_first && !text.is_empty() && !text.ends_with('\n') {
            text.push_str(eol);
        }
        text.push_str(body);
        text.push_str(if is_first { eol } else { self.tail });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, front: &str, body: &str, tail: &str) {
        let parts = split(text).unwrap();
        assert_eq!(
            (parts.front(), parts.body, parts.tail),
            (front, body, tail),
            "{text:?}"
        );
        assert_eq!(parts.with(front, body), text);
    }

    #[test]
    fn fences() {
        check("---\na: 1\n---\n\nx\n", "a: 1\n", "x", "\n");
        check("\u{feff}--- \r\na: 1\r\n---\t\r\nx", "a: 1\r\n", "x", "");
        check("---\n---\nx\n\n", "", "x", "\n\n");
        check("---\na: 1\n---\nx\n---\ny\n", "a: 1\n", "x\n---\ny", "\n");
        check("no front\n", "", "no front", "\n");
        check("---- \nx", "", "---- \nx", "");
        check("---\na: 1\n---", "a: 1\n", "", "");
        check("", "", "", "");
        assert!(split("---\na: 1\n").is_err());
    }

    #[test]
    fn a_body_comes_where_there_was_none() {
        assert_eq!(
            split("---\na: 1\n---").unwrap().with("a: 1\n", "x"),
            "---\na: 1\n---\nx\n"
        );
        assert_eq!(
            split("---\r\na: 1\r\n---\r\n").unwrap().with("", "x"),
            "---\r\n---\r\nx\r\n"
        );
    }

    proptest! {
        #[test]
        fn the_parts_are_the_file(text in "(\u{feff})?(---[ \t\r]{0,2}\n)?([a-z: \t\r\n-]{0,40})(\n---\n)?[ \n\u{a0}é]{0,6}[a-z \n]{0,20}") {
            if let Ok(parts) = split(&text) {
                prop_assert_eq!(format!("{}{}{}", parts.head, parts.body, parts.tail), text.clone());
                prop_assert_eq!(parts.with(parts.front(), parts.body), text.clone());
            }
        }
    }
}
