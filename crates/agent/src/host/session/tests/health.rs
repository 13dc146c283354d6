//! Probes, handlers and the order of stops.

use std::net::{Ipv4Addr, TcpListener};

use isopod_contract::config::{GuestCheck, GuestEnding, GuestHandler, GuestProbe};
use isopod_contract::message::Health;

use super::*;
use crate::apps::probe_schedule::tests::probe;

/// A port on which nobody listens.
fn closed_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn tcp(port: u16) -> GuestCheck {
    GuestCheck::Tcp { host: None, port }
}

/// A probe that is done every 10 ms.
fn quick(name: &str, check: GuestCheck) -> GuestProbe {
    GuestProbe {
        check,
        period_ms: 10,
        failure_threshold: 2,
        ..probe(name)
    }
}

fn with_grace(grace_ms: u64) -> Option<GuestEnding> {
    Some(GuestEnding {
        grace_ms,
        restarts: true,
    })
}

fn handler(name: &str, check: GuestCheck) -> Option<GuestHandler> {
    Some(GuestHandler {
        name: name.to_owned(),
        check,
        on_failure: with_grace(50_000),
    })
}

#[test]
fn an_app_that_fails_its_liveness_probe_is_stopped_and_started_anew_whatever_its_status() {
    on_stage(async || {
        let change = |app: &mut GuestApp| {
            restarts(3)(app);
            let check = tcp(closed_port());
            app.probes = vec![GuestProbe {
                on_failure: with_grace(50_000),
                ..quick("liveness", check)
            }];
        };
        let mut stage = Stage::set_with(&["web"], change).await;
        stage.change("web", living(1, running()));
        assert!(matches!(
            stage.receive_past_greeting().await,
            GuestMessage::App(_, AppReport::Started { .. })
        ));
        let GuestMessage::App(0, AppReport::Health { health, text }) = stage.receive().await else {
            panic!("no health")
        };
        assert_eq!(health, Health::Unhealthy);
        assert!(
            text.starts_with("liveness probe failed: cannot connect to port"),
            "{text}"
        );
        let GuestMessage::App(0, AppReport::Ending { reason }) = stage.receive().await else {
            panic!("no ending")
        };
        assert_eq!(reason, text);
        stage.asked("stop web.service").await;
        stage.change("web", living(1, exited(0)));
        assert!(matches!(
            stage.receive().await,
            GuestMessage::App(_, AppReport::Restarting { count: 1, .. })
        ));
        stage.asked("start web.service").await;
        // The next life is probed again.
        stage.change("web", living(2, running()));
        assert!(matches!(
            stage.receive().await,
            GuestMessage::App(_, AppReport::Started { .. })
        ));
        assert!(matches!(
            stage.receive().await,
            GuestMessage::App(_, AppReport::Health { .. })
        ));
    });
}

#[test]
fn without_a_grace_it_is_killed_and_one_that_does_not_stop_is_killed_after_it() {
    for grace_ms in [0, 20] {
        on_stage(async || {
            let change = |app: &mut GuestApp| {
                app.probes = vec![GuestProbe {
                    on_failure: with_grace(grace_ms),
                    ..quick("liveness", tcp(closed_port()))
                }];
            };
            let mut stage = Stage::set_with(&["web"], change).await;
            stage.change("web", running());
            stage.asked("kill web.service All 9").await;
            let asked = stage.puppet.asked.lock().unwrap().clone();
            assert_eq!(
                asked.first().unwrap() == "stop web.service",
                grace_ms > 0,
                "{asked:?}"
            );
            stage.change("web", exited(1));
            while stage.receive().await != GuestMessage::AllEnded {}
        });
    }
}

#[test]
fn readiness_is_found_and_lost_and_those_that_wait_for_health_start() {
    on_stage(async || {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let change = |app: &mut GuestApp| {
            second_waits(DependencyCondition::Healthy)(app);
            if app.name == "a" {
                app.probes = vec![quick("readiness", tcp(port))];
            }
        };
        let mut stage = Stage::set_with(&["a", "b"], change).await;
        stage.change("a", running());
        assert!(matches!(
            stage.receive_past_greeting().await,
            GuestMessage::App(0, AppReport::Started { .. })
        ));
        assert!(matches!(
            stage.receive().await,
            GuestMessage::App(
                _,
                AppReport::Health {
                    health: Health::Healthy,
                    ..
                }
            )
        ));
        assert_eq!(stage.receive().await, GuestMessage::App(0, AppReport::Ready));
        stage.asked("start b.service").await;
        drop(listener);
        assert!(matches!(
            stage.receive().await,
            GuestMessage::App(
                _,
                AppReport::Health {
                    health: Health::Unhealthy,
                    ..
                }
            )
        ));
        assert_eq!(stage.receive().await, GuestMessage::App(0, AppReport::Unready));
    });
}

#[test]
fn what_hangs_is_given_up() {
    on_stage(async || {
        let change = |app: &mut GuestApp| {
            app.probes = vec![GuestProbe {
                timeout_ms: 20,
                ..quick("readiness", GuestCheck::Sleep { ms: 60_000 })
            }];
        };
        let mut stage = Stage::set_with(&["web"], change).await;
        stage.change("web", running());
        assert!(matches!(
            stage.receive_past_greeting().await,
            GuestMessage::App(_, AppReport::Started { .. })
        ));
        let GuestMessage::App(_, AppReport::Health { text, .. }) = stage.receive().await else {
            panic!("no health")
        };
        assert_eq!(text, "readiness probe failed: it took longer than 0.02 s");
    });
}

