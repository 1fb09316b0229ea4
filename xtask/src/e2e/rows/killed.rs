//! kill -9 of client, server and PostgreSQL while rows go either way: one more run, and both sides are whole and equal.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

use super::{
    super::{
        cli::Answer,
        faults::tracer,
        scenario::{Place, done},
        server::{Server, signal},
    },
    stage::{ITEMS, Served, Side, Stage, assert_same},
};
use crate::{noise::Random, postgres::Postgres};

/// So many points are tried of each command.
const TRIED: usize = 10;

/// What one side does to the other, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Push,
    Pull,
    Sync,
    Undo,
}

impl Verb {
    const ALL: [Self; 4] = [Self::Push, Self::Pull, Self::Sync, Self::Undo];

    fn words(self) -> [&'static str; 2] {
        let verb = match self {
            Self::Push => "push",
            Self::Pull => "pull",
            Self::Sync => "sync",
            Self::Undo => "undo",
        };
        [verb, "database"]
    }
}

/// Two sides of one tenant, and the generation that they are at.
struct Players<'p> {
    stage: Stage<'p>,
    here: Side<'p>,
    there: Side<'p>,
    generation: usize,
}

impl<'p> Players<'p> {
    fn new(stage: Stage<'p>, local: &'p Postgres) -> Self {
        let (here, there) = (stage.side_on(local, "left"), stage.side_on(local, "right"));
        here.track();
        here.ask("INSERT INTO items (id, a, b) SELECT 'i' || i, 'generation 0', 'mine 0' FROM generate_series(1, 40) i");
        here.push().ok();
        there.pull().ok();
        Self {
            stage,
            here,
            there,
            generation: 0,
        }
    }

    /// Makes something to do: every row changes, one comes and one goes; what is acknowledged is remembered by its generation.
    fn begin(&mut self, verb: Verb) {
        self.generation += 1;
        let generation = self.generation;
        let change = format!(
            "UPDATE items SET a = 'generation {generation}'; INSERT INTO items (id, a, b) VALUES ('new{generation}', 'generation {generation}', 'mine 0');
            DELETE FROM items WHERE id = 'new{}'; INSERT INTO parts VALUES ('p{generation}', 'new{generation}', 'note') ",
            generation - 1
        );
        let change = format!("DELETE FROM parts; {change}");
        if verb == Verb::Push {
            self.there.ask(&change);
            return;
        }
        self.here.ask(&change);
        self.here.push().ok();
        if verb == Verb::Sync {
            self.there.ask(&format!(
                "UPDATE items SET b = 'mine {generation}' WHERE id LIKE 'i%'"
            ));
        }
        if verb == Verb::Undo {
            self.there.pull().ok();
        }
    }

    /// Whether each database has one generation alone.
    fn assert_whole(&self, at: &str) {
        for db in [&self.here.db, &self.there.db, &self.stage.tenant] {
            let found = db.ask("SELECT string_agg(DISTINCT a, ',') FROM items");
            assert!(
                !found.contains(','),
                "killed at {at}, half is there: {found}"
            );
            let parts = db.ask("SELECT count(*) FROM parts");
            assert_eq!(
                parts,
                if found == "generation 0" { "0" } else { "1" },
                "killed at {at}"
            );
        }
    }

    /// Demands that one more run is all it takes.
    fn finish(&self, verb: Verb, at: &str) {
        self.assert_whole(at);
        let again = self.there.call(&verb.words());
        // A push that had arrived has nothing left to do; an undo that was made is undone by one more.
        assert_eq!(again.code, 0, "after {at}: {again:?}");
        self.assert_whole(at);
        self.there.sync().ok();
        self.here.sync().ok();
        assert_same(&self.here.rows(), &self.there.rows());
        assert_same(&self.here.rows(), &self.stage.rows());
        let generation = format!("generation {}", self.generation);
        assert_eq!(
            self.here.ask("SELECT DISTINCT a FROM items"),
            generation,
            "killed at {at}, what was there is lost"
        );
        if verb == Verb::Sync {
            let mine = format!("mine {}", self.generation);
            assert_eq!(
                self.here
                    .ask("SELECT DISTINCT b FROM items WHERE id LIKE 'i%'"),
                mine,
                "killed at {at}, an edit is lost"
            );
        }
    }
}

