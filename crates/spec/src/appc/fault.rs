//! What can be wrong with a pod manifest, and where.

use crate::check::PodFault;
use crate::{InvalidName, InvalidReference};

/// Why a pod manifest cannot be read: all of its faults.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("manifest `{file}` has {}", count(faults))]
pub struct PodManifestErrors {
    /// The file's name, as it was given for messages.
    pub file: String,
    /// The faults, in the order of the file.
    pub faults: Vec<Fault>,
}

fn count(faults: &[Fault]) -> String {
    if faults.len() == 1 {
        "a fault".to_owned()
    } else {
        format!("{} faults", faults.len())
    }
}

/// A fault of a pod manifest and where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {}{kind}", if field.is_empty() { String::new() } else { format!("`{field}`: ") })]
pub struct Fault {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The field, such as `apps[1].mounts[0].volume`; empty for the manifest itself.
    pub field: String,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with a field of a pod manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// The file is not JSON (RFC 8259).
    #[error("not JSON: {0}")]
    Syntax(String),
    /// The value is of another JSON type.
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
    /// The specification has no such field.
    #[error("there is no such field")]
    UnknownField {
        /// The field that was perhaps meant.
        nearest: Option<&'static str>,
    },
    /// The object has the field twice.
    #[error("the field is given twice")]
    DoubledField,
    /// The field does not go with the volume's kind.
    #[error("the field does not apply to a volume of kind `{kind}`")]
    MisplacedField {
        /// The kind.
        kind: &'static str,
    },
    /// The value is none that the field can have.
    #[error("`{value}` must be {expected}")]
    Value {
        /// The value, control characters escaped.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// There is no such system call on this VM.
    #[error("`{name}` is no system call")]
    UnknownSyscall {
        /// The name, control characters escaped.
        name: String,
        /// The one that was perhaps meant.
        nearest: Option<&'static str>,
    },
    /// The value is not an AC Name.
    #[error(transparent)]
    Name(InvalidName),
    /// The value begins like an image reference and is none.
    #[error(transparent)]
    Reference(InvalidReference),
    /// The manifest asks for something that cannot be honoured.
    #[error("{what} not supported")]
    Unsupported {
        /// What is asked for, with its verb (``isolator `resource/cpu` is``).
        what: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// A port cannot be published.
    #[error("cannot publish port `{name}`: {reason}")]
    Port {
        /// Its name, control characters escaped.
        name: String,
        /// Why.
        reason: String,
    },
    /// A rule between the parts of the pod is broken.
    #[error(transparent)]
    Pod(PodFault),
}

impl Fault {
    /// What would be right.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match &self.kind {
            FaultKind::UnknownField { nearest } => nearest.map(|name| format!("did you mean `{name}`?")),
            FaultKind::UnknownSyscall {
                nearest: Some(name), ..
            } => Some(format!("did you mean `{name}`?")),
            FaultKind::UnknownSyscall { nearest: None, .. } => Some("syscalls(2) lists them".to_owned()),
            FaultKind::Name(name) => name.hint(),
            FaultKind::Reference(reference) => reference.hint(),
            FaultKind::Unsupported { hint, .. } => Some((*hint).to_owned()),
            FaultKind::Port { .. } => Some("publish another port, or fewer of them".to_owned()),
            FaultKind::Pod(fault) => fault.hint(),
            _ => None,
        }
    }
}
