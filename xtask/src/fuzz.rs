//! `cargo xtask fuzz [--seconds N] [TARGET]`: every decoder against bytes that libFuzzer makes up.
//!
//! All targets are built once, with a sanitizer, then run two at a time, each from its seeds and from what earlier runs found worth keeping.
//! The one stable toolchain is enough: `RUSTC_BOOTSTRAP` lets it take the flags that a sanitizer needs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
};

use argh::FromArgs;
use snafu::{OptionExt as _, ResultExt as _, ensure};
use toml::Table;

use crate::{
    cargo::{self, cargo},
    debian,
    error::{self, FoundSnafu, IoSnafu, Result, UnexpectedSnafu},
    repository,
};

/// So many targets run at the same time.
const AT_ONCE: usize = 2;

/// For how long each target runs, unless somebody says otherwise.
const SECONDS: u32 = 60;

/// One input that takes so many seconds is a finding.
const TOO_SLOW: u32 = 20;

/// Fuzz every decoder.
#[derive(FromArgs)]
#[argh(subcommand, name = "fuzz")]
pub(crate) struct Arguments {
    /// for how long each target runs; 60 by default
    #[argh(option, default = "SECONDS")]
    seconds: u32,

    /// only this target
    #[argh(positional)]
    target: Option<String>,
}

impl Arguments {
    /// Every target for a minute, as `cargo xtask test` runs them.
    pub(crate) fn everything() -> Self {
        Self {
            seconds: SECONDS,
            target: None,
        }
    }
}

/// Builds every target and runs those that are asked for; a failure of one does not keep others from running.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    report(arguments).map(drop)
}

/// The same, with a line for each target that ran.
pub(crate) fn report(arguments: &Arguments) -> Result<Vec<String>> {
    let all = targets()?;
    let chosen: Vec<String> = all
        .iter()
        .filter(|name| arguments.target.as_ref().is_none_or(|only| only == *name))
        .cloned()
        .collect();
    ensure!(
        !chosen.is_empty(),
        UnexpectedSnafu {
            what: format!("no such target; there are {}", all.join(", "))
        }
    );
    let built = Built::new()?;
    let waiting = Mutex::new(chosen.into_iter());
    let ran = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                // The lock is let go before the target runs.
                let next = || locked(&waiting).next();
                while let Some(name) = next() {
                    let result = built.run(&name, arguments.seconds);
                    let line = match &result {
                        Ok(runs) => format!("fuzz {name} ... ok, {runs} runs"),
                        Err(error) => format!("fuzz {name} ... FAILED: {}", error::chain(error)),
                    };
                    println!("{line}");
                    locked(&ran).push((name, line, result.is_ok()));
                }
            });
        }
    });
    let ran = ran.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed: Vec<&str> = ran
        .iter()
        .filter(|(_, _, is_ok)| !is_ok)
        .map(|(name, _, _)| name.as_str())
        .collect();
    ensure!(
        failed.is_empty(),
        FoundSnafu {
            what: format!("failed: {}", failed.join(", "))
        }
    );
    Ok(ran.into_iter().map(|(_, line, _)| line).collect())
}

/// Where the built targets are, and what they keep.
struct Built {
    programs: PathBuf,
    /// Of what earlier runs of this machine found worth keeping, and of what made a target fail.
    directory: PathBuf,
}

impl Built {
    /// Builds every target, with what it takes: a compiler of C++ for libFuzzer, and `cargo-fuzz`.
    fn new() -> Result<Self> {
        debian::demand("c++", "g++")?;
        if !is_installed() {
            println!("installing cargo-fuzz, once: about a minute");
            cargo::run(&mut cargo(["install", "cargo-fuzz", "--locked", "--debug"]))?;
        }
        let target = PathBuf::from(cargo::metadata()?.target_directory);
        let directory = target.join("fuzz");
        let host = host()?;
        println!("building the targets");
        let mut command = cargo(["fuzz", "build", "--fuzz-dir", "xtask/fuzz"]);
        command
            .args(["--target", &host, "--target-dir"])
            .arg(&directory)
            .env("RUSTC_BOOTSTRAP", "1");
        cargo::output(&mut command)?;
        Ok(Self {
            programs: directory.join(host).join("release"),
            directory,
        })
    }

    /// Runs a target; says how many inputs it tried.
    fn run(&self, name: &str, seconds: u32) -> Result<String> {
        let corpus = self.made("corpus", name)?;
        let artifacts = self.made("artifacts", name)?;
        let mut command = Command::new(self.programs.join(name));
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-timeout={TOO_SLOW}"))
            .arg("-max_len=65536")
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(corpus)
            .args(seeds(name))
            .stdin(Stdio::null());
        let output = command.output().with_context(|_| IoSnafu {
            action: format!("run the fuzz target `{name}`"),
        })?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            println!("---- what `{name}` said last\n{}", end(&said));
        }
        ensure!(
            output.status.success(),
            FoundSnafu {
                what: format!("its input is in `{}`", artifacts.display())
            }
        );
        let runs = said.lines().rev().find_map(|line| {
            let (runs, _) = line.strip_prefix("Done ")?.split_once(' ')?;
            Some(runs.to_owned())
        });
        runs.context(UnexpectedSnafu {
            what: "it did not say how many inputs it tried",
        })
    }

    fn made(&self, kind: &str, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(kind).join(name);
        fs::create_dir_all(&path).context(IoSnafu {
            action: format!("create `{}`", path.display()),
        })?;
        Ok(path)
    }
}

/// The inputs that a target begins with, where it has some.
fn seeds(name: &str) -> Option<PathBuf> {
    let path = repository::root().join("xtask/fuzz/seeds").join(name);
    path.exists().then_some(path)
}

/// The last lines, which say what went wrong.
fn end(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The targets, as their manifest lists them.
fn targets() -> Result<Vec<String>> {
    let path = repository::root().join("xtask/fuzz/Cargo.toml");
    let text = read(&path)?;
    let manifest: Option<Table> = text.parse().ok();
    let names = manifest.as_ref().and_then(|manifest| {
        let bins = manifest.get("bin")?.as_array()?;
        bins.iter()
            .map(|bin| Some(bin.get("name")?.as_str()?.to_owned()))
            .collect()
    });
    names.context(UnexpectedSnafu {
        what: format!("`{}` lists no targets", path.display()),
    })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).context(IoSnafu {
        action: format!("read `{}`", path.display()),
    })
}

/// What this machine builds for.
fn host() -> Result<String> {
    let said = cargo::output(Command::new("rustc").args(["--version", "--verbose"]))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context(UnexpectedSnafu {
        what: "rustc does not say what it builds for",
    })
}

fn is_installed() -> bool {
    Command::new("cargo-fuzz")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_file_and_seeds_have_a_target() {
        let targets = targets().unwrap();
        let fuzz = repository::root().join("xtask/fuzz");
        for name in &targets {
            assert!(fuzz.join(format!("targets/{name}.rs")).exists(), "{name}");
        }
        for seeds in fs::read_dir(fuzz.join("seeds")).unwrap() {
            let name = seeds.unwrap().file_name().into_string().unwrap();
            assert!(targets.contains(&name), "seeds of `{name}`");
        }
    }
}
