//! kill -9 of a push of both at each step: the tenant has files and rows of one moment, and one more run is all it takes.

use super::{
    super::{
        faults::tracer,
        rows::stage::{ITEMS, Side, Stage, assert_same},
        scenario::Place,
        trees,
    },
    all::save,
};

/// So many points are tried.
const TRIED: usize = 16;
/// The file that says what the rows say.
const FILE: &str = "agents/said.txt";

/// Has files and rows say the same.
fn say(side: &Side<'_>, generation: usize) {
    save(side, FILE, &format!("generation {generation}\n"));
    for n in 0..20 {
        save(
            side,
            &format!("web/{n}.txt"),
            &format!("{n} of generation {generation}\n"),
        );
    }
    side.ask(&format!(
        "UPDATE items SET b = 'generation {generation}'; \
        INSERT INTO items (id, b) VALUES ('new{generation}', 'generation {generation}')"
    ));
}

/// What the rows say, once the tenant's state was pulled; files have to say the same.
#[track_caller]
fn heard(side: &Side<'_>, at: &str) -> String {
    side.call(&["pull"]).ok();
    let rows = side.ask("SELECT string_agg(DISTINCT b, ', ') FROM items");
    let file = std::fs::read_to_string(side.workspace.services().join(FILE)).expect("read a file");
    assert_eq!(
        file.trim_end(),
        rows,
        "killed at {at}: half of a push is there"
    );
    rows
}

pub(super) fn a_push_of_both_that_is_killed_goes_on(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    here.track();
    here.ask("INSERT INTO items (id) SELECT 'i' || i FROM generate_series(1, 30) i");
    say(&here, 0);
    here.call(&["push"]).ok();
    assert_eq!(heard(&there, "no point"), "generation 0");

    say(&here, 1);
    let command = here.workspace.cli().command(&["push"]);
    let log = place.directory().join("calls");
    assert!(tracer::quiet(&mut tracer::counted(&command, &log)).success());
    let points = tracer::points(&log, 0);
    let (mut killed, mut arrived) = (0, 0);
    for (round, point) in tracer::spread(&points, TRIED).into_iter().enumerate() {
        let generation = round + 2;
        say(&here, generation);
        killed += usize::from(tracer::is_killed(&command, &point));
        let at = point.to_string();
        let (before, after) = (generation - 1, generation);
        let is_new = heard(&there, &at) == format!("generation {after}");
        arrived += usize::from(is_new);
        if !is_new {
            let rows = there.ask("SELECT min(b) FROM items");
            assert_eq!(rows, format!("generation {before}"), "killed at {at}");
        }
        here.call(&["push"]).ok();
        assert_eq!(heard(&there, &at), format!("generation {after}"));
        assert_same(&here.rows(), &there.rows());
        trees::assert_same(&here.workspace.services(), &there.workspace.services());
        stage.assert_equal(&here);
    }
    println!("     killed {killed} times; the push had arrived {arrived} times");
    assert!(killed >= TRIED / 3, "only {killed} points were come to");
}
