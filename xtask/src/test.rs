//! `cargo xtask test`: every check and every test, cheap ones first.
//!
//! Stages share artefacts where they can: checks of all kinds (clippy, each crate alone, documentation, packages) use those of `cargo check`, tests and examples those of one `cargo test` build, end-to-end tests one release build, and fuzz targets one with a sanitizer.

use std::{env, time::Duration, time::Instant};

use argh::FromArgs;
use snafu::{OptionExt as _, ensure};

use crate::{
    cargo::{self, cargo},
    debian, deny, e2e,
    error::{self, FoundSnafu, Result, UnexpectedSnafu},
    fuzz, layers, package,
    postgres::Postgres,
    tidy,
};

/// Run every check and every test, cheap ones first.
#[derive(FromArgs)]
#[argh(subcommand, name = "test")]
pub(crate) struct Arguments {
    /// go on after a stage that failed
    #[argh(switch)]
    keep_going: bool,

    /// run these stages only: fmt, tidy, layers, clippy, alone, tests, examples, doctests, doc, deny, package, e2e, fuzz
    #[argh(positional)]
    stages: Vec<String>,
}

/// What a stage says when all are over, below its own line.
type Report = Vec<String>;

/// A stage does its work and returns what is worth repeating at the end.
type Stage = fn() -> Result<Report>;

/// Every stage, cheap ones first.
const STAGES: [(&str, Stage); 13] = [
    ("fmt", fmt),
    ("tidy", || quiet(tidy::run(&tidy::Arguments {}))),
    ("layers", || quiet(layers::run(&layers::Arguments {}))),
    ("clippy", clippy),
    ("alone", alone),
    ("tests", tests),
    ("examples", examples),
    ("doctests", doctests),
    ("doc", doc),
    ("deny", || quiet(deny::run(&deny::Arguments {}))),
    ("package", || quiet(package::run(&package::Arguments {}))),
    ("e2e", || quiet(e2e::run(&e2e::Arguments::everything()))),
    ("fuzz", || fuzz::report(&fuzz::Arguments::everything())),
];

/// How a stage ended.
struct Outcome {
    name: &'static str,
    took: Duration,
    result: Result<Report>,
}

/// Runs the stages, then says how each of them ended.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for name in &arguments.stages {
        ensure!(
            STAGES.iter().any(|(stage, _)| stage == name),
            UnexpectedSnafu {
                what: format!("there is no stage `{name}`")
            }
        );
    }
    let began = Instant::now();
    let mut outcomes = Vec::new();
    for (name, stage) in STAGES {
        if !arguments.stages.is_empty() && !arguments.stages.iter().any(|only| only == name) {
            continue;
        }
        println!("== {name}");
        let began = Instant::now();
        let result = stage();
        let failed = result.is_err();
        outcomes.push(Outcome {
            name,
            took: began.elapsed(),
            result,
        });
        if failed && !arguments.keep_going {
            break;
        }
    }
    summarise(&outcomes, began.elapsed())
}

fn summarise(outcomes: &[Outcome], took: Duration) -> Result<()> {
    println!("\n== summary");
    for outcome in outcomes {
        match &outcome.result {
            Ok(report) => {
                for line in report {
                    println!("{line}");
                }
                println!(
                    "{:<9} ok      {:>7.1} s",
                    outcome.name,
                    outcome.took.as_secs_f64()
                );
            }
            Err(error) => println!(
                "{:<9} FAILED  {:>7.1} s  {}",
                outcome.name,
                outcome.took.as_secs_f64(),
                error::chain(error)
            ),
        }
    }
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| outcome.result.is_err())
        .map(|outcome| outcome.name)
        .collect();
    ensure!(
        failed.is_empty(),
        FoundSnafu {
            what: format!("failed: {}", failed.join(", "))
        }
    );
    println!(
        "{} stages ok in {:.0} s",
        outcomes.len(),
        took.as_secs_f64()
    );
    Ok(())
}

fn quiet(result: Result<()>) -> Result<Report> {
    result.map(|()| Report::new())
}

fn fmt() -> Result<Report> {
    quiet(cargo::run(&mut cargo(["fmt", "--all", "--check"])))
}

fn clippy() -> Result<Report> {
    quiet(cargo::run(&mut cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ])))
}

/// Each crate with its own features only: together, one crate's features would hide what another forgot to ask for.
fn alone() -> Result<Report> {
    for package in cargo::metadata()?.workspace_packages() {
        // Whoever reads this has built xtask alone already.
        if package.name.as_str() == env!("CARGO_PKG_NAME") {
            continue;
        }
        println!("{}", package.name);
        cargo::run(&mut cargo([
            "check",
            "--locked",
            "--quiet",
            "--package",
            package.name.as_str(),
        ]))?;
    }
    Ok(Report::new())
}

/// Tests of databases find one in their environment, for as long as this takes.
fn tests() -> Result<Report> {
    // What the images are made of that tests of deploys run.
    debian::demand("busybox", "busybox-static")?;
    let postgres = Postgres::up_or_found()?;
    let report = test_results(&["--all-targets", "--no-fail-fast"], postgres.environment());
    let removed = postgres.down();
    report.and_then(|report| removed.map(|()| report))
}

fn doctests() -> Result<Report> {
    test_results(&["--doc", "--no-fail-fast"], Vec::new())
}

/// Runs `cargo test` and keeps the lines in which it says what passed.
fn test_results(arguments: &[&str], environment: Vec<(&str, String)>) -> Result<Report> {
    let mut command = cargo(["test", "--workspace", "--locked"].iter().chain(arguments));
    command.envs(environment);
    let mut report = Report::new();
    let result = cargo::watch(&command, |line| {
        let line = line.trim_end();
        let is_name = ["     Running ", "   Doc-tests "]
            .iter()
            .any(|head| line.starts_with(head));
        if is_name || line.starts_with("test result: ") {
            report.push(line.to_owned());
        }
    });
    if result.is_err() {
        for line in &report {
            println!("{line}");
        }
    }
    result.map(|()| report)
}

/// Runs every example that a crate shows, as `cargo test` built it.
fn examples() -> Result<Report> {
    let postgres = Postgres::up_or_found()?;
    let report = run_examples(&postgres.environment());
    let removed = postgres.down();
    report.and_then(|report| removed.map(|()| report))
}

fn run_examples(environment: &[(&str, String)]) -> Result<Report> {
    let built = cargo::output(&mut cargo([
        "build",
        "--workspace",
        "--examples",
        "--locked",
        "--quiet",
        "--message-format=json",
    ]))?;
    let mut report = Report::new();
    for line in built.lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        if message["target"]["kind"][0] == "example" {
            let name = message["target"]["name"].as_str().unwrap_or_default();
            let program = message["executable"].as_str().context(UnexpectedSnafu {
                what: format!("cargo built no program for the example `{name}`"),
            })?;
            let place = tempfile::tempdir().map_err(|source| error::Error::Io {
                action: "create a temporary directory".into(),
                source,
            })?;
            println!("example {name}");
            let mut command = std::process::Command::new(program);
            command.current_dir(place.path());
            command.envs(environment.iter().map(|(name, value)| (name, value)));
            cargo::run(&mut command)?;
            report.push(format!("example {name} ... ok"));
        }
    }
    Ok(report)
}

fn doc() -> Result<Report> {
    let mut flags = env::var("RUSTDOCFLAGS").unwrap_or_default();
    flags.push_str(" -D warnings");
    quiet(cargo::run(
        cargo(["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
            .env("RUSTDOCFLAGS", flags.trim()),
    ))
}
