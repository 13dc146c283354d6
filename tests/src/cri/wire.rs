//! Messages of protobuf by the numbers of their fields (protobuf, "Encoding"), which is all that a client of a few calls needs.

use std::collections::BTreeMap;

/// A message to be.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    /// With a number, or a word of an enumeration.
    #[must_use]
    pub fn number(mut self, field: u32, number: i64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(number.cast_unsigned());
        self
    }

    /// With a text or bytes.
    #[must_use]
    pub fn text(mut self, field: u32, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.varint(u64::from(field) << 3 | 2);
        self.varint(u64::try_from(bytes.len()).expect("a length"));
        self.0.extend_from_slice(bytes);
        self
    }

    /// With several texts of one field.
    #[must_use]
    pub fn texts<T: AsRef<[u8]>>(self, field: u32, texts: impl IntoIterator<Item = T>) -> Self {
        texts
            .into_iter()
            .fold(self, |message, text| message.text(field, text))
    }

    /// With a message in it.
    #[must_use]
    pub fn message(self, field: u32, message: Message) -> Self {
        self.text(field, message.0)
    }

    /// With an entry of a map of texts.
    #[must_use]
    pub fn entry(self, field: u32, name: &str, value: &str) -> Self {
        self.message(field, Message::new().text(1, name).text(2, value))
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A message that was read.
#[derive(Clone, Debug, Default)]
pub struct Read(BTreeMap<u32, Vec<Value>>);

#[derive(Clone, Debug)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Read {
    /// Reads one; what is no message is an empty one.
    #[must_use]
    pub fn of(mut bytes: &[u8]) -> Self {
        let mut read = Self::default();
        while let Some((key, value)) = next(&mut bytes) {
            read.0.entry(key).or_default().push(value);
        }
        read
    }

    /// A number; 0 where there is none.
    #[must_use]
    pub fn number(&self, field: u32) -> i64 {
        match self.0.get(&field).and_then(|values| values.last()) {
            Some(Value::Number(number)) => number.cast_signed(),
            _ => 0,
        }
    }

    /// A text; empty where there is none.
    #[must_use]
    pub fn text(&self, field: u32) -> String {
        match self.0.get(&field).and_then(|values| values.last()) {
            Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    /// A message in it; an empty one where there is none.
    #[must_use]
    pub fn message(&self, field: u32) -> Self {
        self.messages(field).pop().unwrap_or_default()
    }

    /// All messages of one field.
    #[must_use]
    pub fn messages(&self, field: u32) -> Vec<Self> {
        let values = self.0.get(&field).into_iter().flatten();
        let of = |value: &Value| match value {
            Value::Bytes(bytes) => Some(Self::of(bytes)),
            Value::Number(_) => None,
        };
        values.filter_map(of).collect()
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn next(bytes: &mut &[u8]) -> Option<(u32, Value)> {
    let key = varint(bytes)?;
    let field = u32::try_from(key >> 3).ok()?;
    let value = match key & 7 {
        0 => Value::Number(varint(bytes)?),
        kind => {
            let length = match kind {
                1 => 8,
                2 => usize::try_from(varint(bytes)?).ok()?,
                5 => 4,
                _ => return None,
            };
            let (value, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Value::Bytes(value.to_vec())
        }
    };
    Some((field, value))
}
