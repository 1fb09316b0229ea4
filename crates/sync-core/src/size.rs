//! Byte counts as people read them.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// A number of bytes; displayed in binary units with one decimal.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        // Tenths of the unit, in integers: no rounding ever says "1024.0 KiB".
        let mut unit = 0;
        let mut tenths = u128::from(self.0) * 10 / 1024;
        while tenths >= 10 * 1024 {
            tenths /= 1024;
            unit += 1;
        }
        f.pad(&format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]))
    }
}

impl Add for ByteCount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for ByteCount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for ByteCount {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: u64, text: &str) {
        assert_eq!(ByteCount(bytes).to_string(), text);
    }

    #[test]
    fn reads_as_people_do() {
        check(0, "0 B");
        check(1023, "1023 B");
        check(1024, "1.0 KiB");
        check(1230, "1.2 KiB");
        check(1024 * 1024 - 1, "1023.9 KiB");
        check(1024 * 1024, "1.0 MiB");
        check(u64::MAX, "15.9 EiB");
    }
}
