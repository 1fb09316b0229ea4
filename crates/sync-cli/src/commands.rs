//! The verbs, a module each.

mod admin;
mod all;
mod ask;
mod branch;
mod bundle;
mod completions;
mod conflicts;
mod daemon;
mod db;
mod deploy;
mod diff;
mod doctor;
mod history;
mod identity;
mod init;
mod jobs;
mod local;
mod login;
mod mcp;
mod place;
mod promote;
mod pull;
mod push;
mod remote;
mod rollback;
mod rows;
pub(crate) mod serve;
mod status;
mod sync;
mod transfer;
mod undo;
mod upkeep;
mod watch;
mod watch_local;
mod watch_rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use snafu::{OptionExt, ResultExt, ensure};
use sync_core::Name;
use sync_engine::{Context, Listener, Patterns, Session, Workspace};

use crate::args::{Args, Doctor, RetentionVerb, TenantVerb, TokenVerb, Verb};
use crate::connect::{Connection, Purpose};
use crate::env::Env;
use crate::error::{CurrentDirSnafu, NoDataSnafu, WhichTenantSnafu, WrongFlagSnafu};
use crate::terminal::Terminal;
use crate::{Error, Outcome};

/// Runs the verb.
pub(crate) async fn run(args: Args, env: &Env, terminal: Terminal) -> Result<Outcome, Error> {
    let named = [
        ("--remote", args.remote.is_some()),
        ("--branch", args.branch.is_some()),
    ];
    for (flag, _) in named.into_iter().filter(|(_, is_given)| *is_given) {
        let targets = "what talks to the workspace's tenant";
        let follows = args.verb.as_ref().is_some_and(Verb::follows);
        ensure!(follows, WrongFlagSnafu { flag, targets });
    }
    let place = Place {
        dir: args.workspace,
        remote: args.remote,
        branch: args.branch,
        env,
        terminal,
        started: Instant::now(),
    };
    match args.verb {
        None => Ok(completions::usage()),
        Some(Verb::Init(init)) => init::run(&place, init),
        Some(Verb::Status(status)) => Box::pin(status::run(&place, &status)).await,
        Some(Verb::Diff(diff)) => Box::pin(diff::run(&place, diff)).await,
        Some(Verb::Push(push)) => Box::pin(push::run(&place, push)).await,
        Some(Verb::Pull(pull)) => Box::pin(pull::run(&place, pull)).await,
        Some(Verb::Sync(both)) => Box::pin(sync::run(&place, both)).await,
        Some(Verb::Rollback(rollback)) => Box::pin(rollback::run(&place, rollback)).await,
        Some(Verb::Undo(undo)) => Box::pin(undo::run(&place, &undo)).await,
        Some(Verb::Watch(watch)) => Box::pin(watch::run(&place, &watch)).await,
        Some(Verb::Log(log)) => history::log(&place, &log).await,
        Some(Verb::Show(show)) => history::show(&place, &show).await,
        Some(Verb::Doctor(Doctor { what: None })) => Box::pin(doctor::run(&place)).await,
        Some(Verb::Doctor(Doctor { what: Some(_) })) => Box::pin(doctor::deploy(&place)).await,
        Some(Verb::Deploy(asked)) => Box::pin(deploy::run(&place, asked)).await,
        Some(Verb::Completions(completions)) => Ok(completions::run(completions.shell)),
        Some(Verb::Login(_)) => login::run(&place).await,
        Some(Verb::Branch(asked)) => branch::run(&place, &asked.verb).await,
        Some(Verb::Promote(asked)) => Box::pin(promote::run(&place, asked)).await,
        Some(Verb::Remote(asked)) => Box::pin(remote::run(&place, asked.verb)).await,
        Some(Verb::Serve(serve)) => serve::run(&place, serve).await,
        Some(Verb::Tenant(tenant)) => match tenant.verb {
            TenantVerb::Create(create) => admin::create_tenant(&place, &create).await,
            TenantVerb::List(list) => admin::list_tenants(&place, &list).await,
            TenantVerb::Database(database) => admin::tenant_database(&place, database).await,
            TenantVerb::Deploy(asked) => place::run(&place, asked).await,
            TenantVerb::Moved(moved) => Box::pin(identity::moved(&place, moved)).await,
        },
        Some(Verb::Identity(asked)) => Box::pin(identity::run(&place, asked.verb)).await,
        Some(Verb::Verify(verify)) => Box::pin(upkeep::verify(&place, &verify)).await,
        Some(Verb::Export(export)) => Box::pin(bundle::export(&place, export)).await,
        Some(Verb::Import(import)) => Box::pin(bundle::import(&place, import)).await,
        Some(Verb::Inspect(inspect)) => bundle::inspect(&place, inspect).await,
        Some(Verb::Gc(gc)) => upkeep::gc(&place, &gc).await,
        Some(Verb::Retention(retention)) => match retention.verb {
            RetentionVerb::Set(set) => upkeep::set_retention(&place, &set).await,
            RetentionVerb::Show(show) => upkeep::show_retention(&place, &show).await,
        },
        Some(Verb::Db(db)) => Box::pin(db::run(&place, db)).await,
        Some(Verb::Conflicts(conflicts)) => conflicts::run(&place, &conflicts.verb),
        Some(Verb::Jobs(asked)) => jobs::run(&place, asked.verb).await,
        Some(Verb::Daemon(asked)) => Box::pin(daemon::run(&place, asked.verb)).await,
        Some(Verb::Mcp(mcp)) => Box::pin(mcp::run(&place, mcp.read_only)).await,
        Some(Verb::Token(token)) => match token.verb {
            TokenVerb::Create(create) => admin::create_token(&place, create).await,
            TokenVerb::List(list) => admin::list_tokens(&place, &list).await,
            TokenVerb::Revoke(revoke) => admin::revoke_token(&place, &revoke).await,
        },
    }
}

