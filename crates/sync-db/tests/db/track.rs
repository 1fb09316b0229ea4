//! What tracking covers, and the law of the cursor.

use std::time::Duration;

use sync_db::{Capture, Database, Known, Reading, TableSpec};

use crate::support::{Fixture, specs};

/// A database with tracked tables that were captured.
struct Tracked {
    fixture: Fixture,
    specs: Vec<TableSpec>,
    known: Known,
}

impl Tracked {
    async fn new(script: &str, tables: &[&str]) -> Self {
        let fixture = Fixture::new().await;
        fixture.run(script).await;
        let specs = specs(tables);
        for spec in &specs {
            fixture.db.track(spec).await.unwrap();
        }
        let (_, known) = fixture.settle(&specs, None).await;
        Self {
            fixture,
            specs,
            known,
        }
    }

    /// Captures, and sees to it that the same is found when everything is read.
    async fn capture(&self) -> Capture {
        let capture = self.fixture.capture(&self.specs, Some(self.known)).await;
        let capture = capture.unwrap();
        assert_eq!(capture.root, self.fixture.root(&self.specs).await);
        assert_eq!(capture.doubt, None);
        capture
    }

    async fn settle(&mut self) {
        let capture = self.capture().await;
        self.known = self.fixture.write_down(&capture).await.unwrap();
    }

    /// Runs statements, after which every table is read by its log, with so many keys in all.
    async fn logs(&mut self, script: &str, expected: u64) {
        self.fixture.run(script).await;
        let mut found = 0;
        for table in self.capture().await.tables {
            match table.reading {
                Reading::Log { keys } => found += keys,
                Reading::Whole => panic!("`{}` was read whole after {script}", table.name),
            }
        }
        assert_eq!(found, expected, "{script}");
        self.settle().await;
    }

    /// Runs statements, after which the first table is read whole, once.
    async fn doubts(&mut self, script: &str) {
        self.fixture.run(script).await;
        let capture = self.capture().await;
        assert_eq!(capture.tables[0].reading, Reading::Whole, "{script}");
        self.settle().await;
    }
}

const LETTERS: &str = "CREATE TABLE a (id int PRIMARY KEY, v text);
    INSERT INTO a SELECT n, n::text FROM generate_series(1, 300) n;";

#[tokio::test]
async fn statements_log_the_keys_that_they_touch() {
    let mut db = Tracked::new(LETTERS, &["a"]).await;
    db.logs("INSERT INTO a VALUES (1000, 'x'), (1001, 'y')", 2)
        .await;
    db.logs("UPDATE a SET v = 'z' WHERE id = 5", 1).await;
    db.logs("UPDATE a SET v = 'z' WHERE id = -5", 0).await;
    // A key that changes is two keys.
    db.logs("UPDATE a SET id = 2000 WHERE id = 5", 2).await;
    db.logs("UPDATE a SET id = id + 5000", 604).await;
    db.logs("DELETE FROM a WHERE id < 5010", 8).await;
    db.logs(
        "INSERT INTO a VALUES (2000 + 5000, 'new') ON CONFLICT (id) DO UPDATE SET v = 'up'",
        1,
    )
    .await;
    db.logs("MERGE INTO a USING (VALUES (1), (5020)) s (k) ON a.id = s.k WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (k, 'm')", 2).await;
    db.logs("COPY a FROM PROGRAM 'printf \"77\\t7\\n78\\t8\\n\"'", 2)
        .await;
    // Triggers that are not ALWAYS would be off here.
    db.logs(
        "SET session_replication_role = replica; DELETE FROM a WHERE id = 77",
        1,
    )
    .await;
    db.logs(
        "BEGIN; SET LOCAL sync.applying = 'on'; UPDATE a SET v = v WHERE id = 78; COMMIT",
        0,
    )
    .await;
    db.doubts("TRUNCATE a").await;
    db.logs("INSERT INTO a VALUES (1, 'again')", 1).await;
}

