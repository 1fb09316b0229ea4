//! A kind of item in a tree beside a database: the face of the crate.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use sync_core::rows::{Kind as RowKind, text};
use sync_db::{Database, Isolation};

use crate::Error;
use crate::access::AccessControl;
use crate::content::Content;
use crate::decide::{Direction, Verdict};
use crate::disk::{Place, Reader};
use crate::judge::judge;
use crate::kind::{Kind, Unit};
use crate::plan::{LocalItem, LocalOptions, LocalPlan};
use crate::pull::{blocking, made};
use crate::record::{FieldChange, Key, Record, differing};
use crate::rows::{keys, read, records};
use crate::said::listen;
use crate::skills::Skills;
use crate::{pull, push};

/// The note of our applies in the journal of the tree: whoever recovers one has nothing to settle for it.
pub const NOTE: &[u8] = b"local";

/// How many items are described at once.
const DESCRIBED: usize = 200;

/// Which kind of item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocalKind {
    /// Skills of agents.
    Skills,
    /// Pages.
    Content,
    /// Rules of roles.
    AccessControl,
}

impl LocalKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Skills, Self::Content, Self::AccessControl];

    /// The kind as it stands on a command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skills => "skills",
            Self::Content => "content",
            Self::AccessControl => "access-control",
        }
    }
}

/// Where both sides are.
#[derive(Debug, Clone)]
pub struct LocalPlace {
    /// The top of the tree, `services/` of a workspace.
    pub tree: PathBuf,
    /// The private directory beside it: stat caches, and the journal that all applies to the tree share.
    pub private: PathBuf,
    /// Patterns in git's syntax of files that may be synced although they look like secrets.
    pub allow_secrets: Vec<String>,
    /// The rows.
    pub database: Database,
    /// The name of this working copy. Two directories beside one database have two, so that neither takes the agreement
    /// of the other for its own; one that is made anew has another, and is then compared as if it had never met the database.
    pub copy: String,
}

