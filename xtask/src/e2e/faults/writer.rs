//! A file that somebody writes while it is read.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::mpsc,
    thread,
};

use super::{
    super::trees::{self, assert_same},
    Place,
};

/// The file is so many blocks, each written by one call.
const BLOCKS: usize = 96;
const BLOCK: usize = 64 << 10;

/// So many pushes run beside the writer.
const PUSHES: usize = 10;

/// A block of a version: the number of the version, over and over.
fn block(version: u64) -> Vec<u8> {
    version.to_le_bytes().repeat(BLOCK / 8)
}

/// Writes a version over the one before, from the front to the back.
fn rewrite(file: &File, version: u64) {
    let block = block(version);
    for at in 0..BLOCKS {
        file.write_all_at(&block, (at * BLOCK) as u64)
            .expect("write a block");
    }
}

/// Demands a state that the file had at some time: a version to some point, the one before it from there on.
fn assert_existed(path: &Path, newest: u64) {
    let bytes = fs::read(path).expect("read a file");
    assert_eq!(bytes.len(), BLOCKS * BLOCK);
    let words = bytes.as_chunks::<8>().0.iter();
    let mut versions: Vec<u64> = words.map(|word| u64::from_le_bytes(*word)).collect();
    versions.dedup();
    let existed = match versions[..] {
        [all] => all <= newest,
        [new, old] => new == old + 1 && new <= newest,
        _ => false,
    };
    assert!(existed, "a state that never was: {versions:?}");
}

pub(super) fn a_file_that_is_being_written_is_sent_whole(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    let path = here.services().join("web/moving.bin");
    fs::write(&path, block(0).repeat(BLOCKS)).expect("write a file");
    here.push().ok();
    let (start, started) = mpsc::channel::<()>();
    let writing = thread::spawn({
        let path = path.clone();
        move || {
            let file = File::options().write(true).open(path).expect("open a file");
            let mut version = 0;
            while started.recv().is_ok() {
                for _ in 0..40 {
                    version += 1;
                    rewrite(&file, version);
                }
            }
            version
        }
    });
    for number in 0..PUSHES {
        start.send(()).expect("the writer writes");
        trees::write(
            &here.services(),
            "agents/triage.yaml",
            format!("version {number}\n"),
        );
        let pushed = here.push();
        if pushed.code != 0 {
            let code = &pushed.json()["errors"][0]["code"];
            assert!(code.is_string(), "no named reason: {}", pushed.stdout);
            assert_ne!(pushed.code, 70, "{}", pushed.stderr);
        }
        there.pull().ok();
        assert_existed(&there.services().join("web/moving.bin"), u64::MAX - 1);
    }
    drop(start);
    let newest = writing.join().expect("the writer ends");
    here.push().ok();
    there.pull().ok();
    assert_existed(&there.services().join("web/moving.bin"), newest);
    assert_same(&here.services(), &there.services());
}
