//! Everything that `all` does, for a program: a configuration, a service, plans and reports.
//!
//! [`SyncConfig`] says what is synced with which tenant, [`SyncService`] does it; the [`crate::manager`] does it by itself.

mod config;
mod plan;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sync_core::Fault;
use tokio::time::Instant;

pub use config::{SyncConfig, SyncConfigBuilder};
pub use plan::ServicePlan;

use crate::all::{AllDone, AllRequest, AllStatus, ROUNDS, SyncReport};
use crate::error::{DeadlineSnafu, PlanSpentSnafu};
use crate::event::{Event, Listener};
use crate::report::Problem;
use crate::rows::Direction;
use crate::session::{Context, Session};
use crate::{Error, Remote, Workspace};
use plan::Ready;

/// Files and rows of a workspace against a tenant. Cheap to clone.
///
/// Each call is a run of its own: it looks at both sides, holds the workspace while it changes it, and has a deadline. What is
/// dropped or runs out of time is rolled back, or completed or taken back by the next run.
#[derive(Debug, Clone)]
pub struct SyncService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: SyncConfig,
    workspace: Workspace,
    remote: Remote,
}

impl SyncService {
    /// Opens the workspace: makes its private directory, and its tree where it has never synced; completes or takes back what a
    /// run that was cut short has left. A network connection is opened in the background.
    ///
    /// # Errors
    ///
    /// What the tree says; [`Error::Transport`] where the address or its certificates are not valid.
    pub async fn new(config: SyncConfig) -> Result<Self, Error> {
        let workspace = config.workspace();
        let remote = config.remote()?;
        let service = Self {
            inner: Arc::new(Inner {
                config,
                workspace,
                remote,
            }),
        };
        let session = service.session(nobody())?;
        service.within(session.recover()).await?;
        session.make_tree()?;
        Ok(service)
    }

    /// What it was made from.
    pub fn config(&self) -> &SyncConfig {
        &self.inner.config
    }

    /// The workspace.
    pub fn workspace(&self) -> &Workspace {
        &self.inner.workspace
    }

    /// The tenant.
    pub fn remote(&self) -> &Remote {
        &self.inner.remote
    }

    /// Plans what the configuration asks for. Neither side changes; the workspace's private store is held as long as the plan
    /// lives and is not applied.
    ///
    /// # Errors
    ///
    /// Where nothing can be planned at all; what cannot be planned for files or rows alone is in the plan's report.
    pub async fn plan_all(&self) -> Result<ServicePlan, Error> {
        let began = Instant::now();
        let before = self.remote().traffic();
        let told = Arc::new(OnceLock::<Listener>::new());
        let listener = {
            let told = Arc::clone(&told);
            Arc::new(move |event| {
                if let Some(listener) = told.get() {
                    listener(event);
                }
            })
        };
        let session = self.session(listener)?;
        let request = self.request(true);
        let planned = session.plan_run(self.config().database(), &request);
        let planned = self.within(Box::pin(planned)).await?;
        let traffic = self.remote().traffic().since(before);
        let outline = planned.outline();
        let report = outline.report(request.direction, traffic, millis(began));
        let ready = Ready {
            session,
            planned,
            request,
            told,
        };
        Ok(ServicePlan::new(report.of_plan(), ready))
    }

