//! What can be wrong with a file that describes a pod, and where.

use std::fmt;
use std::path::PathBuf;

use crate::check::PodFault;
use crate::flags::FlagFault;
use crate::{AppName, InvalidName, InvalidReference, VolumeName};

/// A part of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    App(AppName),
    /// What an app has at a path: a mount, or where it has none a mount point.
    Target(AppName, PathBuf),
    Volume(VolumeName),
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
    /// The field, such as `apps[0].mounts[1].path`; empty for the file itself.
    pub field: String,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: `{}`", self.file, self.line, self.column, self.field)
    }
}

/// A fault of a file and where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}:{}: {}{kind}", at.file, at.line, at.column, if at.field.is_empty() { String::new() } else { format!("`{}`: ", at.field) })]
pub struct Fault {
    /// Where it is.
    pub at: Location,
    pub kind: FaultKind,
}

/// What is wrong with a field of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// The file is not in its language.
    #[error("not {language}: {message}")]
    Syntax {
        /// The language: `JSON` (RFC 8259) or `YAML`.
        language: &'static str,
        message: String,
    },
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
    /// There is no such field.
    #[error("there is no such field")]
    UnknownField {
        /// The field that was perhaps meant.
        nearest: Option<&'static str>,
    },
    /// The object has the field twice.
    #[error("the field is given twice")]
    DuplicateField,
    /// The field does not go with the volume's kind.
    #[error("the field does not apply to a volume of kind `{kind}`")]
    MisplacedField { kind: &'static str },
    /// The value is none that the field can have.
    #[error("`{value}` must be {expected}")]
    Value {
        /// The value, control characters escaped.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// There is no such system call on this VM.
    #[error("`{name}` is not a system call")]
    UnknownSyscall {
        /// The name, control characters escaped.
        name: String,
        /// The one that was perhaps meant.
        nearest: Option<&'static str>,
    },
    /// The value is not a name.
    #[error(transparent)]
    Name(InvalidName),
    /// The value is not an image reference.
    #[error(transparent)]
    Reference(InvalidReference),
    /// The value names something that the files do not have.
    #[error("there is no {what} `{name}` in the file")]
    NotFound {
        /// What it is (`Secret`, `key of ConfigMap`).
        what: String,
        name: String,
        /// The name that was perhaps meant.
        nearest: Option<String>,
    },
    /// The file asks for something that cannot be honoured.
    #[error("{what} not supported{}", why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Unsupported {
        /// What is asked for, with its verb (``isolator `resource/cpu` is``).
        what: String,
        why: Option<String>,
        /// What to do instead.
        hint: &'static str,
    },
    /// The file asks for something that is done in part, which is not an error: what is not done, and what to do.
    #[error("{0}")]
    InPart(String),
    /// The file asks for something that is another thing here, which is not an error: what it is here.
    #[error("{0}")]
    Notice(String),
    /// A port cannot be published.
    #[error("cannot publish port `{name}`: {reason}")]
    Port {
        /// Its name, control characters escaped.
        name: String,
        reason: String,
    },
    /// The value is none that the flag of the same meaning could have.
    #[error(transparent)]
    Flag(FlagFault),
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
            FaultKind::Flag(fault) => fault.hint(),
            FaultKind::Unsupported { hint, .. } => Some((*hint).to_owned()),
            FaultKind::UnknownSyscall {
                nearest: Some(name), ..
            } => Some(format!("did you mean `{name}`?")),
            FaultKind::UnknownSyscall { nearest: None, .. } => Some("syscalls(2) lists them".to_owned()),
            FaultKind::Port { .. } => Some("publish another port, or fewer of them".to_owned()),
            _ => None,
        }
    }
}
