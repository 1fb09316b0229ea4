//! Tenants by name, and branches of them.

use std::fs;

use serde_json::json;

use super::{Desk, put, read};

#[test]
fn remotes_are_added_used_and_removed() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    let mut text = fs::read_to_string(work.join("sync.toml")).unwrap();
    text.push_str("\n# mine\n[files]\nallow_secrets = []\n");
    fs::write(work.join("sync.toml"), &text).unwrap();
    let url = format!("embedded:{}", desk.root("other").display());
    desk.check(
        &work,
        &["remote", "add", "staging", &url, "--tenant", "acme"],
        0,
        "added remote `staging`: tenant `acme` at embedded:DIR/other",
    );
    let after = fs::read_to_string(work.join("sync.toml")).unwrap();
    assert!(after.starts_with(&text), "{after}");
    desk.check(
        &work,
        &["remote", "add", "staging", &url],
        2,
        "
        error[engine/remote-exists]: the workspace has a remote `staging` already
        hint: take another name, or run `sync-cli remote remove` first
    ",
    );
    desk.check(
        &work,
        &["remote", "list"],
        0,
        "
        * default      embedded:DIR/tenant  tenant default  branch main
          staging      embedded:DIR/other  tenant acme  branch main
    ",
    );
    let listed = desk.json(&work, &["remote", "list"], 0);
    assert_eq!(listed["remotes"][1]["default"], json!(false));
    assert_eq!(listed["remotes"][1]["token"], json!(null));

    // Each has a base of its own.
    put(&work, "a.txt", "one\n");
    desk.json(&work, &["push", "files"], 0);
    let status = |remote: &str| {
        let words = ["status", "files", "--remote", remote];
        desk.json(&work, &words, 0)["files"].clone()
    };
    assert_eq!(status("default")["standing"], json!("in_sync"));
    assert_eq!(status("staging")["standing"], json!("local_ahead"));
    assert_eq!(status("staging")["base"], json!(null));
    desk.json(&work, &["push", "files", "--remote", "staging"], 0);
    put(&work, "a.txt", "two\n");
    desk.json(&work, &["--remote", "staging", "push", "files"], 0);
    assert_eq!(status("staging")["standing"], json!("in_sync"));
    assert_eq!(status("default")["standing"], json!("local_ahead"));
    assert_eq!(
        desk.json(&work, &["log"], 0)["snapshots"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let log = desk.json(&work, &["log", "--remote", "staging"], 0);
    assert_eq!(log["snapshots"].as_array().unwrap().len(), 2);

    desk.check(
        &work,
        &["status", "--remote", "nowhere"],
        2,
        "
        error[engine/unknown-remote]: the workspace has no remote `nowhere`
        hint: `sync-cli remote list` lists them, `sync-cli remote add NAME URL` adds one
    ",
    );
    desk.check(
        &work,
        &["remote", "list", "--remote", "staging"],
        2,
        "error[cli/wrong-flag]: `--remote` is for what talks to the workspace's tenant",
    );
    desk.check(
        &work,
        &["remote", "remove", "staging"],
        0,
        "removed remote `staging`",
    );
    assert_eq!(fs::read_to_string(work.join("sync.toml")).unwrap(), text);
    // What was agreed on is found again under any name.
    desk.json(
        &work,
        &["remote", "add", "again", &url, "--tenant", "acme"],
        0,
    );
    assert_eq!(status("again")["standing"], json!("in_sync"));
}

#[test]
fn the_only_remote_is_the_default_and_of_several_one_is_named() {
    let desk = Desk::new();
    let root = desk.root("work");
    fs::create_dir_all(&root).unwrap();
    let table = |name: &str| format!("[remotes.{name}]\nurl = \"embedded:.sync/{name}\"\n");
    fs::write(root.join("sync.toml"), table("a")).unwrap();
    put(&root, "a.txt", "one\n");
    desk.json(&root, &["push", "files"], 0);
    fs::write(root.join("sync.toml"), table("a") + &table("b")).unwrap();
    desk.check(
        &root,
        &["push", "files"],
        2,
        "
        error[engine/which-remote]: the workspace has several remotes, and none is the default: `a`, `b`
        hint: name one with `--remote NAME`, or call one `[remote]` in sync.toml
    ",
    );
    desk.json(&root, &["push", "files", "--remote", "b"], 0);
    let again = desk.json(&root, &["pull", "files", "--remote", "a"], 0);
    assert_eq!(again["items_synced"], json!(0));
    assert_eq!(read(&root, "a.txt"), "one\n");
}

#[test]
fn a_push_begins_a_branch_from_what_was_agreed_on() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    for n in 0..40 {
        put(&work, &format!("{n}.txt"), &format!("file {n}\n"));
    }
    let first = desk.json(&work, &["push", "files", "-m", "first"], 0)["snapshot"].clone();
    desk.check(
        &work,
        &["pull", "files", "--branch", "trial"],
        2,
        "
        error[engine/no-branch]: the tenant has no branch `trial`
        hint: `sync-cli branch list` lists them; a push with `--branch NAME` begins one
    ",
    );

    // Nothing changed: the branch begins at the very same snapshot.
    desk.json(
        &work,
        &["push", "files", "--branch", "same", "--dry-run"],
        0,
    );
    let branches = |count: usize| {
        let found = desk.json(&work, &["branch", "list"], 0)["branches"].clone();
        assert_eq!(found.as_array().unwrap().len(), count, "{found}");
        found
    };
    branches(1);
    let same = desk.json(&work, &["push", "files", "--branch", "same"], 0);
    assert_eq!(same["snapshot"], first);
    assert!(same["bytes_sent"].as_u64().unwrap() < 2_000, "{same}");
    assert_eq!(branches(2)[1]["head"], first);

    // One file changed: one file goes, after what was agreed on.
    put(&work, "7.txt", "tried\n");
    let tried = desk.json(&work, &["push", "files", "--branch", "trial"], 0);
    assert_eq!(tried["changes"].as_array().unwrap().len(), 1, "{tried}");
    let log = desk.json(&work, &["log", "--branch", "trial"], 0)["snapshots"].clone();
    assert_eq!(log[0]["snapshot"]["parents"], json!([first]));
    desk.check(
        &work,
        &["status"],
        0,
        "
        files     local_ahead   here: 1 changed    base ID
          branch  local_ahead   same  ID
          branch  in_sync       trial  ID
    ",
    );

    // Somebody else comes to it without a base of its own: what meets is the base, and nothing is a conflict.
    let other = desk.workspace("other");
    desk.json(&other, &["pull", "files"], 0);
    put(&other, "8.txt", "mine\n");
    let synced = desk.json(&other, &["sync", "files", "--branch", "trial"], 0);
    assert_eq!(synced["items_synced"], json!(2), "{synced}");
    assert_eq!(read(&other, "7.txt"), "tried\n");
    assert_eq!(read(&other, "8.txt"), "mine\n");
}

