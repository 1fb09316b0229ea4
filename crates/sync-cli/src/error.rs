//! What the command line itself gets wrong, and everything below it.

use std::path::PathBuf;

use snafu::Snafu;
use sync_core::{Class, Fault};
use sync_engine::config::DEFAULT_REMOTE;

/// Why a command failed.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub(crate) enum Error {
    /// The engine failed.
    #[snafu(transparent)]
    Engine { source: sync_engine::Error },
    /// A person was asked, and said no.
    #[snafu(display("nothing was changed: you said no"))]
    Declined,
    /// A daemon is asked for, and nothing is configured for it.
    #[snafu(display("there is nothing for a daemon to do"))]
    NothingToRun,
    /// No daemon runs in the workspace.
    #[snafu(display("no daemon runs in this workspace"))]
    NoDaemon,
    /// The daemon that runs has jobs alone.
    #[snafu(display("the daemon of this workspace syncs nothing: it runs jobs alone"))]
    JobsAlone,
    /// The daemon did not answer.
    #[snafu(display("the daemon of this workspace does not answer"))]
    DaemonSilent { source: std::io::Error },
    /// Files and rows are not watched together.
    #[snafu(display("files and rows are watched by a command each"))]
    WatchAll,
    /// The connection could not be prepared.
    #[snafu(transparent)]
    Transport { source: sync_transport::Error },
    /// The database failed.
    #[snafu(transparent)]
    Database { source: sync_db::Error },
    /// Something was not built, shipped or run.
    #[snafu(transparent)]
    Deploy { source: sync_deploy::Error },
    /// Nothing says what the program is made from.
    #[snafu(display("sync.toml does not say what is deployed: it has no `[deploy]`"))]
    NoDeploy,
    /// Nobody says where images go.
    #[snafu(display("neither sync.toml nor the tenant says where images go"))]
    NoRegistry,
    /// A password that is needed is not to be found.
    #[snafu(display("the password of the registry is not known: {place} has none"))]
    NoPassword { place: String },
    /// A bundle is not made, or not taken.
    #[snafu(transparent)]
    Bundle { source: sync_bundle::Error },
    /// A bundle could not be opened.
    #[snafu(display("could not read `{}`", path.display()))]
    ReadBundle {
        path: PathBuf,
        source: std::io::Error,
    },
    /// A file with secret keys has none.
    #[snafu(display("`{}` is no file of secret keys", path.display()))]
    NotASecret {
        path: PathBuf,
        source: sync_bundle::age::ParseAgeError,
    },
    /// A store could not be opened.
    #[snafu(transparent)]
    Store { source: sync_store::Error },
    /// The current directory cannot be read.
    #[snafu(display("the current directory cannot be read"))]
    CurrentDir { source: std::io::Error },
    /// A file could not be written.
    #[snafu(display("could not write `{}`", path.display()))]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The credentials file cannot be used.
    #[snafu(display("the credentials in `{}` cannot be used: {reason}", path.display()))]
    Credentials { path: PathBuf, reason: String },
    /// The credentials file can be read by others.
    #[snafu(display("the credentials in `{}` can be read by others", path.display()))]
    CredentialsOpen { path: PathBuf },
    /// There is no place for a credentials file.
    #[snafu(display("neither HOME nor XDG_CONFIG_HOME says where credentials are kept"))]
    NoHome,
    /// There is no token for the remote.
    #[snafu(display("there is no token for tenant `{tenant}` at {url}"))]
    NoToken {
        url: String,
        tenant: String,
        remote: String,
    },
    /// A token could not be read from the terminal or stdin.
    #[snafu(display("no token could be read"))]
    ReadToken { source: std::io::Error },
    /// What was read is no token.
    #[snafu(display("what was read is not a token"))]
    NotAToken,
    /// The remote needs no token.
    #[snafu(display("the tenant is embedded in a directory: it needs no token"))]
    NoLogin,
    /// A certificate without its key, or a key without its certificate.
    #[snafu(display("--tls-cert and --tls-key go together"))]
    HalfTls,
    /// Tokens would travel in the clear.
    #[snafu(display(
        "{listen} is not a loopback address, and without TLS tokens would travel in the clear"
    ))]
    NoTls { listen: std::net::SocketAddr },
    /// A data directory that is not there.
    #[snafu(display("there is no data directory `{}`", path.display()))]
    NoData { path: PathBuf },
    /// A tenant that is named without a data directory, or a data directory without a tenant.
    #[snafu(display("--data and --tenant go together"))]
    WhichTenant,
    /// None or both of the ways to say where a tenant lives.
    #[snafu(display("a tenant lives at either `--to URL` or here again, `--back`"))]
    WhereTo,
    /// The async runtime or a signal handler could not be set up.
    #[snafu(display("the process could not be set up"))]
    Setup { source: std::io::Error },
    /// None or several of the ways to say what a branch keeps.
    #[snafu(display("a branch keeps either everything, the last so many, or a time"))]
    WhichRetention,
    /// The database is not to be found.
    #[snafu(display("the workspace's database is not known: `{variable}` is not set"))]
    NoDatabase { variable: String },
    /// A file with the address of a database cannot be read.
    #[snafu(display("could not read `{}`", path.display()))]
    ReadUrl {
        path: PathBuf,
        source: std::io::Error,
    },
    /// A filter for rows.
    #[snafu(display("--filter chooses paths: rows are chosen by `where` of a table in sync.toml"))]
    NoFilter,
    /// None or several of the ways to say where a database is.
    #[snafu(display(
        "a tenant's database is found by either `--url-env`, `--url-file` or `--none`"
    ))]
    WhichDatabase,
    /// It is not said, or said twice, where a program is to run, or how it is reached.
    #[snafu(display("give {reason}"))]
    WhichPlace { reason: &'static str },
    /// No release of the tenant is meant.
    #[snafu(display("no release is `{given}`: {reason}"))]
    NoRelease { given: String, reason: &'static str },
    /// Things that are not synced by one command.
    #[snafu(display("only skills, content and access-control can be named together"))]
    Targets,
    /// A flag for something else than what is named.
    #[snafu(display("`{flag}` is for {targets}"))]
    WrongFlag {
        flag: &'static str,
        targets: &'static str,
    },
    /// Snapshots of what has none.
    #[snafu(display(
        "skills, content and access-control have no snapshots of their own: they are compared with the database"
    ))]
    NoSnapshots,
    /// A branch without a snapshot.
    #[snafu(display("the branch that the workspace follows has no snapshot yet"))]
    NothingYet,
    /// More than two snapshots to compare.
    #[snafu(display("two snapshots can be compared, not more"))]
    TooManySides,
    /// An agent called a tool with arguments that it does not take.
    #[snafu(display("the arguments of `{tool}` are wrong"))]
    Arguments {
        tool: &'static str,
        source: serde_json::Error,
    },
    /// An agent asked for a change of a server that makes none.
    #[snafu(display("this server was started with --read-only: it changes nothing"))]
    ReadOnly,
    /// A client did not speak the Model Context Protocol.
    #[snafu(display("the client did not begin as the Model Context Protocol says"))]
    Mcp {
        #[snafu(source(from(rmcp::service::ServerInitializeError, Box::new)))]
        source: Box<rmcp::service::ServerInitializeError>,
    },
    /// An operation for an agent panicked.
    #[snafu(display("the operation did not come to an end"))]
    Unfinished { source: tokio::task::JoinError },
}

