//! Unique values that move, references, sequences, and rows that the database refuses.

use super::{Pair, aside, counts};

const USERS: &str =
    "CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL UNIQUE, nick text UNIQUE,
    tag varchar(40) NOT NULL UNIQUE, slot int NOT NULL UNIQUE);
    INSERT INTO users SELECT n, 'e' || n, 'n' || n, 't' || n, n FROM generate_series(1, 100) n";

#[tokio::test(flavor = "multi_thread")]
async fn unique_values_move() {
    let pair = Pair::new(USERS, &["users"]).await;
    // A swap, a chain, a value of a deleted row for a new one: few, then many.
    let swap = "BEGIN; ALTER TABLE users ADD COLUMN old int; UPDATE users SET old = id;
        DELETE FROM users WHERE id IN (7, 8);
        UPDATE users SET email = 'x' || id, nick = 'x' || id, tag = 'x' || id, slot = -slot;";
    let script = |other: &str| {
        format!(
            "{swap} UPDATE users SET (email, nick, tag, slot) =
                (SELECT 'e' || o, 'n' || o, 't' || o, o FROM (SELECT {other} AS o) o);
             INSERT INTO users VALUES (200, 'e7', 'n7', 't7', 7);
             ALTER TABLE users DROP COLUMN old; COMMIT"
        )
    };
    let few = "CASE WHEN old = 1 THEN 2 WHEN old = 2 THEN 1 WHEN old BETWEEN 10 AND 14 THEN old + 1 WHEN old = 15 THEN 10 ELSE old END";
    pair.from.run(&script(few)).await;
    assert_eq!(counts(&pair.apply_all().await), [[1, 8, 2, 90]]);
    let many = "CASE WHEN old = 200 THEN 300 WHEN old < 90 AND old > 20 THEN old + 1 WHEN old = 90 THEN 21 ELSE old END";
    pair.from.run(&script(many).replace("(200,", "(201,")).await;
    let applied = pair.apply_all().await;
    assert_eq!(counts(&applied)[0][0], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_wide_unique_keys_move() {
    let table = "CREATE TABLE teams (id int PRIMARY KEY); INSERT INTO teams VALUES (1), (2);
        CREATE TABLE t (id int PRIMARY KEY, team int NOT NULL REFERENCES teams, place int NOT NULL, nick text, UNIQUE (team, place),
            UNIQUE NULLS NOT DISTINCT (nick));
        INSERT INTO t VALUES (1, 1, 1, 'a'), (2, 1, 2, 'b'), (3, 2, 1, 'c'), (4, 2, 2, NULL)";
    let pair = Pair::new(table, &["t"]).await;
    for rows in [
        "(1, 1, 2, 'b'), (2, 1, 1, 'a'), (3, 2, 2, NULL), (5, 2, 1, 'c')",
        "(1, 2, 2, 'b'), (2, 1, 1, 'a'), (3, 1, 2, NULL), (5, 2, 1, 'c')",
    ] {
        let change = format!("DELETE FROM t; INSERT INTO t VALUES {rows}");
        pair.from.run(&change).await;
        pair.apply_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_expressions_move() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, email text NOT NULL CHECK (email LIKE '%@%')); CREATE UNIQUE INDEX ON t (lower(email));
        INSERT INTO t VALUES (1, 'A@x'), (2, 'B@x'), (3, 'c@x')";
    let pair = Pair::new(table, &["t"]).await;
    pair.from
        .run("DELETE FROM t; INSERT INTO t VALUES (1, 'b@x'), (2, 'a@X'), (4, 'C@x')")
        .await;
    assert_eq!(counts(&pair.apply_all().await), [[1, 2, 1, 0]]);
}

const TREE: &str = "CREATE TABLE parents (id int PRIMARY KEY, boss int REFERENCES parents, favourite int);
    CREATE TABLE children (id int PRIMARY KEY, parent int NOT NULL REFERENCES parents, score int CHECK (score >= 0));
    ALTER TABLE parents ADD CONSTRAINT favours FOREIGN KEY (favourite) REFERENCES children DEFERRABLE;";

#[tokio::test(flavor = "multi_thread")]
async fn references_come_and_go_in_order() {
    let pair = Pair::new(TREE, &["children", "parents"]).await;
    for last in [5, 200] {
        let script = format!(
            "BEGIN; SET CONSTRAINTS ALL DEFERRED;
             INSERT INTO parents SELECT n, {last} - n, n FROM generate_series(0, {last}) n;
             INSERT INTO children SELECT n, {last} - n, 1 FROM generate_series(0, {last}) n; COMMIT"
        );
        pair.from.run(&script).await;
        let created = u64::try_from(last + 1).unwrap();
        assert_eq!(counts(&pair.apply_all().await), [[created, 0, 0, 0]; 2]);
        // Children turn to another parent, and the old one goes.
        pair.from.run("UPDATE children SET parent = 3; UPDATE parents SET boss = 3; DELETE FROM parents WHERE id = 4").await;
        pair.apply_all().await;
        pair.from.run("BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE parents SET favourite = NULL, boss = NULL;
            DELETE FROM children; DELETE FROM parents; COMMIT").await;
        pair.apply_all().await;
    }
}

/// Lessons 15 and 20: a bad row stops no other, and nothing is half done.
#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_set_aside_with_what_depends_on_them() {
    for last in [9, 300] {
        let pair = Pair::new(TREE, &["children", "parents"]).await;
        pair.to.run("ALTER TABLE children ADD CHECK (score <> 13); ALTER TABLE parents ADD CHECK (id <> 4)").await;
        let script = format!(
            "BEGIN; SET CONSTRAINTS ALL DEFERRED;
             INSERT INTO parents SELECT n, CASE n WHEN 5 THEN 4 ELSE 0 END, CASE n WHEN 6 THEN 7 END FROM generate_series(0, {last}) n;
             INSERT INTO children SELECT n, CASE n WHEN 8 THEN 5 ELSE 2 END, CASE n WHEN 7 THEN 13 ELSE 1 END FROM generate_series(0, {last}) n;
             COMMIT"
        );
        pair.from.run(&script).await;
        let applied = pair.apply().await;
        let expected = [
            ("children:7", "children_score_check1"),
            ("children:8", "children_parent_fkey"),
            ("parents:4", "parents_id_check"),
            ("parents:5", "parents_boss_fkey"),
            ("parents:6", "favours"),
        ];
        let expected = expected.map(|(row, why)| (row.to_owned(), why.to_owned()));
        assert_eq!(aside(&applied), expected);
        let last = u64::try_from(last).unwrap();
        assert_eq!(counts(&applied), [[last - 1, 0, 0, 0], [last - 2, 0, 0, 0]]);
        // They are tried again, and are refused again, and the rest is left alone.
        let again = pair.apply().await;
        assert_eq!(aside(&again), expected);
        assert_eq!(again.root, applied.root);
        // What stands in the way is taken away: then they go.
        pair.to.run("ALTER TABLE children DROP CONSTRAINT children_score_check1; ALTER TABLE parents DROP CONSTRAINT parents_id_check").await;
        pair.apply_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_set_aside_is_not_agreed_on() {
    let pair = Pair::new(TREE, &["children", "parents"]).await;
    pair.from.run("INSERT INTO parents VALUES (1), (2)").await;
    let first = pair.apply_all().await;
    pair.to
        .run("ALTER TABLE parents ADD CHECK (id <> 1 OR boss IS NULL)")
        .await;
    pair.from.run("UPDATE parents SET boss = 2").await;
    let mut plan = pair.plan().await;
    plan.base_before = first.root;
    let applied = pair.run_plan(plan).await.unwrap();
    assert_eq!(applied.agreed, Some(applied.root));
    assert_eq!(aside(&applied).len(), 1);
    let base = pair.to.db.base("tenant").await.unwrap().unwrap();
    assert_eq!(base.root, pair.root().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_parents_take_no_child_along_that_nobody_deleted() {
    let tables = "CREATE TABLE parents (id int PRIMARY KEY);
        CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE);
        CREATE TABLE notes (parent int REFERENCES parents ON DELETE CASCADE);
        INSERT INTO parents VALUES (1), (2); INSERT INTO children VALUES (1, 1), (2, 2); INSERT INTO notes VALUES (2)";
    let pair = Pair::new(tables, &["children", "parents"]).await;
    pair.from.run("DELETE FROM parents").await;
    let plan = pair.plan().await;
    pair.to.run("INSERT INTO children VALUES (3, 1)").await;
    let applied = pair.run_plan(plan).await.unwrap();
    assert_eq!(
        aside(&applied),
        [("parents:1".to_owned(), "children_parent_fkey".to_owned())]
    );
    assert_eq!(pair.to.count("SELECT count(*) FROM children").await, 1);
    // What is not synced follows its parents as the application has it.
    assert_eq!(pair.to.count("SELECT count(*) FROM notes").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_others_refer_to_stay() {
    let tables = "CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE logs (parent int REFERENCES parents);
        INSERT INTO parents VALUES (1), (2), (3)";
    let pair = Pair::new(tables, &["parents"]).await;
    pair.to.run("INSERT INTO logs VALUES (2)").await;
    pair.from.run("DELETE FROM parents").await;
    let applied = pair.apply().await;
    assert_eq!(
        aside(&applied),
        [("parents:2".to_owned(), "logs_parent_fkey".to_owned())]
    );
    assert_eq!(counts(&applied), [[0, 0, 2, 0]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_values_that_others_have_are_refused() {
    for last in [3, 90] {
        let pair = Pair::new(USERS, &["users"]).await;
        pair.to
            .run("INSERT INTO users VALUES (500, 'mine', NULL, 'mine', 500)")
            .await;
        let script = format!(
            "DELETE FROM users WHERE id > 95; UPDATE users SET nick = 'x' || id WHERE id < {last};
             INSERT INTO users VALUES (300, 'mine', NULL, 'other', 96), (301, 'fine', NULL, 'fine', 97)"
        );
        pair.from.run(&script).await;
        // The row of our own is not the plan's to remove.
        let mut plan = pair.plan().await;
        pair.to.run("DELETE FROM users WHERE id = 500").await;
        plan.capture = pair
            .to
            .capture(&crate::support::specs(&["users"]), None)
            .await
            .unwrap();
        pair.to
            .run("INSERT INTO users VALUES (500, 'mine', NULL, 'mine', 500)")
            .await;
        let applied = pair.run_plan(plan).await.unwrap();
        assert_eq!(
            aside(&applied),
            [("users:300".to_owned(), "users_email_key".to_owned())]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deferrable_unique_values_are_checked_at_the_end() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE DEFERRABLE); INSERT INTO t SELECT n, n FROM generate_series(1, 9) n";
    let pair = Pair::new(table, &["t"]).await;
    pair.from.run("UPDATE t SET v = 10 - v").await;
    assert_eq!(counts(&pair.apply_all().await), [[0, 8, 0, 1]]);
    let plan = {
        pair.from
            .run("INSERT INTO t VALUES (20, 20), (21, 21)")
            .await;
        pair.plan().await
    };
    pair.to.run("INSERT INTO t VALUES (30, 20)").await;
    let applied = pair.run_plan(plan).await.unwrap();
    assert_eq!(aside(&applied), [("t:20".to_owned(), "t_v_key".to_owned())]);
}

/// Lesson 30.
#[tokio::test(flavor = "multi_thread")]
async fn sequences_are_ahead_of_what_came_in() {
    let table = "CREATE TABLE a (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, v int);
        CREATE TABLE b (id int PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY (INCREMENT -2 MAXVALUE 0 MINVALUE -9000000 START -1), v int);
        CREATE TABLE c (id serial PRIMARY KEY, v int)";
    let tables = ["a", "b", "c"];
    for rows in [3, 70, 5000] {
        let pair = Pair::new(table, &tables).await;
        let insert = |table: &str, from: u32, to: u32| {
            format!("INSERT INTO {table} (v) SELECT n FROM generate_series({from}, {to}) n;")
        };
        for table in tables {
            pair.from.run(&insert(table, 1, rows)).await;
        }
        pair.apply_all().await;
        for table in tables {
            pair.to.run(&insert(table, 0, 0)).await;
            assert_eq!(
                pair.to
                    .count(&format!("SELECT count(*) FROM {table} WHERE v = 0"))
                    .await,
                1
            );
        }
        // A sequence that is further ahead stays there.
        pair.to.run("DELETE FROM a WHERE v = 0; DELETE FROM b WHERE v = 0; DELETE FROM c WHERE v = 0; SELECT setval('c_id_seq', 100000)").await;
        pair.from.run(&insert("c", 1, 1)).await;
        pair.from.run("UPDATE a SET v = -1").await;
        pair.apply_all().await;
        assert_eq!(
            pair.to.count("SELECT last_value FROM c_id_seq").await,
            100_000
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_that_cannot_be_deferred_is_refused_by_name() {
    let tables = "CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
        ALTER TABLE a ADD CONSTRAINT a_b FOREIGN KEY (b) REFERENCES b";
    let pair = Pair::new(tables, &["a", "b"]).await;
    pair.from
        .run("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 1); UPDATE a SET b = 1")
        .await;
    let error = pair.run_plan(pair.plan().await).await.unwrap_err();
    assert!(error.to_string().contains("a.a_b, b.b_a_fkey"), "{error}");
}

/// Whatever valid state one database is in, the other gets there from whatever state it is in.
#[tokio::test(flavor = "multi_thread")]
async fn any_state_is_reached_from_any_other() {
    let tables = "CREATE TABLE groups (id int PRIMARY KEY, name text NOT NULL UNIQUE, lead int);
        CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL UNIQUE, nick int UNIQUE, boss int REFERENCES users,
            team int NOT NULL REFERENCES groups, UNIQUE (team, email));
        ALTER TABLE groups ADD FOREIGN KEY (lead) REFERENCES users DEFERRABLE";
    let pair = Pair::new(tables, &["groups", "users"]).await;
    let client = pair.from.client().await;
    let fast = client.batch_execute("SET synchronous_commit = off").await;
    fast.unwrap();
    let mut seed = 42_u32;
    for round in 0..24 {
        for _ in 0..if round % 3 == 0 { 200 } else { 12 } {
            let mut any = |below: u32| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 8) % below
            };
            let (a, b, c) = (any(60), any(60), any(8));
            let change = match any(8) {
                0 => format!("INSERT INTO groups VALUES ({c}, 'g{a}')"),
                1 => format!("DELETE FROM groups WHERE id = {c}"),
                2 => format!("UPDATE groups SET lead = {a} WHERE id = {c}"),
                3 => format!("INSERT INTO users VALUES ({a}, 'e{b}', {b}, {b}, {c})"),
                4 => format!("UPDATE users SET boss = {b}, team = {c} WHERE id = {a}"),
                5 => format!("DELETE FROM users WHERE id = {a}"),
                6 => format!("UPDATE users SET email = 'e{b}', nick = NULL WHERE id = {a}"),
                _ => format!(
                    "BEGIN; CREATE TEMP TABLE old ON COMMIT DROP AS SELECT * FROM users WHERE id IN ({a}, {b});
                     UPDATE users SET email = 'x' || id, nick = NULL WHERE id IN ({a}, {b});
                     UPDATE users u SET email = o.email, nick = o.nick FROM old o
                         WHERE u.id IN ({a}, {b}) AND o.id IN ({a}, {b}) AND u.id <> o.id;
                     UPDATE users SET email = 'e' || id WHERE email = 'x' || id; COMMIT"
                ),
            };
            if client.batch_execute(&change).await.is_err() {
                // What breaks a constraint is no state to reach.
                client.batch_execute("ROLLBACK").await.unwrap();
            }
        }
        pair.apply_all().await;
    }
    let reached = "SELECT count(*) FROM users WHERE boss IS NOT NULL";
    assert!(pair.to.count(reached).await > 0);
}

/// Keys that are equal to the database and not to us: the old row goes, and the next run has the new one.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_many_forms_take_two_runs() {
    let table =
        "CREATE TABLE t (id interval PRIMARY KEY, v int); INSERT INTO t VALUES ('24:00', 1)";
    let pair = Pair::new(table, &["t"]).await;
    pair.from.run("UPDATE t SET id = '1 day'").await;
    let expected = ("t:1 day".to_owned(), "t_pkey".to_owned());
    assert_eq!(aside(&pair.apply().await), [expected]);
    pair.apply_all().await;
}

/// Lesson 20: many bad rows among many good ones, each named.
#[tokio::test(flavor = "multi_thread")]
async fn many_refused_rows_are_all_found() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, v int)";
    let pair = Pair::new(table, &["t"]).await;
    pair.to.run("ALTER TABLE t ADD CHECK (v % 100 <> 7)").await;
    pair.from
        .run("INSERT INTO t SELECT n, n FROM generate_series(1, 20000) n")
        .await;
    let applied = pair.apply().await;
    assert_eq!(applied.set_aside.len(), 200);
    assert_eq!(counts(&applied), [[19_800, 0, 0, 0]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_move_between_partitions() {
    let tables =
        "CREATE TABLE t (id int, region text, v int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (0) TO (100);
        CREATE TABLE t_high PARTITION OF t FOR VALUES FROM (100) TO (1000)";
    let pair = Pair::new(tables, &["t"]).await;
    for rows in [40, 900] {
        pair.from
            .run(&format!(
                "INSERT INTO t SELECT n, 'eu', n FROM generate_series(1, {rows}) n"
            ))
            .await;
        pair.apply_all().await;
        pair.from.run("UPDATE t SET v = 0").await;
        pair.apply_all().await;
        pair.from.run("DELETE FROM t").await;
        pair.apply_all().await;
    }
    pair.from.run("INSERT INTO t VALUES (500, 'eu', 1)").await;
    pair.to.run("DROP TABLE t_high").await;
    let applied = pair.apply().await;
    assert_eq!(aside(&applied), [("t:500".to_owned(), "23514".to_owned())]);
}
