//! An import put into the maps of rows.

use std::collections::HashMap;

use bytes::Bytes;
use sync_core::Digest;
use sync_core::map::{self, Editor, MAX_KEY, Map, NodeSink, diff, get};
use sync_core::rows::{Cell, Column, Kind, Row, RowWriter, TableName};
use sync_store::RepositoryNodes;

use super::cell;
use super::decode::Import;
use super::layout::Layout;
use super::record::{Record, Value, derived_uuid, uuid_text};
use super::refusal::ImportRefusal;
use super::table::Table;
use crate::Error;
use crate::legacy::land::map_error;

/// What an import does to rows that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// It changes them, and deletes none.
    Merge,
    /// It also deletes those that it does not have.
    Replace,
    /// It leaves them alone.
    SkipExisting,
}

/// What is edited.
#[derive(Debug)]
pub(super) struct Basis {
    pub(super) nodes: RepositoryNodes,
    /// The map of tables.
    pub(super) tables: Digest,
    /// Whether a table that is not there is made.
    pub(super) makes_tables: bool,
}

/// The map of tables with the import in it.
#[derive(Debug)]
pub(super) struct Edited {
    pub(super) root: Digest,
    /// What became of each list; `None` where there was nothing to do.
    pub(super) lists: [Option<EditedList>; 3],
}

/// What became of a list.
#[derive(Debug)]
pub(super) struct EditedList {
    pub(super) table: TableName,
    /// Items that change nothing.
    pub(super) skipped: u64,
}

/// How many rows of a table differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) created: u64,
    pub(super) updated: u64,
    pub(super) deleted: u64,
}

/// Puts an import into the map of tables. Blocking.
///
/// # Errors
///
/// [`Error::Import`] where an item cannot be a row. Nothing names what `sink` was given then.
pub(super) fn edit<S: NodeSink + Clone>(
    basis: &Basis,
    layout: Layout,
    import: &Import<'_>,
    strategy: Strategy,
    sink: &S,
) -> Result<Edited, Error> {
    let (mut lists, mut edits) = ([None, None, None], Vec::new());
    for (index, collection) in layout.collections().iter().enumerate() {
        let Some(items) = &import.lists[index] else {
            continue;
        };
        let table = match Table::find(&basis.nodes, basis.tables, collection)? {
            Some(table) => table,
            None if items.is_empty() => continue,
            None if !basis.makes_tables => return Err(ImportRefusal::NoTable.at(collection.name)),
            None => {
                let (table, schema) = Table::make(collection)?;
                let stored = sink.clone().put(table.entry.schema, schema);
                stored.map_err(store_error)?;
                table
            }
        };
        let mut list = List {
            nodes: &basis.nodes,
            table: &table,
            items,
            strategy,
            exported: import.exported,
            contents: sink.clone(),
            row: RowWriter::new(),
        };
        let (rows, skipped) = list.edit(sink)?;
        let mut entry = table.entry;
        entry.rows = rows;
        edits.push((table.name.as_str().to_owned(), Some(entry.encode())));
        lists[index] = Some(EditedList {
            table: table.name,
            skipped,
        });
    }
    edits.sort();
    let edited = map::edit(&basis.nodes, basis.tables, edits, &mut sink.clone());
    let root = edited.map_err(map_error)?.root;
    Ok(Edited { root, lists })
}

/// How many rows of a table differ between two maps of tables. Blocking.
pub(super) fn count(
    nodes: &RepositoryNodes,
    roots: [Digest; 2],
    table: &TableName,
) -> Result<Counts, Error> {
    let rows = |root| -> Result<Digest, Error> {
        let entry = sync_core::rows::table(nodes, root, table).map_err(map_error)?;
        Ok(entry.map_or(Map::empty_root(), |entry| entry.rows.root))
    };
    let (before, after) = (rows(roots[0])?, rows(roots[1])?);
    let mut counts = Counts::default();
    for change in diff(nodes, before, nodes, after) {
        let change = change.map_err(map_error)?;
        match (change.before, change.after) {
            (None, _) => counts.created += 1,
            (Some(_), Some(_)) => counts.updated += 1,
            (Some(_), None) => counts.deleted += 1,
        }
    }
    Ok(counts)
}

