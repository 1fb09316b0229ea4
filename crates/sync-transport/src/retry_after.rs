//! `Retry-After`: seconds or an HTTP date (RFC 9110, sections 10.2.3 and 5.6.7).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// How long a server asks to wait, counted from `now`; a date in the past is no wait.
///
/// Takes the three date formats that recipients must accept; the name of the weekday is not checked.
/// `None` for anything else.
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are a very long wait all the same.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let now_year = 1970 + seconds_since_epoch(now) / SECONDS_PER_YEAR;
    let at = parse_date(value, i64::try_from(now_year).ok()?)?;
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(at))?;
    Some(at.duration_since(now).unwrap_or(Duration::ZERO))
}

/// What the headers of an answer ask for.
pub(crate) fn from_headers(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    parse_retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, now)
}

fn seconds_since_epoch(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Seconds since the epoch of
/// `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or `Sun Nov  6 08:49:37 1994`.
fn parse_date(text: &str, now_year: i64) -> Option<u64> {
    let parts: Vec<&str> = text
        .split([' ', ',', '-'])
        .filter(|part| !part.is_empty())
        .collect();
    let (day, month, year, time) = match parts[..] {
        [_, day, month, year, time, "GMT"] if text.contains(',') => (day, month, year, time),
        [_, month, day, time, year] if !text.contains(',') => (day, month, year, time),
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| *name == month)?;
    let day = number(day, 2)?;
    let year = match (year.len(), number(year, 4)?) {
        (4, year) => year,
        // Two digits that seem to be more than 50 years ahead are in the past (RFC 9110, section 5.6.7).
        (2, year) => {
            let this_century = now_year / 100 * 100 + year;
            this_century - if this_century > now_year + 50 { 100 } else { 0 }
        }
        _ => return None,
    };
    let mut clock = time.split(':').map(|part| number(part, 2));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = [
        31,
        28 + i64::from(leap),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ][month];
    let valid = (1..=days_in_month).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && clock.next().is_none();
    let days = days_from_civil(year, i64::try_from(month).ok()? + 1, day);
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    valid.then(|| u64::try_from(seconds).ok()).flatten()
}

/// Of a mean Gregorian year.
const SECONDS_PER_YEAR: u64 = 31_556_952;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

fn number(text: &str, max_digits: usize) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && text.len() <= max_digits)
        .then(|| text.parse().ok())
        .flatten()
}

/// Days since 1970-01-01 of a date in the Gregorian calendar
/// (`days_from_civil` in Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06 08:49:37, the example of RFC 9110.
    const THEN: u64 = 784_111_777;

    #[track_caller]
    fn check(value: &str, expected: Option<u64>) {
        let now = UNIX_EPOCH + Duration::from_secs(THEN - 100);
        let got = parse_retry_after(value, now);
        assert_eq!(got, expected.map(Duration::from_secs), "{value:?}");
    }

    #[test]
    fn seconds() {
        check("0", Some(0));
        check(" 120 ", Some(120));
        check("99999999999999999999999", Some(u64::MAX));
        check("", None);
        check("-1", None);
        check("1.5", None);
        check("soon", None);
    }

    #[test]
    fn dates() {
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(100));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(100));
        check("Sun Nov  6 08:49:37 1994", Some(100));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("Mon, 07 Nov 1994 08:49:37 GMT", Some(86_500));
        check(
            "Tue, 29 Feb 2000 00:00:00 GMT",
            Some(951_782_400 - THEN + 100),
        );
        check("Wed, 29 Feb 1995 00:00:00 GMT", None);
        check("Sun, 06 Nov 1994 24:00:00 GMT", None);
        check("Sun, 06 Nov 1994 08:49:37 CET", None);
        check("Sun, 06 Nov 1994 08:49 GMT", None);
        check("Sun, 06 Now 1994 08:49:37 GMT", None);
        check("Sun, 00 Nov 1994 08:49:37 GMT", None);
        check("Sun, 06 Nov 19945 08:49:37 GMT", None);
        check("Sun, +6 Nov 1994 08:49:37 GMT", None);
        check("Thu, 01 Jan 1960 00:00:00 GMT", None);
    }

    #[test]
    fn days_follow_one_another() {
        let mut expected = 0;
        for year in 1970..2401 {
            let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            let lengths = [
                31,
                if leap { 29 } else { 28 },
                31,
                30,
                31,
                30,
                31,
                31,
                30,
                31,
                30,
                31,
            ];
            for (month, length) in (1..).zip(lengths) {
                for day in 1..=length {
                    assert_eq!(days_from_civil(year, month, day), expected);
                    expected += 1;
                }
            }
        }
    }
}
