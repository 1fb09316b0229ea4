//! What a manager does next, as a function of what it was doing and what happened.

use std::time::Duration;

use serde::Serialize;
use sync_core::retry::Backoff;

/// How soon rows are read again that transactions were writing meanwhile, at first and at last.
const SOON: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));
/// How soon what a person has to mend is tried again by itself.
const STUCK: Duration = Duration::from_secs(30);

/// What a manager is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ManagerState {
    /// A run is under way.
    Syncing,
    /// Everything is done; changes wake it.
    Watching,
    /// Something failed; it is tried again after a while.
    BackingOff,
    /// Somebody said pause.
    Paused,
    /// It does not run.
    Stopped,
}

impl ManagerState {
    /// The word that people and programs read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syncing => "syncing",
            Self::Watching => "watching",
            Self::BackingOff => "backing_off",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// Something may have changed.
    Wake,
    /// What wakes it was lost: a connection, say.
    Lost,
    /// The wait is over.
    Elapsed,
    /// The run that was under way has ended.
    Ended(Verdict),
    Pause,
    Resume,
    Kick,
    Stop,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Both sides have the same.
    Done,
    /// As far as could be seen: transactions were writing.
    Writing,
    /// Something is away; the rest was done.
    Partly,
    /// The tenant is away.
    Away,
    /// A person has to choose, or to mend something.
    Stuck,
}

/// Who may end a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wakes {
    /// Nobody but commands.
    Nobody,
    /// What changes here.
    Local,
    /// What changes on either side.
    Both,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A run.
    Sync,
    /// Waiting, for ever where there is no bound.
    Wait {
        at_most: Option<Duration>,
        wakes: Wakes,
    },
    /// What is being done.
    GoOn,
    /// Nothing any more.
    Halt,
}

/// The state of a manager.
#[derive(Debug)]
pub(super) struct Machine {
    state: ManagerState,
    /// How many runs have failed one after the other.
    failures: u32,
    /// Whether somebody wants another run after the one that is under way.
    is_kicked: bool,
    /// Whether it is to pause once the run that is under way has ended.
    is_held: bool,
    /// How soon writers are looked after again.
    soon: Duration,
    backoff: Backoff,
    /// How soon it looks by itself where nobody can tell it of changes.
    pub(super) idle: Option<Duration>,
}

impl Machine {
    /// About to do its first run.
    pub(super) const fn new(backoff: Backoff) -> Self {
        Self {
            state: ManagerState::Syncing,
            failures: 0,
            is_kicked: false,
            is_held: false,
            soon: SOON.0,
            backoff,
            idle: None,
        }
    }

    pub(super) const fn state(&self) -> ManagerState {
        self.state
    }

    /// What is to be done now; `random` is a uniformly random number.
    pub(super) fn step(&mut self, input: Input, random: u64) -> Step {
        use ManagerState::{BackingOff, Paused, Stopped, Syncing, Watching};
        match (self.state, input) {
            (_, Input::Stop) | (Stopped, _) => {
                self.state = Stopped;
                Step::Halt
            }
            (Syncing, Input::Ended(verdict)) => self.ended(verdict, random),
            (Syncing, Input::Pause) => {
                self.is_held = true;
                Step::GoOn
            }
            (Syncing, Input::Resume) => {
                self.is_held = false;
                Step::GoOn
            }
            (Syncing, Input::Wake | Input::Kick) => {
                self.is_kicked = true;
                Step::GoOn
            }
            (Watching | BackingOff, Input::Pause) => self.pause(),
            // A word that comes while another one is waited for may be lost with it, so each command but a pause is a run.
            (Watching | BackingOff, Input::Wake | Input::Kick | Input::Elapsed | Input::Resume)
            | (Paused, Input::Resume) => {
                if input == Input::Wake {
                    self.soon = SOON.0;
                }
                self.sync()
            }
            (Watching | BackingOff, Input::Lost) => self.ended(Verdict::Away, random),
            _ => Step::GoOn,
        }
    }

    fn sync(&mut self) -> Step {
        self.state = ManagerState::Syncing;
        self.is_kicked = false;
        Step::Sync
    }

    fn pause(&mut self) -> Step {
        self.state = ManagerState::Paused;
        self.is_held = false;
        Step::Wait {
            at_most: None,
            wakes: Wakes::Nobody,
        }
    }

