//! Reading everything, to prove what the logs say.

use sync_core::map::{NodeSink, StoreError};
use sync_core::{Digest, map::MemoryNodes};

use crate::capture::Objects;
use crate::spec::TableSpec;
use crate::working_copy::Capture;
use crate::{Database, Error};

/// Takes objects and keeps none: only their names are wanted.
#[derive(Debug)]
struct Forget;

impl NodeSink for Forget {
    fn put(&mut self, _digest: Digest, _bytes: Vec<u8>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Database {
    /// Reads the tables of `specs` whole, whatever the logs say, and keeps nothing: its [`Capture::root`] is what the root
    /// of any other capture of the same moment has to be.
    ///
    /// # Errors
    ///
    /// As [`Self::capture`].
    pub async fn verify(&self, specs: &[TableSpec]) -> Result<Capture, Error> {
        let objects = Objects {
            source: MemoryNodes::new(),
            nodes: Forget,
            contents: Forget,
        };
        let (capture, _) = self.capture(specs, &[], objects, |_| ()).await?;
        Ok(capture)
    }
}
