//! `serve`: the tenant server.

use std::sync::Arc;

use serde_json::json;
use snafu::{ResultExt, ensure};
use sync_server::Server;
use sync_store::Store;
use sync_transport::{Listener, ServerOptions, ServerTls, serve};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Place;
use crate::args::Serve;
use crate::env::Env;
use crate::error::{HalfTlsSnafu, NoTlsSnafu, SetupSnafu};
use crate::{Error, Outcome};

/// Below the data directory: where the operator's own commands reach a running server.
pub(crate) const SOCKET: &str = "operator.sock";

/// How many connections of monitors are served at once.
const MONITORS: usize = 16;

pub(super) async fn run(place: &Place<'_>, args: Serve) -> Result<Outcome, Error> {
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(cert), Some(key)) => Some(ServerTls::from_files(cert, key)?),
        (None, None) => None,
        _ => return HalfTlsSnafu.fail(),
    };
    ensure!(
        tls.is_some() || args.listen.ip().is_loopback(),
        NoTlsSnafu {
            listen: args.listen
        }
    );
    let scheme = if tls.is_some() { "https" } else { "http" };
    // The store is taken first: a second server must not even take the socket away from the first.
    let store = Store::open_dir(&args.data).await?;
    let public = Listener::bind_tcp(args.listen, tls).await?;
    let address = public.local_addr().unwrap_or(args.listen);
    let operator = Listener::bind_unix(&args.data.join(SOCKET)).await?;
    let monitor = match args.metrics_listen {
        Some(address) => Some(Listener::bind_tcp(address, None).await?),
        None => None,
    };
    let metrics_url = monitor
        .as_ref()
        .and_then(Listener::local_addr)
        .map(|address| format!("http://{address}/metrics"));

    let mut terminate = signal(SignalKind::terminate()).context(SetupSnafu)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(SetupSnafu)?;
    place
        .terminal
        .line(&format!("listening on {scheme}://{address}"));
    let mut event = json!({"event": "listening", "url": format!("{scheme}://{address}")});
    if let Some(url) = metrics_url {
        place.terminal.line(&format!("metrics on {url}"));
        event["metrics_url"] = url.into();
    }
    place.terminal.event(&event);
    // Held to the end: a successor must not have its socket removed by this process.
    let held = store.clone();
    let variables = place.env.clone();
    let server = Server::new(store, Arc::new(Env::now)).with_private_dir(args.data.clone());
    let server = Arc::new(server.with_variables(Arc::new(move |name| variables.var(name))));
    let resuming = Arc::clone(&server);
    tokio::spawn(async move { resuming.resume_deploys().await });
    let ending = Arc::clone(&server);
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("finishing running requests");
        ending.end_waiting();
    };
    serve_all(server, vec![public, operator], monitor, shutdown).await?;
    let _ = std::fs::remove_file(args.data.join(SOCKET));
    drop(held);
    place.terminal.line("stopped");
    Ok(Outcome::Done)
}

/// Serves clients until the shutdown, and a monitor for as long.
async fn serve_all(
    server: Arc<Server>,
    listeners: Vec<Listener>,
    monitor: Option<Listener>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), sync_transport::Error> {
    let page = Arc::new(server.metrics_page());
    let options = ServerOptions {
        totals: server.totals(),
        ..ServerOptions::default()
    };
    let (end, mut ended) = watch::channel(());
    let clients = async {
        let drained = serve(listeners, server, options, shutdown).await;
        end.send_replace(());
        drained.map(drop)
    };
    let monitors = async {
        let Some(monitor) = monitor else {
            return Ok(());
        };
        let options = ServerOptions {
            max_connections: MONITORS,
            ..ServerOptions::default()
        };
        let until = async {
            let _ = ended.changed().await;
        };
        serve(vec![monitor], page, options, until).await.map(drop)
    };
    tokio::try_join!(clients, monitors).map(drop)
}
