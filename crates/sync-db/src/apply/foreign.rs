//! Which rows of a plan foreign keys refuse, asked of the database for all of them at once.

use sync_core::map::NodeSource;
use tokio_postgres::types::{ToSql, Type};

use super::feed::Op;
use super::stage::{Stage, Work};
use super::{Run, Verdict};
use crate::Error;
use crate::error::Refusal;
use crate::sql::quote;

/// A foreign key from or to a table that changes.
#[derive(Debug)]
struct Link {
    name: String,
    schema: String,
    child: End,
    parent: End,
    /// Whether the end of a parent changes or ends its children: `CASCADE`, `SET NULL`, `SET DEFAULT`.
    cascades: bool,
    deferrable: bool,
}

/// One side of a foreign key.
#[derive(Debug)]
struct End {
    oid: u32,
    /// Qualified and quoted.
    table: String,
    /// As a constraint's error names it.
    name: String,
    columns: Vec<String>,
}

const LINKS: &str = "
SELECT k.conname::text, n.nspname::text, k.confdeltype IN ('c', 'n', 'd'), k.condeferrable,
    k.conrelid, format('%I.%I', n.nspname, c.relname), c.relname::text,
    (SELECT array_agg(a.attname::text ORDER BY x.n) FROM unnest(k.conkey) WITH ORDINALITY x(num, n)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.num),
    k.confrelid, format('%I.%I', m.nspname, p.relname), p.relname::text,
    (SELECT array_agg(a.attname::text ORDER BY x.n) FROM unnest(k.confkey) WITH ORDINALITY x(num, n)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = x.num)
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace m ON m.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid = ANY($1) OR k.confrelid = ANY($1))
ORDER BY k.oid";

impl<N: NodeSource + Clone + Send + 'static> Run<'_, N> {
    /// What makes only those constraints wait that are foreign keys.
    pub(super) async fn foreign_keys_deferred(&self, works: &[Work]) -> Result<String, Error> {
        let links = self.links(works).await?;
        let names = links.iter().filter(|link| link.deferrable);
        let names: Vec<_> = names
            .map(|link| format!("{}.{}", quote(&link.schema), quote(&link.name)))
            .collect();
        Ok(match names.as_slice() {
            [] => "SET CONSTRAINTS ALL IMMEDIATE".to_owned(),
            names => format!(
                "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS {} DEFERRED",
                names.join(", ")
            ),
        })
    }

    /// Rows that go while rows of this plan's tables, which the plan keeps, still refer to them, and would be changed or
    /// ended along with them without anybody having asked for it. They are set aside.
    pub(super) async fn verdicts_of_cascades(
        &self,
        works: &mut [Work],
    ) -> Result<Vec<Verdict>, Error> {
        if works.iter().all(|work| work.fed.deleted == 0) {
            return Ok(Vec::new());
        }
        let links = self.links(works).await?;
        let ends = |link: &Link| {
            let parent = find(works, link.parent.oid).is_some_and(|n| works[n].fed.deleted > 0);
            parent && link.cascades && self.tables.contains(&link.child.oid)
        };
        let links: Vec<_> = links.into_iter().filter(ends).collect();
        for link in &links {
            for oid in [link.parent.oid, link.child.oid] {
                if let Some(n) = find(works, oid)
                    && !matches!(works[n].stage, Stage::Nowhere)
                {
                    self.stage_in_table(&mut works[n]).await?;
                }
            }
        }
        self.settle_links(works, &links, |_| false).await
    }

    /// Rows that come and refer to nothing, and rows that go and are still referred to, with all that follows from
    /// setting them aside. They are set aside; all changes are in temporary tables, and none is made yet.
    pub(super) async fn verdicts_of_foreign_keys(
        &self,
        works: &mut [Work],
    ) -> Result<Vec<Verdict>, Error> {
        let links = self.links(works).await?;
        self.settle_links(works, &links, |_| true).await
    }

    async fn settle_links(
        &self,
        works: &mut [Work],
        links: &[Link],
        asks_children: impl Fn(&Link) -> bool,
    ) -> Result<Vec<Verdict>, Error> {
        let mut verdicts = Vec::new();
        loop {
            let before = verdicts.len();
            for link in links {
                for sql in [
                    orphans(works, link).filter(|_| asks_children(link)),
                    self.widows(works, link),
                ] {
                    let Some((work, sql)) = sql else {
                        continue;
                    };
                    let rows = self.transaction.query_typed(&sql, &[]).await;
                    let rows = rows.map_err(self.while_("asking for foreign keys"))?;
                    let found: Vec<_> = rows
                        .iter()
                        .map(|row| verdict(link, work, row.get(0), row.get(1)))
                        .collect();
                    self.set_aside(works, &found).await?;
                    verdicts.extend(found);
                }
            }
            if verdicts.len() == before {
                return Ok(verdicts);
            }
        }
    }

