//! The streams that the host opens: an exec's two sides, a copy's frames, and how many there may be.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use isopod_contract::copy::Frame;
use isopod_contract::exec::{FromCommand, MAX_PIECE_BYTES, Request, STDIN_WINDOW_BYTES, ToCommand};
use isopod_contract::hotplug::{HotplugVolume, VolumeAnswer};
use isopod_contract::message::{ExitStatus, HostStream};
use isopod_contract::stats::Stats;
use isopod_protocol::codec::{encode, read_message, write_message};
use isopod_protocol::copy::{self, CopyError};
use isopod_protocol::exec::{self, Answer, ReceiveError};
use isopod_protocol::mux::{self, Accept, Grant, Limits, OpenError, Side};
use tokio::io::AsyncReadExt;

/// The bytes on the wire, pinned: another build reads these or has another version.
#[test]
fn the_encoding_is_pinned() {
    let request = Request {
        app: 1,
        argv: vec!["a".into()],
        env: vec![("B".into(), "c".into())],
        user: None,
        working_dir: Some("/".into()),
        terminal: None,
        stdin: true,
        exactly: None,
        privileged: false,
    };
    let bytes = encode(&HostStream::Exec(request)).unwrap();
    assert_eq!(
        bytes[4..],
        *b"\x01\x01\x01\x01a\x01\x01B\x01c\0\x01\x01/\0\x01\0\0"
    );
    assert_eq!(encode(&HostStream::Stats).unwrap()[4..], [2]);
    assert_eq!(
        encode(&ToCommand::Stdin(vec![7, 200])).unwrap()[4..],
        [0, 2, 7, 200]
    );
    assert_eq!(encode(&ToCommand::Signal(15)).unwrap()[4..], [3, 15]);
    assert_eq!(
        encode(&FromCommand::Exited(ExitStatus::Code(1))).unwrap()[4..],
        [3, 0, 2]
    );
    assert_eq!(encode(&Frame::End).unwrap()[4..], [1]);
    let detach = HostStream::RemoveVolume {
        volume: HotplugVolume::default(),
        force: true,
    };
    assert_eq!(
        encode(&HostStream::AddVolume(HotplugVolume::default())).unwrap()[4..],
        [5, 0, 0, 0, 0]
    );
    assert_eq!(encode(&detach).unwrap()[4..], [6, 0, 0, 0, 0, 1]);
    assert_eq!(
        encode(&VolumeAnswer::Busy { users: Vec::new() }).unwrap()[4..],
        [2, 0]
    );
    assert_eq!(encode(&Stats::default()).unwrap()[4..], [0, 0, 0, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn input_waits_for_the_command_and_a_signal_does_not() {
    let (host, mut guest) = tokio::io::duplex(1 << 20);
    let (client, mut answers) = exec::client(host);
    let speaker = client.clone();
    let sent = tokio::spawn(async move { speaker.stdin(&vec![1; 3 * STDIN_WINDOW_BYTES / 2]).await });
    let mut taken = 0;
    while taken < STDIN_WINDOW_BYTES {
        match read_message(&mut guest).await.unwrap() {
            Some(ToCommand::Stdin(bytes)) => taken += bytes.len(),
            other => panic!("{other:?}"),
        }
    }
    client.signal(15).await.unwrap();
    assert_eq!(
        read_message(&mut guest).await.unwrap(),
        Some(ToCommand::Signal(15))
    );
    assert!(!sent.is_finished());

    let answering = async {
        let half = u32::try_from(STDIN_WINDOW_BYTES / 2).unwrap();
        for message in [FromCommand::StdinTaken(half), FromCommand::Stdout(vec![2])] {
            write_message(&mut guest, &message).await.unwrap();
        }
        let mut more = 0;
        while more < STDIN_WINDOW_BYTES / 2 {
            match read_message(&mut guest).await.unwrap() {
                Some(ToCommand::Stdin(bytes)) => more += bytes.len(),
                other => panic!("{other:?}"),
            }
        }
        let last = FromCommand::Exited(ExitStatus::Code(3));
        write_message(&mut guest, &last).await.unwrap();
    };
    let hearing = async {
        assert_eq!(answers.next().await.unwrap(), Answer::Stdout(vec![2]));
        assert_eq!(answers.next().await.unwrap(), Answer::Exited(ExitStatus::Code(3)));
    };
    tokio::join!(answering, hearing);
    sent.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_agent_that_cheats_is_found_out() {
    for (message, why) in [
        (FromCommand::StdinTaken(1), "input"),
        (FromCommand::Stdout(vec![0; MAX_PIECE_BYTES + 1]), "output"),
    ] {
        let (host, mut guest) = tokio::io::duplex(1 << 20);
        let (_client, mut answers) = exec::client(host);
        write_message(&mut guest, &message).await.unwrap();
        let error = answers.next().await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    let (host, guest) = tokio::io::duplex(100);
    let (client, mut answers) = exec::client(host);
    let speaker = client.clone();
    let stuck = tokio::spawn(async move { speaker.stdin(&vec![0; 2 * STDIN_WINDOW_BYTES]).await });
    drop(guest);
    assert!(matches!(answers.next().await, Err(ReceiveError::Ended)));
    // Whoever waits for room does not wait for ever, and what nobody reads any more is not an error.
    stuck.await.unwrap().unwrap();
}

#[tokio::test]
async fn archives_come_through_or_say_why_not() {
    let archive: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    let (mut from, mut to) = tokio::io::duplex(5000);
    let sending = async {
        copy::send(&mut &archive[..], &mut from).await.unwrap();
        write_message(&mut from, &Frame::End).await.unwrap();
    };
    let mut received = Vec::new();
    let (_, outcome) = tokio::join!(sending, copy::receive(&mut to, &mut received));
    outcome.unwrap();
    assert_eq!(received, archive);

    let text = "a socket".to_owned();
    write_message(&mut from, &Frame::Warning { text }).await.unwrap();
    write_message(&mut from, &Frame::End).await.unwrap();
    let warned = copy::receive(&mut to, &mut received).await.unwrap();
    assert_eq!(warned.as_deref(), Some("a socket"));

    let text = "no such file".to_owned();
    write_message(&mut from, &Frame::Failed { text }).await.unwrap();
    let failed = copy::receive(&mut to, &mut received).await;
    assert!(matches!(failed, Err(CopyError::Failed(text)) if text == "no such file"));
    drop(from);
    assert!(matches!(
        copy::receive(&mut to, &mut received).await,
        Err(CopyError::CutOff)
    ));
}

#[tokio::test]
async fn one_stream_too_many_is_refused_and_the_others_go_on() {
    let (host, guest) = tokio::io::duplex(4096);
    let limits = Limits {
        incoming: Accept::Total(Grant::of(0)),
        outgoing: 3,
    };
    let (opener, _none, driver) = mux::start(host, Side::Host, limits);
    tokio::spawn(driver.run());
    let limits = Limits {
        incoming: Accept::AtOnce(3),
        outgoing: 0,
    };
    let (_opener, mut incoming, driver) = mux::start(guest, Side::Guest, limits);
    tokio::spawn(driver.run());

    // Far more than three, one after the other, is no more than three at once.
    for _ in 0..400 {
        drop(opener.open(&HostStream::Stats).await.unwrap());
        let mut stream = incoming.next().await.unwrap();
        let _ = read_message::<_, HostStream>(&mut stream).await;
    }
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(opener.open(&HostStream::Stats).await.unwrap());
    }
    assert!(matches!(
        opener.open(&HostStream::Stats).await,
        Err(OpenError::TooMany { limit: 3 })
    ));
    drop(open.remove(0));
    open.push(opener.open(&HostStream::Stats).await.unwrap());
    for _ in 0..4 {
        let mut stream = incoming.next().await.unwrap();
        let header: Option<HostStream> = read_message(&mut stream).await.unwrap();
        assert_eq!(header, Some(HostStream::Stats));
        drop(stream);
    }
    // The first was reset by its owner; the guest has reset the rest.
    for mut stream in open {
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    }
}
