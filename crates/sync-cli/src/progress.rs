//! Progress bars on stderr, or every event as a line of JSON.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use sync_engine::{Event, Listener};

use crate::args::Format;
use crate::terminal::Terminal;

/// The bar's text follows every so many files.
const EVERY: u64 = 16;

/// What shows an operation's events.
pub(crate) struct Progress {
    bar: ProgressBar,
    terminal: Terminal,
    /// Whether the bar counts files that are read: parsing its style again for every file would cost more than reading it.
    reading: AtomicBool,
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
            reading: AtomicBool::new(false),
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

    /// Takes the bar away, so that the result stands alone.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self, event: &Event) {
        if self.terminal.format == Format::Ndjson {
            self.terminal.value(&as_json(event));
        }
        match event {
            // These come for every file, from several threads.
            Event::Hashing { .. } | Event::Reading { .. } | Event::Moved { .. }
                if !self.terminal.progress => {}
            &Event::Reading { bytes } => {
                if !self.reading.swap(true, Ordering::Relaxed) {
                    self.style("{spinner} reading rows {msg}");
                }
                self.bar
                    .set_message(sync_core::ByteCount(bytes).to_string());
            }
            &Event::Hashing { files, bytes } => {
                if !self.reading.swap(true, Ordering::Relaxed) {
                    self.style("{spinner} reading {pos} files {msg}");
                }
                self.bar.set_position(files);
                if files % EVERY == 0 {
                    self.bar
                        .set_message(sync_core::ByteCount(bytes).to_string());
                }
            }
            &Event::Started { bytes, .. } => {
                self.reading.store(false, Ordering::Relaxed);
                self.style("{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} eta {eta} {msg}");
                self.bar.set_length(bytes);
                self.bar.set_position(0);
                self.bar.enable_steady_tick(Duration::from_millis(200));
            }
            &Event::Moved { bytes, items } => {
                self.bar.set_position(bytes);
                if items % EVERY == 0 {
                    self.bar.set_message(format!("{items} items"));
                }
            }
            Event::Applying => self.bar.set_message("putting files into their places"),
            // Said even where there is no bar: it is about somebody's files.
            Event::Recovered { finished, kept } => self.bar.suspend(|| {
                let end = if *finished { "completed" } else { "taken back" };
                Terminal::note(&format!(
                    "an earlier run was cut short while it changed files: its changes were {end}"
                ));
                for edit in kept {
                    Terminal::note(edit);
                }
            }),
            Event::Resuming { attempt } => {
                let text =
                    format!("the connection was lost: attempt {attempt}, only the rest travels");
                self.bar.suspend(|| Terminal::note(&text));
            }
        }
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }
}

fn as_json(event: &Event) -> serde_json::Value {
    match event {
        Event::Hashing { files, bytes } => {
            json!({"event": "hashing", "files": files, "bytes": bytes})
        }
        Event::Reading { bytes } => json!({"event": "reading", "bytes": bytes}),
        Event::Started { files, bytes } => {
            json!({"event": "started", "files": files, "bytes": bytes})
        }
        Event::Moved { bytes, items } => {
            json!({"event": "progress", "items": items, "bytes": bytes})
        }
        Event::Applying => json!({"event": "applying"}),
        Event::Recovered { finished, kept } => {
            json!({"event": "recovered", "finished": finished, "kept": kept})
        }
        Event::Resuming { attempt } => json!({"event": "resuming", "attempt": attempt}),
    }
}
