//! `cargo xtask VERB`: the project's own commands, one module a verb.
//!
//! In reading order: [`mod@test`] runs everything; [`tidy`], [`layers`], [`deny`] and [`package`] are checks that it includes; [`e2e`] drives real processes; [`fuzz`] makes up input for the decoders; [`mod@bench`] measures them beside their peers.
//! Nothing depends on this crate, and it depends on none of ours: what it knows of them, it knows from outside.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a build tool talks to the terminal"
)]

mod bench;
mod cargo;
mod certificates;
mod debian;
mod deny;
mod e2e;
mod error;
mod fuzz;
mod layers;
mod noise;
mod package;
mod postgres;
mod proxy;
mod python;
mod repository;
mod test;
mod tidy;

use std::process::ExitCode;

use argh::FromArgs;
use error::Result;

/// The project's own commands.
#[derive(FromArgs)]
struct Arguments {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Verb {
    Test(test::Arguments),
    Tidy(tidy::Arguments),
    Layers(layers::Arguments),
    Deny(deny::Arguments),
    Package(package::Arguments),
    E2e(e2e::Arguments),
    Fuzz(fuzz::Arguments),
    Bench(bench::Arguments),
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Tidy(arguments) => tidy::run(&arguments),
        Verb::Layers(arguments) => layers::run(&arguments),
        Verb::Deny(arguments) => deny::run(&arguments),
        Verb::Package(arguments) => package::run(&arguments),
        Verb::E2e(arguments) => e2e::run(&arguments),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
    }
}

fn main() -> ExitCode {
    match run(argh::from_env::<Arguments>().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error::chain(&error));
            ExitCode::FAILURE
        }
    }
}
