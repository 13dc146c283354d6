//! The protocol as its users see it: messages there and back, hostile bytes, the greeting, streams that stall.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use std::net::Ipv4Addr;

use isopod_contract::PROTOCOL_VERSION;
use isopod_contract::message::MAX_MESSAGE_BYTES;
use isopod_contract::message::{
    AppReport, BootTimes, ExitStatus, FailureCause, GuestMessage, GuestStream, Health, HostMessage,
    HostStream, MemoryBound, StreamAnswer, SyncFailure, WriteBack,
};
use isopod_contract::names::{NameAnswer, NameQuestion, NameTransport};
use isopod_protocol::codec::{
    ReadMessageError, WriteMessageError, decode, encode, read_message, write_message,
};
use isopod_protocol::handshake::{self, HandshakeError, MAX_SKIPPED_BYTES, NONCE_BYTES};
use isopod_protocol::mux::{self, Accept, Grant, Limits, MuxError, STREAM_WINDOW_BYTES, Side};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

fn cause() -> impl Strategy<Value = FailureCause> {
    let log = prop::collection::vec(any::<String>(), 0..5);
    (
        any::<String>(),
        any::<Option<String>>(),
        any::<String>(),
        log,
        0..4,
    )
        .prop_map(|(unit, volume, result, log, kind)| match kind {
            0 => FailureCause::Mount {
                unit,
                volume,
                result,
                log,
            },
            1 => FailureCause::Dependency { unit, result, log },
            2 => FailureCause::Unit { unit, result, log },
            _ => FailureCause::Stopped,
        })
}

fn status() -> impl Strategy<Value = ExitStatus> {
    prop_oneof![
        any::<i32>().prop_map(ExitStatus::Code),
        (any::<i32>(), any::<bool>()).prop_map(|(signal, core)| ExitStatus::Signal { signal, core }),
    ]
}

fn guest_message() -> impl Strategy<Value = GuestMessage> {
    let times = any::<[u64; 5]>().prop_map(|[a, c, d, e, f]| BootTimes {
        agent_started_ms: a,
        systemd_ms: c,
        connected_ms: d,
        init_ms: e,
        systemd_begun_ms: f,
    });
    let failure = any::<(String, String)>();
    prop_oneof![
        times.prop_map(GuestMessage::Ready),
        any::<(u16, u64)>()
            .prop_map(|(app, uptime_ms)| GuestMessage::App(app, AppReport::Started { uptime_ms })),
        (any::<u16>(), cause()).prop_map(|(app, cause)| GuestMessage::App(app, AppReport::Failed { cause })),
        (any::<u16>(), status())
            .prop_map(|(app, status)| GuestMessage::App(app, AppReport::Exited { status })),
        Just(GuestMessage::AllEnded),
        prop::collection::vec(failure, 0..4).prop_map(|failed| GuestMessage::Synced {
            failed: failed
                .into_iter()
                .map(|(mount_point, error)| SyncFailure { mount_point, error })
                .collect(),
        }),
        any::<String>().prop_map(|text| GuestMessage::Warning { text }),
        (any::<u16>(), status(), any::<u32>(), any::<u32>()).prop_map(|(app, status, in_ms, count)| {
            GuestMessage::App(app, AppReport::Restarting { status, in_ms, count })
        }),
        any::<u16>().prop_map(|app| GuestMessage::App(app, AppReport::Ready)),
        any::<u16>().prop_map(|app| GuestMessage::App(app, AppReport::Unready)),
        (any::<u16>(), any::<bool>()).prop_map(|(app, own)| GuestMessage::App(
            app,
            AppReport::OutOfMemory {
                within: if own { MemoryBound::App } else { MemoryBound::Guest }
            }
        )),
        (any::<u16>(), health(), any::<String>())
            .prop_map(|(app, health, text)| GuestMessage::App(app, AppReport::Health { health, text })),
        (any::<u16>(), any::<String>())
            .prop_map(|(app, reason)| GuestMessage::App(app, AppReport::Ending { reason })),
        (any::<u16>(), any::<bool>()).prop_map(|(app, own)| GuestMessage::App(
            app,
            AppReport::ProcessOutOfMemory {
                within: if own { MemoryBound::App } else { MemoryBound::Guest }
            }
        )),
        any::<u32>().prop_map(|number| GuestMessage::Beat { number }),
        (any::<u16>(), any::<String>())
            .prop_map(|(app, text)| GuestMessage::App(app, AppReport::LastWords { text })),
    ]
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![
        Just(Health::Starting),
        Just(Health::Healthy),
        Just(Health::Unhealthy)
    ]
}

