//! Lessons about merging, counting and applying.

use super::{
    super::scenario::Place,
    stage::{ITEMS, Stage, Tables},
};

pub(super) fn lesson_12_an_older_row_never_overwrites(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    here.ask("INSERT INTO items (id, a, updated_at) VALUES ('i', 'first', '2020-01-01'), ('k', 'first', '2020-01-01')");
    here.push().ok();
    there.pull().ok();
    there.ask("UPDATE items SET a = 'newer', updated_at = '2024-01-01' WHERE id = 'i'");
    there.push().ok();
    // This one has an old copy of `i`, and an edit of another row: the old copy does not go back.
    here.ask("UPDATE items SET b = 'mine' WHERE id = 'k'");
    here.push().exits(3).says("engine/diverged");
    here.sync().ok();
    assert_eq!(
        stage.tenant.ask("SELECT a FROM items WHERE id = 'i'"),
        "newer"
    );
    assert_eq!(here.ask("SELECT a FROM items WHERE id = 'i'"), "newer");
    // An edit of the same column with an older time is never taken unasked, whatever the order.
    here.ask("UPDATE items SET a = 'older', updated_at = '2022-01-01' WHERE id = 'k'");
    stage
        .tenant
        .ask("UPDATE items SET a = 'newest', updated_at = '2025-01-01' WHERE id = 'k'");
    here.push().exits(3);
    here.sync().exits(3);
    assert_eq!(
        stage.tenant.ask("SELECT a FROM items WHERE id = 'k'"),
        "newest"
    );
}

pub(super) fn lesson_13_the_winner_does_not_depend_on_who_asks(place: &Place) {
    const NEWEST: Tables = Tables {
        config: "[[database.tables]]\nname = \"items\"\non_conflict = { table = \"newest:updated_at\" }\n",
        ..ITEMS
    };
    let stage = Stage::new(place, NEWEST);
    let (here, there) = (stage.side("here"), stage.side("there"));
    here.ask("INSERT INTO items (id, a, updated_at) VALUES ('i', 'first', '2020-01-01'), ('k', 'first', '2020-01-01')");
    here.push().ok();
    there.pull().ok();
    for first_asks in [&here, &there] {
        here.ask(
            "UPDATE items SET a = 'later', updated_at = now() + '1 hour' WHERE id = 'i';
            UPDATE items SET a = 'earlier', updated_at = now() + '1 minute' WHERE id = 'k'",
        );
        there.ask(
            "UPDATE items SET a = 'earlier', updated_at = now() + '1 minute' WHERE id = 'i';
            UPDATE items SET a = 'later', updated_at = now() + '1 hour' WHERE id = 'k'",
        );
        first_asks.sync().ok();
        for side in [&here, &there, &here] {
            side.sync().ok();
        }
        for side in [&here, &there] {
            assert_eq!(
                side.ask("SELECT string_agg(a, ',') FROM items"),
                "later,later"
            );
            stage.assert_equal(side);
        }
        here.ask("UPDATE items SET a = 'first', updated_at = '2020-01-01'");
        here.sync().ok();
        there.sync().ok();
    }
}

pub(super) fn lesson_14_two_columns_merge(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    here.ask("INSERT INTO items (id, a, b) VALUES ('i', 'first', 'first')");
    here.push().ok();
    there.pull().ok();
    here.ask("UPDATE items SET a = 'here'");
    there.ask("UPDATE items SET b = 'there'");
    stage.tenant.ask("UPDATE items SET n = 7");
    here.sync().ok();
    there.sync().ok();
    here.sync().ok();
    for db in [&here.db, &there.db, &stage.tenant] {
        assert_eq!(db.ask("SELECT a || b || n FROM items"), "herethere7");
    }
}

