//! A directory into objects.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};
use serde::Deserialize;
use snafu::{OptionExt, ensure};
use sync_core::cut::cut;
use sync_core::map::{Builder, Map, MapError, NodeSink};
use sync_core::rows::{Kind, RowWriter, TableEntry};
use sync_core::{Chunk, Content, Digest, Entry, Roots, Snapshot, TreePath};
use sync_store::Writer;

use super::{
    FILES, MANIFEST, PlainExtent, PlainManifest, PlainTable, SUMS, VERSION, at, rows_path, value,
};
use crate::Error;
use crate::error::{DigestSnafu, OrderSnafu, VersionSnafu};

/// The most bytes of a manifest.
const MAX_MANIFEST: u64 = 64 << 20;

/// A row as it stands in a line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    row: serde_json::Map<String, serde_json::Value>,
}

/// Reads what [`write`](super::write()) wrote: the snapshot without parents, whose objects go to `sink`. Each file has to have
/// its sum, and there is none without one.
///
/// # Errors
///
/// [`Error::Digest`], [`Error::Order`] where a file is missing, [`Error::Malformed`], [`Error::Disk`].
pub fn read(
    dir: &Path,
    sink: &mut Writer,
) -> Result<(PlainManifest, Snapshot, PlainExtent), Error> {
    let mut input = Input {
        dir,
        sums: sums(dir)?,
        sink,
    };
    let manifest = input.manifest()?;
    let mut extent = PlainExtent::default();
    let mut roots = Roots::default();
    if manifest.has_files {
        let (root, count) = input.files()?;
        roots.files = Some(root);
        extent.files = count;
    }
    if let Some(tables) = &manifest.tables {
        let mut entries = Vec::new();
        for table in tables {
            let entry = input.table(table)?;
            extent.rows += entry.rows.len;
            entries.push((table.name.as_str(), entry.encode()));
        }
        let mut nodes = input.sink.clone();
        let mut map = Builder::new(&mut nodes);
        for (name, entry) in entries {
            map.push(name.as_bytes(), &entry)
                .map_err(|error| refused(MANIFEST, error))?;
        }
        roots.rows = Some(map.finish().map_err(|error| refused(MANIFEST, error))?.root);
    }
    if let Some(expected) = input.sums.into_keys().next() {
        return OrderSnafu { expected }.fail();
    }
    let snapshot = Snapshot {
        author: manifest.author.clone(),
        message: manifest.message.clone(),
        parents: Vec::new(),
        roots,
        time: manifest.time,
    };
    Ok((manifest, snapshot, extent))
}

/// What is wrong with the order of what was read, or what the store said.
fn refused(member: &str, error: MapError) -> Error {
    match error {
        MapError::Entry { reason } => Error::malformed(member, reason),
        error => sync_store::Error::from(error).into(),
    }
}

fn sums(dir: &Path) -> Result<HashMap<String, Vec<u8>>, Error> {
    let path = dir.join(SUMS);
    let file = BufReader::new(at(&path, File::open(&path))?);
    let mut sums = HashMap::new();
    for line in file.lines() {
        let line = at(&path, line)?;
        let parted = line.split_once("  ").and_then(|(sum, path)| {
            let sum = HEXLOWER.decode(sum.as_bytes()).ok()?;
            Some((path.to_owned(), sum))
        });
        let (path, sum) = parted.with_context(|| crate::error::MalformedSnafu {
            member: SUMS,
            reason: "a line of it is no sum",
        })?;
        sums.insert(path, sum);
    }
    Ok(sums)
}

struct Input<'i> {
    dir: &'i Path,
    sums: HashMap<String, Vec<u8>>,
    sink: &'i mut Writer,
}

