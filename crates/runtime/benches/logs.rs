//! How fast logs are written and read: `cargo bench -p isopod-runtime --bench logs`. Lines of 100 bytes; the figures are
//! the apps' bytes, without the records' heads. The files are in the page cache.
#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first surprise")]

use std::path::Path;
use std::time::SystemTime;

use divan::counter::BytesCount;
use isopod_runtime::logs::{Limits, LogReader, LogWriter, Options, Stream};
use isopod_spec::AppName;

/// What is written or read in one go; it stays within the default limits.
const TOTAL_BYTES: usize = 16 << 20;
const LINE_BYTES: usize = 100;
/// What the supervisor reads of an app at a time.
const CHUNK_BYTES: usize = 32 * 1024;

fn main() {
    divan::main();
}

fn app() -> AppName {
    AppName::new("app").unwrap()
}

fn lines() -> Vec<u8> {
    let mut lines = vec![b'x'; TOTAL_BYTES];
    lines
        .iter_mut()
        .skip(LINE_BYTES - 1)
        .step_by(LINE_BYTES)
        .for_each(|byte| *byte = b'\n');
    lines
}

fn write(dir: &Path, lines: &[u8], chunk: usize) {
    let mut writer = LogWriter::open(dir, &app(), Limits::default()).unwrap();
    for piece in lines.chunks(chunk) {
        writer.write(Stream::Stdout, piece, SystemTime::now());
    }
    assert_eq!(writer.lost_bytes(), 0);
}

fn read(dir: &Path, options: &Options) -> usize {
    let mut reader = LogReader::open(dir, &[app()], options.clone()).unwrap();
    let mut bytes = 0;
    while let Some(record) = reader.read().unwrap() {
        bytes += record.content.len() + 1;
    }
    bytes
}

#[divan::bench(args = [CHUNK_BYTES, LINE_BYTES], sample_count = 10, sample_size = 1)]
fn writer(bencher: divan::Bencher, chunk: usize) {
    let lines = lines();
    bencher
        .counter(BytesCount::new(TOTAL_BYTES))
        .with_inputs(|| tempfile::tempdir().unwrap())
        .bench_values(|dir| {
            write(dir.path(), &lines, chunk);
            dir
        });
}

#[divan::bench(args = ["all", "tail"], sample_count = 10, sample_size = 1)]
fn reader(bencher: divan::Bencher, what: &str) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &lines(), CHUNK_BYTES);
    let tail = (what == "tail").then_some(10);
    let options = Options {
        tail,
        ..Options::default()
    };
    bencher
        .counter(BytesCount::new(TOTAL_BYTES))
        .bench(|| read(dir.path(), &options));
}
