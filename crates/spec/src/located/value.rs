//! YAML and JSON documents as values that know their place in the file.
//!
//! Which field a value belongs to, and whether it may stand there, is not known here. Scalars are what YAML 1.1 makes of
//! them (`yes` is a boolean, `0644` octal), for that is how `kubectl` reads a file. JSON is read alike; where a file must be
//! JSON, serde_json says first whether it is: it is strict, and explains well.

use std::fmt;
use std::ops::Range;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, Spanned, Tagged};

/// A line and a column, each from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) line: usize,
    /// In characters.
    pub(crate) column: usize,
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
pub(crate) struct Value {
    pub(crate) at: At,
    /// The bytes of the file that it is, where it is a scalar.
    pub(crate) bytes: Range<usize>,
    pub(crate) tag: Tag,
    pub(crate) kind: Kind,
}

/// The tags of YAML that say something: those of compose files, by which a later file takes back what one before it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tag {
    /// None, or one that says nothing.
    #[default]
    None,
    /// `!reset`: what stands there is nothing.
    Reset,
    /// `!override`: what stands there is this alone.
    Override,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Null,
    Boolean(bool),
    Integer(i64),
    /// A number with a fraction, or beyond 64 bits.
    Number(f64),
    Text(String),
    List(Vec<Value>),
    /// In the order of the file; a key may be there twice.
    Map(Vec<(Key, Value)>),
}

/// A mapping's key and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) at: At,
    pub(crate) text: String,
}

/// The most values of a YAML file, with what its aliases stand for.
const MAX_YAML_VALUES: usize = 250_000;

/// The most values of a JSON file, which says each of them itself.
const MAX_JSON_VALUES: usize = 4_000_000;

/// Reads every document of `text`, which is YAML, or JSON values one after the other; empty ones are left out.
///
/// # Errors
/// The first thing that is no YAML or beyond the limits (64 levels, 250,000 values, a bounded replay of aliases), and
/// where it stands.
pub(crate) fn read_yaml(text: &str) -> Result<Vec<Value>, (At, String)> {
    let parts = json_values(text);
    if parts.len() < 2 {
        return read(text, MAX_YAML_VALUES);
    }
    let (mut documents, mut before) = (Vec::new(), Begin::default());
    for part in parts {
        before = before.to(text, part.start);
        let read = read(&text[part], MAX_YAML_VALUES);
        let values = read.map_err(|(at, message)| (before.shifted(at), message))?;
        documents.extend(values.into_iter().map(|value| before.of(value)));
        if documents.len() > MAX_YAML_VALUES {
            return Err((
                before.shifted(At { line: 1, column: 1 }),
                "it has too many values".to_owned(),
            ));
        }
    }
    Ok(documents)
}

