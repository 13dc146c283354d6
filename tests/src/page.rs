//! The pages of the manual: their examples, and whether what they show is what a command prints.
//!
//! An example is a line of a `console` block that begins with `$ `, with the lines that a `\` at the end adds to it; what
//! follows up to the next example is what it prints, on both streams. CONTRIBUTING.md has the rules for authors.
//!
//! Nothing here knows what the commands do, or what is on the host that they run on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use regex_lite::Regex;

use crate::Bench;
use crate::bench::is_root;
use crate::leftovers::MARK;

/// How long an example may take: two VMs one after the other on a busy host.
const DEADLINE: Duration = Duration::from_secs(90);

/// How often the shell is looked at.
const PERIOD: Duration = Duration::from_millis(20);

/// What differs from run to run: the kind that stands in its place, and how it is written.
const VARIES: [(&str, &str); 5] = [
    (
        "a UUID",
        r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{8}\b",
    ),
    ("a digest", r"\b(sha256:)?[0-9a-f]{64}\b|\b[0-9a-f]{12}\b"),
    ("a kernel", r"\b[0-9]+\.[0-9]+\.[0-9]+(-[0-9]+)?(-cloud)?-amd64\b"),
    ("a time", r"\b[0-9]+(\.[0-9]+)? ?m?s\b"),
    ("a process", r"\bprocess [0-9]+\b"),
];

/// A page with examples.
pub struct Page {
    /// Its path in the checkout.
    pub path: String,
    examples: Vec<Example>,
}

/// A command of a page, and what the page says that it prints.
#[derive(Debug, PartialEq, Eq)]
struct Example {
    /// The line of the page, from 1.
    line: usize,
    command: String,
    said: Vec<String>,
}

/// How an example ended.
struct Ended {
    status: i32,
    printed: String,
}

impl Page {
    /// The pages of the checkout `root` that have examples.
    ///
    /// # Panics
    /// When a page cannot be read, or has a command outside of its `console` blocks.
    #[must_use]
    pub fn all(root: &Path) -> Vec<Self> {
        let pages = paths(root).into_iter().map(|path| Self {
            examples: examples(&fs::read_to_string(&path).expect("a page")),
            path: path.strip_prefix(root).unwrap_or(&path).display().to_string(),
        });
        pages.filter(|page| !page.examples.is_empty()).collect()
    }

