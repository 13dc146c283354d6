//! The flags of a pod's command line: one row each, from which come the parser, the help, the manual and the completions.
//!
//! ```text
//! vm.rs pod.rs run.rs plan.rs                      a pod's: rows that fill a PodDraft
//! app.rs process.rs files.rs health.rs             an app's: rows that fill an AppDraft
//! isopod_spec::flags::{LIMITS, PROCESS}            an app's: rows that change nothing but what it asks for
//! docker.rs podman.rs                              theirs that mean nothing here, each with what to do instead
//! ```
//!
//! A new flag is a row here and a reader of its value in `isopod_spec::flags`, or both there. Forms are docker's (Go's pflag): `--name x`,
//! `--name=x`, `-n x`, `-nx`, `-n=x`, `-it`; a switch takes `=true` and `=false`; of a value that can be given once the last
//! one counts; what follows a flag that takes a value is its value, whatever it begins with.

mod app;
mod docker;
mod files;
mod health;
mod plan;
mod pod;
mod podman;
mod process;
mod run;
mod vm;

pub(super) use app::AppDraft;
pub(super) use plan::PlanDraft;
pub(super) use pod::PodDraft;

#[cfg(test)]
mod table;

use std::ffi::{OsStr, OsString};

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser as _};
use clap::{Arg, ArgAction, ArgMatches};
use isopod_spec::Overrides;
use isopod_spec::flags::{self, AppFlag, InvalidFlag, ReadApp};
use isopod_spec::words::shown;

use super::{ArgFault, switch};

#[derive(Clone, Copy)]
pub(super) struct Flag {
    /// Its name, without the dashes.
    pub(super) long: &'static str,
    /// Its letter.
    short: Option<char>,
    /// Another name that docker or podman has for it.
    alias: Option<&'static str>,
    /// What it takes.
    value: Value,
    /// What `--help` says of it.
    help: &'static str,
    /// What it does.
    read: Read,
}

