//! Faults, crashes and edits at every step of an apply and of its recovery.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sync_files::{Error, Faults, Recovered, StatCache};

use crate::support::{Model, Node, Workspace, World, apply, model};

/// What happens at the nth step.
#[derive(Debug, Clone)]
enum Event {
    /// It fails, and the next works again.
    Fails(fn() -> io::Error),
    /// It and all that follow never happen.
    Crash,
    /// It fails, and after so many more steps everything stops.
    FailsThenCrash(usize),
    /// Before it, somebody writes a file.
    Edit(PathBuf),
    /// The test that counts does the rest.
    Nothing,
}

#[derive(Debug)]
struct At {
    step: usize,
    event: Event,
    calls: AtomicUsize,
    /// Whether the edit found its place.
    edited: AtomicBool,
}

const EDIT: &str = "somebody's edit";

fn full_disk() -> io::Error {
    io::Error::from_raw_os_error(28)
}

/// What a file system says that cannot rename in this way.
fn unsupported() -> io::Error {
    io::Error::from_raw_os_error(22)
}

impl At {
    fn new(step: usize, event: Event) -> Arc<Self> {
        Arc::new(Self {
            step,
            event,
            calls: AtomicUsize::new(0),
            edited: AtomicBool::new(false),
        })
    }

    fn was_reached(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > self.step
    }
}

