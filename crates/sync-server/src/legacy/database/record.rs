//! An item of a list: its values, in the order of the list's members.

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::layout::{Collection, Type};

/// Microseconds from 1970 to 2000, where PostgreSQL counts from.
const EPOCH: i64 = 946_684_800_000_000;

/// A value of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'v> {
    /// An import does not say.
    Absent,
    Null,
    Uuid([u8; 16]),
    Text(Cow<'v, str>),
    Bool(bool),
    Int(i64),
    Texts(Vec<Cow<'v, str>>),
    /// Microseconds since 2000 in UTC.
    Time(i64),
}

/// The values of an item, one for each member.
pub(super) type Record<'v> = Box<[Value<'v>]>;

/// An item as JSON.
#[derive(Debug)]
pub(super) struct Item<'i>(pub(super) &'i Collection, pub(super) &'i Record<'i>);

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.1.len()))?;
        for (member, value) in self.0.members.iter().zip(self.1) {
            map.serialize_entry(member.name, value)?;
        }
        map.end()
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Null => serializer.serialize_unit(),
            Self::Uuid(uuid) => serializer.serialize_str(&uuid_text(uuid)),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Texts(texts) => serializer.collect_seq(texts),
            Self::Time(micros) => serializer.serialize_str(&time_text(*micros)),
        }
    }
}

/// What a member that is never null has where the row has nothing.
pub(super) fn nothing(r#type: Type) -> Value<'static> {
    match r#type {
        Type::Uuid => Value::Uuid([0; 16]),
        Type::Text => Value::Text(Cow::Borrowed("")),
        Type::Bool => Value::Bool(true),
        Type::Int => Value::Int(0),
        Type::Texts => Value::Texts(Vec::new()),
        Type::Time => Value::Time(-EPOCH),
    }
}

/// A UUID in its usual spelling.
pub(super) fn uuid_text(uuid: &[u8; 16]) -> String {
    sync_core::rows::text(sync_core::rows::Kind::Uuid, uuid)
}

/// Reads 32 hexadecimal digits in the usual five groups.
pub(super) fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let number = data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).ok()?;
    let uuid = number.try_into().ok()?;
    uuid_text(&uuid).eq_ignore_ascii_case(text).then_some(uuid)
}

/// A UUID for an id that is none: always the same one.
pub(super) fn derived_uuid(text: &str) -> [u8; 16] {
    let mut uuid = [0; 16];
    let digest = blake3::derive_key("sync legacy id 1", text.as_bytes());
    uuid.copy_from_slice(&digest[..16]);
    // RFC 9562: version 8, whose bits are anybody's own.
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// RFC 3339 in UTC. What is before or after the years that it can say is the first or the last of them.
fn time_text(micros: i64) -> String {
    let first = jiff::Timestamp::UNIX_EPOCH - jiff::SignedDuration::from_secs(62_167_219_200);
    let time = jiff::Timestamp::from_microsecond(micros.saturating_add(EPOCH));
    let bound = if micros < 0 {
        first
    } else {
        jiff::Timestamp::MAX
    };
    time.unwrap_or(bound).max(first).to_string()
}

/// Reads RFC 3339 with any offset; digits after the microsecond are dropped.
pub(super) fn time(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    time.as_microsecond().checked_sub(EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_microseconds_in_utc() {
        for (text, shown) in [
            ("2000-01-01T00:00:00Z", "2000-01-01T00:00:00Z"),
            (
                "2024-02-29T01:02:03.123456+02:00",
                "2024-02-28T23:02:03.123456Z",
            ),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5Z"),
            (
                "2024-01-01T00:00:00.1234567Z",
                "2024-01-01T00:00:00.123456Z",
            ),
        ] {
            assert_eq!(time_text(time(text).unwrap()), shown);
        }
        assert_eq!(time("2000-01-01T00:00:00Z"), Some(0));
        assert!(time("yesterday").is_none() && time("2024-01-01T00:00:00").is_none());
        assert!(time_text(i64::MIN).starts_with("0000-01-01T00:00:00"));
        assert!(time_text(i64::MAX).starts_with("9999-12-"));
    }

    #[test]
    fn uuids_have_one_spelling() {
        let text = "0190163d-8694-739b-aea5-966c26f8ad91";
        assert_eq!(
            uuid(text).map(|uuid| uuid_text(&uuid)).as_deref(),
            Some(text)
        );
        assert_eq!(uuid(&text.to_uppercase()), uuid(text));
        for bad in ["", "x", "0190163d8694739baea5966c26f8ad91", &text[1..]] {
            assert_eq!(uuid(bad), None, "{bad}");
        }
        let derived = derived_uuid("triage");
        assert_eq!(derived, derived_uuid("triage"));
        assert_ne!(derived, derived_uuid("other"));
        assert_eq!(uuid_text(&derived).as_bytes()[14], b'8');
    }
}