pub(super) fn lesson_15_nothing_is_half_applied(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    here.ask("INSERT INTO items (id, a) VALUES ('i0', 'first')");
    here.push().ok();
    there.pull().ok();
    // Where the seventh row comes, the connection goes.
    let cut = "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.id = 'i7' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NEW; END $$;
        CREATE TRIGGER cut BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION cut()";
    let heal = "DROP TRIGGER cut ON items; DROP FUNCTION cut()";
    here.ask("UPDATE items SET a = 'second'; INSERT INTO items (id) SELECT 'i' || i FROM generate_series(1, 9) i");
    stage.tenant.ask(cut);
    let before = stage.rows();
    let refused = here.push();
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    assert_eq!(before, stage.rows(), "a part of a push is there");
    stage.tenant.ask(heal);
    here.push().ok();
    stage.assert_equal(&here);

    there.ask(cut);
    let before = there.rows();
    let refused = there.pull();
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    assert_eq!(before, there.rows(), "a part of a pull is there");
    there.ask(heal);
    there.pull().ok();
    stage.assert_equal(&there);
}

pub(super) fn lesson_16_counts_are_true(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    here.ask("INSERT INTO items (id, n) SELECT 'i' || i, i FROM generate_series(1, 10) i");
    here.push().ok();
    stage
        .tenant
        .ask("ALTER TABLE items ADD CONSTRAINT small CHECK (n < 100)");
    here.ask(
        "UPDATE items SET n = n + 10 WHERE n <= 4; UPDATE items SET n = 500 WHERE n = 5;
        DELETE FROM items WHERE n = 6; INSERT INTO items (id, n) VALUES ('new', 1), ('bad', 1000)",
    );
    let report = here.push().exits(1).json();
    // Four changed, one added, one removed; one change and one new row were refused.
    assert_eq!(report["items_synced"], 6, "{report}");
    assert_eq!(report["items_skipped"], 2, "{report}");
    assert_eq!(report["success"], false, "{report}");
    let sum = &report["pushed"][0];
    assert_eq!(
        [&sum["created"], &sum["updated"], &sum["deleted"]],
        [2, 5, 1],
        "{report}"
    );
    let errors = report["errors"].as_array().expect("errors");
    assert_eq!(errors.len(), 2, "{report}");
    for (error, key) in errors.iter().zip(["bad", "i5"]) {
        assert_eq!(error["code"], "db/set-aside", "{report}");
        assert!(error["path"].to_string().contains(key), "{report}");
        assert!(error["message"].to_string().contains("small"), "{report}");
    }
    assert_eq!(stage.tenant.ask("SELECT count(*) FROM items"), "10");
    assert_eq!(
        stage
            .tenant
            .ask("SELECT count(*) FROM items WHERE n BETWEEN 11 AND 14"),
        "4"
    );
    assert_eq!(stage.tenant.ask("SELECT n FROM items WHERE id = 'i5'"), "5");
}

pub(super) fn lesson_18_a_third_peer_gets_what_the_first_sent(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let sides = ["first", "second", "third"].map(|name| stage.side(name));
    sides.iter().for_each(super::stage::Side::track);
    let [first, second, third] = &sides;
    first.ask("INSERT INTO items (id, a) VALUES ('i', 'first'), ('k', 'first')");
    first.sync().ok();
    second.sync().ok();
    second.ask("UPDATE items SET b = 'second' WHERE id = 'i'; DELETE FROM items WHERE id = 'k'");
    second.sync().ok();
    third.sync().ok();
    assert_eq!(third.ask("SELECT id || a || b FROM items"), "ifirstsecond");
    // What came from a peer is not a change of one's own that would go back.
    let idle = second.sync().ok();
    assert_eq!(idle.number("items_synced"), 0, "{}", idle.stdout);
    // Through a peer's database to another tenant, which knows nothing of the first.
    let embedded = format!("embedded:{}", place.directory().join("other").display());
    let other = Stage::side_at(&stage, place.postgres(), "fourth", &embedded);
    let toml = second.workspace.root().join("sync.toml");
    let text = std::fs::read_to_string(&toml).expect("read sync.toml");
    let moved = text.replace(&stage.served.url, &embedded);
    let moved: String = moved
        .lines()
        .filter(|line| !line.starts_with("ca_file"))
        .fold(String::new(), |text, line| text + line + "\n");
    super::stage::write(&toml, &moved);
    second.push().ok();
    other.call(&["db", "migrate", "--bookkeeping"]).ok();
    other.pull().ok();
    assert_eq!(other.rows(), third.rows());
}

