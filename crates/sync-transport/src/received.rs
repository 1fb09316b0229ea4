//! A body as it arrives: bounded waits, errors that say what was going on, and a connection to give back at its end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::{Error, Stage, TimedOutSnafu, Wait, from_hyper};
use crate::request_id::RequestId;

/// What happens to a connection when the body that it brought has ended, or was given up.
pub(crate) trait Ending: Send + Sync + fmt::Debug {
    /// The body came whole.
    fn complete(self: Box<Self>);

    /// Since when the peer has had nothing to wait for on our side; `None` while it has.
    ///
    /// An answer may wait for the rest of the request, and that is nobody's fault but ours.
    fn peer_owes_since(&self) -> Option<Instant>;
}

/// A body that is being received.
pub(crate) struct Received {
    incoming: Incoming,
    idle_timeout: Duration,
    request_id: RequestId,
    /// Runs while the peer is waited for, and only then.
    timer: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    ending: Option<Box<dyn Ending>>,
}

impl Received {
    pub(crate) fn new(
        incoming: Incoming,
        idle_timeout: Duration,
        request_id: RequestId,
        ending: Option<Box<dyn Ending>>,
    ) -> Self {
        let mut received = Self {
            incoming,
            idle_timeout,
            request_id,
            timer: None,
            waiting_since: None,
            ending,
        };
        received.notice_end();
        received
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    /// Gives the connection back as soon as the last byte is there, polled for or not.
    fn notice_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.complete();
        }
    }

    fn complete(&mut self) {
        if let Some(ending) = self.ending.take() {
            ending.complete();
        }
    }

    pub(crate) fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.waiting_since = None;
                Poll::Ready(match frame {
                    Some(Ok(frame)) => {
                        this.notice_end();
                        Some(Ok(frame))
                    }
                    Some(Err(error)) => {
                        this.ending = None;
                        let id = this.request_id.clone();
                        Some(Err(from_hyper(error, Stage::Receiving, id)))
                    }
                    None => {
                        this.complete();
                        None
                    }
                })
            }
            Poll::Pending => {
                std::task::ready!(this.poll_idle(cx));
                this.ending = None;
                this.waiting_since = None;
                Poll::Ready(Some(
                    TimedOutSnafu {
                        wait: Wait::Receiving,
                        after: this.idle_timeout,
                        request_id: this.request_id.clone(),
                    }
                    .fail(),
                ))
            }
        }
    }

    /// Ready when the peer was waited for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.waiting_since.get_or_insert_with(|| {
            // A new wait: the timer is moved, never made anew.
            let now = Instant::now();
            let deadline = now + self.idle_timeout;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(sleep_until(deadline))),
            }
            now
        });
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        while timer.as_mut().poll(cx).is_ready() {
            let owes_since = match &self.ending {
                Some(ending) => ending.peer_owes_since().unwrap_or_else(Instant::now),
                None => since,
            };
            let deadline = since.max(owes_since) + self.idle_timeout;
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
