//! `cargo xtask bench files|rows|local|bundle`: ours beside its peers, in the same run, on the same disk.
//!
//! For files, [`corpus`] makes the trees, [`volume`] the disk, [`meter`] measures processes, [`distance`] puts a round trip between them, [`contender`] says how each tool does a job, [`report`] makes the tables.
//! Tools take turns operation by operation, so that a noisy minute of the machine hits all of them.
//! [`rows`] does the same for databases, [`local`] for pages between a directory and a database, [`bundle`] for a tenant in a file.

mod bundle;
mod contender;
mod corpus;
mod distance;
mod local;
mod meter;
mod report;
mod rows;
mod tarball;
mod volume;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use argh::FromArgs;
use snafu::{OptionExt as _, ResultExt as _, ensure};

use crate::{
    cargo, e2e,
    error::{IoSnafu, Result, UnexpectedSnafu},
};
use contender::{Contender, Ground};
use corpus::{Corpus, Operation};
use meter::Sample;
use report::Measured;
use volume::Volume;

/// Measure ours beside its peers; writes docs/benchmarks.md.
#[derive(FromArgs)]
#[argh(subcommand, name = "bench")]
pub(crate) struct Arguments {
    /// files, rows, local or bundle; or upload, download and sink: ends of the tar contenders, which start themselves
    #[argh(positional)]
    what: String,

    /// what an end of the tar contenders works on
    #[argh(positional)]
    operands: Vec<String>,

    /// a tenth of each corpus or 20,000 rows, one run, no document
    #[argh(switch)]
    quick: bool,

    /// no peers
    #[argh(switch)]
    ours_only: bool,

    /// only peers, to check them
    #[argh(switch)]
    peers_only: bool,

    /// corpora to run, of A, B and C (all)
    #[argh(option)]
    corpus: Vec<String>,

    /// runs of each operation instead of 3 of A and of the rows, 2 of B and 1 of C
    #[argh(option)]
    runs: Option<usize>,

    /// rows in the large table (1,000,000), or files and rows of a tenant in a file (100,000)
    #[argh(option)]
    rows: Option<u64>,

    /// where the image of the disk, or the tenant of the rows, goes (the directory for temporary files)
    #[argh(option)]
    disk: Option<PathBuf>,
}

/// Runs the benchmark, or an end of the tar contenders.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match arguments.what.as_str() {
        "files" if in_own_mounts()? => Ok(()),
        "files" => files(arguments),
        "rows" => rows::run(arguments),
        "local" => local::run(arguments),
        "bundle" => bundle::run(arguments),
        end => tarball::run(end, &arguments.operands),
    }
}

fn files(arguments: &Arguments) -> Result<()> {
    for name in &arguments.corpus {
        ensure!(
            corpus::ALL.iter().any(|corpus| corpus.name == name),
            UnexpectedSnafu {
                what: format!("there is no corpus `{name}`")
            }
        );
    }
    let program = if arguments.peers_only {
        None
    } else {
        Some(e2e::build()?)
    };
    if !arguments.ours_only {
        contender::install_peers()?;
    }
    let disk = arguments.disk.clone().unwrap_or_else(std::env::temp_dir);
    let volume = Volume::new(&disk)?;
    println!("on {}", volume.description());
    for corpus in corpus::ALL {
        let mut all = Vec::new();
        if arguments.corpus.is_empty() || arguments.corpus.iter().any(|name| name == corpus.name) {
            let corpus = if arguments.quick {
                corpus.tenth()
            } else {
                corpus
            };
            let runs = match arguments.runs {
                Some(runs) => runs,
                None if arguments.quick => 1,
                None => corpus.runs,
            };
            for run in 1..=runs {
                println!("corpus {}, run {run} of {runs}", corpus.name);
                let contenders = contenders(arguments, program.as_deref());
                one_run(&volume, &corpus, contenders, &mut all)?;
                let how = format!(" --corpus {} --runs {run}", corpus.name);
                let text = report::text(&all, &volume, &how);
                println!("\n{text}");
                // After every run: one that is stopped in the middle has not measured for nothing.
                if !arguments.quick && !arguments.peers_only && !arguments.ours_only {
                    report::write(&format!("corpus {}", corpus.name), &text)?;
                }
            }
        }
    }
    Ok(())
}

