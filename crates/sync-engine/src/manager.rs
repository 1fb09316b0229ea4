//! A service that goes on by itself: it syncs whenever something has changed, on either side.
//!
//! Files tell by the operating system, rows by the database, the tenant by a request that waits there. Each only says that
//! something may have happened: a run finds out what, so a word that is lost costs time, never a change.
//!
//! What is done next is decided in `machine`, purely; here are the one task that does it, and what it tells.

mod machine;
mod wait;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use sync_core::retry::Backoff;
use sync_core::{Class, Fault, SnapshotId};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub use machine::ManagerState;

use crate::all::{SyncReport, Told, WithDatabase};
use crate::event::{Event, Listener};
use crate::local::{Local, LocalRun};
use crate::report::Problem;
use crate::rows::Database;
use crate::service::{SyncService, millis, nobody};
use crate::{Error, Watcher};
use machine::{Input, Machine, Step, Verdict};
use wait::{Ears, Waited};

/// How long what is under way may go on once somebody said stop; dropped then, it is rolled back or recovered.
const GRACE: Duration = Duration::from_millis(600);
/// How often the clocks are compared.
const CLOCKS: Duration = Duration::from_mins(10);
/// How long a stop may take in all.
const STOP: Duration = Duration::from_millis(900);

/// How a manager goes on.
#[derive(Clone)]
pub struct ManagerOptions {
    /// Whether files are synced; rows are where the service has a database.
    pub files: bool,
    /// What goes from files to rows whenever something is saved, before both are synced.
    pub items: Option<Items>,
    /// How long it waits before what is away is tried again.
    pub backoff: Backoff,
    /// How often it looks at a database that cannot tell of changes, as none of its tables is tracked.
    pub untracked: Duration,
    /// Who is told what happens.
    pub listener: Listener,
}

/// Skills, content and access control that go to a database.
#[derive(Debug, Clone)]
pub struct Items {
    /// The database.
    pub database: Database,
    /// What goes, and how.
    pub runs: Vec<LocalRun>,
}

impl Default for ManagerOptions {
    /// Files, and rows where there is a database; from half a second to half a minute, every five seconds, telling nobody.
    fn default() -> Self {
        Self {
            files: true,
            items: None,
            backoff: Backoff::ENDLESS,
            untracked: Duration::from_secs(5),
            listener: nobody(),
        }
    }
}

impl std::fmt::Debug for ManagerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManagerOptions")
            .field("files", &self.files)
            .field("items", &self.items)
            .field("backoff", &self.backoff)
            .field("untracked", &self.untracked)
            .finish_non_exhaustive()
    }
}

/// What a manager is doing, and how it went. Times are milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Serialize)]
pub struct ManagerStatus {
    /// In one word.
    pub state: ManagerState,
    /// Since when.
    pub since: u64,
    /// When both sides last were found, or made, equal.
    pub last_sync: Option<u64>,
    /// When it tries again by itself, where it does.
    pub next: Option<u64>,
    /// The snapshot that both sides last agreed on.
    pub snapshot: Option<SnapshotId>,
    /// What went wrong in the last run, where something did.
    pub last_error: Option<Problem>,
    /// Sums since it was made.
    pub stats: ManagerStats,
}

/// Sums since a manager was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ManagerStats {
    /// Runs.
    pub runs: u64,
    /// Those that did not do everything.
    pub failures: u64,
    /// Paths, rows and items that were synced.
    pub applied: u64,
    /// What a person had to choose about in the last run.
    pub conflicts: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// How long the last change took from the word of it to both sides having it, in milliseconds.
    pub lag_ms: Option<u64>,
    /// How far this clock is ahead of the tenant's, in milliseconds, which says the time to the second.
    pub skew_ms: Option<i64>,
}

/// Keeps both sides equal until it is stopped; dropping it stops it, too.
#[derive(Debug)]
pub struct SyncManager {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    commands: UnboundedSender<Input>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    service: SyncService,
    options: ManagerOptions,
    status: Mutex<ManagerStatus>,
    /// One run at a time; when the clocks were last compared.
    turn: tokio::sync::Mutex<Option<Instant>>,
}

