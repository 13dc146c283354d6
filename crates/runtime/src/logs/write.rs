//! Writes an app's log. It never fails and never waits for room: what cannot be written is counted.
//!
//! ```text
//! write ─> batch of records ─> [rotate] ─> append ─> done
//!                                 │          │
//!                                 └── fails ─┴─> cut back to the last whole record, count what is lost
//!                                                 next write: cut, rotate, say how much is missing, continue
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use isopod_spec::AppName;

use super::record::{self, Heads};
use super::{Limits, LogError, MAX_PIECE_BYTES, Stream, file};

/// How much is given to the system at a time, in bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// Writes an app's log.
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    app: AppName,
    limits: Limits,
    /// What is written; none when the next one could not be made.
    file: Option<File>,
    /// How long the file is, up to the last whole record.
    length: u64,
    /// There may be half a record behind `length`.
    torn: bool,
    /// The next record is another file's.
    full: bool,
    /// Records that are not written yet; empty between two calls.
    batch: Vec<u8>,
    /// By stream, what is missing and has not been said in the log.
    missing: [u64; 2],
    /// All that was ever lost.
    lost_bytes: u64,
    /// Why nothing can be written at present.
    outage: Option<Outage>,
    /// Whether the outage was reported to the caller.
    reported: bool,
}

/// Nothing could be written, and the app's output was lost since.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the log of `{app}`; what it writes is lost until that works again")]
pub struct Outage {
    pub app: AppName,
    pub source: io::Error,
}

impl Outage {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
        .then(|| {
            "make room on the disk that holds the pods (`--dir`); the log continues by itself then".into()
        })
    }
}

impl LogWriter {
    /// Opens the log of `app` in `dir`, which is made (mode 0700) where it is not there; continues behind the last whole
    /// record that is there.
    ///
    /// # Errors
    /// [`LogError`]: the directory or the file cannot be made.
    pub fn open(dir: &Path, app: &AppName, limits: Limits) -> Result<Self, LogError> {
        let path = file(dir, app, 0);
        let failed = |action| {
            let path = path.clone();
            move |source| LogError { action, path, source }
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(failed("make the directory of"))?;
        let opened = open(&path).map_err(failed("open"))?;
        let length = whole_records(&opened).map_err(failed("read"))?;
        let mut writer = Self {
            dir: dir.to_owned(),
            app: app.clone(),
            limits,
            file: Some(opened),
            length,
            torn: true,
            full: false,
            batch: Vec::new(),
            missing: [0; 2],
            lost_bytes: 0,
            outage: None,
            reported: false,
        };
        writer.cut().map_err(failed("shorten"))?;
        writer.remove_surplus();
        Ok(writer)
    }

    /// Writes what the app wrote to `stream`, split into lines, all of it at once.
    ///
    /// It never fails: see [`LogWriter::lost`].
    pub fn write(&mut self, stream: Stream, bytes: &[u8], now: SystemTime) {
        let heads = Heads::new(now, stream);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (line, ends) = match memchr::memchr(b'\n', rest) {
                Some(end) => (&rest[..end], true),
                None => (rest, false),
            };
            let (content, ends) = match line.split_at_checked(MAX_PIECE_BYTES) {
                Some((piece, more)) if !more.is_empty() => (piece, false),
                _ => (line, ends),
            };
            rest = &rest[content.len() + usize::from(ends)..];
            self.add(&heads, ends, content, now);
        }
        self.flush(now);
    }

    /// Says once per outage that, and why, the log cannot be written.
    pub fn lost(&mut self) -> Option<&Outage> {
        let outage = self.outage.as_ref().filter(|_| !self.reported)?;
        self.reported = true;
        Some(outage)
    }

