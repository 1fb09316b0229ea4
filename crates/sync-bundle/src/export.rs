//! A repository into a tar: everything is made twice, first for the manifest, which comes first, then for whoever reads.
//!
//! So an export needs neither room on a disk nor memory for what it sends, and what changed in between cuts it short.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use snafu::{OptionExt, ensure};
use sync_core::{Digest, Name, Roots, Snapshot, SnapshotId};
use sync_store::identity::TenantIdentity;
use sync_store::pack::PackWriter;
use sync_store::{Class, Repository, RepositoryNodes};
use tokio::sync::mpsc;

use crate::Error;
use crate::error::{AskSnafu, ChangedSnafu, EmptySnafu};
use crate::history::{self, History};
use crate::manifest::{
    self, BRANCHES, Branches, HeadEntry, KEY, KeptBranch, MANIFEST, MAX_LINES, Manifest, Member,
    SIGNATURE, SchemaEntry, Signer, Source, TENANT, TOKENS, TokenEntry, VERSION, bundle_digest,
};
use crate::tar;
use crate::walk::{self, Sent, Walk};

/// A pack is closed when it has this many bytes: with its last block it fits into one that is stored.
const PACK_BYTES: u64 = 7 << 20;
/// A list of snapshots is closed when it has this many.
const LIST_BYTES: usize = 4 << 20;
/// How many pieces wait for whoever reads.
const QUEUE: usize = 2;

/// How much of a tenant goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskExport {
    /// This branch alone; all of them where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Name>,
    /// Only what came after this snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<SnapshotId>,
    /// The heads without what they come after.
    #[serde(default)]
    pub head_only: bool,
    /// One of the roots alone: snapshots have other names then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
}

/// One of the roots of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// The files.
    Files,
    /// The rows.
    Rows,
}

impl AskExport {
    /// Of these roots, those that go.
    pub(crate) fn of(&self, roots: Roots) -> Roots {
        match self.only {
            None => roots,
            Some(Only::Files) => Roots {
                files: roots.files,
                ..Roots::default()
            },
            Some(Only::Rows) => Roots {
                rows: roots.rows,
                ..Roots::default()
            },
        }
    }
}

/// What goes with the history of a tenant.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// The tenant's settings, an object: no address, no secret.
    pub settings: serde_json::Value,
    /// Its tokens.
    pub tokens: Vec<TokenEntry>,
}

/// A bundle that is about to be sent.
#[derive(Debug)]
pub struct Export {
    material: Arc<Material>,
    manifest: Manifest,
    /// Everything before the first member that the manifest names.
    opening: Vec<u8>,
}