proptest! {
    #[test]
    fn messages_come_back_equal(message in guest_message()) {
        let bytes = encode(&message).unwrap();
        prop_assert_eq!(u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len() - 4);
        prop_assert_eq!(decode::<GuestMessage>(&bytes[4..]).unwrap(), message);
    }

    #[test]
    fn garbage_is_an_error_or_a_message_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode::<GuestMessage>(&bytes);
        let _ = decode::<HostMessage>(&bytes);
        let _ = decode::<GuestStream>(&bytes);
        let _ = futures::executor::block_on(read_message::<_, GuestMessage>(&mut &bytes[..]));
    }

    #[test]
    fn a_message_cut_short_or_with_a_tail_is_refused(message in guest_message(), cut in any::<prop::sample::Index>()) {
        let mut bytes = encode(&message).unwrap();
        let short = &bytes[4..][..cut.index(bytes.len() - 4)];
        prop_assert!(decode::<GuestMessage>(short).is_err());
        bytes.push(0);
        let refused = matches!(decode::<GuestMessage>(&bytes[4..]), Err(ReadMessageError::Trailing { bytes: 1 }));
        prop_assert!(refused);
    }
}

#[test]
fn a_message_of_the_name_system_fits_whatever_its_length() {
    let (number, message) = (u32::MAX, vec![1; usize::from(u16::MAX)]);
    let question = NameQuestion {
        number,
        transport: NameTransport::Tcp,
        message: message.clone(),
    };
    encode(&question).unwrap();
    encode(&NameAnswer { number, message }).unwrap();
}

/// The bytes on the wire, pinned: another build reads these or has another version.
#[test]
fn the_encoding_is_pinned() {
    let bytes = |message: &GuestMessage| encode(message).unwrap()[4..].to_vec();
    assert_eq!(
        bytes(&GuestMessage::App(300, AppReport::Started { uptime_ms: 5 })),
        [1, 0xac, 2, 0, 5]
    );
    assert_eq!(
        bytes(&GuestMessage::App(
            0,
            AppReport::Exited {
                status: ExitStatus::Code(-1)
            }
        )),
        [1, 0, 2, 0, 1]
    );
    assert_eq!(bytes(&GuestMessage::AllEnded), [2]);
    assert_eq!(bytes(&GuestMessage::Synced { failed: Vec::new() }), [3, 0]);
    assert_eq!(bytes(&GuestMessage::Warning { text: "x".into() }), [4, 1, b'x']);
    assert_eq!(encode(&HostStream::Control).unwrap(), [1, 0, 0, 0, 0]);
    assert_eq!(
        encode(&HostMessage::Stop { grace_ms: 1 }).unwrap(),
        [2, 0, 0, 0, 0, 1]
    );
    assert_eq!(
        encode(&HostMessage::Signal { app: 1, signal: 9 }).unwrap(),
        [3, 0, 0, 0, 1, 1, 9]
    );
    let write_back = WriteBack::SharesAndDisks;
    assert_eq!(
        encode(&HostMessage::Finish { write_back }).unwrap(),
        [2, 0, 0, 0, 2, 1]
    );
    assert_eq!(
        encode(&HostMessage::Time {
            number: 1,
            unix_ns: 300
        })
        .unwrap(),
        [4, 0, 0, 0, 3, 1, 0xac, 2]
    );
    assert_eq!(bytes(&GuestMessage::Beat { number: 7 }), [5, 7]);
    assert_eq!(encode(&StreamAnswer::Taken).unwrap(), [1, 0, 0, 0, 0]);
    let server = Ipv4Addr::new(127, 0, 0, 11).into();
    assert_eq!(
        encode(&HostStream::Names { server }).unwrap(),
        [6, 0, 0, 0, 18, 0, 127, 0, 0, 11]
    );
    let identity = "{}".to_owned();
    assert_eq!(
        encode(&HostStream::Identify { identity }).unwrap(),
        [4, 0, 0, 0, 19, 2, b'{', b'}']
    );
    let question = NameQuestion {
        number: 300,
        transport: NameTransport::Tcp,
        message: vec![7, 8],
    };
    assert_eq!(encode(&question).unwrap()[4..], [0xac, 2, 1, 2, 7, 8]);
    assert_eq!(
        encode(&GuestStream::Stderr { app: 2 }).unwrap(),
        [2, 0, 0, 0, 2, 2]
    );
}

