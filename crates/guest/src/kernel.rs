//! From the kernel as distributions ship it to the one that QEMU can start directly.
//!
//! ```text
//! amd64   bzImage, vmlinux              -> vmlinux, uncompressed, with the PVH entry point
//! arm64   Image, Image.gz, EFI zboot    -> Image, uncompressed
//! ```
//!
//! Sources: the kernel's Documentation/arch/x86/boot.rst for the header of a bzImage,
//! <https://xenbits.xen.org/docs/unstable/misc/pvh.html> for the note, Documentation/arch/arm64/booting.rst for that of an Image, and
//! drivers/firmware/efi/libstub/zboot-header.S. A payload's own decompressor is not run.

use std::io::{self, Read};

use isopod_spec::Architecture;
use object::LittleEndian;
use object::elf::{FileHeader64, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};

/// The longest kernel that is taken out of a payload: several times a distribution's largest.
const MAX_KERNEL_BYTES: u64 = 1 << 30;
/// `HdrS`, which every bzImage has at [`HEADER_MAGIC`].
const MAGIC: &[u8] = b"HdrS";
const SETUP_SECTS: usize = 0x1f1;
const HEADER_MAGIC: usize = 0x202;
const PROTOCOL_VERSION: usize = 0x206;
const KERNEL_VERSION: usize = 0x20e;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
/// The first boot protocol that says where the payload is (Linux 2.6.24).
const PROTOCOL_WITH_PAYLOAD: u16 = 0x0208;
/// XEN_ELFNOTE_PHYS32_ENTRY: where a hypervisor enters a kernel that has no firmware below it.
const PVH_NOTE: u32 = 18;
/// What an Image has at [`ARM_MAGIC_AT`].
const ARM_MAGIC: &[u8] = b"ARM\x64";
const ARM_MAGIC_AT: usize = 56;
/// What an EFI zboot has at [`ZBOOT_MAGIC_AT`], and where it says where its payload is, and how long without a length behind it.
const ZBOOT_MAGIC: &[u8] = b"zimg";
const ZBOOT_MAGIC_AT: usize = 4;
const ZBOOT_PAYLOAD_OFFSET: usize = 8;
const ZBOOT_PAYLOAD_LENGTH: usize = 12;
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What stands before the release in the kernel's first line (`linux_banner`).
const BANNER: &[u8] = b"Linux version ";
/// `__NEW_UTS_LEN` of `linux/utsname.h`.
const MAX_RELEASE_BYTES: usize = 64;

/// Why a kernel cannot be started directly.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Neither a bzImage nor an ELF file.
    #[error("not an x86 kernel image: neither the boot header `HdrS` nor an ELF header")]
    NotAKernel,
    /// No Image of 64-bit ARM, as it is or compressed.
    #[error("not an arm64 kernel image: its header has no `ARM\\x64`")]
    NotAnImage,
    /// The boot header is too old or points outside of the file.
    #[error("the boot header does not say where the kernel's payload is")]
    NoPayload,
    /// The payload is compressed in a way that is not read here.
    #[error("the payload's compression is not supported (it begins with the bytes `{magic}`)")]
    Compression {
        /// The payload's first bytes, in hexadecimal.
        magic: String,
    },
    /// The payload is damaged.
    #[error("cannot decompress the {format} payload")]
    Decompress {
        /// The compression's name.
        format: &'static str,
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
    /// The payload's length is not the one that the kernel noted.
    #[error("the decompressed kernel has {found} bytes, the image says {expected}")]
    Length {
        /// The bytes that came out.
        found: u64,
        /// The bytes that should.
        expected: u32,
    },
    /// What is inside is no x86-64 ELF file.
    #[error("the kernel inside is not an x86-64 ELF file")]
    NotElf(#[source] object::read::Error),
    /// Built without CONFIG_PVH.
    #[error("the kernel has no PVH entry point (ELF note `Xen` 18)")]
    NoPvhEntry,
}

impl KernelError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoPvhEntry => Some("use a kernel that is built with CONFIG_PVH=y".into()),
            Self::Compression { .. } => {
                Some("use a kernel compressed with gzip, xz, lzma, lz4 or zstd, or its `vmlinux`".into())
            }
            _ => None,
        }
    }
}

