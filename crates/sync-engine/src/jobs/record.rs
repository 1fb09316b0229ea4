//! What the bookkeeping has of runs: one row each, and a lock while one is under way.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value as Json;
use sync_db::{Isolation, Statements};

use super::{Job, Jobs, Ran};
use crate::Error;

/// So many runs of a job are kept.
const KEPT: u32 = 1000;
const DOING: &str = "recording a run of a job";
/// How often it is looked whether a lock is free.
const LOOK: Duration = Duration::from_millis(50);

/// Runs that nobody does any more: they have not ended, and nobody has the lock of their job.
const DEAD: &str = "SELECT r.id::text FROM sync.job_run r WHERE r.state = 'running' AND NOT EXISTS \
    (SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database \
    WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted \
    AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended('sync job ' || r.job, 0))";

/// One run of a job, or runs that did not take place. Times are milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobRun {
    /// Its number.
    pub id: u64,
    /// The job.
    pub job: String,
    /// When it was to run; `None` where a person asked for it.
    pub scheduled_for: Option<u64>,
    /// When it began.
    pub started_at: u64,
    /// When it ended; `None` where it has not.
    pub ended_at: Option<u64>,
    /// How it ended.
    pub state: JobState,
    /// How many runs it stands for, where they were missed.
    pub missed: u32,
    /// Counts by what was synced.
    pub results: Json,
    /// What went wrong, as reports have it.
    pub errors: Json,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It has not.
    Running,
    /// All of it was done.
    Completed,
    /// Some or all of it was not done.
    Failed,
    /// Whoever ran it ended first.
    Interrupted,
    /// Nobody was there to run it.
    Missed,
}

impl JobState {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Missed => "missed",
        }
    }

    fn of(text: &str) -> Self {
        let all = [
            Self::Running,
            Self::Completed,
            Self::Failed,
            Self::Interrupted,
        ];
        let mut all = all.into_iter();
        all.find(|state| state.as_str() == text)
            .unwrap_or(Self::Missed)
    }
}

/// The columns of a run, as [`run`] takes them.
const COLUMNS: &str = "id::text, job, (extract(epoch FROM scheduled_for) * 1000)::bigint::text, \
    (extract(epoch FROM started_at) * 1000)::bigint::text, (extract(epoch FROM ended_at) * 1000)::bigint::text, \
    state, missed::text, results::text, errors::text";

fn run(row: Vec<Option<String>>) -> JobRun {
    let mut row = row.into_iter();
    let mut next = || row.next().flatten();
    let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
    let json = |text: Option<String>| {
        text.and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or(Json::Null)
    };
    JobRun {
        id: number(next()).unwrap_or_default(),
        job: next().unwrap_or_default(),
        scheduled_for: number(next()),
        started_at: number(next()).unwrap_or_default(),
        ended_at: number(next()),
        state: JobState::of(&next().unwrap_or_default()),
        missed: next()
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
        results: json(next()),
        errors: json(next()),
    }
}

/// A text that is no number becomes null.
fn text(time: Option<u64>) -> String {
    time.map_or_else(String::new, |time| time.to_string())
}

fn failed(error: sync_db::Error) -> Error {
    sync_rows::Error::from(error).into()
}

impl Jobs {
    pub(super) async fn ensure_bookkeeping(&self) -> Result<(), Error> {
        self.database.ensure_bookkeeping().await.map_err(failed)
    }

    async fn transaction(&self) -> Result<Statements, Error> {
        self.database
            .begin(DOING, Isolation::Latest)
            .await
            .map_err(failed)
    }

    /// Takes the turn of a job, for as long as what this gives lives: the lock ends with its connection, however that ends.
    pub(super) async fn turn(&self, job: &Job) -> Result<Option<Statements>, Error> {
        let turn = self.transaction().await?;
        let lock = "SELECT pg_try_advisory_xact_lock(hashtextextended('sync job ' || $1, 0))::text";
        let rows = turn
            .query(DOING, lock, &[&job.name])
            .await
            .map_err(failed)?;
        let taken = rows.into_iter().flatten().next().flatten();
        Ok((taken.as_deref() == Some("true")).then_some(turn))
    }

