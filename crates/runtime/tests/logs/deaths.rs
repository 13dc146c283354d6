//! Writers that are killed, and disks that are full: the test runs this program once more.

use super::*;

/// Runs `test` of this program as a process of its own, which `wrapper` starts.
fn process(wrapper: &[&str], test: &str, dir: &Path) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut words = wrapper.iter().map(std::ffi::OsStr::new).chain([this.as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DIR_VARIABLE, dir);
    command
}

#[test]
fn a_killed_writer_leaves_whole_records() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..25_u64 {
        let mut child = process(&[], "deaths::writes_until_it_is_killed", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let begun = said.find(|line| line == "begun");
        assert!(begun.is_some(), "the writer did not begin");
        std::thread::sleep(Duration::from_micros(round * 700));
        child.kill().unwrap();
        let written = said.filter_map(|line| line.parse::<u64>().ok()).last();
        child.wait().unwrap();
        let shown = show(dir.path(), &["a"], &all());
        let mut numbers = shown.iter().map(|line| {
            let (number, rest) = line.strip_prefix("a out ").unwrap().split_once(' ').unwrap();
            let number = number.parse::<u64>().unwrap();
            assert_eq!(rest.len() as u64, number % 997, "a whole record");
            number
        });
        let first = numbers.next().unwrap_or(0);
        let last = numbers.fold(first, |before, number| {
            assert_eq!(number, before + 1);
            number
        });
        assert!(
            written.is_none_or(|written| last >= written),
            "{written:?} of {last}"
        );
        fs::remove_dir_all(dir.path()).unwrap();
    }
}

#[test]
#[ignore = "the process that `a_killed_writer_leaves_whole_records` kills"]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else {
        return;
    };
    let mut writer = LogWriter::open(Path::new(&dir), &name("a"), limits(100_000, 3)).unwrap();
    println!("\nbegun");
    for number in 0..100_000_u64 {
        let filler = "x".repeat(usize::try_from(number % 997).unwrap());
        writer.write(
            Stream::Stdout,
            format!("{number} {filler}\n").as_bytes(),
            SystemTime::now(),
        );
        println!("{number}");
    }
}

/// On a small file system in a mount namespace of its own, which ends with the process.
#[test]
fn a_full_disk_costs_what_is_said_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=256k none \"$ISOPOD_TEST_LOG_DIR\" && exec \"$@\"";
    let wrapper = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"];
    let output = process(&wrapper, "deaths::writes_to_a_full_disk", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
#[ignore = "the process of `a_full_disk_costs_what_is_said_and_nothing_else`"]
fn writes_to_a_full_disk() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else {
        return;
    };
    let dir = Path::new(&dir);
    fs::write(dir.join("ballast"), vec![1; 64 * 1024]).unwrap();
    let mut writer = LogWriter::open(dir, &name("a"), Limits::default()).unwrap();
    let (mut written, mut reported) = (0, Vec::new());
    for number in 0..4_400_u64 {
        if number == 4_000 {
            fs::remove_file(dir.join("ballast")).unwrap();
        }
        let line = format!("{number} {}\n", "x".repeat(usize::try_from(number % 97).unwrap()));
        writer.write(stream(number % 3 == 0), line.as_bytes(), second(number));
        reported.extend(writer.lost().map(|outage| outage.source.kind()));
        written += line.len();
    }
    // A disk that is nearly full takes a short record now and then.
    assert!(!reported.is_empty() && reported.len() < 5, "{reported:?}");
    assert!(
        reported
            .iter()
            .all(|kind| *kind == std::io::ErrorKind::StorageFull),
        "{reported:?}"
    );
    let mut reader = LogReader::open(dir, &[name("a")], all()).unwrap();
    let (mut read, mut missing, mut last) = (0, 0, None);
    while let Some(record) = reader.read().unwrap() {
        let text = std::str::from_utf8(record.content).unwrap();
        let number = text.split(' ').next().unwrap().parse::<u64>().unwrap();
        match record.kind {
            Kind::Line => {
                read += text.len() + 1;
                assert!(last < Some(number), "{number} after {last:?}");
                last = Some(number);
            }
            Kind::Lost => {
                assert!(
                    text.ends_with(" bytes are missing here: No space left on device (os error 28)"),
                    "{text}"
                );
                missing += number;
            }
            kind => panic!("{kind:?}: {text}"),
        }
    }
    assert_eq!((missing, last), (writer.lost_bytes(), Some(4_399)));
    assert_eq!(read as u64 + missing, written as u64);
    assert!(missing > 50_000, "{missing}");
    assert_eq!(reader.unfinished_bytes(), 0);
}
