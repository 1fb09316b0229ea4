//! The container engine of the server's machine.
//!
//! A release is started as a *candidate*, on a port of loopback that the engine chooses. A published port cannot change hands
//! between containers that run, so [`Deployer::switch`] stops what serves, starts the release again on the stable port, and
//! removes what was before once the new one is healthy there; where it does not get so, what was before is started again.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Deserialize;
use snafu::{OptionExt, ensure};
use sync_core::Digest;
use sync_core::retry::Backoff;
use sync_transport::{Call, Client, ClientOptions, Endpoint};

use super::{Deployer, Health, Serving, Wanted};
use crate::engine::{Login, Private, ask, docker, login};
use crate::error::{NotStartedSnafu, NotSwitchedSnafu, PlaceSnafu};
use crate::{Command, CommandRunner, Error, ProcessRunner};

/// What a container that serves, or is to serve, is labelled with.
const TENANT: &str = "sync.tenant";
const RELEASE: &str = "sync.release";
const IMAGE: &str = "sync.image";
const ROLE: &str = "sync.role";
const LIVE: &str = "live";
const CANDIDATE: &str = "candidate";

/// Between two looks at the health of what takes over.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a program may take to answer when it is asked how it is.
const ANSWER: Duration = Duration::from_secs(5);

/// How a tenant's program runs in a container.
#[derive(Debug, Clone)]
pub struct DockerOptions {
    /// The port that the program listens on, inside.
    pub port: u16,
    /// Where people, or the proxy in front, reach it on this machine.
    pub publish: SocketAddr,
    /// What is asked by `GET` to find out whether it is well: any status from 200 to 299 says so.
    pub health: String,
    /// A file of `NAME=value` lines for its environment.
    pub env_file: Option<PathBuf>,
    /// A network of the engine that it is in, beside the ordinary one where this is absent.
    pub network: Option<String>,
    /// How long a release may take to get healthy.
    pub patience: Duration,
    /// How long what served before may take to end by itself.
    pub grace: Duration,
    /// Who pulls, and an own directory where that is kept meanwhile; the engine's own credentials where absent.
    pub login: Option<(Login, PathBuf)>,
}

/// Containers of an engine.
#[derive(Debug)]
pub struct Docker<R = ProcessRunner> {
    runner: R,
    options: DockerOptions,
}

/// What the engine says of a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    config: Config,
    state: State,
    network_settings: NetworkSettings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    image: String,
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
    /// It has ended, and the engine starts it again in a moment.
    restarting: bool,
    status: String,
    exit_code: i64,
    error: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default)]
    ports: std::collections::BTreeMap<String, Option<Vec<Binding>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    host_ip: String,
    host_port: String,
}

impl Container {
    fn label(&self, name: &str) -> Option<&str> {
        self.config.labels.get(name).map(String::as_str)
    }

    fn is(&self, role: &str) -> bool {
        self.label(ROLE) == Some(role)
    }

    fn release(&self) -> Option<Digest> {
        self.label(RELEASE)?.parse().ok()
    }

    /// Where its program is reached from this machine.
    fn address(&self) -> Option<SocketAddr> {
        let mut bindings = self.network_settings.ports.values().flatten().flatten();
        bindings.find_map(|binding| {
            let ip: IpAddr = binding.host_ip.parse().ok()?;
            let ip = if ip.is_unspecified() {
                IpAddr::from([127, 0, 0, 1])
            } else {
                ip
            };
            Some(SocketAddr::new(ip, binding.host_port.parse().ok()?))
        })
    }
}

impl<R: CommandRunner> Docker<R> {
    /// Containers of the engine that `runner`'s `docker` finds.
    pub fn new(runner: R, options: DockerOptions) -> Self {
        Self { runner, options }
    }

    async fn ask<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String, Error> {
        ask(&self.runner, args).await
    }

    /// The tenant's containers, those that run first.
    async fn containers(&self, tenant: &str) -> Result<Vec<Container>, Error> {
        let filter = format!("label={TENANT}={tenant}");
        let list = [
            "container",
            "ls",
            "--all",
            "--quiet",
            "--no-trunc",
            "--filter",
            &filter,
        ];
        let ids = self.ask(list).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let words = ["container", "inspect"].into_iter().chain(ids.lines());
        let text = self.ask(words).await?;
        let found: Option<Vec<Container>> = serde_json::from_str(&text).ok();
        let mut found = found.context(PlaceSnafu {
            place: "the container engine",
            trouble: "said something about its containers that is not understood",
        })?;
        found.sort_by_key(|container| !container.state.running);
        Ok(found)
    }

    async fn remove(&self, container: &Container) -> Result<(), Error> {
        self.ask(["container", "rm", "--force", "--volumes", &container.id])
            .await?;
        Ok(())
    }

