//! A tenant in a file, and back, as a person sees it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

/// A workspace with two snapshots, and one of an empty tenant.
fn pair(desk: &Desk) -> (PathBuf, PathBuf) {
    let work = desk.workspace("work");
    put(&work, "agents/triage.yaml", "name: triage\n");
    desk.json(&work, &["push", "files"], 0);
    put(&work, "agents/triage.yaml", "name: triage\nmodel: large\n");
    desk.json(&work, &["push", "files"], 0);
    let other = desk.root("other");
    fs::create_dir_all(&other).unwrap();
    desk.json(&other, &["init", "--name", "other"], 0);
    (work, other)
}

/// Everything below a private state but the embedded tenant, with what vouches that nobody touched it.
fn state(dir: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![dir.to_owned()];
    while let Some(dir) = ahead.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with(".sync/tenant") {
                continue;
            }
            let stat = fs::metadata(&path).unwrap();
            if path.is_dir() {
                ahead.push(path.clone());
            }
            found.insert(path, (stat.len(), stat.modified().unwrap()));
        }
    }
    found
}

#[test]
fn whose_file_it_is() {
    let desk = Desk::new();
    let (work, other) = pair(&desk);
    let file = desk.root("acme.tar.zst").display().to_string();
    let exported = desk.json(&work, &["export", "--out", &file], 0);
    let key = exported["bundle"]["signed_by"].as_str().unwrap().to_owned();
    let check = |root: &Path, words: &[&str], code: i32, expected: &str| {
        desk.check(root, words, code, &expected.replace("KEY", &key));
    };
    check(
        &other,
        &["inspect", &file],
        0,
        "
        a bundle of tenant `default` at TIME: 8 records, 792 B in 5 members
        branch    main at ID
        signed by KEY
    ",
    );
    check(
        &other,
        &["verify", &file],
        0,
        "
        sound: 8 records of tenant `default`, and nothing is missing
        branch    main at ID
        signed by KEY
    ",
    );
    check(
        &other,
        &["import", &file],
        6,
        "
        error[bundle/untrusted]: the bundle is signed by KEY, tenant `default`, whom nobody here knows
        hint: compare the key with the one that `sync-cli identity show` prints at the source, then pass `--trust KEY`
    ",
    );
}

#[test]
fn a_tenant_becomes_another_one() {
    let desk = Desk::new();
    let (work, other) = pair(&desk);
    let file = desk.root("acme.tar.zst").display().to_string();
    let exported = desk.json(&work, &["export", "--out", &file], 0);
    let key = exported["bundle"]["signed_by"].as_str().unwrap().to_owned();
    let check = |root: &Path, words: &[&str], code: i32, expected: &str| {
        desk.check(root, words, code, &expected.replace("KEY", &key));
    };
    let private = other.join(".sync");
    fs::remove_dir_all(&private).unwrap();
    check(
        &other,
        &["import", &file, "--trust", &key, "--dry-run"],
        0,
        "
        a bundle of tenant `default`, signed by KEY, whom you trust
        branch    main would move from nothing to ID
        records   8 inspected: 0 inserted, 0 there already, 8 skipped, 0 failed
        skipped   8: dry run
        nothing was changed
    ",
    );
    assert!(!private.exists(), "a dry run left something");
    check(
        &other,
        &["import", &file, "--trust", &key],
        0,
        "
        a bundle of tenant `default`, signed by KEY, whom you trust
        branch    main moved from nothing to ID
        records   8 inspected: 7 inserted, 1 there already, 0 skipped, 0 failed
        imported
    ",
    );
    desk.json(&other, &["pull", "files"], 0);
    assert_eq!(
        read(&other, "agents/triage.yaml"),
        read(&work, "agents/triage.yaml")
    );
    let before = state(&private);
    check(
        &other,
        &["import", &file, "--trust", &key, "--dry-run"],
        0,
        "
        a bundle of tenant `default`, signed by KEY, whom you trust
        branch    main is at ID
        records   8 inspected: 0 inserted, 0 there already, 8 skipped, 0 failed
        skipped   8: dry run
        nothing was changed
    ",
    );
    assert!(state(&private) == before, "a dry run touched something");
    check(
        &other,
        &["import", &file, "--trust", &key],
        0,
        "
        a bundle of tenant `default`, signed by KEY, whom you trust
        branch    main is at ID
        records   8 inspected: 0 inserted, 8 there already, 0 skipped, 0 failed
        the tenant was the same already: nothing changed
    ",
    );
    put(&other, "agents/other.yaml", "name: other\n");
    desk.json(&other, &["push", "files"], 0);
    check(
        &other,
        &["import", &file, "--trust", &key],
        3,
        "
        error[bundle/occupied]: import refused: the tenant holds 3 snapshots and 0 rows; pass --force-overwrite to import anyway
        hint: import into an empty tenant; --force-overwrite moves the branches that the bundle names and leaves others
    ",
    );
    let forced = desk.json(
        &other,
        &["import", &file, "--trust", &key, "--force-overwrite"],
        0,
    );
    assert_eq!(
        forced["branches"][0]["to"],
        exported["bundle"]["heads"][0]["snapshot"]
    );
}

