//! The definitions of tables, asked for again only where the catalogue has changed: one question for all tables of a capture.

use std::collections::HashMap;
use std::sync::Mutex;

use deadpool_postgres::Transaction;
use sync_core::rows::TableName;

use crate::relation::Relation;
use crate::spec::TableSpec;
use crate::sql::ask;
use crate::{Database, Error};

const MARKS: &str = include_str!("definitions/marks.sql");

/// What was asked of tables before.
#[derive(Debug, Default)]
pub(crate) struct Definitions(Mutex<HashMap<TableName, Definition>>);

#[derive(Debug)]
struct Definition {
    mark: String,
    spec: TableSpec,
    relation: Relation,
}

impl Definitions {
    fn get(&self, spec: &TableSpec, mark: &str) -> Option<Relation> {
        let known = self.0.lock().ok()?;
        let found = known.get(&spec.name)?;
        (found.mark == mark && found.spec == *spec).then(|| found.relation.clone())
    }

    fn put(&self, spec: &TableSpec, mark: String, relation: Relation) {
        if let Ok(mut known) = self.0.lock() {
            let spec = spec.clone();
            let name = spec.name.clone();
            known.insert(
                name,
                Definition {
                    mark,
                    spec,
                    relation,
                },
            );
        }
    }
}

impl Database {
    /// The relations of `specs`, in their order. The search path must be `pg_catalog` alone.
    ///
    /// # Errors
    ///
    /// As [`Relation::inspect`].
    pub(crate) async fn relations(
        &self,
        transaction: &Transaction<'_>,
        specs: &[&TableSpec],
    ) -> Result<Vec<Relation>, Error> {
        let said = self.while_("reading the definitions of tables");
        let schemas: Vec<&str> = specs.iter().map(|spec| spec.name.schema()).collect();
        let tables: Vec<&str> = specs.iter().map(|spec| spec.name.table()).collect();
        let marks = ask(transaction, MARKS, &[&schemas, &tables]).await;
        let mut marks: HashMap<i64, String> = marks
            .map_err(said)?
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        let mut relations = Vec::with_capacity(specs.len());
        for (n, spec) in (1..).zip(specs) {
            let mark = marks.remove(&n);
            let known = mark
                .as_ref()
                .and_then(|mark| self.definitions.get(spec, mark));
            let relation = match known {
                Some(relation) => relation,
                None => Relation::inspect(self, &**transaction, spec).await?,
            };
            if let Some(mark) = mark {
                self.definitions.put(spec, mark, relation.clone());
            }
            relations.push(relation);
        }
        Ok(relations)
    }
}
