//! The one place that names `bincode`: private state files and caches go through here.
//!
//! Formats that others read (map nodes, packs, snapshots) have encodings of their own in [`crate::wire`];
//! this codec is for state that one version of the program writes and reads back.

use bincode::config;
use serde::{Deserialize, Serialize};
use snafu::Snafu;

/// No value of ours is larger when encoded: 1 GiB.
const LIMIT: usize = 1 << 30;

/// A value could not be encoded, or bytes are not the encoding of such a value.
#[derive(Debug, Snafu)]
#[snafu(display("the bytes are not a valid encoding: {reason}"))]
pub struct CodecError {
    reason: String,
}

fn codec_error(error: impl std::fmt::Display) -> CodecError {
    CodecError {
        reason: error.to_string(),
    }
}

/// Encodes `value`.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, config::standard()).map_err(codec_error)
}

/// Decodes a value that may borrow from `bytes`; bytes left over are an error.
/// Claimed lengths are checked against a limit of 1 GiB before anything is allocated for them.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    let config = config::standard().with_limit::<LIMIT>();
    let (value, used) =
        bincode::serde::borrow_decode_from_slice(bytes, config).map_err(codec_error)?;
    if used == bytes.len() {
        Ok(value)
    } else {
        Err(codec_error("trailing bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_what_is_cut_or_left_over() {
        let value = (7u64, "text".to_owned(), vec![1u8, 2, 3]);
        let bytes = encode(&value).unwrap();
        assert_eq!(decode::<(u64, String, Vec<u8>)>(&bytes).unwrap(), value);
        assert!(decode::<(u64, String, Vec<u8>)>(&bytes[..bytes.len() - 1]).is_err());
        let longer = [&bytes[..], &[0]].concat();
        assert!(decode::<(u64, String, Vec<u8>)>(&longer).is_err());
        // A vector that claims more than the limit is refused, not allocated.
        assert!(
            decode::<Vec<u8>>(&[0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err()
        );
    }
}
