//! Telling a client how far its call has come.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{RequestContext, RoleServer};
use sync_core::ByteCount;
use sync_engine::event::Target;
use sync_engine::{Event, Listener, Phase, Progress};
use tokio::sync::watch;

/// Between two notifications: more would only be drawn over each other.
const PAUSE: Duration = Duration::from_millis(100);

/// What hears the events of one call.
pub(super) struct Meter {
    token: Option<ProgressToken>,
    heard: watch::Sender<Heard>,
}

/// How far a call has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Heard {
    /// Bytes of files and of rows that were read, and bytes that have travelled.
    files: u64,
    rows: u64,
    moved: u64,
    /// Bytes that travelled in earlier steps.
    moved_before: u64,
    /// What all of it comes to, once that is known.
    total: Option<u64>,
    message: String,
}

impl Heard {
    fn bytes(&self) -> u64 {
        self.files + self.rows + self.moved_before + self.moved
    }

    /// Takes an event in; events of several threads may come out of order.
    fn hear(&mut self, event: &Event) {
        match event {
            Event::Progress(progress) => self.hear_progress(progress),
            Event::PullStart(extent) | Event::PushStart(extent) => {
                let (count, what) = (extent.items, extent.target.as_str());
                self.message = format!("{what}: {count} change");
                if let Some(bytes) = extent.bytes {
                    self.moved_before += std::mem::take(&mut self.moved);
                    self.total = Some(self.bytes() + bytes);
                }
            }
            Event::SyncRecovered { finished, .. } => {
                let end = if *finished { "completed" } else { "taken back" };
                self.message = format!("an earlier run was cut short: its changes were {end}");
            }
            Event::SyncResuming { attempt } => {
                self.message = format!("the connection was lost: attempt {attempt}");
            }
            _ => {}
        }
    }

    fn hear_progress(&mut self, progress: &Progress) {
        let (bytes, told) = (progress.bytes, ByteCount(progress.bytes));
        match (progress.phase, progress.target) {
            (Phase::Reading, Target::Files) => {
                self.files = self.files.max(bytes);
                self.message = format!("reading files: {}", progress.items);
            }
            (Phase::Reading, target) => {
                self.rows = self.rows.max(bytes);
                self.message = format!("reading {}: {told}", target.as_str());
            }
            (Phase::Sending | Phase::Receiving, _) => {
                self.moved = self.moved.max(bytes);
                self.message = format!("{told} travelled");
            }
            (Phase::Applying, target) => {
                self.message = format!("putting {} into their places", target.as_str());
            }
        }
    }
}

impl Meter {
    /// One that tells a client which asked for it by a token, else nobody.
    pub(super) fn new(token: Option<ProgressToken>) -> Self {
        Self {
            token,
            heard: watch::Sender::new(Heard::default()),
        }
    }

    /// What the engine reports its events to.
    pub(super) fn listener(&self) -> Listener {
        if self.token.is_none() {
            return Arc::new(|_| {});
        }
        let heard = self.heard.clone();
        Arc::new(move |event| heard.send_modify(|heard| heard.hear(&event)))
    }

    /// Does the work, and tells the client meanwhile; nothing is told once it is done or cancelled.
    pub(super) async fn tell_during<T>(
        &self,
        context: &RequestContext<RoleServer>,
        work: impl Future<Output = T>,
    ) -> T {
        let Some(token) = &self.token else {
            return work.await;
        };
        let mut work = pin!(work);
        let mut events = self.heard.subscribe();
        let mut progress = 0;
        loop {
            tokio::select! {
                biased;
                () = context.ct.cancelled() => return work.await,
                _ = events.changed() => {}
                done = &mut work => return done,
            }
            let heard = events.borrow_and_update().clone();
            // It grows with every notification, as the protocol wants it to.
            progress = heard.bytes().max(progress + 1);
            let mut told = ProgressNotificationParam::new(token.clone(), float(progress))
                .with_message(heard.message);
            if let Some(total) = heard.total {
                told = told.with_total(float(total.max(progress)));
            }
            if let Err(error) = context.peer.notify_progress(told).await {
                tracing::debug!(%error, "the client does not take progress");
            }
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

/// The protocol counts in floating point: above 2^53 bytes the last digits are lost, which nobody sees.
#[allow(clippy::cast_precision_loss, reason = "it is drawn as a bar")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use sync_engine::event::Extent;

    use super::*;

    #[test]
    fn bytes_never_go_back() {
        let mut heard = Heard::default();
        let mut last = 0;
        let progress = |target, phase, bytes| {
            Event::Progress(Progress {
                target,
                phase,
                items: 1,
                bytes,
                total_items: None,
                total_bytes: None,
            })
        };
        let moved = |bytes| progress(Target::Files, Phase::Sending, bytes);
        let hashing = |bytes| progress(Target::Files, Phase::Reading, bytes);
        let started = |bytes| {
            Event::PushStart(Extent {
                target: Target::Files,
                items: 2,
                bytes: Some(bytes),
            })
        };
        for (event, bytes, total) in [
            (hashing(20), 20, None),
            (hashing(10), 20, None),
            (progress(Target::Database, Phase::Reading, 5), 25, None),
            (started(100), 25, Some(125)),
            (moved(60), 85, Some(125)),
            // A connection that was lost begins anew.
            (Event::SyncResuming { attempt: 2 }, 85, Some(125)),
            (moved(10), 85, Some(125)),
            (moved(100), 125, Some(125)),
            (progress(Target::Files, Phase::Applying, 0), 125, Some(125)),
            (started(7), 125, Some(132)),
            (moved(7), 132, Some(132)),
        ] {
            heard.hear(&event);
            assert_eq!((heard.bytes(), heard.total), (bytes, total), "{event:?}");
            assert!(heard.bytes() >= last && !heard.message.is_empty());
            last = heard.bytes();
        }
    }
}
