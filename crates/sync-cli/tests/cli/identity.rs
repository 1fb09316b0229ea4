//! Who a tenant is, and that it is found again where it moves.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Desk, put, text};

/// Copies what a server that is stopped keeps.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn toml(root: &Path) -> String {
    fs::read_to_string(root.join("sync.toml")).unwrap()
}

#[test]
fn a_tenant_has_a_key_and_may_have_another() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    // One that is not there is nobody, and is not made.
    let nobody = desk.json(&work, &["identity", "show"], 0);
    assert_eq!(nobody["key"], Value::Null);
    assert!(!desk.root("tenant").exists());
    desk.json(&work, &["push"], 0);
    let shown = desk.json(&work, &["identity", "show"], 0);
    assert!(shown["key"].as_str().unwrap().starts_with("ed25519:"));
    assert_eq!(shown["earlier"], json!([]));
    let data = desk.root("tenant").display().to_string();
    let named = ["--data", &data, "--tenant", "default"];
    let there = desk.json(&work, &[&["identity", "show"], &named[..]].concat(), 0);
    assert_eq!(there["key"], shown["key"]);
    desk.check(
        &work,
        &["identity", "show", "--data", &data],
        2,
        "
        error[cli/which-tenant]: --data and --tenant go together
        hint: give both, or neither in a workspace
    ",
    );
    let output = desk.run(&work, &["identity", "generate"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("server/has-identity"));
    let rotated = desk.json(&work, &[&["identity", "rotate"], &named[..]].concat(), 0);
    assert_eq!(rotated["earlier"], json!([shown["key"]]));
    let again = desk.json(&work, &["identity", "show"], 0);
    assert_eq!(again["key"], rotated["key"]);
    assert_ne!(again["key"], shown["key"]);
}

#[test]
fn what_was_agreed_on_goes_with_the_tenant_and_nobody_else_gets_it() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    put(&work, "a.txt", "one\n");
    desk.json(&work, &["push"], 0);
    let other = desk.workspace("other");
    desk.json(&other, &["pull"], 0);
    put(&other, "b.txt", "b\n");
    desk.json(&other, &["push"], 0);
    desk.json(&work, &["pull"], 0);
    copy(&desk.root("tenant"), &desk.root("copy"));
    put(&work, "a.txt", "two\n");

    // Somebody else.
    let impostor = format!("embedded:{}", desk.root("impostor").display());
    let made = desk.root("made");
    fs::create_dir_all(&made).unwrap();
    desk.json(&made, &["init", "--url", &impostor], 0);
    desk.json(&made, &["push"], 0);
    let before = toml(&work);
    let refused = desk.json(&work, &["remote", "set-url", &impostor], 5);
    assert_eq!(refused["errors"][0]["code"], json!("engine/other-tenant"));
    let said = refused["errors"][0]["message"].as_str().unwrap();
    for place in [&work, &made] {
        let key = desk.json(place, &["identity", "show"], 0)["key"].clone();
        assert!(said.contains(key.as_str().unwrap()), "{said}");
    }
    assert_eq!(toml(&work), before);

    let url = format!("embedded:{}", desk.root("copy").display());
    desk.check(
        &work,
        &["remote", "set-url", &url],
        0,
        "remote `default`: tenant `default` at embedded:DIR/copy; what was agreed on with it stays",
    );
    let old = format!("embedded:{}", desk.root("tenant").display());
    assert_eq!(toml(&work), before.replace(&old, &url));
    fs::rename(desk.root("tenant"), desk.root("gone")).unwrap();
    let status = desk.json(&work, &["status"], 0)["files"].clone();
    assert_eq!(status["standing"], json!("local_ahead"), "{status}");
    let output = desk.run(&work, &["undo", "--dry-run"]);
    assert!(
        text(&output).contains("would bring back 1"),
        "{}",
        text(&output)
    );
    assert_eq!(desk.json(&work, &["push"], 0)["items_synced"], 1);
    // Back at the old address is the old tenant.
    fs::rename(desk.root("gone"), desk.root("tenant")).unwrap();
    desk.json(&work, &["remote", "set-url", &old], 0);
    assert_eq!(toml(&work), before);
}

#[test]
fn an_embedded_tenant_says_where_it_has_moved_to() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    put(&work, "a.txt", "one\n");
    desk.json(&work, &["push"], 0);
    desk.check(
        &work,
        &["tenant", "moved"],
        2,
        "
        error[cli/where-to]: a tenant lives at either `--to URL` or here again, `--back`
        hint: give one of them
    ",
    );
    let moved: Value = desk.json(
        &work,
        &["tenant", "moved", "--to", "http://127.0.0.1:9/"],
        0,
    );
    assert_eq!(moved["url"], json!("http://127.0.0.1:9"));
    // Nobody is there: what is known stays as it is.
    desk.json(&work, &["push"], 4);
    assert!(!work.join(".sync/identities.json").exists());
    desk.json(&work, &["tenant", "moved", "--back"], 0);
    assert_eq!(desk.json(&work, &["push"], 0)["items_synced"], 0);
}
