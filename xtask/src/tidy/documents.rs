//! Promises about documents: how they are written, and that they say what the code says.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, TextFile};

/// A README below this says what a manifest says already.
const MIN_README_LINES: usize = 20;

/// Words whose full stop ends no sentence.
const ABBREVIATIONS: [&str; 6] = ["e.g.", "i.e.", "etc.", "vs.", "cf.", "approx."];

/// Documents of ours have one sentence per line, so that a diff shows the sentence that changed.
///
/// Accepted decisions are never edited, and the example's content belongs to its make-believe team.
pub(super) fn have_a_sentence_per_line(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is("md")) {
        if file.path.starts_with("docs/adr/") || file.path.starts_with("docs/example/services/") {
            continue;
        }
        let mut in_code = false;
        for (at, line) in file.text.lines().enumerate() {
            let trimmed = line.trim_start();
            if trimmed.starts_with("```") {
                in_code = !in_code;
            }
            let is_prose = !in_code && !trimmed.starts_with('|') && !trimmed.starts_with('#');
            if is_prose && has_two_sentences(trimmed) {
                findings.push(Finding::new(&file.path, at + 1, "has two sentences"));
            }
        }
    }
    findings
}

/// Whether a sentence ends inside a line and another begins.
fn has_two_sentences(line: &str) -> bool {
    let prose = without_code(line);
    // The number of a list item is no sentence.
    let prose = prose
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .trim_start_matches(['.', '-', '*', ' ']);
    prose.match_indices(['.', '!', '?']).any(|(at, mark)| {
        let head = &prose[..at + mark.len()];
        let tail = &prose[at + mark.len()..];
        let begins = tail
            .trim_start_matches([')', '"', '*', '_'])
            .starts_with(' ')
            && tail
                .trim_start_matches([')', '"', '*', '_', ' '])
                .starts_with(char::is_uppercase);
        let word = head.rsplit(' ').next().unwrap_or(head);
        begins && word.len() > 2 && !ABBREVIATIONS.contains(&word.trim_start_matches('('))
    })
}

/// The line with what is between backticks replaced by one letter.
fn without_code(line: &str) -> String {
    line.split('`')
        .enumerate()
        .map(|(at, part)| if at % 2 == 0 { part } else { "X" })
        .collect()
}

/// Every crate's README is more than its name, and shows the crate in use.
pub(super) fn show_each_crate(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in files.iter().filter(|file| is_crate_manifest(&file.path)) {
        let path = manifest.path.replace("Cargo.toml", "README.md");
        match files.iter().find(|file| file.path == path) {
            None => findings.push(Finding::new(&path, 1, "does not exist")),
            Some(readme) if readme.text.lines().count() < MIN_README_LINES => {
                findings.push(Finding::new(&path, 1, "says next to nothing"));
            }
            Some(readme) if !readme.text.contains("```") => {
                findings.push(Finding::new(&path, 1, "shows no example"));
            }
            Some(_) => {}
        }
    }
    findings
}

fn is_crate_manifest(path: &str) -> bool {
    path.starts_with("crates/") && path.ends_with("/Cargo.toml") && path.matches('/').count() == 2
}

/// `docs/errors.md` has the codes that the sources have.
pub(super) fn list_every_error(files: &[TextFile]) -> Vec<Finding> {
    let families: BTreeSet<&str> = files
        .iter()
        .filter(|file| is_crate_manifest(&file.path))
        .filter_map(|file| file.path.split('/').nth(1)?.strip_prefix("sync-"))
        .collect();
    let mut in_sources: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for file in files {
        if file.is("rs") && file.path.starts_with("crates/") && file.path.contains("/src/") {
            for (line, code) in codes_in_source(&file.text, &families) {
                in_sources.entry(code).or_insert((&file.path, line));
            }
        }
    }
    let document = files.iter().find(|file| file.path == "docs/errors.md");
    let in_document = document.map_or_else(BTreeMap::new, |file| {
        codes_in_document(&file.text, &families)
    });
    let missing = in_sources
        .iter()
        .filter(|(code, _)| !in_document.contains_key(*code))
        .map(|(code, (path, line))| {
            Finding::new(path, *line, format!("`{code}` is not in docs/errors.md"))
        });
    let stale = in_document
        .iter()
        .filter(|(code, _)| !in_sources.contains_key(*code))
        .map(|(code, line)| {
            Finding::new("docs/errors.md", *line, format!("no source has `{code}`"))
        });
    missing.chain(stale).collect()
}

