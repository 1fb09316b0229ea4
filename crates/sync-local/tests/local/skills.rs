//! Skills in all their layouts.

use sync_core::Fault;
use sync_local::{Direction, LocalKind, LocalOptions};

use crate::support::{Fixture, deleting};

const CONFIG: &str = "# Ours\nid: refund_policy\nname: 'Refund policy'\ndescription: What to do.\nenabled: true\n\
    file: index.md\ntags:\n  - billing # why\n  - policy\ncategory: support\nowner: finance # unknown\n";
const INDEX: &str = "---\ntitle: Old\nslug: refund-policy\n---\n\n  Within 14 days.\n\n";

async fn fixture() -> Fixture {
    let fixture = Fixture::new(LocalKind::Skills).await;
    fixture.write("skills/refund-policy/config.yaml", CONFIG);
    fixture.write("skills/refund-policy/index.md", INDEX);
    fixture.write(
        "skills/check-links/SKILL.md",
        "---\nname: check-links\ndescription: Finds dead links.\nallowed-tools: Bash(x:*)\n---\n\n# Check\n",
    );
    fixture.write("skills/check-links/scripts/run.sh", "#!/bin/sh\n");
    fixture.write(
        "skills/old_one/index.md",
        "---\ntitle: Old one\nslug: old-one\ndescription: D\nkeywords: a, b\n---\nDo it.",
    );
    fixture.write("skills/no-skill/readme.txt", "x");
    fixture
}

#[tokio::test]
async fn every_layout_becomes_a_row_and_comes_back() {
    let fixture = fixture().await;
    assert_eq!(fixture.push().await.created, 3);
    fixture.assert_settled().await;
    let rows = "SELECT concat_ws('|', skill_id, file_path, name, description, instructions, enabled, tags, category_id, source_id) \
        FROM agent_skills ORDER BY skill_id";
    assert_eq!(
        fixture.ask(rows).await,
        "check_links|skills/check-links/SKILL.md|check-links|Finds dead links.|# Check|t|skills\n\
        old_one|skills/old_one/index.md|Old one|D|Do it.|t|{a,b}|skills\n\
        refund_policy|skills/refund-policy/config.yaml|Refund policy|What to do.|Within 14 days.|t|{billing,policy}|support|skills"
    );
    let files = fixture.files();
    fixture
        .run("UPDATE agent_skills SET name = 'New name', tags = '{policy,new}', enabled = false, instructions = 'Now.' WHERE skill_id = 'refund_policy'; \
            UPDATE agent_skills SET tags = '{x,y}', description = 'New: D', category_id = 'c' WHERE skill_id = 'old_one'; \
            UPDATE agent_skills SET enabled = false WHERE skill_id = 'check_links'")
        .await;
    assert_eq!(fixture.pull().await.updated, 3);
    assert_eq!(
        fixture.read("skills/refund-policy/config.yaml"),
        CONFIG
            .replace("'Refund policy'", "'New name'")
            .replace("enabled: true", "enabled: false")
            .replace("  - billing # why\n  - policy\n", "  - policy\n  - new\n")
    );
    assert_eq!(
        fixture.read("skills/refund-policy/index.md"),
        INDEX.replace("Within 14 days.", "Now.")
    );
    assert_eq!(
        fixture.read("skills/old_one/index.md"),
        "---\ntitle: Old one\nslug: old-one\ndescription: \"New: D\"\nkeywords: x, y\ncategory: c\n---\nDo it."
    );
    assert!(
        fixture
            .read("skills/check-links/SKILL.md")
            .contains("allowed-tools: Bash(x:*)\nenabled: false\n---")
    );
    fixture.assert_settled().await;
    assert_eq!(files.len(), fixture.files().len());
}

#[tokio::test]
async fn a_lost_tree_comes_back_byte_for_byte() {
    let fixture = fixture().await;
    fixture.push().await;
    let other = fixture.elsewhere("two");
    assert_eq!(other.pull().await.created, 3);
    let ours = ["config.yaml", "SKILL.md", "index.md"];
    let files = fixture.files().into_iter();
    let files: Vec<_> = files
        .filter(|(path, _)| ours.iter().any(|name| path.ends_with(name)))
        .collect();
    assert_eq!(other.files(), files);
    other.assert_settled().await;
}

