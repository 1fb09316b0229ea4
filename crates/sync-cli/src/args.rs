//! The command line: global flags, then a verb, then what belongs to the verb.

mod upkeep;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use sync_core::Name;
use sync_store::protocol::Scope;

pub(crate) use upkeep::{Gc, Retention, RetentionSet, RetentionShow, RetentionVerb, Verify};

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

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One object.
    Json,
    /// Every event, then the result, a line each.
    Ndjson,
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "ndjson" => Ok(Self::Ndjson),
            _ => Err("expected text, json or ndjson".into()),
        }
    }
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl FromStr for Color {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err("expected auto, always or never".into()),
        }
    }
}

/// What is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Target {
    /// The workspace's tree of files.
    #[default]
    Files,
}

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "files" => Ok(Self::Files),
            _ => Err("expected `files`, which is all that this version syncs".into()),
        }
    }
}

impl Target {
    /// The target as it stands in operations and reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
        }
    }
}

/// What to do.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
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
    /// Serve tenants.
    Serve(Serve),
    /// Manage tenants.
    Tenant(Tenant),
    /// Manage tokens.
    Token(Token),
    /// Check every object.
    Verify(Verify),
    /// Remove what nobody needs.
    Gc(Gc),
    /// Say what branches keep.
    Retention(Retention),
}

impl Verb {
    /// The verb as it stands in reports.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Status(_) => "status files",
            Self::Diff(_) => "diff",
            Self::Push(_) => "push files",
            Self::Pull(_) => "pull files",
            Self::Log(_) => "log",
            Self::Show(_) => "show",
            Self::Doctor(_) => "doctor",
            Self::Completions(_) => "completions",
            Self::Login(_) => "login",
            Self::Serve(_) => "serve",
            Self::Tenant(_) => "tenant",
            Self::Token(_) => "token",
            Self::Verify(_) => "verify",
            Self::Gc(_) => "gc",
            Self::Retention(_) => "retention",
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

/// say where workspace and tenant stand, and how much differs on which side
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "status")]
pub(crate) struct Status {
    /// what to look at: files
    #[argh(positional, default = "Target::Files")]
    pub(crate) target: Target,
    /// exit with 10 where there are differences
    #[argh(switch)]
    pub(crate) exit_code: bool,
}

/// show what differs: the base and the workspace, a snapshot A and the workspace, or snapshots A and B
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "diff", example = "sync-cli diff 7f3a9c0 9b1e44d")]
pub(crate) struct Diff {
    /// none, one or two snapshots, older first, each by at least 4 digits of its id
    #[argh(positional)]
    pub(crate) snapshots: Vec<String>,
    /// only the paths, without the lines that differ
    #[argh(switch)]
    pub(crate) stat: bool,
    /// exit with 10 where there are differences
    #[argh(switch)]
    pub(crate) exit_code: bool,
}

/// send what changed here to the tenant, as a new snapshot
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "push",
    example = "sync-cli push files -m \"tune triage agent\""
)]
pub(crate) struct Push {
    /// what to push: files
    #[argh(positional, default = "Target::Files")]
    pub(crate) target: Target,
    /// print what would be done and do nothing, on either side
    #[argh(switch)]
    pub(crate) dry_run: bool,
    /// push even an empty tree over one that is not
    #[argh(switch, short = 'y')]
    pub(crate) yes: bool,
    /// why, for the log; made from what changed where absent
    #[argh(option, short = 'm')]
    pub(crate) message: Option<String>,
}

/// bring what changed on the tenant into the workspace; a local edit is never overwritten
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "pull")]
pub(crate) struct Pull {
    /// what to pull: files
    #[argh(positional, default = "Target::Files")]
    pub(crate) target: Target,
    /// print what would be done and do nothing, on either side
    #[argh(switch)]
    pub(crate) dry_run: bool,
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

/// look for what is wrong: configuration, tree, private state, connection, token, clock
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "doctor")]
pub(crate) struct Doctor {}

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

/// A shell that completions can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
    /// Nushell.
    Nushell,
}

impl FromStr for Shell {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bash" => Ok(Self::Bash),
            "zsh" => Ok(Self::Zsh),
            "fish" => Ok(Self::Fish),
            "nushell" => Ok(Self::Nushell),
            _ => Err("expected bash, zsh, fish or nushell".into()),
        }
    }
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
    /// how logs are written to stderr: text or json
    #[argh(option, default = "LogFormat::Text")]
    pub(crate) log_format: LogFormat,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json".into()),
        }
    }
}

/// create and list tenants
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
pub(crate) enum TenantVerb {
    /// Create one.
    Create(TenantCreate),
    /// List them.
    List(TenantList),
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

/// A length of time as people write it: a number and one of `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime(pub(crate) Duration);

impl FromStr for Lifetime {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a number and a unit, such as 90d, 12h, 30m or 45s".to_owned();
        let unit = text.chars().next_back().ok_or_else(wrong)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return Err(wrong()),
        };
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
        number
            .checked_mul(seconds)
            .map(Duration::from_secs)
            .map(Self)
            .ok_or_else(wrong)
    }
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
            "push --dry-run -m why",
            "--output json status --exit-code",
            "diff",
            "diff 7f3a9c0 9b1e44d --stat",
            "log -n 3",
            "show 7f3a9c0",
            "token create --tenant acme --scope write --expires 90d --data d",
            "serve --data d --listen 127.0.0.1:0",
            "completions fish",
            "verify",
            "verify --data d --tenant acme",
            "gc --data d --grace 0s --dry-run",
            "retention set --data d --tenant acme --branch main --last 20",
            "retention show --data d --tenant acme --branch main",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        }
        for line in [
            "push database",
            "--output xml status",
            "token create --tenant acme --scope all",
            "serve",
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

    #[test]
    fn lifetimes() {
        let seconds = |text: &str| text.parse::<Lifetime>().ok().map(|l| l.0.as_secs());
        assert_eq!(seconds("90d"), Some(90 * 24 * 60 * 60));
        assert_eq!(seconds("45s"), Some(45));
        for bad in ["", "d", "90", "-1d", "1w", "99999999999999999999d", "1é"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
