//! Why a request is refused.

use http::StatusCode;
use snafu::Snafu;
use sync_core::{Class, Fault, SnapshotId};
use sync_store::identity::{Moved, PublicKey};
use sync_store::protocol::deploy::{Deploying, Step};
use sync_store::protocol::{Details, Incomplete, Scope, Stale};

use crate::auth::Rejection;
use crate::legacy::{ImportRefusal, Refusal};
use crate::route::NoRoute;

/// Why a request is refused. The store is left as it was, but for objects that had already arrived.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum Error {
    /// No valid token came with the request.
    #[snafu(display("the request has no valid token"))]
    Unauthorized {
        /// For the operator's log alone.
        rejection: Rejection,
    },
    /// The token does not reach so far.
    #[snafu(display("the token does not allow `{scope}` on tenant `{tenant}`"))]
    Forbidden {
        /// What was needed.
        scope: Scope,
        /// On which tenant.
        tenant: String,
    },
    /// Only the operator may do this.
    #[snafu(display("only the server's operator may manage tenants and their stores"))]
    OperatorOnly,
    /// No such request.
    #[snafu(display("there is no such request"))]
    NoRoute {
        /// Why not.
        reason: NoRoute,
    },
    /// The tenant does not exist; only the operator is told.
    #[snafu(display("there is no tenant `{tenant}`"))]
    NoTenant {
        /// Its name.
        tenant: String,
    },
    /// No snapshot of the tenant is meant.
    #[snafu(display("the tenant has no snapshot `{id}`"))]
    NoSnapshot {
        /// What was asked for.
        id: String,
    },
    /// A token with this id does not exist.
    #[snafu(display("there is no token `{id}`"))]
    NoToken {
        /// What was asked for.
        id: String,
    },
    /// A header or a body is not what the request needs.
    #[snafu(display("the request is malformed: {reason}"))]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// The branch is not where the push expected it.
    #[snafu(display("the branch has moved"))]
    Stale {
        /// Where it is.
        head: Option<SnapshotId>,
    },
    /// A branch that cannot be removed.
    #[snafu(display("branch `{branch}` cannot be deleted: {reason}"))]
    BranchKept {
        /// The branch.
        branch: String,
        /// Why not.
        reason: &'static str,
    },
    /// A tenant that is somebody is not made somebody else.
    #[snafu(display("the tenant has a key already: {key}"))]
    HasIdentity {
        /// Who it is.
        key: PublicKey,
    },
    /// A tenant that was made before tenants had keys signs nothing.
    #[snafu(display("tenant `{tenant}` has no key to sign with"))]
    NoIdentity {
        /// The tenant.
        tenant: String,
    },
    /// The tenant lives elsewhere.
    #[snafu(display("tenant `{}` has moved to {}", moved.statement.tenant, moved.statement.url))]
    Moved {
        /// Where, as the tenant says itself.
        moved: Box<Moved>,
    },
    /// The body could not be read to its end.
    #[snafu(display("the request's body could not be read"))]
    Body {
        /// What the connection said.
        source: sync_transport::Error,
    },
    /// The tarball of a legacy client is refused: nothing of it is seen.
    #[snafu(display("the tarball is refused{}: {refusal}", at(place)))]
    Tarball {
        /// Why.
        refusal: Refusal,
        /// Which path, where one is at fault.
        place: String,
    },
    /// The rows of a legacy client are refused: nothing of them is seen.
    #[snafu(display("the rows are refused{}: {refusal}", at(place)))]
    Import {
        /// Why.
        refusal: ImportRefusal,
        /// Which list, item or table, where one is at fault.
        place: String,
    },
    /// The store refused or failed.
    #[snafu(display("the store could not serve the request"))]
    Store {
        /// What it said.
        source: sync_store::Error,
    },
    /// The address of a tenant's database is not to be found.
    #[snafu(display("the server cannot find the address of the database of tenant `{tenant}`"))]
    NoDatabaseUrl {
        /// The tenant.
        tenant: String,
    },
    /// The tenant's database, or the history of its rows.
    #[snafu(transparent)]
    Rows {
        /// What `sync-rows` said.
        source: sync_rows::Error,
    },
    /// Nobody has said where the tenant's program runs.
    #[snafu(display("tenant `{tenant}` has no place where programs run"))]
    NoPlace {
        /// The tenant.
        tenant: String,
    },
    /// A secret that the settings of deploys name is not to be found.
    #[snafu(display("the server cannot find {what} of tenant `{tenant}`"))]
    NoSecret {
        /// Which.
        what: &'static str,
        /// The tenant.
        tenant: String,
    },
    /// The tenant has not got the release that is meant.
    #[snafu(display("the tenant has no release `{release}`"))]
    NoRelease {
        /// Its name, or that of its image.
        release: String,
    },
    /// One deploy at a time.
    #[snafu(display("`{}` is being deployed by {}", running.tag, running.by))]
    Deploying {
        /// Whose runs, and since when.
        running: Box<Deploying>,
    },
    /// The release does not serve.
    #[snafu(display("`{tag}` was not deployed: {step}: {reason}"))]
    NotDeployed {
        /// What people call it.
        tag: String,
        /// In which step it failed.
        step: Step,
        /// Why.
        reason: String,
    },
    /// A push that says that another release runs than does.
    #[snafu(display("the pushed snapshot names another release than the one that serves"))]
    OtherRelease,
    /// The place where programs run, or a registry.
    #[snafu(transparent)]
    Deploy {
        /// What `sync-deploy` said.
        source: sync_deploy::Error,
    },
    /// A bundle is not made, or not taken.
    #[snafu(transparent)]
    Bundle {
        /// Why.
        source: sync_bundle::Error,
    },
    /// The operating system has no randomness to give.
    #[snafu(display("no randomness for a new token"))]
    Random {
        /// What it said.
        source: getrandom::Error,
    },
}

