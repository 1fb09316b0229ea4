//! What an apply does to a tree, and what stops it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use sync_core::{Class, Digest, Entry, Fault, TreePath};
use sync_files::{Error, Plan, StatCache, Step};

use crate::support::{Model, Workspace, World, apply, capture, model, settled};

/// Applies what leads from one tree to another, and checks that the tree, a capture and a refreshed cache agree.
#[track_caller]
fn check(before: &str, after: &str) {
    let (before, after) = (model(before), model(after));
    let workspace = Workspace::new(&before);
    let tree = workspace.tree();
    let mut cache = settled(&tree, StatCache::new());
    let (old, new) = (World::of(&tree), World::of_model(&after));
    let applied = apply(&tree, old.plan_to(&new), &cache, &new.objects).unwrap();
    assert_eq!(workspace.read(), after);
    workspace.assert_tidy();
    applied.refresh(&mut cache).unwrap();
    let again = capture(&tree, &cache);
    assert_eq!(
        again.changes,
        [],
        "the refreshed cache is not what the tree holds"
    );
    assert_eq!(World::of(&tree).entries, new.entries);
}

#[test]
fn files_come_change_and_go() {
    check("a 1\nb 2\nc 3", "a 1\nb two\nd 4");
    check("", "a/b/c 1\na/d 2\ne/f/g/h 3");
    check("a/b/c 1\na/d 2\ne/f/g/h 3", "");
    check("a/b 1\na/c 2", "a/c 2");
    check("a/b/c 1\na/x 2", "a/x 2\na/b/d 3");
    check("a 1", "a* 1");
    check("a* 1", "a 1");
    check("a 1", "a ");
    check("a #1000000", "a #1200000\nb #1000000\nc #5");
}

#[test]
fn links_and_empty_directories_travel() {
    check("", "l -> a\na 1\ne/\nf/g/");
    check("l -> a\na 1", "l -> b\nb 1");
    check("e/\nf/g/", "f/");
    check("f/", "f/g/h/");
    check("a/b 1", "a/");
    check("a/", "a/b 1");
}

#[test]
fn kinds_change() {
    check("a 1", "a/b 2");
    check("a/b 2", "a 1");
    check("a 1", "a -> b\nb 2");
    check("a -> b\nb 2", "a 1");
    check("a -> b\nb 2", "a/c 1\nb 2");
    check("a/c 1", "a -> b\nb 1");
    check("a/", "a 1");
    check("a 1", "a/");
    check("a/", "a -> b\nb 1");
    check("a -> b\nb 1", "a/\nb 1");
    check("a/b/c 1\na/b/d/\na/e 2", "a 1");
    check("a 1", "a/b/c 1\na/b/d/\na/e 2");
    check("a/b 1\na.b 2", "a 3\na.b/c 4");
}

