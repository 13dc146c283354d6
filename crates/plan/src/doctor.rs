//! What a host can do and cannot: facts that somebody gathered become findings, each with what to do about it.
//!
//! A finding is a *fault* where no pod runs before it is mended, and a *lack* where pods run slower or with less.

use std::path::PathBuf;

use isopod_spec::Architecture;

use crate::distribution::{Distribution, Need};
use crate::facts::{HostUser, Kvm, Namespaces, NetworkPrograms, Virtiofsd, VirtiofsdFlavour};
use crate::vm::user_namespaces::UserNamespaces;

/// What is known of a host.
#[derive(Clone, Debug)]
pub struct HostReport {
    pub distribution: Distribution,
    pub user: HostUser,
    /// QEMU and its version.
    pub qemu: Option<(PathBuf, String)>,
    /// Whether a guest ran with KVM.
    pub kvm: KvmReport,
    /// The guest image, or what stands against it.
    pub guest: Result<GuestReport, Trouble>,
    /// Kernels that are better than the guest's and cannot be used.
    pub passed_over: Vec<Trouble>,
    /// The virtiofsd that works for this user.
    pub virtiofsd: Option<Virtiofsd>,
    pub passt: Option<PathBuf>,
    /// What makes networks with names.
    pub network_programs: NetworkPrograms,
    /// `mkfs.ext4`.
    pub mkfs: Option<PathBuf>,
    /// What a process of a pod can be confined by.
    pub namespaces: Namespaces,
    /// What the kernel lets ordinary users do.
    pub user_namespaces: UserNamespaces,
    /// The users that an ordinary user may be beside himself.
    pub subordinates: Subordinates,
    pub state_dir: PathBuf,
    /// What can be written there, in bytes.
    pub free_bytes: u64,
    /// Whether a registry answers.
    pub registry: RegistryReport,
}

/// Whether KVM works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvmReport {
    /// It was tried, or cannot be.
    Tried(Kvm),
    /// `/dev/kvm` is there, and not for this user.
    Denied,
    /// There is no `/dev/kvm`.
    Absent,
    /// There is nothing to try it with.
    NotTried,
}

/// What a guest image is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestReport {
    /// The kernel's release.
    pub release: String,
    /// Whether it has virtiofs.
    pub virtiofs: bool,
    /// Whether it has 9p.
    pub nine_p: bool,
    pub systemd_version: u32,
}

/// Something that stands against a pod, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub what: String,
    pub fix: Option<String>,
}

/// Whether files and processes can be given to users that are the caller's (subuid(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subordinates {
    /// Root needs none.
    NotNeeded,
    /// `newuidmap` and `newgidmap` are not installed.
    NoPrograms,
    /// No range is the user's in `/etc/subuid` and `/etc/subgid`, whose name is this.
    NoRange(String),
    /// As many of each.
    Available(u32),
}

/// Whether a registry answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryReport {
    /// This one does.
    Answers(String),
    /// This proxy is asked in its place.
    Proxy(String),
    /// This one does not, for this reason.
    Silent(String, String),
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It is as it should be.
    Ok,
    /// Pods run slower, or with less.
    Lack,
    /// No pod runs.
    Fault,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub topic: &'static str,
    /// How much it matters.
    pub level: Level,
    pub what: String,
    /// What to do about it; there is something wherever it is not [`Level::Ok`].
    pub fix: Option<String>,
}

impl Finding {
    fn ok(topic: &'static str, what: impl Into<String>) -> Self {
        let what = what.into();
        Self {
            topic,
            level: Level::Ok,
            what,
            fix: None,
        }
    }

    fn lack(topic: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Lack,
            fix: Some(fix.into()),
            ..Self::ok(topic, what)
        }
    }

    fn fault(topic: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Fault,
            ..Self::lack(topic, what, fix)
        }
    }
}

/// A pod writes at least this much to the state directory without anybody noticing: a guest image, a template, an image.
const LITTLE_BYTES: u64 = 2 << 30;

/// What is to be said of a host, topic by topic.
#[must_use]
pub fn findings(host: &HostReport) -> Vec<Finding> {
    let mut findings = vec![qemu(host), kvm(host)];
    findings.extend(guest(host));
    findings.extend([
        volumes(host),
        network(host),
        named_networks(host),
        disks(host),
        namespaces(host),
        owners(host),
        state(host),
        registry(host),
    ]);
    findings
}

fn qemu(host: &HostReport) -> Finding {
    const TOPIC: &str = "QEMU";
    match &host.qemu {
        Some((program, version)) => Finding::ok(TOPIC, format!("{} {version}", program.display())),
        None => Finding::fault(
            TOPIC,
            "not found",
            host.distribution.install(Need::Qemu(Architecture::HOST)),
        ),
    }
}

