//! Files to rows: everything in one transaction, batch by batch, so that no more than a batch is in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use sync_core::TreePath;
use sync_db::{Database, Isolation, Statements as Transaction};
use tokio::sync::mpsc;

use crate::Error;
use crate::decide::Verdict;
use crate::disk::{Place, Reader};
use crate::kind::{Frame, Kind, Unit};
use crate::local::{LocalOutcome, Ports};
use crate::plan::LocalPlan;
use crate::record::Key;
use crate::rows::{LONG_LISTS, keys, rows_of_keys, with_keys};

const WRITING: &str = "writing items to the database";
/// How many items are sent at once.
pub(crate) const BATCH: usize = 500;
/// So few items are looked up one by one.
const FEW: usize = 50;
/// How many bytes of text are sent at once, about.
pub(crate) const BATCH_BYTES: usize = 4 << 20;

/// Part of what is written.
#[derive(Debug, Default)]
struct Batch {
    create: Vec<Json>,
    update: Vec<Json>,
    written: Written,
    bytes: usize,
}

/// What is written down beside the rows.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// `key`, `digest`, `path` and, where the row is not one that is written now, `mark`.
    pub(crate) items: Vec<Json>,
    pub(crate) frames: Vec<(TreePath, Frame)>,
    /// Those that count only where nothing is kept of their home yet.
    pub(crate) first: Vec<(TreePath, Frame)>,
    /// Home, stamp and number of items of units that are agreed on as a whole.
    pub(crate) units: Vec<(TreePath, String, usize)>,
}

/// Does what the plan says.
pub(crate) async fn apply<K: Kind>(
    database: &Database,
    place: &Place,
    kind: K,
    copy: &str,
    plan: Arc<LocalPlan>,
    ports: &Ports,
) -> Result<LocalOutcome, Error> {
    database.ensure_bookkeeping().await?;
    let transaction = database.begin(WRITING, Isolation::Latest).await?;
    transaction.lock_local(WRITING).await?;
    if plan.changes().count() + plan.adopt.len() > FEW {
        transaction.run(WRITING, LONG_LISTS).await?;
    }
    let now = ports.now();
    expect::<K>(&transaction, &kind, &plan).await?;
    let marks = marks_are_sure::<K>(&transaction).await?;
    let rows = rows_of_keys(&kind);
    let (sender, mut batches) = mpsc::channel(2);
    let reading = tokio::task::spawn_blocking({
        let (place, plan, ports) = (place.clone(), Arc::clone(&plan), ports.clone());
        move || read_all(&place, &kind, &plan, &ports, &sender)
    });
    while let Some(batch) = batches.recv().await {
        let batch: Batch = batch;
        for (list, statements) in [
            (&batch.create, K::statements().insert),
            (&batch.update, K::statements().update),
        ] {
            step_aside::<K>(&transaction, list, &now).await?;
            write::<K>(&transaction, statements, list, &now).await?;
        }
        let looked = marks.then_some(rows.as_str());
        write_down::<K>(&transaction, copy, &batch.written, looked).await?;
    }
    reading.await.map_err(|_| Error::Task)??;
    let gone: Vec<&Key> = chosen(&plan, Verdict::Delete).collect();
    for part in gone.chunks(BATCH) {
        let list: Vec<Json> = part
            .iter()
            .map(|key| Json::Object(key_row::<K>(key)))
            .collect();
        write::<K>(&transaction, K::statements().delete, &list, &now).await?;
    }
    forget::<K>(&transaction, copy, &plan).await?;
    transaction.commit(WRITING).await?;
    Ok(LocalOutcome::of(&plan))
}

fn chosen(plan: &LocalPlan, verdict: Verdict) -> impl Iterator<Item = &Key> {
    let items = plan.items.iter();
    items
        .filter(move |item| item.verdict == verdict)
        .map(|item| &item.key)
}

