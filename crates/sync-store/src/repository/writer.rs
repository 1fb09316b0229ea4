//! A sink for blocking threads whose objects are stored as they come.

use std::sync::mpsc::{SyncSender, sync_channel};

use sync_core::Digest;
use sync_core::map::{NodeSink, StoreError};
use tokio::task::JoinHandle;

use super::{Received, Repository};
use crate::Error;
use crate::pack::Class;

/// How many objects wait to be stored.
const WAITING: usize = 1024;

/// Takes objects of one class for a repository. It blocks while the repository is behind. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Writer {
    class: Class,
    sender: SyncSender<(Class, Vec<u8>)>,
}

/// What takes the objects of all writers; see [`Repository::writer`].
#[derive(Debug)]
pub struct Writing {
    storing: JoinHandle<Result<Received, Error>>,
}

impl Repository {
    /// A sink whose objects are stored while they come, with bounded memory: one pack after the other, and those that are
    /// stored already left out. [`Writer::of`] gives it other classes. Drop all of them, then ask [`Writing::finish`].
    pub fn writer(&self) -> (Writer, Writing) {
        let (sender, receiver) = sync_channel(WAITING);
        let repository = self.clone();
        let storing = tokio::spawn(async move { repository.put(receiver).await });
        let writer = Writer {
            class: Class::Nodes,
            sender,
        };
        (writer, Writing { storing })
    }
}

impl Writer {
    /// A sink for objects of another class into the same repository.
    pub fn of(&self, class: Class) -> Self {
        Self {
            class,
            sender: self.sender.clone(),
        }
    }
}

impl NodeSink for Writer {
    fn put(&mut self, _: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        // Nobody takes it where the store has failed: `finish` says why.
        let sent = self.sender.send((self.class, bytes));
        sent.map_err(|_| "the store has failed".into())
    }
}

impl Writing {
    /// Waits until everything is durable; every [`Writer`] must have been dropped.
    ///
    /// # Errors
    ///
    /// Why the store failed; what came before is kept.
    pub async fn finish(self) -> Result<Received, Error> {
        self.storing.await?
    }
}
