//! The store: its ports, its tenants and their tokens.

mod lock;
mod names;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snafu::ResultExt;

use crate::blobs::{Blobs, DirBlobs, MemoryBlobs, sync_dir};
use crate::catalogue::{Catalogue, MemoryCatalogue, RedbCatalogue, TenantRecord, TokenRecord};
use crate::error::{BlobsSnafu, BoxError};
use crate::identity::TenantIdentity;
use crate::repository::{BlockCache, NodeCache, Repository, Storing};
use crate::{Error, task};

pub use lock::Holder;
pub(crate) use names::{check_branch, check_tenant};

/// The catalogue's file in a store's directory.
const CATALOGUE: &str = "catalogue.redb";

/// The directory of its packs.
const PACKS: &str = "packs";

/// A store of objects for any number of tenants. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    blobs: Arc<dyn Blobs>,
    catalogue: Arc<dyn Catalogue>,
    blocks: Arc<BlockCache>,
    cached: Arc<NodeCache>,
    storing: Storing,
}

impl Store {
    /// A store over any two adapters.
    pub fn new(blobs: Arc<dyn Blobs>, catalogue: Arc<dyn Catalogue>) -> Self {
        Self {
            blobs,
            catalogue,
            blocks: Arc::default(),
            cached: Arc::default(),
            storing: Arc::default(),
        }
    }

    /// A store that lives in memory and ends with its last clone.
    pub fn in_memory() -> Self {
        Self::new(
            Arc::new(MemoryBlobs::default()),
            Arc::new(MemoryCatalogue::default()),
        )
    }

    /// Opens the store in a directory, or makes it: `packs/`, `catalogue.redb` and `holder`.
    ///
    /// It is locked until the last clone is dropped, or the process ends in whatever way.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] where it is open already, saying by whom; [`Error::Layout`] where another version wrote it;
    /// [`Error::Blobs`] or [`Error::Catalogue`] where it cannot be read or made.
    pub async fn open_dir(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        task::blocking(move || Self::open_dir_blocking(&dir)).await
    }

    fn open_dir_blocking(dir: &Path) -> Result<Self, Error> {
        let in_dir = |action: &str| BlobsSnafu {
            action: format!("{action} {}", dir.display()),
        };
        // What tenants keep is for the operator alone.
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(BoxError::from);
        made.with_context(|_| in_dir("make"))?;
        let is_new = !dir.join(CATALOGUE).exists();
        // The lock comes first: `DirBlobs::open` clears what a writer may still be writing.
        let lock = lock::take(dir)?;
        let catalogue = RedbCatalogue::open_locked(&dir.join(CATALOGUE), Some(lock))?;
        let blobs = DirBlobs::open(&dir.join(PACKS))?;
        if is_new {
            // What is acknowledged in a new store must not vanish with the store's own name.
            let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
            let synced = sync_dir(dir).and_then(|()| sync_dir(above.unwrap_or(Path::new("."))));
            let synced = synced.map_err(BoxError::from);
            synced.with_context(|_| in_dir("make"))?;
        }
        Ok(Self {
            cached: Arc::new(NodeCache::with_file_in(dir)),
            ..Self::new(Arc::new(blobs), Arc::new(catalogue))
        })
    }

