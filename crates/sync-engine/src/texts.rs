//! Contents of small files from wherever they are: the tree, the private store, the tenant.

use std::collections::HashMap;

use bytes::Bytes;
use snafu::ensure;
use sync_core::{Digest, Entry, TreePath};
use sync_files::Tree;

use crate::Error;
use crate::error::AnswerSnafu;
use crate::maps::Maps;
use crate::session::{Session, blocking};
use crate::tree_map::flat_chunks;

/// How many objects are asked for at once by digest.
pub(crate) const PAGE: usize = 16 * 1024;

/// Contents of files, by what names them.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    chunks: HashMap<Entry, Vec<Digest>>,
    bytes: HashMap<Digest, Bytes>,
}

impl Texts {
    /// All bytes of a file, where they were found.
    pub(crate) fn whole(&self, entry: &Entry) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        for digest in self.chunks.get(entry)? {
            whole.extend_from_slice(self.bytes.get(digest)?);
        }
        Some(whole)
    }

    /// These, and others.
    pub(crate) fn and(mut self, others: Self) -> Self {
        self.chunks.extend(others.chunks);
        self.bytes.extend(others.bytes);
        self
    }

    /// The text of one side; that of an absent file is empty.
    pub(crate) fn text(&self, entry: Option<&Entry>) -> Option<String> {
        let Some(entry) = entry else {
            return Some(String::new());
        };
        let text = String::from_utf8(self.whole(entry)?).ok()?;
        (!text.contains('\0')).then_some(text)
    }
}

impl Session {
    /// Loads files whose sizes the caller bounds: those `in_tree` from there, as long as they are what they were,
    /// `others` from the private store or the tenant. What nobody has is not in the result.
    pub(crate) async fn load(
        &self,
        maps: &Maps,
        in_tree: Vec<(TreePath, Entry)>,
        others: Vec<Entry>,
    ) -> Result<Texts, Error> {
        let (tree, private) = (self.workspace.tree(), self.workspace.private());
        let reader = maps.clone();
        let (mut texts, mut wanted) = blocking(move || {
            let mut texts = Texts::default();
            if !in_tree.is_empty() {
                read_tree(&Tree::open(&tree, &private)?, &reader, in_tree, &mut texts)?;
            }
            let mut wanted = Vec::new();
            for entry in others {
                let chunks = digests(&reader, &entry)?;
                wanted.extend(
                    chunks
                        .iter()
                        .filter(|digest| !texts.bytes.contains_key(*digest)),
                );
                texts.chunks.insert(entry, chunks);
            }
            wanted.sort_unstable();
            wanted.dedup();
            Ok((texts, wanted))
        })
        .await?;
        texts
            .bytes
            .extend(self.stored_contents(maps, &mut wanted).await?);
        for page in wanted.chunks(PAGE) {
            let mut blocks = self.remote.objects(page).await?;
            while let Some(block) = blocks.next_block().await? {
                for bytes in block.objects() {
                    let digest = Digest::of(&bytes);
                    let asked = page.binary_search(&digest).is_ok();
                    ensure!(
                        asked,
                        AnswerSnafu {
                            reason: "an object that was not asked for"
                        }
                    );
                    texts.bytes.insert(digest, bytes);
                }
            }
        }
        Ok(texts)
    }

    /// Takes those of `wanted` that the private store has; what a pull replaced was put there.
    pub(crate) async fn stored_contents(
        &self,
        maps: &Maps,
        wanted: &mut Vec<Digest>,
    ) -> Result<HashMap<Digest, Bytes>, Error> {
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        self.attach(maps).await?;
        let (maps, asked) = (maps.clone(), std::mem::take(wanted));
        let (found, rest) = blocking(move || {
            let (mut found, mut rest) = (HashMap::new(), Vec::new());
            for digest in asked {
                match maps.object(&digest) {
                    Ok(Some(bytes)) => drop(found.insert(digest, bytes)),
                    // A store that cannot be read has nothing: the tenant is asked.
                    Ok(None) | Err(_) => rest.push(digest),
                }
            }
            Ok((found, rest))
        })
        .await?;
        *wanted = rest;
        Ok(found)
    }
}

fn digests(maps: &Maps, entry: &Entry) -> Result<Vec<Digest>, Error> {
    let chunks = flat_chunks(maps, entry)?;
    Ok(chunks.iter().map(|chunk| chunk.digest).collect())
}

fn read_tree(
    tree: &Tree,
    maps: &Maps,
    files: Vec<(TreePath, Entry)>,
    texts: &mut Texts,
) -> Result<(), Error> {
    let mut contents = tree.contents()?;
    for (path, entry) in files {
        let chunks = flat_chunks(maps, &entry)?;
        let read = contents.read(&path, sync_files::placed(&chunks), |digest, bytes| {
            texts.bytes.insert(digest, Bytes::copy_from_slice(bytes));
            Ok::<_, sync_files::Error>(())
        });
        match read {
            // Edited since the capture: then it is not shown line by line.
            Ok(()) | Err(sync_files::Error::Moved { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let digests = chunks.iter().map(|chunk| chunk.digest).collect();
        texts.chunks.insert(entry, digests);
    }
    Ok(())
}