    /// Does exactly what `plan` says, and tells `listener` what happens. What has moved since is left, and told of.
    ///
    /// # Errors
    ///
    /// [`Error::PlanSpent`] where it was applied already; [`Error::Locked`] where another run holds the workspace;
    /// [`Error::Deadline`]. What ended one of the operations is in the report.
    pub async fn apply_all(
        &self,
        plan: &ServicePlan,
        listener: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<SyncReport, Error> {
        let Some(ready) = plan.take() else {
            return PlanSpentSnafu.fail();
        };
        let Ready {
            session,
            planned,
            request,
            told,
        } = ready;
        let listener: Listener = Arc::new(listener);
        let _ = told.set(Arc::clone(&listener));
        let work = async {
            let limits = &self.config().limits();
            let database = self.config().database();
            let applied = session.apply_run(database, planned, &request, limits, 1);
            let done = Box::pin(applied).await?;
            collect(&session).await;
            Ok(done)
        };
        self.telling(&listener, request.direction, work).await
    }

    /// Plans and applies; anew what is not done where somebody else was quicker.
    ///
    /// # Errors
    ///
    /// As [`Self::plan_all`] and [`Self::apply_all`].
    pub async fn sync_all(
        &self,
        listener: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<SyncReport, Error> {
        self.sync(Arc::new(listener), true).await
    }

    /// Likewise; without `files` of rows alone.
    pub(crate) async fn sync(&self, listener: Listener, files: bool) -> Result<SyncReport, Error> {
        let request = self.request(files);
        let session = self.session(Arc::clone(&listener))?;
        let work = async {
            let (limits, database) = (&self.config().limits(), self.config().database());
            session.recover().await?;
            let planned = Box::pin(session.plan_run(database, &request)).await?;
            let applied = session.apply_run(database, planned, &request, limits, ROUNDS);
            let done = Box::pin(applied).await?;
            collect(&session).await;
            Ok(done)
        };
        self.telling(&listener, request.direction, work).await
    }

    /// Compares both sides beside one head of the tenant. Keeps what was captured, so that the next look is quick.
    ///
    /// # Errors
    ///
    /// Where the tenant does not answer, say; what ended one of the two is in its place.
    pub async fn status_all(&self) -> Result<AllStatus, Error> {
        let session = self.session(nobody())?;
        let work = async {
            let rows = self.config().database().rows::<(), ()>(&session).await;
            let rows = rows.ok();
            let status = session.status_all(rows.as_ref(), self.config().filter());
            Box::pin(status).await
        };
        self.within(Box::pin(work)).await
    }

    /// A run that begins now.
    pub(crate) fn session(&self, listener: Listener) -> Result<Session, Error> {
        let context = self.context(listener);
        Session::new(self.workspace().clone(), self.remote().clone(), context)
    }

    /// What a run that begins now needs to know of the world.
    pub(crate) fn context(&self, listener: Listener) -> Context {
        self.config().context(listener)
    }

    fn request(&self, files: bool) -> AllRequest {
        AllRequest {
            files,
            ..self.config().request()
        }
    }

    /// Does `work` from `sync:start` to its end.
    async fn telling(
        &self,
        listener: &Listener,
        direction: Direction,
        work: impl Future<Output = Result<AllDone, Error>>,
    ) -> Result<SyncReport, Error> {
        let (began, before) = (Instant::now(), self.remote().traffic());
        listener(Event::SyncStart {
            operation: format!("{} all", direction.as_str()),
            direction: Some(direction),
            time: self.config().now(),
        });
        match self.within(Box::pin(work)).await {
            Ok(done) => {
                let traffic = self.remote().traffic().since(before);
                let report = done.report(direction, traffic, millis(began));
                listener(Event::ended(report.clone()));
                Ok(report)
            }
            Err(error) => {
                listener(Event::SyncError {
                    problem: Problem::from_fault(&error),
                    exit_code: error.class().exit_code(),
                    report: None,
                });
                Err(error)
            }
        }
    }

    /// Gives `work` as long as the configuration says.
    async fn within<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let deadline = self.config().deadline();
        match tokio::time::timeout(deadline, work).await {
            Ok(done) => done,
            Err(_) => DeadlineSnafu { deadline }.fail(),
        }
    }
}

impl Event {
    /// The last event of a run that came to its end.
    fn ended(report: SyncReport) -> Self {
        let report = Box::new(report);
        match (report.problem().cloned(), report.exit_code) {
            (Some(problem), Some(exit_code)) => Self::SyncError {
                problem,
                exit_code,
                report: Some(report),
            },
            _ => Self::SyncComplete { report },
        }
    }
}

/// Keeps the workspace's own store from growing for ever; what was done is done, whatever comes of this.
async fn collect(session: &Session) {
    if let Err(error) = Box::pin(session.collect_when_due()).await {
        tracing::warn!(%error, "the private store could not be collected");
    }
}

/// Nobody is told.
pub(crate) fn nobody() -> Listener {
    Arc::new(|_| ())
}

/// How long it has been since `began`, in milliseconds.
pub(crate) fn millis(began: Instant) -> u64 {
    let elapsed: Duration = began.elapsed();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
