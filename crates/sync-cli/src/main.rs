//! `sync-cli`: arguments, environment, clock, terminal, exit codes. What is done is decided in the crates below.

mod args;
mod commands;
mod connect;
mod credentials;
mod env;
mod error;
mod progress;
mod terminal;

use std::io::Write;
use std::process::ExitCode;

use argh::FromArgs;
use snafu::ResultExt;
use sync_core::{Class, Fault};
use tracing_subscriber::EnvFilter;

use crate::args::{Args, LogFormat, Verb};
use crate::env::Env;
use crate::error::{Error, SetupSnafu};
use crate::terminal::Terminal;

/// Gives freed pages back soon, which `.cargo/config.toml` asks of it: a server that has taken in a large push is small
/// again when the next request comes (ADR 0012).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What a command that did not fail found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was done.
    Done,
    /// Something that was looked at is wrong, and was printed.
    Unsound,
    /// There are conflicts, which were printed: a person has to choose.
    Undecided,
    /// It failed, and was printed.
    Failed(Class),
    /// Something is damaged, and was printed.
    Damaged,
    /// There are differences, and the caller asked to be told by the exit code.
    Different,
}

impl Outcome {
    /// What kind of failure it is, where it is one.
    const fn class(self) -> Option<Class> {
        match self {
            Self::Done | Self::Different => None,
            Self::Unsound => Some(Class::Failed),
            Self::Undecided => Some(Class::Conflict),
            Self::Failed(class) => Some(class),
            Self::Damaged => Some(Class::Integrity),
        }
    }

    /// The exit code.
    pub(crate) const fn exit_code(self) -> u8 {
        match (self, self.class()) {
            (_, Some(class)) => class.exit_code(),
            (Self::Different, None) => DIFFERENT,
            _ => 0,
        }
    }

    /// The worse of two: what a person has to look at first; differences come after all failures.
    pub(crate) fn worse(self, other: Self) -> Self {
        let rank = |outcome: Self| {
            let class = outcome.class().map(Class::rank);
            (class.unwrap_or(usize::MAX), outcome == Self::Done)
        };
        if rank(other) < rank(self) {
            other
        } else {
            self
        }
    }
}

/// `status --exit-code` and `diff --exit-code` found differences.
const DIFFERENT: u8 = 10;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words = args::hoisted(words.get(1..).unwrap_or_default());
    let args = match Args::from_args(&["sync-cli"], &words) {
        Ok(args) => args,
        Err(exit) => return early(&exit),
    };
    if args.version {
        let _ = writeln!(std::io::stdout(), "sync-cli {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let env = Env::of_process();
    let terminal = Terminal::new(&args, &env);
    log(&args, &env);
    match run(args, &env, terminal.clone()) {
        Ok(outcome) => ExitCode::from(outcome.exit_code()),
        Err(error) => {
            terminal.failure(&error);
            ExitCode::from(error.class().exit_code())
        }
    }
}

/// Help goes to stdout and is success; a mistake goes to stderr and is usage.
fn early(exit: &argh::EarlyExit) -> ExitCode {
    if exit.status.is_ok() {
        let _ = writeln!(std::io::stdout(), "{}", exit.output.trim_end());
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(std::io::stderr(), "{}", exit.output.trim_end());
    ExitCode::from(Class::Usage.exit_code())
}

fn run(args: Args, env: &Env, terminal: Terminal) -> Result<Outcome, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context(SetupSnafu)?;
    let outcome = runtime.block_on(commands::run(args, env, terminal));
    // A walk that nobody waits for any more must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Logs go to stderr: warnings of a server, everything with `--verbose`, or what `SYNC_LOG` says.
fn log(args: &Args, env: &Env) {
    let (default, format) = match &args.verb {
        Some(Verb::Serve(serve)) => ("info", serve.log_format),
        _ => ("off", LogFormat::Text),
    };
    let level = if args.verbose {
        "debug,h2=info,rustls=info"
    } else {
        default
    };
    let directives = env.var("SYNC_LOG").unwrap_or_else(|| level.to_owned());
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // A second initialisation is not possible here: this runs once, at the start.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