/// The items of one list on their way into a table.
struct List<'l, 'b, S> {
    nodes: &'l RepositoryNodes,
    table: &'l Table,
    items: &'l [Record<'b>],
    strategy: Strategy,
    exported: Option<i64>,
    contents: S,
    row: RowWriter,
}

/// A row that an item is about, or one that goes.
type Placed = (Vec<u8>, Option<usize>);

impl<S: NodeSink + Clone> List<'_, '_, S> {
    /// The edited rows, and how many items changed nothing.
    fn edit(&mut self, sink: &S) -> Result<(Map, u64), Error> {
        let mut placed = self.place()?;
        if self.strategy == Strategy::Replace {
            placed.extend(self.gone(&placed)?);
            placed.sort();
        }
        let (root, mut skipped) = (self.table.entry.rows.root, 0);
        let mut sink = sink.clone();
        let mut editor = Editor::new(self.nodes, root, &mut sink);
        for (key, item) in placed {
            let Some(item) = item else {
                editor.remove(&key).map_err(map_error)?;
                continue;
            };
            match self.value(&key, item)? {
                Some(value) => editor.set(&key, &value).map_err(map_error)?,
                None => skipped += 1,
            }
        }
        Ok((editor.finish().map_err(map_error)?, skipped))
    }

    /// Finds the row of each item; in the order of their keys.
    fn place(&self) -> Result<Vec<Placed>, Error> {
        let mut placed = Vec::with_capacity(self.items.len());
        // Items whose row is not known by their id alone.
        let mut sought: HashMap<Vec<u8>, (usize, Vec<u8>)> = HashMap::new();
        for (index, item) in self.items.iter().enumerate() {
            let refused = |refusal: ImportRefusal| refusal.at(self.name_of(index, 0));
            let key = self.likely_key(&item[0]).map_err(refused)?;
            if self.is_its_key(&item[0], &key)? {
                placed.push((key, Some(index)));
            } else if sought.insert(identity(&item[0]), (index, key)).is_some() {
                return Err(refused(ImportRefusal::Duplicate));
            }
        }
        self.seek(&mut sought, &mut placed)?;
        for (index, key) in sought.into_values() {
            placed.push((self.free_key(index, key)?, Some(index)));
        }
        placed.sort();
        match placed.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => {
                let index = pair[1].1.unwrap_or_default();
                Err(ImportRefusal::Duplicate.at(self.name_of(index, 0)))
            }
            None => Ok(placed),
        }
    }

    /// The key of an item's row, unless a row has its id in another way.
    fn likely_key(&self, id: &Value<'_>) -> Result<Vec<u8>, ImportRefusal> {
        let column = self.table.key();
        let bytes = match (id, column.kind) {
            // A service is known by its name, whatever its key.
            (Value::Text(name), Kind::Uuid) if !self.table.is_by_key() => {
                Some(derived_uuid(name).to_vec())
            }
            _ => cell::write(id, column)?,
        };
        match bytes {
            Some(bytes) if bytes.len() > MAX_KEY => Err(ImportRefusal::TooLong),
            Some(bytes) if !bytes.is_empty() => Ok(bytes),
            _ => Err(ImportRefusal::Shape),
        }
    }

    /// Whether no other row than the one under `key` can be meant.
    fn is_its_key(&self, id: &Value<'_>, key: &[u8]) -> Result<bool, Error> {
        if !self.table.is_by_key() {
            return Ok(false);
        }
        let is_derived = matches!(id, Value::Uuid(_)) && self.table.key().kind == Kind::Text;
        Ok(!is_derived || self.get(key)?.is_some())
    }

    /// Reads the table once for the rows of those that are sought, and takes them from there.
    fn seek(
        &self,
        sought: &mut HashMap<Vec<u8>, (usize, Vec<u8>)>,
        placed: &mut Vec<Placed>,
    ) -> Result<(), Error> {
        if sought.is_empty() {
            return Ok(());
        }
        for entry in map::iter(self.nodes, self.table.entry.rows.root) {
            let (key, value) = entry.map_err(map_error)?;
            let row = self.table.row(&value, self.nodes)?;
            let id = self.table.value(0, &row, self.nodes)?;
            if let Some((index, _)) = sought.remove(&identity(&id)) {
                placed.push((key.to_vec(), Some(index)));
            }
        }
        Ok(())
    }

    /// The key of a row that comes into being: nobody else's.
    fn free_key(&self, index: usize, key: Vec<u8>) -> Result<Vec<u8>, Error> {
        if self.table.is_by_key() || self.get(&key)?.is_none() {
            return Ok(key);
        }
        let name = identity(&self.items[index][0]);
        let derived = derived_uuid(&String::from_utf8_lossy(&name));
        Ok(match self.table.key().kind {
            Kind::Uuid => return Err(ImportRefusal::Duplicate.at(self.name_of(index, 0))),
            _ => uuid_text(&derived).into(),
        })
    }

    /// The rows that a replacement deletes: those that it does not have, but for those that are newer than it.
    fn gone(&self, placed: &[Placed]) -> Result<Vec<Placed>, Error> {
        if self.items.is_empty() && self.table.entry.rows.len > 0 {
            return Err(ImportRefusal::EmptyList.at(self.table.collection.name));
        }
        let mut gone = Vec::new();
        for entry in map::iter(self.nodes, self.table.entry.rows.root) {
            let (key, value) = entry.map_err(map_error)?;
            if placed
                .binary_search_by(|(at, _)| at[..].cmp(&key[..]))
                .is_ok()
            {
                continue;
            }
            let row = self.table.row(&value, self.nodes)?;
            let is_newer = match (self.updated(&row)?, self.exported) {
                (Some(updated), Some(exported)) => updated > exported,
                _ => false,
            };
            if !is_newer {
                gone.push((key.to_vec(), None));
            }
        }
        Ok(gone)
    }

    /// When a row was changed, where that is known.
    fn updated(&self, row: &Row) -> Result<Option<i64>, Error> {
        let Some(member) = self.table.collection.member("updated_at") else {
            return Ok(None);
        };
        Ok(match self.table.value(member, row, self.nodes)? {
            Value::Time(time) => Some(time),
            _ => None,
        })
    }

    /// The value of an item's row; `None` where the item changes nothing.
    fn value(&mut self, key: &[u8], item: usize) -> Result<Option<Vec<u8>>, Error> {
        let Some(before) = self.get(key)? else {
            let says = vec![true; self.items[item].len()];
            return self.build(key, None, item, &says).map(Some);
        };
        if self.strategy == Strategy::SkipExisting {
            return Ok(None);
        }
        let row = self.table.row(&before, self.nodes)?;
        let values = &self.items[item];
        let member = self.table.collection.member("updated_at");
        if let (Some(stored), Some(Value::Time(sent))) =
            (self.updated(&row)?, member.map(|member| &values[member]))
            && *sent < stored
        {
            return Ok(None);
        }
        let bare = self.table.bare(&row, self.nodes)?;
        let created = self.table.collection.member("created_at");
        let is_kept = created.filter(|member| bare[*member] != Value::Null);
        let shown = self.table.item(&row, bare);
        let members = values.iter().zip(&shown).enumerate();
        let says: Vec<bool> = members
            // What was exported for want of something better is not what the row shall have.
            .map(|(member, (sent, shown))| {
                !(*sent == Value::Absent || sent == shown || is_kept == Some(member))
                    && self.table.column(member).is_some()
            })
            .collect();
        if !says.contains(&true) {
            return Ok(None);
        }
        let after = self.build(key, Some(&row), item, &says)?;
        Ok((before != after).then_some(after))
    }

    /// The value of a row: what the item says, what the row had, what a new row needs.
    fn build(
        &mut self,
        key: &[u8],
        row: Option<&Row>,
        item: usize,
        says: &[bool],
    ) -> Result<Vec<u8>, Error> {
        let (table, values) = (self.table, &self.items[item]);
        let cells: Vec<(&str, Cell<'_>)> = row.iter().flat_map(|row| row.cells()).collect();
        self.row.clear();
        for (place, column) in table.schema.columns.iter().enumerate() {
            if *column == *table.key() {
                push(&mut self.row, column, key, &mut self.contents)?;
                continue;
            }
            let member = table.member(place).filter(|member| says[*member]);
            if let Some(member) = member {
                let refused = |refusal: ImportRefusal| refusal.at(self.name_of(item, member));
                if let Some(bytes) = cell::write(&values[member], column).map_err(refused)? {
                    push(&mut self.row, column, &bytes, &mut self.contents)?;
                    continue;
                }
            } else if let Ok(found) = cells.binary_search_by(|(name, _)| (*name).cmp(&column.name))
            {
                self.row.push(&column.name, &cells[found].1);
                continue;
            }
            if (row.is_none() || member.is_some())
                && let Some(bytes) = usual(table, column, key)
            {
                push(&mut self.row, column, &bytes, &mut self.contents)?;
            }
        }
        self.row.value(&mut self.contents).map_err(store_error)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        get(self.nodes, self.table.entry.rows.root, key).map_err(map_error)
    }

    /// Such as `skills[3].id`.
    fn name_of(&self, item: usize, member: usize) -> String {
        let collection = self.table.collection;
        format!(
            "{}[{item}].{}",
            collection.name, collection.members[member].name
        )
    }
}

