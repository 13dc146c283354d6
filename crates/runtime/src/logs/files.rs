//! One app's log as a row of lines, across its files, also while they are written and rotated.
//!
//! ```text
//! APP.log.2 ─> APP.log.1 ─> APP.log ─> (end; is APP.log another file by now?) ─> the files that came since, oldest first
//! ```
//!
//! Every file is held by its descriptor: renaming does not disturb who reads it. It never decides what a line means.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isopod_spec::AppName;

use super::{LogError, MAX_PIECE_BYTES, file};

/// What a reader holds of a file, in bytes: several of the longest records.
const BUFFER_BYTES: usize = 8 * MAX_PIECE_BYTES;

/// How many numbers without a file end the search for older ones. While files are renamed, one number is missing.
const MISSING_NUMBERS: u32 = 2;

/// A line, as a place in the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end.
    Whole(Range<usize>),
    /// A part of a line that is too long, or that ends with its file.
    Torn(Range<usize>),
    /// Files were removed before they were read.
    Gap,
}

#[derive(Clone, Debug)]
struct Open {
    file: Arc<File>,
    /// Device and inode: who it is, whatever its name.
    id: (u64, u64),
    /// Its length when it was opened.
    end: u64,
}

/// One app's log as a row of lines. A clone reads the same files from the same place.
#[derive(Clone, Debug)]
pub(super) struct LogLines {
    dir: PathBuf,
    app: AppName,
    current: Option<Open>,
    /// Younger files, oldest first.
    next: VecDeque<Open>,
    buffer: Vec<u8>,
    /// What of the buffer has not been given out yet; it begins with a line's start.
    rest: Range<usize>,
    /// Where in the file the buffer begins.
    position: u64,
    /// Between the current file and the next there may have been others.
    gap: bool,
    /// Where the line began of which a part has been given out, because it is longer than any record.
    long_line: Option<u64>,
}

impl LogLines {
    /// Opens all files that are there; a log that has not begun has none.
    pub(super) fn open(dir: &Path, app: &AppName) -> Result<Self, LogError> {
        let mut lines = Self {
            dir: dir.to_owned(),
            app: app.clone(),
            current: None,
            next: VecDeque::new(),
            buffer: vec![0; BUFFER_BYTES],
            rest: 0..0,
            position: 0,
            gap: false,
            long_line: None,
        };
        lines.find_younger()?;
        Ok(lines)
    }

    pub(super) fn app(&self) -> &AppName {
        &self.app
    }

    /// The bytes of a line, until the next is asked for.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// The next line; `None` at the end of the youngest file. A line that has no end yet is not given out: it is being
    /// written, or a crash has torn it. Only with `follow` is there anything that was written since the files were opened.
    pub(super) fn next(&mut self, follow: bool) -> Result<Option<Line>, LogError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[self.rest.clone()]) {
                let line = self.rest.start..self.rest.start + end;
                self.rest.start = line.end + 1;
                self.long_line = None;
                return Ok(Some(Line::Whole(line)));
            }
            if self.rest.len() == self.buffer.len() {
                self.long_line.get_or_insert(self.position);
                return Ok(Some(Line::Torn(self.take_rest())));
            }
            if self.fill(follow)? {
                continue;
            }
            if self.next.is_empty() && follow {
                self.find_younger()?;
                // Something may have been written between the end that was read and the rotation.
                if !self.next.is_empty() && self.fill(follow)? {
                    continue;
                }
            }
            if self.next.is_empty() {
                return Ok(None);
            }
            if !self.rest.is_empty() {
                return Ok(Some(Line::Torn(self.take_rest())));
            }
            self.current = self.next.pop_front();
            (self.rest, self.position, self.long_line) = (0..0, 0, None);
            if std::mem::take(&mut self.gap) {
                return Ok(Some(Line::Gap));
            }
        }
    }

    /// How many bytes of a line without an end stand at the end of the youngest file.
    pub(super) fn unfinished(&self) -> usize {
        self.rest.len()
    }

    fn take_rest(&mut self) -> Range<usize> {
        let rest = self.rest.clone();
        self.rest.start = self.rest.end;
        rest
    }

    /// Reads on. The line that has begun is read once more from its start: a writer that found no room for the rest of
    /// a record removes its beginning. Says whether there is anything new.
    fn fill(&mut self, follow: bool) -> Result<bool, LogError> {
        let Some(current) = &self.current else {
            return Ok(false);
        };
        self.position += self.rest.start as u64;
        let had = self.rest.len();
        if let Some(begin) = self.long_line
            && current
                .file
                .metadata()
                .map_err(failed("read", &file(&self.dir, &self.app, 0)))?
                .len()
                < self.position
        {
            // It was no record, and the next writer removed it.
            (self.position, self.long_line) = (begin, None);
        }
        let room = match follow {
            true => self.buffer.len(),
            false => usize::try_from(current.end.saturating_sub(self.position))
                .map_or(self.buffer.len(), |left| left.min(self.buffer.len())),
        };
        let mut read = 0;
        while read < room {
            match current
                .file
                .read_at(&mut self.buffer[read..room], self.position + read as u64)
            {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(failed("read", &file(&self.dir, &self.app, 0))(source)),
            }
        }
        self.rest = 0..read;
        Ok(read > had || memchr::memchr(b'\n', &self.buffer[..read]).is_some())
    }

    /// Opens the files that are younger than the current one, youngest first: so a rotation meanwhile shows a file
    /// twice, which is seen, and hides none.
    fn find_younger(&mut self) -> Result<(), LogError> {
        let known = self.current.as_ref().map(|current| current.id);
        let mut met = false;
        let mut missing = 0;
        for number in 0.. {
            let Some(found) = open(&file(&self.dir, &self.app, number))? else {
                missing += 1;
                if missing == MISSING_NUMBERS {
                    break;
                }
                continue;
            };
            missing = 0;
            if Some(found.id) == known {
                met = true;
                break;
            }
            if self.next.iter().all(|other| other.id != found.id) {
                self.next.push_front(found);
            }
        }
        self.gap |= known.is_some() && !met && !self.next.is_empty();
        Ok(())
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
    let path = path.to_owned();
    move |source| LogError { action, path, source }
}

/// Opens a file for reading; nothing where there is none.
fn open(path: &Path) -> Result<Option<Open>, LogError> {
    let mut options = File::options();
    options.read(true);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed("open", path))?,
    };
    let metadata = file.metadata().map_err(failed("open", path))?;
    Ok(Some(Open {
        file: Arc::new(file),
        id: (metadata.dev(), metadata.ino()),
        end: metadata.len(),
    }))
}
