//! A dry run leaves no trace: neither names nor bytes nor times of `.sync` are other ones afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Desk, put, text};

/// Names, bytes and times of everything in a private directory; nothing where it is not there.
fn seen(private: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![private.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let mut bytes = Vec::new();
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            open.extend(entries.map(|entry| entry.unwrap().path()));
        } else {
            bytes = fs::read(&path).unwrap();
        }
        found.insert(path, (metadata.modified().unwrap(), bytes));
    }
    found
}

#[track_caller]
fn leaves_no_trace(desk: &Desk, root: &Path, words: &[&str]) {
    let private = root.join(".sync");
    let before = seen(&private);
    let output = desk.run(root, &[words, &["--dry-run"]].concat());
    assert_eq!(
        output.status.code(),
        Some(0),
        "{words:?}: {}",
        text(&output)
    );
    assert_eq!(seen(&private), before, "{words:?}");
}

#[test]
fn nothing_is_noted_by_a_dry_run() {
    let desk = Desk::new();
    let root = desk.root("work");
    fs::create_dir_all(&root).unwrap();
    // The tenant, too, is in `.sync`.
    desk.json(&root, &["init"], 0);
    let private = root.join(".sync");
    fs::remove_dir_all(&private).unwrap();
    put(&root, "a.txt", "one\n");
    let transfers = ["push", "sync", "pull"];
    for words in [&["push"][..], &["push", "files"], &["sync", "files"]] {
        leaves_no_trace(&desk, &root, words);
    }
    assert!(!private.exists());

    desk.json(&root, &["push"], 0);
    let first = desk.json(&root, &["log"], 0)["snapshots"][0]["id"].clone();
    let other = desk.root("other");
    fs::create_dir_all(&other).unwrap();
    let url = format!("embedded:{}", root.join(".sync/tenant").display());
    desk.json(&other, &["init", "--url", &url], 0);
    desk.json(&other, &["pull"], 0);
    put(&other, "b.txt", "b\n");
    desk.json(&other, &["push"], 0);
    put(&root, "a.txt", "two\n");
    // Unequal on both sides, then on one, then not at all.
    leaves_no_trace(&desk, &root, &["pull"]);
    leaves_no_trace(&desk, &root, &["sync", "all"]);
    desk.json(&root, &["pull"], 0);
    for verb in transfers {
        leaves_no_trace(&desk, &root, &[verb]);
    }
    desk.json(&root, &["push"], 0);
    for verb in transfers {
        leaves_no_trace(&desk, &root, &[verb, "files"]);
    }
    leaves_no_trace(&desk, &root, &["rollback", first.as_str().unwrap()]);
    leaves_no_trace(&desk, &root, &["undo"]);
    leaves_no_trace(&desk, &root, &["gc"]);
    desk.json(&root, &["remote", "add", "next", "embedded:.sync/next"], 0);
    leaves_no_trace(&desk, &root, &["promote", "default", "next"]);
    desk.json(&root, &["promote", "default", "next"], 0);
    leaves_no_trace(&desk, &root, &["promote", "default", "next"]);
    let (bundle, plain) = (desk.root("acme.tar.zst"), desk.root("plain"));
    let [bundle, plain] = [bundle, plain].map(|path| path.display().to_string());
    desk.json(&root, &["export", "--out", &bundle], 0);
    desk.json(&root, &["export", "--plain", "--out", &plain], 0);
    for words in [&["import", &bundle][..], &["import", "--plain", &plain]] {
        let words = [words, &["--force-overwrite"]].concat();
        leaves_no_trace(&desk, &root, &words);
    }
    // Nothing is left behind elsewhere.
    let left = fs::read_dir(desk.root("tmp")).unwrap();
    assert_eq!(left.count(), 0);
}