#[tokio::test]
async fn lengths_over_the_limit_are_refused_on_both_sides() {
    let text = "x".repeat(MAX_MESSAGE_BYTES);
    let refused = encode(&GuestMessage::Warning { text });
    assert!(matches!(refused, Err(WriteMessageError::TooLong { bytes }) if bytes > MAX_MESSAGE_BYTES));
    let claim = u32::MAX.to_le_bytes();
    let refused = read_message::<_, GuestMessage>(&mut &claim[..]).await;
    assert!(matches!(
        refused,
        Err(ReadMessageError::TooLong { bytes: u32::MAX })
    ));
}

#[tokio::test]
async fn an_end_between_messages_is_an_end_and_one_inside_is_not() {
    let end = read_message::<_, HostMessage>(&mut &b""[..]).await;
    assert!(matches!(end, Ok(None)));
    for cut in [&[1, 0][..], &[9, 0, 0, 0, 1][..]] {
        let cut = read_message::<_, HostMessage>(&mut &*cut).await;
        assert!(matches!(cut, Err(ReadMessageError::Truncated)));
    }
}

const HOST: handshake::Nonce = [1; NONCE_BYTES];
const GUEST: handshake::Nonce = [2; NONCE_BYTES];

/// Writes `bytes` in chunks of the given sizes, again and again, and hands the port back.
async fn dribble(mut port: DuplexStream, bytes: Vec<u8>, sizes: &[usize]) -> DuplexStream {
    let mut rest = &bytes[..];
    for &size in sizes.iter().cycle() {
        let (chunk, tail) = rest.split_at(size.clamp(1, rest.len().max(1)).min(rest.len()));
        port.write_all(chunk).await.unwrap();
        tokio::task::yield_now().await;
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    port
}

/// A greeting over a port of `capacity` bytes, on which `noise` came first towards the host; the port is then clean.
async fn greet(noise: Vec<u8>, capacity: usize, sizes: &[usize]) {
    let (mut host, guest) = tokio::io::duplex(capacity);
    let greeting = async {
        handshake::host(&mut host, HOST, || 7).await.unwrap();
        host.write_all(b"from the host").await.unwrap();
        let mut bytes = [0; 14];
        host.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"from the guest");
    };
    let answering = async {
        let mut guest = dribble(guest, noise, sizes).await;
        handshake::guest(&mut guest, GUEST).await.unwrap();
        guest.write_all(b"from the guest").await.unwrap();
        let mut bytes = [0; 13];
        guest.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"from the host");
        guest
    };
    tokio::join!(greeting, answering);
}

#[test]
fn the_greeting_survives_noise_and_chunks() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let noise = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        // Noise that looks like a greeting: beginnings of frames, and whole ones of an earlier connection.
        prop::collection::vec(
            prop_oneof![
                Just(b"\x80IsoRPL".to_vec()),
                Just(b"\x80IsoRPL\n\x01\0\0\0cut off".to_vec()),
                Just([&b"\x80IsoRPL\n\x01\0\0\0"[..], &[7; 2 * NONCE_BYTES]].concat()),
                Just(b"\x80\x80Iso".to_vec()),
                prop::collection::vec(any::<u8>(), 0..50),
            ],
            0..6
        )
        .prop_map(|parts| parts.concat()),
    ];
    let config = ProptestConfig::with_cases(200);
    proptest!(config, |(noise in noise, capacity in 64usize..200, sizes in prop::collection::vec(1usize..60, 1..4))| {
        runtime.block_on(greet(noise, capacity, &sizes));
    });
}

#[tokio::test]
async fn a_guest_answers_the_host_that_began_anew() {
    let (mut port, mut guest) = tokio::io::duplex(1024);
    let answering = tokio::spawn(async move { handshake::guest(&mut guest, GUEST).await });
    // The first host says HELLO and leaves before it says READY; a stale READY follows.
    let hello = [
        b"\x80IsoHLO\n".as_slice(),
        &PROTOCOL_VERSION.to_le_bytes(),
        &[9; NONCE_BYTES],
    ]
    .concat();
    port.write_all(&hello).await.unwrap();
    port.write_all(&[b"\x80IsoRDY\n".as_slice(), &[3; NONCE_BYTES]].concat())
        .await
        .unwrap();
    handshake::host(&mut port, HOST, || 7).await.unwrap();
    answering.await.unwrap().unwrap();
}

