//! What a reader of logs gets of what a writer was given: any bytes, rotated, followed, torn by a crash, on a full disk.
//!
//! Two of the tests run this program once more: as a process that is killed, and on a small disk of its own.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(
    clippy::print_stdout,
    reason = "a process that is killed says how far it came"
)]

mod deaths;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use isopod_runtime::logs::{self, Kind, Limits, LogReader, LogWriter, Options, Stream};
use isopod_spec::AppName;
use proptest::prelude::*;

/// Says to the process that is started by a test in which directory it writes.
const DIR_VARIABLE: &str = "ISOPOD_TEST_LOG_DIR";

fn name(name: &str) -> AppName {
    AppName::new(name).unwrap()
}

fn second(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_464_516 + second)
}

fn limits(file_bytes: u64, files: u32) -> Limits {
    Limits { file_bytes, files }
}

/// What is in the logs, shortly: `app kind content`.
fn show(dir: &Path, apps: &[&str], options: &Options) -> Vec<String> {
    let apps: Vec<AppName> = apps.iter().copied().map(name).collect();
    drain(&mut LogReader::open(dir, &apps, options.clone()).unwrap())
}

fn drain(reader: &mut LogReader) -> Vec<String> {
    let mut shown = Vec::new();
    while let Some(record) = reader.read().unwrap() {
        let kind = match (record.kind, record.stream) {
            (Kind::Line, Stream::Stdout) => "out".to_owned(),
            (Kind::Line, Stream::Stderr) => "err".to_owned(),
            (kind, _) => format!("{kind:?}"),
        };
        let content = String::from_utf8_lossy(record.content);
        shown.push(format!("{} {kind} {content}", record.app));
    }
    shown
}

/// What comes back of an app's bytes, by stream; anything that is not the app's is an error.
fn content(reader: &mut LogReader) -> BTreeMap<Stream, Vec<u8>> {
    let mut content = BTreeMap::new();
    while let Some(record) = reader.read().unwrap() {
        assert!(record.is_output(), "{record:?}");
        record
            .write_content(content.entry(record.stream).or_insert_with(Vec::new))
            .unwrap();
    }
    content
}

fn all() -> Options {
    Options::default()
}

fn following() -> Options {
    Options {
        follow: true,
        ..all()
    }
}

#[test]
fn the_format_is_kubernetes() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let mut writer = LogWriter::open(&logs, &name("web"), Limits::default()).unwrap();
    let at = second(0) + Duration::from_nanos(123_456_789);
    writer.write(Stream::Stdout, b"hello\n\nPassword: ", at);
    writer.write(Stream::Stderr, b"\x1b[2J\xff\n", at);
    writer.write(Stream::Stdout, b"\n", second(9));
    let mut expected = b"2026-11-23T20:08:36.123456789Z stdout F hello\n\
        2026-11-23T20:08:36.123456789Z stdout F \n\
        2026-11-23T20:08:36.123456789Z stdout P Password: \n\
        2026-11-23T20:08:36.123456789Z stderr F "
        .to_vec();
    expected.extend_from_slice(b"\x1b[2J\xff\n2026-11-23T20:08:45.000000000Z stdout F \n");
    assert_eq!(fs::read(logs.join("web.log")).unwrap(), expected);
    assert_eq!(logs::apps(&logs).unwrap(), [name("web")]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&logs), mode(&logs.join("web.log"))), (0o700, 0o600));
}

#[test]
fn long_lines_are_pieces_of_16_kib() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), &name("a"), Limits::default()).unwrap();
    let mut written = vec![b'x'; 40_000];
    written.push(b'\n');
    written.extend(vec![b'y'; 16_384]);
    written.push(b'\n');
    writer.write(Stream::Stdout, &written, second(0));
    let mut reader = LogReader::open(dir.path(), &[name("a")], all()).unwrap();
    let mut pieces = Vec::new();
    while let Some(record) = reader.read().unwrap() {
        pieces.push((record.kind, record.content.len()));
    }
    let expected = [
        (Kind::Piece, 16_384),
        (Kind::Piece, 16_384),
        (Kind::Line, 7_232),
        (Kind::Line, 16_384),
    ];
    assert_eq!(pieces, expected);
}

