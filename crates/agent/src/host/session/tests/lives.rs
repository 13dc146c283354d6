//! Apps that are restarted, that wait for each other, and that say themselves when they are ready.

use super::*;

#[test]
fn an_app_is_started_anew_and_its_streams_live_on() {
    on_stage(async || {
        let mut stage = Stage::set_with(&["web"], restarts(1)).await;
        let (_, mut stdout) = stage.stream().await;
        stage.change("web", living(1, running()));
        let started = |uptime_ms| GuestMessage::App(0, AppReport::Started { uptime_ms });
        assert_eq!(stage.receive_past_greeting().await, started(1900));
        let mut out = stage.writer("web.stdout");
        out.write_all(b"one ").unwrap();
        stage.change("web", living(1, exited(1)));
        let restarting = GuestMessage::App(
            0,
            AppReport::Restarting {
                status: FAILED,
                in_ms: 10,
                count: 1,
            },
        );
        assert_eq!(stage.receive().await, restarting);
        stage.asked("start web.service").await;
        // What is known of the first run says nothing of the second.
        stage.change(
            "web",
            ServiceState {
                job: true,
                ..living(1, exited(1))
            },
        );
        stage.change("web", living(2, running()));
        assert_eq!(stage.receive().await, started(3800));
        let _input = std::fs::File::open(stage.dir.path().join("web.stdin")).unwrap();
        out.write_all(b"two").unwrap();
        stage.change("web", living(2, exited(1)));
        drop(out);
        let exited = GuestMessage::App(0, AppReport::Exited { status: FAILED });
        let mut text = String::new();
        stdout.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "one two");
        assert_eq!(stage.receive().await, exited, "once is all that the policy has");
        assert_eq!(stage.receive().await, GuestMessage::AllEnded);
    });
}

#[test]
fn a_stop_ends_an_app_that_waits_for_its_restart() {
    on_stage(async || {
        let wait = |app: &mut GuestApp| {
            restarts(9)(app);
            app.restart.as_mut().unwrap().first_delay_ms = 50_000;
        };
        let mut stage = Stage::set_with(&["web"], wait).await;
        stage.change("web", exited(1));
        assert!(matches!(
            stage.receive_past_greeting().await,
            GuestMessage::App(_, AppReport::Started { .. })
        ));
        assert!(matches!(
            stage.receive().await,
            GuestMessage::App(_, AppReport::Restarting { .. })
        ));
        stage.order(HostMessage::Stop { grace_ms: 50_000 }).await;
        let exited = GuestMessage::App(0, AppReport::Exited { status: FAILED });
        assert_eq!(stage.receive().await, exited);
        assert_eq!(stage.receive().await, GuestMessage::AllEnded);
        assert!(stage.puppet.asked.lock().unwrap().is_empty());
    });
}

#[test]
fn a_stop_between_two_starts_ends_with_the_last_ones_status() {
    on_stage(async || {
        let mut stage = Stage::set_with(&["web"], restarts(9)).await;
        stage.change("web", exited(1));
        assert!(matches!(
            stage.receive_past_greeting().await,
            GuestMessage::App(_, AppReport::Started { .. })
        ));
        assert!(matches!(
            stage.receive().await,
            GuestMessage::App(_, AppReport::Restarting { .. })
        ));
        stage.asked("start web.service").await;
        stage.order(HostMessage::Stop { grace_ms: 50_000 }).await;
        stage.asked("stop web.service").await;
        stage.change("web", exited(1));
        let exited = GuestMessage::App(0, AppReport::Exited { status: FAILED });
        assert_eq!(stage.receive().await, exited);
    });
}

#[test]
fn an_app_starts_when_the_other_has_succeeded_and_stops_before_it() {
    on_stage(async || {
        let mut stage = Stage::set_with(&["a", "b"], second_waits(DependencyCondition::Started)).await;
        stage.change("a", running());
        assert!(matches!(
            stage.receive_past_greeting().await,
            GuestMessage::App(0, AppReport::Started { .. })
        ));
        stage.asked("start b.service").await;
        stage.change("b", running());
        assert!(matches!(
            stage.receive().await,
            GuestMessage::App(1, AppReport::Started { .. })
        ));
        stage.order(HostMessage::Stop { grace_ms: 50_000 }).await;
        stage.asked("stop b.service").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let asked = stage.puppet.asked.lock().unwrap().clone();
        assert_eq!(
            asked,
            ["start b.service", "stop b.service"],
            "not before the other has ended"
        );
        stage.change("b", exited(0));
        stage.asked("stop a.service").await;
    });
}

