//! Three copies and a tenant that edit, delete and sync in any order: all end alike, and no edit is lost without being listed.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Cell, Choice, Column, Kind, Row, RowValue, RowWriter, Rules, Schema, TableEntry, merge_tables,
    tables,
};
use crate::Digest;
use crate::map::{self, Map, MemoryNodes};

/// So many schedules are run.
const SCHEDULES: u64 = 10_000;
/// So many steps has each, before all sync.
const STEPS: usize = 12;
const COLUMNS: [&str; 2] = ["a", "b"];

/// Rows by key: a value for each column. Every value is written once, so it names its edit.
type Rows = BTreeMap<u8, [u64; 2]>;

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) % (bound as u64)).unwrap()
    }
}

fn row(values: [u64; 2]) -> Row {
    let mut writer = RowWriter::new();
    for (name, value) in COLUMNS.iter().zip(values) {
        writer.push(name, &Cell::Inline(&value.to_be_bytes()));
    }
    Row::decode(writer.as_bytes().to_vec()).unwrap()
}

fn store(rows: &Rows, nodes: &mut MemoryNodes) -> Digest {
    let schema = Schema {
        columns: COLUMNS
            .map(|name| Column {
                kind: Kind::Int8,
                name: name.to_owned(),
                type_name: "bigint".to_owned(),
            })
            .to_vec(),
        filter: None,
        key: vec!["a".to_owned()],
    };
    let (schema, bytes) = schema.encode();
    nodes.insert(schema, bytes.into());
    let mut made = MemoryNodes::new();
    let edits = rows
        .iter()
        .map(|(key, values)| ([*key], Some(row(*values).bytes().clone())));
    let rows = map::edit(&*nodes, Map::empty_root(), edits, &mut made).unwrap();
    let table = [("items", Some(TableEntry { schema, rows }.encode()))];
    let root = map::edit(&*nodes, Map::empty_root(), table, &mut made).unwrap();
    nodes.extend(made);
    root.root
}

fn values(row: &Row) -> [u64; 2] {
    COLUMNS.map(|name| match row.get(name) {
        Some(Cell::Inline(bytes)) => u64::from_be_bytes((*bytes).try_into().unwrap()),
        _ => 0,
    })
}

fn load(nodes: &MemoryNodes, root: Digest) -> Rows {
    let mut rows = Rows::new();
    for (_, entry) in tables(&nodes, root).unwrap() {
        for change in map::diff(nodes, Map::empty_root(), nodes, entry.rows.root) {
            let change = change.unwrap();
            let row = RowValue::load(change.after.as_ref().unwrap(), nodes).unwrap();
            rows.insert(change.key[0], values(&row));
        }
    }
    rows
}

/// One schedule: the copies, what each last agreed on with the tenant, and what became of every edit.
struct World {
    nodes: MemoryNodes,
    random: Random,
    copies: [Rows; 3],
    bases: [Digest; 3],
    tenant: Digest,
    written: BTreeMap<u64, u8>,
    /// What somebody who saw it wrote over or deleted, or a conflict named.
    known: BTreeSet<u64>,
    deleted: BTreeSet<u8>,
    conflicts: BTreeSet<u8>,
    next: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            nodes: MemoryNodes::new(),
            random: Random(seed),
            copies: Default::default(),
            bases: [Map::empty_root(); 3],
            tenant: Map::empty_root(),
            written: BTreeMap::new(),
            known: BTreeSet::from([0]),
            deleted: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            next: 0,
        };
        let empty = store(&Rows::new(), &mut world.nodes);
        (world.bases, world.tenant) = ([empty; 3], empty);
        world
    }

    fn edit(&mut self, rows: &mut Rows) {
        self.next += 1;
        let keys: Vec<u8> = rows.keys().copied().collect();
        if keys.is_empty() || self.random.below(3) == 0 {
            // No key is used again once it is deleted.
            let key = u8::try_from(self.next).unwrap();
            rows.insert(key, [self.next, 0]);
            self.written.insert(self.next, key);
            return;
        }
        let key = keys[self.random.below(keys.len())];
        if self.random.below(5) == 0 {
            self.known.extend(rows.remove(&key).unwrap());
            self.deleted.insert(key);
            return;
        }
        let column = self.random.below(2);
        let value = &mut rows.get_mut(&key).unwrap()[column];
        self.known.insert(*value);
        *value = self.next;
        self.written.insert(self.next, key);
    }

    fn sync(&mut self, who: usize) {
        let local = store(&self.copies[who], &mut self.nodes);
        let roots = [self.bases[who], local, self.tenant];
        let choice = [Choice::Ours, Choice::Theirs][self.random.below(2)];
        let mut made = MemoryNodes::new();
        let merge = |choice, made: &mut MemoryNodes| {
            merge_tables(&&self.nodes, roots, |_| Rules::default(), |_| choice, made).unwrap()
        };
        let open = merge(Choice::Open, &mut MemoryNodes::new()).conflicts;
        let merged = merge(choice, &mut made);
        for conflict in &open {
            self.conflicts.insert(conflict.key[0]);
            for side in [&conflict.ours, &conflict.theirs].into_iter().flatten() {
                let row = RowValue::load(side, &self.nodes).unwrap();
                self.known.extend(values(&row));
            }
        }
        self.nodes.extend(made);
        self.copies[who] = load(&self.nodes, merged.root);
        (self.bases[who], self.tenant) = (merged.root, merged.root);
    }

    fn step(&mut self) {
        let who = self.random.below(4);
        let syncs = self.random.below(3) == 0;
        match (who, syncs) {
            (3, _) => {
                let mut rows = load(&self.nodes, self.tenant);
                self.edit(&mut rows);
                self.tenant = store(&rows, &mut self.nodes);
            }
            (who, true) => self.sync(who),
            (who, false) => {
                let mut rows = std::mem::take(&mut self.copies[who]);
                self.edit(&mut rows);
                self.copies[who] = rows;
            }
        }
    }

    fn check(&self, seed: u64) {
        let end = load(&self.nodes, self.tenant);
        assert!(self.copies.iter().all(|copy| *copy == end), "seed {seed}");
        let left: BTreeSet<u64> = end.values().flatten().copied().collect();
        for (value, key) in &self.written {
            let is_known = left.contains(value) || self.known.contains(value);
            assert!(is_known, "seed {seed}: edit {value} of row {key} is lost");
        }
        for key in &self.deleted {
            let may_be_there = self.conflicts.contains(key);
            assert!(
                may_be_there || !end.contains_key(key),
                "seed {seed}: row {key} was deleted and is back"
            );
        }
    }
}

#[test]
fn schedules_end_alike_and_lose_nothing() {
    for seed in 0..SCHEDULES {
        let mut world = World::new(seed);
        (0..STEPS).for_each(|_| world.step());
        for who in [0, 1, 2, 0, 1] {
            world.sync(who);
        }
        world.check(seed);
    }
}
