//! What a capture sees, what it leaves out, and what it reads.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use sync_core::{Class, Entry, Fault};
use sync_files::{CaptureEvent, CaptureOptions, Doubt, Error, Refusal, StatCache, Tree};

use crate::support::{Workspace, World, capture, model, settled};

/// The changed paths of a capture; those that are gone with a `-`.
fn changes(capture: &sync_files::Capture) -> Vec<String> {
    let text = |(path, entry): &(sync_core::TreePath, Option<Entry>)| match entry {
        Some(_) => path.to_string(),
        None => format!("-{path}"),
    };
    capture.changes.iter().map(text).collect()
}

#[test]
fn paths_come_in_the_order_of_their_bytes() {
    let workspace = Workspace::new(&model("a/x 1\na.b 2\na-b 3\na/y/z 4\nb* 5\nc -> a/x\nd/"));
    let capture = capture(&workspace.tree(), &StatCache::new());
    assert_eq!(
        changes(&capture),
        ["a-b", "a.b", "a/x", "a/y/z", "b", "c", "d"]
    );
    assert_eq!((capture.files, capture.bytes), (6, 5));
    assert!(capture.refused.is_empty());
}

#[test]
fn a_cache_lists_what_was_captured() {
    let workspace = Workspace::new(&model("a/x 1\na.b 2\na-b 3\na/y/z 4\nb* 5\nc -> a/x\nd/"));
    let capture = capture(&workspace.tree(), &StatCache::new());
    let entries = capture.cache.entries().unwrap().into_iter();
    let listed: Vec<_> = entries.map(|(path, entry)| (path, Some(entry))).collect();
    assert_eq!(listed, capture.changes);
}

#[test]
fn an_unchanged_tree_is_not_read() {
    let workspace = Workspace::new(&model("a 1\nd/b 2\nd/e/c 3\nl -> a\nempty/"));
    let tree = workspace.tree();
    let cache = settled(&tree, StatCache::new());
    let again = capture(&tree, &cache);
    assert_eq!((again.read_files, again.changes.len()), (0, 0));
    assert_eq!((again.files, again.bytes), (4, 3));
    let all = CaptureOptions {
        read_all: true,
        ..CaptureOptions::default()
    };
    let all = tree.capture(&cache, &all, &|_| ()).unwrap();
    assert_eq!((all.read_files, all.changes.len()), (4, 0));
}

#[test]
fn only_what_changed_is_read() {
    let workspace = Workspace::new(&model("a 1\nd/b 2\nd/c 3\ngone/x 4\nturns/x 5\nfile 6"));
    let tree = workspace.tree();
    let cache = settled(&tree, StatCache::new());
    let root = workspace.root();
    fs::write(root.join("d/b"), "new").unwrap();
    fs::write(root.join("d/0"), "added").unwrap();
    fs::remove_dir_all(root.join("gone")).unwrap();
    fs::remove_dir_all(root.join("turns")).unwrap();
    fs::write(root.join("turns"), "a file now").unwrap();
    fs::remove_file(root.join("file")).unwrap();
    fs::create_dir(root.join("file")).unwrap();
    let found = capture(&tree, &cache);
    assert_eq!(
        changes(&found),
        ["d/0", "d/b", "file", "-gone/x", "turns", "-turns/x"]
    );
    assert_eq!(found.read_files, 3);
}

#[test]
fn a_touched_file_is_read_and_unchanged() {
    let workspace = Workspace::new(&model("a 1\nb 2"));
    let tree = workspace.tree();
    let cache = settled(&tree, StatCache::new());
    let now = std::time::SystemTime::now();
    let file = fs::File::options()
        .write(true)
        .open(workspace.root().join("a"));
    file.unwrap().set_modified(now).unwrap();
    let found = capture(&tree, &cache);
    assert_eq!((found.read_files, found.changes.len()), (1, 0));
}

#[test]
fn a_mode_that_travels_is_a_change_and_others_are_not() {
    let workspace = Workspace::new(&model("a 1\nb 2"));
    let tree = workspace.tree();
    let cache = settled(&tree, StatCache::new());
    let mode = |name: &str, mode| {
        let path = workspace.root().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("a", 0o744);
    mode("b", 0o600);
    assert_eq!(changes(&capture(&tree, &cache)), ["a"]);
}

/// The same size and the same mtime, in the tick in which the file was captured.
#[test]
fn an_edit_that_hides_in_a_clock_tick_is_seen() {
    let workspace = Workspace::new(&model("a 0"));
    let tree = workspace.tree();
    let path = workspace.root().join("a");
    let mut cache = capture(&tree, &StatCache::new()).cache;
    for round in 1..200u32 {
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, (round % 10).to_string()).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(modified).unwrap();
        let found = capture(&tree, &cache);
        assert_eq!(changes(&found), ["a"], "{round}");
        cache = found.cache;
    }
}

