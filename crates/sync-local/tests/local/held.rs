//! What is there and is not taken, and what stands in the way: nothing is removed or overwritten because of it.

use std::os::unix::fs::symlink;

use sync_core::Fault;
use sync_local::{Direction, LocalKind, LocalOptions, Side};

use crate::content::page;
use crate::support::{Fixture, deleting, keep_going, winning};

const CONFIG: &str = "content_sources:\n  blog:\n    path: content/blog\n    source_id: blog\n";
const SKILL: &str = "---\nname: Made\ndescription: D\n---\n\nDo.\n";
const SLUGS: &str = "SELECT slug FROM markdown_content ORDER BY 1";
const SKILLS: &str = "SELECT skill_id FROM agent_skills ORDER BY 1";

async fn pages() -> Fixture {
    let fixture = Fixture::new(LocalKind::Content).await;
    fixture.write("content/config.yaml", CONFIG);
    for slug in ["one", "two"] {
        fixture.write(
            &format!("content/blog/{slug}.md"),
            &page(slug, "", "Hello."),
        );
    }
    fixture.push().await;
    fixture
}

async fn skills() -> Fixture {
    let fixture = Fixture::new(LocalKind::Skills).await;
    fixture.write("skills/one/SKILL.md", SKILL);
    fixture.write("skills/two/SKILL.md", SKILL);
    fixture.push().await;
    fixture
}

fn move_file(fixture: &Fixture, from: &str, to: &str) {
    let text = fixture.read(from);
    fixture.remove(from);
    fixture.write(to, &text);
}

fn left_out(plan: &sync_local::LocalPlan) -> Vec<&str> {
    let paths = plan.left_out.iter();
    paths.filter_map(sync_local::Error::path).collect()
}

#[tokio::test]
async fn a_path_that_a_skill_of_another_source_has_is_not_taken_from_it() {
    let fixture = skills().await;
    fixture
        .run("INSERT INTO agent_skills (skill_id, file_path, name, description, instructions, source_id) \
            VALUES ('theirs', 'skills/new/SKILL.md', 'T', 'D', 'I', 'market')")
        .await;
    fixture.write("skills/new/SKILL.md", SKILL);
    let plan = fixture.plan_push().await;
    let error = fixture.sync().apply(plan, &fixture.ports()).await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), "local/taken");
    assert_eq!(
        error.to_string(),
        "`skills/new/SKILL.md` is skill `new`, and the row with its name or path belongs to skill `theirs` of source `market`"
    );
    assert_eq!(fixture.ask(SKILLS).await, "one\ntheirs\ntwo");
}

#[tokio::test]
async fn a_row_that_changes_while_its_file_moves_is_not_overwritten() {
    let fixture = skills().await;
    move_file(&fixture, "skills/one/SKILL.md", "skills/other/SKILL.md");
    fixture.write(
        "skills/other/SKILL.md",
        &SKILL.replace("name: Made", "id: one\nname: Made"),
    );
    let plan = fixture.plan_push().await;
    fixture
        .run("UPDATE agent_skills SET instructions = 'Late.' WHERE skill_id = 'one'")
        .await;
    let error = fixture.sync().apply(plan, &fixture.ports()).await;
    assert!(error.unwrap_err().is_moved());
    let said = "SELECT instructions FROM agent_skills WHERE skill_id = 'one'";
    assert_eq!(fixture.ask(said).await, "Late.");
}

#[tokio::test]
async fn a_page_that_only_moves_changes_no_row() {
    let fixture = pages().await;
    let rows = "SELECT string_agg(m::text || xmin, '' ORDER BY slug) FROM markdown_content m";
    let before = fixture.ask(rows).await;
    move_file(&fixture, "content/blog/one.md", "content/blog/deep/uno.md");
    fixture.push().await;
    assert_eq!(fixture.ask(rows).await, before);
    assert_eq!(
        fixture
            .ask("SELECT path FROM sync.local_file ORDER BY 1")
            .await,
        "content/blog/deep/uno.md\ncontent/blog/two.md"
    );
    fixture.assert_settled().await;
}

