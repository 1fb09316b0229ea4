//! A fresh database for each test, and what tests ask of it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use sync_core::Digest;
use sync_core::map::{MemoryNodes, NodeSink, NodeSource, StoreError};
use sync_db::{
    Capture, ConnectOptions, Database, Epoch, Error, Known, Objects, Settlement, TableSpec,
};

use crate::server::{connect, create, discard, run, server};

/// A database that is dropped with this.
pub(crate) struct Fixture {
    pub(crate) db: Database,
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) objects: SharedNodes,
}

impl Fixture {
    /// An empty one.
    pub(crate) async fn new() -> Self {
        Self::made_with("").await
    }

    /// One that is made with these options of `CREATE DATABASE`.
    pub(crate) async fn made_with(options: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sync_test_{}_{number}", std::process::id());
        let url = create(&name, options).await;
        let db = Database::new(&url, ConnectOptions::default()).expect("the URL is one");
        Self {
            db,
            name,
            url,
            objects: SharedNodes::default(),
        }
    }

    /// A copy of it, as it is; connections to it are ended.
    pub(crate) async fn copy(&self) -> Self {
        let end = format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{}'",
            self.name
        );
        run(&server(), &end).await;
        Self::made_with(&format!("TEMPLATE {}", self.name)).await
    }

    /// Runs statements.
    pub(crate) async fn run(&self, script: &str) {
        run(&self.url, script).await;
    }

    /// A connection to it, as a program of the user has one.
    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        connect(&self.url).await.0
    }

    /// A number that a query gives.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        let row = self.client().await.query_one(query, &[]).await;
        row.unwrap_or_else(|error| panic!("{error:?}\n{query}"))
            .get(0)
    }

    /// A capture into the objects of this fixture.
    pub(crate) async fn capture(
        &self,
        specs: &[TableSpec],
        known: Option<Known>,
    ) -> Result<Capture, Error> {
        let objects = Objects {
            source: self.objects.clone(),
            nodes: self.objects.clone(),
            contents: self.objects.clone(),
        };
        let captured = self
            .db
            .capture(specs, known.as_slice(), objects, |_| ())
            .await;
        captured.map(|(capture, _)| capture)
    }

    /// Captures and writes it down; what its owner then knows.
    pub(crate) async fn settle(
        &self,
        specs: &[TableSpec],
        known: Option<Known>,
    ) -> (Capture, Known) {
        let capture = self.capture(specs, known).await.unwrap();
        let known = self.write_down(&capture).await.unwrap();
        (capture, known)
    }

    /// Writes a capture down.
    pub(crate) async fn write_down(&self, capture: &Capture) -> Result<Known, Error> {
        let epoch = fresh_epoch();
        let settlement = Settlement {
            epoch,
            agreed: None,
        };
        self.db.settle(capture, settlement).await?;
        Ok(Known {
            epoch,
            root: capture.root,
        })
    }

    /// The root of everything, read whole.
    pub(crate) async fn root(&self, specs: &[TableSpec]) -> Digest {
        self.db.verify(specs).await.unwrap().root
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        discard(&self.name);
    }
}

/// An epoch that no other is like.
pub(crate) fn fresh_epoch() -> Epoch {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let mut bytes = [7; 16];
    bytes[..4].copy_from_slice(&NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Epoch(bytes)
}

/// Row sets by their names.
pub(crate) fn specs(names: &[&str]) -> Vec<TableSpec> {
    let specs = names
        .iter()
        .map(|name| TableSpec::new(name.parse().unwrap()));
    specs.collect()
}

/// Objects in memory that several can have.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedNodes(Arc<Mutex<MemoryNodes>>);

impl SharedNodes {
    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap() = MemoryNodes::new();
    }
}

impl NodeSource for SharedNodes {
    fn node(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        self.0.lock().unwrap().node(digest)
    }
}

impl NodeSink for SharedNodes {
    fn put(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.0.lock().unwrap().put(digest, bytes)
    }
}
