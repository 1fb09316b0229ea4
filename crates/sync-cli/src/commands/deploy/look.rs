//! What is looked at before anything is built.

use std::path::PathBuf;

use snafu::{OptionExt, ResultExt};
use sync_deploy::contents::{contents, ensure_fresh, ensure_sent};
use sync_deploy::plan::Destination;
use sync_deploy::{
    Cargo, DeployConfig, Login, Plan, Private, ProcessRunner, Project, Repository, Seen, Source,
    Turn, Wish, engine, plan, private_dir,
};
use sync_engine::{Remote, Workspace};
use sync_transport::Secret;

use super::super::Place;
use crate::Error;
use crate::args::Deploy;
use crate::env::Env;
use crate::error::{
    NoDeploySnafu, NoPasswordSnafu, NoRegistrySnafu, ReadUrlSnafu, UnfinishedSnafu,
};

/// What a workspace deploys.
pub(in crate::commands) struct Look<'p> {
    workspace: Workspace,
    env: &'p Env,
    pub(in crate::commands) config: DeployConfig,
    pub(in crate::commands) project: Project,
}

impl Deploy {
    /// What is wished for, of which the configuration says what the command line does not.
    pub(super) fn wish(&self, look: &Look<'_>) -> Wish {
        Wish {
            tag: self.tag.clone().or_else(|| look.config.tag.clone()),
            skip_build: self.skip_build,
            skip_push: self.skip_push,
            allow_dirty: self.allow_dirty,
        }
    }
}

impl<'p> Look<'p> {
    pub(in crate::commands) fn new(place: &Place<'p>) -> Result<Self, Error> {
        let workspace = place.workspace()?;
        let config = workspace.config().deploy.clone().context(NoDeploySnafu)?;
        // Cargo and the engine name places in full.
        let root = std::fs::canonicalize(workspace.root()).context(ReadUrlSnafu {
            path: workspace.root(),
        })?;
        let project = config.project(&root);
        Ok(Self {
            project,
            config,
            workspace,
            env: place.env,
        })
    }

    /// Where what belongs to a run is kept.
    pub(super) fn dir(&self) -> PathBuf {
        self.workspace.private().join("deploy")
    }

    /// Where images go: what `[deploy]` says, else the tenant, where one is asked.
    pub(in crate::commands) async fn destination(
        &self,
        remote: Option<&Remote>,
    ) -> Result<Destination, Error> {
        let private = private_dir(&self.dir());
        if let (Some(registry), Some(repository)) = (&self.config.registry, &self.config.repository)
        {
            return Ok(Destination {
                repository: Repository::new(registry, repository)?,
                login: self.login(registry)?,
                private,
            });
        }
        let token = match remote {
            Some(remote) => remote.registry_token().await?,
            None => None,
        };
        let token = token.context(NoRegistrySnafu)?;
        let registry = self.config.registry.as_ref().unwrap_or(&token.registry);
        let repository = self.config.repository.as_ref().unwrap_or(&token.repository);
        let login = match self.login(registry)? {
            Some(login) => login,
            None => Login {
                registry: registry.clone(),
                username: token.username.clone(),
                password: Secret::new(token.token.clone()),
            },
        };
        Ok(Destination {
            repository: Repository::new(registry, repository)?,
            login: Some(login),
            private,
        })
    }

    /// Who pushes, where `[deploy]` says who.
    fn login(&self, registry: &str) -> Result<Option<Login>, Error> {
        let Some(username) = self.config.username.clone() else {
            return Ok(None);
        };
        let (place, password) = if let Some(file) = &self.config.password_file {
            let path = self.workspace.root().join(file);
            let text = std::fs::read_to_string(&path).context(ReadUrlSnafu { path: &path })?;
            (format!("`{}`", path.display()), Some(text))
        } else {
            let name = &self.config.password_env;
            (format!("`{name}`"), self.env.var(name))
        };
        let password = password.map(|text| text.trim().to_owned());
        let password = password.filter(|text| !text.is_empty());
        Ok(Some(Login {
            registry: registry.to_owned(),
            username,
            password: Secret::new(password.context(NoPasswordSnafu { place })?),
        }))
    }

    /// A place for the credentials of a run, where there are any.
    pub(super) fn private(
        &self,
        turn: &Turn,
        destination: &Destination,
    ) -> Result<Option<Private>, Error> {
        if destination.login.is_none() {
            return Ok(None);
        }
        let home = self
            .env
            .var("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| {
                let home = self.env.var("HOME")?;
                Some(PathBuf::from(home).join(".docker"))
            });
        let dir = turn.private();
        Ok(Some(Private::make(&dir, home.as_deref())?))
    }

    /// The commands, after a look at source and binary.
    pub(super) async fn plan(&self, destination: &Destination, wish: &Wish) -> Result<Plan, Error> {
        let runner = &ProcessRunner;
        let source = Source::look(runner, &self.project.source).await?;
        if !wish.allow_dirty && !wish.skip_push {
            // Said before anything slower is asked.
            source.ensure_clean()?;
        }
        let builder = engine::builder(runner).await;
        let cargo = Cargo::look(runner, &self.project).await?;
        let project = self.project.clone();
        let skips = (wish.skip_build, wish.skip_push);
        let contents = blocking(move || {
            if let (Some(cargo), (skips_build, false)) = (&cargo, skips) {
                ensure_sent(&project, cargo, builder)?;
                if skips_build {
                    ensure_fresh(cargo)?;
                }
            }
            contents(&project, cargo.as_ref(), builder, b"")
        });
        let seen = Seen {
            source,
            builder,
            contents: contents.await?,
        };
        let now = Env::now() / 1000;
        Ok(plan(&self.project, destination, seen, wish, now)?)
    }
}

/// Work on files, off the threads that wait for others.
pub(in crate::commands) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, sync_deploy::Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.context(UnfinishedSnafu)??)
}