#[tokio::test]
async fn a_skill_is_not_put_into_the_directory_of_another_one() {
    for (path, text) in [
        (
            "skills/made/config.yaml",
            "id: other\nname: Other\nfile: text.md\n",
        ),
        (
            "skills/made/index.md",
            "---\nid: other\ntitle: Other\n---\nX",
        ),
    ] {
        let fixture = Fixture::new(LocalKind::Skills).await;
        fixture.write("skills/made/text.md", "Text.\n");
        fixture.write(path, text);
        fixture.push().await;
        fixture.assert_settled().await;
        fixture
            .run("INSERT INTO agent_skills (skill_id, file_path, name, instructions, source_id) VALUES ('made', 'x', 'Made', 'Do.', 'skills')")
            .await;
        let plan = fixture.plan_pull().await;
        let codes: Vec<_> = plan.problems.iter().map(Fault::code).collect();
        assert_eq!(codes, ["local/in-the-way"]);
        fixture.done(Direction::ToDisk, &keep_going()).await;
        assert!(!fixture.exists("skills/made/SKILL.md"));
        assert_eq!(
            fixture
                .done(Direction::ToDatabase, &deleting())
                .await
                .total(),
            0
        );
        assert_eq!(fixture.ask(SKILLS).await, "made\nother");
    }
}

#[tokio::test]
async fn a_link_in_the_place_of_a_file_removes_nothing() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("SKILL.md"), SKILL).unwrap();
    for target in [outside.path().to_str().unwrap(), "two"] {
        let fixture = skills().await;
        fixture.remove("skills/one");
        symlink(target, fixture.tree().join("skills/one")).unwrap();
        let plan = fixture.plan_push().await;
        assert_eq!(left_out(&plan), ["skills/one"]);
        assert_eq!(
            fixture
                .done(Direction::ToDatabase, &deleting())
                .await
                .total(),
            0
        );
        assert_eq!(fixture.ask(SKILLS).await, "one\ntwo");
    }
    // A directory of pages, from inside the tree.
    let fixture = pages().await;
    std::fs::rename(
        fixture.tree().join("content/blog"),
        fixture.tree().join("content/real"),
    )
    .unwrap();
    symlink("real", fixture.tree().join("content/blog")).unwrap();
    let error = fixture.refused(Direction::ToDatabase, &deleting()).await;
    assert_eq!(error.code(), "local/no-directory");
    let fixture = pages().await;
    std::fs::create_dir(fixture.tree().join("content/shared")).unwrap();
    move_file(&fixture, "content/blog/one.md", "content/shared/one.md");
    symlink("../shared", fixture.tree().join("content/blog/more")).unwrap();
    assert_eq!(left_out(&fixture.plan_push().await), ["content/blog/more"]);
    fixture.done(Direction::ToDatabase, &deleting()).await;
    assert_eq!(fixture.ask(SLUGS).await, "one\ntwo");
    // One that can hide nothing is nobody's business.
    std::fs::write(fixture.tree().join("content/shared/i.png"), "x").unwrap();
    fixture.remove("content/blog/more");
    symlink("../shared/i.png", fixture.tree().join("content/blog/i.png")).unwrap();
    assert!(left_out(&fixture.plan_push().await).is_empty());
}

