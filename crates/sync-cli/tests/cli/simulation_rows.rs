//! The same for rows: three databases and a tenant with one of its own, whose program writes, too.
//!
//! Every value is written once, so it names its edit. In the end all four databases are equal, and every value is there, unless
//! somebody who saw it wrote over it, or a conflict named it to a person who chose the other one.
//! The PostgreSQL is the one that `SYNC_TEST_POSTGRES` names (`cargo xtask e2e up` starts one and says how to set it).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sync_db::{Isolation, TableSpec};
use sync_engine::rows::{Database, Resolution, conflicts, open_database};
use sync_engine::{Context, Direction, Error, OnConflict, Remote, Session, Workspace};
use sync_transport::{Call, Client, ClientOptions};

use super::schedules::{ANYTHING, Random, run_seeds};
use super::simulation::{
    Line, Machine, NAMES, Trouble, come_to_rest, dropped_after, is_expected, is_free,
};

const SIMULATIONS: u64 = 200;
/// What each of them does while things go wrong.
const STEPS: usize = 6;
/// So many seeds run at once, each in databases of its own; most of the time they wait.
const WORKERS: u64 = 8;
const TABLE: &str = "CREATE TABLE public.items (id text PRIMARY KEY, a text, b text)";
const DOING: &str = "simulating";

fn name(seed: u64, who: &str) -> String {
    format!("sync_sim_{}_{}_{who}", std::process::id(), seed % WORKERS)
}

fn url(name: &str) -> String {
    let server = std::env::var("SYNC_TEST_POSTGRES").unwrap_or_else(|_| panic!(
        "SYNC_TEST_POSTGRES is not set: run `cargo xtask e2e up`, which starts a PostgreSQL and says how to set it",
    ));
    let (base, query) = match server.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (server.as_str(), String::new()),
    };
    let (host, _) = base.rsplit_once('/').unwrap();
    format!("{host}/{name}{query}")
}

/// A database as if it were new.
async fn database(name: &str) -> Database {
    let database = open_database(&url(name)).unwrap();
    let is_there = {
        let found = open_database(&url("postgres")).unwrap();
        let asking = found.begin(DOING, Isolation::Snapshot).await.unwrap();
        let sql = "SELECT 1::text FROM pg_catalog.pg_database WHERE datname = $1";
        let rows = asking.query(DOING, sql, &[name]).await.unwrap();
        asking.commit(DOING).await.unwrap();
        !rows.is_empty()
    };
    if !is_there {
        outside(&format!("CREATE DATABASE {name}")).await;
    }
    let clearing = database.begin(DOING, Isolation::Latest).await.unwrap();
    let script =
        format!("DROP SCHEMA IF EXISTS sync CASCADE; DROP TABLE IF EXISTS public.items; {TABLE}");
    clearing.run(DOING, &script).await.unwrap();
    clearing.commit(DOING).await.unwrap();
    database.migrate(false).await.unwrap();
    database
}

/// A statement that cannot be in a transaction: the one that is open ends before it.
async fn outside(statement: &str) {
    let server = open_database(&url("postgres")).unwrap();
    let session = server.begin(DOING, Isolation::Latest).await.unwrap();
    session.run(DOING, "COMMIT").await.unwrap();
    session.run(DOING, statement).await.unwrap();
}

async fn rows(database: &Database) -> Vec<Vec<Option<String>>> {
    let reading = database.begin(DOING, Isolation::Snapshot).await.unwrap();
    let sql = "SELECT id, a, b FROM public.items ORDER BY id COLLATE \"C\"";
    let rows = reading.query(DOING, sql, &[]).await.unwrap();
    reading.commit(DOING).await.unwrap();
    rows
}

/// What was written, and what became of it.
#[derive(Debug, Default)]
struct Ledger {
    /// Each value, and the key of its row.
    written: BTreeMap<String, String>,
    /// What somebody who saw it wrote over, or removed.
    superseded: BTreeSet<String>,
    /// What a conflict named.
    listed: BTreeSet<String>,
    removed: BTreeSet<String>,
}

impl Ledger {
    fn list(&mut self, report: &Value) {
        match report {
            Value::String(text) => {
                self.listed.insert(text.clone());
            }
            Value::Array(values) => values.iter().for_each(|value| self.list(value)),
            Value::Object(values) => values.values().for_each(|value| self.list(value)),
            _ => {}
        }
    }

