//! docs/docker.md against docker's and podman's own lists of flags: each has a verdict, which the parser gives.
//!
//! `UPDATE=1 cargo test -p isopod-cli page_about_docker` writes the tables.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use super::{Flag, For, Read, Value, rows};
use crate::args::{ArgFault, ArgsError, their_flags};
use crate::command_line::parse;

/// A program whose flags are known here.
struct Program {
    name: &'static str,
    list: &'static str,
}

const PROGRAMS: [Program; 2] = [
    Program {
        name: "docker",
        list: include_str!("docker-run.txt"),
    },
    Program {
        name: "podman",
        list: include_str!("podman-run.txt"),
    },
];

/// A flag of their `run`.
struct RunFlag {
    long: &'static str,
    short: Option<char>,
    kind: &'static str,
    example: Option<&'static str>,
    note: Option<&'static str>,
}

fn theirs() -> Vec<RunFlag> {
    PROGRAMS.iter().flat_map(of).collect()
}

fn of(program: &Program) -> Vec<RunFlag> {
    let lines = program
        .list
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (words, note) = match line.split_once(" ; ") {
                Some((words, note)) => (words, Some(note)),
                None => (line, None),
            };
            let words: Vec<&str> = words.split_whitespace().collect();
            let [long, short, kind, example] = words[..] else {
                panic!("{line}")
            };
            RunFlag {
                long,
                short: short.chars().next().filter(|letter| *letter != '-'),
                kind,
                example: Some(example).filter(|example| *example != "-"),
                note,
            }
        })
        .collect()
}

fn ours(theirs: &RunFlag) -> &'static Flag {
    let mut found = rows(For::Run).map(|(_, flag)| flag);
    let flag = found.find(|flag| flag.long == theirs.long || flag.alias == Some(theirs.long));
    flag.unwrap_or_else(|| {
        panic!(
            "`--{}` has no row: honour it, or refuse it with what to do instead",
            theirs.long
        )
    })
}

fn line(theirs: &RunFlag) -> Result<(), ArgsError> {
    let flag = match theirs.example {
        Some(example) => format!("--{}={example}", theirs.long),
        None => format!("--{}", theirs.long),
    };
    let of_network = ["ip", "ip6", "mac-address", "network-alias"].contains(&theirs.long);
    let network = if of_network {
        "--network=web"
    } else {
        "--network=user"
    };
    let words = ["isopod", "run", network, &flag, "oci:image"].map(OsString::from);
    parse(words).map(drop)
}

/// The parser says of each what its row says, and takes it in docker's form.
#[test]
fn each_flag_of_docker_has_its_verdict() {
    for theirs in theirs() {
        let flag = ours(&theirs);
        assert_eq!(flag.short, theirs.short, "--{}", theirs.long);
        let is_switch = matches!(flag.value, Value::Switch);
        assert_eq!(is_switch, theirs.kind == "bool", "--{}", theirs.long);
        match (&flag.read, line(&theirs)) {
            (Read::Refused(hint), Err(ArgsError::Faults(faults))) => {
                let says = |fault: &ArgFault| fault.hint().as_deref() == Some(*hint);
                assert!(faults.iter().any(says), "--{}: {faults:?}", theirs.long);
            }
            (Read::Refused(_), other) => panic!("--{}: {other:?}", theirs.long),
            (_, result) => assert!(result.is_ok(), "--{}: {result:?}", theirs.long),
        }
    }
}

/// Their `create` has those of `run` but for those of a command that waits.
#[test]
fn create_has_the_flags_of_run() {
    let of_run_alone = ["detach", "detach-keys", "sig-proxy"];
    for theirs in theirs().iter().filter(|flag| !of_run_alone.contains(&flag.long)) {
        let mut rows = rows(For::Prepare).map(|(_, flag)| flag);
        let found = rows.find(|flag| flag.long == theirs.long || flag.alias == Some(theirs.long));
        let flag = format!("--{}", theirs.long);
        let hint = their_flags::hint("prepare", &flag);
        assert!(found.is_some() != hint.is_some(), "{flag}");
    }
}

/// Nothing is refused as theirs that they do not have.
#[test]
fn no_flag_is_refused_that_nobody_has() {
    let known: Vec<&str> = theirs().iter().map(|theirs| theirs.long).collect();
    for (_, flag) in rows(For::Run).filter(|(_, flag)| matches!(flag.read, Read::Refused(_))) {
        assert!(known.contains(&flag.long), "--{}", flag.long);
    }
}

#[test]
fn the_page_about_docker_has_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/docker.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let mut new = page.clone();
    for program in &PROGRAMS {
        let begin = format!("<!-- The table of {} is written by a test. -->\n", program.name);
        let end = format!("<!-- end of the table of {} -->\n", program.name);
        let (head, rest) = new.split_once(&begin).unwrap();
        let (_, tail) = rest.split_once(&end).unwrap();
        new = format!("{head}{begin}{}{end}{tail}", table(program));
    }
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(&path, &new).unwrap();
    }
    assert!(
        page == new,
        "docs/docker.md is stale: `UPDATE=1 cargo test -p isopod-cli page_about_docker`, and commit it"
    );
}

fn table(program: &Program) -> String {
    let mut text = format!("| flag of `{} run` | here | |\n|---|---|---|\n", program.name);
    for theirs in of(program) {
        let flag = ours(&theirs);
        let short = theirs
            .short
            .map(|letter| format!("`-{letter}`, "))
            .unwrap_or_default();
        let (verdict, about) = match &flag.read {
            Read::Refused(hint) => ("refused", *hint),
            _ => ("honoured", theirs.note.unwrap_or_default()),
        };
        let about = about.replace('|', "\\|");
        let _ = writeln!(text, "| {short}`--{}` | {verdict} | {about} |", theirs.long);
    }
    text
}
