//! The flags of an app's health check, which are docker's and podman's.

use std::ffi::OsStr;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use isopod_spec::flags;
use isopod_spec::{HealthCheck, HealthTest};

use super::commands::{raw, value_flag};
use super::pod::Faults;

/// The flags.
pub(super) fn flags() -> Vec<Arg> {
    let no = Arg::new("no-healthcheck").long("no-healthcheck");
    let retries = value_flag("health-retries", "N").value_parser(value_parser!(u32));
    vec![
        raw("health-cmd", "COMMAND")
            .help("Check the app's health with this shell command, in place of its image's check"),
        raw("health-interval", "TIME").help("Check so often, such as 30s or 1m30s [default: 30s]"),
        raw("health-timeout", "TIME").help("How long a check may take [default: 30s]"),
        retries.help("Unhealthy after so many failures in a row [default: 3]"),
        raw("health-start-period", "TIME")
            .help("Count no failures for so long, or until the first success [default: 0s]"),
        raw("health-start-interval", "TIME").help("Check so often within the start period [default: 5s]"),
        raw("health-on-failure", "ACTION").help(
            "What becomes of an unhealthy app: none, kill (its restart policy decides what follows) or stop \
             [default: none]",
        ),
        no.action(ArgAction::SetTrue)
            .conflicts_with("health-cmd")
            .help("Leave out the image's health check"),
    ]
}

/// What the flags say of an app's health check.
pub(super) fn read(matches: &ArgMatches, faults: &mut Faults) -> HealthCheck {
    let mut time = |id: &str, flag| {
        let read = |text: &OsStr| flags::read_health_time(flag, text);
        faults.one(matches, id, read).flatten()
    };
    let check = HealthCheck {
        test: None,
        interval: time("health-interval", "--health-interval"),
        timeout: time("health-timeout", "--health-timeout"),
        start_period: time("health-start-period", "--health-start-period"),
        start_interval: time("health-start-interval", "--health-start-interval"),
        retries: matches
            .get_one("health-retries")
            .copied()
            .filter(|retries| *retries > 0),
    };
    let test = match matches.get_flag("no-healthcheck") {
        true => Some(HealthTest::Nothing),
        false => faults.one(matches, "health-cmd", flags::read_health_cmd),
    };
    HealthCheck { test, ..check }
}