/// The guest learns the host's time; where the first answer is late, it asks again, and takes the best.
#[tokio::test]
async fn the_greeting_has_the_time() {
    let (mut port, mut guest) = tokio::io::duplex(1024);
    let answering = tokio::spawn(async move { handshake::guest(&mut guest, GUEST).await });
    let mut asked = 0;
    handshake::host(&mut port, HOST, || {
        asked += 1;
        if asked < 3 {
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
        asked * 1000
    })
    .await
    .unwrap();
    let time = answering.await.unwrap().unwrap();
    assert!(asked >= 3, "{asked}");
    assert!(
        time.unix_ns >= 3000 && time.round_trip.as_millis() < 30,
        "{time:?}"
    );
}

#[tokio::test]
async fn other_versions_and_endless_noise_are_refused() {
    // A guest answers a host of another version, which so learns of it; and then one of its own.
    let (mut port, mut guest) = tokio::io::duplex(1024);
    let answering = tokio::spawn(async move { handshake::guest(&mut guest, GUEST).await });
    let hello = [
        b"\x80IsoHLO\n".as_slice(),
        &(PROTOCOL_VERSION + 1).to_le_bytes(),
        &HOST,
    ]
    .concat();
    port.write_all(&hello).await.unwrap();
    let mut reply = vec![0; 8 + 4 + 2 * NONCE_BYTES];
    port.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply[8..12], PROTOCOL_VERSION.to_le_bytes());
    handshake::host(&mut port, [5; NONCE_BYTES], || 7).await.unwrap();
    answering.await.unwrap().unwrap();

    reply[8] += 1;
    let mut port = tokio::io::join(&reply[..], tokio::io::sink());
    let refused = handshake::host(&mut port, HOST, || 7).await;
    assert!(matches!(refused, Err(HandshakeError::Version { theirs }) if theirs == PROTOCOL_VERSION + 1));

    let noise = vec![b'x'; MAX_SKIPPED_BYTES + 100];
    let mut port = tokio::io::join(&noise[..], tokio::io::sink());
    assert!(matches!(
        handshake::host(&mut port, HOST, || 7).await,
        Err(HandshakeError::Noise)
    ));
    let mut port = tokio::io::join(tokio::io::empty(), tokio::io::sink());
    assert!(matches!(
        handshake::host(&mut port, HOST, || 7).await,
        Err(HandshakeError::Closed)
    ));
}

fn limits() -> Limits {
    Limits {
        incoming: Accept::Total(Grant::of(4)),
        outgoing: 4,
    }
}

#[tokio::test]
async fn a_stalled_stream_stalls_no_other() {
    let (host, guest) = tokio::io::duplex(4096);
    let (_opener, mut incoming, driver) = mux::start(host, Side::Host, limits());
    tokio::spawn(driver.run());
    let (opener, _incoming, driver) = mux::start(guest, Side::Guest, limits());
    tokio::spawn(driver.run());

    let mut stalled = opener.open(&GuestStream::Stdout { app: 0 }).await.unwrap();
    let mut flowing = opener.open(&GuestStream::Stderr { app: 0 }).await.unwrap();
    let endless = tokio::spawn(async move { stalled.write_all(&vec![1; 10 << 20]).await });
    let whole = tokio::spawn(async move {
        flowing.write_all(&vec![2; 10 << 20]).await.unwrap();
        flowing.shutdown().await.unwrap();
    });
    let mut unread = incoming.next().await.unwrap();
    let mut read = incoming.next().await.unwrap();
    for (stream, header) in [
        (&mut unread, GuestStream::Stdout { app: 0 }),
        (&mut read, GuestStream::Stderr { app: 0 }),
    ] {
        assert_eq!(
            read_message::<_, GuestStream>(stream).await.unwrap(),
            Some(header)
        );
    }
    let mut bytes = Vec::new();
    read.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes.len(), 10 << 20);
    whole.await.unwrap();
    assert!(!endless.is_finished());
    // What the stalled one was allowed to send is there, and no more was.
    drop(read);
    let mut held = vec![0; STREAM_WINDOW_BYTES / 4];
    unread.read_exact(&mut held).await.unwrap();
    assert!(!endless.is_finished());
}

#[tokio::test]
async fn one_stream_too_many_ends_the_conversation() {
    let (host, guest) = tokio::io::duplex(4096);
    let (_opener, _incoming, driver) = mux::start(host, Side::Host, limits());
    let driven = tokio::spawn(driver.run());
    let generous = Limits {
        incoming: Accept::Total(Grant::of(0)),
        outgoing: 99,
    };
    let (opener, _incoming, driver) = mux::start(guest, Side::Guest, generous);
    tokio::spawn(driver.run());
    let mut streams = Vec::new();
    while let Ok(mut stream) = opener.open(&GuestStream::Stdin { app: 0 }).await {
        let _ = write_message(&mut stream, &HostStream::Control).await;
        streams.push(stream);
    }
    assert!(matches!(
        driven.await.unwrap(),
        Err(MuxError::TooManyStreams { limit: 4 })
    ));
}
