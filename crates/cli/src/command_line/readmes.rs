//! Command lines of public READMEs (`readmes.txt`): each is read, or refused with what to do instead.

use std::error::Error;

use super::parse;
use crate::args::{ArgFault, ArgsError};

/// The words of a line as a shell of `/work` would make them.
fn words(line: &str) -> Vec<String> {
    let mut line = line.to_owned();
    for (theirs, shell) in [
        ("$(pwd)", "/work"),
        ("${PWD}", "/work"),
        ("$PWD", "/work"),
        ("${HOME}", "/root"),
        ("$HOME", "/root"),
        ("$(id -u)", "1000"),
        ("$(id -g)", "1000"),
        ("$USER", "user"),
    ] {
        line = line.replace(theirs, shell);
    }
    let words = shlex::split(&line).unwrap_or_else(|| panic!("{line}"));
    std::iter::once("isopod".to_owned())
        .chain(words.into_iter().skip(1))
        .collect()
}

/// What is wrong with a line, with what to do instead.
fn refusal(error: &ArgsError) -> String {
    let said = |fault: &ArgFault| {
        let hint = fault.hint().unwrap_or_default();
        let causes = std::iter::successors(fault.source(), |cause| (*cause).source());
        format!(
            "{fault} {} ({hint})",
            causes.map(ToString::to_string).collect::<String>()
        )
    };
    match error {
        ArgsError::Faults(faults) => faults.iter().map(said).collect::<Vec<_>>().join("; "),
        ArgsError::Asked(text) | ArgsError::Usage(text) => text.to_string(),
    }
}

#[test]
fn the_lines_of_readmes_are_read_or_refused_with_what_to_do() {
    let lines = include_str!("readmes.txt").lines();
    let lines: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let taken = lines.iter().filter(|line| line.starts_with("docker run")).count();
    assert!(taken > 60, "{taken}");
    let mut wrong = Vec::new();
    for line in lines {
        let (refused, line) = line.strip_prefix("! ").map_or((false, line), |line| (true, line));
        let (line, why) = match (refused, line.rsplit_once(" # ")) {
            (true, Some((line, why))) => (line, why),
            _ => (line, ""),
        };
        match (refused, parse(words(line).into_iter().map(Into::into))) {
            (false, Ok(_)) => {}
            (true, Err(error)) if refusal(&error).contains(why) => {}
            (true, Ok(_)) => wrong.push(format!("{line}\n    is read")),
            (_, Err(error)) => wrong.push(format!("{line}\n    {}", refusal(&error))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
