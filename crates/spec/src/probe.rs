//! What is asked of a running app again and again, and what is run around its life: Kubernetes' probes and lifecycle
//! hooks, appc's event handlers, docker's health check. Data only: who asks, and what an answer leads to, is decided by
//! the planner.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is asked of a running app (Kubernetes' `startupProbe`, `livenessProbe`, `readinessProbe`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// Whether it has started: the others wait for it. A failure ends the app, by its restart policy.
    pub startup: Option<Probe>,
    /// Whether it works. A failure ends the app, by its restart policy.
    pub liveness: Option<Probe>,
    /// Whether it is ready.
    pub readiness: Option<Probe>,
}

impl Probes {
    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = (ProbeKind, &Probe)> {
        let startup = self.startup.iter().map(|probe| (ProbeKind::Startup, probe));
        let liveness = self.liveness.iter().map(|probe| (ProbeKind::Liveness, probe));
        let readiness = self.readiness.iter().map(|probe| (ProbeKind::Readiness, probe));
        startup.chain(liveness).chain(readiness)
    }
}

/// One of an app's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// [`Probes::startup`].
    Startup,
    /// [`Probes::liveness`].
    Liveness,
    /// [`Probes::readiness`].
    Readiness,
}

impl ProbeKind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
        }
    }
}

/// A probe, with the meaning of each field as in Kubernetes' Pod API (`Probe`, v1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub action: ProbeAction,
    /// How long after the app's start it is done first (`initialDelaySeconds`).
    pub initial_delay: Duration,
    /// How long from one time to the next (`periodSeconds`).
    pub period: Duration,
    /// How long it may take (`timeoutSeconds`).
    pub timeout: Duration,
    /// How many successes in a row make it a success after a failure (`successThreshold`).
    pub success_threshold: u32,
    /// How many failures in a row make it a failure (`failureThreshold`).
    pub failure_threshold: u32,
    /// How long an app that is ended because of it has to stop (`terminationGracePeriodSeconds`); `None`: as long as at
    /// the pod's stop.
    pub termination_grace: Option<Duration>,
}

impl Probe {
    /// A probe with Kubernetes' defaults.
    #[must_use]
    pub fn new(action: ProbeAction) -> Self {
        Self {
            action,
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            success_threshold: 1,
            failure_threshold: 3,
            termination_grace: None,
        }
    }
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeAction {
    /// Runs a program in the app; exit status 0 is a success.
    Exec(Vec<String>),
    /// Asks an HTTP server in the pod.
    HttpGet(HttpGet),
    /// Asks a gRPC server in the pod for its health (`grpc.health.v1.Health/Check`).
    Grpc {
        /// Whether TLS is spoken; the server's certificate is not looked at.
        #[serde(default)]
        tls: bool,
        port: u16,
        /// The service whose health is asked for; empty: the server's own.
        service: String,
    },
    /// Connects to a TCP port; a connection is a success.
    Tcp {
        /// The address; `None`: the pod's own.
        host: Option<IpAddr>,
        port: u16,
    },
}

/// An HTTP request; a status from 200 to 399 is a success. Redirections are followed on the same host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpGet {
    /// Whether TLS is spoken (`scheme: HTTPS`); the server's certificate is not looked at.
    #[serde(default)]
    pub tls: bool,
    /// The address; `None`: the pod's own.
    pub host: Option<IpAddr>,
    pub port: u16,
    /// The path with its query, such as `/healthz?full=1`.
    pub path: String,
    /// Further header fields, in order; `Host` and `User-Agent` replace those that are sent anyway.
    pub headers: Vec<(String, String)>,
}

/// What is run around an app's life (Kubernetes' `lifecycle`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// As soon as the app runs, which counts as started when this is done (`postStart`). A failure ends the app, by its
    /// restart policy.
    pub post_start: Option<Handler>,
    /// Before the app is asked to stop, within the time that it has for that (`preStop`). Not when it ends by itself.
    pub pre_stop: Option<Handler>,
}

/// What is done once (Kubernetes' `LifecycleHandler`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handler {
    /// Runs a program in the app.
    Exec(Vec<String>),
    /// Asks an HTTP server in the pod.
    HttpGet(HttpGet),
    /// Waits.
    Sleep(Duration),
}

