//! Rules of roles: the files are the truth for what they manage, and users' rules are nobody's business.

use sync_core::Fault;
use sync_local::{Direction, LocalKind, LocalOptions, Side};

use crate::support::{Fixture, deleting, keep_going, winning};

const AGENTS: &str = "# Who may use which agent\nrules:\n\
    \x20 - entity_type: agent\n    entity_id: triage\n    access: allow\n    default_included: true\n    roles: [support, admin]\n    justification: Queues.\n\n\
    \x20 # not for contractors\n\
    \x20 - entity_type: agent\n    entity_id: release-notes\n    access: deny\n    roles: [contractor]\n";
const TOOLS: &str = "rules:\n- {entity_type: mcp_server, entity_id: git, roles: [product]}\n";

const RULES: &str = "SELECT concat_ws('|', entity_type, entity_id, rule_type, rule_value, access, justification) \
    FROM access_control_rules ORDER BY 1";
const EVERYTHING: &str = "SELECT (SELECT string_agg(e::text || e.xmin, '' ORDER BY e::text) FROM access_control_entities e) \
    || (SELECT string_agg(r::text || r.xmin, '' ORDER BY r::text) FROM access_control_rules r)";

async fn fixture() -> Fixture {
    let fixture = Fixture::new(LocalKind::AccessControl).await;
    fixture.write("access-control/agents.yaml", AGENTS);
    fixture.write("access-control/tools.yaml", TOOLS);
    fixture
}

#[tokio::test]
async fn an_identical_run_changes_nothing() {
    let fixture = fixture().await;
    assert_eq!(fixture.push().await.created, 3);
    fixture.assert_settled().await;
    assert_eq!(
        fixture.ask(RULES).await,
        "agent|release-notes|role|contractor|deny\nagent|triage|role|admin|allow|Queues.\n\
        agent|triage|role|support|allow|Queues.\nmcp_server|git|role|product|allow"
    );
    assert_eq!(
        fixture.ask("SELECT concat(entity_id, default_included, source) FROM access_control_entities ORDER BY 1").await,
        "gitfsync\nrelease-notesfsync\ntriagetsync"
    );
    let before = fixture.ask(EVERYTHING).await;
    assert_eq!(fixture.push().await.total(), 0);
    assert_eq!(fixture.pull().await.total(), 0);
    assert_eq!(fixture.ask(EVERYTHING).await, before);
}

#[tokio::test]
async fn a_change_of_one_rule_leaves_the_others_as_they_are() {
    let fixture = fixture().await;
    fixture.push().await;
    let kept = "SELECT string_agg(id || created_at || updated_at || xmin, '' ORDER BY id) FROM access_control_rules WHERE rule_value <> 'admin'";
    let before = fixture.ask(kept).await;
    fixture.write(
        "access-control/agents.yaml",
        &AGENTS.replace("[support, admin]", "[support]"),
    );
    assert_eq!(fixture.push().await.updated, 1);
    assert_eq!(fixture.ask(kept).await, before);
    assert!(!fixture.ask(RULES).await.contains("admin"));
    fixture.assert_settled().await;
}