/// Runs this command in mounts of its own, which go with it however it ends; whether it had to.
fn in_own_mounts() -> Result<bool> {
    const MARK: &str = "SYNC_BENCH_MOUNTS";
    if std::env::var_os(MARK).is_some() {
        return Ok(false);
    }
    let possible = Command::new("unshare")
        .args(["--mount", "true"])
        .stderr(Stdio::null())
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        // Whoever may not do that may not mount either.
        return Ok(false);
    }
    let program = std::env::current_exe().context(IoSnafu {
        action: "find this program",
    })?;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1");
    cargo::run(&mut command)?;
    Ok(true)
}

fn contenders(arguments: &Arguments, ours: Option<&Path>) -> Vec<Box<dyn Contender>> {
    let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
    if let Some(program) = ours {
        contenders.push(Box::new(contender::ours::Ours::new(program)));
    }
    if !arguments.ours_only {
        contenders.push(Box::new(contender::rsync::Rsync::default()));
        contenders.push(Box::new(contender::git::Git::default()));
        contenders.push(Box::new(contender::restic::Restic));
        contenders.push(Box::new(contender::tar::Tar::gzip()));
        contenders.push(Box::new(contender::tar::Tar::zstd()));
    }
    contenders
}

/// Every operation of a corpus, each by every contender in turn.
fn one_run(
    volume: &Volume,
    corpus: &Corpus,
    mut contenders: Vec<Box<dyn Contender>>,
    all: &mut Vec<Measured>,
) -> Result<()> {
    let root = tempfile::tempdir_in(volume.path()).context(IoSnafu {
        action: "create a directory on the volume",
    })?;
    let mut grounds = Vec::new();
    for contender in &mut contenders {
        let ground = Ground::new(root.path(), contender.name())?;
        contender.prepare(&ground)?;
        corpus.write(&contender.source(&ground))?;
        grounds.push(ground);
    }
    for operation in corpus.operations() {
        for (contender, ground) in contenders.iter_mut().zip(&grounds) {
            if *operation == Operation::Distant && contender.proxy().is_none() {
                continue;
            }
            let source = contender.source(ground);
            corpus.edit(&source, *operation)?;
            let before = contender.stored(ground)?;
            volume.settle()?;
            let mut sample = match *operation {
                Operation::Pull => {
                    let into = ground.directory.join("pulled");
                    let sample = contender.pull(ground, &into)?;
                    let pulled = contender.pulled(&into);
                    verify(contender.name(), &source, &pulled)?;
                    remove(&into)?;
                    sample
                }
                Operation::Distant => push_from_afar(contender.as_mut(), ground)?,
                _ => contender.push(ground)?,
            };
            if let (Some(before), Some(after)) = (before, contender.stored(ground)?) {
                sample.stored = Some(after.saturating_sub(before));
            }
            report_line(contender.name(), *operation, &sample);
            all.push(Measured {
                corpus: corpus.name,
                operation: *operation,
                contender: contender.name(),
                sample,
            });
        }
    }
    for contender in contenders {
        contender.finish();
    }
    Ok(())
}

/// A push to a far end that is a round trip away.
fn push_from_afar(contender: &mut dyn Contender, ground: &Ground) -> Result<Sample> {
    let proxy = contender.proxy().cloned().context(UnexpectedSnafu {
        what: format!("{} has no connection", contender.name()),
    })?;
    let near = proxy.target();
    proxy.retarget(distance::far_away(near)?);
    let sample = contender.push(ground);
    proxy.retarget(near);
    sample
}

fn report_line(contender: &str, operation: Operation, sample: &Sample) {
    println!(
        "  {:<14} {:<8} {:>8.3} s {:>12} bytes",
        operation.name(),
        contender,
        sample.wall.as_secs_f64(),
        sample
            .passed
            .map_or_else(|| "-".to_owned(), |passed| passed.total().to_string()),
    );
}

/// A tool that did not do its job has no time.
fn verify(name: &str, source: &Path, pulled: &Path) -> Result<()> {
    let differences = corpus::differences(source, pulled)?;
    ensure!(
        differences.is_empty(),
        UnexpectedSnafu {
            what: format!("{name} pulled another tree: {differences:?}")
        }
    );
    Ok(())
}

fn remove(directory: &Path) -> Result<()> {
    fs::remove_dir_all(directory).context(IoSnafu {
        action: format!("remove `{}`", directory.display()),
    })
}
