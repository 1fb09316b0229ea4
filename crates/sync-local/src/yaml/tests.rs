//! Places are right, edits change one thing, and hostile input is refused.

use proptest::prelude::*;

use super::*;

const WHOLE: &str = "# About the policy\n\
    id: refund_policy\n\
    name: 'It''s a policy'   # said so\n\
    description: \"two\\nlines\"\n\
    tags:\n\
    \x20 # first\n\
    \x20 - billing\n\
    \x20 - \"policy\"  # quoted\n\
    \n\
    # who to ask\n\
    owner: finance-ops\n\
    text: |\n\
    \x20 # not a comment\n\
    \x20 body\n\
    # a comment\n\
    flow: [a, 'b', c] # of three\n\
    nested:\n\
    \x20 deep: yes it is\n\
    empty:\n";

/// The text after `key` has been given a value; `None` where it cannot be.
fn after(text: &str, key: &str, value: Option<Wanted<'_>>) -> Option<String> {
    set(text, &[], key, value).ok()
}

/// Exactly one line of `WHOLE` changes.
#[track_caller]
fn check(key: &str, value: Option<Wanted<'_>>, old: &str, new: &str) {
    let expected = WHOLE.replacen(old, new, 1);
    assert_ne!(expected, WHOLE);
    assert_eq!(after(WHOLE, key, value).as_deref(), Some(expected.as_str()));
    let dos = WHOLE.replace('\n', "\r\n");
    let expected = expected.replace('\n', "\r\n");
    assert_eq!(after(&dos, key, value), Some(expected));
}

#[test]
fn a_value_changes_in_place() {
    let text = |text: &'static str| Some(Wanted::Text(text));
    check("id", text("other"), "refund_policy", "other");
    check("id", text("true"), "refund_policy", "\"true\"");
    check("id", text("a: b"), "refund_policy", "\"a: b\"");
    check("id", text("é # x"), "refund_policy", "\"é # x\"");
    check("name", text("Ours's"), "'It''s a policy'", "'Ours''s'");
    check(
        "description",
        text("a \"b\""),
        "\"two\\nlines\"",
        "\"a \\\"b\\\"\"",
    );
    check("owner", None, "owner: finance-ops\n", "");
    check("empty", text("full"), "empty:\n", "empty: full\n");
    check(
        "empty",
        Some(Wanted::Flag(false)),
        "empty:\n",
        "empty: false\n",
    );
    check(
        "text",
        text("one\ntwo\n"),
        "  # not a comment\n  body\n",
        "  one\n  two\n",
    );
    check(
        "text",
        text("one\ntwo"),
        "|\n  # not a comment\n  body\n",
        "|-\n  one\n  two\n",
    );
    check(
        "text",
        text("\ttab\r"),
        "|\n  # not a comment\n  body\n",
        "\"\\ttab\\r\"\n",
    );
    check("nested", text("flat"), "\n  deep: yes it is", " flat");
    check("new", text("x"), "empty:\n", "empty:\nnew: x\n");
}

#[test]
fn a_list_keeps_what_stays() {
    let old = "  # first\n  - billing\n  - \"policy\"  # quoted\n";
    let tags = |items: [&str; 2], new: &str| {
        let items = items.map(str::to_owned);
        check("tags", Some(Wanted::List(&items)), old, new);
    };
    tags(["billing", "new"], "  # first\n  - billing\n  - new\n");
    tags(
        ["new", "policy"],
        "  # first\n  - new\n  - \"policy\"  # quoted\n",
    );
    tags(
        ["policy", "billing"],
        "  # first\n  - \"policy\"  # quoted\n  - billing\n",
    );
    let flow = ["b", "d, e"].map(str::to_owned);
    check(
        "flow",
        Some(Wanted::List(&flow)),
        "[a, 'b', c]",
        "['b', \"d, e\"]",
    );
    check(
        "tags",
        None,
        "tags:\n  # first\n  - billing\n  - \"policy\"  # quoted\n",
        "",
    );
    let json = serde_json::json!([{"title": "T: x", "url": "u"}]);
    check(
        "nested",
        Some(Wanted::Json(&json)),
        "  deep: yes it is\n",
        "  - title: \"T: x\"\n    url: u\n",
    );
}

#[test]
fn what_has_an_anchor_or_stands_on_one_line_is_left_alone() {
    let text = Some(Wanted::Text("x"));
    for (line, key) in [
        ("a: &x 1\nb: *x\n", "a"),
        ("a: &x 1\nb: *x\n", "b"),
        ("{b: 1}\n", "a"),
        ("a: !!str 1\n", "a"),
        ("- a\n", "a"),
    ] {
        assert_eq!(after(line, key, text), None, "{line}");
    }
    assert_eq!(
        after("{a: 1, b: [x]}\n", "a", text).as_deref(),
        Some("{a: x, b: [x]}\n")
    );
    // What is beside them can be changed.
    assert_eq!(
        after("a: &x 1\nb: *x\nc: 2\n", "c", text).as_deref(),
        Some("a: &x 1\nb: *x\nc: x\n")
    );
    assert_eq!(
        after("# nothing\n", "a", text).as_deref(),
        Some("# nothing\na: x\n")
    );
    assert_eq!(after("a: 1", "b", text).as_deref(), Some("a: 1\nb: x"));
}

