//! What `docker build` sends of a directory: all of it but what `.dockerignore` leaves out.
//!
//! The rules are those of Docker's documentation, not those of git: a pattern is matched from the root of the context, `*` stays
//! within a name, `**` does not, the last pattern that matches a path or one of its parents decides, and `!` takes back.

use std::io;
use std::path::{Path, PathBuf};

use snafu::ResultExt;

use crate::Error;
use crate::error::IoSnafu;

/// The file of rules in the root of a context.
const IGNORE_FILE: &str = ".dockerignore";

/// What is left out of a context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignored {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// The names of its path.
    parts: Vec<String>,
    /// Whether it takes back.
    keeps: bool,
}

impl Ignored {
    /// The rules for a context: the file that is named as the Dockerfile with `.dockerignore` after it, where `BuildKit` builds and
    /// there is one, else the one in its root.
    ///
    /// # Errors
    ///
    /// Where a file that is there cannot be read.
    pub fn read(context: &Path, dockerfile: &Path, has_own: bool) -> Result<Self, Error> {
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(IGNORE_FILE);
        let own = has_own.then(|| PathBuf::from(own));
        for path in own.into_iter().chain([context.join(IGNORE_FILE)]) {
            match std::fs::read_to_string(&path) {
                Ok(text) => return Ok(Self::parse(&text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).context(IoSnafu {
                        action: "read",
                        path,
                    });
                }
            }
        }
        Ok(Self::default())
    }

    /// Reads rules.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let rules = lines.filter_map(|line| {
            let line = line.trim();
            let (keeps, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let mut parts: Vec<String> = Vec::new();
            for part in pattern.split('/') {
                match part {
                    "" | "." => {}
                    ".." => {
                        parts.pop();
                    }
                    part => parts.push(part.to_owned()),
                }
            }
            // `.` alone is dropped by Docker as well: a context without anything is no use to anybody.
            (!parts.is_empty()).then_some(Rule { parts, keeps })
        });
        Self {
            rules: rules.collect(),
        }
    }

    /// Whether a path, by its names, is left out.
    pub fn leaves_out(&self, names: &[&str]) -> bool {
        let mut out = false;
        for rule in &self.rules {
            // A rule about a directory is about all that is in it.
            let hits = (1..=names.len()).any(|end| rule.matches(&names[..end]));
            if hits {
                out = !rule.keeps;
            }
        }
        out
    }

    /// Whether something in a directory that is left out may still be sent.
    fn takes_back(&self) -> bool {
        self.rules.iter().any(|rule| rule.keeps)
    }
}

impl Rule {
    fn matches(&self, names: &[&str]) -> bool {
        all_match(&self.parts, names)
    }
}

fn all_match(parts: &[String], names: &[&str]) -> bool {
    match parts.split_first() {
        None => names.is_empty(),
        Some((part, rest)) if part == "**" => {
            // At its end it is all that is below, and not the directory itself.
            if rest.is_empty() {
                return !names.is_empty();
            }
            (0..=names.len()).any(|from| all_match(rest, &names[from..]))
        }
        Some((part, rest)) => match names.split_first() {
            Some((name, others)) => {
                let (part, name): (Vec<char>, Vec<char>) =
                    (part.chars().collect(), name.chars().collect());
                name_matches(&part, &name) && all_match(rest, others)
            }
            None => false,
        },
    }
}

/// Whether a name matches a pattern with `*`, `?`, `[...]` and `\`.
fn name_matches(pattern: &[char], name: &[char]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some(('*', rest)) => (0..=name.len()).any(|from| name_matches(rest, &name[from..])),
        Some(('?', rest)) => name
            .split_first()
            .is_some_and(|(_, name)| name_matches(rest, name)),
        Some(('[', rest)) => {
            let Some(end) = rest.iter().skip(1).position(|c| *c == ']').map(|at| at + 1) else {
                return false;
            };
            name.split_first().is_some_and(|(c, name)| {
                is_of_class(&rest[..end], *c) && name_matches(&rest[end + 1..], name)
            })
        }
        Some(('\\', rest)) => match (rest.split_first(), name.split_first()) {
            (Some((c, rest)), Some((d, name))) => c == d && name_matches(rest, name),
            _ => false,
        },
        Some((c, rest)) => name
            .split_first()
            .is_some_and(|(d, name)| c == d && name_matches(rest, name)),
    }
}

