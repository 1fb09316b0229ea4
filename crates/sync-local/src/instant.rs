//! Days and moments as text: `YYYY-MM-DD` where nothing more is said, else with the time of day in UTC.

/// The one way to write a day or a moment: a day where it is its first moment. `None` where the text is neither.
///
/// It takes what people write (`2026-10-06`, `2026-10-06T08:30:00Z`) and what the database gives
/// (`2026-10-06 08:30:00.5+00`).
pub(crate) fn canonical(text: &str) -> Option<String> {
    let (day, rest) = text.split_at_checked(10)?;
    is_day(day).then_some(())?;
    if rest.is_empty() {
        return Some(day.to_owned());
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let zones = ["Z", "z", "+00:00", "+00", "-00:00", "-00"];
    let time = zones.iter().find_map(|zone| rest.strip_suffix(zone))?;
    let (clock, fraction) = match time.split_once('.') {
        Some((clock, fraction)) => (clock, fraction.trim_end_matches('0')),
        None => (time, ""),
    };
    let is_fraction = fraction.len() <= 6 && fraction.bytes().all(|b| b.is_ascii_digit());
    (is_clock(clock) && is_fraction).then_some(())?;
    Some(match (clock, fraction) {
        ("00:00:00", "") => day.to_owned(),
        (clock, "") => format!("{day}T{clock}Z"),
        (clock, fraction) => format!("{day}T{clock}.{fraction}Z"),
    })
}

fn is_day(text: &str) -> bool {
    let Some([year, month, day]) = numbers(text, '-', [4, 2, 2]) else {
        return false;
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    };
    year > 0 && (1..=days).contains(&day)
}

fn is_clock(text: &str) -> bool {
    numbers(text, ':', [2, 2, 2])
        .is_some_and(|[hour, minute, second]| hour < 24 && minute < 60 && second < 60)
}

/// Three numbers of so many digits with a mark between them.
fn numbers(text: &str, mark: char, widths: [usize; 3]) -> Option<[u32; 3]> {
    let mut parts = text.split(mark);
    let mut numbers = [0; 3];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next()?;
        let plain = part.len() == width && part.bytes().all(|b| b.is_ascii_digit());
        *number = plain.then(|| part.parse().ok()).flatten()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_has_one_text() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(canonical(text).as_deref(), expected, "{text}");
        };
        check("2026-10-06", Some("2026-10-06"));
        check("2026-10-06 00:00:00+00", Some("2026-10-06"));
        check("2026-10-06T00:00:00Z", Some("2026-10-06"));
        check("2026-10-06 08:30:00.50+00", Some("2026-10-06T08:30:00.5Z"));
        check("2026-10-06T08:30:00+00:00", Some("2026-10-06T08:30:00Z"));
        check("2024-02-29", Some("2024-02-29"));
        for bad in [
            "",
            "2026-02-29",
            "2026-13-01",
            "2026-1-1",
            "06.10.2026",
            "infinity",
            "2026-10-06T08:30:00",
            "2026-10-06T08:30:00+02:00",
            "2026-10-06T24:00:00Z",
            "0000-01-01",
            "2026-10-06x",
            "２026-10-06",
        ] {
            check(bad, None);
        }
    }
}
