//! Flags of an app whose whole effect is what the app asks for: a row each, beside the reader of its value. Parser, help,
//! manual and completions come from the rows, and what a pod file cannot say.

use std::ffi::OsStr;

use super::InvalidFlag;
use crate::Overrides;

/// A flag of an app.
#[derive(Clone, Copy, Debug)]
pub struct AppFlag {
    /// Its name, without the dashes.
    pub long: &'static str,
    /// Its letter.
    pub short: Option<char>,
    /// What its help says.
    pub help: &'static str,
    /// What it takes, and what that changes.
    pub read: ReadApp,
    /// What a pod file has no field for; `None`: the writer of pod files says all of it.
    pub gap: Option<PodFileGap>,
}

/// How a flag's value gets into what an app asks for.
#[derive(Clone, Copy, Debug)]
pub enum ReadApp {
    /// A value, by the name that the help has for it.
    Text(
        &'static str,
        fn(&mut Overrides, &OsStr) -> Result<(), InvalidFlag>,
    ),
    /// Nothing, or `=true` or `=false`.
    Switch(fn(&mut Overrides, bool)),
}

/// What a pod file cannot say.
#[derive(Clone, Copy, Debug)]
pub struct PodFileGap {
    /// Whether it was asked for.
    pub(crate) is_asked: fn(&Overrides) -> bool,
    /// What is lost, as a list of such things names it.
    pub(crate) what: &'static str,
    pub(crate) why: &'static str,
}

impl AppFlag {
    pub(super) const fn text(
        long: &'static str,
        value: &'static str,
        help: &'static str,
        read: fn(&mut Overrides, &OsStr) -> Result<(), InvalidFlag>,
    ) -> Self {
        Self::new(long, help, ReadApp::Text(value, read))
    }

    pub(super) const fn switch(
        long: &'static str,
        help: &'static str,
        set: fn(&mut Overrides, bool),
    ) -> Self {
        Self::new(long, help, ReadApp::Switch(set))
    }

    const fn new(long: &'static str, help: &'static str, read: ReadApp) -> Self {
        Self {
            long,
            short: None,
            help,
            read,
            gap: None,
        }
    }

    pub(super) const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// No pod file says it: whether it was asked for, what is lost, and why.
    pub(super) const fn gap(
        mut self,
        is_asked: fn(&Overrides) -> bool,
        what: &'static str,
        why: &'static str,
    ) -> Self {
        self.gap = Some(PodFileGap { is_asked, what, why });
        self
    }
}

/// Keeps the value that was read.
pub(super) fn keep<T>(slot: &mut Option<T>, read: Result<T, InvalidFlag>) -> Result<(), InvalidFlag> {
    *slot = Some(read?);
    Ok(())
}

/// Adds the value that was read.
pub(super) fn push<T>(list: &mut Vec<T>, read: Result<T, InvalidFlag>) -> Result<(), InvalidFlag> {
    list.push(read?);
    Ok(())
}
