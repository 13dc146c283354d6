//! PAX extended headers (pax(1), "pax Extended Header"): `LENGTH KEY=VALUE\n` records, values of any bytes.
//!
//! Read are the records that say something about an inode. Names of users and groups, access times, comments and
//! bsdtar's `LIBARCHIVE.*` (a second copy of the extended attributes) are not: no container tool applies them.

use super::Time;
use super::sparse::SparseRecords;

/// The prefix of what GNU tar says about sparse files.
const SPARSE: &[u8] = b"GNU.sparse.";
/// The prefix under which GNU tar, bsdtar, Go and star keep extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// What the records before an entry say about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<i64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Option<SparseRecords>,
}

impl Records {
    /// Adds the records of `data`. A later record of a key wins; an empty value takes an earlier one back.
    pub(super) fn read(&mut self, mut data: &[u8]) -> Result<(), &'static str> {
        while !data.is_empty() {
            let (record, rest) = split_record(data).ok_or("a PAX record is malformed")?;
            data = rest;
            let equals = record
                .iter()
                .position(|&b| b == b'=')
                .ok_or("a PAX record has no `=`")?;
            self.set(&record[..equals], &record[equals + 1..])?;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let bytes = || (!value.is_empty()).then(|| value.to_vec());
        let number = |reason| match value {
            b"" => Ok(None),
            _ => decimal(value).map(Some).ok_or(reason),
        };
        match key {
            b"path" => self.path = bytes(),
            b"linkpath" => self.link_path = bytes(),
            b"size" => self.size = number("the PAX record `size` is not a number")?,
            b"uid" => self.uid = number("the PAX record `uid` is not a number")?,
            b"gid" => self.gid = number("the PAX record `gid` is not a number")?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value).ok_or("the PAX record `mtime` is not a time")?),
            _ if key.starts_with(XATTR) => {
                let name = &key[XATTR.len()..];
                self.xattrs.retain(|(other, _)| other != name);
                self.xattrs.push((name.to_vec(), value.to_vec()));
            }
            _ if key.starts_with(SPARSE) => {
                let sparse = self.sparse.get_or_insert_default();
                sparse.set(&key[SPARSE.len()..], value)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The first record without its length and newline, and the bytes behind it.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = data.iter().take(20).position(|&b| b == b' ')?;
    let length = usize::try_from(decimal(&data[..blank])?).ok()?;
    if length > data.len() || length < blank + 2 || data[length - 1] != b'\n' {
        return None;
    }
    Some((&data[blank + 1..length - 1], &data[length..]))
}

fn decimal(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        .then(|| text.parse().ok())?
}

/// Seconds with any number of decimals; digits beyond nanoseconds are cut off. `-0.5` is half a second before the
/// epoch.
fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds = decimal(whole.as_bytes())?;
    let nanoseconds = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = nanoseconds.fold(0, |sum, b| sum * 10 + u32::from(b - b'0'));
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some(Time {
            seconds: seconds.checked_sub(1)?,
            nanoseconds: 1_000_000_000 - nanoseconds,
        });
    }
    Some(Time { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_may_hold_newlines_and_zeros() {
        let mut records = Records::default();
        records
            .read(b"34 SCHILY.xattr.user.x=\n\0=9 a=b\n\xff\n")
            .unwrap();
        assert_eq!(
            records.xattrs,
            [(b"user.x".to_vec(), b"\n\0=9 a=b\n\xff".to_vec())]
        );
    }

    #[test]
    fn an_empty_value_takes_an_earlier_one_back() {
        let mut records = Records::default();
        records.read(b"10 path=a\n8 path=\n").unwrap();
        assert_eq!(records, Records::default());
    }

    #[test]
    fn times() {
        let time = |text: &str| time(text.as_bytes()).map(|t| (t.seconds, t.nanoseconds));
        assert_eq!(time("1.5"), Some((1, 500_000_000)));
        assert_eq!(time("12"), Some((12, 0)));
        assert_eq!(time("12.0000000019"), Some((12, 1)));
        assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time("-0.5"), Some((-1, 500_000_000)));
        for bad in ["", ".5", "1.x", "+1", "1e3", "99999999999999999999"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Records::default().read(&data);
        }
    }
}
