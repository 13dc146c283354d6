//! The requests to the kernel's random number generator (random(4)).
#![expect(unsafe_code, reason = "ioctl(2) has no safe wrapper for these requests")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use isopod_contract::message::ENTROPY_BYTES;

/// `RNDADDENTROPY` and `RNDRESEEDCRNG` (include/uapi/linux/random.h).
const ADD_ENTROPY: libc::Ioctl = 0x4008_5203;
const RESEED: libc::Ioctl = 0x5207;

/// `struct rand_pool_info` (include/uapi/linux/random.h) with its buffer.
#[repr(C)]
struct Pool {
    entropy_bits: libc::c_int,
    bytes: libc::c_int,
    buffer: [u8; ENTROPY_BYTES],
}

/// Mixes bytes in of which each bit is unknown to others.
pub(super) fn add_entropy(device: &File, entropy: &[u8; ENTROPY_BYTES]) -> io::Result<()> {
    let bytes = libc::c_int::try_from(ENTROPY_BYTES).map_err(io::Error::other)?;
    let pool = Pool {
        entropy_bits: bytes * 8,
        bytes,
        buffer: *entropy,
    };
    // SAFETY: the kernel reads the two numbers and as many bytes behind them as the second says, which are there.
    // JUSTIFICATION: nothing else makes the kernel count bytes as random.
    done(unsafe { libc::ioctl(device.as_raw_fd(), ADD_ENTROPY, &raw const pool) })
}

/// Lets what is given from now on depend on what was mixed in.
pub(super) fn reseed(device: &File) -> io::Result<()> {
    // SAFETY: the request has no argument. JUSTIFICATION: the generator would be reseeded within a minute else.
    done(unsafe { libc::ioctl(device.as_raw_fd(), RESEED) })
}

fn done(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
