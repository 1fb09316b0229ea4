//! Running a call: as a process of its own would, and beside other calls.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rmcp::service::{RequestContext, RoleServer};
use serde_json::Value;
use snafu::ResultExt;
use sync_core::Fault;
use sync_engine::{Listener, Location, Workspace};
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};

use super::tools::{Call, Needs};
use crate::args::{Args, Color, Format};
use crate::commands;
use crate::env::Env;
use crate::error::{SetupSnafu, UnfinishedSnafu};
use crate::terminal::{Collected, Terminal};
use crate::{Error, Outcome};

/// How many calls run at once; more wait.
const AT_ONCE: u32 = 8;

/// How long a cancelled call may take to bring files that it is moving to their places, before others begin beside it.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long the end of the server waits for what was cancelled.
const END: Duration = Duration::from_secs(10);

/// What came of a call: its result as `--output json` prints it, and how it ended; `None` where it was cancelled.
pub(super) type Done = Result<Option<(Value, Outcome)>, Error>;

/// Runs calls in one workspace.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    dir: Option<PathBuf>,
    env: Env,
    running: Arc<Semaphore>,
    /// Who has the private store, or an embedded tenant, to itself.
    store: Arc<Mutex<()>>,
}

impl Calls {
    /// In the workspace that `dir` names, else the nearest one upwards. Nobody is at a terminal.
    pub(super) fn new(dir: Option<PathBuf>, env: &Env) -> Self {
        Self {
            dir,
            env: env.without_terminal(),
            running: Arc::new(Semaphore::new(AT_ONCE as usize)),
            store: Arc::default(),
        }
    }

    /// Waits for its turn, and runs; events go to `listener`.
    ///
    /// Where the client takes its request back, the operation is dropped: transactions roll back, and a change of files that
    /// has begun is completed before another call begins.
    ///
    /// # Errors
    ///
    /// What could not even be told as a result.
    pub(super) async fn perform(
        &self,
        call: Call,
        listener: Listener,
        context: &RequestContext<RoleServer>,
    ) -> Done {
        let cancelled = context.ct.clone();
        let turn = async {
            // In this order: who waits for the store keeps nobody else waiting.
            let alone = self.alone(call.needs).await;
            (alone, Arc::clone(&self.running).acquire_owned().await)
        };
        let turn = tokio::select! {
            turn = turn => turn,
            () = cancelled.cancelled() => return Ok(None),
        };
        let (dir, env) = (self.dir.clone(), self.env.clone());
        let work = move || {
            let _turn = turn;
            // A runtime of its own ends with everything that was begun in it, as a process would.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context(SetupSnafu)?;
            let done = runtime.block_on(async {
                tokio::select! {
                    done = told(call, dir, &env, listener) => Some(done),
                    () = cancelled.cancelled() => None,
                }
            });
            runtime.shutdown_timeout(PATIENCE);
            Ok(done)
        };
        tokio::task::spawn_blocking(work)
            .await
            .context(UnfinishedSnafu)?
    }

    /// What a call has to itself: a private store and an embedded tenant are open in one run at a time.
    async fn alone(&self, needs: Needs) -> Option<OwnedMutexGuard<()>> {
        let store = Arc::clone(&self.store);
        match needs {
            Needs::Nothing => None,
            // It does without a private store that another call has.
            Needs::Tenant if !self.is_embedded() => store.try_lock_owned().ok(),
            Needs::Tenant | Needs::Store => Some(store.lock_owned().await),
        }
    }

    /// Whether the tenant is a directory; what is wrong with the configuration is told by the call itself.
    fn is_embedded(&self) -> bool {
        let workspace = match &self.dir {
            Some(dir) => Workspace::open(dir),
            None => std::env::current_dir().map_or_else(
                |_| Err(sync_engine::Error::NoRemote),
                |dir| Workspace::find(&dir),
            ),
        };
        workspace.is_ok_and(|workspace| {
            let location = workspace
                .remote()
                .and_then(|remote| remote.location(workspace.root()));
            matches!(location, Ok(Location::Embedded(_)))
        })
    }

    /// Waits until no call runs any more, within limits: a change of files that a process leaves half done is completed by the
    /// next run.
    pub(super) async fn end(&self) {
        let all = self.running.acquire_many(AT_ONCE);
        if tokio::time::timeout(END, all).await.is_err() {
            tracing::warn!("a call still runs: the next run completes what it leaves");
        }
    }
}

/// Runs the command, and gives what it would have printed.
async fn told(call: Call, dir: Option<PathBuf>, env: &Env, listener: Listener) -> (Value, Outcome) {
    let collected = Collected::new(listener);
    let terminal = Terminal::collecting(call.verb.as_str(), Arc::clone(&collected));
    let args = Args {
        workspace: dir,
        remote: None,
        branch: None,
        output: Format::Json,
        quiet: true,
        verbose: false,
        no_progress: true,
        color: Color::Never,
        version: false,
        verb: Some(call.verb),
    };
    let done = Box::pin(commands::run(args, env, terminal.clone())).await;
    let outcome = done.unwrap_or_else(|error| {
        terminal.failure(&error);
        Outcome::Failed(error.class())
    });
    (collected.take().unwrap_or_default(), outcome)
}
