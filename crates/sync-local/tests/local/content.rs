//! Pages in both directions: what changes, what is refused, what is never lost.

use sync_core::Fault;
use sync_local::{Change, Direction, LocalKind, LocalOptions, Side, Verdict};

use crate::support::{Fixture, deleting, item, keep_going, winning};

const CONFIG: &str = "content_sources:\n\
    \x20 blog:\n    path: content/blog\n    source_id: blog\n    category_id: product\n\
    \x20   allowed_content_types: [article, guide]\n\
    \x20 handbook:\n    path: content/handbook\n    source_id: handbook\n\
    \x20 skills:\n    path: skills\n    allowed_content_types: [skill]\n";

pub(crate) fn page(slug: &str, more: &str, body: &str) -> String {
    format!(
        "---\ntitle: The {slug}\nslug: {slug}\nkind: article\nauthor: Ada\npublished_at: 2026-10-06\n{more}---\n\n{body}\n"
    )
}

async fn fixture() -> Fixture {
    let fixture = Fixture::new(LocalKind::Content).await;
    fixture.write("content/config.yaml", CONFIG);
    fixture.write("content/handbook/.keep", "");
    fixture.write("content/blog/one.md", &page("one", "", "Hello."));
    let more = "tags: [a, b] # both\nunknown: kept\nlinks:\n  - title: T\n    url: https://x\n";
    fixture.write(
        "content/blog/two/index.md",
        &page("two", more, "First.\n\n---\n\nSecond."),
    );
    fixture
}

#[tokio::test]
async fn pages_go_into_rows_and_stay_in_sync() {
    let fixture = fixture().await;
    let done = fixture.push().await;
    assert_eq!((done.created, done.total()), (2, 2));
    fixture.assert_settled().await;
    let row = "SELECT concat_ws('|', title, body, category_id, source_id, published_at::date, public, links, length(id)) \
        FROM markdown_content WHERE slug = 'two'";
    assert_eq!(
        fixture.ask(row).await,
        "The two|First.\n\n---\n\nSecond.|product|blog|2026-10-06|t|[{\"url\": \"https://x\", \"title\": \"T\"}]|36"
    );
    // The hash of earlier systems, as formats.md has it.
    let hash = "SELECT (version_hash = encode(sha256('The oneHello.Ada2026-10-06 00:00:00 UTCtrue'), 'hex'))::text \
        FROM markdown_content WHERE slug = 'one'";
    assert_eq!(fixture.ask(hash).await, "true");
    // Again changes nothing, ids and times included.
    let all = "SELECT string_agg(m::text || xmin, '' ORDER BY slug) FROM markdown_content m";
    let before = fixture.ask(all).await;
    assert_eq!(fixture.push().await.total(), 0);
    assert_eq!(fixture.ask(all).await, before);
}

#[tokio::test]
async fn an_edit_on_one_side_goes_to_the_other_and_not_back() {
    let fixture = fixture().await;
    fixture.push().await;
    fixture
        .run("UPDATE markdown_content SET title = 'New: title', body = 'Other.' WHERE slug = 'two'")
        .await;
    fixture.write("content/blog/one.md", &page("one", "", "Edited."));
    let plan = fixture.plan_push().await;
    assert_eq!(
        item(&plan, "one"),
        (Verdict::Update, Change::Edited, Change::None)
    );
    assert_eq!(
        item(&plan, "two"),
        (Verdict::Ahead, Change::None, Change::Edited)
    );
    let differences = fixture.sync().describe(&plan, 10).await.unwrap();
    let named: Vec<_> = differences[1]
        .fields
        .iter()
        .map(|change| change.field)
        .collect();
    assert_eq!(named, ["title", "body"]);
    assert_eq!(fixture.push().await.updated, 1);
    assert_eq!(
        fixture
            .ask("SELECT body FROM markdown_content ORDER BY slug")
            .await,
        "Edited.\nOther."
    );
    let before = fixture.read("content/blog/two/index.md");
    assert_eq!(fixture.pull().await.updated, 1);
    let expected = before
        .replace("title: The two", "title: \"New: title\"")
        .replace("First.\n\n---\n\nSecond.", "Other.");
    assert_eq!(fixture.read("content/blog/two/index.md"), expected);
    fixture.assert_settled().await;
}

