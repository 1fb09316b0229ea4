//! A fresh database and a fresh tree for each test, and what tests ask of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sync_db::{ConnectOptions, Database};
use sync_local::{
    Change, Direction, Error, LocalKind, LocalOptions, LocalOutcome, LocalPlace, LocalPlan,
    LocalSync, Ports, Verdict,
};

use crate::server::{connect, create, discard, run};

/// What a run is asked for where nothing else is said.
static NOTHING_SPECIAL: LocalOptions = LocalOptions {
    delete: false,
    on_conflict: None,
    keep_going: false,
    filter: None,
};

/// A tree beside a database with the default tables.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) kind: LocalKind,
    url: String,
    name: String,
    copy: String,
    now: AtomicU64,
}

impl Fixture {
    pub(crate) async fn new(kind: LocalKind) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sync_local_{}_{number}", std::process::id());
        let url = create(&name, "").await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("services")).unwrap();
        let fixture = Self {
            dir,
            kind,
            url,
            name,
            copy: "one".to_owned(),
            now: AtomicU64::new(1_790_000_000_000),
        };
        fixture.database().migrate(true).await.unwrap();
        fixture
    }

    /// The same database beside an empty tree that has never met it.
    pub(crate) fn elsewhere(&self, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("services")).unwrap();
        Self {
            dir,
            kind: self.kind,
            url: self.url.clone(),
            name: String::new(),
            copy: name.to_owned(),
            now: AtomicU64::new(1_790_000_000_000),
        }
    }

    fn database(&self) -> Database {
        Database::new(&self.url, ConnectOptions::default()).unwrap()
    }

    pub(crate) fn sync(&self) -> LocalSync {
        let place = LocalPlace {
            tree: self.tree(),
            private: self.dir.path().join(".sync"),
            allow_secrets: Vec::new(),
            database: self.database(),
            copy: self.copy.clone(),
        };
        LocalSync::new(self.kind, place)
    }

    pub(crate) fn ports(&self) -> Ports {
        static RANDOM: AtomicU64 = AtomicU64::new(1);
        Ports {
            now: self.now.fetch_add(1000, Ordering::Relaxed),
            random: Arc::new(|| {
                RANDOM
                    .fetch_add(1, Ordering::Relaxed)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            }),
            held: Arc::new(()),
        }
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.path().join("services")
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.tree().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        let path = self.tree().join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.tree().join(path).exists()
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.tree().join(path);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// Every file below a directory, by path.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        walk(&self.tree(), &self.tree(), &mut files);
        files.sort();
        files
    }

    /// Runs statements as a program of the user does.
    pub(crate) async fn run(&self, script: &str) {
        run(&self.url, script).await;
    }

    /// A text that a query gives; empty where it gives none.
    pub(crate) async fn ask(&self, query: &str) -> String {
        let rows = connect(&self.url).await.0.query(query, &[]).await;
        let rows = rows.unwrap_or_else(|error| panic!("{error:?}\n{query}"));
        let rows = rows
            .iter()
            .map(|row| row.get::<_, Option<String>>(0).unwrap_or_default());
        rows.collect::<Vec<_>>().join("\n")
    }

    pub(crate) async fn plan(
        &self,
        direction: Direction,
        options: &LocalOptions,
    ) -> Result<LocalPlan, Error> {
        self.sync().plan(direction, options).await
    }

    pub(crate) async fn go(
        &self,
        direction: Direction,
        options: &LocalOptions,
    ) -> Result<LocalOutcome, Error> {
        let sync = self.sync();
        let plan = sync.plan(direction, options).await?;
        sync.apply(plan, &self.ports()).await
    }

    /// A run that has to succeed.
    #[track_caller]
    pub(crate) fn done(
        &self,
        direction: Direction,
        options: &LocalOptions,
    ) -> impl Future<Output = LocalOutcome> {
        let at = std::panic::Location::caller();
        let going = self.go(direction, options);
        async move { going.await.unwrap_or_else(|error| panic!("{at}: {error}")) }
    }

    /// A run that has to fail.
    pub(crate) async fn refused(&self, direction: Direction, options: &LocalOptions) -> Error {
        self.go(direction, options).await.unwrap_err()
    }

    /// A push with nothing special, which has to succeed.
    #[track_caller]
    pub(crate) fn push(&self) -> impl Future<Output = LocalOutcome> {
        self.done(Direction::ToDatabase, &NOTHING_SPECIAL)
    }

    /// Likewise a pull.
    #[track_caller]
    pub(crate) fn pull(&self) -> impl Future<Output = LocalOutcome> {
        self.done(Direction::ToDisk, &NOTHING_SPECIAL)
    }

    /// What a push with nothing special would do.
    pub(crate) async fn plan_push(&self) -> LocalPlan {
        let plan = self.plan(Direction::ToDatabase, &NOTHING_SPECIAL).await;
        plan.unwrap()
    }

    /// Likewise a pull.
    pub(crate) async fn plan_pull(&self) -> LocalPlan {
        let plan = self.plan(Direction::ToDisk, &NOTHING_SPECIAL).await;
        plan.unwrap()
    }

    /// What is not in sync, as `key verdict` lines.
    pub(crate) async fn status(&self, direction: Direction, options: &LocalOptions) -> String {
        let plan = self.plan(direction, options).await.unwrap();
        let items = plan.items.iter();
        let lines = items.map(|item| format!("{} {:?}", item.key, item.verdict));
        lines.collect::<Vec<_>>().join("; ")
    }

    /// Both sides are equal, in either direction, and all of it is written down: nothing is left to be done.
    pub(crate) async fn assert_settled(&self) {
        for plan in [self.plan_push().await, self.plan_pull().await] {
            assert!(plan.problems.is_empty(), "{:?}", plan.problems);
            assert!(plan.items.is_empty(), "{:?}", plan.items);
            assert!(
                plan.is_empty(),
                "{:?}: something is not written down",
                plan.direction
            );
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            discard(&self.name);
        }
    }
}

fn walk(top: &Path, dir: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(top, &path, files);
        } else {
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            files.push((name, std::fs::read(&path).unwrap()));
        }
    }
}

/// Options with one thing set.
pub(crate) fn deleting() -> LocalOptions {
    LocalOptions {
        delete: true,
        ..LocalOptions::default()
    }
}

pub(crate) fn winning(side: sync_local::Side) -> LocalOptions {
    LocalOptions {
        on_conflict: Some(side),
        ..LocalOptions::default()
    }
}

pub(crate) fn keep_going() -> LocalOptions {
    LocalOptions {
        keep_going: true,
        ..LocalOptions::default()
    }
}

/// What a plan says of one item.
pub(crate) fn item(plan: &LocalPlan, key: &str) -> (Verdict, Change, Change) {
    let mut found = plan.items.iter().filter(|item| item.key.as_str() == key);
    let found = found.next().unwrap_or_else(|| panic!("{key} is in sync"));
    (found.verdict, found.disk, found.database)
}
