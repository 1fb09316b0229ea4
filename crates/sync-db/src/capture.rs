//! A database into maps: one consistent cut through all tables, read whole or by their change logs. Nothing is written.
//!
//! Every table is locked against changes of its definition before the cut is made: what commits in between is seen whole.
//! The rows of a table stream in the order of their keys from the database to a blocking thread, which makes the map;
//! what is in memory is a few hundred kilobytes on the way, and the row that is being read.

mod copy;
#[cfg(fuzzing)]
pub mod fuzzing;
mod log;
mod rows;
mod stream;

use deadpool_postgres::Transaction;
use sync_core::Digest;
use sync_core::map::{self, MapError, NodeSink, NodeSource};
use sync_core::rows::{TableEntry, TableName, tables};
use tokio_postgres::IsolationLevel;

use crate::relation::Relation;
use crate::spec::TableSpec;
use crate::sql::{is_absent, quote};
use crate::state::{Standing, is_writing};
use crate::track::Tracks;
use crate::working_copy::{Capture, Doubt, Known, Reading, TableCapture};
use crate::{Database, Error};

use log::Logs;
use stream::{Made, Way};

/// Few rows are fetched one by one, from memory most often.
const SCATTERED: &str = "SET LOCAL random_page_cost = 1.1";
/// A whole table is better sorted than fetched so; what its pages cost is for the server to say.
const WHOLE: &str = "SET LOCAL random_page_cost TO DEFAULT";

/// Where a capture reads the maps of before, and puts what is new. A capture takes it along to the threads that make maps,
/// and gives it back.
#[derive(Debug)]
pub struct Objects<S, N, C> {
    /// The maps that were captured before; needed where the capture goes on from one.
    pub source: S,
    /// Takes the nodes of maps.
    pub nodes: N,
    /// Takes schemas, values and rows that are too large for a node.
    pub contents: C,
}

/// How a capture goes on.
#[derive(Debug, Clone, Copy)]
pub enum CaptureEvent<'c> {
    /// A table is read now.
    Table {
        /// Its name.
        name: &'c TableName,
        /// Whether all of it is.
        whole: bool,
    },
    /// So many further bytes of its rows have come.
    Bytes(u64),
}

