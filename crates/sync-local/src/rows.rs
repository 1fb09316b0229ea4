//! What the database has: the rows of a kind, and what was agreed on about them.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value as Json};
use sync_core::{Digest, TreePath};
use sync_db::{Database, Isolation, Statements as Transaction, Texts};

use crate::Error;
use crate::kind::{Frame, Kind};
use crate::record::{Key, Record};

/// What was agreed on about an item.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) digest: Digest,
    pub(crate) path: String,
    pub(crate) mark: Option<String>,
}

/// A row, without what is in it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) digest: Digest,
    pub(crate) mark: String,
    /// Whether only a run of ours can have made it.
    pub(crate) is_made: bool,
    /// About how many bytes it has.
    pub(crate) size: usize,
    /// Where it belongs, where nothing was agreed on about it.
    pub(crate) home: Option<TreePath>,
}

/// Everything that the database knows of a kind, without what is in the rows.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) bases: BTreeMap<Key, Base>,
    pub(crate) ours: BTreeMap<Key, Row>,
    /// Where other working copies have items that this one has never met.
    pub(crate) hints: HashMap<Key, TreePath>,
    /// What other working copies have agreed on, where the files are the truth.
    pub(crate) others: HashMap<Key, Vec<Digest>>,
    /// Rows that belong to somebody else.
    pub(crate) foreign: HashMap<Key, String>,
    /// By home: the stamp of what was read last, and how many items were in it.
    pub(crate) units: HashMap<String, (String, usize)>,
}

/// What a row counts that is as it was and was not read, in bytes.
const UNREAD: usize = 64 << 10;

const READING: &str = "reading what the database has";

/// Tables that were just filled have no statistics yet, and lists in JSON never have: a planner that takes them for short
/// compares each row with each.
pub(crate) const LONG_LISTS: &str = "SET LOCAL enable_nestloop = off";

/// Reads it as it is at one moment. Of rows that are as they were agreed on only the mark is looked at.
pub(crate) async fn read<K: Kind>(
    database: &Database,
    kind: &K,
    copy: &str,
) -> Result<Rows, Error> {
    let transaction = database.begin(READING, Isolation::Snapshot).await?;
    transaction.run(READING, LONG_LISTS).await?;
    ensure_tables::<K>(&transaction).await?;
    let mut found = Rows::default();
    let all = kind.rows().replace("{join}", "");
    if transaction.has_bookkeeping().await? {
        let is_changed = read_bases::<K>(&transaction, &all, copy, &mut found).await?;
        read_hints::<K>(&transaction, copy, &mut found).await?;
        if K::FILES_ARE_TRUTH {
            read_others::<K>(&transaction, copy, &mut found).await?;
        }
        let units =
            "SELECT home, stamp, items::text FROM sync.local_unit WHERE copy = $1 AND kind = $2";
        for row in transaction.query(READING, units, &[copy, K::NAME]).await? {
            let mut row = row.into_iter();
            let mut next = || row.next().flatten().unwrap_or_default();
            let (home, stamp, items) = (next(), next(), next());
            found
                .units
                .insert(home, (stamp, items.parse().unwrap_or(0)));
        }
        let changed = format!(
            "WITH i AS ({all}) SELECT i.key, i.mark, i.owner, i.made::text, \
            CASE WHEN i.owner IS NULL THEN i.value::text END FROM i \
            LEFT JOIN sync.local_item b ON b.copy = $1 AND b.kind = $2 AND b.key = i.key AND b.mark = i.mark \
            WHERE b.key IS NULL"
        );
        if is_changed {
            let values = [copy, K::NAME];
            let each = |row| add_row(kind, row, &mut found);
            transaction.each(READING, &changed, &values, each).await?;
        }
    } else {
        let every = format!(
            "WITH i AS ({all}) SELECT i.key, i.mark, i.owner, i.made::text, \
            CASE WHEN i.owner IS NULL THEN i.value::text END FROM i"
        );
        let each = |row| add_row(kind, row, &mut found);
        transaction.each(READING, &every, &[], each).await?;
    }
    transaction.commit(READING).await?;
    Ok(found)
}

