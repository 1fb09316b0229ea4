//! A port through which tests stop an apply at any step.

use std::fmt::Debug;
use std::io;

/// Asked before every step that stage, commit, undo and recover take on disk.
///
/// In production it is [`NoFaults`]. A test answers with an error at the nth call, or at every call from the nth on,
/// which is what a crash looks like to the disk: nothing more happens.
pub trait Faults: Debug + Send + Sync {
    /// Called before the step named `point`; an error takes the place of the step.
    fn at(&self, point: &'static str) -> io::Result<()>;
}

/// Nothing ever fails.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn at(&self, _point: &'static str) -> io::Result<()> {
        Ok(())
    }
}
