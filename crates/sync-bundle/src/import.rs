//! A tar into a repository: objects first, which nobody names, then all heads at once.

use std::collections::{BTreeMap, HashSet};
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use snafu::{OptionExt, ensure};
use sync_core::{Name, Snapshot, SnapshotId};
use sync_store::protocol::SetAsideRow;
use sync_store::{Advance, Advanced, Class, Repository};

use crate::Error;
use crate::error::{
    BoxError, NotABundleSnafu, OccupiedSnafu, OrderSnafu, PrerequisitesSnafu, StaleSnafu,
};
use crate::manifest::{
    self, BRANCHES, Branches, Kind, MANIFEST, Manifest, TENANT, TOKENS, TokenEntry,
};
use crate::reader::{Event, Opening, Reader};
use crate::walk;

/// A branch that a bundle would move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchMove {
    /// The branch.
    pub branch: Name,
    /// Where it is; absent where it does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<SnapshotId>,
    /// Where the bundle has it.
    pub to: SnapshotId,
}

/// How much a tenant holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Holds {
    /// Snapshots.
    pub snapshots: u64,
    /// Rows at its heads.
    pub rows: u64,
}

/// What a bundle would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The branches that it names.
    pub branches: Vec<BranchMove>,
    /// What the tenant holds now.
    pub holds: Holds,
    /// What the bundle continues and the tenant does not have.
    pub missing: Vec<SnapshotId>,
    /// Whether every branch is new, or only goes on from what the bundle continues.
    pub is_forward: bool,
}

/// Looks at what a bundle would change in a tenant.
pub async fn plan(repository: &Repository, manifest: &Manifest) -> Result<Plan, Error> {
    let (mut branches, mut missing) = (Vec::new(), Vec::new());
    for id in &manifest.prerequisites {
        let is_known = repository.is_accepted(*id).await? || repository.is_expired(*id).await?;
        missing.extend((!is_known).then_some(*id));
    }
    for head in &manifest.heads {
        branches.push(BranchMove {
            branch: head.branch.clone(),
            from: repository.head(head.branch.as_str()).await?,
            to: head.snapshot,
        });
    }
    let mut roots = HashSet::new();
    for (_, head) in repository.heads().await? {
        roots.extend(repository.snapshot(head).await?.roots.rows);
    }
    let nodes = repository.nodes();
    let count = move || {
        let rows = roots.into_iter().map(|rows| walk::count_rows(&nodes, rows));
        rows.sum::<Result<u64, _>>()
    };
    let rows = tokio::task::spawn_blocking(count).await?;
    let continued = |from: &SnapshotId| manifest.prerequisites.contains(from);
    let is_forward = branches
        .iter()
        .all(|to| to.from.is_none_or(|from| from == to.to || continued(&from)));
    Ok(Plan {
        branches,
        holds: Holds {
            snapshots: repository.count_snapshots().await?,
            rows: rows.map_err(sync_store::Error::from)?,
        },
        missing,
        is_forward: is_forward && !manifest.prerequisites.is_empty(),
    })
}

impl Plan {
    /// Whether every branch is where the bundle has it.
    pub fn is_done(&self) -> bool {
        self.branches.iter().all(|to| to.from == Some(to.to))
    }

    /// Whether it may be done; `force` moves branches that hold something else.
    ///
    /// # Errors
    ///
    /// [`Error::Prerequisites`], [`Error::Occupied`].
    pub fn check(&self, force: bool) -> Result<(), Error> {
        ensure!(
            self.missing.is_empty(),
            PrerequisitesSnafu {
                missing: self.missing.clone()
            }
        );
        let Holds { snapshots, rows } = self.holds;
        let is_free = snapshots == 0 || self.is_done() || self.is_forward;
        ensure!(force || is_free, OccupiedSnafu { snapshots, rows });
        Ok(())
    }
}

/// Why a record of a bundle was not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A token without its hash lets nobody in: another one has to be issued.
    TokenWithoutHash,
    /// The tenant has settings of its own, and keeps them.
    SettingsKept,
    /// Settings have conditions in SQL, which only the operator of a server may give it.
    SettingsNeedOperator,
    /// Nothing was to be changed.
    DryRun,
}

