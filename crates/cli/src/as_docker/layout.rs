//! What `--format` can ask for: text for people, versioned JSON, or a Go template over docker's fields.

use crate::args::Format;

/// How a list or a document is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// For people.
    Text,
    /// Versioned JSON.
    Json,
    /// Each entry by a template.
    Template(String),
    /// Each entry by a template, in columns under their names.
    Table(String),
}

impl Layout {
    /// It, where it is no template.
    pub(crate) fn plain(&self) -> Option<Format> {
        match self {
            Self::Text => Some(Format::Text),
            Self::Json => Some(Format::Json),
            Self::Template(_) | Self::Table(_) => None,
        }
    }
}
