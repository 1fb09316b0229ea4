//! `cargo xtask package`: every crate could be published, and what would be published builds.
//!
//! Cargo's own verification builds each crate with all of its dependencies in a directory of its own.
//! This one unpacks all crates side by side, makes them see each other, and checks them together, so that third-party artefacts are those which the other stages made.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use argh::FromArgs;
use cargo_metadata::Metadata;
use snafu::{OptionExt as _, ResultExt as _};
use toml::{Table, Value};

use crate::{
    cargo::{self, cargo},
    error::{IoSnafu, Result, UnexpectedSnafu},
    repository,
};

/// Package every crate, and build what the packages hold.
#[derive(FromArgs)]
#[argh(subcommand, name = "package")]
pub(crate) struct Arguments {}

/// Packages, unpacks and checks.
pub(crate) fn run(_: &Arguments) -> Result<()> {
    cargo::run(&mut cargo([
        "package",
        "--workspace",
        "--exclude",
        "xtask",
        "--allow-dirty",
        "--no-verify",
        "--quiet",
    ]))?;
    let metadata = cargo::metadata()?;
    let target = metadata.target_directory.as_std_path();
    let unpacked = target.join("xtask").join("packaged");
    let names = unpack(&metadata, &unpacked)?;
    write(
        &unpacked.join("Cargo.toml"),
        &manifest(&repository::root(), &names)?,
    )?;
    let lock = repository::root().join("Cargo.lock");
    fs::copy(&lock, unpacked.join("Cargo.lock")).context(IoSnafu {
        action: format!("copy `{}`", lock.display()),
    })?;
    cargo::run(
        cargo(["check", "--workspace", "--offline", "--quiet"])
            .current_dir(&unpacked)
            .env("CARGO_TARGET_DIR", target),
    )?;
    println!("{} packages build from what they hold", names.len());
    Ok(())
}

/// Unpacks what cargo packaged; returns the directory of each crate by its name.
fn unpack(metadata: &Metadata, into: &Path) -> Result<Vec<(String, String)>> {
    if into.exists() {
        fs::remove_dir_all(into).context(IoSnafu {
            action: format!("remove `{}`", into.display()),
        })?;
    }
    fs::create_dir_all(into).context(IoSnafu {
        action: format!("create `{}`", into.display()),
    })?;
    let packages: PathBuf = metadata.target_directory.join("package").into();
    let mut names = Vec::new();
    for package in metadata.workspace_packages() {
        let is_published = package
            .publish
            .as_ref()
            .is_none_or(|registries| !registries.is_empty());
        if is_published {
            let directory = format!("{}-{}", package.name, package.version);
            let archive = packages.join(format!("{directory}.crate"));
            cargo::run(
                Command::new("tar")
                    .arg("-xzf")
                    .arg(&archive)
                    .arg("-C")
                    .arg(into),
            )?;
            names.push((package.name.to_string(), directory));
        }
    }
    Ok(names)
}

/// A workspace of the unpacked crates, with the profiles of ours so that artefacts are shared.
fn manifest(root: &Path, names: &[(String, String)]) -> Result<String> {
    let path = root.join("Cargo.toml");
    let text = fs::read_to_string(&path).context(IoSnafu {
        action: format!("read `{}`", path.display()),
    })?;
    let ours = text.parse::<Table>().ok().context(UnexpectedSnafu {
        what: format!("`{}` is not TOML", path.display()),
    })?;
    let members = names
        .iter()
        .map(|(_, directory)| Value::from(directory.as_str()))
        .collect::<Vec<_>>();
    let patches: Table = names
        .iter()
        .map(|(name, directory)| {
            let path = Table::from_iter([("path".to_owned(), Value::from(directory.as_str()))]);
            (name.clone(), Value::from(path))
        })
        .collect();
    let mut manifest = Table::new();
    manifest.insert(
        "workspace".into(),
        Value::from(Table::from_iter([
            ("resolver".to_owned(), Value::from("3")),
            ("members".to_owned(), Value::from(members)),
        ])),
    );
    manifest.insert(
        "patch".into(),
        Value::from(Table::from_iter([(
            "crates-io".to_owned(),
            Value::from(patches),
        )])),
    );
    if let Some(profiles) = ours.get("profile") {
        manifest.insert("profile".into(), profiles.clone());
    }
    Ok(manifest.to_string())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).context(IoSnafu {
        action: format!("write `{}`", path.display()),
    })
}
