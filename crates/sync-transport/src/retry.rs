//! Whether to try again, as a pure function of what happened; when is `sync_core::retry`'s business.

use http::StatusCode;

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// No connection came to be, so nothing was sent.
    NotConnected {
        /// Whether trying again cannot help: the peer is not trusted, the address makes no sense.
        permanent: bool,
    },
    /// The connection was closed before the request was put onto it.
    Unsent {
        /// Whether it had served an earlier request, or had been opened early.
        reused: bool,
    },
    /// The connection was lost after some of the request was sent and before an answer began.
    Lost {
        /// Whether it had served an earlier request, or had been opened early.
        reused: bool,
    },
    /// Nothing moved for as long as is allowed.
    TimedOut,
    /// The request can never work: the peer breaks HTTP's rules, or the body's producer failed.
    Broken,
    /// An answer came.
    Answered(StatusCode),
}

/// Whether repeating a request that may have arrived does no harm, and is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repeat {
    /// Twice is as good as once.
    pub idempotent: bool,
    /// The body can be sent again; a stream cannot.
    pub repeatable: bool,
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Hand it to the caller.
    Final,
    /// Wait, then try again; counts as a failed attempt.
    Retry,
    /// Try again at once on a new connection: only a kept-alive connection had grown stale.
    Replace,
}

/// Decides what to do after an attempt.
///
/// What was never sent is always safe to send; what may have arrived is repeated only where `repeat` allows it.
pub fn classify(outcome: Outcome, repeat: Repeat) -> Verdict {
    let safe = repeat.idempotent && repeat.repeatable;
    match outcome {
        Outcome::NotConnected { permanent: false } | Outcome::Unsent { reused: false } => {
            Verdict::Retry
        }
        Outcome::Unsent { reused: true } => Verdict::Replace,
        Outcome::Lost { reused: true } if safe => Verdict::Replace,
        Outcome::Lost { reused: false } | Outcome::TimedOut if safe => Verdict::Retry,
        Outcome::Answered(status) if safe && is_transient(status) => Verdict::Retry,
        Outcome::NotConnected { permanent: true }
        | Outcome::Lost { .. }
        | Outcome::TimedOut
        | Outcome::Broken
        | Outcome::Answered(_) => Verdict::Final,
    }
}

/// Whether a status says "not now" rather than "no".
fn is_transient(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Final, Replace, Retry};

    /// The verdict for a safe request, for one that is not idempotent, and for one whose body is a stream.
    #[track_caller]
    fn check(outcome: Outcome, expected: [Verdict; 3]) {
        let repeats = [(true, true), (false, true), (true, false)];
        let got = repeats.map(|(idempotent, repeatable)| {
            classify(
                outcome,
                Repeat {
                    idempotent,
                    repeatable,
                },
            )
        });
        assert_eq!(got, expected, "{outcome:?}");
    }

    #[test]
    fn the_table() {
        check(Outcome::NotConnected { permanent: false }, [Retry; 3]);
        check(Outcome::NotConnected { permanent: true }, [Final; 3]);
        check(Outcome::Unsent { reused: true }, [Replace; 3]);
        check(Outcome::Unsent { reused: false }, [Retry; 3]);
        check(Outcome::Lost { reused: true }, [Replace, Final, Final]);
        check(Outcome::Lost { reused: false }, [Retry, Final, Final]);
        check(Outcome::TimedOut, [Retry, Final, Final]);
        check(Outcome::Broken, [Final; 3]);
    }

    #[test]
    fn only_four_statuses_are_transient() {
        for status in 100..1000 {
            let expected = match status {
                429 | 502 | 503 | 504 => [Retry, Final, Final],
                _ => [Final; 3],
            };
            check(
                Outcome::Answered(StatusCode::from_u16(status).unwrap()),
                expected,
            );
        }
    }
}
