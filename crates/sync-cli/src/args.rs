//! The command line: global flags, then a verb, then what belongs to the verb.

mod bundles;
mod deploy;
mod hoist;
mod identity;
mod jobs;
mod mcp;
mod place;
mod remotes;
mod rows;
mod transfer;
mod upkeep;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use argh::{ArgsInfo, FromArgs};
use sync_core::Name;
use sync_store::protocol::Scope;

pub(crate) use bundles::{Export, Import, Inspect};
pub(crate) use deploy::{Deploy, DeployHistory, DeployRollback, DeployVerb, Doctor};
pub(crate) use hoist::hoisted;
pub(crate) use identity::{Identity, IdentityVerb, TenantMoved};
pub(crate) use jobs::{Daemon, DaemonVerb, Jobs, JobsHistory, JobsRun, JobsVerb};
pub(crate) use mcp::Mcp;
pub(crate) use place::TenantDeploy;
pub(crate) use remotes::{
    Branch, BranchCreate, BranchDelete, BranchVerb, Promote, Remote, RemoteAdd, RemoteBranch,
    RemoteRemove, RemoteSetUrl, RemoteVerb,
};
pub(crate) use rows::{
    Conflicts, ConflictsList, ConflictsResolve, ConflictsShow, ConflictsVerb, Db, DbTrack,
    DbUntrack, DbVerb, DbVerify, TenantDatabase,
};
pub(crate) use transfer::{Diff, Pull, Push, Rollback, Status, SyncBoth, Undo, Watch};
pub(crate) use upkeep::{Gc, Retention, RetentionSet, RetentionShow, RetentionVerb, Verify};
use values::named;
pub(crate) use values::{
    Aim, Chosen, Color, Format, ITEMS, Lifetime, LogFormat, Returning, Shell, SyncTarget, TENANT,
    Target,
};

