//! docs/docker.md against the flags of docker and podman's commands: each is taken as theirs is, or refused with what to do
//! instead.
//!
//! `UPDATE=1 cargo test -p isopod-cli page_about_docker` writes the table.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, ArgAction, Command};

use super::super::theirs::in_own_words;
use super::{LETTERS, TABLE, hint};
use crate::args::{ArgFault, ArgsError};
use crate::command_line::{parse, root};

const LISTS: [&str; 2] = [
    include_str!("../docker-flags.txt"),
    include_str!("../podman-flags.txt"),
];

/// Letters that are another flag's here than with one of the two: command, letter. `-n` of `logs` and `-a` of `start` are docker's,
/// `-l` of `rm` is podman's.
const OTHERS: [(&str, char); 3] = [("logs", 'n'), ("rm", 'l'), ("start", 'a')];

/// A flag of a command of theirs.
#[derive(Debug)]
struct TheirFlag {
    /// The command in their words.
    command: &'static str,
    long: &'static str,
    letter: Option<char>,
    takes_value: bool,
}

fn theirs() -> Vec<TheirFlag> {
    let lines = LISTS.iter().flat_map(|list| list.lines());
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines
        .flat_map(|line| {
            let (command, flags) = line.split_once(": ").unwrap();
            flags.split(' ').map(move |flag| {
                let (letter, long) = match flag.split_once(',') {
                    Some((letter, long)) => (letter.chars().nth(1), long),
                    None => (None, flag),
                };
                TheirFlag {
                    command,
                    long: long.trim_end_matches('='),
                    letter,
                    takes_value: long.ends_with('='),
                }
            })
        })
        .collect()
}

/// The command that theirs is here, and its name without what comes before a flag of theirs.
fn ours(command: &str) -> (Command, String) {
    let words = format!("isopod {command}");
    let argv: Vec<OsString> = words.split(' ').map(OsString::from).collect();
    let argv = in_own_words(argv).unwrap_or_else(|fault| panic!("{command}: {fault}"));
    let (mut found, mut names) = (root(), Vec::new());
    for word in &argv[1..] {
        let Some(inner) = found.find_subcommand(word).cloned() else {
            break;
        };
        names.push(inner.get_name().to_owned());
        found = inner;
    }
    (found, names.join(" "))
}

fn is_called(arg: &Arg, long: &str) -> bool {
    let name = long.trim_start_matches("--");
    let aliases = arg.get_all_aliases().unwrap_or_default();
    arg.get_long() == Some(name) || aliases.contains(&name)
}

fn has_letter(arg: &Arg, letter: char) -> bool {
    let others = arg.get_all_short_aliases().unwrap_or_default();
    arg.get_short() == Some(letter) || others.contains(&letter)
}

/// Whether it can stand without a value.
fn is_switch(arg: &Arg) -> bool {
    let optional = arg.get_num_args().is_some_and(|values| values.min_values() == 0);
    optional || matches!(arg.get_action(), ArgAction::SetTrue)
}

/// The error that a command line gives.
fn refusal(command: &str, flag: &str) -> Option<String> {
    let words = format!("isopod {command} {flag}");
    match parse(words.split(' ').map(OsString::from)) {
        Err(ArgsError::Faults(faults)) => faults.iter().find_map(ArgFault::hint),
        _ => None,
    }
}