#[tokio::test]
async fn a_file_that_is_ignored_is_not_gone() {
    let fixture = pages().await;
    fixture.write("content/blog/.syncignore", "one.md\n");
    let plan = fixture
        .plan(Direction::ToDatabase, &deleting())
        .await
        .unwrap();
    assert!(plan.items.is_empty(), "{:?}", plan.items);
    assert_eq!(left_out(&plan), ["content/blog/one.md"]);
    // Other items go as ever.
    fixture.remove("content/blog/two.md");
    assert_eq!(
        fixture
            .done(Direction::ToDatabase, &deleting())
            .await
            .deleted,
        1
    );
    assert_eq!(fixture.ask(SLUGS).await, "one");
    // It is not written either, whoever is right.
    let before = fixture.files();
    fixture
        .run("UPDATE markdown_content SET body = 'Row.'")
        .await;
    fixture
        .done(Direction::ToDisk, &winning(Side::Database))
        .await;
    assert_eq!(fixture.files(), before);
    fixture.remove("content/blog/.syncignore");
    assert_eq!(fixture.pull().await.updated, 1);
    fixture.assert_settled().await;
}

#[tokio::test]
async fn what_is_not_taken_is_in_the_way() {
    let fixture = pages().await;
    let other = fixture.elsewhere("two");
    other.write("content/config.yaml", CONFIG);
    let secret = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
    other.write("content/blog/one.md", &page("one", "", &secret));
    other.write("content/blog/.syncignore", "two.md\n");
    other.write("content/blog/two.md", "mine");
    let plan = other.plan_pull().await;
    let said: Vec<_> = plan
        .problems
        .iter()
        .map(|error| (error.code(), error.path()))
        .collect();
    assert_eq!(
        said,
        [
            ("local/in-the-way", Some("content/blog/one.md")),
            ("local/in-the-way", Some("content/blog/two.md"))
        ]
    );
    other.done(Direction::ToDisk, &keep_going()).await;
    assert_eq!(other.read("content/blog/two.md"), "mine");
}

#[tokio::test]
async fn a_skill_may_take_another_name() {
    let fixture = skills().await;
    let renamed = SKILL.replace("name: Made", "id: uno\nname: Made");
    fixture.write("skills/one/SKILL.md", &renamed);
    // The old one stays until it is to go, and steps aside.
    assert_eq!(fixture.push().await.created, 1);
    assert_eq!(fixture.ask(SKILLS).await, "one\ntwo\nuno");
    let paths = "SELECT skill_id FROM agent_skills WHERE file_path = 'skills/one/SKILL.md'";
    assert_eq!(fixture.ask(paths).await, "uno");
    let status = fixture
        .status(Direction::ToDatabase, &LocalOptions::default())
        .await;
    assert_eq!(status, "one Orphan");
    assert_eq!(
        fixture
            .done(Direction::ToDatabase, &deleting())
            .await
            .deleted,
        1
    );
    fixture.assert_settled().await;
    // At once, and into a directory that another one left.
    fixture.write(
        "skills/three/SKILL.md",
        &SKILL.replace("name: Made", "id: two\nname: Made"),
    );
    fixture.write(
        "skills/two/SKILL.md",
        &SKILL.replace("name: Made", "id: new\nname: Made"),
    );
    fixture.write(
        "skills/one/SKILL.md",
        &SKILL.replace("name: Made", "id: eins\nname: Made"),
    );
    let done = fixture.done(Direction::ToDatabase, &deleting()).await;
    assert_eq!((done.created, done.deleted), (2, 1));
    assert_eq!(fixture.ask(SKILLS).await, "eins\nnew\ntwo");
    fixture.assert_settled().await;
}

