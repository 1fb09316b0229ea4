//! How earlier systems of this kind lost data between disk and database: `lessons.md`, 32 to 38.

use super::{
    super::{scenario::Place, trees},
    desk::{Desk, KINDS, SOURCES, counts, page},
};

/// One of each kind, as people write them.
const PAGE: &str = "---\n# why it is here\nslug: one\ntitle: 'The one'\nkind: article\nauthor: Ada\npublished_at: 2026-10-06\n\
    tags: [b, a]   # in this order\ncategory: product\nlinks:\n  - {title: T, url: https://x}\nunknown: {kept: [1, 2.50]}\n---\n\nHello.";
const SKILL: &str = "---\nname: Check links\ndescription: Checks\nlicense: MIT # unknown to the table\nmetadata:\n  owner: ada\n---\n\nDo it.\n\n---\n\nThen rest.";
const RULES: &str = "# agents\nrules:\n  - entity_type: agent\n    entity_id: triage\n    roles: [support, admin]\n    justification: Queues.\n\n  # tools\n  - entity_type: agent\n    entity_id: notes\n    default_included: true\n    roles: []\n";

fn all_kinds<'p>(place: &'p Place<'p>) -> Desk<'p> {
    let desk = Desk::new(place);
    desk.write("content/config.yaml", SOURCES);
    desk.write("content/blog/one.md", PAGE);
    desk.write("skills/check-links/SKILL.md", SKILL);
    desk.write("access-control/agents.yaml", RULES);
    desk
}

const ALL: [&str; 4] = ["push", "skills", "content", "access-control"];

/// The diff hash and the stored hash were different functions.
pub(super) fn lesson_32_nothing_is_modified_for_ever(place: &Place) {
    let desk = all_kinds(place);
    desk.call(&ALL).ok();
    for kind in KINDS {
        desk.assert_settled(kind);
    }
    // A hash that somebody else writes decides nothing; neither do times.
    desk.ask("UPDATE markdown_content SET version_hash = 'of somebody', updated_at = now() - interval '1 year'");
    desk.ask("UPDATE agent_skills SET updated_at = now() - interval '1 year'");
    for kind in KINDS {
        // The rows are other versions, which are read and found to say the same.
        let pushed = desk.push(kind).ok().json();
        assert_eq!(counts(&pushed), [0; 3], "{pushed}");
        desk.assert_settled(kind);
    }
    // Every field counts: a program changes one, and it is seen, brought over, and settled at once.
    for (table, change) in [
        ("markdown_content", "title = title || '!'"),
        ("markdown_content", "description = 'D'"),
        ("markdown_content", "author = 'B'"),
        ("markdown_content", "published_at = '2026-10-07'"),
        ("markdown_content", "keywords = 'k'"),
        ("markdown_content", "kind = 'guide'"),
        ("markdown_content", "image = 'i.png'"),
        ("markdown_content", "category_id = 'other'"),
        ("markdown_content", "public = false"),
        (
            "markdown_content",
            "links = '[{\"title\": \"U\", \"url\": \"v\"}]'",
        ),
        ("markdown_content", "body = body || '!'"),
        ("agent_skills", "name = name || '!'"),
        ("agent_skills", "description = 'E'"),
        ("agent_skills", "enabled = false"),
        ("agent_skills", "tags = '{x,y}'"),
        ("agent_skills", "category_id = 'c'"),
        ("agent_skills", "instructions = instructions || '!'"),
        ("access_control_entities", "default_included = true"),
        ("access_control_rules", "justification = 'J'"),
    ] {
        desk.ask(&format!("UPDATE {table} SET {change}"));
        let kind = match table {
            "markdown_content" => "content",
            "agent_skills" => "skills",
            _ => "access-control",
        };
        let pulled = desk.pull(kind).ok().json();
        assert!(counts(&pulled)[1] > 0, "{change} was not seen: {pulled}");
        desk.assert_settled(kind);
    }
}

