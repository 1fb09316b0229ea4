//! Jobs: what `sync.toml` has run by a schedule, one at a time each, with a record of every run in the database.
//!
//! - [`Job`]: what it runs. [`Schedule`]: when. [`Jobs::run`]: once, now. [`Jobs::serve`]: each when it is due.
//! - [`JobRun`]: what came of it, as the bookkeeping has it.
//!
//! A job is known by its name in its database: of several daemons beside one database, whichever comes first does a run.

mod daemon;
mod record;
mod schedule;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use snafu::OptionExt;
use sync_core::{Fault, Name};
use sync_db::Database;

use crate::error::{ConfigSnafu, JobRunningSnafu, NoJobSnafu};
use crate::local::{Direction, Local, LocalKind, LocalOptions, LocalOutcome, LocalRun};
use crate::session::{Context, Random};
use crate::{Error, Limits, Listener, Problem, Workspace};

pub use daemon::JobEvent;
pub use record::{JobRun, JobState};
pub use schedule::Schedule;

/// Tells the time, in milliseconds since 1970-01-01T00:00:00Z.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How long a run waits for somebody who works in the workspace, or for the database once it is done, and how often it looks.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_millis(100));

/// The `[[jobs]]` tables.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobConfig {
    /// What it is called; one of the built-in names gives that one a schedule and parameters.
    pub name: Name,
    /// When it runs; only when it is asked for, where this is absent.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// What it runs.
    pub run: Task,
    /// For the built-in ones: which side is brought up to date.
    #[serde(default)]
    pub direction: Option<Towards>,
    /// Whether what is gone at the source goes at the target.
    #[serde(default)]
    pub delete_orphans: bool,
    /// Whether the source is right where both sides changed.
    #[serde(default)]
    pub override_existing: bool,
}

/// How a job runs, where it does not say so by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobParameters {
    /// Which side is brought up to date.
    pub direction: Option<Towards>,
    /// Whether what is gone at the source goes at the target.
    pub delete_orphans: bool,
    /// Whether the source is right where both sides changed.
    pub override_existing: bool,
}

/// A direction as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Towards(pub Direction);

impl TryFrom<String> for Towards {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "to_db" | "to-db" | "db" | "to_database" | "to-database" => {
                Ok(Self(Direction::ToDatabase))
            }
            "to_disk" | "to-disk" | "disk" => Ok(Self(Direction::ToDisk)),
            _ => Err("expected `to-db` or `to-disk`".to_owned()),
        }
    }
}

impl std::str::FromStr for Towards {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.to_owned())
    }
}

/// What a job runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Task {
    /// A command, such as `push content`.
    Command(Direction, Vec<LocalKind>),
    /// A name that is always there, with a direction of its own choice.
    BuiltIn(LocalKind),
}

/// The built-in names.
const BUILT_IN: [(&str, LocalKind); 2] = [
    ("content_sync", LocalKind::Content),
    ("access_control_sync", LocalKind::AccessControl),
];

