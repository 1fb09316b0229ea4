//! How much may be under way over HTTP/2, the same at both ends.
//!
//! A window bounds what a receiver must buffer for a reader that is slow, and what a sender can have in flight:
//! 4 MiB fill 300 Mbit/s at 100 ms.

/// What one stream may have under way.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;

/// What all streams of a connection may have under way together.
pub(crate) const CONNECTION_WINDOW: u32 = 8 << 20;

/// The largest frame that is accepted: fewer, larger frames cost less.
pub(crate) const FRAME_BYTES: u32 = 256 << 10;

/// What a stream may have waiting to be sent.
pub(crate) const SEND_BUFFER_BYTES: usize = 1 << 20;
