//! How long a first push of many small objects takes, and sending it all again: `throughput [DIR] [OBJECTS]`.
//!
//! `cargo run --release -p sync-store --example throughput -- /tmp/somewhere`

#![allow(clippy::print_stdout, reason = "its figures are what it is for")]

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sync_core::map::{Builder, MemoryNodes};
use sync_core::{Chunk, Content, Digest, Entry, Roots, Snapshot};
use sync_store::pack::PackWriter;
use sync_store::protocol::{Fetch, Part};
use sync_store::{Advance, Class, Store};

/// Bytes of each object.
const LEN: usize = 400;
/// What a connection hands over at a time.
const PIECE: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let count = arguments
        .next()
        .map_or(Ok(100_000), |count| count.parse())?;
    tokio::runtime::Runtime::new()?.block_on(run(dir, count))
}

async fn run(dir: PathBuf, count: usize) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir_in(dir)?;
    let store = Store::open_dir(dir.path()).await?;
    let repository = store.create_tenant("acme").await?;

    let started = Instant::now();
    let (id, pack) = pack(count)?;
    println!(
        "{:<28}{:>9.3?}  {} bytes",
        "making the pack",
        started.elapsed(),
        pack.len()
    );

    let started = Instant::now();
    let pieces: Vec<_> = (0..pack.len()).step_by(PIECE).collect();
    let piece = |at: usize| pack.slice(at..pack.len().min(at + PIECE));
    let pieces = pieces
        .into_iter()
        .map(|at| Ok::<_, std::io::Error>(piece(at)));
    let received = repository.receive(stream::iter(pieces)).await?;
    println!(
        "{:<28}{:>9.3?}  {} objects",
        "receive",
        started.elapsed(),
        received.objects
    );

    let started = Instant::now();
    let advance = Advance {
        branch: "main".into(),
        expected: None,
        target: id,
        when: 0,
    };
    repository.advance(received, advance).await?;
    println!("{:<28}{:>9.3?}", "advance", started.elapsed());

    for name in ["export", "export, again"] {
        let started = Instant::now();
        let mut bytes = 0;
        let mut stream = repository
            .export(Fetch {
                want: id,
                have: None,
                contents: true,
                patches: false,
                part: Part::Files,
            })
            .await?;
        while let Some(piece) = stream.next().await {
            bytes += piece?.len();
        }
        println!("{name:<28}{:>9.3?}  {bytes} bytes", started.elapsed());
    }
    Ok(())
}

/// A tree of files of 400 bytes that compress to about a half, in directories of a hundred.
fn pack(count: usize) -> Result<(sync_core::SnapshotId, Bytes), Box<dyn Error>> {
    let mut writer = PackWriter::new()?;
    let mut nodes = MemoryNodes::new();
    let mut builder = Builder::new(&mut nodes);
    let mut contents = Vec::with_capacity(count);
    for n in 0..count {
        let bytes = file(n);
        let chunk = Chunk {
            digest: Digest::of(&bytes),
            len: bytes.len() as u64,
        };
        let entry = Entry::File {
            executable: false,
            content: Content::from_chunks(vec![chunk], |_, _| {}),
        };
        let path = format!("dir{:04}/file{:02}.yaml", n / 100, n % 100);
        builder.push(path.as_bytes(), &entry.encode())?;
        contents.push(bytes);
    }
    let map = builder.finish()?;
    let roots = Roots {
        files: Some(map.root),
        ..Roots::default()
    };
    let (id, bytes) = Snapshot {
        author: "bench".into(),
        message: String::new(),
        parents: vec![],
        roots,
        time: 0,
    }
    .encode()?;
    writer.add(Class::Nodes, &bytes)?;
    for (_, node) in nodes {
        writer.add(Class::Nodes, &node)?;
    }
    for bytes in contents {
        writer.add(Class::Contents, &bytes)?;
    }
    Ok((id, writer.finish()?.concat().into()))
}

fn file(n: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEN + 100);
    while bytes.len() < LEN {
        let line = Digest::of(&[n, bytes.len()].map(usize::to_le_bytes).concat());
        bytes.extend_from_slice(format!("- key: {line}\n").as_bytes());
    }
    bytes.truncate(LEN);
    bytes
}