impl Fault for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Engine { source } => source.code(),
            Self::Declined => "cli/declined",
            Self::WatchAll => "cli/watch-all",
            Self::NothingToRun => "cli/nothing-to-run",
            Self::NoDaemon => "cli/no-daemon",
            Self::JobsAlone => "cli/jobs-alone",
            Self::DaemonSilent { .. } => "cli/daemon-silent",
            Self::Transport { source } => source.code(),
            Self::Bundle { source } => source.code(),
            Self::ReadBundle { .. } => "cli/read-bundle",
            Self::NotASecret { .. } => "cli/not-a-secret",
            Self::Store { source } => source.code(),
            Self::Deploy { source } => source.code(),
            Self::NoDeploy => "cli/no-deploy",
            Self::NoRegistry => "cli/no-registry",
            Self::NoPassword { .. } => "cli/no-password",
            Self::Database { source } => source.code(),
            Self::CurrentDir { .. } => "cli/current-dir",
            Self::Write { .. } => "cli/write",
            Self::Credentials { .. } => "cli/credentials",
            Self::CredentialsOpen { .. } => "cli/credentials-open",
            Self::NoHome => "cli/no-home",
            Self::NoToken { .. } => "cli/no-token",
            Self::ReadToken { .. } => "cli/read-token",
            Self::NotAToken => "cli/not-a-token",
            Self::NoLogin => "cli/no-login",
            Self::HalfTls => "cli/half-tls",
            Self::NoTls { .. } => "cli/no-tls",
            Self::NoData { .. } => "cli/no-data",
            Self::WhichTenant => "cli/which-tenant",
            Self::WhereTo => "cli/where-to",
            Self::Setup { .. } => "cli/setup",
            Self::WhichRetention => "cli/which-retention",
            Self::NoDatabase { .. } => "cli/no-database",
            Self::ReadUrl { .. } => "cli/read-url",
            Self::NoFilter => "cli/no-filter",
            Self::WhichDatabase => "cli/which-database",
            Self::WhichPlace { .. } => "cli/which-place",
            Self::NoRelease { .. } => "cli/no-release",
            Self::Targets => "cli/targets",
            Self::WrongFlag { .. } => "cli/wrong-flag",
            Self::NoSnapshots => "cli/no-snapshots",
            Self::NothingYet => "cli/nothing-yet",
            Self::TooManySides => "cli/too-many-sides",
            Self::Arguments { .. } => "cli/arguments",
            Self::ReadOnly => "cli/read-only",
            Self::Mcp { .. } => "cli/mcp",
            Self::Unfinished { .. } => "cli/unfinished",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Engine { source } => source.class(),
            Self::Transport { source } => source.class(),
            Self::Bundle { source } => source.class(),
            Self::Store { source } => source.class(),
            Self::Deploy { source } => source.class(),
            Self::Database { source } => source.class(),
            Self::CurrentDir { .. }
            | Self::Write { .. }
            | Self::ReadUrl { .. }
            | Self::ReadBundle { .. }
            | Self::Declined
            | Self::Mcp { .. }
            | Self::Setup { .. } => Class::Failed,
            Self::Unfinished { .. } => Class::Bug,
            Self::CredentialsOpen { .. } | Self::NoToken { .. } | Self::ReadOnly => Class::Denied,
            Self::NoDaemon | Self::DaemonSilent { .. } => Class::Unavailable,
            Self::Credentials { .. }
            | Self::NoHome
            | Self::ReadToken { .. }
            | Self::NotAToken
            | Self::NoLogin
            | Self::TooManySides
            | Self::Arguments { .. }
            | Self::Targets
            | Self::WatchAll
            | Self::NothingToRun
            | Self::JobsAlone
            | Self::WrongFlag { .. }
            | Self::NoSnapshots
            | Self::NothingYet
            | Self::NoDatabase { .. }
            | Self::NoDeploy
            | Self::NoRegistry
            | Self::NoPassword { .. }
            | Self::NoFilter
            | Self::WhichDatabase
            | Self::WhichPlace { .. }
            | Self::NoRelease { .. }
            | Self::WhichRetention
            | Self::NotASecret { .. }
            | Self::HalfTls
            | Self::NoTls { .. }
            | Self::WhichTenant
            | Self::WhereTo
            | Self::NoData { .. } => Class::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Engine { source } => return source.hint(),
            Self::Declined => "`--yes` asks nothing; `--dry-run` shows what would be done",
            Self::NothingToRun => {
                "add a `[remote]`, or `[[jobs]]` with a schedule, to sync.toml; `[daemon] targets` says what is kept in sync"
            }
            Self::NoDaemon => "`sync-cli daemon` is one",
            Self::JobsAlone => "name what it is to sync in `[daemon] targets` of sync.toml",
            Self::DaemonSilent { .. } => {
                "try again; if it stays so, end the process that holds `.sync/daemon.lock`"
            }
            Self::WatchAll => "run `sync-cli watch files` and `sync-cli watch database`",
            Self::Transport { source } => return source.hint(),
            Self::Bundle { source } => return source.hint(),
            Self::Store { source } => return source.hint(),
            Self::Deploy { source } => return source.hint(),
            Self::NoDeploy => "add a `[deploy]` table with at least `registry` and `repository`",
            Self::NoRegistry => {
                "name both in `[deploy]` of sync.toml, or let the operator run `sync-cli tenant deploy`"
            }
            Self::NoPassword { .. } => "put it there, or leave out `[deploy] username`",
            Self::Database { source } => return source.hint(),
            Self::Credentials { .. } => "delete the file and run `sync-cli login` again",
            Self::CredentialsOpen { path } => {
                return Some(format!("run `chmod 600 {}`", path.display()));
            }
            Self::NoDatabase { .. } => {
                "set it to `postgres://…`, or name another variable or file in `[database]` of sync.toml"
            }
            Self::Targets => "run one command for each of the others",
            Self::NothingYet => "push first, or name a snapshot",
            Self::NoHome => "set HOME, or give the token in SYNC_TOKEN",
            Self::NoToken { remote, .. } if remote != DEFAULT_REMOTE => {
                let variable = crate::credentials::variable(remote);
                return Some(format!(
                    "set {variable}, or run `sync-cli login --remote {remote}`"
                ));
            }
            Self::NoToken { .. } => "set SYNC_TOKEN, or run `sync-cli login`",
            Self::NotAToken => "a token starts with `sync_`; `sync-cli token create` prints one",
            Self::WhichRetention => "give one of `--all`, `--last N` and `--for 90d`",
            Self::HalfTls => "give both, or neither on a loopback address",
            Self::NoTls { .. } => "give --tls-cert and --tls-key, or listen on 127.0.0.1",
            Self::NoData { .. } => "`sync-cli serve --data DIR` makes it",
            Self::WhichTenant => "give both, or neither in a workspace",
            Self::WhereTo => "give one of them",
            Self::Arguments { .. } => "read the tool's schema in `tools/list` and call it again",
            Self::ReadOnly => {
                "call it with `dry_run` true, or let a person start `sync-cli mcp` without --read-only"
            }
            Self::Mcp { .. } => "start `sync-cli mcp` from a client of the Model Context Protocol",
            Self::CurrentDir { .. }
            | Self::Write { .. }
            | Self::ReadToken { .. }
            | Self::NoLogin
            | Self::TooManySides
            | Self::WrongFlag { .. }
            | Self::NoSnapshots
            | Self::ReadUrl { .. }
            | Self::ReadBundle { .. }
            | Self::NotASecret { .. }
            | Self::NoFilter
            | Self::WhichDatabase
            | Self::WhichPlace { .. }
            | Self::NoRelease { .. }
            | Self::Unfinished { .. }
            | Self::Setup { .. } => {
                return None;
            }
        };
        Some(text.to_owned())
    }
}
