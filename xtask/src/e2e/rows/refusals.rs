//! Lessons about servers and databases that are busy, or do not answer.

use std::{
    net::{Ipv4Addr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        cli::Answer,
        faults::refusals::{Front, Script},
        scenario::Place,
    },
    stage::{ITEMS, Served, Stage},
};

pub(super) fn lesson_23_a_busy_server_loses_nothing(place: &Place) {
    let own = place.own_plain_server();
    let front = Front::start(own.server.address());
    let served = Served {
        data: own.data.clone(),
        url: format!("http://127.0.0.1:{}", front.address.port()),
        token: own.token.clone(),
    };
    let stage = Stage::at(place, place.postgres(), served, ITEMS);
    let (here, there) = (stage.side("front"), stage.side("back"));
    let mut round = 0;
    for method in ["GET", "POST"] {
        for status in ["429 Too Many Requests", "503 Service Unavailable"] {
            for (retry_after, expected) in [(None, 0), (Some("7200"), 4)] {
                round += 1;
                here.ask(&format!(
                    "INSERT INTO items (id) SELECT '{round}-' || i FROM generate_series(1, 30) i"
                ));
                let script = Script {
                    method,
                    status,
                    retry_after,
                    left: 1,
                };
                front.play(script.clone());
                let pushed = here.push().exits(expected);
                assert!(
                    front.refused() > 0,
                    "{method} {status}: nothing was refused"
                );
                if expected == 0 {
                    assert_eq!(pushed.number("items_synced"), 30, "{}", pushed.stdout);
                }
                front.play(Script::default());
                here.push().ok();
                front.play(script);
                there.pull().exits(expected);
                front.play(Script::default());
                there.pull().ok();
                assert_eq!(
                    there.ask("SELECT count(*) FROM items"),
                    (round * 30).to_string()
                );
            }
        }
    }
    stage.assert_equal(&here);
    stage.assert_equal(&there);
}

/// No call may take longer than this against what never answers.
const BOUND: Duration = Duration::from_secs(75);

pub(super) fn lesson_25_nothing_waits_for_ever(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (mute, hung) = (stage.side("mute"), stage.side("hung"));
    // One that takes connections and says nothing, in place of the database, and in place of the server.
    let silence = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
    let port = silence.local_addr().expect("an address").port();
    mute.set_url(&format!("postgres://postgres@127.0.0.1:{port}/nothing"));
    let toml = hung.workspace.root().join("sync.toml");
    let text = std::fs::read_to_string(&toml).expect("read sync.toml");
    super::stage::write(
        &toml,
        &text.replace(&stage.served.url, &format!("https://localhost:{port}")),
    );
    let timed = |side: &super::stage::Side<'_>| {
        let workspace = side.workspace.clone();
        thread::spawn(move || {
            let began = Instant::now();
            (workspace.call(&["pull", "database"]), began.elapsed())
        })
    };
    let calls = [timed(&mute), timed(&hung)];
    for (call, code) in calls.into_iter().zip([4, 4]) {
        let (answer, took): (Answer, Duration) = call.join().expect("a thread");
        let answer = answer.exits(code);
        assert!(
            took < BOUND,
            "`{}` took {took:?}: {}",
            answer.call,
            answer.stderr
        );
    }
}

pub(super) fn what_holds_a_database_is_named(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    there.track();
    here.ask("INSERT INTO items (id, a) VALUES ('first', 'old'), ('second', 'old')");
    here.push().ok();
    there.pull().ok();
    let holders = || {
        let status = there.call(&["db", "status"]).ok().json();
        assert_eq!(
            status["health"]["agreed"][0]["snapshot"]
                .as_str()
                .map(str::len),
            Some(64)
        );
        let holders = status["health"]["holders"].as_array().cloned();
        let holders = holders.expect("a list").into_iter();
        let told =
            holders.map(|holder| (holder["holds"].to_string(), holder["tables"].to_string()));
        told.collect::<Vec<_>>()
    };
    assert_eq!(holders(), []);

    let mut other = there.db.session();
    other
        .ask("BEGIN; UPDATE items SET a = 'mine' WHERE id = 'first'")
        .expect("begin");
    let writing = ("\"changes\"".to_owned(), "[\"items\"]".to_owned());
    assert_eq!(holders(), std::slice::from_ref(&writing));

    // The pull has to wait for the row; what it waits for is to be seen meanwhile.
    here.ask("UPDATE items SET a = 'theirs'");
    here.push().ok();
    let workspace = there.workspace.clone();
    let pull = thread::spawn(move || workspace.call(&["pull", "database"]));
    let began = Instant::now();
    while holders().len() < 2 {
        assert!(began.elapsed() < BOUND, "the pull did not come to wait");
        assert!(!pull.is_finished(), "the pull did not wait");
    }
    let found = holders();
    assert!(found.contains(&writing), "{found:?}");
    assert!(
        found.iter().any(|(holds, _)| holds == "\"sync\""),
        "{found:?}"
    );
    assert!(!pull.is_finished(), "the pull did not wait");
    other.ask("COMMIT").expect("commit");

    // What was committed meanwhile is not overwritten: the pull plans anew, and a person is asked.
    let report = pull.join().expect("a thread").exits(3).json();
    assert_eq!(report["errors"][0]["code"], "engine/conflict", "{report}");
    assert_eq!(report["conflicts"][0]["key"][0][1], "first", "{report}");
    assert_eq!(there.ask("SELECT a FROM items WHERE id = 'first'"), "mine");
    assert_eq!(there.ask("SELECT a FROM items WHERE id = 'second'"), "old");
    there.sync().exits(3);
    assert_eq!(holders(), []);
}