/// What came of the records of a bundle.
/// `records_inspected` is always the sum of the four that follow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// How many there are.
    pub records_inspected: u64,
    /// How many are in the tenant now and were not.
    pub records_inserted: u64,
    /// How many were there.
    pub records_deduplicated: u64,
    /// How many were left out, for a reason.
    pub records_skipped: u64,
    /// How many could not be taken; a bundle of which one cannot is refused as a whole.
    pub records_failed: u64,
    /// How many were left out, or could not be taken, by reason.
    pub refusals_by_reason: BTreeMap<Reason, u64>,
}

impl Summary {
    /// Nothing of `records` is taken.
    pub fn of_dry_run(records: u64) -> Self {
        let mut summary = Self::default();
        summary.skip(Reason::DryRun, records);
        summary
    }

    /// So many records came, of which so many are new.
    pub fn count(&mut self, records: u64, inserted: u64) {
        let inserted = inserted.min(records);
        self.records_inspected += records;
        self.records_inserted += inserted;
        self.records_deduplicated += records - inserted;
    }

    /// So many records are left out.
    pub fn skip(&mut self, reason: Reason, records: u64) {
        if records > 0 {
            self.records_inspected += records;
            self.records_skipped += records;
            *self.refusals_by_reason.entry(reason).or_default() += records;
        }
    }

    /// Whether anything is in the tenant now that was not.
    pub const fn is_unchanged(&self) -> bool {
        self.records_inserted == 0
    }
}

/// What came of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The branches, and where each was.
    pub branches: Vec<BranchMove>,
    /// Rows that the tenant's database could not store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<SetAsideRow>,
    /// What came of the records.
    #[serde(flatten)]
    pub summary: Summary,
}

type Pieces<'s> = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + 's>>;

/// A bundle that comes in.
pub struct Incoming<'s> {
    pieces: Pieces<'s>,
    reader: Reader,
    opening: Opening,
    failed: Option<Error>,
}

impl std::fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

/// All of a bundle but its heads is in the repository, and nobody names it yet.
#[derive(Debug)]
pub struct Taken {
    /// The branches and what they keep.
    pub branches: Branches,
    /// The tenant's settings.
    pub settings: serde_json::Value,
    /// Its tokens.
    pub tokens: Vec<TokenEntry>,
    /// What came of objects and snapshots; the rest is for whoever moves the heads.
    pub summary: Summary,
    records: u64,
}

impl<'s> Incoming<'s> {
    /// Reads manifest and signature.
    ///
    /// # Errors
    ///
    /// Why this is no bundle, [`Error::Cut`] where the stream fails.
    pub async fn open<E: Into<BoxError>>(
        pieces: impl Stream<Item = Result<Bytes, E>> + Send + 's,
    ) -> Result<Self, Error> {
        let mut pieces: Pieces<'s> = Box::pin(pieces.map(|piece| piece.map_err(Into::into)));
        let mut reader = Reader::default();
        let reason = "it does not begin with a manifest";
        match next(&mut pieces, &mut reader).await? {
            Event::Opening(opening) => Ok(Self {
                pieces,
                reader,
                opening: *opening,
                failed: None,
            }),
            _ => NotABundleSnafu { reason }.fail(),
        }
    }

    /// What it is.
    pub const fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Reads the rest without keeping it: every member has the bytes that the manifest names.
    pub async fn skim(mut self) -> Result<(), Error> {
        while !matches!(self.next().await?, Event::Done) {}
        self.end().await
    }