#[test]
fn an_app_is_ready_behind_its_post_start_handler_and_ended_where_that_fails() {
    on_stage(async || {
        let change = |app: &mut GuestApp| {
            let check = match app.name.as_str() {
                "a" => GuestCheck::Sleep { ms: 30 },
                _ => GuestCheck::Exec {
                    argv: vec!["/hook".to_owned()],
                },
            };
            app.post_start = handler("postStart handler", check);
        };
        let mut stage = Stage::set_with(&["a", "b"], change).await;
        stage.change("a", running());
        assert!(matches!(
            stage.receive_past_greeting().await,
            GuestMessage::App(_, AppReport::Started { .. })
        ));
        assert_eq!(stage.receive().await, GuestMessage::App(0, AppReport::Ready));
        stage.change("b", running());
        assert!(matches!(
            stage.receive().await,
            GuestMessage::App(1, AppReport::Started { .. })
        ));
        let reason = "postStart handler failed: the app is not running".to_owned();
        assert_eq!(
            stage.receive().await,
            GuestMessage::App(1, AppReport::Ending { reason })
        );
        stage.asked("stop b.service").await;
    });
}

#[test]
fn apps_stop_one_after_the_other_each_behind_its_pre_stop_handler() {
    on_stage(async || {
        let change = |app: &mut GuestApp| {
            second_waits(DependencyCondition::Started)(app);
            let check = match app.name.as_str() {
                "b" => GuestCheck::Sleep { ms: 50 },
                _ => tcp(closed_port()),
            };
            app.pre_stop = handler("preStop handler", check);
        };
        let mut stage = Stage::set_with(&["a", "b"], change).await;
        stage.change("a", running());
        stage.asked("start b.service").await;
        stage.change("b", running());
        while !matches!(
            stage.receive().await,
            GuestMessage::App(1, AppReport::Started { .. })
        ) {}
        let begun = Instant::now();
        stage.order(HostMessage::Stop { grace_ms: 50_000 }).await;
        stage.asked("stop b.service").await;
        assert!(begun.elapsed() >= Duration::from_millis(50));
        stage.change("b", exited(0));
        stage.asked("stop a.service").await;
        // One that fails is reported, and stops nothing.
        let mut warned = false;
        while !warned {
            warned = matches!(stage.receive().await, GuestMessage::Warning { text }
                if text.starts_with("app `a`: preStop handler failed: cannot connect"));
        }
    });
}

#[test]
fn a_pre_stop_handler_has_no_longer_than_the_grace() {
    on_stage(async || {
        let change = |app: &mut GuestApp| {
            app.pre_stop = handler("preStop handler", GuestCheck::Sleep { ms: 60_000 });
            app.post_stop_ms = Some(10);
        };
        let mut stage = Stage::set_with(&["web"], change).await;
        stage.change("web", running());
        while !matches!(
            stage.receive().await,
            GuestMessage::App(_, AppReport::Started { .. })
        ) {}
        stage.order(HostMessage::Stop { grace_ms: 30 }).await;
        // It was not asked to stop yet, and has a last moment for that.
        stage.asked("stop web.service").await;
        let asked = Instant::now();
        // What the unit runs behind its program is bounded, too.
        let orders = || stage.puppet.asked.lock().unwrap().clone();
        while orders().len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(asked.elapsed() > Duration::from_millis(1900));
        assert_eq!(
            orders()[1..],
            ["kill web.service All 9", "kill web.service All 9"]
        );
    });
}

/// One that has no time at all is killed at once, and one that waits for what depends on it is asked to stop all the same.
#[test]
fn what_was_not_asked_to_stop_is_asked_before_it_is_killed() {
    on_stage(async || {
        for (grace_ms, expected) in [
            (
                0,
                &["stop b.service", "kill a.service All 9", "kill b.service All 9"][..],
            ),
            (30, &["stop b.service", "stop a.service", "kill b.service All 9"]),
        ] {
            let change = |app: &mut GuestApp| {
                if app.name == "b" {
                    app.depends_on = vec![isopod_contract::config::GuestDependency {
                        app: 0,
                        condition: isopod_contract::config::DependencyCondition::Started,
                    }];
                }
            };
            let mut stage = Stage::set_with(&["a", "b"], change).await;
            for app in ["a", "b"] {
                stage.change(app, running());
                while !matches!(
                    stage.receive().await,
                    GuestMessage::App(_, AppReport::Started { .. })
                ) {}
            }
            stage.order(HostMessage::Stop { grace_ms }).await;
            // The first is b's start.
            let orders = || stage.puppet.asked.lock().unwrap().clone();
            while orders().len() < 4 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(orders()[1..4], *expected);
        }
    });
}

#[test]
fn what_runs_after_an_app_has_an_empty_input_and_is_reported_when_it_fails() {
    on_stage(async || {
        let mut stage = Stage::set_with(&["web"], |app| app.post_stop_ms = Some(10)).await;
        let stdin = stage.dir.path().join("web.stdin");
        stage.change("web", running());
        while !matches!(
            stage.receive().await,
            GuestMessage::App(_, AppReport::Started { .. })
        ) {}
        assert_eq!(std::fs::read_link(&stdin).unwrap(), Path::new("/dev/null"));
        let ends = &stage.puppet.post_stops;
        ends.lock()
            .unwrap()
            .insert("web.service".to_owned(), ExitStatus::Code(7));
        stage.change("web", exited(0));
        assert_eq!(
            stage.receive().await,
            GuestMessage::Warning {
                text: "app `web`: post-stop handler failed: exit status 7".to_owned()
            }
        );
    });
}
