//! A bounded run of what `fuzz/` runs without end: hostile bytes at every entry of the protocol, random ones and
//! mutations of what an honest side would say. Nothing may panic, hang or grow.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use std::time::Duration;

use isopod_contract::copy::Frame;
use isopod_contract::exec::{FromCommand, ToCommand, WindowSize};
use isopod_contract::hotplug::{HotplugVolume, UnitText, User, VolumeAnswer};
use isopod_contract::message::{ExitStatus, GuestMessage, GuestStream, HostMessage, HostStream};
use isopod_contract::stats::{AppStats, Stats};
use isopod_protocol::codec::{decode, encode, read_message};
use isopod_protocol::copy;
use isopod_protocol::exec;
use isopod_protocol::handshake::{self, NONCE_BYTES};
use isopod_protocol::mux::{self, Accept, Grant, Limits, Side};
use proptest::prelude::*;
use proptest::test_runner::Config;

/// Messages that an honest side could have sent.
fn honest() -> Vec<Vec<u8>> {
    let bytes = vec![3; 100];
    vec![
        encode(&HostStream::CopyOut {
            app: 300,
            path: "/etc".into(),
            follow_link: true,
        })
        .unwrap(),
        encode(&HostStream::AddVolume(HotplugVolume {
            volume: "data".into(),
            files: vec![
                UnitText {
                    path: "a.mount".into(),
                    text: "[Unit]\n".repeat(9)
                };
                3
            ],
            ..HotplugVolume::default()
        }))
        .unwrap(),
        encode(&VolumeAnswer::Busy {
            users: vec![
                User {
                    app: 1,
                    pid: 70_000,
                    name: "sh".into()
                };
                3
            ],
        })
        .unwrap(),
        encode(&HostMessage::Stop { grace_ms: 10_000 }).unwrap(),
        encode(&GuestMessage::Warning { text: "w".repeat(50) }).unwrap(),
        encode(&GuestStream::Stdout { app: 1 }).unwrap(),
        encode(&ToCommand::Stdin(bytes.clone())).unwrap(),
        encode(&ToCommand::Resize(WindowSize { rows: 24, cols: 80 })).unwrap(),
        encode(&FromCommand::Stderr(bytes.clone())).unwrap(),
        encode(&FromCommand::StdinTaken(500)).unwrap(),
        encode(&FromCommand::Exited(ExitStatus::Code(1))).unwrap(),
        encode(&Frame::Data(bytes)).unwrap(),
        encode(&Frame::Failed { text: "no".into() }).unwrap(),
        encode(&Frame::Warning {
            text: "a socket".into(),
        })
        .unwrap(),
        encode(&Stats {
            apps: vec![AppStats::default(); 3],
            ..Stats::default()
        })
        .unwrap(),
        [&b"\x80IsoHLO\n\x02\0\0\0"[..], &[1; NONCE_BYTES]].concat(),
        [&b"\x80IsoRPL\n\x02\0\0\0"[..], &[1; 2 * NONCE_BYTES]].concat(),
        // yamux: the beginning of a stream, data, a window update, a ping.
        vec![0, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0],
        vec![0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 2, 7, 7],
        vec![0, 1, 0, 0, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff],
        vec![0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9],
    ]
}

/// Honest messages and noise, with bytes changed and the end cut off.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(honest()),
        1 => prop::collection::vec(any::<u8>(), 0..80),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let pieces = prop::collection::vec(piece, 0..12);
    (pieces, changes, any::<prop::sample::Index>()).prop_map(|(pieces, changes, cut)| {
        let mut bytes = pieces.concat();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len() / 4 + 1));
        bytes
    })
}

fn decode_all(bytes: &[u8]) {
    let _ = decode::<HostStream>(bytes);
    let _ = decode::<GuestStream>(bytes);
    let _ = decode::<HostMessage>(bytes);
    let _ = decode::<GuestMessage>(bytes);
    let _ = decode::<ToCommand>(bytes);
    let _ = decode::<FromCommand>(bytes);
    let _ = decode::<Frame>(bytes);
    let _ = decode::<Stats>(bytes);
    let _ = decode::<VolumeAnswer>(bytes);
}

/// Everything that reads from the other side, with `bytes` as all that it ever says.
async fn read_all(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(_)) = read_message::<_, GuestMessage>(&mut rest).await {}
    let nobody = || tokio::io::join(bytes, tokio::io::sink());
    let _ = handshake::host(&mut nobody(), [1; NONCE_BYTES], || 7).await;
    let _ = handshake::guest(&mut nobody(), [1; NONCE_BYTES]).await;

    let (_client, mut answers) = exec::client(nobody());
    while let Ok(exec::Answer::Started | exec::Answer::Stdout(_) | exec::Answer::Stderr(_)) =
        answers.next().await
    {}

    let mut archive = Vec::new();
    let _ = copy::receive(&mut &*bytes, &mut archive).await;
    assert!(archive.len() <= bytes.len());

    for side in [Side::Host, Side::Guest] {
        for incoming in [Accept::Total(Grant::of(3)), Accept::AtOnce(3)] {
            let limits = Limits {
                incoming,
                outgoing: 3,
            };
            let (opener, mut streams, driver) = mux::start(nobody(), side, limits);
            let opening = tokio::spawn(async move { opener.open(&HostStream::Stats).await.map(drop) });
            let _ = driver.run().await;
            while let Some(mut stream) = streams.next().await {
                let _ = read_message::<_, HostStream>(&mut stream).await;
            }
            let _ = opening.await.unwrap();
        }
    }
}

#[test]
fn hostile_bytes_are_errors_and_nothing_worse() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    proptest!(Config::with_cases(1500), |(bytes in hostile())| {
        decode_all(&bytes);
        decode_all(bytes.get(4..).unwrap_or_default());
        let reading = async { tokio::time::timeout(Duration::from_secs(20), read_all(&bytes)).await };
        prop_assert!(runtime.block_on(reading).is_ok(), "it hangs");
    });
}