/// The codes that a source file gives to errors: the literals in the bodies of `fn code`, and those given to a field `code`.
fn codes_in_source(text: &str, families: &BTreeSet<&str>) -> Vec<(usize, String)> {
    let mut codes = Vec::new();
    // The indentation of the `fn code` that we are in; its closing brace has the same.
    let mut inside: Option<usize> = None;
    for (at, line) in text.lines().enumerate() {
        let indentation = line.len() - line.trim_start().len();
        if line.trim_start() == "mod tests {" {
            break;
        }
        if line.contains("fn code(") && !line.trim_end().ends_with(';') {
            inside = Some(indentation);
        }
        if inside.is_some() || line.trim_start().starts_with("code: \"") {
            for literal in line.split('"').skip(1).step_by(2) {
                if is_code(literal, families) {
                    codes.push((at + 1, literal.to_owned()));
                }
            }
        }
        if inside == Some(indentation) && line.trim() == "}" {
            inside = None;
        }
    }
    codes
}

/// The codes that a document names in backticks, with the line of each one's first mention.
fn codes_in_document(text: &str, families: &BTreeSet<&str>) -> BTreeMap<String, usize> {
    let mut codes = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        for part in line.split('`').skip(1).step_by(2) {
            if is_code(part, families) {
                codes.entry(part.to_owned()).or_insert(at + 1);
            }
        }
    }
    codes
}

/// Whether a text looks like `crate/cause`.
fn is_code(text: &str, families: &BTreeSet<&str>) -> bool {
    text.split_once('/').is_some_and(|(family, cause)| {
        families.contains(family)
            && !cause.is_empty()
            && cause
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    })
}

/// `docs/cli.md` mentions every verb of `sync-cli`.
pub(super) fn list_every_verb(files: &[TextFile]) -> Vec<Finding> {
    let document = files
        .iter()
        .find(|file| file.path == "docs/cli.md")
        .map_or("", |file| file.text.as_str());
    let words: BTreeSet<&str> = document
        .split(|c: char| !(c.is_alphanumeric() || c == '-'))
        .collect();
    let mut findings = Vec::new();
    for file in files {
        if !(file.is("rs") && file.path.starts_with("crates/sync-cli/src/")) {
            continue;
        }
        for (at, line) in file.text.lines().enumerate() {
            let Some((_, rest)) = line.split_once("subcommand, name = \"") else {
                continue;
            };
            let verb = rest.split('"').next().unwrap_or(rest);
            if !words.contains(verb) {
                findings.push(Finding::new(
                    &file.path,
                    at + 1,
                    format!("docs/cli.md does not mention `{verb}`"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{
        super::{check_repository, check_text},
        *,
    };

    fn file(path: &str, text: &str) -> TextFile {
        TextFile {
            path: path.into(),
            text: text.into(),
        }
    }

    #[test]
    fn documents_have_a_sentence_per_line() {
        let check = |text, lines: &[usize]| {
            check_text(have_a_sentence_per_line, "docs/a.md", text, lines);
        };
        check("One here.\nAnother there.\n", &[]);
        check("One here. Another here.\n", &[1]);
        check("Is it? Yes.\n", &[1]);
        check("1. A step of a list.\n", &[]);
        check(
            "Names (e.g. Postgres) and versions 1.2 and `a. B` are one.\n",
            &[],
        );
        check("```text\nOne. Two.\n```\n", &[]);
        check("| One. Two. |\n", &[]);
        check_repository(have_a_sentence_per_line);
    }

    #[test]
    fn documents_show_each_crate() {
        let manifest = file("crates/sync-a/Cargo.toml", "");
        assert_eq!(show_each_crate(std::slice::from_ref(&manifest)).len(), 1);
        let readme = file("crates/sync-a/README.md", "# sync-a\n");
        assert_eq!(show_each_crate(&[manifest, readme]).len(), 1);
        check_repository(show_each_crate);
    }

    #[test]
    fn documents_list_every_error() {
        let source = "impl Fault for Error {\n    fn code(&self) -> &'static str {\n        match self {\n            Self::A => \"a/moved\",\n        }\n    }\n}\nconst X: &str = \"a/other\";\n";
        let with = |document: &str| {
            list_every_error(&[
                file("crates/sync-a/Cargo.toml", ""),
                file("crates/sync-a/src/error.rs", source),
                file("docs/errors.md", document),
            ])
            .len()
        };
        assert_eq!(with("| `a/moved` | it moved |\n"), 0);
        assert_eq!(with(""), 1);
        assert_eq!(with("`a/moved` and `a/gone`\n"), 1);
        check_repository(list_every_error);
    }

    #[test]
    fn documents_list_every_verb() {
        let source = "#[argh(subcommand, name = \"push\")]\n";
        let with = |document: &str| {
            list_every_verb(&[
                file("crates/sync-cli/src/push.rs", source),
                file("docs/cli.md", document),
            ])
            .len()
        };
        assert_eq!(with("## `push`\n"), 0);
        assert_eq!(with("## `pull`\n"), 1);
        check_repository(list_every_verb);
    }
}
