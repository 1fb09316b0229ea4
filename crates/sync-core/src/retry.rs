//! When to try again, as arithmetic: the caller brings the clock, the randomness and the waiting.

use std::time::Duration;

/// Exponential backoff with full jitter.
///
/// The delay before attempt `n` is drawn evenly from zero to `base * 2^(n-1)`, at most `cap`
/// ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015), and never less than what the server asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The upper end of the first delay.
    pub base: Duration,
    /// The longest delay of our own choosing.
    pub cap: Duration,
    /// How many attempts there are in all, the first one included.
    pub attempts: u32,
    /// The longest `Retry-After` that is obeyed; a longer one ends the retries.
    pub max_retry_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(200),
            cap: Duration::from_secs(10),
            attempts: 5,
            max_retry_after: Duration::from_mins(1),
        }
    }
}

impl Backoff {
    /// Tries again until what is away is back: after half a second at first, and every half minute at last.
    pub const ENDLESS: Self = Self {
        attempts: u32::MAX,
        base: Duration::from_millis(500),
        cap: Duration::from_secs(30),
        max_retry_after: Duration::from_mins(2),
    };

    /// A policy that never tries again.
    pub const NEVER: Self = Self {
        base: Duration::ZERO,
        cap: Duration::ZERO,
        attempts: 1,
        max_retry_after: Duration::ZERO,
    };

    /// How long to wait after `failed` attempts (at least one) have failed, or `None` to give up.
    ///
    /// `random` is a uniformly random number; `retry_after` is what the server asked for, if it did.
    pub fn delay(
        &self,
        failed: u32,
        random: u64,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        if failed >= self.attempts {
            return None;
        }
        let doublings = failed.saturating_sub(1).min(31);
        let ceiling = self.base.saturating_mul(1 << doublings).min(self.cap);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        // Multiply and shift maps `random` evenly onto zero to `nanos`.
        let drawn = (u128::from(random) * (u128::from(nanos) + 1)) >> 64;
        let jitter = Duration::from_nanos(u64::try_from(drawn).unwrap_or(u64::MAX));
        match retry_after {
            Some(asked) if asked > self.max_retry_after => None,
            Some(asked) => Some(asked.saturating_add(jitter)),
            None => Some(jitter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn jitter_stays_below_the_doubling_ceiling(failed in 1u32..5, random: u64) {
            let policy = Backoff::default();
            let delay = policy.delay(failed, random, None).unwrap();
            prop_assert!(delay <= policy.base * (1 << (failed - 1)));
        }

        #[test]
        fn the_server_is_never_asked_sooner_than_it_said(random: u64, asked in 0u64..=60) {
            let asked = Duration::from_secs(asked);
            prop_assert!(Backoff::default().delay(1, random, Some(asked)).unwrap() >= asked);
        }
    }

    #[test]
    fn gives_up_after_the_last_attempt_or_a_long_wait() {
        let policy = Backoff::default();
        assert_eq!(policy.delay(5, 0, None), None);
        assert_eq!(policy.delay(1, 0, Some(Duration::from_secs(61))), None);
        assert_eq!(Backoff::NEVER.delay(1, 0, None), None);
        assert_eq!(policy.delay(4, u64::MAX, None), Some(policy.base * 8));
    }
}
