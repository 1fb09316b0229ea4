//! Rows from the database to the thread that makes their map.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use sync_core::Digest;
use sync_core::map::{Builder, Editor, Map, NodeSink, NodeSource, StoreError};
use tokio::sync::mpsc;

use super::copy::{CopyReader, NoRow};
use super::rows::RowEncoder;
use super::{CaptureEvent, Objects, Run};
use crate::Error;
use crate::relation::Relation;

/// Messages go to the thread together once they have this many bytes.
const BATCH: usize = 128 * 1024;
/// So many of those may wait.
const WAITING: usize = 4;

/// What becomes of the rows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// They are the map.
    Build,
    /// They are put into the map under this root. The first column says whether there is still such a row, then come the
    /// columns of its key, then those of the row.
    Edit(Digest),
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    pub(super) map: Map,
    /// Whether it is known that its rows name nothing beside its nodes.
    pub(super) is_inline: bool,
}

/// The statement that reads a table whole.
pub(super) fn whole(relation: &Relation) -> String {
    format!(
        "SELECT {} FROM (SELECT * FROM {} WHERE {}) t ORDER BY {}",
        relation.expressions("t").join(", "),
        relation.sql(),
        relation.condition(),
        relation.order("t")
    )
}

impl<F: Fn(CaptureEvent<'_>) + Send + Sync> Run<'_, '_, F> {
    /// Reads what `query` gives, into a map. The inner result is the thread's, which had `objects` meanwhile.
    pub(super) async fn read<S, N, C>(
        &self,
        relation: &Relation,
        query: &str,
        way: Way,
        objects: Objects<S, N, C>,
    ) -> Result<(Objects<S, N, C>, Result<Made, Error>), Error>
    where
        S: NodeSource + Send + 'static,
        N: NodeSink + Send + 'static,
        C: NodeSink + Send + 'static,
    {
        let (to_thread, batches) = mpsc::channel(WAITING);
        let encoder = RowEncoder::new(relation);
        let thread = tokio::task::spawn_blocking(move || {
            let mut objects = objects;
            let made = match way {
                Way::Build => build(&mut objects, encoder, batches),
                Way::Edit(root) => edit(&mut objects, root, encoder, batches),
            };
            (objects, made)
        });
        let sent = self.send(query, to_thread).await;
        let (objects, made) = thread.await.map_err(|_| Error::Task)?;
        // Where the database failed, the thread complains about a stream that was cut, too.
        sent?;
        Ok((objects, made))
    }

    /// Sends the rows to the thread until it has enough.
    async fn send(&self, query: &str, to_thread: mpsc::Sender<Vec<Bytes>>) -> Result<(), Error> {
        let said = self.database.while_("reading rows");
        let copy = format!("COPY ({query}) TO STDOUT (FORMAT binary)");
        let messages = self.transaction.copy_out(&copy).await.map_err(said)?;
        let mut messages = std::pin::pin!(messages);
        let (mut batch, mut length) = (Vec::new(), 0);
        while let Some(message) = messages.try_next().await.map_err(said)? {
            length += message.len();
            batch.push(message);
            if length >= BATCH {
                (self.tell)(CaptureEvent::Bytes(length as u64));
                if to_thread.send(std::mem::take(&mut batch)).await.is_err() {
                    return Ok(());
                }
                length = 0;
            }
        }
        (self.tell)(CaptureEvent::Bytes(length as u64));
        // A thread that is gone has failed, and says so itself.
        let _ = to_thread.send(batch).await;
        Ok(())
    }
}

fn build<S, N: NodeSink, C: NodeSink>(
    objects: &mut Objects<S, N, C>,
    mut encoder: RowEncoder,
    mut batches: mpsc::Receiver<Vec<Bytes>>,
) -> Result<Made, Error> {
    let Objects {
        nodes, contents, ..
    } = objects;
    let contents = &mut Witness {
        sink: contents,
        is_used: false,
    };
    let mut builder = Builder::new(nodes);
    let mut reader = CopyReader::default();
    let first = encoder.key_len();
    while let Some(batch) = batches.blocking_recv() {
        for message in batch {
            let fed = reader.feed(&message, |sent| {
                encoder.key(sent, 0)?;
                encoder.row(sent, first, contents)?;
                encoder.entry(contents, |key, value| builder.push(key, value))?;
                Ok(())
            });
            fed.map_err(|stopped: Stopped| stopped.of(&encoder))?;
        }
    }
    if !reader.is_complete() {
        return Err(encoder.no_row(NoRow));
    }
    Ok(Made {
        map: builder.finish()?,
        is_inline: !contents.is_used,
    })
}

fn edit<S: NodeSource, N: NodeSink, C: NodeSink>(
    objects: &mut Objects<S, N, C>,
    root: Digest,
    mut encoder: RowEncoder,
    mut batches: mpsc::Receiver<Vec<Bytes>>,
) -> Result<Made, Error> {
    let Objects {
        source,
        nodes,
        contents,
    } = objects;
    let mut editor = Editor::new(&*source, root, nodes);
    let mut reader = CopyReader::default();
    let first = 1 + encoder.key_len();
    while let Some(batch) = batches.blocking_recv() {
        for message in batch {
            let fed = reader.feed(&message, |sent| {
                encoder.key(sent, 1)?;
                if sent.get(0) == Some(&[1]) {
                    encoder.row(sent, first, contents)?;
                    encoder.entry(contents, |key, value| editor.set(key, value))?;
                } else {
                    let removed = editor.remove(encoder.last_key());
                    removed.map_err(|error| encoder.out_of_order(error))?;
                }
                Ok(())
            });
            fed.map_err(|stopped: Stopped| stopped.of(&encoder))?;
        }
    }
    if !reader.is_complete() {
        return Err(encoder.no_row(NoRow));
    }
    Ok(Made {
        map: editor.finish()?,
        is_inline: false,
    })
}

/// Sees whether anything is stored beside the nodes.
struct Witness<'w, C> {
    sink: &'w mut C,
    is_used: bool,
}

impl<C: NodeSink> NodeSink for Witness<'_, C> {
    fn put(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.is_used = true;
        self.sink.put(digest, bytes)
    }

    fn put_chunk(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.is_used = true;
        self.sink.put_chunk(digest, bytes)
    }
}

/// Why rows were not read to the end.
enum Stopped {
    NoRow(NoRow),
    Failed(Error),
}

impl From<NoRow> for Stopped {
    fn from(why: NoRow) -> Self {
        Self::NoRow(why)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Stopped {
    fn of(self, encoder: &RowEncoder) -> Error {
        match self {
            Self::NoRow(why) => encoder.no_row(why),
            Self::Failed(error) => error,
        }
    }
}