/// Locks the rows that are about to change and compares them with what the plan has seen.
async fn expect<K: Kind>(
    transaction: &Transaction,
    kind: &K,
    plan: &LocalPlan,
) -> Result<(), Error> {
    let changes = plan.changes().map(|item| (&item.key, item.mark.as_deref()));
    // What only moved is written, too.
    let moves = plan.adopt.iter().filter(|adopt| adopt.is_moved);
    let moves = moves.map(|adopt| (&adopt.key, adopt.mark.as_deref()));
    let expected: Vec<(&Key, Option<&str>)> = changes.chain(moves).collect();
    let query = format!(
        "{}, i AS ({}) SELECT i.key, i.mark, i.owner FROM i",
        with_keys::<K>(),
        rows_of_keys(kind)
    );
    for part in expected.chunks(BATCH) {
        let list = keys::<K>(part.iter().map(|(key, _)| *key));
        for lock in K::statements().lock {
            let lock = format!("{} {lock}", with_keys::<K>());
            transaction.execute(WRITING, &lock, &[&list]).await?;
        }
        let mut found: HashMap<String, Option<String>> = HashMap::new();
        for row in transaction.query(WRITING, &query, &[&list]).await? {
            let mut row = row.into_iter();
            found.insert(
                row.next().flatten().unwrap_or_default(),
                row.next().flatten(),
            );
        }
        for (key, mark) in part {
            let now = found.get(key.as_str()).and_then(Option::as_deref);
            if now != *mark {
                return moved::<K>(key);
            }
        }
    }
    Ok(())
}

fn moved<K: Kind>(key: &Key) -> Result<(), Error> {
    Err(Error::Moved {
        what: format!("the row of {} `{key}`", K::NAME),
    })
}

/// Whether what is written is what is stored. A trigger of the application may make something else of it; then rows are
/// read again by the next run, which finds out.
async fn marks_are_sure<K: Kind>(transaction: &Transaction) -> Result<bool, Error> {
    // Bit 0: for each row. Ours are for each statement.
    let triggers = "SELECT count(*)::text FROM pg_catalog.pg_trigger t \
        WHERE t.tgrelid IN (SELECT to_regclass(n) FROM json_array_elements_text($1::json) n) \
        AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype::int & 1 = 1";
    let tables = json!(K::TABLES).to_string();
    let found = transaction.query(WRITING, triggers, &[&tables]).await?;
    let count = found.into_iter().flatten().next().flatten();
    Ok(count.as_deref() == Some("0"))
}

/// Makes room for a list of rows.
async fn step_aside<K: Kind>(
    transaction: &Transaction,
    list: &[Json],
    now: &str,
) -> Result<(), Error> {
    let json = serde_json::to_string(list).map_err(|_| Error::Task)?;
    for statement in K::statements().aside.iter().filter(|_| !list.is_empty()) {
        over_rows::<K>(transaction, statement, &json, now).await?;
    }
    let Some(taken) = K::statements().taken.filter(|_| !list.is_empty()) else {
        return Ok(());
    };
    let taken = with_rows::<K>(taken);
    let found = transaction.query(WRITING, &taken, &[&json]).await?;
    match found.into_iter().next() {
        None => Ok(()),
        Some(row) => {
            let mut row = row.into_iter().map(Option::unwrap_or_default);
            let mut next = || row.next().unwrap_or_default();
            Err(Error::Taken {
                kind: K::NAME,
                key: next(),
                path: next(),
                owner: next(),
            })
        }
    }
}

/// A statement over rows, which are given as `$1`.
fn with_rows<K: Kind>(statement: &str) -> String {
    format!(
        "WITH r AS (SELECT * FROM json_to_recordset($1::json) AS r({})) {statement}",
        K::ROW_COLUMNS
    )
}

/// Runs a statement over rows, and says how many it changed.
async fn over_rows<K: Kind>(
    transaction: &Transaction,
    statement: &str,
    json: &str,
    now: &str,
) -> Result<u64, Error> {
    let statement = with_rows::<K>(statement);
    let values = [json, now];
    Ok(transaction.execute(WRITING, &statement, &values).await?)
}

/// Runs the statements over a list of rows; the first one has to change each of them.
async fn write<K: Kind>(
    transaction: &Transaction,
    statements: &[&str],
    list: &[Json],
    now: &str,
) -> Result<(), Error> {
    if list.is_empty() {
        return Ok(());
    }
    let json = serde_json::to_string(list).map_err(|_| Error::Task)?;
    for (at, statement) in statements.iter().enumerate() {
        let changed = over_rows::<K>(transaction, statement, &json, now).await?;
        if at == 0 && changed != list.len() as u64 {
            return Err(Error::Moved {
                what: format!("a row of {}", K::NAME),
            });
        }
    }
    Ok(())
}