pub(super) fn lesson_20_a_bad_row_stops_no_others(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    let rule = "ALTER TABLE items ADD CONSTRAINT good CHECK (a <> 'bad')";
    let lift = "ALTER TABLE items DROP CONSTRAINT good";
    stage.tenant.ask(rule);
    there.ask(rule);
    here.ask("INSERT INTO items (id, a) SELECT 'i' || i, 'good' FROM generate_series(1, 20) i;
        INSERT INTO items (id, a) VALUES ('b', 'bad'); INSERT INTO parts VALUES ('p', 'b', 'of the bad one'), ('q', 'i1', '')");
    let refused = here.push().exits(1).json();
    // The part falls with its item.
    assert_eq!(refused["items_skipped"], 2, "{refused}");
    assert_eq!(stage.tenant.ask("SELECT count(*) FROM items"), "20");
    assert_eq!(stage.tenant.ask("SELECT id FROM parts"), "q");
    assert_eq!(here.standing(), "local_ahead");
    // It is tried again, and others go on, as often as it takes.
    here.ask("INSERT INTO items (id, a) VALUES ('later', 'good')");
    here.push().exits(1);
    assert_eq!(stage.tenant.ask("SELECT count(*) FROM items"), "21");
    stage.tenant.ask(lift);
    here.push().ok();
    stage.assert_equal(&here);
    // The same where rows come.
    let refused = there.pull().exits(1).json();
    assert_eq!(refused["items_skipped"], 2, "{refused}");
    assert_eq!(there.ask("SELECT count(*) FROM items"), "21");
    here.ask("INSERT INTO items (id, a) VALUES ('last', 'good')");
    here.push().ok();
    there.pull().exits(1);
    assert_eq!(there.ask("SELECT count(*) FROM items"), "22");
    assert_eq!(there.ask("SELECT count(*) FROM items WHERE id = 'b'"), "0");
    // What could not come was not deleted: it does not go away elsewhere.
    there.sync().exits(1);
    assert_eq!(
        stage
            .tenant
            .ask("SELECT count(*) FROM items WHERE id = 'b'"),
        "1"
    );
    there.ask(lift);
    there.pull().ok();
    stage.assert_equal(&there);
}

pub(super) fn lesson_22_many_updates_travel_as_one(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    here.ask(
        "INSERT INTO items (id, a) SELECT 'i' || i, md5(i::text) FROM generate_series(1, 100) i",
    );
    here.push().ok();
    there.pull().ok();
    here.track();
    here.sync().ok();
    for _ in 0..500 {
        here.ask("UPDATE items SET n = n + 1 WHERE id = 'i50'");
    }
    let pushed = here.push().ok();
    let report = pushed.json();
    assert_eq!(report["pushed"][0]["updated"], 1, "{report}");
    assert_eq!(report["rows"].as_array().map(Vec::len), Some(1), "{report}");
    assert!(pushed.number("bytes_sent") < 16_384, "{report}");
    let pulled = there.pull().ok();
    assert_eq!(
        pulled.json()["pulled"][0]["updated"],
        1,
        "{}",
        pulled.stdout
    );
    stage.assert_equal(&there);
}

pub(super) fn lesson_24_nothing_to_do_is_one_request(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    here.ask(
        "INSERT INTO items (id, a) SELECT 'i' || i, md5(i::text) FROM generate_series(1, 2000) i",
    );
    let first = here.push().ok();
    assert!(
        first.number("requests") <= 3,
        "2,000 rows: {}",
        first.stdout
    );
    there.pull().ok();
    for tracked in [false, true] {
        if tracked {
            here.track();
            here.sync().ok();
        }
        for verb in ["push", "pull", "sync", "status"] {
            let idle = here.call(&[verb, "database"]).ok();
            assert_eq!(idle.number("requests"), 1, "{}", idle.stdout);
            let bytes = idle.number("bytes_sent") + idle.number("bytes_received");
            assert!(
                bytes < 8_192,
                "{bytes} bytes with the TLS handshake: {}",
                idle.stdout
            );
        }
    }
    here.ask("UPDATE items SET n = 1 WHERE id IN (SELECT id FROM items ORDER BY id LIMIT 100)");
    let hundred = here.push().ok();
    assert!(
        hundred.number("requests") <= 3,
        "100 rows: {}",
        hundred.stdout
    );
    let pulled = there.pull().ok();
    assert!(
        pulled.number("requests") <= 3,
        "100 rows: {}",
        pulled.stdout
    );
}

pub(super) fn lesson_29_a_trigger_does_not_keep_sides_apart(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    for db in [&here.db, &there.db, &stage.tenant] {
        db.ask("CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END $$;
            CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION touch()");
    }
    here.ask("INSERT INTO items (id, a) VALUES ('i', 'first')");
    here.push();
    // Whoever has such a trigger is told of it, by column.
    let told = there.pull().says("db/rewritten").says("updated_at");
    assert_eq!(told.code, 0, "{}", told.stdout);
    // Declared volatile, each side keeps its own time, and both are alike.
    let volatile = "[[database.tables]]\nname = \"items\"\nvolatile = [\"updated_at\"]\n[[database.tables]]\nname = \"parts\"\n";
    here.configure(volatile);
    there.configure(volatile);
    let file = place.directory().join("tenant.toml");
    super::stage::write(&file, &format!("[database]\n{volatile}"));
    let (file, url) = (file.display().to_string(), stage.url_file(&stage.tenant));
    let words = [
        "tenant",
        "database",
        place.tenant(),
        "--url-file",
        &url,
        "--tables",
        &file,
    ];
    place.operator(&stage.served.data, &words).ok();
    for round in 0..3 {
        here.sync().ok();
        there.sync().ok();
        here.ask(&format!("UPDATE items SET a = 'round {round}'"));
        // Two sides that run the same job do not conflict over when they ran it.
        there.ask(&format!("UPDATE items SET a = 'round {round}'"));
    }
    for side in [&here, &there, &here, &there] {
        side.sync().ok();
    }
    for side in [&here, &there] {
        assert_eq!(side.standing(), "in_sync");
        let idle = side.sync().ok();
        assert_eq!(idle.number("items_synced"), 0, "{}", idle.stdout);
        assert_eq!(side.ask("SELECT a FROM items"), "round 2");
    }
}

pub(super) fn lesson_30_sequences_advance(place: &Place) {
    const NUMBERED: Tables = Tables {
        setup: "CREATE TABLE serial (id serial PRIMARY KEY, a text);
            CREATE TABLE identity (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text)",
        config: "[[database.tables]]\nname = \"serial\"\n[[database.tables]]\nname = \"identity\"\n",
        queries: &[
            "SELECT * FROM serial ORDER BY id",
            "SELECT * FROM identity ORDER BY id",
        ],
    };
    let stage = Stage::new(place, NUMBERED);
    let (here, there) = (stage.side("here"), stage.side("there"));
    let insert = |text: &str| {
        format!(
            "INSERT INTO serial (a) VALUES ('{text}'); INSERT INTO identity (a) VALUES ('{text}')"
        )
    };
    for number in 0..20 {
        here.ask(&insert(&number.to_string()));
    }
    here.push().ok();
    stage.tenant.ask(&insert("tenant"));
    there.pull().ok();
    there.ask(&insert("there"));
    there.sync().ok();
    here.sync().ok();
    here.ask(&insert("here"));
    here.sync().ok();
    stage.assert_equal(&here);
    assert_eq!(
        here.ask("SELECT count(*) || ',' || max(id) FROM serial"),
        "23,23"
    );
    assert_eq!(
        here.ask("SELECT count(*) || ',' || max(id) FROM identity"),
        "23,23"
    );
}
