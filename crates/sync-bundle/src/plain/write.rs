//! A snapshot into a directory.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::ops::Bound;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};
use serde_json::json;
use snafu::OptionExt;
use sync_core::map::range;
use sync_core::rows::{
    Cell, Kind, Row, RowValue, Schema, TableEntry, TableName, load_content, tables,
};
use sync_core::{Digest, Entry, Name, Snapshot, SnapshotId, TreePath};
use sync_store::{Error as StoreError, RepositoryNodes};

use super::{
    FILES, MANIFEST, PlainExtent, PlainManifest, PlainTable, SUMS, VERSION, at, rows_path, value,
};
use crate::Error;
use crate::error::MalformedSnafu;

type Everything = (Bound<&'static [u8]>, Bound<&'static [u8]>);
const ALL: Everything = (Bound::Unbounded, Bound::Unbounded);

/// Writes a snapshot of which everything was checked into `dir`, which is made and must not exist. What is there after an error
/// is the caller's to remove.
///
/// # Errors
///
/// [`Error::Disk`], or the store failed.
pub fn write(
    nodes: &RepositoryNodes,
    (id, snapshot): (SnapshotId, &Snapshot),
    tenant: &Name,
    dir: &Path,
) -> Result<PlainExtent, Error> {
    at(dir, fs::create_dir(dir))?;
    let mut output = Output {
        dir,
        sums: BufWriter::new(create(&dir.join(SUMS), false)?),
        made: PathBuf::new(),
    };
    let mut extent = PlainExtent::default();
    if let Some(root) = snapshot.roots.files {
        extent.files = output.files(nodes, root)?;
    }
    let mut listed = None;
    if let Some(root) = snapshot.roots.rows {
        let tables = tables(nodes, root).map_err(StoreError::from)?;
        let mut list = Vec::with_capacity(tables.len());
        for (name, table) in tables {
            list.push(output.table(nodes, name, table)?);
            extent.rows += table.rows.len;
        }
        listed = Some(list);
    }
    let manifest = PlainManifest {
        author: snapshot.author.clone(),
        has_files: snapshot.roots.files.is_some(),
        message: snapshot.message.clone(),
        plain_version: VERSION,
        snapshot: id,
        tables: listed,
        tenant: tenant.clone(),
        time: snapshot.time,
    };
    let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
    let mut file = output.begin(MANIFEST, false)?;
    file.put(format!("{text}\n").as_bytes())?;
    output.end(file)?;
    let Output { mut sums, .. } = output;
    at(dir, sums.flush())?;
    Ok(extent)
}

struct Output<'d> {
    dir: &'d Path,
    sums: BufWriter<File>,
    /// The directory that was made last.
    made: PathBuf,
}

/// A file that is being written.
struct Written {
    path: String,
    at: PathBuf,
    file: BufWriter<File>,
    hasher: Context,
}

impl Written {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hasher.update(bytes);
        at(&self.at, self.file.write_all(bytes))
    }
}

fn create(path: &Path, executable: bool) -> Result<File, Error> {
    let mode = if executable { 0o755 } else { 0o644 };
    let mut options = OpenOptions::new();
    // Nothing is there yet; a link that came before is not followed.
    let opened = options.write(true).create_new(true).mode(mode).open(path);
    at(path, opened)
}

