//! Unique values that move between rows: whoever gives one away takes a stand-in first.

use std::collections::BTreeSet;

use sync_core::rows::Kind;

use super::feed::Op;
use super::stage::{Work, code};
use crate::relation::RelationColumn;
use crate::sql::quote;

/// Statements that take unique values from the rows of `work` that change or go: null where that is allowed, else a
/// value that nobody else has. The change itself, or the end of the row, follows in the same transaction.
pub(super) fn parks(work: &Work) -> Vec<String> {
    if work.fed.count(Op::Update) + work.fed.count(Op::Delete) == 0 {
        return Vec::new();
    }
    let columns: BTreeSet<usize> = work
        .relation
        .unique
        .iter()
        .filter(|key| !key.deferrable)
        .filter_map(|key| {
            let indexes = key.columns.iter().filter_map(|name| work.column(name));
            let usable = indexes.filter(|&index| stand_in(work, index).is_some());
            // One column of a key is enough; one that may be null is the least trouble.
            usable.min_by_key(|&index| !work.relation.columns[index].nullable)
        })
        .collect();
    let statements = columns.into_iter().filter_map(|index| {
        let column = quote(&work.relation.columns[index].column.name);
        Some(format!(
            "UPDATE {} t SET {column} = {} FROM {} WHERE {} AND (s.sync_op = {} \
             OR s.sync_op = {} AND t.{column} IS DISTINCT FROM {})",
            work.relation.sql(),
            stand_in(work, index)?,
            work.staged(),
            work.same_key("t", "s"),
            code(Op::Delete),
            code(Op::Update),
            work.wanted(index, "s"),
        ))
    });
    statements.collect()
}

/// A value for a column of the row `t` that no other row has; `None` where its type has no such values to spare.
fn stand_in(work: &Work, index: usize) -> Option<String> {
    let column = work.relation.columns.get(index)?;
    if column.always_identity || work.relation.key.contains(&column.column.name) {
        return None;
    }
    if column.nullable {
        return Some("NULL".to_owned());
    }
    let random = "pg_catalog.random()";
    let value = match column.column.kind {
        Kind::Text if column.is_text => text(column),
        Kind::Int2 => format!("(-32768 + {random} * 20000)::int2"),
        Kind::Int4 => format!("(-2147483648 + {random} * 1000000000)::int4"),
        Kind::Int8 => format!("(-9223372036854775808 + ({random} * 1e15)::int8)"),
        Kind::Float4 | Kind::Float8 => format!("(-1e30 * {random})"),
        Kind::Numeric => format!("(-1e9 * {random})::numeric"),
        Kind::Uuid => "pg_catalog.gen_random_uuid()".to_owned(),
        Kind::Date => format!("('4000-01-01'::date + ({random} * 1000000)::int4)"),
        Kind::Timestamp => {
            format!("('4000-01-01'::timestamp + {random} * '365000 days'::interval)")
        }
        Kind::TimestampTz => {
            format!("('4000-01-01'::timestamptz + {random} * '365000 days'::interval)")
        }
        Kind::Bytes => "pg_catalog.uuid_send(pg_catalog.gen_random_uuid())".to_owned(),
        Kind::Text | Kind::Bool | Kind::Jsonb => return None,
    };
    Some(value)
}

/// The value that is there with something random behind it, so that checks of how it starts still pass.
fn text(column: &RelationColumn) -> String {
    let random = "pg_catalog.replace(pg_catalog.gen_random_uuid()::text, '-', '')";
    let limit = column.column.type_name.rsplit_once('(');
    let limit = limit.and_then(|(_, rest)| rest.strip_suffix(')'));
    match limit {
        Some(limit) => format!("pg_catalog.left({random}, {limit})"),
        None => format!("t.{} || {random}", quote(&column.column.name)),
    }
}