    /// Stores everything that is in the bundle, durably when this returns; no head moves, and a collection would take all of it.
    ///
    /// # Errors
    ///
    /// Why it is refused. Objects that came before are kept, so that another attempt need not store them.
    pub async fn take_into(mut self, repository: &Repository) -> Result<Taken, Error> {
        let mut summary = Summary::default();
        let (mut branches, mut settings, mut tokens) = (None, None, Vec::new());
        let mut lineage: Option<Lineage> = None;
        loop {
            let index = match self.next().await? {
                Event::Begin(index) => index,
                Event::Done => break,
                _ => return out_of_order(),
            };
            let member = &self.opening.manifest.members[index];
            let (kind, path) = (member.kind(), member.path.clone());
            match kind {
                Some(Kind::Pack) => self.pack(repository, &path, &mut summary).await?,
                Some(Kind::Branches) => {
                    let bytes = self.whole().await?;
                    let read = Branches::decode(&bytes, &self.opening.manifest)?;
                    lineage = Some(Lineage::new(&self.opening.manifest, &read));
                    branches = Some(read);
                }
                Some(Kind::Tenant) => {
                    let bytes = self.whole().await?;
                    let read: serde_json::Value = manifest::decode(TENANT, &bytes)?;
                    settings = Some(read);
                }
                Some(Kind::Tokens) => tokens = manifest::decode(TOKENS, &self.whole().await?)?,
                Some(Kind::Snapshots) => {
                    let bytes = self.whole().await?;
                    let lineage = lineage
                        .as_mut()
                        .context(OrderSnafu { expected: BRANCHES })?;
                    let snapshots = lineage.take(&path, &bytes)?;
                    let count = snapshots.len() as u64;
                    let stored = repository.put(snapshots).await?;
                    summary.count(count, stored.objects);
                }
                None => return out_of_order(),
            }
        }
        self.end().await?;
        let expected = BRANCHES;
        let branches = branches.context(OrderSnafu { expected })?;
        lineage.context(OrderSnafu { expected })?.finish()?;
        let beside = 1 + branches.branches.len() + tokens.len();
        let records = self.opening.manifest.record_count;
        if summary.records_inspected + beside as u64 != records {
            let reason = "it counts other records than there are";
            return Err(Error::malformed(MANIFEST, reason));
        }
        Ok(Taken {
            branches,
            settings: settings.context(OrderSnafu { expected: TENANT })?,
            tokens,
            summary,
            records,
        })
    }