#[test]
fn branches_are_listed_created_and_deleted() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    desk.check(
        &work,
        &["branch", "create", "trial"],
        2,
        "
        error[cli/nothing-yet]: the branch that the workspace follows has no snapshot yet
        hint: push first, or name a snapshot
    ",
    );
    put(&work, "a.txt", "one\n");
    let first = desk.json(&work, &["push", "files", "-m", "first"], 0)["snapshot"].clone();
    put(&work, "a.txt", "two\n");
    desk.json(&work, &["push", "files", "-m", "second"], 0);
    let at = &first.as_str().unwrap()[..8];
    desk.check(
        &work,
        &["branch", "create", "trial", at],
        0,
        "branch `trial` begins at ID",
    );
    let taken = desk.json(&work, &["branch", "create", "trial"], 3);
    assert_eq!(taken["errors"][0]["code"], json!("engine/stale"));
    let listed = desk.json(&work, &["branch", "list"], 0);
    assert_eq!(listed["branches"][0]["followed"], json!(true));
    assert_eq!(listed["branches"][1]["head"], first);
    let kept = desk.json(&work, &["branch", "delete", "main"], 2);
    let said = kept["errors"][0].to_string();
    assert!(said.contains("branch `main` cannot be deleted"), "{said}");
    let none = desk.json(&work, &["branch", "delete", "nowhere"], 2);
    assert_eq!(none["errors"][0]["code"], json!("engine/no-branch"));
    let gone = desk.json(&work, &["branch", "delete", "trial"], 0);
    assert_eq!(gone["head"], first);
    let listed = desk.json(&work, &["branch", "list"], 0);
    assert_eq!(listed["branches"].as_array().unwrap().len(), 1);
}

