//! kill -9 before every kind of call: one more run, and the tree is the old or the new one, and nothing is lost.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    super::{
        scenario::{Workspace, done},
        trees::{self, Node, assert_same, noise},
    },
    Place, tracer,
};
use crate::proxy::Proxy;

/// So many points are tried of each command.
const TRIED: usize = 24;

/// So many of them have to be come to.
const KILLED: usize = 8;

pub(super) type Tree = BTreeMap<PathBuf, Node>;

/// Changes a tree of any earlier generation into that of a generation, by every kind of change there is.
fn evolve(root: &Path, generation: u64) {
    for number in 0..24 {
        let path = format!("agents/{number}.md");
        if number % 3 == generation % 3 || !root.join(&path).exists() {
            trees::write(
                root,
                path,
                format!("agent {number}, generation {generation}\n"),
            );
        }
    }
    trees::write(root, "web/picture.bin", noise(generation, 200_000));
    trees::write(root, format!("new/{generation}.md"), "of this generation\n");
    let last = format!("new/{}.md", generation.wrapping_sub(1));
    if root.join(&last).exists() {
        trees::rename(root, &last, &format!("moved/{generation}.md"));
    }
    let older = format!("moved/{}.md", generation.wrapping_sub(1));
    if root.join(&older).exists() {
        trees::remove(root, &older);
    }
    // A file and a directory change places, a link its target, a script its mode.
    if root.join("switch").exists() {
        trees::remove(root, "switch");
    }
    if root.join("latest").is_symlink() {
        std::fs::remove_file(root.join("latest")).expect("remove a link");
    }
    if generation.is_multiple_of(2) {
        trees::write(root, "switch", "a file\n");
        trees::link(root, "latest", "agents/0.md");
    } else {
        trees::write(root, "switch/inside.md", "below\n");
        trees::link(root, "latest", "agents/1.md");
    }
    trees::write(root, "run.sh", "#!/bin/sh\n");
    trees::chmod(
        root,
        "run.sh",
        if generation.is_multiple_of(2) {
            0o755
        } else {
            0o644
        },
    );
    trees::write(
        root,
        "text.md",
        text(&format!("generation {generation}"), "nothing"),
    );
}

/// A text whose first and last lines two people may change.
fn text(first: &str, last: &str) -> String {
    format!("{first}\n\none\n\ntwo\n\nthree\n\n{last}\n")
}

/// Two workspaces of one tenant, and how one of them comes to have something to do.
pub(super) struct Stage {
    pub(super) here: Workspace,
    pub(super) there: Workspace,
    address: SocketAddr,
    token: String,
    generation: u64,
}

impl Stage {
    fn new(place: &Place) -> Self {
        let token = place.create_tenant();
        Self::at(place, place.server(), token)
    }

    /// Of the scenario's tenant on a server at an address.
    pub(super) fn at(place: &Place, address: SocketAddr, token: String) -> Self {
        let stage = Self {
            here: place.workspace_at("here", address, &token),
            there: place.workspace_at("there", address, &token),
            address,
            token,
            generation: 0,
        };
        evolve(&stage.here.services(), 0);
        stage.here.push().ok();
        stage.there.pull().ok();
        stage
    }

    /// The next generation, in one of the workspaces.
    pub(super) fn evolve(&mut self, workspace: &Workspace) {
        self.generation += 1;
        evolve(&workspace.services(), self.generation);
    }

    /// The next generation, on the tenant.
    pub(super) fn advance(&mut self) {
        let here = self.here.clone();
        self.evolve(&here);
        here.push().ok();
    }

    /// The next generation on the tenant, and edits over there that can be merged with it.
    pub(super) fn diverge(&mut self) {
        self.advance();
        let mine = self.mine();
        trees::write(&self.there.services(), "mine.md", &mine);
        let before = format!("generation {}", self.generation - 1);
        trees::write(&self.there.services(), "text.md", text(&before, &mine));
    }

