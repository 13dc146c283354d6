//! Reads events: the older files, then the newest, then what comes. It waits for nothing; who follows asks again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};

use super::{Event, EventError, EventLog, Identity, VERSION, identity, identity_of};

/// A longer line is none of ours.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// What is read at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Reads events.
#[derive(Debug)]
pub struct EventReader {
    log: EventLog,
    /// The files that are there, the oldest first, the one that is read among them.
    files: VecDeque<(Identity, File)>,
    lines: LineSplitter,
    skipped: u64,
}

impl EventReader {
    pub(super) fn open(log: &EventLog) -> Result<Self, EventError> {
        let mut reader = Self {
            log: log.clone(),
            files: VecDeque::new(),
            lines: LineSplitter::default(),
            skipped: 0,
        };
        reader.look(None).map_err(|source| log.error("read", source))?;
        Ok(reader)
    }

    /// Finds the files that are newer than `read`.
    fn look(&mut self, read: Option<Identity>) -> io::Result<()> {
        let open = |path| match File::open(path) {
            Ok(file) => Ok(Some((identity_of(&file)?, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        // The newer ones first: should one become the older meanwhile, none is left out.
        let newer = open(self.log.path.clone())?;
        let older = open(self.log.older())?;
        // What is in it was in the older one before, which who reads on has read.
        let oldest = match read {
            None => open(self.log.oldest())?,
            Some(_) => None,
        };
        let found = [oldest, older, newer].into_iter().flatten();
        for (identity, file) in found {
            if Some(identity) != read && self.files.iter().all(|(known, _)| *known != identity) {
                self.files.push_back((identity, file));
            }
        }
        Ok(())
    }

    /// The next event; `None` when all that are there have been read.
    ///
    /// # Errors
    /// [`EventError`].
    pub fn next_event(&mut self) -> Result<Option<Event>, EventError> {
        let failed = |log: &EventLog, source| log.error("read", source);
        loop {
            while let Some(line) = self.lines.next_line() {
                match serde_json::from_slice::<Event>(&line) {
                    Ok(event) if event.version == VERSION => return Ok(Some(event)),
                    _ => self.skipped += 1,
                }
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(source) => return Err(failed(&self.log, source)),
            }
        }
    }

    /// How many lines were left out: torn ones, and those of another version of isopod.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Reads on; whether there was anything.
    fn fill(&mut self) -> io::Result<bool> {
        loop {
            let known = self.files.len();
            let Some((current, file)) = self.files.front_mut() else {
                self.look(None)?;
                if self.files.is_empty() {
                    return Ok(false);
                }
                continue;
            };
            let current = *current;
            // Asked before the last look: what was written before the file was renamed is read.
            let written = known == 1 && {
                let there = identity(&self.log.path)?;
                there.is_none() || there == Some(current)
            };
            let mut piece = vec![0; PIECE_BYTES];
            let n = file.read(&mut piece)?;
            if n > 0 {
                self.lines.push(&piece[..n]);
                return Ok(true);
            }
            if written {
                return Ok(false);
            }
            if known == 1 {
                self.look(Some(current))?;
                if self.files.len() == 1 {
                    return Ok(false);
                }
            }
            self.skipped += u64::from(self.lines.cut());
            self.files.pop_front();
        }
    }
}

/// Bytes in, whole lines out.
#[derive(Debug, Default)]
pub(super) struct LineSplitter {
    buffer: Vec<u8>,
    /// How much of the buffer holds no line's end.
    searched: usize,
    /// Whether the line that continues is too long, and its beginning was thrown away.
    too_long: bool,
}

impl LineSplitter {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line without its end; of one that is too long, nothing.
    pub(super) fn next_line(&mut self) -> Option<Vec<u8>> {
        match memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            Some(at) => {
                let mut line: Vec<u8> = self.buffer.drain(..=self.searched + at).collect();
                line.pop();
                self.searched = 0;
                if std::mem::take(&mut self.too_long) || line.len() > MAX_LINE_BYTES {
                    line.clear();
                }
                Some(line)
            }
            None => {
                if self.buffer.len() > MAX_LINE_BYTES {
                    self.buffer.clear();
                    self.too_long = true;
                }
                self.searched = self.buffer.len();
                None
            }
        }
    }

    /// Throws away a line that will not end; whether there was one.
    pub(super) fn cut(&mut self) -> bool {
        let torn = !self.buffer.is_empty() || self.too_long;
        *self = Self::default();
        torn
    }
}
