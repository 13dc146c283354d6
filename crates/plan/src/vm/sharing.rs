//! How host volumes reach the guest: over virtiofs or 9p, through one share or one for each volume.

use std::path::PathBuf;

use isopod_spec::{AppName, HostVolume, Propagation, ShareTransport, Submounts, Vm, VolumeName};

use crate::distribution::{Family, Need};
use crate::facts::{FileId, HostFacts, HostUser, Namespaces, Owner, SourceKind, Virtiofsd};
use crate::fault::Fault;

/// How many shares carry the host volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareLayout {
    /// One, below which the host binds every volume.
    OnePerPod,
    /// One for each volume, where the host has no mount namespace.
    OnePerVolume,
}

/// How the host volumes reach the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// What carries them.
    pub transport: Transport,
    /// One share or several.
    pub layout: ShareLayout,
    /// The volumes, by name.
    pub volumes: Vec<SharedVolume>,
    /// Apps' roots that are directories, by names that no volume has.
    pub roots: Vec<SharedVolume>,
}

impl Sharing {
    /// Whether the volumes are bound below one directory before they are shared.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.layout == ShareLayout::OnePerPod
    }

    /// All that is shared: volumes and roots.
    pub fn all(&self) -> impl Iterator<Item = &SharedVolume> {
        self.volumes.iter().chain(&self.roots)
    }
}

/// What carries a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// virtiofs, through this daemon.
    Virtiofs(Virtiofsd),
    /// QEMU's own 9p server.
    NineP,
}

impl Transport {
    /// The guest's file system type.
    #[must_use]
    pub fn fs_type(&self) -> &'static str {
        match self {
            Transport::Virtiofs(_) => "virtiofs",
            Transport::NineP => "9p",
        }
    }
}

/// A host volume that is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedVolume {
    /// Its name, which is its name below the share.
    pub name: VolumeName,
    /// What is shared, links followed.
    pub source: PathBuf,
    /// A directory or a file.
    pub kind: SourceKind,
    /// Which file it must be; none where it is made before it is shared, or may be another by now.
    pub id: Option<FileId>,
    /// Whether the host lets nobody write through it.
    pub read_only: bool,
    /// Whether that is so for file systems mounted below the source, too.
    pub submounts: Submounts,
    /// Whether file systems mounted below the source are part of it.
    pub recursive: bool,
    /// Whether later mounts of the host appear.
    pub propagation: Propagation,
    /// To whom all its files are given before it is shared, by the numbers of the process that serves it.
    pub given_to: Option<Owner>,
}

impl SharedVolume {
    /// The volume that shares what `volume` says.
    #[must_use]
    pub fn new(
        name: &VolumeName,
        volume: &HostVolume,
        source: PathBuf,
        kind: SourceKind,
        read_only: bool,
    ) -> Self {
        let (recursive, propagation) = (volume.recursive, volume.propagation);
        Self {
            name: name.clone(),
            source,
            kind,
            id: None,
            read_only,
            submounts: Submounts::ReadOnly,
            recursive,
            propagation,
            given_to: None,
        }
    }

    /// The tag of its own share, where it has one: at most 31 bytes (9p's limit; virtiofs allows 36).
    #[must_use]
    pub fn tag(&self) -> String {
        tag(&self.name, MAX_TAG_BYTES)
    }
}

/// The longest tag of a 9p share (QEMU's `MAX_TAG_LEN`); virtiofs allows 36 bytes.
const MAX_TAG_BYTES: usize = 31;

/// A tag for a volume: its name, or its beginning and a checksum (FNV-1a, 32 bits) that distinguishes long names. No two
/// volumes of a pod may have one tag, and a checksum of 32 bits is no proof: [`sharing`] looks.
#[must_use]
pub fn tag(volume: &VolumeName, max_bytes: usize) -> String {
    let name = volume.as_str();
    if name.len() <= max_bytes {
        return name.to_owned();
    }
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{}-{hash:08x}", &name[..max_bytes - 9])
}

