//! From a workspace's configuration to its tenant: over the network, or in this process.

use std::path::Path;
use std::sync::Arc;

use snafu::OptionExt;
use sync_core::Name;
use sync_engine::config::DEFAULT_REMOTE;
use sync_engine::trust::{Dial, Followed, Trust};
use sync_engine::{Location, Remote, RemoteConfig, Workspace, open_store};
use sync_server::Server;
use sync_store::identity::Introduction;
use sync_store::{PublicKey, Store};
use sync_transport::{
    Client, ClientOptions, Endpoint, Listener, MemoryConnector, ServerOptions, serve,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Error;
use crate::credentials;
use crate::env::Env;
use crate::error::NoTokenSnafu;
use crate::terminal::Terminal;

/// What the connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To change things.
    Act,
    /// To look: an embedded tenant that is not there is shown as empty, and is not made.
    Look,
    /// To look and leave no trace, not even in what the workspace remembers.
    Plan,
}

impl Purpose {
    /// What a command is for that changes things unless it is a dry run.
    pub(crate) const fn of(dry_run: bool) -> Self {
        if dry_run { Self::Plan } else { Self::Act }
    }
}

/// A tenant that can be talked to.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) remote: Remote,
    embedded: Option<Embedded>,
}

/// A server in this process.
#[derive(Debug)]
struct Embedded {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Connection {
    /// Connects to the tenant that the workspace belongs to. A network connection is opened in the background.
    pub(crate) async fn open(
        workspace: &Workspace,
        env: &Env,
        purpose: Purpose,
    ) -> Result<Self, Error> {
        let config = RemoteConfig {
            branch: workspace.remote()?.branch,
            ..workspace.written_remote()?.clone()
        };
        Self::to(workspace, workspace.remote_name()?, &config, env, purpose).await
    }

    /// Likewise, to a tenant that the workspace calls `name`; to where it lives by now.
    pub(crate) async fn to(
        workspace: &Workspace,
        name: &str,
        config: &RemoteConfig,
        env: &Env,
        purpose: Purpose,
    ) -> Result<Self, Error> {
        let root = workspace.root();
        let found = workspace.found(config)?;
        let trust = trust(workspace, name, config, &found, env)?;
        let (tenant, branch) = (found.tenant.clone(), found.branch.clone());
        match found.location(root)? {
            Location::Embedded(dir) => {
                let store = embedded_store(workspace, &dir, &tenant, purpose).await?;
                let (client, embedded) = in_process(store, env);
                Ok(Self {
                    remote: Remote::new(client, tenant, branch).watched(trust),
                    embedded: Some(embedded),
                })
            }
            Location::Address(url) => {
                let urls = [url.as_str(), &config.url];
                let client = dial(workspace, name, &found, urls, env)?;
                client.connect_early();
                trust.recognise(&client).await?;
                Ok(Self {
                    remote: Remote::new(client, tenant, branch).watched(trust),
                    embedded: None,
                })
            }
        }
    }

    /// Connects to two tenants that the workspace has names for.
    pub(crate) async fn pair(
        workspace: &Workspace,
        [first, second]: [(&str, &RemoteConfig); 2],
        env: &Env,
        purpose: Purpose,
    ) -> Result<Pair, Error> {
        let root = workspace.root();
        let location = |config| workspace.found(config)?.location(root);
        let location = (location(first.1)?, location(second.1)?);
        if let (Location::Embedded(dir), Location::Embedded(other)) = &location
            && dir == other
        {
            // A directory has one server at a time.
            let store = embedded_store(workspace, dir, &first.1.tenant, purpose).await?;
            ensure_tenant(&store, &second.1.tenant, purpose).await?;
            let is_there = store.tenant(second.1.tenant.as_str()).await?.is_some();
            let (connector, embedded) = serve_in_process(store, env);
            // A client each, so that what goes to whom can be told.
            let remote = |config: &RemoteConfig| {
                let client = in_memory(connector.clone());
                Remote::new(client, config.tenant.clone(), config.branch.clone())
            };
            let first = Self {
                remote: remote(first.1),
                embedded: Some(embedded),
            };
            let second = if is_there {
                Err(remote(second.1))
            } else {
                let (tenant, branch) = (second.1.tenant.clone(), second.1.branch.clone());
                let (client, embedded) = in_process(vacant_store(&tenant).await?, env);
                Ok(Self {
                    remote: Remote::new(client, tenant, branch),
                    embedded: Some(embedded),
                })
            };
            return Ok(Pair { first, second });
        }
        let first = Self::to(workspace, first.0, first.1, env, purpose).await?;
        match Self::to(workspace, second.0, second.1, env, purpose).await {
            Ok(second) => Ok(Pair {
                first,
                second: Ok(second),
            }),
            Err(error) => {
                first.close().await;
                Err(error)
            }
        }
    }