impl Faults for At {
    fn at(&self, _point: &'static str) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let gone = || Err(io::Error::other("crashed"));
        match &self.event {
            Event::Fails(error) if call == self.step => Err(error()),
            Event::Crash if call >= self.step => gone(),
            Event::FailsThenCrash(_) if call == self.step => Err(full_disk()),
            Event::FailsThenCrash(more) if call > self.step + more => gone(),
            Event::Edit(path) if call == self.step => {
                // Where something is in its way, nobody edits.
                let edited =
                    fs::create_dir_all(path.parent().unwrap()).and_then(|()| fs::write(path, EDIT));
                self.edited.store(edited.is_ok(), Ordering::Relaxed);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A file system that cannot rename without replacing, nor exchange.
#[derive(Debug)]
struct Plain(Option<Arc<At>>);

impl Faults for Plain {
    fn at(&self, point: &'static str) -> io::Result<()> {
        if let Some(at) = &self.0 {
            at.at(point)?;
        }
        match point {
            "try to exchange" | "rename without replacing" => Err(unsupported()),
            _ => Ok(()),
        }
    }
}

/// A tree, what it is to become, and both as entries.
struct Case {
    before: Model,
    after: Model,
    old: World,
    new: World,
}

impl Case {
    fn new(before: &str, after: &str) -> Self {
        let (before, after) = (model(before), model(after));
        Self {
            old: World::of_model(&before),
            new: World::of_model(&after),
            before,
            after,
        }
    }

    fn run(&self, workspace: &Workspace, faults: Arc<dyn Faults>) -> Result<(), Error> {
        let tree = workspace.faulty(faults);
        let plan = self.old.plan_to(&self.new);
        apply(&tree, plan, &StatCache::new(), &self.new.objects).map(drop)
    }

    /// The tree is wholly old or wholly new, nothing is left over, and one more apply gives the new one.
    #[track_caller]
    fn assert_whole(&self, workspace: &Workspace, at: &str) {
        let found = workspace.read();
        assert!(
            found == self.before || found == self.after,
            "{at}: {found:#?}"
        );
        workspace.assert_tidy();
        let tree = workspace.tree();
        let plan = World::of(&tree).plan_to(&self.new);
        apply(&tree, plan, &StatCache::new(), &self.new.objects).unwrap();
        assert_eq!(workspace.read(), self.after, "{at}");
    }
}

/// Replacement, removal, new directories, changes of kind, links, empty directories, a file of several chunks.
fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "a 1\nb/c 2\nb/d* 3\ngone/deep/x 4\nkeep 5\nl -> a",
            "a 11\nb/c 22\nb/d 3\nnew/deep/y 6\nnew/z 7\nkeep 5\nl -> keep",
        ),
        Case::new(
            "f 1\nd/x 2\nd/y 3\ne/\nm -> f",
            "f/in 1\nd 2\ne/z 4\nm/\ng/",
        ),
        Case::new("big #400000\ndir/a 1", "big #500000\ndir/"),
        Case::new("a/b/c 1", ""),
        Case::new("", "a/b/c 1\na/b/d 2\ne 3"),
    ]
}

/// Runs `scenario` with a fault at every step until a run does not reach it.
fn every_step(scenario: impl Fn(usize) -> bool) {
    let mut last = 0;
    while scenario(last) {
        last += 1;
    }
    assert!(last > 10, "there were only {last} steps");
}

#[test]
fn after_a_crash_at_any_step_the_tree_is_whole() {
    for case in cases() {
        every_step(|step| {
            let workspace = Workspace::new(&case.before);
            let at = At::new(step, Event::Crash);
            let outcome = case.run(&workspace, at.clone());
            workspace.tree().recover().unwrap();
            if outcome.is_ok() {
                assert_eq!(workspace.read(), case.after);
            }
            case.assert_whole(&workspace, &format!("crash at {step}"));
            at.was_reached()
        });
    }
}

#[test]
fn a_failed_step_leaves_the_tree_as_it_was() {
    for case in cases() {
        every_step(|step| {
            let workspace = Workspace::new(&case.before);
            let at = At::new(step, Event::Fails(full_disk));
            let outcome = case.run(&workspace, at.clone());
            let found = workspace.read();
            match outcome {
                Ok(()) => assert_eq!(found, case.after, "{step}"),
                Err(Error::Stuck { .. }) => panic!("one fault cannot stop the way back"),
                Err(_) => assert_eq!(found, case.before, "{step}"),
            }
            // What could not be cleaned up is no obstacle.
            workspace.tree().recover().unwrap();
            case.assert_whole(&workspace, &format!("fault at {step}"));
            at.was_reached()
        });
    }
}

#[test]
fn a_crash_while_undoing_is_recovered() {
    for case in cases() {
        for more in [1, 2, 3, 5, 8] {
            every_step(|step| {
                let workspace = Workspace::new(&case.before);
                let at = At::new(step, Event::FailsThenCrash(more));
                let _ = case.run(&workspace, at.clone());
                workspace.tree().recover().unwrap();
                case.assert_whole(&workspace, &format!("fault at {step}, crash {more} later"));
                at.was_reached()
            });
        }
    }
}

#[test]
fn a_crash_while_recovering_is_recovered() {
    for case in cases() {
        for first in (0..).step_by(7) {
            let begin = || {
                let workspace = Workspace::new(&case.before);
                let at = At::new(first, Event::Crash);
                let _ = case.run(&workspace, at.clone());
                (workspace, at.was_reached())
            };
            if !begin().1 {
                break;
            }
            for second in 0.. {
                let (workspace, _) = begin();
                let at = At::new(second, Event::Crash);
                let _ = workspace.faulty(at.clone()).recover();
                workspace.tree().recover().unwrap();
                case.assert_whole(&workspace, &format!("crash at {first}, then at {second}"));
                if !at.was_reached() {
                    break;
                }
            }
        }
    }
}

/// Touching a file is no edit, whenever it happens.
#[test]
fn a_touched_file_is_replaced() {
    #[derive(Debug)]
    struct Touch(PathBuf, Arc<At>);
    impl Faults for Touch {
        fn at(&self, point: &'static str) -> io::Result<()> {
            self.1.at(point)?;
            if self.1.calls.load(Ordering::Relaxed) == self.1.step + 1 {
                let file = fs::File::options().write(true).open(&self.0)?;
                file.set_modified(std::time::SystemTime::now())?;
            }
            Ok(())
        }
    }
    let case = Case::new("a 1\nb 2", "a 11\nb 2");
    every_step(|step| {
        let workspace = Workspace::new(&case.before);
        let path = workspace.root().join("a");
        let touch = Arc::new(Touch(path, At::new(step, Event::Nothing)));
        case.run(&workspace, touch.clone()).unwrap();
        assert_eq!(workspace.read(), case.after);
        touch.1.was_reached()
    });
}

/// Every path where somebody might edit: each of either tree, and a new one in each directory.
fn places(case: &Case) -> Vec<String> {
    let paths = case.before.keys().chain(case.after.keys());
    let mut places: Vec<String> = paths
        .flat_map(|path| {
            let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            [
                path.clone(),
                format!("{dir}/own").trim_start_matches('/').to_owned(),
            ]
        })
        .collect();
    places.sort();
    places.dedup();
    places
}

/// Files of `found` but for the edit; empty directories may come and go with it.
fn others(found: &Model, edited: &str) -> Model {
    let mut rest = found.clone();
    rest.retain(|path, node| path != edited && *node != Node::Empty);
    rest
}

/// Whether all but the edited path is old, or all of it is new. What is below or above an edit had to make way.
fn is_whole_but(case: &Case, found: &Model, edited: &str) -> bool {
    let mut found = others(found, edited);
    let free = |path: &str| {
        !path.starts_with(&format!("{edited}/")) && !edited.starts_with(&format!("{path}/"))
    };
    found.retain(|path, _| free(path));
    [&case.before, &case.after].into_iter().any(|model| {
        let mut model = others(model, edited);
        model.retain(|path, _| free(path));
        model == found
    })
}

/// Writes an edit as an editor would; `false` where the tree has no place for it.
fn edit(workspace: &Workspace, place: &str) -> bool {
    let path = workspace.root().join(place);
    if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
        return false;
    }
    fs::create_dir_all(path.parent().unwrap()).is_ok() && fs::write(path, EDIT).is_ok()
}

