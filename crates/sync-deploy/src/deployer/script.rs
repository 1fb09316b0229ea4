//! A place that an operator's program looks after.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use snafu::OptionExt;
use sync_core::Digest;

use super::{Deployer, Health, Serving, Wanted};
use crate::error::PlaceSnafu;
use crate::{Command, CommandRunner, Error, ProcessRunner, Ran};

/// The exit status of `health` that means: not yet (`EX_TEMPFAIL` of `sysexits.h`).
const NOT_YET: i32 = 75;

/// A program that is called as `PROGRAM ARGS... ACTION TENANT`, where the action is one of
///
/// | action | does | says on standard output |
/// |---|---|---|
/// | `serving` | nothing | what serves as one JSON object, or nothing |
/// | `start` | starts the release beside what serves | |
/// | `health` | nothing | |
/// | `switch` | has the started release serve, and ends what served | what serves, as above |
/// | `abandon` | ends and removes the started release | |
///
/// All but `serving` have the release in `SYNC_DEPLOY_RELEASE` (64 hexadecimal digits) and the image by digest in
/// `SYNC_DEPLOY_IMAGE`; every one has the tenant in `SYNC_DEPLOY_TENANT`, too. Each has to be safe to do again.
///
/// What serves is `{"image": "...", "release": "...", "url": "...", "unhealthy": "..."}`: the last three may be absent, and
/// `unhealthy` says why it is not well.
///
/// The exit status is 0 for done, for `health` healthy; 75 of `health` means that it is starting, and anything else there that
/// it is not well, the last line of the output being the reason. Elsewhere anything but 0 is a failure.
#[derive(Debug, Clone)]
pub struct Script<R = ProcessRunner> {
    runner: R,
    program: PathBuf,
    args: Vec<OsString>,
    limit: Duration,
    patience: Duration,
}

/// What the program says of what serves.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    image: String,
    #[serde(default)]
    release: Option<Digest>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    unhealthy: Option<String>,
}

impl<R: CommandRunner> Script<R> {
    /// How long one call may take.
    pub const LIMIT: Duration = Duration::from_mins(10);

    /// The program and its first arguments; `patience` is how long a release may take to get healthy.
    pub fn new(
        runner: R,
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
        patience: Duration,
    ) -> Self {
        Self {
            runner,
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            limit: Self::LIMIT,
            patience,
        }
    }

    /// How long one call of the program may take.
    #[must_use]
    pub const fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    async fn call(
        &self,
        action: &str,
        tenant: &str,
        wanted: Option<&Wanted>,
    ) -> Result<Ran, Error> {
        let words = self.args.iter().cloned();
        let words = words.chain([action.into(), tenant.into()]);
        let mut command = Command::new(&self.program, words)
            .env("SYNC_DEPLOY_TENANT", tenant)
            .within(self.limit);
        if let Some(wanted) = wanted {
            command = command
                .env("SYNC_DEPLOY_RELEASE", wanted.release.to_string())
                .env("SYNC_DEPLOY_IMAGE", &wanted.image);
        }
        let tell = |line: &str| tracing::info!(tenant, action, line, "the program of a deploy");
        self.runner.run(&command, &tell).await
    }

    /// What an answer says of what serves.
    fn read(&self, ran: &Ran) -> Result<Option<Serving>, Error> {
        let text = ran.line();
        if text.is_empty() {
            return Ok(None);
        }
        let said: Option<Said> = serde_json::from_str(&text).ok().context(PlaceSnafu {
            place: format!("`{}`", self.program.display()),
            trouble: "said something else than one JSON object about what serves",
        })?;
        Ok(said.map(|said| Serving {
            release: said.release,
            image: said.image,
            url: said.url,
            health: match said.unhealthy {
                Some(reason) => Health::Unhealthy { reason },
                None => Health::Healthy,
            },
        }))
    }
}

#[async_trait]
impl<R: CommandRunner> Deployer for Script<R> {
    async fn serving(&self, tenant: &str) -> Result<Option<Serving>, Error> {
        self.read(&self.call("serving", tenant, None).await?)
    }

    async fn start(&self, wanted: &Wanted) -> Result<(), Error> {
        self.call("start", &wanted.tenant, Some(wanted)).await?;
        Ok(())
    }

    async fn health(&self, wanted: &Wanted) -> Result<Health, Error> {
        match self.call("health", &wanted.tenant, Some(wanted)).await {
            Ok(_) => Ok(Health::Healthy),
            Err(Error::Ended { status, .. }) if status.code() == Some(NOT_YET) => {
                Ok(Health::Starting)
            }
            Err(Error::Ended { status, lines, .. }) => Ok(Health::Unhealthy {
                reason: lines.last().cloned().unwrap_or_else(|| status.to_string()),
            }),
            Err(error) => Err(error),
        }
    }

    async fn switch(&self, wanted: &Wanted) -> Result<Serving, Error> {
        let ran = self.call("switch", &wanted.tenant, Some(wanted)).await?;
        let serving = self.read(&ran)?;
        Ok(serving.unwrap_or_else(|| Serving {
            release: Some(wanted.release),
            image: wanted.image.clone(),
            url: None,
            health: Health::Healthy,
        }))
    }

    async fn abandon(&self, wanted: &Wanted) -> Result<(), Error> {
        self.call("abandon", &wanted.tenant, Some(wanted)).await?;
        Ok(())
    }

    fn patience(&self) -> Duration {
        self.patience
    }
}
