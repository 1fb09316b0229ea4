//! Objects of this process are stored while they are made.

use std::sync::mpsc::{SyncSender, sync_channel};

use sync_core::Digest;
use sync_core::map::{NodeSink, StoreError};

use super::{Received, Repository};
use crate::Error;
use crate::pack::Class;

/// How many objects wait to be stored: a maker that is faster is held back.
const QUEUE: usize = 16;

/// Where [`Repository::put_made`] takes objects: nodes, chunk lists and schemas by [`NodeSink::put`], contents by
/// [`NodeSink::put_chunk`], so that they come to lie in blocks of their own.
#[derive(Debug)]
pub struct ObjectSink {
    sender: SyncSender<(Class, Vec<u8>)>,
}

impl ObjectSink {
    fn send(&self, class: Class, bytes: Vec<u8>) -> Result<(), StoreError> {
        let sent = self.sender.send((class, bytes));
        sent.map_err(|_| "the store takes no more objects".into())
    }
}

impl NodeSink for ObjectSink {
    fn put(&mut self, _: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.send(Class::Nodes, bytes)
    }

    fn put_chunk(&mut self, _: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.send(Class::Contents, bytes)
    }
}

impl Repository {
    /// Stores what `make` puts into the sink, on a blocking thread, while it is made: those objects that are not stored
    /// yet, each once, durable when this returns. Memory is bounded as for [`Repository::receive`], however many they are.
    ///
    /// # Errors
    ///
    /// What the store says, else what `make` says. Full packs before may be stored then; nothing names them.
    pub async fn put_made<T, E>(
        &self,
        make: impl FnOnce(&mut ObjectSink) -> Result<T, E> + Send + 'static,
    ) -> Result<(T, Received), E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (sender, objects) = sync_channel(QUEUE);
        // The sink ends with the closure, and with it the iterator over what is sent.
        let making = tokio::task::spawn_blocking(move || make(&mut ObjectSink { sender }));
        let mut prepared = self.prepare(objects).await?;
        let outcome = making.await.map_err(Error::from)??;
        self.record(&prepared).await?;
        prepared.pending = None;
        Ok((outcome, prepared))
    }
}