/// Where the JSON values of `text` are, which follow each other without a mark of YAML's, as `jq` and many a tool writes
/// them; none where it is anything else.
fn json_values(text: &str) -> Vec<Range<usize>> {
    let blank = |c: char| c.is_ascii_whitespace();
    if !text.trim_start_matches(blank).starts_with('{') {
        return Vec::new();
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<de::IgnoredAny>();
    let mut parts = Vec::new();
    loop {
        let begin = values.byte_offset();
        match values.next() {
            None => return parts,
            Some(Err(_)) => return Vec::new(),
            Some(Ok(_)) => {
                let end = values.byte_offset();
                let part = &text[begin..end];
                parts.push(end - part.trim_start_matches(blank).len()..end);
            }
        }
    }
}

/// Where a part of a file begins.
#[derive(Clone, Copy, Debug, Default)]
struct Begin {
    byte: usize,
    /// How many lines are before its own.
    lines: usize,
    /// How many characters are before it in its line.
    columns: usize,
}

impl Begin {
    /// The place at the byte `byte` of `text`, which is behind this one.
    fn to(self, text: &str, byte: usize) -> Self {
        let between = &text[self.byte..byte];
        match between.rsplit_once('\n') {
            Some((lines, last)) => Self {
                byte,
                lines: self.lines + lines.matches('\n').count() + 1,
                columns: last.chars().count(),
            },
            None => Self {
                byte,
                columns: self.columns + between.chars().count(),
                ..self
            },
        }
    }

    /// A place of the part as one of the file.
    fn shifted(self, at: At) -> At {
        At {
            line: at.line + self.lines,
            column: if at.line == 1 {
                at.column + self.columns
            } else {
                at.column
            },
        }
    }

    /// A value of the part as one of the file.
    fn of(self, value: Value) -> Value {
        let kind = match value.kind {
            Kind::List(items) => Kind::List(items.into_iter().map(|item| self.of(item)).collect()),
            Kind::Map(entries) => {
                let entry = |(key, value): (Key, Value)| {
                    let key = Key {
                        at: self.shifted(key.at),
                        ..key
                    };
                    (key, self.of(value))
                };
                Kind::Map(entries.into_iter().map(entry).collect())
            }
            scalar => scalar,
        };
        Value {
            at: self.shifted(value.at),
            bytes: value.bytes.start + self.byte..value.bytes.end + self.byte,
            tag: value.tag,
            kind,
        }
    }
}

fn read(text: &str, max_values: usize) -> Result<Vec<Value>, (At, String)> {
    let mut budget = serde_saphyr::Budget::default();
    budget.max_nodes = max_values;
    budget.max_events = 4 * max_values;
    let mut options = serde_saphyr::Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.legacy_octal_numbers = true;
    options.with_snippet = false;
    options.budget = Some(budget);
    let documents: Result<Vec<Value>, _> = serde_saphyr::from_multiple_with_options(text, options);
    match documents {
        Ok(documents) => Ok(documents
            .into_iter()
            .filter(|value| value.kind != Kind::Null)
            .collect()),
        Err(error) => {
            let at = error.location().map_or(At { line: 1, column: 1 }, At::from);
            Err((at, limits(plain(&error.to_string()))))
        }
    }
}

/// What the reader says of its limits, in words.
fn limits(message: String) -> String {
    match message.strip_prefix("budget breached: ") {
        Some(limit) if limit.starts_with("Depth") => "it has more than 64 levels".to_owned(),
        Some(limit) if limit.starts_with("Nodes") => "it has too many values".to_owned(),
        _ => message,
    }
}

/// Reads `text`, which is JSON and one value.
///
/// # Errors
/// The first thing that is no JSON or beyond the limits (64 levels, 4,000,000 values), and where it stands.
pub(crate) fn read_json(text: &str) -> Result<Value, (At, String)> {
    let begin = At { line: 1, column: 1 };
    if let Err(error) = serde_json::from_str::<de::IgnoredAny>(text) {
        let at = At {
            line: error.line().max(1),
            column: error.column().max(1),
        };
        return Err((at, plain(&error.to_string())));
    }
    let null = || Value {
        at: begin,
        bytes: 0..0,
        tag: Tag::None,
        kind: Kind::Null,
    };
    Ok(read(text, MAX_JSON_VALUES)?
        .into_iter()
        .next()
        .unwrap_or_else(null))
}

/// The first line of a message, without the place, which is apart.
fn plain(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.split(" at line ").next().unwrap_or(line).to_owned()
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tagged<Kind>>::deserialize(deserializer)?;
        let span = spanned.referenced.span();
        let count = |number: Option<u64>| {
            number
                .and_then(|number| usize::try_from(number).ok())
                .unwrap_or_default()
        };
        let begin = count(span.byte_offset());
        Ok(Self {
            at: spanned.referenced.into(),
            bytes: begin..begin.saturating_add(count(span.byte_len())),
            tag: match spanned.value.1.as_deref() {
                Some("!reset") => Tag::Reset,
                Some("!override") => Tag::Override,
                _ => Tag::None,
            },
            kind: spanned.value.0,
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
            let key = Key {
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
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Kind {
        let mut documents = read_yaml(text).unwrap();
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
        let documents = read_yaml("---\na: 1\n---\n# nothing\n---\n{\"b\": [1, 2]}\n").unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1].at.line, 6);
        assert!(read_yaml("").unwrap().is_empty());
    }

    #[test]
    fn json_values_may_follow_each_other() {
        let text = "{\"a\": 1}{\"ä\":\n \"b\"}  {\"c\": [10]}\n";
        let documents = read_yaml(text).unwrap();
        assert_eq!(documents.len(), 3);
        let Kind::Map(second) = &documents[1].kind else {
            panic!()
        };
        assert_eq!(
            (second[0].0.at, second[0].1.at),
            (At { line: 1, column: 10 }, At { line: 2, column: 2 })
        );
        let Kind::Map(third) = &documents[2].kind else {
            panic!()
        };
        let Kind::List(items) = &third[0].1.kind else {
            panic!()
        };
        assert_eq!(items[0].at, At { line: 2, column: 15 });
        assert_eq!(&text[items[0].bytes.clone()], "10");
        // With anything else between them it is YAML, or nothing.
        assert_eq!(read_yaml("{\"a\": 1}\n---\n{\"b\": 1}\n").unwrap().len(), 2);
        assert!(read_yaml("{\"a\": 1}, {\"b\": 1}").is_err());
        assert!(read_yaml("{\"a\": 1} {\"b\": }").is_err());
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        let (at, message) = read_yaml("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(at.line >= 2, "{at:?} {message}");
        assert!(!message.is_empty() && !message.contains('\n'), "{message}");
        let bomb = (0..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            format!("{text}a{}: &a{} [*a{n}, *a{n}, *a{n}]\n", n + 1, n + 1)
        });
        assert!(read_yaml(&bomb).is_err());
        assert!(read_yaml(&"[".repeat(10_000)).is_err());
    }

    fn as_json(value: &Value) -> serde_json::Value {
        match &value.kind {
            Kind::Null => serde_json::Value::Null,
            Kind::Boolean(value) => (*value).into(),
            Kind::Integer(value) => (*value).into(),
            Kind::Number(value) => (*value).into(),
            Kind::Text(text) => text.as_str().into(),
            Kind::List(items) => items.iter().map(as_json).collect(),
            Kind::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.text.clone(), as_json(value)))
                .collect(),
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let scalar = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            (-1e9..1e9f64).prop_map(Into::into),
            "(true|no|~|null|0x1f|0644|1e3|-|<<|\\*a|&a|!b|---|k: v|# c)".prop_map(Into::into),
            "\\PC{0,8}".prop_map(Into::into),
            "[\\n\\t\\r\"\\\\/ é\u{1f600}\u{7}:#-]{0,8}".prop_map(Into::into),
        ];
        scalar.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map("[a-z\\n:é# -]{0,6}", inner, 0..5)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        /// JSON is read as what it is, whatever YAML would make of plain words; a scalar is where it is written.
        #[test]
        fn json_is_read_as_json(value in json(), pretty in any::<bool>()) {
            let text = match pretty {
                true => serde_json::to_string_pretty(&value),
                false => serde_json::to_string(&value),
            };
            let text = text.unwrap();
            let read = read_json(&text).unwrap();
            prop_assert_eq!(as_json(&read), value, "{}", text);
            if let Kind::Integer(number) = read.kind {
                prop_assert_eq!(&text[read.bytes.clone()], number.to_string());
            }
        }
    }

    #[test]
    fn numbers_are_known_as_they_are_written() {
        let text = "{\"ä\": [1e3, -0.50,\n 12345678901234567890]}";
        let Kind::Map(entries) = read_json(text).unwrap().kind else {
            panic!()
        };
        let Kind::List(items) = &entries[0].1.kind else {
            panic!()
        };
        let written: Vec<&str> = items.iter().map(|item| &text[item.bytes.clone()]).collect();
        assert_eq!(written, ["1e3", "-0.50", "12345678901234567890"]);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "", "a: 1", "{'a': 1}", "[1, 2,]", "[0644]", "{} {}", "[yes]", "// x\n1",
        ] {
            assert!(read_json(text).is_err(), "{text}");
        }
    }
}
