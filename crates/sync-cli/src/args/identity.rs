//! The verbs about who a tenant is, and where it lives.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};
use sync_core::Name;

/// show, make and change the key that a tenant signs with and is known by
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "identity",
    note = "The secret half never leaves the server. A tenant has a key from when it is made.",
    example = "sync-cli identity show"
)]
pub(crate) struct Identity {
    /// what to do
    #[argh(subcommand)]
    pub(crate) verb: IdentityVerb,
}

/// What to do with a tenant's key.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub(crate) enum IdentityVerb {
    /// Show it.
    Show(IdentityShow),
    /// Make one.
    Generate(IdentityGenerate),
    /// Make another one.
    Rotate(IdentityRotate),
}

/// show the public key of the tenant, which it proves that it has; it is its own fingerprint
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "show")]
pub(crate) struct IdentityShow {
    /// the tenant, with --data
    #[argh(option)]
    pub(crate) tenant: Option<Name>,
    /// the server's data directory; the workspace's own remote where absent
    #[argh(option)]
    pub(crate) data: Option<PathBuf>,
}

/// make a key for a tenant that was made before tenants had any
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "generate")]
pub(crate) struct IdentityGenerate {
    /// the tenant, with --data
    #[argh(option)]
    pub(crate) tenant: Option<Name>,
    /// the server's data directory; the workspace's own remote where absent
    #[argh(option)]
    pub(crate) data: Option<PathBuf>,
}

/// give the tenant another key, which the old one vouches for: who knew that follows
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "rotate")]
pub(crate) struct IdentityRotate {
    /// the tenant, with --data
    #[argh(option)]
    pub(crate) tenant: Option<Name>,
    /// the server's data directory; the workspace's own remote where absent
    #[argh(option)]
    pub(crate) data: Option<PathBuf>,
}

/// say that the tenant lives at another address from now on, or here again
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "moved",
    note = "Move a tenant while its old server is stopped, or what is pushed meanwhile stays there. Every request is answered with where it lives now, signed; clients that know the tenant follow.",
    example = "sync-cli tenant moved --to https://new.example.com --tenant acme --data DIR"
)]
pub(crate) struct TenantMoved {
    /// where it lives now, `https://HOST:PORT`
    #[argh(option)]
    pub(crate) to: Option<String>,
    /// it lives here again
    #[argh(switch)]
    pub(crate) back: bool,
    /// the tenant, with --data
    #[argh(option)]
    pub(crate) tenant: Option<Name>,
    /// the server's data directory; the workspace's own remote where absent
    #[argh(option)]
    pub(crate) data: Option<PathBuf>,
}
