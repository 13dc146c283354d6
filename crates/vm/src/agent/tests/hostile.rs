//! Guests that break the protocol: the conversation is over.

use super::*;

/// What a guest says after it is ready, and the breach that it is.
async fn breach(messages: Vec<GuestMessage>, streams: &[GuestStream]) -> AgentError {
    let (mut guest, _agent, events) = converse(1).await;
    let mut open = Vec::new();
    for stream in streams {
        open.push(guest.open(*stream).await);
    }
    for message in messages {
        guest.send(message).await;
    }
    end_of(events).await
}

#[tokio::test]
async fn what_is_out_of_turn_ends_the_conversation() {
    let exited = GuestMessage::App(0, AppReport::Exited { status: DONE });
    let started = GuestMessage::App(0, AppReport::Started { uptime_ms: 0 });
    let failed = GuestMessage::App(
        0,
        AppReport::Failed {
            cause: FailureCause::Unit {
                unit: String::new(),
                result: String::new(),
                log: Vec::new(),
            },
        },
    );
    for (messages, message) in [
        (vec![GuestMessage::Ready(BootTimes::default())], "ready"),
        (vec![started.clone(), started.clone()], "started"),
        (vec![exited.clone(), exited.clone()], "exited"),
        (vec![exited.clone(), started.clone()], "started"),
        (vec![started, failed.clone()], "failed"),
        (vec![exited, failed], "failed"),
        (vec![GuestMessage::AllEnded], "all ended"),
    ] {
        let error = breach(messages, &[]).await;
        assert!(
            matches!(error, AgentError::Breach(Breach::OutOfTurn { message: m }) if m == message),
            "{error:?}"
        );
    }
    let error = breach(
        vec![GuestMessage::App(1, AppReport::Exited { status: DONE })],
        &[],
    )
    .await;
    assert!(
        matches!(error, AgentError::Breach(Breach::NoSuchApp { app: 1, apps: 1 })),
        "{error:?}"
    );
    let error = breach(Vec::new(), &[GuestStream::Stderr { app: 65535 }]).await;
    assert!(
        matches!(
            error,
            AgentError::Breach(Breach::NoSuchApp { app: 65535, apps: 1 })
        ),
        "{error:?}"
    );
    for (header, name) in [
        (GuestStream::Stdin { app: 0 }, "stdin"),
        (GuestStream::Stdout { app: 0 }, "stdout"),
        (GuestStream::Stderr { app: 0 }, "stderr"),
    ] {
        let error = breach(Vec::new(), &[header, header]).await;
        let second = Breach::SecondStream { app: 0, stream: name };
        assert!(matches!(error, AgentError::Breach(b) if b == second), "{error:?}");
    }
}

#[tokio::test]
async fn unreadable_messages_end_the_conversation() {
    let long = u32::try_from(MAX_MESSAGE_BYTES + 1).unwrap().to_le_bytes();
    for bytes in [&long[..], &[0xff; 4], &[1, 0, 0, 0, 99], &[2, 0, 0, 0, 2, 0]] {
        let (mut guest, _agent, events) = converse(1).await;
        guest.control.write_all(bytes).await.unwrap();
        let error = end_of(events).await;
        assert!(matches!(error, AgentError::Message(_)), "{error:?}");
    }
    let (guest, _agent, events) = converse(1).await;
    let _stream = guest.opener.open(&[9u8, 9]).await.unwrap();
    let error = end_of(events).await;
    assert!(matches!(error, AgentError::Message(_)), "{error:?}");
}

/// How a conversation ends with a guest that says these bytes, which are no yamux, after a handshake that is one.
async fn raw(bytes: Vec<u8>) -> AgentError {
    let (host, mut port) = UnixStream::pair().unwrap();
    let guest = async {
        handshake::guest(&mut port, [2; handshake::NONCE_BYTES])
            .await
            .unwrap();
        // The host may hang up before it has read everything.
        let _ = port.write_all(&bytes).await;
        port
    };
    let (connected, _port) = tokio::join!(connect(host, Duration::from_secs(2)), guest);
    connected.map(drop).unwrap_err()
}

#[tokio::test]
async fn bytes_that_are_no_yamux_end_the_conversation() {
    let error = raw(vec![0xff; 100_000]).await;
    assert!(matches!(error, AgentError::Lost(_)), "{error:?}");
    // A data frame of 4 GiB: version 0, type 0, flag SYN, stream 2.
    let error = raw(vec![0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff]).await;
    assert!(matches!(error, AgentError::Lost(_)), "{error:?}");
    // Go away.
    let error = raw(vec![0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    assert!(
        matches!(error, AgentError::Ended | AgentError::Lost(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn endless_streams_end_the_conversation() {
    // Window updates with the flag SYN, on streams 2, 4, 6 and so on, and not a byte on any.
    let opened: Vec<u8> = (1..200u32)
        .flat_map(|n| [&[0, 1, 0, 1][..], &(2 * n).to_be_bytes(), &[0; 4]].concat())
        .collect();
    let error = raw(opened).await;
    assert!(
        matches!(error, AgentError::Lost(MuxError::TooManyStreams { limit: 0 })),
        "{error:?}"
    );
}
