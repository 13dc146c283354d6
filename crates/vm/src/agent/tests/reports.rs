//! What a guest may report of its apps, and when.

use super::*;

#[tokio::test]
async fn an_app_with_a_policy_starts_anew_and_its_streams_live_on() {
    let on_failure = RestartPolicy::OnFailure { max_retries: Some(2) };
    let (mut guest, _agent, mut events) = converse_of(&[on_failure]).await;
    let failed = ExitStatus::Code(1);
    for count in 1..=2 {
        guest.report(0, AppReport::Started { uptime_ms: 7 }).await;
        assert!(matches!(
            events.next().await,
            Ok(Event::App(0, AppReport::Started { .. }))
        ));
        let restarting = GuestMessage::App(
            0,
            AppReport::Restarting {
                status: failed,
                in_ms: 100,
                count,
            },
        );
        guest.send(restarting).await;
        let Ok(Event::App(
            _,
            AppReport::Restarting {
                count: reported,
                in_ms,
                ..
            },
        )) = events.next().await
        else {
            panic!()
        };
        assert_eq!((reported, in_ms), (count, 100));
    }
    guest.report(0, AppReport::Started { uptime_ms: 9 }).await;
    guest.report(0, AppReport::Exited { status: failed }).await;
    for header in [GuestStream::Stdout { app: 0 }, GuestStream::Stderr { app: 0 }] {
        guest.open(header).await.shutdown().await.unwrap();
    }
    let mut ended = false;
    while !ended {
        ended = matches!(
            events.next().await.unwrap(),
            Event::App(0, AppReport::Exited { .. })
        );
    }
}

#[tokio::test]
async fn no_app_starts_anew_but_as_its_policy_has_it() {
    let on_failure = RestartPolicy::OnFailure { max_retries: Some(1) };
    let restarting = |status, count| {
        GuestMessage::App(
            0,
            AppReport::Restarting {
                status: ExitStatus::Code(status),
                in_ms: 1,
                count,
            },
        )
    };
    let cases = [
        (RestartPolicy::No, vec![restarting(1, 1)]),
        (on_failure, vec![restarting(0, 1)]),
        (on_failure, vec![restarting(1, 1), restarting(1, 2)]),
        (RestartPolicy::Always, vec![restarting(0, 2)]),
        (RestartPolicy::Always, vec![restarting(0, 1), restarting(0, 1)]),
    ];
    for (policy, messages) in cases {
        let (mut guest, _agent, events) = converse_of(&[policy]).await;
        for message in messages {
            guest.send(message).await;
        }
        let error = end_of(events).await;
        assert!(
            matches!(
                error,
                AgentError::Breach(Breach::OutOfTurn {
                    message: "restarting"
                })
            ),
            "{policy:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn only_an_app_that_runs_says_that_it_is_ready_and_says_it_once() {
    let started = || GuestMessage::App(0, AppReport::Started { uptime_ms: 7 });
    let (mut guest, _agent, mut events) = converse(1).await;
    for message in [
        started(),
        GuestMessage::App(0, AppReport::Ready),
        GuestMessage::App(0, AppReport::Unready),
    ] {
        guest.send(message).await;
    }
    assert!(matches!(
        events.next().await,
        Ok(Event::App(_, AppReport::Started { .. }))
    ));
    assert!(matches!(events.next().await, Ok(Event::App(0, AppReport::Ready))));
    assert!(matches!(
        events.next().await,
        Ok(Event::App(0, AppReport::Unready))
    ));
    let ended = || GuestMessage::App(0, AppReport::Exited { status: DONE });
    for (messages, breach) in [
        (vec![GuestMessage::App(0, AppReport::Ready)], "app ready"),
        (
            vec![started(), GuestMessage::App(0, AppReport::Unready)],
            "app unready",
        ),
        (
            vec![started(), ended(), GuestMessage::App(0, AppReport::Ready)],
            "app ready",
        ),
    ] {
        let (mut guest, _agent, events) = converse(1).await;
        for message in messages {
            guest.send(message).await;
        }
        let error = end_of(events).await;
        assert!(
            matches!(error, AgentError::Breach(Breach::OutOfTurn { message }) if message == breach),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_end_that_the_agent_brings_about_is_a_failure_whatever_its_status() {
    let on_failure = RestartPolicy::OnFailure { max_retries: Some(2) };
    let (mut guest, _agent, mut events) = converse_of(&[on_failure]).await;
    let reason = "liveness probe failed: \u{1b}[1m".to_owned();
    for message in [
        GuestMessage::App(0, AppReport::Started { uptime_ms: 7 }),
        GuestMessage::App(
            0,
            AppReport::Health {
                health: Health::Unhealthy,
                text: "x".repeat(2 * MAX_HEALTH_BYTES),
            },
        ),
        GuestMessage::App(0, AppReport::Ending { reason }),
        GuestMessage::App(
            0,
            AppReport::Restarting {
                status: DONE,
                in_ms: 1,
                count: 1,
            },
        ),
        // The next life has to earn it again.
        GuestMessage::App(0, AppReport::Started { uptime_ms: 8 }),
        GuestMessage::App(
            0,
            AppReport::Restarting {
                status: DONE,
                in_ms: 1,
                count: 2,
            },
        ),
    ] {
        guest.send(message).await;
    }
    assert!(matches!(
        events.next().await,
        Ok(Event::App(_, AppReport::Started { .. }))
    ));
    let Ok(Event::App(
        _,
        AppReport::Health {
            health: Health::Unhealthy,
            text,
            ..
        },
    )) = events.next().await
    else {
        panic!()
    };
    assert_eq!(text.len(), MAX_HEALTH_BYTES);
    let Ok(Event::App(0, AppReport::Ending { reason })) = events.next().await else {
        panic!()
    };
    assert_eq!(reason, "liveness probe failed: \\u{1b}[1m");
    assert!(matches!(
        events.next().await,
        Ok(Event::App(_, AppReport::Restarting { count: 1, .. }))
    ));
    assert!(matches!(
        events.next().await,
        Ok(Event::App(_, AppReport::Started { .. }))
    ));
    let error = events.next().await.unwrap_err();
    let breach = AgentError::Breach(Breach::OutOfTurn {
        message: "restarting",
    });
    assert_eq!(error.to_string(), breach.to_string());
}

#[tokio::test]
async fn only_an_app_that_runs_has_health_and_is_ended_once() {
    let started = || GuestMessage::App(0, AppReport::Started { uptime_ms: 7 });
    let health = || {
        GuestMessage::App(
            0,
            AppReport::Health {
                health: Health::Healthy,
                text: String::new(),
            },
        )
    };
    let ending = || {
        GuestMessage::App(
            0,
            AppReport::Ending {
                reason: String::new(),
            },
        )
    };
    for (messages, breach) in [
        (vec![health()], "health"),
        (vec![ending()], "ending"),
        (vec![started(), ending(), ending()], "ending"),
    ] {
        let (mut guest, _agent, events) = converse(1).await;
        for message in messages {
            guest.send(message).await;
        }
        let error = end_of(events).await;
        assert!(
            matches!(error, AgentError::Breach(Breach::OutOfTurn { message }) if message == breach),
            "{error:?}"
        );
    }
}
