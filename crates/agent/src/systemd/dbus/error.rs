//! Why a call over D-Bus has no answer.

use std::io;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbusError {
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("the authentication was refused: `{0}`")]
    Refused(String),
    #[error("the connection has ended")]
    Ended,
    #[error("`{name}`: {text}")]
    Answer { name: String, text: String },
    #[error("the answer is not of type `{0}`")]
    Type(&'static str),
}
