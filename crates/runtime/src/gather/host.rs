//! The facts about the host: KVM, virtiofsd, namespaces, each only where the pod needs it.

use std::io::Read;
use std::path::{Path, PathBuf};

use isopod_contract::in_one_line;
use isopod_guest::Ensured;
use isopod_plan::distribution::{Distribution, Need};
use isopod_plan::facts::{
    GuestFacts, HostFacts, HostUser, Kvm, NamespaceFault, Namespaces, NetworkFacts, OwnUsers, Owner,
};
use isopod_plan::vm::board;
use isopod_plan::vm::confinement::{self, Isolation};
use isopod_plan::vm::sharing::SharedVolume;
use isopod_plan::vm::user_namespaces::UserNamespaces;
use isopod_spec::{
    Accel, Architecture, Network, PodSpec, ShareTransport, UserMapping, UserRouter, VolumeKind,
};
use isopod_vm::kvm;
use isopod_vm::launch;
use isopod_vm::launcher::root::{Proc, Root};
use isopod_vm::launcher::{Capabilities, Launcher};
use isopod_vm::netns;
use isopod_vm::virtiofsd;
use rustix::thread::CapabilitySet;

use crate::programs::{find_program, has_qboot};
use crate::{Settings, resolver, routes, state_dir, subordinates, templates};

/// As much as is read of an image's `/etc/passwd` and `/etc/group`, and of the host's resolver configuration.
pub(super) const MAX_DATABASE_BYTES: u64 = 1 << 20;

/// Where programs for root are, which an ordinary user's search path leaves out.
const SYSTEM_PROGRAMS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The first executable of that name in `first`, in `search`, or among those for root.
pub(crate) fn find_system_program(first: &[&str], search: &[PathBuf], name: &str) -> Option<PathBuf> {
    let first: Vec<PathBuf> = first.iter().map(PathBuf::from).collect();
    let last = SYSTEM_PROGRAMS.map(PathBuf::from);
    find_program(&[&first, search, &last].concat(), name)
}

pub(super) fn host(
    spec: &PodSpec,
    settings: &Settings,
    qemu: &Path,
    (architecture, guest): (Architecture, &Ensured),
    distribution: Distribution,
) -> HostFacts {
    let passed_over = passed_over(guest);
    let guest = &guest.image;
    let user = user();
    let shares = spec.vm.transport == ShareTransport::Virtiofs
        || spec.held
        || spec.apps.iter().any(|app| app.directory().is_some())
        || spec
            .volumes
            .iter()
            .any(|volume| matches!(volume.kind, VolumeKind::Host(_)));
    let qboot = has_qboot(qemu);
    let kvm = match spec.vm.accel {
        Accel::Tcg => Kvm::NotAsked,
        Accel::Auto | Accel::Kvm if architecture != Architecture::HOST => Kvm::Unusable(format!(
            "its processor is {architecture}, and the host's {}",
            Architecture::HOST
        )),
        Accel::Auto | Accel::Kvm => {
            let probe = kvm::Guest {
                kernel: &guest.kernel,
                initrd: &guest.initrd,
                digest: &guest.digest,
                firmware: board::firmware(architecture, qboot),
            };
            kvm::works(
                &settings.isopod,
                qemu,
                &probe,
                &settings.state_dir.join(state_dir::KVM),
            )
        }
    };
    HostFacts {
        user,
        caller: Owner {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        },
        subordinates: (spec.user_mapping != UserMapping::Unspecified)
            .then(|| subordinates::of_caller(&settings.search_path))
            .flatten(),
        own_users: own_users(),
        kvm,
        qboot,
        namespaces: namespaces(settings),
        mkfs: mkfs(settings),
        free_bytes: free_bytes(&settings.state_dir),
        virtiofsd: (shares && spec.vm.transport != ShareTransport::NineP)
            .then(|| virtiofsd::find(&settings.search_path, user))
            .flatten(),
        open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
        network: match &spec.network {
            Network::User { options, .. } => network(settings, options.by),
            Network::Namespace { path } => namespace(path, &distribution),
            // Which addresses are taken is looked at last, and held.
            Network::Named { .. } => NetworkFacts {
                nameservers: resolver::nameservers(&text_of(resolver::RESOLV_CONF.as_ref())),
                vhost_net: netns::vhost_net().is_ok(),
                ..NetworkFacts::default()
            },
            Network::None => NetworkFacts::default(),
        },
        search_domains: match &spec.network {
            Network::User { .. } | Network::Named { .. } => {
                resolver::search_domains(&text_of(resolver::RESOLV_CONF.as_ref()))
            }
            Network::Namespace { path } => resolver::search_domains(&text_of(&resolver::of_namespace(path))),
            Network::None => Vec::new(),
        },
        guest: GuestFacts {
            architecture,
            kernel: guest.kernel.clone(),
            initrd: guest.initrd.clone(),
            more_modules: guest.more_modules.clone(),
            release: guest.release.clone(),
            modules: guest.modules.clone(),
            systemd_version: guest.systemd_version,
            passed_over,
        },
        templates: templates::facts(settings, qemu),
        distribution,
    }
}

