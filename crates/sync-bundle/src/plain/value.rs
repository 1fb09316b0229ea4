//! Values of columns as JSON, and back to the very bytes.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sync_core::rows::{Kind, text};

/// A value as JSON: numbers, `true` and text where that is all there is to it, else its text beside its bytes.
pub(super) fn to_json(kind: Kind, bytes: &[u8]) -> Value {
    let plain = match kind {
        Kind::Bool => bytes.first().map(|byte| json!(*byte == 1)),
        Kind::Int2 => bytes
            .try_into()
            .ok()
            .map(|bytes| json!(i16::from_be_bytes(bytes))),
        Kind::Int4 => bytes
            .try_into()
            .ok()
            .map(|bytes| json!(i32::from_be_bytes(bytes))),
        Kind::Int8 => bytes
            .try_into()
            .ok()
            .map(|bytes| json!(i64::from_be_bytes(bytes))),
        Kind::Text => std::str::from_utf8(bytes).ok().map(|text| json!(text)),
        Kind::Jsonb | Kind::Uuid => Some(json!(text(kind, bytes))),
        _ => None,
    };
    match plain {
        Some(value) if from_json(kind, &value).as_deref() == Some(bytes) => value,
        _ => json!({"hex": HEXLOWER.encode(bytes), "text": text(kind, bytes)}),
    }
}

/// The bytes of a value; `None` where it is none of its kind.
pub(super) fn from_json(kind: Kind, value: &Value) -> Option<Vec<u8>> {
    if let Some(object) = value.as_object() {
        let hex = object.get("hex")?.as_str()?;
        return HEXLOWER.decode(hex.as_bytes()).ok();
    }
    Some(match kind {
        Kind::Bool => vec![u8::from(value.as_bool()?)],
        Kind::Int2 => i16::try_from(value.as_i64()?).ok()?.to_be_bytes().to_vec(),
        Kind::Int4 => i32::try_from(value.as_i64()?).ok()?.to_be_bytes().to_vec(),
        Kind::Int8 => value.as_i64()?.to_be_bytes().to_vec(),
        Kind::Text => value.as_str()?.as_bytes().to_vec(),
        Kind::Jsonb => [&[1], value.as_str()?.as_bytes()].concat(),
        Kind::Uuid => {
            let digits = value.as_str()?.replace('-', "");
            HEXLOWER.decode(digits.as_bytes()).ok()?
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, bytes: &[u8], expected: &Value) {
        let value = to_json(kind, bytes);
        assert_eq!(&value, expected);
        assert_eq!(from_json(kind, &value).as_deref(), Some(bytes));
    }

    #[test]
    fn values_come_back_as_they_were() {
        check(Kind::Bool, &[1], &json!(true));
        check(Kind::Int2, &(-7i16).to_be_bytes(), &json!(-7));
        check(Kind::Int8, &i64::MIN.to_be_bytes(), &json!(i64::MIN));
        check(Kind::Text, "añ\n".as_bytes(), &json!("añ\n"));
        check(Kind::Jsonb, b"\x01{\"a\": 1.50}", &json!("{\"a\": 1.50}"));
        check(
            Kind::Uuid,
            &[0x11; 16],
            &json!("11111111-1111-1111-1111-111111111111"),
        );
        let zero = json!({"hex": "0000000000000000", "text": "2000-01-01 00:00:00+00"});
        check(Kind::TimestampTz, &[0; 8], &zero);
        let nan = f64::from_bits(0x7ff8_0000_0000_0001).to_be_bytes();
        check(
            Kind::Float8,
            &nan,
            &json!({"hex": "7ff8000000000001", "text": "NaN"}),
        );
        // What is no such value stays what it is.
        check(Kind::Bool, &[7], &json!({"hex": "07", "text": "07"}));
        check(Kind::Text, &[0xff], &json!({"hex": "ff", "text": "ff"}));
        assert_eq!(from_json(Kind::Int2, &json!(70_000)), None);
        assert_eq!(from_json(Kind::Date, &json!("2000-01-01")), None);
    }
}
