//! Extended attributes as they follow an inode: a header of 12 bytes, then an entry per attribute, each padded to 4.

use super::format::u16_at;

/// The size of the header (`struct erofs_xattr_ibody_header` without shared attributes), in bytes.
const HEADER_BYTES: usize = 12;
/// The most bytes that an inode's 16-bit count can express.
const MAX_BYTES: usize = HEADER_BYTES + (u16::MAX as usize - 1) * 4;
/// The prefixes that have a number (`EROFS_XATTR_INDEX_*`). The two ACLs have no name behind theirs.
const PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

/// Why a set of extended attributes cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XattrError {
    /// Linux keeps no attributes outside its four name spaces (xattr(7)).
    #[error("Linux has no extended attributes like `{0}`")]
    Namespace(String),
    /// A name or value is longer than Linux allows.
    #[error("the extended attribute `{0}` has a name over 255 bytes or a value over 65535")]
    TooLong(String),
    /// All together are too many.
    #[error("the extended attributes take {0} bytes, more than 262144")]
    TooMany(usize),
}

/// Whether Linux has extended attributes of this name.
pub(crate) fn is_linux(name: &[u8]) -> bool {
    split_name(name).is_some()
}

/// The number of an attribute's prefix, and the rest of its name; `None` outside Linux's name spaces.
fn split_name(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|(index, prefix)| {
        let rest = name.strip_prefix(*prefix)?;
        // A name space needs a name behind its dot, an ACL has none.
        (prefix.ends_with(b".") != rest.is_empty()).then_some((*index, rest))
    })
}

/// Encodes `xattrs`, sorted by name; nothing for none.
pub(crate) fn encode(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<Box<[u8]>, XattrError> {
    if xattrs.is_empty() {
        return Ok(Box::default());
    }
    let mut sorted: Vec<_> = xattrs.iter().collect();
    sorted.sort();
    let mut out = vec![0; HEADER_BYTES];
    for (name, value) in sorted {
        let show = || isopod_archive::reader::show(name);
        let (index, rest) = split_name(name).ok_or_else(|| XattrError::Namespace(show()))?;
        let name_length = u8::try_from(rest.len()).map_err(|_| XattrError::TooLong(show()))?;
        let value_length = u16::try_from(value.len()).map_err(|_| XattrError::TooLong(show()))?;
        out.extend_from_slice(&[name_length, index]);
        out.extend_from_slice(&value_length.to_le_bytes());
        out.extend_from_slice(rest);
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    if out.len() > MAX_BYTES {
        return Err(XattrError::TooMany(out.len()));
    }
    Ok(out.into())
}

/// Decodes what [`encode`] made; `None` when the bytes are not of that kind.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut out = Vec::new();
    let mut rest = match bytes {
        [] => return Some(out),
        _ if bytes.get(4)? != &0 => return None,
        _ => bytes.get(HEADER_BYTES..)?,
    };
    while let Some(head) = rest.first_chunk::<4>() {
        let (name_length, value_length) = (usize::from(head[0]), usize::from(u16_at(head, 2)));
        let prefix = PREFIXES.iter().find(|(index, _)| *index == head[1])?.1;
        let name = rest.get(4..4 + name_length)?;
        let value = rest.get(4 + name_length..4 + name_length + value_length)?;
        out.push(([prefix, name].concat(), value.to_vec()));
        rest = rest.get((4 + name_length + value_length).next_multiple_of(4)..)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (name.as_bytes().to_vec(), value.to_vec())
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let xattrs = [
            pair("security.capability", &[1, 0, 10]),
            pair("system.posix_acl_access", b"acl"),
            pair("trusted.x", b""),
            pair("user.a", &[7; 65535]),
        ];
        let encoded = encode(&xattrs).unwrap();
        assert_eq!(encoded.len() % 4, 0);
        assert_eq!(decode(&encoded).unwrap(), xattrs);
        assert_eq!(encode(&[]).unwrap().len(), 0);
    }

    #[test]
    fn refuses_what_linux_cannot_keep() {
        let refused = |name: &str, value: &[u8]| encode(&[pair(name, value)]).unwrap_err().to_string();
        for name in [
            "com.apple.provenance",
            "user.",
            "system.posix_acl_access.",
            "system.x",
            "",
        ] {
            assert_eq!(
                refused(name, b""),
                format!("Linux has no extended attributes like `{name}`")
            );
        }
        assert!(refused(&format!("user.{}", "x".repeat(256)), b"").contains("name over 255 bytes"));
        assert!(refused("user.x", &[0; 65536]).contains("value over 65535"));
        let many: Vec<_> = (0..5).map(|i| pair(&format!("user.{i}"), &[0; 60000])).collect();
        assert_eq!(encode(&many), Err(XattrError::TooMany(300_052)));
    }
}
