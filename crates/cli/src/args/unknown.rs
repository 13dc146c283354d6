//! Flags that do not exist: which one was most likely meant. A guess ends up in a hint, never in a command.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};
use isopod_spec::words;

use crate::args::{ArgFault, is_flag, nearest, their_flags};

/// What docker, podman or kubectl call something, and what it is called here: a flag's long name, or a positional's.
const OTHER_NAMES: [(&str, &str); 13] = [
    ("c", "app"),
    ("container", "app"),
    ("cmd", "command"),
    ("lines", "tail"),
    ("o", "format"),
    ("output", "format"),
    ("since-time", "since"),
    ("t", "time"),
    ("v", "volume"),
    ("volumes", "volume"),
    ("w", "workdir"),
    ("working-dir", "workdir"),
    ("cwd", "workdir"),
];

/// What is said of a flag that docker's or podman's command has, and that of `argv` not.
pub(super) fn of_theirs(error: &clap::Error, argv: &[OsString], root: Command) -> Option<ArgFault> {
    let ContextValue::String(word) = error.get(ContextKind::InvalidArg)? else {
        return None;
    };
    let word = word.split('=').next()?;
    let (_, command) = command_of(root, argv);
    let mut letters = word.trim_start_matches('-').chars();
    let long = match (letters.next(), letters.next()) {
        (Some(letter), None) => their_flags::long_of(&command, letter)?,
        _ => word,
    };
    Some(ArgFault::Refused {
        flag: word.to_owned(),
        hint: their_flags::hint(&command, long)?,
    })
}

/// `error` with what was most likely meant, where it is about a flag that the command of `argv` does not have; `root` has all commands.
pub(super) fn explain(mut error: clap::Error, argv: &[OsString], root: Command) -> clap::Error {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let tip = tip(&command_of(root, argv).0, word);
    // clap's own guess at a value that begins like a flag: what stands behind `--` is an image or its command here.
    error.remove(ContextKind::Suggested);
    error.remove(ContextKind::TrailingArg);
    // Nor is a guess that is not near.
    error.remove(ContextKind::SuggestedArg);
    let Some(tip) = tip else {
        return error;
    };
    error.insert(
        ContextKind::Suggested,
        ContextValue::StyledStrs(vec![StyledStr::from(tip)]),
    );
    error
}

/// The innermost command that `argv` names, and its name with those of its groups.
fn command_of(root: Command, argv: &[OsString]) -> (Command, String) {
    let mut command = root;
    let mut names: Vec<String> = Vec::new();
    let mut words = argv.iter().skip(1);
    while let Some(word) = words.next() {
        if word == "--dir" || word == "--log-level" {
            words.next();
            continue;
        }
        match command.find_subcommand(word) {
            Some(inner) => {
                names.push(inner.get_name().to_owned());
                command = inner.clone();
            }
            None if is_flag(word) => {}
            None => break,
        }
    }
    (command, names.join(" "))
}

fn tip(command: &Command, word: &str) -> Option<String> {
    let name = word.split('=').next()?.trim_start_matches('-');
    if name.is_empty() || !word.starts_with('-') {
        return None;
    }
    let theirs = OTHER_NAMES.map(|(theirs, _)| theirs);
    // Nothing is near one letter but every other.
    let near = words::nearest(name, theirs.into_iter().filter(|theirs| theirs.len() > 1));
    let other = OTHER_NAMES
        .iter()
        .find(|(theirs, _)| *theirs == name || Some(*theirs) == near);
    let known = || command.get_arguments().filter(|arg| !arg.is_hide_set());
    for name in std::iter::once(name).chain(other.map(|(_, ours)| *ours)) {
        if let Some(positional) = command.get_positionals().find(|arg| is_named(arg, name)) {
            let value = value_name(positional);
            return Some(format!(
                "{value} is a positional argument: write it without a flag"
            ));
        }
        let long = |arg: &&Arg| arg.get_long() == Some(name);
        if known().any(|arg| long(&arg)) {
            return Some(format!("did you mean '--{name}'?"));
        }
    }
    let longs = || known().filter_map(Arg::get_long);
    if let Some(long) = nearest(name, &longs().collect::<Vec<_>>()) {
        return Some(format!("did you mean '--{long}'?"));
    }
    let mut letters = name.chars();
    let (Some(letter), None) = (letters.next(), letters.next()) else {
        return None;
    };
    let other = |c: char| match c.is_uppercase() {
        true => c.to_ascii_lowercase(),
        false => c.to_ascii_uppercase(),
    };
    let same = |arg: &&Arg| arg.get_short() == Some(other(letter));
    let found = known().find(same);
    found.map(|_| format!("did you mean '-{}'?", other(letter)))
}

fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names
        .first()
        .map_or_else(|| arg.get_id().to_string().to_uppercase(), ToString::to_string)
}

/// Whether a positional argument is what a flag of this name would give: `POD` is `--pod`, `--pods` too.
fn is_named(arg: &Arg, name: &str) -> bool {
    let value = value_name(arg).to_lowercase();
    value == name || arg.get_id().as_str() == name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tip_of(line: &str) -> Option<String> {
        let argv: Vec<OsString> = line.split(' ').map(Into::into).collect();
        let word = argv.iter().skip(2).rfind(|word| is_flag(word)).unwrap();
        tip(
            &command_of(crate::command_line::root(), &argv).0,
            word.to_str().unwrap(),
        )
    }

    #[test]
    fn the_nearest_flag_is_named() {
        for (line, meant) in [
            ("isopod exec --workdirr", "--workdir"),
            ("isopod exec --working-dir", "--workdir"),
            ("isopod exec -T", "-t"),
            ("isopod exec -c", "--app"),
            ("isopod exec --interactiv", "--interactive"),
            ("isopod stop --tim", "--time"),
            ("isopod logs p --folow", "--follow"),
            ("isopod logs p --lines", "--tail"),
            ("isopod list -o", "--format"),
            ("isopod rm --forse", "--force"),
            ("isopod --dir exec rm --forse", "--force"),
            ("isopod image list --formt", "--format"),
            ("isopod volume attach --mout", "--mount"),
        ] {
            let tip = tip_of(line);
            assert_eq!(tip, Some(format!("did you mean '{meant}'?")), "{line}");
        }
        for (line, value) in [
            ("isopod exec --pod=p", "POD"),
            ("isopod exec --cmd", "COMMAND"),
            ("isopod attach --container", "APP"),
            ("isopod status --pod", "POD"),
            ("isopod stop --pods", "POD"),
            ("isopod cp --source", "SOURCE"),
        ] {
            let tip = tip_of(line).unwrap_or_default();
            assert!(
                tip.starts_with(&format!("{value} is a positional argument")),
                "{line}: {tip}"
            );
        }
        for line in ["isopod exec --zzzzzz", "isopod list -", "isopod exec -Z"] {
            assert_eq!(tip_of(line), None, "{line}");
        }
    }

    /// As clap prints it, and without a guess that leads astray.
    #[test]
    fn the_error_says_it() {
        let argv: Vec<OsString> = "isopod attach --app a p".split(' ').map(Into::into).collect();
        let error = crate::command_line::root()
            .try_get_matches_from(&argv)
            .unwrap_err();
        let text = explain(error, &argv, crate::command_line::root())
            .render()
            .to_string();
        assert!(text.contains("tip: APP is a positional argument"), "{text}");
        assert!(!text.contains("as a value"), "{text}");
        assert!(text.contains("Usage: isopod attach"), "{text}");
    }
}
