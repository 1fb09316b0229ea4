//! Progress bars on stderr, or every event as a line of JSON.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sync_core::ByteCount;
use sync_engine::{Direction, Event, Listener, Phase};

use crate::args::Format;
use crate::env::Env;
use crate::terminal::Terminal;

/// The bar's text follows every so many files.
const EVERY: u64 = 16;
/// Programs are told of progress in one phase no more often than this, in milliseconds.
const PERIOD: u64 = 100;
/// No phase has this number.
const NO_PHASE: u8 = u8::MAX;

/// What shows an operation's events.
pub(crate) struct Progress {
    bar: ProgressBar,
    terminal: Terminal,
    /// Which phase the bar shows, or programs were last told of: parsing the bar's style again for every file would cost
    /// more than reading it.
    phase: AtomicU8,
    began: Instant,
    /// When programs may be told of progress in the same phase again, in milliseconds since it began.
    next: AtomicU64,
}

impl Progress {
    /// A bar that appears with the first event, if at all.
    pub(crate) fn new(terminal: &Terminal) -> Arc<Self> {
        let target = if terminal.progress {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        Arc::new(Self {
            bar,
            terminal: terminal.clone(),
            phase: AtomicU8::new(NO_PHASE),
            began: Instant::now(),
            next: AtomicU64::new(0),
        })
    }

    /// What the engine reports its events to.
    pub(crate) fn listener(self: &Arc<Self>) -> Listener {
        if let Some(listener) = self.terminal.listener() {
            return listener;
        }
        let progress = Arc::clone(self);
        Arc::new(move |event| progress.show(&event))
    }

    /// Tells programs that an operation begins.
    pub(crate) fn begin(&self, operation: String, direction: Option<Direction>) {
        self.show(&Event::SyncStart {
            operation,
            direction,
            time: Env::now(),
        });
    }

    /// Takes the bar away, so that the result stands alone.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self, event: &Event) {
        // These come for every file, from several threads.
        if let Event::Progress(progress) = event {
            return match self.terminal.format {
                Format::Ndjson if self.is_due(progress) => self.terminal.event(event),
                _ if self.terminal.progress => self.draw(progress),
                _ => {}
            };
        }
        if self.terminal.format == Format::Ndjson {
            self.terminal.event(event);
        }
        match event {
            // Said even where there is no bar: it is about somebody's files.
            Event::SyncRecovered { finished, kept } => self.bar.suspend(|| {
                let end = if *finished { "completed" } else { "taken back" };
                Terminal::note(&format!(
                    "an earlier run was cut short while it changed files: its changes were {end}"
                ));
                for edit in kept {
                    Terminal::note(edit);
                }
            }),
            Event::SyncResuming { attempt } => {
                let text =
                    format!("the connection was lost: attempt {attempt}, only the rest travels");
                self.bar.suspend(|| Terminal::note(&text));
            }
            Event::PullStart(extent) if self.terminal.progress => {
                // What arrives is counted in chunks, which say nothing of how many there will be.
                self.bar.set_length(extent.bytes.unwrap_or_default());
            }
            _ => {}
        }
    }

    /// Whether programs are told: of each phase first and last, and not too often in between.
    fn is_due(&self, progress: &sync_engine::Progress) -> bool {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let is_last = progress.total_bytes == Some(progress.bytes);
        let is_first = self.enters(progress.phase);
        let is_time = now >= self.next.load(Ordering::Relaxed);
        if is_time {
            self.next.store(now + PERIOD, Ordering::Relaxed);
        }
        is_first || is_last || is_time
    }

    /// Whether this phase is another one than before.
    fn enters(&self, phase: Phase) -> bool {
        self.phase.swap(phase as u8, Ordering::Relaxed) != phase as u8
    }

    fn draw(&self, progress: &sync_engine::Progress) {
        let begins = self.enters(progress.phase);
        match progress.phase {
            Phase::Reading => {
                if begins {
                    self.style("{spinner} reading {msg}");
                }
                if progress.items.is_multiple_of(EVERY) {
                    let bytes = ByteCount(progress.bytes);
                    self.bar.set_message(match progress.items {
                        0 => format!("rows {bytes}"),
                        files => format!("{files} files {bytes}"),
                    });
                }
            }
            Phase::Sending | Phase::Receiving => {
                if begins {
                    self.style("{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} eta {eta} {msg}");
                    self.bar.enable_steady_tick(Duration::from_millis(200));
                }
                if let Some(bytes) = progress.total_bytes {
                    self.bar.set_length(bytes);
                }
                self.bar.set_position(progress.bytes);
                if progress.items.is_multiple_of(EVERY) {
                    self.bar.set_message(format!("{} items", progress.items));
                }
            }
            Phase::Applying => {
                if begins {
                    let what = progress.target.as_str();
                    self.bar
                        .set_message(format!("putting {what} into their places"));
                }
            }
        }
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }
}