    async fn stop(&self, container: &Container) -> Result<(), Error> {
        let grace = self.options.grace.as_secs().to_string();
        let stop = Command::new(
            "docker",
            ["container", "stop", "--time", &grace, &container.id],
        );
        docker(&self.runner, &stop, &|_| {}).await?;
        Ok(())
    }

    /// Has the image here.
    async fn pull(&self, image: &str) -> Result<(), Error> {
        if self
            .ask(["image", "inspect", "--format", "{{.Id}}", image])
            .await
            .is_ok()
        {
            return Ok(());
        }
        let mut pull = Command::new("docker", ["pull", "--quiet", image]);
        let private = match &self.options.login {
            None => None,
            Some((credentials, dir)) => {
                let private = Private::make(dir, None)?;
                docker(&self.runner, &login(credentials, private.path()), &|_| {}).await?;
                pull = pull.env("DOCKER_CONFIG", private.path());
                Some(private)
            }
        };
        let tell = |line: &str| tracing::info!(image, line, "pulling");
        docker(&self.runner, &pull, &tell).await?;
        drop(private);
        Ok(())
    }

    /// Runs a container of the release in a role.
    async fn run(&self, wanted: &Wanted, role: &str) -> Result<(), Error> {
        let options = &self.options;
        let release = wanted.release.to_string();
        let short = release.get(..12).unwrap_or_default();
        let published = match role {
            LIVE => format!("{}:{}", options.publish, options.port),
            _ => format!("127.0.0.1::{}", options.port),
        };
        let mut words = vec![
            "container".to_owned(),
            "run".to_owned(),
            "--detach".to_owned(),
            // Two of a name are two runs at once, which the caller's turn excludes.
            format!("--name=sync-{}-{short}-{role}", wanted.tenant),
            format!("--publish={published}"),
        ];
        let labels = [
            (TENANT, wanted.tenant.as_str()),
            (RELEASE, &release),
            (IMAGE, &wanted.image),
            (ROLE, role),
        ];
        words.extend(labels.map(|(name, value)| format!("--label={name}={value}")));
        if role == LIVE {
            words.push("--restart=unless-stopped".to_owned());
        }
        if let Some(file) = &options.env_file {
            words.push(format!("--env-file={}", file.display()));
        }
        if let Some(network) = &options.network {
            words.push(format!("--network={network}"));
        }
        words.push(wanted.image.clone());
        self.ask(words).await?;
        Ok(())
    }

    /// How a container's program is.
    async fn look(&self, container: &Container) -> Result<Health, Error> {
        let state = &container.state;
        if !state.running || state.restarting {
            if state.status == "created" && state.error.is_empty() {
                return Ok(Health::Starting);
            }
            let log = Command::new("docker", ["container", "logs", "--tail=5", &container.id]);
            let lines = std::sync::Mutex::new(Vec::new());
            let keep = |line: &str| {
                lines
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .push(line.to_owned());
            };
            docker(&self.runner, &log, &keep).await?;
            let lines = lines.into_inner().unwrap_or_default();
            let mut reason = format!("it ended with status {}", state.exit_code);
            for part in [state.error.clone(), lines.join("; ")] {
                if !part.is_empty() {
                    reason = format!("{reason}: {part}");
                }
            }
            return Ok(Health::Unhealthy { reason });
        }
        let Some(address) = container.address() else {
            return Ok(Health::Starting);
        };
        Ok(asked(address, &self.options.health).await)
    }

    /// Waits until what takes over is healthy where people reach it.
    async fn settled(&self, wanted: &Wanted) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let found = self.containers(&wanted.tenant).await?;
            let live = found
                .iter()
                .find(|one| one.is(LIVE) && one.release() == Some(wanted.release));
            let live = live.context(NotSwitchedSnafu {
                reason: "its container is gone",
            })?;
            match self.look(live).await? {
                Health::Healthy => return Ok(()),
                Health::Unhealthy { reason } => return NotSwitchedSnafu { reason }.fail(),
                Health::Starting => {}
            }
            let patience = self.options.patience;
            let reason = format!("it is not healthy after {} s", patience.as_secs());
            ensure!(began.elapsed() < patience, NotSwitchedSnafu { reason });
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Stops what served, and has the release serve in its place.
    async fn take_over(&self, wanted: &Wanted, before: &[&Container]) -> Result<(), Error> {
        for container in before {
            if container.state.running {
                self.stop(container).await?;
            }
        }
        self.run(wanted, LIVE).await?;
        self.settled(wanted).await
    }

