//! Where the repository is, and the files of it that people wrote.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use snafu::ResultExt as _;

use crate::error::{IoSnafu, Result};

/// Directories that hold nothing that people wrote.
const GENERATED: [&str; 5] = ["target", ".git", ".sync", "corpus", "artifacts"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    // Cargo sets it for `cargo run` and `cargo test` alike; a copied binary is used from the root.
    env::var_os("CARGO_MANIFEST_DIR")
        .and_then(|dir| Path::new(&dir).parent().map(Path::to_path_buf))
        .unwrap_or_else(|| PathBuf::from("."))
}

/// A file of the repository that is text.
#[derive(Debug, Clone)]
pub(crate) struct TextFile {
    /// Relative to the root, with `/` between components.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl TextFile {
    /// Whether the name ends so.
    pub(crate) fn is(&self, extension: &str) -> bool {
        self.path
            .rsplit_once('.')
            .is_some_and(|(_, found)| found == extension)
    }
}

/// Every text file that people wrote, in order of path.
pub(crate) fn text_files() -> Result<Vec<TextFile>> {
    let root = root();
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let absolute = root.join(&directory);
        let context = || IoSnafu {
            action: format!("list `{}`", absolute.display()),
        };
        for entry in fs::read_dir(&absolute).with_context(|_| context())? {
            let entry = entry.with_context(|_| context())?;
            let path = directory.join(entry.file_name());
            let kind = entry.file_type().with_context(|_| context())?;
            if kind.is_dir() {
                if !GENERATED.iter().any(|name| *name == entry.file_name()) {
                    directories.push(path);
                }
            } else if kind.is_file() && entry.file_name() != ".git" {
                // A worktree's `.git` is a file that names a path of this machine.
                let bytes = fs::read(entry.path()).context(IoSnafu {
                    action: format!("read `{}`", entry.path().display()),
                })?;
                if let Ok(text) = String::from_utf8(bytes) {
                    files.push(TextFile {
                        path: path.to_string_lossy().into_owned(),
                        text,
                    });
                }
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
