//! What happens while `watch database` runs: how soon changes arrive, how many a second, and what writers pay.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use snafu::{OptionExt as _, ResultExt as _, ensure};

use super::{
    database::{Database, Session},
    place::Place,
    table,
};
use crate::{
    bench::meter::{End, Group},
    cargo,
    e2e::server::signal,
    error::{IoSnafu, Result, UnexpectedSnafu},
};

/// How often the other side is looked at.
const EVERY: Duration = Duration::from_millis(1);
/// How long a change may take before something is wrong.
const PATIENCE: Duration = Duration::from_mins(5);
/// Rows that a transaction of the sustained load changes.
const BATCH: u64 = 20;
/// Clients of the sustained load.
const CLIENTS: u64 = 4;

/// Many small changes through the watcher.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sustained {
    pub(super) rows: u64,
    /// Until the last of them was committed in the workspace's database.
    pub(super) written: Duration,
    /// Until the tenant's database had all.
    pub(super) arrived: Duration,
    pub(super) client: End,
    pub(super) server: End,
}

/// How soon single changes arrived.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// From the workspace's database to the tenant's.
    pub(super) up: Vec<Duration>,
    /// From the tenant's to the workspace's.
    pub(super) down: Vec<Duration>,
}

/// How single-row writers write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// To a twin of the table that is not tracked.
    Untracked,
    /// To the tracked table, with a watcher that listens but is held, so that it needs no processor.
    Held,
    /// To the tracked table, with everything that follows from it on the same machine.
    Live,
}

/// What single-row writers got done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writers {
    pub(super) clients: u64,
    pub(super) mode: Mode,
    pub(super) transactions_per_second: f64,
}

/// A running `watch database`.
#[derive(Debug)]
pub(super) struct Watcher<'a> {
    place: &'a Place,
    group: Group,
    child: Child,
    local: Session,
    tenant: Session,
    key: String,
}

impl<'a> Watcher<'a> {
    /// Starts to watch, and returns when changes arrive.
    pub(super) fn start(place: &'a Place) -> Result<Self> {
        let group = Group::new()?;
        let mut command = place.command();
        command.args(["--output", "ndjson", "watch", "database"]);
        let action = || IoSnafu {
            action: "start the watcher",
        };
        let log = place.directory().join("watch.log");
        let log = File::create(&log).with_context(|_| action())?;
        let errors = log.try_clone().with_context(|_| action())?;
        let child = group
            .wrap(&command)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .with_context(|_| action())?;
        let mut watcher = Self {
            place,
            group,
            child,
            local: place.local.session()?,
            tenant: place.tenant.session()?,
            key: place.local.run("SELECT key FROM bench.keys WHERE n = 1")?,
        };
        watcher.up()?;
        Ok(watcher)
    }

    /// One change of the workspace's database: how long after its commit the tenant's has it.
    pub(super) fn up(&mut self) -> Result<Duration> {
        let revision = self.place.next_revision();
        travel(&mut self.local, &mut self.tenant, &self.key, revision)
    }

    /// One change of the tenant's database: how long after its commit the workspace's has it.
    pub(super) fn down(&mut self) -> Result<Duration> {
        let revision = self.place.next_revision();
        travel(&mut self.tenant, &mut self.local, &self.key, revision)
    }

    /// Single changes in both directions, one after the other.
    pub(super) fn latency(&mut self, changes: usize) -> Result<Latency> {
        let mut latency = Latency::default();
        for change in 0..changes {
            // Not in step with anything: a prime number of milliseconds.
            thread::sleep(Duration::from_millis(23 + change as u64 * 7 % 31));
            latency.up.push(self.up()?);
            thread::sleep(Duration::from_millis(29));
            latency.down.push(self.down()?);
        }
        Ok(latency)
    }

