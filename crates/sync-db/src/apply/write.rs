//! Changes of rows, a statement a kind, and the search for those that the database refuses.

use sync_core::map::NodeSource;

use super::feed::Op;
use super::stage::{Stage, Work, code};
use super::unique::{Park, parks};
use super::{Run, Verdict};
use crate::Error;
use crate::error::{MovedSnafu, Refusal};
use crate::sql::quote;

/// More rows than these are not set aside one by one: then the plan as a whole is refused.
pub const MAX_SET_ASIDE: usize = 10_000;

/// How carefully the next attempt goes.
#[derive(Debug, Default)]
struct Care {
    /// How many attempts failed; after the first one every statement can be taken back by itself.
    failed: u32,
    /// Unique values that move are taken from the rows that have them, first.
    parked: bool,
    /// Constraints other than foreign keys are checked at each statement, although they could be checked at the end.
    strict: bool,
    /// Foreign keys say nothing about which rows they refuse: those are searched for like others.
    search_foreign: bool,
}

/// Why an attempt ended.
#[derive(Debug)]
enum Ended {
    /// The database refused something; `last` says that it was the check of constraints at the end.
    Refused { error: Error, last: bool },
    /// These rows are refused, each by itself.
    Found(Vec<Verdict>),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Refused { error, last: false }
    }
}

impl<N: NodeSource + Clone + Send + 'static> Run<'_, N> {
    /// Makes the changes, all but those that the database refuses: these are listed. `works` come parents first.
    pub(super) async fn write(&self, works: &mut [Work]) -> Result<Vec<Verdict>, Error> {
        let mut care = Care::default();
        let mut verdicts = self.verdicts_of_cascades(works).await?;
        loop {
            let ended = match Box::pin(self.attempt(works, &care)).await {
                Ok(()) => return Ok(verdicts),
                Err(ended) => ended,
            };
            if let Ended::Refused { error, .. } = &ended
                && !error.refusal().is_some_and(Refusal::is_about_a_row)
            {
                let Ended::Refused { error, .. } = ended else {
                    continue;
                };
                return Err(error);
            }
            self.execute("ROLLBACK TO SAVEPOINT sync_write; RELEASE SAVEPOINT sync_write")
                .await?;
            verdicts.extend(self.learn(works, &mut care, ended).await?);
        }
    }

    /// What an attempt that failed says about the next one. Returns the rows that are refused; they are set aside.
    async fn learn(
        &self,
        works: &mut [Work],
        care: &mut Care,
        ended: Ended,
    ) -> Result<Vec<Verdict>, Error> {
        let (error, last) = match ended {
            Ended::Found(found) => {
                self.set_aside(works, &found).await?;
                return Ok(found);
            }
            Ended::Refused { error, last } => (error, last),
        };
        for work in works.iter_mut() {
            self.stage_in_table(work).await?;
        }
        let is_first = care.failed == 0;
        care.failed += 1;
        let is = |state: &str| error.refusal().is_some_and(|said| said.state == state);
        if is("23505") && !care.parked {
            self.expect_no_intruders(works).await?;
            care.parked = true;
            // A check that was put off names no row; one at the statement does.
            care.strict |= last;
            return Ok(Vec::new());
        }
        if is("23503") && !care.search_foreign {
            let found = self.verdicts_of_foreign_keys(works).await?;
            if found.is_empty() {
                if last {
                    return Err(error);
                }
                care.search_foreign = true;
            }
            return Ok(found);
        }
        if is_first {
            care.strict |= last;
        } else if last && !care.strict {
            care.strict = true;
        } else {
            return Err(error);
        }
        Ok(Vec::new())
    }

    /// Rows that were inserted while this transaction ran are seen by now: they are no fault of the plan's.
    async fn expect_no_intruders(&self, works: &[Work]) -> Result<(), Error> {
        self.search_path("pg_catalog").await?;
        for work in works {
            let total = self.count_intruders(work).await?;
            let table = work.relation.name.clone();
            snafu::ensure!(total == 0, MovedSnafu { table, total });
        }
        self.search_path(&self.default_path).await
    }

