//! Runs programs: shown first, as one would type them, and their failure is an error.

use std::ffi::OsStr;
use std::process::{Command, ExitStatus, Stdio};

use crate::failure::Failure;
use crate::out;
use crate::place;

/// A shown command continues in the next line where it would be wider than this, in columns.
const WIDTH: usize = 100;

pub(crate) fn command<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(&program);
    command.args(args);
    // Build scripts run again where the search path is another one, and with them all that depends on their crates.
    if program.as_ref() == "cargo" {
        command.env("PATH", place::search_path());
    }
    command
}

/// Shows a command and runs it.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = status(command)?;
    if status.success() {
        Ok(())
    } else {
        Err(failed(command, status))
    }
}

/// Shows a command, runs it and says how it ended.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus, Failure> {
    out::command(&shown(command));
    command.status().map_err(|error| not_started(command, error))
}

/// Runs a command unseen; `None` where it cannot be run or fails.
pub(crate) fn quiet(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What to say of a command that failed.
pub(crate) fn failed(command: &Command, status: ExitStatus) -> Failure {
    Failure::new(format!("`{}` failed: {status}", short(command)))
}

/// What to say of a command that did not even start.
pub(crate) fn not_started(command: &Command, error: std::io::Error) -> Failure {
    Failure::new(format!("cannot run `{}`", short(command))).caused_by(error)
}

/// Whether the search path has a program of that name.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// A command as one would type it into a shell.
pub(crate) fn shown(command: &Command) -> String {
    let mut text = String::new();
    let mut column = 0;
    for part in parts(command) {
        let first_line = part.find('\n').unwrap_or(part.len());
        if column > 0 && column + 1 + first_line > WIDTH {
            text += " \\\n   ";
            column = 3;
        }
        if !text.is_empty() {
            text.push(' ');
            column += 1;
        }
        column = part
            .rfind('\n')
            .map_or(column + part.len(), |newline| part.len() - newline);
        text += &part;
    }
    text
}

/// The words of a command, quoted, a flag together with the word behind it, which may be its value.
fn parts(command: &Command) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut open = false;
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        let word = word.to_string_lossy();
        let is_flag = word.starts_with('-');
        match parts.last_mut() {
            Some(flag) if open && !is_flag => *flag += &format!(" {}", quoted(&word)),
            _ => parts.push(quoted(&word)),
        }
        open = is_flag;
    }
    parts
}

/// The command's first words, for messages.
fn short(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    match words.get(..4) {
        Some(head) if words.len() > 4 => format!("{} ...", head.join(" ")),
        _ => words.join(" "),
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_what_is_shown() {
        let args = [
            "plain",
            "--flag",
            "two words",
            "it's",
            "",
            "a\\b",
            "$HOME",
            "{a,b}",
            "line\nline",
        ];
        let long = "x".repeat(99);
        let printf = command("printf", ["%s|"].iter().chain(&args).chain(&[long.as_str()]));
        let text = shown(&printf);
        assert!(text.contains(" \\\n    "), "{text}");
        let output = quiet(&mut command("sh", ["-c", &text])).unwrap();
        let mut expected: Vec<&str> = args.to_vec();
        expected.extend([long.as_str(), ""]);
        assert_eq!(output.split('|').collect::<Vec<_>>(), expected);
    }

    #[test]
    fn failures_name_the_command() {
        let failure = run(&mut command("false", [""; 0])).unwrap_err();
        assert_eq!(failure.to_string(), "`false` failed: exit status: 1");
        let failure = run(&mut command("/no/such/program", ["a", "b", "c", "d"])).unwrap_err();
        assert_eq!(failure.to_string(), "cannot run `/no/such/program a b c ...`");
    }
}
