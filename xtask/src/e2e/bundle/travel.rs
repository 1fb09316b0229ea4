//! What travels, who may, and whom to trust.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use super::super::{
    rows::stage::{ITEMS, Served, Stage, assert_same},
    scenario::Place,
    trees,
};
use super::{assert_adds_up, assert_equal, export, import, signer, source};

/// Over TLS, by workspaces of two servers, with tokens.
pub(super) fn another_tenant_becomes_equal(place: &Place) {
    let here = source(place);
    let own = place.own_server();
    let admin = here.with_token(&place.token(place.tenant(), "admin"));
    let file = place.directory().join("acme.tar.zst").display().to_string();
    let before = trees::nodes(&here.root().join(".sync"));
    let done = admin.call(&["export", "--out", &file]).ok().json();
    assert_eq!(done["bundle"]["heads"].as_array().map(Vec::len), Some(2));
    assert_eq!(before, trees::nodes(&here.root().join(".sync")));
    let mode = fs::metadata(&file).expect("stat").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The same bytes once more, and as anybody lists them.
    let again = format!("{file}.again");
    admin.call(&["export", "--out", &again]).ok();
    assert!(fs::read(&file).expect("read") == fs::read(&again).expect("read"));
    let listed = Command::new("tar").args(["--zstd", "-tf", &file]).output();
    let listed = String::from_utf8(listed.expect("run tar").stdout).expect("text");
    assert!(
        listed
            .starts_with("manifest.json\nmanifest.sig\nidentity/public_key.json\nbranches.json\n")
    );
    // No tenant is needed to look at it.
    let verified = place.cli().call(&["verify", &file]).ok().json();
    assert_eq!(verified["complete"], true);

    let key = signer(place, &file);
    let token = place.operator(
        &own.data,
        &[
            "token",
            "create",
            "--tenant",
            place.tenant(),
            "--scope",
            "admin",
        ],
    );
    let there = own.workspace.with_token(&token.ok().text("token"));
    let dry = there
        .call(&["import", &file, "--trust", &key, "--dry-run"])
        .ok()
        .json();
    assert_eq!(
        (&dry["result"], &dry["records_inserted"]),
        (&"planned".into(), &0.into())
    );
    assert_adds_up(&dry);
    there.call(&["log"]).ok();
    let done = there.call(&["import", &file, "--trust", &key]).ok().json();
    assert_eq!(done["result"], "imported", "{done:#}");
    assert_adds_up(&done);
    assert_eq!(
        done["refusals_by_reason"]["token_without_hash"], 2,
        "{done:#}"
    );
    assert_equal(place, &own, &here);
    own.workspace.pull().ok();
    // The source's tree is that of the other branch by now.
    here.call(&["pull", "files", "--branch", "main"]);
    assert_eq!(
        trees::read(&own.workspace.services(), "agents/triage.yaml"),
        "turn: 3\n"
    );

    let again = there.call(&["import", &file, "--trust", &key]).ok().json();
    assert_eq!(
        (&again["result"], &again["records_inserted"]),
        (&"unchanged".into(), &0.into())
    );
    assert_adds_up(&again);
    // Somebody works there now.
    trees::write(&own.workspace.services(), "agents/own.yaml", "own\n");
    own.workspace.push().ok();
    let words = ["import", &file, "--trust", &key];
    there
        .call(&words)
        .exits(3)
        .says("import refused: the tenant holds");
    let forced = there
        .call(&[&words[..], &["--force-overwrite"]].concat())
        .ok()
        .json();
    assert_eq!(forced["branches"][0]["to"], done["branches"][0]["to"]);
    assert_equal(place, &own, &here);
}

pub(super) fn rows_come_into_another_database(place: &Place) {
    let own = place.own_server();
    let staging = Stage::new(place, ITEMS);
    let served = Served {
        data: own.data.clone(),
        url: format!("https://localhost:{}", own.proxy.address().port()),
        token: own.token.clone(),
    };
    let production = Stage::at(place, place.postgres(), served, ITEMS);
    let here = staging.side("here");
    let there = production.side("there");
    trees::write(&here.workspace.services(), "agents/a.yaml", "a\n");
    here.ask(
        "INSERT INTO items (id, a, b, n) SELECT 'i' || i, repeat('x', i), NULL, i FROM generate_series(1, 3000) i;
         INSERT INTO parts SELECT 'p' || i, 'i' || i, repeat(md5(i::text), i) FROM generate_series(1, 300) i",
    );
    here.call(&["push", "--yes"]).ok();
    here.ask("DELETE FROM parts WHERE id = 'p7'; UPDATE items SET b = 'later' WHERE n > 2990");
    here.call(&["push", "--yes"]).ok();
    let file = export(place, "rows.tar.zst", &[]);
    let key = signer(place, &file);
    let shown = place.cli().call(&["inspect", &file]).ok().json();
    assert_eq!(
        shown["manifest"]["schemas"].as_array().map(Vec::len),
        Some(2)
    );

    let done = import(place, &own, &file, &["--trust", &key]).ok().json();
    assert_adds_up(&done);
    assert_eq!(staging.tenant.ask("SELECT count(*) FROM items"), "3000");
    assert_same(&staging.rows(), &production.rows());
    there.pull().ok();
    production.assert_equal(&there);
    staging.assert_equal(&here);
    let again = import(place, &own, &file, &["--trust", &key]).ok().json();
    assert_eq!(again["result"], "unchanged", "{again:#}");
    // A program that wrote something makes the tenant one with content.
    production
        .tenant
        .ask("UPDATE items SET b = 'own' WHERE id = 'i1'");
    let refused = import(place, &own, &file, &["--trust", &key]);
    refused.exits(3).says("and 3299 rows");
    assert_eq!(
        production.tenant.ask("SELECT b FROM items WHERE id = 'i1'"),
        "own"
    );
}

