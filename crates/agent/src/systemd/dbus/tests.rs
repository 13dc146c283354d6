//! The wire's form, pinned, and a connection to a made-up service that sends what systemd sends.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::net::UnixListener;

use super::*;

/// What `busctl` sends for such a call, but for its serial number.
#[test]
fn a_call_is_on_the_wire_as_the_specification_says() {
    let fields = [
        (PATH, 'o', "/a".to_owned()),
        (INTERFACE, 's', "b.c".to_owned()),
        (MEMBER, 's', "D".to_owned()),
    ];
    let bytes = message(METHOD_CALL, 7, &fields, &Args::default().string("xy").int32(-2));
    let expected: &[u8] = b"l\x01\0\x01\x0c\0\0\0\x07\0\0\0\x38\0\0\0\
        \x01\x01o\0\x02\0\0\0/a\0\0\0\0\0\0\
        \x02\x01s\0\x03\0\0\0b.c\0\0\0\0\0\
        \x03\x01s\0\x01\0\0\0D\0\0\0\0\0\0\0\
        \x08\x01g\0\x02si\0\
        \x02\0\0\0xy\0\0\xfe\xff\xff\xff";
    assert_eq!(bytes, expected);
}

#[test]
fn variants_are_read_by_their_signature() {
    assert_eq!(variant::<String>(b"\x01s\0\0\x02\0\0\0ab\0").unwrap(), "ab");
    assert_eq!(variant::<i32>(b"\x01i\0\0\xff\xff\xff\xff").unwrap(), -1);
    assert_eq!(variant::<u64>(b"\x01t\0\0\0\0\0\0\x05\0\0\0\0\0\0\0").unwrap(), 5);
    assert_eq!(
        variant::<SystemdJob>(b"\x04(uo)\0\0\0\x09\0\0\0\x01\0\0\0/\0")
            .unwrap()
            .0,
        9
    );
    let list = b"\x02as\0\x10\0\0\0\x01\0\0\0a\0\0\0\x03\0\0\0bcd\0";
    assert_eq!(variant::<Vec<String>>(list).unwrap(), ["a", "bcd"]);
    let mut command = b"\x0ea(sasbttttuii)\0\x44\0\0\0".to_vec();
    command.resize(24, 0);
    command.extend(b"\x02\0\0\0/a\0\0\x06\0\0\0\x01\0\0\0x\0\0\0\0\0\0\0");
    command.resize(24 + 24 + 32, 0);
    command.extend(b"\x63\0\0\0\x01\0\0\0\x07\0\0\0");
    assert_eq!(
        variant::<CommandEnd>(&command).unwrap(),
        CommandEnd { code: 1, status: 7 }
    );
    let none = b"\x0ea(sasbttttuii)\0\0\0\0\0\0\0\0\0";
    assert_eq!(variant::<CommandEnd>(none).unwrap(), CommandEnd::default());
    assert!(variant::<i32>(b"\x01u\0\0\xff\xff\xff\xff").is_err());
    assert!(variant::<String>(b"\x01s\0\0\xff\xff\xff\xffab\0").is_err());
    assert!(variant::<Vec<String>>(b"\x02as\0\xff\xff\xff\xff\x01\0\0\0a\0").is_err());
}

