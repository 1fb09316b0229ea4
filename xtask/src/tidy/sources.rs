//! Promises about source files.

use super::{Finding, TextFile};

/// A file with more lines holds two ideas.
const MAX_LINES: usize = 600;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "helpers", "helper", "common", "mod"];

/// What marks unfinished work, in two halves so that this list is none.
const UNFINISHED: [(&str, &str); 7] = [
    ("#[", "ignore"),
    ("tod", "o!("),
    ("db", "g!("),
    ("unimplem", "ented!("),
    ("FIX", "ME"),
    ("XX", "X"),
    ("thread::sl", "eep("),
];

/// The only files that may sleep: a harness that waits for processes which cannot tell it anything.
const MAY_SLEEP: [&str; 1] = ["xtask/src/bench/"];

/// Top-level directories that only one machine has.
const MACHINE_DIRECTORIES: [&str; 4] = ["work", "farm", "root", "home"];

/// Hosts of registries, in two halves so that this list names none.
const REGISTRIES: [(&str, &str); 6] = [
    ("index.crates", ".io"),
    ("static.crates", ".io"),
    ("registry.npm", "js"),
    ("deb.deb", "ian.org"),
    ("pypi", ".org"),
    ("ghcr", ".io"),
];

fn rust(files: &[TextFile]) -> impl Iterator<Item = &TextFile> {
    files.iter().filter(|file| file.is("rs"))
}

/// Every source file opens with `//!`.
pub(super) fn open_with_a_purpose(files: &[TextFile]) -> Vec<Finding> {
    rust(files)
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| Finding::new(&file.path, 1, "does not open with `//!`"))
        .collect()
}

/// No source file has a name under which anything could be.
pub(super) fn are_named_for_an_idea(files: &[TextFile]) -> Vec<Finding> {
    rust(files)
        .filter(|file| {
            let name = file.path.rsplit('/').next().unwrap_or(&file.path);
            EMPTY_NAMES.contains(&name.trim_end_matches(".rs"))
        })
        .map(|file| Finding::new(&file.path, 1, "is named for nothing in particular"))
        .collect()
}

/// No source file is too long.
pub(super) fn are_short(files: &[TextFile]) -> Vec<Finding> {
    rust(files)
        .filter_map(|file| {
            let lines = file.text.lines().count();
            (lines > MAX_LINES)
                .then(|| Finding::new(&file.path, lines, format!("has over {MAX_LINES} lines")))
        })
        .collect()
}

/// Nothing is left to do, and no test is skipped or sleeps.
pub(super) fn are_finished(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in rust(files) {
        for (number, line) in numbered(&file.text) {
            for (head, tail) in UNFINISHED {
                let mark = format!("{head}{tail}");
                let sleeps = mark.contains("sleep");
                let allowed =
                    sleeps && MAY_SLEEP.iter().any(|prefix| file.path.starts_with(prefix));
                if line.contains(&mark) && !allowed {
                    findings.push(Finding::new(&file.path, number, format!("has `{mark}`")));
                }
            }
        }
    }
    findings
}

/// No file names a path that only one machine has.
pub(super) fn name_no_machine(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files
        .iter()
        .filter(|file| !file.path.ends_with("Cargo.lock"))
    {
        for (number, line) in numbered(&file.text) {
            for directory in MACHINE_DIRECTORIES {
                let path = format!("/{directory}/");
                let named = line.match_indices(&path).any(|(at, _)| {
                    !line[..at]
                        .chars()
                        .next_back()
                        .is_some_and(|before| before.is_alphanumeric() || "_.-}".contains(before))
                });
                if named {
                    findings.push(Finding::new(&file.path, number, format!("names `{path}`")));
                }
            }
        }
    }
    findings
}

/// No file but the lock file names the host of a registry.
pub(super) fn name_no_registry(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files
        .iter()
        .filter(|file| !file.path.ends_with("Cargo.lock"))
    {
        for (number, line) in numbered(&file.text) {
            for (head, tail) in REGISTRIES {
                let host = format!("{head}{tail}");
                if line.contains(&host) {
                    findings.push(Finding::new(&file.path, number, format!("names `{host}`")));
                }
            }
        }
    }
    findings
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{check_repository, check_text},
        *,
    };

    #[test]
    fn sources_open_with_a_purpose() {
        check_text(open_with_a_purpose, "a.rs", "//! What for.\n", &[]);
        check_text(open_with_a_purpose, "a.rs", "use std::fs;\n", &[1]);
        check_repository(open_with_a_purpose);
    }

    #[test]
    fn sources_are_named_for_an_idea() {
        check_text(are_named_for_an_idea, "src/plan.rs", "", &[]);
        check_text(are_named_for_an_idea, "src/utils.rs", "", &[1]);
        check_text(are_named_for_an_idea, "src/plan/mod.rs", "", &[1]);
        check_repository(are_named_for_an_idea);
    }

    #[test]
    fn sources_are_short() {
        check_text(are_short, "a.rs", &"\n".repeat(MAX_LINES), &[]);
        check_text(are_short, "a.rs", &"\n".repeat(MAX_LINES + 1), &[601]);
        check_repository(are_short);
    }

    #[test]
    fn sources_are_finished() {
        let text = format!("fn a() {{\n    {}{})\n}}\n", "tod", "o!(");
        check_text(are_finished, "a.rs", &text, &[2]);
        check_text(are_finished, "notes.md", &text, &[]);
        check_repository(are_finished);
    }

    #[test]
    fn sources_name_no_machine() {
        check_text(
            name_no_machine,
            "a.md",
            "see docs/work/a and ./work/b\n",
            &[],
        );
        check_text(
            name_no_machine,
            "a.md",
            &format!("cd {}work/x\n", '/'),
            &[1],
        );
        check_repository(name_no_machine);
    }

    #[test]
    fn sources_name_no_registry() {
        check_text(name_no_registry, "a.md", &format!("{}.io", "ghcr"), &[1]);
        check_text(
            name_no_registry,
            "Cargo.lock",
            &format!("{}.io", "ghcr"),
            &[],
        );
        check_repository(name_no_registry);
    }
}
