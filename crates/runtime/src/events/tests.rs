//! Events there and back: several writers, rotation, torn and foreign lines.

use std::fs;

use proptest::prelude::*;

use super::*;

fn log(dir: &Path, file_bytes: u64) -> EventLog {
    EventLog {
        file_bytes,
        ..EventLog::below(dir)
    }
}

fn event(uuid: &str, restarts: u32) -> Event {
    let mut event = Event::now(EventKind::AppRestarting, uuid, None);
    event.restarts = Some(restarts);
    event.app = Some(AppName::new("a").unwrap());
    event
}

/// All events that are there, and how many lines were left out.
fn all(log: &EventLog) -> (Vec<Event>, u64) {
    let mut reader = log.read().unwrap();
    let mut found = Vec::new();
    while let Some(event) = reader.next_event().unwrap() {
        found.push(event);
    }
    (found, reader.skipped())
}

#[test]
fn words_are_those_of_json() {
    for kind in EventKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
}

#[test]
fn the_format() {
    let mut event = event("u", 2);
    event.time_ms = 5;
    event.name = Some(PodName::new("web").unwrap());
    event.reason = Some("x\n".to_owned() + &"é".repeat(4000));
    let line = String::from_utf8(event.line().unwrap()).unwrap();
    let begins = r#"{"version":1,"timeMs":5,"type":"app-restarting","uuid":"u","name":"web","app":"a","restarts":2,"reason":"x\n"#;
    assert!(
        line.starts_with(begins) && line.ends_with("é\"}\n") && line.len() < 4300,
        "{line}"
    );
}

#[test]
fn many_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // Some 800 events of 95 bytes fill a file and a half: it is rotated once, under way.
    let log = log(dir.path(), 50_000);
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let log = &log;
            scope.spawn(move || (0..100).for_each(|i| log.append(&event(&writer.to_string(), i)).unwrap()));
        }
    });
    let (found, skipped) = all(&log);
    assert_eq!((found.len(), skipped), (800, 0));
    for writer in 0..8 {
        let of = found.iter().filter(|event| event.uuid == writer.to_string());
        let counts: Vec<_> = of.filter_map(|event| event.restarts).collect();
        assert!(counts.iter().copied().eq(0..100), "in order: {counts:?}");
    }
    assert!(log.older().exists());
}

#[test]
fn its_size_is_bounded_and_who_follows_sees_all() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path(), 2000);
    let mut reader = log.read().unwrap();
    for i in 0..500 {
        log.append(&event("u", i)).unwrap();
        assert_eq!(
            reader.next_event().unwrap().and_then(|event| event.restarts),
            Some(i)
        );
        assert_eq!(reader.next_event().unwrap(), None);
    }
    let bytes: u64 = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes <= 6000, "{bytes}");
    let (found, skipped) = all(&log);
    assert!(found.len() > 20 && skipped == 0, "{} {skipped}", found.len());
    assert_eq!(found.last().and_then(|event| event.restarts), Some(499));
}

/// A pod whose health flaps for days has its own older events pushed out, and no others'.
#[test]
fn a_pod_pushes_out_its_own_events() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path(), 64 * 1024);
    let life = |uuid: &str, count| (0..count).for_each(|i| log.append(&event(uuid, i)).unwrap());
    life("calm", 4);
    for round in 0..10 {
        life("noisy", 1000);
        life(&format!("other-{round}"), 2);
    }
    let (found, skipped) = all(&log);
    assert_eq!(skipped, 0);
    let of = |uuid: &str| found.iter().filter(|event| event.uuid == uuid).count();
    assert_eq!(of("calm"), 4);
    assert!((0..10).all(|round| of(&format!("other-{round}")) == 2));
    assert!((500..3000).contains(&of("noisy")), "{}", of("noisy"));
    assert!(found.is_sorted_by_key(|event| event.time_ms));
}

#[test]
fn a_stopped_writer_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path(), FILE_BYTES);
    let _held = log.locked().unwrap();
    let begun = Instant::now();
    log.append(&event("u", 1)).unwrap();
    assert!(begun.elapsed() < LOCK_PATIENCE * 10);
    assert_eq!(all(&log).0.len(), 1);
}

#[test]
fn what_is_torn_or_foreign_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path(), FILE_BYTES);
    log.append(&event("u", 1)).unwrap();
    let whole = event("u", 2).line().unwrap();
    let foreign = b"{\"version\":2,\"type\":\"born\"}\n";
    let torn = &whole[..20];
    let long = vec![b'x'; 200_000];
    let text = [foreign, &long[..], b"\n\xff\n", &whole, torn].concat();
    fs::OpenOptions::new()
        .append(true)
        .open(&log.path)
        .unwrap()
        .write_all(&text)
        .unwrap();
    log.append(&event("u", 3)).unwrap();
    let (found, skipped) = all(&log);
    let counts: Vec<_> = found.iter().filter_map(|event| event.restarts).collect();
    assert_eq!((counts, skipped), (vec![1, 2, 3], 4));
}

proptest! {
    /// However the bytes come, and whatever stands between: every whole line comes out, once, in order.
    #[test]
    fn lines_survive_any_cut(
        pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..80)), 0..20),
        cuts in prop::collection::vec(1_usize..60, 1..40),
    ) {
        let mut bytes = Vec::new();
        let mut whole = 0;
        for (torn, junk) in &pieces {
            bytes.extend(junk.iter().map(|byte| if *byte == b'{' { b'x' } else { *byte }));
            let line = event("u", whole).line().unwrap();
            if *torn {
                bytes.extend(&line[..line.len() / 2]);
            }
            bytes.push(b'\n');
            bytes.extend(line);
            whole += 1;
        }
        let mut lines = read::LineSplitter::default();
        let mut found = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at((*cut).min(rest.len()));
            rest = more;
            lines.push(piece);
            while let Some(line) = lines.next_line() {
                found.extend(serde_json::from_slice::<Event>(&line).ok().and_then(|event| event.restarts));
            }
        }
        prop_assert!(found.into_iter().eq(0..whole));
        prop_assert!(!lines.cut());
    }
}
