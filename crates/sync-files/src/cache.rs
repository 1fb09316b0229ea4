//! What the last capture saw, so that the next one reads only what has changed since.
//!
//! The file is `SYNCSTAT`, a version byte, the BLAKE3 digest of what follows, and a listing of each directory through
//! [`sync_core::codec`]. A listing is kept as the bytes it was read as, and moves from the old cache to the new one as it is
//! when nothing in its directory has changed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use snafu::OptionExt;
use sync_core::{Digest, Entry, TreePath, codec};

use crate::beneath::split;
use crate::error::{CacheSnafu, Doing, Result};
use crate::stat::FileStat;

mod refresh;

pub(crate) use refresh::Left;

const MAGIC: &[u8; 9] = b"SYNCSTAT\x01";
const HEADER: usize = MAGIC.len() + Digest::LEN;

/// The entries of a tree with the stat that vouches for each, by directory, and the root of the map that they make.
///
/// Losing it costs time and nothing else: an empty cache means that everything is read, never that everything is new or gone.
#[derive(Debug, Clone, Default)]
pub struct StatCache {
    root: Option<Digest>,
    pub(crate) dirs: BTreeMap<Box<str>, Listing>,
    doubt: Option<Doubt>,
    /// The file that holds these very listings, where there is one.
    origin: Option<Arc<Origin>>,
}

/// Where listings were loaded from or saved to, and the root beside them.
#[derive(Debug)]
struct Origin {
    private: PathBuf,
    root: Option<Digest>,
}

/// Why a cache was not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// There was none.
    Absent,
    /// It could not be read.
    Unreadable(String),
    /// It is of another version, cut or damaged.
    Damaged,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("there was no stat cache"),
            Self::Unreadable(reason) => write!(f, "the stat cache could not be read: {reason}"),
            Self::Damaged => f.write_str("the stat cache was damaged, or of another version"),
        }
    }
}

/// What one directory held, without its subdirectories.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    /// Whether the directory had nothing in it at all, so that it is an entry of its own.
    pub(crate) empty: bool,
    /// Encoded records in the order of their names; shared with the file they came from.
    bytes: Arc<Vec<u8>>,
    start: usize,
    end: usize,
}

/// A file or link of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record<'a> {
    pub(crate) name: &'a str,
    /// `None` where no stat can vouch for the entry, and it must be read again.
    pub(crate) stat: Option<FileStat>,
    /// The canonical encoding.
    #[serde(borrow)]
    pub(crate) entry: Raw<'a>,
}

/// Bytes that are encoded and borrowed as a whole, not one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Raw)
    }
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    root: Option<Digest>,
    #[serde(borrow)]
    dirs: Vec<BodyDir<'a>>,
}

#[derive(Serialize, Deserialize)]
struct BodyDir<'a> {
    path: &'a str,
    empty: bool,
    #[serde(borrow)]
    records: Raw<'a>,
}

impl Listing {
    /// The listing of no directory, to be replaced.
    pub(crate) fn none() -> Self {
        Self {
            empty: false,
            bytes: Arc::default(),
            start: 0,
            end: 0,
        }
    }

    /// Encodes records, which are in the order of their names.
    pub(crate) fn new(empty: bool, records: &[Record<'_>]) -> Result<Self> {
        let bytes = codec::encode(&records)
            .map_err(io::Error::other)
            .doing("encode", "the stat cache")?;
        Ok(Self {
            empty,
            start: 0,
            end: bytes.len(),
            bytes: Arc::new(bytes),
        })
    }

    /// The records of the directory `path`.
    pub(crate) fn records(&self, path: &str) -> Result<Vec<Record<'_>>> {
        codec::decode(self.encoded())
            .ok()
            .context(CacheSnafu { path })
    }