#[tokio::test]
async fn a_skill_that_goes_leaves_what_is_not_its_text() {
    let fixture = fixture().await;
    fixture.push().await;
    fixture.run("DELETE FROM agent_skills").await;
    assert_eq!(
        fixture.done(Direction::ToDisk, &deleting()).await.deleted,
        3
    );
    let left: Vec<_> = fixture.files().into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        left,
        [
            "skills/check-links/scripts/run.sh",
            "skills/no-skill/readme.txt"
        ]
    );
    fixture.assert_settled().await;
}

#[tokio::test]
async fn a_skill_that_a_program_made_gets_a_file_in_the_open_layout() {
    let fixture = fixture().await;
    fixture
        .run("INSERT INTO agent_skills (skill_id, file_path, name, description, instructions, enabled, tags, source_id) VALUES \
            ('made', '/elsewhere/made.md', 'Made', 'By a program', 'Do.', false, '{t}', 'skills'), \
            ('../out', 'y', 'N', 'D', 'I', true, NULL, 'skills')")
        .await;
    let error = fixture
        .refused(Direction::ToDisk, &LocalOptions::default())
        .await;
    assert_eq!(error.code(), "local/unfit");
    fixture
        .run("DELETE FROM agent_skills WHERE name = 'N'")
        .await;
    assert_eq!(fixture.pull().await.created, 1);
    assert_eq!(
        fixture.read("skills/made/SKILL.md"),
        "---\nname: Made\ndescription: By a program\nenabled: false\ntags: [t]\n---\n\nDo.\n"
    );
    // Where the row says that its file is stays the program's business until the skill changes here.
    assert_eq!(
        fixture.ask("SELECT file_path FROM agent_skills").await,
        "/elsewhere/made.md"
    );
    fixture.push().await;
    fixture.assert_settled().await;
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let fixture = fixture().await;
    fixture.push().await;
    let check = async |path: &str, text: &str, expected: &str| {
        fixture.write(path, text);
        let plan = fixture.plan_push().await;
        let said: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|said| said.contains(expected)), "{said:?}");
        fixture.remove(path);
    };
    check(
        "skills/refund-policy/config.yml",
        "id: x\n",
        "configures the skill, too",
    )
    .await;
    check(
        "skills/a/config.yaml",
        "file: ../../x.md\n",
        "`file` is refused",
    )
    .await;
    check(
        "skills/a/config.yaml",
        "file: config.yaml\n",
        "names the configuration itself",
    )
    .await;
    check(
        "skills/a/config.yaml",
        "name: A\n",
        "`skills/a/index.md` is not there",
    )
    .await;
    check("skills/a/config.yaml", "id: ../x\n", "is not there").await;
    check(
        "skills/a/SKILL.md",
        "---\nid: ../x\n---\n",
        "`id` is refused",
    )
    .await;
    check("skills/a/SKILL.md", "no front matter", "no front matter").await;
    check(
        "skills/check_links/SKILL.md",
        "---\nname: x\n---\n",
        "are both skill `check_links`",
    )
    .await;
    fixture.assert_settled().await;
}

#[tokio::test]
async fn two_skills_may_exchange_their_directories() {
    let fixture = fixture().await;
    fixture.write("skills/a/SKILL.md", "---\nid: one\nname: One\n---\n");
    fixture.write("skills/b/SKILL.md", "---\nid: two\nname: Two\n---\n");
    fixture.push().await;
    fixture.write("skills/a/SKILL.md", "---\nid: two\nname: Two\n---\n");
    fixture.write("skills/b/SKILL.md", "---\nid: one\nname: One\n---\n");
    fixture.push().await;
    let paths =
        "SELECT file_path FROM agent_skills WHERE skill_id IN ('one', 'two') ORDER BY skill_id";
    assert_eq!(
        fixture.ask(paths).await,
        "skills/b/SKILL.md\nskills/a/SKILL.md"
    );
    fixture.assert_settled().await;
}