/// Where and how a command runs.
pub(crate) struct Place<'e> {
    dir: Option<PathBuf>,
    remote: Option<Name>,
    branch: Option<Name>,
    env: &'e Env,
    terminal: Terminal,
    started: Instant,
}

impl Place<'_> {
    /// The directory that `-C` names, else the current one.
    fn dir(&self) -> Result<PathBuf, Error> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => std::env::current_dir().context(CurrentDirSnafu),
        }
    }

    /// The workspace that `-C` names, else the nearest one upwards, with the remote and the branch that were named.
    fn workspace(&self) -> Result<Workspace, Error> {
        let workspace = match &self.dir {
            Some(dir) => Workspace::open(dir)?,
            None => Workspace::find(&self.dir()?)?,
        };
        Ok(workspace.following(self.remote.clone(), self.branch.clone()))
    }

    /// The same, for a run that leaves no trace where it only plans.
    fn workspace_for(&self, purpose: Purpose) -> Result<Workspace, Error> {
        let workspace = self.workspace()?;
        if purpose != Purpose::Plan {
            return Ok(workspace);
        }
        Ok(workspace.shadowed(&self.env.temporary(), Env::random())?)
    }

    /// A run in the workspace, connected to its tenant.
    async fn session(
        &self,
        purpose: Purpose,
        listener: Listener,
    ) -> Result<(Session, Connection), Error> {
        let workspace = self.workspace_for(purpose)?;
        let connection = Connection::open(&workspace, self.env, purpose).await?;
        let context = self.context(listener);
        let session = Session::new(workspace, connection.remote.clone(), context)?;
        Ok((session, connection))
    }

    /// To the tenant in the data directory that was named, else to the workspace's own.
    async fn tenant(
        &self,
        data: Option<&Path>,
        tenant: Option<Name>,
        purpose: Purpose,
    ) -> Result<(Connection, Name), Error> {
        if let Some(data) = data {
            ensure!(data.is_dir(), NoDataSnafu { path: data });
            let tenant = tenant.context(WhichTenantSnafu)?;
            return Ok((Connection::operator(data, self.env).await?, tenant));
        }
        ensure!(tenant.is_none(), WhichTenantSnafu);
        let workspace = self.workspace_for(purpose)?;
        let tenant = workspace.remote()?.tenant;
        let connection = Connection::open(&workspace, self.env, purpose).await?;
        Ok((connection, tenant))
    }

    /// What a run that begins now needs to know of the world.
    fn context(&self, listener: Listener) -> Context {
        Context {
            author: self.env.author(),
            now: Env::now(),
            random: Arc::new(Env::random),
            listener,
        }
    }

    /// The same place for a run that begins now.
    fn anew(&self) -> Place<'_> {
        Place {
            dir: self.dir.clone(),
            remote: self.remote.clone(),
            branch: self.branch.clone(),
            env: self.env,
            terminal: self.terminal.clone(),
            started: Instant::now(),
        }
    }

    /// Paths that `--filter` chooses; `None` where it was not given.
    fn filter(patterns: &[String]) -> Result<Option<Patterns>, Error> {
        if patterns.is_empty() {
            return Ok(None);
        }
        let patterns = Patterns::new("--filter", patterns).map_err(sync_engine::Error::from)?;
        Ok(Some(patterns))
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
