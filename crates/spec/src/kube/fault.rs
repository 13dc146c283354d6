//! What can be wrong with a pod file, and where.

use crate::appc::Location;
use crate::check::PodFault;
use crate::{InvalidName, InvalidReference};

/// Why pod files cannot be read: all of their faults.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pod file has {} faults", faults.len())]
pub struct PodFileErrors {
    /// The faults, in the order of the files, at least one.
    pub faults: Vec<Fault>,
}

/// A fault of a pod file and where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}:{}: {}{kind}", at.file, at.line, at.column, if at.field.is_empty() { String::new() } else { format!("`{}`: ", at.field) })]
pub struct Fault {
    /// Where it is.
    pub at: Location,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with a field of a pod file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// The file is neither YAML nor JSON.
    #[error("not YAML: {0}")]
    Syntax(String),
    /// The value is of another type.
    #[error("expected {expected}, found {found}")]
    Type {
        /// The type that it must have.
        expected: &'static str,
        /// The type that it has.
        found: &'static str,
    },
    /// The field must be there.
    #[error("the field is missing")]
    Missing,
    /// The API has no such field.
    #[error("there is no such field")]
    UnknownField {
        /// The field that was perhaps meant.
        nearest: Option<&'static str>,
    },
    /// The object has the field twice.
    #[error("the field is given twice")]
    DoubledField,
    /// The value is none that the field can have.
    #[error("`{value}` must be {expected}")]
    Value {
        /// The value, control characters escaped.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The value is not a name.
    #[error(transparent)]
    Name(InvalidName),
    /// The value is no image reference.
    #[error(transparent)]
    Reference(InvalidReference),
    /// The value names something that the files do not have.
    #[error("there is no {what} `{name}` in the file")]
    NotFound {
        /// What it is (`Secret`, `key of ConfigMap`).
        what: String,
        /// Its name.
        name: String,
        /// The name that was perhaps meant.
        nearest: Option<String>,
    },
    /// The file asks for something that cannot be honoured.
    #[error("{what} not supported: {why}")]
    Unsupported {
        /// What is asked for, with its verb (``the field is``).
        what: String,
        /// Why, or what to do instead.
        why: String,
    },
    /// The file asks for something that is done in part, which is no error: what is not done, and what to do.
    #[error("{0}")]
    InPart(String),
    /// The file asks for something that is another thing here, which is no error: what it is here.
    #[error("{0}")]
    Notice(String),
    /// A rule between the parts of the file is broken.
    #[error("{0}")]
    Rule(String),
    /// A rule between the parts of the pod is broken.
    #[error(transparent)]
    Pod(PodFault),
}

impl Fault {
    /// Whether the file asks for something that cannot be honoured, which may be left out; all else is an error.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self.kind, FaultKind::Unsupported { .. })
    }

    /// What would be right.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match &self.kind {
            FaultKind::UnknownField { nearest } => nearest.map(|name| format!("did you mean `{name}`?")),
            FaultKind::NotFound { nearest, .. } => {
                nearest.as_ref().map(|name| format!("did you mean `{name}`?"))
            }
            FaultKind::Type {
                expected: "a string",
                found: "a number" | "a boolean",
            } => Some("quote it".to_owned()),
            FaultKind::Name(name) => name.hint(),
            FaultKind::Reference(reference) => reference.hint(),
            FaultKind::Pod(fault) => fault.hint(),
            FaultKind::Unsupported { .. } => {
                Some("leave it out, or run the pod without it (`--ignore-unsupported`)".to_owned())
            }
            _ => None,
        }
    }
}
