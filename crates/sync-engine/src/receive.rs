//! Objects from a pack as it arrives: each is named by hashing it, so none can lie about what it is.

use std::collections::VecDeque;

use bytes::Bytes;
use sync_core::Digest;
use sync_store::pack::{Class, DecodedBlock, Event, PackDecoder, PackError, Patch, Patches};
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

/// What a pack brings.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// An object.
    Object(Object),
    /// How an object of this class differs from one that is here.
    Patch(Class, Patch),
}

impl Arrived {
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Object(Object { class, .. }) | Self::Patch(class, _) => *class,
        }
    }
}

impl Object {
    /// Makes an object of a patch and what it is to be applied to.
    pub(crate) fn patched(class: Class, patch: &Patch, base: &[u8]) -> Result<Self, Error> {
        let bytes = patch.apply(base).map_err(|error| refused(&error))?;
        Ok(Self {
            class,
            digest: Digest::of(&bytes),
            bytes: bytes.into(),
        })
    }
}

/// A stream of objects.
#[derive(Debug)]
pub(crate) struct Objects {
    body: Body,
    decoder: PackDecoder,
    ready: VecDeque<Arrived>,
}

impl Objects {
    pub(crate) fn new(body: Body) -> Result<Self, Error> {
        Ok(Self {
            body,
            decoder: PackDecoder::new().map_err(|error| refused(&error))?,
            ready: VecDeque::new(),
        })
    }

    /// The next object of an answer that was not asked for patches; `None` after the last one of a pack that is complete.
    ///
    /// # Errors
    ///
    /// Where the connection is lost, the bytes are not a pack, or it has a patch.
    pub(crate) async fn next_object(&mut self) -> Result<Option<Object>, Error> {
        match self.next().await? {
            Some(Arrived::Object(object)) => Ok(Some(object)),
            Some(Arrived::Patch(..)) => Err(refused(&PackError::Stored)),
            None => Ok(None),
        }
    }

    /// The next object or patch; `None` after the last one of a pack that is complete.
    ///
    /// # Errors
    ///
    /// Where the connection is lost, or the bytes are not a pack.
    pub(crate) async fn next(&mut self) -> Result<Option<Arrived>, Error> {
        loop {
            if let Some(arrived) = self.ready.pop_front() {
                return Ok(Some(arrived));
            }
            match self.decoder.next_event().map_err(|error| refused(&error))? {
                Some(Event::Block(block)) => self.ready = hashed(&block),
                Some(Event::Patches(Patches { class, patches })) => {
                    let arrived = patches.into_iter();
                    self.ready = arrived.map(|patch| Arrived::Patch(class, patch)).collect();
                }
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

fn hashed(block: &DecodedBlock) -> VecDeque<Arrived> {
    let class = block.header.class;
    let object = |bytes: Bytes| Object {
        class,
        digest: Digest::of(&bytes),
        bytes,
    };
    let objects = block.objects().map(object);
    objects.map(Arrived::Object).collect()
}

fn refused(error: &PackError) -> Error {
    HostileSnafu {
        reason: error.to_string(),
    }
    .build()
}
