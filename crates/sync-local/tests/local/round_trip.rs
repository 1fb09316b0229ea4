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
            let extra = distinct(extra).concat();
            let bom = if bom { "\u{feff}" } else { "" };
            let title = title.trim_end_matches('\n');
            let text = format!(
                "{bom}{fence}\ntitle: {title}\nslug: page\n{extra}kind: article\nauthor: 'A'\npublished_at: 2026-01-02\n---\n{before}{body}{after}"
            );
            if dos { text.replace('\n', "\r\n") } else { text }
        },
    )
}

/// What is asked of any valid files of a kind.
struct Law {
    kind: LocalKind,
    /// What the kind needs beside them.
    beside: &'static [(&'static str, &'static str)],
    /// Where they are.
    dir: &'static str,
    /// A program edits every row.
    edit: &'static str,
    /// It edits it back.
    back: &'static str,
    /// What may be wrong with what is generated.
    complaint: &'static str,
}

const FORGET: &str = "DELETE FROM markdown_content; DELETE FROM agent_skills; DELETE FROM access_control_entities; \
    DELETE FROM sync.local_item; DELETE FROM sync.local_unit; DELETE FROM sync.local_file";

/// Path, below the directory of the law, and text.
type Files = Vec<(&'static str, String)>;

impl Law {
    fn holds_for(&self, files: &impl Strategy<Value = Files>) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let fixture = runtime.block_on(Fixture::new(self.kind));
        let mut runner = TestRunner::new(Config {
            cases: 32,
            failure_persistence: None,
            ..Config::default()
        });
        let number = std::cell::Cell::new(0);
        let outcome = runner.run(files, |files| {
            number.set(number.get() + 1);
            // Other directories than before: what is remembered of files there is of no use.
            let dir = match self.kind {
                LocalKind::AccessControl => self.dir.to_owned(),
                _ => format!("{}/n{}", self.dir, number.get()),
            };
            runtime.block_on(self.comes_back(&fixture, &dir, &files))
        });
        outcome.unwrap();
    }

    async fn comes_back(
        &self,
        fixture: &Fixture,
        dir: &str,
        files: &Files,
    ) -> Result<(), TestCaseError> {
        fixture.run(FORGET).await;
        let _ = std::fs::remove_dir_all(fixture.tree());
        let write = |fixture: &Fixture| {
            for (path, text) in self.beside {
                fixture.write(path, text);
            }
        };
        let write_all = || {
            write(fixture);
            for (path, text) in files {
                fixture.write(&format!("{dir}/{path}"), text);
            }
        };
        write_all();
        let before = fixture.files();
        let plan = fixture.plan_push().await;
        if !plan.problems.is_empty() {
            let said = plan.problems[0].to_string();
            prop_assert!(said.contains(self.complaint), "{} in {:?}", said, files);
            return Ok(());
        }
        let pushed = fixture.push().await;
        prop_assert!(pushed.created > 0, "{:?}", files);
        fixture.assert_settled().await;
        fixture.pull().await;
        prop_assert_eq!(fixture.files(), before.clone());
        // In between the files are rewritten by the rows.
        fixture.run(self.edit).await;
        fixture.pull().await;
        prop_assert!(fixture.files() != before, "{:?}", files);
        fixture.assert_settled().await;
        fixture.run(self.back).await;
        fixture.pull().await;
        fixture.assert_settled().await;
        // The tree is lost, and comes back from the database alone.
        write_all();
        fixture.push().await;
        let other = fixture.elsewhere("other");
        write(&other);
        other.pull().await;
        // What lies beside a skill is in no row: it travels with the files of a tenant.
        let mut rows_say = before;
        rows_say.retain(|(path, _)| !path.contains("/scripts/"));
        prop_assert_eq!(other.files(), rows_say);
        other.assert_settled().await;
        Ok(())
    }
}

#[test]
fn any_valid_page_comes_back_as_it_was() {
    let law = Law {
        kind: LocalKind::Content,
        beside: &[(
            "content/config.yaml",
            "content_sources:\n  blog: {path: content/blog}\n",
        )],
        dir: "content/blog",
        edit: "UPDATE markdown_content SET title = title || ' x', author = 'B: b', body = body || 'y'",
        back: "UPDATE markdown_content SET title = left(title, -2), author = 'A', body = left(body, -1)",
        // It may be nothing but blanks.
        complaint: "`title` is missing",
    };
    law.holds_for(&any_file().prop_map(|text| vec![("page.md", text)]));
}

/// Keys of a skill that may be there, in any order.
fn any_skill_extra() -> impl Strategy<Value = Vec<String>> {
    let line = prop_oneof![
        any_scalar().prop_map(|value| format!("unknown: {value}   # of no column\n")),
        Just("tags: [a, 'b', \"c\"]\n".to_owned()),
        Just("tags:\n- one\n-   two # three\n".to_owned()),
        Just("category: 'support'\n".to_owned()),
        Just("enabled:   false\n".to_owned()),
        Just("# only a comment\n\n".to_owned()),
        Just("license: MIT\n".to_owned()),
        Just("metadata: {a: [1, 2], b: {c: d}}\n".to_owned()),
        Just("allowed-tools: Bash(x:*)\n".to_owned()),
    ];
    proptest::collection::vec(line, 0..6).prop_map(distinct)
}

/// Of several lines with one key the first.
fn distinct(lines: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let is_first = |line: &String| {
        line.starts_with('#') || seen.insert(line.split(':').next().unwrap().to_owned())
    };
    lines.into_iter().filter(is_first).collect()
}