#[test]
fn an_edit_after_a_crash_survives_the_recovery() {
    for case in cases() {
        for place in places(&case) {
            for step in (0..).step_by(3) {
                let workspace = Workspace::new(&case.before);
                let at = At::new(step, Event::Crash);
                let _ = case.run(&workspace, at.clone());
                if edit(&workspace, &place) {
                    workspace.tree().recover().unwrap();
                    workspace.assert_tidy();
                    let found = workspace.read();
                    let kept = match found.get(&place) {
                        Some(Node::File(bytes) | Node::Program(bytes)) => bytes == EDIT.as_bytes(),
                        _ => false,
                    };
                    assert!(kept, "crash at {step}, {place}: {found:#?}");
                    assert!(
                        is_whole_but(&case, &found, &place),
                        "crash at {step}, {place}: {found:#?}"
                    );
                }
                if !at.was_reached() {
                    break;
                }
            }
        }
    }
}

#[test]
fn an_edit_during_an_apply_survives() {
    for case in cases() {
        for place in places(&case) {
            // Writing through a link or to a directory is not an edit of that path.
            let follows = |model: &Model| matches!(model.get(&place), Some(Node::Link(_)));
            if follows(&case.before) || follows(&case.after) {
                continue;
            }
            for step in 0.. {
                let workspace = Workspace::new(&case.before);
                let path = workspace.root().join(&place);
                let at = At::new(step, Event::Edit(path.clone()));
                let outcome = case.run(&workspace, at.clone());
                let found = workspace.read();
                let survived = fs::read(&path).is_ok_and(|bytes| bytes == EDIT.as_bytes());
                assert!(
                    survived || !at.edited.load(Ordering::Relaxed),
                    "edit of {place} at {step}: {outcome:?} {found:#?}"
                );
                assert!(
                    is_whole_but(&case, &found, &place),
                    "edit of {place} at {step}: {outcome:?} {found:#?}"
                );
                if !at.was_reached() {
                    break;
                }
            }
        }
    }
}

/// An edit, then a step that fails, then a crash while that is taken back.
#[derive(Debug)]
struct Trouble {
    edit: Arc<At>,
    fail: Arc<At>,
    crash: Arc<At>,
}

impl Faults for Trouble {
    fn at(&self, point: &'static str) -> io::Result<()> {
        let outcome = [&self.edit, &self.fail, &self.crash].map(|at| at.at(point));
        outcome.into_iter().collect()
    }
}