/// What a flag takes.
#[derive(Clone, Copy)]
enum Value {
    /// Nothing, or `=true` or `=false`.
    Switch,
    /// A value, which the help calls so.
    Text(&'static str),
    /// One of these words.
    Choice(&'static str, &'static [&'static str]),
}

/// Whether a value could be read.
type Done = Result<(), ArgFault>;

/// What a flag does with its value.
#[derive(Clone, Copy)]
pub(super) enum Read {
    /// It changes the pod.
    Pod(fn(&mut PodDraft, &OsStr) -> Done),
    /// It changes the pod.
    PodSwitch(fn(&mut PodDraft, bool)),
    /// It changes the app of its group.
    App(fn(&mut AppDraft, &OsStr) -> Done),
    /// It changes the app of its group.
    AppSwitch(fn(&mut AppDraft, bool)),
    /// It changes what the app of its group asks for.
    Overrides(fn(&mut Overrides, &OsStr) -> Result<(), InvalidFlag>),
    /// It changes what the app of its group asks for.
    OverridesSwitch(fn(&mut Overrides, bool)),
    /// It cannot be had; the text says what to do instead.
    Refused(&'static str),
}

impl Flag {
    const fn new(long: &'static str, value: Value, help: &'static str, read: Read) -> Self {
        Self {
            long,
            short: None,
            alias: None,
            value,
            help,
            read,
        }
    }

    /// A switch of the pod.
    const fn pod_switch(long: &'static str, help: &'static str, read: fn(&mut PodDraft, bool)) -> Self {
        Self::new(long, Value::Switch, help, Read::PodSwitch(read))
    }

    /// A flag of the pod with a value.
    const fn pod(
        long: &'static str,
        value: &'static str,
        help: &'static str,
        read: fn(&mut PodDraft, &OsStr) -> Done,
    ) -> Self {
        Self::new(long, Value::Text(value), help, Read::Pod(read))
    }

    /// A switch of an app.
    const fn app_switch(long: &'static str, help: &'static str, read: fn(&mut AppDraft, bool)) -> Self {
        Self::new(long, Value::Switch, help, Read::AppSwitch(read))
    }

    /// A flag of an app's with a value.
    const fn app(
        long: &'static str,
        value: &'static str,
        help: &'static str,
        read: fn(&mut AppDraft, &OsStr) -> Done,
    ) -> Self {
        Self::new(long, Value::Text(value), help, Read::App(read))
    }

    const fn of(row: &AppFlag) -> Self {
        let (value, read) = match row.read {
            ReadApp::Text(name, read) => (Value::Text(name), Read::Overrides(read)),
            ReadApp::Switch(set) => (Value::Switch, Read::OverridesSwitch(set)),
        };
        let flag = Self::new(row.long, value, row.help, read);
        Self {
            short: row.short,
            ..flag
        }
    }

    /// The rows of `isopod_spec`.
    const fn all<const N: usize>(rows: &[AppFlag; N]) -> [Self; N] {
        let mut flags = [Self::of(&rows[0]); N];
        let mut i = 1;
        while i < N {
            flags[i] = Self::of(&rows[i]);
            i += 1;
        }
        flags
    }

    const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// With another name.
    const fn alias(mut self, name: &'static str) -> Self {
        self.alias = Some(name);
        self
    }

    /// With these words as its only values.
    const fn one_of(mut self, words: &'static [&'static str]) -> Self {
        if let Value::Text(name) = self.value {
            self.value = Value::Choice(name, words);
        }
        self
    }

    /// Whether it is the whole pod's, and stands before the first image only.
    pub(super) fn is_pods(&self) -> bool {
        matches!(self.read, Read::Pod(_) | Read::PodSwitch(_))
    }

    /// Whether it says something of a pod that a file describes.
    pub(super) fn goes_beside_file(&self) -> bool {
        self.is_pods() && !pod::NOT_BESIDE_FILES.contains(&self.long)
    }

    /// It as it is written.
    pub(super) fn name(&self) -> String {
        format!("--{}", self.long)
    }

    /// Its definition for help and completion.
    fn described(&self, section: Section) -> Arg {
        let arg = self.arg();
        let arg = match self.value {
            Value::Switch => arg.action(ArgAction::SetTrue),
            Value::Text(_) => arg.action(ArgAction::Append),
            Value::Choice(_, words) => arg
                .action(ArgAction::Append)
                .value_parser(PossibleValuesParser::new(words)),
        };
        arg.help(self.help).help_heading(section.heading())
    }

    /// Its definition for reading.
    fn parsed(&self) -> Arg {
        let arg = self.arg().action(ArgAction::Append);
        match self.value {
            Value::Switch => switch::optional(arg.value_parser(OsStringValueParser::new())),
            Value::Text(_) => arg
                .value_parser(OsStringValueParser::new())
                .allow_hyphen_values(true),
            Value::Choice(_, words) => arg.value_parser(PossibleValuesParser::new(words).map(OsString::from)),
        }
    }

    fn arg(&self) -> Arg {
        let without_effect = matches!(self.read, Read::Refused(_));
        let mut arg = Arg::new(self.long).long(self.long).hide(without_effect);
        if let Some(letter) = self.short {
            arg = arg.short(letter);
        }
        if let Some(alias) = self.alias {
            arg = arg.visible_alias(alias);
        }
        match self.value {
            Value::Switch => arg,
            Value::Text(name) | Value::Choice(name, _) => arg.value_name(name),
        }
    }

    /// Lets the flag do its work with `value`.
    fn apply(&self, value: &OsStr, pod: &mut PodDraft, app: &mut AppDraft) -> Done {
        match &self.read {
            Read::Pod(read) => read(pod, value),
            Read::App(read) => read(app, value),
            Read::Overrides(read) => Ok(read(&mut app.overrides, value)?),
            Read::OverridesSwitch(set) => {
                set(&mut app.overrides, self.switched(value)?);
                Ok(())
            }
            Read::PodSwitch(set) => {
                set(pod, self.switched(value)?);
                Ok(())
            }
            Read::AppSwitch(set) => {
                set(app, self.switched(value)?);
                Ok(())
            }
            Read::Refused(hint) => Err(ArgFault::Refused {
                flag: self.name(),
                hint,
            }),
        }
    }

    /// The value of a switch, as Go's `strconv.ParseBool` reads it.
    fn switched(&self, value: &OsStr) -> Result<bool, ArgFault> {
        match value.to_str() {
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
            Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
            _ => Err(ArgFault::NotSwitched {
                flag: self.name(),
                value: shown(value),
            }),
        }
    }
}

/// A part of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// What `plan` has beyond `run`.
    Plan,
    /// What `run` does beyond `prepare`; `plan` takes it too.
    Run,
    Pod,
    Vm,
    App,
    /// An app's limits.
    Limits,
    /// An app's health check.
    Health,
}

impl Section {
    fn heading(self) -> &'static str {
        match self {
            Section::Plan => "Plan flags",
            Section::Run | Section::Pod => "Pod flags (before the first image)",
            Section::Vm => "VM flags (before the first image)",
            Section::App => "App flags (each before the image that it is for)",
            Section::Limits => "Limits of an app",
            Section::Health => "Health check of an app",
        }
    }
}

/// A command that takes these flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// `run`.
    Run,
    /// `prepare`.
    Prepare,
    /// `plan`.
    Plan,
}

