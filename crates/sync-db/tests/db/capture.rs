//! Captures: whole, by the logs, and what makes logs doubtful.

use sync_core::Fault as _;
use sync_core::map::Map;
use sync_db::{Base, Capture, Doubt, Epoch, Known, Reading, Settlement};

use crate::support::{Fixture, fresh_epoch, specs};

fn readings(capture: &Capture) -> Vec<Reading> {
    capture.tables.iter().map(|table| table.reading).collect()
}

#[tokio::test]
async fn an_empty_table_is_an_empty_map() {
    let fixture = Fixture::new().await;
    fixture.run("CREATE TABLE a (id int PRIMARY KEY)").await;
    let capture = fixture.capture(&specs(&["a"]), None).await.unwrap();
    assert_eq!(capture.tables[0].entry.rows, Map::EMPTY);
    assert_eq!((capture.doubt, capture.is_news), (None, true));
    fixture.run("INSERT INTO a VALUES (1), (-1)").await;
    let capture = fixture.capture(&specs(&["a"]), None).await.unwrap();
    assert_eq!(capture.tables[0].entry.rows.len, 2);
}

#[tokio::test]
async fn a_table_of_small_values_says_that_it_names_nothing_else() {
    let fixture = Fixture::new().await;
    let tables = specs(&["a", "b", "c"]);
    fixture
        .run("CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text); CREATE TABLE c (id int PRIMARY KEY);
            INSERT INTO a SELECT n, n::text FROM generate_series(1, 500) n;
            INSERT INTO b VALUES (1, 'small'), (2, repeat('large', 20000))")
        .await;
    fixture.db.track(&tables[0]).await.unwrap();
    let inline = |capture: &Capture| {
        capture
            .tables
            .iter()
            .map(|t| t.is_inline)
            .collect::<Vec<_>>()
    };
    let (whole, known) = fixture.settle(&tables, None).await;
    assert_eq!(inline(&whole), [true, false, true]);
    // What was not read whole may hold anything from before.
    fixture.run("UPDATE a SET v = 'x' WHERE id = 7").await;
    let logged = fixture.capture(&tables, Some(known)).await.unwrap();
    assert_eq!(readings(&logged)[0], Reading::Log { keys: 1 });
    assert_eq!(inline(&logged), [false, false, true]);
}

#[tokio::test]
async fn what_cannot_be_captured_is_named() {
    let fixture = Fixture::new().await;
    fixture
        .run("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int); CREATE VIEW v AS SELECT 1 AS id")
        .await;
    for (names, code) in [
        (&["a", "gone"][..], "db/no-table"),
        (&["elsewhere.a"], "db/no-table"),
        (&["b"], "db/unfit"),
        (&["v"], "db/unfit"),
    ] {
        let error = fixture.capture(&specs(names), None).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
}

#[tokio::test]
async fn a_tracked_table_is_read_by_its_log() {
    let fixture = Fixture::new().await;
    let tables = specs(&["a", "b"]);
    fixture
        .run("CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id text PRIMARY KEY)")
        .await;
    fixture
        .run("INSERT INTO a SELECT n, n::text FROM generate_series(1, 1000) n; INSERT INTO b VALUES ('x')")
        .await;
    fixture.db.track(&tables[0]).await.unwrap();
    let (first, known) = fixture.settle(&tables, None).await;
    assert_eq!(readings(&first), [Reading::Whole, Reading::Whole]);

    let again = fixture.capture(&tables, Some(known)).await.unwrap();
    assert_eq!(readings(&again), [Reading::Log { keys: 0 }, Reading::Whole]);
    assert_eq!((again.root, again.is_news), (first.root, false));

    fixture
        .run("UPDATE a SET v = 'new' WHERE id = 7; DELETE FROM a WHERE id = 8; INSERT INTO a VALUES (2000, NULL)")
        .await;
    // A capture that is not written down leaves the log as it is.
    for _ in 0..2 {
        let changed = fixture.capture(&tables, Some(known)).await.unwrap();
        assert_eq!(changed.root, fixture.root(&tables).await);
        assert_eq!(
            readings(&changed),
            [Reading::Log { keys: 3 }, Reading::Whole]
        );
        assert!(changed.is_news);
    }
    let (_, known) = fixture.settle(&tables, Some(known)).await;
    assert_eq!(fixture.count("SELECT count(*) FROM sync.log_1").await, 0);
    let quiet = fixture.capture(&tables, Some(known)).await.unwrap();
    assert!(!quiet.is_news);
}

#[tokio::test]
async fn doubts_lead_to_reading_everything() {
    let fixture = Fixture::new().await;
    let tables = specs(&["a"]);
    fixture.run("CREATE TABLE a (id int PRIMARY KEY)").await;
    fixture.db.track(&tables[0]).await.unwrap();
    let (_, known) = fixture.settle(&tables, None).await;
    fixture.run("INSERT INTO a VALUES (1)").await;
    let root = fixture.root(&tables).await;

    let other = Known {
        epoch: Epoch([0; 16]),
        ..known
    };
    for (known, doubt) in [(Some(other), Doubt::OtherEpoch), (None, Doubt::Unknown)] {
        let capture = fixture.capture(&tables, known).await.unwrap();
        assert_eq!(capture.doubt, Some(doubt));
        assert_eq!(
            (readings(&capture), capture.root),
            (vec![Reading::Whole], root)
        );
    }
    fixture.objects.clear();
    let lost = fixture.capture(&tables, Some(known)).await.unwrap();
    assert_eq!((lost.doubt, lost.root), (Some(Doubt::LostMap), root));

    // A copy of the database has all of it, and is another one.
    let (_, known) = fixture.settle(&tables, Some(known)).await;
    let mut copy = fixture.copy().await;
    copy.objects = fixture.objects.clone();
    let capture = copy.capture(&tables, Some(known)).await.unwrap();
    assert_eq!(
        (capture.doubt, capture.root),
        (Some(Doubt::OtherCluster), root)
    );
    let (_, known) = copy.settle(&tables, Some(known)).await;
    copy.run("INSERT INTO a VALUES (2)").await;
    let capture = copy.capture(&tables, Some(known)).await.unwrap();
    assert_eq!(readings(&capture), [Reading::Log { keys: 1 }]);
    assert_eq!(capture.root, copy.root(&tables).await);
}

#[tokio::test]
async fn who_is_overtaken_writes_nothing() {
    let fixture = Fixture::new().await;
    let tables = specs(&["a"]);
    fixture.run("CREATE TABLE a (id int PRIMARY KEY)").await;
    let (_, known) = fixture.settle(&tables, None).await;
    let ours = fixture.capture(&tables, Some(known)).await.unwrap();
    let theirs = fixture.capture(&tables, Some(known)).await.unwrap();
    fixture.write_down(&theirs).await.unwrap();
    let error = fixture.write_down(&ours).await.unwrap_err();
    assert_eq!(error.code(), "db/overtaken");

    let holder = fixture.client().await;
    let held = holder.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(1937337955, 2)");
    held.await.unwrap();
    let theirs = fixture.capture(&tables, Some(known)).await.unwrap();
    let error = fixture.write_down(&theirs).await.unwrap_err();
    assert_eq!(error.code(), "db/held");
}

#[tokio::test]
async fn a_base_is_written_with_a_capture_and_alone() {
    let fixture = Fixture::new().await;
    fixture.run("CREATE TABLE a (id int PRIMARY KEY)").await;
    assert_eq!(fixture.db.base("origin").await.unwrap(), None);
    let capture = fixture.capture(&specs(&["a"]), None).await.unwrap();
    let mut base = Base {
        snapshot: None,
        root: capture.root,
        note: "{}".to_owned(),
    };
    let settlement = Settlement {
        epoch: fresh_epoch(),
        agreed: Some(("origin".to_owned(), base.clone())),
    };
    fixture.db.settle(&capture, settlement).await.unwrap();
    assert_eq!(fixture.db.base("origin").await.unwrap(), Some(base.clone()));
    base.note = "[]".to_owned();
    fixture.db.agree("origin", &base).await.unwrap();
    assert_eq!(fixture.db.base("origin").await.unwrap(), Some(base));
    assert_eq!(fixture.db.base("other").await.unwrap(), None);
}

#[tokio::test]
async fn migrations_are_made_once_and_newer_ones_refused() {
    let fixture = Fixture::new().await;
    let (a, b) = tokio::join!(fixture.db.migrate(true), fixture.db.migrate(true));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.created.len() + b.created.len(), 7);
    // Each version is made by one of them.
    assert_eq!((a.from.min(b.from), a.to), (0, b.to));
    assert_ne!(a.from, b.from);
    let again = fixture.db.migrate(true).await.unwrap();
    assert_eq!((again.from, again.to), (a.to, a.to));
    fixture
        .run("INSERT INTO users (id, name, email) VALUES ('u', 'u', 'u'); INSERT INTO user_contexts (context_id, user_id) VALUES ('c', 'u')")
        .await;
    let captured = fixture.capture(&sync_db::default_tables(), None).await;
    assert_eq!(captured.unwrap().tables.len(), 4);
    fixture.run("INSERT INTO sync.migration VALUES (99)").await;
    let error = fixture.db.migrate(false).await.unwrap_err();
    assert_eq!(error.code(), "db/bookkeeping");
}