#[tokio::test]
async fn an_edit_on_both_sides_is_for_a_person() {
    let fixture = fixture().await;
    fixture.push().await;
    fixture.write("content/blog/one.md", &page("one", "", "Disk."));
    fixture
        .run("UPDATE markdown_content SET body = 'Database.' WHERE slug = 'one'")
        .await;
    for direction in [Direction::ToDatabase, Direction::ToDisk] {
        let error = fixture.refused(direction, &LocalOptions::default()).await;
        assert_eq!(
            (error.code(), error.class().exit_code()),
            ("local/conflict", 3)
        );
        // Whoever is said to be right at the target stays as it is.
        let right = if direction == Direction::ToDatabase {
            Side::Database
        } else {
            Side::Disk
        };
        assert_eq!(fixture.done(direction, &winning(right)).await.total(), 0);
    }
    assert!(fixture.read("content/blog/one.md").contains("Disk."));
    assert_eq!(
        fixture
            .ask("SELECT body FROM markdown_content WHERE slug = 'one'")
            .await,
        "Database."
    );
    fixture
        .done(Direction::ToDisk, &winning(Side::Database))
        .await;
    assert_eq!(
        fixture.read("content/blog/one.md"),
        page("one", "", "Database.")
    );
    fixture.assert_settled().await;
}

#[tokio::test]
async fn what_is_gone_goes_only_when_asked() {
    let fixture = fixture().await;
    fixture.push().await;
    fixture.remove("content/blog/one.md");
    let to_database = Direction::ToDatabase;
    assert_eq!(
        fixture.status(to_database, &LocalOptions::default()).await,
        "one Orphan"
    );
    assert_eq!(fixture.push().await.total(), 0);
    // The other way round it is the disk that is ahead, and nothing comes back by itself.
    assert_eq!(
        fixture
            .status(Direction::ToDisk, &LocalOptions::default())
            .await,
        "one Ahead"
    );
    assert_eq!(fixture.done(to_database, &deleting()).await.deleted, 1);
    assert_eq!(
        fixture.ask("SELECT slug FROM markdown_content").await,
        "two"
    );
    assert_eq!(
        fixture.ask("SELECT path FROM sync.local_file").await,
        "content/blog/two/index.md"
    );
    fixture.assert_settled().await;
    fixture.run("DELETE FROM markdown_content").await;
    assert_eq!(
        fixture.done(Direction::ToDisk, &deleting()).await.deleted,
        1
    );
    assert!(!fixture.exists("content/blog/two/index.md"));
    fixture.assert_settled().await;
}