impl For {
    fn has(self, section: Section) -> bool {
        match section {
            Section::Plan => self == For::Plan,
            Section::Run => self != For::Prepare,
            _ => true,
        }
    }
}

/// All flags, in the order of the help.
const TABLE: [(Section, &[Flag]); 12] = [
    (Section::Plan, plan::FLAGS),
    (Section::Run, run::FLAGS),
    (Section::Pod, pod::FLAGS),
    (Section::Vm, vm::FLAGS),
    (Section::App, app::FLAGS),
    (Section::App, process::FLAGS),
    (Section::App, &Flag::all(&flags::PROCESS)),
    (Section::App, files::FLAGS),
    (Section::Limits, &Flag::all(&flags::LIMITS)),
    (Section::Health, health::FLAGS),
    (Section::App, docker::REFUSED),
    (Section::App, podman::REFUSED),
];

fn rows(command: For) -> impl Iterator<Item = (Section, &'static Flag)> {
    let table = TABLE
        .into_iter()
        .filter(move |(section, _)| command.has(*section));
    table.flat_map(|(section, flags)| flags.iter().map(move |flag| (section, flag)))
}

/// The flags of `command` for reading.
pub(super) fn parsed(command: For) -> Vec<Arg> {
    rows(command).map(|(_, flag)| flag.parsed()).collect()
}

/// The flags of `command` for help and completion.
pub(super) fn described(command: For) -> Vec<Arg> {
    rows(command)
        .map(|(section, flag)| flag.described(section))
        .collect()
}

/// The flags of an app that is not the first, for completion.
pub(super) fn described_of_app() -> Vec<Arg> {
    let own = rows(For::Run).filter(|(_, flag)| !flag.is_pods());
    own.map(|(section, flag)| flag.described(section)).collect()
}

/// The long names of all flags, without the dashes.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let shown = rows(For::Plan).filter(|(_, flag)| !matches!(flag.read, Read::Refused(_)));
    shown.map(|(_, flag)| flag.long)
}

/// What to do instead of a flag that `run` refuses.
pub(super) fn refusal(long: &str) -> Option<&'static str> {
    let mut found = rows(For::Run).filter(|(_, flag)| flag.long == long || flag.alias == Some(long));
    found.find_map(|(_, flag)| match flag.read {
        Read::Refused(hint) => Some(hint),
        _ => None,
    })
}

/// The flags that `matches` holds with their values, in the order in which they were given.
pub(super) fn given(command: For, matches: &ArgMatches) -> Vec<(&'static Flag, OsString)> {
    let mut found: Vec<(usize, &Flag, OsString)> = Vec::new();
    for (_, flag) in rows(command) {
        let indices = matches.indices_of(flag.long).unwrap_or_default();
        let values = matches.get_many::<OsString>(flag.long).unwrap_or_default();
        found.extend(
            indices
                .zip(values)
                .map(|(index, value)| (index, flag, value.clone())),
        );
    }
    found.sort_by_key(|(index, ..)| *index);
    found.into_iter().map(|(_, flag, value)| (flag, value)).collect()
}

/// Applies `flags` in their order; what is wrong with them is added to `faults`.
pub(super) fn apply(
    flags: &[(&'static Flag, OsString)],
    pod: &mut PodDraft,
    app: &mut AppDraft,
    faults: &mut Vec<ArgFault>,
) {
    for (flag, value) in flags {
        if let Err(fault) = flag.apply(value, pod, app) {
            faults.push(fault);
        }
    }
}

/// Keeps the value that was read.
fn keep<T>(slot: &mut Option<T>, read: Result<T, InvalidFlag>) -> Done {
    *slot = Some(read?);
    Ok(())
}

/// Adds the values that were read.
fn extend<T>(list: &mut Vec<T>, read: Result<Vec<T>, InvalidFlag>) -> Done {
    list.extend(read?);
    Ok(())
}

/// Adds the value that was read.
fn push<T>(list: &mut Vec<T>, read: Result<T, InvalidFlag>) -> Done {
    list.push(read?);
    Ok(())
}
