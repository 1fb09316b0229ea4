//! Maps into databases: what two databases hold is brought from one to the other.

mod constraints;
mod lost;
mod plain;
mod triggers;

use sync_core::Digest;
use sync_core::map::Map;
use sync_db::{Applied, ApplyPlan, Base, Capture, Error, Settlement, TableApplied, TableSpec};

use crate::support::{Fixture, SharedNodes, fresh_epoch};

/// Two databases with the same tables, and objects in common: what is in `from` is applied to `to`.
pub(crate) struct Pair {
    pub(crate) from: Fixture,
    pub(crate) to: Fixture,
    specs: Vec<TableSpec>,
}

impl Pair {
    /// Both databases after the same script.
    pub(crate) async fn new(script: &str, tables: &[&str]) -> Self {
        Self::with_specs(script, crate::support::specs(tables)).await
    }

    pub(crate) async fn with_specs(script: &str, specs: Vec<TableSpec>) -> Self {
        let from = Fixture::new().await;
        let mut to = Fixture::new().await;
        to.objects = from.objects.clone();
        from.run(script).await;
        to.run(script).await;
        Self { from, to, specs }
    }

    pub(crate) fn objects(&self) -> SharedNodes {
        self.to.objects.clone()
    }

    /// What the other database holds, to be applied to this one as it is now.
    pub(crate) async fn plan(&self) -> ApplyPlan {
        let wanted = self.from.capture(&self.specs, None).await.unwrap();
        let capture = self.to.capture(&self.specs, None).await.unwrap();
        plan(capture, wanted.root)
    }

    pub(crate) async fn run_plan(&self, plan: ApplyPlan) -> Result<Applied, Error> {
        let nodes = self.objects();
        self.to.db.apply(plan, self.objects(), nodes, |_| ()).await
    }

    /// Applies, and checks that the database holds what the outcome says.
    pub(crate) async fn apply(&self) -> Applied {
        let applied = self.run_plan(self.plan().await).await.unwrap();
        assert_eq!(applied.root, self.to.root(&self.specs).await);
        applied
    }

    /// Applies, and checks that both databases hold the same afterwards.
    #[track_caller]
    pub(crate) fn apply_all(&self) -> impl Future<Output = Applied> {
        let at = std::panic::Location::caller();
        async move {
            let applied = self.apply().await;
            assert_eq!(applied.set_aside, [], "{at}");
            assert_eq!(applied.root, self.from.root(&self.specs).await, "{at}");
            applied
        }
    }

    pub(crate) async fn root(&self) -> Digest {
        self.to.root(&self.specs).await
    }
}

/// A plan that agrees with the remote `tenant` on what it wants.
pub(crate) fn plan(capture: Capture, after: Digest) -> ApplyPlan {
    let base = Base {
        snapshot: None,
        root: after,
        note: String::new(),
    };
    ApplyPlan {
        base_before: Map::empty_root(),
        settlement: Settlement {
            epoch: fresh_epoch(),
            agreed: Some(("tenant".to_owned(), base)),
        },
        capture,
        after,
    }
}

/// Created, updated, deleted, unchanged.
pub(crate) fn counts(applied: &Applied) -> Vec<[u64; 4]> {
    let of = |t: &TableApplied| [t.created, t.updated, t.deleted, t.unchanged];
    applied.tables.iter().map(of).collect()
}

/// The keys of the rows that were set aside, and the constraint or state.
pub(crate) fn aside(applied: &Applied) -> Vec<(String, String)> {
    let mut aside: Vec<_> = applied
        .set_aside
        .iter()
        .map(|row| {
            let why = row.constraint.clone().or(row.state.clone());
            (
                format!("{}:{}", row.table, row.key),
                why.unwrap_or_default(),
            )
        })
        .collect();
    aside.sort();
    aside
}