    /// Several clients change rows as fast as they can, each once; how long until the tenant has them all.
    pub(super) fn sustained(&mut self, rows: u64) -> Result<Sustained> {
        let revision = self.place.next_revision();
        let share = rows / CLIENTS / BATCH * BATCH;
        let script = self.script(
            "sustained.sql",
            &format!(
                "\\set first :client_id * {share} + :i * {BATCH}\n\\set last :first + {BATCH}\n\\set i :i + 1\n\
                UPDATE items SET revision = {revision}, updated_at = clock_timestamp(), \
                body = bench.words(key || {revision}) || right(body, 260) \
                WHERE key IN (SELECT key FROM bench.keys WHERE n > :first AND n <= :last);\n"
            ),
        )?;
        self.group.forget_peaks();
        self.place.group.forget_peaks();
        let (client, server) = (self.group.cpu(), self.place.group.cpu());
        let mut load = self.place.local.program("pgbench");
        load.args(["--no-vacuum", "--define=i=0", "--jobs=1"])
            .arg(format!("--client={CLIENTS}"))
            .arg(format!("--transactions={}", share / BATCH))
            .arg("--file")
            .arg(&script);
        let began = Instant::now();
        cargo::output(load.stderr(Stdio::null()))?;
        let written = began.elapsed();
        let all = (share * CLIENTS).to_string();
        let count = format!("SELECT count(*) FROM items WHERE revision = {revision}");
        while self.tenant.ask(&count)? != all {
            ensure!(began.elapsed() < PATIENCE, late("the changes"));
            thread::sleep(EVERY * 10);
        }
        let arrived = began.elapsed();
        Ok(Sustained {
            rows: share * CLIENTS,
            written,
            arrived,
            client: End {
                cpu: self.group.cpu().saturating_sub(client),
                peak_bytes: self.group.peak_bytes(),
            },
            server: End {
                cpu: self.place.group.cpu().saturating_sub(server),
                peak_bytes: self.place.group.peak_bytes(),
            },
        })
    }

    /// Single-row writers, with and without tracking, in turns.
    pub(super) fn writers(&mut self, rounds: usize, seconds: u64) -> Result<Vec<Writers>> {
        twin(&self.place.local)?;
        let mut found = Vec::new();
        for _ in 0..rounds {
            for clients in [4, 16] {
                for mode in [Mode::Untracked, Mode::Held, Mode::Live] {
                    found.push(self.write(clients, mode, seconds)?);
                    // What was written has arrived before others write.
                    self.up()?;
                    table::settle(&self.place.local)?;
                }
            }
        }
        Ok(found)
    }

    fn write(&self, clients: u64, mode: Mode, seconds: u64) -> Result<Writers> {
        let table = match mode {
            Mode::Untracked => "bench.twin",
            Mode::Held | Mode::Live => table::NAME,
        };
        let script = self.script(
            "writers.sql",
            &format!(
                "\\set n random(1, {})\n\
                UPDATE {table} SET revision = revision + 1, updated_at = clock_timestamp() \
                WHERE key = (SELECT key FROM bench.keys WHERE n = :n);\n",
                self.place.rows
            ),
        )?;
        let mut load = self.place.local.program("pgbench");
        load.args(["--no-vacuum", "--protocol=prepared", "--jobs=1"])
            .arg(format!("--client={clients}"))
            .arg(format!("--time={seconds}"))
            .arg("--file")
            .arg(&script);
        let pid = Pid::from_child(&self.child);
        if mode == Mode::Held {
            signal(pid, Signal::STOP);
        }
        let said = cargo::output(load.stderr(Stdio::null()));
        if mode == Mode::Held {
            signal(pid, Signal::CONT);
        }
        let said = said?;
        let rate = said.lines().find_map(|line| {
            let rest = line.strip_prefix("tps = ")?;
            rest.split_whitespace().next()?.parse().ok()
        });
        Ok(Writers {
            clients,
            mode,
            transactions_per_second: rate.context(UnexpectedSnafu {
                what: format!("pgbench did not say how fast it was: {said}"),
            })?,
        })
    }

    fn script(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.place.directory().join(name);
        fs::write(&path, text).context(IoSnafu {
            action: format!("write `{}`", path.display()),
        })?;
        Ok(path)
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        signal(Pid::from_child(&self.child), Signal::TERM);
        drop(self.child.wait());
    }
}

/// Commits a change on one side and asks the other until it is there.
fn travel(from: &mut Session, to: &mut Session, key: &str, revision: u64) -> Result<Duration> {
    from.ask(&format!(
        "UPDATE items SET revision = {revision}, updated_at = clock_timestamp() WHERE key = '{key}'"
    ))?;
    let began = Instant::now();
    let wanted = revision.to_string();
    let question = format!("SELECT revision FROM items WHERE key = '{key}'");
    while to.ask(&question)? != wanted {
        ensure!(began.elapsed() < PATIENCE, late("a change"));
        thread::sleep(EVERY);
    }
    Ok(began.elapsed())
}

/// Makes the copy of the table that nothing tracks.
fn twin(database: &Database) -> Result<()> {
    let made = database.run(
        "CREATE TABLE bench.twin (LIKE items INCLUDING ALL);;
        INSERT INTO bench.twin SELECT * FROM items;;
        VACUUM (ANALYZE) bench.twin;;
        CHECKPOINT",
    );
    made.map(drop)
}

/// The error of what did not arrive.
fn late(what: &str) -> UnexpectedSnafu<String> {
    UnexpectedSnafu {
        what: format!("{what} did not arrive within {} s", PATIENCE.as_secs()),
    }
}
