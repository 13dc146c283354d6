//! Switches that take a value only behind `=`: `--pause`, `--pause=false`.

use clap::{Arg, ArgAction};

/// Makes a flag of the derive's one that is on unless it is `false` (`#[command(mut_arg("NAME", on))]`).
pub(crate) fn on(arg: Arg) -> Arg {
    let arg = arg.value_name("BOOL").action(ArgAction::Set);
    optional(arg).default_value("true")
}

/// Lets a flag stand without a value, which then is `true`.
pub(crate) fn optional(arg: Arg) -> Arg {
    arg.num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
}