/// What is noted about the kernels that were better than the one of the guest.
fn passed_over(guest: &Ensured) -> Vec<String> {
    let reported = guest.passed_over.iter().map(|passed| {
        format!(
            "the guest runs kernel {}, since `{}` cannot be used: {} (`isopod doctor` says what to do)",
            guest.image.release,
            passed.kernel.display(),
            passed.reason
        )
    });
    reported.collect()
}

/// How much an ordinary user can write below `dir`, or will once it is made; as good as unbounded where nobody knows.
pub(crate) fn free_bytes(dir: &Path) -> u64 {
    let found = dir.ancestors().find_map(|there| rustix::fs::statvfs(there).ok());
    found.map_or(u64::MAX, |found| found.f_bavail.saturating_mul(found.f_frsize))
}

/// What there is for the host user's network.
fn network(settings: &Settings, by: Option<UserRouter>) -> NetworkFacts {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    NetworkFacts {
        passt: (by != Some(UserRouter::Qemu))
            .then(|| find_program(&settings.search_path, "passt"))
            .flatten(),
        ipv4_route: routes::leads_out4(&read(routes::IPV4)),
        ipv6_route: routes::leads_out6(&read(routes::IPV6)),
        nameservers: resolver::nameservers(&text_of(resolver::RESOLV_CONF.as_ref())),
        ..NetworkFacts::default()
    }
}

/// What there is for a pod in the network namespace at `path`.
fn namespace(path: &Path, distribution: &Distribution) -> NetworkFacts {
    let found = netns::read(path).map_err(|error| NamespaceFault {
        reason: in_one_line(&error),
        hint: match &error {
            netns::NetnsError::NoProgram(_) => Some(distribution.install(Need::Iproute)),
            other => other.hint(),
        },
    });
    NetworkFacts {
        nameservers: resolver::nameservers(&text_of(&resolver::of_namespace(path))),
        namespace: Some(found),
        vhost_net: netns::vhost_net().is_ok(),
        ..NetworkFacts::default()
    }
}