#[test]
fn an_edit_survives_a_failed_apply_and_a_crash_while_it_is_taken_back() {
    let cases = cases();
    for (case, place) in [
        (&cases[0], "new/own"),
        (&cases[0], "new/z"),
        (&cases[0], "new/deep/y"),
        (&cases[0], "a"),
        (&cases[0], "gone/deep/x"),
        (&cases[1], "f/in"),
        (&cases[1], "e/z"),
        (&cases[4], "e"),
    ] {
        let calls = At::new(usize::MAX, Event::Crash);
        case.run(&Workspace::new(&case.before), calls.clone())
            .unwrap();
        let last = calls.calls.load(Ordering::Relaxed);
        for edit in (0..last).step_by(2) {
            let later = |fail| [1, 3, 4, 5, 6, 999].map(|crash| (fail, crash));
            for (fail, crash) in [1, 2, 4].into_iter().flat_map(later) {
                let workspace = Workspace::new(&case.before);
                let path = workspace.root().join(place);
                let trouble = Arc::new(Trouble {
                    edit: At::new(edit, Event::Edit(path.clone())),
                    fail: At::new(edit + fail, Event::Fails(full_disk)),
                    crash: At::new(edit + fail + crash, Event::Crash),
                });
                let outcome = case.run(&workspace, trouble.clone());
                workspace.tree().recover().unwrap();
                workspace.assert_tidy();
                let found = workspace.read();
                let at = format!("{place} at {edit}, {fail}, {crash}: {outcome:?} {found:#?}");
                let survived = fs::read(&path).is_ok_and(|bytes| bytes == EDIT.as_bytes());
                assert!(
                    survived || !trouble.edit.edited.load(Ordering::Relaxed),
                    "{at}"
                );
                assert!(is_whole_but(case, &found, place), "{at}");
            }
        }
    }
}

/// An edit of the same size in the same tick of the clock as the state that the plan was checked against.
#[test]
fn an_edit_that_hides_in_a_clock_tick_is_no_exception() {
    #[derive(Debug)]
    struct Hidden(PathBuf, Arc<At>);
    impl Faults for Hidden {
        fn at(&self, point: &'static str) -> io::Result<()> {
            self.1.at(point)?;
            if self.1.calls.load(Ordering::Relaxed) == self.1.step + 1 {
                let Ok(found) = fs::read(&self.0) else {
                    return Ok(());
                };
                if found == b"1" {
                    let modified = fs::metadata(&self.0)?.modified()?;
                    fs::write(&self.0, "E")?;
                    let file = fs::File::options().write(true).open(&self.0)?;
                    file.set_modified(modified)?;
                    self.1.edited.store(true, Ordering::Relaxed);
                }
            }
            Ok(())
        }
    }
    for after in ["a 2\nb 2", "b 2"] {
        let case = Case::new("a 1\nb 2", after);
        every_step(|step| {
            let workspace = Workspace::new(&case.before);
            let path = workspace.root().join("a");
            let file = fs::File::options().write(true).open(&path).unwrap();
            // As young as it gets, however slow this test runs.
            let now = std::time::SystemTime::now() + std::time::Duration::from_mins(1);
            file.set_modified(now).unwrap();
            let at = At::new(step, Event::Nothing);
            let outcome = case.run(&workspace, Arc::new(Hidden(path.clone(), at.clone())));
            if at.edited.load(Ordering::Relaxed) {
                assert!(matches!(outcome, Err(Error::Moved { .. })), "{step}");
                assert_eq!(fs::read(&path).unwrap(), b"E", "{step}");
            } else {
                outcome.unwrap();
            }
            at.was_reached()
        });
    }
}

#[test]
fn without_exchange_the_outcome_is_the_same() {
    for case in cases() {
        let workspace = Workspace::new(&case.before);
        case.run(&workspace, Arc::new(Plain(None))).unwrap();
        assert_eq!(workspace.read(), case.after);
        every_step(|step| {
            let workspace = Workspace::new(&case.before);
            let at = At::new(step, Event::Crash);
            let _ = case.run(&workspace, Arc::new(Plain(Some(at.clone()))));
            let tree = workspace.faulty(Arc::new(Plain(None)));
            tree.recover().unwrap();
            case.assert_whole(&workspace, &format!("crash at {step}"));
            at.was_reached()
        });
    }
}

#[test]
fn a_recovery_tells_which_plan_it_finished() {
    let case = &cases()[0];
    let (mut finished, mut emptied) = (0, 0);
    for step in 0.. {
        let workspace = Workspace::new(&case.before);
        let at = At::new(step, Event::Crash);
        let _ = case.run(&workspace, at.clone());
        match workspace.tree().recover().unwrap() {
            Recovered::Finished { note } => {
                assert_eq!(note, b"note");
                assert_eq!(workspace.read(), case.after);
                finished += 1;
            }
            Recovered::Undone { .. } => panic!("nothing changed in between"),
            // All that was left of a finished one was its empty directory.
            Recovered::Discarded if workspace.read() == case.after => emptied += 1,
            Recovered::Discarded => assert_eq!(workspace.read(), case.before),
            Recovered::Nothing => {}
        }
        if !at.was_reached() {
            break;
        }
    }
    assert!(finished > 5 && emptied <= 1);
}
