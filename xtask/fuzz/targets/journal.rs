//! The journal of an interrupted apply, with a checksum that fits: recovering by it never panics, and touches nothing beside the tree.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use sync_files::Tree;

fuzz_target!(|body: &[u8]| {
    let desk = tempfile::tempdir().expect("a temporary directory");
    let (services, private) = (desk.path().join("services"), desk.path().join("private"));
    let txn = private.join("txn");
    for directory in [services.join("b"), txn.join("new"), txn.join("old")] {
        fs::create_dir_all(directory).expect("create a directory");
    }
    let beside = desk.path().join("beside");
    for path in [
        &services.join("a"),
        &txn.join("new/a"),
        &txn.join("old/0"),
        &beside,
    ] {
        fs::write(path, "a file").expect("write a file");
    }
    let digest = blake3::hash(body);
    let journal = [b"SYNCJRNL\x01", digest.as_bytes().as_slice(), body].concat();
    fs::write(txn.join("journal"), journal).expect("write the journal");
    let tree = Tree::open(&services, &private).expect("open the tree");
    let _ = tree.recover();
    assert_eq!(fs::read(&beside).expect("read a file"), b"a file");
});