/// Keeps an AI-agent workspace identical, reviewable and recoverable: shows what would change, makes it so, remembers.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    note = "Exit codes: 0 done, 1 failed, 2 usage, 3 conflict or diverged, 4 unavailable, 5 integrity, 6 denied, 10 differences found, 70 our bug.",
    example = "sync-cli -C my-workspace push files --dry-run"
)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "a command line is made of switches"
)]
pub(crate) struct Args {
    /// the workspace's directory; else the nearest directory upwards that has a sync.toml
    #[argh(option, short = 'C')]
    pub(crate) workspace: Option<PathBuf>,
    /// the remote to work with, by its name in sync.toml; the default one where absent; may stand after the verb, too
    #[argh(option)]
    pub(crate) remote: Option<Name>,
    /// the branch of the remote to work with; the one that sync.toml says where absent; may stand after the verb, too
    #[argh(option)]
    pub(crate) branch: Option<Name>,
    /// how results are printed: text, json, or ndjson with every event
    #[argh(option, default = "Format::Text")]
    pub(crate) output: Format,
    /// print errors alone
    #[argh(switch, short = 'q')]
    pub(crate) quiet: bool,
    /// log what happens to stderr
    #[argh(switch, short = 'v')]
    pub(crate) verbose: bool,
    /// no progress bars, even on a terminal
    #[argh(switch)]
    pub(crate) no_progress: bool,
    /// when to colour: auto, always, never
    #[argh(option, default = "Color::Auto")]
    pub(crate) color: Color,
    /// print the version and exit
    #[argh(switch)]
    pub(crate) version: bool,
    /// what to do
    #[argh(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// What to do.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
#[allow(clippy::large_enum_variant, reason = "a command line is read once")]
pub(crate) enum Verb {
    /// Make a workspace.
    Init(Init),
    /// Say where workspace and tenant stand.
    Status(Status),
    /// Show what differs.
    Diff(Diff),
    /// Workspace to tenant.
    Push(Push),
    /// Tenant to workspace.
    Pull(Pull),
    /// Both ways, merged.
    Sync(SyncBoth),
    /// The tenant and the workspace back to a snapshot.
    Rollback(Rollback),
    /// Bring back what was replaced in the workspace.
    Undo(Undo),
    /// Sync whenever something is saved.
    Watch(Watch),
    /// Show the history.
    Log(Log),
    /// Show one snapshot.
    Show(Show),
    /// Look for what is wrong.
    Doctor(Doctor),
    /// Print shell completions.
    Completions(Completions),
    /// Store a token.
    Login(Login),
    /// Name tenants.
    Remote(Remote),
    /// Branches of the tenant.
    Branch(Branch),
    /// One tenant to another.
    Promote(Promote),
    /// From source to a running program.
    Deploy(Deploy),
    /// Serve tenants.
    Serve(Serve),
    /// Manage tenants.
    Tenant(Tenant),
    /// Manage tokens.
    Token(Token),
    /// Say who a tenant is.
    Identity(Identity),
    /// Check every object.
    Verify(Verify),
    /// Take everything and leave.
    Export(Export),
    /// Become what a bundle says.
    Import(Import),
    /// Show what is in a bundle.
    Inspect(Inspect),
    /// Remove what nobody needs.
    Gc(Gc),
    /// Say what branches keep.
    Retention(Retention),
    /// Look after a database.
    Db(Db),
    /// Choose between rows.
    Conflicts(Conflicts),
    /// Run jobs, and look back at them.
    Jobs(Jobs),
    /// Keep in sync, and run jobs when they are due.
    Daemon(Daemon),
    /// Serve an agent.
    Mcp(Mcp),
}

impl Verb {
    /// The verb as it stands in reports.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Status(verb) => named("status", &verb.targets),
            Self::Diff(_) => "diff",
            Self::Push(verb) => named("push", &verb.targets),
            Self::Pull(verb) => named("pull", &verb.targets),
            Self::Sync(verb) => match verb.target {
                SyncTarget::All => "sync all",
                SyncTarget::One(Target::Files) => "sync files",
                SyncTarget::One(Target::Database) => "sync database",
            },
            Self::Rollback(_) => "rollback",
            Self::Undo(_) => "undo",
            Self::Watch(verb) => named("watch", &verb.targets),
            Self::Log(_) => "log",
            Self::Show(_) => "show",
            Self::Doctor(Doctor { what: None }) => "doctor",
            Self::Doctor(_) => "doctor deploy",
            Self::Deploy(_) => "deploy",
            Self::Completions(_) => "completions",
            Self::Login(_) => "login",
            Self::Remote(_) => "remote",
            Self::Branch(_) => "branch",
            Self::Promote(_) => "promote",
            Self::Serve(_) => "serve",
            Self::Tenant(_) => "tenant",
            Self::Token(_) => "token",
            Self::Identity(_) => "identity",
            Self::Verify(_) => "verify",
            Self::Export(_) => "export",
            Self::Import(_) => "import",
            Self::Inspect(_) => "inspect",
            Self::Gc(_) => "gc",
            Self::Retention(_) => "retention",
            Self::Db(_) => "db",
            Self::Conflicts(_) => "conflicts",
            Self::Jobs(_) => "jobs",
            Self::Mcp(_) => "mcp",
            Self::Daemon(Daemon { verb }) => match verb {
                None => "daemon",
                Some(DaemonVerb::Status(_)) => "daemon status",
                Some(DaemonVerb::Pause(_)) => "daemon pause",
                Some(DaemonVerb::Resume(_)) => "daemon resume",
                Some(DaemonVerb::Kick(_)) => "daemon kick",
                Some(DaemonVerb::Stop(_)) => "daemon stop",
            },
        }
    }

    /// Whether it is about the tenant that the workspace follows, so that another one can be named.
    pub(crate) fn follows(&self) -> bool {
        match self {
            Self::Status(Status { targets, .. })
            | Self::Push(Push { targets, .. })
            | Self::Pull(Pull { targets, .. })
            | Self::Watch(Watch { targets, .. }) => {
                !matches!(Chosen::of(targets), Ok(Chosen::Local(_)))
            }
            Self::Verify(verify) => verify.data.is_none() && verify.file.is_none(),
            Self::Export(export) => export.data.is_none(),
            Self::Import(import) => import.data.is_none(),
            Self::Remote(remote) => remote.verb.follows(),
            Self::Tenant(tenant) => {
                matches!(&tenant.verb, TenantVerb::Moved(moved) if moved.data.is_none())
            }
            Self::Token(_)
            | Self::Identity(_)
            | Self::Sync(_)
            | Self::Diff(_)
            | Self::Rollback(_)
            | Self::Undo(_)
            | Self::Log(_)
            | Self::Show(_)
            | Self::Doctor(_)
            | Self::Deploy(_)
            | Self::Login(_)
            | Self::Branch(_)
            | Self::Db(_)
            | Self::Conflicts(_) => true,
            Self::Init(_)
            | Self::Completions(_)
            | Self::Promote(_)
            | Self::Serve(_)
            | Self::Inspect(_)
            | Self::Gc(_)
            | Self::Retention(_)
            | Self::Jobs(_)
            | Self::Mcp(_)
            | Self::Daemon(_) => false,
        }
    }
}

