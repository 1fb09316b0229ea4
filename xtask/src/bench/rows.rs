//! `cargo xtask bench rows`: ours beside what people do today between two databases, on one server, in one run.
//!
//! [`table`] makes the rows, [`database`] the databases, [`place`] is ours, [`peers`] are the others, [`watching`] and [`history`] measure what is no single push, [`report`] makes the tables.

pub(super) mod database;
mod history;
mod peers;
mod place;
mod report;
mod table;
mod watching;

use std::path::PathBuf;

use snafu::{ResultExt as _, ensure};

use super::{Arguments, meter::Sample, report as document};
use crate::{
    cargo, debian, e2e,
    error::{IoSnafu, Result, UnexpectedSnafu},
};
use database::{Database, Server};
use place::Place;
use report::{Findings, Operation};
use watching::Watcher;

/// The peer of the first push.
const COPY: &str = "COPY \\| COPY, upsert";
/// The peer of untracked comparisons.
const READ: &str = "COPY … ORDER BY, twice";

/// How much is done.
#[derive(Debug, Clone, Copy)]
struct Scale {
    rows: u64,
    /// Of the first push and of untracked comparisons.
    runs: usize,
    /// Of what takes no time.
    short_runs: usize,
    /// Rows that are upserted one by one.
    sampled: u64,
    /// Single changes in each direction.
    changes: usize,
    /// Rows of the sustained load.
    sustained: u64,
    /// How long writers write each time.
    seconds: u64,
    snapshots: u64,
}

impl Scale {
    fn of(arguments: &Arguments) -> Self {
        let quick = arguments.quick;
        let either = |full, quickly| if quick { quickly } else { full };
        let rows = arguments.rows.unwrap_or(either(1_000_000, 20_000));
        Self {
            rows,
            runs: arguments.runs.unwrap_or(if quick { 1 } else { 3 }),
            short_runs: if quick { 3 } else { 5 },
            sampled: either(10_000, 1_000).min(rows),
            changes: if quick { 20 } else { 100 },
            sustained: either(100_000, 10_000).min(rows),
            seconds: either(10, 2),
            snapshots: either(1_000, 20),
        }
    }
}

/// What every part needs.
struct Bench {
    program: PathBuf,
    root: PathBuf,
    server: Server,
    scale: Scale,
    has_peers: bool,
    /// What was asked for, where the document is written.
    how: Option<String>,
}

/// Runs the benchmark and writes what it found after each part: one that is stopped has not measured for nothing.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let scale = Scale::of(arguments);
    ensure!(
        scale.rows >= 10_000,
        UnexpectedSnafu {
            what: "a tenth of fewer than 10,000 rows has not 1,000 to change"
        }
    );
    debian::demand("psql", "postgresql-client")?;
    debian::demand("pgbench", "postgresql-contrib")?;
    let program = e2e::build()?;
    let disk = arguments
        .disk
        .clone()
        .unwrap_or_else(|| PathBuf::from("/var/tmp"));
    let root = tempfile::tempdir_in(&disk).context(IoSnafu {
        action: format!("create a directory in `{}`", disk.display()),
    })?;
    let is_complete = !arguments.quick && !arguments.ours_only;
    let bench = Bench {
        program,
        root: root.path().to_owned(),
        server: Server::new()?,
        scale,
        has_peers: !arguments.ours_only,
        how: is_complete.then(|| format!(" --rows {} --runs {}", scale.rows, scale.runs)),
    };
    let done = bench.everything();
    done.and(bench.server.down())
}

impl Bench {
    fn everything(&self) -> Result<()> {
        let mut findings = Findings {
            rows: self.scale.rows,
            server: self.server.description()?,
            ..Findings::default()
        };
        println!("filling {} rows", self.scale.rows);
        let template = self.server.database("template", None)?;
        table::fill(&template, self.scale.rows)?;
        let place = self.first_pushes(&template, &mut findings)?;
        self.write(&findings)?;
        self.untracked(&place, &mut findings)?;
        place.track()?;
        place.push_of(0)?;
        self.tracked(&place, &mut findings)?;
        self.write(&findings)?;
        self.fewer(&mut findings)?;
        self.write(&findings)?;
        self.watched(&place, &mut findings)?;
        // What the watcher's workspace pulled and pushed is agreed on before the history begins.
        place.push_of(0)?;
        println!("history");
        history::grow(&place, self.scale.snapshots, |history| {
            findings.history = Some(history);
            self.write(&findings)
        })?;
        place.verify()?;
        let how = self.how.as_deref().unwrap_or(" --quick");
        println!("\n{}", findings.text(how));
        self.write(&findings)
    }