    /// The objects of a pack.
    async fn pack(
        &mut self,
        repository: &Repository,
        path: &str,
        summary: &mut Summary,
    ) -> Result<(), Error> {
        let pieces = stream::try_unfold(&mut *self, |incoming| async move {
            match incoming.next().await {
                Ok(Event::Piece(piece)) => Ok(Some((piece, incoming))),
                Ok(Event::End) => Ok(None),
                Ok(_) => Err(BoxError::from("the member does not end")),
                Err(error) => {
                    incoming.failed = Some(error);
                    Err(BoxError::from("the bundle does not go on"))
                }
            }
        });
        let received = repository.receive(pieces).await;
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match received {
            Ok(received) => {
                let added = repository.record(&received).await?;
                summary.count(received.objects, added);
                Ok(())
            }
            Err(error @ sync_store::Error::Pack { .. }) => {
                // Whether it came as it was made, or was made so.
                while !matches!(self.next().await?, Event::End) {}
                Err(Error::malformed(path, chain(&error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes of a member that is small.
    async fn whole(&mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        loop {
            match self.next().await? {
                Event::Piece(piece) => bytes.extend_from_slice(&piece),
                Event::End => return Ok(bytes),
                _ => return out_of_order(),
            }
        }
    }

    async fn next(&mut self) -> Result<Event, Error> {
        next(&mut self.pieces, &mut self.reader).await
    }

    /// Nothing may follow.
    async fn end(&mut self) -> Result<(), Error> {
        while let Some(piece) = self.pieces.next().await {
            self.reader
                .feed(&piece.map_err(|source| Error::Cut { source })?);
            self.reader.finish()?;
        }
        self.reader.finish()
    }
}

async fn next(pieces: &mut Pieces<'_>, reader: &mut Reader) -> Result<Event, Error> {
    loop {
        if let Some(event) = reader.next_event()? {
            return Ok(event);
        }
        match pieces.next().await {
            Some(Ok(piece)) => reader.feed(&piece),
            Some(Err(source)) => return Err(Error::Cut { source }),
            None => {
                reader.finish()?;
                // A reader that wants nothing more has said that it is done.
                return Ok(Event::Done);
            }
        }
    }
}

/// Nothing that a reader says leads here.
fn out_of_order<T>() -> Result<T, Error> {
    OrderSnafu { expected: MANIFEST }.fail()
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

/// That snapshots come after those that they come after, and each for a head.
struct Lineage {
    /// Snapshots that another one, or a head, has still to name.
    unnamed: HashSet<SnapshotId>,
    /// All that came, and what they may come after besides.
    known: HashSet<SnapshotId>,
    heads: HashSet<SnapshotId>,
}

impl Lineage {
    fn new(manifest: &Manifest, branches: &Branches) -> Self {
        let outside = manifest.prerequisites.iter().chain(&branches.expired);
        Self {
            unnamed: HashSet::new(),
            known: outside.copied().collect(),
            heads: manifest.heads.iter().map(|head| head.snapshot).collect(),
        }
    }

    /// The snapshots of a member, as objects.
    fn take(&mut self, path: &str, bytes: &[u8]) -> Result<Vec<(Class, Vec<u8>)>, Error> {
        let refused = |reason: &str| Err(Error::malformed(path, reason));
        let mut objects = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else {
                return refused("its last line has no end");
            };
            let snapshot = Snapshot::decode(line).map_err(|error| Error::malformed(path, error))?;
            let id = SnapshotId(sync_core::Digest::of(line));
            for parent in &snapshot.parents {
                if !self.known.contains(parent) {
                    return refused("a snapshot comes before one that it comes after");
                }
                self.unnamed.remove(parent);
            }
            if !self.known.insert(id) {
                return refused("a snapshot comes twice");
            }
            self.unnamed.insert(id);
            objects.push((Class::Nodes, line.to_vec()));
        }
        if objects.len() > manifest::MAX_LINES {
            return refused("it has more than 10,000 snapshots");
        }
        Ok(objects)
    }

    fn finish(self) -> Result<(), Error> {
        let has_heads = self.heads.is_subset(&self.known);
        if !has_heads || !self.unnamed.is_subset(&self.heads) {
            let reason = "its snapshots are not those of its heads";
            return Err(Error::malformed(MANIFEST, reason));
        }
        Ok(())
    }
}

impl Taken {
    /// The moves of heads that make the tenant what the bundle says.
    pub fn moves(&self, plan: &Plan, when: u64) -> Vec<Advance> {
        let moves = plan.branches.iter().map(|to| Advance {
            branch: to.branch.to_string(),
            expected: to.from,
            target: to.to,
            when,
        });
        moves.collect()
    }

    /// Notes what the snapshots come after and nobody keeps, so that they can be accepted.
    pub async fn prepare(&self, repository: &Repository) -> Result<(), Error> {
        let expired = &self.branches.expired;
        if !expired.is_empty() {
            repository.note_expired(expired).await?;
        }
        Ok(())
    }

    /// Moves the heads, all of them or none, after everything that they name was found to be there.
    ///
    /// # Errors
    ///
    /// [`Error::Incomplete`], [`Error::Stale`], or the store failed. No head has moved.
    pub async fn advance(&self, repository: &Repository, moves: Vec<Advance>) -> Result<(), Error> {
        self.prepare(repository).await?;
        let names: Vec<_> = moves.iter().map(|to| to.branch.clone()).collect();
        let advanced = repository.advance_together(moves).await;
        let advanced = advanced.map_err(incomplete)?;
        for (branch, advanced) in names.into_iter().zip(advanced) {
            ensure!(
                !matches!(advanced, Advanced::Stale { .. }),
                StaleSnafu { branch }
            );
        }
        Ok(())
    }

    /// Sets what branches keep, and counts them in.
    pub async fn keep(&mut self, repository: &Repository, plan: &Plan) -> Result<(), Error> {
        for kept in &self.branches.branches {
            let branch = kept.branch.as_str();
            let mut is_new = plan
                .branches
                .iter()
                .any(|to| to.branch == kept.branch && to.from != Some(to.to));
            if repository.retention(branch).await? != kept.retention {
                repository.set_retention(branch, kept.retention).await?;
                is_new = true;
            }
            self.summary.count(1, u64::from(is_new));
        }
        Ok(())
    }

    /// How many records the manifest promises.
    pub const fn records(&self) -> u64 {
        self.records
    }
}

/// What a head names and the bundle does not have is the bundle's fault.
fn incomplete(source: sync_store::Error) -> Error {
    match source {
        sync_store::Error::Incomplete { .. }
        | sync_store::Error::Malformed { .. }
        | sync_store::Error::UnknownSnapshot { .. } => Error::Incomplete { source },
        source => source.into(),
    }
}

/// Takes a bundle into a repository that has nothing: everything about it is checked that can be. What it continues, where it
/// does, is taken for being there; then what its snapshots name is not followed.
///
/// # Errors
///
/// Why it is refused.
pub async fn import_into_nothing(
    incoming: Incoming<'_>,
    repository: &Repository,
) -> Result<Summary, Error> {
    let manifest = incoming.opening().manifest.clone();
    let plan = plan(repository, &manifest).await?;
    let mut taken = incoming.take_into(repository).await?;
    if manifest.prerequisites.is_empty() {
        let moves = taken.moves(&plan, manifest.created_at);
        taken.advance(repository, moves).await?;
    }
    taken.keep(repository, &plan).await?;
    let beside = 1 + taken.tokens.len() as u64;
    taken.summary.count(beside, beside);
    Ok(taken.summary)
}
