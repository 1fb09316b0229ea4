//! What travels from one tenant to the other, in a store of its own below the private directory, for as long as a run lasts.

use std::fs::File;
use std::path::{Path, PathBuf};

use snafu::{ResultExt, ensure};
use sync_core::{Class, Digest, Fault, SnapshotId};
use sync_store::protocol::{Fetch, Part, SetAsideRow};
use sync_store::{Repository, Store};
use sync_transport::Body;

use crate::decide::Point;
use crate::error::{OvertakenThereSnafu, ReadSnafu, StoreSnafu, UnobtainableSnafu, WriteSnafu};
use crate::push::ATTEMPTS;
use crate::remote::Pushed;
use crate::session::{Context, Session, blocking};
use crate::{Error, Workspace};

/// What the directories of such stores start with.
const PREFIX: &str = "promote-";
/// What the store calls its only tenant, and the branch that names what came last.
const NAME: &str = "promote";

/// The store of what travels.
#[derive(Debug)]
pub(super) struct Carrier {
    dir: PathBuf,
    repository: Repository,
    now: u64,
}

impl Carrier {
    pub(super) async fn new(workspace: &Workspace, context: &Context) -> Result<Self, Error> {
        workspace.make_private()?;
        let private = workspace.private();
        // Between its making and its lock a store would be taken for one that was left behind.
        let alone = lock(&private).await?;
        remove_leftovers(&private).await;
        let dir = private.join(format!("{PREFIX}{:016x}", (context.random)()));
        let store = Store::open_dir(&dir).await.context(StoreSnafu)?;
        drop(alone);
        let repository = store.create_tenant(NAME).await.context(StoreSnafu)?;
        Ok(Self {
            dir,
            repository,
            now: context.now,
        })
    }

    pub(super) const fn store(&self) -> &Repository {
        &self.repository
    }

    /// Brings what a snapshot has and `have` lacks: everything that a tenant with `have` needs to take it.
    pub(super) async fn bring(
        &self,
        session: &Session,
        want: SnapshotId,
        have: Option<SnapshotId>,
    ) -> Result<(), Error> {
        self.fetch(session, want, have, Part::All, true).await
    }

    /// Brings what is needed to compare a snapshot with `have`: the nodes that differ, and, to merge them, the `values` of rows.
    pub(super) async fn look(
        &self,
        session: &Session,
        want: Point,
        have: Option<Point>,
        values: bool,
    ) -> Result<(), Error> {
        let known = have.map(|have| have.id);
        if have.is_none_or(|have| have.files != want.files) {
            let part = Part::Files;
            self.fetch(session, want.id, known, part, false).await?;
        }
        if want.rows.is_some() && have.is_none_or(|have| have.rows != want.rows) {
            let part = Part::Rows;
            self.fetch(session, want.id, known, part, values).await?;
        }
        Ok(())
    }

    async fn fetch(
        &self,
        session: &Session,
        want: SnapshotId,
        have: Option<SnapshotId>,
        part: Part,
        contents: bool,
    ) -> Result<(), Error> {
        let once = || async {
            let fetch = Fetch {
                want,
                have,
                contents,
                patches: false,
                part,
            };
            let body = session.remote.fetch_body(fetch).await?;
            let received = self.repository.receive(body.into_stream()).await;
            let received = received.context(StoreSnafu)?;
            let adopted = self.repository.adopt(received, NAME, want, self.now).await;
            adopted.map(drop).context(StoreSnafu)
        };
        let mut attempt = 1;
        while let Err(error) = once().await {
            attempt += 1;
            session.pause(error, attempt).await?;
        }
        Ok(())
    }

