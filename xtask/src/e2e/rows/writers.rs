//! Programs that write while rows are synced.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    super::scenario::Place,
    stage::{Db, ITEMS, Side, Stage},
};
use crate::noise::Random;

/// So many write at once.
const WRITERS: usize = 8;
/// So many transactions does each commit.
const TRANSACTIONS: usize = 25;
/// No sync may wait for a transaction that somebody has left open.
const PATIENCE: Duration = Duration::from_secs(25);

/// Starts eight writers, some of which commit late; they end by themselves.
fn writers(db: &Db<'_>, name: &str) -> Vec<thread::JoinHandle<()>> {
    (0..WRITERS)
        .map(|writer| {
            let mut session = db.session();
            let name = name.to_owned();
            thread::spawn(move || {
                let mut random = Random::new(writer as u64);
                for number in 0..TRANSACTIONS {
                    let slow = if writer.is_multiple_of(2) { 0 } else { random.below(120) };
                    let sql = format!(
                        "BEGIN; INSERT INTO items (id, a) VALUES ('{name}-{writer}-{number}', 'new');
                        UPDATE items SET n = n + 1 WHERE id = '{name}-{writer}-0';
                        SELECT pg_sleep({slow} / 1000.0); COMMIT"
                    );
                    session.ask(&sql).expect("write");
                }
            })
        })
        .collect()
}

fn are_done(writers: &[thread::JoinHandle<()>]) -> bool {
    writers.iter().all(thread::JoinHandle::is_finished)
}

pub(super) fn lesson_17_late_commits_are_never_skipped(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    here.track();
    here.ask("INSERT INTO items (id) VALUES ('first')");
    here.sync().ok();
    there.sync().ok();
    // One that began before all others, has written, and stays open the whole time.
    let mut old = here.db.session();
    old.ask("BEGIN; INSERT INTO items (id) VALUES ('old')")
        .expect("begin");

    let writing = [writers(&here.db, "here"), writers(&stage.tenant, "tenant")];
    let mut syncs = 0;
    while !writing.iter().all(|writers| are_done(writers)) {
        for side in [&here, &there] {
            let began = Instant::now();
            // Who is overtaken again and again says so, and has lost nothing.
            let answer = side.sync();
            assert!([0, 3].contains(&answer.code), "{answer:?}");
            assert!(
                began.elapsed() < PATIENCE,
                "a sync waited {:?}",
                began.elapsed()
            );
            syncs += 1;
        }
    }
    for writer in writing.into_iter().flatten() {
        writer.join().expect("a writer");
    }
    here.sync().ok();
    there.sync().ok();
    here.sync().ok();
    let expected = 2 * WRITERS * TRANSACTIONS + 1;
    assert_eq!(
        there.ask("SELECT count(*) FROM items"),
        expected.to_string()
    );
    assert_eq!(
        there.ask("SELECT count(*) FROM items WHERE n = 25"),
        (2 * WRITERS).to_string()
    );
    stage.assert_equal(&there);
    assert_eq!(here.rows(), there.rows());
    old.ask("COMMIT").expect("commit");
    here.sync().ok();
    there.sync().ok();
    assert_eq!(
        there.ask("SELECT count(*) FROM items WHERE id = 'old'"),
        "1"
    );
    stage.assert_equal(&here);
    println!("     {syncs} syncs beside {} transactions", expected - 1);
}

/// So many rows are pushed at once.
const PUSHED: usize = 20_000;

pub(super) fn the_tenants_program_goes_on_writing(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    stage
        .tenant
        .ask("INSERT INTO items (id, a) SELECT 't' || i, 'counter' FROM generate_series(0, 9) i");
    here.sync().ok();
    here.ask(&format!(
        "INSERT INTO items (id, a, b) SELECT 'i' || i, md5(i::text), repeat(md5(i::text), 10) FROM generate_series(1, {PUSHED}) i"
    ));
    let tracking = stage.url_file(&stage.tenant);
    let track = ["db", "--url-file", &tracking, "track", "items", "parts"];
    place.cli().call(&track).ok();

    let goes_on = Arc::new(AtomicBool::new(true));
    let mut session = stage.tenant.session();
    let writing = {
        let goes_on = Arc::clone(&goes_on);
        thread::spawn(move || {
            let mut written = 0_usize;
            while goes_on.load(Ordering::SeqCst) {
                let sql = format!(
                    "UPDATE items SET n = n + 1 WHERE id = 't{}'; INSERT INTO items (id) VALUES ('w{written}'); SELECT pg_sleep(0.02)",
                    written % 10
                );
                session.ask(&sql).expect("write");
                written += 1;
            }
            written
        })
    };
    let runs = until_done(&here);
    // Then other columns of the rows that it writes all the time.
    here.ask("UPDATE items SET b = 'here' WHERE id IN ('t1', 't2')");
    let more = until_done(&here);
    goes_on.store(false, Ordering::SeqCst);
    let written = writing.join().expect("the program");
    here.sync().ok();
    stage.assert_equal(&here);
    let ask = |sql: &str| here.ask(sql);
    assert_eq!(
        ask("SELECT sum(n) FROM items WHERE id LIKE 't%'"),
        written.to_string()
    );
    assert_eq!(
        ask("SELECT count(*) FROM items WHERE id LIKE 'w%'"),
        written.to_string()
    );
    assert_eq!(
        ask("SELECT count(*) FROM items WHERE id LIKE 'i%'"),
        PUSHED.to_string()
    );
    assert_eq!(ask("SELECT count(*) FROM items WHERE b = 'here'"), "2");
    println!(
        "     {written} writes beside {runs} syncs of {PUSHED} rows and {more} of the same rows"
    );
}

/// Syncs until a run gets through, and says how many it took.
fn until_done(side: &Side<'_>) -> usize {
    for run in 1..=10 {
        let answer = side.sync();
        if answer.code == 0 {
            return run;
        }
        assert_eq!(answer.code, 3, "{answer:?}");
    }
    panic!("ten syncs were overtaken by a program that writes fifty times a second");
}