fn is_of_class(class: &[char], c: char) -> bool {
    let (is_not, class) = match class.split_first() {
        Some(('^', rest)) => (true, rest),
        _ => (false, class),
    };
    let mut at = 0;
    let mut is_in = false;
    while at < class.len() {
        if at + 2 < class.len() && class[at + 1] == '-' {
            is_in |= (class[at]..=class[at + 2]).contains(&c);
            at += 3;
        } else {
            is_in |= class[at] == c;
            at += 1;
        }
    }
    is_in != is_not
}

/// One thing in a context.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sent {
    /// Its path below the context, with `/`.
    pub path: String,
    /// Where it is.
    pub place: PathBuf,
}

/// Files and links of a context in the order of their paths. Directories are sent, too, but are nothing by themselves.
///
/// # Errors
///
/// Where a directory cannot be read, or a name is not UTF-8: what Docker makes of such a one nobody could say.
pub fn sent(context: &Path, ignored: &Ignored) -> Result<Vec<Sent>, Error> {
    let mut found = Vec::new();
    let mut dirs = vec![(context.to_owned(), String::new())];
    while let Some((dir, prefix)) = dirs.pop() {
        let read = IoSnafu {
            action: "read",
            path: &dir,
        };
        for entry in std::fs::read_dir(&dir).context(read)? {
            let entry = entry.context(read)?;
            let name = entry.file_name().into_string().map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, "a name in it is not UTF-8")
            });
            let name = name.context(read)?;
            let path = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}/{name}")
            };
            let names: Vec<&str> = path.split('/').collect();
            let is_out = ignored.leaves_out(&names);
            if entry.file_type().context(read)?.is_dir() {
                if !is_out || ignored.takes_back() {
                    dirs.push((entry.path(), path));
                }
            } else if !is_out {
                found.push(Sent {
                    path,
                    place: entry.path(),
                });
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rules: &str, path: &str, is_out: bool) {
        let ignored = Ignored::parse(rules);
        let names: Vec<&str> = path.split('/').collect();
        assert_eq!(ignored.leaves_out(&names), is_out, "{rules:?} {path}");
    }

    /// The examples of Docker's documentation, and where its rules are not those of git.
    #[test]
    fn rules() {
        check("*/temp*", "a/temporary.txt", true);
        check("*/temp*", "a/temp", true);
        check("*/temp*", "temp", false);
        check("*/*/temp*", "a/b/temporary.txt", true);
        check("temp?", "tempa", true);
        check("temp?", "temp", false);
        check("**/*.go", "a/b/c.go", true);
        check("**/*.go", "c.go", true);
        check("*.md\n!README.md", "README.md", false);
        check(
            "*.md\n!README*.md\nREADME-secret.md",
            "README-secret.md",
            true,
        );
        check(
            "*.md\nREADME-secret.md\n!README*.md",
            "README-secret.md",
            false,
        );
        // Not as git: a name alone is one in the root.
        check("node_modules", "web/node_modules/a", false);
        check("node_modules", "node_modules/a/b", true);
        check("/foo/bar/", "foo/bar/x", true);
        check("a/../b", "b", true);
        check("# a\n  b  ", "b", true);
        check("*\n!target/release/agents", "target/release/agents", false);
        check("*\n!target/release/agents", "target/release/other", true);
        check("a/**", "a/b", true);
        check("a/**/z", "a/z", true);
        check("[a-c]x", "bx", true);
        check("[^a-c]x", "bx", false);
        check("\\*", "*", true);
        check("\\*", "a", false);
        check(".", "a", false);
    }
}