    fn mine(&self) -> String {
        format!("mine {}", self.generation)
    }

    /// Demands that nothing of what made both sides diverge is lost, and that both agree; then makes them alike again.
    pub(super) fn assert_merged(&self, place: &Place, at: &str) {
        let (here, there, mine) = (&self.here, &self.there, self.mine());
        let first = format!("generation {}", self.generation);
        assert_eq!(trees::read(&there.services(), "mine.md"), mine);
        assert_eq!(
            trees::read(&there.services(), "text.md"),
            text(&first, &mine),
            "killed at {at}, an edit was lost"
        );
        here.pull().ok();
        assert_same(&here.services(), &there.services());
        self.assert_on_tenant(place, there);
        // Both begin the next round with the same last line.
        trees::write(&here.services(), "text.md", text(&first, "nothing"));
        here.push().ok();
        there.pull().ok();
    }

    /// Demands that a workspace that knows nothing is given the same tree.
    pub(super) fn assert_on_tenant(&self, place: &Place, tree: &Workspace) {
        let name = format!("fresh-{}", self.generation);
        let fresh = place.workspace_at(&name, self.address, &self.token);
        fresh.pull().ok();
        assert_same(&tree.services(), &fresh.services());
        std::fs::remove_dir_all(fresh.root()).expect("remove a workspace");
    }
}

/// Runs `round` with a command that is counted, then with it killed at points that are spread over its run.
fn at_every_point(
    place: &Place,
    command: &Command,
    mut round: impl FnMut(&mut dyn FnMut() -> bool, &str),
) {
    let log = place.directory().join("calls");
    round(
        &mut || {
            tracer::quiet(&mut tracer::counted(command, &log));
            false
        },
        "the counted run",
    );
    let points = tracer::points(&log, 0);
    let mut killed = 0;
    for point in tracer::spread(&points, TRIED) {
        round(
            &mut || {
                let was_killed = tracer::is_killed(command, &point);
                killed += usize::from(was_killed);
                was_killed
            },
            &point.to_string(),
        );
    }
    println!(
        "     killed {killed} times at {} of {} points: {}",
        TRIED.min(points.len()),
        points.len(),
        crate::cargo::shown(command)
    );
    assert!(
        killed >= KILLED,
        "only {killed} points of {} were come to",
        points.len()
    );
}

/// Demands that a tree is one of two, to the last byte.
#[track_caller]
pub(super) fn assert_either(root: &Path, old: &Tree, new: &Tree, at: &str) {
    let tree = trees::nodes(root);
    if &tree != old && &tree != new {
        let differs = |from: &Tree| -> Vec<PathBuf> {
            let paths = from.keys().chain(tree.keys());
            let mut paths: Vec<_> = paths
                .filter(|path| from.get(*path) != tree.get(*path))
                .cloned()
                .collect();
            paths.dedup();
            paths
        };
        panic!(
            "killed at {at}, the tree is mixed: old but for {:?}, new but for {:?}",
            differs(old),
            differs(new)
        );
    }
}

pub(super) fn a_push_killed_anywhere_goes_on(place: &Place) {
    let mut stage = Stage::new(place);
    let here = stage.here.clone();
    at_every_point(place, &here.cli().command(&["push", "files"]), |run, at| {
        stage.evolve(&here);
        let tree = trees::nodes(&here.services());
        run();
        assert_eq!(
            trees::nodes(&here.services()),
            tree,
            "killed at {at}, a push changed the tree"
        );
        here.push().ok();
        assert_eq!(
            trees::nodes(&here.services()),
            tree,
            "after {at}, a push changed the tree"
        );
        stage.assert_on_tenant(place, &here);
        stage.there.pull().ok();
        assert_same(&here.services(), &stage.there.services());
    });
}

