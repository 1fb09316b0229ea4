//! Any valid file to rows and back is the same bytes.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sync_local::LocalKind;

use crate::support::Fixture;

/// A value as people write it, in one of the styles of YAML.
fn any_scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z][A-Za-z0-9 é]{0,12}[a-z]",
        "[ -&(-~é]{1,16}".prop_map(|text| format!("'{text}'")),
        "[ !#-\\[\\]-~é]{1,16}".prop_map(|text| format!("\"{text}\"")),
        Just("\"with \\\"quotes\\\" and \\u00e9\"".to_owned()),
        Just(">-\n  folded\n  text".to_owned()),
        Just("|\n  kept\n    as it is\n".to_owned()),
    ]
}

/// Front matter keys that may be there, in any order.
fn any_extra() -> impl Strategy<Value = Vec<String>> {
    let line = prop_oneof![
        any_scalar().prop_map(|value| format!("description: {value}\n")),
        any_scalar().prop_map(|value| format!("unknown: {value}   # of no column\n")),
        Just("tags: [a, 'b', \"c\"]\n".to_owned()),
        Just("links:\n  # where\n  - title: T\n    url: https://x\n  - {title: U, url: v, more: 1.50}\n".to_owned()),
        Just("keywords:\n- one\n-   two # three\n".to_owned()),
        Just("category: ''\n".to_owned()),
        Just("public:   false\n".to_owned()),
        Just("# only a comment\n\n".to_owned()),
        Just("image: ~\n".to_owned()),
        Just("nested: {a: [1, 2], b: {c: d}}\n".to_owned()),
        Just("? complex\n: key\n".to_owned()),
    ];
    proptest::collection::vec(line, 0..6)
}

fn any_file() -> impl Strategy<Value = String> {
    let around = prop_oneof![Just(""), Just("\n"), Just("\n\n"), Just(" \n\t\n")];
    let body = prop_oneof![
        Just(String::new()),
        "[a-zé# *\n-]{1,60}",
        Just("    code first\n\n---\n\n```\n---\n```".to_owned()),
    ];
    let shape = (
        any::<bool>(),
        any::<bool>(),
        prop_oneof![Just("---"), Just("--- \t")],
    );
    (any_scalar(), any_extra(), around.clone(), body, around, shape).prop_map(
        |(title, extra, before, body, after, (bom, dos, fence))| {
            let mut seen = std::collections::HashSet::new();
            let extra: String = extra
                .into_iter()
                .filter(|line| line.starts_with('#') || seen.insert(line.split(':').next().unwrap().to_owned()))
                .collect();
            let bom = if bom { "\u{feff}" } else { "" };
            let title = title.trim_end_matches('\n');
            let text = format!(
                "{bom}{fence}\ntitle: {title}\nslug: page\n{extra}kind: article\nauthor: 'A'\npublished_at: 2026-01-02\n---\n{before}{body}{after}"
            );
            if dos { text.replace('\n', "\r\n") } else { text }
        },
    )
}

#[test]
fn any_valid_page_comes_back_as_it_was() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::new(LocalKind::Content));
    fixture.write(
        "content/config.yaml",
        "content_sources:\n  blog: {path: content/blog}\n",
    );
    let mut runner = TestRunner::new(Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    });
    let number = std::cell::Cell::new(0);
    let outcome = runner.run(&any_file(), |text| {
        number.set(number.get() + 1);
        let dir = format!("content/blog/n{}", number.get());
        runtime.block_on(async {
            fixture.run("DELETE FROM markdown_content; DELETE FROM sync.local_item; DELETE FROM sync.local_unit; DELETE FROM sync.local_file").await;
            let _ = std::fs::remove_dir_all(fixture.tree().join("content/blog"));
            let home = format!("{dir}/page.md");
            fixture.write(&home, &text);
            let plan = fixture.plan_push().await;
            if !plan.problems.is_empty() {
                // A title may be nothing but blanks.
                let said = plan.problems[0].to_string();
                prop_assert!(said.contains("`title` is missing"), "{} in {:?}", said, text);
                fixture.remove(&dir);
                return Ok(());
            }
            fixture.push().await;
            fixture.assert_settled().await;
            // A program edits the row and edits it back; in between the file is rewritten by the row.
            fixture.run("UPDATE markdown_content SET title = title || ' x', author = 'B: b', body = body || 'y'").await;
            fixture.pull().await;
            prop_assert!(fixture.read(&home) != text);
            fixture.assert_settled().await;
            fixture.run("UPDATE markdown_content SET title = left(title, -2), author = 'A', body = left(body, -1)").await;
            fixture.pull().await;
            fixture.assert_settled().await;
            // The tree is lost, and comes back from the database alone.
            fixture.write(&home, &text);
            fixture.push().await;
            fixture.remove("content");
            let other = fixture.elsewhere("other");
            other.write("content/config.yaml", "content_sources:\n  blog: {path: content/blog}\n");
            other.pull().await;
            let files = other.files();
            let file = files.iter().find(|(path, _)| path.ends_with("page.md")).unwrap();
            prop_assert_eq!(String::from_utf8(file.1.clone()).unwrap(), text);
            other.assert_settled().await;
            fixture.write("content/config.yaml", "content_sources:\n  blog: {path: content/blog}\n");
            fixture.write("content/blog/.keep", "");
            Ok(())
        })
    });
    outcome.unwrap();
}

#[tokio::test]
async fn the_example_workspace_comes_back_as_it_was() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/example/services");
    for kind in [
        LocalKind::Skills,
        LocalKind::Content,
        LocalKind::AccessControl,
    ] {
        let fixture = Fixture::new(kind).await;
        copy(std::path::Path::new(example), &fixture.tree());
        let done = fixture.push().await;
        assert!(done.created >= 3, "{kind:?}: {done:?}");
        fixture.assert_settled().await;
        let before = fixture.files();
        let other = fixture.elsewhere("two");
        if kind == LocalKind::Content {
            other.write("content/config.yaml", &fixture.read("content/config.yaml"));
        }
        other.pull().await;
        for (path, bytes) in other.files() {
            let same = before
                .iter()
                .any(|file| *file == (path.clone(), bytes.clone()));
            // Rules of a tree that is lost come back under their types.
            assert!(same || kind == LocalKind::AccessControl, "{path}");
        }
        other.assert_settled().await;
        assert_eq!(fixture.files(), before);
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