fn at(place: &str) -> String {
    if place.is_empty() {
        String::new()
    } else {
        format!(" at `{place}`")
    }
}

impl Error {
    /// The status that the answer carries.
    ///
    /// 429, 502, 503 and 504 invite a retry, so only what may pass by itself gets one of them.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } | Self::OperatorOnly => StatusCode::FORBIDDEN,
            Self::NoRoute {
                reason: NoRoute::Method,
            } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoRoute { .. }
            | Self::NoTenant { .. }
            | Self::NoSnapshot { .. }
            | Self::NoPlace { .. }
            | Self::NoRelease { .. }
            | Self::NoToken { .. } => StatusCode::NOT_FOUND,
            Self::Deploying { .. } | Self::OtherRelease => StatusCode::CONFLICT,
            // Of the operator's place and credentials, not of the caller's.
            Self::Deploy { source } if source.class() == Class::Unavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Body {
                source: sync_transport::Error::TimedOut { .. },
            } => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed { .. }
            | Self::Body { .. }
            | Self::BranchKept { .. }
            | Self::HasIdentity { .. }
            | Self::NoIdentity { .. } => StatusCode::BAD_REQUEST,
            Self::Moved { .. } => StatusCode::GONE,
            Self::Stale { .. } => StatusCode::PRECONDITION_FAILED,
            Self::Tarball { .. } | Self::Import { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Store { source } => match source {
                // The push names what did not come: sending the same again would not help.
                sync_store::Error::Incomplete { .. } => StatusCode::UNPROCESSABLE_ENTITY,
                // Whoever still hears this sent a whole body that is not a whole pack.
                sync_store::Error::Cut { .. } => StatusCode::BAD_REQUEST,
                // It was here, and will not come back.
                sync_store::Error::Expired { .. } => StatusCode::GONE,
                _ => match source.class() {
                    Class::Conflict => StatusCode::CONFLICT,
                    Class::Integrity | Class::Usage => StatusCode::UNPROCESSABLE_ENTITY,
                    Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                    Class::Denied => StatusCode::FORBIDDEN,
                    Class::Failed | Class::Bug => StatusCode::INTERNAL_SERVER_ERROR,
                },
            },
            Self::Rows { source } => match source.class() {
                Class::Conflict => StatusCode::CONFLICT,
                Class::Usage => StatusCode::BAD_REQUEST,
                Class::Integrity => StatusCode::UNPROCESSABLE_ENTITY,
                Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                // The role of the server, not the caller, lacks the right.
                Class::Denied | Class::Failed | Class::Bug => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::NoDatabaseUrl { .. }
            | Self::NoSecret { .. }
            | Self::NotDeployed { .. }
            | Self::Deploy { .. }
            | Self::Random { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Bundle { source } => match source.class() {
                Class::Conflict => StatusCode::CONFLICT,
                Class::Usage => StatusCode::BAD_REQUEST,
                Class::Integrity => StatusCode::UNPROCESSABLE_ENTITY,
                Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                Class::Denied => StatusCode::FORBIDDEN,
                Class::Failed | Class::Bug => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    /// What a program needs to go on.
    pub fn details(&self) -> Option<Details> {
        match self {
            Self::Stale { head } => Some(Details::Stale(Stale { head: *head })),
            Self::Store {
                source: sync_store::Error::Incomplete { missing, total },
            } => Some(Details::Incomplete(Incomplete {
                missing: missing.clone(),
                total: *total,
            })),
            Self::Deploying { running } => Some(Details::Deploying(Deploying::clone(running))),
            Self::Moved { moved } => Some(Details::Moved(moved.clone())),
            _ => None,
        }
    }
}

impl Fault for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "server/unauthorized",
            Self::Forbidden { .. } => "server/forbidden",
            Self::OperatorOnly => "server/operator-only",
            Self::NoRoute { .. } => "server/no-route",
            Self::NoTenant { .. } => "server/no-tenant",
            Self::NoSnapshot { .. } => "server/no-snapshot",
            Self::NoToken { .. } => "server/no-token",
            Self::Malformed { .. } => "server/malformed",
            Self::Stale { .. } => "server/stale",
            Self::BranchKept { .. } => "server/branch-kept",
            Self::HasIdentity { .. } => "server/has-identity",
            Self::NoIdentity { .. } => "server/no-identity",
            Self::Moved { .. } => "server/moved",
            Self::Body { .. } => "server/body",
            Self::Tarball { .. } => "server/tarball",
            Self::Import { .. } => "server/import",
            Self::Store { source } => source.code(),
            Self::NoDatabaseUrl { .. } => "server/no-database-url",
            Self::Rows { source } => source.code(),
            Self::NoPlace { .. } => "server/no-place",
            Self::NoSecret { .. } => "server/no-secret",
            Self::NoRelease { .. } => "server/no-release",
            Self::Deploying { .. } => "server/deploying",
            Self::NotDeployed { .. } => "server/not-deployed",
            Self::OtherRelease => "server/other-release",
            Self::Deploy { source } => source.code(),
            Self::Bundle { source } => source.code(),
            Self::Random { .. } => "server/random",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Unauthorized { .. } | Self::Forbidden { .. } | Self::OperatorOnly => {
                Class::Denied
            }
            Self::NoRoute { .. }
            | Self::NoTenant { .. }
            | Self::NoSnapshot { .. }
            | Self::NoToken { .. }
            | Self::Malformed { .. }
            | Self::BranchKept { .. }
            | Self::NoPlace { .. }
            | Self::NoRelease { .. }
            | Self::HasIdentity { .. }
            | Self::NoIdentity { .. }
            | Self::Moved { .. }
            | Self::Tarball { .. }
            | Self::Import { .. } => Class::Usage,
            Self::Stale { .. } | Self::Deploying { .. } | Self::OtherRelease => Class::Conflict,
            Self::Body { .. } => Class::Unavailable,
            Self::Store { source } => source.class(),
            Self::Rows { source } => source.class(),
            Self::Deploy { source } => source.class(),
            Self::NoDatabaseUrl { .. }
            | Self::NoSecret { .. }
            | Self::NotDeployed { .. }
            | Self::Random { .. } => Class::Failed,
            Self::Bundle { source } => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unauthorized { .. } => {
                Some("set SYNC_TOKEN or run `sync-cli login` with a valid token".into())
            }
            Self::Forbidden { .. } => {
                Some("ask the operator for a token of that tenant and scope".into())
            }
            Self::OperatorOnly => {
                Some("run the command on the server's machine with `--data DIR`".into())
            }
            Self::NoTenant { tenant } => {
                Some(format!("create it with `sync-cli tenant create {tenant}`"))
            }
            Self::HasIdentity { .. } => {
                Some("`sync-cli identity rotate` gives it another one, which this one vouches for".into())
            }
            Self::NoIdentity { .. } => Some("run `sync-cli identity generate` first".into()),
            Self::Moved { .. } => {
                Some("run the command again; `sync-cli remote set-url URL` names the new address".into())
            }
            Self::Stale { .. } => Some("pull, then push again".into()),
            Self::Store { source } => source.hint(),
            Self::Rows { source } => source.hint(),
            Self::NoPlace { tenant } => Some(format!(
                "the operator names one: `sync-cli tenant deploy {tenant} --data DIR --docker ...`"
            )),
            Self::NoSecret { .. } => Some(
                "set the variable or write the file that `sync-cli tenant deploy` named, and start the server again".into(),
            ),
            Self::NoRelease { .. } => Some("`sync-cli deploy history` lists those that there are".into()),
            Self::Deploying { .. } => {
                Some("wait until it is over: `sync-cli deploy status` says so".into())
            }
            Self::NotDeployed { .. } => {
                Some("what served before goes on; look at the log of the program".into())
            }
            Self::OtherRelease => Some("deploy it: what serves is what the head names".into()),
            Self::Deploy { source } => source.hint(),
            Self::Bundle { source } => source.hint(),
            Self::NoDatabaseUrl { .. } => {
                Some("set the variable that `sync-cli tenant database` named, and start the server again".into())
            }
            _ => None,
        }
    }
}