pub(super) fn a_pull_killed_anywhere_goes_on(place: &Place) {
    let mut stage = Stage::new(place);
    let (here, there) = (stage.here.clone(), stage.there.clone());
    at_every_point(
        place,
        &there.cli().command(&["pull", "files"]),
        |run, at| {
            stage.advance();
            let (old, new) = (
                trees::nodes(&there.services()),
                trees::nodes(&here.services()),
            );
            let killed = run();
            // A push recovers, too, and brings nothing: what stands between is looked at every other time.
            if killed && stage.generation.is_multiple_of(2) {
                there.push().ok();
                assert_either(&there.services(), &old, &new, at);
            }
            there.pull().ok();
            assert_same(&here.services(), &there.services());
            stage.assert_on_tenant(place, &there);
        },
    );
}

pub(super) fn a_sync_killed_anywhere_goes_on(place: &Place) {
    let mut stage = Stage::new(place);
    let there = stage.there.clone();
    at_every_point(
        place,
        &there.cli().command(&["sync", "files"]),
        |run, at| {
            stage.diverge();
            let old = trees::nodes(&there.services());
            let killed = run();
            let looked = killed && stage.generation.is_multiple_of(2);
            if looked {
                // Where it stands apart from the tenant it says so, and has recovered all the same.
                there.push();
            }
            let between = trees::nodes(&there.services());
            there.call(&["sync", "files"]).ok();
            let new = trees::nodes(&there.services());
            if looked {
                assert!(
                    between == old || between == new,
                    "killed at {at}, the tree is mixed"
                );
            }
            stage.assert_merged(place, at);
        },
    );
}

pub(super) fn an_undo_killed_anywhere_goes_on(place: &Place) {
    let mut stage = Stage::new(place);
    let (here, there) = (stage.here.clone(), stage.there.clone());
    at_every_point(place, &there.cli().command(&["undo"]), |run, at| {
        stage.advance();
        let before = trees::nodes(&there.services());
        there.pull().ok();
        let after = trees::nodes(&there.services());
        run();
        // An undo that was finished by recovering is itself undone by one more.
        there.call(&["undo"]).ok();
        assert_either(&there.services(), &before, &after, at);
        there.call(&["sync", "files"]).ok();
        here.pull().ok();
        assert_same(&here.services(), &there.services());
        assert_eq!(
            trees::nodes(&here.services()),
            after,
            "after {at}, what was pushed is lost"
        );
        stage.assert_on_tenant(place, &there);
    });
}

pub(super) fn a_collection_killed_anywhere_goes_on(place: &Place) {
    let own = place.own_server();
    let (here, data) = (own.workspace.clone(), own.data.clone());
    evolve(&here.services(), 0);
    here.push().ok();
    let tenant = [
        "--tenant",
        place.tenant(),
        "--branch",
        "main",
        "--last",
        "1",
    ];
    let keep = [["retention", "set"].as_slice(), &tenant].concat();
    place.operator(&data, &keep).ok();
    done(own.server.stop());
    let path = data.display().to_string();
    let collect = ["gc", "--grace", "0s", "--data", &path];
    let mut generation = 0;
    at_every_point(place, &place.cli().command(&collect), |run, at| {
        let server = place.start(&data);
        own.proxy.retarget(server.address());
        generation += 1;
        evolve(&here.services(), generation);
        here.push().ok();
        done(server.stop());
        run();
        // What is kept is whole after the kill, and after one more run.
        for _ in 0..2 {
            let server = place.start(&data);
            own.proxy.retarget(server.address());
            recovered(place, &own.proxy, &own.token, &here);
            done(server.stop());
            let again = place.cli().call(&collect);
            assert_eq!(
                again.code, 0,
                "after {at}: {}{}",
                again.stdout, again.stderr
            );
        }
    });
}

/// Demands that one more push is all it takes.
fn recovered(place: &Place, proxy: &Proxy, token: &str, here: &Workspace) {
    here.push().ok();
    let fresh = place.workspace_at("fresh", proxy.address(), token);
    fresh.pull().ok();
    assert_same(&here.services(), &fresh.services());
    std::fs::remove_dir_all(fresh.root()).expect("remove a workspace");
}
