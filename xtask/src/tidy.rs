//! `cargo xtask tidy`: what the project promises about its own text, as plain functions that are tests, too.

mod documents;
mod manifests;
mod sources;

use argh::FromArgs;
use snafu::ensure;

use crate::{
    error::{FoundSnafu, Result},
    repository::{self, TextFile},
};

/// Check sources, documents and manifests for what the project promises about them.
#[derive(FromArgs)]
#[argh(subcommand, name = "tidy")]
pub(crate) struct Arguments {}

/// Something that is not as promised.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

/// A check looks at every text file of the repository.
type Check = fn(&[TextFile]) -> Vec<Finding>;

/// Every check, with the promise that it keeps.
const CHECKS: [(&str, Check); 12] = [
    (
        "every source file says what it is for",
        sources::open_with_a_purpose,
    ),
    (
        "file names say what is inside",
        sources::are_named_for_an_idea,
    ),
    ("a file holds one idea", sources::are_short),
    ("nothing is unfinished or skipped", sources::are_finished),
    ("no path of one machine", sources::name_no_machine),
    ("no registry host", sources::name_no_registry),
    ("one sentence per line", documents::have_a_sentence_per_line),
    (
        "every crate has a README with an example",
        documents::show_each_crate,
    ),
    (
        "docs/errors.md lists every code, and only those",
        documents::list_every_error,
    ),
    ("docs/cli.md has every verb", documents::list_every_verb),
    ("manifests inherit from the workspace", manifests::inherit),
    ("a dependency more is a decision", manifests::stay_in_budget),
];

/// Prints every finding.
pub(crate) fn run(_: &Arguments) -> Result<()> {
    let files = repository::text_files()?;
    let mut count = 0;
    for (promise, check) in CHECKS {
        for finding in check(&files) {
            println!(
                "{}:{}: {} ({promise})",
                finding.path, finding.line, finding.what
            );
            count += 1;
        }
    }
    ensure!(
        count == 0,
        FoundSnafu {
            what: format!("{count} things are not as promised")
        }
    );
    println!("{} promises kept by {} files", CHECKS.len(), files.len());
    Ok(())
}

/// Runs a check on one made-up file and compares the lines that it finds fault with.
#[cfg(test)]
#[track_caller]
fn check_text(check: Check, path: &str, text: &str, lines: &[usize]) {
    let file = TextFile {
        path: path.into(),
        text: text.into(),
    };
    let found: Vec<usize> = check(&[file]).iter().map(|finding| finding.line).collect();
    assert_eq!(found, lines, "{path}: {text:?}");
}

/// Runs a check on the repository itself.
#[cfg(test)]
#[track_caller]
fn check_repository(check: Check) {
    let findings = check(&repository::text_files().unwrap());
    assert!(findings.is_empty(), "{findings:#?}");
}
