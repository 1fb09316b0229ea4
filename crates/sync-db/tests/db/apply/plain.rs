//! Rows that come, change and go, and rows that are not as the plan expects.

use std::time::Duration;

use sync_core::Fault;
use sync_db::{Error, TableSpec};

use super::{Pair, counts};

const AGENTS: &str = "CREATE TABLE agents (id text PRIMARY KEY, name text NOT NULL, rank int, config jsonb);
    INSERT INTO agents SELECT 'a' || n, 'agent ' || n, n, jsonb_build_object('n', n) FROM generate_series(1, 100) n";

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_change_and_go() {
    let pair = Pair::new(AGENTS, &["agents"]).await;
    let change = |from: u32, to: u32| {
        format!(
            "UPDATE agents SET rank = rank + 1, config = NULL WHERE rank BETWEEN {from} AND {to};
             DELETE FROM agents WHERE rank = 100 - {from};
             INSERT INTO agents SELECT 'b' || n, 'new', n FROM generate_series({from}, {to}) n"
        )
    };
    // A few go as parameters, more through a temporary table.
    pair.from.run(&change(3, 4)).await;
    assert_eq!(counts(&pair.apply_all().await), [[2, 2, 1, 97]]);
    pair.from.run(&change(10, 60)).await;
    let applied = pair.apply_all().await;
    assert_eq!(applied.agreed, Some(applied.root));
    assert_eq!(counts(&applied)[0][0], 51);
    let base = pair.to.db.base("tenant").await.unwrap().unwrap();
    assert_eq!(base.root, applied.root);
    assert_eq!(counts(&pair.apply_all().await), Vec::<[u64; 4]>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_is_copied_into() {
    let pair = Pair::new(AGENTS, &["agents"]).await;
    pair.to.run("DELETE FROM agents").await;
    assert_eq!(counts(&pair.apply_all().await), [[100, 0, 0, 0]]);
    pair.from.run("DELETE FROM agents").await;
    assert_eq!(counts(&pair.apply_all().await), [[0, 0, 100, 0]]);
}

/// Lesson 12: whoever comes last does not win.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_moved_stop_the_plan() {
    for (meanwhile, total) in [
        (
            "UPDATE agents SET name = 'mine' WHERE id IN ('a3', 'a4')",
            2,
        ),
        ("DELETE FROM agents WHERE id = 'a3'", 1),
        ("INSERT INTO agents VALUES ('b3', 'mine')", 1),
        ("UPDATE agents SET name = 'mine' WHERE id = 'a90'", 1),
    ] {
        for rows in [4, 80] {
            let pair = Pair::new(AGENTS, &["agents"]).await;
            let change = format!(
                "UPDATE agents SET rank = 0 WHERE rank BETWEEN 3 AND {rows}; DELETE FROM agents WHERE id = 'a90';
                 INSERT INTO agents SELECT 'b' || n, 'new' FROM generate_series(3, {rows}) n"
            );
            pair.from.run(&change).await;
            let plan = pair.plan().await;
            pair.to.run(meanwhile).await;
            let before = pair.root().await;
            let error = pair.run_plan(plan).await.unwrap_err();
            let moved = matches!(error, Error::Moved { total: found, .. } if found == total);
            assert!(moved, "{meanwhile}: {error}");
            assert_eq!(pair.root().await, before);
            assert!(pair.to.db.base("tenant").await.unwrap().is_none());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_came_into_an_empty_table_stop_the_plan() {
    let pair = Pair::new(AGENTS, &["agents"]).await;
    pair.to.run("DELETE FROM agents").await;
    let plan = pair.plan().await;
    pair.to
        .run("INSERT INTO agents VALUES ('a7', 'mine'), ('z', 'mine too')")
        .await;
    let error = pair.run_plan(plan).await.unwrap_err();
    assert!(matches!(error, Error::Moved { total: 1, .. }), "{error}");
    assert_eq!(pair.to.count("SELECT count(*) FROM agents").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asked_for_stays() {
    let pair = Pair::new(AGENTS, &["agents"]).await;
    pair.from
        .run("UPDATE agents SET rank = 0 WHERE id = 'a3'")
        .await;
    let plan = pair.plan().await;
    pair.to
        .run("UPDATE agents SET name = 'mine' WHERE id = 'a4'")
        .await;
    pair.run_plan(plan).await.unwrap();
    assert_eq!(
        pair.to
            .count("SELECT count(*) FROM agents WHERE name = 'mine' OR rank = 0")
            .await,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tables_are_refused_before_anything() {
    let pair = Pair::new(AGENTS, &["agents"]).await;
    pair.from
        .run("ALTER TABLE agents ALTER rank TYPE int8; UPDATE agents SET rank = 0")
        .await;
    let before = pair.root().await;
    let error = pair.run_plan(pair.plan().await).await.unwrap_err();
    assert!(matches!(error, Error::Schemas { .. }));
    assert!(
        error
            .to_string()
            .contains("`rank` is integer here and bigint there"),
        "{error}"
    );
    assert_eq!(pair.root().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn excluded_and_generated_columns_are_the_databases_own() {
    let table = "CREATE TABLE users (id int PRIMARY KEY, email text, roles text[] DEFAULT '{user}',
        twice int GENERATED ALWAYS AS (id * 2) STORED); INSERT INTO users (id, email) VALUES (1, 'a'), (2, 'b')";
    let spec = TableSpec {
        exclude: vec!["roles".to_owned()],
        ..TableSpec::new("users".parse().unwrap())
    };
    let pair = Pair::with_specs(table, vec![spec]).await;
    pair.from.run("UPDATE users SET email = 'c', roles = '{admin}'; INSERT INTO users VALUES (3, 'd', '{admin}')").await;
    pair.to
        .run("UPDATE users SET roles = '{other}' WHERE id = 1")
        .await;
    assert_eq!(counts(&pair.apply_all().await), [[1, 2, 0, 0]]);
    let own = "SELECT count(*) FROM users WHERE roles = CASE id WHEN 1 THEN '{other}'::text[] ELSE '{user}' END AND twice = 2 * id";
    assert_eq!(pair.to.count(own).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_beyond_the_condition_are_left_alone() {
    let spec = TableSpec {
        filter: Some("rank < 50".to_owned()),
        ..TableSpec::new("agents".parse().unwrap())
    };
    let pair = Pair::with_specs(AGENTS, vec![spec]).await;
    pair.from
        .run("UPDATE agents SET name = 'x'; INSERT INTO agents VALUES ('new', 'x', 1)")
        .await;
    assert_eq!(counts(&pair.apply_all().await), [[1, 49, 0, 0]]);
    assert_eq!(
        pair.to
            .count("SELECT count(*) FROM agents WHERE name = 'x'")
            .await,
        50
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_apply_at_a_time() {
    let pair = Pair::new(AGENTS, &["agents"]).await;
    pair.from.run("UPDATE agents SET rank = 0").await;
    let plan = pair.plan().await;
    // The first capture makes the bookkeeping; the lock is that of whoever writes down.
    let other = pair.to.client().await;
    other
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(x'73796e63'::int, 2)")
        .await
        .unwrap();
    let error = pair.run_plan(plan.clone()).await.unwrap_err();
    assert!(matches!(error, Error::Held { .. }), "{error}");
    other.batch_execute("ROLLBACK").await.unwrap();
    pair.run_plan(plan.clone()).await.unwrap();
    // The same plan again is none: the state that it was made from is no longer the last one.
    let error = pair.run_plan(plan).await.unwrap_err();
    assert!(
        matches!(error.code(), "db/moved" | "db/overtaken"),
        "{error}"
    );
}

/// A deadlock with a program that writes ends for one of them; where it is us, we do it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_tried_again() {
    let pair = Pair::new(AGENTS, &["agents"]).await;
    pair.from.run("UPDATE agents SET rank = 0").await;
    let plan = pair.plan().await;
    let other = pair.to.client().await;
    let lock =
        "SET deadlock_timeout = '60s'; BEGIN; UPDATE agents SET name = 'mine' WHERE id = 'a99'";
    other.batch_execute(lock).await.unwrap();
    let watcher = pair.to.client().await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let (applied, ()) = tokio::join!(pair.run_plan(plan), async {
        while watcher
            .query_one(waits, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let circle = other.batch_execute("UPDATE agents SET name = 'mine' WHERE id = 'a1'");
        circle.await.unwrap();
        other.batch_execute("ROLLBACK").await.unwrap();
    });
    assert_eq!(counts(&applied.unwrap()), [[0, 100, 0, 0]]);
}

/// Lessons 15 and 21: an apply that is ended in its middle leaves nothing, and can simply be done again.
#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_is_killed_leaves_nothing() {
    let pair = Pair::new(AGENTS, &["agents"]).await;
    pair.from
        .run("UPDATE agents SET rank = 0; INSERT INTO agents VALUES ('z', 'new')")
        .await;
    let (plan, before) = (pair.plan().await, pair.root().await);
    let other = pair.to.client().await;
    // The new row is written after the others, and waits for this one.
    let lock = "BEGIN; INSERT INTO agents VALUES ('z', 'mine')";
    other.batch_execute(lock).await.unwrap();
    let watcher = pair.to.client().await;
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let (applied, ()) = tokio::join!(pair.run_plan(plan.clone()), async {
        while watcher.query_one(kill, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let error = applied.unwrap_err();
    assert_eq!(error.code(), "db/unreachable", "{error}");
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(pair.root().await, before);
    assert!(pair.to.db.base("tenant").await.unwrap().is_none());
    assert_eq!(
        counts(&pair.run_plan(plan).await.unwrap()),
        [[1, 100, 0, 0]]
    );
}