/// Writes down what is agreed on. `rows` is the query of rows of `k`, where the version of a row is to be looked up.
pub(crate) async fn write_down<K: Kind>(
    transaction: &Transaction,
    copy: &str,
    written: &Written,
    rows: Option<&str>,
) -> Result<(), Error> {
    let text = |list: &Vec<Json>| serde_json::to_string(list).map_err(|_| Error::Task);
    if !written.items.is_empty() {
        let (join, mark) = match rows {
            Some(rows) => (
                format!(
                    ", i AS ({rows}) SELECT $2, $3, r.key, r.digest, r.path, COALESCE(r.mark, i.mark) FROM r LEFT JOIN i ON i.key = r.key"
                ),
                format!("{}, ", with_keys::<K>()),
            ),
            None => (
                " SELECT $2, $3, r.key, r.digest, r.path, r.mark FROM r".to_owned(),
                "WITH ".to_owned(),
            ),
        };
        let statement = format!(
            "{mark}r AS (SELECT * FROM json_to_recordset($1::json) AS r(key text, digest text, path text, mark text)){} \
            ON CONFLICT (copy, kind, key) DO UPDATE SET digest = excluded.digest, path = excluded.path, mark = excluded.mark",
            join.replace(
                " SELECT $2",
                " INSERT INTO sync.local_item (copy, kind, key, digest, path, mark) SELECT $2"
            )
        );
        let items = text(&written.items)?;
        transaction
            .execute(WRITING, &statement, &[&items, copy, K::NAME])
            .await?;
    }
    if !written.frames.is_empty() {
        let homes = written.frames.iter().map(|(home, _)| home.as_str());
        let homes = homes.collect::<Json>().to_string();
        let clear = "DELETE FROM sync.local_file WHERE kind = $1 AND home IN (SELECT json_array_elements_text($2::json))";
        transaction
            .execute(WRITING, clear, &[K::NAME, &homes])
            .await?;
        let put = "INSERT INTO sync.local_file (kind, path, home, head, tail) SELECT $2, r.path, r.home, r.head, r.tail \
            FROM json_to_recordset($1::json) AS r(path text, home text, head text, tail text) \
            ON CONFLICT (kind, path) DO UPDATE SET home = excluded.home, head = excluded.head, tail = excluded.tail";
        let frames = text(&written.frames.iter().map(frame_row).collect())?;
        transaction
            .execute(WRITING, put, &[&frames, K::NAME])
            .await?;
    }
    if !written.first.is_empty() {
        let put = "INSERT INTO sync.local_file (kind, path, home, head, tail) SELECT $2, r.path, r.home, r.head, r.tail \
            FROM json_to_recordset($1::json) AS r(path text, home text, head text, tail text) \
            WHERE NOT EXISTS (SELECT FROM sync.local_file f WHERE f.kind = $2 AND f.home = r.home) \
            ON CONFLICT (kind, path) DO NOTHING";
        let frames = text(&written.first.iter().map(frame_row).collect())?;
        transaction
            .execute(WRITING, put, &[&frames, K::NAME])
            .await?;
    }
    if !written.units.is_empty() {
        let units = written
            .units
            .iter()
            .map(|(home, stamp, items)| json!({"home": home, "stamp": stamp, "items": items}));
        let put = "INSERT INTO sync.local_unit (copy, kind, home, stamp, items) SELECT $2, $3, r.home, r.stamp, r.items \
            FROM json_to_recordset($1::json) AS r(home text, stamp text, items int) \
            ON CONFLICT (copy, kind, home) DO UPDATE SET stamp = excluded.stamp, items = excluded.items";
        let units = text(&units.collect())?;
        transaction
            .execute(WRITING, put, &[&units, copy, K::NAME])
            .await?;
    }
    Ok(())
}

fn frame_row((home, frame): &(TreePath, Frame)) -> Json {
    json!({"path": frame.path, "home": home, "head": frame.head, "tail": frame.tail})
}

