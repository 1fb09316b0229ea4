//! `cargo xtask bench local`: pages between a directory and a database, beside a script that upserts file by file.
//!
//! The script is given its SQL ready made: that it would have to read and parse each file first is not counted against it.

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
    report::{as_f64, grouped, machine, mebibytes, median, seconds, write},
    rows::database::{Database, Server},
};
use crate::{
    debian, e2e,
    error::{IoSnafu, Result, UnexpectedSnafu},
    noise::Random,
};

/// What is done, in this order.
const OPERATIONS: [&str; 6] = [
    "first load",
    "nothing changed",
    "1 file changed",
    "100 files changed",
    "100 rows changed, to the disk",
    "all to an empty tree",
];
const OURS: &str = "ours";
const EACH: &str = "a statement a file";
const WHOLE: &str = "the same in one transaction";
/// So many bytes of text each page has, about.
const BODY: usize = 2000;

/// What was measured, by operation and who did it.
type Found = BTreeMap<(usize, &'static str), Vec<Sample>>;

/// A workspace beside a database.
struct Desk<'s> {
    root: PathBuf,
    database: Database,
    program: &'s Path,
    /// How often files were changed.
    generation: usize,
}

/// Runs the benchmark; a complete one goes into the document.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    debian::demand("psql", "postgresql-client")?;
    let program = e2e::build()?;
    let disk = arguments.disk.clone();
    let disk = disk.unwrap_or_else(|| PathBuf::from("/var/tmp"));
    let root = tempfile::tempdir_in(&disk).context(IoSnafu {
        action: format!("create a directory in `{}`", disk.display()),
    })?;
    let pages = if arguments.quick { 1000 } else { 10_000 };
    let runs = arguments
        .runs
        .unwrap_or(if arguments.quick { 1 } else { 3 });
    let server = Server::new()?;
    let mut found = Found::new();
    for run in 1..=runs {
        println!("run {run} of {runs}");
        let root = root.path().join(run.to_string());
        one_run(
            &server,
            &program,
            &root,
            pages,
            &mut found,
            !arguments.ours_only,
        )?;
    }
    let how = format!(" --runs {runs}");
    let text = text(&found, pages, &server.description()?, &how);
    println!("\n{text}");
    if !arguments.quick && !arguments.ours_only {
        write("local", &text)?;
    }
    server.down()
}

fn one_run(
    server: &Server,
    program: &Path,
    root: &Path,
    pages: usize,
    found: &mut Found,
    has_peers: bool,
) -> Result<()> {
    let mut desk = Desk::new(server, program, root)?;
    let mut add = |at: usize, who: &'static str, sample: Sample| {
        println!(
            "  {:<30} {who:<28} {:>8.3} s",
            OPERATIONS[at],
            sample.wall.as_secs_f64()
        );
        found.entry((at, who)).or_default().push(sample);
    };
    desk.write(0..pages)?;
    add(0, OURS, desk.push("created", pages)?);
    for _ in 0..3 {
        add(1, OURS, desk.push("updated", 0)?);
    }
    for _ in 0..3 {
        desk.generation += 1;
        desk.write(pages / 2..=pages / 2)?;
        add(2, OURS, desk.push("updated", 1)?);
    }
    desk.generation += 1;
    desk.write((0..pages).step_by(pages / 100))?;
    add(3, OURS, desk.push("updated", 100)?);
    desk.database.run("UPDATE markdown_content SET body = body || ' More.' WHERE slug LIKE 'page-%7' AND id IN (SELECT id FROM markdown_content WHERE slug LIKE 'page-%7' ORDER BY slug LIMIT 100)")?;
    add(4, OURS, desk.call("pull", "updated", 100)?);
    desk.empty()?;
    add(5, OURS, desk.call("pull", "created", pages)?);
    drop(desk);
    if !has_peers {
        return Ok(());
    }
    for who in [EACH, WHOLE] {
        let mut desk = Desk::new(server, program, root)?;
        let script = desk.script(0..pages)?;
        add(0, who, desk.upsert(&script, who == WHOLE)?);
        // It does not know what it has done before: it does all of it again.
        add(1, who, desk.upsert(&script, who == WHOLE)?);
        desk.generation += 1;
        let script = desk.script((0..pages).step_by(pages / 100))?;
        add(3, who, desk.upsert(&script, who == WHOLE)?);
        ensure!(
            desk.database
                .number("SELECT count(*) FROM markdown_content")?
                == pages as u64,
            UnexpectedSnafu {
                what: "the script left another number of rows"
            }
        );
    }
    Ok(())
}