pub(super) fn a_bundle_continues_one(place: &Place) {
    let here = source(place);
    let own = place.own_server();
    let first = export(place, "first.tar.zst", &["--branch", "main"]);
    let shown = place.cli().call(&["inspect", &first]).ok().json();
    let since = shown["bundle"]["heads"][0]["snapshot"]
        .as_str()
        .expect("an id")
        .to_owned();
    trees::write(&here.services(), "agents/later.yaml", "later\n");
    here.push().ok();
    let next = export(
        place,
        "next.tar.zst",
        &["--branch", "main", "--since", &since],
    );
    assert!(fs::metadata(&next).expect("stat").len() < 20_000);
    let key = signer(place, &next);
    let verified = place.cli().call(&["verify", &next]).ok().json();
    assert_eq!(verified["complete"], false);

    let refused = import(place, &own, &next, &["--trust", &key]);
    refused.exits(3).says("bundle/prerequisites").says(&since);
    import(place, &own, &first, &["--trust", &key]).ok();
    let done = import(place, &own, &next, &["--trust", &key]).ok().json();
    assert_eq!(done["branches"][0]["from"], since.as_str());
    assert_adds_up(&done);
    own.workspace.pull().ok();
    assert_eq!(
        trees::read(&own.workspace.services(), "agents/later.yaml"),
        "later\n"
    );

    // A head alone, and one kind alone, are whole by themselves.
    for words in [&["--head-only"][..], &["--only", "files"]] {
        let file = export(place, "part.tar.zst", words);
        let verified = place.cli().call(&["verify", &file]).ok().json();
        assert_eq!(verified["complete"], true);
    }
}

pub(super) fn who_may_and_whom_to_trust(place: &Place) {
    let here = source(place);
    let own = place.own_server();
    let file = place.directory().join("x.tar.zst").display().to_string();
    // A writer's token is not enough, on either side.
    here.call(&["export", "--out", &file])
        .exits(6)
        .says("server/forbidden");
    assert!(!fs::exists(&file).expect("stat"));
    let file = export(place, "trusted.tar.zst", &[]);
    let key = signer(place, &file);
    own.workspace
        .call(&["import", &file, "--trust", &key])
        .exits(6)
        .says("server/forbidden");

    let refused = import(place, &own, &file, &[]);
    refused.exits(6).says("bundle/untrusted").says(&key);
    let other = format!("ed25519:{}", "ab".repeat(32));
    let refused = import(place, &own, &file, &["--trust", &other]);
    refused.exits(6).says("bundle/untrusted");
    let dry = import(place, &own, &file, &["--dry-run"]);
    dry.exits(6).says("bundle/untrusted");
    super::assert_nothing(place, &own.data);
    let both = import(place, &own, &file, &["--trust", &other, "--trust", &key]);
    both.ok();

    // Its own bundle needs no words, nor does one of a tenant that the workspace has met.
    let tenant = ["--tenant", place.tenant()];
    let words = [&["import", &file][..], &tenant].concat();
    place.operator(place.data(), &words).ok().says("unchanged");
    let met = own.workspace.with_token(
        &place
            .operator(
                &own.data,
                &[
                    "token",
                    "create",
                    "--tenant",
                    place.tenant(),
                    "--scope",
                    "admin",
                ],
            )
            .ok()
            .text("token"),
    );
    let url = format!("https://localhost:{}", place.server().port());
    let authority = place.certificates().authority.display().to_string();
    let mut words = vec!["remote", "add", "source", &url];
    words.extend(["--tenant", place.tenant(), "--ca-file", &authority]);
    met.call(&words).ok();
    let mut look = met.cli().command(&["log", "--remote", "source"]);
    look.env("SYNC_TOKEN_SOURCE", place.token(place.tenant(), "read"));
    assert!(look.output().expect("run sync-cli").status.success());
    met.call(&["import", &file]).ok().says("unchanged");
}
