//! A sink for blocking threads whose objects are stored as they come.

use std::sync::mpsc::{SyncSender, sync_channel};

use sync_core::Digest;
use sync_core::map::{NodeSink, StoreError};
use tokio::task::JoinHandle;

use super::Repository;
use super::receive::Named;
use crate::Error;
use crate::pack::Class;

/// How many objects wait to be stored: a maker that is faster is held back.
const WAITING: usize = 64;

/// Takes objects for a repository: nodes, chunk lists and schemas by [`NodeSink::put`], contents by [`NodeSink::put_chunk`],
/// so that they come to lie in blocks of their own. It blocks while the repository is behind. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Writer {
    sender: SyncSender<Named>,
}

/// What takes the objects of all clones of a [`Writer`]; see [`Repository::writer`].
#[derive(Debug)]
pub struct Writing {
    storing: JoinHandle<Result<(), Error>>,
}

impl Repository {
    /// A sink whose objects are stored while they come, those left out that are stored already, with bounded memory however
    /// many they are. Drop all clones, then ask [`Writing::finish`].
    pub fn writer(&self) -> (Writer, Writing) {
        let (sender, receiver) = sync_channel(WAITING);
        let repository = self.clone();
        let storing = tokio::spawn(async move {
            let (cached, mut left) = (repository.clone(), repository.cached.capacity() / 2);
            let objects = move || {
                receiver.into_iter().inspect(move |named: &Named| {
                    // A few nodes are those of a change, which is looked at next. Of many none will be there by then.
                    let (class, digest, object) = named;
                    if *class != Class::Nodes || left == 0 {
                        return;
                    }
                    left = left.saturating_sub(object.len() as u64);
                    if left == 0 {
                        cached.cached.clear();
                    } else {
                        cached.remember(*digest, object);
                    }
                })
            };
            let prepared = repository.prepare_named(objects).await?;
            repository.record(&prepared).await.map(drop)
        });
        (Writer { sender }, Writing { storing })
    }
}

impl Writer {
    fn send(&self, class: Class, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        debug_assert_eq!(digest, Digest::of(&bytes), "a maker names what it makes");
        // Nobody takes it where the store has failed: `finish` says why.
        let sent = self.sender.send((class, digest, bytes));
        sent.map_err(|_| "the store takes no more objects".into())
    }
}

impl NodeSink for Writer {
    fn put(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.send(Class::Nodes, digest, bytes)
    }

    fn put_chunk(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.send(Class::Contents, digest, bytes)
    }
}

impl Writing {
    /// Waits until everything is durable; every [`Writer`] must have been dropped.
    ///
    /// # Errors
    ///
    /// Why the store failed; what came before is kept.
    pub async fn finish(self) -> Result<(), Error> {
        self.storing.await?
    }
}
