//! The three corpora, and the edits that operations make in them: the same from the same seed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use snafu::ResultExt as _;

use crate::{
    error::{IoSnafu, Result},
    noise::{Random, noise},
};

/// The seed of everything.
const SEED: u64 = 20_261_121;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    First,
    Nothing,
    Distant,
    OneFile,
    OnePercent,
    Insert,
    Pull,
}

impl Operation {
    /// Its name in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::First => "first push",
            Self::Nothing => "no-op",
            Self::Distant => "no-op, 20 ms",
            Self::OneFile => "one file",
            Self::OnePercent => "1 % changed",
            Self::Insert => "1 KiB inserted",
            Self::Pull => "pull all",
        }
    }
}

/// What the files of a corpus hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Text that compresses about as text of people does.
    Text,
    /// Bytes that do not compress.
    Noise,
}

/// A tree of files.
#[derive(Debug, Clone)]
pub(super) struct Corpus {
    pub(super) name: &'static str,
    pub(super) runs: usize,
    files: usize,
    directories: usize,
    mean_bytes: usize,
    content: Content,
}

/// Every corpus.
pub(super) const ALL: [Corpus; 3] = [
    Corpus {
        name: "A",
        runs: 3,
        files: 10_000,
        directories: 200,
        mean_bytes: 4 << 10,
        content: Content::Text,
    },
    Corpus {
        name: "B",
        runs: 2,
        files: 100_000,
        directories: 1_000,
        mean_bytes: 1 << 10,
        content: Content::Text,
    },
    Corpus {
        name: "C",
        runs: 1,
        files: 64,
        directories: 8,
        mean_bytes: 16 << 20,
        content: Content::Noise,
    },
];

impl Corpus {
    /// A tenth of its files, to try the harness.
    pub(super) fn tenth(mut self) -> Self {
        self.files /= 10;
        self.directories = self.directories.div_ceil(10);
        self
    }

    /// What is measured with it: text is edited, assets are patched.
    pub(super) fn operations(&self) -> &'static [Operation] {
        match self.content {
            Content::Text => &[
                Operation::First,
                Operation::Nothing,
                Operation::Distant,
                Operation::OneFile,
                Operation::OnePercent,
                Operation::Pull,
            ],
            Content::Noise => &[
                Operation::First,
                Operation::Nothing,
                Operation::OneFile,
                Operation::Insert,
                Operation::Pull,
            ],
        }
    }

    fn path(&self, number: usize) -> PathBuf {
        let extension = match self.content {
            Content::Text => "md",
            Content::Noise => "bin",
        };
        PathBuf::from(format!(
            "dir-{:04}/file-{number:06}.{extension}",
            number % self.directories
        ))
    }

    /// Writes the tree into a directory.
    pub(super) fn write(&self, root: &Path) -> Result<()> {
        let words = Words::new();
        for directory in 0..self.directories {
            let path = root.join(format!("dir-{directory:04}"));
            fs::create_dir_all(&path).context(IoSnafu {
                action: format!("create `{}`", path.display()),
            })?;
        }
        for number in 0..self.files {
            let seed = SEED.wrapping_add(number as u64);
            let bytes = match self.content {
                Content::Text => words.text(seed, self.mean_bytes).into_bytes(),
                Content::Noise => noise(seed, self.mean_bytes),
            };
            write(&root.join(self.path(number)), &bytes)?;
        }
        Ok(())
    }

    /// Makes the edits that an operation is about.
    pub(super) fn edit(&self, root: &Path, operation: Operation) -> Result<()> {
        match (operation, self.content) {
            (Operation::First | Operation::Nothing | Operation::Distant | Operation::Pull, _) => {
                Ok(())
            }
            (Operation::OneFile, Content::Text) => self.reword(root, self.files / 2),
            (Operation::OneFile, Content::Noise) => {
                let path = root.join(self.path(self.files / 2));
                let mut bytes = read(&path)?;
                let at = self.mean_bytes / 2;
                bytes[at..at + 4096].copy_from_slice(&noise(1, 4096));
                write(&path, &bytes)
            }
            (Operation::OnePercent, _) => {
                (0..self.files / 100).try_for_each(|number| self.reword(root, number * 100 + 7))
            }
            (Operation::Insert, _) => {
                let path = root.join(self.path(self.files / 3));
                let mut bytes = read(&path)?;
                let at = self.mean_bytes / 3;
                bytes.splice(at..at, noise(2, 1024));
                write(&path, &bytes)
            }
        }
    }

    /// Replaces the middle of a text by other words of about the same length.
    fn reword(&self, root: &Path, number: usize) -> Result<()> {
        let path = root.join(self.path(number));
        let bytes = read(&path)?;
        let (start, end) = (bytes.len() / 3, bytes.len() / 2);
        let mut edited = bytes[..start].to_vec();
        let text = Words::new().text(SEED ^ (number as u64) << 32, end - start);
        edited.extend_from_slice(text.as_bytes());
        edited.extend_from_slice(&bytes[end..]);
        write(&path, &edited)
    }
}

