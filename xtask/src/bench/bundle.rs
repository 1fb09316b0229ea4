//! `cargo xtask bench bundle`: a tenant into a file and back, beside `tar --zstd` of the tree and `pg_dump` of the database.
//!
//! The peers save what is there now; ours has the history, and checks what it reads.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use snafu::{ResultExt as _, ensure};

use super::{
    Arguments,
    meter::{Sample, measure},
    report::{grouped, machine, mebibytes, median, seconds, write},
    rows::database::{Database, Server},
};
use crate::{
    debian, e2e,
    error::{IoSnafu, Result, UnexpectedSnafu},
    noise::Random,
};

/// What is done, in this order.
const OPERATIONS: [&str; 4] = ["save", "check", "load into nothing", "load once more"];
const OURS: &str = "ours";
const PEERS: &str = "tar --zstd, pg_dump";
/// So many bytes of text each file has, about.
const BODY: usize = 1200;
/// How many files share a directory.
const SHARED: usize = 100;
/// The table of the rows.
const TABLE: &str =
    "CREATE TABLE items (id text PRIMARY KEY, a text, b text, n int, at timestamptz);
     INSERT INTO items SELECT 'item-' || i, md5(i::text), repeat(md5((i + 1)::text), 8), i,
     '2026-01-01'::timestamptz + i * interval '1 second' FROM generate_series(1, ";

/// What was measured, by operation and who did it.
type Found = BTreeMap<(usize, &'static str), Vec<Sample>>;

/// A workspace with a database, and its tenant in a directory.
struct Desk<'s> {
    root: PathBuf,
    server: &'s Server,
    database: Database,
    program: &'s Path,
}

/// Runs the benchmark; a complete one goes into the document.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    debian::demand("pg_dump", "postgresql-client")?;
    debian::demand("zstd", "zstd")?;
    let program = e2e::build()?;
    let disk = arguments.disk.clone();
    let disk = disk.unwrap_or_else(|| PathBuf::from("/var/tmp"));
    let root = tempfile::tempdir_in(&disk).context(IoSnafu {
        action: format!("create a directory in `{}`", disk.display()),
    })?;
    let items = if arguments.quick { 2000 } else { 100_000 };
    let items = arguments.rows.unwrap_or(items);
    let runs = arguments
        .runs
        .unwrap_or(if arguments.quick { 1 } else { 3 });
    let server = Server::new()?;
    let bench = Desk::new(&server, &program, root.path(), items)?;
    let mut found = Found::new();
    let mut sizes = BTreeMap::new();
    for run in 1..=runs {
        println!("run {run} of {runs}");
        bench.ours(&mut found, &mut sizes)?;
        if !arguments.ours_only {
            bench.peers(&mut found, &mut sizes)?;
        }
    }
    let how = format!(" --runs {runs}");
    let text = text(&found, &sizes, items, &server.description()?, &how);
    println!("\n{text}");
    if !arguments.quick && !arguments.ours_only {
        write("bundle", &text)?;
    }
    drop(bench);
    server.down()
}

impl<'s> Desk<'s> {
    /// A tenant that has so many files and rows, in two snapshots.
    fn new(server: &'s Server, program: &'s Path, root: &Path, items: u64) -> Result<Self> {
        let desk = Self {
            root: root.to_owned(),
            server,
            database: server.database("bundle", None)?,
            program,
        };
        println!("making {} files and rows", grouped(items));
        for number in 0..usize::try_from(items).unwrap_or(usize::MAX) {
            let mut random = Random::new(number as u64);
            let mut body = String::with_capacity(BODY + 20);
            while body.len() < BODY {
                let _ = write!(body, "{:x} ", random.word() & 0xff_ffff);
            }
            let path = format!("services/{:04}/{number}.md", number / SHARED);
            put(&desk.root.join(path), &body)?;
        }
        desk.database.run(&format!("{TABLE}{items}) i"))?;
        put(
            &desk.root.join("sync.toml"),
            "[remote]\nurl = \"embedded:data\"\ntenant = \"source\"\nbranch = \"main\"\n\n[database]\nurl_file = \"database.url\"\n[[database.tables]]\nname = \"items\"\n",
        )?;
        put(&desk.root.join("database.url"), &desk.database.url())?;
        desk.call(&["db", "migrate", "--bookkeeping"])?;
        desk.call(&["push", "--yes"])?;
        desk.database
            .run("UPDATE items SET b = 'changed' WHERE n % 100 = 0")?;
        put(&desk.root.join("services/0000/0.md"), "changed\n")?;
        desk.call(&["push", "--yes"])?;
        Ok(desk)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.arg("-C").arg(&self.root).args(["--output", "json"]);
        command.env("HOME", &self.root);
        command.env("TMPDIR", &self.root);
        command
    }

    fn call(&self, words: &[&str]) -> Result<(Sample, Value)> {
        let (sample, said) = measure(self.command().args(words), None, None)?;
        Ok((sample, serde_json::from_str(&said).unwrap_or_default()))
    }

