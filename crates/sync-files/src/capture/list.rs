//! One directory: which names are in it, and which of them are part of the tree.

use rustix::fd::OwnedFd;
use rustix::fs::FileType;
use snafu::ensure;
use sync_core::TreePath;
use sync_core::path::PathError;

use super::{Pending, Refusal, Refused, Walk};
use crate::beneath::{Listed, is_absence, list, lstat, open_dir};
use crate::error::{Doing, NoTreeSnafu, Result};
use crate::ignored::{FILE_NAME, Rules, is_reserved};
use crate::read::{each_chunk, open_file};

/// The longest `.syncignore`.
const MAX_IGNORE_FILE: u64 = 1024 * 1024;

/// A directory that was listed and is held open.
pub(super) struct Dir {
    pub(super) path: Box<str>,
    pub(super) fd: OwnedFd,
    /// The names of files, links and what may be either, in order.
    pub(super) names: Names,
    /// The directories in it that are part of the tree.
    pub(super) below: Vec<Pending>,
    pub(super) refused: Vec<Refused>,
    /// Whether there is nothing in it at all, not even something that is left out.
    pub(super) empty: bool,
}

/// Many names in one allocation.
#[derive(Default)]
pub(super) struct Names {
    text: String,
    spans: Vec<(u32, u32)>,
}

impl Names {
    fn push(&mut self, name: &str) {
        let start = self.text.len();
        self.text.push_str(name);
        // A directory with 4 GiB of names does not exist; one that did would be cut, and that is noticed below.
        let span = u32::try_from(start).and_then(|s| Ok((s, u32::try_from(self.text.len())?)));
        self.spans.extend(span.ok());
    }

    fn sort(&mut self) {
        let text = &self.text;
        self.spans
            .sort_unstable_by_key(|(start, end)| &text[*start as usize..*end as usize]);
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn get(&self, at: usize) -> &str {
        let (start, end) = self.spans[at];
        &self.text[start as usize..end as usize]
    }
}

impl Walk<'_> {
    /// Lists a directory; `None` where it is gone by now.
    pub(super) fn list(&self, dir: &Pending) -> Result<Option<Dir>> {
        let opened = open_dir(&self.tree.root, &*dir.path);
        let (fd, raw) = match opened.and_then(|fd| list(&fd).map(|names| (fd, names))) {
            Ok(opened) => opened,
            Err(error) if is_absence(error) => {
                // The root cannot be gone: that would look as if all of it had been deleted.
                ensure!(
                    !dir.path.is_empty(),
                    NoTreeSnafu {
                        path: &self.tree.root_path
                    }
                );
                return Ok(None);
            }
            Err(error) => return Err(error).doing("list", shown(&dir.path)),
        };
        let rules = if raw.iter().any(|raw| raw.name == FILE_NAME.as_bytes()) {
            own_rules(dir, &fd)?
        } else {
            dir.rules.clone()
        };
        let mut listed = Dir {
            path: dir.path.clone(),
            fd,
            names: Names::default(),
            below: Vec::new(),
            refused: Vec::new(),
            empty: raw.is_empty(),
        };
        for raw in &raw {
            listed.sort_in(raw, &rules)?;
        }
        listed.names.sort();
        Ok(Some(listed))
    }
}

impl Dir {
    /// Puts one name where it belongs.
    fn sort_in(&mut self, raw: &Listed, rules: &Rules) -> Result<()> {
        if is_reserved(&raw.name) {
            return Ok(());
        }
        let mut kind = raw.kind;
        if kind == FileType::Unknown {
            // Some file systems do not say in the listing.
            let stat = lstat(&self.fd, &*raw.name).doing("stat", shown(&self.path))?;
            match stat {
                Some(stat) => kind = stat.kind(),
                None => return Ok(()),
            }
        }
        let is_dir = kind == FileType::Directory;
        if !rules.is_empty() {
            let mut path = self.path.as_bytes().to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&raw.name);
            if rules.leave_out(&path, is_dir) {
                return Ok(());
            }
        }
        let reason = match self.check(&raw.name) {
            Err(error) => Refusal::name(error),
            Ok(name) => match kind {
                FileType::Directory => {
                    self.below.push(Pending {
                        path: join(&self.path, name).into(),
                        rules: rules.clone(),
                    });
                    return Ok(());
                }
                FileType::RegularFile | FileType::Symlink => {
                    self.names.push(name);
                    return Ok(());
                }
                kind => Refusal::special(kind),
            },
        };
        self.refused.push(Refused {
            path: printable(&join(&self.path, &String::from_utf8_lossy(&raw.name))),
            reason,
        });
        Ok(())
    }

    /// What [`TreePath::new`] checks, without making a path of it.
    fn check<'n>(&self, name: &'n [u8]) -> Result<&'n str, PathError> {
        let name = std::str::from_utf8(name).map_err(|_| PathError::NotUtf8)?;
        if self.path.is_empty() {
            return TreePath::new(name).map(|_| name);
        }
        TreePath::validate_name(name)?;
        if self.path.len() + 1 + name.len() > TreePath::MAX_LEN {
            return Err(PathError::TooLong);
        }
        Ok(name)
    }
}

/// The patterns that hold in a directory with a `.syncignore`; only a regular file is one, as it is for git.
fn own_rules(dir: &Pending, fd: &OwnedFd) -> Result<Rules> {
    let path = join(&dir.path, FILE_NAME);
    let stat = lstat(fd, FILE_NAME).doing("stat", &path)?;
    let Some(stat) = stat.filter(|stat| stat.kind() == FileType::RegularFile) else {
        return Ok(dir.rules.clone());
    };
    let mut text = Vec::new();
    if stat.size <= MAX_IGNORE_FILE {
        let file = open_file(fd, FILE_NAME).doing("read", &path)?;
        each_chunk(&file, stat.size, |bytes| text.extend_from_slice(bytes)).doing("read", &path)?;
    }
    let text = match String::from_utf8(text) {
        Ok(text) if stat.size <= MAX_IGNORE_FILE => text,
        _ => {
            return crate::error::IgnoreSnafu {
                path,
                line: 0usize,
                reason: "it is not UTF-8, or longer than 1 MiB",
            }
            .fail();
        }
    };
    dir.rules.with(&dir.path, &path, &text)
}

/// A path by its directory, empty at the top, and its name.
pub(super) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}

/// The root has no name of its own.
fn shown(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

/// Text that cannot forge what a terminal or a log shows.
fn printable(text: &str) -> String {
    text.chars()
        .map(
            |c| match TreePath::validate_name(c.encode_utf8(&mut [0; 4])) {
                Err(PathError::Control) => char::REPLACEMENT_CHARACTER,
                _ => c,
            },
        )
        .collect()
}
