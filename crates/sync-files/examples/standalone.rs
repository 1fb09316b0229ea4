//! The crate alone, with nothing but `sync-core` beside it: captures a directory into a map in memory, changes the directory,
//! shows what differs, and brings another directory to the same state.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use sync_core::content::decode_list;
use sync_core::{Chunk, Content, Digest, Entry, TreePath};
use sync_files::{Capture, CaptureOptions, Error, Plan, StatCache, Step, Tree, placed};

/// What a remote would hold.
#[derive(Default)]
struct Memory {
    files: BTreeMap<TreePath, Entry>,
    objects: HashMap<Digest, Vec<u8>>,
}

impl Memory {
    /// Takes over what a capture found, with the bytes of new chunks.
    fn take(&mut self, tree: &Tree, capture: &Capture, out: &mut String) -> Result<(), Error> {
        self.objects.extend(capture.lists.iter().cloned());
        let mut contents = tree.contents()?;
        for (path, entry) in &capture.changes {
            let known = self.files.contains_key(path);
            let Some(entry) = entry else {
                let _ = writeln!(out, "- {path}");
                self.files.remove(path);
                continue;
            };
            let _ = writeln!(out, "{} {path}", if known { '~' } else { '+' });
            self.files.insert(path.clone(), entry.clone());
            if let Entry::File { content, .. } = entry {
                let chunks = self.chunks(content);
                let has: Vec<Digest> = self.objects.keys().copied().collect();
                contents.read(
                    path,
                    placed(&chunks).filter(|(_, chunk)| !has.contains(&chunk.digest)),
                    |digest, bytes| {
                        self.objects.insert(digest, bytes.to_vec());
                        Ok::<(), Error>(())
                    },
                )?;
            }
        }
        Ok(())
    }

    /// The chunks of a file, with its lists followed.
    fn chunks(&self, content: &Content) -> Vec<Chunk> {
        (0..content.depth).fold(content.chunks.clone(), |chunks, _| {
            let list = |chunk: &Chunk| decode_list(self.objects.get(&chunk.digest)?);
            chunks.iter().filter_map(list).flatten().collect()
        })
    }

    /// Brings an empty tree to what this holds.
    fn plan(&self) -> Plan {
        let steps = self.files.iter().map(|(path, entry)| Step {
            path: path.clone(),
            expected: None,
            wanted: Some(entry.clone()),
            chunks: match entry {
                Entry::File { content, .. } => self.chunks(content),
                Entry::Link { .. } | Entry::Directory => Vec::new(),
            },
        });
        Plan {
            steps: steps.collect(),
            note: Vec::new(),
        }
    }
}

/// Everything the example does, in `dir`; returns what it has to say.
pub(crate) fn run(dir: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let mut out = String::new();
    let (here, there) = (dir.join("here"), dir.join("there"));
    fs::create_dir_all(here.join("agents"))?;
    fs::create_dir_all(here.join("skills/summarise"))?;
    fs::write(here.join("agents/triage.yaml"), "name: triage\n")?;
    fs::write(here.join("skills/summarise/SKILL.md"), "# Summarise\n")?;
    fs::write(here.join("skills/summarise/run.sh"), "#!/bin/sh\n")?;

    let private = dir.join(".sync");
    let tree = Tree::open(&here, &private)?;
    let options = CaptureOptions::default();
    let first = tree.capture(&StatCache::load(&private), &options, &|_| ())?;
    let mut memory = Memory::default();
    let _ = writeln!(out, "first: {} files", first.files);
    memory.take(&tree, &first, &mut out)?;
    first.cache.save(&private)?;

    fs::write(
        here.join("agents/triage.yaml"),
        "name: triage\nmodel: small\n",
    )?;
    fs::remove_file(here.join("skills/summarise/run.sh"))?;
    fs::create_dir(here.join("web"))?;
    fs::write(here.join("web/index.html"), "<p>hello</p>\n")?;
    let then = tree.capture(&StatCache::load(&private), &options, &|_| ())?;
    out.push_str("then:\n");
    memory.take(&tree, &then, &mut out)?;

    let other_private = dir.join(".sync-there");
    let other = Tree::open_or_create(&there, &other_private)?;
    let mut cache = StatCache::load(&other_private);
    let mut staging = other.stage(memory.plan(), &cache)?;
    let wanted: Vec<Digest> = staging.wanted().collect();
    for digest in wanted {
        staging.put(&digest, &memory.objects[&digest])?;
    }
    let applied = staging.commit(&|_| ())?;
    applied.refresh(&mut cache)?;
    let _ = writeln!(
        out,
        "applied: {} written, {} removed",
        applied.written, applied.removed
    );
    if other.capture(&cache, &options, &|_| ())?.changes.is_empty() {
        out.push_str("again: nothing to do\n");
    }
    Ok(out)
}

/// Runs the example in a directory of its own.
#[allow(
    dead_code,
    clippy::print_stdout,
    reason = "an example prints; a test runs it through `run`"
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("sync-files-example-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    print!("{}", run(&dir)?);
    fs::remove_dir_all(&dir)?;
    Ok(())
}
