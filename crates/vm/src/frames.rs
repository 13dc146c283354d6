//! What carries a guest's Ethernet frames to its router and back, and leaves out those that are for the host's loopback interface.
//!
//! ```text
//! guest ─ virtio ─> QEMU ─ socket ─> [outgoing] ─ socket ─> passt ─> the host's connections
//!                        <─ socket ─ [incoming] <─ socket ─
//! ```
//!
//! passt opens a connection to whatever address a packet names. A guest's own kernel sends nothing to 127.0.0.1 or ::1 over a wire,
//! but a guest with a kernel of its own making does, and passt of 2023 (Debian 12) takes it at its word. Only what leads there is
//! known here, nothing of TCP or UDP; every frame is looked at on its own, and what is no IP packet is passt's to judge.
//!
//! A router that is not needed yet is started with the first frame for which it is ([`Wake`]).
//!
//! Each frame stands behind its length, 4 bytes in network order (QEMU's `-netdev stream`).

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown};
use std::os::unix::net::UnixStream;

/// The longest frame, in bytes: 64 KiB of a packet, and its Ethernet header with two tags.
const MAX_FRAME: usize = 65_536 + 14 + 8;
const LENGTH_BYTES: usize = 4;
/// As much as is read at once, in bytes: some of the longest frames.
const BUFFER: usize = 256 * 1024;

/// What starts a router when it is needed.
pub type Wake = Box<dyn FnOnce() + Send>;

/// Carries frames between `guest` and `router` until one of them is closed, which closes the other. Blocks as long.
///
/// A router that does not run yet is started by `wake`, with the first frame that the guest does not send for its own sake; what came before that
/// is dropped.
///
/// # Errors
/// What reading or writing failed with, or a frame that is too long.
pub fn carry(guest: &UnixStream, router: &UnixStream, wake: Option<Wake>) -> io::Result<()> {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let carried = incoming(router, guest);
            end(guest, router);
            carried
        });
        let carried = outgoing(guest, router, wake);
        end(guest, router);
        carried
    })
}

fn end(guest: &UnixStream, router: &UnixStream) {
    let _ = guest.shutdown(Shutdown::Both);
    let _ = router.shutdown(Shutdown::Both);
}

/// From the router nothing is left out.
fn incoming(mut from: &UnixStream, mut to: &UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            length => to.write_all(buffer.get(..length).unwrap_or_default())?,
        }
    }
}

fn outgoing(mut from: &UnixStream, mut to: &UnixStream, mut wake: Option<Wake>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    loop {
        let free = buffer.get_mut(filled..).unwrap_or_default();
        match from.read(free)? {
            0 => return Ok(()),
            length => filled += length,
        }
        let read = buffer.get(..filled).unwrap_or_default();
        let rest = pass(read, |frame| {
            if wake.is_some() && is_unprompted(frame.get(LENGTH_BYTES..).unwrap_or_default()) {
                return Ok(());
            }
            wake.take().into_iter().for_each(|wake| wake());
            // Waits in the socket for a router that is starting.
            to.write_all(frame)
        })?;
        let rest = filled - rest..filled;
        filled = rest.len();
        buffer.copy_within(rest, 0);
    }
}

/// Hands on the whole frames of `read`, each by itself, and gives how many bytes at its end are of one that is not whole.
///
/// passt of 2023 takes it for granted that no length is cut in two, which a socket does to what is written at once and is longer than some
/// 36 KiB, at any place: what begins with a frame, and is no longer than one, it never cuts there.
fn pass(read: &[u8], mut hand_on: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<usize> {
    let mut rest = read;
    while let Some((length, behind)) = rest.split_first_chunk::<LENGTH_BYTES>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            let words = format!("a frame of {length} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        let Some((frame, next)) = behind.split_at_checked(length) else {
            break;
        };
        if !leads_to_loopback(frame) {
            hand_on(rest.get(..LENGTH_BYTES + length).unwrap_or_default())?;
        }
        rest = next;
    }
    Ok(rest.len())
}

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// 802.1Q and 802.1ad: another type follows 4 bytes later.
const TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];