/// The snapshots of a branch, newest first.
fn log(desk: &Desk, root: &std::path::Path, remote: &str) -> Vec<serde_json::Value> {
    let log = desk.json(root, &["log", "--remote", remote], 0);
    let snapshots = log["snapshots"].as_array().unwrap();
    snapshots
        .iter()
        .map(|logged| logged["id"].clone())
        .collect()
}

#[test]
#[allow(
    clippy::too_many_lines,
    reason = "one session, in which each step begins where the one before has ended"
)]
fn promote_is_a_fast_forward_a_merge_or_nothing() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    // One in a directory of its own, one beside the default tenant.
    let url = format!("embedded:{}", desk.root("other").display());
    desk.json(&work, &["remote", "add", "production", &url], 0);
    let url = format!("embedded:{}", desk.root("tenant").display());
    desk.json(
        &work,
        &["remote", "add", "beside", &url, "--tenant", "beside"],
        0,
    );

    let promote = |words: &[&str], code| {
        let report = desk.json(&work, &[&["promote"], words].concat(), code);
        let left = fs::read_dir(work.join(".sync")).unwrap();
        let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(names.into_iter().all(|name| !name.starts_with("promote")));
        report
    };
    let none = promote(&["default", "production", "--dry-run"], 2);
    assert_eq!(none["errors"][0]["code"], json!("engine/no-branch"));

    // Three snapshots at once, the same ids, and history with them.
    for n in 0..3 {
        for m in 0..30 {
            put(
                &work,
                &format!("{m}.txt"),
                &format!("file {m}\nline\nline\nend {}\n", n * (m % 2)),
            );
        }
        desk.json(&work, &["push", "files"], 0);
    }
    let source = log(&desk, &work, "default");
    let dry = promote(&["default", "production", "--dry-run"], 0);
    assert_eq!(dry["standing"], json!("fast_forward"));
    assert_eq!(dry["changes"].as_array().unwrap().len(), 30);
    assert!(!desk.root("other").exists(), "a dry run made the tenant");
    let dry = promote(&["default", "beside", "--dry-run"], 0);
    assert_eq!(dry["standing"], json!("fast_forward"));
    let done = promote(&["default", "production"], 0);
    assert_eq!(done["snapshot"], source[0]);
    assert_eq!(log(&desk, &work, "production"), source);
    let again = promote(&["default", "production"], 0);
    assert_eq!(again["standing"], json!("up_to_date"));

    // Only what the target lacks.
    put(&work, "1.txt", "changed on the source\nline\nline\nend 1\n");
    desk.json(&work, &["push", "files"], 0);
    let done = promote(&["default", "production"], 0);
    assert_eq!(done["changes"].as_array().unwrap().len(), 1);
    assert!(done["to"]["bytes_sent"].as_u64().unwrap() < 4000, "{done}");

    // Something of its own on the other side: a text is merged by line, two parents.
    let other = desk.root("there");
    fs::create_dir_all(&other).unwrap();
    fs::copy(work.join("sync.toml"), other.join("sync.toml")).unwrap();
    let there =
        |words: &[&str]| desk.json(&other, &[words, &["--remote", "production"]].concat(), 0);
    there(&["pull", "files"]);
    put(
        &other,
        "1.txt",
        "changed on the source\nline\nline\nend there\n",
    );
    put(&other, "new.txt", "there\n");
    there(&["push", "files"]);
    put(&work, "1.txt", "changed again\nline\nline\nend 1\n");
    put(&work, "2.txt", "mine\n");
    desk.json(&work, &["push", "files"], 0);
    let heads = [
        log(&desk, &work, "production")[0].clone(),
        log(&desk, &work, "default")[0].clone(),
    ];
    let done = promote(&["default", "production", "-m", "both"], 0);
    assert_eq!(done["standing"], json!("merge"));
    assert_eq!(done["merged"], json!(["1.txt"]));
    let words = ["show", "--remote", "production"];
    let made = desk.json(&work, &words, 0);
    assert_eq!(made["snapshot"]["parents"], json!(heads));
    assert_eq!(made["snapshot"]["message"], json!("both"));
    there(&["pull", "files"]);
    assert_eq!(
        read(&other, "1.txt"),
        "changed again\nline\nline\nend there\n"
    );
    assert_eq!(read(&other, "2.txt"), "mine\n");
    assert_eq!(read(&other, "new.txt"), "there\n");
    assert_eq!(
        promote(&["default", "production"], 0)["standing"],
        json!("up_to_date")
    );
    // And back: the source is in its history.
    let back = promote(&["production", "default"], 0);
    assert_eq!(
        (&back["fast_forward"], &back["snapshot"]),
        (&json!(true), &made["id"])
    );

    // Both changed the same: nothing happens until somebody chooses.
    desk.json(&work, &["sync", "files"], 0);
    put(&work, "2.txt", "mine again\n");
    desk.json(&work, &["push", "files"], 0);
    put(&other, "2.txt", "theirs\n");
    there(&["push", "files"]);
    let before = log(&desk, &work, "production");
    let refused = promote(&["default", "production"], 3);
    assert_eq!(refused["conflicts"][0]["path"], json!("2.txt"));
    assert_eq!(log(&desk, &work, "production"), before);
    promote(&["default", "production", "--on-conflict", "theirs"], 0);
    there(&["pull", "files"]);
    assert_eq!(read(&other, "2.txt"), "mine again\n");

    // Branches of one tenant, tenants of one directory, and a snapshot that is not the head.
    let at = source[2].as_str().unwrap()[..8].to_owned();
    let done = promote(&["default", "beside:trial", &at], 0);
    assert_eq!(done["snapshot"], source[2]);
    let done = promote(&["default", "default:copy"], 0);
    assert_eq!(done["fast_forward"], json!(true));
    assert!(done["to"]["bytes_sent"].as_u64().unwrap() < 4000, "{done}");

    // What would empty the target needs a word.
    for n in 0..30 {
        fs::remove_file(work.join(format!("services/{n}.txt"))).unwrap();
    }
    desk.json(&work, &["push", "files", "--yes"], 0);
    let refused = promote(&["default", "default:copy"], 3);
    assert_eq!(
        refused["errors"][0]["code"],
        json!("engine/empties"),
        "{refused}"
    );
    promote(&["default", "default:copy", "--yes"], 0);
}