    /// Connects to the operator's side of a data directory: to the server that holds it, else to the store itself.
    pub(crate) async fn operator(data: &Path, env: &Env) -> Result<Self, Error> {
        let socket = data.join(crate::commands::serve::SOCKET);
        // The names only complete the type: the operator's requests name their tenant themselves.
        let name: Name = "default"
            .parse()
            .unwrap_or_else(|_| unreachable!("a valid name by its spelling"));
        match Store::open_dir(data).await {
            Ok(store) => {
                let (client, embedded) = in_process(store, env);
                Ok(Self {
                    remote: Remote::new(client, name.clone(), name),
                    embedded: Some(embedded),
                })
            }
            Err(sync_store::Error::Held { .. }) if socket.exists() => {
                let client =
                    Client::new(Endpoint::Unix(socket), None, None, ClientOptions::default());
                Ok(Self {
                    remote: Remote::new(client, name.clone(), name),
                    embedded: None,
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the connection; an embedded server has written everything when this returns.
    pub(crate) async fn close(self) {
        drop(self.remote);
        if let Some(Embedded { stop, serving }) = self.embedded {
            let _ = stop.send(());
            let _ = serving.await;
        }
    }
}

/// Two tenants; where both are in one directory, one server in this process serves them.
#[derive(Debug)]
pub(crate) struct Pair {
    first: Connection,
    second: Result<Connection, Remote>,
}

impl Pair {
    /// Both, in the order in which they were asked for.
    pub(crate) fn remotes(&self) -> [Remote; 2] {
        let second = match &self.second {
            Ok(connection) => &connection.remote,
            Err(remote) => remote,
        };
        [self.first.remote.clone(), second.clone()]
    }

    /// Ends the connections.
    pub(crate) async fn close(self) {
        if let Ok(second) = self.second {
            second.close().await;
        }
        self.first.close().await;
    }
}

/// A way to the tenant at `url`, with the token for that address, else for one of those at which it `lived`.
fn dial(
    workspace: &Workspace,
    name: &str,
    config: &RemoteConfig,
    [url, lived]: [&str; 2],
    env: &Env,
) -> Result<Client, Error> {
    let tenant = config.tenant.as_str();
    let token = credentials::find(env, name, &[url, lived], tenant)?;
    let token = token.with_context(|| NoTokenSnafu {
        url,
        tenant,
        remote: name,
    })?;
    let ca_file = config.ca_file.as_ref();
    let ca_file = ca_file.map(|file| workspace.root().join(file));
    Ok(sync_engine::dial::client(url, ca_file.as_deref(), &token)?)
}

/// Who watches over the way to the tenant of `config`, which is `found` where it lives by now.
fn trust(
    workspace: &Workspace,
    name: &str,
    config: &RemoteConfig,
    found: &RemoteConfig,
    env: &Env,
) -> Result<Arc<Trust>, Error> {
    let anew: Dial = {
        let (workspace, name, env) = (workspace.clone(), name.to_owned(), env.clone());
        let found = found.clone();
        Arc::new(move |url: &str| {
            match dial(&workspace, &name, &found, [url, &found.url], &env) {
                Ok(client) => Ok(client),
                Err(Error::Engine { source }) => Err(source),
                // Without a token the server there says what to do.
                Err(_) => sync_engine::dial::client(url, None, ""),
            }
        })
    };
    let followed = followed(name, &config.url);
    Ok(Trust::new(workspace, found, anew, followed)?)
}

/// Tells a person that the tenant of a remote was followed.
fn followed(name: &str, url: &str) -> Followed {
    let named = if name == DEFAULT_REMOTE {
        String::new()
    } else {
        format!(" --remote {name}")
    };
    let url = url.to_owned();
    Arc::new(move |to: &str| {
        Terminal::note(&format!(
            "the tenant has moved from {url} to {to}, and was followed; `sync-cli remote set-url {to}{named}` writes that to sync.toml"
        ));
    })
}

async fn embedded_store(
    workspace: &Workspace,
    dir: &Path,
    tenant: &Name,
    purpose: Purpose,
) -> Result<Store, Error> {
    if purpose != Purpose::Act && !dir.join("catalogue.redb").exists() {
        return vacant_store(tenant).await;
    }
    let store = workspace.open_store(dir).await?;
    if purpose != Purpose::Act && store.tenant(tenant.as_str()).await?.is_none() {
        return vacant_store(tenant).await;
    }
    ensure_tenant(&store, tenant, purpose).await?;
    Ok(store)
}

/// What is shown of a tenant that is not there.
async fn vacant_store(tenant: &Name) -> Result<Store, Error> {
    let store = Store::in_memory();
    store.create_nobody(tenant.as_str()).await?;
    Ok(store)
}

/// An embedded tenant belongs to whoever has the directory: asking for it to act makes it.
async fn ensure_tenant(store: &Store, tenant: &Name, purpose: Purpose) -> Result<(), Error> {
    if purpose == Purpose::Act && store.tenant(tenant.as_str()).await?.is_none() {
        store.create_tenant(tenant.as_str()).await?;
    }
    Ok(())
}

/// Who the tenant in a directory is, where it is there and has a key.
async fn embedded_key(dir: &Path, tenant: &Name) -> Result<Option<PublicKey>, Error> {
    if !dir.join("catalogue.redb").exists() {
        return Ok(None);
    }
    let Some(repository) = open_store(dir).await?.tenant(tenant.as_str()).await? else {
        return Ok(None);
    };
    let identity = repository.identity().await?;
    Ok(identity.map(|identity| identity.key.public_key()))
}

/// Who the tenant of a remote is, as far as is known here.
pub(crate) async fn key_known(
    workspace: &Workspace,
    config: &RemoteConfig,
) -> Result<Option<PublicKey>, Error> {
    match workspace.found(config)?.location(workspace.root())? {
        Location::Embedded(dir) => embedded_key(&dir, &config.tenant).await,
        Location::Address(_) => Ok(workspace.key_known(config)?),
    }
}

/// Has whoever is at the address of `to`, and nowhere else, say who he is; the token is that of the address, else that of `from`.
pub(crate) async fn introduction(
    workspace: &Workspace,
    name: &str,
    [from, to]: [&RemoteConfig; 2],
    env: &Env,
) -> Result<Introduction, Error> {
    match to.location(workspace.root())? {
        Location::Embedded(dir) => Ok(Introduction {
            key: embedded_key(&dir, &to.tenant).await?,
            ..Introduction::default()
        }),
        Location::Address(url) => {
            let client = dial(workspace, name, to, [&url, &from.url], env)?;
            Ok(sync_engine::trust::ask(&client, &to.tenant).await?)
        }
    }
}

fn in_process(store: Store, env: &Env) -> (Client, Embedded) {
    let (connector, embedded) = serve_in_process(store, env);
    (in_memory(connector), embedded)
}

fn in_memory(connector: MemoryConnector) -> Client {
    let endpoint = Endpoint::Memory(connector);
    Client::new(endpoint, None, None, ClientOptions::default())
}

fn serve_in_process(store: Store, env: &Env) -> (MemoryConnector, Embedded) {
    let (connector, listener) = Listener::memory();
    let (stop, stopped) = oneshot::channel::<()>();
    let variables = env.clone();
    let server = Server::new(store, Arc::new(Env::now));
    let server = Arc::new(server.with_variables(Arc::new(move |name| variables.var(name))));
    let serving = tokio::spawn(async move {
        let shutdown = async {
            let _ = stopped.await;
        };
        if let Err(error) = serve(vec![listener], server, ServerOptions::default(), shutdown).await
        {
            tracing::error!(%error, "the embedded server ended");
        }
    });
    (connector, Embedded { stop, serving })
}
