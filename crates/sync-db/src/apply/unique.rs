//! Unique values that move between rows: whoever gives one away takes a stand-in first.

use sync_core::rows::Kind;

use super::feed::Op;
use super::stage::{Work, code};
use crate::relation::{RelationColumn, UniqueKey};
use crate::sql::quote;

/// A statement that takes a unique value from the rows that give it away.
#[derive(Debug)]
pub(super) struct Park {
    /// The column that gets a stand-in: it has to be written again, even where it does not change.
    pub(super) column: usize,
    pub(super) sql: String,
}

/// For each unique key of `work` the ways to take its values from the rows that change or go, best first: one column
/// becomes null, or a value that nobody else has. The change itself, or the end of the row, follows.
pub(super) fn parks(work: &Work) -> Vec<Vec<Park>> {
    if work.fed.count(Op::Update) + work.fed.count(Op::Delete) == 0 {
        return Vec::new();
    }
    let keys = work.relation.unique.iter().filter(|key| !key.deferrable);
    keys.map(|key| parks_of(work, key)).collect()
}

fn parks_of(work: &Work, key: &UniqueKey) -> Vec<Park> {
    let columns = key.columns.iter().filter_map(|name| work.column(name));
    let columns: Vec<usize> = columns.collect();
    let differs: Vec<_> = columns
        .iter()
        .map(|&index| {
            let name = quote(&work.relation.columns[index].column.name);
            format!("t.{name} IS DISTINCT FROM {}", work.wanted(index, "s"))
        })
        .collect();
    let park = |index: usize, stand_in: String| Park {
        column: index,
        sql: format!(
            "UPDATE {} t SET {} = {stand_in} FROM {} WHERE {} AND (s.sync_op = {} OR s.sync_op = {} AND ({}))",
            work.relation.sql(),
            quote(&work.relation.columns[index].column.name),
            work.staged(),
            work.same_key("t", "s"),
            code(Op::Delete),
            code(Op::Update),
            differs.join(" OR "),
        ),
    };
    let usable = columns.iter().copied().filter(|&index| {
        let column = &work.relation.columns[index];
        !column.always_identity && !work.relation.key.contains(&column.column.name)
    });
    let usable: Vec<usize> = usable.collect();
    let nulls = usable
        .iter()
        .filter(|&&n| work.relation.columns[n].nullable);
    let nulls = nulls.map(|&index| park(index, "NULL".to_owned()));
    let others = usable.iter().filter_map(|&index| {
        let stand_in = stand_in(&work.relation.columns[index])?;
        Some(park(index, stand_in))
    });
    nulls.chain(others).collect()
}

/// A value for a column of the row `t` that no other row has; `None` where its type has no such values to spare.
fn stand_in(column: &RelationColumn) -> Option<String> {
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
        None => format!("COALESCE(t.{}, '') || {random}", quote(&column.column.name)),
    }
}