/// What came of a run.
struct Found {
    verdict: Verdict,
    /// Where the tenant's branch is.
    head: Option<SnapshotId>,
    report: Result<Option<SyncReport>, Error>,
}

impl SyncManager {
    /// A manager that does nothing yet.
    pub fn new(service: SyncService, options: ManagerOptions) -> Self {
        let status = ManagerStatus {
            state: ManagerState::Stopped,
            since: service.config().now(),
            last_sync: None,
            next: None,
            snapshot: None,
            last_error: None,
            stats: ManagerStats::default(),
        };
        Self {
            shared: Arc::new(Shared {
                service,
                options,
                status: Mutex::new(status),
                turn: tokio::sync::Mutex::new(None),
            }),
            running: Mutex::new(None),
        }
    }

    /// Begins: syncs now and whenever something has changed. Does nothing where it runs already.
    ///
    /// # Errors
    ///
    /// [`Error::Watch`] where the system cannot tell of files that are saved.
    ///
    /// # Panics
    ///
    /// Outside of a runtime, in which its task is to run.
    pub fn start(&self) -> Result<(), Error> {
        let mut running = lock(&self.running);
        if running
            .as_ref()
            .is_some_and(|running| !running.task.is_finished())
        {
            return Ok(());
        }
        // Watching begins before the first sync: what is saved during it is not missed.
        let watcher = if self.shared.watches_files() {
            Some(Watcher::new(self.shared.service.workspace())?)
        } else {
            None
        };
        let (commands, received) = unbounded_channel();
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(shared.run(received, Ears::new(watcher)));
        *running = Some(Running { commands, task });
        Ok(())
    }

    /// Ends within a second, whatever the network does. What is under way may go on for a moment and is dropped then:
    /// transactions roll back, and a journal is finished or taken back by the next run.
    pub async fn stop(&self) {
        let running = lock(&self.running).take();
        let Some(Running { commands, mut task }) = running else {
            return;
        };
        let _ = commands.send(Input::Stop);
        if timeout(STOP, &mut task).await.is_err() {
            task.abort();
        }
        self.shared.enter(ManagerState::Stopped, None);
    }

    /// Stops syncing until [`Self::resume`]; a run that is under way comes to its end.
    pub fn pause(&self) {
        self.command(Input::Pause);
    }

    /// Goes on after [`Self::pause`], with a run.
    pub fn resume(&self) {
        self.command(Input::Resume);
    }

    /// Syncs now, whatever it is waiting for; not while it pauses.
    pub fn kick(&self) {
        self.command(Input::Kick);
    }

    fn command(&self, input: Input) {
        if let Some(running) = lock(&self.running).as_ref() {
            let _ = running.commands.send(input);
        }
    }

    /// One run, whether it is started or not, after the one that is under way.
    ///
    /// # Errors
    ///
    /// As [`SyncService::sync_all`]; what ended an operation is in the report, which is `None` where only items are kept.
    pub async fn sync_once(&self) -> Result<Option<SyncReport>, Error> {
        let listener = Arc::clone(&self.shared.options.listener);
        self.shared.once(&listener, None).await.report
    }

    /// The first run, told to `progress` as well, before it is started.
    ///
    /// # Errors
    ///
    /// As [`Self::sync_once`].
    pub async fn initial_sync(
        &self,
        progress: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Option<SyncReport>, Error> {
        let listener = Arc::clone(&self.shared.options.listener);
        let both: Listener = Arc::new(move |event: Event| {
            progress(&event);
            listener(event);
        });
        self.shared.once(&both, None).await.report
    }

    /// What it is doing.
    pub fn status(&self) -> ManagerStatus {
        self.shared.status().clone()
    }

    /// Sums since it was made.
    pub fn stats(&self) -> ManagerStats {
        self.shared.status().stats
    }
}

impl Shared {
    fn status(&self) -> MutexGuard<'_, ManagerStatus> {
        lock(&self.status)
    }

    fn watches_files(&self) -> bool {
        self.options.files || self.options.items.is_some()
    }

    /// Whether anything goes to the tenant, or comes from it.
    fn has_tenant(&self) -> bool {
        self.options.files || matches!(self.service.config().database(), WithDatabase::There(_))
    }