/// A file as young as the scan is read again next time, and one from a clock that was years ahead is not.
#[test]
fn young_files_are_read_again() {
    let workspace = Workspace::new(&model("a 1\nb 2"));
    let tree = workspace.tree();
    let ahead = |name: &str, seconds| {
        let file = fs::File::options()
            .write(true)
            .open(workspace.root().join(name));
        let then = std::time::SystemTime::now() + std::time::Duration::from_secs(seconds);
        file.unwrap().set_modified(then).unwrap();
    };
    ahead("b", 10 * 365 * 24 * 3600);
    let cache = settled(&tree, StatCache::new());
    ahead("a", 3600);
    let mut found = capture(&tree, &cache);
    for _ in 0..3 {
        found = capture(&tree, &found.cache);
        assert_eq!((found.read_files, found.changes.len()), (1, 0));
    }
}

#[test]
fn what_cannot_travel_is_named_and_stops_nothing() {
    let workspace = Workspace::new(&model("ok 1\nd/fine 2"));
    let root = workspace.root();
    let raw = |bytes: &[u8]| root.join(Path::new(std::ffi::OsStr::from_bytes(bytes)));
    fs::write(raw(b"bad-\xff"), "x").unwrap();
    fs::write(raw(b"bell-\x07"), "x").unwrap();
    fs::write(raw(b"back\\slash"), "x").unwrap();
    fs::create_dir(raw(b"dir-\xfe")).unwrap();
    fs::write(raw(b"dir-\xfe/inside"), "x").unwrap();
    fs::write(raw(b"c:drive"), "x").unwrap();
    symlink("/etc/passwd", root.join("absolute")).unwrap();
    symlink("../../outside", root.join("d/out")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink("fine/../..", root.join("d/climbs")).unwrap();
    symlink("d", root.join("loop-ok")).unwrap();
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    rustix_fifo(&root.join("pipe"));
    let tree = workspace.tree();
    let found = capture(&tree, &StatCache::new());
    assert_eq!(changes(&found), ["d/fine", "loop-ok", "ok"]);
    let refused: Vec<_> = found
        .refused
        .iter()
        .map(|refused| (refused.path.as_str(), refused.reason))
        .collect();
    assert_eq!(
        refused,
        [
            ("absolute", Refusal::LinkOutside),
            ("back\\slash", Refusal::Name("the name has a backslash")),
            ("bad-\u{fffd}", Refusal::NameNotUtf8),
            (
                "bell-\u{fffd}",
                Refusal::Name("the name has a control character")
            ),
            (
                "c:drive",
                Refusal::Name("the name looks like a drive letter")
            ),
            ("d/climbs", Refusal::LinkOutside),
            ("d/out", Refusal::LinkOutside),
            ("dir-\u{fffd}", Refusal::NameNotUtf8),
            ("pipe", Refusal::Pipe),
            ("socket", Refusal::Socket),
            ("up", Refusal::LinkOutside),
        ]
    );
}

fn rustix_fifo(path: &Path) {
    let status = std::process::Command::new("mkfifo").arg(path).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_linked_directory_is_a_link_and_not_walked() {
    let workspace = Workspace::new(&model("d/x 1\nl -> d\nself -> ."));
    let found = capture(&workspace.tree(), &StatCache::new());
    assert_eq!(changes(&found), ["d/x", "l", "self"]);
}

#[test]
fn ignored_and_reserved_names_are_left_out() {
    let workspace = Workspace::new(&model(
        ".syncignore *.log
         .git/config x
         d/.sync/stat x
         d/.git x
         d/keep 1
         d/x.log 1
         d/.syncignore !x.log
         build/out 1
         only/y.log 1",
    ));
    let options = CaptureOptions {
        ignore: vec!["/build/".into()],
        ..CaptureOptions::default()
    };
    let tree = workspace.tree();
    let found = tree.capture(&StatCache::new(), &options, &|_| ()).unwrap();
    // `only` is neither empty nor has anything that travels.
    assert_eq!(
        changes(&found),
        [".syncignore", "d/.syncignore", "d/keep", "d/x.log"]
    );
    fs::write(workspace.root().join(".syncignore"), "{").unwrap();
    let error = tree.capture(&found.cache, &options, &|_| ()).unwrap_err();
    assert_eq!(
        (error.code(), error.class()),
        ("files/ignore", Class::Usage)
    );
}

#[test]
fn a_missing_tree_is_never_an_empty_one() {
    let workspace = Workspace::new(&model("a 1"));
    let tree = workspace.tree();
    let cache = capture(&tree, &StatCache::new()).cache;
    let missing = workspace.dir.path().join("missing");
    let open = |root: &Path| Tree::open(root, &workspace.private());
    let error = open(&missing).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    assert!(matches!(
        open(&workspace.root().join("a")),
        Err(Error::NoTree { .. })
    ));
    // Removed, and made again: the directory that was opened is gone.
    fs::rename(workspace.root(), workspace.dir.path().join("moved")).unwrap();
    let again = tree.capture(&cache, &CaptureOptions::default(), &|_| ());
    assert!(matches!(again, Err(Error::NoTree { .. })));
    fs::create_dir(workspace.root()).unwrap();
    let again = tree.capture(&cache, &CaptureOptions::default(), &|_| ());
    assert!(matches!(again, Err(Error::NoTree { .. })));
}

/// Everything is hashed again and nothing looks deleted, whichever bytes of the cache are damaged.
#[test]
fn a_damaged_cache_means_hash_everything() {
    let workspace = Workspace::new(&model("a 1\nd/b 2\nempty/"));
    let tree = workspace.tree();
    let mut cache = settled(&tree, StatCache::new());
    cache.set_root(Some(sync_core::Digest::of(b"root")));
    let private = workspace.private();
    cache.save(&private).unwrap();
    let file = private.join(StatCache::FILE_NAME);
    let good = fs::read(&file).unwrap();
    let loaded = StatCache::load(&private);
    assert_eq!((loaded.root(), loaded.doubt()), (cache.root(), None));
    assert_eq!(capture(&tree, &loaded).read_files, 0);
    let check = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let loaded = StatCache::load(&private);
        assert_eq!(loaded.doubt(), Some(&Doubt::Damaged));
        assert!(loaded.is_empty() && loaded.root().is_none());
    };
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        check(&bad);
        check(&good[..at]);
    }
    check(&[&good[..], b"x"].concat());
    let found = capture(&tree, &StatCache::load(&private));
    assert_eq!(changes(&found), ["a", "d/b", "empty"]);
    fs::remove_file(&file).unwrap();
    assert_eq!(StatCache::load(&private).doubt(), Some(&Doubt::Absent));
}

