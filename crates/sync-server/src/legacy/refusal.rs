//! Why a tarball is refused.

use std::fmt;

use sync_core::path::PathError;

use crate::error::{Error, TarballSnafu};

/// Why a tarball is refused: whole, whatever else is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The body is not gzip, or its checksum is not that of its bytes.
    NotGzip,
    /// It ends before its end.
    Truncated,
    /// Something follows its end.
    Trailing,
    /// What it inflates to is not a tar.
    NotTar,
    /// The path of an entry cannot be one of a tree.
    Path(PathError),
    /// The path of an entry starts at the root.
    Absolute,
    /// Two entries have the same path.
    Duplicate,
    /// A path is below one that is a file or a link, in the tarball or in the tree.
    FileUnderFile,
    /// An entry is a link.
    Link,
    /// An entry is a device, a pipe or the like.
    Special,
    /// An entry is of a kind that legacy clients never send.
    Unsupported,
    /// There are too many entries, or their paths are too long together.
    TooMany,
    /// It is too large.
    TooLarge,
    /// It inflates to far more than it is.
    Bomb,
}

impl Refusal {
    /// The reason as a word for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotGzip => "not_gzip",
            Self::Truncated => "truncated",
            Self::Trailing => "trailing_data",
            Self::NotTar => "not_tar",
            Self::Path(error) => match error {
                PathError::Empty => "empty_path",
                PathError::TooLong | PathError::NameTooLong => "path_too_long",
                PathError::Dots => "path_outside",
                PathError::Control => "control_character",
                PathError::Backslash => "backslash",
                PathError::Drive => "drive_letter",
                PathError::NotUtf8 => "not_utf8",
            },
            Self::Absolute => "absolute_path",
            Self::Duplicate => "duplicate",
            Self::FileUnderFile => "file_under_file",
            Self::Link => "link",
            Self::Special => "special_file",
            Self::Unsupported => "unsupported_entry",
            Self::TooMany => "too_many_entries",
            Self::TooLarge => "too_large",
            Self::Bomb => "inflation_bomb",
        }
    }

    /// The error that says so of `place`: a path, or nothing.
    pub(super) fn at(self, place: &[u8]) -> Error {
        // Long enough for a person to find it, and nothing that could forge a terminal.
        let shown = place.get(..200).unwrap_or(place);
        TarballSnafu {
            refusal: self,
            place: String::from_utf8_lossy(shown).escape_debug().to_string(),
        }
        .build()
    }

    /// The error that says so of the tarball as a whole.
    pub(super) fn whole(self) -> Error {
        self.at(b"")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotGzip => "it is not gzip, or was damaged on its way",
            Self::Truncated => "it ends too early",
            Self::Trailing => "something follows its end",
            Self::NotTar => "a header in it is not one of tar",
            Self::Path(error) => return error.fmt(f),
            Self::Absolute => "the path is absolute",
            Self::Duplicate => "the path comes twice",
            Self::FileUnderFile => {
                "a file or a link is where a directory has to be, or the other way round"
            }
            Self::Link => "links are not taken",
            Self::Special => "devices and pipes are not taken",
            Self::Unsupported => "the kind of entry is not known",
            Self::TooMany => "it has too many entries",
            Self::TooLarge => "it is too large",
            Self::Bomb => "it inflates to far more than it is",
        })
    }
}
