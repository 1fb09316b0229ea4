//! How fast rows get into a database, and in how much memory: `cargo run --release --example apply -- URL ROWS DIRECTORY`.
//!
//! `URL` names an empty database, which is left with one table; `DIRECTORY` is on a disk with room for the rows twice.
//! Without arguments it is a few rows in a database of its own on the server that `SYNC_TEST_POSTGRES` names.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on has failed"
)]

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use sync_core::Digest;
use sync_core::map::{Map, NodeSink, NodeSource, StoreError};
use sync_db::{ApplyPlan, ConnectOptions, Database, Epoch, Objects, Settlement, TableSpec};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS agents (id text PRIMARY KEY, name text NOT NULL, kind text, config jsonb,
    body text, created_at timestamptz NOT NULL); CREATE INDEX IF NOT EXISTS agents_name ON agents (name);
    CREATE INDEX IF NOT EXISTS agents_created ON agents (created_at)";

/// How long the file is, and where in it each object starts and how long that is.
type Index = (u64, HashMap<Digest, (u64, u32)>);

/// Objects in a file, found through a table in memory.
#[derive(Clone)]
struct FileNodes {
    file: Arc<File>,
    index: Arc<Mutex<Index>>,
}

impl FileNodes {
    fn create(directory: &str) -> Self {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(format!("{directory}/objects"));
        Self {
            file: Arc::new(file.unwrap()),
            index: Arc::default(),
        }
    }
}

impl NodeSource for FileNodes {
    fn node(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        let found = self.index.lock().unwrap().1.get(digest).copied();
        let Some((at, len)) = found else {
            return Ok(None);
        };
        let mut bytes = vec![0; usize::try_from(len)?];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(Some(bytes.into()))
    }
}

impl NodeSink for FileNodes {
    fn put(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        let mut index = self.index.lock().unwrap();
        let (at, len) = (index.0, u32::try_from(bytes.len())?);
        self.file.write_all_at(&bytes, at)?;
        index.0 += u64::from(len);
        index.1.insert(digest, (at, len));
        Ok(())
    }
}

/// A database and what was read of it.
struct Bench {
    database: Database,
    client: tokio_postgres::Client,
    specs: Vec<TableSpec>,
    nodes: FileNodes,
    epochs: u64,
}

impl Bench {
    async fn capture(&self) -> sync_db::Capture {
        let objects = Objects {
            source: self.nodes.clone(),
            nodes: self.nodes.clone(),
            contents: self.nodes.clone(),
        };
        let captured = self.database.capture(&self.specs, &[], objects, |_| ());
        captured.await.unwrap().0
    }

    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// Does `change`, takes it back by `back`, and measures how long applying it takes.
    async fn measure(&mut self, what: &str, change: &str, back: &str) {
        self.run(change).await;
        let wanted = self.capture().await.root;
        self.run(back).await;
        let capture = self.capture().await;
        self.epochs += 1;
        let settlement = Settlement {
            epoch: Epoch(u128::from(self.epochs).to_be_bytes()),
            agreed: None,
        };
        let plan = ApplyPlan {
            capture,
            after: wanted,
            settlement,
            base_before: Map::empty_root(),
        };
        self.run("CHECKPOINT").await;
        let start = Instant::now();
        let (source, nodes) = (self.nodes.clone(), self.nodes.clone());
        let applied = self.database.apply(plan, source, nodes, |_| ()).await;
        let took = start.elapsed();
        let applied = applied.unwrap();
        assert_eq!((applied.root, applied.set_aside.len()), (wanted, 0));
        println!("{what:28} {took:>10.1?}   peak {}", peak());
    }
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.unwrap_or("unknown").trim().to_owned()
}

#[tokio::main]
async fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let made = if arguments.is_empty() {
        Some(fresh(&mut arguments).await)
    } else {
        None
    };
    let [url, rows, directory] = arguments.as_slice() else {
        panic!("usage: apply URL ROWS DIRECTORY");
    };
    measure_all(url, rows, directory).await;
    if let Some((server, name)) = made {
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        server.batch_execute(&drop).await.unwrap();
    }
}

/// Makes a database, and the arguments that name it.
async fn fresh(arguments: &mut Vec<String>) -> (tokio_postgres::Client, String) {
    let Ok(url) = std::env::var("SYNC_TEST_POSTGRES") else {
        panic!(
            "no SYNC_TEST_POSTGRES: run `cargo xtask e2e up postgres`, or give URL ROWS DIRECTORY"
        );
    };
    let (server, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let name = format!("sync_example_{}", std::process::id());
    server
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await
        .unwrap();
    let (address, query) = url
        .split_once('?')
        .map_or((url.as_str(), String::new()), |(address, query)| {
            (address, format!("?{query}"))
        });
    let (address, _) = address.rsplit_once('/').unwrap();
    arguments.extend([
        format!("{address}/{name}{query}"),
        "2000".to_owned(),
        ".".to_owned(),
    ]);
    (server, name)
}

async fn measure_all(url: &str, rows: &str, directory: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut bench = Bench {
        database: Database::new(url, ConnectOptions::default()).unwrap(),
        client,
        specs: vec![TableSpec::new("agents".parse().unwrap())],
        nodes: FileNodes::create(directory),
        epochs: 0,
    };
    bench.run(TABLE).await;
    let fill = format!(
        "INSERT INTO agents SELECT md5(n::text), 'agent ' || n, 'kind ' || n % 10,
            jsonb_build_object('n', n, 'tools', jsonb_build_array('a', 'b', md5(n::text))),
            (SELECT string_agg(md5((n * 17 + k)::text), ' ') FROM generate_series(1, 14) k),
            timestamptz '2024-01-01' + n * interval '1 second' FROM generate_series(1, {rows}) n"
    );
    bench
        .measure("all rows into an empty table", &fill, "TRUNCATE agents")
        .await;
    let keep = "CREATE TABLE IF NOT EXISTS kept AS TABLE agents; DROP TABLE IF EXISTS other";
    bench.run(keep).await;
    let back = "UPDATE agents a SET name = k.name FROM kept k WHERE a.id = k.id AND a.name <> k.name; VACUUM agents";
    for (what, which) in [
        ("1 row changed", "name = 'agent 77'"),
        ("1 row changed again", "name = 'agent 78'"),
        (
            "1,000 rows changed",
            "id < (SELECT id FROM kept ORDER BY id OFFSET 1000 LIMIT 1)",
        ),
        ("all rows changed", "true"),
    ] {
        let change = format!("UPDATE agents SET name = name || '!' WHERE {which}");
        for back in back.split(';') {
            bench.run(back).await;
        }
        bench
            .measure(what, &change, back.split(';').next().unwrap())
            .await;
    }
    bench.run("DROP TABLE kept").await;
}
