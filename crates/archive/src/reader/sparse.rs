//! Sparse files: which parts of their contents an archive holds (GNU tar's manual, "Storing Sparse Files").
//!
//! ```text
//! old GNU       header type `S`; the map is in the header, and in blocks behind it
//! PAX 0.0, 0.1  the map is in PAX records
//! PAX 1.0       the map stands before the contents, in lines
//! ```
//!
//! What is between the parts is zeros. Readers of the archive see the contents whole.

use std::collections::VecDeque;

use super::header::number;

/// How much of a map one block behind an old GNU header holds, and the header itself.
const PARTS_IN_BLOCK: usize = 21;
const PARTS_IN_HEADER: usize = 4;
/// The size of a part's two numbers, in bytes.
const PART_BYTES: usize = 24;
/// The most parts a map may have: as many as a PAX header of 1 MiB could hold.
pub(super) const MAX_PARTS: usize = 1 << 18;

const INVALID: &str = "the map of the sparse file is malformed";

/// A part of the contents that the archive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it is in the contents, in bytes.
    pub(super) offset: u64,
    /// Its size, in bytes.
    pub(super) bytes: u64,
}

/// What the PAX records say about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SparseRecords {
    major: Option<u64>,
    minor: Option<u64>,
    /// The file's name; the entry's own is made up from version 0.1 on.
    pub(super) name: Option<Vec<u8>>,
    size: Option<u64>,
    parts: Vec<Part>,
    /// An offset whose size has not come yet.
    offset: Option<u64>,
}

impl SparseRecords {
    /// Adds a record; `key` is what follows `GNU.sparse.`.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let count = || decimal(value).ok_or("a PAX record of a sparse file is not a number");
        match key {
            b"major" => self.major = Some(count()?),
            b"minor" => self.minor = Some(count()?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(count()?),
            b"offset" if self.offset.is_none() => self.offset = Some(count()?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or(INVALID)?;
                let bytes = count()?;
                self.parts.push(Part { offset, bytes });
            }
            b"map" => self.parts = comma_map(value).ok_or(INVALID)?,
            b"numblocks" => {}
            _ => return Err("a PAX record of a sparse file is unknown"),
        }
        Ok(())
    }

    /// Whether the map stands before the contents (version 1.0).
    pub(super) fn map_precedes_contents(&self) -> Result<bool, &'static str> {
        match (self.major.unwrap_or(0), self.minor.unwrap_or(0)) {
            (0, 0 | 1) => Ok(false),
            (1, 0) => Ok(true),
            _ => Err("sparse files of this version are not supported"),
        }
    }

    /// The expansion of contents of which the archive holds `stored` bytes; `parts` is the map that stood before them.
    pub(super) fn expansion(self, parts: Option<Vec<Part>>, stored: u64) -> Result<Expansion, &'static str> {
        let size = self.size.ok_or("a sparse file has no size")?;
        if self.offset.is_some() {
            return Err(INVALID);
        }
        Expansion::new(parts.unwrap_or(self.parts), size, stored)
    }
}

/// `OFFSET,SIZE,OFFSET,SIZE,...` (PAX 0.1).
fn comma_map(value: &[u8]) -> Option<Vec<Part>> {
    let numbers: Vec<u64> = match value {
        b"" => Vec::new(),
        _ => value.split(|&b| b == b',').map(decimal).collect::<Option<_>>()?,
    };
    let (pairs, rest) = numbers.as_chunks::<2>();
    let part = |&[offset, bytes]: &[u64; 2]| Part { offset, bytes };
    rest.is_empty().then(|| pairs.iter().map(part).collect())
}

/// Reads the map that stands before the contents, a number in each line, the first one that of the parts (PAX 1.0).
#[derive(Default)]
pub(super) struct LineMap {
    line: Vec<u8>,
    numbers: Vec<u64>,
}

impl LineMap {
    /// Takes the next block. `true`: the map is complete; the contents begin with the next block.
    pub(super) fn take(&mut self, block: &[u8]) -> Result<bool, &'static str> {
        for &byte in block {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            self.numbers.push(decimal(&self.line).ok_or(INVALID)?);
            self.line.clear();
            if self.numbers[0] > MAX_PARTS as u64 {
                return Err("a sparse file has too many parts");
            }
            if self.numbers.len() as u64 == 1 + 2 * self.numbers[0] {
                return Ok(true);
            }
        }
        match self.line.len() > 20 {
            true => Err(INVALID),
            false => Ok(false),
        }
    }

    pub(super) fn parts(self) -> Vec<Part> {
        let pairs = self.numbers.get(1..).unwrap_or_default().as_chunks::<2>().0;
        let part = |&[offset, bytes]: &[u64; 2]| Part { offset, bytes };
        pairs.iter().map(part).collect()
    }
}

/// Reads the map of an old GNU header.
pub(super) struct BlockMap {
    parts: Vec<Part>,
    size: u64,
}