#[tokio::test]
async fn what_the_log_cannot_know_leads_to_reading_all() {
    let mut db = Tracked::new(LETTERS, &["a"]).await;
    db.doubts("ALTER TABLE a ADD COLUMN w int DEFAULT 3").await;
    db.doubts("ALTER TABLE a DROP COLUMN w").await;
    db.doubts("ALTER TABLE a ALTER v TYPE text USING v || '!'")
        .await;
    db.doubts("ALTER TABLE a DISABLE TRIGGER ALL; UPDATE a SET v = 'quiet'; ALTER TABLE a ENABLE ALWAYS TRIGGER sync_insert; \
        ALTER TABLE a ENABLE ALWAYS TRIGGER sync_update; ALTER TABLE a ENABLE ALWAYS TRIGGER sync_delete; \
        ALTER TABLE a ENABLE ALWAYS TRIGGER sync_truncate").await;
    db.logs("DELETE FROM a WHERE id = 1", 1).await;
    // As long as a trigger is not as it was made, the log is no use; tracking anew makes it one.
    for damage in [
        "ALTER TABLE a ENABLE TRIGGER sync_update",
        "DROP TRIGGER sync_truncate ON a",
        "ALTER TABLE a ALTER id TYPE bigint",
        "DO $$ BEGIN EXECUTE (SELECT 'CREATE OR REPLACE FUNCTION ' || oid::regprocedure || ' RETURNS trigger LANGUAGE plpgsql AS \
            ''BEGIN RETURN NULL; END''' FROM pg_proc WHERE pronamespace = 'sync'::regnamespace AND proname LIKE 'log%'); END $$",
    ] {
        db.doubts(damage).await;
        db.doubts("INSERT INTO a SELECT max(id) + 1 FROM a").await;
        assert!(
            !db.fixture.db.tracked().await.unwrap()[0].is_intact,
            "{damage}"
        );
        db.fixture.db.track(&db.specs[0]).await.unwrap();
        db.doubts("").await;
        db.logs("INSERT INTO a SELECT max(id) + 1 FROM a", 1).await;
    }
    assert!(db.fixture.db.untrack(&db.specs[0].name).await.unwrap());
    assert!(!db.fixture.db.untrack(&db.specs[0].name).await.unwrap());
    assert_eq!(db.fixture.db.tracked().await.unwrap(), []);
    db.doubts("INSERT INTO a VALUES (-1)").await;
}

/// A key whose column takes larger values now must still be logged, whatever the log was made for.
#[tokio::test]
async fn a_log_never_refuses_what_the_table_takes() {
    let mut db = Tracked::new(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id varchar(2) PRIMARY KEY)",
        &["a", "b"],
    )
    .await;
    db.doubts("ALTER TABLE a ALTER id TYPE bigint; INSERT INTO a VALUES (5000000000)")
        .await;
    db.doubts("ALTER TABLE b ALTER id TYPE varchar(9); INSERT INTO b VALUES ('abcdefg')")
        .await;
}

#[tokio::test]
async fn names_of_enum_values_are_part_of_rows() {
    let mut db = Tracked::new(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE a (id int PRIMARY KEY, m mood[]); INSERT INTO a VALUES (1, '{ok}')",
        &["a"],
    )
    .await;
    db.doubts("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'")
        .await;
    db.logs("UPDATE a SET m = '{sad}'", 1).await;
}

#[tokio::test]
async fn cascades_are_logged() {
    let mut db = Tracked::new(
        "CREATE TABLE p (id int PRIMARY KEY);
        CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE);
        CREATE TABLE n (id int PRIMARY KEY, p int REFERENCES p ON DELETE SET NULL);
        INSERT INTO p SELECT generate_series(1, 10);
        INSERT INTO c SELECT n, n % 10 + 1 FROM generate_series(1, 40) n;
        INSERT INTO n SELECT n, n % 10 + 1 FROM generate_series(1, 20) n;",
        &["p", "c", "n"],
    )
    .await;
    db.logs("DELETE FROM p WHERE id = 3", 1 + 4 + 2).await;
    db.logs(
        "DELETE FROM n; UPDATE p SET id = 33 WHERE id = 4",
        20 + 2 + 4,
    )
    .await;
    db.doubts("TRUNCATE p CASCADE").await;
}

