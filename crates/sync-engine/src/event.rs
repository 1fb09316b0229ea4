//! What happens while an operation runs, for whoever shows it.

/// One step forward. Events come in order, from one operation at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The tree is being read: so many files and bytes were hashed so far.
    Hashing {
        /// Files hashed so far.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A database is being read.
    Reading {
        /// Bytes of rows read so far.
        bytes: u64,
    },
    /// Contents are about to travel.
    Started {
        /// How many files change.
        files: u64,
        /// How many bytes of contents there are.
        bytes: u64,
    },
    /// Contents have travelled.
    Moved {
        /// Bytes of contents so far.
        bytes: u64,
        /// Files so far when sending, chunks of files when receiving.
        items: u64,
    },
    /// Received files are being put into their places.
    Applying,
    /// A transaction that was cut short was completed or taken back.
    Recovered {
        /// Whether it was completed; else it was taken back.
        finished: bool,
        /// Edits that were found on the way, each with the place where it is now.
        kept: Vec<String>,
    },
    /// The connection was lost: what is lacking is sent, or asked for, again.
    Resuming {
        /// Which attempt this is, from 2.
        attempt: u32,
    },
}

/// Takes events; must not block.
pub type Listener = std::sync::Arc<dyn Fn(Event) + Send + Sync>;
