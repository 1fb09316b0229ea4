//! Machines of Fly.io, by their API (`https://docs.machines.dev`).
//!
//! A release is a machine of its own, made without being part of the app's services, and let in by
//! [`Deployer::switch`], which shuts the machine of before out and destroys it.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use snafu::{OptionExt, ensure};
use sync_core::Digest;
use sync_transport::{Call, Client, ClientOptions, ClientTls, Endpoint, Secret};

use super::{Deployer, Health, Serving, Wanted};
use crate::Error;
use crate::error::{NotStartedSnafu, NotSwitchedSnafu, PlaceSnafu};

/// Where the API is.
const API: &str = "https://api.machines.dev";
/// What a machine of ours is marked with.
const TENANT: &str = "sync_tenant";
const RELEASE: &str = "sync_release";
/// The longest answer that is read.
const MAX_ANSWER: usize = 4 << 20;

/// How a tenant's program runs there.
#[derive(Debug, Clone)]
pub struct FlyOptions {
    /// The app.
    pub app: String,
    /// Where the first machine is made; where the one of before is, for the others.
    pub region: Option<String>,
    /// The port that the program listens on, inside.
    pub port: u16,
    /// What the platform asks by `GET` to find out whether it is well.
    pub health: String,
    /// How long a release may take to get healthy.
    pub patience: Duration,
}

/// Machines of an app.
#[derive(Debug)]
pub struct Fly {
    client: Client,
    options: FlyOptions,
}

/// What the API says of a machine; what it says beside that is its own.
#[derive(Debug, Clone, Deserialize)]
struct Machine {
    id: String,
    state: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    checks: Vec<Check>,
    #[serde(default)]
    events: Vec<Value>,
}

#[derive(Debug, Clone, Deserialize)]
struct Check {
    name: String,
    status: String,
    #[serde(default)]
    output: String,
}

impl Machine {
    fn metadata(&self, key: &str) -> Option<&str> {
        self.config.pointer("/metadata")?.get(key)?.as_str()
    }

    fn release(&self) -> Option<Digest> {
        self.metadata(RELEASE)?.parse().ok()
    }

    fn image(&self) -> String {
        let image = self.config.get("image").and_then(Value::as_str);
        image.unwrap_or_default().to_owned()
    }

    /// Whether people's requests reach it: the note that [`Deployer::switch`] leaves on a machine.
    fn is_live(&self) -> bool {
        self.metadata("sync_role") != Some("candidate")
    }

    fn is_gone(&self) -> bool {
        matches!(self.state.as_str(), "destroying" | "destroyed")
    }

    fn health(&self) -> Health {
        match self.state.as_str() {
            "created" | "starting" | "replacing" => return Health::Starting,
            "started" => {}
            other => {
                let code = self
                    .events
                    .iter()
                    .find_map(|event| event.pointer("/request/exit_event/exit_code")?.as_i64());
                let code =
                    code.map_or_else(String::new, |code| format!(" with exit status {code}"));
                let reason = format!("its machine is {other}{code}");
                return Health::Unhealthy { reason };
            }
        }
        let critical = self.checks.iter().find(|check| check.status == "critical");
        match critical {
            // The platform calls a check critical until it has passed once, with nothing to say.
            Some(check) if !check.output.trim().is_empty() && !is_too_early(&check.output) => {
                Health::Unhealthy {
                    reason: format!("check `{}`: {}", check.name, check.output.trim()),
                }
            }
            _ if !self.checks.is_empty()
                && self.checks.iter().all(|check| check.status == "passing") =>
            {
                Health::Healthy
            }
            _ => Health::Starting,
        }
    }
}

/// Whether a check says only that nobody listens yet.
fn is_too_early(output: &str) -> bool {
    let output = output.to_ascii_lowercase();
    ["connection refused", "hasn't started", "not yet", "timeout"]
        .iter()
        .any(|part| output.contains(part))
}

impl Fly {
    /// Machines of an app at its public address.
    ///
    /// # Errors
    ///
    /// Where the certificates of this machine cannot be read.
    pub fn new(token: Secret, options: FlyOptions) -> Result<Self, Error> {
        let tls = ClientTls::new(None)?;
        let endpoint = Endpoint::parse(API)?;
        let client = Client::new(endpoint, Some(tls), Some(token), ClientOptions::default());
        Ok(Self::with(client, options))
    }

    /// The same by a client that has the token.
    pub const fn with(client: Client, options: FlyOptions) -> Self {
        Self { client, options }
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/apps/{}/machines{rest}", self.options.app)
    }

    /// One request; `None` where what it is about is not there.
    async fn call(
        &self,
        method: Method,
        rest: &str,
        body: Option<&Value>,
    ) -> Result<Option<Value>, Error> {
        let mut call = Call::new(method, self.path(rest));
        if let Some(body) = body {
            call = call
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(body.to_string().into_bytes());
        }
        let answer = self.client.send(call).await?;
        let status = answer.status();
        let bytes = answer.into_body().read_to_end(MAX_ANSWER).await?;
        if status == http::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let value: Option<Value> = serde_json::from_slice(&bytes).ok();
        let said = || {
            let error = value.as_ref().and_then(|value| value.get("error"));
            let error = error.and_then(Value::as_str).unwrap_or("no reason given");
            error.chars().take(300).collect::<String>()
        };
        let place = format!("app `{}` of Fly", self.options.app);
        ensure!(
            status.is_success(),
            PlaceSnafu {
                place,
                trouble: format!("answered {status}: {}", said())
            }
        );
        Ok(Some(value.unwrap_or_default()))
    }