/// Whether a frame's packet would reach the host's loopback interface: by an address of that interface, or by one that stands for
/// the host itself. By its source, too: a router may answer there.
fn leads_to_loopback(frame: &[u8]) -> bool {
    let mut rest = frame.get(12..).unwrap_or_default();
    loop {
        let Some((kind, packet)) = rest.split_first_chunk::<2>() else {
            return false;
        };
        match *kind {
            IPV4 => {
                let at = |start: usize| packet.get(start..)?.first_chunk::<4>().copied();
                let local = |address: [u8; 4]| is_local4(Ipv4Addr::from(address));
                return [at(16), at(12)].into_iter().flatten().zip([true, false]).any(
                    |(address, is_destination)| {
                        // A host without an address yet asks for one from there (DHCP).
                        local(address) && (is_destination || address != [0; 4])
                    },
                );
            }
            IPV6 => {
                let at = |start: usize| packet.get(start..)?.first_chunk::<16>().copied();
                return [at(24), at(8)].into_iter().flatten().zip([true, false]).any(
                    |(address, is_destination)| {
                        let address = Ipv6Addr::from(address);
                        // A neighbour without an address yet solicits from there.
                        is_local6(address) && (is_destination || !address.is_unspecified())
                    },
                );
            }
            kind if TAGS.contains(&kind) => rest = packet.get(2..).unwrap_or_default(),
            _ => return false,
        }
    }
}

/// All routers of a link, which an interface that comes up asks for its addresses (RFC 4861).
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// All routers that know who listens to which group (MLDv2, RFC 3810).
const GROUP_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// Whether a kernel sends such a frame when its interface comes up, though no program has anything to send: it asks for routers and for
/// others that have its address, and says to which groups it listens. No router of ours answers any of it.
fn is_unprompted(frame: &[u8]) -> bool {
    let address = |start: usize| {
        let octets = frame.get(start..)?.first_chunk::<16>()?;
        Some(Ipv6Addr::from(*octets))
    };
    frame.get(12..14) == Some(&IPV6)
        && (address(22).is_some_and(|source| source.is_unspecified())
            || address(38).is_some_and(|destination| [ROUTERS, GROUP_ROUTERS].contains(&destination)))
}

/// 127.0.0.0/8 and 0.0.0.0/8, which Linux takes for the host itself.
fn is_local4(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.octets()[0] == 0
}