    /// Takes rows out of the staged changes.
    pub(super) async fn set_aside(
        &self,
        works: &mut [Work],
        verdicts: &[Verdict],
    ) -> Result<(), Error> {
        for (index, work) in works.iter_mut().enumerate() {
            let mut numbers = Vec::new();
            for verdict in verdicts.iter().filter(|verdict| verdict.work == index) {
                numbers.push(verdict.number);
                work.fed.uncount(verdict.op);
            }
            if numbers.is_empty() {
                continue;
            }
            self.stage_in_table(work).await?;
            let sql = format!(
                "UPDATE {} SET sync_op = 0 WHERE sync_n = ANY($1)",
                work.table()
            );
            let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), _); 1] =
                [(&numbers, tokio_postgres::types::Type::INT8_ARRAY)];
            let updated = self.transaction.execute_typed(&sql, &parameters).await;
            updated.map_err(self.while_("setting rows aside"))?;
        }
        Ok(())
    }

    /// All changes: what comes parents first, what goes children first.
    async fn attempt(&self, works: &mut [Work], care: &Care) -> Result<(), Ended> {
        let deferred = if care.strict {
            self.foreign_keys_deferred(works).await?
        } else {
            "SET CONSTRAINTS ALL DEFERRED".to_owned()
        };
        self.execute(&format!("SAVEPOINT sync_write; {deferred}"))
            .await?;
        if care.parked {
            self.park(works).await?;
        }
        for (index, work) in works.iter().enumerate() {
            self.step(index, work, Op::Insert, care).await?;
            self.step(index, work, Op::Update, care).await?;
        }
        for (index, work) in works.iter().enumerate().rev() {
            self.step(index, work, Op::Delete, care).await?;
        }
        self.applying(!works.iter().any(|work| work.relation.has_triggers))
            .await?;
        let checked = self.execute("SET CONSTRAINTS ALL IMMEDIATE").await;
        checked.map_err(|error| Ended::Refused { error, last: true })
    }

    /// Takes unique values from rows that give them away.
    async fn park(&self, works: &mut [Work]) -> Result<(), Ended> {
        for work in works {
            self.applying(!work.relation.has_triggers).await?;
            for ways in parks(work) {
                // Where checks refuse every stand-in the value stays, and whoever wants it is refused.
                if let Some(column) = self.park_one_way(ways).await? {
                    work.fed.changed[column] = true;
                }
            }
        }
        Ok(())
    }

    /// Which column got a stand-in, if any could.
    async fn park_one_way(&self, ways: Vec<Park>) -> Result<Option<usize>, Error> {
        for Park { column, sql } in ways {
            self.execute("SAVEPOINT sync_park").await?;
            match self.execute(&sql).await {
                Ok(()) => {
                    self.execute("RELEASE SAVEPOINT sync_park").await?;
                    return Ok(Some(column));
                }
                Err(error) if error.refusal().is_some_and(Refusal::is_about_a_row) => {
                    self.execute("ROLLBACK TO SAVEPOINT sync_park; RELEASE SAVEPOINT sync_park")
                        .await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The changes of one kind in one table.
    async fn step(&self, index: usize, work: &Work, op: Op, care: &Care) -> Result<(), Ended> {
        if work.fed.count(op) == 0 {
            return Ok(());
        }
        self.applying(!work.relation.has_triggers).await?;
        if care.failed == 0 {
            return Ok(self.change(work, op, None).await?);
        }
        self.execute("SAVEPOINT sync_step").await?;
        let error = match self.change(work, op, None).await {
            Ok(()) => return Ok(self.execute("RELEASE SAVEPOINT sync_step").await?),
            Err(error) => error,
        };
        let Some(refusal) = error.refusal().filter(|said| said.is_about_a_row()) else {
            return Err(error.into());
        };
        self.execute("ROLLBACK TO SAVEPOINT sync_step").await?;
        if refusal.state == "23503" && !care.search_foreign {
            return Err(error.into());
        }
        let found = self.search(index, work, op, care).await?;
        if found.is_empty() {
            return Err(error.into());
        }
        Err(Ended::Found(found))
    }

    /// Halves a statement that is refused until single rows are.
    async fn search(
        &self,
        index: usize,
        work: &Work,
        op: Op,
        care: &Care,
    ) -> Result<Vec<Verdict>, Error> {
        let table = work.table();
        self.execute(&format!(
            "CREATE INDEX IF NOT EXISTS sync_number_{index} ON {table} (sync_n)"
        ))
        .await?;
        let numbers = format!(
            "SELECT min(sync_n), max(sync_n) FROM {table} WHERE sync_op = {}",
            code(op)
        );
        let bounds = self.transaction.query_typed_one(&numbers, &[]).await;
        let bounds = bounds.map_err(self.while_("searching for a refused row"))?;
        let mut ranges = vec![(bounds.get::<_, i64>(0), bounds.get::<_, i64>(1))];
        let mut found = Vec::new();
        while let Some((first, last)) = ranges.pop() {
            self.execute("SAVEPOINT sync_half").await?;
            let error = match self.change(work, op, Some((first, last))).await {
                Ok(()) => {
                    self.execute("RELEASE SAVEPOINT sync_half").await?;
                    continue;
                }
                Err(error) => error,
            };
            let Some(refusal) = error.refusal().filter(|said| said.is_about_a_row()) else {
                return Err(error);
            };
            self.execute("ROLLBACK TO SAVEPOINT sync_half; RELEASE SAVEPOINT sync_half")
                .await?;
            if first < last {
                let middle = first + (last - first) / 2;
                ranges.extend([(middle + 1, last), (first, middle)]);
            } else if refusal.state != "23503" || care.search_foreign {
                found.push(Verdict {
                    work: index,
                    number: first,
                    op,
                    refusal: refusal.clone(),
                });
                if found.len() > MAX_SET_ASIDE {
                    return Err(error);
                }
            }
        }
        Ok(found)
    }

    /// One statement: the changes of one kind in one table, those with the numbers of `range`.
    ///
    /// # Errors
    ///
    /// [`Error::Moved`] where it touches another number of rows than it should, and no trigger of the application explains it.
    async fn change(&self, work: &Work, op: Op, range: Option<(i64, i64)>) -> Result<(), Error> {
        let touched = if matches!(work.stage, Stage::Nowhere) {
            self.copy_straight(work).await?
        } else {
            let sql = statement(work, op, range);
            let doing = format!("a change of `{}`", work.relation.name);
            let executed = self
                .transaction
                .execute_typed(&sql, &work.parameters())
                .await;
            executed.map_err(self.while_(&doing))?
        };
        let expected = work.fed.count(op);
        if range.is_none() && touched != expected && !work.relation.has_triggers {
            let total = expected.abs_diff(touched);
            let table = work.relation.name.clone();
            return MovedSnafu { table, total }.fail();
        }
        Ok(())
    }
}

fn statement(work: &Work, op: Op, range: Option<(i64, i64)>) -> String {
    let table = work.relation.sql();
    let staged = work.staged();
    let code = code(op);
    let within = range.map_or_else(String::new, |(first, last)| {
        format!(" AND s.sync_n BETWEEN {first} AND {last}")
    });
    let columns = 0..work.relation.columns.len();
    let of = format!("{} AND s.sync_op = {code}{within}", work.same_key("t", "s"));
    match op {
        Op::Insert => {
            let wanted: Vec<_> = columns.map(|n| work.wanted(n, "s")).collect();
            format!(
                "INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {staged} WHERE s.sync_op = {code}{within}",
                work.column_list(),
                wanted.join(", ")
            )
        }
        Op::Update => {
            let changed = columns.zip(&work.relation.columns).zip(&work.fed.changed);
            let sets = changed.filter(|(_, changed)| **changed);
            let sets: Vec<_> = sets
                .map(|((n, column), _)| {
                    format!("{} = {}", quote(&column.column.name), work.wanted(n, "s"))
                })
                .collect();
            format!(
                "UPDATE {table} t SET {} FROM {staged} WHERE {of}",
                sets.join(", ")
            )
        }
        Op::Delete => format!("DELETE FROM {table} t USING {staged} WHERE {of}"),
    }
}
