//! Flags of an app's health check, which are docker's and podman's.

use isopod_spec::flags;

use super::{Flag, keep};

pub(super) const FLAGS: &[Flag] = &[
    Flag::app(
        "health-cmd",
        "COMMAND",
        "Check the app's health with this shell command, in place of its image's check",
        |app, text| keep(&mut app.overrides.health_check.test, flags::read_health_cmd(text)),
    ),
    Flag::app(
        "health-interval",
        "TIME",
        "The time between two checks, such as 30s or 1m30s [default: 30s]",
        |app, text| {
            app.overrides.health_check.interval = flags::read_health_time("--health-interval", text)?;
            Ok(())
        },
    ),
    Flag::app(
        "health-timeout",
        "TIME",
        "How long a check may take [default: 30s]",
        |app, text| {
            app.overrides.health_check.timeout = flags::read_health_time("--health-timeout", text)?;
            Ok(())
        },
    ),
    Flag::app(
        "health-retries",
        "N",
        "How many failures in a row make the app unhealthy [default: 3]",
        |app, text| {
            app.overrides.health_check.retries = flags::read_health_retries(text)?;
            Ok(())
        },
    ),
    Flag::app(
        "health-start-period",
        "TIME",
        "How long failures do not count after a start, unless a check succeeds before [default: 0s]",
        |app, text| {
            app.overrides.health_check.start_period = flags::read_health_time("--health-start-period", text)?;
            Ok(())
        },
    ),
    Flag::app(
        "health-start-interval",
        "TIME",
        "The time between two checks within the start period [default: 5s]",
        |app, text| {
            app.overrides.health_check.start_interval =
                flags::read_health_time("--health-start-interval", text)?;
            Ok(())
        },
    ),
    Flag::app(
        "health-on-failure",
        "ACTION",
        "What happens to an unhealthy app: none, kill (its restart policy decides what follows) or stop [default: none]",
        |app, text| {
            app.on_unhealthy = flags::read_health_on_failure(text)?;
            Ok(())
        },
    ),
    Flag::app_switch(
        "no-healthcheck",
        "Leave out the image's health check",
        |app, on| {
            app.no_health_check = on;
        },
    ),
];