/// What a bundle is made of. Making it twice makes the same bytes.
#[derive(Debug)]
struct Material {
    repository: Repository,
    ask: AskExport,
    history: History,
    /// Members that are small, by path.
    small: [(&'static str, Bytes); 3],
}

/// Takes the members, in their order.
trait Sink {
    /// The next bytes of a member.
    fn piece(&mut self, bytes: Bytes) -> Result<(), Error>;
    /// It ends, and this was its path.
    fn end(&mut self, path: String) -> Result<(), Error>;
}

impl Export {
    /// Looks at everything that goes, changes nothing, and signs what it found.
    ///
    /// The heads are those of now; what is pushed meanwhile does not go.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`], [`Error::Ask`], [`Error::History`], or the store failed.
    pub async fn plan(
        repository: &Repository,
        ask: AskExport,
        mut beside: Beside,
    ) -> Result<Self, Error> {
        let reason = "--since goes with neither --head-only nor --only";
        let is_whole = !ask.head_only && ask.only.is_none();
        ensure!(ask.since.is_none() || is_whole, AskSnafu { reason });
        let mut heads = Vec::new();
        for (branch, snapshot) in repository.heads().await? {
            let branch: Name = branch
                .parse()
                .map_err(|error| Error::malformed(BRANCHES, error))?;
            if ask.branch.as_ref().is_none_or(|only| *only == branch) {
                heads.push(HeadEntry { branch, snapshot });
            }
        }
        ensure!(
            !heads.is_empty(),
            EmptySnafu {
                what: match &ask.branch {
                    Some(branch) => format!("branch `{branch}`"),
                    None => "the tenant".to_owned(),
                }
            }
        );
        let (mut created_at, mut rows) = (0, Vec::new());
        for head in &heads {
            let snapshot = repository.snapshot(head.snapshot).await?;
            created_at = created_at.max(snapshot.time);
            rows.extend(ask.of(snapshot.roots).rows);
        }
        let history = history::history(repository, &heads, &ask).await?;
        let mut branches = Vec::with_capacity(heads.len());
        for head in &mut heads {
            head.snapshot = history.name(head.snapshot);
            branches.push(KeptBranch {
                branch: head.branch.clone(),
                head: head.snapshot,
                retention: repository.retention(head.branch.as_str()).await?,
            });
        }
        let expired = history.expired.iter().copied().collect();
        let branches = Branches { branches, expired };
        beside.tokens.sort_by(|a, b| a.id.cmp(&b.id));
        let records = 1 + heads.len() + beside.tokens.len() + history.links.len();
        let small = [
            (BRANCHES, manifest::encode(&branches).into()),
            (TENANT, manifest::encode(&beside.settings).into()),
            (TOKENS, manifest::encode(&beside.tokens).into()),
        ];
        let prerequisites = history.prerequisites.iter().copied().collect();
        let material = Arc::new(Material {
            repository: repository.clone(),
            ask,
            history,
            small,
        });
        let measured = Arc::clone(&material);
        let nodes = repository.nodes();
        let measure = move || measured.measure(&nodes, &rows);
        let (members, objects, schemas) = tokio::task::spawn_blocking(measure).await??;
        let identity = repository.identity().await?;
        let public_key = identity.as_ref().map(|identity| identity.key.public_key());
        let manifest = Manifest {
            bundle_digest: bundle_digest(&members),
            bundle_version: VERSION,
            created_at,
            heads,
            members,
            prerequisites,
            record_count: objects + records as u64,
            schemas,
            source: Source {
                public_key,
                tenant: repository
                    .name()
                    .parse()
                    .map_err(|error| Error::malformed(MANIFEST, error))?,
            },
        };
        let opening = opening(&manifest, identity);
        Ok(Self {
            material,
            manifest,
            opening,
        })
    }

    /// What goes.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Manifest and signature, as the tar begins.
    pub fn opening(&self) -> &[u8] {
        &self.opening
    }

    /// The tar, made on a blocking thread that a slow reader holds back.
    ///
    /// # Errors
    ///
    /// In the stream, after which nothing comes: [`Error::Changed`], or the store failed.
    pub fn stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
        let (sender, mut receiver) = mpsc::channel(QUEUE);
        let nodes = self.material.repository.nodes();
        tokio::task::spawn_blocking(move || {
            let mut tar = Tar {
                sender: sender.clone(),
                seconds: self.manifest.created_at / 1000,
                members: self.manifest.members.into_iter(),
                current: None,
            };
            let written = tar
                .send(self.opening.into())
                .and_then(|()| self.material.write(&nodes, &mut tar))
                .and_then(|_| tar.send(Bytes::from_static(&tar::END)));
            if let Err(error) = written {
                // Where this fails nobody reads any more.
                let _ = sender.blocking_send(Err(error));
            }
        });
        stream::poll_fn(move |context| receiver.poll_recv(context))
    }
}

/// Manifest, signature and key, as they stand in the tar.
fn opening(manifest: &Manifest, identity: Option<TenantIdentity>) -> Vec<u8> {
    let mut out = Vec::new();
    let seconds = manifest.created_at / 1000;
    let mut put = |path: &str, bytes: &[u8]| {
        let len = bytes.len() as u64;
        out.extend_from_slice(&tar::header(path, len, seconds));
        out.extend_from_slice(bytes);
        out.resize(out.len() + tar::padding(len), 0);
    };
    let bytes = manifest.encode();
    put(MANIFEST, &bytes);
    if let Some(TenantIdentity { key, successions }) = identity {
        put(
            SIGNATURE,
            manifest::sign(&key, &bytes).to_string().as_bytes(),
        );
        let public_key = key.public_key();
        let signer = Signer {
            public_key,
            successions,
        };
        put(KEY, &manifest::encode(&signer));
    }
    out
}

impl Material {
    fn measure(
        &self,
        nodes: &RepositoryNodes,
        rows: &[Digest],
    ) -> Result<(Vec<Member>, u64, Vec<SchemaEntry>), Error> {
        let mut schemas = BTreeSet::new();
        for root in rows {
            let tables = walk::schemas(nodes, *root).map_err(sync_store::Error::from)?;
            schemas.extend(
                tables
                    .into_iter()
                    .map(|(table, digest)| SchemaEntry { digest, table }),
            );
        }
        let mut measure = Measure::default();
        let objects = self.write(nodes, &mut measure)?;
        Ok((measure.members, objects, schemas.into_iter().collect()))
    }