/// A vocabulary in which few words are frequent and many are rare, as in every language.
struct Words(Vec<String>);

impl Words {
    fn new() -> Self {
        const SYLLABLES: [&str; 24] = [
            "an", "ber", "con", "da", "er", "fi", "gen", "ha", "in", "ka", "la", "men", "no", "or",
            "pre", "ra", "sta", "ti", "un", "ver", "wo", "st", "ing", "el",
        ];
        let mut random = Random::new(SEED);
        let word = |_| {
            (0..=random.below(4))
                .map(|_| SYLLABLES[random.below(SYLLABLES.len())])
                .collect()
        };
        Self((0..6_000).map(word).collect())
    }

    /// A text of about so many bytes: half as long to one and a half times.
    fn text(&self, seed: u64, mean_bytes: usize) -> String {
        let mut random = Random::new(seed);
        let length = mean_bytes / 2 + random.below(mean_bytes.max(1));
        let mut text = format!(
            "---\ntitle: {} {}\nkind: article\npublished_at: 2026-{:02}-{:02}\n---\n\n",
            self.word(&mut random),
            self.word(&mut random),
            1 + random.below(12),
            1 + random.below(28)
        );
        let mut in_line = 0;
        while text.len() < length {
            text.push_str(self.word(&mut random));
            in_line += 1;
            text.push(if in_line % 13 == 0 { '\n' } else { ' ' });
        }
        text.push('\n');
        text
    }

    fn word(&self, random: &mut Random) -> &str {
        // The square of a uniform number prefers small ones.
        let (a, b) = (random.below(self.0.len()), random.below(self.0.len()));
        &self.0[a * b / self.0.len()]
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).context(IoSnafu {
        action: format!("write `{}`", path.display()),
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).context(IoSnafu {
        action: format!("read `{}`", path.display()),
    })
}

/// The first few paths at which two trees of files differ.
pub(super) fn differences(left: &Path, right: &Path) -> Result<Vec<String>> {
    let (a, b) = (files(left)?, files(right)?);
    let mut found = Vec::new();
    for path in a.keys().chain(b.keys()) {
        let same = a.contains_key(path)
            && b.contains_key(path)
            && a[path] == b[path]
            && read(&left.join(path))? == read(&right.join(path))?;
        if !same {
            found.push(path.display().to_string());
        }
        if found.len() == 5 {
            break;
        }
    }
    Ok(found)
}

/// Every file below a directory with its length, without what tools keep for themselves.
fn files(root: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let context = || IoSnafu {
            action: format!("list `{}`", directory.display()),
        };
        for entry in fs::read_dir(&directory).with_context(|_| context())? {
            let entry = entry.with_context(|_| context())?;
            let metadata = entry.metadata().with_context(|_| context())?;
            if metadata.is_dir() {
                if entry.file_name() != ".git" {
                    directories.push(entry.path());
                }
            } else if let Ok(path) = entry.path().strip_prefix(root) {
                found.insert(path.to_owned(), metadata.len());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corpus_is_the_same_every_time() {
        let corpus = Corpus {
            files: 20,
            directories: 3,
            ..ALL[0].clone()
        };
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for root in [a.path(), b.path()] {
            corpus.write(root).unwrap();
            corpus.edit(root, Operation::OneFile).unwrap();
        }
        assert_eq!(
            differences(a.path(), b.path()).unwrap(),
            Vec::<String>::new()
        );
        assert_eq!(files(a.path()).unwrap().len(), 20);
        corpus.edit(b.path(), Operation::OneFile).unwrap();
        assert_eq!(differences(a.path(), b.path()).unwrap().len(), 2);
    }
}