#[test]
fn items_come_and_go() {
    let rules = "rules:\n  # one\n  - a: 1\n    b: [x]\n\n  # two\n  - a: 2\n# end\n";
    let path = [Step::Key("rules")];
    assert_eq!(
        remove_item(rules, &path, 1).unwrap(),
        "rules:\n  # one\n  - a: 1\n    b: [x]\n\n  # two\n# end\n"
    );
    let added = append(
        rules,
        &path,
        &[("a", Wanted::Text("z")), ("c", Wanted::Flag(true))],
    );
    assert_eq!(
        added.unwrap(),
        "rules:\n  # one\n  - a: 1\n    b: [x]\n\n  # two\n  - a: 2\n  - a: z\n    c: true\n# end\n"
    );
    let one = "rules:\n- a: 1";
    assert_eq!(remove_item(one, &path, 0).unwrap(), "rules: []\n");
    let none = "rules: [] # none yet\n";
    let added = append(none, &path, &[("a", Wanted::Text("z"))]).unwrap();
    assert_eq!(added, "rules: # none yet\n  - a: z\n");
    let inside = [Step::Key("rules"), Step::Item(0)];
    let list = ["z".to_owned()];
    let edited = set(rules, &inside, "b", Some(Wanted::List(&list))).unwrap();
    assert_eq!(edited, rules.replace("[x]", "[z]"));
}

#[test]
fn hostile_texts_are_refused_with_their_line() {
    let deep = "[".repeat(100);
    let check = |text: &str, line: usize, part: &str| match parse(text) {
        Err(error) => assert!(
            error.line == line && error.reason.contains(part),
            "{text:.40}: {error:?}"
        ),
        Ok(node) => panic!("{text:.40}: {node:?}"),
    };
    check("a: 1\nb: 2\na: 3\n", 3, "twice");
    check("a: 1\n---\nb: 2\n", 3, "second document");
    check(&deep, 1, "nested deeper");
    check("b: 1\na: \"x\n", 2, "unexpected end");
    check("a: b: c\n", 1, "");
    check(&format!("[{}]", "1,".repeat(MAX_NODES + 1)), 1, "more than");
    check(&" ".repeat(MAX_TEXT + 1), 1, "longer");
    // A bomb of aliases costs what its text costs.
    let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n";
    assert!(parse(bomb).unwrap().unwrap().has_alias());
}

#[test]
fn plain_scalars_are_what_the_core_schema_says() {
    let check = |text: &str, expected: Json| {
        let node = parse(&format!("a: {text}\n")).unwrap().unwrap();
        assert_eq!(node.to_json()["a"], expected, "{text}");
    };
    check("1", 1.into());
    check("-1.5", (-1.5).into());
    check("1e3", 1000.0.into());
    check("~", Json::Null);
    check("", Json::Null);
    check("True", true.into());
    check("yes", "yes".into());
    check("2026-10-06", "2026-10-06".into());
    check("\"1\"", "1".into());
    check("1.2.3", "1.2.3".into());
    check("x # y", "x".into());
}

/// Lines of YAML as people write it.
fn any_line(n: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zé ]{1,8}[a-zé]".prop_map(move |text| format!("k{n}: {text}\n")),
        "[a-z ü\"\\\\#:,]{0,9}"
            .prop_map(move |text| { format!("k{n}: '{}'  # note\n", text.replace('\'', "''")) }),
        proptest::collection::vec("[a-z]{1,4}", 1..4)
            .prop_map(move |items| format!("k{n}: [{}]\n", items.join(", "))),
        proptest::collection::vec("[a-z]{1,4}", 1..4)
            .prop_map(move |items| format!("k{n}:\n  - {}\n", items.join("\n  # why\n  - "))),
        Just(format!("k{n}: |\n  # text\n\n  more\n\n")),
        Just(format!("# a comment: {n}\n\nk{n}:\n")),
        Just(format!("k{n}:\n  m: 1\n  n: {{a: b}}\n")),
    ]
}

fn any_document() -> impl Strategy<Value = String> {
    let lines = (any_line(0), any_line(1), any_line(2), any_line(3));
    let ends = prop_oneof![Just(""), Just("\n"), Just("# end")];
    (lines, ends, any::<bool>()).prop_map(|((a, b, c, d), end, dos)| {
        let text = format!("{a}{b}{c}{d}{end}");
        if dos {
            text.replace('\n', "\r\n")
        } else {
            text
        }
    })
}

proptest! {
    /// An edit says what was wanted, keeps every line that is not of its key, and can be taken back in its meaning.
    #[test]
    fn an_edit_changes_its_key_alone(
        text in any_document(), n in 0usize..4, value in "[ -~é\n]{0,12}", list in proptest::collection::vec("[a-z:, #]{0,5}", 0..4),
        kind in 0u8..4,
    ) {
        let key = format!("k{n}");
        let value = match kind {
            0 => Some(Wanted::Text(&value)),
            1 => Some(Wanted::List(&list)),
            2 => Some(Wanted::Flag(true)),
            _ => None,
        };
        let before = parse(&text).unwrap().unwrap().to_json();
        let edited = set(&text, &[], &key, value).unwrap();
        let now = parse(&edited).unwrap().map_or(Json::Object(serde_json::Map::default()), |node| node.to_json());
        for other in 0..4 {
            let name = format!("k{other}");
            if other == n {
                prop_assert_eq!(now.get(&name).cloned(), value.map(Wanted::to_json));
            } else {
                prop_assert_eq!(&now[&name], &before[&name]);
            }
        }
        for line in text.lines().filter(|line| line.contains("# a comment") && !line.contains(&key)) {
            prop_assert!(edited.contains(line));
        }
        prop_assert_eq!(edited.contains("\r\n") || !edited.contains('\n'), text.contains("\r\n") || !edited.contains('\n'));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[ \\-?:,\\[\\]{}#&*!|>'\"%@`a\n\té]{0,40}") {
        if let Ok(Some(node)) = parse(&text) {
            prop_assert!(node.span.end <= text.len());
            let _ = set(&text, &[], "a", Some(Wanted::Text("x")));
            let _ = set(&text, &[], "a", None);
        }
    }
}