#[tokio::test]
async fn what_leaves_the_files_leaves_the_database_and_users_stay() {
    let fixture = fixture().await;
    fixture.push().await;
    fixture
        .run("INSERT INTO access_control_rules (id, entity_type, entity_id, rule_type, rule_value, access) VALUES \
            ('u1', 'agent', 'triage', 'user', 'ada', 'allow'), ('u2', 'mcp_server', 'git', 'user', 'ada', 'deny')")
        .await;
    // They are no change of ours.
    fixture.assert_settled().await;
    let users = "SELECT string_agg(r::text || r.xmin, '' ORDER BY id) FROM access_control_rules r WHERE rule_type = 'user'";
    let before = fixture.ask(users).await;
    fixture.write("access-control/agents.yaml", "rules: []\n");
    assert_eq!(fixture.push().await.deleted, 2);
    assert_eq!(
        fixture.ask(RULES).await,
        "agent|triage|user|ada|allow\nmcp_server|git|role|product|allow\nmcp_server|git|user|ada|deny"
    );
    assert_eq!(
        fixture.ask("SELECT concat(entity_id, default_included, source) FROM access_control_entities ORDER BY 1").await,
        "gitfsync\ntriagef"
    );
    assert_eq!(fixture.ask(users).await, before);
    fixture.assert_settled().await;
    // It comes back to the entity that users kept.
    fixture.write("access-control/agents.yaml", AGENTS);
    assert_eq!(fixture.push().await.created, 2);
    assert_eq!(fixture.ask(users).await, before);
    fixture.assert_settled().await;
    // Whoever has lost what was agreed on still knows what we made, and nothing else.
    fixture.run("INSERT INTO access_control_entities (entity_type, entity_id, default_included, source) VALUES ('hook', 'theirs', true, 'app')").await;
    let other = fixture.elsewhere("two");
    other.write("access-control/tools.yaml", TOOLS);
    // But not what another working copy has agreed on, unless that is asked for.
    assert_eq!(other.push().await.deleted, 0);
    assert_eq!(fixture.push().await.total(), 0);
    assert_eq!(
        other.done(Direction::ToDatabase, &deleting()).await.deleted,
        1
    );
    let entities = "SELECT entity_id FROM access_control_entities ORDER BY 1";
    assert_eq!(fixture.ask(entities).await, "git\ntheirs\ntriage");
    // What nobody remembers goes unasked.
    fixture.push().await;
    fixture.run("DROP SCHEMA sync CASCADE; UPDATE access_control_entities SET source = 'sync' WHERE entity_id = 'triage'").await;
    assert_eq!(other.push().await.deleted, 1);
    assert_eq!(fixture.ask(entities).await, "git\ntheirs\ntriage");
    assert_eq!(
        fixture.ask(RULES).await,
        "agent|triage|user|ada|allow\nmcp_server|git|role|product|allow\nmcp_server|git|user|ada|deny"
    );
}

#[tokio::test]
async fn the_files_are_the_truth_for_what_they_manage() {
    let fixture = fixture().await;
    fixture.push().await;
    let rules = fixture.ask(RULES).await;
    let by_hand = "INSERT INTO access_control_rules (id, entity_type, entity_id, rule_type, rule_value, access) VALUES ('h', 'agent', 'triage', 'role', 'guest', 'allow'); \
        DELETE FROM access_control_rules WHERE entity_id = 'git'; DELETE FROM access_control_entities WHERE entity_id = 'git'";
    fixture.run(by_hand).await;
    // Whoever says that the database is right leaves it so.
    let right = winning(Side::Database);
    assert_eq!(fixture.done(Direction::ToDatabase, &right).await.total(), 0);
    let done = fixture.push().await;
    assert_eq!((done.created, done.updated), (1, 1));
    assert_eq!(fixture.ask(RULES).await, rules);
    fixture.assert_settled().await;
    // What another working copy has pushed is no edit by hand, and what it has removed does not come back.
    let other = fixture.elsewhere("two");
    other.write(
        "access-control/agents.yaml",
        &AGENTS.replace("admin]", "admin, guest]"),
    );
    other.write("access-control/tools.yaml", TOOLS);
    other
        .done(Direction::ToDatabase, &winning(Side::Disk))
        .await;
    other.write("access-control/tools.yaml", "rules: []\n");
    assert_eq!(other.push().await.deleted, 1);
    let rules = fixture.ask(RULES).await;
    assert_eq!(fixture.push().await.total(), 0);
    assert_eq!(fixture.ask(RULES).await, rules);
    assert_eq!(
        fixture
            .done(Direction::ToDatabase, &winning(Side::Disk))
            .await
            .total(),
        2
    );
}

#[tokio::test]
async fn what_another_working_copy_has_made_stays() {
    let fixture = fixture().await;
    fixture.push().await;
    let stale = fixture.elsewhere("two");
    stale.pull().await;
    fixture.write(
        "access-control/hooks.yaml",
        "rules:\n- {entity_type: hook, entity_id: new, roles: [a]}\n",
    );
    assert_eq!(fixture.push().await.created, 1);
    let options = LocalOptions::default();
    assert_eq!(
        stale.status(Direction::ToDatabase, &options).await,
        "hook/new Orphan"
    );
    assert_eq!(stale.push().await.total(), 0);
    fixture.assert_settled().await;
    assert_eq!(
        stale.done(Direction::ToDatabase, &deleting()).await.deleted,
        1
    );
}

