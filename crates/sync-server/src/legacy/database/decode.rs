//! The body of an import, item by item: texts are borrowed from the body.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::layout::{Collection, Layout, Member, Type};
use super::record::{Record, Value, time, uuid};
use super::refusal::ImportRefusal;
use crate::Error;
use crate::error::MalformedSnafu;

/// So much of what is wrong is told.
const MAX_TOLD: usize = 300;

/// What an import brings.
#[derive(Debug, Default)]
pub(super) struct Import<'b> {
    /// The lists in the order of the layout's; `None` where one did not come.
    pub(super) lists: [Option<Vec<Record<'b>>>; 3],
    /// When it was exported, in microseconds since 2000.
    pub(super) exported: Option<i64>,
    pub(super) strategy: Option<String>,
}

/// Reads a body.
///
/// # Errors
///
/// [`Error::Malformed`] where it is no JSON, [`Error::Import`] where it is JSON of another shape.
pub(super) fn decode(layout: Layout, body: &[u8]) -> Result<Import<'_>, Error> {
    let malformed = |reason: &str| MalformedSnafu { reason }.build();
    // Members that are read over are not looked at by serde.
    let text = std::str::from_utf8(body).map_err(|_| malformed("the body is not UTF-8"))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = BodySeed(layout).deserialize(&mut deserializer);
    let read = read.and_then(|import| deserializer.end().map(|()| import));
    read.map_err(|error| {
        let mut told = error.to_string();
        if told.len() > MAX_TOLD {
            told.truncate(told.floor_char_boundary(MAX_TOLD));
            told.push('…');
        }
        match error.classify() {
            serde_json::error::Category::Data => ImportRefusal::Shape.at(told),
            _ => malformed(&format!("the body is not JSON: {told}")),
        }
    })
}

#[derive(Clone, Copy)]
struct BodySeed(Layout);

