//! The stat cache of a workspace, with a checksum that fits: a capture by it never panics, and sees the tree as it is.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sync_files::{CaptureOptions, StatCache, Tree};
use tempfile::TempDir;

/// A tree with a file and a directory, and its private directory.
static DESK: LazyLock<Option<TempDir>> = LazyLock::new(|| {
    let desk = tempfile::tempdir().ok()?;
    fs::create_dir_all(desk.path().join("services/b")).ok()?;
    fs::create_dir_all(desk.path().join("private")).ok()?;
    fs::write(desk.path().join("services/a"), "a file").ok()?;
    fs::write(desk.path().join("services/b/c"), "another").ok()?;
    Some(desk)
});

fuzz_target!(|body: &[u8]| {
    let desk = DESK
        .as_ref()
        .map(TempDir::path)
        .expect("a temporary directory");
    let (services, private) = (desk.join("services"), desk.join("private"));
    let digest = blake3::hash(body);
    let file = [b"SYNCSTAT\x01", digest.as_bytes().as_slice(), body].concat();
    fs::write(private.join(StatCache::FILE_NAME), file).expect("write the cache");
    let cache = StatCache::load(&private);
    let tree = Tree::open(&services, &private).expect("open the tree");
    let _ = tree.capture(&cache, &CaptureOptions::default(), &|_| {});
});