async fn ensure_tables<K: Kind>(transaction: &Transaction) -> Result<(), Error> {
    for table in K::TABLES {
        let there = "SELECT to_regclass($1)::text";
        let rows = transaction.query(READING, there, &[table]).await?;
        let is_there = rows
            .first()
            .is_some_and(|row| row.first().is_some_and(Option::is_some));
        if !is_there {
            let table = table.parse().map_err(|_| Error::Task)?;
            return Err(sync_db::Error::NoTable { table }.into());
        }
    }
    Ok(())
}

/// Everything that is written down, and the rows that still are as it says; whether there are others.
async fn read_bases<K: Kind>(
    transaction: &Transaction,
    all: &str,
    copy: &str,
    found: &mut Rows,
) -> Result<bool, Error> {
    let bases = format!(
        "WITH i AS ({all}) SELECT b.key, b.digest, b.path, b.mark, i.key, i.mark, i.owner, i.made::text \
        FROM (SELECT key, digest, path, mark FROM sync.local_item WHERE copy = $1 AND kind = $2) b \
        FULL JOIN i ON i.key = b.key"
    );
    let mut is_changed = false;
    let add = |row: Texts| {
        let mut row = row.into_iter();
        let mut next = || row.next().flatten();
        let (written, digest, path, mark) = (next(), next(), next(), next());
        let (seen, seen_mark, owner, made) = (next(), next(), next(), next());
        let digest: Option<Digest> = match digest {
            Some(digest) => Some(digest.parse().map_err(|_| Error::Task)?),
            None => None,
        };
        match (seen, owner) {
            (None, _) => {}
            (Some(key), Some(owner)) => {
                found.foreign.insert(Key(key.into()), owner);
            }
            (Some(key), None) => match (digest, &mark, seen_mark) {
                (Some(digest), Some(mark), Some(seen_mark)) if *mark == seen_mark => {
                    let row = Row {
                        digest,
                        mark: seen_mark,
                        is_made: made.as_deref() == Some("true"),
                        size: UNREAD,
                        home: None,
                    };
                    found.ours.insert(Key(key.into()), row);
                }
                _ => is_changed = true,
            },
        }
        if let (Some(key), Some(digest)) = (written, digest) {
            let path = path.unwrap_or_default();
            let base = Base { digest, path, mark };
            found.bases.insert(Key(key.into()), base);
        }
        Ok::<(), Error>(())
    };
    let values = [copy, K::NAME];
    transaction.each(READING, &bases, &values, add).await?;
    Ok(is_changed)
}

/// Where the files that are kept of items were, for those that are not known here.
async fn read_hints<K: Kind>(
    transaction: &Transaction,
    copy: &str,
    found: &mut Rows,
) -> Result<(), Error> {
    let hints = "SELECT i.key, min(i.path) FROM sync.local_item i WHERE i.kind = $2 AND i.copy <> $1 \
        AND EXISTS (SELECT FROM sync.local_file f WHERE f.kind = i.kind AND f.home = i.path) AND NOT EXISTS \
        (SELECT FROM sync.local_item o WHERE o.copy = $1 AND o.kind = i.kind AND o.key = i.key) GROUP BY i.key";
    let add = |row: Texts| {
        let mut row = row.into_iter();
        let mut next = || row.next().flatten().unwrap_or_default();
        let key = Key(next().into());
        found
            .hints
            .extend(TreePath::new(next()).ok().map(|path| (key, path)));
        Ok::<(), Error>(())
    };
    transaction
        .each(READING, hints, &[copy, K::NAME], add)
        .await
}

/// What other working copies have agreed on.
async fn read_others<K: Kind>(
    transaction: &Transaction,
    copy: &str,
    found: &mut Rows,
) -> Result<(), Error> {
    let others = "SELECT key, digest FROM sync.local_item WHERE kind = $2 AND copy <> $1";
    let add = |row: Texts| {
        let mut row = row.into_iter();
        let mut next = || row.next().flatten().unwrap_or_default();
        let (key, digest) = (Key(next().into()), next());
        let digest = digest.parse().map_err(|_| Error::Task)?;
        found.others.entry(key).or_default().push(digest);
        Ok::<(), Error>(())
    };
    let values = [copy, K::NAME];
    transaction.each(READING, others, &values, add).await
}

