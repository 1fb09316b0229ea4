//! Objects from a pack as it arrives: each is named by hashing it, so none can lie about what it is.

use std::collections::VecDeque;

use bytes::Bytes;
use sync_core::Digest;
use sync_store::pack::{Class, DecodedBlock, Event, PackDecoder, PackError};
use sync_transport::Body;

use crate::Error;
use crate::error::HostileSnafu;

/// One received object under its true name.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) class: Class,
    pub(crate) digest: Digest,
    pub(crate) bytes: Bytes,
}

/// A stream of objects.
#[derive(Debug)]
pub(crate) struct Objects {
    body: Body,
    decoder: PackDecoder,
    ready: VecDeque<Object>,
}

impl Objects {
    pub(crate) fn new(body: Body) -> Result<Self, Error> {
        Ok(Self {
            body,
            decoder: PackDecoder::new().map_err(|error| refused(&error))?,
            ready: VecDeque::new(),
        })
    }

    /// The next object; `None` after the last one of a pack that is complete.
    ///
    /// # Errors
    ///
    /// Where the connection is lost, or the bytes are not a pack.
    pub(crate) async fn next(&mut self) -> Result<Option<Object>, Error> {
        loop {
            if let Some(object) = self.ready.pop_front() {
                return Ok(Some(object));
            }
            match self.decoder.next_event().map_err(|error| refused(&error))? {
                Some(Event::Block(block)) => self.ready = hashed(&block),
                Some(Event::End { .. }) => {}
                None => {
                    if let Some(piece) = self.body.next().await {
                        self.decoder.push(&piece?);
                    } else {
                        self.decoder.finish().map_err(|error| refused(&error))?;
                        return Ok(None);
                    }
                }
            }
        }
    }
}

fn hashed(block: &DecodedBlock) -> VecDeque<Object> {
    let class = block.header.class;
    block
        .objects()
        .map(|bytes| Object {
            class,
            digest: Digest::of(&bytes),
            bytes,
        })
        .collect()
}

fn refused(error: &PackError) -> Error {
    HostileSnafu {
        reason: error.to_string(),
    }
    .build()
}
