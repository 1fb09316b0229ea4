//! How far the body of a message that is being sent has come, and whose turn it is.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::body::Body;
use crate::error::Error;

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The connection's, which means the peer's: it has to take what it was given.
    Sending,
    /// The producer's: nobody but ourselves to wait for.
    Producing,
    /// All of the body was given to the connection.
    Done,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    failed: Option<Error>,
    aborted: bool,
    sender: Option<Waker>,
}

/// Shared by the body on its way and by whoever watches it.
#[derive(Debug)]
pub(crate) struct Progress(Mutex<State>);

impl Progress {
    fn new(phase: Phase) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            phase,
            since: Instant::now(),
            failed: None,
            aborted: false,
            sender: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        state.phase = phase;
        state.since = Instant::now();
    }

    /// The phase, and since when.
    pub(crate) fn phase(&self) -> (Phase, Instant) {
        let state = self.lock();
        (state.phase, state.since)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.lock().phase == Phase::Done
    }

    /// Ends the body with an error at its next poll: its answer is there already.
    pub(crate) fn abort(&self) {
        let mut state = self.lock();
        state.aborted = true;
        if let Some(sender) = state.sender.take() {
            sender.wake();
        }
    }

    /// The producer's error, if that is what ended the body.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.lock().failed.take()
    }
}

/// A body on its way to the peer.
#[derive(Debug)]
pub(crate) struct Outgoing {
    body: Body,
    progress: Arc<Progress>,
    /// Something to keep until the body is gone.
    guard: Option<Box<dyn Guard>>,
}

/// Anything that is kept for what its drop does.
pub(crate) trait Guard: Send + Sync + std::fmt::Debug {
    /// The body's producer failed.
    fn failed(&self, error: &Error);
}

impl Outgoing {
    pub(crate) fn new(body: Body, guard: Option<Box<dyn Guard>>) -> (Self, Arc<Progress>) {
        let progress = Progress::new(if http_body::Body::is_end_stream(&body) {
            Phase::Done
        } else {
            Phase::Sending
        });
        let outgoing = Self {
            body,
            progress: Arc::clone(&progress),
            guard,
        };
        (outgoing, progress)
    }

    pub(crate) fn into_body(self) -> Body {
        self.body
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        {
            let mut state = this.progress.lock();
            if state.aborted {
                let source = "the answer came before the body was sent".into();
                return Poll::Ready(Some(Err(Error::Producer { source })));
            }
            state.sender = Some(cx.waker().clone());
            if state.phase == Phase::Sending {
                state.phase = Phase::Producing;
                state.since = Instant::now();
            }
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                this.progress.enter(Phase::Done);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                let ended = http_body::Body::is_end_stream(&this.body);
                this.progress
                    .enter(if ended { Phase::Done } else { Phase::Sending });
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                // hyper wraps the error it is given; the caller gets the original.
                let told = error.to_string();
                if let Some(guard) = &this.guard {
                    guard.failed(&error);
                }
                this.progress.enter(Phase::Done);
                this.progress.lock().failed = Some(error);
                let source = told.into();
                Poll::Ready(Some(Err(Error::Producer { source })))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}