/// What is to be shared.
#[derive(Clone, Debug, Default)]
pub struct ToShare {
    pub volumes: Vec<SharedVolume>,
    /// The roots, with their apps.
    pub roots: Vec<(AppName, SharedVolume)>,
    /// Whether apps may come later, for whom there must be a share.
    pub held: bool,
}

/// Chooses transport and layout for what is to be shared.
///
/// # Errors
/// Every [`Fault`] that stands against it on this host.
pub fn sharing(
    vm: &Vm,
    host: &HostFacts,
    shared: ToShare,
    notices: &mut Vec<String>,
) -> Result<Option<Sharing>, Vec<Fault>> {
    let ToShare { volumes, roots, held } = shared;
    // Without volumes only a pod that waits for apps gets a share, or who names a transport: for those that come later.
    let bindable = !matches!(host.namespaces, Namespaces::Unavailable(_));
    let wanted = held || vm.transport != ShareTransport::Auto;
    if volumes.is_empty() && roots.is_empty() && !(wanted && bindable) {
        return Ok(None);
    }
    let layout = match bindable {
        true => ShareLayout::OnePerPod,
        false => ShareLayout::OnePerVolume,
    };
    let transport = transport(vm.transport, host, layout).map_err(|fault| vec![fault])?;
    if vm.transport == ShareTransport::Auto && layout == ShareLayout::OnePerPod {
        notices.extend(second_choice(&transport, host));
    }
    if let Namespaces::Unavailable(reason) = &host.namespaces {
        let unbindable = volumes.iter().filter_map(|volume| unbindable(volume, reason));
        let of_root = |(app, _): &(AppName, SharedVolume)| Fault::App {
            app: app.clone(),
            reason: format!(
                "a root that is a directory needs a mount namespace, and there is none here: {reason}"
            ),
        };
        let of_roots = roots.iter().map(of_root);
        let faults: Vec<Fault> = unbindable
            .chain(of_roots)
            .chain(duplicate_tags(&volumes))
            .collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        notices.push(format!(
            "every volume is a device of its own: there is no mount namespace here: {reason}"
        ));
    }
    Ok(Some(Sharing {
        transport,
        layout,
        volumes,
        roots: roots.into_iter().map(|(_, root)| root).collect(),
    }))
}

fn duplicate_tags(volumes: &[SharedVolume]) -> Vec<Fault> {
    let mut tags = std::collections::BTreeSet::new();
    let duplicates = volumes.iter().filter(|volume| !tags.insert(volume.tag()));
    duplicates
        .map(|volume| Fault::Volume {
            volume: volume.name.clone(),
            reason: format!(
                "another volume has its tag `{}` too; give it another name",
                volume.tag()
            ),
        })
        .collect()
}

/// Why a volume cannot be shared without a mount namespace.
fn unbindable(volume: &SharedVolume, reason: &str) -> Option<Fault> {
    let what = match volume {
        SharedVolume {
            kind: SourceKind::File,
            ..
        } => "a file as source",
        SharedVolume { recursive: false, .. } => "`recursive=false`",
        SharedVolume {
            propagation: Propagation::Rslave,
            ..
        } => "`propagation=rslave`",
        SharedVolume {
            submounts: Submounts::AsOnHost,
            ..
        } => "a read-only mount with writable ones below it",
        _ => return None,
    };
    let reason = format!("{what} needs a mount namespace, and there is none here: {reason}");
    Some(Fault::Volume {
        volume: volume.name.clone(),
        reason,
    })
}

