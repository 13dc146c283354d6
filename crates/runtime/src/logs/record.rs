//! One record: a head and a content, as bytes and as a value. No file is touched here.

use std::io::{self, Write};
use std::ops::Range;
use std::time::SystemTime;

use isopod_spec::AppName;

use super::Stream;
use super::stamp::{self, STAMP_BYTES, parse_stamp};

/// The tag of a record that says how much is missing, the first one left out.
const LOST: &[u8] = b"lost";

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The end of a line, or a whole one.
    Line,
    /// A piece of a line that the stream's next record continues.
    Piece,
    /// The writer's word on what is missing here.
    Lost,
    /// Something that is no record, shown as it is: what a crash has left.
    Damaged,
    /// Files were removed before they were read: something may be missing here. The content says so in words.
    Gap,
}

/// One record of an app's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub app: &'a AppName,
    /// When the supervisor read it; of what is [`Kind::Damaged`] or a [`Kind::Gap`], the time of the record before.
    pub time: SystemTime,
    /// The stream; standard error for what is not the app's.
    pub stream: Stream,
    pub kind: Kind,
    /// The content without a line's end. The app's bytes, which may be anything, also control characters.
    pub content: &'a [u8],
}

impl Record<'_> {
    /// Whether these are bytes of the app, and not a word about them.
    #[must_use]
    pub fn is_output(&self) -> bool {
        matches!(self.kind, Kind::Line | Kind::Piece)
    }

    /// Writes the app's bytes exactly as it wrote them, the line's end included where it has one.
    ///
    /// # Errors
    /// What `out` failed with.
    pub fn write_content(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(self.content)?;
        match self.kind {
            Kind::Piece => Ok(()),
            _ => out.write_all(b"\n"),
        }
    }
}

/// What stands before the content of `stream`'s records of a moment, by whether they end their line.
pub(super) struct Heads {
    line: Vec<u8>,
    piece: Vec<u8>,
}

impl Heads {
    pub(super) fn new(time: SystemTime, stream: Stream) -> Self {
        Self {
            line: head(time, stream, b"F"),
            piece: head(time, stream, b"P"),
        }
    }

    /// Appends a record. The content has no line's end in it.
    pub(super) fn append(&self, ends_line: bool, content: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(if ends_line { &self.line } else { &self.piece });
        out.extend_from_slice(content);
        out.push(b'\n');
    }

    /// How long a record is.
    pub(super) fn record_bytes(&self, content: &[u8]) -> usize {
        self.line.len() + content.len() + 1
    }
}

/// The record that says that `bytes` of `stream` are missing.
pub(super) fn lost(time: SystemTime, stream: Stream, bytes: u64, why: &str) -> Vec<u8> {
    let mut record = head(time, stream, b"F:lost");
    // A message of the operating system's; it stays on its line.
    let why: String = why.escape_debug().collect();
    record.extend_from_slice(format!("{bytes} bytes are missing here: {why}\n").as_bytes());
    record
}

fn head(time: SystemTime, stream: Stream, tag: &[u8]) -> Vec<u8> {
    let stamp = stamp::bytes(time);
    [&stamp, stream.as_str().as_bytes(), tag, b""].join(&b' ')
}

/// Where in a line what is.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) time: SystemTime,
    pub(super) stream: Stream,
    pub(super) kind: Kind,
    pub(super) content: Range<usize>,
}

/// Reads a line without its end; `None` where it is no record.
pub(super) fn parse(line: &[u8]) -> Option<Parsed> {
    let (time, rest) = line.split_at_checked(STAMP_BYTES)?;
    let rest = rest.strip_prefix(b" ")?;
    let (stream, rest) = Stream::ALL
        .into_iter()
        .find_map(|stream| Some((stream, rest.strip_prefix(stream.as_str().as_bytes())?)))?;
    let rest = rest.strip_prefix(b" ")?;
    let tags_end = memchr::memchr(b' ', rest)?;
    let (tags, content) = (&rest[..tags_end], &rest[tags_end + 1..]);
    let mut tags = tags.split(|&byte| byte == b':');
    let kind = match (tags.next()?, tags.next()) {
        (b"F", Some(LOST)) => Kind::Lost,
        (b"F", _) => Kind::Line,
        (b"P", _) => Kind::Piece,
        _ => return None,
    };
    Some(Parsed {
        time: parse_stamp(time)?,
        stream,
        kind,
        content: line.len() - content.len()..line.len(),
    })
}

/// How many bytes of the app's the records in `bytes` hold, by stream; records of ours hold none.
pub(super) fn count_output(bytes: &[u8]) -> [u64; 2] {
    let mut counts = [0; 2];
    for parsed in bytes.split(|&byte| byte == b'\n').filter_map(parse) {
        let ends = match parsed.kind {
            Kind::Line => 1,
            Kind::Piece => 0,
            _ => continue,
        };
        counts[parsed.stream as usize] += parsed.content.len() as u64 + ends;
    }
    counts
}