    fn encoded(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

impl StatCache {
    /// The name of the cache in a private directory.
    pub const FILE_NAME: &'static str = "stat-cache";

    /// A cache that vouches for nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the cache of `private`. Where it is lost or damaged the cache is empty, and [`StatCache::doubt`] says why.
    pub fn load(private: &Path) -> Self {
        let doubt = match fs::read(private.join(Self::FILE_NAME)) {
            Ok(bytes) => match Self::decode(bytes) {
                Some(mut cache) => {
                    cache.origin = Some(Arc::new(Origin {
                        private: private.to_owned(),
                        root: cache.root,
                    }));
                    return cache;
                }
                None => Doubt::Damaged,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Doubt::Absent,
            Err(error) => Doubt::Unreadable(error.to_string()),
        };
        tracing::debug!(%doubt, "everything will be read again");
        Self {
            doubt: Some(doubt),
            ..Self::default()
        }
    }

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        let (head, body) = bytes.split_at_checked(HEADER)?;
        let (magic, checksum) = head.split_at(MAGIC.len());
        if magic != MAGIC || Digest::of(body).as_bytes() != checksum {
            return None;
        }
        let decoded: Body<'_> = codec::decode(body).ok()?;
        let base = bytes.as_ptr().addr();
        // Where each listing is in the file: they are kept as they were read.
        let places: Vec<_> = decoded
            .dirs
            .iter()
            .map(|dir| {
                let start = dir.records.0.as_ptr().addr() - base;
                (
                    Box::<str>::from(dir.path),
                    dir.empty,
                    start,
                    start + dir.records.0.len(),
                )
            })
            .collect();
        let root = decoded.root;
        let bytes = Arc::new(bytes);
        let dirs = places.into_iter().map(|(path, empty, start, end)| {
            let listing = Listing {
                empty,
                bytes: Arc::clone(&bytes),
                start,
                end,
            };
            (path, listing)
        });
        Some(Self {
            root,
            dirs: dirs.collect(),
            ..Self::default()
        })
    }

    /// Replaces the cache of `private`. A crash leaves the old one or the new one;
    /// the file is not synced, because a torn one is noticed by its checksum.
    /// Nothing is written where a capture found nothing new since the cache was loaded from there.
    pub fn save(&self, private: &Path) -> Result<()> {
        let origin = self.origin.as_deref();
        if origin.is_some_and(|origin| origin.private == private && origin.root == self.root) {
            return Ok(());
        }
        let target = private.join(Self::FILE_NAME);
        let temporary: PathBuf =
            private.join(format!("{}.{}", Self::FILE_NAME, std::process::id()));
        self.write(&temporary)
            .and_then(|()| fs::rename(&temporary, &target))
            .inspect_err(|_| drop(fs::remove_file(&temporary)))
            .doing("write", target.display())
    }

    /// Writes a [`Body`] directory by directory: as a whole it would be in memory once more.
    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&[0; HEADER])?;
        let mut hasher = blake3::Hasher::new();
        let mut put = |bytes: Result<Vec<u8>, codec::CodecError>| {
            let bytes = bytes.map_err(io::Error::other)?;
            hasher.update(&bytes);
            file.write_all(&bytes)
        };
        put(codec::encode(&(self.root, self.dirs.len() as u64)))?;
        for (path, listing) in &self.dirs {
            put(codec::encode(&BodyDir {
                path,
                empty: listing.empty,
                records: Raw(listing.encoded()),
            }))?;
        }
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.write_all_at(MAGIC, 0)?;
        file.write_all_at(hasher.finalize().as_bytes(), MAGIC.len() as u64)
    }

    /// The cache of a capture that read `dirs`; `unchanged` where all of these are the listings of `old`.
    pub(crate) fn succeeding(
        old: &Self,
        dirs: BTreeMap<Box<str>, Listing>,
        unchanged: bool,
    ) -> Self {
        let unchanged = unchanged && dirs.len() == old.dirs.len();
        Self {
            dirs,
            origin: old.origin.clone().filter(|_| unchanged),
            ..Self::default()
        }
    }

    /// The root of the map that the entries make, where the caller has set it.
    pub fn root(&self) -> Option<Digest> {
        self.root
    }

    /// Records the root of the map that the entries make. Whoever changes the entries must set it again.
    pub fn set_root(&mut self, root: Option<Digest>) {
        self.root = root;
    }

    /// Every entry, in path order.
    ///
    /// # Errors
    ///
    /// [`Error::Cache`](crate::Error::Cache) where a listing is damaged although its checksum was right.
    pub fn entries(&self) -> Result<Vec<(TreePath, Entry)>> {
        let mut entries = Vec::new();
        for (dir, listing) in &self.dirs {
            let damaged = CacheSnafu { path: &**dir };
            if listing.empty && !dir.is_empty() {
                entries.push((
                    TreePath::new(&**dir).ok().context(damaged)?,
                    Entry::Directory,
                ));
            }
            for record in listing.records(dir)? {
                let path = match &**dir {
                    "" => TreePath::new(record.name),
                    dir => TreePath::new(format!("{dir}/{}", record.name)),
                };
                let entry = Entry::decode(record.entry.0).context(damaged)?;
                entries.push((path.ok().context(damaged)?, entry));
            }
        }
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(entries)
    }

    /// Why the cache is empty although one was asked for.
    pub fn doubt(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }

    /// Whether it vouches for nothing.
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }
}

/// Looks up paths, most of which are in the directory of the one before.
#[derive(Debug)]
pub(crate) struct Lookup<'c> {
    cache: &'c StatCache,
    dir: Box<str>,
    records: Vec<Record<'c>>,
}

impl<'c> Lookup<'c> {
    pub(crate) fn new(cache: &'c StatCache) -> Result<Self> {
        let mut lookup = Self {
            cache,
            dir: "".into(),
            records: Vec::new(),
        };
        lookup.enter("")?;
        Ok(lookup)
    }

    fn enter(&mut self, dir: &str) -> Result<()> {
        self.records = match self.cache.dirs.get(dir) {
            Some(listing) => listing.records(dir)?,
            None => Vec::new(),
        };
        self.dir = dir.into();
        Ok(())
    }

    /// The stat that vouches for a file or link being `entry`, where there is one.
    pub(crate) fn vouched(&mut self, path: &str, entry: &Entry) -> Result<Option<FileStat>> {
        let (dir, name) = split(path);
        if *self.dir != *dir {
            self.enter(dir)?;
        }
        let found = self
            .records
            .binary_search_by(|record| record.name.cmp(name));
        Ok(found
            .ok()
            .map(|at| self.records[at])
            .filter(|record| record.entry.0 == entry.encode())
            .and_then(|record| record.stat))
    }
}
