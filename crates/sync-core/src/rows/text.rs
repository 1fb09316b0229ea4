//! Values of columns as people read them.

use std::fmt::Write;

use super::schema::Kind;

/// The text of a value, as PostgreSQL shows it under ISO settings; bytes that are no such value as hexadecimal digits.
pub fn text(kind: Kind, bytes: &[u8]) -> String {
    readable(kind, bytes).unwrap_or_else(|| hexadecimal(bytes))
}

fn readable(kind: Kind, bytes: &[u8]) -> Option<String> {
    Some(match kind {
        Kind::Text => std::str::from_utf8(bytes).ok()?.to_owned(),
        Kind::Jsonb => std::str::from_utf8(bytes.get(1..)?).ok()?.to_owned(),
        Kind::Bool => match bytes {
            [0] => "false".to_owned(),
            [1] => "true".to_owned(),
            _ => return None,
        },
        Kind::Int2 => i16::from_be_bytes(bytes.try_into().ok()?).to_string(),
        Kind::Int4 => i32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        Kind::Int8 => i64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        Kind::Float4 => f32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        Kind::Float8 => f64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        Kind::Bytes => format!("\\x{}", hexadecimal(bytes)),
        Kind::Uuid => uuid(bytes)?,
        Kind::Date => match i32::from_be_bytes(bytes.try_into().ok()?) {
            i32::MAX => "infinity".to_owned(),
            i32::MIN => "-infinity".to_owned(),
            days => date(i64::from(days)),
        },
        Kind::Timestamp => timestamp(bytes)?,
        Kind::TimestampTz => {
            let text = timestamp(bytes)?;
            if text.ends_with('y') {
                text
            } else {
                text + "+00"
            }
        }
        Kind::Numeric => numeric(bytes)?,
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let digits = hexadecimal(bytes);
    let part = |range: std::ops::Range<usize>| digits.get(range);
    if bytes.len() != 16 {
        return None;
    }
    let parts = [
        part(0..8)?,
        part(8..12)?,
        part(12..16)?,
        part(16..20)?,
        part(20..32)?,
    ];
    Some(parts.join("-"))
}

/// Days since 2000-01-01 as a date of the proleptic Gregorian calendar (Hinnant, `chrono-Compatible Low-Level Date Algorithms`).
fn date(days: i64) -> String {
    // Days since 0000-03-01, where leap days end years.
    let days = days + 730_425;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if year > 0 {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{:04}-{month:02}-{day:02} BC", 1 - year)
    }
}

fn timestamp(bytes: &[u8]) -> Option<String> {
    const DAY: i64 = 86_400_000_000;
    let micros = i64::from_be_bytes(bytes.try_into().ok()?);
    if micros == i64::MAX {
        return Some("infinity".to_owned());
    }
    if micros == i64::MIN {
        return Some("-infinity".to_owned());
    }
    let (days, of_day) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    let date = date(days);
    let (date, era) = date
        .strip_suffix(" BC")
        .map_or((date.as_str(), ""), |date| (date, " BC"));
    let mut text = format!(
        "{date} {:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if fraction > 0 {
        let _ = write!(text, ".{fraction:06}");
        text.truncate(text.trim_end_matches('0').len());
    }
    Some(text + era)
}

/// Number of digits, weight, sign, scale, then digits of base 10,000, two bytes each (`numeric_send`).
fn numeric(bytes: &[u8]) -> Option<String> {
    let word = |index: usize| {
        Some(u16::from_be_bytes(
            bytes.get(2 * index..2 * index + 2)?.try_into().ok()?,
        ))
    };
    let (count, sign, scale) = (usize::from(word(0)?), word(2)?, usize::from(word(3)?));
    let weight = i16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    match sign {
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        0 | 0x4000 => {}
        _ => return None,
    }
    if bytes.len() != 8 + 2 * count {
        return None;
    }
    let digit = |position: i32| {
        let index = usize::try_from(i32::from(weight) - position)
            .ok()
            .filter(|index| *index < count);
        index.map_or(Some(0), |index| word(4 + index))
    };
    let mut text = if sign == 0 {
        String::new()
    } else {
        "-".to_owned()
    };
    if weight < 0 {
        text.push('0');
    } else {
        let _ = write!(text, "{}", digit(i32::from(weight))?);
        for position in (0..i32::from(weight)).rev() {
            let _ = write!(text, "{:04}", digit(position)?);
        }
    }
    if scale > 0 {
        let mut fraction = String::new();
        let mut position = -1;
        while fraction.len() < scale {
            let _ = write!(fraction, "{:04}", digit(position)?);
            position -= 1;
        }
        fraction.truncate(scale);
        text.push('.');
        text.push_str(&fraction);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, bytes: &[u8], expected: &str) {
        assert_eq!(text(kind, bytes), expected);
    }

    /// What `psql` shows for the bytes that `COPY … (FORMAT binary)` has.
    #[test]
    fn values_read_as_postgresql_shows_them() {
        check(Kind::Int4, &(-7i32).to_be_bytes(), "-7");
        check(Kind::Bool, &[1], "true");
        check(Kind::Jsonb, b"\x01{\"a\": 1}", "{\"a\": 1}");
        check(Kind::Bytes, &[0xde, 0xad], "\\xdead");
        check(
            Kind::Uuid,
            &[0x11; 16],
            "11111111-1111-1111-1111-111111111111",
        );
        check(Kind::Date, &0i32.to_be_bytes(), "2000-01-01");
        check(Kind::Date, &59i32.to_be_bytes(), "2000-02-29");
        check(Kind::Date, &(-1i32).to_be_bytes(), "1999-12-31");
        check(Kind::Date, &(-730_119i32).to_be_bytes(), "0001-01-01");
        check(Kind::Date, &(-730_120i32).to_be_bytes(), "0001-12-31 BC");
        check(Kind::Date, &i32::MAX.to_be_bytes(), "infinity");
        check(
            Kind::TimestampTz,
            &1_500_000i64.to_be_bytes(),
            "2000-01-01 00:00:01.5+00",
        );
        check(
            Kind::Timestamp,
            &(-1i64).to_be_bytes(),
            "1999-12-31 23:59:59.999999",
        );
        check(Kind::TimestampTz, &i64::MIN.to_be_bytes(), "-infinity");
    }

    #[test]
    fn numerics_read_digit_by_digit() {
        let number = |weight: i16, sign: u16, scale: u16, digits: &[u16]| {
            let mut bytes = u16::try_from(digits.len()).unwrap().to_be_bytes().to_vec();
            bytes.extend(weight.to_be_bytes());
            bytes.extend(sign.to_be_bytes());
            bytes.extend(scale.to_be_bytes());
            for digit in digits {
                bytes.extend(digit.to_be_bytes());
            }
            bytes
        };
        check(Kind::Numeric, &number(0, 0, 2, &[12, 3400]), "12.34");
        check(Kind::Numeric, &number(1, 0x4000, 0, &[12, 34]), "-120034");
        check(Kind::Numeric, &number(-1, 0, 3, &[50]), "0.005");
        check(Kind::Numeric, &number(0, 0, 2, &[]), "0.00");
        check(Kind::Numeric, &number(0, 0xc000, 0, &[]), "NaN");
        check(Kind::Numeric, &number(1, 0, 1, &[1]), "10000.0");
    }

    #[test]
    fn what_is_no_such_value_is_shown_as_bytes() {
        check(Kind::Int8, &[1, 2], "0102");
        check(Kind::Text, &[0xff], "ff");
        check(Kind::Numeric, &[0], "00");
    }
}
