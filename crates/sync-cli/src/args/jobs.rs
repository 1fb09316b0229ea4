//! Jobs, and the daemon that runs them.

use argh::{ArgsInfo, FromArgs};
use sync_engine::jobs::Towards;

/// run the jobs of sync.toml when they are due, until SIGTERM or SIGINT
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "daemon",
    note = "Of several daemons beside one database, whichever comes first does a run. A run that is under way may go on for ten seconds."
)]
pub(crate) struct Daemon {}

/// list, run and look back at jobs
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "jobs")]
pub(crate) struct Jobs {
    /// what to do
    #[argh(subcommand)]
    pub(crate) verb: JobsVerb,
}

/// What to do with jobs.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub(crate) enum JobsVerb {
    /// List them.
    List(JobsList),
    /// Run one.
    Run(JobsRun),
    /// Show what came of runs.
    History(JobsHistory),
}

/// list the jobs of sync.toml, and those that are always there
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list")]
pub(crate) struct JobsList {}

/// run a job now
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "run",
    example = "sync-cli jobs run content_sync --direction to-disk --override-existing"
)]
pub(crate) struct JobsRun {
    /// the job's name, as listed
    #[argh(positional)]
    pub(crate) name: String,
    /// for the built-in jobs: which side is brought up to date, to-db or to-disk
    #[argh(option)]
    pub(crate) direction: Option<Towards>,
    /// what is gone at the source goes at the target
    #[argh(switch)]
    pub(crate) delete_orphans: bool,
    /// the source is right where both sides changed the same
    #[argh(switch)]
    pub(crate) override_existing: bool,
}

/// show runs of a job, or of all, newest first
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "history")]
pub(crate) struct JobsHistory {
    /// the job's name; all where absent
    #[argh(positional)]
    pub(crate) name: Option<String>,
    /// how many at the most
    #[argh(option, short = 'n', default = "20")]
    pub(crate) limit: usize,
}