    /// Says what it is doing now, and when it tries again.
    fn enter(&self, state: ManagerState, wait: Option<Duration>) {
        let now = self.service.config().now();
        let mut status = self.status();
        if status.state != state {
            status.since = now;
        }
        status.state = state;
        status.next = wait.map(|wait| {
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            now.saturating_add(wait)
        });
    }

    /// The task: one step after the other.
    async fn run(self: Arc<Self>, mut commands: UnboundedReceiver<Input>, mut ears: Ears) {
        let mut machine = Machine::new(self.options.backoff);
        let mut step = Step::Sync;
        let mut woken = Some(Instant::now());
        loop {
            let input = match step {
                // A run and a wait are gone on with where they are.
                Step::Halt | Step::GoOn => return,
                Step::Sync => {
                    self.enter(ManagerState::Syncing, None);
                    match self
                        .sync(&mut machine, &mut commands, &mut ears, woken)
                        .await
                    {
                        Some(verdict) => Input::Ended(verdict),
                        None => Input::Stop,
                    }
                }
                Step::Wait { at_most, wakes } => {
                    self.enter(machine.state(), at_most);
                    let bound = at_most.map(|at_most| Instant::now() + at_most);
                    loop {
                        let waited = ears.wait(&self, &mut commands, bound, wakes).await;
                        woken = matches!(waited, Waited::Changed).then(Instant::now);
                        let input = waited.input();
                        step = machine.step(input, (self.service.config().random())());
                        if step != Step::GoOn {
                            break;
                        }
                    }
                    continue;
                }
            };
            step = machine.step(input, (self.service.config().random())());
        }
    }

    /// A run, during which commands are listened to; `None` where one of them was to stop.
    async fn sync(
        &self,
        machine: &mut Machine,
        commands: &mut UnboundedReceiver<Input>,
        ears: &mut Ears,
        woken: Option<Instant>,
    ) -> Option<Verdict> {
        let mut run = Box::pin(async {
            // Listening begins before the run: what is committed during it is not missed.
            let is_deaf = !ears.listen(&self.service).await;
            let listener = Arc::clone(&self.options.listener);
            let found = self.once(&listener, woken).await;
            (found, is_deaf)
        });
        let (found, is_deaf) = loop {
            tokio::select! {
                biased;
                command = commands.recv() => {
                    let command = command.unwrap_or(Input::Stop);
                    if machine.step(command, 0) == Step::Halt {
                        let _ = timeout(GRACE, &mut run).await;
                        return None;
                    }
                }
                done = &mut run => break done,
            }
        };
        drop(run);
        ears.head = found.head;
        machine.idle = ears.is_untracked().then_some(self.options.untracked);
        Some(match found.verdict {
            Verdict::Done | Verdict::Writing if is_deaf => Verdict::Partly,
            verdict => verdict,
        })
    }

    /// One run, with what is told of it.
    async fn once(&self, listener: &Listener, woken: Option<Instant>) -> Found {
        let mut compared = self.turn.lock().await;
        let mut applied = 0;
        let mut problem = None;
        if let Some(Items { database, runs }) = &self.options.items {
            for run in runs {
                match self.bring(database, run, listener).await {
                    Ok(done) => applied += done,
                    Err(error) => {
                        problem.get_or_insert(error);
                    }
                }
            }
        }
        let report = if self.has_tenant() {
            let synced = self.service.sync(Arc::clone(listener), self.options.files);
            Box::pin(synced).await.map(Some)
        } else {
            Ok(None)
        };
        let (mut verdict, head) = judge(&report);
        if let Some(error) = &problem
            && matches!(verdict, Verdict::Done | Verdict::Writing)
        {
            verdict = if error.class() == Class::Unavailable {
                Verdict::Partly
            } else {
                Verdict::Stuck
            };
        }
        let is_reached = matches!(verdict, Verdict::Done | Verdict::Writing);
        let is_due = compared.is_none_or(|compared| compared.elapsed() > CLOCKS);
        if is_reached && is_due && self.has_tenant() {
            let skew = self.skew().await;
            self.status().stats.skew_ms = skew;
            *compared = Some(Instant::now());
        }
        let problem = problem.as_ref().map(Problem::from_fault);
        self.note(&report, problem, applied, is_reached, woken);
        Found {
            verdict,
            head,
            report,
        }
    }

