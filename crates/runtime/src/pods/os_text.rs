//! Text of the operating system's, which need not be UTF-8, in files that are JSON.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A word of a command line, or a path: text where it is UTF-8, otherwise its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OsText {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

impl Serialize for OsText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // Formats that do not describe themselves have bytes only.
            OsText::Text(text) if serializer.is_human_readable() => text.serialize(serializer),
            OsText::Text(text) => text.as_bytes().serialize(serializer),
            OsText::Bytes(bytes) => bytes.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for OsText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Readable {
            Text(String),
            Bytes(Vec<u8>),
        }
        if deserializer.is_human_readable() {
            return Ok(match Readable::deserialize(deserializer)? {
                Readable::Text(text) => OsText::Text(text),
                Readable::Bytes(bytes) => OsText::Bytes(bytes),
            });
        }
        let bytes = Vec::deserialize(deserializer)?;
        Ok(String::from_utf8(bytes).map_or_else(|error| OsText::Bytes(error.into_bytes()), OsText::Text))
    }
}

impl From<&OsStr> for OsText {
    fn from(word: &OsStr) -> Self {
        match word.to_str() {
            Some(text) => OsText::Text(text.to_owned()),
            None => OsText::Bytes(word.as_bytes().to_vec()),
        }
    }
}

impl From<OsText> for OsString {
    fn from(word: OsText) -> Self {
        match word {
            OsText::Text(text) => text.into(),
            OsText::Bytes(bytes) => OsString::from_vec(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        for bytes in [&b"plain"[..], b"\xff\0x", b""] {
            let word = OsText::from(OsStr::from_bytes(bytes));
            let text = serde_json::to_string(&word).unwrap();
            let back: OsText = serde_json::from_str(&text).unwrap();
            assert_eq!(OsString::from(back).as_bytes(), bytes);
            let message = isopod_protocol::codec::encode(&word).unwrap();
            assert_eq!(
                isopod_protocol::codec::decode::<OsText>(&message[4..]).unwrap(),
                word
            );
        }
    }
}