    async fn links(&self, works: &[Work]) -> Result<Vec<Link>, Error> {
        let oids: Vec<u32> = works.iter().map(|work| work.relation.oid).collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&oids, Type::OID_ARRAY)];
        let rows = self.transaction.query_typed(LINKS, &parameters).await;
        let rows = rows.map_err(self.while_("asking for foreign keys"))?;
        let end = |row: &tokio_postgres::Row, from: usize| End {
            oid: row.get(from),
            table: row.get(from + 1),
            name: row.get(from + 2),
            columns: row.get(from + 3),
        };
        let link = |row: &tokio_postgres::Row| Link {
            name: row.get(0),
            schema: row.get(1),
            cascades: row.get(2),
            deferrable: row.get(3),
            child: end(row, 4),
            parent: end(row, 8),
        };
        Ok(rows.iter().map(link).collect())
    }

    /// Rows that go and are still referred to by rows that neither go nor turn away.
    fn widows(&self, works: &[Work], link: &Link) -> Option<(usize, String)> {
        let index = find(works, link.parent.oid)?;
        let parent = &works[index];
        // Rows beyond the tables that are synced follow their parents as the application has it.
        if parent.fed.deleted == 0 || link.cascades && !self.tables.contains(&link.child.oid) {
            return None;
        }
        let joined = pairs(&link.child.columns, &link.parent.columns, |c, p| {
            format!("c.{} = p.{}", quote(c), quote(p))
        });
        let mut conditions = vec!["s.sync_op = 3".to_owned()];
        if let Some(child) = find(works, link.child.oid).map(|n| &works[n])
            && matches!(child.stage, Stage::Table)
        {
            let columns = indexes(child, &link.child.columns);
            let turns = columns.map(|columns| {
                let turns = columns.iter().zip(&link.parent.columns);
                let turns = turns.map(|(&n, p)| {
                    format!("{} IS DISTINCT FROM p.{}", child.wanted(n, "x"), quote(p))
                });
                format!(
                    " OR x.sync_op = 2 AND ({})",
                    turns.collect::<Vec<_>>().join(" OR ")
                )
            });
            conditions.push(format!(
                "NOT EXISTS (SELECT 1 FROM {} x WHERE {} AND (x.sync_op = 3{}))",
                child.table(),
                child.same_key("c", "x"),
                turns.unwrap_or_default()
            ));
        }
        let sql = format!(
            "SELECT DISTINCT s.sync_n, s.sync_op FROM {} s JOIN {} p ON {} JOIN {} c ON {joined} WHERE {}",
            parent.table(),
            link.parent.table,
            parent.same_key("p", "s"),
            link.child.table,
            conditions.join(" AND ")
        );
        Some((index, sql))
    }
}

/// Rows that come, or turn to another parent, and there is none and none comes.
fn orphans(works: &[Work], link: &Link) -> Option<(usize, String)> {
    let index = find(works, link.child.oid)?;
    let child = &works[index];
    let columns = indexes(child, &link.child.columns)?;
    let values: Vec<_> = columns.iter().map(|&n| child.wanted(n, "s")).collect();
    let refers = values.iter().zip(&link.parent.columns);
    let refers = refers.map(|(value, p)| format!("p.{} = {value}", quote(p)));
    let refers = refers.collect::<Vec<_>>().join(" AND ");
    let mut conditions = vec!["s.sync_op IN (1, 2)".to_owned()];
    conditions.extend(values.iter().map(|value| format!("{value} IS NOT NULL")));
    let parent = find(works, link.parent.oid).map(|n| &works[n]);
    let stays = parent.map(|parent| {
        format!(
            " AND NOT EXISTS (SELECT 1 FROM {} y WHERE y.sync_op = 3 AND {})",
            parent.table(),
            parent.same_key("p", "y")
        )
    });
    conditions.push(format!(
        "NOT EXISTS (SELECT 1 FROM {} p WHERE {refers}{})",
        link.parent.table,
        stays.unwrap_or_default()
    ));
    if let Some(parent) = parent
        && let Some(columns) = indexes(parent, &link.parent.columns)
    {
        let comes = columns.iter().zip(&values);
        let comes = comes.map(|(&n, value)| format!("{} = {value}", parent.wanted(n, "y")));
        conditions.push(format!(
            "NOT EXISTS (SELECT 1 FROM {} y WHERE y.sync_op IN (1, 2) AND {})",
            parent.table(),
            comes.collect::<Vec<_>>().join(" AND ")
        ));
    }
    let sql = format!(
        "SELECT s.sync_n, s.sync_op FROM {} s WHERE {}",
        child.table(),
        conditions.join(" AND ")
    );
    Some((index, sql))
}

fn find(works: &[Work], oid: u32) -> Option<usize> {
    works.iter().position(|work| work.relation.oid == oid)
}

/// Which columns of a table these are; `None` where one of them does not travel.
fn indexes(work: &Work, columns: &[String]) -> Option<Vec<usize>> {
    columns.iter().map(|name| work.column(name)).collect()
}

fn pairs(left: &[String], right: &[String], pair: impl Fn(&str, &str) -> String) -> String {
    let pairs = left.iter().zip(right).map(|(l, r)| pair(l, r));
    pairs.collect::<Vec<_>>().join(" AND ")
}

fn verdict(link: &Link, work: usize, number: i64, op: i16) -> Verdict {
    let op = match op {
        1 => Op::Insert,
        2 => Op::Update,
        _ => Op::Delete,
    };
    let message = if op == Op::Delete {
        format!("rows of \"{}\" still refer to it", link.child.name)
    } else {
        format!(
            "it refers to a row of \"{}\" that is not there",
            link.parent.name
        )
    };
    Verdict {
        work,
        number,
        op,
        refusal: Refusal {
            state: "23503".to_owned(),
            message,
            constraint: Some(link.name.clone()),
            table: Some(link.child.name.clone()),
            column: None,
        },
    }
}