/// The release a bzImage says it is (`6.1.0-56-amd64`); `None` where it is no bzImage or does not say.
#[must_use]
pub(crate) fn release(image: &[u8]) -> Option<String> {
    if image.get(HEADER_MAGIC..HEADER_MAGIC + 4)? != MAGIC {
        return None;
    }
    // The pointer counts from 0x200, as in file(1)'s magic.
    let start = 0x200 + usize::from(u16_at(image, KERNEL_VERSION)?);
    let text = image
        .get(start..)?
        .split(|byte| matches!(byte, 0 | b' '))
        .next()?;
    let text = str::from_utf8(text).ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// The kernel that QEMU starts directly, out of one that distributions ship, or itself where it is one.
///
/// # Errors
/// Whatever keeps QEMU from starting this kernel directly.
pub(crate) fn startable(architecture: Architecture, image: Vec<u8>) -> Result<Vec<u8>, KernelError> {
    match architecture {
        Architecture::Amd64 => vmlinux(image),
        Architecture::Arm64 => arm_image(image),
    }
}

/// What the kernel would print of its release; `None` where it has no such text, or is compressed.
pub(crate) fn banner_release(kernel: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(kernel, BANNER)? + BANNER.len();
    let word = kernel.get(at..)?.split(|byte| *byte == b' ').next()?;
    let word = str::from_utf8(word).ok()?;
    (!word.is_empty() && word.len() <= MAX_RELEASE_BYTES).then(|| word.to_owned())
}

/// The Image in a kernel for ARM.
fn arm_image(image: Vec<u8>) -> Result<Vec<u8>, KernelError> {
    let is_image = |image: &[u8]| image.get(ARM_MAGIC_AT..ARM_MAGIC_AT + 4) == Some(ARM_MAGIC);
    let image = match image.as_slice() {
        plain if is_image(plain) => return Ok(image),
        [0x1f, 0x8b, ..] => unpack(&image)?,
        zboot if zboot.get(ZBOOT_MAGIC_AT..ZBOOT_MAGIC_AT + 4) == Some(ZBOOT_MAGIC) => {
            let part = || {
                let start = u32_at(zboot, ZBOOT_PAYLOAD_OFFSET)? as usize;
                zboot.get(start..start.checked_add(u32_at(zboot, ZBOOT_PAYLOAD_LENGTH)? as usize)?)
            };
            let payload = part().filter(|payload| payload.len() > 8);
            unpack(payload.ok_or(KernelError::NoPayload)?)?
        }
        _ => return Err(KernelError::NotAnImage),
    };
    match is_image(&image) {
        true => Ok(image),
        false => Err(KernelError::NotAnImage),
    }
}

/// The `vmlinux` in a kernel image, or the image itself where it is one.
fn vmlinux(image: Vec<u8>) -> Result<Vec<u8>, KernelError> {
    let kernel = if image.starts_with(b"\x7fELF") {
        image
    } else {
        decompress(payload(&image)?)?
    };
    require_pvh(&kernel)?;
    Ok(kernel)
}

/// The compressed kernel inside a bzImage.
fn payload(image: &[u8]) -> Result<&[u8], KernelError> {
    if image.get(HEADER_MAGIC..HEADER_MAGIC + 4) != Some(MAGIC) {
        return Err(KernelError::NotAKernel);
    }
    let version = u16_at(image, PROTOCOL_VERSION).unwrap_or(0);
    if version < PROTOCOL_WITH_PAYLOAD {
        return Err(KernelError::NoPayload);
    }
    // Zero means four, for backwards compatibility.
    let setup_sectors = match image[SETUP_SECTS] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let find = || {
        let start = (setup_sectors + 1) * 512 + u32_at(image, PAYLOAD_OFFSET)? as usize;
        image.get(start..start.checked_add(u32_at(image, PAYLOAD_LENGTH)? as usize)?)
    };
    find()
        .filter(|payload| payload.len() > 8)
        .ok_or(KernelError::NoPayload)
}

/// Decompresses the payload of a bzImage. The kernel's build appends the length to each but gzip's, which ends with it anyway.
fn decompress(payload: &[u8]) -> Result<Vec<u8>, KernelError> {
    let (body, length) = payload.split_at(payload.len() - 4);
    let expected = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
    let kernel = match payload.starts_with(&GZIP) {
        true => unpack(payload)?,
        false => unpack(body)?,
    };
    let found = kernel.len() as u64;
    if found != u64::from(expected) {
        return Err(KernelError::Length { found, expected });
    }
    Ok(kernel)
}

/// Decompresses `body` by its magic number.
fn unpack(body: &[u8]) -> Result<Vec<u8>, KernelError> {
    let (format, reader): (&'static str, io::Result<Box<dyn Read + '_>>) = match body {
        [0x1f, 0x8b, ..] => ("gzip", Ok(Box::new(flate2::read::GzDecoder::new(body)))),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => ("xz", Ok(Box::new(liblzma::read::XzDecoder::new(body)))),
        [0x5d, 0, 0, ..] => ("lzma", lzma(body)),
        [0x02, 0x21, 0x4c, 0x18, ..] => ("lz4", Ok(Box::new(lz4_flex::frame::FrameDecoder::new(body)))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", zstd_reader(body)),
        other => {
            let magic = other[..4]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<Vec<_>>()
                .join(" ");
            return Err(KernelError::Compression { magic });
        }
    };
    let mut kernel = Vec::new();
    reader
        .and_then(|reader| reader.take(MAX_KERNEL_BYTES).read_to_end(&mut kernel))
        .map_err(|source| KernelError::Decompress { format, source })?;
    Ok(kernel)
}

fn lzma(body: &[u8]) -> io::Result<Box<dyn Read + '_>> {
    let stream = liblzma::stream::Stream::new_lzma_decoder(u64::MAX)?;
    Ok(Box::new(liblzma::read::XzDecoder::new_stream(body, stream)))
}

fn zstd_reader(body: &[u8]) -> io::Result<Box<dyn Read + '_>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
    // The kernel is compressed with `--ultra -22`, whose window is the largest there is.
    decoder.window_log_max(31)?;
    Ok(Box::new(decoder))
}