    fn understood<T: serde::de::DeserializeOwned>(&self, value: Value) -> Result<T, Error> {
        serde_json::from_value(value).ok().context(PlaceSnafu {
            place: format!("app `{}` of Fly", self.options.app),
            trouble: "answered with something that is not of its API",
        })
    }

    /// The tenant's machines, those that serve first.
    async fn machines(&self, tenant: &str) -> Result<Vec<Machine>, Error> {
        let found = self.call(Method::GET, "", None).await?;
        let found = found.context(PlaceSnafu {
            place: format!("app `{}` of Fly", self.options.app),
            trouble: "is not there",
        })?;
        let mut found: Vec<Machine> = self.understood(found)?;
        found.retain(|one| !one.is_gone() && one.metadata(TENANT).is_none_or(|of| of == tenant));
        found.sort_by_key(|one| (!one.is_live(), one.state != "started"));
        Ok(found)
    }

    async fn ours(&self, wanted: &Wanted) -> Result<Machine, Error> {
        let found = self.machines(&wanted.tenant).await?;
        let ours = found
            .into_iter()
            .find(|one| one.release() == Some(wanted.release));
        let release = wanted.release.short();
        ours.context(NotStartedSnafu { release })
    }

    /// What a machine for the release is made of: what serves, with another image; else what the options say.
    fn config(&self, wanted: &Wanted, before: Option<&Machine>) -> Value {
        let options = &self.options;
        let mut config = before.map_or_else(
            || {
                json!({
                    "services": [{
                        "protocol": "tcp",
                        "internal_port": options.port,
                        "ports": [
                            {"port": 80, "handlers": ["http"], "force_https": true},
                            {"port": 443, "handlers": ["tls", "http"]},
                        ],
                    }],
                    "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 512},
                })
            },
            |machine| machine.config.clone(),
        );
        config["image"] = json!(wanted.image);
        config["checks"] = json!({
            "sync": {
                "type": "http",
                "port": options.port,
                "method": "GET",
                "path": options.health,
                "interval": "5s",
                "timeout": "5s",
                "grace_period": "2s",
            }
        });
        if !config["metadata"].is_object() {
            config["metadata"] = json!({});
        }
        config["metadata"][TENANT] = json!(wanted.tenant);
        config["metadata"][RELEASE] = json!(wanted.release.to_string());
        config["metadata"]["sync_role"] = json!("candidate");
        config
    }

    async fn post(&self, id: &str, what: &str) -> Result<(), Error> {
        let done = self
            .call(Method::POST, &format!("/{id}/{what}"), None)
            .await?;
        done.context(PlaceSnafu {
            place: format!("machine `{id}` of Fly"),
            trouble: "is gone",
        })?;
        Ok(())
    }

    async fn mark(&self, id: &str, role: &str) -> Result<(), Error> {
        let body = json!({ "value": role });
        let rest = format!("/{id}/metadata/sync_role");
        self.call(Method::POST, &rest, Some(&body)).await?;
        Ok(())
    }

    async fn destroy(&self, id: &str) -> Result<(), Error> {
        // One that is not there any more is as good as destroyed.
        self.call(Method::DELETE, &format!("/{id}?force=true"), None)
            .await?;
        Ok(())
    }

    fn serves(&self, machine: &Machine) -> Serving {
        Serving {
            release: machine.release(),
            image: machine.image(),
            url: Some(format!("https://{}.fly.dev", self.options.app)),
            health: machine.health(),
        }
    }
}

#[async_trait]
impl Deployer for Fly {
    async fn serving(&self, tenant: &str) -> Result<Option<Serving>, Error> {
        let found = self.machines(tenant).await?;
        let live = found.iter().find(|one| one.is_live());
        Ok(live.map(|machine| self.serves(machine)))
    }

    async fn start(&self, wanted: &Wanted) -> Result<(), Error> {
        let found = self.machines(&wanted.tenant).await?;
        if found
            .iter()
            .any(|one| one.release() == Some(wanted.release))
        {
            return Ok(());
        }
        let before = found.iter().find(|one| one.is_live());
        let region = before
            .and_then(|one| one.region.clone())
            .or_else(|| self.options.region.clone());
        let mut body = json!({
            "config": self.config(wanted, before),
            "skip_service_registration": true,
        });
        if let Some(region) = region {
            body["region"] = json!(region);
        }
        let made = self.call(Method::POST, "", Some(&body)).await?;
        let _: Machine = self.understood(made.unwrap_or_default())?;
        Ok(())
    }

    async fn health(&self, wanted: &Wanted) -> Result<Health, Error> {
        Ok(self.ours(wanted).await?.health())
    }

    async fn switch(&self, wanted: &Wanted) -> Result<Serving, Error> {
        let ours = self.ours(wanted).await?;
        let found = self.machines(&wanted.tenant).await?;
        let before: Vec<_> = found.iter().filter(|one| one.id != ours.id).collect();
        if !ours.is_live() {
            // Both serve for a moment, so that no request finds nobody.
            let let_in = async {
                self.post(&ours.id, "uncordon").await?;
                self.mark(&ours.id, "live").await
            };
            if let Err(error) = let_in.await {
                self.destroy(&ours.id).await?;
                return NotSwitchedSnafu {
                    reason: error.to_string(),
                }
                .fail();
            }
        }
        for machine in before {
            self.destroy(&machine.id).await?;
        }
        Ok(self.serves(&self.ours(wanted).await?))
    }

    async fn abandon(&self, wanted: &Wanted) -> Result<(), Error> {
        let found = self.machines(&wanted.tenant).await?;
        let ours = found
            .iter()
            .filter(|one| one.release() == Some(wanted.release));
        for machine in ours.filter(|one| !one.is_live()) {
            self.destroy(&machine.id).await?;
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        self.options.patience
    }
}