/// Mostly short text, with line ends, now and then a long line.
fn chunk() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let byte = prop_oneof![4 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(b' ')];
    let short = proptest::collection::vec(byte, 0..300);
    let long = (1..50_000_usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]);
    (any::<bool>(), prop_oneof![20 => short, 1 => long])
}

fn stream(stderr: bool) -> Stream {
    if stderr { Stream::Stderr } else { Stream::Stdout }
}

/// An upper bound of what the records of `bytes` take.
fn record_bytes(bytes: &[u8]) -> u64 {
    let records =
        bytes.iter().filter(|&&byte| byte == b'\n').count() + bytes.len() / logs::MAX_PIECE_BYTES + 1;
    (bytes.len() + records * 41) as u64
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_come_back(chunks in proptest::collection::vec(chunk(), 0..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut written: BTreeMap<Stream, Vec<u8>> = BTreeMap::new();
        for (i, (stderr, bytes)) in chunks.iter().enumerate() {
            // A supervisor may end between any two; the next continues.
            let mut writer = LogWriter::open(dir.path(), &name("a"), Limits::default()).unwrap();
            writer.write(stream(*stderr), bytes, second(i as u64));
            if !bytes.is_empty() {
                written.entry(stream(*stderr)).or_default().extend(bytes);
            }
        }
        let mut reader = LogReader::open(dir.path(), &[name("a")], all()).unwrap();
        prop_assert_eq!(content(&mut reader), written);
        prop_assert_eq!(reader.unfinished_bytes(), 0);
    }

    #[test]
    fn bounds_hold_and_the_end_is_kept(
        chunks in proptest::collection::vec(chunk(), 0..60), file_bytes in 1..6_000_u64, files in 0..5_u32,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(dir.path(), &name("a"), limits(file_bytes, files)).unwrap();
        let mut written: BTreeMap<Stream, Vec<u8>> = BTreeMap::new();
        for (i, (stderr, bytes)) in chunks.iter().enumerate() {
            writer.write(stream(*stderr), bytes, second(i as u64));
            written.entry(stream(*stderr)).or_default().extend(bytes);
        }
        prop_assert_eq!(writer.lost_bytes(), 0);
        let mut count = 0;
        for entry in fs::read_dir(dir.path()).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            let records = bytes.iter().filter(|&&byte| byte == b'\n').count();
            prop_assert!(bytes.len() as u64 <= file_bytes || records == 1, "{} bytes", bytes.len());
            count += 1;
        }
        prop_assert!(count <= files.max(1));
        let read = content(&mut LogReader::open(dir.path(), &[name("a")], all()).unwrap());
        for (stream, bytes) in &read {
            prop_assert!(written[stream].ends_with(bytes));
        }
        let kept: usize = read.values().map(Vec::len).sum();
        let total: usize = written.values().map(Vec::len).sum();
        prop_assert!(kept > 0 || total == 0);
    }

    #[test]
    fn a_follower_misses_nothing_and_doubles_nothing(
        chunks in proptest::collection::vec((chunk(), any::<bool>()), 0..60), file_bytes in 1..6_000_u64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = LogReader::open(dir.path(), &[name("a")], following()).unwrap();
        let mut writer = LogWriter::open(dir.path(), &name("a"), limits(file_bytes, 3)).unwrap();
        let (mut written, mut read) = (BTreeMap::<Stream, Vec<u8>>::new(), BTreeMap::<Stream, Vec<u8>>::new());
        let mut unread = 0;
        let look = |reader: &mut LogReader, read: &mut BTreeMap<Stream, Vec<u8>>| {
            for (stream, bytes) in content(reader) {
                read.entry(stream).or_default().extend(bytes);
            }
        };
        for (i, ((stderr, bytes), looks)) in chunks.iter().enumerate() {
            for bytes in bytes.chunks(70) {
                // Two files stay whole behind the one that is written: more than that may be missed, and is reported.
                if unread + record_bytes(bytes) > file_bytes {
                    look(&mut reader, &mut read);
                    unread = 0;
                }
                let most = usize::try_from(file_bytes / 42).unwrap().max(1);
                for bytes in bytes.chunks(most) {
                    writer.write(stream(*stderr), bytes, second(i as u64));
                    unread += record_bytes(bytes);
                    if unread > file_bytes {
                        look(&mut reader, &mut read);
                        unread = 0;
                    }
                }
                written.entry(stream(*stderr)).or_default().extend(bytes);
            }
            if *looks {
                look(&mut reader, &mut read);
                unread = 0;
            }
        }
        look(&mut reader, &mut read);
        prop_assert_eq!(read, written);
    }

    #[test]
    fn no_content_of_a_file_hurts(
        pieces in proptest::collection::vec(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            (0..300_000_usize).prop_map(|length| vec![0; length]),
            Just(b"2026-11-23T20:08:36.123456789Z stdout F fine\n".to_vec()),
            Just(b"2026-11-23T20:08:36.123456789Z stderr F:lost 9 bytes\n".to_vec()),
            Just(b"2026-11-23T20:08:36.123456789Z stdout X:\n".to_vec()),
        ], 0..20),
        tail in proptest::option::of(0..9_u64),
    ) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.log"), pieces.concat()).unwrap();
        let options = Options { tail, ..following() };
        let mut reader = LogReader::open(dir.path(), &[name("a")], options).unwrap();
        let mut bytes = 0;
        while let Some(record) = reader.read().unwrap() {
            bytes += record.content.len();
        }
        prop_assert!(bytes + reader.unfinished_bytes() <= pieces.concat().len());
        // And a writer continues behind it.
        LogWriter::open(dir.path(), &name("a"), Limits::default()).unwrap().write(Stream::Stdout, b"more\n", second(0));
        prop_assert_eq!(drain(&mut reader), ["a out more"]);
    }
}