impl Output<'_> {
    fn files(&mut self, nodes: &RepositoryNodes, root: Digest) -> Result<u64, Error> {
        let mut count = 0;
        for entry in range(nodes, root, ALL) {
            let (key, value) = entry.map_err(StoreError::from)?;
            let damaged = || MalformedSnafu {
                member: key.escape_ascii().to_string(),
                reason: "it is no entry of a tree",
            };
            let path = TreePath::from_bytes(&key).ok().with_context(damaged)?;
            let name = format!("{FILES}/{path}");
            match Entry::decode(&value).with_context(damaged)? {
                Entry::File {
                    executable,
                    content,
                } => {
                    let mut file = self.begin(&name, executable)?;
                    let mut failed = None;
                    let walked = nodes.chunks(&content, &mut |chunk| {
                        let corrupt = StoreError::Corrupt {
                            digest: chunk.digest,
                            reason: "a chunk of an accepted snapshot is not there",
                        };
                        let bytes = nodes.object(&chunk.digest)?.ok_or(corrupt)?;
                        file.put(&bytes).map_err(|error| {
                            failed = Some(error);
                            StoreError::Cut {
                                source: "the file takes no more".into(),
                            }
                        })
                    });
                    match failed {
                        Some(error) => return Err(error),
                        None => walked?,
                    }
                    self.end(file)?;
                }
                Entry::Link { target } => {
                    let to = self.above(&name)?;
                    at(&to, symlink(target, &to))?;
                }
                Entry::Directory => {
                    let to = self.dir.join(&name);
                    at(&to, fs::create_dir_all(&to))?;
                }
            }
            count += 1;
        }
        Ok(count)
    }

    fn table(
        &mut self,
        nodes: &RepositoryNodes,
        name: TableName,
        table: TableEntry,
    ) -> Result<PlainTable, Error> {
        let damaged = || MalformedSnafu {
            member: name.to_string(),
            reason: "it is no table, or has what is no row",
        };
        let schema = nodes.object(&table.schema)?;
        let schema = schema.and_then(|bytes| Schema::decode(&bytes));
        let schema = schema.with_context(damaged)?;
        let kinds = schema.columns.iter();
        let kinds: HashMap<_, _> = kinds.map(|column| (&*column.name, column.kind)).collect();
        let mut file = self.begin(&rows_path(&name), false)?;
        for entry in range(nodes, table.rows.root, ALL) {
            let (key, stored) = entry.map_err(StoreError::from)?;
            let row = RowValue::load(&stored, nodes).ok().with_context(damaged)?;
            let row = columns(nodes, &row, &kinds).with_context(damaged)?;
            let line = json!({"key": HEXLOWER.encode(&key), "row": row});
            file.put(format!("{line}\n").as_bytes())?;
        }
        self.end(file)?;
        Ok(PlainTable {
            name,
            rows: table.rows.len,
            schema,
        })
    }

    /// Where a member goes; the directories above it are made.
    fn above(&mut self, name: &str) -> Result<PathBuf, Error> {
        let path = self.dir.join(name);
        let above = path.parent().unwrap_or(self.dir);
        if above != self.made {
            at(above, fs::create_dir_all(above))?;
            above.clone_into(&mut self.made);
        }
        Ok(path)
    }

    fn begin(&mut self, name: &str, executable: bool) -> Result<Written, Error> {
        let to = self.above(name)?;
        Ok(Written {
            path: name.to_owned(),
            file: BufWriter::new(create(&to, executable)?),
            at: to,
            hasher: Context::new(&SHA256),
        })
    }

    fn end(&mut self, file: Written) -> Result<(), Error> {
        let Written {
            path,
            at: to,
            mut file,
            hasher,
        } = file;
        at(&to, file.flush())?;
        let sum = HEXLOWER.encode(hasher.finish().as_ref());
        at(self.dir, writeln!(self.sums, "{sum}  {path}"))
    }
}

/// The columns of a row that are not null.
fn columns(
    nodes: &RepositoryNodes,
    row: &Row,
    kinds: &HashMap<&str, Kind>,
) -> Option<serde_json::Map<String, serde_json::Value>> {
    let mut columns = serde_json::Map::new();
    for (name, cell) in row.cells() {
        let bytes = match cell {
            Cell::Inline(bytes) => Bytes::copy_from_slice(bytes),
            Cell::Stored(content) => load_content(&content, nodes).ok()?.into(),
        };
        let value = value::to_json(*kinds.get(name)?, &bytes);
        columns.insert(name.to_owned(), value);
    }
    Some(columns)
}