/// make a workspace here: a sync.toml, a services directory, private state in .sync
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "init")]
pub(crate) struct Init {
    /// where the tenant lives, `https://HOST:PORT` or `embedded:DIR`
    #[argh(option, default = "String::from(\"embedded:.sync/tenant\")")]
    pub(crate) url: String,
    /// the tenant's name
    #[argh(
        option,
        default = "Name::from_str(\"default\").unwrap_or_else(|_| unreachable!())"
    )]
    pub(crate) tenant: Name,
    /// what people call the workspace; the directory's name where absent
    #[argh(option)]
    pub(crate) name: Option<String>,
}

/// show the snapshots of the tenant's branch, newest first
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "log")]
pub(crate) struct Log {
    /// how many at the most
    #[argh(option, short = 'n', default = "20")]
    pub(crate) limit: usize,
}

/// show one snapshot and what it changed
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "show")]
pub(crate) struct Show {
    /// the snapshot, by at least 4 digits of its id; the tenant's head where absent
    #[argh(positional)]
    pub(crate) snapshot: Option<String>,
    /// only the paths, without the lines that differ
    #[argh(switch)]
    pub(crate) stat: bool,
}

/// print completions for a shell
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "completions",
    example = "sync-cli completions bash > /etc/bash_completion.d/sync-cli"
)]
pub(crate) struct Completions {
    /// bash, zsh, fish or nushell
    #[argh(positional)]
    pub(crate) shell: Shell,
}

/// store a token for this workspace's tenant in a file that only you can read; reads it from the terminal or stdin
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "login")]
pub(crate) struct Login {}

/// serve tenants from a directory over HTTP
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "serve",
    example = "sync-cli serve --data /var/lib/sync --listen 127.0.0.1:8443 --tls-cert cert.pem --tls-key key.pem"
)]
pub(crate) struct Serve {
    /// the directory that holds the tenants
    #[argh(option)]
    pub(crate) data: PathBuf,
    /// the address to listen on; port 0 takes a free one
    #[argh(option, default = "SocketAddr::from(([127, 0, 0, 1], 8443))")]
    pub(crate) listen: SocketAddr,
    /// a PEM file with the certificate chain
    #[argh(option)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// a PEM file with the certificate's private key
    #[argh(option)]
    pub(crate) tls_key: Option<PathBuf>,
    /// an address that answers GET /metrics and nothing else, without TLS or a token: let only monitors reach it
    #[argh(option)]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// how logs are written to stderr: text or json
    #[argh(option, default = "LogFormat::Text")]
    pub(crate) log_format: LogFormat,
}

/// create and list tenants, and say where they live
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "tenant")]
pub(crate) struct Tenant {
    /// what to do
    #[argh(subcommand)]
    pub(crate) verb: TenantVerb,
}

/// What to do with tenants.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
#[allow(clippy::large_enum_variant, reason = "a command line is read once")]
pub(crate) enum TenantVerb {
    /// Create one.
    Create(TenantCreate),
    /// List them.
    List(TenantList),
    /// Give it a database.
    Database(TenantDatabase),
    /// Say where its program runs.
    Deploy(TenantDeploy),
    /// Say where it lives.
    Moved(TenantMoved),
}

/// create a tenant
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "create")]
pub(crate) struct TenantCreate {
    /// its name
    #[argh(positional)]
    pub(crate) name: Name,
    /// the server's data directory; the server may be running
    #[argh(option)]
    pub(crate) data: PathBuf,
}

/// list the tenants
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list")]
pub(crate) struct TenantList {
    /// the server's data directory; the server may be running
    #[argh(option)]
    pub(crate) data: PathBuf,
}

/// issue, list and revoke tokens
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "token")]
pub(crate) struct Token {
    /// what to do
    #[argh(subcommand)]
    pub(crate) verb: TokenVerb,
}

/// What to do with tokens.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub(crate) enum TokenVerb {
    /// Issue one.
    Create(TokenCreate),
    /// List them.
    List(TokenList),
    /// Revoke one.
    Revoke(TokenRevoke),
}

/// issue a token; its text is printed this once
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "create",
    example = "sync-cli token create --tenant acme --scope write --expires 90d --data DIR"
)]
pub(crate) struct TokenCreate {
    /// the only tenant that it reaches
    #[argh(option)]
    pub(crate) tenant: Name,
    /// what it allows: read, write, deploy or admin, each with those before it
    #[argh(option)]
    pub(crate) scope: Scope,
    /// for how long, such as 90d, 12h, 30m or 45s; for ever where absent
    #[argh(option)]
    pub(crate) expires: Option<Lifetime>,
    /// what it is for, in your words
    #[argh(option)]
    pub(crate) label: Option<String>,
    /// the server's data directory; the workspace's own remote where absent
    #[argh(option)]
    pub(crate) data: Option<PathBuf>,
}