/// Two apps that write in turn.
fn two_apps() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut writers = ["a", "b"].map(|app| LogWriter::open(dir.path(), &name(app), limits(200, 9)).unwrap());
    for i in 0..10 {
        let writer = &mut writers[usize::from(i % 3 == 0)];
        let stream = stream(i % 2 == 1);
        writer.write(stream, format!("line {i}\n").as_bytes(), second(i));
    }
    dir
}

#[test]
fn apps_are_merged_by_time_and_selected() {
    let dir = two_apps();
    let ten = [
        "b out line 0",
        "a err line 1",
        "a out line 2",
        "b err line 3",
        "a out line 4",
        "a err line 5",
        "b out line 6",
        "a err line 7",
        "a out line 8",
        "b err line 9",
    ];
    let shown = |options: &Options| show(dir.path(), &["a", "b", "no-log"], options);
    assert!(dir.path().join("a.log.1").exists());
    assert_eq!(shown(&all()), ten);
    assert_eq!(
        shown(&Options {
            since: Some(second(7)),
            ..all()
        }),
        ten[7..]
    );
    assert_eq!(
        shown(&Options {
            until: Some(second(2)),
            ..all()
        }),
        ten[..2]
    );
    assert_eq!(
        shown(&Options {
            tail: Some(3),
            ..all()
        }),
        ten[7..]
    );
    assert_eq!(
        shown(&Options {
            tail: Some(0),
            ..all()
        }),
        [""; 0]
    );
    assert_eq!(
        shown(&Options {
            tail: Some(99),
            ..all()
        }),
        ten
    );
    let stderr = Options {
        streams: vec![Stream::Stderr],
        tail: Some(2),
        ..all()
    };
    assert_eq!(shown(&stderr), ["a err line 7", "b err line 9"]);
    let both = Options {
        until: Some(second(5)),
        tail: Some(2),
        ..all()
    };
    assert_eq!(shown(&both), ten[3..5]);
    assert_eq!(show(dir.path(), &["b"], &all()).len(), 4);
    assert_eq!(logs::apps(dir.path()).unwrap(), [name("a"), name("b")]);
    assert_eq!(logs::apps(&dir.path().join("none")).unwrap(), []);
}

#[test]
fn the_tail_counts_lines_not_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), &name("a"), Limits::default()).unwrap();
    for (stream, bytes) in [
        (Stream::Stdout, "zero\n"),
        (Stream::Stdout, "o"),
        (Stream::Stderr, "err\n"),
        (Stream::Stdout, "ne"),
        (Stream::Stdout, " two\n"),
        (Stream::Stdout, "open"),
    ] {
        writer.write(stream, bytes.as_bytes(), second(0));
    }
    let tail = |lines| {
        show(
            dir.path(),
            &["a"],
            &Options {
                tail: Some(lines),
                ..all()
            },
        )
    };
    assert_eq!(tail(1), ["a Piece open"]);
    assert_eq!(tail(2), ["a err err", "a Piece open"]);
    assert_eq!(
        tail(3),
        [
            "a Piece o",
            "a err err",
            "a Piece ne",
            "a out  two",
            "a Piece open"
        ]
    );
    assert_eq!(tail(4).len(), 6);
}