impl Written {
    /// The same in parts, none of which is much longer than a batch. What is kept of one home stays together.
    pub(crate) fn parts(self) -> Vec<Self> {
        let mut parts = Parts::default();
        for item in self.items {
            parts.part(0, true).items.push(item);
        }
        let mut before = None;
        for (home, frame) in self.frames {
            let may_end = before.as_ref() != Some(&home);
            before = Some(home.clone());
            let part = parts.part(frame.head.len(), may_end);
            part.frames.push((home, frame));
        }
        before = None;
        for (home, frame) in self.first {
            let may_end = before.as_ref() != Some(&home);
            before = Some(home.clone());
            let part = parts.part(frame.head.len(), may_end);
            part.first.push((home, frame));
        }
        for unit in self.units {
            parts.part(0, true).units.push(unit);
        }
        parts.done.push(parts.last);
        parts.done
    }
}

/// Parts as they are filled.
#[derive(Debug, Default)]
struct Parts {
    done: Vec<Written>,
    last: Written,
    count: usize,
    bytes: usize,
}

impl Parts {
    /// The part that takes one more thing of so many bytes; a new one where the last is full and may end here.
    fn part(&mut self, bytes: usize, may_end: bool) -> &mut Written {
        if may_end && (self.count >= BATCH || self.bytes >= BATCH_BYTES) {
            self.done.push(std::mem::take(&mut self.last));
            (self.count, self.bytes) = (0, 0);
        }
        self.count += 1;
        self.bytes += bytes;
        &mut self.last
    }
}

/// Forgets what was agreed on about items that are gone, and the files that nothing is in any more.
pub(crate) async fn forget<K: Kind>(
    transaction: &Transaction,
    copy: &str,
    plan: &LocalPlan,
) -> Result<(), Error> {
    let gone = chosen(plan, Verdict::Delete).chain(chosen(plan, Verdict::Forget));
    let gone: Vec<&str> = gone.map(Key::as_str).collect();
    if !gone.is_empty() {
        let gone = json!(gone).to_string();
        let statement = "DELETE FROM sync.local_item WHERE copy = $1 AND kind = $2 \
            AND key IN (SELECT json_array_elements_text($3::json))";
        transaction
            .execute(WRITING, statement, &[copy, K::NAME, &gone])
            .await?;
    }
    if !plan.left.is_empty() {
        let left = json!(plan.left).to_string();
        let units = "DELETE FROM sync.local_unit u WHERE copy = $1 AND kind = $2 \
            AND home IN (SELECT json_array_elements_text($3::json)) AND NOT EXISTS \
            (SELECT FROM sync.local_item i WHERE i.copy = u.copy AND i.kind = u.kind AND i.path = u.home)";
        transaction
            .execute(WRITING, units, &[copy, K::NAME, &left])
            .await?;
        let files = "DELETE FROM sync.local_file f WHERE kind = $1 \
            AND home IN (SELECT json_array_elements_text($2::json)) AND NOT EXISTS \
            (SELECT FROM sync.local_item i WHERE i.kind = f.kind AND i.path = f.home)";
        transaction
            .execute(WRITING, files, &[K::NAME, &left])
            .await?;
    }
    Ok(())
}

/// The columns that name an item.
fn key_row<K: Kind>(key: &Key) -> Map<String, Json> {
    let mut row = Map::new();
    row.insert("key".to_owned(), key.as_str().into());
    let columns = K::key_columns(key).into_iter();
    row.extend(columns.map(|(name, value)| (name.to_owned(), value)));
    row
}

/// What is written down of an item; the columns that name it are for looking up its version.
pub(crate) fn agreed<K: Kind>(
    key: &Key,
    digest: &sync_core::Digest,
    home: &TreePath,
    mark: Option<&str>,
) -> Json {
    let mut row = key_row::<K>(key);
    row.insert("digest".to_owned(), digest.to_string().into());
    row.insert("path".to_owned(), home.as_str().into());
    row.insert("mark".to_owned(), mark.into());
    Json::Object(row)
}

