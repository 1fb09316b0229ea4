//! The verbs about a database.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};
use sync_core::Name;
use sync_core::rows::TableName;
use sync_engine::rows::Resolution;

/// make, look at and track what a database needs to be synced
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "db",
    note = "The database is that of the workspace's sync.toml (`[database]`), or the one whose address --url-env or --url-file names.",
    example = "sync-cli db migrate"
)]
pub(crate) struct Db {
    /// the environment variable that holds the database's URL
    #[argh(option)]
    pub(crate) url_env: Option<String>,
    /// a file that holds the database's URL
    #[argh(option)]
    pub(crate) url_file: Option<PathBuf>,
    /// what to do
    #[argh(subcommand)]
    pub(crate) verb: DbVerb,
}

/// What to do with a database.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub(crate) enum DbVerb {
    /// Make tables.
    Migrate(DbMigrate),
    /// Track changes.
    Track(DbTrack),
    /// Track changes no longer.
    Untrack(DbUntrack),
    /// Say what is tracked.
    Status(DbStatus),
    /// Prove that both sides are equal.
    Verify(DbVerify),
}

/// make our own bookkeeping, and the default tables where they are not there; again does nothing
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "migrate")]
pub(crate) struct DbMigrate {
    /// only the bookkeeping, schema `sync`
    #[argh(switch)]
    pub(crate) bookkeeping: bool,
}

/// log which rows of a table change, so that a sync reads only those
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "track")]
pub(crate) struct DbTrack {
    /// the tables; all that sync.toml names where absent
    #[argh(positional)]
    pub(crate) tables: Vec<TableName>,
}

/// drop the log of a table and what fills it; its rows stay
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "untrack")]
pub(crate) struct DbUntrack {
    /// the tables
    #[argh(positional)]
    pub(crate) tables: Vec<TableName>,
}

/// say what is tracked, and how many changes wait to be read
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "status")]
pub(crate) struct DbStatus {}

/// compare the rows here with those of the tenant by their roots
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "verify")]
pub(crate) struct DbVerify {
    /// read every row here again, whatever the logs say
    #[argh(switch)]
    pub(crate) read: bool,
}

/// list, show and resolve the rows that a person has to choose
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "conflicts")]
pub(crate) struct Conflicts {
    /// what to do
    #[argh(subcommand)]
    pub(crate) verb: ConflictsVerb,
}

/// What to do with conflicts.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub(crate) enum ConflictsVerb {
    /// List them.
    List(ConflictsList),
    /// Show one.
    Show(ConflictsShow),
    /// Choose.
    Resolve(ConflictsResolve),
}

/// list the conflicts of the last sync, a line each
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list")]
pub(crate) struct ConflictsList {}

/// show both versions of a row, column by column
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "show")]
pub(crate) struct ConflictsShow {
    /// the conflict, as listed
    #[argh(positional)]
    pub(crate) id: String,
}

/// choose which version of a row stays; the next sync does it
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "resolve",
    example = "sync-cli conflicts resolve 7f3a9c0 theirs"
)]
pub(crate) struct ConflictsResolve {
    /// the conflict, as listed, or `all` that are open
    #[argh(positional)]
    pub(crate) id: String,
    /// ours (this database) or theirs (the tenant)
    #[argh(positional)]
    pub(crate) resolution: Resolution,
}

/// give a tenant a database, show which it has, or take it away
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "database",
    note = "The server captures and applies rows there. Clients never see its address.",
    example = "sync-cli tenant database acme --data DIR --url-env ACME_DATABASE_URL"
)]
pub(crate) struct TenantDatabase {
    /// the tenant's name
    #[argh(positional)]
    pub(crate) name: Name,
    /// the server's data directory; the server may be running
    #[argh(option)]
    pub(crate) data: PathBuf,
    /// the environment variable of the server that holds the URL
    #[argh(option)]
    pub(crate) url_env: Option<String>,
    /// a file on the server's machine that holds the URL
    #[argh(option)]
    pub(crate) url_file: Option<PathBuf>,
    /// a sync.toml whose `[database]` names the row sets; the default ones where absent
    #[argh(option)]
    pub(crate) tables: Option<PathBuf>,
    /// the branch that the database is the working copy of; main where absent
    #[argh(option)]
    pub(crate) branch: Option<Name>,
    /// the tenant has no database any more; its rows stay in the history
    #[argh(switch)]
    pub(crate) none: bool,
}
