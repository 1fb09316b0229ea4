//! The engine inside a program: a tenant that is served in this process, a plan that is shown, and its application.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use sync_engine::{Event, SyncConfig, SyncDirection, SyncService};
use sync_server::Server;
use sync_store::Store;
use sync_transport::{Client, ClientOptions, Endpoint, Listener, ServerOptions, serve};

/// Pushes the tree at `tree` to a tenant in memory, and gives what was planned and told.
pub(crate) async fn run(tree: &Path) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let store = Store::in_memory();
    store.create_tenant("acme").await?;
    let server = Arc::new(Server::new(store, Arc::new(|| 1_700_000_000_000)));
    let (connector, listener) = Listener::memory();
    let endpoint = Endpoint::Memory(connector);
    let client = Client::new(endpoint, None, None, ClientOptions::default());

    let mut told = Vec::new();
    let program = Box::pin(async {
        told = push(tree, client)
            .await
            .map_err(|error| error.to_string())?;
        Ok::<_, String>(())
    });
    let mut outcome = Ok(());
    let done = async { outcome = program.await };
    let serving = serve(vec![listener], server, ServerOptions::default(), done);
    Box::pin(serving).await?;
    outcome?;
    Ok(told)
}

async fn push(tree: &Path, client: Client) -> Result<Vec<String>, sync_engine::Error> {
    // Without `with_client` it goes to the address.
    let config = SyncConfig::builder("acme", "https://sync.example.com", "token", tree)
        .with_direction(SyncDirection::Push)
        .with_author("ada")
        .with_client(client)
        .build()?;
    let service = SyncService::new(config).await?;
    let plan = service.plan_all().await?;
    let mut told = vec![plan.to_string()];
    let (sender, events) = std::sync::mpsc::channel();
    let report = service
        .apply_all(&plan, move |event: Event| {
            let _ = sender.send(event);
        })
        .await?;
    told.extend(events.into_iter().filter_map(|event| {
        let event = serde_json::to_value(event).ok()?;
        Some(event["event"].as_str()?.to_owned())
    }));
    told.push(format!("{} synced", report.items_synced));
    Ok(told)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("sync-service-{}", std::process::id()));
    let tree = dir.join("services");
    std::fs::create_dir_all(&tree)?;
    std::fs::write(tree.join("triage.yaml"), "name: triage\n")?;
    let told = Box::pin(run(&tree)).await;
    std::fs::remove_dir_all(&dir)?;
    for line in told? {
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}
