//! Which keys the change logs name since the last capture, and the statement that reads those rows.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;

use crate::relation::{Relation, RelationColumn};
use crate::sql::{ask, literal, quote};
use crate::track::{Track, Tracks};
use crate::{Database, Error};

/// The logs that can be trusted.
#[derive(Debug, Default)]
pub(super) struct Logs {
    /// The snapshot of the last capture.
    since: String,
    /// By the number of the table in the database.
    logs: BTreeMap<u32, Log>,
}

/// The log of one table.
#[derive(Debug)]
pub(super) struct Log {
    track: Track,
    /// How many rows of the log are to be looked at.
    pub(super) keys: u64,
}

impl Logs {
    /// Asks all logs at once how much they have, but for those that were not kept all the time since the last capture:
    /// `tracked` is what was written down of them then.
    pub(super) async fn read(
        database: &Database,
        transaction: &Transaction<'_>,
        tracks: &Tracks,
        tracked: &[String],
        since: &str,
    ) -> Result<Self, Error> {
        let kept: Vec<&Track> = tracks
            .intact()
            .filter(|track| tracked.contains(&track.mark()))
            .collect();
        let mut logs = BTreeMap::new();
        if !kept.is_empty() {
            let counts: Vec<_> = kept.iter().map(|track| count(track)).collect();
            let question = counts.join(" UNION ALL ");
            let said = database.while_("reading the change logs");
            let rows = ask(transaction, &question, &[&since]).await;
            for row in rows.map_err(said)? {
                let number: i32 = row.get(0);
                let (keys, is_whole): (i64, bool) = (row.get(1), row.get(2));
                let track = kept.iter().find(|track| track.number == number);
                if let Some(&track) = track.filter(|_| !is_whole) {
                    let log = Log {
                        track: track.clone(),
                        keys: u64::try_from(keys).unwrap_or(0),
                    };
                    logs.insert(track.relation, log);
                }
            }
        }
        Ok(Self {
            since: since.to_owned(),
            logs,
        })
    }

    /// The log of a table, where it can be trusted.
    pub(super) fn of(&self, relation: &Relation) -> Option<&Log> {
        self.logs.get(&relation.oid)
    }

    /// The statement that reads the rows that the log names: whether there still is one, the key, the row.
    pub(super) fn query(&self, log: &Log, relation: &Relation) -> String {
        let since = literal(&self.since);
        let columns: Vec<_> = relation.key.iter().map(|name| quote(name)).collect();
        // Two keys may be equal for the database and still be spelled in two ways, of which the table has one.
        let spelled: Vec<_> = relation.key_columns().map(|c| spelling(c, "l")).collect();
        let same: Vec<_> = relation.key_columns().map(is_same).collect();
        let keys: Vec<_> = relation
            .key_columns()
            .map(|c| c.key_expression("l"))
            .collect();
        let values: Vec<_> = relation.columns.iter().map(|c| c.expression("t")).collect();
        format!(
            "SELECT t.ctid IS NOT NULL, {keys}, {values} FROM (SELECT DISTINCT ON ({spelled}) {columns} FROM {log} l \
            WHERE {news}) l LEFT JOIN (SELECT *, ctid FROM {table} WHERE {condition}) t ON {same} ORDER BY {order}",
            keys = keys.join(", "),
            values = values.join(", "),
            spelled = spelled.join(", "),
            columns = columns.join(", "),
            log = log.track.log(),
            news = news(&format!("{since}::pg_snapshot")),
            table = relation.sql(),
            condition = relation.condition(),
            same = same.join(" AND "),
            order = relation.order("l"),
        )
    }
}

/// Which rows of a log the capture before did not see. Its index finds the first of them.
fn news(since: &str) -> String {
    format!(
        "\"sync.xid\" >= pg_snapshot_xmin({since}) AND NOT pg_visible_in_snapshot(\"sync.xid\", {since})"
    )
}

fn count(track: &Track) -> String {
    let (number, log, news) = (track.number, track.log(), news("$1::text::pg_snapshot"));
    format!(
        "SELECT {number}, (SELECT count(*) FROM {log} WHERE {news}), \
        EXISTS (SELECT FROM sync.truncated WHERE number = {number} AND {news})"
    )
}

/// A value of the key by which two of them are told apart.
fn spelling(column: &RelationColumn, alias: &str) -> String {
    let expression = column.key_expression(alias);
    if column.sorts_as_text() {
        format!("({expression}) COLLATE \"C\"")
    } else {
        expression
    }
}

/// That the table's value is the log's; the first half of it is for the table's index.
fn is_same(column: &RelationColumn) -> String {
    let name = quote(&column.column.name);
    let equal = format!("t.{name} = l.{name}");
    if column.sorts_as_text() {
        format!(
            "{equal} AND {} = {}",
            spelling(column, "t"),
            spelling(column, "l")
        )
    } else {
        equal
    }
}
