//! The machine: how the volumes reach it, its kernel command line, its devices.

use std::path::{Path, PathBuf};

use isopod_spec::{Accel, HostVolume, Machine, Propagation, ShareTransport, VolumeName};

use crate::facts::{FileId, HostFacts, HostUser, Kvm, Namespaces, SourceKind, Virtiofsd};
use crate::fault::Fault;
use crate::layout;
use crate::profile::{Profile, ShareLayout};
use crate::vm::network::UserNetwork;
use crate::vm::qemu::{self, Accelerator, Blockdev, Chardev, Device, Fsdev, Qemu, SecurityModel, Serial};

/// The slots of the q35 board's root bus beside those of its own devices.
const PCI_SLOTS: usize = 28;

/// The first of those slots.
const FIRST_PCI_SLOT: usize = 2;

/// The devices that fit into a slot: functions of one device (PCI Local Bus Specification 3.0, 6.2.1).
const PCI_FUNCTIONS: usize = 8;

/// The devices that the root bus takes beside the board's own.
pub const PCI_DEVICES: usize = PCI_SLOTS * PCI_FUNCTIONS;

/// The kernel's command line: when, what, why. Milliseconds are of 2,950 from start to end, under emulation.
const KERNEL_PARAMETERS: [(When, &str, &str); 11] = [
    (
        When::Always,
        "console=ttyS0",
        "what the kernel and systemd say goes to the console's log",
    ),
    (
        When::Always,
        "quiet",
        "each line costs milliseconds at the emulated serial port",
    ),
    (
        When::Always,
        "panic=-1",
        "a panic reboots at once, and -no-reboot ends QEMU",
    ),
    (When::Always, "cryptomgr.notests", "250 ms of self-tests"),
    (When::Always, "random.trust_cpu=on", "no wait for entropy"),
    (
        When::Always,
        "8250.nr_uarts=1",
        "no probing for serial ports that are not there",
    ),
    (
        When::Always,
        "systemd.unified_cgroup_hierarchy=1",
        "cgroup v2, whatever the distribution's default",
    ),
    (
        When::Always,
        "no_timer_check",
        "the check fails on a busy host, and the clock is QEMU's",
    ),
    (
        When::Always,
        "TERM=dumb",
        "systemd waits twice 330 ms for the serial port's terminal to tell its size otherwise, from version 257 on",
    ),
    (
        When::OneCpu,
        "noreplace-smp",
        "150 ms of patching lock prefixes, which one CPU does not need",
    ),
    (
        When::OneEmulatedCpu,
        "nolapic_timer",
        "110 ms of calibration; the HPET drives the clock then",
    ),
];

/// The machines that a kernel parameter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    OneCpu,
    OneEmulatedCpu,
}

/// The kernel's command line on that machine.
#[must_use]
pub fn kernel_parameters(cpus: u32, accel: Accelerator) -> String {
    let applies = |when: When| match when {
        When::Always => true,
        When::OneCpu => cpus == 1,
        When::OneEmulatedCpu => cpus == 1 && matches!(accel, Accelerator::Tcg { .. }),
    };
    let parameters = KERNEL_PARAMETERS.iter().filter(|(when, ..)| applies(*when));
    parameters
        .map(|(_, parameter, _)| *parameter)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The board, with what no guest here uses switched off.
#[must_use]
pub fn board(accel: Accelerator) -> qemu::Machine {
    // What crashes leaves no memory of its guest behind.
    let options = "vmport=off,smm=off,sata=off,smbus=off,i8042=off,graphics=off,usb=off,dump-guest-core=off";
    qemu::Machine {
        board: "q35",
        options,
        accel,
    }
}

/// The CPU. Emulated string instructions go byte by byte; without these two flags the guest uses others.
#[must_use]
pub fn cpu(accel: Accelerator) -> &'static str {
    match accel {
        Accelerator::Kvm => "host",
        Accelerator::Tcg { .. } => "max,-erms,-fsrm",
    }
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
}