#[tokio::test]
async fn an_entity_that_another_system_registered_stays_its_own() {
    let fixture = fixture().await;
    fixture.run("INSERT INTO access_control_entities (entity_type, entity_id, source) VALUES ('agent', 'triage', 'app')").await;
    fixture.push().await;
    let entity = "SELECT concat(source, default_included) FROM access_control_entities WHERE entity_id = 'triage'";
    assert_eq!(fixture.ask(entity).await, "appt");
    fixture.write("access-control/agents.yaml", "rules: []\n");
    assert_eq!(fixture.push().await.deleted, 2);
    assert_eq!(fixture.ask(entity).await, "appf");
    assert_eq!(
        fixture.ask(RULES).await,
        "mcp_server|git|role|product|allow"
    );
    fixture.assert_settled().await;
}

#[tokio::test]
async fn a_file_without_rules_takes_no_grant_away() {
    let fixture = fixture().await;
    fixture.push().await;
    let rules = fixture.ask(RULES).await;
    for text in ["", "# all of it is a comment\n", "rules:\n", "{}\n"] {
        fixture.write("access-control/agents.yaml", text);
        let plan = fixture.plan_push().await;
        assert_eq!(
            plan.problems[0].to_string(),
            "`access-control/agents.yaml`, line 1: there is no `rules` list: `rules: []` says that there are none"
        );
        fixture.done(Direction::ToDatabase, &keep_going()).await;
        assert_eq!(fixture.ask(RULES).await, rules);
    }
    // One that is a link now, or is ignored, takes none either.
    fixture.remove("access-control/agents.yaml");
    fixture.write("shared/agents.yaml", AGENTS);
    let link = fixture.tree().join("access-control/agents.yaml");
    std::os::unix::fs::symlink("../shared/agents.yaml", &link).unwrap();
    assert_eq!(fixture.push().await.total(), 0);
    std::fs::remove_file(link).unwrap();
    fixture.write("access-control/agents.yaml", AGENTS);
    fixture.write(".syncignore", "agents.yaml\n");
    assert_eq!(fixture.push().await.total(), 0);
    assert_eq!(fixture.ask(RULES).await, rules);
}

#[tokio::test]
async fn a_file_that_does_not_parse_takes_no_grant_away() {
    let fixture = fixture().await;
    fixture.push().await;
    fixture.write(
        "access-control/tools.yaml",
        "rules:\n- entity_type: mcp_server\n  entity_id: git\n  role: [product]\n",
    );
    let plan = fixture.plan_push().await;
    assert_eq!(
        plan.problems[0].to_string(),
        "`access-control/tools.yaml`, line 4: unknown key `role`: expected entity_type, entity_id, access, default_included, roles, justification"
    );
    fixture.write("access-control/agents.yaml", "rules: []\n");
    let options = keep_going();
    assert_eq!(
        fixture.done(Direction::ToDatabase, &options).await.total(),
        0
    );
    assert_eq!(
        fixture
            .ask("SELECT count(*)::text FROM access_control_rules")
            .await,
        "4"
    );
}