pub(super) fn a_client_killed_anywhere_goes_on(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let mut players = Players::new(stage, place.postgres());
    for verb in Verb::ALL {
        let command = players.there.workspace.cli().command(&verb.words());
        let log = place.directory().join("calls");
        players.begin(verb);
        assert!(tracer::quiet(&mut tracer::counted(&command, &log)).success());
        players.finish(verb, "the end");
        let points = tracer::points(&log, 0);
        let mut killed = 0;
        for point in tracer::spread(&points, TRIED) {
            players.begin(verb);
            killed += usize::from(tracer::is_killed(&command, &point));
            players.finish(verb, &format!("{point} of {verb:?}"));
        }
        println!(
            "     {verb:?}: killed {killed} times, {} points",
            points.len()
        );
        assert!(killed >= TRIED / 3, "only {killed} points were come to");
    }
    players.stage.assert_equal(&players.here);
    players.stage.assert_equal(&players.there);
}

pub(super) fn a_server_killed_anywhere_goes_on(place: &Place) {
    let own = place.own_server();
    let stage = Stage::at(place, place.postgres(), Served::by(&own), ITEMS);
    let mut players = Players::new(stage, place.postgres());
    let (data, proxy, mut sound) = (own.data, own.proxy, own.server);
    let serve = place.serve(&data);
    let log = place.directory().join("calls");
    let traced = place.directory().join("traced.log");
    for verb in [Verb::Push, Verb::Pull, Verb::Sync] {
        players.begin(verb);
        done(sound.stop());
        let counted = done(Server::start_as(tracer::counted(&serve, &log), &traced));
        proxy.retarget(counted.address());
        let from = tracer::length(&log);
        players.there.call(&verb.words()).ok();
        let points = tracer::points(&log, from);
        end(counted);
        sound = place.start(&data);
        proxy.retarget(sound.address());
        players.finish(verb, "the end");
        let mut killed = 0;
        for point in tracer::spread(&points, TRIED) {
            players.begin(verb);
            done(sound.stop());
            if let Ok(mut victim) = Server::start_as(tracer::killed(&serve, &point), &traced) {
                proxy.retarget(victim.address());
                let answer: Answer = players.there.call(&verb.words());
                assert!(
                    [0, 4].contains(&answer.code),
                    "killed at {point}: {answer:?}"
                );
                if answer.code == 4 || victim.has_ended() {
                    killed += 1;
                    done(victim.wait());
                } else {
                    end(victim);
                }
            }
            sound = place.start(&data);
            proxy.retarget(sound.address());
            players.finish(verb, &format!("{point} of the server in {verb:?}"));
        }
        println!(
            "     {verb:?}: killed {killed} times, {} points",
            points.len()
        );
        assert!(killed > 0, "no point was come to");
    }
    players.stage.assert_equal(&players.here);
    drop(players);
    done(sound.stop());
}

/// Ends the server that a tracer has started, and waits for both.
fn end(mut server: Server) {
    let parent = server.pid().expect("it runs").as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    for child in children.expect("read /proc").split_whitespace() {
        let pid = child.parse().ok().and_then(Pid::from_raw);
        signal(pid.expect("a process"), Signal::KILL);
    }
    done(server.wait());
}

/// So often is each PostgreSQL killed.
const KILLS: usize = 8;

pub(super) fn a_postgres_killed_at_any_time_goes_on(place: &Place) {
    let (local, remote) = (place.own_postgres(), place.own_postgres());
    let seed = u64::from(std::process::id());
    let mut random = Random::new(seed);
    let own = place.own_server();
    let stage = Stage::at(place, &remote, Served::by(&own), ITEMS);
    let mut players = Players::new(stage, &local);
    // How long a run takes where nothing happens.
    players.begin(Verb::Sync);
    let began = Instant::now();
    players.there.sync().ok();
    let usual = began.elapsed();
    players.finish(Verb::Sync, "the end");
    let mut failed = 0;
    for round in 0..2 * KILLS {
        let verb = Verb::ALL[round / 2 % Verb::ALL.len()];
        let (victim, name) = if round.is_multiple_of(2) {
            (&local, "the local PostgreSQL")
        } else {
            (&remote, "the tenant's PostgreSQL")
        };
        players.begin(verb);
        let millis = u64::try_from(usual.as_millis()).unwrap_or(500).max(20);
        let after = Duration::from_millis(random.word() % millis);
        let workspace = players.there.workspace.clone();
        let running = thread::spawn(move || workspace.call(&verb.words()));
        let began = Instant::now();
        while began.elapsed() < after {
            thread::yield_now();
        }
        done(victim.kill());
        let answer = running.join().expect("a thread");
        assert!([0, 3, 4].contains(&answer.code), "seed {seed}: {answer:?}");
        failed += usize::from(answer.code != 0);
        done(victim.revive());
        players.finish(verb, &format!("{after:?} of {verb:?}, {name}, seed {seed}"));
    }
    println!("     {failed} of {} runs were cut short", 2 * KILLS);
    players.stage.assert_equal(&players.here);
    players.stage.assert_equal(&players.there);
    drop(players);
    done(own.server.stop());
    done(local.down());
    done(remote.down());
}
