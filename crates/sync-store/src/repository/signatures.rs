//! What a writer needs to send differences from objects that only this side still has.

use std::collections::HashMap;

use sync_core::Digest;
use sync_core::patch::Signature;
use tokio::runtime::Handle;

use super::Repository;
use crate::{Error, task};

/// How many objects are looked up at once.
const BATCH: usize = 4096;

impl Repository {
    /// The signatures of those objects that are stored and are what their digests name, up to `max` bytes of them.
    ///
    /// Every object is read; no more than one stored block is in memory at a time.
    pub async fn signatures(
        &self,
        digests: Vec<Digest>,
        max: usize,
    ) -> Result<HashMap<Digest, Signature>, Error> {
        let (repository, runtime) = (self.clone(), Handle::current());
        task::blocking(move || {
            let mut signatures = HashMap::new();
            let mut left = max;
            for batch in digests.chunks(BATCH) {
                let read = repository.objects(batch, |digest, bytes| {
                    if let Some(rest) = left.checked_sub(Signature::encoded_len(bytes.len())) {
                        left = rest;
                        signatures.insert(digest, Signature::of(&bytes));
                    }
                });
                match task::block_on(&runtime, read) {
                    Ok(_) => {}
                    Err(Error::Corrupt { digest, reason }) => {
                        tracing::warn!(%digest, reason, "an object is damaged");
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(signatures)
        })
        .await
    }
}