fn kvm(host: &HostReport) -> Finding {
    const TOPIC: &str = "KVM";
    match &host.kvm {
        KvmReport::Tried(Kvm::Works) => Finding::ok(TOPIC, "a guest ran with it"),
        KvmReport::Tried(Kvm::Unusable(reason)) => Finding::lack(
            TOPIC,
            format!("VMs are emulated, which is slow: {reason}"),
            "on a host that is a VM itself, let its hypervisor nest VMs; `--accel tcg` runs pods as they run now",
        ),
        KvmReport::Denied => Finding::lack(
            TOPIC,
            "VMs are emulated, which is slow: this user may not open /dev/kvm",
            "join its group and log in again: `sudo usermod -aG kvm $USER`",
        ),
        KvmReport::Absent => Finding::lack(
            TOPIC,
            "VMs are emulated, which is slow: there is no /dev/kvm",
            "enable virtualization in the firmware, or nested virtualization where this host is a VM; then `sudo \
             modprobe -a kvm_intel kvm_amd`",
        ),
        KvmReport::NotTried | KvmReport::Tried(Kvm::NotAsked) => Finding::lack(
            TOPIC,
            "not tried: there is no guest to try it with",
            "fix what is missing, then run `isopod doctor` again",
        ),
    }
}

fn guest(host: &HostReport) -> Vec<Finding> {
    const TOPIC: &str = "guest";
    let mut findings: Vec<Finding> = host
        .passed_over
        .iter()
        .map(|passed| {
            let fix = passed.fix.clone();
            let other = || "remove it, or install it again; `--kernel VERSION` takes another".to_owned();
            Finding::lack("kernel", passed.what.clone(), fix.unwrap_or_else(other))
        })
        .collect();
    findings.push(match &host.guest {
        Ok(guest) => Finding::ok(
            TOPIC,
            format!("kernel {}, systemd {}", guest.release, guest.systemd_version),
        ),
        Err(trouble) => Finding::fault(
            TOPIC,
            trouble.what.clone(),
            trouble
                .fix
                .clone()
                .unwrap_or_else(|| "docs/hosts.md says what a guest is made of".into()),
        ),
    });
    findings
}

fn volumes(host: &HostReport) -> Finding {
    const TOPIC: &str = "volumes";
    let guest = host.guest.as_ref().ok();
    let (virtiofs, nine_p) = guest.map_or((true, true), |guest| (guest.virtiofs, guest.nine_p));
    let own = &host.distribution;
    let install = match own.virtiofsd_is_qemus() && host.user != HostUser::Root {
        true => "`cargo install virtiofsd`: that of QEMU's package works for root only".to_owned(),
        false => own.install(Need::Virtiofsd),
    };
    match &host.virtiofsd {
        Some(found) if virtiofs => {
            let (major, minor) = found.version;
            let text = format!("virtiofs, by {} {major}.{minor}", found.program.display());
            match found.flavour {
                VirtiofsdFlavour::C => Finding::ok(TOPIC, text + " (QEMU's own)"),
                VirtiofsdFlavour::Rust => Finding::ok(TOPIC, text),
            }
        }
        found if nine_p => Finding::lack(
            TOPIC,
            match found {
                Some(_) => "over 9p, which is slower: the kernel has no virtiofs",
                None => "over 9p, which is slower: no virtiofsd that works here was found",
            },
            match found {
                Some(_) => own.install(Need::Kernel),
                None => install,
            },
        ),
        _ => Finding::lack(
            TOPIC,
            format!(
                "no host volume can be shared: no virtiofsd that works here, and the kernel has no 9p{}",
                own.without_9p()
            ),
            install,
        ),
    }
}

fn network(host: &HostReport) -> Finding {
    const TOPIC: &str = "network";
    match &host.passt {
        Some(program) => Finding::ok(TOPIC, format!("by {}", program.display())),
        None => Finding::lack(
            TOPIC,
            "by QEMU, without IPv6, and pods reach the host's own 127.0.0.1: passt is not installed",
            host.distribution.install(Need::Passt),
        ),
    }
}

fn named_networks(host: &HostReport) -> Finding {
    const TOPIC: &str = "networks";
    match host.network_programs.missing(host.user, true) {
        None => Finding::ok(TOPIC, "with names, by netavark and aardvark-dns"),
        Some((what, need)) => Finding::lack(
            TOPIC,
            format!("none with names (`isopod network`): {what}"),
            host.distribution.install(need),
        ),
    }
}