    /// Runs the examples in their order, by one shell in the bench's directory, where `bin` is first in the search path.
    ///
    /// `replaced` are texts of the page, and what stands for each on this host.
    ///
    /// # Errors
    /// Each example that printed something else, or ended otherwise, than the page says, with its line.
    pub fn check(&self, bench: &Bench, replaced: &[(&str, String)]) -> Result<(), String> {
        let dir = bench.dir().join("examples");
        fs::create_dir(&dir).expect("a directory for the examples");
        let here = |text: &str| replace(text, replaced);
        let commands: Vec<String> = self
            .examples
            .iter()
            .map(|example| here(&example.command))
            .collect();
        let in_time = run_shell(bench, &dir, &script(&dir, &commands));
        let mut faults = String::new();
        for (i, example) in self.examples.iter().enumerate() {
            let Some(ended) = ended(&dir, i) else {
                let why = if in_time {
                    "ended the shell"
                } else {
                    "did not end in time"
                };
                faults += &format!(
                    "{}:{}: this {why}:\n$ {}\n\n",
                    self.path, example.line, example.command
                );
                break;
            };
            let said: Vec<String> = example.said.iter().map(|line| here(line)).collect();
            let next = self.examples.get(i + 1).map_or("", |next| &next.command);
            if let Err(why) = compare(&ended, &said, next) {
                let (path, line, command) = (&self.path, example.line, &example.command);
                faults += &format!("{path}:{line}: {why}\n$ {command}\n");
                faults += &format!(
                    "--- printed\n{}--- the page\n{}\n\n",
                    ended.printed,
                    said.join("\n")
                );
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// The files of all pages of the checkout `root`.
pub(crate) fn paths(root: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    markdown_below(root, false, &mut paths);
    markdown_below(&root.join("docs"), true, &mut paths);
    markdown_below(&root.join("fuzz"), false, &mut paths);
    paths.sort();
    paths
}

/// The pages in `dir`, and below it where asked.
fn markdown_below(dir: &Path, deep: bool, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of pages") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            into.push(path);
        } else if deep && path.is_dir() {
            markdown_below(&path, deep, into);
        }
    }
}

/// The examples of a page.
///
/// # Panics
/// Where a command stands outside of `console` blocks, which nobody would run.
fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let (mut inside, mut continued) = (false, false);
    for (i, line) in page.lines().enumerate() {
        let command = line.trim_start().strip_prefix("$ ");
        if line.trim_start().starts_with("```") {
            inside = line == "```console";
            continued = false;
        } else if !inside {
            assert_eq!(command, None, "line {}: not in a `console` block", i + 1);
        } else if continued && let Some(example) = examples.last_mut() {
            example.command = format!("{}\n{line}", example.command);
            continued = line.ends_with('\\');
        } else if line.starts_with("$ ")
            && let Some(command) = command
        {
            let (command, said) = (command.to_owned(), Vec::new());
            examples.push(Example {
                line: i + 1,
                command,
                said,
            });
            continued = line.ends_with('\\');
        } else {
            let example = examples
                .last_mut()
                .expect("a `console` block begins with a command");
            example.said.push(line.to_owned());
        }
    }
    examples
}

/// One shell's work: each command's output in `I.out`, its exit status in `I.status`; `$?` is that of the one before.
fn script(dir: &Path, commands: &[String]) -> String {
    let mut script = String::new();
    for (i, command) in commands.iter().enumerate() {
        let file = dir.join(i.to_string());
        fs::write(file.with_extension("sh"), command).expect("a file for a command");
        let file = file.display();
        script += &format!(
            "(exit ${{status:-0}}); . '{file}.sh' > '{file}.out' 2>&1; status=$?; echo $status > '{file}.status'\n"
        );
    }
    script
}

/// Runs `script` in bash; whether each example ended in time. Mounts and ports of root are in namespaces of its own.
fn run_shell(bench: &Bench, dir: &Path, script: &str) -> bool {
    // As on a host that systemd has booted, later mounts reach the namespaces that are made from this one.
    const BEGIN: &str = "mount --make-rshared / && busybox ip link set lo up\n";
    const OF_ROOT: [&str; 3] = ["unshare", "--mount", "--net"];
    let script = format!("{}{script}", if is_root() { BEGIN } else { "" });
    let mut words = if is_root() { OF_ROOT.to_vec() } else { Vec::new() };
    words.extend(["bash", "-c", &script]);
    let mut path = bench.dir().join("bin").into_os_string();
    path.push(":");
    path.push(&bench.path);
    let mut shell = Command::new(words[0])
        .args(&words[1..])
        .current_dir(bench.dir())
        .env_clear()
        .envs([
            ("PATH", path),
            ("HOME", bench.home().into()),
            (MARK, bench.dir().into()),
            ("ISOPOD_START", bench.start().into()),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("bash");
    let (mut files, mut deadline) = (0, Instant::now());
    while files != files_in(dir) || Instant::now() < deadline {
        if files != files_in(dir) {
            (files, deadline) = (files_in(dir), Instant::now() + DEADLINE);
        }
        if shell.try_wait().expect("the shell's state").is_some() {
            return true;
        }
        std::thread::sleep(PERIOD);
    }
    // What it started ends with the bench.
    let _ = shell.kill();
    let _ = shell.wait();
    false
}

/// How many files there are: each example makes two.
fn files_in(dir: &Path) -> usize {
    fs::read_dir(dir).expect("the directory of the examples").count()
}

fn ended(dir: &Path, i: usize) -> Option<Ended> {
    let file = dir.join(i.to_string());
    let status = fs::read_to_string(file.with_extension("status")).ok()?;
    let printed = fs::read(file.with_extension("out")).ok()?;
    Some(Ended {
        status: status.trim().parse().ok()?,
        printed: String::from_utf8_lossy(&printed).into_owned(),
    })
}

/// Whether an example printed and ended as `said`, where `next` is the command behind it.
fn compare(ended: &Ended, said: &[String], next: &str) -> Result<(), String> {
    let (reported, said) = match said.split_last() {
        Some((last, lines)) if exit_status(last).is_some() => (exit_status(last), lines),
        _ => (None, said),
    };
    let printed: Vec<String> = ended.printed.lines().map(general).collect();
    let said: Vec<String> = said.iter().map(|line| general(line)).collect();
    let status = ended.status;
    if !is_as_said(&printed, &said) {
        return Err(format!("this prints something else (exit status {status}):"));
    }
    let error = said.iter().any(|line| line.starts_with("error: "));
    match reported {
        Some(reported) if reported != status => {
            Err(format!("this has exit status {status}, not {reported}:"))
        }
        None if status != 0 && !error && !next.contains("$?") => Err(format!(
            "this has exit status {status}, which the page does not show:"
        )),
        None if status == 0 && error => Err("this has exit status 0:".to_owned()),
        _ => Ok(()),
    }
}

/// `N` of a line `[exit status N]`.
fn exit_status(line: &str) -> Option<i32> {
    line.strip_prefix("[exit status ")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// A line without what differs from run to run; blanks of any number are one.
fn general(line: &str) -> String {
    let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    for (kind, written) in VARIES {
        let written = Regex::new(written).expect("a regular expression");
        line = written.replace_all(&line, format!("<{kind}>")).into_owned();
    }
    line
}

/// Whether `lines` are what the page says, where `...` stands for any number of lines.
fn is_as_said(lines: &[String], said: &[String]) -> bool {
    match said.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=lines.len()).any(|skipped| is_as_said(&lines[skipped..], rest))
        }
        Some((first, rest)) => lines
            .split_first()
            .is_some_and(|(line, others)| line == first && is_as_said(others, rest)),
    }
}

fn replace(text: &str, replaced: &[(&str, String)]) -> String {
    let apply = |text: String, (from, to): &(&str, String)| text.replace(from, to);
    replaced.iter().fold(text.to_owned(), apply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(status: i32, printed: &str, said: &str, next: &str) -> Result<(), String> {
        let printed = printed.to_owned();
        let said: Vec<String> = said.lines().map(str::to_owned).collect();
        compare(&Ended { status, printed }, &said, next)
    }

    #[test]
    fn examples_are_lines_with_a_dollar_in_console_blocks() {
        let page = "text\n```console\n$ one \\\n    more\n$ two\nsaid\n```\n```sh\nthree\n```\n";
        let example = |line, command: &str, said: &[&str]| Example {
            line,
            command: command.to_owned(),
            said: said.iter().map(|&line| line.to_owned()).collect(),
        };
        assert_eq!(
            examples(page),
            [example(3, "one \\\n    more", &[]), example(5, "two", &["said"])]
        );
    }

    #[test]
    #[should_panic(expected = "line 2: not in a `console` block")]
    fn a_command_that_nobody_would_run_is_refused() {
        let _ = examples("```sh\n$ three\n```\n");
    }

    #[test]
    fn what_varies_may_differ_and_nothing_else() {
        let list = |id, age| format!("UUID      NAME\n{id}  web   running  {age}\n");
        assert_eq!(
            reported(0, &list("0f00ba12", "3s"), &list("e1c7a4be", "12s"), ""),
            Ok(())
        );
        assert!(reported(0, &list("0f00ba12", "3s"), &list("e1c7a4be", "3m"), "").is_err());
        assert!(reported(0, "a b\n", "a c", "").is_err());
        assert_eq!(reported(0, "a    b\n", "a b", ""), Ok(()));
        assert_eq!(reported(0, "a\nb\nc\n", "...\nb\n...", ""), Ok(()));
        assert!(reported(0, "a\nb\nc\n", "...\nb", "").is_err());
        assert!(reported(0, "a\n\n", "a", "").is_err());
    }

    #[test]
    fn an_exit_status_is_checked() {
        assert!(reported(1, "no\n", "no", "").is_err());
        assert_eq!(reported(1, "no\n", "no\n[exit status 1]", ""), Ok(()));
        assert!(reported(0, "no\n", "no\n[exit status 1]", "").is_err());
        assert_eq!(reported(7, "no\n", "no", "echo $?"), Ok(()));
        assert_eq!(reported(125, "error: no\n", "error: no", ""), Ok(()));
        assert!(reported(0, "error: no\n", "error: no", "").is_err());
    }
}