/// Checks that a hypervisor can enter the kernel without firmware.
fn require_pvh(kernel: &[u8]) -> Result<(), KernelError> {
    let header = FileHeader64::<LittleEndian>::parse(kernel).map_err(KernelError::NotElf)?;
    let endian = header.endian().map_err(KernelError::NotElf)?;
    for segment in header
        .program_headers(endian, kernel)
        .map_err(KernelError::NotElf)?
    {
        if segment.p_type(endian) != PT_NOTE {
            continue;
        }
        let Some(mut notes) = segment.notes(endian, kernel).map_err(KernelError::NotElf)? else {
            continue;
        };
        while let Some(note) = notes.next().map_err(KernelError::NotElf)? {
            if note.name() == b"Xen" && note.n_type(endian).0 == PVH_NOTE {
                return Ok(());
            }
        }
    }
    Err(KernelError::NoPvhEntry)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// The smallest ELF file with one Xen note of a type.
    fn elf(note: u32) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0");
        file[32] = 64; // e_phoff
        file[52] = 64; // e_ehsize
        file[54] = 56; // e_phentsize
        file[56] = 1; // e_phnum
        file[64] = 4; // p_type: PT_NOTE
        file[72] = 120; // p_offset
        file[96] = 20; // p_filesz
        file[112] = 4; // p_align
        for word in [4, 4, note] {
            file.extend(word.to_le_bytes());
        }
        file.extend(b"Xen\0\x00\x00\x10\x01");
        file
    }

    /// A bzImage with a payload and the release `6.1.0-test`.
    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x600];
        image[SETUP_SECTS] = 2;
        image[HEADER_MAGIC..HEADER_MAGIC + 4].copy_from_slice(MAGIC);
        image[PROTOCOL_VERSION..PROTOCOL_VERSION + 2].copy_from_slice(&0x20fu16.to_le_bytes());
        image[KERNEL_VERSION..KERNEL_VERSION + 2].copy_from_slice(&0x100u16.to_le_bytes());
        image[0x300..0x300 + 18].copy_from_slice(b"6.1.0-test (a@b) 1");
        image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&5u32.to_le_bytes());
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend([0; 5]);
        image.extend(payload);
        image.extend([0xee; 100]);
        image
    }

    fn with_length(mut compressed: Vec<u8>, kernel: &[u8]) -> Vec<u8> {
        compressed.extend((kernel.len() as u32).to_le_bytes());
        compressed
    }

    fn payloads(kernel: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(kernel).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(kernel).unwrap();
        let options = liblzma::stream::LzmaOptions::new_preset(9).unwrap();
        let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
        let mut lzma = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        lzma.write_all(kernel).unwrap();
        let block = lz4_flex::block::compress(kernel);
        let mut lz4 = vec![0x02, 0x21, 0x4c, 0x18];
        lz4.extend((block.len() as u32).to_le_bytes());
        lz4.extend(block);
        vec![
            ("gzip", gzip.finish().unwrap()),
            ("xz", with_length(xz.finish().unwrap(), kernel)),
            ("lzma", with_length(lzma.finish().unwrap(), kernel)),
            ("lz4", with_length(lz4, kernel)),
            ("zstd", with_length(zstd::encode_all(kernel, 19).unwrap(), kernel)),
        ]
    }

    #[test]
    fn every_compression_of_the_kernel_build_is_read() {
        let kernel = elf(PVH_NOTE);
        for (name, payload) in payloads(&kernel) {
            assert_eq!(
                vmlinux(bzimage(&payload)).unwrap_or_else(|error| panic!("{name}: {error:?}")),
                kernel
            );
        }
        assert_eq!(vmlinux(kernel.clone()).unwrap(), kernel);
    }

    #[test]
    fn damage_is_an_error_and_not_a_panic() {
        let kernel = elf(PVH_NOTE);
        for (name, mut payload) in payloads(&kernel) {
            for end in (0..payload.len()).step_by(7) {
                assert!(vmlinux(bzimage(&payload[..end])).is_err(), "{name} cut at {end}");
            }
            let last = payload.len() - 1;
            payload[last] ^= 1;
            assert!(vmlinux(bzimage(&payload)).is_err(), "{name} with a wrong length");
        }
        let image = bzimage(&payloads(&kernel)[0].1);
        for end in (0..image.len() - 100).step_by(11) {
            assert!(vmlinux(image[..end].to_vec()).is_err(), "cut at {end}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_payload_is_read_or_refused(
            kind in 0usize..6,
            payload in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        ) {
            let magic: &[u8] = [&b"\x1f\x8b\x08"[..], b"\xfd7zXZ\0", b"\x5d\0\0", b"\x02\x21\x4c\x18", b"\x28\xb5\x2f\xfd", b""][kind];
            let _ = vmlinux(bzimage(&[magic, &payload].concat()));
            let _ = vmlinux([b"\x7fELF\x02\x01\x01", &payload[..]].concat());
        }

        #[test]
        fn any_header_is_read_or_refused(at in 0usize..0x600, byte in proptest::num::u8::ANY) {
            let mut image = bzimage(&payloads(&elf(PVH_NOTE))[0].1);
            image[at] = byte;
            let _ = release(&image);
            let _ = vmlinux(image);
        }
    }

    #[test]
    fn what_cannot_be_started_is_refused() {
        assert!(matches!(
            vmlinux(b"nothing".to_vec()),
            Err(KernelError::NotAKernel)
        ));
        let bzip2 = bzimage(b"BZh91AY&SY1234");
        let Err(error @ KernelError::Compression { .. }) = vmlinux(bzip2) else {
            panic!()
        };
        assert_eq!(
            error.to_string(),
            "the payload's compression is not supported (it begins with the bytes `42 5a 68 39`)"
        );
        assert!(error.hint().is_some());
        assert!(matches!(vmlinux(elf(17)), Err(KernelError::NoPvhEntry)));
        assert!(matches!(
            vmlinux(b"\x7fELFnothing".to_vec()),
            Err(KernelError::NotElf(_))
        ));
        let mut old = bzimage(&[0; 64]);
        old[PROTOCOL_VERSION] = 7;
        assert!(matches!(vmlinux(old), Err(KernelError::NoPayload)));
    }

    #[test]
    fn an_image_is_taken_as_it_is_or_out_of_its_wrapping() {
        let mut plain = vec![7; 4096];
        plain[ARM_MAGIC_AT..ARM_MAGIC_AT + 4].copy_from_slice(ARM_MAGIC);
        plain[2000..2030].copy_from_slice(b"Linux version 6.1.0-arm (a@b) ");
        let of = |image: Vec<u8>| startable(Architecture::Arm64, image);
        let zboot = |payload: &[u8]| {
            let mut image = vec![0; 0x200];
            image[..8].copy_from_slice(b"MZ\0\0zimg");
            image[8..12].copy_from_slice(&0x200u32.to_le_bytes());
            image[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
            image.extend(payload);
            image.extend([0; 4]);
            image
        };
        let [gzip, .., zstd] = &payloads(&plain)[..] else {
            panic!()
        };
        let zstd = &zstd.1[..zstd.1.len() - 4];
        for image in [plain.clone(), gzip.1.clone(), zboot(&gzip.1), zboot(zstd)] {
            assert_eq!(of(image).unwrap(), plain);
        }
        assert_eq!(banner_release(&plain).as_deref(), Some("6.1.0-arm"));
        assert_eq!(banner_release(&[0; 100]), None);
        for other in [
            bzimage(zstd),
            b"nothing".to_vec(),
            zboot(&payloads(&[0; 100])[0].1),
        ] {
            assert!(matches!(of(other), Err(KernelError::NotAnImage)));
        }
        assert!(matches!(of(zboot(&[])), Err(KernelError::NoPayload)));
        assert!(matches!(
            startable(Architecture::Amd64, plain),
            Err(KernelError::NotAKernel)
        ));
    }

    #[test]
    fn the_release_is_read_from_the_header() {
        assert_eq!(release(&bzimage(&[0; 64])).as_deref(), Some("6.1.0-test"));
        assert_eq!(release(b"nothing"), None);
        assert_eq!(release(&elf(PVH_NOTE)), None);
    }
}