    fn check(&self, rows: &[Vec<Option<String>>]) {
        let there: BTreeSet<&str> = rows
            .iter()
            .flatten()
            .flatten()
            .map(String::as_str)
            .collect();
        for (value, key) in &self.written {
            let is_known = self.superseded.contains(value) || self.listed.contains(value);
            assert!(
                there.contains(value.as_str()) || is_known,
                "{value} of {key} is lost: {self:#?}"
            );
        }
        for key in &self.removed {
            assert!(
                !there.contains(key.as_str()) || self.listed.contains(key),
                "{key} was removed and is back: {self:#?}"
            );
        }
    }
}

/// One edit by a program that sees what it writes over.
async fn edit(
    database: &Database,
    who: &str,
    ledger: &Mutex<Ledger>,
    random: &mut Random,
) -> Result<(), sync_db::Error> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let value = || format!("{who}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let editing = database.begin(DOING, Isolation::Latest).await?;
    let sql = "SELECT id, a, b FROM public.items ORDER BY id";
    let held = editing.query(DOING, sql, &[]).await?;
    let chosen = (!held.is_empty()).then(|| held[random.below(held.len().max(1))][0].clone());
    let Some(key) = chosen.flatten().filter(|_| random.below(4) > 0) else {
        let (key, value) = (format!("k-{}", value()), value());
        let sql = "INSERT INTO public.items (id, a) VALUES ($1, $2)";
        editing.execute(DOING, sql, &[&key, &value]).await?;
        editing.commit(DOING).await?;
        ledger.lock().unwrap().written.insert(value, key);
        return Ok(());
    };
    // A sync may be writing it: what is replaced is what was seen under the lock.
    let sql = "SELECT a, b FROM public.items WHERE id = $1 FOR UPDATE";
    let Some(seen) = editing.query(DOING, sql, &[&key]).await?.pop() else {
        return Ok(());
    };
    if random.below(6) == 0 {
        let sql = "DELETE FROM public.items WHERE id = $1";
        editing.execute(DOING, sql, &[&key]).await?;
        editing.commit(DOING).await?;
        let mut ledger = ledger.lock().unwrap();
        ledger.superseded.extend(seen.into_iter().flatten());
        ledger.removed.insert(key);
        return Ok(());
    }
    let (column, value) = (random.below(2), value());
    let sql = format!(
        "UPDATE public.items SET {} = $2 WHERE id = $1",
        ["a", "b"][column]
    );
    editing.execute(DOING, &sql, &[&key, &value]).await?;
    editing.commit(DOING).await?;
    let mut ledger = ledger.lock().unwrap();
    ledger.superseded.extend(seen[column].clone());
    ledger.written.insert(value, key);
    Ok(())
}

/// A workspace with its database.
struct Desk {
    root: PathBuf,
    name: &'static str,
    database: Database,
    line: Arc<Line>,
    random: Random,
    ledger: Arc<Mutex<Ledger>>,
}

impl Desk {
    fn session(&mut self, client: Client) -> Session {
        let remote = Remote::new(client, "acme".parse().unwrap(), "main".parse().unwrap());
        // States of databases are told apart by random names.
        let random = Mutex::new(Random(self.random.below(usize::MAX) as u64));
        let context = Context {
            author: self.name.to_owned(),
            now: 1_700_000_000_000 + self.random.below(7_200_000) as u64,
            random: Arc::new(move || random.lock().unwrap().below(usize::MAX) as u64),
            listener: Arc::new(|_| {}),
        };
        Session::new(Workspace::open(&self.root).unwrap(), remote, context).unwrap()
    }

    async fn work(mut self) -> Self {
        for _ in 0..STEPS {
            tokio::time::sleep(Duration::from_millis(self.random.below(10) as u64)).await;
            if self.random.below(2) == 0 {
                let edited = edit(&self.database, self.name, &self.ledger, &mut self.random);
                edited.await.unwrap();
            } else {
                self.command().await;
            }
        }
        self.line.set(Trouble::None);
        is_free(&self.root).await;
        self
    }

    async fn command(&mut self) {
        let trouble = Trouble::draw(&mut self.random);
        self.line.set(trouble);
        let steps = match self.random.below(4) {
            0 => self.random.below(120),
            _ => usize::MAX,
        };
        let direction = match self.random.below(4) {
            0 => Direction::Push,
            1 => Direction::Pull,
            _ => Direction::Sync,
        };
        let session = self.session(self.line.impatient());
        let done = self.run(&session, direction);
        let Some(done) = dropped_after(steps, Box::pin(done)).await else {
            return;
        };
        if let Err(error) = done {
            assert!(
                is_expected(&error) || error.is_race(),
                "{}: {trouble:?}: {error} ({error:?})",
                self.name
            );
        }
    }