impl Input<'_> {
    /// A file that was read has its sum.
    fn check(&mut self, member: &str, hasher: Context) -> Result<(), Error> {
        let expected = self.sums.remove(member);
        let is_right = expected.as_deref() == Some(hasher.finish().as_ref());
        ensure!(is_right, DigestSnafu { member });
        Ok(())
    }

    fn manifest(&mut self) -> Result<PlainManifest, Error> {
        #[derive(Deserialize)]
        struct Versioned {
            plain_version: u64,
        }
        let path = self.dir.join(MANIFEST);
        let file = at(&path, File::open(&path))?;
        let mut bytes = Vec::new();
        at(&path, file.take(MAX_MANIFEST).read_to_end(&mut bytes))?;
        let malformed = |error: serde_json::Error| Error::malformed(MANIFEST, error);
        let found: Versioned = serde_json::from_slice(&bytes).map_err(malformed)?;
        let found = found.plain_version;
        ensure!(found == VERSION, VersionSnafu { found });
        let mut hasher = Context::new(&SHA256);
        hasher.update(&bytes);
        self.check(MANIFEST, hasher)?;
        serde_json::from_slice(&bytes).map_err(malformed)
    }

    /// The tree; gives its root and how many entries it has.
    fn files(&mut self) -> Result<(Digest, u64), Error> {
        let top = self.dir.join(FILES);
        let mut paths = Vec::new();
        if top.exists() {
            list(&top, "", &mut paths)?;
        }
        // A directory's neighbours may sort between what is in it.
        paths.sort_unstable();
        let mut nodes = self.sink.clone();
        let mut map = Builder::new(&mut nodes);
        let count = paths.len() as u64;
        for path in paths {
            let member = format!("{FILES}/{path}");
            let parsed = TreePath::from_bytes(path.as_bytes());
            parsed.map_err(|error| Error::malformed(&member, error))?;
            let entry = self.entry(&top.join(&path), &member)?;
            map.push(path.as_bytes(), &entry.encode())
                .map_err(|error| refused(&member, error))?;
        }
        let map = map.finish().map_err(|error| refused(FILES, error))?;
        Ok((map.root, count))
    }

    fn entry(&mut self, path: &Path, member: &str) -> Result<Entry, Error> {
        let stat = at(path, fs::symlink_metadata(path))?;
        if stat.is_symlink() {
            let target = at(path, fs::read_link(path))?
                .into_os_string()
                .into_string();
            let target = target.map_err(|_| Error::malformed(member, "its target is no text"))?;
            return Ok(Entry::Link { target });
        }
        if stat.is_dir() {
            return Ok(Entry::Directory);
        }
        let mut file = at(path, File::open(path))?;
        let mut hasher = Context::new(&SHA256);
        let mut chunks = Vec::new();
        let sink = &mut *self.sink;
        let cutting = cut(
            stat.len(),
            |buffer| at(path, file.read(buffer)),
            |chunk| {
                hasher.update(chunk);
                let digest = Digest::of(chunk);
                let len = chunk.len() as u64;
                chunks.push(Chunk { digest, len });
                put(sink.put_chunk(digest, chunk.to_vec()))
            },
        );
        cutting?;
        self.check(member, hasher)?;
        let mut stored = Ok(());
        let content = Content::from_chunks(chunks, |digest, list| {
            if stored.is_ok() {
                stored = put(self.sink.put(digest, list));
            }
        });
        stored?;
        Ok(Entry::File {
            executable: stat.permissions().mode() & 0o100 != 0,
            content,
        })
    }

    fn table(&mut self, table: &PlainTable) -> Result<TableEntry, Error> {
        let member = rows_path(&table.name);
        let malformed = |reason: &str| Error::malformed(&member, reason);
        let columns = table.schema.columns.iter();
        let kinds: HashMap<&str, Kind> =
            columns.map(|column| (&*column.name, column.kind)).collect();
        let (schema, bytes) = table.schema.encode();
        put(self.sink.put(schema, bytes))?;
        let path = self.dir.join(&member);
        let mut file = BufReader::new(at(&path, File::open(&path))?);
        let mut hasher = Context::new(&SHA256);
        let mut nodes = self.sink.clone();
        let mut map = Builder::new(&mut nodes);
        let (mut line, mut row) = (Vec::new(), RowWriter::new());
        while at(&path, file.read_until(b'\n', &mut line))? > 0 {
            hasher.update(&line);
            let read: Line =
                serde_json::from_slice(&line).map_err(|error| Error::malformed(&member, error))?;
            let key = HEXLOWER.decode(read.key.as_bytes());
            let key = key.map_err(|_| malformed("the key of a row is no hexadecimal text"))?;
            row.clear();
            for (name, value) in &read.row {
                let kind = kinds.get(&**name);
                let bytes = kind.and_then(|kind| value::from_json(*kind, value));
                let bytes = bytes.ok_or_else(|| malformed("a value is none of its column"))?;
                put(row.push_value(name, &bytes, self.sink))?;
            }
            let stored = put(row.value(self.sink))?;
            map.push(&key, &stored)
                .map_err(|error| refused(&member, error))?;
            line.clear();
        }
        let rows: Map = map.finish().map_err(|error| refused(&member, error))?;
        self.check(&member, hasher)?;
        if rows.len != table.rows {
            return Err(malformed(
                "it has another number of rows than the manifest says",
            ));
        }
        Ok(TableEntry { schema, rows })
    }
}

fn put<T>(stored: Result<T, sync_core::map::StoreError>) -> Result<T, Error> {
    stored.map_err(|source| Error::Cut { source })
}

/// Everything below a directory that is no directory with something in it, links not followed.
fn list(dir: &Path, prefix: &str, found: &mut Vec<String>) -> Result<(), Error> {
    let mut ahead: Vec<(PathBuf, String)> = vec![(dir.to_owned(), prefix.to_owned())];
    while let Some((dir, prefix)) = ahead.pop() {
        let mut is_empty = true;
        for entry in at(&dir, fs::read_dir(&dir))? {
            let entry = at(&dir, entry)?;
            is_empty = false;
            let name = entry.file_name().into_string();
            let name = name.map_err(|_| Error::malformed(FILES, "a name in it is no text"))?;
            let path = match prefix.as_str() {
                "" => name,
                prefix => format!("{prefix}/{name}"),
            };
            if at(&dir, entry.file_type())?.is_dir() {
                ahead.push((entry.path(), path));
            } else {
                found.push(path);
            }
        }
        if is_empty && !prefix.is_empty() {
            found.push(prefix);
        }
    }
    Ok(())
}
