//! What goes from one side to the other, and what does not.

use std::path::Path;

use super::{
    super::{scenario::Place, trees},
    corpus::{self, Size},
    desk::{Desk, KINDS, SOURCES, copy, counts, page},
};
use crate::repository;

/// Every file of one kind.
fn files_of(desk: &Desk<'_>, dir: &str) -> Vec<(String, String)> {
    let root = desk.tree();
    let files = trees::nodes(&root).into_iter();
    let files = files
        .filter(|(path, node)| path.starts_with(dir) && matches!(node, trees::Node::File { .. }));
    files
        .map(|(path, _)| {
            let text = std::fs::read(root.join(&path)).expect("read a file");
            let text = String::from_utf8_lossy(&text).into_owned();
            (path.display().to_string(), text)
        })
        .collect()
}

#[track_caller]
fn assert_came_back(there: &Desk<'_>, here: &Desk<'_>, dir: &str) {
    let (found, expected) = (files_of(there, dir), files_of(here, dir));
    for (path, text) in &found {
        let same = expected.iter().find(|(other, _)| other == path);
        assert_eq!(Some(text), same.map(|(_, text)| text), "{path}");
    }
}

pub(super) fn the_example_comes_back_as_it_was(place: &Place) {
    let here = Desk::new(place);
    copy(
        &repository::root().join("docs/example/services"),
        &here.tree(),
    );
    let before = trees::traces(&here.tree());
    let answer = here
        .call(&["push", "skills", "content", "access-control"])
        .ok();
    let targets = answer.json()["targets"].clone();
    let operations: Vec<_> = KINDS
        .iter()
        .enumerate()
        .map(|(at, kind)| {
            assert!(counts(&targets[at])[0] >= 3, "{targets}");
            assert_eq!(targets[at]["operation"], format!("push {kind}"));
            targets[at]["success"].clone()
        })
        .collect();
    assert_eq!(operations, [true, true, true]);
    trees::assert_untouched(&here.tree(), &before);
    let there = here.elsewhere("there");
    there
        .call(&["pull", "skills", "content", "access-control"])
        .ok();
    assert_came_back(&there, &here, "skills");
    assert_came_back(&there, &here, "content");
    for kind in KINDS {
        here.assert_settled(kind);
        there.assert_settled(kind);
    }
    trees::assert_untouched(&here.tree(), &before);
}

