//! Laws of merging rows.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    Cell, Choice, Collision, Column, ColumnRule, Decider, Kind, MergedRow, MergedTables, Row,
    RowWriter, Rules, Schema, TableEntry, TableRule, merge_row, merge_tables,
};
use crate::Digest;
use crate::map::{self, Map, MemoryNodes};

/// A row in small: columns with numbers.
type Small = BTreeMap<&'static str, i64>;

fn row(small: &Small) -> Row {
    let mut writer = RowWriter::new();
    for (name, value) in small {
        writer.push(name, &Cell::Inline(&value.to_be_bytes()));
    }
    Row::decode(writer.as_bytes().to_vec()).unwrap()
}

fn rows() -> impl Strategy<Value = Option<Row>> {
    let columns = prop::sample::select(vec!["a", "b", "c", "updated_at"]);
    let small = prop::collection::btree_map(columns, -2i64..3, 0..5);
    prop::option::weighted(0.8, small.prop_map(|small| row(&small)))
}

fn rules() -> impl Strategy<Value = Rules> {
    let table = prop_oneof![
        Just(TableRule::Manual),
        Just(TableRule::Ours),
        Just(TableRule::Theirs),
        Just(TableRule::Newest("updated_at".to_owned())),
    ];
    let column = prop_oneof![
        Just(ColumnRule::Table),
        Just(ColumnRule::Manual),
        Just(ColumnRule::Ours),
        Just(ColumnRule::Theirs),
        Just(ColumnRule::Later),
    ];
    (table, column, any::<bool>()).prop_map(|(table, column, later)| Rules {
        table,
        columns: BTreeMap::from([
            ("a".to_owned(), column),
            (
                "updated_at".to_owned(),
                if later {
                    ColumnRule::Later
                } else {
                    ColumnRule::Table
                },
            ),
        ]),
    })
}

/// What a row is, where nobody has to choose.
#[derive(Debug, PartialEq, Eq)]
struct Settled(Option<Row>);

fn settled(merged: MergedRow) -> Option<Settled> {
    match merged {
        MergedRow::Row(row) => Some(Settled(Some(row))),
        MergedRow::Gone => Some(Settled(None)),
        MergedRow::Collision(_) => None,
    }
}

proptest! {
    #[test]
    fn it_does_not_matter_who_merges(base in rows(), a in rows(), b in rows(), rules in rules()) {
        let here = merge_row(base.as_ref(), a.as_ref(), b.as_ref(), &rules);
        let there = merge_row(base.as_ref(), b.as_ref(), a.as_ref(), &rules.exchanged());
        prop_assert_eq!(here, there);
    }

    #[test]
    fn one_side_that_changed_nothing_changes_nothing(base in rows(), a in rows(), rules in rules()) {
        let expected = a.clone().map_or(MergedRow::Gone, MergedRow::Row);
        prop_assert_eq!(&merge_row(base.as_ref(), a.as_ref(), base.as_ref(), &rules), &expected);
        prop_assert_eq!(&merge_row(base.as_ref(), a.as_ref(), a.as_ref(), &rules), &expected);
    }

    /// Where nobody has to choose, it does not matter in which order three sides are merged.
    #[test]
    fn order_does_not_matter(base in rows(), sides in [rows(), rows(), rows()]) {
        let rules = Rules {
            columns: BTreeMap::from([("updated_at".to_owned(), ColumnRule::Later)]),
            ..Rules::default()
        };
        let merge = |a: &Option<Row>, b: &Option<Row>| {
            settled(merge_row(base.as_ref(), a.as_ref(), b.as_ref(), &rules))
        };
        let [a, b, c] = &sides;
        let orders = [[a, b, c], [b, c, a], [c, a, b], [b, a, c]];
        let ends: Vec<_> = orders
            .iter()
            .filter_map(|[first, second, third]| merge(&merge(first, second)?.0, third))
            .collect();
        // An order that meets no conflict is no proof that another one meets none, but all that end, end alike.
        prop_assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
    }
}