    /// Whether anything moved. Where a person has to choose, a person does.
    async fn run(&self, session: &Session, direction: Direction) -> Result<bool, Error> {
        session.recover().await?;
        let rows = session.rows(self.database.clone()).await?;
        let plan = rows.plan(direction, OnConflict::Ask).await?;
        let moves = !plan.pull.is_empty() || !plan.push.is_empty() || !plan.conflicts.is_empty();
        let conflicts = serde_json::to_value(&plan.conflicts).unwrap();
        self.ledger.lock().unwrap().list(&conflicts);
        let done = rows.apply(plan, None, &ANYTHING).await;
        match done {
            Err(Error::Conflict { .. }) => {
                let workspace = Workspace::open(&self.root).unwrap();
                let choice = match self.name.len() % 2 {
                    0 => Resolution::Ours,
                    _ => Resolution::Theirs,
                };
                conflicts::resolve(&workspace, 1_700_000_000_000, None, choice)?;
            }
            done => drop(done?),
        }
        Ok(moves)
    }

    /// Syncs on a network that is whole, anew where rows moved meanwhile; whether anything did.
    async fn settle(&mut self) -> bool {
        let session = self.session(self.line.client(ClientOptions::default()));
        for _ in 0..20 {
            match Box::pin(self.run(&session, Direction::Sync)).await {
                Err(error) if error.is_race() || is_expected(&error) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                moved => return moved.unwrap(),
            }
        }
        panic!("{}: a sync comes to no end", self.name);
    }
}

/// Gives the tenant its database, as an operator does.
async fn introduce(line: &Arc<Line>, tables: &[TableSpec]) {
    let database = json!({"url_env": "TENANT_URL", "branch": "main", "tables": tables});
    let body = json!({"tenant": "acme", "database": database}).to_string();
    let call = Call::new(Method::PUT, "/v1/admin/database").body(body.into_bytes());
    let answer = line
        .client(ClientOptions::default())
        .send(call)
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

async fn simulate(dir: &Path, seed: u64) {
    let mut random = Random(seed);
    let tenant_name = name(seed, "tenant");
    let tenant = database(&tenant_name).await;
    let mut machine = Machine::new(Some(url(&tenant_name))).await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut desks = Vec::new();
    for who in NAMES {
        let root = dir.join(who);
        fs::create_dir_all(&root).unwrap();
        let config = "[remote]\nurl = \"https://tenant\"\ntenant = \"acme\"\n\n[[database.tables]]\nname = \"items\"\n";
        fs::write(root.join("sync.toml"), config).unwrap();
        desks.push(Desk {
            root,
            name: who,
            database: database(&name(seed, who)).await,
            line: Arc::new(Line::new(&machine.host, &mut random)),
            random: Random(seed.wrapping_mul(3).wrapping_add(desks.len() as u64)),
            ledger: Arc::clone(&ledger),
        });
    }
    let tables = Workspace::open(&desks[0].root)
        .unwrap()
        .config()
        .database
        .tables();
    introduce(&desks[0].line, &tables).await;
    // The last of them reads its table whole every time.
    for database in [&tenant, &desks[0].database, &desks[1].database] {
        database.track(&tables[0]).await.unwrap();
    }
    for _ in 0..4 {
        let first = edit(&desks[0].database, NAMES[0], &ledger, &mut random);
        first.await.unwrap();
    }
    assert!(desks[0].settle().await);

    let working: Vec<_> = desks
        .into_iter()
        .map(|desk| tokio::spawn(desk.work()))
        .collect();
    edit(&tenant, "tenant", &ledger, &mut random).await.unwrap();
    machine.falter(&mut random).await;
    edit(&tenant, "tenant", &ledger, &mut random).await.unwrap();
    let mut desks = Vec::new();
    for work in working {
        desks.push(work.await.unwrap());
    }
    come_to_rest(&mut desks, async |desk| desk.settle().await).await;
    let ends = rows(&tenant).await;
    for desk in &desks {
        assert_eq!(rows(&desk.database).await, ends, "{} differs", desk.name);
    }
    ledger.lock().unwrap().check(&ends);
    machine.kill().await;
}

#[test]
fn no_acknowledged_row_is_lost() {
    let asked = std::env::var("SYNC_SIMULATIONS").ok();
    let count = asked.map_or(SIMULATIONS, |count| count.parse().unwrap());
    let ran = std::panic::catch_unwind(|| {
        run_seeds(count, WORKERS, async |dir, seed| {
            Box::pin(simulate(dir, seed)).await;
        });
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for seed in 0..WORKERS {
        for who in NAMES.into_iter().chain(["tenant"]) {
            let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", name(seed, who));
            runtime.block_on(outside(&drop));
        }
    }
    if let Err(reason) = ran {
        std::panic::resume_unwind(reason);
    }
}
