//! What is asked of an app while it runs and what is run around its life, decided: the agent gets every number from here,
//! and counts and waits.
//!
//! | asked for | done by | a failure |
//! |---|---|---|
//! | startup and liveness probe | the agent | ends the app with the grace of the pod or of the probe; its restart policy decides |
//! | readiness probe | the agent | the app is not ready |
//! | docker's health check | the agent | is shown, or ends the app (`--health-on-failure`) |
//! | `postStart`, `preStop` | the agent | `postStart`: as a liveness probe's; `preStop`: is reported |
//! | appc's `pre-start`, `post-stop` | systemd (`ExecStartPre=`, `ExecStopPost=`) | `pre-start`: the app does not start |

use std::time::Duration;

use isopod_contract::config::{GuestCheck, GuestEnding, GuestHandler, GuestProbe};
use isopod_spec::{
    App, Handler, HealthCheck, HealthTest, HttpGet, Lifecycle, OnUnhealthy, Probe, ProbeAction, ProbeKind,
    Probes,
};

/// How long a `post-stop` handler may take beyond the time that the apps have to stop, in milliseconds.
pub(crate) const POST_STOP_MS: u64 = 10_000;

/// docker's defaults of a health check (`docker run --help`, dockerd's `daemon/health.go`).
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// How an app's health is looked after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppHealth {
    probes: Probes,
    health_check: Option<Check>,
    lifecycle: Lifecycle,
    /// How long the app has to stop.
    grace: Duration,
}

/// A health check with nothing left open.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    argv: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
    on_unhealthy: OnUnhealthy,
}

impl AppHealth {
    /// How `app` is looked after, whose image has the check `of_image` and which has `grace` to stop.
    ///
    /// # Errors
    /// What about its health check cannot be done.
    pub(crate) fn of(app: &App, of_image: &HealthCheck, grace: Duration) -> Result<Self, String> {
        let check = app.overrides.health_check.over(of_image);
        let argv = match &check.test {
            Some(HealthTest::Command(argv)) => Some(argv.clone()),
            Some(HealthTest::Nothing) | None => None,
        };
        let asked = app.on_unhealthy != OnUnhealthy::Nothing || app.overrides.health_check.has_numbers();
        if argv.is_none() && asked {
            return Err(
                "it has flags for a health check, but no health check; add `--health-cmd`".to_owned(),
            );
        }
        // What lies between no time and a moment would keep the guest busy.
        let time = |time: Option<Duration>, default: Duration| {
            time.filter(|time| !time.is_zero()).unwrap_or(default)
        };
        let health_check = argv.map(|argv| Check {
            argv,
            interval: time(check.interval, INTERVAL),
            timeout: time(check.timeout, TIMEOUT),
            start_period: check.start_period.unwrap_or_default(),
            start_interval: time(check.start_interval, START_INTERVAL),
            retries: check.retries.filter(|retries| *retries > 0).unwrap_or(RETRIES),
            on_unhealthy: app.on_unhealthy,
        });
        Ok(Self {
            probes: app.probes.clone(),
            health_check,
            lifecycle: app.lifecycle.clone(),
            grace,
        })
    }

    /// Whether anything ever finds the app healthy.
    pub(crate) fn has_probes(&self) -> bool {
        self.health_check.is_some() || self.probes != Probes::default()
    }

    /// Whether the app reports when it is ready, which otherwise it is as soon as it has started.
    pub(crate) fn reports_readiness(&self) -> bool {
        let Probes {
            startup, readiness, ..
        } = &self.probes;
        self.lifecycle.post_start.is_some() || startup.is_some() || readiness.is_some()
    }

    /// What the agent receives about probes.
    pub(crate) fn guest_probes(&self) -> Vec<GuestProbe> {
        let probes = self.probes.iter();
        let probes = probes.map(|(kind, probe)| guest_probe(kind, probe, self.grace));
        let check = self
            .health_check
            .iter()
            .map(|check| guest_check(check, self.grace));
        probes.chain(check).collect()
    }

    /// What the agent does once the app executes.
    pub(crate) fn guest_post_start(&self) -> Option<GuestHandler> {
        let handler = self.lifecycle.post_start.as_ref()?;
        Some(GuestHandler {
            name: "postStart handler".to_owned(),
            check: handler_check(handler),
            on_failure: Some(ending(self.grace)),
        })
    }

    /// What the agent does before it asks the app to stop.
    pub(crate) fn guest_pre_stop(&self) -> Option<GuestHandler> {
        let handler = self.lifecycle.pre_stop.as_ref()?;
        Some(GuestHandler {
            name: "preStop handler".to_owned(),
            check: handler_check(handler),
            on_failure: None,
        })
    }

