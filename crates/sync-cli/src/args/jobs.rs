//! Jobs, and the daemon that runs them.

use argh::{ArgsInfo, FromArgs};
use sync_engine::jobs::Towards;

/// keep the workspace in sync and run its jobs when they are due, until SIGTERM or SIGINT; or talk to the daemon that does
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "daemon",
    note = "What is kept in sync, `[daemon] targets` in sync.toml says. Of several daemons beside one database, whichever comes first does a run of a job, which may go on for ten seconds when the daemon is to end."
)]
pub(crate) struct Daemon {
    /// what to tell a daemon that runs; without, this is one
    #[argh(subcommand)]
    pub(crate) verb: Option<DaemonVerb>,
}

/// What to tell a daemon.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub(crate) enum DaemonVerb {
    /// Ask how it goes.
    Status(DaemonStatus),
    /// Hold it.
    Pause(DaemonPause),
    /// Let it go on.
    Resume(DaemonResume),
    /// Sync now.
    Kick(DaemonKick),
    /// End it.
    Stop(DaemonStop),
}

/// show what the daemon of this workspace is doing, and how it went
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "status")]
pub(crate) struct DaemonStatus {}

/// keep the daemon from syncing, once the run that is under way has ended; jobs go on
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "pause")]
pub(crate) struct DaemonPause {}

/// let the daemon go on after a pause
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "resume")]
pub(crate) struct DaemonResume {}

/// have the daemon sync now, whatever it waits for; not while it pauses
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "kick")]
pub(crate) struct DaemonKick {}

/// end the daemon, and wait until it has ended
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "stop")]
pub(crate) struct DaemonStop {}

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
