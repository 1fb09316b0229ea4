//! kill -9 of the server before every kind of call, while a client pushes, pulls, syncs, and syncs what it has undone.

use std::process::Command;

use rustix::process::{Pid, Signal};

use super::{
    super::{
        cli::Answer,
        scenario::done,
        server::{Server, signal},
        trees::{self, assert_same},
    },
    Place,
    killed::{Stage, Tree, assert_either},
    tracer,
};

/// So many points are tried of each command.
const TRIED: usize = 14;

/// One of so many of them has to be come to: what thread does what differs from run to run.
const COME_TO: usize = 3;

/// What a client does again and again, each time with a server that is killed somewhere else.
trait Round {
    /// Makes something to do; the server is sound.
    fn begin(&mut self, stage: &mut Stage);

    /// Does it. Where the server goes away meanwhile, the client gives up and says so.
    fn run(&self, stage: &Stage) -> Answer;

    /// Demands that what stands is whole, and that one more run is all it takes; the server is sound.
    fn finish(&self, place: &Place, stage: &Stage, at: &str);
}

/// Runs rounds: one with a server whose calls are counted, then one for each point that is tried.
fn at_every_point(place: &Place, mut round: impl Round) {
    let own = place.own_server();
    let (data, proxy) = (own.data, own.proxy);
    let mut stage = Stage::at(place, proxy.address(), own.token);
    let mut sound = own.server;
    let log = place.directory().join("calls");
    let serve = place.serve(&data);

    round.begin(&mut stage);
    done(sound.stop());
    let counted =
        start_traced(place, tracer::counted(&serve, &log)).expect("start a traced server");
    proxy.retarget(counted.address());
    let from = tracer::length(&log);
    let call = round.run(&stage).ok().call;
    let points = tracer::points(&log, from);
    end(counted);
    sound = place.start(&data);
    proxy.retarget(sound.address());
    round.finish(place, &stage, "the end");

    let tried = tracer::spread(&points, TRIED);
    let mut killed = 0;
    for point in &tried {
        round.begin(&mut stage);
        done(sound.stop());
        // Threads do not share their work evenly: it may come to the point before it listens.
        if let Some(mut victim) = start_traced(place, tracer::killed(&serve, point)) {
            proxy.retarget(victim.address());
            let answer = round.run(&stage);
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
        round.finish(place, &stage, &point.to_string());
    }
    done(sound.stop());
    println!(
        "     killed {killed} times at {} of {} points: serve, during {call}",
        tried.len(),
        points.len()
    );
    assert!(
        killed * COME_TO >= tried.len() && killed > 0,
        "only {killed} points of {} were come to",
        tried.len()
    );
}

/// A server that is traced from its start.
fn start_traced(place: &Place, command: Command) -> Option<Server> {
    let log = place.directory().join("traced.log");
    Server::start_as(command, &log).ok()
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

struct Push;

impl Round for Push {
    fn begin(&mut self, stage: &mut Stage) {
        let here = stage.here.clone();
        stage.evolve(&here);
    }

    fn run(&self, stage: &Stage) -> Answer {
        stage.here.push()
    }

    fn finish(&self, place: &Place, stage: &Stage, _: &str) {
        stage.here.push().ok();
        stage.assert_on_tenant(place, &stage.here);
    }
}

#[derive(Default)]
struct Pull {
    old: Tree,
}

impl Round for Pull {
    fn begin(&mut self, stage: &mut Stage) {
        stage.advance();
        self.old = trees::nodes(&stage.there.services());
    }

    fn run(&self, stage: &Stage) -> Answer {
        stage.there.pull()
    }

    fn finish(&self, place: &Place, stage: &Stage, at: &str) {
        let new = trees::nodes(&stage.here.services());
        assert_either(&stage.there.services(), &self.old, &new, at);
        stage.there.pull().ok();
        assert_same(&stage.here.services(), &stage.there.services());
        stage.assert_on_tenant(place, &stage.there);
    }
}

#[derive(Default)]
struct Sync {
    old: Tree,
}

impl Round for Sync {
    fn begin(&mut self, stage: &mut Stage) {
        stage.diverge();
        self.old = trees::nodes(&stage.there.services());
    }

    fn run(&self, stage: &Stage) -> Answer {
        stage.there.call(&["sync", "files"])
    }

    fn finish(&self, place: &Place, stage: &Stage, at: &str) {
        let between = trees::nodes(&stage.there.services());
        stage.there.call(&["sync", "files"]).ok();
        let new = trees::nodes(&stage.there.services());
        assert!(
            between == self.old || between == new,
            "killed at {at}, the tree is mixed"
        );
        stage.assert_merged(place, at);
    }
}

/// An undo asks nothing of the server, so there is no point at which to kill it: the sync that follows goes forward again.
#[derive(Default)]
struct Undo {
    before: Tree,
}

impl Round for Undo {
    fn begin(&mut self, stage: &mut Stage) {
        stage.advance();
        self.before = trees::nodes(&stage.there.services());
        stage.there.pull().ok();
    }

    fn run(&self, stage: &Stage) -> Answer {
        let undone = stage.there.call(&["undo"]).ok();
        assert_eq!(undone.number("requests"), 0, "{}", undone.stdout);
        let tree = trees::nodes(&stage.there.services());
        assert!(tree == self.before, "what was undone is not as it was");
        stage.there.call(&["sync", "files"])
    }

    fn finish(&self, place: &Place, stage: &Stage, at: &str) {
        let after = trees::nodes(&stage.here.services());
        assert_either(&stage.there.services(), &self.before, &after, at);
        stage.there.call(&["sync", "files"]).ok();
        assert_same(&stage.here.services(), &stage.there.services());
        stage.assert_on_tenant(place, &stage.there);
    }
}

pub(super) fn a_server_killed_in_a_push_goes_on(place: &Place) {
    at_every_point(place, Push);
}

pub(super) fn a_server_killed_in_a_pull_goes_on(place: &Place) {
    at_every_point(place, Pull::default());
}

pub(super) fn a_server_killed_in_a_sync_goes_on(place: &Place) {
    at_every_point(place, Sync::default());
}

pub(super) fn a_server_killed_after_an_undo_goes_on(place: &Place) {
    at_every_point(place, Undo::default());
}
