//! A record of `key=value` fields as docker's `--mount` writes it: one line of CSV (RFC 4180, Go's encoding/csv).
//!
//! Fields may be quoted (`"source=/a,b"`, a quote within doubled); a quote inside of an unquoted field is an error, not
//! part of a name. `%`, `+` and `\` mean themselves. Two things differ from Go, since there they change a path
//! silently: an unquoted line break is an error and not the end of the record, and a quoted one stays as it is.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::FlagFault;
use crate::words::{either, nearest, shown};

/// A key of a record: its name first, then the other spellings that are accepted.
pub(super) type RecordKey = &'static [&'static str];

/// Splits a record into its fields.
pub(super) fn split(text: &OsStr) -> Result<Vec<Vec<u8>>, FlagFault> {
    if text.is_empty() {
        return Err(FlagFault::form("it is empty"));
    }
    let mut fields = Vec::new();
    let mut rest = text.as_bytes();
    loop {
        let (field, after) = match rest.strip_prefix(b"\"") {
            Some(quoted) => take_quoted(quoted)?,
            None => take_plain(rest)?,
        };
        if field.is_empty() {
            return Err(FlagFault::form("a field is empty"));
        }
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// A field, and what follows the comma behind it.
type Taken<'a> = (Vec<u8>, Option<&'a [u8]>);

fn take_plain(text: &[u8]) -> Result<Taken<'_>, FlagFault> {
    let end = text.iter().position(|b| *b == b',').unwrap_or(text.len());
    let field = &text[..end];
    let quote =
        Some("write the whole field in quotes, and a quote within it twice: `\"source=/a \"\"b\"\"\"`");
    if field.contains(&b'"') {
        return Err(FlagFault::Form {
            fault: "a quote stands in a field that does not begin with one",
            hint: quote,
        });
    }
    if field.iter().any(|b| matches!(b, b'\n' | b'\r')) {
        return Err(FlagFault::Form {
            fault: "a line break stands in a field without quotes",
            hint: quote,
        });
    }
    Ok((field.to_vec(), text.get(end + 1..)))
}

fn take_quoted(text: &[u8]) -> Result<Taken<'_>, FlagFault> {
    let mut field = Vec::new();
    let mut rest = text;
    loop {
        let Some(quote) = rest.iter().position(|b| *b == b'"') else {
            return Err(FlagFault::form("a quoted field does not end"));
        };
        field.extend_from_slice(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.first() {
            None => return Ok((field, None)),
            Some(b',') => return Ok((field, Some(&rest[1..]))),
            Some(b'"') => field.push(b'"'),
            Some(_) => {
                return Err(FlagFault::form(
                    "something stands between a closing quote and the next comma",
                ));
            }
        }
        rest = &rest[1..];
    }
}

/// The keys of a record and their values, to be taken one by one.
pub(super) struct Record {
    fields: Vec<(&'static str, Option<OsString>)>,
}

impl Record {
    /// Reads `fields` as `key=value` or `key`. A key that is not in `known` and a key given twice are faults.
    pub(super) fn read(fields: Vec<Vec<u8>>, known: &[RecordKey]) -> Result<Self, FlagFault> {
        let mut record = Self { fields: Vec::new() };
        for field in fields {
            let (key, value) = match field.iter().position(|b| *b == b'=') {
                Some(equals) => (
                    &field[..equals],
                    Some(OsString::from_vec(field[equals + 1..].to_vec())),
                ),
                None => (&field[..], None),
            };
            let key = canonical(OsStr::from_bytes(key), known)?;
            if record.has(key) {
                return Err(FlagFault::DoubledKey { key });
            }
            record.fields.push((key, value));
        }
        Ok(record)
    }

    /// Whether `key` is there, and was not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.fields.iter().any(|(name, _)| *name == key)
    }

    /// Takes the bytes of `key`.
    pub(super) fn bytes(&mut self, key: &'static str) -> Result<Option<OsString>, FlagFault> {
        match self.take(key) {
            None => Ok(None),
            Some(None) => Err(FlagFault::NoValue { key }),
            Some(Some(value)) => Ok(Some(value)),
        }
    }

    /// Takes `key` and reads it with `read`, which gives `None` for what is not `expected`.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, FlagFault> {
        let Some(value) = self.bytes(key)? else {
            return Ok(None);
        };
        match value.to_str().and_then(read) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(FlagFault::value(key, value, expected)),
        }
    }

    /// Takes `key` and reads it as Go's `strconv.ParseBool` does; without a value it is true.
    pub(super) fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, FlagFault> {
        if self
            .fields
            .iter()
            .any(|(name, value)| *name == key && value.is_none())
        {
            self.take(key);
            return Ok(Some(true));
        }
        self.parsed(key, "`true` or `false`", |text| match text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
            _ => None,
        })
    }

    /// The key of a field that nothing took.
    pub(super) fn left_over(&self) -> Option<&'static str> {
        self.fields.first().map(|(key, _)| *key)
    }

    fn take(&mut self, key: &str) -> Option<Option<OsString>> {
        let index = self.fields.iter().position(|(name, _)| *name == key)?;
        Some(self.fields.remove(index).1)
    }
}

fn canonical(key: &OsStr, known: &[RecordKey]) -> Result<&'static str, FlagFault> {
    let text = shown(key);
    if let Some(names) = known.iter().find(|names| names.iter().any(|name| key == *name)) {
        return Ok(names[0]);
    }
    let firsts: Vec<_> = known.iter().map(|names| names[0]).collect();
    let hint = match nearest(&text, firsts.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("the keys are {}", either(&firsts).replace(" or ", " and ")),
    };
    Err(FlagFault::Unknown {
        what: "key",
        name: text,
        hint,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(text: &str) -> Result<Vec<String>, FlagFault> {
        let fields = split(OsStr::new(text))?;
        Ok(fields
            .into_iter()
            .map(|field| String::from_utf8(field).unwrap())
            .collect())
    }

    #[test]
    fn splits_as_encoding_csv_does() {
        assert_eq!(fields("a,b=c").unwrap(), ["a", "b=c"]);
        assert_eq!(fields(r#"a,"b=c,d",e"#).unwrap(), ["a", "b=c,d", "e"]);
        assert_eq!(fields(r#""b=""c"" d""#).unwrap(), [r#"b="c" d"#]);
        assert_eq!(fields("a, b ,%2C+\\").unwrap(), ["a", " b ", "%2C+\\"]);
        assert_eq!(fields("\"a\nb\"").unwrap(), ["a\nb"]);
        for bad in [
            "", ",", "a,", ",a", "a,,b", "a\"b", "a,b\"", "\"a", "\"a\"b", "\"a\" ,b", "\"", "\"\"", "a\nb",
        ] {
            assert!(fields(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = split(OsStr::from_bytes(&bytes));
        }

        #[test]
        fn a_quoted_field_comes_back_unchanged(fields in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 1..5)) {
            let quoted: Vec<Vec<u8>> = fields
                .iter()
                .map(|field| {
                    let mut out = vec![b'"'];
                    for byte in field {
                        out.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
                    }
                    out.push(b'"');
                    out
                })
                .collect();
            prop_assert_eq!(split(OsStr::from_bytes(&quoted.join(&b','))).unwrap(), fields);
        }
    }
}