fn push(
    row: &mut RowWriter,
    column: &Column,
    bytes: &[u8],
    contents: &mut impl NodeSink,
) -> Result<(), Error> {
    let pushed = row.push_value(&column.name, bytes, contents);
    pushed.map_err(store_error)
}

/// What tells items apart, as bytes.
fn identity(id: &Value<'_>) -> Vec<u8> {
    match id {
        Value::Uuid(uuid) => uuid.to_vec(),
        Value::Text(text) => text.as_bytes().to_vec(),
        _ => Vec::new(),
    }
}

/// What a column of the default tables has where nobody says anything: it must not be null.
fn usual(table: &Table, column: &Column, key: &[u8]) -> Option<Vec<u8>> {
    let name = column.name.as_str();
    let text = match (table.name.as_str(), table.key().name.as_str()) {
        ("agents", "agent_id") => match name {
            "description" | "display_name" | "endpoint" | "source_id" => "",
            "version" => "1.0.0",
            "enabled" => "true",
            "dev_only" | "is_primary" | "is_default" => "false",
            "card_json" => "{}",
            _ => return None,
        },
        ("agent_skills", "skill_id") => match name {
            // No other skill has it.
            "file_path" => return (column.kind == Kind::Text).then(|| key.to_vec()),
            "description" | "instructions" | "source_id" => "",
            "enabled" => "true",
            _ => return None,
        },
        ("user_contexts", "context_id") if name == "kind" => "user",
        _ => return None,
    };
    match column.kind {
        Kind::Text => Some(text.into()),
        Kind::Bool => Some(vec![u8::from(text == "true")]),
        Kind::Jsonb => Some([b"\x01", text.as_bytes()].concat()),
        _ => None,
    }
}

/// The store takes no more; `Writing::finish` says why.
fn store_error(source: sync_core::map::StoreError) -> Error {
    let source = sync_store::Error::Cut { source };
    Error::Store { source }
}