    /// Makes the members; gives the number of objects in packs.
    fn write(&self, nodes: &RepositoryNodes, sink: &mut dyn Sink) -> Result<u64, Error> {
        for (path, bytes) in &self.small {
            sink.piece(bytes.clone())?;
            sink.end((*path).to_owned())?;
        }
        let objects = self.packs(nodes, sink)?;
        self.snapshots(nodes, sink)?;
        Ok(objects)
    }

    fn packs(&self, nodes: &RepositoryNodes, sink: &mut dyn Sink) -> Result<u64, Error> {
        let mut packing = Packing {
            sink,
            open: None,
            packs: 0,
            objects: 0,
            failed: None,
        };
        let mut sent = Sent::default();
        for link in &self.history.links {
            let mut each = |class, digest: Digest| {
                let corrupt = sync_store::Error::Corrupt {
                    digest,
                    reason: "an object that an accepted snapshot names is not there",
                };
                let object = nodes.object(&digest)?.ok_or(corrupt)?;
                packing.add(class, &object)
            };
            let mut walk = Walk {
                nodes,
                sent: &mut sent,
                each: &mut each,
            };
            let walked = walk.objects(link.before, link.roots);
            if let Some(error) = packing.failed.take() {
                return Err(error);
            }
            walked?;
        }
        packing.finish()
    }

    fn snapshots(&self, nodes: &RepositoryNodes, sink: &mut dyn Sink) -> Result<(), Error> {
        let (mut lists, mut lines, mut bytes) = (0, 0, Vec::new());
        let last = self.history.links.len();
        for (index, link) in self.history.links.iter().enumerate() {
            let id = link.stored;
            let gone = ChangedSnafu {
                member: format!("snapshot {id}"),
            };
            let stored = nodes.object(&id.0)?.with_context(|| gone)?;
            if self.ask.only.is_some() {
                let snapshot = Snapshot::decode(&stored);
                let (_, encoded) = snapshot
                    .and_then(|snapshot| self.history.snapshot(snapshot, &self.ask).encode())
                    .map_err(|error| Error::malformed("snapshot", error))?;
                bytes.extend_from_slice(&encoded);
            } else {
                bytes.extend_from_slice(&stored);
            }
            bytes.push(b'\n');
            lines += 1;
            if lines == MAX_LINES || bytes.len() >= LIST_BYTES || index + 1 == last {
                lists += 1;
                lines = 0;
                sink.piece(std::mem::take(&mut bytes).into())?;
                sink.end(manifest::snapshots_path(lists))?;
            }
        }
        Ok(())
    }
}

/// Objects into packs, one after the other.
struct Packing<'s> {
    sink: &'s mut dyn Sink,
    /// The pack that is being filled, and how many bytes of it went out.
    open: Option<(PackWriter, u64)>,
    packs: usize,
    objects: u64,
    /// What the sink said.
    failed: Option<Error>,
}

