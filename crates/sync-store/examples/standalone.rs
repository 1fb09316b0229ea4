//! The store alone: a small map of two files is stored, a head moves to it, and everything is read back.
//!
//! `cargo run -p sync-store --example standalone`

use std::error::Error;

use sync_core::map::{Builder, MemoryNodes, get};
use sync_core::{Chunk, Content, Digest, Entry, Roots, Snapshot};
use sync_store::{Advance, Advanced, Class, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(run())
}

/// What a program does that keeps trees of files without any other crate of ours.
pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open_dir(dir.path()).await?;
    let repository = store.create_tenant("acme").await?;

    // A tree is a map from paths to entries; an entry names the chunks of a file.
    let files = [
        ("agents/triage.yaml", "name: triage\n"),
        ("skills/summarise/SKILL.md", "# Summarise\n"),
    ];
    let mut objects = Vec::new();
    let mut nodes = MemoryNodes::new();
    let mut builder = Builder::new(&mut nodes);
    for (path, text) in files {
        let chunk = Chunk {
            digest: Digest::of(text.as_bytes()),
            len: text.len() as u64,
        };
        objects.push((Class::Contents, text.as_bytes().to_vec()));
        let entry = Entry::File {
            executable: false,
            content: Content::from_chunks(vec![chunk], |_, _| {}),
        };
        builder.push(path.as_bytes(), &entry.encode())?;
    }
    let map = builder.finish()?;
    for (_, node) in nodes {
        objects.push((Class::Nodes, node.to_vec()));
    }

    // A snapshot names the map; a head names the snapshot. Everything is in one pack, synced once.
    let (id, bytes) = Snapshot {
        author: "ada".into(),
        message: "first agents".into(),
        parents: vec![],
        roots: Roots {
            files: Some(map.root),
            ..Roots::default()
        },
        time: 1_700_000_000_000,
    }
    .encode()?;
    objects.push((Class::Nodes, bytes));
    let received = repository.prepare(objects).await?;
    let advance = Advance {
        branch: "main".into(),
        expected: None,
        target: id,
        when: 1_700_000_000_000,
    };
    let advanced = repository.advance(received, advance).await?;
    assert_eq!(advanced, Advanced::Moved);

    // Back again, from the head down; the map's algorithms block, so they run on a blocking thread.
    let head = repository.head("main").await?.ok_or("no head")?;
    let root = repository
        .snapshot(head)
        .await?
        .roots
        .files
        .ok_or("no files")?;
    let source = repository.nodes();
    let find = move || get(&source, root, b"agents/triage.yaml");
    let value = tokio::task::spawn_blocking(find)
        .await??
        .ok_or("no such path")?;
    let Some(Entry::File { content, .. }) = Entry::decode(&value) else {
        return Err("not a file".into());
    };
    let bytes = repository.object(&content.chunks[0].digest).await?;
    assert_eq!(bytes.as_deref(), Some("name: triage\n".as_bytes()));
    Ok(())
}
