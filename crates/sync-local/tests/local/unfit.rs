//! Rows that no file can say: told before anything is done, and no reason to leave the others.

use sync_core::Fault;
use sync_local::{Direction, LocalKind, LocalOptions};

use crate::support::{Fixture, keep_going};

const CONFIG: &str = "content_sources:\n  blog: {path: content/blog, allowed_content_types: [article]}\n\
    \x20 deep: {path: content/blog/deep}\n";

/// Adds a page of source `blog`, with some columns as they are given.
async fn add(fixture: &Fixture, slug: &str, author: &str, kind: &str, body: &str) {
    fixture
        .run(&format!(
            "INSERT INTO markdown_content (id, slug, title, body, author, published_at, kind, source_id, version_hash) \
            VALUES ('{slug}', '{slug}', 'T', {body}, '{author}', '2026-10-06', '{kind}', 'blog', '')"
        ))
        .await;
}

/// What a plan of a pull says is wrong, by code.
async fn problems(fixture: &Fixture) -> Vec<String> {
    let plan = fixture.plan_pull().await;
    let mut said: Vec<_> = plan
        .problems
        .iter()
        .map(|error| format!("{} {error}", error.code()))
        .collect();
    said.sort();
    said
}

#[tokio::test]
async fn pages_that_cannot_be_files() {
    let fixture = Fixture::new(LocalKind::Content).await;
    fixture.write("content/config.yaml", CONFIG);
    fixture.write("content/blog/deep/.keep", "");
    add(&fixture, "good", "Ada", "article", "'---'").await;
    add(&fixture, "nobody", "", "article", "'x'").await;
    add(&fixture, "other", "Ada", "page", "'x'").await;
    add(&fixture, "deep/inner", "Ada", "article", "'x'").await;
    add(&fixture, "long", "Ada", "article", "repeat('x', 5 << 20)").await;
    assert_eq!(
        problems(&fixture).await,
        [
            "local/edit `content/blog/deep/inner.md` cannot be edited: it would not say what the database has of `deep/inner`",
            "local/edit `content/blog/long.md` cannot be edited: it would be longer than 4194304 bytes",
            "local/unnamable content `nobody` of the database cannot be a file: `author` is missing",
            "local/unnamable content `other` of the database cannot be a file: `kind` is `page`, and source `blog` has article",
        ]
    );
    let nothing = LocalOptions::default();
    let error = fixture.refused(Direction::ToDisk, &nothing).await;
    assert_eq!(error.code(), "local/unfit");
    assert!(!fixture.exists("content/blog/good.md"));
    let done = fixture.done(Direction::ToDisk, &keep_going()).await;
    assert_eq!(done.created, 1);
    // What is there is read by the next push.
    assert!(
        fixture
            .read("content/blog/good.md")
            .ends_with("---\n\n---\n")
    );
    fixture
        .run("DELETE FROM markdown_content WHERE slug <> 'good'")
        .await;
    fixture.push().await;
    fixture.assert_settled().await;
}

#[tokio::test]
async fn skills_that_cannot_be_edited() {
    let fixture = Fixture::new(LocalKind::Skills).await;
    fixture.write("skills/two/config.yaml", "name: Two\nfile: text.md\n");
    fixture.write("skills/two/text.md", "Text.\n");
    fixture.write(
        "skills/older/index.md",
        "---\ntitle: Older\nkeywords: a, b\n---\nX\n",
    );
    fixture.write("skills/open/SKILL.md", "---\nname: Open\n---\nX\n");
    fixture.push().await;
    let before = fixture.files();
    fixture
        .run(
            "UPDATE agent_skills SET instructions = E'---\\nmore' WHERE skill_id = 'two'; \
            UPDATE agent_skills SET tags = '{\"a, b\",c}' WHERE skill_id = 'older'; \
            UPDATE agent_skills SET name = 'New' WHERE skill_id = 'open'",
        )
        .await;
    let said = problems(&fixture).await;
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said.iter().all(|said| said.starts_with("local/edit")),
        "{said:?}"
    );
    assert_eq!(
        fixture.done(Direction::ToDisk, &keep_going()).await.updated,
        1
    );
    let after = fixture.files();
    let changed = before
        .iter()
        .zip(&after)
        .filter(|(one, other)| one != other);
    let changed: Vec<_> = changed.map(|(_, (path, _))| path.as_str()).collect();
    assert_eq!(changed, ["skills/open/SKILL.md"]);
}