#[test]
fn what_the_source_no_longer_keeps_is_no_obstacle() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    let url = format!("embedded:{}", desk.root("other").display());
    desk.json(&work, &["remote", "add", "production", &url], 0);
    let version = |text: &str| {
        put(&work, "a.txt", text);
        desk.json(&work, &["push", "files"], 0)["snapshot"].clone()
    };
    let forget = || {
        let data = desk.root("tenant").display().to_string();
        let of = ["--data", &data, "--tenant", "default"];
        let words = [
            &["retention", "set"],
            &of[..],
            &["--branch", "main", "--last", "1"],
        ];
        desk.json(&work, &words.concat(), 0);
        desk.json(&work, &[&["gc"], &of[..], &["--grace", "0s"]].concat(), 0);
    };
    version("one\n");
    let second = version("two\n");
    forget();
    // What came before is known by name there, as it is here.
    let done = desk.json(&work, &["promote", "default", "production"], 0);
    assert_eq!(
        (&done["fast_forward"], &done["snapshot"]),
        (&json!(true), &second)
    );
    assert_eq!(log(&desk, &work, "production"), [second]);
    let third = version("three\n");
    forget();
    let done = desk.json(&work, &["promote", "default", "production"], 0);
    assert_eq!(
        (&done["fast_forward"], &done["snapshot"]),
        (&json!(true), &third)
    );
    assert_eq!(done["changes"].as_array().unwrap().len(), 1, "{done}");
}
