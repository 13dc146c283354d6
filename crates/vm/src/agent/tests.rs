//! The host's side against guests of every kind, over a socket pair: one that speaks the protocol, and hostile ones.

use std::io;
use std::time::Instant;

use isopod_contract::message::MAX_MESSAGE_BYTES;
use isopod_contract::message::{GuestStream, MAX_HEALTH_BYTES, WriteBack};
use isopod_protocol::mux::{Incoming, Opener};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

mod hostile;
mod reports;

const SOON: Duration = Duration::from_secs(20);

/// A guest after the handshake.
struct GuestStandIn {
    opener: Opener,
    control: MuxStream,
    incoming: Incoming,
}

impl GuestStandIn {
    async fn greet(mut port: UnixStream) -> Self {
        handshake::guest(&mut port, [2; handshake::NONCE_BYTES])
            .await
            .unwrap();
        let limits = Limits {
            incoming: Accept::AtOnce(64),
            outgoing: 1000,
        };
        let (opener, mut incoming, driver) = mux::start(port, Side::Guest, limits);
        tokio::spawn(driver.run());
        let mut control = incoming.next().await.unwrap();
        let header: Option<HostStream> = read_message(&mut control).await.unwrap();
        assert_eq!(header, Some(HostStream::Control));
        Self {
            opener,
            control,
            incoming,
        }
    }

    /// Takes what comes, and gives this answer.
    async fn take(&mut self, answer: &ArrivalAnswer) -> Vec<u8> {
        let mut stream = self.incoming.next().await.unwrap();
        let header: Option<HostStream> = read_message(&mut stream).await.unwrap();
        assert!(matches!(header, Some(HostStream::Arrive { entropy, .. }) if entropy != [0; 32]));
        write_message(&mut stream, &StreamAnswer::Taken).await.unwrap();
        let mut files = Vec::new();
        stream.read_to_end(&mut files).await.unwrap();
        write_message(&mut stream, answer).await.unwrap();
        stream.shutdown().await.unwrap();
        files
    }

    async fn send(&mut self, message: GuestMessage) {
        write_message(&mut self.control, &message).await.unwrap();
    }

    async fn report(&mut self, app: AppIndex, report: AppReport) {
        self.send(GuestMessage::App(app, report)).await;
    }

    async fn open(&self, header: GuestStream) -> MuxStream {
        self.opener.open(&header).await.unwrap()
    }

    async fn receive(&mut self) -> HostMessage {
        read_message(&mut self.control).await.unwrap().unwrap()
    }
}

/// A conversation of a pod of `apps` apps with a guest that has said that it is ready.
async fn converse(apps: usize) -> (GuestStandIn, Agent, Events) {
    converse_of(&vec![RestartPolicy::No; apps]).await
}

/// The same, of apps with these policies, which have come.
async fn converse_of(apps: &[RestartPolicy]) -> (GuestStandIn, Agent, Events) {
    let (mut guest, agent, events) = converse_with_none().await;
    let taken = ArrivalAnswer::Done(ArrivalTimes::default());
    let (arrived, _) = tokio::join!(agent.arrive(apps.to_vec(), &b"files"[..]), guest.take(&taken));
    assert_eq!(arrived.unwrap().0, 0);
    (guest, agent, events)
}

/// The same, before any app has come.
async fn converse_with_none() -> (GuestStandIn, Agent, Events) {
    let (host, port) = UnixStream::pair().unwrap();
    let guest = async {
        let mut guest = GuestStandIn::greet(port).await;
        guest.send(GuestMessage::Ready(BootTimes::default())).await;
        guest
    };
    let (connected, guest) = tokio::join!(connect(host, SOON), guest);
    let (agent, mut events) = connected.unwrap();
    assert!(matches!(events.next().await, Ok(Event::Ready(_))));
    (guest, agent, events)
}

