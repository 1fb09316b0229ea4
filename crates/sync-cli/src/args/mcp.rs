//! The verb for agents.

use argh::{ArgsInfo, FromArgs};

/// serve this workspace to an agent: the Model Context Protocol on stdin and stdout, until stdin ends
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "mcp",
    note = "Nothing but messages of the protocol goes to stdout, and nobody is asked anything.",
    example = "sync-cli -C my-workspace mcp --read-only"
)]
pub(crate) struct Mcp {
    /// refuse what changes something: `sync` only shows what it would do
    #[argh(switch)]
    pub(crate) read_only: bool,
}