fn transport(asked: ShareTransport, host: &HostFacts, layout: ShareLayout) -> Result<Transport, Fault> {
    let has = |module: &str| host.guest.modules.contains(module);
    let virtiofsd = host
        .virtiofsd
        .clone()
        .filter(|_| layout == ShareLayout::OnePerPod);
    match (asked, virtiofsd) {
        (ShareTransport::Auto | ShareTransport::Virtiofs, Some(daemon)) if has("virtiofs") => {
            Ok(Transport::Virtiofs(daemon))
        }
        (ShareTransport::Virtiofs, daemon) => Err(no_virtiofs(host, layout, daemon.is_some())),
        (ShareTransport::Auto | ShareTransport::NineP, _) if has("9pnet_virtio") && has("9p") => {
            Ok(Transport::NineP)
        }
        (ShareTransport::NineP, _) => Err(Fault::Host {
            what: "cannot share volumes over 9p".into(),
            reason: format!(
                "the kernel {} has no 9p{}",
                host.guest.release,
                host.distribution.without_9p()
            ),
            hint: match with_9p(host) {
                Some(install) => format!("{install}, or share over virtiofs"),
                None => "share over virtiofs: `--transport virtiofs`".into(),
            },
        }),
        (ShareTransport::Auto, _) => Err(Fault::Host {
            what: "cannot share volumes".into(),
            reason: format!(
                "no virtiofsd that works here was found, and the kernel {} has no 9p{}",
                host.guest.release,
                host.distribution.without_9p()
            ),
            hint: match with_9p(host) {
                Some(install) => format!("{}; or a kernel with 9p: {install}", install_virtiofsd(host)),
                None => install_virtiofsd(host),
            },
        }),
    }
}

/// What is said where 9p is taken although virtiofs would have been, could it be had.
fn second_choice(transport: &Transport, host: &HostFacts) -> Option<String> {
    let reason = match (transport, host.user) {
        (Transport::Virtiofs(_), _) => return None,
        (Transport::NineP, _) if host.virtiofsd.is_some() => {
            format!("the kernel {} has no virtiofs", host.guest.release)
        }
        (Transport::NineP, HostUser::Root) => "no virtiofsd was found".into(),
        (Transport::NineP, HostUser::Ordinary { .. }) => {
            "no virtiofsd that works without root was found".into()
        }
    };
    Some(format!(
        "host volumes are shared over 9p, which is slower and cannot do all that virtiofs can: {reason}"
    ))
}

/// What to do where no virtiofsd is found that works for this user.
fn install_virtiofsd(host: &HostFacts) -> String {
    let own = &host.distribution;
    match (host.user, own.virtiofsd_is_qemus()) {
        (HostUser::Root, true) => format!("{}, or `cargo install virtiofsd`", own.install(Need::Virtiofsd)),
        (HostUser::Ordinary { .. }, true) => "`cargo install virtiofsd`".to_owned(),
        (_, false) => own.install(Need::Virtiofsd),
    }
}

/// How a kernel with 9p is had, where the distribution has one.
fn with_9p(host: &HostFacts) -> Option<String> {
    match host.distribution.family {
        Family::Rhel => None,
        Family::Ubuntu => Some("`sudo apt install linux-modules-extra-$(uname -r)`".to_owned()),
        _ => Some(host.distribution.install(Need::Kernel)),
    }
}

fn no_virtiofs(host: &HostFacts, layout: ShareLayout, daemon: bool) -> Fault {
    let over_9p = "share over 9p: `--transport 9p`".to_owned();
    let (reason, hint) = if layout == ShareLayout::OnePerVolume && host.virtiofsd.is_some() {
        (
            "it needs a mount namespace, and there is none here".into(),
            over_9p,
        )
    } else if daemon {
        (
            format!("the kernel {} has no virtiofs", host.guest.release),
            over_9p,
        )
    } else if host.user == HostUser::Root {
        ("no virtiofsd was found".into(), install_virtiofsd(host))
    } else {
        let own = match host.distribution.virtiofsd_is_qemus() {
            true => " (that of QEMU's package does not)",
            false => "",
        };
        (
            format!("no virtiofsd that works without root was found{own}"),
            format!("{}; or {over_9p}", install_virtiofsd(host)),
        )
    };
    Fault::Host {
        what: "cannot share volumes over virtiofs".into(),
        reason,
        hint,
    }
}

/// The options with which the guest mounts a share.
#[must_use]
pub fn share_options(transport: &Transport) -> Vec<String> {
    let options: &[&str] = match transport {
        Transport::Virtiofs(_) => &[],
        // A large msize makes large reads three times as fast; loose caches lost data at shutdown; `mmap` caches
        // nothing but what is mapped, without which a program could not map a file shared and writable.
        Transport::NineP => &["trans=virtio", "version=9p2000.L", "msize=512000", "cache=mmap"],
    };
    options.iter().map(|o| (*o).to_owned()).collect()
}