impl TryFrom<String> for Task {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some((_, kind)) = BUILT_IN.iter().find(|(name, _)| *name == text) {
            return Ok(Self::BuiltIn(*kind));
        }
        let mut words = text.split_whitespace();
        let direction = match words.next() {
            Some("push") => Some(Direction::ToDatabase),
            Some("pull") => Some(Direction::ToDisk),
            _ => None,
        };
        let kinds: Option<Vec<LocalKind>> = words
            .map(|word| {
                LocalKind::ALL
                    .into_iter()
                    .find(|kind| kind.as_str() == word)
            })
            .collect();
        match (direction, kinds) {
            (Some(direction), Some(kinds)) if !kinds.is_empty() => {
                Ok(Self::Command(direction, kinds))
            }
            _ => Err(
                "expected `push` or `pull` with any of skills, content and access-control, `content_sync` or `access_control_sync`"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(direction, kinds) => {
                f.write_str(match direction {
                    Direction::ToDatabase => "push",
                    Direction::ToDisk => "pull",
                })?;
                kinds
                    .iter()
                    .try_for_each(|kind| write!(f, " {}", kind.as_str()))
            }
            Self::BuiltIn(kind) => {
                let mut names = BUILT_IN.iter();
                let name = names.find(|(_, other)| other == kind);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

/// What runs, when and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// What it is called.
    pub name: String,
    /// When it runs; only when it is asked for, where this is absent.
    pub schedule: Option<Schedule>,
    /// What it runs.
    pub task: Task,
    /// How.
    pub parameters: JobParameters,
}

impl Job {
    /// Which side is brought up to date.
    pub fn direction(&self) -> Direction {
        match (&self.task, self.parameters.direction) {
            (Task::Command(direction, _), _) => *direction,
            (Task::BuiltIn(_), Some(Towards(direction))) => direction,
            (Task::BuiltIn(_), None) => Direction::ToDatabase,
        }
    }

    /// What is synced, in this order.
    pub fn kinds(&self) -> &[LocalKind] {
        match &self.task {
            Task::Command(_, kinds) => kinds,
            Task::BuiltIn(kind) => std::slice::from_ref(kind),
        }
    }

    /// The same job with other parameters where these say something.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where they contradict what it runs.
    pub fn with(mut self, parameters: JobParameters) -> Result<Self, Error> {
        let own = &mut self.parameters;
        own.direction = parameters.direction.or(own.direction);
        own.delete_orphans |= parameters.delete_orphans;
        own.override_existing |= parameters.override_existing;
        self.checked()
    }

    fn checked(self) -> Result<Self, Error> {
        if matches!(self.task, Task::BuiltIn(_)) || self.parameters.direction.is_none() {
            return Ok(self);
        }
        let reason = format!(
            "job `{}` runs `{}`, which has a direction",
            self.name, self.task
        );
        ConfigSnafu {
            key: "jobs",
            reason,
        }
        .fail()
    }

    fn run_of(&self, kind: LocalKind) -> LocalRun {
        let direction = self.direction();
        LocalRun {
            kind,
            direction,
            options: LocalOptions {
                delete: self.parameters.delete_orphans,
                on_conflict: self
                    .parameters
                    .override_existing
                    .then(|| direction.source()),
                ..LocalOptions::default()
            },
            // Nobody is there to be asked.
            limits: Limits::default(),
        }
    }
}

/// The jobs of a workspace: those of `sync.toml` in its order, then the built-in ones that it does not name.
///
/// # Errors
///
/// [`Error::Config`] where two have one name, or one contradicts itself.
pub fn jobs_of(configured: &[JobConfig]) -> Result<Vec<Job>, Error> {
    let mut jobs: Vec<Job> = Vec::new();
    for config in configured {
        let job = Job {
            name: config.name.to_string(),
            schedule: config.schedule.clone(),
            task: config.run.clone(),
            parameters: JobParameters {
                direction: config.direction,
                delete_orphans: config.delete_orphans,
                override_existing: config.override_existing,
            },
        };
        let job = job.checked()?;
        if jobs.iter().any(|other| other.name == job.name) {
            let reason = format!("job `{}` is named twice", job.name);
            return ConfigSnafu {
                key: "jobs",
                reason,
            }
            .fail();
        }
        jobs.push(job);
    }
    for (name, kind) in BUILT_IN {
        if !jobs.iter().any(|job| job.name == name) {
            jobs.push(Job {
                name: name.to_owned(),
                schedule: None,
                task: Task::BuiltIn(kind),
                parameters: JobParameters::default(),
            });
        }
    }
    Ok(jobs)
}

/// The jobs of a workspace, and what they need of the world.
#[derive(Clone)]
pub struct Jobs {
    workspace: Workspace,
    database: Database,
    random: Random,
    clock: Clock,
    listener: Listener,
    all: Vec<Job>,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs")
            .field("workspace", &self.workspace)
            .field("all", &self.all)
            .finish_non_exhaustive()
    }
}

/// What the runs of one job did.
#[derive(Debug, Default, Serialize)]
struct Ran {
    results: serde_json::Map<String, serde_json::Value>,
    errors: Vec<Problem>,
    is_failed: bool,
}

impl Jobs {
    /// Those of `workspace`, with its database. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// As [`jobs_of`].
    pub fn new(
        workspace: Workspace,
        database: Database,
        random: Random,
        clock: Clock,
        listener: Listener,
    ) -> Result<Self, Error> {
        let all = jobs_of(&workspace.config().jobs)?;
        Ok(Self {
            workspace,
            database,
            random,
            clock,
            listener,
            all,
        })
    }

    /// All of them: those of `sync.toml` in its order, then the built-in ones that it does not name.
    pub fn all(&self) -> &[Job] {
        &self.all
    }

    /// The job of this name.
    ///
    /// # Errors
    ///
    /// [`Error::NoJob`] where there is none.
    pub fn job(&self, name: &str) -> Result<&Job, Error> {
        let mut jobs = self.all.iter();
        let job = jobs.find(|job| job.name == name);
        job.context(NoJobSnafu { name })
    }

    /// Runs a job now, and records what came of it. Whatever fails in it is in the record.
    ///
    /// # Errors
    ///
    /// [`Error::JobRunning`] where somebody else runs it; what the database says where nothing could be recorded. What was
    /// synced by then stays.
    pub async fn run(&self, job: &Job) -> Result<JobRun, Error> {
        let ran = self.run_for(job, None).await?;
        ran.context(JobRunningSnafu { name: &job.name })
    }

    /// Runs a job for this time; `None` where somebody else does, or has done it. A run that is missed because an earlier one
    /// goes on is recorded as such.
    async fn run_for(
        &self,
        job: &Job,
        scheduled_for: Option<u64>,
    ) -> Result<Option<JobRun>, Error> {
        self.ensure_bookkeeping().await?;
        let Some(turn) = self.turn(job).await? else {
            // Whoever has it may still be at an earlier run: then nobody will do this one.
            return match scheduled_for {
                Some(time) if self.is_overdue(job, time).await? => {
                    self.record_missed(job, 1, time).await
                }
                _ => Ok(None),
            };
        };
        let Some(id) = self.begin(job, scheduled_for).await? else {
            return Ok(None);
        };
        let ran = self.carry_out(job).await;
        let record = self.end_patiently(job, id, &ran).await?;
        // Whoever comes next finds the run recorded.
        drop(turn);
        Ok(Some(record))
    }

    /// Records how a run ended, however long that takes within reason: what it did is done.
    async fn end_patiently(&self, job: &Job, id: u64, ran: &Ran) -> Result<JobRun, Error> {
        let mut waited = Duration::ZERO;
        loop {
            match self.end(job, id, ran).await {
                Err(error) if is_away(&error) && waited < PATIENCE.0 => {
                    tokio::time::sleep(PATIENCE.1).await;
                    waited += PATIENCE.1;
                }
                done => return done,
            }
        }
    }

    async fn carry_out(&self, job: &Job) -> Ran {
        let mut ran = Ran::default();
        for &kind in job.kinds() {
            match self.sync(&job.run_of(kind)).await {
                Ok((outcome, problems)) => {
                    ran.is_failed |= !problems.is_empty();
                    ran.errors.extend(problems);
                    let counts = serde_json::to_value(outcome).unwrap_or_default();
                    ran.results.insert(kind.as_str().to_owned(), counts);
                }
                Err(error) => {
                    ran.is_failed = true;
                    ran.errors.push(Problem::from_fault(&error));
                }
            }
        }
        ran
    }

    /// One kind of item; waits for whoever works in the workspace.
    async fn sync(&self, run: &LocalRun) -> Result<(LocalOutcome, Vec<Problem>), Error> {
        let mut waited = Duration::ZERO;
        loop {
            match self.sync_once(run).await {
                Err(Error::Locked { .. }) if waited < PATIENCE.0 => {
                    tokio::time::sleep(PATIENCE.1).await;
                    waited += PATIENCE.1;
                }
                done => return done,
            }
        }
    }

    async fn sync_once(&self, run: &LocalRun) -> Result<(LocalOutcome, Vec<Problem>), Error> {
        let context = Context {
            author: String::new(),
            now: (self.clock)(),
            random: self.random.clone(),
            listener: self.listener.clone(),
        };
        let local = Local::new(self.workspace.clone(), self.database.clone(), context);
        local.recover().await?;
        let done = local.run(run).await?;
        let mut problems = done.summary.problems;
        problems.extend(done.summary.refusal.as_ref().map(Problem::from_fault));
        Ok((done.outcome.unwrap_or_default(), problems))
    }
}

/// Whether waiting may mend it.
fn is_away(error: &Error) -> bool {
    error.class() == sync_core::Class::Unavailable
}

#[cfg(test)]
mod tests;
