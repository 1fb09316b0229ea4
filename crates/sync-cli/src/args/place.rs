//! Where a tenant's program runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};
use sync_core::Name;

/// say where a tenant's program runs and where its images are, show it, or take it away
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "deploy",
    note = "The server runs what `sync-cli deploy` ships there. Secrets are only named: a variable of the server, or a file on its machine.",
    example = "sync-cli tenant deploy acme --data DIR --docker 127.0.0.1:8080 --port 8080 --health /healthz"
)]
pub(crate) struct TenantDeploy {
    /// the tenant's name
    #[argh(positional)]
    pub(crate) name: Name,
    /// the server's data directory; the server may be running
    #[argh(option)]
    pub(crate) data: PathBuf,
    /// run it in a container of the engine of the server's machine, reached at this address
    #[argh(option)]
    pub(crate) docker: Option<SocketAddr>,
    /// run it on machines of this app of Fly
    #[argh(option)]
    pub(crate) fly: Option<String>,
    /// have this program run it
    #[argh(option)]
    pub(crate) command: Option<PathBuf>,
    /// a first argument of that program, may be repeated
    #[argh(option)]
    pub(crate) arg: Vec<String>,
    /// docker and fly: the port that the program listens on, inside; 8080 where absent
    #[argh(option, default = "8080")]
    pub(crate) port: u16,
    /// docker and fly: what is asked to find out whether it is well; /healthz where absent
    #[argh(option, default = "String::from(\"/healthz\")")]
    pub(crate) health: String,
    /// docker: a file of NAME=value lines for its environment
    #[argh(option)]
    pub(crate) env_file: Option<PathBuf>,
    /// docker: a network of the engine
    #[argh(option)]
    pub(crate) network: Option<String>,
    /// fly: where the first machine is made
    #[argh(option)]
    pub(crate) region: Option<String>,
    /// fly: where the API is; the platform's own where absent
    #[argh(option)]
    pub(crate) api: Option<String>,
    /// fly: the environment variable of the server with the token
    #[argh(option)]
    pub(crate) token_env: Option<String>,
    /// fly: a file on the server's machine with the token
    #[argh(option)]
    pub(crate) token_file: Option<PathBuf>,
    /// the registry that its images are pushed to
    #[argh(option)]
    pub(crate) registry: Option<String>,
    /// the repository there; the tenant's name where absent
    #[argh(option)]
    pub(crate) repository: Option<String>,
    /// who pushes
    #[argh(option)]
    pub(crate) username: Option<String>,
    /// the environment variable of the server with the password
    #[argh(option)]
    pub(crate) password_env: Option<String>,
    /// a file on the server's machine with the password
    #[argh(option)]
    pub(crate) password_file: Option<PathBuf>,
    /// how many seconds a release may take to get healthy; 120 where absent
    #[argh(option, default = "120")]
    pub(crate) patience: u64,
    /// the branch whose head names what serves; main where absent
    #[argh(option)]
    pub(crate) branch: Option<Name>,
    /// the server runs the program no more; what serves goes on
    #[argh(switch)]
    pub(crate) none: bool,
}
