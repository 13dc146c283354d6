//! Documents to be written: values whose fields keep their order and are left out where they say nothing.

use serde::ser::{Serialize, SerializeMap, Serializer};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    Text(String),
    Number(i64),
    /// Permission bits: a number, with a comment that has it octal. In YAML only.
    Mode(u32),
    /// `true` or `false`.
    Boolean(bool),
    List(Vec<Tree>),
    Object(Fields),
}

/// The fields of an object, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(String, Tree)>);

impl Fields {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// With a field more.
    #[must_use]
    pub(crate) fn with(mut self, name: impl Into<String>, value: impl Into<Tree>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// With a field more, where it has a value.
    #[must_use]
    pub(crate) fn with_some(self, name: &str, value: Option<impl Into<Tree>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With a list more, unless that is empty.
    #[must_use]
    pub(crate) fn with_list<T: Into<Tree>>(self, name: &str, items: impl IntoIterator<Item = T>) -> Self {
        let items: Vec<Tree> = items.into_iter().map(Into::into).collect();
        let items = (!items.is_empty()).then_some(Tree::List(items));
        self.with_some(name, items)
    }

    /// With an object more, unless that has no fields.
    #[must_use]
    pub(crate) fn with_fields(self, name: &str, fields: Fields) -> Self {
        let fields = (!fields.0.is_empty()).then_some(fields);
        self.with_some(name, fields)
    }
}

impl From<Fields> for Tree {
    fn from(fields: Fields) -> Self {
        Self::Object(fields)
    }
}

impl From<&str> for Tree {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Tree {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Tree {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<bool> for Tree {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<u32> for Tree {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Tree {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<i64> for Tree {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Mode(mode) => serde_saphyr::Commented(mode, format!("{mode:04o}")).serialize(serializer),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(fields) => fields.serialize(serializer),
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