    /// First pushes, by ours and by peers in turn; the place of the last one stays.
    fn first_pushes(&self, template: &Database, findings: &mut Findings) -> Result<Place> {
        let mut last = None;
        for run in 1..=self.scale.runs {
            println!("first push, run {run} of {}", self.scale.runs);
            // Its databases are gone before there are new ones of their names.
            drop(last.take());
            let (server, program) = (&self.server, &self.program);
            let name = ("large", self.scale.rows);
            let place = Place::new(program, server, template, name, &self.root)?;
            findings.table_bytes = table_bytes(&place.local)?;
            table::settle(&place.local)?;
            let mut ran = place.push_of(self.scale.rows)?;
            ran.sample.stored = Some(place.stored()?);
            findings.ours(Operation::First, ran);
            place.verify()?;
            if self.has_peers {
                self.first_by_peers(&place, findings)?;
            }
            last = Some(place);
        }
        last.map_or_else(
            || {
                UnexpectedSnafu {
                    what: "there has to be a run",
                }
                .fail()
            },
            Ok,
        )
    }

    fn first_by_peers(&self, place: &Place, findings: &mut Findings) -> Result<()> {
        type Peer = fn(&Database, &Database) -> Result<Sample>;
        let from = &place.local;
        let peers: [(&str, Peer); 2] = [(COPY, peers::copy), ("pg_dump \\| psql", peers::dump)];
        for (who, peer) in peers {
            let to = self.empty(from)?;
            let sample = peer(from, &to)?;
            ensure!(
                table::sum(&to)? == table::sum(from)?,
                UnexpectedSnafu {
                    what: format!("{who} left another table")
                }
            );
            findings.peer(Operation::First, who, sample);
        }
        let to = self.empty(from)?;
        let mut sample = peers::row_by_row(from, &to, self.scale.sampled, &self.root)?;
        let times = u32::try_from(self.scale.rows / self.scale.sampled).unwrap_or(u32::MAX);
        sample.wall *= times;
        sample.client.cpu *= times;
        let who = "row by row (from a sample)";
        findings.peer(Operation::First, who, sample);
        Ok(())
    }

    fn empty(&self, settled: &Database) -> Result<Database> {
        let to = self.server.database("peer", None)?;
        to.run(table::DEFINITION)?;
        table::settle(settled)?;
        Ok(to)
    }

    /// Both sides read whole.
    fn untracked(&self, place: &Place, findings: &mut Findings) -> Result<()> {
        println!("untracked");
        for _ in 0..self.scale.runs {
            table::settle(&place.local)?;
            findings.ours(Operation::UntrackedNothing, place.push_of(0)?);
            if self.has_peers {
                let (here, there) = (peers::read(&place.local)?, peers::read(&place.tenant)?);
                let mut both = here;
                both.wall += there.wall;
                both.client.cpu += there.client.cpu;
                findings.peer(Operation::UntrackedNothing, READ, both);
            }
            place.change(10)?;
            findings.ours(Operation::UntrackedTen, place.push_of(10)?);
        }
        Ok(())
    }

    fn tracked(&self, place: &Place, findings: &mut Findings) -> Result<()> {
        println!("tracked");
        for _ in 0..self.scale.short_runs {
            findings.ours(Operation::Nothing, place.push_of(0)?);
            place.change(1000)?;
            findings.ours(Operation::Thousand, place.push_of(1000)?);
        }
        Ok(())
    }

    /// The same change in a table of a tenth.
    fn fewer(&self, findings: &mut Findings) -> Result<()> {
        println!("a tenth of the rows");
        let rows = self.scale.rows / 10;
        let template = self.server.database("small_template", None)?;
        table::fill(&template, rows)?;
        let (server, program) = (&self.server, &self.program);
        let place = Place::new(program, server, &template, ("small", rows), &self.root)?;
        place.push_of(rows)?;
        place.track()?;
        place.push_of(0)?;
        for _ in 0..self.scale.short_runs {
            place.change(1000)?;
            findings.ours(Operation::ThousandOfFewer, place.push_of(1000)?);
        }
        place.verify()
    }

    fn watched(&self, place: &Place, findings: &mut Findings) -> Result<()> {
        println!("watching");
        let mut watcher = Watcher::start(place)?;
        findings.latency = watcher.latency(self.scale.changes)?;
        self.write(findings)?;
        for _ in 0..self.scale.runs {
            findings
                .sustained
                .push(watcher.sustained(self.scale.sustained)?);
        }
        self.write(findings)?;
        findings.writers = watcher.writers(self.scale.runs, self.scale.seconds)?;
        self.write(findings)
    }

    /// Puts what was found so far into the document, if the run is one for it.
    fn write(&self, findings: &Findings) -> Result<()> {
        match &self.how {
            Some(how) => document::write("rows", &findings.text(how)),
            None => Ok(()),
        }
    }
}

/// How many bytes the rows have as `COPY` writes them in binary.
fn table_bytes(of: &Database) -> Result<u64> {
    let counted = "psql -Xq -c 'COPY items TO STDOUT (FORMAT binary)' | wc -c";
    let text = cargo::output(of.program("bash").args(["-c", counted]))?;
    Ok(text.trim().parse().unwrap_or_default())
}