#[test]
fn an_app_whose_dependency_failed_never_starts() {
    on_stage(async || {
        let mut stage = Stage::set_with(&["a", "b"], second_waits(DependencyCondition::Succeeded)).await;
        stage.change("a", exited(3));
        let mut received = vec![stage.receive_past_greeting().await];
        while received.last() != Some(&GuestMessage::AllEnded) {
            received.push(stage.receive().await);
        }
        let cause = isopod_contract::message::FailureCause::Dependency {
            unit: "a.service".to_owned(),
            result: "it exited with status 3".to_owned(),
            log: Vec::new(),
        };
        assert!(
            received.contains(&GuestMessage::App(1, AppReport::Failed { cause })),
            "{received:?}"
        );
        assert!(stage.puppet.asked.lock().unwrap().is_empty());
    });
}

#[test]
fn an_app_that_is_started_anew_has_not_failed_yet() {
    on_stage(async || {
        let change = |app: &mut GuestApp| {
            second_waits(DependencyCondition::Succeeded)(app);
            if app.name == "a" {
                restarts(9)(app);
            }
        };
        let mut stage = Stage::set_with(&["a", "b"], change).await;
        stage.change("a", living(1, exited(3)));
        assert!(matches!(
            stage.receive_past_greeting().await,
            GuestMessage::App(_, AppReport::Started { .. })
        ));
        assert!(matches!(
            stage.receive().await,
            GuestMessage::App(_, AppReport::Restarting { .. })
        ));
        stage.asked("start a.service").await;
        stage.change("a", living(2, exited(0)));
        stage.asked("start b.service").await;
    });
}

#[test]
fn a_stop_starts_nothing_more() {
    on_stage(async || {
        let mut stage = Stage::set_with(&["a", "b"], second_waits(DependencyCondition::Succeeded)).await;
        stage.change("a", running());
        assert!(matches!(
            stage.receive_past_greeting().await,
            GuestMessage::App(_, AppReport::Started { .. })
        ));
        stage.order(HostMessage::Stop { grace_ms: 50_000 }).await;
        stage.asked("stop a.service").await;
        stage.change("a", exited(0));
        let mut received = vec![stage.receive().await];
        while received.last() != Some(&GuestMessage::AllEnded) {
            received.push(stage.receive().await);
        }
        let cause = isopod_contract::message::FailureCause::Stopped;
        assert!(
            received.contains(&GuestMessage::App(1, AppReport::Failed { cause })),
            "{received:?}"
        );
        assert_eq!(*stage.puppet.asked.lock().unwrap(), ["stop a.service"]);
    });
}

#[test]
fn an_app_says_itself_when_it_is_ready_and_others_wait_for_that() {
    on_stage(async || {
        let socket = tempfile::tempdir().unwrap();
        let path = socket.path().join("notify").to_str().unwrap().to_owned();
        let change = |app: &mut GuestApp| {
            second_waits(DependencyCondition::Started)(app);
            if app.name == "a" {
                app.notify = Some(path.clone());
            }
        };
        let mut stage = Stage::set_with(&["a", "b"], change).await;
        let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
        // Before systemd says that it runs: the host receives it in order.
        sender.send_to(b"STATUS=up\nREADY=1", &path).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(stage.puppet.asked.lock().unwrap().is_empty());
        stage.change("a", running());
        assert!(matches!(
            stage.receive_past_greeting().await,
            GuestMessage::App(0, AppReport::Started { .. })
        ));
        assert_eq!(stage.receive().await, GuestMessage::App(0, AppReport::Ready));
        stage.asked("start b.service").await;
        for _ in 0..3 {
            sender.send_to(b"READY=1", &path).unwrap();
        }
        sender.send_to(b"STOPPING=1", &path).unwrap();
        assert_eq!(stage.receive().await, GuestMessage::App(0, AppReport::Unready));
    });
}