/// A no-op writes nothing, and any news does.
#[test]
fn the_cache_is_saved_when_it_has_news() {
    let workspace = Workspace::new(&model("a 1\nd/b 2"));
    let (tree, private) = (workspace.tree(), workspace.private());
    settled(&tree, StatCache::new()).save(&private).unwrap();
    let file = private.join(StatCache::FILE_NAME);
    let saved = |cache: &StatCache| {
        fs::remove_file(&file).unwrap();
        cache.save(&private).unwrap();
        let written = file.exists();
        settled(&tree, cache.clone()).save(&private).unwrap();
        written
    };
    let loaded = StatCache::load(&private);
    assert!(!saved(&capture(&tree, &loaded).cache));
    StatCache::save(&settled(&tree, StatCache::new()), &private).unwrap();
    let mut loaded = StatCache::load(&private);
    loaded.set_root(Some(sync_core::Digest::of(b"root")));
    assert!(saved(&loaded));
    fs::remove_dir_all(workspace.root().join("d")).unwrap();
    assert!(saved(&capture(&tree, &loaded).cache));
}

#[test]
fn events_add_up() {
    let workspace = Workspace::new(&model("a 12\nd/b 345\nd/c #300000"));
    let [found, changed, read] = [const { AtomicU64::new(0) }; 3];
    let progress = |event| {
        let (counter, by) = match event {
            CaptureEvent::Found { files } => (&found, files),
            CaptureEvent::Changed { bytes, .. } => (&changed, bytes),
            CaptureEvent::Read { bytes } => (&read, bytes),
        };
        counter.fetch_add(by, Ordering::Relaxed);
    };
    let options = CaptureOptions::default();
    let tree = workspace.tree();
    tree.capture(&StatCache::new(), &options, &progress)
        .unwrap();
    let [found, changed, read] = [found, changed, read].map(AtomicU64::into_inner);
    assert_eq!((found, changed, read), (3, 300_005, 300_005));
}