#[tokio::test]
async fn a_pull_edits_the_entries() {
    let fixture = fixture().await;
    fixture.push().await;
    fixture
        .run("INSERT INTO access_control_rules (id, entity_type, entity_id, rule_type, rule_value, access, justification) VALUES \
            ('a', 'agent', 'triage', 'role', 'finance', 'allow', 'Queues.'), ('b', 'agent', 'triage', 'role', 'guest', 'deny', NULL); \
            DELETE FROM access_control_rules WHERE rule_value = 'support'; \
            INSERT INTO access_control_entities (entity_type, entity_id, default_included) VALUES ('skill', 'new: one', true); \
            UPDATE access_control_entities SET default_included = false WHERE entity_id = 'triage'")
        .await;
    assert_eq!(fixture.pull().await.total(), 2);
    let expected = AGENTS
        .replace("default_included: true", "default_included: false")
        .replace("[support, admin]", "[admin, finance]")
        + "  - entity_type: agent\n    entity_id: triage\n    access: deny\n    roles: [guest]\n";
    assert_eq!(fixture.read("access-control/agents.yaml"), expected);
    assert_eq!(
        fixture.read("access-control/skill.yaml"),
        "rules:\n  - entity_type: skill\n    entity_id: \"new: one\"\n    access: allow\n    default_included: true\n    roles: []\n"
    );
    fixture.assert_settled().await;
    // An entity that is gone from the database goes when asked for.
    fixture
        .run("DELETE FROM access_control_entities WHERE entity_id = 'release-notes'")
        .await;
    let options = deleting();
    assert_eq!(fixture.done(Direction::ToDisk, &options).await.deleted, 1);
    assert!(
        !fixture
            .read("access-control/agents.yaml")
            .contains("release-notes")
    );
    assert!(
        fixture
            .read("access-control/agents.yaml")
            .contains("# not for contractors")
    );
    fixture.assert_settled().await;
}

#[tokio::test]
async fn an_export_is_what_an_import_takes() {
    let fixture = fixture().await;
    fixture.push().await;
    let other = fixture.elsewhere("two");
    assert_eq!(other.pull().await.created, 3);
    other.assert_settled().await;
    assert_eq!(other.push().await.total(), 0);
    // An entry on one line keeps its line where a value in it changes, and says so where it would need another one.
    fixture
        .run("UPDATE access_control_rules SET rule_value = 'support' WHERE rule_value = 'product'")
        .await;
    fixture.pull().await;
    assert_eq!(
        fixture.read("access-control/tools.yaml"),
        TOOLS.replace("product", "support")
    );
    fixture
        .run("UPDATE access_control_entities SET default_included = true WHERE entity_id = 'git'")
        .await;
    let error = fixture
        .refused(Direction::ToDisk, &LocalOptions::default())
        .await;
    assert_eq!(error.code(), "local/unfit");
    let plan = fixture.plan_pull().await;
    assert_eq!(plan.problems[0].code(), "local/edit");
    // Both sides changed one entity.
    fixture.write(
        "access-control/tools.yaml",
        &TOOLS.replace("product", "admin"),
    );
    let error = fixture
        .refused(Direction::ToDatabase, &LocalOptions::default())
        .await;
    assert_eq!(error.code(), "local/conflict");
    fixture
        .done(Direction::ToDatabase, &winning(Side::Disk))
        .await;
    fixture.assert_settled().await;
}

#[tokio::test]
async fn an_entry_changes_where_it_stands() {
    let fixture = Fixture::new(LocalKind::AccessControl).await;
    let rules = "rules:\n  # the first\n  - entity_type: agent\n    entity_id: a\n    roles: [x, y]\n    justification: Old.   # why\n\
        \x20 # the second, alike\n  - entity_type: agent\n    entity_id: b\n    roles: [x]\n  - entity_type: agent\n    entity_id: b\n    roles: [y]\n";
    fixture.write("access-control/agents.yaml", rules);
    fixture.push().await;
    let change = "UPDATE access_control_rules SET justification = 'New.', access = 'deny' WHERE entity_id = 'a'; \
        UPDATE access_control_entities SET default_included = true WHERE entity_id = 'b'";
    fixture.run(change).await;
    fixture.pull().await;
    let expected = rules
        .replace(
            "justification: Old.   # why",
            "justification: New.   # why\n    access: deny",
        )
        .replacen(
            "entity_id: b\n    roles: [x]\n",
            "entity_id: b\n    roles: [x]\n    default_included: true\n",
            1,
        );
    assert_eq!(fixture.read("access-control/agents.yaml"), expected);
    fixture.assert_settled().await;
    // A role that leaves its entry for another rule gets one of its own.
    fixture.run("UPDATE access_control_rules SET access = 'allow' WHERE entity_id = 'a' AND rule_value = 'y'").await;
    fixture.pull().await;
    let text = fixture.read("access-control/agents.yaml");
    assert!(
        text.contains("# the first\n  - entity_type: agent\n    entity_id: a\n    roles: [x]\n"),
        "{text}"
    );
    fixture.assert_settled().await;
}