impl<'s> Desk<'s> {
    fn new(server: &Server, program: &'s Path, root: &Path) -> Result<Self> {
        let desk = Self {
            root: root.to_owned(),
            database: server.database("local", None)?,
            program,
            generation: 0,
        };
        desk.empty()?;
        put(
            &desk.root.join("sync.toml"),
            "[database]\nurl_file = \"database.url\"\n",
        )?;
        put(&desk.root.join("database.url"), &desk.database.url())?;
        measure(desk.command().args(["db", "migrate"]), None, None)?;
        Ok(desk)
    }

    /// Takes tree and private state away: a working copy that has never met the database.
    fn empty(&self) -> Result<()> {
        for dir in ["services", ".sync"] {
            let dir = self.root.join(dir);
            if dir.exists() {
                fs::remove_dir_all(&dir).context(IoSnafu {
                    action: format!("remove `{}`", dir.display()),
                })?;
            }
        }
        put(
            &self.root.join("services/content/config.yaml"),
            "content_sources:\n  blog: {path: content/blog}\n",
        )
    }

    /// Writes these pages as they are in this generation.
    fn write(&self, numbers: impl IntoIterator<Item = usize>) -> Result<()> {
        let mut dirs = std::collections::BTreeSet::new();
        for number in numbers {
            let dir = format!("services/content/blog/{}", number % 100);
            let path = self.root.join(&dir).join(format!("{number}.md"));
            if dirs.insert(dir) {
                put(&path, "")?;
            }
            let (title, body) = self.page(number);
            let text = format!(
                "---\ntitle: {title}\nslug: page-{number}\nkind: article\nauthor: Ada\npublished_at: 2026-10-06\n\
                description: What page {number} is about\nkeywords: one, two\ntags: [a, b]\n---\n\n{body}\n"
            );
            fs::write(&path, text).context(IoSnafu {
                action: format!("write `{}`", path.display()),
            })?;
        }
        Ok(())
    }

    /// Title and text of a page.
    fn page(&self, number: usize) -> (String, String) {
        let mut random = Random::new((number * 1000 + self.generation) as u64);
        let mut body = String::with_capacity(BODY + 20);
        while body.len() < BODY {
            let _ = write!(body, "{:x}", random.word() & 0xff_ffff);
            body.push(if random.below(12) == 0 { '\n' } else { ' ' });
        }
        let title = format!("Page {number}, version {}", self.generation);
        (title, body.trim().to_owned())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.arg("-C").arg(&self.root).args(["--output", "json"]);
        command.env("HOME", &self.root);
        command
    }

    fn push(&self, what: &str, count: usize) -> Result<Sample> {
        self.call("push", what, count)
    }

    /// One command; it has to say that it did so much.
    fn call(&self, verb: &str, what: &str, count: usize) -> Result<Sample> {
        let (sample, said) = measure(self.command().args([verb, "content"]), None, None)?;
        let report: Value = serde_json::from_str(&said).unwrap_or_default();
        ensure!(
            report[what].as_u64() == Some(count as u64) && report["items_synced"] == report[what],
            UnexpectedSnafu {
                what: format!(
                    "{verb} did not say {count} {what}: {}",
                    &said[..said.len().min(400)]
                )
            }
        );
        Ok(sample)
    }