    /// Opens a copy of the store in `dir`, which is made at `to`: what is written to it stays there, and in `dir` nothing changes,
    /// neither bytes nor times. An empty store where there is none in `dir`.
    ///
    /// The catalogue is copied, packs are linked to: they never change. So `dir` is held as by [`Store::open_dir`] until the last
    /// clone is dropped; whoever is kept out by that is not told by whom. What is at `to` is for the caller to remove.
    ///
    /// # Errors
    ///
    /// As [`Store::open_dir`]; [`Error::Blobs`] where there is something at `to`.
    pub async fn open_copy(dir: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Result<Self, Error> {
        let (dir, to) = (dir.into(), to.into());
        task::blocking(move || Self::open_copy_blocking(&dir, &to)).await
    }

    fn open_copy_blocking(dir: &Path, to: &Path) -> Result<Self, Error> {
        let lock = lock::take_quietly(dir)?;
        let copied = copy(dir, to).map_err(BoxError::from);
        copied.with_context(|_| BlobsSnafu {
            action: format!("copy {} to {}", dir.display(), to.display()),
        })?;
        let catalogue = RedbCatalogue::open_locked(&to.join(CATALOGUE), lock)?;
        let blobs = DirBlobs::open(&to.join(PACKS))?;
        Ok(Self::new(Arc::new(blobs), Arc::new(catalogue)))
    }

    /// Where the packs are, for upkeep.
    pub fn blobs(&self) -> &dyn Blobs {
        self.blobs.as_ref()
    }

    /// Makes a tenant, and an identity for it. Names have one to 64 lower-case letters, digits, `-`, `_` and `.`, and start with a letter or digit.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] or [`Error::Exists`]; nothing has changed then. [`Error::Randomness`].
    pub async fn create_tenant(&self, name: &str) -> Result<Repository, Error> {
        let identity = TenantIdentity::generate()?;
        let repository = self.create_nobody(name).await?;
        repository.set_identity(&identity).await?;
        Ok(repository)
    }

    /// The names of all tenants, sorted.
    pub async fn tenants(&self) -> Result<Vec<String>, Error> {
        let tenants = self.catalogue.tenants().await?.into_iter();
        Ok(tenants.map(|tenant| tenant.name).collect())
    }

    /// Makes a tenant that is nobody yet, as those were that were made before tenants had identities.
    ///
    /// # Errors
    ///
    /// As [`Store::create_tenant`].
    pub async fn create_nobody(&self, name: &str) -> Result<Repository, Error> {
        check_tenant(name)?;
        Ok(self.repository(self.catalogue.create_tenant(name).await?))
    }

    /// One tenant's view of the store, `None` where there is no such tenant.
    pub async fn tenant(&self, name: &str) -> Result<Option<Repository>, Error> {
        let tenant = self.catalogue.tenant(name).await?;
        Ok(tenant.map(|tenant| self.repository(tenant)))
    }

    fn repository(&self, tenant: TenantRecord) -> Repository {
        Repository::new(
            Arc::clone(&self.blobs),
            Arc::clone(&self.catalogue),
            Arc::clone(&self.blocks),
            Arc::clone(&self.cached),
            Arc::clone(&self.storing),
            tenant,
        )
    }

    /// Records a new token; see [`Catalogue::put_token`].
    pub async fn put_token(&self, token: TokenRecord) -> Result<(), Error> {
        self.catalogue.put_token(token).await
    }

    /// The token of this id.
    pub async fn token(&self, id: &str) -> Result<Option<TokenRecord>, Error> {
        self.catalogue.token(id).await
    }

    /// The tokens of a tenant, revoked ones too, by id.
    pub async fn tokens(&self, tenant: &str) -> Result<Vec<TokenRecord>, Error> {
        self.catalogue.tokens(tenant).await
    }

    /// Marks a token as revoked at `when` (milliseconds since 1970-01-01T00:00:00Z), unless it is already;
    /// says whether there is such a token.
    pub async fn revoke_token(&self, id: &str, when: u64) -> Result<bool, Error> {
        self.catalogue.revoke_token(id, when).await
    }
}

/// Copies the catalogue, where there is one, and makes links to the packs.
fn copy(dir: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(to)?;
    let catalogue = dir.join(CATALOGUE);
    if !catalogue.exists() {
        return Ok(());
    }
    std::fs::copy(catalogue, to.join(CATALOGUE))?;
    let packs = std::fs::canonicalize(dir)?.join(PACKS);
    // A run that ended between the making of the two has left none.
    if !packs.exists() {
        return Ok(());
    }
    std::fs::create_dir(to.join(PACKS))?;
    for below in std::fs::read_dir(packs)? {
        let below = below?;
        // What is unfinished is none of the copy's packs.
        let is_packs = below.file_name().len() == 2 && below.file_type()?.is_dir();
        if !is_packs {
            continue;
        }
        let copied = to.join(PACKS).join(below.file_name());
        std::fs::create_dir(&copied)?;
        for pack in std::fs::read_dir(below.path())? {
            let pack = pack?;
            std::os::unix::fs::symlink(pack.path(), copied.join(pack.file_name()))?;
        }
    }
    Ok(())
}