/// The error with which a conversation ends, whatever events come before it.
async fn end_of(mut events: Events) -> AgentError {
    loop {
        match tokio::time::timeout(SOON, events.next()).await.unwrap() {
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

const ONE: [RestartPolicy; 1] = [RestartPolicy::No];
const DONE: ExitStatus = ExitStatus::Code(0);

#[tokio::test]
async fn an_app_runs_and_its_end_comes_after_its_output() {
    let (mut guest, agent, mut events) = converse(1).await;
    let mut stdout = guest.open(GuestStream::Stdout { app: 0 }).await;
    let mut stderr = guest.open(GuestStream::Stderr { app: 0 }).await;
    let mut stdin = guest.open(GuestStream::Stdin { app: 0 }).await;
    let Event::Stdout {
        app: 0,
        output: mut out,
    } = events.next().await.unwrap()
    else {
        panic!()
    };
    let Event::Stderr { app: 0, output: err } = events.next().await.unwrap() else {
        panic!()
    };
    let Event::Stdin { app: 0, mut input } = events.next().await.unwrap() else {
        panic!()
    };
    guest.report(0, AppReport::Started { uptime_ms: 7 }).await;
    assert!(matches!(
        events.next().await,
        Ok(Event::App(0, AppReport::Started { uptime_ms: 7 }))
    ));

    input.write_all(b"question").await.unwrap();
    input.shutdown().await.unwrap();
    let mut text = String::new();
    stdin.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "question");

    stdout.write_all(b"answer").await.unwrap();
    stdout.shutdown().await.unwrap();
    stderr.shutdown().await.unwrap();
    guest.report(0, AppReport::Exited { status: DONE }).await;
    guest.send(GuestMessage::AllEnded).await;
    // The end is there, but nobody has read the output; stderr is not wanted.
    drop(err);
    let early = tokio::time::timeout(Duration::from_millis(50), events.next()).await;
    assert!(early.is_err(), "{early:?}");
    let mut text = String::new();
    out.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "answer");
    assert!(matches!(
        events.next().await,
        Ok(Event::App(0, AppReport::Exited { status: DONE }))
    ));
    assert!(matches!(events.next().await, Ok(Event::AllEnded)));

    agent.signal(0, 10).await.unwrap();
    agent.stop(Duration::from_millis(1500)).await.unwrap();
    agent.finish(WriteBack::Shares).await.unwrap();
    assert_eq!(guest.receive().await, HostMessage::Signal { app: 0, signal: 10 });
    assert_eq!(guest.receive().await, HostMessage::Stop { grace_ms: 1500 });
    assert_eq!(
        guest.receive().await,
        HostMessage::Finish {
            write_back: WriteBack::Shares
        }
    );
    guest.send(GuestMessage::Synced { failed: Vec::new() }).await;
    assert!(matches!(events.next().await, Ok(Event::Synced { failed }) if failed.is_empty()));
    // Once.
    guest.send(GuestMessage::Synced { failed: Vec::new() }).await;
    assert!(matches!(end_of(events).await, AgentError::Breach(_)));
}

/// It would end the pod with exit status 0.
#[tokio::test]
async fn nothing_is_written_back_unasked() {
    let (mut guest, _agent, events) = converse(1).await;
    guest.send(GuestMessage::Synced { failed: Vec::new() }).await;
    let error = end_of(events).await;
    assert!(
        matches!(error, AgentError::Breach(Breach::OutOfTurn { message: "synced" })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_beat_is_answered_with_the_time() {
    let (mut guest, _agent, mut events) = converse(1).await;
    let before = unix_ns();
    guest.send(GuestMessage::Beat { number: 7 }).await;
    let HostMessage::Time { number: 7, unix_ns } = guest.receive().await else {
        panic!()
    };
    assert!((before..before + 20_000_000_000).contains(&unix_ns));
    assert!(matches!(events.next().await, Ok(Event::Beat)));
    // One that beats and does not read is received as long as it likes, and holds nothing up.
    for number in 0..500 {
        guest.send(GuestMessage::Beat { number }).await;
        assert!(matches!(events.next().await, Ok(Event::Beat)));
    }
}

/// A guest's words are cut before they are escaped.
#[tokio::test]
async fn long_words_are_cut() {
    let (mut guest, _agent, mut events) = converse(1).await;
    let text = "\u{202e}".repeat(20_000);
    guest.send(GuestMessage::Warning { text }).await;
    let Ok(Event::Warning(text)) = events.next().await else {
        panic!()
    };
    assert!(
        text.starts_with("\\u{202e}") && text.len() <= 3 * MAX_HEALTH_BYTES,
        "{}",
        text.len()
    );
}

#[tokio::test]
async fn a_stalled_output_holds_back_its_own_app_only() {
    const BYTES: usize = 10 << 20;
    let (mut guest, _agent, mut events) = converse(2).await;
    let mut streams = Vec::new();
    for app in 0..2 {
        streams.push(guest.open(GuestStream::Stdout { app }).await);
        streams.push(guest.open(GuestStream::Stderr { app }).await);
    }
    let mut outputs = Vec::new();
    for _ in 0..4 {
        match events.next().await.unwrap() {
            Event::Stdout { output, .. } | Event::Stderr { output, .. } => outputs.push(output),
            other => panic!("{other:?}"),
        }
    }
    // Every stream gets 10 MB; the first output is never read.
    let writers: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            tokio::spawn(async move {
                stream.write_all(&vec![b'x'; BYTES]).await.unwrap();
                stream.shutdown().await.unwrap();
            })
        })
        .collect();
    let stalled = outputs.remove(0);
    for mut output in outputs {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes.len(), BYTES);
    }
    assert!(!writers[0].is_finished());
    for app in 0..2 {
        guest.report(app, AppReport::Exited { status: DONE }).await;
    }
    assert!(matches!(
        events.next().await,
        Ok(Event::App(1, AppReport::Exited { .. }))
    ));
    drop(stalled);
    assert!(matches!(
        events.next().await,
        Ok(Event::App(0, AppReport::Exited { .. }))
    ));
}

#[tokio::test]
async fn texts_of_the_guest_are_safe_for_a_terminal() {
    let (mut guest, _agent, mut events) = converse(1).await;
    guest
        .send(GuestMessage::Warning {
            text: "\x1b]0;owned\x07 a\nb \u{202e}ä".into(),
        })
        .await;
    let Event::Warning(text) = events.next().await.unwrap() else {
        panic!()
    };
    assert_eq!(text, "\\u{1b}]0;owned\\u{7} a\\u{a}b \\u{202e}ä");
    for stream in [GuestStream::Stdout { app: 0 }, GuestStream::Stderr { app: 0 }] {
        guest.open(stream).await.shutdown().await.unwrap();
        drop(events.next().await.unwrap());
    }
    let cause = FailureCause::Mount {
        unit: "a\x1b".into(),
        volume: Some("b\r".into()),
        result: "exit-code".into(),
        log: vec!["c\x08".into()],
    };
    guest.report(0, AppReport::Failed { cause }).await;
    let Event::App(0, AppReport::Failed { cause }) = events.next().await.unwrap() else {
        panic!()
    };
    let escaped = FailureCause::Mount {
        unit: "a\\u{1b}".into(),
        volume: Some("b\\u{d}".into()),
        result: "exit-code".into(),
        log: vec!["c\\u{8}".into()],
    };
    assert_eq!(cause, escaped);
}

#[tokio::test]
async fn a_guest_that_says_nothing_runs_into_the_deadline() {
    for talk in [&b""[..], b"\x80IsoRPL\n\x01\0\0\0 and no more"] {
        let (host, mut port) = UnixStream::pair().unwrap();
        port.write_all(talk).await.unwrap();
        let started = Instant::now();
        let error = connect(host, Duration::from_millis(100)).await.unwrap_err();
        assert!(matches!(error, AgentError::Silent { .. }), "{error:?}");
        assert!(error.hint().is_some() && started.elapsed() < SOON);
    }
    // It greets, and then never says that it is ready.
    let (host, port) = UnixStream::pair().unwrap();
    let (error, _guest) = tokio::join!(
        connect(host, Duration::from_millis(100)),
        GuestStandIn::greet(port)
    );
    assert!(matches!(error.unwrap_err(), AgentError::Silent { .. }));
}

#[tokio::test]
async fn a_guest_that_is_gone_is_distinguished_from_one_that_ended() {
    let (host, port) = UnixStream::pair().unwrap();
    drop(port);
    let error = connect(host, SOON).await.unwrap_err();
    assert!(matches!(error, AgentError::Handshake(_)), "{error:?}");

    let (guest, _agent, mut events) = converse(1).await;
    let stdout = guest.open(GuestStream::Stdout { app: 0 }).await;
    let Event::Stdout { mut output, .. } = events.next().await.unwrap() else {
        panic!()
    };
    drop((stdout, guest));
    // A stream that was cut off is not one that ended.
    let error = output.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn a_lost_vm_ends_the_events_after_what_was_received() {
    let (host, port) = UnixStream::pair().unwrap();
    let (relay_end, guest_port) = UnixStream::pair().unwrap();
    // A relay stands for QEMU, so that it can die with everything in flight.
    let relay = tokio::spawn(async move {
        let (mut a, mut b) = (port, relay_end);
        let _ = tokio::io::copy_bidirectional(&mut a, &mut b).await;
    });
    let guest = async {
        let mut guest = GuestStandIn::greet(guest_port).await;
        guest.send(GuestMessage::Ready(BootTimes::default())).await;
        guest.take(&ArrivalAnswer::Done(ArrivalTimes::default())).await;
        guest.report(0, AppReport::Exited { status: DONE }).await;
        guest
    };
    let host = async {
        let (agent, events) = connect(host, SOON).await.unwrap();
        agent.arrive(ONE.to_vec(), tokio::io::empty()).await.unwrap();
        (agent, events)
    };
    let ((agent, mut events), _guest) = tokio::join!(host, guest);
    assert!(matches!(events.next().await, Ok(Event::Ready(_))));
    tokio::time::sleep(Duration::from_millis(50)).await;
    relay.abort();
    assert!(
        matches!(events.next().await, Ok(Event::App(0, AppReport::Exited { .. }))),
        "held, but true"
    );
    assert!(matches!(
        events.next().await,
        Err(AgentError::Ended | AgentError::Lost(_))
    ));
    assert!(matches!(events.next().await, Err(AgentError::Ended)));
    while agent.finish(WriteBack::Shares).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Apps are numbered behind those that were there, and all may end more than once.
#[tokio::test]
async fn more_apps_come() {
    let (mut guest, agent, mut events) = converse(1).await;
    for app in 0..3 {
        let stdout = guest.open(GuestStream::Stdout { app }).await;
        let stderr = guest.open(GuestStream::Stderr { app }).await;
        drop((stdout, stderr));
        guest.report(app, AppReport::Exited { status: DONE }).await;
        guest.send(GuestMessage::AllEnded).await;
        loop {
            match events.next().await.unwrap() {
                Event::AllEnded => break,
                Event::App(ended, AppReport::Exited { .. }) => assert_eq!(ended, usize::from(app)),
                Event::Stdout { .. } | Event::Stderr { .. } => {}
                event => panic!("{event:?}"),
            }
        }
        let taken = ArrivalAnswer::Done(ArrivalTimes::default());
        let (arrived, files) = tokio::join!(agent.arrive(ONE.to_vec(), &b"more"[..]), guest.take(&taken));
        assert_eq!(
            (arrived.unwrap().0, &*files),
            (usize::from(app) + 1, &b"more"[..])
        );
    }
    guest.report(4, AppReport::Exited { status: DONE }).await;
    assert!(matches!(
        end_of(events).await,
        AgentError::Breach(Breach::NoSuchApp { app: 4, apps: 4 })
    ));
}

#[tokio::test]
async fn what_cannot_come_is_reported() {
    let (mut guest, agent, _events) = converse_with_none().await;
    let failed = ArrivalAnswer::Failed {
        text: "no \u{1b}room".to_owned(),
    };
    let (arrived, _) = tokio::join!(agent.arrive(ONE.to_vec(), &b""[..]), guest.take(&failed));
    assert_eq!(arrived.unwrap_err().to_string(), "no \\u{1b}room");
    let many = vec![RestartPolicy::No; usize::from(AppIndex::MAX)];
    let error = agent.arrive(many, &b""[..]).await.unwrap_err();
    assert!(matches!(error, ArriveError::TooManyApps), "{error:?}");
}
