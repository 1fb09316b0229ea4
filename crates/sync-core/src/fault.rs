//! The face that every error of ours shows: who is at fault, under which code, and what to do next.

use std::error::Error;

/// What kind of failure an error is; it decides the exit code and whether a retry can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// It could not be done for a reason of its own (a disk is full, a file cannot be read).
    Failed,
    /// The caller asked for something that makes no sense.
    Usage,
    /// Both sides changed, or something moved since the plan: a person must choose.
    Conflict,
    /// The network, the server or the database is away; later may work.
    Unavailable,
    /// Bytes are not what their name promises: corrupt or tampered.
    Integrity,
    /// The credentials do not allow it.
    Denied,
    /// Our own mistake.
    Bug,
}

impl Class {
    /// Every class, the one first that a person has to look at first.
    pub const WORST_FIRST: [Self; 7] = [
        Self::Bug,
        Self::Integrity,
        Self::Failed,
        Self::Denied,
        Self::Unavailable,
        Self::Usage,
        Self::Conflict,
    ];

    /// Its place in [`Class::WORST_FIRST`].
    pub fn rank(self) -> usize {
        let place = Self::WORST_FIRST.iter().position(|class| *class == self);
        place.unwrap_or(Self::WORST_FIRST.len())
    }

    /// The exit code of a process that ends with such an error.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Conflict => 3,
            Self::Unavailable => 4,
            Self::Integrity => 5,
            Self::Denied => 6,
            Self::Bug => 70,
        }
    }
}

/// An error that answers for itself.
pub trait Fault: Error {
    /// A stable code, `crate/cause`, listed in `docs/errors.md`.
    fn code(&self) -> &'static str;

    /// The class, which gives the exit code.
    fn class(&self) -> Class;

    /// What to do next, in one imperative sentence without a full stop.
    fn hint(&self) -> Option<String> {
        None
    }
}