#[tokio::test]
async fn partitions_are_covered_however_rows_come_in() {
    let mut db = Tracked::new(
        "CREATE TABLE a (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE a1 PARTITION OF a FOR VALUES FROM (0) TO (100);
        CREATE TABLE a2 (v text, id int NOT NULL) PARTITION BY RANGE (id);
        CREATE TABLE a21 PARTITION OF a2 FOR VALUES FROM (100) TO (150);
        CREATE TABLE a22 PARTITION OF a2 FOR VALUES FROM (150) TO (200);
        ALTER TABLE a ATTACH PARTITION a2 FOR VALUES FROM (100) TO (200);
        INSERT INTO a SELECT n, 'x' FROM generate_series(0, 199) n;
        CREATE TABLE f (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE)",
        &["a"],
    )
    .await;
    db.logs("UPDATE a SET v = 'y' WHERE id IN (1, 101, 151)", 3)
        .await;
    db.logs("UPDATE a1 SET v = 'z' WHERE id = 1; DELETE FROM a2 WHERE id = 160; INSERT INTO a22 (id) VALUES (160)", 3).await;
    // From one partition to another.
    db.logs(
        "DELETE FROM a WHERE id = 170; UPDATE a SET id = 170 WHERE id = 5",
        3,
    )
    .await;
    db.doubts("TRUNCATE a21, f").await;
    db.doubts("CREATE TABLE a3 PARTITION OF a FOR VALUES FROM (200) TO (300)")
        .await;
    db.doubts("INSERT INTO a3 VALUES (250, 'untracked')").await;
    db.fixture.db.track(&db.specs[0]).await.unwrap();
    db.doubts("").await;
    db.logs("INSERT INTO a3 VALUES (251, 'tracked')", 1).await;
    db.doubts("ALTER TABLE a DETACH PARTITION a1").await;
}

#[tokio::test]
async fn a_program_needs_no_rights_of_ours() {
    let mut db = Tracked::new(LETTERS, &["a"]).await;
    let role = format!("{}_app", db.fixture.name);
    let script = format!(
        "CREATE ROLE {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON a TO {role}; SET ROLE {role}; \
            SET search_path = ''; INSERT INTO public.a VALUES (1000, 'x'); RESET ROLE; \
            REVOKE ALL ON public.a FROM {role}; DROP ROLE {role}"
    );
    db.logs(&script, 1).await;
}

#[tokio::test]
async fn rows_that_do_not_travel_any_more_are_taken_out() {
    let mut db = Tracked::new(LETTERS, &[]).await;
    db.specs = vec![TableSpec {
        filter: Some("v <> 'draft' AND a.id < 1000".to_owned()),
        ..TableSpec::new("a".parse().unwrap())
    }];
    db.fixture.db.track(&db.specs[0]).await.unwrap();
    db.settle().await;
    db.logs("UPDATE a SET v = 'draft' WHERE id < 10", 9).await;
    db.logs(
        "UPDATE a SET v = 'done' WHERE id < 5; UPDATE a SET id = 1000 WHERE id = 50",
        6,
    )
    .await;
    // Another condition, or other columns, is another table.
    db.specs[0].filter = None;
    db.doubts("").await;
    db.specs[0].exclude = vec!["v".to_owned()];
    db.doubts("").await;
}

/// A generator of numbers that is the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[tokio::test]
async fn the_log_finds_what_reading_everything_finds() {
    let mut db = Tracked::new(
        "CREATE TABLE t (a text, b int, c numeric, v jsonb, PRIMARY KEY (a, b, c));
        CREATE TABLE big (id bigint PRIMARY KEY, doc text);
        INSERT INTO t SELECT chr(97 + n % 5) || n, n, n / 10.0, to_jsonb(n) FROM generate_series(1, 400) n;
        INSERT INTO big SELECT n * 7919 % 100003, repeat('x', 3 * n) FROM generate_series(1, 900) n",
        &["t", "big"],
    )
    .await;
    let mut dice = Dice(0x1234_5678_9abc_def1);
    for _ in 0..30 {
        for _ in 0..=dice.roll(4) {
            let (n, m) = (dice.roll(400), dice.roll(30));
            let script = match dice.roll(8) {
                0 => format!("DELETE FROM t WHERE b BETWEEN {n} AND {n} + {m}"),
                1 => format!("UPDATE t SET v = to_jsonb(random()) WHERE b % 40 = {m}"),
                2 => format!("UPDATE t SET a = a || 'y' WHERE b BETWEEN {n} AND {n} + {m}"),
                // The key is the same number, spelled in another way.
                3 => format!("UPDATE t SET c = c * 1.00 WHERE b BETWEEN {n} AND {n} + {m}"),
                4 => format!(
                    "INSERT INTO t SELECT 'n', {n}, random()::numeric, '[]' FROM generate_series(0, {m})"
                ),
                5 => format!("UPDATE big SET doc = doc || '{n}' WHERE id % 97 = {m}"),
                6 => format!("DELETE FROM big WHERE id % 389 = {m}"),
                _ => format!(
                    "BEGIN; UPDATE big SET id = -id; DELETE FROM t WHERE b = {n}; {}",
                    if m < 10 { "COMMIT" } else { "ROLLBACK" }
                ),
            };
            db.fixture.run(&script).await;
        }
        let capture = db.capture().await;
        for table in &capture.tables {
            assert!(matches!(table.reading, Reading::Log { .. }));
        }
        if dice.roll(3) > 0 {
            db.settle().await;
        }
    }
}