impl Sharing {
    /// Whether the volumes are bound below one directory before they are shared.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.layout == ShareLayout::OnePerPod
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
    /// Whether file systems mounted below the source are part of it.
    pub recursive: bool,
    /// Whether later mounts of the host appear.
    pub propagation: Propagation,
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
            recursive,
            propagation,
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

/// A tag for a volume: its name, or its beginning and a checksum (FNV-1a, 32 bits) that tells long names apart. No two
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

/// Chooses transport and layout for the volumes that are to be shared.
///
/// # Errors
/// Every [`Fault`] that stands against it on this host.
pub fn sharing(
    machine: &Machine,
    host: &HostFacts,
    volumes: Vec<SharedVolume>,
    profile: &Profile,
    notices: &mut Vec<String>,
) -> Result<Option<Sharing>, Vec<Fault>> {
    // Without volumes only who names a transport gets a share: for those that come later.
    let bindable = !matches!(host.namespaces, Namespaces::Unavailable(_));
    let wanted = machine.transport != ShareTransport::Auto && profile.shares == ShareLayout::OnePerPod;
    if volumes.is_empty() && !(wanted && bindable) {
        return Ok(None);
    }
    let layout = match (&host.namespaces, profile.shares) {
        (Namespaces::Unavailable(_), _) => ShareLayout::OnePerVolume,
        (_, layout) => layout,
    };
    let transport = transport(machine.transport, host, layout).map_err(|fault| vec![fault])?;
    if machine.transport == ShareTransport::Auto && layout == ShareLayout::OnePerPod {
        notices.extend(second_choice(&transport, host));
    }
    let faults: Vec<Fault> = match (layout, &host.namespaces) {
        (ShareLayout::OnePerVolume, Namespaces::Unavailable(reason)) => volumes
            .iter()
            .filter_map(|volume| unbindable(volume, reason))
            .collect(),
        _ => Vec::new(),
    };
    let faults = if layout == ShareLayout::OnePerVolume {
        [faults, doubled_tags(&volumes)].concat()
    } else {
        faults
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    if let (Namespaces::Unavailable(reason), ShareLayout::OnePerPod) = (&host.namespaces, profile.shares) {
        notices.push(format!(
            "every volume is a device of its own: there is no mount namespace here: {reason}"
        ));
    }
    Ok(Some(Sharing {
        transport,
        layout,
        volumes,
    }))
}

fn doubled_tags(volumes: &[SharedVolume]) -> Vec<Fault> {
    let mut tags = std::collections::BTreeSet::new();
    let doubled = volumes.iter().filter(|volume| !tags.insert(volume.tag()));
    doubled
        .map(|volume| Fault::Volume {
            volume: volume.name.clone(),
            reason: format!(
                "its tag `{}` is another volume's too; name it otherwise",
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
                "the kernel {} has no 9p (Debian's cloud kernels leave it out)",
                host.guest.release
            ),
            hint: "install `linux-image-amd64`, or share over virtiofs".into(),
        }),
        (ShareTransport::Auto, _) => Err(Fault::Host {
            what: "cannot share volumes".into(),
            reason: format!(
                "no virtiofsd that works here was found, and the kernel {} has no 9p (Debian's cloud kernels leave it out)",
                host.guest.release
            ),
            hint: "install `virtiofsd`, or `linux-image-amd64`".into(),
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

fn no_virtiofs(host: &HostFacts, layout: ShareLayout, daemon: bool) -> Fault {
    let (reason, hint) = if layout == ShareLayout::OnePerVolume && host.virtiofsd.is_some() {
        (
            "it needs a mount namespace, and there is none here".into(),
            "share over 9p: `--transport 9p`",
        )
    } else if daemon {
        (
            format!("the kernel {} has no virtiofs", host.guest.release),
            "share over 9p: `--transport 9p`",
        )
    } else if host.user == HostUser::Root {
        (
            "no virtiofsd was found".into(),
            "install Debian's `qemu-system-common`, or `cargo install virtiofsd`",
        )
    } else {
        (
            "no virtiofsd that works without root was found (Debian 12's own does not)".into(),
            "`cargo install virtiofsd`, or share over 9p: `--transport 9p`",
        )
    };
    Fault::Host {
        what: "cannot share volumes over virtiofs".into(),
        reason,
        hint: hint.into(),
    }
}

/// The options with which the guest mounts a share.
#[must_use]
pub fn share_options(transport: &Transport, rkt: bool) -> Vec<String> {
    let options: &[&str] = match transport {
        Transport::Virtiofs(_) => &[],
        Transport::NineP if rkt => &["trans=virtio"],
        // A large msize makes large reads three times as fast; loose caches lost data at shutdown; `mmap` caches
        // nothing but what is mapped, without which a program could not map a file shared and writable.
        Transport::NineP => &["trans=virtio", "version=9p2000.L", "msize=512000", "cache=mmap"],
    };
    options.iter().map(|o| (*o).to_owned()).collect()
}

/// Decides between KVM and emulation. A notice says why not KVM, where it was tried.
///
/// # Errors
/// [`Fault::Host`] where KVM was demanded and does not work.
pub fn accelerator(machine: &Machine, kvm: &Kvm, notices: &mut Vec<String>) -> Result<Accelerator, Fault> {
    match (machine.accel, kvm) {
        (Accel::Tcg, _) => Ok(emulation(machine.memory_mib)),
        (Accel::Auto | Accel::Kvm, Kvm::Works) => Ok(Accelerator::Kvm),
        (Accel::Auto, Kvm::Unusable(reason)) => {
            notices.push(format!("the machine is emulated, which is slow: {reason}"));
            Ok(emulation(machine.memory_mib))
        }
        (Accel::Auto, Kvm::NotAsked) => Ok(emulation(machine.memory_mib)),
        (Accel::Kvm, Kvm::Unusable(reason)) => Err(no_kvm(reason)),
        (Accel::Kvm, Kvm::NotAsked) => Err(no_kvm("it was not tried")),
    }
}

/// Emulation, with room for translated code that fits the guest: QEMU's own measure is 1 GiB whatever the guest is, of which
/// a boot alone fills 80 MiB. What does not fit is translated again.
fn emulation(memory_mib: u32) -> Accelerator {
    let tb_size_mib = (memory_mib / 4).clamp(LEAST_TB_SIZE_MIB, MOST_TB_SIZE_MIB);
    Accelerator::Tcg { tb_size_mib }
}

/// As little room for translated code as does not lengthen a boot: with 32 MiB it takes 12 % longer.
const LEAST_TB_SIZE_MIB: u32 = 48;

/// QEMU's own measure.
const MOST_TB_SIZE_MIB: u32 = 1024;

fn no_kvm(reason: &str) -> Fault {
    Fault::Host {
        what: "cannot run with KVM".into(),
        reason: reason.to_owned(),
        hint: "leave `--accel` away, or say `--accel tcg`: the machine is emulated then".into(),
    }
}

/// An empty volume that is kept in a file of the host's: a sparse one with a file system of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskVolume {
    /// Its name.
    pub name: VolumeName,
    /// What can be written to it, in bytes.
    pub size_bytes: u64,
    /// The permission bits of its root.
    pub mode: u32,
    /// The owner of its root.
    pub uid: u32,
    /// The group of its root.
    pub gid: u32,
}

/// The size of a volume on disk that has none, in bytes: as large as docker's device mapper made a container's disk.
pub const DEFAULT_DISK_BYTES: u64 = 10 << 30;

/// A disk of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The file, relative to the pod directory.
    pub file: PathBuf,
    /// Whether the guest can write to it.
    pub read_only: bool,
}

/// What the machine is given besides memory and CPUs.
pub struct Attached<'a> {
    /// How host volumes reach it.
    pub sharing: Option<&'a Sharing>,
    /// Its disks.
    pub disks: &'a [Disk],
    /// Its network.
    pub network: Option<&'a UserNetwork>,
}

/// The QEMU command line.
///
/// # Errors
/// [`Fault::Host`] when there are more devices than slots.
pub fn qemu(
    machine: &Machine,
    accel: Accelerator,
    host: &HostFacts,
    attached: &Attached<'_>,
) -> Result<Qemu, Fault> {
    let Attached {
        sharing,
        disks,
        network,
    } = attached;
    let mut chardevs = vec![Chardev {
        id: "agent",
        path: layout::AGENT_SOCKET.into(),
    }];
    let mut fsdevs = Vec::new();
    let port = vec![
        ("chardev", "agent".to_owned()),
        ("name", layout::AGENT_PORT.to_owned()),
    ];
    let mut devices = vec![
        Device {
            driver: "virtio-serial-pci",
            properties: vec![],
        },
        Device {
            driver: "virtserialport",
            properties: port,
        },
    ];
    for i in 0..disks.len() {
        devices.push(Device {
            driver: "virtio-blk-pci",
            properties: vec![("drive", format!("disk{i}"))],
        });
    }
    match sharing {
        Some(Sharing {
            transport: Transport::Virtiofs(_),
            ..
        }) => {
            chardevs.push(Chardev {
                id: "share",
                path: layout::VIRTIOFSD_SOCKET.into(),
            });
            let properties = vec![
                ("chardev", "share".to_owned()),
                ("tag", layout::SHARE_TAG.to_owned()),
            ];
            devices.push(Device {
                driver: "vhost-user-fs-pci",
                properties,
            });
        }
        Some(sharing) => {
            for (fsdev, tag) in nine_p(sharing, host.user) {
                let properties = vec![("fsdev", fsdev.id.clone()), ("mount_tag", tag)];
                devices.push(Device {
                    driver: "virtio-9p-pci",
                    properties,
                });
                fsdevs.push(fsdev);
            }
        }
        None => {}
    }
    devices.extend(network.map(UserNetwork::device));
    check_devices(&devices)?;
    share_slots(&mut devices);
    let blockdevs = disks.iter().enumerate().map(|(i, disk)| Blockdev {
        node_name: format!("disk{i}"),
        filename: disk.file.clone(),
        read_only: disk.read_only,
    });
    Ok(Qemu {
        program: PathBuf::from("qemu-system-x86_64"),
        machine: board(accel),
        cpu: cpu(accel).to_owned(),
        smp: machine.cpus,
        memory_mib: machine.memory_mib,
        kernel: host.guest.kernel.clone(),
        initrd: Some(host.guest.initrd.clone()),
        append: kernel_parameters(machine.cpus, accel),
        serial: Serial::Stdout,
        chardevs,
        blockdevs: blockdevs.collect(),
        fsdevs,
        netdev: network.map(UserNetwork::netdev),
        devices,
    })
}

/// The 9p servers: one for the pod's share, or one for each volume.
fn nine_p(sharing: &Sharing, user: HostUser) -> Vec<(Fsdev, String)> {
    let security_model = match user {
        HostUser::Root => SecurityModel::Passthrough,
        HostUser::Ordinary { .. } => SecurityModel::None,
    };
    match sharing.layout {
        ShareLayout::OnePerPod => {
            let path = Path::new(layout::HOST_SHARE_DIR).to_owned();
            let fsdev = Fsdev {
                id: "share".into(),
                path,
                security_model,
                // Each volume is read-only by its own mount, and one that comes later may be written to.
                read_only: false,
            };
            vec![(fsdev, layout::SHARE_TAG.to_owned())]
        }
        ShareLayout::OnePerVolume => sharing
            .volumes
            .iter()
            .enumerate()
            .map(|(i, volume)| {
                let (path, read_only) = (volume.source.clone(), volume.read_only);
                (
                    Fsdev {
                        id: format!("share{i}"),
                        path,
                        security_model,
                        read_only,
                    },
                    volume.tag(),
                )
            })
            .collect(),
    }
}

/// Where there are more devices than slots, puts eight into each, in their order: the guest finds them in it, and names
/// disks by it.
fn share_slots(devices: &mut [Device]) {
    if devices.iter().filter(|device| device.is_pci()).count() <= PCI_SLOTS {
        return;
    }
    for (i, device) in devices.iter_mut().filter(|device| device.is_pci()).enumerate() {
        let (slot, function) = (FIRST_PCI_SLOT + i / PCI_FUNCTIONS, i % PCI_FUNCTIONS);
        device
            .properties
            .push(("addr", format!("{slot:#x}.{function:#x}")));
        if function == 0 {
            device.properties.push(("multifunction", "on".to_owned()));
        }
    }
}

fn check_devices(devices: &[Device]) -> Result<(), Fault> {
    let used = devices.iter().filter(|d| d.is_pci()).count();
    if used <= PCI_DEVICES {
        return Ok(());
    }
    Err(Fault::Host {
        what: "cannot give the machine all its devices".into(),
        reason: format!(
            "the pod needs {used}, among them one for each image, each share of its own and each volume on disk, and \
             {PCI_DEVICES} fit"
        ),
        hint: "split the pod, or let apps share an image".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_devices_than_slots_share_them_in_their_order() {
        let devices = |count: usize| {
            let driver = "virtio-blk-pci";
            let device = |i| Device {
                driver,
                properties: vec![("drive", format!("disk{i}"))],
            };
            let mut devices: Vec<Device> = (0..count).map(device).collect();
            check_devices(&devices)?;
            share_slots(&mut devices);
            Ok::<_, Fault>(devices)
        };
        let own = devices(28).unwrap();
        assert!(own.iter().all(|device| device.properties.len() == 1));
        let shared = devices(224).unwrap();
        let properties = |i: usize| format!("{:?}", &shared[i].properties[1..]);
        assert_eq!(
            [properties(0), properties(1), properties(8), properties(223)],
            [
                r#"[("addr", "0x2.0x0"), ("multifunction", "on")]"#,
                r#"[("addr", "0x2.0x1")]"#,
                r#"[("addr", "0x3.0x0"), ("multifunction", "on")]"#,
                r#"[("addr", "0x1d.0x7")]"#,
            ]
        );
        let words = devices(225).unwrap_err().to_string();
        assert!(
            words.contains("the pod needs 225") && words.contains("224 fit"),
            "{words}"
        );
    }

    #[test]
    fn an_emulated_machine_keeps_translated_code_by_the_measure_of_its_memory() {
        let accel = |memory_mib, kvm| {
            let machine = Machine {
                memory_mib,
                ..Machine::default()
            };
            let accel = accelerator(&machine, &kvm, &mut Vec::new());
            accel.map(|accel| accel.to_string())
        };
        for (memory_mib, tb_size) in [(64, 48), (128, 48), (512, 128), (4096, 1024), (65536, 1024)] {
            assert_eq!(
                accel(memory_mib, Kvm::NotAsked),
                Ok(format!("tcg,tb-size={tb_size}"))
            );
        }
        assert_eq!(accel(512, Kvm::Works), Ok("kvm".into()));
    }
}
