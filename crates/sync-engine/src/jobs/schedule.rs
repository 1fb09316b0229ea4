//! When a job is due: a line of cron.

use std::fmt;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions, parse_crontab_with};
use serde::Deserialize;

/// More missed runs than these are not counted one by one.
const COUNTED: u32 = 10_000;
/// In milliseconds.
const MINUTE: u64 = 60_000;

/// When a job is due: the five fields of cron, in UTC, or in the time zone that a sixth one names.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Schedule {
    text: String,
    cron: Crontab,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Schedule {}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl TryFrom<String> for Schedule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let cron = parse_crontab_with(&text, options);
        let cron = cron.map_err(|error| {
            let reason = error.to_string();
            format!(
                "expected minute, hour, day, month and day of week, such as `*/5 * * * *`: {}",
                reason.lines().last().unwrap_or_default().trim()
            )
        })?;
        let schedule = Self { text, cron };
        // A day that no month has is a mistake, and not a job that waits for ever.
        if schedule.next(0).is_none() {
            return Err(format!("`{}` is never due", schedule.text));
        }
        Ok(schedule)
    }
}

impl Schedule {
    /// The first time after this one; both in milliseconds since 1970-01-01T00:00:00Z.
    pub fn next(&self, after: u64) -> Option<u64> {
        let after = MakeTimestamp::from_millisecond(i64::try_from(after).ok()?).ok()?;
        let next = self.cron.find_next(after).ok()?;
        u64::try_from(next.timestamp().as_millisecond()).ok()
    }

    /// How often it was due after one time and until another, 10,000 times at the most, and when last.
    pub(super) fn due(&self, after: u64, until: u64) -> Option<(u32, u64)> {
        let mut found = None;
        let mut at = after;
        for count in 1..=COUNTED {
            match self.next(at).filter(|next| *next <= until) {
                Some(next) => {
                    found = Some((count, next));
                    at = next;
                }
                None => return found,
            }
        }
        // The last one of so many is found from the end: in the shortest time before it that has any.
        let mut span = MINUTE;
        loop {
            let from = until.saturating_sub(span).max(at);
            let mut last = self.next(from).filter(|next| *next <= until);
            if last.is_some() || from == at {
                while let Some(next) = last.filter(|next| *next <= until) {
                    at = next;
                    last = self.next(at);
                }
                return Some((COUNTED, at));
            }
            span *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds of a moment as people write it.
    fn moment(text: &str) -> u64 {
        let moment: jiff::Timestamp = text.parse().unwrap();
        u64::try_from(moment.as_millisecond()).unwrap()
    }

    #[track_caller]
    fn check(schedule: &str, after: &str, expected: &str) {
        let parsed = Schedule::try_from(schedule.to_owned()).unwrap();
        assert_eq!(
            parsed.next(moment(after)),
            Some(moment(expected)),
            "{schedule}"
        );
    }

    #[test]
    fn times_that_people_mean() {
        check("* * * * *", "2026-10-06T08:30:00Z", "2026-10-06T08:31:00Z");
        check(
            "* * * * *",
            "2026-10-06T08:30:59.999Z",
            "2026-10-06T08:31:00Z",
        );
        check(
            "*/15 * * * *",
            "2026-10-06T08:30:00Z",
            "2026-10-06T08:45:00Z",
        );
        check(
            "5,35 8-10 * * *",
            "2026-10-06T10:35:00Z",
            "2026-10-07T08:05:00Z",
        );
        check("0 3 * * *", "2026-12-31T03:00:00Z", "2027-01-01T03:00:00Z");
        check("0 0 31 * *", "2026-01-31T00:00:00Z", "2026-03-31T00:00:00Z");
        check("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z");
        check(
            "30 9 * * MON-FRI",
            "2026-10-02T09:30:00Z",
            "2026-10-05T09:30:00Z",
        );
        check("0 0 * * 0", "2026-10-06T00:00:00Z", "2026-10-11T00:00:00Z");
        check("0 0 * * 7", "2026-10-06T00:00:00Z", "2026-10-11T00:00:00Z");
        check(
            "0 0 1 JAN *",
            "2026-10-06T00:00:00Z",
            "2027-01-01T00:00:00Z",
        );
    }

    #[test]
    fn clocks_that_change() {
        // In spring the clocks of Berlin go from 2:00 to 3:00: there is no 2:30 on that day.
        let half_past_two = "30 2 * * * Europe/Berlin";
        check(
            half_past_two,
            "2026-03-27T12:00:00Z",
            "2026-03-28T01:30:00Z",
        );
        check(
            half_past_two,
            "2026-03-28T12:00:00Z",
            "2026-03-30T00:30:00Z",
        );
        // In autumn they go from 3:00 to 2:00: it is 2:30 twice.
        check(
            half_past_two,
            "2026-10-24T12:00:00Z",
            "2026-10-25T00:30:00Z",
        );
        check(
            half_past_two,
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
        );
        check(
            half_past_two,
            "2026-10-25T01:30:00Z",
            "2026-10-26T01:30:00Z",
        );
        // No other hour is missed, or comes twice.
        let four = "0 4 * * * Europe/Berlin";
        check(four, "2026-03-28T12:00:00Z", "2026-03-29T02:00:00Z");
        check(four, "2026-10-24T12:00:00Z", "2026-10-25T03:00:00Z");
        check(four, "2026-10-25T03:00:00Z", "2026-10-26T03:00:00Z");
    }

    #[test]
    fn what_is_no_schedule() {
        for bad in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "a * * * *",
            "0 0 30 2 *",
            "* * * * * Nowhere/None",
            "@never",
        ] {
            assert!(Schedule::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn missed_runs_are_counted() {
        let hourly = Schedule::try_from("0 * * * *".to_owned()).unwrap();
        let at = moment("2026-10-06T08:00:00Z");
        let hour = 3_600_000;
        assert_eq!(hourly.due(at, at), None);
        assert_eq!(hourly.due(at, at + hour - 1), None);
        assert_eq!(hourly.due(at, at + hour), Some((1, at + hour)));
        assert_eq!(hourly.due(at, at + 3 * hour + 5), Some((3, at + 3 * hour)));
        // However many, the last one is the last one.
        assert_eq!(hourly.due(0, at), Some((COUNTED, at)));
        assert_eq!(hourly.due(0, at + hour - 1), Some((COUNTED, at)));
        let dense = Schedule::try_from("* * * 1 *".to_owned()).unwrap();
        let last = moment("2026-01-31T23:59:00Z");
        assert_eq!(dense.due(0, at), Some((COUNTED, last)));
    }
}
