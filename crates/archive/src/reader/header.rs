//! The 512 bytes of a tar header (ustar, GNU, star and V7), decoded without judging them.

/// The size of a header and the unit that contents are padded to.
pub(crate) const BLOCK: usize = 512;

/// A header block whose checksum is right.
pub(super) struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Checks the checksum: the sum of all bytes, its own field taken as blanks; some old programs summed signed
    /// bytes.
    pub(super) fn new(block: &'a [u8; BLOCK]) -> Option<Self> {
        let stored = number(&block[148..156])?;
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (i, &byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&i) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        (stored == unsigned || stored == signed).then_some(Self(block))
    }

    /// The name, with the prefix that ustar (155 bytes) and star (131 bytes) keep apart.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        let prefix = match &self.0[257..265] {
            b"ustar\x0000" if &self.0[508..512] == b"tar\0" => until_nul(&self.0[345..476]),
            b"ustar\x0000" => until_nul(&self.0[345..500]),
            _ => b"",
        };
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    /// The block itself, for the map of a sparse file.
    pub(super) fn block(&self) -> &'a [u8; BLOCK] {
        self.0
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn link_name(&self) -> &'a [u8] {
        until_nul(&self.0[157..257])
    }

    pub(super) fn mode(&self) -> Option<i64> {
        number(&self.0[100..108])
    }

    pub(super) fn uid(&self) -> Option<i64> {
        number(&self.0[108..116])
    }

    pub(super) fn gid(&self) -> Option<i64> {
        number(&self.0[116..124])
    }

    pub(super) fn size(&self) -> Option<i64> {
        number(&self.0[124..136])
    }

    pub(super) fn mtime(&self) -> Option<i64> {
        number(&self.0[136..148])
    }

    /// Major and minor device number. V7 headers have none.
    pub(super) fn device(&self) -> Option<(i64, i64)> {
        Some((number(&self.0[329..337])?, number(&self.0[337..345])?))
    }
}

/// The bytes before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or(b"")
}

/// A numeric field: octal digits between blanks and NULs, or GNU's base-256 with the top bit set.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        return base_256(field);
    }
    let is_padding = |b: &u8| *b == b' ' || *b == 0;
    let start = field.iter().position(|b| !is_padding(b)).unwrap_or(field.len());
    let digits = &field[start..];
    let digits = &digits[..digits.iter().position(is_padding).unwrap_or(digits.len())];
    digits.iter().try_fold(0i64, |sum, &b| match b {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(b - b'0')),
        _ => None,
    })
}

/// Two's complement, big-endian, in all bits but the first.
fn base_256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let first = if negative {
        i128::from(field[0]) - 0x100
    } else {
        i128::from(field[0] & 0x3f)
    };
    let value = field[1..].iter().fold(first, |sum, &b| sum << 8 | i128::from(b));
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_kind() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"0000649\0"), None);
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(
            number(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
            Some(i64::MAX)
        );
        assert_eq!(number(b"\x80\0\0\x01\0\0\0\0\0\0\0\0"), None);
    }
}
