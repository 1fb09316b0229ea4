//! `cargo xtask layers`: every edge between our crates points down at least one layer.
//!
//! The layer of a crate is data, `[package.metadata.sync] layer = N` in its manifest (docs/adr/0001).

use std::collections::BTreeMap;

use argh::FromArgs;
use cargo_metadata::Metadata;
use snafu::ensure;

use crate::{
    cargo,
    error::{FoundSnafu, Result},
};

/// Check that every edge between our crates points down at least one layer.
#[derive(FromArgs)]
#[argh(subcommand, name = "layers")]
pub(crate) struct Arguments {}

/// Prints every wrong edge.
pub(crate) fn run(_: &Arguments) -> Result<()> {
    let crates = members(&cargo::metadata()?);
    let findings = findings(&crates);
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(
        findings.is_empty(),
        FoundSnafu {
            what: format!("{} edges or layers are wrong", findings.len())
        }
    );
    println!("{} crates, every edge points down", crates.len());
    Ok(())
}

/// One of our crates, as its manifest says.
#[derive(Debug)]
struct Member {
    name: String,
    layer: Option<u64>,
    /// Of every kind: a test that looks up is a cycle in the making, too.
    dependencies: Vec<String>,
}

fn members(metadata: &Metadata) -> Vec<Member> {
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| Member {
            name: package.name.to_string(),
            layer: package.metadata["sync"]["layer"].as_u64(),
            dependencies: package
                .dependencies
                .iter()
                .map(|dependency| dependency.name.clone())
                .collect(),
        })
        .collect()
}

fn findings(members: &[Member]) -> Vec<String> {
    let layers: BTreeMap<&str, u64> = members
        .iter()
        .filter_map(|member| Some((member.name.as_str(), member.layer?)))
        .collect();
    let mut findings = Vec::new();
    for member in members {
        let Some(layer) = member.layer else {
            findings.push(format!(
                "{}: no `layer` in [package.metadata.sync]",
                member.name
            ));
            continue;
        };
        for dependency in &member.dependencies {
            if let Some(below) = layers.get(dependency.as_str())
                && *below >= layer
            {
                findings.push(format!(
                    "{} (layer {layer}) depends on {dependency} (layer {below}): an edge points down at least one layer",
                    member.name
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, layer: Option<u64>, dependencies: &[&str]) -> Member {
        Member {
            name: name.into(),
            layer,
            dependencies: dependencies.iter().map(ToString::to_string).collect(),
        }
    }

    #[track_caller]
    fn check(members: &[Member], wrong: usize) {
        let findings = findings(members);
        assert_eq!(findings.len(), wrong, "{findings:?}");
    }

    #[test]
    fn edges_that_point_down_are_right() {
        check(
            &[
                member("a", Some(0), &["serde"]),
                member("b", Some(2), &["a"]),
            ],
            0,
        );
    }

    #[test]
    fn siblings_do_not_see_each_other() {
        check(
            &[member("a", Some(1), &[]), member("b", Some(1), &["a"])],
            1,
        );
    }

    #[test]
    fn edges_that_point_up_are_wrong() {
        check(
            &[member("a", Some(0), &["b"]), member("b", Some(1), &[])],
            1,
        );
    }

    #[test]
    fn every_crate_has_a_layer() {
        check(&[member("a", None, &[])], 1);
    }

    #[test]
    fn this_workspace_is_layered() {
        let metadata = cargo::metadata().unwrap();
        check(&members(&metadata), 0);
    }
}
