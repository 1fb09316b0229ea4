//! How long a table of many rows takes through a workspace's own store into a tenant's: `rows [DIR] [ROWS] [STEP]`.
//!
//! Each step is a process of its own where it is named (`put`, `export`, `receive`, `change`), so that its peak memory is its
//! own: `export` writes the pack to a file, `receive` reads it. Without a name they follow one another in one process.
//!
//! `cargo run --release -p sync-store --example rows -- /var/tmp/somewhere 1000000`

#![allow(clippy::print_stdout, reason = "its figures are what it is for")]

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sync_core::map::{self, Builder, NodeSink};
use sync_core::rows::{self, Cell, Column, KeyWriter, Kind, RowWriter, Schema, TableEntry};
use sync_core::{Digest, Roots, Snapshot, SnapshotId};
use sync_store::{Advance, Repository, RepositoryNodes, RowsPush, Store, Writer};

/// What a connection hands over at a time.
const PIECE: usize = 64 << 10;

type BoxError = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), BoxError> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let count = arguments
        .next()
        .map_or(Ok(100_000), |count| count.parse())?;
    let step = arguments.next();
    tokio::runtime::Runtime::new()?.block_on(run(dir, count, step))
}

async fn run(dir: PathBuf, count: u64, step: Option<String>) -> Result<(), BoxError> {
    let wanted = |name: &str| step.as_deref().is_none_or(|step| step == name);
    let pack = dir.join("rows.pack");
    if wanted("put") {
        let private = open(&dir.join("private")).await?;
        let started = Instant::now();
        let root = made(&private, move |sink| table(count, sink)).await?;
        let roots = Roots {
            rows: Some(root),
            ..Roots::default()
        };
        let snapshot = Snapshot {
            author: "bench".into(),
            message: String::new(),
            parents: vec![],
            roots,
            time: 0,
        };
        let (id, _) = snapshot.encode()?;
        private.put_snapshot(&snapshot).await?;
        private
            .set_note("pushed", Some(id.0.as_bytes().to_vec()))
            .await?;
        say("put", count, started, None);
    }
    if wanted("export") {
        let private = open(&dir.join("private")).await?;
        let (id, snapshot) = pushed(&private).await?;
        let after = snapshot.roots.rows.ok_or("no rows were put")?;
        let bytes = private.object(&id.0).await?.ok_or("no snapshot")?;
        let mut file = std::fs::File::create(&pack)?;
        let started = Instant::now();
        let mut sent = 0;
        let mut stream = private.export_rows(
            bytes,
            RowsPush {
                before: None,
                after,
                patches: false,
                inline: Vec::new(),
            },
        );
        while let Some(piece) = stream.next().await {
            let piece = piece?;
            sent += piece.len() as u64;
            file.write_all(&piece)?;
        }
        say("export_rows", count, started, sent);
    }
    if wanted("receive") {
        let private = open(&dir.join("private")).await?;
        let (id, _) = pushed(&private).await?;
        drop(private);
        let tenant = open(&dir.join("tenant")).await?;
        let mut file = std::fs::File::open(&pack)?;
        let pieces = stream::iter(std::iter::from_fn(move || {
            let mut piece = vec![0; PIECE];
            match file.read(&mut piece) {
                Ok(0) => None,
                Ok(len) => {
                    piece.truncate(len);
                    Some(Ok(Bytes::from(piece)))
                }
                Err(error) => Some(Err(error)),
            }
        }));
        let started = Instant::now();
        let received = tenant.receive(pieces).await?;
        say("receive", count, started, received.bytes);
        let bytes = received.bytes;
        let kept = tenant.keep(received, id).await?;
        say("receive and keep", count, started, bytes);
        let advance = Advance {
            branch: "main".into(),
            expected: None,
            target: id,
            when: 0,
        };
        let nothing = sync_store::Received::nothing();
        let again = Instant::now();
        tenant.advance_kept(nothing, advance, kept).await?;
        say("advance", count, again, bytes);
        say("all of a push", count, started, bytes);
    }
    if wanted("change") {
        change(&dir, count).await?;
    }
    Ok(())
}

/// A push of a thousand rows that changed.
async fn change(dir: &Path, count: u64) -> Result<(), BoxError> {
    let (private, tenant) = (
        open(&dir.join("private")).await?,
        open(&dir.join("tenant")).await?,
    );
    let (base, mut snapshot) = pushed(&private).await?;
    let before = snapshot.roots.rows.ok_or("no rows were put")?;
    let started = Instant::now();
    let nodes = private.nodes();
    let edit = move |sink: &mut Writer| edited(&nodes, before, count, sink);
    let after = made(&private, edit).await?;
    say("put 1,000 changes", CHANGES, started, None);
    snapshot.roots.rows = Some(after);
    snapshot.parents = vec![base];
    let (id, bytes) = snapshot.encode()?;
    let again = Instant::now();
    let (mut pack, mut sent) = (Vec::new(), 0);
    let mut stream = private.export_rows(
        bytes.into(),
        RowsPush {
            before: Some(before),
            after,
            patches: true,
            inline: Vec::new(),
        },
    );
    while let Some(piece) = stream.next().await {
        pack.extend([Ok::<_, BoxError>(piece?)]);
    }
    for piece in pack.iter().flatten() {
        sent += piece.len() as u64;
    }
    say("export_rows", CHANGES, again, sent);
    let again = Instant::now();
    let received = tenant.receive(stream::iter(pack)).await?;
    say("receive", CHANGES, again, sent);
    let kept = tenant.keep(received, id).await?;
    say("receive and keep", CHANGES, again, sent);
    let advance = Advance {
        branch: "main".into(),
        expected: Some(base),
        target: id,
        when: 0,
    };
    let nothing = sync_store::Received::nothing();
    tenant.advance_kept(nothing, advance, kept).await?;
    say("all of a push", CHANGES, started, sent);
    Ok(())
}

