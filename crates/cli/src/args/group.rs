//! Splits the arguments of `run`, `prepare` and `plan` at every `---`, before clap sees them.
//!
//! ```text
//! isopod run -d --name shop oci:web serve -p 80   ---   --app-name db oci:db   --- ...
//! └─────────────────── head ───────────────────┘        └─── other group ──┘
//! ```
//!
//! Where a group's flags end and its image begins is for clap to find, which knows the flags that take a value.

use std::ffi::{OsStr, OsString};

use super::flags::For;

/// What ends an app, and begins the next one.
const NEXT_APP: &str = "---";

/// The command of `argv` if it is one that takes apps, and which word it is.
pub(crate) fn pod_command(argv: &[OsString]) -> Option<(usize, For)> {
    let at = command_at(argv)?;
    let command = match argv[at].to_str()? {
        "run" => For::Run,
        "prepare" | "create" => For::Prepare,
        "plan" => For::Plan,
        _ => return None,
    };
    Some((at, command))
}

/// Which word of `argv` is the command.
pub(crate) fn command_at(argv: &[OsString]) -> Option<usize> {
    let mut words = argv.iter().enumerate().skip(1);
    loop {
        let (at, word) = words.next()?;
        if word == "--dir" || word == "--log-level" {
            words.next();
        } else if !is_flag(word) {
            return Some(at);
        }
    }
}

/// Whether `word` has the form of a flag.
pub(crate) fn is_flag(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

/// The words before the first `---`, and those of each further group.
pub(crate) fn split(argv: &[OsString]) -> (&[OsString], Vec<&[OsString]>) {
    let mut parts = argv.split(|word| word == NEXT_APP);
    let head = parts.next().unwrap_or_default();
    (head, parts.collect())
}