impl Packing<'_> {
    /// Adds an object; says whether a pack ended with it.
    fn add(&mut self, class: Class, object: &[u8]) -> Result<bool, sync_store::Error> {
        let (mut writer, mut bytes) = match self.open.take() {
            Some(open) => open,
            None => (PackWriter::new()?, 0),
        };
        writer.add(class, object)?;
        self.objects += 1;
        for piece in writer.take() {
            bytes += piece.len() as u64;
            Self::hand(&mut self.failed, self.sink.piece(piece))?;
        }
        if bytes < PACK_BYTES {
            self.open = Some((writer, bytes));
            return Ok(false);
        }
        self.end(writer)?;
        Ok(true)
    }

    fn end(&mut self, writer: PackWriter) -> Result<(), sync_store::Error> {
        for piece in writer.finish()? {
            Self::hand(&mut self.failed, self.sink.piece(piece))?;
        }
        self.packs += 1;
        let path = manifest::pack_path(self.packs);
        Self::hand(&mut self.failed, self.sink.end(path))
    }

    fn finish(mut self) -> Result<u64, Error> {
        if let Some((writer, _)) = self.open.take()
            && let Err(error) = self.end(writer)
        {
            return Err(self.failed.take().unwrap_or(error.into()));
        }
        Ok(self.objects)
    }

    /// Keeps what the sink said, and ends the walk.
    fn hand(
        failed: &mut Option<Error>,
        handed: Result<(), Error>,
    ) -> Result<(), sync_store::Error> {
        handed.map_err(|error| {
            *failed = Some(error);
            sync_store::Error::Cut {
                source: "nobody takes the bundle any more".into(),
            }
        })
    }
}

/// Looks at members alone.
#[derive(Default)]
struct Measure {
    hasher: blake3::Hasher,
    length: u64,
    members: Vec<Member>,
}

impl Measure {
    fn take(&mut self, path: String) -> Member {
        let hasher = std::mem::take(&mut self.hasher);
        Member {
            digest: Digest::from_bytes(*hasher.finalize().as_bytes()),
            length: std::mem::take(&mut self.length),
            path,
        }
    }
}

impl Sink for Measure {
    fn piece(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.hasher.update(&bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn end(&mut self, path: String) -> Result<(), Error> {
        let member = self.take(path);
        self.members.push(member);
        Ok(())
    }
}

/// Sends members as they were measured.
struct Tar {
    sender: mpsc::Sender<Result<Bytes, Error>>,
    seconds: u64,
    members: std::vec::IntoIter<Member>,
    current: Option<(Member, Measure)>,
}

impl Tar {
    fn send(&self, bytes: Bytes) -> Result<(), Error> {
        let sent = self.sender.blocking_send(Ok(bytes));
        sent.map_err(|_| Error::Cut {
            source: "nobody takes the bundle any more".into(),
        })
    }
}

impl Sink for Tar {
    fn piece(&mut self, bytes: Bytes) -> Result<(), Error> {
        if self.current.is_none() {
            let member = self.members.next();
            let member = member.context(ChangedSnafu { member: MANIFEST })?;
            let header = tar::header(&member.path, member.length, self.seconds);
            self.send(Bytes::copy_from_slice(&header))?;
            self.current = Some((member, Measure::default()));
        }
        if let Some((_, measure)) = &mut self.current {
            measure.piece(bytes.clone())?;
        }
        self.send(bytes)
    }

    fn end(&mut self, path: String) -> Result<(), Error> {
        let measured = self
            .current
            .take()
            .map(|(member, mut measure)| (measure.take(path.clone()), member));
        let is_same = measured
            .as_ref()
            .is_some_and(|(measured, member)| measured == member);
        ensure!(is_same, ChangedSnafu { member: path });
        let length = measured.map_or(0, |(member, _)| member.length);
        self.send(Bytes::from(vec![0; tar::padding(length)]))
    }
}