/// Whoever does not follow is given what was there, however fast the app writes meanwhile.
#[test]
fn what_is_written_later_is_for_followers() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), &name("a"), limits(4096, 9)).unwrap();
    let mut write = |from: u32, to: u32| {
        for n in from..to {
            writer.write(Stream::Stdout, format!("{n}\n").as_bytes(), second(0));
        }
    };
    write(0, 30);
    let tail = |tail, follow| {
        let options = Options {
            tail,
            follow,
            ..all()
        };
        LogReader::open(dir.path(), &[name("a")], options).unwrap()
    };
    let mut readers = [tail(None, false), tail(Some(2), false), tail(Some(2), true)];
    // Over several files.
    write(30, 400);
    let line = |n: u32| format!("a out {n}");
    let [whole, last, followed] = readers.each_mut().map(drain);
    assert_eq!(whole, (0..30).map(line).collect::<Vec<_>>());
    assert_eq!(last, [line(28), line(29)]);
    assert_eq!(followed, (28..400).map(line).collect::<Vec<_>>());
}

#[test]
fn following_with_a_tail_begins_there_and_ends_with_the_pod() {
    let dir = two_apps();
    let options = Options {
        tail: Some(1),
        ..following()
    };
    let mut reader = LogReader::open(dir.path(), &[name("a"), name("b")], options).unwrap();
    let mut writer = LogWriter::open(dir.path(), &name("a"), limits(200, 9)).unwrap();
    let (mut looks, mut shown) = (0, Vec::new());
    let ended = || {
        looks += 1;
        // The last words before the end.
        writer.write(
            Stream::Stdout,
            format!("look {looks}\n").as_bytes(),
            second(20 + looks),
        );
        looks == 3
    };
    let each = |record: logs::Record<'_>| {
        shown.push(String::from_utf8_lossy(record.content).into_owned());
        ControlFlow::Continue(())
    };
    reader.follow(ended, each).unwrap();
    assert_eq!(shown, ["line 9", "look 1", "look 2", "look 3"]);
}

#[test]
fn a_follower_that_is_too_slow_is_warned() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), &name("a"), limits(100, 2)).unwrap();
    writer.write(Stream::Stdout, b"first\n", second(0));
    let mut reader = LogReader::open(dir.path(), &[name("a")], following()).unwrap();
    assert_eq!(drain(&mut reader), ["a out first"]);
    for i in 0..12 {
        writer.write(Stream::Stdout, format!("line {i}\n").as_bytes(), second(i));
    }
    let shown = drain(&mut reader);
    let gap = "a Gap the log was written faster than it was read; records may be missing here";
    assert_eq!(
        shown[0], "a out line 0",
        "the file that is held is read to its end"
    );
    assert_eq!(shown[1], gap);
    assert_eq!(
        shown[2..],
        ["a out line 9", "a out line 10", "a out line 11"].map(str::to_owned)[3 - (shown.len() - 2)..]
    );
    assert_eq!(drain(&mut reader), [""; 0]);
}

/// Whatever a crash has left of the last record, the whole ones are read, and the next writer continues behind them.
#[test]
fn half_a_record_is_never_in_front_of_a_good_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let open = || LogWriter::open(dir.path(), &name("a"), Limits::default()).unwrap();
    open().write(Stream::Stdout, b"one\ntwo\n", second(0));
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let records = whole[..length].iter().filter(|&&byte| byte == b'\n').count();
        let mut expected = ["a out one", "a out two"][..records].to_vec();
        let mut reader = LogReader::open(dir.path(), &[name("a")], following()).unwrap();
        assert_eq!(drain(&mut reader), expected, "{length} bytes");
        open().write(Stream::Stdout, b"more\n", second(1));
        assert_eq!(drain(&mut reader), ["a out more"], "{length} bytes, followed");
        expected.push("a out more");
        assert_eq!(show(dir.path(), &["a"], &all()), expected, "{length} bytes");
    }
}