    /// How many bytes of the app were lost since this was opened.
    #[must_use]
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// Adds a record to the batch, which is written before that where there is no room for it.
    fn add(&mut self, heads: &Heads, ends_line: bool, content: &[u8], now: SystemTime) {
        let record = heads.record_bytes(content);
        let of_file = if self.full { 0 } else { self.length } + self.batch.len() as u64;
        let overflows = of_file > 0 && of_file + record as u64 > self.limits.file_bytes;
        if overflows || self.batch.len() + record > BATCH_BYTES {
            self.flush(now);
            self.full |= overflows;
        }
        heads.append(ends_line, content, &mut self.batch);
    }

    /// Writes the batch, or counts it as lost.
    fn flush(&mut self, now: SystemTime) {
        let mut batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return;
        }
        let (written, result) = match self.recover(now) {
            Ok(()) => self.append(&batch),
            Err(error) => (0, Err(error)),
        };
        match result {
            Ok(()) => self.outage = None,
            Err(source) => {
                let lost = record::count_output(&batch[written..]);
                for (missing, lost) in self.missing.iter_mut().zip(lost) {
                    *missing += lost;
                    self.lost_bytes += lost;
                }
                self.reported &= self.outage.is_some();
                let app = self.app.clone();
                self.outage = Some(Outage { app, source });
            }
        }
        batch.clear();
        self.batch = batch;
    }

    /// Does what an earlier failure left undone, begins the next file when it is time, says what is missing.
    fn recover(&mut self, now: SystemTime) -> io::Result<()> {
        self.cut()?;
        if self.full {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.file = Some(open(&file(&self.dir, &self.app, 0))?);
        }
        for stream in Stream::ALL {
            let missing = self.missing[stream as usize];
            if missing > 0 {
                let why = self.outage.as_ref().map(|outage| outage.source.to_string());
                self.append(&record::lost(now, stream, missing, &why.unwrap_or_default()))
                    .1?;
                self.missing[stream as usize] = 0;
            }
        }
        Ok(())
    }

    /// Appends records; gives how many bytes of them are whole records in the file now.
    fn append(&mut self, records: &[u8]) -> (usize, io::Result<()>) {
        let Some(file) = &self.file else {
            return (0, Err(io::ErrorKind::NotFound.into()));
        };
        let mut written = 0;
        let result = loop {
            if written == records.len() {
                break Ok(());
            }
            match file.write_at(&records[written..], self.length + written as u64) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let whole = memchr::memrchr(b'\n', &records[..written]).map_or(0, |end| end + 1);
        self.length += whole as u64;
        if result.is_err() {
            self.torn = true;
            // What fails here is tried again before the next record.
            let _ = self.cut();
        }
        (whole, result)
    }

    /// Removes what may stand behind the last whole record.
    fn cut(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.as_ref().filter(|_| self.torn) {
            file.set_len(self.length)?;
        }
        self.torn = false;
        Ok(())
    }

    /// Renames each file to the next number, over the one that has it. There is no file to write then.
    fn rotate(&mut self) -> io::Result<()> {
        let name = |number| file(&self.dir, &self.app, number);
        for number in (0..self.limits.files.saturating_sub(1)).rev() {
            allow_missing(fs::rename(name(number), name(number + 1)))?;
        }
        if self.limits.files <= 1 {
            allow_missing(fs::remove_file(name(0)))?;
        }
        (self.file, self.length, self.full) = (None, 0, false);
        Ok(())
    }

    /// Removes files that were kept under larger limits.
    fn remove_surplus(&self) {
        for number in self.limits.files.max(1).. {
            if fs::remove_file(file(&self.dir, &self.app, number)).is_err() {
                return;
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    options.custom_flags(nofollow).open(path)
}

fn allow_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// How long `file` is up to its last line's end: what a crash left half is behind that.
fn whole_records(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; BATCH_BYTES];
    while end > 0 {
        let begin = end.saturating_sub(BATCH_BYTES as u64);
        let block = &mut block[..usize::try_from(end - begin).unwrap_or(BATCH_BYTES)];
        file.read_exact_at(block, begin)?;
        if let Some(last) = memchr::memrchr(b'\n', block) {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}