    /// Brings items of one kind to the database; gives how many.
    async fn bring(
        &self,
        database: &Database,
        item: &LocalRun,
        listener: &Listener,
    ) -> Result<u64, Error> {
        let workspace = self.service.workspace().clone();
        let context = self.service.context(Arc::clone(listener));
        let local = Local::new(workspace, database.clone(), context);
        local.recover().await?;
        let done = Box::pin(local.run(item)).await?;
        match done.summary.refusal {
            Some(refusal) => Err(refusal),
            None => Ok(done.outcome.map_or(0, |outcome| outcome.total())),
        }
    }

    /// Writes down how a run went.
    fn note(
        &self,
        report: &Result<Option<SyncReport>, Error>,
        problem: Option<Problem>,
        applied: u64,
        is_reached: bool,
        woken: Option<Instant>,
    ) {
        let now = self.service.config().now();
        let mut status = self.status();
        let sums = &mut status.stats;
        sums.runs += 1;
        sums.failures += u64::from(!is_reached);
        sums.applied += applied;
        let mut last_error = problem;
        match report {
            Ok(Some(report)) => {
                sums.applied += report.items_synced;
                sums.conflicts = conflicts(report);
                sums.bytes_sent += report.traffic.bytes_sent;
                sums.bytes_received += report.traffic.bytes_received;
                if let Some(woken) = woken.filter(|_| is_reached && report.items_synced > 0) {
                    sums.lag_ms = Some(millis(woken));
                }
                status.snapshot = report.snapshot.or(status.snapshot);
                last_error = last_error.or_else(|| {
                    let failed = report.problem().or_else(|| report.errors.last());
                    failed.filter(|_| !report.success).cloned()
                });
            }
            Ok(None) => {}
            Err(error) => last_error = last_error.or_else(|| Some(Problem::from_fault(error))),
        }
        status.last_error = last_error;
        if is_reached {
            status.last_sync = Some(now);
        }
    }

    /// How far this clock is ahead of the tenant's.
    async fn skew(&self) -> Option<i64> {
        let before = self.service.config().now();
        let date = self.service.remote().date().await.ok()??;
        let there = jiff::fmt::rfc2822::parse(&date).ok()?;
        let here = i64::try_from(before).ok()?;
        Some(here.saturating_sub(there.timestamp().as_millisecond()))
    }
}

/// How a run ended, and where the tenant's branch is then.
fn judge(report: &Result<Option<SyncReport>, Error>) -> (Verdict, Option<SnapshotId>) {
    let away = |class: Class, rest: Verdict| match class {
        Class::Unavailable => rest,
        _ => Verdict::Stuck,
    };
    match report {
        Ok(None) => (Verdict::Done, None),
        Err(error) if error.is_race() => (Verdict::Away, None),
        Err(error) => (away(error.class(), Verdict::Away), None),
        Ok(Some(report)) => {
            let is_writing = report.operations.iter().any(|one| match &one.told {
                Told::Rows(rows) => rows.is_writing,
                _ => false,
            });
            let is_partly = report.operations.iter().any(|one| {
                let is_without = matches!(&one.told, Told::Without(_));
                !is_without && one.class().is_none()
            });
            let rest = if is_partly {
                Verdict::Partly
            } else {
                Verdict::Away
            };
            let verdict = match report.class {
                None if is_writing => Verdict::Writing,
                None => Verdict::Done,
                Some(class) => away(class, rest),
            };
            (verdict, report.snapshot)
        }
    }
}

/// What a person has to choose about.
fn conflicts(report: &SyncReport) -> u64 {
    let found = report.operations.iter().map(|one| match &one.told {
        Told::Files(files) => files.conflicts.len(),
        Told::Rows(rows) => rows.conflicts.len(),
        Told::Without(_) => 0,
    });
    found.sum::<usize>() as u64
}

/// What a thread that panicked left is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