#[test]
fn a_file_that_is_no_bundle() {
    let desk = Desk::new();
    let (work, other) = pair(&desk);
    let file = desk.root("acme.tar").display().to_string();
    desk.json(&work, &["export", "--out", &file, "--uncompressed"], 0);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let heads = |root: &Path| desk.json(root, &["branch", "list"], 0)["branches"].clone();
    for verb in ["verify", "import"] {
        let refused = desk.json(
            &other,
            &[verb, &file, "--trust-unsigned"][..2 + usize::from(verb == "import")],
            5,
        );
        assert_eq!(
            refused["errors"][0]["code"], "bundle/truncated",
            "{refused:#}"
        );
    }
    assert_eq!(heads(&other).as_array().map(Vec::len), Some(0));
    let missing = desk.root("missing").display().to_string();
    let refused = desk.json(&other, &["inspect", &missing], 1);
    assert_eq!(
        refused["errors"][0]["code"], "cli/read-bundle",
        "{refused:#}"
    );
}

#[test]
fn a_head_that_anybody_can_read() {
    let desk = Desk::new();
    let (work, other) = pair(&desk);
    std::os::unix::fs::symlink("triage.yaml", work.join("services/agents/link")).unwrap();
    put(&work, "large.bin", &"0123456789".repeat(100_000));
    desk.json(&work, &["push", "files"], 0);
    let dir = desk.root("plain");
    let out = dir.display().to_string();
    let written = desk.json(&work, &["export", "--plain", "--out", &out], 0);
    assert_eq!(written["files"], 3, "{written:#}");
    let mut sums = Command::new("sha256sum");
    sums.args(["--quiet", "-c", "SHA256SUMS"]).current_dir(&dir);
    assert!(sums.status().unwrap().success());
    let text = fs::read_to_string(dir.join("files/agents/link")).unwrap();
    assert_eq!(text, read(&work, "agents/triage.yaml"));
    // What is there is not written over.
    desk.json(&work, &["export", "--plain", "--out", &out], 1);
    let done = desk.json(&other, &["import", "--plain", &out], 0);
    assert_eq!(done["result"], "imported", "{done:#}");
    desk.json(&other, &["pull", "files"], 0);
    assert_eq!(read(&other, "large.bin"), read(&work, "large.bin"));
    // Every file is cut as a capture cuts it: there is nothing to push.
    let pushed = desk.json(&work, &["push", "files"], 0);
    assert_eq!(pushed["items_synced"], 0, "{pushed:#}");
    let refused = desk.json(&work, &["import", "--plain", &out], 3);
    assert_eq!(
        refused["errors"][0]["code"], "bundle/occupied",
        "{refused:#}"
    );
}

