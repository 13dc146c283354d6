//! The requests of loop(4), which no safe crate offers.
#![expect(unsafe_code, reason = "ioctl(2) of loop devices has no safe wrapper")]

use std::io;
use std::os::fd::RawFd;

/// `include/uapi/linux/loop.h`.
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64`, of which nothing but the flags is ours to say.
#[repr(C)]
struct LoopInfo {
    before: [u8; 52],
    flags: u32,
    behind: [u8; 176],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// The number of a device that is free.
pub(super) fn free_device(control: RawFd) -> io::Result<u32> {
    // SAFETY: the request takes no argument and writes nothing. JUSTIFICATION: a device can be had in no other way.
    let number = unsafe { libc::ioctl(control, LOOP_CTL_GET_FREE as _) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Makes the device the file, read-only and until nobody uses it any more.
pub(super) fn configure(device: RawFd, file: RawFd) -> io::Result<()> {
    let config = LoopConfig {
        fd: u32::try_from(file).map_err(io::Error::other)?,
        block_size: 0,
        info: LoopInfo {
            before: [0; 52],
            flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
            behind: [0; 176],
        },
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads a `struct loop_config`, which `config` is, and keeps none of it. JUSTIFICATION: as above.
    match unsafe { libc::ioctl(device, LOOP_CONFIGURE as _, &raw const config) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `pahole` shows the kernel's.
    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(std::mem::offset_of!(LoopInfo, flags), 52);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }
}
