//! Blocks of a pack as it arrives. What is in them is named by hashing it, so no object can lie about what it is.

use snafu::OptionExt;
use sync_store::pack::{DecodedBlock, Event, PackDecoder, PackError};
use sync_transport::Body;

use crate::Error;
use crate::error::{CutSnafu, HostileSnafu};
use crate::session::blocking;

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

    /// The next block; `None` after the last one of a pack that is complete. After an error, or if the future is dropped,
    /// nothing more can be read.
    ///
    /// # Errors
    ///
    /// Where the connection is lost, or the bytes are not a pack.
    pub(crate) async fn next(&mut self) -> Result<Option<DecodedBlock>, Error> {
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
                if let Some(Event::Block(block)) = event {
                    return Ok(Some(block));
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
