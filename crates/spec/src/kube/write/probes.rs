//! Probes and lifecycle handlers.

use std::time::Duration;

use super::super::expand::escape;
use crate::tree::Fields;
use crate::{App, Handler, HttpGet, Probe, ProbeAction};

/// A probe; what is the API's default is left out.
pub(super) fn probe(probe: &Probe) -> Fields {
    let default = Probe::new(probe.action.clone());
    let fields = match &probe.action {
        // Its `$(NAME)` is expanded, that of a handler is not.
        ProbeAction::Exec(argv) => {
            let argv: Vec<String> = argv.iter().map(|word| escape(word)).collect();
            Fields::new().with("exec", command(&argv))
        }
        ProbeAction::HttpGet(get) => Fields::new().with("httpGet", http_get(get)),
        ProbeAction::Grpc { tls, port, service } => {
            let service = (!service.is_empty()).then_some(service);
            let grpc = Fields::new()
                .with_some("mode", tls.then_some("TLS"))
                .with("port", *port)
                .with_some("service", service);
            Fields::new().with("grpc", grpc)
        }
        ProbeAction::Tcp { host, port } => {
            let host = host.map(|host| host.to_string());
            let socket = Fields::new().with_some("host", host).with("port", *port);
            Fields::new().with("tcpSocket", socket)
        }
    };
    let time = |own: Duration, default: Duration| (own != default).then(|| seconds(own));
    let count = |own: u32, default: u32| (own != default).then_some(own);
    fields
        .with_some(
            "initialDelaySeconds",
            time(probe.initial_delay, default.initial_delay),
        )
        .with_some("periodSeconds", time(probe.period, default.period))
        .with_some("timeoutSeconds", time(probe.timeout, default.timeout))
        .with_some(
            "successThreshold",
            count(probe.success_threshold, default.success_threshold),
        )
        .with_some(
            "failureThreshold",
            count(probe.failure_threshold, default.failure_threshold),
        )
        .with_some(
            "terminationGracePeriodSeconds",
            probe.termination_grace.map(seconds),
        )
}

/// An app's handlers, and its own stop signal.
pub(super) fn lifecycle(app: &App) -> Fields {
    let lifecycle = &app.lifecycle;
    Fields::new()
        .with_some("postStart", lifecycle.post_start.as_ref().map(handler))
        .with_some("preStop", lifecycle.pre_stop.as_ref().map(handler))
        .with_some("stopSignal", app.overrides.stop_signal.as_ref())
}

fn handler(handler: &Handler) -> Fields {
    match handler {
        Handler::Exec(argv) => Fields::new().with("exec", command(argv)),
        Handler::HttpGet(get) => Fields::new().with("httpGet", http_get(get)),
        Handler::Sleep(time) => Fields::new().with("sleep", Fields::new().with("seconds", seconds(*time))),
    }
}

fn command(argv: &[String]) -> Fields {
    Fields::new().with_list("command", argv)
}

fn http_get(get: &HttpGet) -> Fields {
    let header = |(name, value): &(String, String)| Fields::new().with("name", name).with("value", value);
    Fields::new()
        .with_some("host", get.host.map(|host| host.to_string()))
        .with_some("scheme", get.tls.then_some("HTTPS"))
        .with_some("path", (get.path != "/").then_some(&get.path))
        .with("port", get.port)
        .with_list("httpHeaders", get.headers.iter().map(header))
}

/// Whole seconds: what the readers give has no others.
fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