    /// What there is, by name, and in words.
    pub(crate) fn words(&self) -> Vec<(String, String)> {
        let probe = |probe: GuestProbe| {
            let words = format!(
                "{}, every {} s, {} s at most, {} failures",
                check_words(&probe.check),
                seconds(probe.period_ms),
                seconds(probe.timeout_ms),
                probe.failure_threshold
            );
            (probe.name, words)
        };
        let handler = |handler: GuestHandler| (handler.name, check_words(&handler.check));
        let handlers = [self.guest_post_start(), self.guest_pre_stop()];
        let probes = self.guest_probes().into_iter().map(probe);
        probes
            .chain(handlers.into_iter().flatten().map(handler))
            .collect()
    }
}

fn guest_probe(kind: ProbeKind, probe: &Probe, grace: Duration) -> GuestProbe {
    let grace = probe.termination_grace.unwrap_or(grace);
    let ends = kind != ProbeKind::Readiness;
    GuestProbe {
        name: format!("{} probe", kind.as_str()),
        check: match &probe.action {
            ProbeAction::Exec(argv) => GuestCheck::Exec { argv: argv.clone() },
            ProbeAction::HttpGet(get) => http_check(get),
            ProbeAction::Grpc { tls, port, service } => GuestCheck::Grpc {
                tls: *tls,
                port: *port,
                service: service.clone(),
            },
            ProbeAction::Tcp { host, port } => GuestCheck::Tcp {
                host: *host,
                port: *port,
            },
        },
        initial_delay_ms: millis(probe.initial_delay),
        period_ms: millis(probe.period),
        timeout_ms: millis(probe.timeout),
        success_threshold: probe.success_threshold,
        failure_threshold: probe.failure_threshold,
        lenient_ms: 0,
        lenient_period_ms: 0,
        holds_others: kind == ProbeKind::Startup,
        readies: kind == ProbeKind::Readiness,
        on_failure: ends.then(|| ending(grace)),
    }
}

/// docker waits for the first time as long as from one to the next.
fn guest_check(check: &Check, grace: Duration) -> GuestProbe {
    let lenient = !check.start_period.is_zero();
    let first = if lenient {
        check.start_interval
    } else {
        check.interval
    };
    GuestProbe {
        name: "health check".to_owned(),
        check: GuestCheck::Exec {
            argv: check.argv.clone(),
        },
        initial_delay_ms: millis(first),
        period_ms: millis(check.interval),
        timeout_ms: millis(check.timeout),
        success_threshold: 1,
        failure_threshold: check.retries,
        lenient_ms: millis(check.start_period),
        lenient_period_ms: millis(check.start_interval),
        holds_others: false,
        readies: false,
        on_failure: match check.on_unhealthy {
            OnUnhealthy::Nothing => None,
            OnUnhealthy::Kill => Some(ending(Duration::ZERO)),
            OnUnhealthy::Stop => Some(GuestEnding {
                restarts: false,
                ..ending(grace)
            }),
        },
    }
}

/// An end that the restart policy takes for a failure.
fn ending(grace: Duration) -> GuestEnding {
    GuestEnding {
        grace_ms: millis(grace),
        restarts: true,
    }
}

fn handler_check(handler: &Handler) -> GuestCheck {
    match handler {
        Handler::Exec(argv) => GuestCheck::Exec { argv: argv.clone() },
        Handler::HttpGet(get) => http_check(get),
        Handler::Sleep(time) => GuestCheck::Sleep { ms: millis(*time) },
    }
}

fn http_check(get: &HttpGet) -> GuestCheck {
    GuestCheck::HttpGet {
        tls: get.tls,
        host: get.host,
        port: get.port,
        path: get.path.clone(),
        headers: get.headers.clone(),
    }
}

fn check_words(check: &GuestCheck) -> String {
    let host = |host: &Option<std::net::IpAddr>| host.map_or("localhost".to_owned(), |host| host.to_string());
    match check {
        GuestCheck::Exec { argv } => format!("runs {}", crate::quoted::command(argv)),
        GuestCheck::HttpGet {
            tls,
            host: at,
            port,
            path,
            ..
        } => {
            let scheme = if *tls { "https" } else { "http" };
            format!("gets {scheme}://{}:{port}{path}", host(at))
        }
        GuestCheck::Grpc { port, service, .. } => {
            let of = if service.is_empty() { "the server" } else { service };
            format!("asks port {port} for the gRPC health of {of}")
        }
        GuestCheck::Tcp { host: at, port } => format!("connects to {}:{port}", host(at)),
        GuestCheck::Sleep { ms } => format!("waits {} s", seconds(*ms)),
    }
}

