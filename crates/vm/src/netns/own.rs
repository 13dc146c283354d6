//! Network namespaces of a process's own, which have no name: they end with the last descriptor of them, however their process ends.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::process;

use rustix::thread::UnshareFlags;

use super::{NetnsError, in_a_thread, run};
use crate::launcher::sys;

/// A network namespace that lasts as long as this.
#[derive(Debug)]
pub struct OwnNetns {
    descriptor: OwnedFd,
}

/// What the kernel is not to do with packets that no filter sends on.
const FORWARDING: [&str; 2] = [
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
];

impl OwnNetns {
    /// Makes one with nothing in it but a loopback interface. It forwards nothing.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn new() -> Result<Self, NetnsError> {
        let made = || {
            sys::unshare(UnshareFlags::NEWNET)?;
            for path in FORWARDING {
                match std::fs::write(path, "0") {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(std::fs::File::open("/proc/thread-self/ns/net")?.into())
        };
        let made = std::thread::spawn(made).join();
        let descriptor = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(Self {
            descriptor: descriptor.map_err(NetnsError::Enter)?,
        })
    }

    /// The one that the descriptor is of.
    #[must_use]
    pub fn of(descriptor: OwnedFd) -> Self {
        Self { descriptor }
    }

    /// Where other processes find it while this one has it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", process::id(), self.descriptor.as_raw_fd()).into()
    }

    /// Makes its interface `eth0`, which has an address and leads nowhere: for a VM that will have another network in its place.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn add_a_network(&self) -> Result<(), NetnsError> {
        const STEPS: [&str; 4] = [
            "link add eth0 type veth peer name eth0-end",
            "link set eth0-end up",
            "address add 169.254.77.1/24 dev eth0",
            "link set eth0 up",
        ];
        in_a_thread(&self.path(), || {
            STEPS.iter().try_for_each(|step| {
                let words: Vec<&str> = step.split(' ').collect();
                run("ip", &words).map(drop)
            })
        })
    }

    /// Makes an interface in it that leads nowhere: one that was there before is to be taken away by who expects it.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn add_a_stand_in(&self, interface: &str) -> Result<(), NetnsError> {
        let other = format!("{interface}-end");
        let words = ["link", "add", interface, "type", "veth", "peer", "name", &other];
        in_a_thread(&self.path(), || run("ip", &words)).map(drop)
    }
}

impl std::os::fd::AsFd for OwnNetns {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// How many interfaces the bridge `name` joins, of the namespace that this process is in; `None`: there is none.
#[must_use]
pub fn ports_of(name: &str) -> Option<usize> {
    let links = run("ip", &["-j", "link", "show", "master", name]).ok()?;
    let links: Vec<serde_json::Value> = serde_json::from_slice(&links).ok()?;
    // An empty object stands for nothing in some versions.
    Some(links.iter().filter(|link| link.get("ifname").is_some()).count())
}

/// The names of the interfaces of the namespace that this process is in.
///
/// # Errors
/// [`NetnsError`].
pub fn interfaces() -> Result<Vec<String>, NetnsError> {
    let links = run("ip", &["-j", "link", "show"])?;
    let links: Vec<serde_json::Value> = serde_json::from_slice(&links).map_err(NetnsError::Unreadable)?;
    let names = links.iter().filter_map(|link| link.get("ifname")?.as_str());
    Ok(names.map(str::to_owned).collect())
}