impl<'de> DeserializeSeed<'de> for BodySeed {
    type Value = Import<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodySeed {
    type Value = Import<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with lists of items")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut import = Import::default();
        while let Some(name) = map.next_key::<String>()? {
            if let Some(position) = self.0.position(&name) {
                let collection = &self.0.collections()[position];
                let list = map.next_value_seed(ListSeed(collection))?;
                if import.lists[position].replace(list).is_some() {
                    return Err(A::Error::custom(format!(
                        "`{}` comes twice",
                        collection.name
                    )));
                }
            } else if name == self.0.timestamp() {
                let Value::Time(exported) = map.next_value_seed(ValueSeed(Type::Time))? else {
                    return Err(A::Error::custom(format!("`{name}` is null")));
                };
                import.exported = Some(exported);
            } else if name == "merge_strategy" {
                import.strategy = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let lacking = self.0.collections().iter().zip(&import.lists);
        let lacking = lacking
            .filter(|(_, list)| list.is_none())
            .map(|(c, _)| c.name);
        let lacking = lacking.chain(import.exported.is_none().then_some(self.0.timestamp()));
        match lacking.into_iter().next() {
            // The clients that send this layout read and write all of it.
            Some(name) if self.0 == Layout::Cloud => {
                Err(A::Error::custom(format!("`{name}` is missing")))
            }
            _ => Ok(import),
        }
    }
}

#[derive(Clone, Copy)]
struct ListSeed(&'static Collection);

impl<'de> DeserializeSeed<'de> for ListSeed {
    type Value = Vec<Record<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListSeed {
    type Value = Vec<Record<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the list `{}`", self.0.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(ItemSeed(self.0))? {
            list.push(item);
        }
        Ok(list)
    }
}

#[derive(Clone, Copy)]
struct ItemSeed(&'static Collection);

impl<'de> DeserializeSeed<'de> for ItemSeed {
    type Value = Record<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ItemSeed {
    type Value = Record<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an item of `{}`", self.0.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let members = self.0.members;
        let mut values: Record<'de> = members.iter().map(|_| Value::Absent).collect();
        while let Some(name) = map.next_key::<String>()? {
            let Some(position) = self.0.member(&name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if values[position] != Value::Absent {
                return Err(A::Error::custom(format!("`{name}` comes twice in an item")));
            }
            values[position] = map.next_value_seed(ValueSeed(members[position].r#type))?;
        }
        let lacks = |(member, value): &(&Member, &Value<'_>)| {
            member.is_needed && matches!(value, Value::Absent | Value::Null)
        };
        match members.iter().zip(&values).find(lacks) {
            Some((member, _)) => Err(A::Error::custom(format!(
                "an item of `{}` has no `{}`",
                self.0.name, member.name
            ))),
            None => Ok(values),
        }
    }
}

#[derive(Clone, Copy)]
struct ValueSeed(Type);

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl ValueSeed {
    fn text<E: serde::de::Error>(self, text: Cow<'_, str>) -> Result<Value<'_>, E> {
        let parsed = match self.0 {
            Type::Text if text.contains('\0') => {
                return Err(E::custom("a text has a character U+0000"));
            }
            Type::Text => return Ok(Value::Text(text)),
            Type::Uuid => uuid(&text).map(Value::Uuid),
            Type::Time => time(&text).map(Value::Time),
            Type::Bool | Type::Int | Type::Texts => None,
        };
        parsed.ok_or_else(|| E::custom(format!("a text is no {self}")))
    }
}

impl fmt::Display for ValueSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Type::Uuid => "UUID",
            Type::Text => "text without U+0000",
            Type::Bool => "boolean",
            Type::Int => "integer",
            Type::Texts => "list of texts",
            Type::Time => "time as RFC 3339 has it",
        })
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {self}")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        match self.0 {
            Type::Bool => Ok(Value::Bool(value)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        match self.0 {
            Type::Int => Ok(Value::Int(number)),
            _ => Err(E::invalid_type(
                serde::de::Unexpected::Signed(number),
                &self,
            )),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        let unexpected = serde::de::Unexpected::Unsigned(number);
        let signed = i64::try_from(number).map_err(|_| E::invalid_value(unexpected, &self))?;
        self.visit_i64(signed)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.text(Cow::Owned(text.to_owned()))
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.text(Cow::Borrowed(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        if self.0 != Type::Texts {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        }
        let mut texts = Vec::new();
        while let Some(item) = items.next_element_seed(ValueSeed(Type::Text))? {
            let Value::Text(text) = item else {
                return Err(A::Error::custom("a list of texts has a null"));
            };
            texts.push(text);
        }
        Ok(Value::Texts(texts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: &str =
        r#""created_at":"2024-01-01T00:00:00Z","updated_at":"2024-01-02T00:00:00Z""#;

    /// `Ok` with the number of items, or the reason: `json`, `shape`.
    #[track_caller]
    fn check(layout: Layout, body: &str, expected: Result<usize, &str>) {
        let body = body.replace("TIMES", TIMES);
        let read = decode(layout, body.as_bytes());
        let found = match &read {
            Ok(import) => Ok(import.lists.iter().flatten().map(Vec::len).sum()),
            Err(Error::Malformed { .. }) => Err("json"),
            Err(Error::Import { refusal, .. }) => Err(refusal.name()),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, expected, "{read:?}");
    }

    fn cloud(agents: &str) -> String {
        format!(
            r#"{{"agents":[{agents}],"skills":[],"contexts":[],"timestamp":"2024-01-01T00:00:00Z"}}"#
        )
    }

    const ID: &str = r#""id":"0190163d-8694-739b-aea5-966c26f8ad91""#;

    #[test]
    fn bodies_of_relay_routes() {
        let check = |body: &str, expected| check(Layout::Cloud, body, expected);
        check(&cloud(""), Ok(0));
        check(&cloud(&format!(r#"{{{ID},"name":"a",TIMES}}"#)), Ok(1));
        check(
            &cloud(&format!(
                r#"{{{ID},"name":"\u0061","system_prompt":null,"more":[{{}}],TIMES}}"#
            )),
            Ok(1),
        );
        for shape in [
            format!("{{{ID},TIMES}}"),
            format!(r#"{{{ID},"name":null,TIMES}}"#),
            format!(r#"{{{ID},"name":"a\u0000b",TIMES}}"#),
            format!(r#"{{{ID},"name":"a","name":"b",TIMES}}"#),
            format!(r#"{{{ID},"name":7,TIMES}}"#),
            format!(r#"{{{ID},"name":["a"],TIMES}}"#),
            format!(r#"{{{ID},"name":"a","created_at":"yesterday","updated_at":null}}"#),
            r#"{"id":"7","name":"a",TIMES}"#.to_owned(),
            "null".to_owned(),
        ] {
            check(&cloud(&shape), Err("shape"));
        }
        for shape in [
            "{}",
            "[]",
            r#""text""#,
            r#"{"agents":[],"skills":[],"contexts":[]}"#,
            r#"{"agents":[],"agents":[],"skills":[],"contexts":[],"timestamp":"2024-01-01T00:00:00Z"}"#,
            r#"{"agents":{},"skills":[],"contexts":[],"timestamp":"2024-01-01T00:00:00Z"}"#,
        ] {
            check(shape, Err("shape"));
        }
        // Members that nobody knows are read over, however deep they go.
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        check(&format!(r#"{{"x":{deep}}}"#), Err("shape"));
        let whole = cloud("");
        for json in ["", "{", &whole[..whole.len() - 1], &format!("{whole}x")] {
            check(json, Err("json"));
        }
        let huge = "x".repeat(1 << 20);
        let huge = cloud(&format!(r#""{huge}""#));
        let told = decode(Layout::Cloud, huge.as_bytes());
        assert!(told.unwrap_err().to_string().len() < 500);
        assert!(decode(Layout::Cloud, b"{\"x\":\"\xff\"}").is_err());
    }

    #[test]
    fn bodies_of_direct_routes() {
        let check = |body: &str, expected| check(Layout::Server, body, expected);
        check("{}", Ok(0));
        check(r#"{"agents":[{"name":"a","port":8080,TIMES}]}"#, Ok(1));
        check(
            r#"{"skills":[{"skill_id":"s","name":"S","enabled":false,"tags":["a","b"],TIMES}]}"#,
            Ok(1),
        );
        for shape in [
            r#"{"services":[],"agents":[]}"#,
            r#"{"services":[{"name":"a","port":"8080",TIMES}]}"#,
            r#"{"services":[{"name":"a","port":8080.5,TIMES}]}"#,
            r#"{"services":[{"name":"a","port":18446744073709551615,TIMES}]}"#,
            r#"{"skills":[{"skill_id":"s","name":"S","tags":["a",null],TIMES}]}"#,
            r#"{"skills":[{"skill_id":"s","name":"S","tags":"a",TIMES}]}"#,
            r#"{"skills":[{"skill_id":"s","name":"S","enabled":1,TIMES}]}"#,
            r#"{"exported_at":null}"#,
            r#"{"merge_strategy":1}"#,
        ] {
            check(shape, Err("shape"));
        }
    }
}
