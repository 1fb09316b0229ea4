//! What tells one state of a file from another without reading it, and when that can be trusted.

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

/// A time of a file system, to the nanosecond where it keeps that much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Seconds since 1970-01-01T00:00:00Z; negative before.
    pub seconds: i64,
    /// Nanoseconds after that.
    pub nanos: u32,
}

impl Stamp {
    /// This time less `nanos`, which is at most a second.
    fn before(self, nanos: u32) -> Self {
        if self.nanos >= nanos {
            Self {
                nanos: self.nanos - nanos,
                ..self
            }
        } else {
            Self {
                seconds: self.seconds.saturating_sub(1),
                nanos: self.nanos + 1_000_000_000 - nanos,
            }
        }
    }
}

/// What `lstat` says about a file, as far as a change of the file changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileStat {
    /// Length in bytes.
    pub size: u64,
    /// When the content last changed; a program can set it to anything.
    pub mtime: Stamp,
    /// When content, mode or name last changed; nobody can set it.
    pub ctime: Stamp,
    /// The number of the file in its file system.
    pub inode: u64,
    /// The file system.
    pub device: u64,
    /// Kind and permissions.
    pub mode: u32,
}

impl FileStat {
    /// Takes over what the system said.
    // The fields differ in width and sign between architectures; none loses a bit that is ever set.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::cast_lossless,
        clippy::unnecessary_cast
    )]
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            size: stat.st_size as u64,
            mtime: Stamp {
                seconds: stat.st_mtime as i64,
                nanos: stat.st_mtime_nsec as u32,
            },
            ctime: Stamp {
                seconds: stat.st_ctime as i64,
                nanos: stat.st_ctime_nsec as u32,
            },
            inode: stat.st_ino as u64,
            device: stat.st_dev as u64,
            mode: stat.st_mode as u32,
        }
    }

    /// File, link, directory or something special.
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Whether its owner may run it.
    pub(crate) fn is_executable(&self) -> bool {
        self.mode & 0o100 != 0
    }

    /// Whether this is the same file in the same state, wherever it was renamed to: a rename changes `ctime` alone.
    pub(crate) fn same_but_renamed(&self, other: &Self) -> bool {
        Self {
            ctime: other.ctime,
            ..*self
        } == *other
    }
}

/// The moment from which on a change of a file may be invisible in its times.
///
/// A file system stamps with a clock that ticks every 1 to 10 ms. A file that was written in the tick in which it was read
/// may be written again in the same tick, with the same size and the same times
/// ("racy git", `Documentation/technical/racy-git.txt`).
/// So what is as young as the start of a scan is never trusted by its stat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Horizon {
    from: Stamp,
    until: Stamp,
}

impl Horizon {
    /// A tick of the slowest kernel clock that is configured (HZ = 100).
    const TICK_NANOS: u32 = 10_000_000;
    /// A time that far ahead does not come from a write during this scan, but from a clock that was wrong:
    /// without this bound such files would be read again for ever.
    const LONGEST_SCAN_SECONDS: i64 = 24 * 60 * 60;

    /// A scan that begins at `now` by the clock of the file system.
    pub(crate) fn at(now: Stamp) -> Self {
        Self {
            from: now.before(Self::TICK_NANOS),
            until: Stamp {
                seconds: now.seconds.saturating_add(Self::LONGEST_SCAN_SECONDS),
                ..now
            },
        }
    }

    /// Whether something stamped with this time may change again without a new stamp.
    pub(crate) fn is_young(&self, stamp: Stamp) -> bool {
        self.from <= stamp && stamp <= self.until
    }

    /// Whether any later change of a file with this stat will change the stat.
    pub(crate) fn settled(&self, stat: &FileStat) -> bool {
        !self.is_young(stat.mtime) && !self.is_young(stat.ctime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(offset_nanos: i64, young: bool) {
        let now = Stamp {
            seconds: 1000,
            nanos: 0,
        };
        let total = 1000 * 1_000_000_000 + offset_nanos;
        let stamp = Stamp {
            seconds: total.div_euclid(1_000_000_000),
            nanos: u32::try_from(total.rem_euclid(1_000_000_000)).unwrap(),
        };
        assert_eq!(Horizon::at(now).is_young(stamp), young, "{offset_nanos}");
    }

    #[test]
    fn what_is_as_young_as_the_scan_is_not_trusted() {
        check(0, true);
        check(1, true);
        check(-1, true);
        check(-10_000_000, true);
        check(-10_000_001, false);
        check(-1_000_000_000_000, false);
        // Ten hours ahead may be a long scan, ten years are a wrong clock.
        check(36_000 * 1_000_000_000, true);
        check(10 * 365 * 86_400 * 1_000_000_000, false);
    }
}