/// What a run needs to know of the world around it.
#[derive(Clone)]
pub struct Ports {
    /// The time, in milliseconds since 1970-01-01T00:00:00Z.
    pub now: u64,
    /// Gives uniformly random numbers.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// What keeps others away from the directory. Whoever asked for a run may go away in the middle of it, but what it does on
    /// a blocking thread goes on to its end, and holds on to this for as long.
    pub held: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl Ports {
    /// The time as the database takes it.
    pub(crate) fn now(&self) -> String {
        // The database counts from 2000-01-01T00:00:00Z.
        const EPOCH: i64 = 946_684_800_000;
        let now = i64::try_from(self.now).unwrap_or(i64::MAX);
        let micros = now.saturating_sub(EPOCH).saturating_mul(1000);
        text(RowKind::TimestampTz, &micros.to_be_bytes())
    }

    /// A random UUID, version 4 (RFC 9562).
    pub(crate) fn uuid(&self) -> String {
        let (high, low) = ((self.random)(), (self.random)());
        let high = high & 0xffff_ffff_ffff_0fff | 0x4000;
        let low = low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LocalOutcome {
    /// How many items came.
    pub created: u64,
    /// How many were brought up to date.
    pub updated: u64,
    /// How many went.
    pub deleted: u64,
    /// How many were found alike and written down as agreed on.
    pub adopted: u64,
}

impl LocalOutcome {
    pub(crate) fn of(plan: &LocalPlan) -> Self {
        Self {
            created: plan.count(Verdict::Create),
            updated: plan.count(Verdict::Update),
            deleted: plan.count(Verdict::Delete),
            adopted: plan.adopt.len() as u64,
        }
    }

    /// How many items changed on the target.
    pub const fn total(&self) -> u64 {
        self.created + self.updated + self.deleted
    }
}

/// What differs in an item.
#[derive(Debug, Clone, Serialize)]
pub struct ItemDifference {
    /// The item.
    pub key: Key,
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
}

/// A kind of item in a tree beside a database.
#[derive(Debug, Clone)]
struct Local<K> {
    place: Place,
    database: Database,
    copy: String,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Local<K> {
    fn new(place: LocalPlace) -> Self {
        Self {
            place: Place {
                tree: place.tree,
                private: place.private,
                allow_secrets: place.allow_secrets,
            },
            database: place.database,
            copy: place.copy,
            kind: PhantomData,
        }
    }

    async fn plan(&self, direction: Direction, options: &LocalOptions) -> Result<LocalPlan, Error> {
        let place = self.place.clone();
        let captured = blocking(move || place.capture::<K>()).await?;
        let rows = read(&self.database, &captured.kind, &self.copy).await?;
        let place = self.place.clone();
        let options = options.clone();
        let plan = blocking(move || {
            let mut captured = captured;
            let said = listen(&place, &mut captured, &rows)?;
            judge(captured, said, &rows, direction, &options)
        })
        .await?;
        if direction == Direction::ToDatabase || plan.changes().next().is_none() {
            return Ok(plan);
        }
        let place = self.place.clone();
        let kind = blocking(move || K::open(&place.open()?)).await?;
        pull::rehearse(&self.database, &self.place, kind, plan).await
    }

    async fn apply(&self, plan: LocalPlan, ports: &Ports) -> Result<LocalOutcome, Error> {
        if let Some(refusal) = plan.refusal() {
            return Err(refusal);
        }
        let place = self.place.clone();
        if plan.is_empty() {
            let outcome = LocalOutcome::of(&plan);
            blocking(move || Ok(plan.cache.save(&made(place.cache_dir(K::NAME))?)?)).await?;
            return Ok(outcome);
        }
        let kind = blocking(move || K::open(&place.open()?)).await?;
        let (database, copy) = (&self.database, self.copy.as_str());
        match plan.direction {
            Direction::ToDatabase => {
                let plan = Arc::new(plan);
                let shared = Arc::clone(&plan);
                let done = push::apply(database, &self.place, kind, copy, shared, ports).await?;
                let place = self.place.clone();
                blocking(move || Ok(plan.cache.save(&made(place.cache_dir(K::NAME))?)?)).await?;
                Ok(done)
            }
            Direction::ToDisk => {
                let held = Arc::clone(&ports.held);
                pull::apply(database, &self.place, kind, copy, plan, held).await
            }
        }
    }

    async fn describe(&self, plan: &LocalPlan, limit: usize) -> Result<Vec<ItemDifference>, Error> {
        let place = self.place.clone();
        let kind = blocking(move || K::open(&place.open()?)).await?;
        let doing = "reading what differs";
        let transaction = self.database.begin(doing, Isolation::Snapshot).await?;
        let mut found = Vec::new();
        let items: Vec<&LocalItem> = plan.items.iter().take(limit).collect();
        for part in items.chunks(DESCRIBED) {
            let list = keys::<K>(part.iter().map(|item| &item.key));
            let mut rows = records(&transaction, &kind, &list).await?;
            let units = part.iter().filter(|item| item.seen.disk.is_some());
            let units = units.filter_map(|item| plan.units.get(item.path.as_ref()?).cloned());
            let (units, place) = (units.collect::<Vec<Unit>>(), self.place.clone());
            let mut said = blocking(move || read_units::<K>(&place, &units)).await?;
            for item in part {
                let disk = said.remove(&item.key);
                let row = rows.remove(&item.key).map(|(record, _)| record);
                found.push(ItemDifference {
                    key: item.key.clone(),
                    fields: differing(K::FIELDS, disk.as_ref(), row.as_ref()),
                });
            }
        }
        transaction.commit(doing).await?;
        Ok(found)
    }
}

/// What the items of these units are.
fn read_units<K: Kind>(
    place: &Place,
    units: &[Unit],
) -> Result<std::collections::HashMap<Key, Record>, Error> {
    let tree = place.open()?;
    let kind = K::open(&tree)?;
    let mut reader = Reader::new(&tree)?;
    let mut said = std::collections::HashMap::new();
    for unit in units {
        said.extend(reader.read(&kind, unit)?.items);
    }
    Ok(said)
}

macro_rules! local_sync {
    ($name:ident, $kind:ty, $what:literal) => {
        #[doc = concat!($what, " in a tree beside a database.")]
        #[derive(Debug, Clone)]
        pub struct $name(Local<$kind>);

        impl $name {
            /// Nothing is read or connected to yet.
            pub fn new(place: LocalPlace) -> Self {
                Self(Local::new(place))
            }

            /// Compares both sides and decides what is to be done with each item. Nothing is changed, on either side.
            ///
            /// Files that are as they were when both sides last agreed are not read, and neither are such rows.
            ///
            /// # Errors
            ///
            /// What tree or database say, and [`Error::NoDirectory`] where the directory of items is not there. What is
            /// wrong with single files is in [`LocalPlan::problems`].
            pub async fn plan(
                &self,
                direction: Direction,
                options: &LocalOptions,
            ) -> Result<LocalPlan, Error> {
                self.0.plan(direction, options).await
            }

            /// Does what the plan says. To the database it is one transaction; to the disk it is one journalled apply
            /// of the tree, and then a transaction that writes down what both sides agree on. The caller lets nobody
            /// else apply anything to the tree meanwhile.
            ///
            /// # Errors
            ///
            /// [`Error::Conflict`] and [`Error::Unfit`] where the plan cannot be followed as a whole and was not made
            /// to keep going; an error for which [`Error::is_moved`] holds where a side changed since it was made. Nothing
            /// was changed then. Where the database fails after the disk was changed, both sides are equal, and the next
            /// run writes that down.
            pub async fn apply(
                &self,
                plan: LocalPlan,
                ports: &Ports,
            ) -> Result<LocalOutcome, Error> {
                self.0.apply(plan, ports).await
            }

            /// The fields that differ, of the first `limit` items of a plan.
            ///
            /// # Errors
            ///
            /// What tree or database say, also where they changed since the plan was made.
            pub async fn describe(
                &self,
                plan: &LocalPlan,
                limit: usize,
            ) -> Result<Vec<ItemDifference>, Error> {
                self.0.describe(plan, limit).await
            }
        }
    };
}

local_sync!(SkillsLocalSync, Skills, "Skills");
local_sync!(ContentLocalSync, Content, "Pages");
local_sync!(AccessControlLocalSync, AccessControl, "Rules of roles");

/// One of the three, for those who are told at run time which.
#[derive(Debug, Clone)]
pub enum LocalSync {
    /// Skills.
    Skills(SkillsLocalSync),
    /// Pages.
    Content(ContentLocalSync),
    /// Rules of roles.
    AccessControl(AccessControlLocalSync),
}

impl LocalSync {
    /// Nothing is read or connected to yet.
    pub fn new(kind: LocalKind, place: LocalPlace) -> Self {
        match kind {
            LocalKind::Skills => Self::Skills(SkillsLocalSync::new(place)),
            LocalKind::Content => Self::Content(ContentLocalSync::new(place)),
            LocalKind::AccessControl => Self::AccessControl(AccessControlLocalSync::new(place)),
        }
    }

    /// As [`ContentLocalSync::plan`].
    ///
    /// # Errors
    ///
    /// Likewise.
    pub async fn plan(
        &self,
        direction: Direction,
        options: &LocalOptions,
    ) -> Result<LocalPlan, Error> {
        match self {
            Self::Skills(sync) => sync.plan(direction, options).await,
            Self::Content(sync) => sync.plan(direction, options).await,
            Self::AccessControl(sync) => sync.plan(direction, options).await,
        }
    }

    /// As [`ContentLocalSync::apply`].
    ///
    /// # Errors
    ///
    /// Likewise.
    pub async fn apply(&self, plan: LocalPlan, ports: &Ports) -> Result<LocalOutcome, Error> {
        match self {
            Self::Skills(sync) => sync.apply(plan, ports).await,
            Self::Content(sync) => sync.apply(plan, ports).await,
            Self::AccessControl(sync) => sync.apply(plan, ports).await,
        }
    }

    /// As [`ContentLocalSync::describe`].
    ///
    /// # Errors
    ///
    /// Likewise.
    pub async fn describe(
        &self,
        plan: &LocalPlan,
        limit: usize,
    ) -> Result<Vec<ItemDifference>, Error> {
        match self {
            Self::Skills(sync) => sync.describe(plan, limit).await,
            Self::Content(sync) => sync.describe(plan, limit).await,
            Self::AccessControl(sync) => sync.describe(plan, limit).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_names() {
        let ports = |now, number| Ports {
            now,
            random: Arc::new(move || number),
            held: Arc::new(()),
        };
        let check = |now, expected: &str| assert_eq!(ports(now, 0).now(), expected);
        check(0, "1970-01-01 00:00:00+00");
        check(951_782_400_000, "2000-02-29 00:00:00+00");
        check(1_798_761_599_999, "2026-12-31 23:59:59.999+00");
        assert_eq!(ports(0, 0).uuid(), "00000000-0000-4000-8000-000000000000");
        assert_eq!(
            ports(0, u64::MAX).uuid(),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
    }
}