    /// Records that a run begins, by whoever has the turn; `None` where it was begun before. One that somebody took for
    /// missed, because whoever was to do it was late, is begun all the same.
    pub(super) async fn begin(
        &self,
        job: &Job,
        scheduled_for: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        let now = (self.clock)().to_string();
        let transaction = self.transaction().await?;
        // Whoever began those has lost the turn without a word.
        let dead = "UPDATE sync.job_run SET state = 'interrupted', ended_at = to_timestamp($2::float8 / 1000) \
            WHERE job = $1 AND state = 'running'";
        let begin = "INSERT INTO sync.job_run (job, scheduled_for, started_at, state) \
            SELECT $1, to_timestamp(NULLIF($3, '')::float8 / 1000), to_timestamp($2::float8 / 1000), 'running' \
            ON CONFLICT (job, scheduled_for) DO UPDATE SET state = 'running', started_at = excluded.started_at, \
            ended_at = NULL, missed = GREATEST(job_run.missed - 1, 0) WHERE job_run.state = 'missed' RETURNING id::text";
        let recording = async {
            transaction.execute(DOING, dead, &[&job.name, &now]).await?;
            let values = [job.name.as_str(), &now, &text(scheduled_for)];
            let rows = transaction.query(DOING, begin, &values).await?;
            transaction.commit(DOING).await?;
            Ok(rows.into_iter().flatten().next().flatten())
        };
        let id: Option<String> = recording.await.map_err(failed)?;
        Ok(id.and_then(|id| id.parse().ok()))
    }

    /// Records how a run ended.
    pub(super) async fn end(&self, job: &Job, id: u64, ran: &Ran) -> Result<JobRun, Error> {
        let state = if ran.is_failed { "failed" } else { "completed" };
        let results = Json::Object(ran.results.clone()).to_string();
        let errors = serde_json::to_string(&ran.errors).unwrap_or_else(|_| "[]".to_owned());
        let transaction = self.transaction().await?;
        let end = format!(
            "UPDATE sync.job_run SET ended_at = to_timestamp($2::float8 / 1000), state = $3, results = $4::jsonb, errors = $5::jsonb \
            WHERE id = $1::bigint RETURNING {COLUMNS}"
        );
        let prune = format!(
            "DELETE FROM sync.job_run WHERE job = $1 AND id <= \
            (SELECT id FROM sync.job_run WHERE job = $1 ORDER BY id DESC OFFSET {KEPT} LIMIT 1)"
        );
        let now = (self.clock)().to_string();
        let ended = async {
            let values = [&id.to_string(), &now, state, &results, &errors];
            let rows = transaction.query(DOING, &end, &values).await?;
            transaction.execute(DOING, &prune, &[&job.name]).await?;
            transaction.commit(DOING).await?;
            let row = rows.into_iter().next();
            Ok(run(row.unwrap_or_default()))
        };
        ended.await.map_err(failed)
    }

    /// Records runs that nobody was there for, the last of which was due at this time; gives that where nobody else has.
    pub(super) async fn record_missed(
        &self,
        job: &Job,
        count: u32,
        last: u64,
    ) -> Result<Option<JobRun>, Error> {
        self.ensure_bookkeeping().await?;
        let transaction = self.transaction().await?;
        let record = format!(
            "INSERT INTO sync.job_run (job, scheduled_for, started_at, ended_at, state, missed) \
            SELECT $1, to_timestamp($3::float8 / 1000), to_timestamp($2::float8 / 1000), to_timestamp($2::float8 / 1000), \
            'missed', $4::int ON CONFLICT (job, scheduled_for) DO NOTHING RETURNING {COLUMNS}"
        );
        let now = (self.clock)().to_string();
        let recorded = async {
            let values = [
                job.name.as_str(),
                &now,
                &last.to_string(),
                &count.to_string(),
            ];
            let rows = transaction.query(DOING, &record, &values).await?;
            transaction.commit(DOING).await?;
            Ok(rows.into_iter().next().map(run))
        };
        recorded.await.map_err(failed)
    }