fn disks(host: &HostReport) -> Finding {
    const TOPIC: &str = "disks";
    match &host.mkfs {
        Some(program) => Finding::ok(TOPIC, format!("by {}", program.display())),
        None => Finding::lack(
            TOPIC,
            "apps write to the VM's memory: `mkfs.ext4` was not found",
            host.distribution.install(Need::Ext4),
        ),
    }
}

fn namespaces(host: &HostReport) -> Finding {
    const TOPIC: &str = "namespaces";
    let (what, reason) = match &host.namespaces {
        Namespaces::Available => return Finding::ok(TOPIC, "QEMU and virtiofsd get a root of their own"),
        Namespaces::WithoutNetwork(reason) => ("QEMU can connect where you can", reason),
        Namespaces::WithoutRoot(reason) => ("QEMU sees your files", reason),
        Namespaces::Unavailable(reason) => (
            "QEMU sees your files, and each host volume is a device of its own",
            reason,
        ),
    };
    let obstacle = host.user_namespaces.obstacle();
    let fix = match (&obstacle, host.user) {
        (Some(obstacle), _) => obstacle.fix.clone(),
        (None, HostUser::Root) => {
            "in a container, let it have CAP_SYS_ADMIN and a writable /proc (`--privileged`)".into()
        }
        (None, HostUser::Ordinary { .. }) => {
            "run the pod as root, or ask the host's administrator to allow user namespaces".into()
        }
    };
    let reason = obstacle.map_or_else(|| reason.clone(), |obstacle| obstacle.reason);
    Finding::lack(TOPIC, format!("{what}: {reason}"), fix)
}

fn owners(host: &HostReport) -> Finding {
    const TOPIC: &str = "owners";
    let alone = "on the host every file of a host volume is yours, whoever wrote it";
    match &host.subordinates {
        Subordinates::NotNeeded => Finding::ok(TOPIC, "files of host volumes keep their owners"),
        Subordinates::Available(count) => Finding::ok(
            TOPIC,
            format!(
                "{count} subordinate users and groups are yours: files of host volumes can keep their owners"
            ),
        ),
        Subordinates::NoPrograms => Finding::lack(
            TOPIC,
            format!("{alone}: `newuidmap` and `newgidmap` were not found"),
            host.distribution.install(Need::UidMap),
        ),
        Subordinates::NoRange(user) => Finding::lack(
            TOPIC,
            format!("{alone}: /etc/subuid and /etc/subgid have no range of `{user}`"),
            format!("`sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`"),
        ),
    }
}

fn state(host: &HostReport) -> Finding {
    const TOPIC: &str = "state";
    let mib = host.free_bytes >> 20;
    let text = format!("{}, with {mib} MiB left", host.state_dir.display());
    match host.free_bytes < LITTLE_BYTES {
        true => Finding::lack(
            TOPIC,
            text,
            "make room (`isopod gc`, `isopod system prune`), or keep it elsewhere: `--dir DIR`",
        ),
        false => Finding::ok(TOPIC, text),
    }
}