impl Handler {
    /// How long it waits, where it does nothing else.
    #[must_use]
    pub fn sleep(&self) -> Option<Duration> {
        match self {
            Self::Sleep(time) => Some(*time),
            Self::Exec(_) | Self::HttpGet(_) => None,
        }
    }
}

/// What is run before and after an app's program, with the app's user, environment and mounts (appc `eventHandlers`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventHandlers {
    /// Program and arguments that must succeed before each start (`pre-start`).
    pub pre_start: Option<Vec<String>>,
    /// Program and arguments that run after each end, however the app ended (`post-stop`).
    pub post_stop: Option<Vec<String>>,
}

/// docker's health check, as an image's configuration or the command line has it (`HEALTHCHECK`, `--health-...`).
/// `None`: nothing was said, and what is below or docker's default holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is run.
    pub test: Option<HealthTest>,
    /// How long from one time to the next, and until the first.
    pub interval: Option<Duration>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// For how long after the app's start failures do not count, until the first success.
    pub start_period: Option<Duration>,
    /// The interval within the start period.
    pub start_interval: Option<Duration>,
    /// How many failures in a row make the app unhealthy.
    pub retries: Option<u32>,
}

/// What a health check runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthTest {
    /// Nothing: the check of what is below is turned off (`--no-healthcheck`, `HEALTHCHECK NONE`).
    Nothing,
    /// A program in the app; exit status 0 is a success.
    Command(Vec<String>),
}

impl HealthCheck {
    /// What this says, and `below` where it says nothing (docker's way with an image and the command line).
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        Self {
            test: self.test.clone().or_else(|| below.test.clone()),
            interval: self.interval.or(below.interval),
            timeout: self.timeout.or(below.timeout),
            start_period: self.start_period.or(below.start_period),
            start_interval: self.start_interval.or(below.start_interval),
            retries: self.retries.or(below.retries),
        }
    }

    /// Whether this says more than what is run.
    #[must_use]
    pub fn has_numbers(&self) -> bool {
        let of_test = Self {
            test: self.test.clone(),
            ..Self::default()
        };
        *self != of_test
    }
}

/// What happens to an app that its health check finds unhealthy (podman's `--health-on-failure`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnhealthy {
    /// Nothing: it is shown (docker's way).
    #[default]
    Nothing,
    /// It is killed; its restart policy decides what follows.
    Kill,
    /// It is stopped, and stays so.
    Stop,
}

/// What is wrong with a probe or handler, whoever wrote it.
pub(crate) mod rules {
    use super::{Handler, HttpGet, Probe, ProbeAction, ProbeKind};
    use std::time::Duration;

    /// The longest time that any of them may say: a year, far from where sums overflow.
    const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

