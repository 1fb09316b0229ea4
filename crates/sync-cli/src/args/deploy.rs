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
