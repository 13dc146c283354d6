//! Completion in a shell: commands and flags from the definitions, pods, apps and images from the state directory.
//!
//! ```text
//! the shell's script ── ISOPOD_COMPLETE=bash isopod -- WORDS... ──> candidates on standard output
//! ```
//!
//! Which candidates a word has follows from the name of its value in the definitions: `POD`, `APP`, `IMAGE`, and those of
//! `cp`. Nothing is written, and nothing is said of what cannot be read.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Arg;
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use isopod_image::store::Store;
use isopod_runtime::pods::{PodEntry, Pods};
use isopod_runtime::state_dir::{IMAGES, PODS};
use isopod_spec::Transport;

use crate::args::{PodPart, pod_command};
use crate::command_line::{part_of, root_to_complete};
use crate::commands::completion::VARIABLE;
use crate::settings::default_dir;

/// Answers a shell's question, if that is what this process was started for.
pub(crate) fn answer() -> Option<ExitCode> {
    env::var_os(VARIABLE)?;
    let (program, words) = split(env::args_os().collect());
    let part = match words.split_last() {
        Some((_, before)) => part_of(before),
        None => PodPart::First,
    };
    let asked = words.clone();
    let root = move || {
        let words = asked.clone();
        let add = move |arg: Arg| match completer(&arg, &words) {
            Some(completer) => arg.add(completer),
            None => arg,
        };
        let add_here = add.clone();
        root_to_complete(part).mut_subcommands(move |sub| {
            let below = add_here.clone();
            sub.mut_args(add_here.clone())
                .mut_subcommands(move |sub| sub.mut_args(below.clone()))
        })
    };
    let argv = program.into_iter().chain(flattened(words));
    let answered = CompleteEnv::with_factory(root)
        .var(VARIABLE)
        .try_complete(argv, None);
    Some(match answered {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

/// The program and its `--`, and the words that are completed.
fn split(argv: Vec<OsString>) -> (Vec<OsString>, Vec<OsString>) {
    let end = argv
        .iter()
        .position(|word| word == "--")
        .map_or(argv.len(), |at| at + 1);
    let mut program = argv;
    let words = program.split_off(end);
    (program, words)
}

/// The words of a pod with nothing but plain words before its last app: their number stays, and no `--` of an earlier
/// app hides the flags of this one.
fn flattened(mut words: Vec<OsString>) -> Vec<OsString> {
    let Some((begin, _)) = pod_command(&words) else {
        return words;
    };
    let before = &words[..words.len().saturating_sub(1)];
    if let Some(last) = before.iter().rposition(|word| word == "---") {
        words[begin + 1..=last].fill("app".into());
    }
    words
}

/// What completes the value of `arg`.
fn completer(arg: &Arg, words: &[OsString]) -> Option<ArgValueCompleter> {
    let state = State {
        words: words.to_vec(),
    };
    let name = arg.get_value_names()?.first()?.as_str();
    Some(match name {
        "POD" => ArgValueCompleter::new(move |word: &OsStr| state.pods_by(word, "")),
        "APP" => ArgValueCompleter::new(move |word: &OsStr| state.apps(word)),
        "IMAGE" => ArgValueCompleter::new(move |word: &OsStr| state.images(word)),
        "POD|FILE" => ArgValueCompleter::new(move |word: &OsStr| {
            let mut found = state.pods_by(word, "");
            found.extend(PathCompleter::any().complete(word));
            found
        }),
        "SOURCE" | "TARGET" if arg.get_long().is_none() && arg.get_short().is_none() => {
            ArgValueCompleter::new(move |word: &OsStr| {
                let mut found = state.pods_by(word, ":");
                found.extend(PathCompleter::any().complete(word));
                found
            })
        }
        "FILE" => ArgValueCompleter::new(PathCompleter::any()),
        "DIR" => ArgValueCompleter::new(PathCompleter::dir()),
        _ => return None,
    })
}

/// The state that the words are about.
#[derive(Clone)]
struct State {
    words: Vec<OsString>,
}

impl State {
    /// `--dir`'s directory, otherwise the usual one; `None` where there is nothing yet.
    fn dir(&self) -> Option<PathBuf> {
        let mut words = self.words.iter().filter_map(|word| word.to_str());
        let mut named = None;
        while let Some(word) = words.next() {
            // bash gives `--dir=DIR` as three words.
            named = match word {
                "--dir" => words
                    .next()
                    .and_then(|word| if word == "=" { words.next() } else { Some(word) }),
                word => word.strip_prefix("--dir=").or(named),
            };
        }
        let dir = named.map(PathBuf::from).or_else(|| default_dir().ok());
        dir.filter(|dir| dir.join(PODS).is_dir() || dir.join(IMAGES).is_dir())
    }

    fn pods(&self) -> Vec<PodEntry> {
        let pods = self.dir().filter(|dir| dir.join(PODS).is_dir());
        let pods = pods.and_then(|dir| Pods::open(&dir).ok());
        pods.and_then(|pods| pods.list().ok()).unwrap_or_default()
    }

    /// The names of the pods that the command can do something with, each with `end` behind it; a UUID where there is no
    /// name, and where its beginning is there.
    fn pods_by(&self, word: &OsStr, end: &str) -> Vec<CompletionCandidate> {
        let Some(word) = word.to_str() else {
            return Vec::new();
        };
        let has = |name: &str| self.words.iter().any(|word| word == name);
        let live = ["stop", "kill", "exec", "attach", "stats", "top", "cp"]
            .into_iter()
            .any(has);
        let still = has("start");
        let candidate = |pod: &PodEntry| {
            let name = pod.record.as_ref().and_then(|record| record.name.as_ref());
            let name = name
                .map(ToString::to_string)
                .filter(|name| name.starts_with(word));
            let by_uuid = pod.uuid.starts_with(word) && !word.is_empty();
            let unnamed = pod.record.as_ref().is_some_and(|record| record.name.is_none());
            let value = name.or_else(|| (by_uuid || unnamed).then(|| pod.uuid.clone()))?;
            let candidate = CompletionCandidate::new(format!("{value}{end}"));
            value
                .starts_with(word)
                .then(|| candidate.help(Some(pod.state.as_str().into())))
        };
        let pods = self.pods();
        let wanted = pods
            .iter()
            .filter(|pod| !live || pod.state.is_live())
            .filter(|pod| !still || !pod.state.is_live());
        wanted.filter_map(candidate).collect()
    }

    /// The apps of the pod that is among the words, otherwise of all.
    fn apps(&self, word: &OsStr) -> Vec<CompletionCandidate> {
        let pods = self.pods();
        let is_named = |pod: &PodEntry| {
            let name = pod.record.as_ref().and_then(|record| record.name.as_ref());
            let before = self.words.iter().skip(1).filter_map(|word| word.to_str());
            before.filter(|word| !word.is_empty()).any(|word| {
                name.is_some_and(|name| name.as_str() == word)
                    || (word.len() > 3 && pod.uuid.starts_with(word))
            })
        };
        let named: Vec<&PodEntry> = pods.iter().filter(|pod| is_named(pod)).collect();
        let of = if named.is_empty() {
            pods.iter().collect()
        } else {
            named
        };
        let apps = of
            .into_iter()
            .flat_map(|pod| &pod.record)
            .flat_map(|record| record.present());
        let mut names: Vec<&str> = apps.map(|(_, app)| app.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        starting_with(word, names)
    }

    /// The images in the store by their names, and the beginnings of places for others.
    fn images(&self, word: &OsStr) -> Vec<CompletionCandidate> {
        let store = self.dir().filter(|dir| dir.join(IMAGES).is_dir());
        let images = store
            .and_then(|dir| Store::open(&dir).ok()?.list().ok())
            .unwrap_or_default();
        let names = images
            .iter()
            .flat_map(|image| image.names.iter().map(String::as_str));
        let places = Transport::ALL.map(|transport| format!("{}:", transport.as_str()));
        let places = places.iter().map(String::as_str).chain(["docker://"]);
        starting_with(word, names.chain(places))
    }
}

fn starting_with<'a>(word: &OsStr, values: impl IntoIterator<Item = &'a str>) -> Vec<CompletionCandidate> {
    let word = word.to_string_lossy();
    let values = values.into_iter().filter(|value| value.starts_with(&*word));
    values.map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn earlier_apps_hide_nothing() {
        for (line, flat) in [
            ("isopod exec p -- a", "isopod exec p -- a"),
            ("isopod run oci:a x", "isopod run oci:a x"),
            (
                "isopod run -d oci:a sh -- --- oci:b --",
                "isopod run app app app app app oci:b --",
            ),
            ("isopod run oci:a sh ---", "isopod run oci:a sh ---"),
        ] {
            assert_eq!(flattened(words(line)), words(flat), "{line}");
        }
    }

    #[test]
    fn flags_are_of_the_part_that_is_written() {
        for (line, part) in [
            ("isopod run", PodPart::First),
            ("isopod --dir x run --vm-memory 1g", PodPart::First),
            ("isopod run --vm-memory 1g oci:a", PodPart::Command),
            ("isopod create -i oci:a sh --name x", PodPart::Command),
            ("isopod plan oci:a x ---", PodPart::Later),
            ("isopod plan oci:a x --- -e A=b oci:b", PodPart::Command),
            ("isopod list", PodPart::First),
        ] {
            assert_eq!(part_of(&words(line)), part, "{line}");
        }
    }
}