    /// The rules of Kubernetes' `validateProbe` and its kin.
    pub(crate) fn probe(kind: ProbeKind, probe: &Probe) -> Result<(), &'static str> {
        match &probe.action {
            ProbeAction::Exec(argv) => command(argv)?,
            ProbeAction::HttpGet(get) => http_get(get)?,
            ProbeAction::Tcp { port: 0, .. } | ProbeAction::Grpc { port: 0, .. } => {
                return Err("its port must be from 1 to 65535");
            }
            ProbeAction::Tcp { .. } | ProbeAction::Grpc { .. } => {}
        }
        if probe.period.is_zero() || probe.timeout.is_zero() {
            return Err("its period and its timeout must be more than 0");
        }
        if probe.success_threshold == 0 || probe.failure_threshold == 0 {
            return Err("its thresholds must be at least 1");
        }
        if kind != ProbeKind::Readiness && probe.success_threshold != 1 {
            return Err("its success threshold must be 1, for nothing runs on after a failure");
        }
        if kind == ProbeKind::Readiness && probe.termination_grace.is_some() {
            return Err("it ends no app, so it cannot limit how long one takes to stop");
        }
        let grace = probe.termination_grace.unwrap_or_default();
        let times = [probe.initial_delay, probe.period, probe.timeout, grace];
        if times.iter().any(|time| *time > LONGEST) {
            return Err("its times must be at most a year");
        }
        Ok(())
    }

    pub(crate) fn handler(handler: &Handler) -> Result<(), &'static str> {
        match handler {
            Handler::Exec(argv) => command(argv),
            Handler::HttpGet(get) => http_get(get),
            Handler::Sleep(time) if *time > LONGEST => Err("its sleep must be at most a year"),
            Handler::Sleep(_) => Ok(()),
        }
    }

    pub(crate) fn command(argv: &[String]) -> Result<(), &'static str> {
        match argv.first() {
            None => Err("it names no program"),
            Some(program) if program.is_empty() => Err("its program has an empty name"),
            Some(_) if argv.iter().any(|word| word.contains('\0')) => Err("an argument holds a NUL byte"),
            Some(_) => Ok(()),
        }
    }

    /// What cannot be sent as it is written (RFC 9110, sections 5.1 and 5.5).
    fn http_get(get: &HttpGet) -> Result<(), &'static str> {
        let is_token = |name: &str| {
            let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            !name.is_empty() && name.bytes().all(ok)
        };
        if get.port == 0 {
            return Err("its port must be from 1 to 65535");
        }
        if !get.path.starts_with('/') || get.path.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err("its path must begin with `/` and hold no blanks or characters beyond ASCII");
        }
        let value = |value: &str| value.chars().all(|c| c == '\t' || !c.is_control());
        if !get
            .headers
            .iter()
            .all(|(name, text)| is_token(name) && value(text))
        {
            return Err("a header field has a name or a value that HTTP does not allow");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_above_wins_field_by_field() {
        let second = Duration::from_secs;
        let image = HealthCheck {
            test: Some(HealthTest::Command(vec!["/check".into()])),
            interval: Some(second(5)),
            retries: Some(2),
            ..HealthCheck::default()
        };
        let flags = HealthCheck {
            interval: Some(second(1)),
            ..HealthCheck::default()
        };
        let both = flags.over(&image);
        assert_eq!((both.interval, both.retries), (Some(second(1)), Some(2)));
        assert_eq!(both.test, image.test);
        let off = HealthCheck {
            test: Some(HealthTest::Nothing),
            ..HealthCheck::default()
        };
        assert_eq!(off.over(&image).test, Some(HealthTest::Nothing));
    }

    #[test]
    fn kubernetes_rules_hold() {
        let get = |path: &str, headers: Vec<(&str, &str)>| HttpGet {
            tls: false,
            host: None,
            port: 80,
            path: path.into(),
            headers: headers.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
        };
        let fine = Probe::new(ProbeAction::HttpGet(get("/a?b=c", vec![("X-A", "b c")])));
        for kind in [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness] {
            assert_eq!(rules::probe(kind, &fine), Ok(()));
        }
        let twice = Probe {
            success_threshold: 2,
            ..fine.clone()
        };
        assert!(rules::probe(ProbeKind::Liveness, &twice).is_err());
        assert!(rules::probe(ProbeKind::Readiness, &twice).is_ok());
        let with_grace = Probe {
            termination_grace: Some(Duration::from_secs(1)),
            ..fine.clone()
        };
        assert!(rules::probe(ProbeKind::Liveness, &with_grace).is_ok());
        assert!(rules::probe(ProbeKind::Readiness, &with_grace).is_err());
        for action in [
            ProbeAction::Exec(vec![]),
            ProbeAction::Exec(vec!["".into()]),
            ProbeAction::Exec(vec!["/a".into(), "\0".into()]),
            ProbeAction::HttpGet(get("a", vec![])),
            ProbeAction::HttpGet(get("/ HTTP/1.1", vec![])),
            ProbeAction::HttpGet(get("/", vec![("a:", "b")])),
            ProbeAction::HttpGet(get("/", vec![("a", "b\r\nc: d")])),
            ProbeAction::Tcp { host: None, port: 0 },
            ProbeAction::Grpc {
                tls: false,
                port: 0,
                service: String::new(),
            },
        ] {
            assert!(
                rules::probe(ProbeKind::Liveness, &Probe::new(action.clone())).is_err(),
                "{action:?}"
            );
        }
        for broken in [
            Probe {
                period: Duration::ZERO,
                ..fine.clone()
            },
            Probe {
                timeout: Duration::MAX,
                ..fine.clone()
            },
            Probe {
                failure_threshold: 0,
                ..fine
            },
        ] {
            assert!(rules::probe(ProbeKind::Readiness, &broken).is_err());
        }
    }
}