/// ::1, ::, and IPv4's own in IPv6: mapped, compatible, translated (NAT64's well-known prefix).
fn is_local6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, ..] = address.segments();
    let [.., w, x, y, z] = address.octets();
    let v4 = Ipv4Addr::new(w, x, y, z);
    let holds_v4 = matches!(
        [a, b, c, d, e, f],
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0]
    );
    address.is_loopback() || address.is_unspecified() || holds_v4 && is_local4(v4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame4(source: [u8; 4], destination: [u8; 4], tags: usize) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend((0..tags).flat_map(|_| [0x81, 0, 0, 1]));
        frame.extend(IPV4);
        frame.extend([0x45; 12]);
        frame.extend(source);
        frame.extend(destination);
        frame
    }

    fn frame6(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend(IPV6);
        frame.extend([0x60; 8]);
        frame.extend(source.octets());
        frame.extend(destination.octets());
        frame
    }

    #[test]
    fn what_leads_to_the_hosts_loopback_is_known() {
        let pod = [10, 0, 2, 15];
        for local in [[127, 0, 0, 1], [127, 255, 0, 9], [0, 0, 0, 0], [0, 1, 2, 3]] {
            for tags in 0..3 {
                assert!(leads_to_loopback(&frame4(pod, local, tags)), "{local:?}");
            }
        }
        assert!(leads_to_loopback(&frame4([127, 0, 0, 1], pod, 0)));
        assert!(!leads_to_loopback(&frame4([0; 4], [255; 4], 0)));
        assert!(!leads_to_loopback(&frame4(pod, [192, 0, 2, 1], 0)));
        let pod: Ipv6Addr = "fd49:534f:504f:44::15".parse().unwrap();
        for local in [
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.2",
            "64:ff9b::7f00:1",
        ] {
            let local: Ipv6Addr = local.parse().unwrap();
            assert!(leads_to_loopback(&frame6(pod, local)), "{local}");
        }
        for far in [
            "2001:db8::1",
            "fe80::1",
            "ff02::1",
            "::ffff:192.0.2.1",
            "64:ff9b::c000:201",
        ] {
            let far: Ipv6Addr = far.parse().unwrap();
            assert!(!leads_to_loopback(&frame6(pod, far)), "{far}");
        }
        for length in 0..34 {
            assert!(!leads_to_loopback(
                &frame4(pod.octets()[..4].try_into().unwrap(), [1; 4], 0)[..length]
            ));
        }
    }

    /// However the stream is cut, the same frames come through, and those to the loopback interface do not.
    #[test]
    fn frames_come_through_whole() {
        let far = frame4([10, 0, 2, 15], [192, 0, 2, 1], 0);
        let local = frame4([10, 0, 2, 15], [127, 0, 0, 1], 0);
        let long = vec![7; MAX_FRAME];
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for frame in [
            &far,
            &local,
            &local,
            &far,
            &long,
            &local,
            &far,
            &Vec::new(),
            &local,
        ] {
            let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
            let with_length = [&length[..], frame].concat();
            sent.extend(&with_length);
            if *frame != local {
                expected.extend(with_length);
            }
        }
        for cut in [1, 3, 7, 100, 70_000, sent.len()] {
            let (qemu, guest) = UnixStream::pair().unwrap();
            let (router, passt) = UnixStream::pair().unwrap();
            let received = std::thread::scope(|scope| {
                scope.spawn(|| carry(&guest, &router, None));
                scope.spawn(|| {
                    let mut qemu = &qemu;
                    for part in sent.chunks(cut) {
                        qemu.write_all(part).unwrap();
                    }
                    let mut answer = [0; 6];
                    qemu.read_exact(&mut answer).unwrap();
                    assert_eq!(&answer, b"answer");
                    qemu.shutdown(Shutdown::Both).unwrap();
                });
                (&passt).write_all(b"answer").unwrap();
                let mut received = Vec::new();
                (&passt).read_to_end(&mut received).unwrap();
                received
            });
            assert!(received == expected, "cut at {cut}: {} bytes", received.len());
        }
    }

    /// What a kernel says by itself does not need a router; the first frame that does comes through, and all that follow.
    #[test]
    fn a_router_is_started_when_it_is_needed() {
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let unprompted = [
            frame6(Ipv6Addr::UNSPECIFIED, address("ff02::1:ff00:15")),
            frame6(address("fe80::1"), ROUTERS),
            frame6(address("fe80::1"), GROUP_ROUTERS),
        ];
        let local = frame4([10, 0, 2, 15], [127, 0, 0, 1], 0);
        let arp = [&[255; 6][..], &[2; 6], &[8, 6], &[1; 28]].concat();
        let stream = |frames: &[&Vec<u8>]| -> Vec<u8> {
            let with_length = |frame: &&Vec<u8>| {
                let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
                [&length[..], frame].concat()
            };
            frames.iter().flat_map(with_length).collect()
        };
        let [a, b, c] = &unprompted;
        for first in [
            &arp,
            &frame4([10, 0, 2, 15], [192, 0, 2, 1], 0),
            &frame6(address("fd49::15"), address("ff02::1:ff00:2")),
            &frame6(address("fe80::15"), address("fe80::1")),
        ] {
            let (mut qemu, guest) = UnixStream::pair().unwrap();
            let (router, mut passt) = UnixStream::pair().unwrap();
            let (woken, wakes) = std::sync::mpsc::channel();
            let wake = Box::new(move || woken.send(()).unwrap());
            let carrying = std::thread::spawn(move || carry(&guest, &router, Some(wake)));
            qemu.write_all(&stream(&[a, b, &local, c])).unwrap();
            qemu.write_all(&stream(&[first, a])).unwrap();
            wakes.recv().unwrap();
            let mut received = vec![0; stream(&[first, a]).len()];
            passt.read_exact(&mut received).unwrap();
            assert_eq!(received, stream(&[first, a]));
            drop(qemu);
            carrying.join().unwrap().unwrap();
        }
    }

    /// However many come at once, each is written by itself.
    #[test]
    fn each_frame_is_handed_on_by_itself() {
        let frame = [&50_000_u32.to_be_bytes()[..], &[7; 50_000]].concat();
        let sent = [&frame[..], &frame, &frame, &frame[..9]].concat();
        let mut written = Vec::new();
        let rest = pass(&sent, |frame| {
            written.push(frame.to_vec());
            Ok(())
        });
        assert_eq!(rest.unwrap(), 9);
        assert!(written == [&*frame, &frame, &frame]);
    }

    #[test]
    fn a_frame_without_end_is_an_error() {
        assert!(pass(&[255; 4], |_| Ok(())).is_err());
    }
}