#[tokio::test]
async fn a_skill_of_another_source_is_not_taken_over() {
    let fixture = skills().await;
    fixture
        .run("INSERT INTO agent_skills (skill_id, file_path, name, instructions, source_id) VALUES ('theirs', 'x', 'Theirs', 'Do.', 'elsewhere')")
        .await;
    let row = "SELECT m::text || xmin FROM agent_skills m WHERE skill_id = 'theirs'";
    let before = fixture.ask(row).await;
    assert_eq!(fixture.pull().await.total(), 0);
    fixture.write("skills/theirs/SKILL.md", SKILL);
    let plan = fixture
        .plan(Direction::ToDatabase, &winning(Side::Disk))
        .await;
    assert_eq!(
        plan.unwrap().problems[0].to_string(),
        "`skills/theirs/SKILL.md` is skill `theirs`, and the row with its name or path belongs to skill source `elsewhere`"
    );
    let options = LocalOptions {
        keep_going: true,
        ..winning(Side::Disk)
    };
    fixture.done(Direction::ToDatabase, &options).await;
    assert_eq!(fixture.ask(row).await, before);
    // A source that the configuration names as one of skills is ours.
    fixture.write(
        "content/config.yaml",
        "content_sources:\n  elsewhere: {path: skills, allowed_content_types: [skill]}\n",
    );
    assert!(fixture.plan_push().await.problems.is_empty());
}

#[tokio::test]
async fn what_is_wrong_elsewhere_does_not_stop_a_filtered_run() {
    let fixture = pages().await;
    fixture.write("content/blog/bad.md", "no front matter");
    fixture.write("content/blog/one.md", &page("one", "", "Edited."));
    fixture.remove("content/blog/two.md");
    let filtered = |pattern: &str| LocalOptions {
        filter: Some(sync_files::Patterns::new("--filter", &[pattern]).unwrap()),
        ..deleting()
    };
    let error = fixture
        .refused(Direction::ToDatabase, &filtered("bad.md"))
        .await;
    assert_eq!(error.code(), "local/unfit");
    // What looks as if it were gone may be in the file that does not parse.
    fixture
        .done(Direction::ToDatabase, &filtered("two.md"))
        .await;
    let done = fixture
        .done(Direction::ToDatabase, &filtered("one.md"))
        .await;
    assert_eq!((done.updated, done.deleted), (1, 0));
    assert_eq!(fixture.ask(SLUGS).await, "one\ntwo");
}

#[tokio::test]
async fn a_configuration_that_is_gone_is_not_an_empty_one() {
    let fixture = pages().await;
    let bases = "SELECT count(*)::text FROM sync.local_item";
    fixture.remove("content/config.yaml");
    for direction in [Direction::ToDatabase, Direction::ToDisk] {
        let error = fixture.refused(direction, &deleting()).await;
        assert_eq!(
            (error.code(), error.path()),
            ("local/no-directory", Some("content/config.yaml"))
        );
    }
    assert_eq!(fixture.ask(bases).await, "2");
    // Nor is a source that is switched off forgotten.
    fixture.write(
        "content/config.yaml",
        &CONFIG.replace("path:", "enabled: false\n    path:"),
    );
    fixture.push().await;
    assert_eq!(fixture.ask(bases).await, "2");
    fixture.write("content/config.yaml", CONFIG);
    fixture.assert_settled().await;
}

#[tokio::test]
async fn a_null_in_a_scalar_is_said_with_its_line() {
    let fixture = pages().await;
    let text = page("one", "", "x").replace("title: The one", "title: \"a\\0b\"");
    fixture.write("content/blog/one.md", &text);
    let plan = fixture.plan_push().await;
    assert_eq!(
        plan.problems[0].to_string(),
        "`content/blog/one.md`, line 2: there is a NUL character"
    );
}

#[tokio::test]
async fn hints_name_commands_that_do_what_they_say() {
    let fixture = pages().await;
    fixture.write("content/blog/one.md", &page("one", "", "Disk."));
    fixture
        .run("UPDATE markdown_content SET body = 'Row.' WHERE slug = 'one'")
        .await;
    let error = fixture
        .refused(Direction::ToDatabase, &LocalOptions::default())
        .await;
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("`sync-cli diff skills|content|access-control`"),
        "{hint}"
    );
    fixture.write("content/blog/two.md", "no front matter");
    let plan = fixture.plan_push().await;
    let hint = plan.problems[0].hint().unwrap();
    assert!(!hint.contains(".syncignore"), "{hint}");
}
