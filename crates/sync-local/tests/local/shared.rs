//! What of files is in no column, and several working copies that have it.

use sync_core::Fault;
use sync_local::{Change, Direction, LocalKind, LocalOptions, Side, Verdict};

use crate::content::page;
use crate::support::{Fixture, deleting, item, winning};

const CONFIG: &str = "content_sources:\n  blog: {path: content/blog}\n";
const ONE: &str = "content/blog/one.md";
const KEPT: &str = "SELECT head FROM sync.local_file WHERE path = 'content/blog/one.md'";

async fn fixture() -> Fixture {
    let fixture = Fixture::new(LocalKind::Content).await;
    fixture.write("content/config.yaml", CONFIG);
    fixture.write(ONE, &page("one", "# first\n", "Hello."));
    fixture.push().await;
    fixture
}

#[tokio::test]
async fn a_file_that_was_edited_does_not_go() {
    let fixture = fixture().await;
    fixture.write(ONE, &page("one", "# second\ntags: [a]\n", "Hello."));
    fixture.run("DELETE FROM markdown_content").await;
    let plan = fixture.plan(Direction::ToDisk, &deleting()).await.unwrap();
    assert_eq!(
        item(&plan, "one"),
        (Verdict::Conflict, Change::Edited, Change::Removed)
    );
    let error = fixture.refused(Direction::ToDisk, &deleting()).await;
    assert_eq!(error.code(), "local/conflict");
    for (side, deleted) in [(Side::Disk, 0), (Side::Database, 1)] {
        let options = LocalOptions {
            delete: true,
            ..winning(side)
        };
        let done = fixture.done(Direction::ToDisk, &options).await;
        assert_eq!(done.deleted, deleted);
        assert_eq!(fixture.exists(ONE), deleted == 0);
    }
    fixture.write("content/blog/.keep", "");
    fixture.assert_settled().await;
}

#[tokio::test]
async fn an_older_clone_keeps_nothing_over_what_is_newer() {
    let fixture = fixture().await;
    let older = fixture.elsewhere("two");
    older.write("content/config.yaml", CONFIG);
    older.pull().await;
    fixture.write(ONE, &page("one", "# newer\n", "Hello."));
    fixture.push().await;
    assert!(fixture.ask(KEPT).await.contains("# newer"));
    // One that has met the database, and one that has not.
    let first = fixture.elsewhere("three");
    first.write("content/config.yaml", CONFIG);
    first.write(ONE, &page("one", "# oldest\n", "Hello."));
    for clone in [&older, &first] {
        clone.push().await;
        clone.pull().await;
        assert!(fixture.ask(KEPT).await.contains("# newer"));
    }
    // A change of the row leaves each its own comments.
    fixture
        .run("UPDATE markdown_content SET title = 'Other'")
        .await;
    for (clone, comment) in [(&older, "# first"), (&first, "# oldest")] {
        assert_eq!(clone.pull().await.updated, 1);
        assert!(clone.read(ONE).contains(comment));
        assert!(fixture.ask(KEPT).await.contains("# newer"));
        clone.assert_settled().await;
    }
    fixture.pull().await;
    let kept = fixture.ask(KEPT).await;
    assert!(kept.contains("# newer") && kept.contains("title: Other"));
    // Who edits it has what is newest.
    older.write(ONE, &older.read(ONE).replace("# first", "# newest"));
    older.push().await;
    assert!(fixture.ask(KEPT).await.contains("# newest"));
}