/// list a tenant's tokens, without their secrets
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list")]
pub(crate) struct TokenList {
    /// the tenant
    #[argh(option)]
    pub(crate) tenant: Name,
    /// the server's data directory; the workspace's own remote where absent
    #[argh(option)]
    pub(crate) data: Option<PathBuf>,
}

/// revoke a token from this moment on
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "revoke")]
pub(crate) struct TokenRevoke {
    /// the token's id, as listed
    #[argh(positional)]
    pub(crate) id: String,
    /// the server's data directory; the workspace's own remote where absent
    #[argh(option)]
    pub(crate) data: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, argh::EarlyExit> {
        Args::from_args(&["sync-cli"], &line.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn lines_that_people_type() {
        for line in [
            "init",
            "-C docs/example push files",
            "push",
            "push all --yes",
            "sync all",
            "status all",
            "diff all",
            "diff 7f3a9c0 9b1e44d all",
            "push --dry-run -m why",
            "push --filter agents/ --filter *.md --max-delete 10%",
            "pull --yes --max-delete 5",
            "sync files --on-conflict keep-both",
            "rollback 7f3a9c0 --dry-run",
            "undo",
            "watch files",
            "--output json status --exit-code",
            "diff",
            "diff 7f3a9c0 9b1e44d --stat",
            "log -n 3",
            "show 7f3a9c0",
            "token create --tenant acme --scope write --expires 90d --data d",
            "serve --data d --listen 127.0.0.1:0",
            "serve --data d --metrics-listen 127.0.0.1:9100 --log-format json",
            "completions fish",
            "verify",
            "verify --data d --tenant acme",
            "verify acme.tar.zst.age --identity-file key.txt",
            "export --out acme.tar --uncompressed --branch main --head-only --only files",
            "export --out acme.tar.zst --since 7f3a9c0 --data d --tenant acme",
            "import acme.tar.zst --dry-run",
            "import acme.tar.zst --force-overwrite --trust-unsigned --data d --tenant acme",
            "gc --data d --grace 0s --dry-run",
            "deploy",
            "deploy --tag v1 --skip-build --skip-push --allow-dirty --dry-run --yes",
            "doctor",
            "doctor deploy",
            "retention set --data d --tenant acme --branch main --last 20",
            "retention show --data d --tenant acme --branch main",
            "push database --dry-run",
            "push skills content --delete --on-conflict disk --keep-going",
            "pull access-control --dry-run",
            "watch content skills --on-conflict database",
            "diff content --stat",
            "diff 7f3a9c0 database",
            "rollback 7f3a9c0 database",
            "undo database",
            "db migrate",
            "db --url-env X track agents users",
            "conflicts resolve 7f3a theirs",
            "jobs list",
            "jobs run content_sync --direction to_disk --delete-orphans --override-existing",
            "jobs history -n 3",
            "jobs history nightly",
            "daemon",
            "mcp",
            "-C docs/example mcp --read-only",
            "daemon status",
            "daemon kick",
            "tenant database acme --data d --url-env X",
            "tenant deploy acme --data d",
            "tenant deploy acme --data d --docker 127.0.0.1:8080 --registry r:5000 --username ci --password-env P",
            "deploy status",
            "deploy history -n 3",
            "deploy rollback v1 --yes",
            "rollback 7f3a9c0 release",
            "--remote staging --branch trial push --yes",
            "remote list",
            "remote add staging https://a --tenant acme --branch main --ca-file ca.pem",
            "remote remove staging",
            "--remote staging remote set-url https://new",
            "remote trust",
            "identity show",
            "identity generate --tenant acme --data d",
            "identity rotate",
            "tenant moved --to https://new --tenant acme --data d",
            "tenant moved --back",
            "branch list",
            "branch create trial 7f3a9c0",
            "branch delete trial",
            "promote staging production",
            "promote staging:trial production 7f3a9c0 --dry-run --on-conflict theirs -m why",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        }
    }

    #[test]
    fn lines_that_are_refused() {
        for line in [
            "push everything",
            "push skills --on-conflict ours",
            "sync skills",
            "jobs run content_sync --direction up",
            "sync --on-conflict both",
            "push --max-delete 101%",
            "--output xml status",
            "token create --tenant acme --scope all",
            "serve",
            "remote add staging",
            "promote staging",
            "promote staging production --on-conflict keep-both",
            "promote staging:../up production",
            "--remote ../up push",
            "export",
            "export --out a --only everything",
            "import",
            "import a --trust ed25519:00",
            "frob",
        ] {
            assert!(
                parse(line).err().is_some_and(|exit| exit.status.is_err()),
                "{line}"
            );
        }
        assert!(
            parse("push --help")
                .err()
                .is_some_and(|exit| exit.status.is_ok())
        );
    }
}