#[test]
fn a_replaced_file_keeps_its_other_permissions() {
    let workspace = Workspace::new(&model("private 1\nshared 1\ntool* 1"));
    let mode = |name: &str| fs::metadata(workspace.root().join(name)).unwrap().mode() & 0o777;
    for (name, mode) in [("private", 0o600), ("shared", 0o664), ("tool", 0o750)] {
        let path = workspace.root().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let tree = workspace.tree();
    let old = World::of(&tree);
    let new = World::of_model(&model("private* 2\nshared 2\ntool 2"));
    apply(&tree, old.plan_to(&new), &StatCache::new(), &new.objects).unwrap();
    assert_eq!(mode("private"), 0o700);
    assert_eq!(mode("shared"), 0o664);
    assert_eq!(mode("tool"), 0o640);
}

#[test]
fn unchanged_files_are_not_touched() {
    let workspace = Workspace::new(&model("a 1\nb 2\nd/c 3"));
    let inode = |name: &str| fs::metadata(workspace.root().join(name)).unwrap().ino();
    let before = ["a", "d/c"].map(inode);
    let tree = workspace.tree();
    let new = World::of_model(&model("a 1\nb 22\nd/c 3\nd/e 5"));
    apply(
        &tree,
        World::of(&tree).plan_to(&new),
        &StatCache::new(),
        &new.objects,
    )
    .unwrap();
    assert_eq!(before, ["a", "d/c"].map(inode));
}

/// What is on disk when the plan is applied, instead of what the plan expects; and the paths that are named.
#[track_caller]
fn refuse(before: &str, after: &str, instead: &str, named: &[&str]) {
    let instead: Model = model(instead);
    let workspace = Workspace::new(&instead);
    let (old, new) = (
        World::of_model(&model(before)),
        World::of_model(&model(after)),
    );
    let tree = workspace.tree();
    let cache = settled(&tree, StatCache::new());
    let error = apply(&tree, old.plan_to(&new), &cache, &new.objects).unwrap_err();
    match &error {
        Error::Moved { paths } => assert_eq!(paths, named),
        error => panic!("{error:?}"),
    }
    assert_eq!(error.class(), Class::Conflict);
    assert_eq!(workspace.read(), instead);
    workspace.assert_tidy();
}

#[test]
fn an_edit_is_never_overwritten() {
    refuse("a 1", "a 2", "a edit", &["a"]);
    refuse("a 1", "a 2", "", &["a"]);
    refuse("a 1", "", "a edit", &["a"]);
    refuse("a 1", "", "", &["a"]);
    refuse("", "a 1", "a edit", &["a"]);
    refuse("", "a 1", "a 1", &["a"]);
    refuse("", "a 1", "a/", &["a"]);
    refuse("", "a 1", "a/b/c 1", &["a/b/c"]);
    refuse("a 1", "a 2", "a* 1", &["a"]);
    refuse("a 1", "a 2", "a -> b", &["a"]);
    refuse("a -> b", "a -> c", "a -> d", &["a"]);
    refuse("a -> b", "a 1", "a b", &["a"]);
    refuse("a/", "a 1", "a/x 1", &["a"]);
    refuse("a/", "", "a/x 1", &["a"]);
    refuse("a/b 1", "a 2", "a/b 1\na/c 3", &["a/c"]);
    refuse("a/b 1", "a 2", "a/b 1\na/c/", &["a/c"]);
    refuse("x 1", "x 2\na/b 1", "x 1\na file", &["a"]);
    refuse("x 1", "x 2\na/b 1", "x 1\na -> x", &["a"]);
    refuse(
        "a 1\nb 2\nc 3",
        "a 11\nb 22\nc 33",
        "a edit\nb 2\nc edit",
        &["a", "c"],
    );
    refuse("a #1000000", "a 1", "a #1000001", &["a"]);
}

#[test]
fn a_directory_with_ignored_files_stays_with_them() {
    let workspace = Workspace::new(&model(".syncignore *.pyc\nd/a.py 1\nd/a.pyc x"));
    let tree = workspace.tree();
    let mut cache = settled(&tree, StatCache::new());
    let new = World::of_model(&model(".syncignore *.pyc"));
    let plan = World::of(&tree).plan_to(&new);
    let applied = apply(&tree, plan, &cache, &new.objects).unwrap();
    assert_eq!(applied.removed, 1);
    assert_eq!(workspace.read(), model(".syncignore *.pyc\nd/a.pyc x"));
    applied.refresh(&mut cache).unwrap();
    assert_eq!(capture(&tree, &cache).changes, []);
    assert_eq!(World::of(&tree).entries, new.entries);
}

#[test]
fn a_link_in_the_way_is_never_followed() {
    let workspace = Workspace::new(&model("a/x 1"));
    let outside = workspace.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("x"), "1").unwrap();
    let tree = workspace.tree();
    let old = World::of(&tree);
    let new = World::of_model(&model("a/x 2\na/y 3"));
    fs::remove_dir_all(workspace.root().join("a")).unwrap();
    symlink(&outside, workspace.root().join("a")).unwrap();
    let error = apply(&tree, old.plan_to(&new), &StatCache::new(), &new.objects).unwrap_err();
    assert!(matches!(error, Error::Moved { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(outside.join("x")).unwrap(), "1");
    assert!(!outside.join("y").exists());
}

#[test]
fn corrupt_and_missing_chunks_stop_an_apply() {
    let workspace = Workspace::new(&model("a 1"));
    let tree = workspace.tree();
    let old = World::of(&tree);
    let new = World::of_model(&model("a 2\nb #600000"));
    let mut staging = tree.stage(old.plan_to(&new), &StatCache::new()).unwrap();
    let digest = Digest::of(b"2");
    let error = staging.put(&digest, b"3").unwrap_err();
    assert_eq!(
        (error.code(), error.class()),
        ("files/corrupt", Class::Integrity)
    );
    assert!(staging.wants(&digest));
    staging.put(&digest, b"2").unwrap();
    staging.put(&Digest::of(b"unasked"), b"unasked").unwrap();
    let wanted = staging.wanted().count();
    assert!(wanted > 4);
    match staging.commit(&|_| ()).unwrap_err() {
        Error::Incomplete { missing, .. } => assert_eq!(missing, wanted),
        error => panic!("{error:?}"),
    }
    assert_eq!(workspace.read(), model("a 1"));
    workspace.assert_tidy();
}

#[test]
fn chunks_are_taken_from_files_that_are_replaced() {
    let workspace = Workspace::new(&model("large #900000\nsmall tiny\nprogram same"));
    let tree = workspace.tree();
    let old = World::of(&tree);
    let mut after = model("moved tiny\nprogram* same");
    let mut edited = crate::support::noise(900_000);
    edited.splice(400_000..400_000, *b"inserted");
    after.insert("large".into(), crate::support::Node::File(edited));
    let new = World::of_model(&after);
    let mut staging = tree.stage(old.plan_to(&new), &StatCache::new()).unwrap();
    let all = staging.wanted().count();
    staging.fill_from_tree().unwrap();
    let rest: Vec<_> = staging.wanted().collect();
    assert!(rest.len() <= 2 && all > 6, "{} of {all}", rest.len());
    for digest in rest {
        staging.put(&digest, &new.objects[&digest]).unwrap();
    }
    staging.commit(&|_| ()).unwrap();
    assert_eq!(workspace.read(), after);
}

#[test]
fn one_apply_at_a_time() {
    let workspace = Workspace::new(&model("a 1"));
    let (one, two) = (workspace.tree(), workspace.tree());
    let _staging = one.stage(Plan::default(), &StatCache::new()).unwrap();
    let error = two.stage(Plan::default(), &StatCache::new()).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    assert!(matches!(two.recover(), Err(Error::Busy { .. })));
}

#[test]
fn a_hostile_plan_is_refused_before_anything_is_written() {
    let workspace = Workspace::new(&model("a 1"));
    let step = |path: &str, wanted: Entry| Step {
        path: TreePath::new(path).unwrap(),
        expected: None,
        wanted: Some(wanted),
        chunks: Vec::new(),
    };
    let link = |target: &str| Entry::Link {
        target: target.into(),
    };
    for step in [
        step(".git/hooks/post-checkout", link("x")),
        step("l", link("/etc/passwd")),
        step("d/l", link("../../x")),
    ] {
        let plan = Plan {
            steps: vec![step],
            note: Vec::new(),
        };
        let error = workspace.tree().stage(plan, &StatCache::new()).unwrap_err();
        assert_eq!(
            (error.code(), error.class()),
            ("files/plan", Class::Integrity)
        );
    }
    assert_eq!(workspace.read(), model("a 1"));
    workspace.assert_tidy();
}

/// A stage that was killed leaves files behind, which the next one deletes.
#[test]
fn what_a_killed_stage_left_is_deleted() {
    let workspace = Workspace::new(&model("a 1"));
    fs::create_dir_all(workspace.private().join("txn/new/x/y")).unwrap();
    fs::write(workspace.private().join("txn/new/x/y/z"), "left").unwrap();
    let tree = workspace.tree();
    assert!(matches!(
        tree.recover().unwrap(),
        sync_files::Recovered::Discarded
    ));
    workspace.assert_tidy();
    assert!(matches!(
        tree.recover().unwrap(),
        sync_files::Recovered::Nothing
    ));
    fs::create_dir_all(workspace.private().join("txn/new/x")).unwrap();
    drop(tree.stage(Plan::default(), &StatCache::new()).unwrap());
    workspace.assert_tidy();
}

#[test]
fn a_damaged_journal_is_left_alone() {
    let workspace = Workspace::new(&model("a 1"));
    let txn = workspace.private().join("txn");
    for name in ["new", "old", "undone"] {
        fs::create_dir_all(txn.join(name)).unwrap();
    }
    fs::write(txn.join("journal"), "not a journal").unwrap();
    let tree = workspace.tree();
    let error = tree.recover().unwrap_err();
    assert_eq!(
        (error.code(), error.class()),
        ("files/journal", Class::Integrity)
    );
    let error = tree.stage(Plan::default(), &StatCache::new()).unwrap_err();
    assert_eq!(error.code(), "files/pending");
    let options = sync_files::CaptureOptions::default();
    let error = tree
        .capture(&StatCache::new(), &options, &|_| ())
        .unwrap_err();
    assert_eq!(error.code(), "files/pending");
    assert!(txn.join("journal").exists());
}

/// The next capture reads what was written in the last tick of the clock at most.
#[test]
fn an_apply_vouches_for_what_it_wrote() {
    let workspace = Workspace::new(&model("old 1"));
    let tree = workspace.tree();
    let mut cache = settled(&tree, StatCache::new());
    let lines: Vec<_> = (0..2000).map(|n| format!("d{}/f{n} {n}", n % 20)).collect();
    let new = World::of_model(&model(&lines.join("\n")));
    let plan = World::of(&tree).plan_to(&new);
    let mut staging = tree.stage(plan, &cache).unwrap();
    for digest in staging.wanted().collect::<Vec<_>>() {
        staging.put(&digest, &new.objects[&digest]).unwrap();
    }
    // Files that wait for other chunks grow old.
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_millis(50) {
        std::hint::spin_loop();
    }
    staging
        .commit(&|_| ())
        .unwrap()
        .refresh(&mut cache)
        .unwrap();
    let again = capture(&tree, &cache);
    assert_eq!((again.changes.len(), again.read_files), (0, 0));
}