/// Adds a row that has to be looked into.
fn add_row<K: Kind>(kind: &K, row: Texts, found: &mut Rows) -> Result<(), Error> {
    let mut row = row.into_iter();
    let mut next = || row.next().flatten();
    let key = Key(next().unwrap_or_default().into());
    let mark = next().unwrap_or_default();
    if let Some(owner) = next() {
        found.foreign.insert(key, owner);
        return Ok(());
    }
    let is_made = next().as_deref() == Some("true");
    let value = next().unwrap_or_default();
    let (record, size) = (record::<K>(&value)?, value.len());
    let home = if found.bases.contains_key(&key) {
        None
    } else {
        let hint = found.hints.get(&key).filter(|home| kind.holds(home));
        hint.cloned().or_else(|| kind.home(&key, &record).ok())
    };
    let row = Row {
        digest: record.digest(K::FIELDS),
        mark,
        is_made,
        size,
        home,
    };
    found.ours.insert(key, row);
    Ok(())
}

fn record<K: Kind>(json: &str) -> Result<Record, Error> {
    let row: Map<String, Json> = serde_json::from_str(json).map_err(|_| Error::Task)?;
    Ok(Record::of_row(K::FIELDS, row))
}

/// A list of items as `$1` of a statement over `k`.
pub(crate) fn keys<'k, K: Kind>(keys: impl Iterator<Item = &'k Key>) -> String {
    let rows = keys.map(|key| {
        let mut row = Map::new();
        row.insert("key".to_owned(), key.as_str().into());
        let columns = K::key_columns(key).into_iter();
        row.extend(columns.map(|(name, value)| (name.to_owned(), value)));
        Json::Object(row)
    });
    rows.collect::<Json>().to_string()
}

/// `k`, the items of `$1`.
pub(crate) fn with_keys<K: Kind>() -> String {
    format!(
        "WITH k AS (SELECT * FROM json_to_recordset($1::json) AS k(key text, {}))",
        K::KEY_COLUMNS
    )
}

/// The query of the rows of `k`.
pub(crate) fn rows_of_keys<K: Kind>(kind: &K) -> String {
    kind.rows()
        .replace("{join}", &format!("JOIN k ON {}", K::KEY_JOIN))
}

/// The rows of these items with their marks.
pub(crate) async fn records<K: Kind>(
    transaction: &Transaction,
    kind: &K,
    keys_json: &str,
) -> Result<HashMap<Key, (Record, String)>, Error> {
    let query = format!(
        "{}, i AS ({}) SELECT i.key, i.mark, i.value::text FROM i WHERE i.owner IS NULL",
        with_keys::<K>(),
        rows_of_keys(kind)
    );
    let mut found = HashMap::new();
    let add = |row: Texts| {
        let mut row = row.into_iter();
        let mut next = || row.next().flatten().unwrap_or_default();
        let (key, mark, value) = (next(), next(), next());
        found.insert(Key(key.into()), (record::<K>(&value)?, mark));
        Ok::<(), Error>(())
    };
    transaction.each(READING, &query, &[keys_json], add).await?;
    Ok(found)
}

/// What is kept of the files of these homes, by home.
pub(crate) async fn frames<K: Kind>(
    transaction: &Transaction,
    homes: &[&TreePath],
) -> Result<HashMap<TreePath, Vec<Frame>>, Error> {
    let homes = homes.iter().map(|home| home.as_str());
    let homes = homes.collect::<Json>().to_string();
    let query = "SELECT home, path, head, tail FROM sync.local_file \
        WHERE kind = $1 AND home IN (SELECT json_array_elements_text($2::json)) ORDER BY path";
    let mut found: HashMap<TreePath, Vec<Frame>> = HashMap::new();
    if !transaction.has_bookkeeping().await? {
        return Ok(found);
    }
    for row in transaction
        .query(READING, query, &[K::NAME, &homes])
        .await?
    {
        let mut row = row.into_iter();
        let mut next = || row.next().flatten();
        let path = |text: Option<String>| TreePath::new(text.unwrap_or_default()).ok();
        // A path that is none was not written by us: the file is then made as if nothing were known of it.
        let (Some(home), Some(path)) = (path(next()), path(next())) else {
            continue;
        };
        let frame = Frame {
            path,
            head: next().unwrap_or_default(),
            tail: next(),
        };
        found.entry(home).or_default().push(frame);
    }
    Ok(found)
}