pub(super) fn a_generated_corpus_comes_back_as_it_was(place: &Place) {
    let seed = std::env::var("SYNC_TEST_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("     seed {seed}");
    let size = Size {
        pages: 300,
        skills: 60,
        entities: 40,
    };
    let here = Desk::new(place);
    corpus::write(&here, seed, size);
    let before = trees::traces(&here.tree());
    here.call(&["push", "skills", "content", "access-control"])
        .ok();
    assert_eq!(here.ask("SELECT count(*) FROM markdown_content"), "300");
    assert_eq!(here.ask("SELECT count(*) FROM agent_skills"), "60");
    assert_eq!(
        here.ask("SELECT count(*) FROM access_control_entities"),
        "80"
    );
    let there = here.elsewhere("there");
    there
        .call(&["pull", "skills", "content", "access-control"])
        .ok();
    for dir in ["skills", "content"] {
        assert_came_back(&there, &here, dir);
    }
    assert_eq!(
        files_of(&there, "content").len(),
        files_of(&here, "content").len()
    );
    for kind in KINDS {
        here.assert_settled(kind);
        there.assert_settled(kind);
    }
    // A program edits every row, and edits it back: the files say so, and then are what they were.
    for (change, back) in [
        (
            "UPDATE markdown_content SET title = title || ' x', body = body || 'y'",
            "UPDATE markdown_content SET title = left(title, -2), body = left(body, -1)",
        ),
        (
            "UPDATE agent_skills SET description = description || ' x', instructions = instructions || 'y'",
            "UPDATE agent_skills SET description = left(description, -2), instructions = left(instructions, -1)",
        ),
    ] {
        here.ask(change);
        here.call(&["pull", "skills", "content"]).ok();
        assert_ne!(trees::traces(&here.tree()), before);
        here.ask(back);
        here.call(&["pull", "skills", "content"]).ok();
    }
    for kind in KINDS {
        here.assert_settled(kind);
    }
    // What a text means has not changed; nor has what is in no column.
    let answer = there.call(&["status", "content", "skills"]).ok().json();
    for (target, kind) in [(0, "content"), (1, "skills")] {
        assert_eq!(
            answer["targets"][target][kind]["conflicts"],
            serde_json::Value::Null
        );
        assert_eq!(
            answer["targets"][target][kind]["standing"], "in_sync",
            "{answer}"
        );
    }
}

/// A database that was just filled has no statistics: comparing each row with each took a minute for what is a second's work.
pub(super) fn many_pages_are_compared_at_once(place: &Place) {
    let desk = Desk::new(place);
    desk.write("content/config.yaml", SOURCES);
    desk.ask("ALTER TABLE markdown_content SET (autovacuum_enabled = false)");
    for number in 0..4000 {
        let name = format!("p{number}");
        desk.write(
            &format!("content/blog/{}/{name}.md", number % 40),
            &page(&name, "x"),
        );
    }
    let pushed = desk.push("content").ok().json();
    assert_eq!(counts(&pushed), [4000, 0, 0]);
    desk.ask("ALTER TABLE sync.local_item SET (autovacuum_enabled = false)");
    for _ in 0..2 {
        let again = desk.push("content").ok().json();
        assert_eq!(
            (counts(&again), again["in_sync"].as_u64()),
            ([0; 3], Some(4000))
        );
        let took = again["duration_ms"].as_u64().unwrap_or(u64::MAX);
        println!("     {took} ms");
        assert!(took < 6000, "{took} ms");
    }
}

/// Some pages, on both sides.
fn pages<'p>(place: &'p Place<'p>) -> Desk<'p> {
    let desk = Desk::new(place);
    desk.write("content/config.yaml", SOURCES);
    for name in ["one", "two", "three"] {
        desk.write(&format!("content/blog/{name}.md"), &page(name, "Hello."));
    }
    desk.push("content").ok();
    desk
}

pub(super) fn edits_of_both_sides_meet(place: &Place) {
    let desk = pages(place);
    desk.write("content/blog/one.md", &page("one", "Of the disk."));
    desk.ask("UPDATE markdown_content SET body = 'Of the database.' WHERE slug = 'two'");
    let status = desk
        .call(&["status", "content", "--exit-code"])
        .exits(10)
        .json();
    assert_eq!(status["content"]["standing"], "diverged");
    let diff = desk.call(&["diff", "content"]).ok().json();
    assert_eq!(diff["items"][0]["fields"][0]["disk"], "Of the disk.");
    assert_eq!(
        diff["items"][1]["fields"][0]["database"],
        "Of the database."
    );
    let pushed = desk.push("content").ok().json();
    assert_eq!(counts(&pushed), [0, 1, 0]);
    assert_eq!(pushed["ahead"][0]["key"], "two");
    assert_eq!(counts(&desk.pull("content").ok().json()), [0, 1, 0]);
    assert_eq!(
        desk.read("content/blog/two.md"),
        page("two", "Of the database.")
    );
    assert_eq!(
        desk.ask("SELECT body FROM markdown_content WHERE slug = 'one'"),
        "Of the disk."
    );
    desk.assert_settled("content");
}

pub(super) fn a_person_chooses(place: &Place) {
    let desk = pages(place);
    let diverge = || {
        desk.write("content/blog/one.md", &page("one", "Disk."));
        desk.ask("UPDATE markdown_content SET body = 'Database.' WHERE slug = 'one'");
    };
    diverge();
    for verb in ["push", "pull"] {
        let answer = desk
            .call(&[verb, "content"])
            .exits(3)
            .says("local/conflict")
            .json();
        assert_eq!(answer["conflicts"][0]["key"], "one");
        assert_eq!(answer["state"]["kind"], "failed");
        // A dry run says so, too.
        desk.call(&[verb, "content", "--dry-run"]).exits(3);
    }
    assert_eq!(desk.read("content/blog/one.md"), page("one", "Disk."));
    assert_eq!(
        desk.ask("SELECT body FROM markdown_content WHERE slug = 'one'"),
        "Database."
    );
    // Whoever is right at the target stays as it is.
    desk.call(&["push", "content", "--on-conflict", "database"])
        .ok();
    assert_eq!(
        desk.ask("SELECT body FROM markdown_content WHERE slug = 'one'"),
        "Database."
    );
    desk.call(&["pull", "content", "--on-conflict", "database"])
        .ok();
    assert_eq!(desk.read("content/blog/one.md"), page("one", "Database."));
    desk.assert_settled("content");
    diverge();
    desk.call(&["push", "content", "--on-conflict", "disk"])
        .ok();
    assert_eq!(
        desk.ask("SELECT body FROM markdown_content WHERE slug = 'one'"),
        "Disk."
    );
    desk.assert_settled("content");
}

pub(super) fn a_dry_run_changes_nothing(place: &Place) {
    let desk = pages(place);
    desk.write("content/blog/one.md", &page("one", "Edited."));
    desk.write("content/blog/new.md", &page("new", "New."));
    desk.remove("content/blog/three.md");
    desk.ask("UPDATE markdown_content SET body = 'Edited, too.' WHERE slug = 'two'");
    let everything = "SELECT (SELECT string_agg(m::text || xmin, ',' ORDER BY slug) FROM markdown_content m) \
        || (SELECT string_agg(l::text || xmin, ',' ORDER BY key) FROM sync.local_item l) \
        || (SELECT string_agg(l::text || xmin, ',' ORDER BY home) FROM sync.local_unit l)";
    let (rows, tree) = (desk.ask(everything), trees::traces(desk.workspace.root()));
    let private = desk.workspace.root().join(".sync");
    let noted = trees::moments(&private);
    let push = desk
        .call(&["push", "content", "--dry-run", "--delete"])
        .ok()
        .json();
    assert_eq!(push["changes"].as_array().map(Vec::len), Some(3), "{push}");
    assert_eq!(push["state"]["kind"], "not_started");
    let pull = desk.call(&["pull", "content", "--dry-run"]).ok().json();
    assert_eq!(pull["changes"][0]["path"], "content/blog/two.md");
    assert_eq!(trees::moments(&private), noted);
    desk.call(&["status", "content"]).ok();
    desk.call(&["diff", "content"]).ok();
    assert_eq!(desk.ask(everything), rows);
    trees::assert_untouched(desk.workspace.root(), &tree);
    // What was said is what is done.
    let done = desk.call(&["push", "content", "--delete"]).ok().json();
    assert_eq!(done["changes"], push["changes"]);
    assert_eq!(counts(&done), [1, 1, 1]);
    // Of every kind, and where nothing was ever noted.
    let new = desk.elsewhere("new");
    let private = new.workspace.root().join(".sync");
    let _ = std::fs::remove_dir_all(&private);
    for kind in KINDS {
        for verb in ["push", "pull"] {
            new.call(&[verb, kind, "--dry-run"]).ok();
            assert!(!private.exists(), "{verb} {kind}");
            let noted = trees::moments(&desk.workspace.root().join(".sync"));
            desk.call(&[verb, kind, "--dry-run"]).ok();
            let after = trees::moments(&desk.workspace.root().join(".sync"));
            assert_eq!(after, noted, "{verb} {kind}");
        }
    }
}

pub(super) fn a_mass_removal_is_not_made_unasked(place: &Place) {
    let desk = Desk::new(place);
    desk.write("content/config.yaml", SOURCES);
    for number in 0..40 {
        desk.write(
            &format!("content/blog/{number}.md"),
            &page(&format!("p{number}"), "x"),
        );
    }
    desk.push("content").ok();
    for number in 0..21 {
        desk.remove(&format!("content/blog/{number}.md"));
    }
    // Not asked for, nothing goes.
    let orphans = desk.push("content").ok().json();
    assert_eq!(orphans["orphans"].as_array().map(Vec::len), Some(21));
    desk.call(&["push", "content", "--delete"])
        .exits(3)
        .says("engine/removes");
    desk.call(&["push", "content", "--delete", "--max-delete", "20"])
        .exits(3);
    assert_eq!(desk.ask("SELECT count(*) FROM markdown_content"), "40");
    desk.call(&["push", "content", "--delete", "--max-delete", "21"])
        .ok();
    assert_eq!(desk.ask("SELECT count(*) FROM markdown_content"), "19");
    desk.ask("DELETE FROM markdown_content WHERE slug <> 'p30'");
    desk.call(&["pull", "content", "--delete"])
        .exits(3)
        .says("engine/empties");
    assert!(desk.exists("content/blog/31.md"));
    desk.call(&["pull", "content", "--delete", "--yes"]).ok();
    assert!(!desk.exists("content/blog/31.md"));
    desk.assert_settled("content");
    // A directory that is gone is not one from which everything was removed.
    desk.remove("content/blog");
    desk.call(&["push", "content", "--delete", "--yes"])
        .exits(2)
        .says("local/no-directory");
    assert_eq!(desk.ask("SELECT count(*) FROM markdown_content"), "1");
}

pub(super) fn a_filter_leaves_the_rest(place: &Place) {
    let desk = pages(place);
    for name in ["one", "two"] {
        desk.write(&format!("content/blog/{name}.md"), &page(name, "Edited."));
    }
    let pushed = desk
        .call(&["push", "content", "--filter", "two.md"])
        .ok()
        .json();
    assert_eq!(counts(&pushed), [0, 1, 0]);
    assert_eq!(
        desk.ask("SELECT string_agg(body, ' ' ORDER BY slug) FROM markdown_content"),
        "Hello. Hello. Edited."
    );
    assert_eq!(counts(&desk.push("content").ok().json()), [0, 1, 0]);
    desk.assert_settled("content");
}

pub(super) fn what_is_missing_is_named(place: &Place) {
    let desk = pages(place);
    // The bookkeeping makes itself; what both sides have alike is then agreed on again.
    desk.ask("DROP SCHEMA sync CASCADE");
    let again = desk.push("content").ok().json();
    assert_eq!(
        (counts(&again), again["adopted"].as_u64()),
        ([0; 3], Some(3))
    );
    desk.assert_settled("content");
    // So is the private state of a workspace.
    trees::remove(desk.workspace.root(), ".sync");
    desk.push("content").ok();
    desk.assert_settled("content");
    desk.ask("DROP TABLE markdown_content");
    desk.push("content")
        .exits(1)
        .says("db/no-table")
        .says("sync-cli db migrate");
    desk.call(&["db", "migrate"]).ok();
    // A tree that was never there is made by a pull; one that is gone is not an empty one.
    let fresh = desk.elsewhere("fresh");
    trees::remove(fresh.workspace.root(), "services");
    fresh.pull("access-control").ok();
    assert!(fresh.tree().exists());
    trees::remove(fresh.workspace.root(), "services");
    assert_ne!(fresh.pull("access-control").code, 0);
    // Among several, the others are done.
    desk.ask("DROP TABLE agent_skills");
    desk.write(
        "skills/s/SKILL.md",
        "---\nname: s\ndescription: d\n---\nDo.\n",
    );
    let both = desk.call(&["push", "skills", "content"]).exits(1).json();
    assert_eq!(both["targets"][0]["errors"][0]["code"], "db/no-table");
    assert_eq!(both["targets"][1]["success"], true);
    let url = desk.workspace.root().join("database.url");
    std::fs::write(url, "postgres://nobody@127.0.0.1:1/none?sslmode=disable").expect("write a URL");
    desk.push("content").exits(4);
}

pub(super) fn what_makes_no_sense_is_refused(place: &Place) {
    let desk = pages(place);
    for (words, code) in [
        (&["push", "files", "content"][..], "cli/targets"),
        (&["push", "files", "--delete"], "cli/wrong-flag"),
        (&["push", "content", "-m", "why"], "cli/wrong-flag"),
        (&["diff", "7f3a9c0", "content"], "cli/no-snapshots"),
        (
            &["watch", "content", "--on-conflict", "ours"],
            "cli/wrong-flag",
        ),
    ] {
        desk.call(words).exits(2).says(code);
    }
    assert!(Path::new(&desk.tree()).exists());
}