    fn ours(&self, found: &mut Found, sizes: &mut BTreeMap<&str, u64>) -> Result<()> {
        let file = self.root.join("tenant.tar.zst").display().to_string();
        let (sample, exported) = self.call(&["export", "--out", &file])?;
        add(found, 0, OURS, sample);
        sizes.insert(OURS, size(Path::new(&file))?);
        let (sample, _) = self.call(&["verify", &file])?;
        add(found, 1, OURS, sample);
        let target = self.root.join("target");
        if target.exists() {
            fs::remove_dir_all(&target).context(IoSnafu {
                action: "remove the tenant of the run before",
            })?;
        }
        let target = target.display().to_string();
        self.call(&["tenant", "create", "copy", "--data", &target])?;
        let key = exported["bundle"]["signed_by"].as_str().unwrap_or_default();
        let words = ["import", &file, "--trust", key, "--data", &target];
        let words = [&words[..], &["--tenant", "copy"]].concat();
        for (at, expected) in [(2, "imported"), (3, "unchanged")] {
            let (sample, done) = self.call(&words)?;
            ensure!(
                done["result"] == expected,
                UnexpectedSnafu {
                    what: format!("import did not say {expected}: {done}")
                }
            );
            add(found, at, OURS, sample);
        }
        Ok(())
    }

    fn peers(&self, found: &mut Found, sizes: &mut BTreeMap<&str, u64>) -> Result<()> {
        let (tar, dump) = (self.root.join("tree.tar.zst"), self.root.join("rows.dump"));
        let mut saving = Command::new("tar");
        saving.arg("--zstd").arg("-cf").arg(&tar).arg("-C");
        saving.arg(&self.root).arg("services");
        let mut dumping = self.database.program("pg_dump");
        dumping.args(["-Fc", "-f"]).arg(&dump);
        add(found, 0, PEERS, both(&saving, &dumping)?);
        sizes.insert(PEERS, size(&tar)? + size(&dump)?);
        let there = self.root.join("there");
        fs::create_dir_all(&there).context(IoSnafu {
            action: "make a directory",
        })?;
        let database = self.server.database("bundle_there", None)?;
        let mut loading = Command::new("tar");
        loading
            .arg("--zstd")
            .arg("-xf")
            .arg(&tar)
            .arg("-C")
            .arg(&there);
        let mut restoring = database.program("pg_restore");
        restoring
            .args(["--no-owner", "-d", database.name()])
            .arg(&dump);
        add(found, 2, PEERS, both(&loading, &restoring)?);
        fs::remove_dir_all(&there).context(IoSnafu {
            action: "remove a directory",
        })
    }
}

fn add(found: &mut Found, at: usize, who: &'static str, sample: Sample) {
    println!(
        "  {:<20} {who:<22} {:>8.3} s {:>6} MiB",
        OPERATIONS[at],
        sample.wall.as_secs_f64(),
        mebibytes(sample.client.peak_bytes)
    );
    found.entry((at, who)).or_default().push(sample);
}

/// One after the other.
fn both(first: &Command, second: &Command) -> Result<Sample> {
    let (mut all, _) = measure(first, None, None)?;
    let (then, _) = measure(second, None, None)?;
    all.wall += then.wall;
    all.client.cpu += then.client.cpu;
    all.client.peak_bytes = all.client.peak_bytes.max(then.client.peak_bytes);
    Ok(all)
}

fn size(path: &Path) -> Result<u64> {
    let found = fs::metadata(path).context(IoSnafu {
        action: format!("look at `{}`", path.display()),
    })?;
    Ok(found.len())
}

/// Writes a file, and the directories above it.
fn put(path: &Path, text: &str) -> Result<()> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, text)).context(IoSnafu {
        action: format!("write `{}`", path.display()),
    })
}

/// What is to be read.
fn text(found: &Found, sizes: &BTreeMap<&str, u64>, items: u64, server: &str, how: &str) -> String {
    let today = super::report::said("date", &["+%Y-%m-%d"]);
    let mut text = format!(
        "Measured on {} by `cargo xtask bench bundle{how}`.\nMachine: {}.\nDatabase: {server}.\n\
        {items} files of {} bytes of text each and {items} rows, in two snapshots; client and server are one process.\n\
        The peers save the present alone, and check nothing when they load it.\n\n\
        | operation | who | runs | wall s | CPU s | peak MiB | file MiB |\n|---|---|---:|---:|---:|---:|---:|\n",
        today.trim(),
        machine(),
        grouped(BODY as u64),
        items = grouped(items)
    );
    for ((at, who), samples) in found {
        let wall = median(samples.iter().map(|sample| sample.wall)).unwrap_or_default();
        let cpu = median(samples.iter().map(|sample| sample.client.cpu)).unwrap_or_default();
        let most = samples.iter().map(|sample| sample.client.peak_bytes).max();
        let file = match at {
            0 => sizes
                .get(who)
                .map_or_else(String::new, |size| mebibytes(*size)),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "| {} | {who} | {} | {} | {} | {} | {file} |",
            OPERATIONS[*at],
            samples.len(),
            seconds(wall),
            seconds(cpu),
            mebibytes(most.unwrap_or_default())
        );
    }
    text
}
