//! Splits the arguments of `run` and `plan` into the pod's and each app's, before clap sees them.
//!
//! ```text
//! isopod run --memory 1g   oci:a --name web   --   sh -c ...   ---   oci:b   --- ...
//! └──────────────── head ────────────────┘         └ args ┘         └ group ┘
//! ```
//!
//! Where the pod's flags end and the first image begins is for clap to find, which knows the flags that take a value.

use std::ffi::{OsStr, OsString};

/// What stands between two images: an app's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// The image and the app's flags, as far as the first `--`.
    pub(super) words: Vec<OsString>,
    /// What follows `--`; `None` without one.
    pub(super) args: Option<Vec<OsString>>,
}

/// The groups of a command line. The words of the first are not here but at the end of the command line's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    /// What follows the first `--` of the first app.
    pub(super) first_args: Option<Vec<OsString>>,
    /// The other apps, one for each `---`.
    pub(super) others: Vec<Group>,
}

/// The command of `argv` if it is one that takes apps: `run`, `prepare` or `plan`.
pub(crate) fn pod_command(argv: &[OsString]) -> Option<&'static str> {
    let mut words = argv.iter().skip(1);
    loop {
        let word = words.next()?;
        if word == "--dir" || word == "--log-level" {
            words.next();
        } else if !is_flag(word) {
            return ["run", "prepare", "plan"].into_iter().find(|name| word == name);
        }
    }
}

/// Whether `word` has the form of a flag.
pub(super) fn is_flag(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

/// Splits `argv` at every `---`, and each part at its first `--`. The first part's words are the head.
pub(super) fn split(argv: &[OsString]) -> (&[OsString], Groups) {
    let mut parts =
        argv.split(|word| word == "---")
            .map(|part| match part.iter().position(|word| word == "--") {
                Some(end) => (&part[..end], Some(part[end + 1..].to_vec())),
                None => (part, None),
            });
    let (head, first_args) = parts.next().unwrap_or_default();
    let others = parts
        .map(|(words, args)| Group {
            words: words.to_vec(),
            args,
        })
        .collect();
    (head, Groups { first_args, others })
}
