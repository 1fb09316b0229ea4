//! The engine's façade against a tenant that is served in this process.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../examples/service.rs"]
#[allow(dead_code, reason = "the program around the example")]
mod example;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sync_core::retry::Backoff;
use sync_core::{Class, Fault};
use sync_engine::{
    Limits, ManagerOptions, ManagerState, MaxDelete, Standing, SyncConfig, SyncConfigBuilder,
    SyncDirection, SyncManager, SyncService,
};
use sync_server::Server;
use sync_store::Store;
use sync_transport::{Client, ClientOptions, Endpoint, Listener, ServerOptions, serve};

/// A tenant in this process, and workspaces beside it.
struct Desk {
    dir: tempfile::TempDir,
    client: Client,
}

impl Desk {
    async fn new() -> Self {
        let store = Store::in_memory();
        store.create_tenant("acme").await.unwrap();
        let server = Arc::new(Server::new(store, Arc::new(|| 1_700_000_000_000)));
        let (connector, listener) = Listener::memory();
        let never = std::future::pending();
        tokio::spawn(serve(
            vec![listener],
            server,
            ServerOptions::default(),
            never,
        ));
        let endpoint = Endpoint::Memory(connector);
        Self {
            dir: tempfile::tempdir().unwrap(),
            client: Client::new(endpoint, None, None, ClientOptions::default()),
        }
    }

    fn tree(&self, name: &str) -> PathBuf {
        self.dir.path().join(name).join("services")
    }

    fn builder(&self, name: &str, direction: SyncDirection) -> SyncConfigBuilder {
        let tree = self.tree(name);
        SyncConfig::builder("acme", "https://sync.example.com", "token", tree)
            .with_direction(direction)
            .with_client(self.client.clone())
    }

    async fn service(&self, name: &str, direction: SyncDirection) -> SyncService {
        let config = self.builder(name, direction).build().unwrap();
        SyncService::new(config).await.unwrap()
    }
}

fn put(tree: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(tree).unwrap();
    std::fs::write(tree.join(name), text).unwrap();
}

#[tokio::test]
async fn a_plan_is_applied_once_and_says_what_lost_a_race() {
    let desk = Desk::new().await;
    put(&desk.tree("one"), "a.txt", "a\n");
    let one = desk.service("one", SyncDirection::Push).await;
    let planning = one.clone();
    let plan = tokio::spawn(async move { planning.plan_all().await });
    let plan = plan.await.unwrap().unwrap();
    assert!(!plan.is_empty() && plan.report().dry_run);
    assert_eq!(
        one.status_all().await.unwrap().files.unwrap().unwrap().head,
        None
    );
    let report = one.apply_all(&plan, |_| ()).await.unwrap();
    assert!(report.success && report.snapshot.is_some());
    let again = one.apply_all(&plan, |_| ()).await.unwrap_err();
    assert_eq!(
        (again.code(), again.class()),
        ("engine/plan-spent", Class::Usage)
    );
    assert!(one.plan_all().await.unwrap().is_empty());

    // Another workspace has it, and pushes between the plan and its application here.
    let two = desk.service("two", SyncDirection::Sync).await;
    assert!(two.sync_all(|_| ()).await.unwrap().success);
    assert_eq!(
        std::fs::read_to_string(desk.tree("two").join("a.txt")).unwrap(),
        "a\n"
    );
    put(&desk.tree("one"), "b.txt", "b\n");
    let plan = one.plan_all().await.unwrap();
    put(&desk.tree("two"), "c.txt", "c\n");
    assert!(two.sync_all(|_| ()).await.unwrap().success);
    let codes = Arc::new(Mutex::new(Vec::new()));
    let told = {
        let codes = Arc::clone(&codes);
        move |event| {
            let event = serde_json::to_value(event).unwrap();
            if event["event"] == "sync:error" {
                codes.lock().unwrap().push(event["code"].clone());
            }
        }
    };
    let late = one.apply_all(&plan, told).await.unwrap();
    assert_eq!((late.success, late.class), (false, Some(Class::Conflict)));
    assert_eq!(*codes.lock().unwrap(), ["engine/stale"]);
    // Both ways it goes on by itself.
    let both = desk.service("one", SyncDirection::Sync).await;
    assert!(both.sync_all(|_| ()).await.unwrap().success);
    let status = both.status_all().await.unwrap().files.unwrap().unwrap();
    assert_eq!(status.standing, Standing::InSync);
    assert!(desk.tree("one").join("c.txt").exists());
}

