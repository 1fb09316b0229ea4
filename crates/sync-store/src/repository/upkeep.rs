//! Upkeep of one tenant's objects: what is damaged, what nobody needs (ADR 0008).

mod gc;
mod kept;
mod packing;
mod repack;
mod repair;
mod verify;
mod walk;

use std::collections::HashSet;

use sync_core::Digest;

use self::walk::{MapKind, Role};
use crate::Error;
use crate::catalogue::StoredObject;
use crate::repository::Repository;

pub use gc::{GcPlan, Keep};

/// How many rows of the catalogue are read, or changed, at once.
const PAGE: usize = 4096;

/// Objects by the first 16 bytes of their names: 16 bytes each, and nobody finds two that start so.
#[derive(Debug, Default)]
struct Objects(HashSet<u128>);

impl Objects {
    fn insert(&mut self, digest: &Digest) -> bool {
        self.0.insert(Self::short(digest))
    }

    /// Whether the object was not here before as what it is now.
    ///
    /// What names other objects is remembered as what it is, too: whoever met its bytes as a chunk has not followed it.
    fn insert_as(&mut self, digest: &Digest, role: Role) -> bool {
        let fresh = self.insert(digest);
        let salt = match role {
            Role::Chunk => return fresh,
            Role::Snapshot => 1,
            Role::Schema => 2,
            Role::Node(MapKind::Files) => 3,
            Role::Node(MapKind::Tables) => 4,
            Role::Node(MapKind::Rows) => 5,
            Role::Release => 6,
            Role::List(depth) => 0x100 | u128::from(depth),
        };
        self.0.insert(Self::short(digest) ^ salt)
    }

    fn contains(&self, digest: &Digest) -> bool {
        self.0.contains(&Self::short(digest))
    }

    fn short(digest: &Digest) -> u128 {
        let (start, _) = digest.as_bytes().split_at(16);
        start
            .iter()
            .fold(0, |sum, byte| sum << 8 | u128::from(*byte))
    }
}

/// Every recorded object, by digest.
struct Pages<'r> {
    repository: &'r Repository,
    after: Option<Digest>,
}

impl Pages<'_> {
    async fn next(&mut self) -> Result<Option<Vec<StoredObject>>, Error> {
        let Repository {
            catalogue, tenant, ..
        } = self.repository;
        let page = catalogue.objects(tenant.id, self.after, PAGE).await?;
        self.after = page.last().map(|last| last.digest).or(self.after);
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}

impl Repository {
    /// The sizes in bytes of all packs where this repository's objects are, those of other tenants included.
    ///
    /// # Errors
    ///
    /// [`Error::Blobs`] where they cannot be listed.
    pub async fn packs(&self) -> Result<Vec<u64>, Error> {
        let mut sizes = Vec::new();
        let mut after = None;
        loop {
            let page = self.blobs.list(after.as_ref(), PAGE).await?;
            sizes.extend(page.iter().map(|(_, bytes)| *bytes));
            match page.last() {
                Some((last, _)) if page.len() == PAGE => after = Some(*last),
                _ => return Ok(sizes),
            }
        }
    }

    /// The names of all objects, by rising digest: for a store of what travels, not for one of a tenant.
    pub async fn digests(&self) -> Result<Vec<Digest>, Error> {
        let mut found = Vec::new();
        let mut pages = self.pages();
        while let Some(page) = pages.next().await? {
            found.extend(page.iter().map(|object| object.digest));
        }
        Ok(found)
    }

    fn pages(&self) -> Pages<'_> {
        Pages {
            repository: self,
            after: None,
        }
    }
}