    /// Whether a run of a job that began for an earlier time, or was asked for by a person, is still under way.
    pub(super) async fn is_overdue(&self, job: &Job, time: u64) -> Result<bool, Error> {
        let earlier = "SELECT count(*)::text FROM sync.job_run WHERE job = $1 AND state = 'running' \
            AND (scheduled_for IS NULL OR scheduled_for < to_timestamp($2::float8 / 1000))";
        let transaction = self.transaction().await?;
        let asked = async {
            let values = [job.name.as_str(), &time.to_string()];
            let rows = transaction.query(DOING, earlier, &values).await?;
            transaction.commit(DOING).await?;
            Ok(rows.into_iter().flatten().next().flatten())
        };
        let count: Option<String> = asked.await.map_err(failed)?;
        Ok(count.is_some_and(|count| count != "0"))
    }

    /// When a job was last due, as far as anybody has recorded it.
    pub(super) async fn last_due(&self, job: &Job) -> Result<Option<u64>, Error> {
        let last = "SELECT (extract(epoch FROM max(scheduled_for)) * 1000)::bigint::text FROM sync.job_run WHERE job = $1";
        self.ensure_bookkeeping().await?;
        let transaction = self.transaction().await?;
        let asked = async {
            let rows = transaction.query(DOING, last, &[&job.name]).await?;
            transaction.commit(DOING).await?;
            Ok(rows.into_iter().flatten().next().flatten())
        };
        let last: Option<String> = asked.await.map_err(failed)?;
        Ok(last.and_then(|last| last.parse().ok()))
    }

    /// Marks the runs of a job that this process has given up. The lock of such a run ends with its connection, which
    /// may take a moment: until then this waits.
    pub(super) async fn interrupt(&self, job: &Job) -> Result<(), Error> {
        let turn = loop {
            match self.turn(job).await? {
                Some(turn) => break turn,
                None => tokio::time::sleep(LOOK).await,
            }
        };
        let interrupt = "UPDATE sync.job_run SET state = 'interrupted', ended_at = to_timestamp($2::float8 / 1000) \
            WHERE job = $1 AND state = 'running'";
        let now = (self.clock)().to_string();
        let done = async {
            turn.execute(DOING, interrupt, &[&job.name, &now]).await?;
            turn.commit(DOING).await
        };
        done.await.map_err(failed)
    }

    /// The runs of a job, or of all, newest first. One whose process ended without a word is interrupted, although nobody
    /// has recorded that yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoJob`] where there is no such job, and what the database says.
    pub async fn history(&self, name: Option<&str>, limit: usize) -> Result<Vec<JobRun>, Error> {
        if let Some(name) = name {
            self.job(name)?;
        }
        let transaction = self
            .database
            .begin("reading runs of jobs", Isolation::Latest)
            .await
            .map_err(failed)?;
        let query = format!(
            "SELECT {COLUMNS} FROM sync.job_run r WHERE $1 IN ('', job) ORDER BY r.id DESC LIMIT $2::bigint"
        );
        let read = async {
            // A database that nobody has brought up to date yet has no runs.
            if !transaction.has_bookkeeping().await? {
                return Ok(Vec::new());
            }
            // A run that was under way before its lock was looked for, and still is afterwards, had it all the time.
            let dead = transaction.query(DOING, DEAD, &[]).await?;
            let dead: HashSet<u64> = dead
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|id| id.parse().ok())
                .collect();
            let values = [name.unwrap_or_default(), &limit.to_string()];
            let rows = transaction.query(DOING, &query, &values).await?;
            transaction.commit(DOING).await?;
            let runs = rows.into_iter().map(run).map(|mut run| {
                if run.state == JobState::Running && dead.contains(&run.id) {
                    run.state = JobState::Interrupted;
                }
                run
            });
            Ok(runs.collect())
        };
        read.await.map_err(failed)
    }
}