/// The round trip lost tags, category, links, unknown keys, key order and the final newline.
pub(super) fn lesson_33_the_round_trip_loses_nothing(place: &Place) {
    let desk = all_kinds(place);
    desk.call(&ALL).ok();
    assert_eq!(
        desk.ask("SELECT concat_ws('|', title, category_id, links, body) FROM markdown_content"),
        "The one|product|[{\"url\": \"https://x\", \"title\": \"T\"}]|Hello."
    );
    let there = desk.elsewhere("there");
    there
        .call(&["pull", "skills", "content", "access-control"])
        .ok();
    assert_eq!(there.read("content/blog/one.md"), PAGE);
    assert_eq!(there.read("skills/check-links/SKILL.md"), SKILL);
    // A change of one field changes its line, and nothing else.
    desk.ask("UPDATE markdown_content SET title = 'Another'; UPDATE agent_skills SET description = 'Checks them'; UPDATE access_control_rules SET justification = 'Queues, all.'");
    desk.call(&["pull", "skills", "content", "access-control"])
        .ok();
    assert_eq!(
        desk.read("content/blog/one.md"),
        PAGE.replace("'The one'", "'Another'")
    );
    assert_eq!(
        desk.read("skills/check-links/SKILL.md"),
        SKILL.replace("description: Checks", "description: Checks them")
    );
    assert_eq!(
        desk.read("access-control/agents.yaml"),
        RULES.replace("Queues.", "Queues, all.")
    );
}

/// `slug: ""` deleted a whole tree; `slug: ../victim` deleted and wrote outside it.
pub(super) fn lesson_34_a_slug_reaches_nothing_outside(place: &Place) {
    let desk = all_kinds(place);
    desk.call(&ALL).ok();
    desk.write("victim.md", "precious");
    desk.write("content/victim.md", "precious");
    for slug in ["\"\"", "../victim", "a/../../victim", "/victim", "a\\b"] {
        desk.write(
            "content/blog/bad.md",
            &page("bad", "x").replace("slug: bad", &format!("slug: {slug}")),
        );
        desk.call(&["push", "content", "--delete", "--yes"])
            .exits(1)
            .says("local/parse")
            .says("line 3");
        desk.call(&["push", "content", "--delete", "--yes", "--keep-going"])
            .exits(1);
        assert_eq!(
            desk.ask("SELECT slug FROM markdown_content"),
            "one",
            "{slug}"
        );
    }
    desk.remove("content/blog/bad.md");
    // The same from the other side, as a row and as what was written down.
    desk.ask("INSERT INTO markdown_content (id, slug, title, body, author, published_at, kind, source_id, version_hash) \
        SELECT 'x' || n, s, 't', 'b', 'a', now(), 'article', 'blog', '' FROM unnest(ARRAY['', '../victim', '../../victim', '/victim']) WITH ORDINALITY u(s, n)");
    let before = trees::traces(&desk.tree());
    let answer = desk.pull("content").exits(1).says("local/unnamable").json();
    assert_eq!(answer["items_skipped"], 4, "{answer}");
    desk.call(&["pull", "content", "--keep-going", "--delete", "--yes"])
        .exits(1);
    trees::assert_untouched(&desk.tree(), &before);
    desk.ask("DELETE FROM markdown_content; UPDATE sync.local_item SET path = 'content/victim.md' WHERE kind = 'content'; \
        INSERT INTO sync.local_item SELECT copy, kind, 'v' || n, digest, p, mark FROM sync.local_item, \
        unnest(ARRAY['../victim.md', 'victim.md', '', 'content/blog/../../victim.md']) WITH ORDINALITY u(p, n) WHERE kind = 'content'");
    desk.call(&["pull", "content", "--delete", "--yes", "--keep-going"]);
    for (path, text) in [("victim.md", "precious"), ("content/victim.md", "precious")] {
        assert_eq!(desk.read(path), text);
    }
    assert!(!desk.workspace.root().join("victim.md").exists());
}

