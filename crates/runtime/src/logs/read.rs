//! Reads the logs of one or several apps as one row of records, by time.
//!
//! ```text
//! lines of app A ─> record ┐
//! lines of app B ─> record ┴─> the earlier one ─> since, until, streams ─> tail ─> the caller
//! ```
//!
//! Each app's records keep their order, whatever their times say: clocks are set back. Its memory is a buffer per app,
//! whatever the files hold. It blocks only in [`LogReader::follow`].

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, SystemTime};

use isopod_spec::AppName;

use super::files::{Line, LogLines};
use super::record::{self, Kind, Parsed, Record};
use super::{LogError, Stream};

/// How often [`LogReader::follow`] looks for more where nothing else is said.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a [`Kind::Gap`] says.
const GAP: &[u8] = b"the log was written faster than it was read; records may be missing here";

/// Which records are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only what was written at this time or later.
    pub since: Option<SystemTime>,
    /// Only what was written before this time.
    pub until: Option<SystemTime>,
    /// Only the last so many lines of what is there, of all the apps together, and all that comes later.
    pub tail: Option<u64>,
    /// Only these streams. What is not the apps' own is always read.
    pub streams: Vec<Stream>,
    /// Whether records are read that are written, and files that are begun, after the reader was opened.
    pub follow: bool,
    /// How often [`LogReader::follow`] looks for more.
    pub look_every: Duration,
}

impl Default for Options {
    /// All of what is there.
    fn default() -> Self {
        Self {
            since: None,
            until: None,
            tail: None,
            streams: Stream::ALL.to_vec(),
            follow: false,
            look_every: LOOK_EVERY,
        }
    }
}

impl Options {
    fn wants(&self, head: &Head) -> bool {
        self.since.is_none_or(|since| head.time >= since)
            && self.until.is_none_or(|until| head.time < until)
            && (!matches!(head.kind, Kind::Line | Kind::Piece) || self.streams.contains(&head.stream))
    }
}

/// Reads the logs of one or several apps.
#[derive(Debug)]
pub struct LogReader {
    sources: Vec<Source>,
    options: Options,
    /// How many lines are still to be left out.
    skip: u64,
}

/// One app's records.
#[derive(Clone, Debug)]
struct Source {
    lines: LogLines,
    head: Option<Head>,
    /// The time of the record before.
    time: SystemTime,
    /// By stream, whether a line has begun, and whether it is shown.
    begun: [Option<bool>; 2],
}

/// The next record of a source.
type Head = Parsed;

impl LogReader {
    /// Opens the logs of `apps` in `dir`. A log that has not begun is empty.
    ///
    /// # Errors
    /// [`LogError`]: a file cannot be opened or, for [`Options::tail`], read.
    pub fn open(dir: &Path, apps: &[AppName], options: Options) -> Result<Self, LogError> {
        let sources = apps.iter().map(|app| Source::open(dir, app));
        let mut reader = Self {
            sources: sources.collect::<Result<_, _>>()?,
            options,
            skip: 0,
        };
        if let Some(tail) = reader.options.tail {
            // Counted first, so that nothing needs to be kept: reading again is cheaper than any amount of memory.
            let mut counter = Self {
                sources: reader.sources.clone(),
                options: Options {
                    follow: false,
                    ..reader.options.clone()
                },
                skip: u64::MAX,
            };
            while counter.read()?.is_some() {}
            reader.skip = (u64::MAX - counter.skip).saturating_sub(tail);
        }
        Ok(reader)
    }

    /// The next record; `None` when all that is there at present has been read. With [`Options::follow`] there may be
    /// more later.
    ///
    /// # Errors
    /// [`LogError`]: a file cannot be read.
    pub fn read(&mut self) -> Result<Option<Record<'_>>, LogError> {
        loop {
            for source in &mut self.sources {
                source.fill(self.options.follow)?;
            }
            let heads = self.sources.iter().enumerate();
            let heads = heads.filter_map(|(i, source)| Some((source.head.as_ref()?.time, i)));
            let Some((_, earliest)) = heads.min() else {
                return Ok(None);
            };
            let Some(head) = self.sources[earliest].head.take() else {
                return Ok(None);
            };
            if self.options.wants(&head) && self.sources[earliest].shows(&head, &mut self.skip) {
                return Ok(Some(self.sources[earliest].record(head)));
            }
        }
    }

    /// Gives every record to `each`, waits for more, and returns when `ended` says that there will be none and all has
    /// been read, or when `each` says so. Without [`Options::follow`] it returns when all that is there has been read.
    ///
    /// # Errors
    /// [`LogError`]: a file cannot be read.
    pub fn follow(
        &mut self,
        mut ended: impl FnMut() -> bool,
        mut each: impl FnMut(Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        loop {
            // Asked before the last look: what was written before the end is read.
            let last = ended() || !self.options.follow;
            while let Some(record) = self.read()? {
                if each(record).is_break() {
                    return Ok(());
                }
            }
            if last {
                return Ok(());
            }
            std::thread::sleep(self.options.look_every);
        }
    }

    /// How many bytes stand at the ends of the logs that are no whole record. When the pod has ended, a crash has torn
    /// them; otherwise they may be about to become one.
    #[must_use]
    pub fn unfinished_bytes(&self) -> usize {
        self.sources.iter().map(|source| source.lines.unfinished()).sum()
    }
}

impl Source {
    fn open(dir: &Path, app: &AppName) -> Result<Self, LogError> {
        Ok(Self {
            lines: LogLines::open(dir, app)?,
            head: None,
            time: SystemTime::UNIX_EPOCH,
            begun: [None; 2],
        })
    }

    /// Sees to it that there is a head, if there is anything to read.
    fn fill(&mut self, follow: bool) -> Result<(), LogError> {
        if self.head.is_some() {
            return Ok(());
        }
        let Some(line) = self.lines.next(follow)? else {
            return Ok(());
        };
        let odd = |kind, content| Head {
            time: self.time,
            stream: Stream::Stderr,
            kind,
            content,
        };
        let head = match line {
            Line::Gap => odd(Kind::Gap, 0..0),
            Line::Torn(range) => odd(Kind::Damaged, range),
            Line::Whole(range) => match record::parse(self.lines.bytes(range.clone())) {
                Some(head) => Head {
                    content: range.start + head.content.start..range.start + head.content.end,
                    ..head
                },
                None => odd(Kind::Damaged, range),
            },
        };
        self.time = head.time;
        self.head = Some(head);
        Ok(())
    }

    /// Whether a record belongs to a line that is shown; the first record of a line decides.
    fn shows(&mut self, head: &Head, skip: &mut u64) -> bool {
        let mut line_begins = || {
            let skipped = *skip > 0;
            *skip = skip.saturating_sub(1);
            !skipped
        };
        let begun = &mut self.begun[head.stream as usize];
        match head.kind {
            Kind::Piece => *begun.get_or_insert_with(line_begins),
            Kind::Line => begun.take().unwrap_or_else(line_begins),
            Kind::Lost | Kind::Damaged | Kind::Gap => line_begins(),
        }
    }

    fn record(&self, head: Head) -> Record<'_> {
        Record {
            app: self.lines.app(),
            time: head.time,
            stream: head.stream,
            kind: head.kind,
            content: match head.kind {
                Kind::Gap => GAP,
                _ => self.lines.bytes(head.content),
            },
        }
    }
}