fn registry(host: &HostReport) -> Finding {
    const TOPIC: &str = "registries";
    match &host.registry {
        RegistryReport::Answers(name) => Finding::ok(TOPIC, format!("{name} answers")),
        RegistryReport::Proxy(proxy) => {
            Finding::ok(TOPIC, format!("through the proxy {proxy}, which was not tried"))
        }
        RegistryReport::Silent(name, reason) => Finding::lack(
            TOPIC,
            format!("{name} does not answer: {reason}"),
            "images come from files too (`oci:DIR`); behind a proxy set `https_proxy`; docs/images.md says more",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> HostReport {
        HostReport {
            distribution: Distribution::read("ID=ubuntu\nVERSION_ID=\"24.04\"\n"),
            user: HostUser::Ordinary { uid: 1000 },
            qemu: Some(("/usr/bin/qemu-system-x86_64".into(), "8.2.2".into())),
            kvm: KvmReport::Tried(Kvm::Works),
            guest: Ok(GuestReport {
                release: "6.8.0-31-generic".into(),
                virtiofs: true,
                nine_p: true,
                systemd_version: 255,
            }),
            passed_over: Vec::new(),
            virtiofsd: Some(Virtiofsd {
                program: "/usr/libexec/virtiofsd".into(),
                flavour: VirtiofsdFlavour::Rust,
                version: (1, 10),
            }),
            passt: Some("/usr/bin/passt".into()),
            network_programs: NetworkPrograms {
                netavark: Some("/usr/lib/podman/netavark".into()),
                aardvark: Some("/usr/lib/podman/aardvark-dns".into()),
                pasta: Some("/usr/bin/pasta".into()),
            },
            mkfs: Some("/usr/sbin/mkfs.ext4".into()),
            namespaces: Namespaces::Available,
            user_namespaces: UserNamespaces::default(),
            subordinates: Subordinates::Available(65536),
            state_dir: "/home/me/.local/share/isopod".into(),
            free_bytes: 100 << 30,
            registry: RegistryReport::Answers("registry-1.docker.io".into()),
        }
    }

    #[test]
    fn a_good_host_has_nothing_to_mend() {
        let found = findings(&good());
        assert!(
            found.iter().all(|finding| finding.level == Level::Ok),
            "{found:?}"
        );
        assert!(found.iter().all(|finding| finding.fix.is_none()));
    }

    /// Everything that can be missing is reported with what to do about it, in this distribution's words.
    #[test]
    fn whatever_is_missing_has_its_fix() {
        type Change = fn(&mut HostReport);
        let changes: [(&str, Level, &str, Change); 20] = [
            ("QEMU", Level::Fault, "apt install qemu-system-x86", |host| {
                host.qemu = None
            }),
            ("KVM", Level::Lack, "usermod -aG kvm", |host| {
                host.kvm = KvmReport::Denied
            }),
            ("KVM", Level::Lack, "firmware", |host| {
                host.kvm = KvmReport::Absent
            }),
            ("KVM", Level::Lack, "nest", |host| {
                host.kvm = KvmReport::Tried(Kvm::Unusable("a guest did not come up".into()));
            }),
            ("KVM", Level::Lack, "fix what is missing", |host| {
                host.kvm = KvmReport::NotTried
            }),
            ("guest", Level::Fault, "chmod", |host| {
                host.guest = Err(Trouble {
                    what: "cannot read `/boot/vmlinuz-6.8.0-31-generic`".into(),
                    fix: Some("sudo chmod a+r".into()),
                });
            }),
            ("guest", Level::Fault, "hosts.md", |host| {
                let (what, fix) = ("broken".into(), None);
                host.guest = Err(Trouble { what, fix });
            }),
            ("kernel", Level::Lack, "--kernel", |host| {
                let (what, fix) = ("broken".into(), None);
                host.passed_over = vec![Trouble { what, fix }];
            }),
            ("volumes", Level::Lack, "apt install virtiofsd", |host| {
                host.virtiofsd = None
            }),
            (
                "volumes",
                Level::Lack,
                "apt install linux-image-generic",
                |host| {
                    host.guest.as_mut().unwrap().virtiofs = false;
                },
            ),
            ("volumes", Level::Lack, "apt install virtiofsd", |host| {
                host.virtiofsd = None;
                host.guest.as_mut().unwrap().nine_p = false;
            }),
            ("network", Level::Lack, "apt install passt", |host| {
                host.passt = None
            }),
            ("networks", Level::Lack, "apt install netavark", |host| {
                host.network_programs.netavark = None
            }),
            ("networks", Level::Lack, "apt install aardvark-dns", |host| {
                host.network_programs.aardvark = None
            }),
            ("networks", Level::Lack, "apt install passt", |host| {
                host.network_programs.pasta = None
            }),
            ("disks", Level::Lack, "apt install e2fsprogs", |host| {
                host.mkfs = None
            }),
            (
                "namespaces",
                Level::Lack,
                "apparmor_restrict_unprivileged_userns",
                |host| {
                    host.namespaces = Namespaces::Unavailable("make / slave: Permission denied".into());
                    host.user_namespaces.apparmor_restricts = true;
                },
            ),
            ("owners", Level::Lack, "apt install uidmap", |host| {
                host.subordinates = Subordinates::NoPrograms
            }),
            ("state", Level::Lack, "isopod gc", |host| {
                host.free_bytes = 1 << 30
            }),
            ("registries", Level::Lack, "https_proxy", |host| {
                host.registry = RegistryReport::Silent("docker.io".into(), "timed out".into());
            }),
        ];
        for (topic, level, fix, change) in changes {
            let mut host = good();
            change(&mut host);
            let found: Vec<Finding> = findings(&host)
                .into_iter()
                .filter(|finding| finding.level != Level::Ok)
                .collect();
            let [finding] = &found[..] else {
                panic!("{topic}: {found:?}")
            };
            assert_eq!((finding.topic, finding.level), (topic, level));
            let words = finding.fix.as_deref().unwrap_or_default();
            assert!(words.contains(fix), "{topic}: {words}");
        }
    }
}