async fn write(db: Database, url: String, writer: u64) {
    drop(db);
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut dice = Dice(writer * 77 + 13);
    for n in 0..40 {
        let key = writer * 1000 + n;
        // Numbers are taken in one order and commits come in another.
        let script = format!(
            "BEGIN; INSERT INTO w VALUES ({key}, 'a'); SELECT pg_sleep({} / 1000.0); UPDATE w SET v = 'b' WHERE id = {}; COMMIT",
            dice.roll(20),
            writer * 1000 + dice.roll(n + 1),
        );
        client.batch_execute(&script).await.unwrap();
    }
}

#[tokio::test]
async fn a_late_commit_is_never_skipped_and_holds_nobody_up() {
    let mut db = Tracked::new("CREATE TABLE w (id bigint PRIMARY KEY, v text)", &["w"]).await;
    let old = db.fixture.client().await;
    old.batch_execute("BEGIN; INSERT INTO w VALUES (-1, 'old')")
        .await
        .unwrap();
    let writers: Vec<_> = (1..=8)
        .map(|n| tokio::spawn(write(db.fixture.db.clone(), db.fixture.url.clone(), n)))
        .collect();
    let (mut captures, mut keys) = (0, 0);
    while writers.iter().any(|writer| !writer.is_finished()) {
        let capture = db.fixture.capture(&db.specs, Some(db.known)).await.unwrap();
        assert!(capture.is_writing);
        if let Reading::Log { keys: found } = capture.tables[0].reading {
            keys += found;
        }
        db.known = db.fixture.write_down(&capture).await.unwrap();
        captures += 1;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(captures > 3, "{captures}");
    let capture = db.capture().await;
    assert_eq!(capture.tables[0].entry.rows.len, 320);
    old.batch_execute("COMMIT").await.unwrap();
    db.settle().await;
    let Reading::Log { keys: last } = capture.tables[0].reading else {
        panic!("read whole");
    };
    // Each of the 320 inserts and 320 updates was seen once.
    assert_eq!(keys + last, 640);
    db.logs("", 0).await;
    assert_eq!(db.capture().await.tables[0].entry.rows.len, 321);
}

#[tokio::test]
async fn whoever_listens_is_woken() {
    let db = Tracked::new(LETTERS, &["a"]).await;
    let mut listener = db.fixture.db.listen().await.unwrap();
    let long = Duration::from_secs(20);
    for n in 0..3 {
        db.fixture
            .run(&format!("INSERT INTO a VALUES ({}, 'x')", 1000 + n))
            .await;
        tokio::time::timeout(long, listener.changed())
            .await
            .unwrap()
            .unwrap();
    }
    // What changed nothing wakes nobody.
    db.fixture.run("DELETE FROM a WHERE id = -1").await;
    let short = tokio::time::timeout(Duration::from_millis(200), listener.changed()).await;
    assert!(short.is_err());
    let watch = "SELECT count(*) FROM sync.watch";
    assert_eq!(db.fixture.count(watch).await, 1);
    let end = "SELECT pg_terminate_backend(pid) FROM sync.watch";
    db.fixture.run(end).await;
    let error = tokio::time::timeout(long, listener.changed())
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(error, sync_db::Error::Unreachable { .. }),
        "{error}"
    );
    // The next one finds the row of the one that was killed.
    let listener = db.fixture.db.listen().await.unwrap();
    assert_eq!(db.fixture.count(watch).await, 1);
    listener.close().await.unwrap();
    assert_eq!(db.fixture.count(watch).await, 0);
}
