//! The name of a tenant or of a branch.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use snafu::Snafu;

/// One to 64 of `a-z`, `0-9`, `.`, `_` and `-`, starting with a letter or a digit.
///
/// So a name stands in a URL, a path and a log as it is, and no two names differ by case alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(Box<str>);

/// A text is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Snafu)]
#[snafu(display(
    "a name is 1 to 64 of a-z, 0-9, `.`, `_` and `-`, and starts with a letter or a digit"
))]
pub struct ParseNameError;

impl Name {
    /// The most bytes.
    pub const MAX_LEN: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let starts = text.bytes().next().is_some_and(letter);
        let plain = text
            .bytes()
            .all(|b| letter(b) || matches!(b, b'.' | b'_' | b'-'));
        (starts && plain && text.len() <= Self::MAX_LEN)
            .then(|| Self(text.into()))
            .ok_or(ParseNameError)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_urls_and_paths() {
        for good in ["a", "main", "acme-2", "v1.0_x", &"n".repeat(64)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "-a",
            "A",
            "a/b",
            "a b",
            "a%2f",
            "ü",
            &"n".repeat(65),
        ] {
            assert_eq!(bad.parse::<Name>(), Err(ParseNameError), "{bad}");
        }
    }
}
