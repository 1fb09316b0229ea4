//! What belongs to `deploy`, and to `doctor`, which looks at it.

use std::str::FromStr;

use argh::{ArgsInfo, FromArgs};

/// build the workspace's program, push its image, and have the tenant run it
#[derive(Debug, FromArgs, ArgsInfo)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "a command line is made of switches"
)]
#[argh(
    subcommand,
    name = "deploy",
    note = "What is built, and where it goes, is said in `[deploy]` of sync.toml."
)]
pub(crate) struct Deploy {
    /// what the image is called; made of the time and the commit where absent
    #[argh(option)]
    pub(crate) tag: Option<String>,
    /// take the program and web assets as they are; refused where one is older than its source
    #[argh(switch)]
    pub(crate) skip_build: bool,
    /// build and push nothing: the image is the one that the registry has under `--tag`
    #[argh(switch)]
    pub(crate) skip_push: bool,
    /// deploy although the source is not what a commit names
    #[argh(switch)]
    pub(crate) allow_dirty: bool,
    /// print every command, secrets masked, and run none
    #[argh(switch)]
    pub(crate) dry_run: bool,
    /// ask nothing
    #[argh(switch, short = 'y')]
    pub(crate) yes: bool,
    /// why, for the log; made from the tag where absent
    #[argh(option, short = 'm')]
    pub(crate) message: Option<String>,
    /// look, or go back, instead
    #[argh(subcommand)]
    pub(crate) verb: Option<DeployVerb>,
}

/// What else there is to do with deploys.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub(crate) enum DeployVerb {
    /// How the program is.
    Status(DeployStatus),
    /// What ran.
    History(DeployHistory),
    /// Back to what ran.
    Rollback(DeployRollback),
}

/// say what the tenant runs, how that is, and whose deploy runs
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "status")]
pub(crate) struct DeployStatus {}

/// list what was deployed, newest first: who, when, and how it ended
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "history")]
pub(crate) struct DeployHistory {
    /// how many; 20 where absent
    #[argh(option, short = 'n', default = "20")]
    pub(crate) limit: usize,
}

/// have a release run again that served before; files and rows stay
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "rollback",
    example = "sync-cli deploy rollback deploy-1700000000-0123456"
)]
pub(crate) struct DeployRollback {
    /// which, by its tag or at least 4 digits of its name; the newest that served before where absent
    #[argh(positional)]
    pub(crate) release: Option<String>,
    /// print what would be deployed, and do nothing
    #[argh(switch)]
    pub(crate) dry_run: bool,
    /// ask nothing
    #[argh(switch, short = 'y')]
    pub(crate) yes: bool,
    /// why, for the log; made from the tag where absent
    #[argh(option, short = 'm')]
    pub(crate) message: Option<String>,
}

/// look for what is wrong: configuration, tree, private state, connection, token, clock; or with deploying
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "doctor")]
pub(crate) struct Doctor {
    /// deploy, to look at what a deploy needs; the workspace where absent
    #[argh(positional)]
    pub(crate) what: Option<Looked>,
}

/// What a doctor looks at beside the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// What a deploy needs.
    Deploy,
}

impl FromStr for Looked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "deploy" => Ok(Self::Deploy),
            _ => Err("expected `deploy`, or nothing".to_owned()),
        }
    }
}