/// Reads everything that is to be written, once more, and makes sure that it says what the plan has seen.
fn read_all<K: Kind>(
    place: &Place,
    kind: &K,
    plan: &LocalPlan,
    ports: &Ports,
    sender: &mpsc::Sender<Batch>,
) -> Result<(), Error> {
    // Somebody ended the transaction: nobody wants more.
    let send = |batch: &mut Batch| sender.blocking_send(std::mem::take(batch)).is_ok();
    // What is to be done with the items of each unit.
    let mut work: BTreeMap<&TreePath, Vec<(&Key, Verdict, sync_core::Digest)>> = BTreeMap::new();
    let mut batch = Batch::default();
    for item in &plan.items {
        if let (Verdict::Create | Verdict::Update, Some(home), Some(digest)) =
            (item.verdict, &item.path, item.seen.disk)
        {
            work.entry(home)
                .or_default()
                .push((&item.key, item.verdict, digest));
        }
    }
    for adopt in &plan.adopt {
        let digest = adopt.seen.disk.unwrap_or_default();
        if adopt.is_moved {
            work.entry(&adopt.home)
                .or_default()
                .push((&adopt.key, Verdict::Update, digest));
        } else {
            let agreed = agreed::<K>(&adopt.key, &digest, &adopt.home, adopt.mark.as_deref());
            batch.written.items.push(agreed);
        }
        if batch.written.items.len() >= BATCH && !send(&mut batch) {
            return Ok(());
        }
    }
    for home in plan.unrecorded.keys() {
        work.entry(home).or_default();
    }
    let tree = place.open()?;
    let mut reader = Reader::new(&tree)?;
    for (home, items) in work {
        let unit = plan.units.get(home).ok_or(Error::Task)?;
        add_unit(kind, &mut reader, unit, &items, plan, ports, &mut batch)?;
        let count = batch.create.len() + batch.update.len() + batch.written.units.len();
        if (count >= BATCH || batch.bytes >= BATCH_BYTES) && !send(&mut batch) {
            return Ok(());
        }
    }
    send(&mut batch);
    Ok(())
}

/// Adds what one unit says.
fn add_unit<K: Kind>(
    kind: &K,
    reader: &mut Reader,
    unit: &Unit,
    items: &[(&Key, Verdict, sync_core::Digest)],
    plan: &LocalPlan,
    ports: &Ports,
    batch: &mut Batch,
) -> Result<(), Error> {
    let reading = reader.read(kind, unit)?;
    let records: HashMap<&Key, _> = reading
        .items
        .iter()
        .map(|(key, record)| (key, record))
        .collect();
    for (key, verdict, digest) in items {
        let record = records
            .get(key)
            .filter(|record| record.digest(K::FIELDS) == *digest);
        let Some(record) = record else {
            return Err(Error::Moved {
                what: format!("`{}`", unit.home),
            });
        };
        let mut row = record.to_row(K::FIELDS);
        row.extend(key_row::<K>(key));
        K::complete(&mut row, &unit.home, &mut || ports.uuid());
        batch.bytes += record.body(K::FIELDS).len();
        let list = if *verdict == Verdict::Create {
            &mut batch.create
        } else {
            &mut batch.update
        };
        list.push(Json::Object(row));
        batch
            .written
            .items
            .push(agreed::<K>(key, digest, &unit.home, None));
    }
    if let Some(keys) = plan.unrecorded.get(&unit.home) {
        let stamp = unit.stamp.to_string();
        batch
            .written
            .units
            .push((unit.home.clone(), stamp, keys.len()));
    }
    // An older clone that says the same has nothing newer to keep.
    let is_newest = !items.is_empty() || plan.edited.contains(&unit.home);
    let list = if is_newest {
        &mut batch.written.frames
    } else {
        &mut batch.written.first
    };
    for frame in reading.frames {
        batch.bytes += frame.head.len();
        list.push((unit.home.clone(), frame));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(home: &str, len: usize) -> (TreePath, Frame) {
        let path = TreePath::new(home).unwrap();
        let frame = Frame {
            path: path.clone(),
            head: "x".repeat(len),
            tail: None,
        };
        (path, frame)
    }

    #[test]
    fn what_is_written_down_comes_in_parts() {
        let written = Written {
            items: vec![Json::Null; BATCH * 2 + 1],
            frames: vec![
                frame("a", BATCH_BYTES),
                frame("b", 1),
                frame("c", BATCH_BYTES),
                frame("c", 1),
            ],
            first: vec![frame("d", 1)],
            units: Vec::new(),
        };
        let found: Vec<_> = written
            .parts()
            .iter()
            .map(|part| (part.items.len(), part.frames.len(), part.first.len()))
            .collect();
        // What is kept of `c` is one thing.
        assert_eq!(
            found,
            [
                (BATCH, 0, 0),
                (BATCH, 0, 0),
                (1, 1, 0),
                (0, 3, 0),
                (0, 0, 1)
            ]
        );
        assert_eq!(Written::default().parts().len(), 1);
    }
}