#[test]
fn cut_and_mangled_messages_are_no_messages() {
    let fields = [(PATH, 'o', "/a".to_owned()), (MEMBER, 's', "D".to_owned())];
    let whole = message(SIGNAL, 1, &fields, &Args::default().string("x"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let received = |bytes: Vec<u8>| {
        runtime.block_on(async {
            let (mut near, far) = UnixStream::pair().unwrap();
            near.write_all(&bytes).await.unwrap();
            drop(near);
            Message::receive(&mut BufReader::new(far.into_split().0)).await
        })
    };
    assert_eq!(received(whole.clone()).unwrap().member, "D");
    for cut in 0..whole.len() {
        assert!(received(whole[..cut].to_vec()).is_none());
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        let _ = received(bytes);
    }
}

/// A message as systemd sends it: signed with its bus name.
fn from_systemd(kind: u8, reply_to: u32, fields: &[(u8, char, String)], args: &Args) -> Vec<u8> {
    let sender = (7, 's', "org.freedesktop.systemd1".to_owned());
    let mut bytes = message(kind, 99, &[fields, &[sender]].concat(), args);
    // The reply's serial number as one more field, put in behind the others by hand.
    let fields_bytes = u32::from_le_bytes(bytes[12..16].try_into().unwrap());
    let end = 16 + usize::try_from(fields_bytes).unwrap().next_multiple_of(8);
    let field = [&[REPLY_SERIAL, 1, b'u', 0][..], &reply_to.to_le_bytes()].concat();
    bytes.splice(end..end, field);
    bytes[12..16].copy_from_slice(&u32::try_from(end - 16 + 8).unwrap().to_le_bytes());
    bytes
}

#[tokio::test]
async fn calls_are_answered_and_signals_come_between() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("private");
    let listener = UnixListener::bind(&path).unwrap();
    let service = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let (read, mut write) = socket.into_split();
        let mut read = BufReader::new(read);
        for _ in 0..2 {
            read.read_until(b'\n', &mut Vec::new()).await.unwrap();
        }
        write
            .write_all(b"OK 0123456789abcdef0123456789abcdef\r\n")
            .await
            .unwrap();
        // Both calls are there before either is answered, and the answers come in the other order.
        let calls = [
            Message::receive(&mut read).await.unwrap(),
            Message::receive(&mut read).await.unwrap(),
        ];
        assert_eq!(
            calls.map(|call| (call.path, call.member)),
            [
                ("/a".to_owned(), "First".to_owned()),
                ("/b".to_owned(), "Second".to_owned()),
            ]
        );
        let name = (ERROR_NAME, 's', "no.such.Unit".to_owned());
        let signal = [(PATH, 'o', "/s".to_owned()), (MEMBER, 's', "Changed".to_owned())];
        let mut bytes = from_systemd(ERROR, 2, &[name], &Args::default().string("no unit"));
        bytes.extend(from_systemd(SIGNAL, 0, &signal, &Args::default().string("x")));
        bytes.extend(from_systemd(
            METHOD_RETURN,
            1,
            &[],
            &Args::default().string("yes"),
        ));
        write.write_all(&bytes).await.unwrap();
        Message::receive(&mut read).await.unwrap();
    });
    let (connection, mut signals) = Connection::connect(&path).await.unwrap();
    let first = connection.call("/a", "i.f", "First", Args::default().string("x"));
    let second = connection.call("/b", "i.f", "Second", Args::default());
    let refused = second.await.unwrap_err();
    assert_eq!(refused.to_string(), "`no.such.Unit`: no unit");
    assert_eq!(
        Decoder::new(&first.await.unwrap()).string().as_deref(),
        Some("yes")
    );
    let signal = signals.recv().await.unwrap();
    assert_eq!((signal.path.as_str(), signal.member.as_str()), ("/s", "Changed"));
    // The service hangs up over the next call.
    let lost = tokio::time::timeout(
        Duration::from_secs(20),
        connection.call("/", "i.f", "Third", Args::default()),
    );
    assert!(matches!(lost.await.unwrap(), Err(DbusError::Ended)));
    service.await.unwrap();
}

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";

/// What systemd calls its properties (org.freedesktop.systemd1(5)), each with a value on the wire.
const PROPERTIES: &[(&str, &str, &[u8])] = &[
    (UNIT, "ActiveState", b"\x01s\0\0\x06\0\0\0failed\0"),
    (UNIT, "Job", b"\x04(uo)\0\0\0\0\0\0\0\x01\0\0\0/\0"),
    (
        UNIT,
        "ActiveEnterTimestampMonotonic",
        b"\x01t\0\0\0\0\0\0\x05\0\0\0\0\0\0\0",
    ),
    (UNIT, "LoadState", b"\x01s\0\0\x06\0\0\0loaded\0"),
    (UNIT, "Requires", b"\x02as\0\x06\0\0\0\x01\0\0\0a\0"),
    (UNIT, "BindsTo", b"\x02as\0\x06\0\0\0\x01\0\0\0b\0"),
    (
        UNIT,
        "InactiveExitTimestampMonotonic",
        b"\x01t\0\0\0\0\0\0\x06\0\0\0\0\0\0\0",
    ),
    (
        UNIT,
        "InactiveEnterTimestampMonotonic",
        b"\x01t\0\0\0\0\0\0\x07\0\0\0\0\0\0\0",
    ),
    (UNIT, "AssertResult", b"\x01b\0\0\0\0\0\0"),
    (
        UNIT,
        "AssertTimestampMonotonic",
        b"\x01t\0\0\0\0\0\0\x08\0\0\0\0\0\0\0",
    ),
    (
        SERVICE,
        "ExecMainStartTimestampMonotonic",
        b"\x01t\0\0\0\0\0\0\x09\0\0\0\0\0\0\0",
    ),
    (SERVICE, "ExecMainCode", b"\x01i\0\0\x02\0\0\0"),
    (SERVICE, "ExecMainStatus", b"\x01i\0\0\x0f\0\0\0"),
    (SERVICE, "ExecMainPID", b"\x01u\0\0\x2a\0\0\0"),
    (SERVICE, "MainPID", b"\x01u\0\0\x2b\0\0\0"),
    (SERVICE, "ControlGroup", b"\x01s\0\0\x02\0\0\0/c\0"),
    (SERVICE, "ExecStopPost", b"\x0ea(sasbttttuii)\0\0\0\0\0\0\0\0\0"),
    (SERVICE, "Result", b"\x01s\0\0\x06\0\0\0signal\0"),
];

