//! `watch content skills`: a save is in the database before one looks, and none is lost while the database is away.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{
    super::{
        files::watching::{Watching, wait_until},
        scenario::{Place, done},
    },
    desk::{Desk, SOURCES, page},
};

const KINDS: &[&str] = &["content", "skills"];
const COUNT: &str = "SELECT count(*) FROM markdown_content";
/// "Well under a second", on a machine that has other things to do.
const SOON: Duration = Duration::from_millis(900);

fn watched(desk: &Desk<'_>) -> Watching {
    desk.write("content/config.yaml", SOURCES);
    desk.write("content/blog/first.md", &page("first", "x"));
    let watching = Watching::over(&desk.workspace, KINDS);
    wait_until("the first run", || desk.ask(COUNT) == "1");
    // The watch has written down what it did, and waits.
    wait_until("the first run's end", || {
        desk.ask("SELECT count(*) FROM sync.local_item") == "1"
    });
    watching
}

/// Saves, and says how long it took until a query gave this.
fn took(desk: &Desk<'_>, save: impl FnOnce(), query: &str, expected: &str) -> Duration {
    save();
    let began = Instant::now();
    wait_until("a save", || desk.ask(query) == expected);
    began.elapsed()
}

pub(super) fn a_save_is_in_the_database_at_once(place: &Place) {
    let desk = Desk::new(place);
    let watching = watched(&desk);
    let mut times = Vec::new();
    for number in 0..5 {
        let body = format!("Saved {number}.");
        let save = || desk.write("content/blog/first.md", &page("first", &body));
        times.push(took(
            &desk,
            save,
            "SELECT body FROM markdown_content",
            &body,
        ));
    }
    let skill = || {
        desk.write(
            "skills/s/SKILL.md",
            "---\nname: s\ndescription: d\n---\nDo.\n",
        );
    };
    times.push(took(&desk, skill, "SELECT count(*) FROM agent_skills", "1"));
    times.sort();
    println!("     {times:?}");
    assert!(times[times.len() / 2] < SOON, "{times:?}");
    // Something that a person has to mend stops nothing else for longer than it is there.
    desk.write("content/blog/bad.md", "---\n");
    desk.write("content/blog/second.md", &page("second", "x"));
    desk.remove("content/blog/bad.md");
    wait_until("what is fit", || desk.ask(COUNT) == "2");
    watching.end(Signal::TERM);
    desk.assert_settled("content");
    desk.assert_settled("skills");
}

pub(super) fn a_burst_of_saves_is_one_transaction(place: &Place) {
    let desk = Desk::new(place);
    let watching = watched(&desk);
    for number in 0..100 {
        desk.write(
            &format!("content/blog/{number}.md"),
            &page(&format!("p{number}"), "x"),
        );
    }
    wait_until("the burst", || desk.ask(COUNT) == "101");
    let transactions =
        "SELECT count(DISTINCT xmin::text) FROM markdown_content WHERE slug <> 'first'";
    assert_eq!(desk.ask(transactions), "1");
    watching.end(Signal::TERM);
    desk.assert_settled("content");
}

pub(super) fn a_watch_ends_when_it_is_told(place: &Place) {
    for signal in [Signal::TERM, Signal::INT] {
        let desk = Desk::new(place);
        let watching = watched(&desk);
        // Also while it waits for a lock that somebody else has on the rows.
        let mut other = desk.db.session();
        done(other.ask("BEGIN; LOCK markdown_content IN ACCESS EXCLUSIVE MODE"));
        desk.write("content/blog/first.md", &page("first", "waits"));
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'markdown_content'::regclass";
        let mut looking = desk.db.session();
        wait_until("the wait for a lock", || done(looking.ask(waits)) != "0");
        let took = watching.end(signal);
        assert!(took < Duration::from_secs(1), "{took:?}");
        done(other.ask("ROLLBACK"));
        assert_eq!(desk.ask("SELECT body FROM markdown_content"), "x");
        desk.push("content").ok();
        desk.assert_settled("content");
    }
}

pub(super) fn a_watch_outlives_its_database(place: &Place) {
    let postgres = place.own_postgres();
    let desk = Desk::on(place, &postgres);
    let watching = watched(&desk);
    desk.db.close();
    done(postgres.kill());
    desk.write(
        "content/blog/meanwhile.md",
        &page("meanwhile", "saved while it was away"),
    );
    done(postgres.revive());
    wait_until("what was saved meanwhile", || desk.ask(COUNT) == "2");
    watching.end(Signal::INT);
    desk.assert_settled("content");
    drop(desk);
    done(postgres.down());
}