#[tokio::test]
async fn a_file_that_does_not_parse_is_an_error_and_keeps_its_row() {
    let fixture = fixture().await;
    fixture.push().await;
    fixture.write(
        "content/blog/one.md",
        "---\ntitle: One\nslug: one: two\n---\nx\n",
    );
    fixture.write("content/blog/three.md", &page("three", "", "New."));
    fixture.remove("content/blog/two");
    let options = deleting();
    let plan = fixture.plan(Direction::ToDatabase, &options).await.unwrap();
    let said: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
    assert!(
        said.len() == 1 && said[0].starts_with("`content/blog/one.md`, line 3: "),
        "{said:?}"
    );
    let error = fixture.refused(Direction::ToDatabase, &options).await;
    assert_eq!(
        (error.code(), error.class().exit_code()),
        ("local/unfit", 1)
    );
    assert_eq!(
        fixture
            .ask("SELECT slug FROM markdown_content ORDER BY 1")
            .await,
        "one\ntwo"
    );
    let options = sync_local::LocalOptions {
        keep_going: true,
        ..deleting()
    };
    let done = fixture.done(Direction::ToDatabase, &options).await;
    assert_eq!((done.created, done.deleted), (1, 0));
    assert_eq!(
        fixture
            .ask("SELECT slug FROM markdown_content ORDER BY 1")
            .await,
        "one\nthree\ntwo"
    );
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_line() {
    let fixture = fixture().await;
    let bad = |more: &str, from: &str, to: &str| page("bad", more, "x").replace(from, to);
    for (text, line, part) in [
        (bad("", "slug: bad", "slug: \"\""), 3, "`slug` is missing"),
        (
            bad("", "slug: bad", "slug: ../victim"),
            3,
            "`slug` is refused",
        ),
        (bad("", "slug: bad", "slug: a//b"), 3, "`slug` is refused"),
        (bad("", "slug: bad", "slug: Bad"), 3, "`slug` is refused"),
        (
            bad("", "kind: article", "kind: page"),
            4,
            "source `blog` has article, guide",
        ),
        (
            bad("", "2026-10-06", "2026-02-30"),
            6,
            "`published_at` is not a day",
        ),
        (bad("", "author: Ada\n", ""), 2, "`author` is missing"),
        (
            bad("public: yes\n", "", ""),
            7,
            "`public` is not `true` or `false`",
        ),
        (
            bad("links: [{title: T}]\n", "", ""),
            7,
            "`links` is not a list",
        ),
        (bad("title: Again\n", "", ""), 7, "twice"),
        (bad("", "---\n\nx", "\nx"), 1, "no closing `---`"),
        ("no front matter\n".to_owned(), 1, "no front matter"),
        (bad("", "title: The bad", "title: *gone"), 2, ""),
    ] {
        fixture.write("content/blog/bad.md", &text);
        let plan = fixture.plan_push().await;
        let said: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
        let head = format!("`content/blog/bad.md`, line {line}: ");
        assert!(
            said.len() == 1 && said[0].starts_with(&head) && said[0].contains(part),
            "{said:?}\n{text}"
        );
    }
    assert_eq!(
        fixture
            .done(Direction::ToDatabase, &keep_going())
            .await
            .created,
        2
    );
    fixture.remove("content/blog/bad.md");
    fixture.assert_settled().await;
}

#[tokio::test]
async fn one_identity_belongs_to_one_file_and_one_source() {
    let fixture = fixture().await;
    fixture.push().await;
    fixture.write("content/handbook/one.md", &page("one", "", "Mine."));
    let plan = fixture.plan_push().await;
    assert_eq!(
        plan.problems[0].to_string(),
        "`content/blog/one.md` and `content/handbook/one.md` are both content `one`"
    );
    // Another language is another page.
    fixture.write(
        "content/handbook/one.md",
        &page("one", "locale: de\n", "Meins."),
    );
    assert_eq!(fixture.push().await.created, 1);
    assert_eq!(
        fixture
            .ask("SELECT locale FROM markdown_content WHERE slug = 'one' ORDER BY 1")
            .await,
        "de\nen"
    );
    // A row of somebody else's source is not taken over.
    fixture.run("INSERT INTO markdown_content (id, slug, title, body, author, published_at, kind, source_id, version_hash) \
        VALUES ('x', 'theirs', 't', 'b', 'a', now(), 'k', 'elsewhere', '')").await;
    fixture.write("content/blog/theirs.md", &page("theirs", "", "Ours."));
    let plan = fixture.plan_push().await;
    assert_eq!(
        plan.problems[0].to_string(),
        "`content/blog/theirs.md` is content `theirs`, and the row with its name or path belongs to content source `elsewhere`"
    );
    assert!(
        fixture
            .go(Direction::ToDatabase, &keep_going())
            .await
            .is_ok()
    );
    assert_eq!(
        fixture
            .ask("SELECT body FROM markdown_content WHERE slug = 'theirs'")
            .await,
        "b"
    );
    // Nor is one that was ours, once its source has another name.
    fixture.remove("content/blog/theirs.md");
    fixture.push().await;
    fixture.write(
        "content/config.yaml",
        &CONFIG.replace("source_id: blog", "source_id: news"),
    );
    let plan = fixture.plan_push().await;
    let said = plan.problems.iter().map(ToString::to_string);
    let said: Vec<_> = said.filter(|text| text.contains("`one`")).collect();
    assert!(
        said.len() == 1 && said[0].ends_with("belongs to content source `blog`"),
        "{said:?}"
    );
    fixture.write("content/config.yaml", CONFIG);
    fixture.write("content/blog/theirs.md", &page("theirs", "", "Ours."));
    // Neither is one of no source, where a table of the application allows that.
    fixture.run("ALTER TABLE markdown_content ALTER source_id DROP NOT NULL; UPDATE markdown_content SET source_id = NULL WHERE slug = 'theirs'").await;
    let plan = fixture.plan_push().await;
    assert!(
        plan.problems[0]
            .to_string()
            .ends_with("belongs to no content source")
    );
    assert_eq!(fixture.plan_pull().await.problems.len(), 1);
    fixture.remove("content/blog/theirs.md");
    assert!(fixture.plan_pull().await.problems.is_empty());
}

#[tokio::test]
async fn rows_of_programs_become_files() {
    let fixture = fixture().await;
    fixture.run("INSERT INTO markdown_content (id, slug, locale, title, body, author, published_at, kind, source_id, version_hash, \
        keywords, image, category_id, public, links, description) VALUES \
        ('1', 'made/here', 'en', 'Made: here', E'  Body\\n', 'Ada', '2026-10-06 08:30:00+00', 'guide', 'blog', '', 'a, b', 'i.png', 'other', \
        false, '[{\"title\": \"T\", \"url\": \"u\"}]', 'D'), \
        ('2', 'plain', 'de', 'P', '', 'Ada', '2026-10-06', 'page', 'handbook', '', '', '', NULL, true, '[]', ''), \
        ('3', '../victim', 'en', 'V', 'x', 'Ada', '2026-10-06', 'page', 'handbook', '', '', NULL, NULL, true, '[]', '')").await;
    let done = fixture.done(Direction::ToDisk, &keep_going()).await;
    assert_eq!(done.created, 2);
    assert_eq!(
        fixture.read("content/blog/made/here.md"),
        "---\ntitle: \"Made: here\"\nslug: made/here\nkind: guide\nauthor: Ada\npublished_at: 2026-10-06T08:30:00Z\n\
        description: D\nkeywords: a, b\nimage: i.png\ncategory: other\nlinks:\n  - title: T\n    url: u\npublic: false\n---\n\nBody\n"
    );
    assert!(
        fixture
            .read("content/handbook/plain.de.md")
            .ends_with("locale: de\n---\n")
    );
    assert!(!fixture.dir.path().join("victim.md").exists() && !fixture.exists("content/victim.md"));
    let plan = fixture.plan_pull().await;
    assert_eq!(
        plan.problems.iter().map(Fault::code).collect::<Vec<_>>(),
        ["local/unnamable"]
    );
    fixture
        .run("DELETE FROM markdown_content WHERE id = '3'")
        .await;
    fixture.push().await;
    fixture.assert_settled().await;
}

#[tokio::test]
async fn what_nobody_agreed_on_is_adopted_or_asked_about() {
    let fixture = fixture().await;
    fixture.push().await;
    let other = fixture.elsewhere("two");
    other.write("content/config.yaml", CONFIG);
    other.write("content/handbook/.keep", "");
    other.write(
        "content/blog/elsewhere.md",
        &page("one", "# a comment\n", "Hello."),
    );
    other.write("content/blog/two.md", &page("two", "", "Another one."));
    assert_eq!(
        other
            .status(Direction::ToDatabase, &LocalOptions::default())
            .await,
        "two Conflict"
    );
    other.remove("content/blog/two.md");
    assert_eq!(other.push().await.adopted, 1);
    // The file comes back as it was written elsewhere.
    assert_eq!(other.pull().await.created, 1);
    assert_eq!(
        other.read("content/blog/two/index.md"),
        fixture.read("content/blog/two/index.md")
    );
    other.assert_settled().await;
}

#[tokio::test]
async fn what_moves_in_between_is_not_overwritten() {
    let fixture = fixture().await;
    fixture.push().await;
    fixture.write("content/blog/one.md", &page("one", "", "Disk."));
    let sync = fixture.sync();
    let options = LocalOptions::default();
    let plan = sync.plan(Direction::ToDatabase, &options).await.unwrap();
    fixture
        .run("UPDATE markdown_content SET body = 'Late.' WHERE slug = 'one'")
        .await;
    let error = sync.apply(plan, &fixture.ports()).await.unwrap_err();
    assert!(error.is_moved(), "{error}");
    // A file that changes after the plan was made stops it, too.
    fixture
        .run("UPDATE markdown_content SET body = 'Hello.' WHERE slug = 'one'")
        .await;
    let plan = sync.plan(Direction::ToDatabase, &options).await.unwrap();
    fixture.write("content/blog/one.md", &page("one", "", "Disk!"));
    let error = sync.apply(plan, &fixture.ports()).await.unwrap_err();
    assert!(error.is_moved(), "{error}");
    assert_eq!(
        fixture
            .ask("SELECT body FROM markdown_content WHERE slug = 'one'")
            .await,
        "Hello."
    );
    // And one to the disk.
    fixture.push().await;
    fixture
        .run("UPDATE markdown_content SET body = 'Row.' WHERE slug = 'one'")
        .await;
    let plan = sync.plan(Direction::ToDisk, &options).await.unwrap();
    fixture.write("content/blog/one.md", &page("one", "", "Quick."));
    let error = sync.apply(plan, &fixture.ports()).await.unwrap_err();
    assert!(error.is_moved(), "{error}");
    assert!(fixture.read("content/blog/one.md").contains("Quick."));
}

#[tokio::test]
async fn a_directory_that_is_gone_is_not_an_empty_one() {
    let fixture = fixture().await;
    fixture.push().await;
    fixture.remove("content/blog");
    let error = fixture.refused(Direction::ToDatabase, &deleting()).await;
    assert_eq!(error.code(), "local/no-directory");
    assert_eq!(
        fixture
            .ask("SELECT count(*)::text FROM markdown_content")
            .await,
        "2"
    );
}

#[tokio::test]
async fn a_page_that_moves_stays_the_same_row() {
    let fixture = fixture().await;
    fixture.push().await;
    let id = fixture
        .ask("SELECT id FROM markdown_content WHERE slug = 'one'")
        .await;
    let text = fixture.read("content/blog/one.md");
    fixture.remove("content/blog/one.md");
    fixture.write("content/blog/deep/other.md", &text);
    fixture.push().await;
    fixture.assert_settled().await;
    assert_eq!(
        fixture
            .ask("SELECT id FROM markdown_content WHERE slug = 'one'")
            .await,
        id
    );
    assert_eq!(
        fixture
            .ask("SELECT path FROM sync.local_file ORDER BY 1")
            .await,
        "content/blog/deep/other.md\ncontent/blog/two/index.md"
    );
    // Into another source: its category changes with it.
    fixture.remove("content/blog/deep");
    fixture.write("content/handbook/one.md", &text);
    assert_eq!(fixture.push().await.updated, 1);
    assert_eq!(
        fixture
            .ask(
                "SELECT concat(id, source_id, category_id) FROM markdown_content WHERE slug = 'one'"
            )
            .await,
        format!("{id}handbook")
    );
    fixture.assert_settled().await;
}
