//! Blocks of a pack as it arrives. What is in them is named by hashing it, so no object can lie about what it is.

use bytes::Bytes;
use snafu::OptionExt;
use sync_store::pack::{Class, DecodedBlock, Event, PackDecoder, PackError, Patch, Patches};
use sync_transport::Body;

use crate::Error;
use crate::error::{CutSnafu, HostileSnafu};
use crate::session::blocking;

/// A block of either form.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// Objects.
    Block(DecodedBlock),
    /// Objects as differences from what is here.
    Patches(Patches),
}

impl Arrived {
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Block(block) => block.header.class,
            Self::Patches(patches) => patches.class,
        }
    }
}

/// The object that a patch makes of its base; it is named by hashing it.
pub(crate) fn patched(patch: &Patch, base: &[u8]) -> Result<Bytes, Error> {
    let object = patch.apply(base).map_err(|error| refused(&error))?;
    Ok(object.into())
}

/// A stream of blocks.
#[derive(Debug)]
pub(crate) struct Blocks {
    body: Body,
    /// Away while a block is taken apart.
    decoder: Option<PackDecoder>,
}

impl Blocks {
    pub(crate) fn new(body: Body) -> Result<Self, Error> {
        Ok(Self {
            body,
            decoder: Some(PackDecoder::new().map_err(|error| refused(&error))?),
        })
    }

    /// The next block of an answer that was not asked for patches; likewise, and an error where it has some.
    pub(crate) async fn next_block(&mut self) -> Result<Option<DecodedBlock>, Error> {
        match self.next().await? {
            Some(Arrived::Block(block)) => Ok(Some(block)),
            Some(Arrived::Patches(_)) => Err(refused(&PackError::Stored)),
            None => Ok(None),
        }
    }

    /// The next block; `None` after the last one of a pack that is complete. After an error, or if the future is dropped,
    /// nothing more can be read.
    ///
    /// # Errors
    ///
    /// Where the connection is lost, or the bytes are not a pack.
    pub(crate) async fn next(&mut self) -> Result<Option<Arrived>, Error> {
        loop {
            let decoder = self.decoder.as_mut().context(CutSnafu)?;
            if decoder.is_ready() {
                // Inflating a block takes as long as thousands of turns of the loop that serves the connection.
                let mut decoder = self.decoder.take().context(CutSnafu)?;
                let (decoder, event) = blocking(move || {
                    let event = decoder.next_event().map_err(|error| refused(&error))?;
                    Ok((decoder, event))
                })
                .await?;
                self.decoder = Some(decoder);
                match event {
                    Some(Event::Block(block)) => return Ok(Some(Arrived::Block(block))),
                    Some(Event::Patches(patches)) => return Ok(Some(Arrived::Patches(patches))),
                    Some(Event::End { .. }) | None => {}
                }
            } else if let Some(piece) = self.body.next().await {
                decoder.push(&piece?);
            } else {
                decoder.finish().map_err(|error| refused(&error))?;
                return Ok(None);
            }
        }
    }
}

fn refused(error: &PackError) -> Error {
    HostileSnafu {
        reason: error.to_string(),
    }
    .build()
}