impl Database {
    /// Captures the tables of `specs`, all at one moment: into the map of tables under [`Capture::root`].
    ///
    /// Where the state that the database has written down is one of the `known` ones, tables that are tracked are read by their logs
    /// alone; all others are read whole. Both ways give the same map. Nothing is written to the database: a capture that is
    /// to be gone on from is written down with [`Self::settle`].
    ///
    /// Whoever captures because it was woken repeats it, a little later each time, as long as [`Capture::is_writing`]:
    /// transactions that were writing to tracked tables may commit without waking anybody.
    ///
    /// # Errors
    ///
    /// [`Error::NoTable`] and [`Error::Unfit`] name the table that cannot be captured. After any error nothing names what
    /// `objects` was given.
    pub async fn capture<S, N, C>(
        &self,
        specs: &[TableSpec],
        known: &[Known],
        objects: Objects<S, N, C>,
        tell: impl Fn(CaptureEvent<'_>) + Send + Sync,
    ) -> Result<(Capture, Objects<S, N, C>), Error>
    where
        S: NodeSource + Send + 'static,
        N: NodeSink + Send + 'static,
        C: NodeSink + Send + 'static,
    {
        let said = self.while_("capturing rows");
        let mut client = self.connection("capturing rows").await?;
        let is_writing = is_writing(self, &client).await?;
        let transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await
            .map_err(said)?;
        let mut specs: Vec<&TableSpec> = specs.iter().collect();
        specs.sort_by(|a, b| a.name.cmp(&b.name));
        specs.dedup_by(|a, b| a.name == b.name);
        hold_definitions(self, &transaction, &specs).await?;
        let standing = Standing::read(self, &transaction).await?;
        let relations = self.relations(&transaction, &specs).await?;
        let run = Run {
            database: self,
            transaction: &transaction,
            tell: &tell,
        };
        let (mut capture, objects) =
            Box::pin(run.capture(standing, known, relations, objects)).await?;
        transaction.commit().await.map_err(said)?;
        capture.is_writing = is_writing;
        Ok((capture, objects))
    }
}

/// Sets the transaction up, and keeps the tables as they are defined until its end. This comes before the first question,
/// which makes the cut: a table that was truncated or rewritten in between would look empty to it.
async fn hold_definitions(
    database: &Database,
    transaction: &Transaction<'_>,
    specs: &[&TableSpec],
) -> Result<(), Error> {
    let mut script = format!(
        "SET LOCAL search_path = pg_catalog; SET LOCAL plan_cache_mode = force_generic_plan; {SCATTERED}"
    );
    let names = specs.iter().map(|spec| {
        let name = &spec.name;
        format!("{}.{}", quote(name.schema()), quote(name.table()))
    });
    let names: Vec<_> = names.collect();
    if !names.is_empty() {
        let lock = format!("; LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
        script.push_str(&lock);
    }
    let said = database.while_("capturing rows");
    let Err(error) = transaction.batch_execute(&script).await else {
        return Ok(());
    };
    if !is_absent(&error) {
        return Err(said(error));
    }
    // The message names it, in words that depend on the server's language; asking tells which it is.
    transaction.batch_execute("ROLLBACK").await.map_err(said)?;
    for spec in specs {
        Relation::inspect(database, &**transaction, spec).await?;
    }
    Err(said(error))
}

/// One capture.
struct Run<'r, 't, F> {
    database: &'r Database,
    transaction: &'r Transaction<'t>,
    tell: &'r F,
}

/// What the last capture had, where it can be gone on from.
struct Before {
    tables: Vec<(TableName, TableEntry)>,
    root: Digest,
}

impl Before {
    fn entry(&self, name: &TableName) -> Option<&TableEntry> {
        let found = self.tables.binary_search_by(|(at, _)| at.cmp(name));
        found.ok().map(|index| &self.tables[index].1)
    }
}

impl<F: Fn(CaptureEvent<'_>) + Send + Sync> Run<'_, '_, F> {
    async fn capture<S, N, C>(
        &self,
        standing: Standing,
        known: &[Known],
        relations: Vec<Relation>,
        objects: Objects<S, N, C>,
    ) -> Result<(Capture, Objects<S, N, C>), Error>
    where
        S: NodeSource + Send + 'static,
        N: NodeSink + Send + 'static,
        C: NodeSink + Send + 'static,
    {
        let (database, transaction) = (self.database, self.transaction);
        let tracks = if standing.has_bookkeeping {
            Tracks::read(database, transaction, &relations).await?
        } else {
            Tracks::default()
        };
        let (trusted, mut doubt) = match standing.trusted(known) {
            Ok(trusted) => (Some(trusted), None),
            Err(doubt) => (None, doubt),
        };
        let root = trusted.map(|(_, known)| known.root);
        let (mut objects, before) = read_before(objects, root).await?;
        if trusted.is_some() && before.is_none() {
            doubt = Some(Doubt::LostMap);
        }
        let logs = match (trusted, &before) {
            (Some((state, _)), Some(_)) => {
                let since = &state.cursor.snapshot;
                Logs::read(database, transaction, &tracks, &state.tracked, since).await?
            }
            _ => Logs::default(),
        };
        let mut tables = Vec::with_capacity(relations.len());
        for relation in &relations {
            let (schema, bytes) = relation.schema().encode();
            let old = before.as_ref().and_then(|b| b.entry(&relation.name));
            let old = old.filter(|old| old.schema == schema);
            let stored = objects.contents.put(schema, bytes);
            stored.map_err(|source| Error::Object { source })?;
            let (reading, made);
            (objects, reading, made) = self.table(relation, old, &logs, objects).await?;
            tables.push(TableCapture {
                name: relation.name.clone(),
                entry: TableEntry {
                    schema,
                    rows: made.map,
                },
                reading,
                is_inline: made.is_inline,
            });
        }
        let root = map_of(&tables, &mut objects.nodes)?;
        let same_tracks = trusted.is_some_and(|(state, _)| state.tracked == tracks.marks());
        let is_news = before.is_none_or(|before| before.root != root)
            || !same_tracks
            || tables
                .iter()
                .any(|table| matches!(table.reading, Reading::Log { keys } if keys > 0));
        let capture = Capture {
            root,
            tables,
            doubt,
            relations,
            is_news,
            is_writing: false,
            is_current: standing.is_current,
            cursor: standing.cursor,
            seen: standing.state.map(|state| state.epoch),
            tracks: tracks.marks(),
        };
        Ok((capture, objects))
    }

    async fn set(&self, script: &str) -> Result<(), Error> {
        let said = self.database.while_("capturing rows");
        self.transaction.batch_execute(script).await.map_err(said)
    }

    /// One table, by its log where that can be trusted and `old` is what it was.
    async fn table<S, N, C>(
        &self,
        relation: &Relation,
        old: Option<&TableEntry>,
        logs: &Logs,
        objects: Objects<S, N, C>,
    ) -> Result<(Objects<S, N, C>, Reading, Made), Error>
    where
        S: NodeSource + Send + 'static,
        N: NodeSink + Send + 'static,
        C: NodeSink + Send + 'static,
    {
        let name = &relation.name;
        let mut objects = objects;
        if let (Some(old), Some(log)) = (old, logs.of(relation)) {
            let reading = Reading::Log { keys: log.keys };
            if log.keys == 0 {
                let made = Made {
                    map: old.rows,
                    is_inline: false,
                };
                return Ok((objects, reading, made));
            }
            (self.tell)(CaptureEvent::Table { name, whole: false });
            let query = logs.query(log, relation);
            self.set(SCATTERED).await?;
            let way = Way::Edit(old.rows.root);
            let edited;
            (objects, edited) = self.read(relation, &query, way, objects).await?;
            match edited {
                // A node of the old map is lost: the rows themselves are not.
                Err(Error::Map {
                    source: MapError::Missing { .. },
                }) => {}
                other => return Ok((objects, reading, other?)),
            }
        }
        (self.tell)(CaptureEvent::Table { name, whole: true });
        self.set(WHOLE).await?;
        let query = stream::whole(relation);
        let (objects, built) = self.read(relation, &query, Way::Build, objects).await?;
        Ok((objects, Reading::Whole, built?))
    }
}

/// The tables under `root`; `None` where there is none, or it cannot be read any more.
async fn read_before<S, N, C>(
    objects: Objects<S, N, C>,
    root: Option<Digest>,
) -> Result<(Objects<S, N, C>, Option<Before>), Error>
where
    S: NodeSource + Send + 'static,
    N: Send + 'static,
    C: Send + 'static,
{
    let Some(root) = root else {
        return Ok((objects, None));
    };
    let read = tokio::task::spawn_blocking(move || {
        let tables = tables(&objects.source, root);
        (objects, tables)
    });
    let (objects, tables) = read.await.map_err(|_| Error::Task)?;
    match tables {
        Ok(tables) => Ok((objects, Some(Before { tables, root }))),
        Err(MapError::Missing { .. }) => Ok((objects, None)),
        Err(error) => Err(error.into()),
    }
}

/// The map of tables: there are few.
fn map_of(tables: &[TableCapture], nodes: &mut impl NodeSink) -> Result<Digest, Error> {
    let mut builder = map::Builder::new(nodes);
    for table in tables {
        builder.push(table.name.as_str().as_bytes(), &table.entry.encode())?;
    }
    Ok(builder.finish()?.root)
}