#[track_caller]
fn check(
    base: &[(&'static str, i64)],
    ours: &[(&'static str, i64)],
    theirs: &[(&'static str, i64)],
    rules: &Rules,
    expected: &MergedRow,
) {
    let [base, ours, theirs] = [base, ours, theirs]
        .map(|cells| (!cells.is_empty()).then(|| row(&cells.iter().copied().collect())));
    let merged = merge_row(base.as_ref(), ours.as_ref(), theirs.as_ref(), rules);
    assert_eq!(&merged, expected);
}

fn whole(cells: &[(&'static str, i64)]) -> MergedRow {
    MergedRow::Row(row(&cells.iter().copied().collect()))
}

fn collision(columns: &[&str]) -> MergedRow {
    let columns = columns.iter().map(|&column| column.to_owned()).collect();
    MergedRow::Collision(Collision { columns })
}

/// Lessons 13 and 14: different columns merge, and the winner does not depend on who asks.
#[test]
fn columns_merge_one_by_one() {
    let manual = Rules::default();
    check(
        &[("a", 1), ("b", 1)],
        &[("a", 2), ("b", 1)],
        &[("a", 1), ("b", 2)],
        &manual,
        &whole(&[("a", 2), ("b", 2)]),
    );
    check(
        &[("a", 1), ("b", 1)],
        &[("b", 1)],
        &[("a", 1), ("b", 2)],
        &manual,
        &whole(&[("b", 2)]),
    );
    check(
        &[("a", 1)],
        &[("a", 2)],
        &[("a", 3)],
        &manual,
        &collision(&["a"]),
    );
    check(&[("a", 1)], &[("a", 2)], &[], &manual, &collision(&["a"]));
    check(
        &[],
        &[("a", 1), ("b", 1)],
        &[("a", 1), ("b", 2)],
        &manual,
        &collision(&["b"]),
    );
}

/// Lesson 29: two sides that ran the same job do not conflict over when they did.
#[test]
fn a_time_alone_is_no_conflict() {
    let rules = Rules {
        table: TableRule::Manual,
        columns: BTreeMap::from([("t".to_owned(), ColumnRule::Later)]),
    };
    check(
        &[("a", 1), ("t", 1)],
        &[("a", 2), ("t", 5)],
        &[("a", 2), ("t", -9)],
        &rules,
        &whole(&[("a", 2), ("t", 5)]),
    );
    check(
        &[("a", 1), ("t", 1)],
        &[("a", 1), ("t", 5)],
        &[],
        &rules,
        &MergedRow::Gone,
    );
    check(
        &[("a", 1), ("t", 1)],
        &[("a", 2), ("t", 5)],
        &[],
        &rules,
        &collision(&["a", "t"]),
    );
}

#[test]
fn rules_decide() {
    let rules = |table| Rules {
        table,
        ..Rules::default()
    };
    let (base, ours, theirs) = (
        [("a", 1), ("t", 1)],
        [("a", 2), ("t", 7)],
        [("a", 3), ("t", 8)],
    );
    check(
        &base,
        &ours,
        &theirs,
        &rules(TableRule::Ours),
        &whole(&ours),
    );
    check(
        &base,
        &ours,
        &theirs,
        &rules(TableRule::Theirs),
        &whole(&theirs),
    );
    check(
        &base,
        &ours,
        &theirs,
        &rules(TableRule::Newest("t".into())),
        &whole(&theirs),
    );
    check(
        &base,
        &ours,
        &[],
        &rules(TableRule::Theirs),
        &MergedRow::Gone,
    );
    check(
        &base,
        &ours,
        &[],
        &rules(TableRule::Newest("t".into())),
        &collision(&["a", "t"]),
    );
}

/// A database in small: tables with rows by key.
type Database = BTreeMap<&'static str, BTreeMap<u8, Small>>;

fn store(database: &Database, nodes: &mut MemoryNodes) -> Digest {
    let schema = Schema {
        columns: ["a", "b"]
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
    let tables: Vec<_> = database
        .iter()
        .map(|(name, rows)| {
            let rows = rows
                .iter()
                .map(|(key, small)| ([*key], Some(row(small).bytes().clone())));
            let rows = map::edit(&*nodes, Map::empty_root(), rows, &mut made).unwrap();
            (*name, Some(TableEntry { schema, rows }.encode()))
        })
        .collect();
    let root = map::edit(&*nodes, Map::empty_root(), tables, &mut made)
        .unwrap()
        .root;
    nodes.extend(made);
    root
}

fn databases() -> impl Strategy<Value = Database> {
    let columns = prop::sample::select(vec!["a", "b"]);
    let small = prop::collection::btree_map(columns, 0i64..3, 1..3);
    let rows = prop::collection::btree_map(0u8..6, small, 0..5);
    prop::collection::btree_map(prop::sample::select(vec!["x", "y"]), rows, 0..3)
}

fn merged(
    nodes: &mut MemoryNodes,
    roots: [Digest; 3],
    rules: &Rules,
    choice: Choice,
) -> MergedTables {
    let mut made = MemoryNodes::new();
    let merged = merge_tables(&&*nodes, roots, |_| rules.clone(), |_| choice, &mut made).unwrap();
    nodes.extend(made);
    merged
}

proptest! {
    #[test]
    fn databases_merge_alike_from_either_side(base in databases(), a in databases(), b in databases()) {
        let mut nodes = MemoryNodes::new();
        let [base, a, b] = [base, a, b].map(|database| store(&database, &mut nodes));
        let rules = Rules::default();
        let here = merged(&mut nodes, [base, a, b], &rules, Choice::Ours);
        let there = merged(&mut nodes, [base, b, a], &rules, Choice::Theirs);
        prop_assert_eq!(here.root, there.root);
        let open = merged(&mut nodes, [base, a, b], &rules, Choice::Open);
        // What is left open keeps our row, and is listed.
        prop_assert_eq!(open.root, here.root);
        let again = merged(&mut nodes, [base, b, a], &rules, Choice::Open);
        let keys = |merged: &MergedTables| -> Vec<_> {
            merged.conflicts.iter().map(|c| (c.table.clone(), c.key.clone(), c.columns.clone())).collect()
        };
        prop_assert_eq!(keys(&open), keys(&again));
    }

    #[test]
    fn what_one_side_left_alone_comes_from_the_other(base in databases(), a in databases()) {
        let mut nodes = MemoryNodes::new();
        let [base, a] = [base, a].map(|database| store(&database, &mut nodes));
        let rules = Rules::default();
        let there = merged(&mut nodes, [base, base, a], &rules, Choice::Open);
        prop_assert_eq!((there.root, there.conflicts.len()), (a, 0));
        let here = merged(&mut nodes, [base, a, base], &rules, Choice::Open);
        prop_assert_eq!((here.root, here.counts.len()), (a, 0));
    }

    /// What was decided is counted, by rules or by a choice, and nothing that merges by itself.
    #[test]
    fn decisions_are_counted(base in databases(), a in databases(), b in databases()) {
        let mut nodes = MemoryNodes::new();
        let roots = [base, a, b].map(|database| store(&database, &mut nodes));
        let rules = Rules::default();
        let open = merged(&mut nodes, roots, &rules, Choice::Open);
        prop_assert_eq!(&open.decided, &[]);
        let total = |merged: &MergedTables, by| -> u64 {
            merged.decided.iter().filter(|one| one.by == by).map(|one| one.rows).sum()
        };
        let ours = merged(&mut nodes, roots, &rules, Choice::Ours);
        prop_assert_eq!(total(&ours, Decider::Ours), open.conflicts.len() as u64);
        let theirs = merged(&mut nodes, roots, &Rules { table: TableRule::Theirs, ..rules }, Choice::Open);
        prop_assert_eq!(total(&theirs, Decider::Rules), open.conflicts.len() as u64);
        prop_assert_eq!(theirs.conflicts.len(), 0);
    }

    /// Three working copies and a tenant: whoever syncs first, all end with the same rows, and what is not in them was listed.
    #[test]
    fn every_order_of_syncing_ends_alike(base in databases(), sides in [databases(), databases(), databases()]) {
        let rules = Rules::default();
        let mut nodes = MemoryNodes::new();
        let base = store(&base, &mut nodes);
        let sides = sides.map(|side| store(&side, &mut nodes));
        let mut ends = Vec::new();
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut tenant = base;
            let mut conflicts = 0;
            for side in order {
                let synced = merged(&mut nodes, [base, sides[side], tenant], &rules, Choice::Open);
                conflicts += synced.conflicts.len();
                tenant = synced.root;
            }
            if conflicts == 0 {
                ends.push(tenant);
            }
        }
        prop_assert!(ends.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