/// The event comes before the files are read: this edit is between a stat and the read.
#[test]
fn a_file_that_changes_between_stat_and_read_is_read_as_it_is_now() {
    let workspace = Workspace::new(&model("a 1\nd/b #300000\ngone 1\nl -> a"));
    let root = workspace.root();
    let tree = workspace.tree();
    let disturb = |event| {
        if matches!(event, CaptureEvent::Changed { .. }) && root.join("gone").exists() {
            fs::write(root.join("a"), "longer").unwrap();
            fs::remove_file(root.join("d/b")).unwrap();
            symlink("../a", root.join("d/b")).unwrap();
            fs::remove_file(root.join("gone")).unwrap();
            fs::remove_file(root.join("l")).unwrap();
            fs::write(root.join("l"), "now a file").unwrap();
        }
    };
    let options = CaptureOptions::default();
    let found = tree.capture(&StatCache::new(), &options, &disturb).unwrap();
    let mut world = World::default();
    world.follow(&tree, &found);
    assert_eq!(changes(&found), ["a", "d/b", "l"]);
    assert_eq!(world.entries, World::of(&tree).entries);
    assert_eq!(capture(&tree, &found.cache).changes, []);
}

/// However a file is written to while it is read, it never looks deleted, and what is captured was there.
#[test]
fn a_file_that_is_being_written_is_never_gone() {
    use std::sync::atomic::AtomicBool;
    let workspace = Workspace::new(&model("busy #1000"));
    let tree = workspace.tree();
    let mut cache = settled(&tree, StatCache::new());
    let stop = AtomicBool::new(false);
    let path = workspace.root().join("busy");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for len in (0..400_000).cycle().step_by(997) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let file = fs::File::options().write(true).open(&path).unwrap();
                file.set_len(len).unwrap();
            }
        });
        for _ in 0..200 {
            let found = capture(&tree, &cache);
            assert!(found.changes.iter().all(|(_, entry)| entry.is_some()));
            assert!(found.refused.iter().all(|r| r.reason == Refusal::Unstable));
            assert_eq!(found.files, 1);
            cache = found.cache;
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// A reader that is not root cannot look into a directory: an error with its path, never a deletion.
#[test]
fn what_cannot_be_listed_is_not_gone() {
    let workspace = Workspace::new(&model("d/x 1\ne/y 2"));
    let tree = workspace.tree();
    let cache = settled(&tree, StatCache::new());
    let mode = |mode| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(workspace.root().join("d"), permissions).unwrap();
    };
    mode(0o000);
    let outcome = tree.capture(&cache, &CaptureOptions::default(), &|_| ());
    mode(0o755);
    match outcome {
        Err(error) => {
            assert!(error.to_string().contains("`d`"), "{error}");
            assert!(error.hint().is_some());
        }
        // Root reads everything.
        Ok(found) => assert!(found.changes.is_empty()),
    }
}

/// A file name of 255 bytes, a path of nearly 4,000, and one that is too long.
#[test]
fn long_names_and_deep_paths() {
    let workspace = Workspace::new(&model(""));
    let root = workspace.root();
    let name = "n".repeat(255);
    fs::write(root.join(&name), "x").unwrap();
    // Deeper than the system takes a path in one call.
    let mut dir: std::os::fd::OwnedFd = fs::File::open(&root).unwrap().into();
    for _ in 0..17 {
        dir = below(&dir, &"d".repeat(250));
    }
    let found = capture(&workspace.tree(), &StatCache::new());
    assert_eq!(found.files, 1);
    assert_eq!(found.changes.len(), 1);
    assert_eq!(found.refused.len(), 1);
    assert_eq!(
        found.refused[0].reason,
        Refusal::Name("the path is too long")
    );
    let world = World::of(&workspace.tree());
    assert_eq!(world.entries.keys().next().unwrap().as_str(), name);
    let _ = std::process::Command::new("rm")
        .arg("-rf")
        .arg(&root)
        .status();
}

fn below(dir: &std::os::fd::OwnedFd, name: &str) -> std::os::fd::OwnedFd {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    mkdirat(dir, name, Mode::from_raw_mode(0o755)).unwrap();
    openat(dir, name, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap()
}
