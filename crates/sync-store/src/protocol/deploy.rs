//! The messages about deploys: what is to run, what came of it, what runs, and where (ADR 0020).
//!
//! Times are in milliseconds since 1970-01-01T00:00:00Z by the server's clock.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sync_core::{Digest, Name, Release, SnapshotId};

use super::ErrorDetail;

/// The media type of the answer to a deploy: a line of JSON for each [`DeployLine`], and white space while nothing happens.
pub const DEPLOY_MEDIA_TYPE: &str = "application/x-ndjson";

/// A release that is to run. Where it serves already, the answer says so and nothing happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskDeploy {
    /// The branch that it becomes a root of.
    pub branch: Name,
    /// What the branch's head has to be.
    pub head: Option<SnapshotId>,
    /// What is to run.
    pub release: Which,
    /// Who wants it, for the snapshot.
    pub author: String,
    /// Why, for the snapshot; made from the release where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A release that is sent, or that the tenant has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// One that the tenant may not have yet.
    New(Release),
    /// One that a snapshot of the tenant names or named.
    Known(Digest),
}

/// A line of the answer to a deploy. The last one is not a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployLine {
    /// A step begins or is over.
    Step(DeployStep),
    /// The release serves, and the head names it.
    Done(Deployed),
    /// It does not; what served before goes on.
    Error(ErrorDetail),
}

/// A step that begins, or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployStep {
    /// Which.
    pub step: Step,
    /// How many milliseconds it took; absent where it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took: Option<u64>,
}

/// What a server does one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Start the release beside what serves.
    Start,
    /// Wait until it is healthy.
    Health,
    /// Have it serve.
    Switch,
    /// Move the head.
    Record,
    /// Take it back.
    Abandon,
}

impl Step {
    /// The step as text, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Health => "health",
            Self::Switch => "switch",
            Self::Record => "record",
            Self::Abandon => "abandon",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A release that serves now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The head: a snapshot with this release.
    pub head: SnapshotId,
    /// The release.
    pub release: Digest,
    /// Where people reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether it served before, so that nothing was done.
    #[serde(default)]
    pub already: bool,
}

/// How a tenant's program is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployStatus {
    /// The branch that names what serves; absent where the tenant has no place where programs run.
    pub branch: Option<Name>,
    /// What kind of place it is: `docker`, `fly`, `command`.
    pub place: Option<String>,
    /// The head of the branch.
    pub head: Option<SnapshotId>,
    /// The release that it names.
    pub release: Option<NamedRelease>,
    /// What the place says that serves; absent where nothing does.
    pub serving: Option<ServingNow>,
    /// Why the place does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The deploy that runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Deploying>,
    /// The last one that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<DeployRecord>,
}

/// A release and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRelease {
    /// Its name.
    pub id: Digest,
    /// Itself.
    #[serde(flatten)]
    pub release: Release,
}

/// What serves, as the place where it runs says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServingNow {
    /// The release; absent where something runs that nobody deployed this way.
    pub release: Option<Digest>,
    /// The image as the place knows it.
    pub image: String,
    /// Where people reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How it is: `healthy`, `starting`, `unhealthy`.
    pub health: String,
    /// What was seen where it is not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A deploy that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploying {
    /// Who began it: the author, and the token that he came with.
    pub by: String,
    /// When.
    pub since: u64,
    /// Its name.
    pub release: Digest,
    /// What people call it.
    pub tag: String,
}

/// A deploy that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployRecord {
    /// Who began it: the author, and the token that he came with.
    pub by: String,
    /// When it began.
    pub began: u64,
    /// When it was over.
    pub ended: u64,
    /// The release.
    pub release: Digest,
    /// What people call it.
    pub tag: String,
    /// The image, by digest.
    pub image: String,
    /// The commit that it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// What served before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    /// How it ended.
    pub end: DeployEnd,
}

/// How a deploy ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployEnd {
    /// It serves, since this snapshot.
    Served(SnapshotId),
    /// It does not; what served before goes on.
    Failed {
        /// In which step.
        step: Step,
        /// Why.
        reason: String,
    },
}

/// Deploys that are over, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deploys {
    /// The last hundred.
    pub deploys: Vec<DeployRecord>,
}

/// Who may push images of the tenant's program, and where.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryToken {
    /// The host, with its port where it is not that of HTTPS.
    pub registry: String,
    /// The user.
    pub username: String,
    /// The password, or a token that stands for one.
    pub token: String,
    /// The repository there.
    pub repository: String,
}

impl fmt::Debug for RegistryToken {
    // The secret stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryToken")
            .field("registry", &self.registry)
            .field("username", &self.username)
            .field("repository", &self.repository)
            .finish_non_exhaustive()
    }
}

/// Where a tenant's program runs; `None` takes it away from there, and what serves goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetDeploy {
    /// The tenant.
    pub tenant: Name,
    /// What the operator says.
    pub deploy: Option<DeploySettings>,
}

/// What the operator says of a tenant's program: where it runs, and where its images are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploySettings {
    /// The branch whose head names what serves.
    pub branch: Name,
    /// Where it runs.
    pub place: Place,
    /// Where its images are; absent where they are pushed to places that the server need not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistrySettings>,
    /// How many seconds a release may take to get healthy.
    pub patience_seconds: u64,
}

/// Where a program runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Place {
    /// A container of the engine of the server's machine.
    Docker {
        /// The port that the program listens on, inside.
        port: u16,
        /// Where it is reached on the server's machine.
        publish: SocketAddr,
        /// What is asked by `GET` to find out whether it is well.
        health: String,
        /// A file of `NAME=value` lines for its environment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        env_file: Option<PathBuf>,
        /// A network of the engine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        network: Option<String>,
    },
    /// A machine of Fly.io.
    Fly {
        /// The app.
        app: String,
        /// Where the first machine is made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<String>,
        /// The port that the program listens on, inside.
        port: u16,
        /// What the platform asks by `GET` to find out whether it is well.
        health: String,
        /// Where the token of the API is found.
        token: SecretAt,
        /// Where the API is; the platform's own where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        api: Option<String>,
    },
    /// Wherever an operator's program runs it.
    Command {
        /// The program.
        program: PathBuf,
        /// Its first arguments.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
    },
}

impl Place {
    /// What kind of place it is, in a word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Docker { .. } => "docker",
            Self::Fly { .. } => "fly",
            Self::Command { .. } => "command",
        }
    }
}

/// A repository of images, and who pushes to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrySettings {
    /// The host, with its port where it is not that of HTTPS.
    pub registry: String,
    /// The user.
    pub username: String,
    /// The repository there.
    pub repository: String,
    /// Where the password is found.
    pub password: SecretAt,
}

/// Where a secret is found when it is needed; never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretAt {
    /// An environment variable of the server.
    Variable(String),
    /// A file on the server's machine.
    File(PathBuf),
}