#[test]
fn each_flag_of_theirs_is_taken_or_refused_with_a_reason() {
    let mut wrong = Vec::new();
    for flag in theirs() {
        let (command, name) = ours(flag.command);
        let taken = command.get_arguments().find(|arg| is_called(arg, flag.long));
        match (taken, hint(&name, flag.long)) {
            (Some(arg), None) => {
                if is_switch(arg) == flag.takes_value {
                    wrong.push(format!("{} {}: takes a value or none", flag.command, flag.long));
                }
                let known = |letter| has_letter(arg, letter) || OTHERS.contains(&(&name, letter));
                if flag.letter.is_some_and(|letter| !known(letter)) {
                    wrong.push(format!("{} {}: -{:?}", flag.command, flag.long, flag.letter));
                }
            }
            (None, Some(hint)) => {
                let letter = flag
                    .letter
                    .filter(|letter| !OTHERS.contains(&(&name, *letter)))
                    .map(|letter| format!("-{letter}"));
                for word in [Some(flag.long.to_owned()), letter].into_iter().flatten() {
                    if refusal(flag.command, &word).as_deref() != Some(hint) {
                        wrong.push(format!("{} {word}: not refused with its hint", flag.command));
                    }
                }
            }
            (Some(_), Some(_)) => wrong.push(format!("{} {}: taken and refused", flag.command, flag.long)),
            (None, None) => wrong.push(format!(
                "{} {}: neither taken nor refused",
                flag.command, flag.long
            )),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Nothing is refused as theirs that they do not have.
#[test]
fn no_flag_is_refused_that_nobody_has() {
    let theirs = theirs();
    let has = |command: &str, long: &str| {
        let mut same = theirs.iter().filter(|flag| flag.long == long);
        same.any(|flag| ours(flag.command).1 == command)
    };
    // Those of `create` are held against the flags of `run`.
    for row in TABLE.iter().filter(|row| row.command != "prepare") {
        for long in row.flags {
            assert!(has(row.command, long), "{} {long}", row.command);
        }
    }
    for (command, letter, long) in LETTERS.iter().filter(|(command, ..)| *command != "prepare") {
        let of = |flag: &&TheirFlag| flag.long == *long && flag.letter == Some(*letter);
        let mut found = theirs.iter().filter(of);
        assert!(
            found.any(|flag| ours(flag.command).1 == *command),
            "{command} -{letter}"
        );
    }
}

#[test]
fn the_page_about_docker_has_the_flags_of_commands() {
    const BEGIN: &str = "<!-- The table of flags is written by a test. -->\n";
    const END: &str = "<!-- end of the table of flags -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/docker.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    let new = format!("{head}{BEGIN}{}{END}{tail}", text());
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(&path, &new).unwrap();
    }
    assert!(
        page == new,
        "docs/docker.md is stale: `UPDATE=1 cargo test -p isopod-cli page_about_docker`, and commit it"
    );
}

/// A line for what each of Isopod's commands takes of theirs, and one for each reason of a refusal.
fn text() -> String {
    let mut commands: BTreeMap<String, BTreeMap<Option<&str>, Vec<String>>> = BTreeMap::new();
    for flag in theirs() {
        let (_, name) = ours(flag.command);
        let hint = hint(&name, flag.long);
        let letter = flag.letter.filter(|letter| !OTHERS.contains(&(&name, *letter)));
        let shown = shown(letter, flag.long);
        let flags = commands.entry(name).or_default().entry(hint).or_default();
        // podman gives some of docker's flags a letter.
        let other = format!("`{}`", flag.long);
        if shown == other && flags.iter().any(|known| known.ends_with(&other)) {
            continue;
        }
        flags.retain(|known| *known != other);
        if !flags.contains(&shown) {
            flags.push(shown);
        }
    }
    // `create` has the flags of `run`, whose table is another, and refuses some of them itself.
    for row in TABLE.iter().filter(|row| row.command == "prepare") {
        let by_hint = commands.entry(row.command.to_owned()).or_default();
        let flags = by_hint.entry(Some(row.hint)).or_default();
        for long in row.flags {
            let letter = LETTERS
                .iter()
                .find(|(command, _, of)| (*command, of) == (row.command, long));
            flags.push(shown(letter.map(|(_, letter, _)| *letter), long));
        }
    }
    let mut text = String::from("| command | flags of docker's and podman's | here |\n|---|---|---|\n");
    for (command, by_hint) in commands {
        for (hint, flags) in by_hint {
            let here = hint.map_or_else(|| "honoured".to_owned(), |hint| format!("refused: {hint}"));
            let here = here.replace('|', "\\|");
            let _ = writeln!(text, "| `{command}` | {} | {here} |", flags.join("; "));
        }
    }
    text
}

fn shown(letter: Option<char>, long: &str) -> String {
    match letter {
        Some(letter) => format!("`-{letter}`, `{long}`"),
        None => format!("`{long}`"),
    }
}