    /// Brings one object that turned out to be needed; it is with the first of the tenants that has it.
    pub(super) async fn bring_object(
        &self,
        sessions: [&Session; 2],
        digest: Digest,
    ) -> Result<(), Error> {
        for session in sessions {
            let mut blocks = match session.remote.objects(&[digest]).await {
                Ok(blocks) => blocks,
                Err(error) if error.class() == Class::Unavailable => return Err(error),
                Err(_) => continue,
            };
            while let Some(block) = blocks.next_block().await? {
                let objects = block
                    .objects()
                    .map(|bytes| (block.header.class, bytes.to_vec()));
                let objects: Vec<_> = objects.collect();
                let stored = self.repository.put(objects).await;
                let _stored = stored.context(StoreSnafu)?;
            }
            if self
                .repository
                .object(&digest)
                .await
                .context(StoreSnafu)?
                .is_some()
            {
                return Ok(());
            }
        }
        UnobtainableSnafu { digest }.fail()
    }

    /// Sends what the target lacks of all that is here, and moves its branch; `expired` is what that comes after and nobody has.
    pub(super) async fn send(
        &self,
        to: &Session,
        expected: Option<SnapshotId>,
        target: SnapshotId,
        expired: &[SnapshotId],
    ) -> Result<(SnapshotId, Vec<SetAsideRow>), Error> {
        let all = self.repository.digests().await.context(StoreSnafu)?;
        let mut demanded: Vec<Digest> = Vec::new();
        let mut attempt = 1;
        loop {
            let pack = self.lacking(to, &all, &demanded).await;
            let sent = match pack {
                Ok(pack) => to.remote.push_after(expected, target, expired, pack).await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(Pushed::Done { head, set_aside }) => return Ok((head, set_aside)),
                Ok(Pushed::Stale { .. }) => {
                    let branch = to.remote.branch().as_str();
                    return OvertakenThereSnafu { branch }.fail();
                }
                Ok(Pushed::Incomplete { missing }) => {
                    let unknown = missing
                        .iter()
                        .find(|digest| all.binary_search(digest).is_err());
                    let digest = unknown.or(missing.first()).copied().unwrap_or_default();
                    ensure!(
                        attempt < ATTEMPTS && unknown.is_none(),
                        UnobtainableSnafu { digest }
                    );
                    demanded.extend(missing);
                    attempt += 1;
                }
                Err(error) => {
                    attempt += 1;
                    to.pause(error, attempt).await?;
                }
            }
        }
    }

    /// A pack of those objects that the target lacks.
    async fn lacking(
        &self,
        to: &Session,
        all: &[Digest],
        demanded: &[Digest],
    ) -> Result<Body, Error> {
        let missing = to.remote.missing(all).await?;
        let lacking = all.iter().zip(missing).filter(|(_, missing)| *missing);
        let mut lacking: Vec<Digest> = lacking.map(|(digest, _)| *digest).collect();
        lacking.extend(demanded);
        lacking.sort_unstable();
        lacking.dedup();
        let pack = self.repository.export_objects(lacking).await;
        pack.map(Body::stream).context(StoreSnafu)
    }

    /// Removes the store. Where that fails, the next run does it.
    pub(super) fn close(self) {
        drop(self.repository);
        remove(&self.dir);
    }
}

/// Waits until nobody else makes or removes such stores; that is so until what is returned is dropped.
async fn lock(private: &Path) -> Result<File, Error> {
    let path = private.to_owned();
    blocking(move || {
        // The directory itself: a file for it would be left behind by a dry run.
        let directory = File::open(&path).context(ReadSnafu { path: &path })?;
        directory.lock().context(WriteSnafu { path })?;
        Ok(directory)
    })
    .await
}

/// Removes the stores of runs that were cut short: nobody holds them any more.
async fn remove_leftovers(private: &Path) {
    let entries = std::fs::read_dir(private).into_iter().flatten().flatten();
    let found = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    for dir in found.map(|entry| entry.path()) {
        // Whoever was killed while it made one has left what cannot be opened.
        let is_held = matches!(
            Store::open_dir(&dir).await,
            Err(sync_store::Error::Held { .. })
        );
        if !is_held {
            remove(&dir);
        }
    }
}

fn remove(dir: &Path) {
    let removed = std::fs::remove_dir_all(dir).context(WriteSnafu { path: dir });
    if let Err(error) = removed {
        tracing::warn!(%error, "what travelled could not be removed");
    }
}
