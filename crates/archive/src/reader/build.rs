//! Writes tar archives for tests, hostile ones too: nothing is checked.

/// An archive in the making.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

/// The header of an entry; what is left out is 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) type_flag: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: u64,
    pub(crate) link: &'a [u8],
    pub(crate) device: (u32, u32),
}

#[allow(dead_code)]
impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An entry as it stands; the name is cut off at 100 bytes.
    pub(crate) fn raw(mut self, head: &Head, data: &[u8]) -> Self {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &head.name[..head.name.len().min(100)]);
        put(100, format!("{:07o}\0", head.mode).as_bytes());
        put(108, format!("{:07o}\0", head.uid).as_bytes());
        put(116, format!("{:07o}\0", head.gid).as_bytes());
        put(124, format!("{:011o}\0", data.len()).as_bytes());
        put(136, format!("{:011o}\0", head.mtime).as_bytes());
        put(148, b"        ");
        put(156, &[head.type_flag]);
        put(157, &head.link[..head.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0", head.device.0).as_bytes());
        put(337, format!("{:07o}\0", head.device.1).as_bytes());
        let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// PAX records for the entry that follows.
    pub(crate) fn pax(self, records: &[(&[u8], &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + rest.to_string().len();
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            data.extend_from_slice(format!("{length} ").as_bytes());
            data.extend_from_slice(&[key, b"=".as_slice(), value, b"\n"].concat());
        }
        self.raw(
            &Head {
                name: b"pax",
                type_flag: b'x',
                ..Head::default()
            },
            &data,
        )
    }

    /// An entry, with PAX records for names over 100 bytes.
    pub(crate) fn entry(self, head: &Head, data: &[u8]) -> Self {
        let mut records: Vec<(&[u8], &[u8])> = Vec::new();
        if head.name.len() > 100 {
            records.push((b"path", head.name));
        }
        if head.link.len() > 100 {
            records.push((b"linkpath", head.link));
        }
        let tar = if records.is_empty() {
            self
        } else {
            self.pax(&records)
        };
        tar.raw(head, data)
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(
            &Head {
                name: name.as_bytes(),
                type_flag: b'0',
                mode: 0o644,
                ..Head::default()
            },
            data,
        )
    }

    pub(crate) fn dir(self, name: &str, mode: u32) -> Self {
        self.entry(
            &Head {
                name: name.as_bytes(),
                type_flag: b'5',
                mode,
                ..Head::default()
            },
            b"",
        )
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.link(b'2', name, target)
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(b'1', name, target)
    }

    fn link(self, type_flag: u8, name: &str, target: &str) -> Self {
        let (name, link) = (name.as_bytes(), target.as_bytes());
        self.entry(
            &Head {
                name,
                link,
                type_flag,
                mode: 0o777,
                ..Head::default()
            },
            b"",
        )
    }

    /// The archive with its two closing blocks.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// The archive without them.
    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.0
    }
}