fn seconds(ms: u64) -> String {
    match (ms / 1000, ms % 1000) {
        (whole, 0) => whole.to_string(),
        (whole, rest) => format!("{whole}.{rest:03}").trim_end_matches('0').to_owned(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isopod_spec::{AppName, ImageSource};

    fn app() -> App {
        let name = AppName::new("web").unwrap();
        App::new(name, ImageSource::Stored { id: None, name: None })
    }

    fn check() -> HealthCheck {
        HealthCheck {
            test: Some(HealthTest::Command(vec!["/check".into()])),
            ..HealthCheck::default()
        }
    }

    const GRACE: Duration = Duration::from_secs(7);

    #[test]
    fn dockers_defaults_hold_and_a_failure_only_shows() {
        let health = AppHealth::of(&app(), &check(), GRACE).unwrap();
        let [probe] = &health.guest_probes()[..] else {
            panic!("one")
        };
        assert_eq!(
            (probe.initial_delay_ms, probe.period_ms, probe.timeout_ms),
            (30_000, 30_000, 30_000)
        );
        assert_eq!((probe.failure_threshold, probe.lenient_ms), (3, 0));
        assert!(probe.on_failure.is_none() && !probe.readies && !probe.holds_others);
        assert!(health.has_probes());
    }

    #[test]
    fn a_start_period_is_lenient_and_asks_more_often() {
        let mut app = app();
        app.overrides.health_check.start_period = Some(Duration::from_secs(60));
        app.on_unhealthy = OnUnhealthy::Stop;
        let probe = AppHealth::of(&app, &check(), GRACE)
            .unwrap()
            .guest_probes()
            .remove(0);
        assert_eq!(
            (probe.initial_delay_ms, probe.lenient_ms, probe.lenient_period_ms),
            (5_000, 60_000, 5_000)
        );
        let stays = GuestEnding {
            grace_ms: 7_000,
            restarts: false,
        };
        assert_eq!(probe.on_failure, Some(stays));
    }

    #[test]
    fn what_is_turned_off_is_off_and_flags_for_nothing_are_refused() {
        let mut off = app();
        off.overrides.health_check.test = Some(HealthTest::Nothing);
        assert!(!AppHealth::of(&off, &check(), GRACE).unwrap().has_probes());
        let mut kills = app();
        kills.on_unhealthy = OnUnhealthy::Kill;
        assert!(AppHealth::of(&kills, &HealthCheck::default(), GRACE).is_err());
        kills.overrides.health_check = check();
        let probe = AppHealth::of(&kills, &HealthCheck::default(), GRACE)
            .unwrap()
            .guest_probes()
            .remove(0);
        assert_eq!(
            probe.on_failure,
            Some(GuestEnding {
                grace_ms: 0,
                restarts: true
            })
        );
        let mut retries = app();
        retries.overrides.health_check.retries = Some(1);
        assert!(AppHealth::of(&retries, &HealthCheck::default(), GRACE).is_err());
    }

    #[test]
    fn a_probes_own_grace_wins() {
        let mut app = app();
        let tcp = ProbeAction::Tcp { host: None, port: 80 };
        app.probes.startup = Some(Probe::new(tcp.clone()));
        app.probes.liveness = Some(Probe {
            termination_grace: Some(Duration::from_secs(1)),
            ..Probe::new(tcp.clone())
        });
        app.probes.readiness = Some(Probe::new(tcp));
        let probes = AppHealth::of(&app, &HealthCheck::default(), GRACE)
            .unwrap()
            .guest_probes();
        let graces: Vec<_> = probes
            .iter()
            .map(|p| p.on_failure.map(|end| end.grace_ms))
            .collect();
        assert_eq!(graces, [Some(7_000), Some(1_000), None]);
        let roles: Vec<_> = probes.iter().map(|p| (p.holds_others, p.readies)).collect();
        assert_eq!(roles, [(true, false), (false, false), (false, true)]);
    }

    #[test]
    fn words_say_what_is_done() {
        let mut app = app();
        app.lifecycle.pre_stop = Some(Handler::Sleep(Duration::from_millis(1500)));
        let words = AppHealth::of(&app, &check(), GRACE).unwrap().words();
        assert_eq!(words[0].1, "runs /check, every 30 s, 30 s at most, 3 failures");
        assert_eq!(words[1], ("preStop handler".to_owned(), "waits 1.5 s".to_owned()));
    }
}
