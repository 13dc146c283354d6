//! YAML documents as values that know their place in the file.
//!
//! Which field a value belongs to, and whether it may stand there, is not known here. Scalars are what YAML 1.1 makes of
//! them (`yes` is a boolean, `0644` octal), for that is how `kubectl` reads a file; JSON is read alike.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, Spanned};

/// A line and a column, each from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) line: usize,
    /// In characters.
    pub(super) column: usize,
}

impl From<Location> for At {
    fn from(location: Location) -> Self {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
        Self {
            line: count(location.line()),
            column: count(location.column()),
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) at: At,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Boolean(bool),
    Integer(i64),
    /// A number with a fraction, or beyond 64 bits.
    Number(f64),
    Text(String),
    List(Vec<Value>),
    /// In the order of the file; a key may be there twice.
    Map(Vec<(YamlKey, Value)>),
}

/// A mapping's key and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct YamlKey {
    pub(super) at: At,
    pub(super) text: String,
}

/// Reads every document of `text`; empty ones are left out.
///
/// # Errors
/// The first thing that is no YAML or beyond the limits (64 levels, 250,000 nodes, a bounded replay of aliases), and
/// where it stands.
pub(super) fn read(text: &str) -> Result<Vec<Value>, (At, String)> {
    let mut options = serde_saphyr::Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.legacy_octal_numbers = true;
    options.with_snippet = false;
    let documents: Result<Vec<Value>, _> = serde_saphyr::from_multiple_with_options(text, options);
    match documents {
        Ok(documents) => Ok(documents
            .into_iter()
            .filter(|value| value.kind != Kind::Null)
            .collect()),
        Err(error) => {
            let at = error.location().map_or(At { line: 1, column: 1 }, At::from);
            Err((at, plain(&error.to_string())))
        }
    }
}

/// The first line of a message, without the place that is told apart.
fn plain(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.split(" at line ").next().unwrap_or(line).to_owned()
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self {
            at: spanned.referenced.into(),
            kind: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Boolean(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Kind, E> {
        Ok(i64::try_from(value).map_or(Kind::Number(value as f64), Kind::Integer))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Kind, E> {
        Ok(Kind::Number(value as f64))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Kind, E> {
        Ok(Kind::Number(value as f64))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Number(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Kind, E> {
        Err(E::custom(
            "`!!binary` is not a type of the API's; write base64 as text",
        ))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = YamlKey {
                at: key.referenced.into(),
                text: key.value,
            };
            entries.push((key, map.next_value()?));
        }
        Ok(Kind::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Kind {
        let mut documents = read(text).unwrap();
        assert_eq!(documents.len(), 1, "{text}");
        documents.remove(0).kind
    }

    #[test]
    fn scalars_are_what_kubectl_makes_of_them() {
        for (text, kind) in [
            ("yes", Kind::Boolean(true)),
            ("'yes'", Kind::Text("yes".into())),
            ("8080", Kind::Integer(8080)),
            ("\"8080\"", Kind::Text("8080".into())),
            ("0644", Kind::Integer(0o644)),
            ("0o1777", Kind::Integer(0o1777)),
            ("01777", Kind::Integer(0o1777)),
            ("0.5", Kind::Number(0.5)),
            ("500m", Kind::Text("500m".into())),
            ("1Gi", Kind::Text("1Gi".into())),
            ("-1", Kind::Integer(-1)),
            ("[]", Kind::List(Vec::new())),
        ] {
            assert_eq!(one(text), kind, "{text}");
        }
        let Kind::Map(entries) = one("a: ~") else { panic!() };
        assert_eq!(entries[0].1.kind, Kind::Null);
    }

    #[test]
    fn every_value_and_key_knows_its_place() {
        let Kind::Map(entries) = one("a: 1\nb:\n  - x: {ä: 2, c: 3}\na: 2\n") else {
            panic!()
        };
        let keys: Vec<_> = entries
            .iter()
            .map(|(key, _)| (key.text.as_str(), key.at.line, key.at.column))
            .collect();
        assert_eq!(keys, [("a", 1, 1), ("b", 2, 1), ("a", 4, 1)]);
        let Kind::List(items) = &entries[1].1.kind else {
            panic!()
        };
        assert_eq!((items[0].at.line, items[0].at.column), (3, 5));
        let Kind::Map(inner) = &items[0].kind else {
            panic!()
        };
        let Kind::Map(inner) = &inner[0].1.kind else {
            panic!()
        };
        assert_eq!((inner[1].0.at.column, inner[1].1.at.column), (15, 18));
    }

    #[test]
    fn documents_are_read_apart_and_empty_ones_left_out() {
        let documents = read("---\na: 1\n---\n# nothing\n---\n{\"b\": [1, 2]}\n").unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1].at.line, 6);
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        let (at, message) = read("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(at.line >= 2, "{at:?} {message}");
        assert!(!message.is_empty() && !message.contains('\n'), "{message}");
        let bomb = (0..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            format!("{text}a{}: &a{} [*a{n}, *a{n}, *a{n}]\n", n + 1, n + 1)
        });
        assert!(read(&bomb).is_err());
        assert!(read(&"[".repeat(10_000)).is_err());
    }
}
