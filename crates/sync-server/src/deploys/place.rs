//! From what the operator says to an adapter.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sync_deploy::{Deployer, Docker, DockerOptions, Fly, FlyOptions, Login, ProcessRunner, Script};
use sync_store::protocol::deploy::{DeploySettings, Place};
use sync_transport::{Client, ClientOptions, ClientTls, Endpoint};

use super::settings::secret;
use crate::Error;
use crate::rows::Variables;

/// Gives the place where the program of a tenant runs; the server has adapters of its own where nobody brings others.
pub type Places =
    Arc<dyn Fn(&str, &DeploySettings) -> Result<Arc<dyn Deployer>, Error> + Send + Sync>;

/// How long what served before may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// The adapters of `sync-deploy`. `private` is a directory for credentials while an image is pulled; without one the engine
/// pulls with its own.
pub(crate) fn in_adapters(variables: Variables, private: Option<PathBuf>) -> Places {
    Arc::new(move |tenant, settings| {
        let patience = Duration::from_secs(settings.patience_seconds);
        let place: Arc<dyn Deployer> = match &settings.place {
            Place::Docker {
                port,
                publish,
                health,
                env_file,
                network,
            } => {
                let login = match (&settings.registry, &private) {
                    (Some(registry), Some(private)) => {
                        let what = "the password of the registry";
                        let login = Login {
                            registry: registry.registry.clone(),
                            username: registry.username.clone(),
                            password: secret(&registry.password, &variables, what, tenant)?,
                        };
                        Some((login, private.join(format!("registry-{tenant}"))))
                    }
                    _ => None,
                };
                let options = DockerOptions {
                    port: *port,
                    publish: *publish,
                    health: health.clone(),
                    env_file: env_file.clone(),
                    network: network.clone(),
                    patience,
                    grace: GRACE,
                    login,
                };
                Arc::new(Docker::new(ProcessRunner, options))
            }
            Place::Fly {
                app,
                region,
                port,
                health,
                token,
                api,
            } => {
                let token = secret(token, &variables, "the token of Fly", tenant)?;
                let options = FlyOptions {
                    app: app.clone(),
                    region: region.clone(),
                    port: *port,
                    health: health.clone(),
                    patience,
                };
                Arc::new(match api {
                    None => Fly::new(token, options)?,
                    Some(api) => {
                        let refused = |source| Error::Deploy {
                            source: sync_deploy::Error::Transport { source },
                        };
                        let endpoint = Endpoint::parse(api).map_err(refused)?;
                        let tls = match &endpoint {
                            Endpoint::Https { .. } => Some(ClientTls::new(None).map_err(refused)?),
                            _ => None,
                        };
                        let client =
                            Client::new(endpoint, tls, Some(token), ClientOptions::default());
                        Fly::with(client, options)
                    }
                })
            }
            Place::Command { program, args } => {
                Arc::new(Script::new(ProcessRunner, program, args, patience))
            }
        };
        Ok(place)
    })
}