#[tokio::test]
async fn guards_conflicts_and_deadlines_hold() {
    let desk = Desk::new().await;
    put(&desk.tree("one"), "a.txt", "a\n");
    put(&desk.tree("one"), "b.txt", "b\n");
    let one = desk.service("one", SyncDirection::Sync).await;
    one.sync_all(|_| ()).await.unwrap();
    let two = desk.service("two", SyncDirection::Sync).await;
    two.sync_all(|_| ()).await.unwrap();
    put(&desk.tree("one"), "a.txt", "one\n");
    put(&desk.tree("two"), "a.txt", "two\n");
    assert!(one.sync_all(|_| ()).await.unwrap().success);
    let plan = two.plan_all().await.unwrap();
    assert!(plan.to_string().contains("! a.txt"), "{plan}");
    let report = two.apply_all(&plan, |_| ()).await.unwrap();
    assert_eq!(
        (report.class, report.exit_code),
        (Some(Class::Conflict), Some(3))
    );
    assert_eq!(
        std::fs::read_to_string(desk.tree("two").join("a.txt")).unwrap(),
        "two\n"
    );

    std::fs::remove_file(desk.tree("one").join("b.txt")).unwrap();
    let limits = Limits {
        max_delete: MaxDelete::Files(0),
        yes: false,
    };
    let config = desk.builder("one", SyncDirection::Push).with_limits(limits);
    let strict = SyncService::new(config.build().unwrap()).await.unwrap();
    let report = strict.sync_all(|_| ()).await.unwrap();
    assert_eq!(report.errors[0].code, "engine/removes");

    // Nobody listens behind this connector, and nobody ever will: the call ends by its deadline.
    let (connector, _listener) = Listener::memory();
    let silent = Client::new(
        Endpoint::Memory(connector),
        None,
        None,
        ClientOptions::default(),
    );
    let config = desk
        .builder("three", SyncDirection::Push)
        .with_client(silent)
        .with_deadline(Duration::from_millis(50));
    let three = SyncService::new(config.build().unwrap()).await.unwrap();
    let late = three.plan_all().await.unwrap_err();
    assert_eq!(
        (late.code(), late.class()),
        ("engine/deadline", Class::Unavailable)
    );
}

#[tokio::test]
async fn the_example_runs() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("services");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("triage.yaml"), "name: triage\n").unwrap();
    let told = Box::pin(example::run(&tree)).await.unwrap();
    let (last, told) = told.split_last().unwrap();
    assert_eq!(last, "1 synced");
    let (plan, events) = told.split_first().unwrap();
    assert_eq!(
        plan,
        "files     1 added\n  + triage.yaml\ndatabase  not started: no database is configured\n"
    );
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let steps = events.into_iter().filter(|event| *event != "progress");
    assert_eq!(
        steps.collect::<Vec<_>>(),
        [
            "sync:start",
            "push:start",
            "push:item",
            "push:complete",
            "sync:complete"
        ]
    );
}