/// Plays systemd as long as somebody asks; gives the properties and the methods that were asked for.
async fn play_systemd(listener: UnixListener) -> (BTreeSet<String>, BTreeSet<String>) {
    let (socket, _) = listener.accept().await.unwrap();
    let (read, mut write) = socket.into_split();
    let mut read = BufReader::new(read);
    for _ in 0..2 {
        read.read_until(b'\n', &mut Vec::new()).await.unwrap();
    }
    let greeting = b"OK 0123456789abcdef0123456789abcdef\r\n";
    write.write_all(greeting).await.unwrap();
    let (mut properties, mut methods) = (BTreeSet::new(), BTreeSet::new());
    for serial in 1.. {
        let Some(call) = Message::receive(&mut read).await else {
            break;
        };
        let mut asked = Decoder::new(&call.body);
        let answer = match &*call.member {
            "Get" => {
                let (interface, name) = (asked.string().unwrap(), asked.string().unwrap());
                let known = PROPERTIES
                    .iter()
                    .find(|known| (known.0, known.1) == (&*interface, &*name));
                properties.insert(name);
                let args = |value: &[u8]| Args {
                    signature: "v".to_owned(),
                    body: Encoder(value.to_vec()),
                };
                known.map(|known| args(known.2))
            }
            method => {
                methods.insert(method.to_owned());
                Some(Args::default())
            }
        };
        let error = [(ERROR_NAME, 's', "no.such.Property".to_owned())];
        let bytes = match answer {
            Some(args) => from_systemd(METHOD_RETURN, serial, &[], &args),
            None => from_systemd(ERROR, serial, &error, &Args::default().string("no property")),
        };
        write.write_all(&bytes).await.unwrap();
    }
    (properties, methods)
}

/// The names are systemd's: a word that is changed everywhere must not be changed there.
#[tokio::test]
async fn systemd_is_asked_in_its_own_words() {
    use crate::systemd::{Activity, Manager, Systemd, Whom};

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("private");
    let played = tokio::spawn(play_systemd(UnixListener::bind(&path).unwrap()));
    let (connection, _signals) = Connection::connect(&path).await.unwrap();
    let systemd = Systemd {
        connection,
        watched: crate::systemd::Watched::default(),
    };
    let service = systemd.service("a.service").await.unwrap();
    assert_eq!((service.active, service.job), (Activity::Failed, false));
    assert_eq!((service.active_enter_us, service.exec_main_start_us), (5, 9));
    assert_eq!(
        (
            service.exec_main_code,
            service.exec_main_status,
            service.killed_pid
        ),
        (2, 15, 42)
    );
    let unit = systemd.unit("a.service").await.unwrap();
    assert_eq!((&*unit.load, &*unit.result), ("loaded", "signal"));
    assert_eq!(
        (unit.requires, unit.window_us),
        (vec!["a".into(), "b".into()], (6, 7))
    );
    assert!(unit.assert_failed);
    assert_eq!(systemd.rest("a.service").await.unwrap(), Some(Activity::Failed));
    let process = systemd.process("a.service").await.unwrap();
    assert_eq!((process.main_pid, &*process.cgroup), (43, "/c"));
    assert_eq!(systemd.post_stop("a.service").await.unwrap(), None);
    systemd.reload().await.unwrap();
    systemd.start("a.service").await.unwrap();
    systemd.kill("a.service", Whom::Main, 15).await.unwrap();
    systemd.stop("a.service").await.unwrap();
    drop(systemd);
    let (properties, methods) = played.await.unwrap();
    let all: BTreeSet<String> = PROPERTIES.iter().map(|known| known.1.to_owned()).collect();
    assert_eq!(properties, all);
    let expected = ["KillUnit", "Reload", "StartUnit", "StopUnit"].map(str::to_owned);
    assert_eq!(methods, BTreeSet::from(expected));
}
