//! Queries and forms: `name=value&name=value`, percent-encoded.

/// The pairs of a query or a form, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// `None` where an escape is none, or the bytes are not UTF-8.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        });
        pairs.collect::<Option<_>>().map(Self)
    }

    /// The value of `name`, the first where there are several.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// Whether `name` comes more than once.
    pub(super) fn repeats(&self, name: &str) -> bool {
        self.values(name).nth(1).is_some()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(at, _)| at == name);
        named.map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&[(&str, &str)]>) {
        let owned = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            Form(owned.collect())
        };
        assert_eq!(Form::parse(text), expected.map(owned), "{text}");
    }

    #[test]
    fn pairs_are_decoded() {
        check("", Some(&[]));
        check(
            "a=1&b=&c&&d==",
            Some(&[("a", "1"), ("b", ""), ("c", ""), ("d", "=")]),
        );
        check("filter=a%2Cb+c", Some(&[("filter", "a,b c")]));
        check("a=%C3%BC%3a", Some(&[("a", "ü:")]));
        for bad in ["a=%", "a=%2", "a=%2g", "a=%+1", "a=%ff", "%zz=1"] {
            check(bad, None);
        }
    }

    #[test]
    fn the_first_of_several_values_counts() {
        let form = Form::parse("a=1&b=2&a=3").unwrap();
        assert_eq!((form.value("a"), form.value("c")), (Some("1"), None));
        assert!(form.repeats("a") && !form.repeats("b"));
    }
}