/// Waits until `done` says so; fails after half a minute.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managers_keep_two_workspaces_equal() {
    let desk = Desk::new().await;
    put(&desk.tree("one"), "a.txt", "a\n");
    let one = desk.service("one", SyncDirection::Sync).await;
    let one = SyncManager::new(one, ManagerOptions::default());
    assert_eq!(one.status().state, ManagerState::Stopped);
    let told = Arc::new(Mutex::new(0));
    let count = Arc::clone(&told);
    let first = one.initial_sync(move |_| *count.lock().unwrap() += 1).await;
    assert_eq!(first.unwrap().unwrap().items_synced, 1);
    assert!(*told.lock().unwrap() >= 5);
    let two = desk.service("two", SyncDirection::Sync).await;
    let two = SyncManager::new(two, ManagerOptions::default());
    one.start().unwrap();
    two.start().unwrap();
    let there = desk.tree("two").join("a.txt");
    until("the first file", || there.exists()).await;
    // What is saved arrives, and what is answered comes back.
    put(&desk.tree("one"), "b.txt", "b\n");
    let there = desk.tree("two").join("b.txt");
    until("a save", || there.exists()).await;
    put(&desk.tree("two"), "c.txt", "c\n");
    let here = desk.tree("one").join("c.txt");
    until("an answer", || here.exists()).await;

    until("rest", || one.status().state == ManagerState::Watching).await;
    one.pause();
    until("a pause", || one.status().state == ManagerState::Paused).await;
    put(&desk.tree("two"), "d.txt", "d\n");
    let sent = || two.stats().applied;
    let before = sent();
    until("the other one sends it", || sent() > before).await;
    let runs = one.stats().runs;
    one.kick();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(one.stats().runs, runs, "a pause was not kept");
    one.resume();
    let here = desk.tree("one").join("d.txt");
    until("what came meanwhile", || here.exists()).await;

    // A backlog of many files is one run more or less, not one each.
    let runs = one.stats().runs;
    for number in 0..200 {
        put(&desk.tree("two"), &format!("many-{number}.txt"), "x\n");
    }
    let here = desk.tree("one");
    until("a backlog", || {
        (0..200).all(|number| here.join(format!("many-{number}.txt")).exists())
    })
    .await;
    assert!(one.stats().runs - runs < 20, "{:?}", one.stats());
    let status = one.status();
    assert!(status.last_sync.is_some() && status.last_error.is_none());
    assert!(status.stats.lag_ms.is_some() && status.stats.skew_ms.is_some());
    one.stop().await;
    two.stop().await;
    assert_eq!(one.status().state, ManagerState::Stopped);
    // It can be used, and started, again.
    assert!(one.sync_once().await.unwrap().unwrap().success);
    one.start().unwrap();
    until("another start", || {
        one.status().state == ManagerState::Watching
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_ends_within_a_second_and_says_what_is_wrong() {
    let desk = Desk::new().await;
    // Whoever accepts and never answers.
    let (connector, _listener) = Listener::memory();
    let endpoint = Endpoint::Memory(connector);
    let silent = Client::new(endpoint, None, None, ClientOptions::default());
    let config = desk.builder("one", SyncDirection::Sync).with_client(silent);
    let service = SyncService::new(config.build().unwrap()).await.unwrap();
    let manager = SyncManager::new(service, ManagerOptions::default());
    manager.start().unwrap();
    until("a run", || manager.status().state == ManagerState::Syncing).await;
    let began = std::time::Instant::now();
    manager.stop().await;
    assert!(began.elapsed() < Duration::from_secs(1));

    // Nobody is there: it backs off, and a kick tries again at once.
    let config = SyncConfig::builder("acme", "http://127.0.0.1:9", "t", desk.tree("two"));
    let service = SyncService::new(config.build().unwrap()).await.unwrap();
    let manager = SyncManager::new(
        service,
        ManagerOptions {
            backoff: Backoff {
                base: Duration::from_secs(20),
                ..ManagerOptions::default().backoff
            },
            ..ManagerOptions::default()
        },
    );
    manager.start().unwrap();
    until("a wait", || {
        manager.status().state == ManagerState::BackingOff
    })
    .await;
    let status = manager.status();
    assert!(status.last_sync.is_none() && status.next.is_some());
    assert!(status.last_error.unwrap().code.starts_with("transport/"));
    let runs = manager.stats().runs;
    manager.kick();
    until("another run", || manager.stats().runs > runs).await;
    manager.stop().await;
}