/// What is made on a thread that may block, stored while it is made.
async fn made<T: Send + 'static>(
    repository: &Repository,
    make: impl FnOnce(&mut Writer) -> Result<T, BoxError> + Send + 'static,
) -> Result<T, BoxError> {
    let (mut writer, writing) = repository.writer();
    let outcome = tokio::task::spawn_blocking(move || make(&mut writer)).await?;
    writing.finish().await?;
    outcome
}

/// How many rows change.
const CHANGES: u64 = 1000;

fn edited(
    nodes: &RepositoryNodes,
    before: Digest,
    count: u64,
    sink: &mut Writer,
) -> Result<Digest, BoxError> {
    let name = "agents".parse()?;
    let table = rows::table(nodes, before, &name)?.ok_or("no table")?;
    let mut ids: Vec<_> = (0..CHANGES).map(|n| n * (count / CHANGES)).collect();
    ids.sort_unstable_by_key(|n| (scatter(*n), *n));
    let mut row = RowWriter::new();
    let edits = ids.into_iter().map(|n| {
        let id = format!("{:016x}{n:08x}", scatter(n));
        row.clear();
        row.push("body", &Cell::Inline(&body(n + 1)));
        row.push("id", &Cell::Inline(id.as_bytes()));
        row.push("name", &Cell::Inline(b"another"));
        (id, Some(row.as_bytes().to_vec()))
    });
    let rows = map::edit(nodes, table.rows.root, edits, sink)?;
    let entry = TableEntry { rows, ..table };
    let edits = [(name.as_str(), Some(entry.encode()))];
    Ok(map::edit(nodes, before, edits, sink)?.root)
}

fn say(what: &str, count: u64, started: Instant, bytes: impl Into<Option<u64>>) {
    let took = started.elapsed();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let bytes = bytes.into();
    let bytes = bytes.map_or_else(String::new, |bytes| format!("{bytes} bytes"));
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let rate = count as f64 / took.as_secs_f64();
    println!(
        "{what:<18}{took:>9.3?}  {rate:>10.0} rows/s  {bytes:>16}  peak{}",
        peak.unwrap_or(" unknown")
    );
}

async fn open(dir: &Path) -> Result<Repository, BoxError> {
    let store = Store::open_dir(dir).await?;
    Ok(match store.tenant("acme").await? {
        Some(repository) => repository,
        None => store.create_tenant("acme").await?,
    })
}

async fn pushed(private: &Repository) -> Result<(SnapshotId, Snapshot), BoxError> {
    let note = private.note("pushed").await?.ok_or("nothing was put")?;
    let id = SnapshotId(Digest::from_bytes(note.as_slice().try_into()?));
    let bytes = private.object(&id.0).await?.ok_or("no snapshot")?;
    Ok((id, Snapshot::decode(&bytes)?))
}

/// A map of one table with rows of some 0.7 KB under random keys.
fn table(count: u64, sink: &mut Writer) -> Result<Digest, BoxError> {
    let column = |name: &str, kind, type_name: &str| Column {
        kind,
        name: name.to_owned(),
        type_name: type_name.to_owned(),
    };
    let schema = Schema {
        columns: vec![
            column("body", Kind::Jsonb, "jsonb"),
            column("id", Kind::Text, "text"),
            column("name", Kind::Text, "text"),
        ],
        filter: None,
        key: vec!["id".to_owned()],
    };
    let (digest, bytes) = schema.encode();
    sink.put(digest, bytes)?;
    let mut ids: Vec<(u64, u64)> = (0..count).map(|n| (scatter(n), n)).collect();
    ids.sort_unstable();
    let (mut key, mut row) = (KeyWriter::new(), RowWriter::new());
    let mut rows = Builder::new(sink);
    for (id, n) in ids {
        let id = format!("{id:016x}{n:08x}");
        let body = body(n);
        key.clear();
        key.text(id.as_bytes(), true);
        row.clear();
        row.push("body", &Cell::Inline(&body));
        row.push("id", &Cell::Inline(id.as_bytes()));
        row.push("name", &Cell::Inline(b"an agent"));
        rows.push(key.as_bytes(), row.as_bytes())?;
    }
    let rows = rows.finish()?;
    let entry = TableEntry {
        schema: digest,
        rows,
    };
    let mut tables = Builder::new(sink);
    tables.push(b"agents", &entry.encode())?;
    Ok(tables.finish()?.root)
}

fn scatter(n: u64) -> u64 {
    let mut n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    n = (n ^ (n >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n ^ (n >> 29)
}

/// Some 0.6 KB of JSON that compresses to about a half.
fn body(n: u64) -> Vec<u8> {
    let mut body = b"\x01{".to_vec();
    for at in 0..12 {
        let value = scatter(n.wrapping_mul(31).wrapping_add(at));
        body.extend_from_slice(
            format!("\"setting_{at:02}\": \"{value:016x}\", \"on\": true, ").as_bytes(),
        );
    }
    body.extend_from_slice(b"\"end\": null}");
    body
}