/// "Deleted 1" was reported and nothing was deleted.
pub(super) fn lesson_35_counts_are_true(place: &Place) {
    let desk = all_kinds(place);
    desk.write("content/blog/two.md", &page("two", "x"));
    let pushed = desk.call(&ALL).ok().json();
    let table = [
        "agent_skills",
        "markdown_content",
        "access_control_entities",
    ];
    for (at, table) in table.iter().enumerate() {
        let rows = desk.ask(&format!("SELECT count(*) FROM {table}"));
        assert_eq!(counts(&pushed["targets"][at])[0].to_string(), rows);
    }
    desk.remove("content/blog/one.md");
    // A trigger of the application keeps rows: nothing is reported that did not happen, and nothing else is done either.
    desk.ask(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
        CREATE TRIGGER keep BEFORE DELETE ON markdown_content FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    desk.write("content/blog/two.md", &page("two", "edited"));
    let answer = desk
        .call(&["push", "content", "--delete"])
        .exits(3)
        .says("local/moved")
        .json();
    assert_eq!(answer["items_synced"], 0);
    assert_eq!(
        desk.ask("SELECT string_agg(slug || body, ' ' ORDER BY slug) FROM markdown_content"),
        "oneHello. twox"
    );
    desk.ask("DROP TRIGGER keep ON markdown_content");
    let deleted = desk.call(&["push", "content", "--delete"]).ok().json();
    assert_eq!(counts(&deleted), [0, 1, 1]);
    assert_eq!(desk.ask("SELECT slug FROM markdown_content"), "two");
    desk.ask("DELETE FROM markdown_content");
    desk.write("content/blog/.keep", "");
    let gone = desk
        .call(&["pull", "content", "--delete", "--yes"])
        .ok()
        .json();
    assert_eq!(counts(&gone), [0, 0, 1]);
    assert!(!desk.exists("content/blog/two.md"));
    desk.assert_settled("content");
}

/// One source silently took over another source's row, because the slug was the same.
pub(super) fn lesson_36_no_source_takes_over_a_row(place: &Place) {
    let desk = all_kinds(place);
    desk.write(
        "content/config.yaml",
        "content_sources:\n  blog: {path: content/blog}\n  docs: {path: content/docs}\n",
    );
    desk.write("content/docs/.keep", "");
    desk.call(&ALL).ok();
    // Two files of one tree.
    desk.write("content/docs/one.md", &page("one", "Mine."));
    desk.push("content")
        .exits(1)
        .says("local/twice")
        .says("content/blog/one.md")
        .says("content/docs/one.md");
    desk.remove("content/docs/one.md");
    // A row of a source that this tree does not have.
    desk.ask("INSERT INTO markdown_content (id, slug, title, body, author, published_at, kind, source_id, version_hash) \
        VALUES ('x', 'theirs', 't', 'b', 'a', now(), 'k', 'elsewhere', '')");
    let theirs = "SELECT m::text || xmin FROM markdown_content m WHERE slug = 'theirs'";
    let before = desk.ask(theirs);
    desk.write("content/docs/theirs.md", &page("theirs", "Ours."));
    for choice in [
        &["--on-conflict", "disk"][..],
        &["--delete", "--yes", "--keep-going"],
    ] {
        let mut words = vec!["push", "content"];
        words.extend(choice);
        desk.call(&words)
            .exits(1)
            .says("local/taken")
            .says("elsewhere");
    }
    assert_eq!(desk.ask(theirs), before);
    desk.remove("content/docs/theirs.md");
    assert_eq!(counts(&desk.pull("content").ok().json()), [0; 3]);
    // A page that moves to another source of the tree takes its row along.
    desk.remove("content/blog/one.md");
    desk.write("content/docs/one.md", PAGE);
    assert_eq!(counts(&desk.push("content").ok().json()), [0, 1, 0]);
    assert_eq!(
        desk.ask("SELECT source_id FROM markdown_content WHERE slug = 'one'"),
        "docs"
    );
    desk.assert_settled("content");
}

/// A grant whose entity left the YAML stayed in force; an identical run deleted and re-inserted every rule.
pub(super) fn lesson_37_a_grant_leaves_with_its_entry(place: &Place) {
    let desk = all_kinds(place);
    desk.push("access-control").ok();
    desk.ask("INSERT INTO access_control_rules (id, entity_type, entity_id, rule_type, rule_value, access) VALUES ('u', 'agent', 'triage', 'user', 'ada', 'allow')");
    let everything = "SELECT (SELECT string_agg(e::text || e.xmin, '' ORDER BY e::text) FROM access_control_entities e) \
        || (SELECT string_agg(r::text || r.xmin, '' ORDER BY r::text) FROM access_control_rules r)";
    let before = desk.ask(everything);
    for _ in 0..2 {
        assert_eq!(counts(&desk.push("access-control").ok().json()), [0; 3]);
    }
    assert_eq!(desk.ask(everything), before);
    // A file that is written again as it is changes nothing either.
    desk.write("access-control/agents.yaml", RULES);
    desk.push("access-control").ok();
    assert_eq!(desk.ask(everything), before);
    // A role leaves, then the whole entry, unasked; the rule of a user stays.
    let rules = "SELECT string_agg(rule_type || ':' || rule_value, ' ' ORDER BY rule_value) FROM access_control_rules";
    desk.write(
        "access-control/agents.yaml",
        &RULES.replace("[support, admin]", "[support]"),
    );
    desk.push("access-control").ok();
    assert_eq!(desk.ask(rules), "user:ada role:support");
    desk.write("access-control/agents.yaml", "rules: []\n");
    let gone = desk
        .call(&["push", "access-control"])
        .exits(3)
        .says("engine/empties")
        .json();
    assert_eq!(gone["items_synced"], 0);
    assert_eq!(desk.ask(rules), "user:ada role:support");
    let gone = desk.call(&["push", "access-control", "--yes"]).ok().json();
    assert_eq!(counts(&gone), [0, 0, 2]);
    assert_eq!(desk.ask(rules), "user:ada");
    desk.assert_settled("access-control");
    // Whoever has lost all private state still knows what is ours to take away.
    desk.write("access-control/agents.yaml", RULES);
    desk.push("access-control").ok();
    desk.ask("DROP SCHEMA sync CASCADE");
    let kept = RULES.split("\n  # tools").next().unwrap_or_default();
    desk.write("access-control/agents.yaml", kept);
    desk.push("access-control").ok();
    assert_eq!(
        desk.ask("SELECT string_agg(entity_id, ' ' ORDER BY 1) FROM access_control_entities"),
        "triage"
    );
}

/// A file that did not parse was skipped with a log line and then looked "removed".
pub(super) fn lesson_38_what_does_not_parse_is_not_removed(place: &Place) {
    let desk = all_kinds(place);
    desk.write("content/blog/two.md", &page("two", "x"));
    desk.write("skills/other/SKILL.md", SKILL);
    desk.call(&ALL).ok();
    let everything = "SELECT concat_ws('|', (SELECT string_agg(m::text || xmin, '' ORDER BY id) FROM markdown_content m), \
        (SELECT string_agg(m::text || xmin, '' ORDER BY skill_id) FROM agent_skills m), \
        (SELECT string_agg(m::text || xmin, '' ORDER BY entity_id) FROM access_control_entities m), \
        (SELECT string_agg(m::text || xmin, '' ORDER BY id) FROM access_control_rules m))";
    let before = desk.ask(everything);
    for (kind, path, text, line) in [
        (
            "content",
            "content/blog/one.md",
            "---\ntitle: One\nslug: one: two\n---\nx\n",
            3,
        ),
        (
            "skills",
            "skills/check-links/SKILL.md",
            "---\nname: [\n---\nx\n",
            3,
        ),
        (
            "access-control",
            "access-control/agents.yaml",
            "rules:\n- entity_type: agent\n  entity_id: x\n  role: [a]\n",
            4,
        ),
    ] {
        let good = desk.read(path);
        desk.write(path, text);
        let answer = desk.call(&["push", kind, "--delete", "--yes"]).exits(1);
        let said = format!("`{path}`, line {line}: ");
        let answer = answer.says(&said).says("local/parse").json();
        assert_eq!(answer["errors"][0]["path"], path);
        desk.call(&["push", kind, "--delete", "--yes", "--keep-going"])
            .exits(1)
            .says(&said);
        desk.call(&["status", kind]).ok().says(&said);
        desk.call(&["status", kind, "--exit-code"]).exits(10);
        assert_eq!(desk.ask(everything), before, "{kind}");
        desk.write(path, &good);
    }
    // While one file is broken, nothing is taken for removed: it may have moved and broken at once.
    desk.write("content/blog/one.md", "---\n");
    desk.remove("content/blog/two.md");
    desk.write("content/blog/three.md", &page("three", "x"));
    let done = desk
        .call(&["push", "content", "--delete", "--yes", "--keep-going"])
        .exits(1)
        .json();
    assert_eq!(counts(&done), [1, 0, 0]);
    assert_eq!(done["state"]["kind"], "partial");
    assert_eq!(desk.ask("SELECT count(*) FROM markdown_content"), "3");
    // A pull does not write over it either.
    desk.ask("UPDATE markdown_content SET body = 'new' WHERE slug = 'one'");
    desk.call(&[
        "pull",
        "content",
        "--keep-going",
        "--on-conflict",
        "database",
    ])
    .exits(1);
    assert_eq!(desk.read("content/blog/one.md"), "---\n");
}