impl BlockMap {
    /// Begins with the header. `true`: another block of the map follows.
    pub(super) fn new(header: &[u8; 512]) -> Result<(Self, bool), &'static str> {
        let size = number(&header[483..495]).and_then(|size| u64::try_from(size).ok());
        let mut map = Self {
            parts: Vec::new(),
            size: size.ok_or("a sparse file has no size")?,
        };
        map.add(&header[386..386 + PARTS_IN_HEADER * PART_BYTES])?;
        Ok((map, header[482] != 0))
    }

    /// Takes the next block. `true`: another one follows.
    pub(super) fn take(&mut self, block: &[u8; 512]) -> Result<bool, &'static str> {
        if self.parts.len() > MAX_PARTS {
            return Err("a sparse file has too many parts");
        }
        self.add(&block[..PARTS_IN_BLOCK * PART_BYTES])?;
        Ok(block[504] != 0)
    }

    fn add(&mut self, parts: &[u8]) -> Result<(), &'static str> {
        let field = |field| number(field).and_then(|n| u64::try_from(n).ok()).ok_or(INVALID);
        // Unused ones begin with a NUL.
        for part in parts.chunks_exact(PART_BYTES).take_while(|part| part[0] != 0) {
            let (offset, bytes) = (field(&part[..12])?, field(&part[12..])?);
            self.parts.push(Part { offset, bytes });
        }
        Ok(())
    }

    pub(super) fn expansion(self, stored: u64) -> Result<Expansion, &'static str> {
        Expansion::new(self.parts, self.size, stored)
    }
}

/// Contents on their way from parts to the whole.
#[derive(Debug)]
pub(super) struct Expansion {
    /// The size of the whole, in bytes.
    pub(super) size: u64,
    at: u64,
    parts: VecDeque<Part>,
}

/// What comes next of the contents.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// So many zeros.
    Zeros(u64),
    /// So many bytes that the archive holds.
    Stored(u64),
    /// Nothing.
    End,
}

impl Expansion {
    /// `parts` have to be in order and apart, and as many bytes as are `stored`.
    fn new(parts: Vec<Part>, size: u64, stored: u64) -> Result<Self, &'static str> {
        let (mut end, mut sum) = (0, 0);
        for part in &parts {
            let next = part.offset.checked_add(part.bytes).ok_or(INVALID)?;
            if part.offset < end || next > size {
                return Err(INVALID);
            }
            end = next;
            sum += part.bytes;
        }
        if sum != stored {
            return Err("the map of the sparse file and its contents do not fit together");
        }
        let parts = parts.into_iter().filter(|part| part.bytes > 0).collect();
        Ok(Self { size, at: 0, parts })
    }

    pub(super) fn next(&self) -> Next {
        match self.parts.front() {
            Some(part) if part.offset > self.at => Next::Zeros(part.offset - self.at),
            Some(part) => Next::Stored(part.offset + part.bytes - self.at),
            None if self.at < self.size => Next::Zeros(self.size - self.at),
            None => Next::End,
        }
    }

    /// Goes on by `count` bytes, at most what [`Expansion::next`] said.
    pub(super) fn advance(&mut self, count: u64) {
        self.at += count;
        if self
            .parts
            .front()
            .is_some_and(|part| part.offset + part.bytes <= self.at)
        {
            self.parts.pop_front();
        }
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = text.len() <= 19 && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(offset: u64, bytes: u64) -> Part {
        Part { offset, bytes }
    }

    #[test]
    fn maps_that_cannot_be() {
        for parts in [
            vec![part(4, 2), part(5, 1)],
            vec![part(9, 2)],
            vec![part(u64::MAX, 1)],
            vec![part(5, 1), part(0, 1)],
        ] {
            let stored = parts.iter().map(|part| part.bytes).sum();
            assert_eq!(Expansion::new(parts, 10, stored).unwrap_err(), INVALID);
        }
        assert!(Expansion::new(vec![part(0, 2)], 10, 3).is_err());
        for map in [
            &b"1"[..],
            b"1,2,3",
            b"a,b",
            b"-1,2",
            b",",
            b"99999999999999999999,1",
        ] {
            assert_eq!(comma_map(map), None, "{map:?}");
        }
        assert_eq!(comma_map(b"0,1,20,3"), Some(vec![part(0, 1), part(20, 3)]));
    }

    proptest! {
        #[test]
        fn the_whole_has_its_size_and_every_part_its_place(
            gaps in proptest::collection::vec((0u64..50, 0u64..50), 0..20), rest in 0u64..50, step in 1u64..40
        ) {
            let mut end = 0;
            let mut parts = Vec::new();
            for (gap, bytes) in gaps {
                parts.push(part(end + gap, bytes));
                end += gap + bytes;
            }
            let size = end + rest;
            let stored = parts.iter().map(|part| part.bytes).sum();
            let mut expansion = Expansion::new(parts.clone(), size, stored).unwrap();
            let mut is_stored = Vec::new();
            loop {
                let (count, flag) = match expansion.next() {
                    Next::Zeros(count) => (count.min(step), false),
                    Next::Stored(count) => (count.min(step), true),
                    Next::End => break,
                };
                prop_assert!(count > 0);
                is_stored.extend(std::iter::repeat_n(flag, usize::try_from(count).unwrap()));
                expansion.advance(count);
            }
            let expected: Vec<bool> = (0..size)
                .map(|at| parts.iter().any(|part| (part.offset..part.offset + part.bytes).contains(&at)))
                .collect();
            prop_assert_eq!(is_stored, expected);
        }

        #[test]
        fn any_lines_are_a_map_or_refused(text in "[0-9\n]{0,100}|[ -~\n]{0,40}") {
            let mut map = LineMap::default();
            let _ = map.take(text.as_bytes()).map(|_| map.parts());
        }
    }
}