/// A skill in one of its layouts, with line ends and a byte order mark as they come.
fn any_skill() -> impl Strategy<Value = Files> {
    let body = prop_oneof![
        "[a-zé# *\n-]{1,60}",
        Just("    code first\n\n---\n\n```\n---\n```".to_owned()),
    ];
    let around = prop_oneof![Just(""), Just("\n"), Just(" \n\t\n")];
    let named = (any_scalar(), any_scalar(), any_skill_extra());
    let text = (body, around.clone(), around);
    let shape = (0..4_usize, any::<bool>(), any::<bool>());
    (named, text, shape).prop_map(
        |((name, description, extra), (body, before, after), (layout, bom, dos))| {
            let extra: String = extra.concat();
            let trimmed = |text: &str| text.trim_end_matches('\n').to_owned();
            let front = format!(
                "name: {}\n{extra}description: {}\n",
                trimmed(&name),
                trimmed(&description)
            );
            let page = format!("Begin.\n{body}\nend");
            let script = ("scripts/run.sh", "#!/bin/sh\n".to_owned());
            let files = match layout {
                0 => vec![
                    ("config.yaml", format!("# ours\n{front}")),
                    (
                        "index.md",
                        format!("---\ntitle: other\n---\n{before}{page}{after}"),
                    ),
                ],
                1 => vec![
                    (
                        "config.yml",
                        format!("{front}file: SKILL.md\nid: 'some_id'\n"),
                    ),
                    ("SKILL.md", format!("{before}{page}{after}")),
                    script,
                ],
                2 => vec![
                    (
                        "SKILL.md",
                        format!("---\n{front}---\n{before}{page}{after}"),
                    ),
                    script,
                ],
                _ => {
                    let front = front
                        .replacen("name:", "title:", 1)
                        .replace("\ntags:", "\nwords:");
                    vec![(
                        "index.md",
                        format!("---\n{front}slug: s\nkeywords: a, b\n---\n{page}{after}"),
                    )]
                }
            };
            let bytes = |text: String| {
                let text = if dos {
                    text.replace('\n', "\r\n")
                } else {
                    text
                };
                format!("{}{text}", if bom { "\u{feff}" } else { "" })
            };
            files
                .into_iter()
                .map(|(path, text)| match path {
                    "scripts/run.sh" => (path, text),
                    _ => (path, bytes(text)),
                })
                .collect()
        },
    )
}

#[test]
fn any_valid_skill_comes_back_as_it_was() {
    let law = Law {
        kind: LocalKind::Skills,
        beside: &[],
        dir: "skills",
        edit: "UPDATE agent_skills SET name = name || ' x', description = description || ': y', instructions = instructions || 'z'",
        back: "UPDATE agent_skills SET name = left(name, -2), description = left(description, -3), instructions = left(instructions, -1)",
        complaint: "is missing",
    };
    law.holds_for(&any_skill());
}

/// An entry of rules in one of the styles of YAML; entries are about different entities.
fn any_entry() -> impl Strategy<Value = String> {
    let kind = prop_oneof![Just("agent"), Just("'mcp_server'"), Just("hook")];
    let roles = prop_oneof![
        Just("[admin]"),
        Just("[ 'a', \"b\", c ]"),
        Just("\n      - one # why\n      - two"),
    ];
    let access = prop_oneof![
        Just(""),
        Just("    access: deny\n"),
        Just("    access: 'allow'   # said\n")
    ];
    let included = prop_oneof![
        Just(""),
        Just("    default_included: true\n"),
        Just("    default_included: false\n")
    ];
    let why = proptest::option::of("[A-Za-z][A-Za-z é]{0,12}[a-z]");
    let shape = (any::<bool>(), any::<bool>());
    (kind, roles, access, included, why, shape).prop_map(
        |(kind, roles, access, included, why, (is_flow, is_remarked))| {
            if is_flow {
                return format!("  - {{entity_type: {kind}, entity_id: ID, roles: [x, 'y'], justification: because}}\n");
            }
            let why = why.map_or_else(String::new, |why| format!("    justification: \"{why}\"\n"));
            let remark = if is_remarked { "  # about the next\n\n" } else { "" };
            format!("{remark}  - entity_type: {kind}\n    entity_id: ID\n{access}{included}{why}    roles: {roles}\n")
        },
    )
}

fn any_rules() -> impl Strategy<Value = Files> {
    let entries = proptest::collection::vec(any_entry(), 1..5);
    let second = proptest::collection::vec(any_entry(), 0..3);
    (entries, second, any::<bool>(), any::<bool>()).prop_map(|(first, second, bom, dos)| {
        let text = |entries: Vec<String>, name: &str| {
            let mut text = "# who may use what\nrules:\n".to_owned();
            for (number, entry) in entries.iter().enumerate() {
                text.push_str(&entry.replace("ID", &format!("{name}{number}")));
            }
            text.push_str("# the end\n");
            let text = if dos {
                text.replace('\n', "\r\n")
            } else {
                text
            };
            format!("{}{text}", if bom { "\u{feff}" } else { "" })
        };
        let mut files = vec![("some.yaml", text(first, "e"))];
        if !second.is_empty() {
            files.push(("others.yml", text(second, "f")));
        }
        files
    })
}

#[test]
fn any_valid_rules_come_back_as_they_were() {
    let law = Law {
        kind: LocalKind::AccessControl,
        beside: &[],
        dir: "access-control",
        edit: "UPDATE access_control_rules SET justification = coalesce(justification, '') || ' x'",
        back: "UPDATE access_control_rules SET justification = nullif(left(justification, -2), '')",
        complaint: "nothing is",
    };
    law.holds_for(&any_rules());
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
            assert!(same, "{path}");
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
