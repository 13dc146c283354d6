//! A VM in place of what is in a network namespace that somebody else made: a container runtime, a CNI plugin, netavark, ip-netns(8).
//!
//! ```text
//!              the namespace                                     QEMU, in one of its own
//! network <──> eth0 ── ingress: redirect ──> isopod0 (tap) <──> a descriptor <──> the guest's eth0
//!                   <─ redirect: ingress ──                     with eth0's MAC, addresses, routes, MTU, neighbours
//! ```
//!
//! 1. [`read`] reads what the interfaces have. The guest gets the same.
//! 2. [`join`] makes a tap for an interface and joins the two in both directions (tc-mirred(8)); whoever has the descriptor that it
//!    gives is the namespace's network from then on. The addresses stay where they are and answer nothing, for no packet reaches them.
//!    Only answers of name servers can be [left to it](share_name_servers).
//! 3. The tap ends with its descriptor. [`release`] takes away the rest, so that the namespace is as it was.
//!
//! None of it needs a running pod: whoever has a VM to give a namespace's network to calls these. It is iproute2 that does it, which
//! knows each kernel; nothing here decides.

mod own;
mod parse;
mod reach;

pub use own::{OwnNetns, interfaces, ports_of};
use reach::Filter;
pub use reach::Reach;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use isopod_contract::network::GuestNetwork;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::command;
use crate::launcher::sys;

/// How taps are named, but for their numbers, which the kernel gives.
const TAP: &str = "isopod";

/// The preference of the first filter of [`join`], behind all that are added later.
const JOINED: u32 = 16;

/// From which ports a namespace's kernel connects with others.
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// How long a tap may take to go when nobody has it any more.
const TAP_GOES: Duration = Duration::from_secs(1);