    fn ended(&mut self, verdict: Verdict, random: u64) -> Step {
        let has_failed = !matches!(verdict, Verdict::Done | Verdict::Writing);
        self.failures = if has_failed {
            self.failures.saturating_add(1)
        } else {
            0
        };
        if self.is_held {
            return self.pause();
        }
        if self.is_kicked {
            return self.sync();
        }
        self.state = if has_failed {
            ManagerState::BackingOff
        } else {
            ManagerState::Watching
        };
        let delay = || {
            let delay = self.backoff.delay(self.failures, random, None);
            Some(delay.unwrap_or(self.backoff.cap))
        };
        let (at_most, wakes) = match verdict {
            Verdict::Done => {
                self.soon = SOON.0;
                (self.idle, Wakes::Both)
            }
            Verdict::Writing => {
                let soon = self.soon;
                self.soon = (soon * 2).min(SOON.1);
                (Some(soon), Wakes::Both)
            }
            Verdict::Partly => (delay(), Wakes::Local),
            // Whoever is away is not called by every save.
            Verdict::Away => (delay(), Wakes::Nobody),
            Verdict::Stuck => (Some(STUCK), Wakes::Local),
        };
        Step::Wait { at_most, wakes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Input::{Elapsed, Ended, Kick, Lost, Pause, Resume, Stop, Wake};

    const BACKOFF: Backoff = Backoff {
        attempts: u32::MAX,
        base: Duration::from_millis(500),
        cap: Duration::from_secs(30),
        max_retry_after: Duration::from_mins(2),
    };

    /// A step as a word: `sync`, `-`, `halt`, or who may end a wait and after how many milliseconds it ends by itself.
    fn word(step: Step) -> String {
        match step {
            Step::Sync => "sync".to_owned(),
            Step::GoOn => "-".to_owned(),
            Step::Halt => "halt".to_owned(),
            Step::Wait { at_most, wakes } => {
                let wakes = match wakes {
                    Wakes::Nobody => "nobody",
                    Wakes::Local => "local",
                    Wakes::Both => "both",
                };
                let ms = at_most.map(|at_most| at_most.as_millis().to_string());
                format!("{wakes}:{}", ms.unwrap_or_default())
            }
        }
    }

    /// What a manager that is in its first run does on each of these, with jitter at its upper end.
    #[track_caller]
    fn check(inputs: &[Input], expected: &str, state: ManagerState) {
        let mut machine = Machine::new(BACKOFF);
        let steps = inputs.iter().map(|input| machine.step(*input, u64::MAX));
        let steps: Vec<String> = steps.map(word).collect();
        assert_eq!(steps.join(" "), expected);
        assert_eq!(machine.state(), state);
    }

    #[test]
    fn what_is_done_next() {
        use ManagerState::{BackingOff, Paused, Stopped, Syncing, Watching};
        let done = Ended(Verdict::Done);
        let away = Ended(Verdict::Away);
        check(&[done], "both:", Watching);
        check(&[done, Wake, done], "both: sync both:", Watching);
        // What changes during a run is looked after at once.
        check(&[Wake, done, done], "- sync both:", Watching);
        check(&[Kick, away, away], "- sync nobody:1000", BackingOff);
        // Longer and longer, until it works again.
        check(
            &[away, Elapsed, away, Elapsed, away, Elapsed, done],
            "nobody:500 sync nobody:1000 sync nobody:2000 sync both:",
            Watching,
        );
        check(
            &[away, Elapsed, done, Wake, away],
            "nobody:500 sync both: sync nobody:500",
            BackingOff,
        );
        // A kick ends the wait.
        check(&[away, Kick], "nobody:500 sync", Syncing);
        check(&[done, Lost, Elapsed], "both: nobody:500 sync", Syncing);
        check(&[Ended(Verdict::Partly), Wake], "local:500 sync", Syncing);
        check(
            &[Ended(Verdict::Stuck), Wake, Ended(Verdict::Stuck)],
            "local:30000 sync local:30000",
            BackingOff,
        );
        // Writers are looked after again soon, then less often.
        let writing = Ended(Verdict::Writing);
        check(
            &[writing, Elapsed, writing, Elapsed, writing, Wake, writing],
            "both:2 sync both:4 sync both:8 sync both:2",
            Watching,
        );
        // A pause lets the run that is under way end, and nothing wakes it but its end.
        check(
            &[Pause, done, Wake, Kick, Elapsed, Pause, Resume],
            "- nobody: - - - - sync",
            Syncing,
        );
        check(&[Pause, Resume, done], "- - both:", Watching);
        check(&[done, Pause, Wake], "both: nobody: -", Paused);
        check(&[done, Resume], "both: sync", Syncing);
        check(&[away, Stop, Kick], "nobody:500 halt halt", Stopped);
        check(&[Stop], "halt", Stopped);
    }

    #[test]
    fn whoever_cannot_be_told_of_changes_looks_by_itself() {
        let mut machine = Machine::new(BACKOFF);
        machine.idle = Some(Duration::from_secs(5));
        assert_eq!(word(machine.step(Ended(Verdict::Done), 0)), "both:5000");
    }
}
