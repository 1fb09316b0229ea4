//! Triggers and rules of the application, and values of all types.

use sync_db::TableSpec;

use super::{Pair, aside, counts};

const CONTEXTS: &str = "CREATE TABLE contexts (id int PRIMARY KEY, name text, updated_at timestamptz DEFAULT '2020-01-01');
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
    CREATE TRIGGER touch BEFORE UPDATE ON contexts FOR EACH ROW EXECUTE FUNCTION touch();
    INSERT INTO contexts SELECT n, 'c' || n FROM generate_series(1, 100) n";

/// Lesson 29.
#[tokio::test(flavor = "multi_thread")]
async fn what_triggers_store_is_told() {
    for rows in [3, 90] {
        let pair = Pair::new(CONTEXTS, &["contexts"]).await;
        pair.from
            .run(&format!(
                "UPDATE contexts SET name = 'x' WHERE id <= {rows}"
            ))
            .await;
        let applied = pair.apply().await;
        assert_eq!(applied.rewritten.len(), 1);
        assert_eq!(applied.rewritten[0].columns, ["updated_at"]);
        assert_eq!(applied.set_aside, []);
        assert_eq!(counts(&applied), [[0, rows, 0, 100 - rows]]);
        // Both agree on what was sent: what the trigger made of it is a change of this side.
        assert_ne!(applied.agreed, Some(applied.root));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn volatile_columns_are_each_databases_own() {
    let spec = TableSpec {
        volatile: vec!["updated_at".to_owned()],
        ..TableSpec::new("contexts".parse().unwrap())
    };
    let pair = Pair::with_specs(CONTEXTS, vec![spec]).await;
    pair.from.run("UPDATE contexts SET name = 'x'").await;
    let applied = pair.apply_all().await;
    assert_eq!(applied.rewritten, []);
    assert_eq!(applied.agreed, Some(applied.root));
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_and_rules_may_refuse_in_words_or_silently() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, n FROM generate_series(1, 9) n";
    let guard = "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF coalesce(NEW.v, OLD.v) = 13 THEN RAISE EXCEPTION 'unlucky'; END IF;
        IF coalesce(NEW.id, OLD.id) IN (3, 5, 20) THEN RETURN NULL; END IF;
        RETURN coalesce(NEW, OLD); END $$;
        CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION guard();
        CREATE RULE keep AS ON DELETE TO t WHERE old.id = 6 DO INSTEAD NOTHING";
    let pair = Pair::new(table, &["t"]).await;
    pair.to.run(guard).await;
    pair.from
        .run(
            "DELETE FROM t WHERE id IN (5, 6, 7); UPDATE t SET v = 13 WHERE id = 4;
        UPDATE t SET v = 0 WHERE id IN (2, 3); INSERT INTO t VALUES (20, 1), (21, 1)",
        )
        .await;
    let applied = pair.apply().await;
    let expected = [
        ("t:20", ""),
        ("t:3", ""),
        ("t:4", "P0001"),
        ("t:5", ""),
        ("t:6", ""),
    ];
    assert_eq!(
        aside(&applied),
        expected.map(|(row, why)| (row.to_owned(), why.to_owned()))
    );
    assert_eq!(counts(&applied), [[1, 1, 1, 3]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_triggers_write_elsewhere_is_captured_next() {
    let tables = "CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY, v int);
        INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1);
        CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE b SET v = NEW.v; RETURN NULL; END $$;
        CREATE TRIGGER copy AFTER UPDATE ON a FOR EACH ROW EXECUTE FUNCTION copy()";
    let specs = crate::support::specs(&["a", "b"]);
    let pair = Pair::new(tables, &["a", "b"]).await;
    for spec in &specs {
        pair.to.db.track(spec).await.unwrap();
    }
    let (_, known) = pair.to.settle(&specs, None).await;
    pair.from.run("ALTER TABLE a DISABLE TRIGGER copy; UPDATE a SET v = 2; ALTER TABLE a ENABLE TRIGGER copy").await;
    let wanted = pair.from.capture(&specs, None).await.unwrap();
    let capture = pair.to.capture(&specs, Some(known)).await.unwrap();
    let plan = super::plan(capture, wanted.root);
    let epoch = plan.settlement.epoch;
    let applied = pair.run_plan(plan).await.unwrap();
    let known = sync_db::Known {
        epoch,
        root: applied.root,
    };
    let next = pair.to.capture(&specs, Some(known)).await.unwrap();
    assert_eq!(next.doubt, None);
    assert_eq!(next.root, pair.root().await);
    assert_ne!(next.root, applied.root);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_changes_are_in_no_log() {
    let specs = crate::support::specs(&["t"]);
    let pair = Pair::new("CREATE TABLE t (id int PRIMARY KEY, v int)", &["t"]).await;
    pair.to.db.track(&specs[0]).await.unwrap();
    let (_, known) = pair.to.settle(&specs, None).await;
    pair.from
        .run("INSERT INTO t SELECT n, n FROM generate_series(1, 99) n")
        .await;
    let wanted = pair.from.capture(&specs, None).await.unwrap();
    let capture = pair.to.capture(&specs, Some(known)).await.unwrap();
    let plan = super::plan(capture, wanted.root);
    // Somebody else writes between the capture and the apply.
    pair.to.run("INSERT INTO t VALUES (1000, 1)").await;
    let epoch = plan.settlement.epoch;
    let applied = pair.run_plan(plan).await.unwrap();
    assert_eq!(applied.root, wanted.root);
    let known = sync_db::Known {
        epoch,
        root: applied.root,
    };
    let next = pair.to.capture(&specs, Some(known)).await.unwrap();
    assert_eq!(next.tables[0].reading, sync_db::Reading::Log { keys: 1 });
    assert_eq!(next.root, pair.root().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_the_encoding_lacks_is_set_aside() {
    let table = "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TABLE t (id text PRIMARY KEY, v text, m mood, n int)";
    for last in [3, 200] {
        let mut pair = Pair::new(table, &["t"]).await;
        pair.to = crate::support::Fixture::made_with(
            "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
        )
        .await;
        pair.to.objects = pair.from.objects.clone();
        pair.to.run(table).await;
        pair.from
            .run(&format!(
                "INSERT INTO t SELECT 'ü' || n, 'é', 'sad', n FROM generate_series(1, {last}) n"
            ))
            .await;
        pair.apply_all().await;
        pair.from
            .run(
                "UPDATE t SET m = 'happy', v = 'ß'; UPDATE t SET v = '€' WHERE n = 2;
            INSERT INTO t VALUES ('€', 'x'), ('$', 'x'); DELETE FROM t WHERE n = 3",
            )
            .await;
        let applied = pair.apply().await;
        let expected = [("t:\\303\\2742", "22P05"), ("t:\\342\\202\\254", "22P05")];
        assert_eq!(
            aside(&applied),
            expected.map(|(row, why)| (row.to_owned(), why.to_owned()))
        );
        assert_eq!(counts(&applied), [[1, last - 2, 1, 0]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_all_types_arrive_as_they_are() {
    let types = "CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('sad', 'happy'); CREATE DOMAIN app.positive AS int CHECK (VALUE > 0);
        CREATE TYPE app.pair AS (a int, b text); CREATE TYPE app.floats AS RANGE (subtype = float8);
        CREATE TABLE app.all (id text, mood app.mood, n numeric, PRIMARY KEY (id, mood, n),
            b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, t text, v varchar(5), c char(6), bytes bytea, u uuid,
            d date, ts timestamp, tz timestamptz, ti time, tt timetz, iv interval, j json, jb jsonb, x xml, m money,
            net inet, mac macaddr, bits bit(3), vb varbit, pt point, box box, ts1 tsvector, ints int[], texts text[][],
            moods app.mood[], pos app.positive, comp app.pair, comps app.pair[], r int4range, rs nummultirange, fr app.floats,
            reg regclass, lsn pg_lsn, dec numeric(20, 3), o oid, nam name, \"odd \"\"name\" text)";
    let rows = "INSERT INTO app.all (id, mood, n) VALUES ('nulls', 'sad', 'NaN');
        INSERT INTO app.all SELECT 'k' || k, 'happy', k + 0.10, true, -1, 2, 3, '-0', 'NaN', repeat('ü', k), 'ab', 'a  b', '\\x00ff',
            gen_random_uuid(), 'infinity', '-infinity', '294276-12-31 23:59:59.999999+00', '24:00', '01:02:03+04:30', '-1 mon 2 days 3.5 s',
            '{\"a\":  [1]}', '{\"b\": 1.00}', '<a>ü</a>', 12.5, '::1/64', '08:00:2b:01:02:03', B'101', B'1', '(1.1,-0)', '(1,2),(3,4)',
            'fat:2 cat', '{1,NULL,3}', '{{a,\"b,c\"},{NULL,\"\"}}', '{sad,happy}', 7, '(1,\"x y\")', '{\"(2,)\"}', '[1,5)', '{[1,2),[3,4)}',
            '[0.1,0.3]', 'app.all', '16/B374D848', 1.5, 42, 'nam', repeat('x', k * 100)
        FROM generate_series(1, 70) k;
        INSERT INTO app.all (id, mood, n, t, bytes) VALUES ('large', 'sad', 1e30, repeat('large ', 100000), decode(repeat('00ff', 3000000), 'hex'))";
    let pair = Pair::new(types, &["app.all"]).await;
    pair.from.run(rows).await;
    assert_eq!(counts(&pair.apply_all().await), [[72, 0, 0, 0]]);
    pair.from
        .run(
            "UPDATE app.all SET i4 = 5, moods = '{sad}', tz = now(), odd = 'y' WHERE id = 'k3'"
                .replace("odd", "\"odd \"\"name\"")
                .as_str(),
        )
        .await;
    assert_eq!(counts(&pair.apply_all().await), [[0, 1, 0, 71]]);
    pair.from.run("UPDATE app.all SET i4 = i4 + 1, comp = NULL; UPDATE app.all SET t = t || '!' WHERE id = 'large'").await;
    assert_eq!(counts(&pair.apply_all().await), [[0, 71, 0, 1]]);
    pair.from.run("DELETE FROM app.all WHERE id <> 'k9'").await;
    assert_eq!(counts(&pair.apply_all().await), [[0, 0, 71, 1]]);
}