/// A resolver configuration; empty where it cannot be read.
fn text_of(path: &Path) -> String {
    let mut text = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(MAX_DATABASE_BYTES).read_to_end(&mut text));
    if let Err(error) = read {
        tracing::debug!("cannot read `{}`: {error}", path.display());
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Who runs this process.
pub(crate) fn user() -> HostUser {
    let uid = rustix::process::geteuid();
    match uid.is_root() {
        true => HostUser::Root,
        false => HostUser::Ordinary { uid: uid.as_raw() },
    }
}

/// What makes file systems.
pub(crate) fn mkfs(settings: &Settings) -> Option<PathBuf> {
    let system = SYSTEM_PROGRAMS.map(PathBuf::from);
    find_program(&[&settings.search_path[..], &system].concat(), "mkfs.ext4")
}

/// What the kernel's switches let ordinary users do.
pub(crate) fn user_namespaces() -> UserNamespaces {
    let number = |name: &str| {
        let text = std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let profile = || std::fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    UserNamespaces {
        apparmor_restricts: number("kernel/apparmor_restrict_unprivileged_userns") == Some(1)
            && !profile().starts_with("isopod"),
        only_root: number("kernel/unprivileged_userns_clone") == Some(0),
        most: number("user/max_user_namespaces").unwrap_or(u64::MAX),
    }
}

/// Tries to enter a mount namespace and to mount in it, as the launcher of a pod's process will. Where a switch of the kernel keeps
/// an ordinary user from it, that is the reason, and not what failed by it.
pub(crate) fn namespaces(settings: &Settings) -> Namespaces {
    let found = tried(settings);
    let obstacle = match user() {
        HostUser::Root => None,
        HostUser::Ordinary { .. } => user_namespaces().obstacle(),
    };
    let Some(obstacle) = obstacle else {
        return found;
    };
    let reason = format!("{} (`isopod doctor` says what to do)", obstacle.reason);
    match found {
        Namespaces::Available => Namespaces::Available,
        Namespaces::WithoutNetwork(_) => Namespaces::WithoutNetwork(reason),
        Namespaces::WithoutRoot(_) => Namespaces::WithoutRoot(reason),
        Namespaces::Unavailable(_) => Namespaces::Unavailable(reason),
    }
}

fn tried(settings: &Settings) -> Namespaces {
    let root = || {
        Some(Root {
            proc: Proc::Itself,
            dir: "/proc".into(),
            files: Vec::new(),
        })
    };
    let Err(network) = try_stage(settings, root(), Isolation::Network) else {
        return Namespaces::Available;
    };
    let Err(reason) = try_stage(settings, root(), Isolation::Processes) else {
        return Namespaces::WithoutNetwork(network);
    };
    match try_stage(settings, None, Isolation::Mounts) {
        Ok(()) => Namespaces::WithoutRoot(reason),
        Err(reason) => Namespaces::Unavailable(reason),
    }
}

/// What it takes to run a process as another user and to end it, and to give it its files.
const FOR_OWN_USERS: [(CapabilitySet, &str); 6] = [
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    (CapabilitySet::FOWNER, "CAP_FOWNER"),
    (CapabilitySet::KILL, "CAP_KILL"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
    (CapabilitySet::SETPCAP, "CAP_SETPCAP"),
    (CapabilitySet::SETUID, "CAP_SETUID"),
];

/// Whether this process can make another user of a process, which root in a container may not.
fn own_users() -> OwnUsers {
    let held = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if let Some((_, name)) = FOR_OWN_USERS.iter().find(|(needed, _)| !held.contains(*needed)) {
        return OwnUsers::Unavailable(format!("{name} is missing"));
    }
    for map in ["/proc/self/uid_map", "/proc/self/gid_map"] {
        let text = std::fs::read_to_string(map).unwrap_or_default();
        if !maps(&text, &confinement::OWN_USERS) {
            return OwnUsers::Unavailable(format!("`{map}` leaves it out"));
        }
    }
    OwnUsers::Available
}

/// Whether a map of user_namespaces(7) has all of these.
fn maps(map: &str, wanted: &std::ops::Range<u32>) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.nth(1)) {
            (Some(Ok(first)), Some(Ok(count))) => {
                first <= wanted.start.into() && u64::from(wanted.end) <= first.saturating_add(count)
            }
            _ => false,
        }
    })
}

/// Tries a launcher that mounts, with a root of its own if `root` is one; gives its words when it fails.
fn try_stage(settings: &Settings, root: Option<Root>, isolation: Isolation) -> Result<(), String> {
    let share = match &root {
        Some(_) => None,
        None => Some((PathBuf::from("/proc"), Vec::<SharedVolume>::new())),
    };
    let launcher = Launcher {
        parent: std::process::id(),
        share,
        root,
        owner: Owner { uid: 0, gid: 0 },
        maps: None,
        isolation,
        user: None,
        capabilities: Capabilities::Kept,
        command: vec!["/bin/true".into()],
    };
    let output = launch::command(&settings.isopod).args(launcher.argv()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            Err(words.trim().lines().collect::<Vec<_>>().join("; "))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_of_its_own_must_be_mapped() {
        let wanted = confinement::OWN_USERS;
        // The host's own map, a container's of subordinate users, and unshare(1)'s of one user.
        assert!(maps("         0          0 4294967295\n", &wanted));
        assert!(!maps("0 1000 1\n1 100000 65536\n", &wanted));
        assert!(!maps("0 1000 1\n", &wanted) && !maps("", &wanted));
    }
}