#[test]
fn a_file_for_chosen_readers() {
    let desk = Desk::new();
    let (work, other) = pair(&desk);
    let file = desk.root("acme.tar.zst.age").display().to_string();
    let to = "age1828w320z8hqyelpyap2sy6ka9ehfg49p6w3sxcrgd93ygz3g2g7qx308ur";
    let secret = "AGE-SECRET-KEY-1EYJ93HCFEGZYPNLSRW6WV3JVLZ7EFCU3UF2D8NV5XZCAP89VRF6S3FQQ3N";
    let exported = desk.json(&work, &["export", "--out", &file, "--encrypt-to", to], 0);
    let key = exported["bundle"]["signed_by"].as_str().unwrap();
    let bytes = fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"age-encryption.org/v1\n"));
    let identity = desk.root("key.txt").display().to_string();
    fs::write(&identity, format!("# a key\n{secret}\n")).unwrap();
    let with = ["--identity-file", identity.as_str()];
    for words in [
        &["inspect", file.as_str()][..],
        &["verify", &file],
        &["import", &file, "--trust", key],
    ] {
        let refused = desk.json(&other, words, 6);
        assert_eq!(
            refused["errors"][0]["code"], "bundle/encrypted",
            "{refused:#}"
        );
        desk.json(&other, &[words, &with].concat(), 0);
    }
    let mut changed = bytes.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    fs::write(&file, changed).unwrap();
    let refused = desk.json(&other, &[&["verify", file.as_str()][..], &with].concat(), 5);
    assert_eq!(
        refused["errors"][0]["code"], "bundle/wrapping",
        "{refused:#}"
    );
    fs::write(&identity, "no key").unwrap();
    let refused = desk.json(
        &other,
        &[&["inspect", file.as_str()][..], &with].concat(),
        2,
    );
    assert_eq!(
        refused["errors"][0]["code"], "cli/not-a-secret",
        "{refused:#}"
    );
}

#[test]
fn a_data_directory_has_many_tenants() {
    let desk = Desk::new();
    let (work, _) = pair(&desk);
    let (file, data) = (desk.root("x.tar.zst"), desk.root("tenant"));
    let (file, data) = (file.display().to_string(), data.display().to_string());
    let words = ["export", "--out", &file, "--data", &data];
    let refused = desk.json(&work, &words, 2);
    assert_eq!(
        refused["errors"][0]["code"], "cli/which-tenant",
        "{refused:#}"
    );
    desk.json(&work, &[&words[..], &["--tenant", "default"]].concat(), 0);
    desk.json(&work, &["tenant", "create", "second", "--data", &data], 0);
    let words = [
        "import",
        &file,
        "--trust-unsigned",
        "--data",
        &data,
        "--tenant",
        "second",
    ];
    let done = desk.json(&work, &words, 0);
    assert_eq!(done["result"], "imported");
}

#[test]
fn settings_come_without_an_address() {
    let desk = Desk::new();
    let (work, _) = pair(&desk);
    let data = desk.root("tenant").display().to_string();
    let tables = desk.root("tables.toml");
    fs::write(
        &tables,
        "[[database.tables]]\nname = \"items\"\nwhere = \"n > 0\"\n",
    )
    .unwrap();
    let tables = tables.display().to_string();
    let at = ["--data", data.as_str()];
    let set = [
        "tenant",
        "database",
        "default",
        "--url-env",
        "HERE",
        "--tables",
        &tables,
    ];
    desk.json(&work, &[&set[..], &at].concat(), 0);
    let file = desk.root("x.tar.zst").display().to_string();
    let words = ["export", "--out", &file, "--tenant", "default"];
    desk.json(&work, &[&words[..], &at].concat(), 0);
    let bytes = fs::read(&file).unwrap();
    assert!(!bytes.windows(4).any(|window| window == b"HERE"));
    desk.json(
        &work,
        &[&["tenant", "create", "second"][..], &at].concat(),
        0,
    );
    let words = ["import", &file, "--trust-unsigned", "--tenant", "second"];
    let done = desk.json(&work, &[&words[..], &at].concat(), 0);
    assert_eq!(done["records_skipped"], 0, "{done:#}");
    let show = [&["tenant", "database", "second"][..], &at].concat();
    let shown = desk.json(&work, &show, 0);
    assert_eq!(
        shown["database"]["tables"][0]["where"], "n > 0",
        "{shown:#}"
    );
    assert!(shown["database"]["url_env"].is_null());
    // An address alone keeps what came.
    let words = [&show[..], &["--url-env", "THERE"]].concat();
    let shown = desk.json(&work, &words, 0);
    assert_eq!(
        shown["database"]["tables"][0]["where"], "n > 0",
        "{shown:#}"
    );
    assert_eq!(shown["database"]["url_env"], "THERE");
}
