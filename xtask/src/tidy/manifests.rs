//! Promises about manifests.

use toml::{Table, Value};

use super::{Finding, TextFile};

/// How many packages `Cargo.lock` may name, ours included.
///
/// Whoever raises it says in the commit what the new dependency is for (docs/adr/0006).
const MAX_PACKAGES: usize = 312;

/// What a crate that people pick alone has to say of itself.
const REQUIRED: [&str; 6] = [
    "description",
    "keywords",
    "categories",
    "readme",
    "license",
    "repository",
];

/// What a manifest takes from the workspace.
const INHERITED: [&str; 6] = [
    "version",
    "edition",
    "rust-version",
    "license",
    "repository",
    "authors",
];

/// Manifests inherit what the workspace decides: versions, lints, and every dependency.
pub(super) fn inherit(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        // Fuzz targets are a workspace of their own.
        let is_member = file.path.ends_with("/Cargo.toml") && !file.path.starts_with("xtask/fuzz/");
        if !is_member {
            continue;
        }
        let Ok(manifest) = file.text.parse::<Table>() else {
            findings.push(Finding::new(&file.path, 1, "is not TOML"));
            continue;
        };
        let mut wrong = |what: String| findings.push(Finding::new(&file.path, 1, what));
        let empty = Table::new();
        let package = manifest
            .get("package")
            .and_then(Value::as_table)
            .unwrap_or(&empty);
        for key in INHERITED {
            if !is_inherited(package.get(key)) {
                wrong(format!("`{key}` is not the workspace's"));
            }
        }
        let is_published = package.get("publish").and_then(Value::as_bool) != Some(false);
        for key in REQUIRED {
            if is_published && !package.contains_key(key) {
                wrong(format!("has no `{key}`"));
            }
        }
        if !is_inherited(manifest.get("lints")) {
            wrong("its lints are not the workspace's".into());
        }
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let dependencies = manifest.get(table).and_then(Value::as_table);
            for (name, dependency) in dependencies.into_iter().flatten() {
                if !is_inherited(Some(dependency)) {
                    wrong(format!("`{name}` in [{table}] is not the workspace's"));
                }
            }
        }
    }
    findings
}

/// Whether a value is `{ workspace = true, .. }`.
fn is_inherited(value: Option<&Value>) -> bool {
    value
        .and_then(|value| value.get("workspace"))
        .and_then(Value::as_bool)
        == Some(true)
}

/// `Cargo.lock` does not grow unnoticed.
pub(super) fn stay_in_budget(files: &[TextFile]) -> Vec<Finding> {
    files
        .iter()
        .filter(|file| file.path == "Cargo.lock")
        .filter_map(|file| {
            let packages = file
                .text
                .lines()
                .filter(|line| *line == "[[package]]")
                .count();
            (packages > MAX_PACKAGES).then(|| {
                Finding::new(
                    &file.path,
                    1,
                    format!("names {packages} packages, {MAX_PACKAGES} are allowed"),
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{check_repository, check_text},
        *,
    };

    const GOOD: &str = "[package]\nname = \"a\"\npublish = false\nversion.workspace = true\nedition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\nrepository.workspace = true\nauthors.workspace = true\n[lints]\nworkspace = true\n[dependencies]\nserde.workspace = true\n";

    #[test]
    fn manifests_inherit() {
        check_text(inherit, "a/Cargo.toml", GOOD, &[]);
        check_text(
            inherit,
            "a/Cargo.toml",
            &format!("{GOOD}toml = \"1\"\n"),
            &[1],
        );
        check_text(
            inherit,
            "a/Cargo.toml",
            &GOOD.replace("publish = false\n", ""),
            &[1, 1, 1, 1],
        );
        check_repository(inherit);
    }

    #[test]
    fn manifests_stay_in_budget() {
        let lock = "[[package]]\n".repeat(MAX_PACKAGES + 1);
        check_text(stay_in_budget, "Cargo.lock", &lock, &[1]);
        check_repository(stay_in_budget);
    }
}