/// Where iproute2 is.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Why a namespace's network could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The namespace cannot be entered.
    #[error("cannot enter it")]
    Enter(#[source] io::Error),
    /// It has nothing to take over.
    #[error("no interface in it is up and has an address")]
    Empty,
    /// A VM has it.
    #[error("another pod has its network: it has the interface `{0}`")]
    Taken(String),
    /// It is not what it was.
    #[error("its interfaces, addresses or routes have changed since the pod was prepared")]
    Changed,
    /// A program is missing.
    #[error("there is no `{0}`")]
    NoProgram(&'static str),
    /// A program failed.
    #[error("`{command}` failed: {words}")]
    Failed {
        /// Its command line.
        command: String,
        words: String,
    },
    /// It cannot be set up.
    #[error("cannot write to `{path}`")]
    Setting { path: &'static str, source: io::Error },
    /// What a program said cannot be read.
    #[error("cannot read what `ip` or `tc` said")]
    Unreadable(#[source] serde_json::Error),
    /// No tap.
    #[error("cannot make a tap in it")]
    Tap(#[source] io::Error),
}

impl NetnsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Enter(source) => match source.kind() {
                io::ErrorKind::NotFound => "`ip netns` shows those that have names; they are in `/run/netns`",
                io::ErrorKind::PermissionDenied => "only root may do that: run the pod as root",
                io::ErrorKind::InvalidInput => {
                    "it is not a network namespace, or whoever made it has unmounted it"
                }
                _ => return None,
            },
            Self::Empty => "its interfaces must be there before the pod starts: whoever made it adds them",
            Self::Changed => "prepare the pod again",
            Self::Taken(_) => "only one pod can use a namespace: end that pod first",
            Self::NoProgram(_) => "install iproute2: it has `ip` and `tc`",
            Self::Tap(source) if source.kind() == io::ErrorKind::NotFound => {
                "load the module: `modprobe tun`"
            }
            _ => return None,
        };
        Some(hint.into())
    }
}

/// Reads what the network of the namespace at `path` consists of: the interfaces that are up and have an address.
///
/// # Errors
/// [`NetnsError`].
pub fn read(path: &Path) -> Result<GuestNetwork, NetnsError> {
    in_a_thread(path, || {
        let links = untaken_links()?;
        let routes4 = run("ip", &["-j", "-4", "route", "show", "table", "main"])?;
        let routes6 = run("ip", &["-j", "-6", "route", "show", "table", "main"])?;
        let neighbours = run("ip", &["-j", "neighbour", "show", "nud", "permanent"])?;
        let network = parse::network(links, [&routes4, &routes6], &neighbours);
        let network = network.map_err(NetnsError::Unreadable)?;
        match network.interfaces.is_empty() {
            true => Err(NetnsError::Empty),
            false => Ok(network),
        }
    })
}

/// The interfaces of a namespace that no VM has. A tap goes some time after the last process that had it.
fn untaken_links() -> Result<Vec<parse::Link>, NetnsError> {
    let begun = Instant::now();
    loop {
        let links = run("ip", &["-d", "-j", "address", "show"])?;
        let links = parse::links(&links).map_err(NetnsError::Unreadable)?;
        match links.iter().find(|link| is_ours(&link.ifname)) {
            None => return Ok(links),
            Some(tap) if begun.elapsed() > TAP_GOES => return Err(NetnsError::Taken(tap.ifname.clone())),
            Some(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn is_ours(interface: &str) -> bool {
    let number = interface.strip_prefix(TAP);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Makes a tap in the namespace at `path` and joins it to its interface `interface`: what it receives is read from the descriptor,
/// and what is written there it sends, as far as `reach` goes.
///
/// # Errors
/// [`NetnsError`]; what was made is gone then, or goes with the namespace.
pub fn join(path: &Path, interface: &str, reach: &Reach) -> Result<OwnedFd, NetnsError> {
    let joined = in_a_thread(path, || {
        let (tap, name) = sys::open_tap(&format!("{TAP}%d")).map_err(NetnsError::Tap)?;
        redirect(&name, interface, reach)?;
        Ok(tap)
    });
    joined.inspect_err(|_| drop(release(path, [interface])))
}

/// Takes the tap of a VM from the namespace at `from`, and joins it to the interface `interface` of that at `to`.
///
/// # Errors
/// [`NetnsError`]; the VM has no network then.
pub fn hand_over(from: &Path, to: &Path, interface: &str) -> Result<(), NetnsError> {
    let tap = in_a_thread(from, || {
        let links = run("ip", &["-d", "-j", "address", "show"])?;
        let links = parse::links(&links).map_err(NetnsError::Unreadable)?;
        let mut names = links.into_iter().map(|link| link.ifname);
        let tap = names.find(|name| is_ours(name));
        let tap = tap.ok_or(NetnsError::Tap(io::ErrorKind::NotFound.into()))?;
        let to = to.display().to_string();
        run("ip", &["link", "set", "dev", &tap, "netns", &to])?;
        Ok(tap)
    })?;
    let joined = in_a_thread(to, || redirect(&tap, interface, &Reach::Everything));
    joined.inspect_err(|_| drop(release(to, [interface])))
}

/// Joins a tap and an interface of the namespace that this thread is in.
fn redirect(tap: &str, interface: &str, reach: &Reach) -> Result<(), NetnsError> {
    let mtu = run("ip", &["-j", "link", "show", "dev", interface])?;
    let mtu = parse::mtu(&mtu).map_err(NetnsError::Unreadable)?.to_string();
    run("ip", &["link", "set", "dev", tap, "mtu", &mtu, "up"])?;
    // What a pod that was killed left there.
    let _ = run("tc", &["qdisc", "del", "dev", interface, "ingress"]);
    let directions = [
        (interface, tap, reach.for_the_guest()),
        (tap, interface, reach.of_the_guest()),
    ];
    for (from, to, filters) in directions {
        run("tc", &["qdisc", "add", "dev", from, "ingress"])?;
        add_filters(from, to, JOINED, &filters)?;
    }
    Ok(())
}

/// Adds filters to packets that come from an interface, for those that go on to another; the first has that preference.
fn add_filters(from: &str, to: &str, first: u32, filters: &[Filter]) -> Result<(), NetnsError> {
    for (preference, filter) in (first..).zip(filters) {
        let preference = preference.to_string();
        let begin = [
            "filter",
            "add",
            "dev",
            from,
            "parent",
            "ffff:",
            "pref",
            &preference,
        ];
        let words = filter.words(to);
        let words = words.iter().map(String::as_str);
        run("tc", &begin.into_iter().chain(words).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Lets the kernel of the namespace at `path`, whose interfaces were [joined](join), have what name servers answer to it: a server that
/// listens in the namespace, as docker's does, asks others from there. Its outgoing connections have ports of a range of their own
/// from then on, by which those answers are known. [`release`] takes the filters away; the range stays.
///
/// # Errors
/// [`NetnsError`].
pub fn share_name_servers(path: &Path) -> Result<(), NetnsError> {
    in_a_thread(path, || {
        let (first, last) = reach::OWN_PORTS;
        std::fs::write(PORT_RANGE, format!("{first} {last}")).map_err(|source| NetnsError::Setting {
            path: PORT_RANGE,
            source,
        })?;
        let qdiscs = run("tc", &["-j", "qdisc", "show"])?;
        let joined = parse::with_ingress(&qdiscs).map_err(NetnsError::Unreadable)?;
        for interface in joined.iter().filter(|name| !is_ours(name)) {
            let filters = ["-j", "filter", "show", "dev", interface, "parent", "ffff:"];
            let tap = parse::redirected_to(&run("tc", &filters)?).map_err(NetnsError::Unreadable)?;
            if let Some(tap) = tap.filter(|tap| is_ours(tap)) {
                add_filters(interface, &tap, 1, &reach::answers_of_name_servers())?;
            }
        }
        Ok(())
    })
}

/// Makes a tap in the namespace at `path` that leads nowhere.
///
/// # Errors
/// [`NetnsError`].
pub fn tap(path: &Path) -> Result<OwnedFd, NetnsError> {
    in_a_thread(path, || {
        let tap = sys::open_tap(&format!("{TAP}%d")).map_err(NetnsError::Tap)?;
        Ok(tap.0)
    })
}

/// What a process that serves taps in the host's kernel is given (`vhost_net`), one for each.
///
/// # Errors
/// Where there is no `/dev/vhost-net`, or it is not for this user.
pub fn vhost_net() -> io::Result<OwnedFd> {
    let file = File::options().read(true).write(true).open("/dev/vhost-net")?;
    Ok(file.into())
}

/// Takes away what [`join`] left at these interfaces of the namespace at `path`, whose taps are gone. A namespace that is gone, or
/// that another pod has by now, is left alone.
///
/// # Errors
/// [`NetnsError`].
pub fn release<'a>(path: &Path, interfaces: impl IntoIterator<Item = &'a str>) -> Result<(), NetnsError> {
    let interfaces: Vec<&str> = interfaces.into_iter().collect();
    let released = in_a_thread(path, || {
        let links = untaken_links()?;
        let there = |name: &&&str| links.iter().any(|link| link.ifname == **name);
        for interface in interfaces.iter().filter(there) {
            // There may be none any more.
            let _ = run("tc", &["qdisc", "del", "dev", interface, "ingress"]);
        }
        Ok(())
    });
    match released {
        Err(NetnsError::Enter(error))
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(())
        }
        Err(NetnsError::Taken(_)) => Ok(()),
        other => other,
    }
}

/// Does it in a thread that is in the namespace at `path` and ends there.
fn in_a_thread<T: Send>(
    path: &Path,
    work: impl FnOnce() -> Result<T, NetnsError> + Send,
) -> Result<T, NetnsError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            enter(path)?;
            work()
        });
        let thread = thread.map_err(NetnsError::Enter)?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn enter(path: &Path) -> Result<(), NetnsError> {
    // What is no namespace, such as a FIFO, is not waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let namespace = opened.map_err(NetnsError::Enter)?;
    let entered = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
    entered.map_err(|error| {
        NetnsError::Enter(match error {
            Errno::PERM => io::ErrorKind::PermissionDenied.into(),
            other => other.into(),
        })
    })
}

fn run(program: &'static str, args: &[&str]) -> Result<Vec<u8>, NetnsError> {
    let found: Option<PathBuf> = PLACES
        .iter()
        .map(|place| Path::new(place).join(program))
        .find(|path| path.is_file());
    let found = found.ok_or(NetnsError::NoProgram(program))?;
    let mut process: Command = command(&found);
    let failed = |words: String| NetnsError::Failed {
        command: format!("{program} {}", args.join(" ")),
        words,
    };
    let output = process
        .args(args)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_is_reported() {
        let gone = read(Path::new("/run/netns/isopod-none")).unwrap_err();
        assert!(gone.hint().unwrap().contains("/run/netns"), "{gone}");
        let file = tempfile::NamedTempFile::new().unwrap();
        let none = read(file.path()).unwrap_err();
        let hint = none.hint().unwrap();
        assert!(
            hint.contains("not a network namespace") || hint.contains("root"),
            "{hint}"
        );
        release(Path::new("/run/netns/isopod-none"), ["eth0"]).unwrap();
    }
}