    /// The statements that a script makes of these files.
    fn script(&self, numbers: impl IntoIterator<Item = usize>) -> Result<PathBuf> {
        let mut text = String::new();
        for number in numbers {
            let (title, body) = self.page(number);
            let _ = writeln!(
                text,
                "INSERT INTO markdown_content (id, slug, title, description, body, author, published_at, keywords, kind, \
                source_id, version_hash) VALUES (gen_random_uuid()::text, 'page-{number}', '{title}', 'What page {number} is about', \
                '{body}', 'Ada', '2026-10-06', 'one, two', 'article', 'blog', '') ON CONFLICT (slug, locale) DO UPDATE SET \
                title = excluded.title, description = excluded.description, body = excluded.body, author = excluded.author, \
                published_at = excluded.published_at, keywords = excluded.keywords, kind = excluded.kind, updated_at = now();"
            );
        }
        let path = self.root.join("upserts.sql");
        put(&path, &text)?;
        Ok(path)
    }

    fn upsert(&self, script: &Path, whole: bool) -> Result<Sample> {
        let mut command = self.database.program("psql");
        command.args(["-Xq", "-v", "ON_ERROR_STOP=1"]);
        if whole {
            command.arg("--single-transaction");
        }
        command.arg("-f").arg(script);
        measure(&command, None, None).map(|(sample, _)| sample)
    }
}

/// Writes a file, and the directories above it.
fn put(path: &Path, text: &str) -> Result<()> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, text)).context(IoSnafu {
        action: format!("write `{}`", path.display()),
    })
}

/// What is to be read.
fn text(found: &Found, pages: usize, server: &str, how: &str) -> String {
    let today = super::report::said("date", &["+%Y-%m-%d"]);
    let mut text = format!(
        "Measured on {} by `cargo xtask bench local{how}`.\nMachine: {}.\nDatabase: {server}.\n{} pages of {} bytes of text each.\n\n\
        | operation | who | runs | wall s | files/s | CPU client s | peak client MiB |\n|---|---|---:|---:|---:|---:|---:|\n",
        today.trim(),
        machine(),
        grouped(pages as u64),
        grouped(BODY as u64)
    );
    let mut walls = BTreeMap::new();
    let mut peak = 0;
    for ((at, who), samples) in found {
        let wall = median(samples.iter().map(|sample| sample.wall)).unwrap_or_default();
        let cpu = median(samples.iter().map(|sample| sample.client.cpu)).unwrap_or_default();
        let most = samples.iter().map(|sample| sample.client.peak_bytes).max();
        let most = most.unwrap_or_default();
        if *who == OURS {
            peak = peak.max(most);
            walls.insert(*at, wall);
        }
        let rate = if [0, 5].contains(at) {
            format!("{:.0}", as_f64(pages as u64) / wall.as_secs_f64())
        } else {
            "-".to_owned()
        };
        let _ = writeln!(
            text,
            "| {} | {who} | {} | {} | {rate} | {} | {} |",
            OPERATIONS[*at],
            samples.len(),
            seconds(wall),
            seconds(cpu),
            mebibytes(most)
        );
    }
    let wall = |at: usize| walls.get(&at).map_or(0.0, std::time::Duration::as_secs_f64);
    let bars = [
        (
            "first load",
            "at least 5,000 files/s",
            format!("{:.0} files/s", as_f64(pages as u64) / wall(0)),
            as_f64(pages as u64) / wall(0) >= 5000.0,
        ),
        (
            "nothing changed",
            "under 0.3 s",
            format!("{:.3} s", wall(1)),
            wall(1) < 0.3,
        ),
        (
            "1 file changed",
            "under 0.5 s",
            format!("{:.3} s", wall(2)),
            wall(2) < 0.5,
        ),
        (
            "peak memory over all of the above",
            "under 64 MiB",
            format!("{} MiB", mebibytes(peak)),
            peak < 64 << 20,
        ),
    ];
    text.push_str("\n| operation | bar | measured | |\n|---|---|---|---|\n");
    for (operation, bar, measured, holds) in bars {
        let verdict = if holds { "holds" } else { "misses it" };
        let _ = writeln!(text, "| {operation} | {bar} | {measured} | {verdict} |");
    }
    text
}