    /// Removes the release's containers, and has what served before serve again.
    async fn give_back(&self, wanted: &Wanted) -> Result<(), Error> {
        let found = self.containers(&wanted.tenant).await?;
        let is_ours = |one: &&Container| one.release() == Some(wanted.release);
        let (ours, others): (Vec<_>, Vec<_>) = found.iter().partition(is_ours);
        let before: Vec<_> = others.into_iter().filter(|one| one.is(LIVE)).collect();
        for container in ours {
            // The only one that serves is no leftover.
            if container.is(CANDIDATE) || !before.is_empty() || !container.state.running {
                self.remove(container).await?;
            }
        }
        if let Some(container) = before.first()
            && !container.state.running
        {
            self.ask(["container", "start", &container.id]).await?;
        }
        Ok(())
    }

    fn serves(&self, container: &Container, health: Health) -> Serving {
        let image = container.label(IMAGE).unwrap_or(&container.config.image);
        Serving {
            release: container.release(),
            image: image.to_owned(),
            url: Some(format!("http://{}", self.options.publish)),
            health,
        }
    }
}

/// How the program at an address says it is.
async fn asked(address: SocketAddr, path: &str) -> Health {
    let (host, port) = (address.ip().to_string(), address.port());
    let options = ClientOptions {
        connect_timeout: ANSWER,
        response_timeout: ANSWER,
        idle_timeout: ANSWER,
        backoff: Backoff::NEVER,
        ..ClientOptions::default()
    };
    let client = Client::new(Endpoint::Http { host, port }, None, None, options);
    match client.send(Call::get(path)).await {
        Ok(answer) if answer.status().is_success() => Health::Healthy,
        // What is not there yet: the program behind a port that the engine opened before it listens, or says so itself.
        Ok(answer) if answer.status() == http::StatusCode::SERVICE_UNAVAILABLE => Health::Starting,
        Ok(answer) => Health::Unhealthy {
            reason: format!("`GET {path}` is answered {}", answer.status()),
        },
        Err(_) => Health::Starting,
    }
}

#[async_trait]
impl<R: CommandRunner> Deployer for Docker<R> {
    async fn serving(&self, tenant: &str) -> Result<Option<Serving>, Error> {
        let found = self.containers(tenant).await?;
        let Some(live) = found.iter().find(|one| one.is(LIVE)) else {
            return Ok(None);
        };
        let health = self.look(live).await?;
        Ok(Some(self.serves(live, health)))
    }

    async fn start(&self, wanted: &Wanted) -> Result<(), Error> {
        let found = self.containers(&wanted.tenant).await?;
        for container in found
            .iter()
            .filter(|one| one.release() == Some(wanted.release))
        {
            if container.state.running {
                return Ok(());
            }
            if container.is(CANDIDATE) {
                self.remove(container).await?;
            }
        }
        self.pull(&wanted.image).await?;
        let started = self.run(wanted, CANDIDATE).await;
        if started.is_err() {
            // The engine leaves a container that it could not start.
            self.abandon(wanted).await?;
        }
        started
    }

    async fn health(&self, wanted: &Wanted) -> Result<Health, Error> {
        let found = self.containers(&wanted.tenant).await?;
        let ours = found
            .iter()
            .find(|one| one.release() == Some(wanted.release));
        let release = wanted.release.short();
        self.look(ours.context(NotStartedSnafu { release })?).await
    }

    async fn switch(&self, wanted: &Wanted) -> Result<Serving, Error> {
        let found = self.containers(&wanted.tenant).await?;
        let is_ours = |one: &&Container| one.release() == Some(wanted.release);
        let release = wanted.release.short();
        ensure!(
            found.iter().any(|one| is_ours(&one)),
            NotStartedSnafu { release }
        );
        let before = |one: &&Container| one.is(LIVE) && !is_ours(one);
        let before: Vec<_> = found.iter().filter(before).collect();
        let live = found.iter().find(|one| one.is(LIVE) && is_ours(one));
        let runs = live.is_some_and(|live| live.state.running);
        let taken = if runs && self.settled(wanted).await.is_ok() {
            Ok(())
        } else {
            if let Some(live) = live {
                self.remove(live).await?;
            }
            self.take_over(wanted, &before).await
        };
        if let Err(error) = taken {
            self.give_back(wanted).await?;
            return match error {
                Error::NotSwitched { .. } | Error::NoEngine { .. } => Err(error),
                other => NotSwitchedSnafu {
                    reason: other.to_string(),
                }
                .fail(),
            };
        }
        for container in self.containers(&wanted.tenant).await? {
            if container.is(CANDIDATE) || container.release() != Some(wanted.release) {
                self.remove(&container).await?;
            }
        }
        let serving = self.serving(&wanted.tenant).await?;
        serving.context(NotStartedSnafu {
            release: wanted.release.short(),
        })
    }

    async fn abandon(&self, wanted: &Wanted) -> Result<(), Error> {
        self.give_back(wanted).await
    }

    fn patience(&self) -> Duration {
        self.options.patience
    }
}
