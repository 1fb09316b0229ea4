//! A validated path inside a tree.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use snafu::Snafu;

/// A relative path, `/`-separated, that stays inside its tree on every system.
///
/// A value of this type has been checked: UTF-8; one to [`TreePath::MAX_LEN`] bytes; components of one to
/// [`TreePath::MAX_NAME`] bytes, none of them `.` or `..`; no control characters, no backslash, no drive letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TreePath(Box<str>);

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Snafu)]
pub enum PathError {
    /// The path, or one of its components, has no bytes.
    #[snafu(display("a component is empty"))]
    Empty,
    /// The whole path is longer than [`TreePath::MAX_LEN`] bytes.
    #[snafu(display("the path is longer than {} bytes", TreePath::MAX_LEN))]
    TooLong,
    /// A component is longer than [`TreePath::MAX_NAME`] bytes, which no common file system stores.
    #[snafu(display("a component is longer than {} bytes", TreePath::MAX_NAME))]
    NameTooLong,
    /// A component is `.` or `..`.
    #[snafu(display("a component is `.` or `..`"))]
    Dots,
    /// A control character, which could forge terminal output or logs.
    #[snafu(display("the path has a control character"))]
    Control,
    /// A backslash, which separates components on some systems.
    #[snafu(display("the path has a backslash"))]
    Backslash,
    /// A leading drive letter such as `c:`.
    #[snafu(display("the path starts with a drive letter"))]
    Drive,
    /// The bytes are not UTF-8.
    #[snafu(display("the path is not UTF-8"))]
    NotUtf8,
}

impl TreePath {
    /// The most bytes in a path.
    pub const MAX_LEN: usize = 4000;
    /// The most bytes in a component.
    pub const MAX_NAME: usize = 255;

    /// Checks `text` and takes it as a path.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, PathError> {
        let text = text.into();
        Self::validate(&text)?;
        Ok(Self(text))
    }

    /// Checks received bytes, such as a key of a files map.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PathError> {
        Self::new(std::str::from_utf8(bytes).map_err(|_| PathError::NotUtf8)?)
    }

    fn validate(text: &str) -> Result<(), PathError> {
        if text.len() > Self::MAX_LEN {
            return Err(PathError::TooLong);
        }
        let bytes = text.as_bytes();
        if bytes.len() >= 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' {
            return Err(PathError::Drive);
        }
        text.split('/').try_for_each(Self::validate_name)
    }

    /// Checks one component on its own, such as a name that a directory lists.
    pub fn validate_name(name: &str) -> Result<(), PathError> {
        match name {
            "" => return Err(PathError::Empty),
            "." | ".." => return Err(PathError::Dots),
            _ if name.len() > Self::MAX_NAME => return Err(PathError::NameTooLong),
            _ => {}
        }
        if name.contains('\\') {
            return Err(PathError::Backslash);
        }
        // C0, DEL and C1, and the characters that reorder what a terminal shows.
        let forges = |c: char| {
            c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        if name.contains(forges) {
            return Err(PathError::Control);
        }
        Ok(())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as bytes: the key under which a files map holds it.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The directory that holds this path, `None` at the top.
    pub fn parent(&self) -> Option<TreePath> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.into()))
    }

    /// Every directory above this path, innermost first.
    pub fn ancestors(&self) -> impl Iterator<Item = TreePath> {
        std::iter::successors(self.parent(), TreePath::parent)
    }

    /// This path with one more component.
    pub fn join(&self, name: &str) -> Result<TreePath, PathError> {
        Self::validate_name(name)?;
        Self::new(format!("{}/{name}", self.0))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for TreePath {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::new(text)
    }
}

impl Borrow<str> for TreePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for TreePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(), PathError>) {
        assert_eq!(TreePath::new(text).map(drop), expected, "{text:?}");
    }

    #[test]
    fn accepts_what_stays_inside_and_refuses_the_rest() {
        check("agents/triage.yaml", Ok(()));
        check("ü/日本/…", Ok(()));
        check("..a/b..", Ok(()));
        check("a:b", Err(PathError::Drive));
        check("notes: a.md", Ok(()));
        check("", Err(PathError::Empty));
        check("/etc/passwd", Err(PathError::Empty));
        check("a//b", Err(PathError::Empty));
        check("a/", Err(PathError::Empty));
        check("../a", Err(PathError::Dots));
        check("a/./b", Err(PathError::Dots));
        check("a\\b", Err(PathError::Backslash));
        check("C:/a", Err(PathError::Drive));
        check("a\nb", Err(PathError::Control));
        check("a\u{1b}[2Jb", Err(PathError::Control));
        check("a\u{202e}b", Err(PathError::Control));
        check("a\0b", Err(PathError::Control));
        check(&"n".repeat(255), Ok(()));
        check(&"n".repeat(256), Err(PathError::NameTooLong));
        check(&"n/".repeat(2001), Err(PathError::TooLong));
        assert_eq!(TreePath::from_bytes(b"\xff"), Err(PathError::NotUtf8));
    }

    #[test]
    fn ancestors_go_outwards() {
        let path = TreePath::new("a/b/c").unwrap();
        let names: Vec<_> = path.ancestors().map(|p| p.to_string()).collect();
        assert_eq!(names, ["a/b", "a"]);
        assert_eq!(path.name(), "c");
    }
}
