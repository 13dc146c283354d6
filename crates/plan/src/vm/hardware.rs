//! The VM's hardware: its devices in their slots, on the board that its architecture has, as QEMU's switches.

use std::path::{Path, PathBuf};

use isopod_spec::Vm;

use crate::facts::{HostFacts, HostUser};
use crate::fault::Fault;
use crate::layout;
use crate::vm::board;
use crate::vm::disks::Disk;
use crate::vm::file_server::Ownership;
use crate::vm::kernel;
use crate::vm::network::PodNetwork;
use crate::vm::qemu::{Accelerator, Blockdev, Chardev, Device, Fsdev, Qemu, SecurityModel, Serial, VmOrigin};
use crate::vm::sharing::{ShareLayout, Sharing, Transport};
use crate::vm::template;

/// The slots of the root bus beside those of the board's own devices: q35's, of which `virt` has three more.
const PCI_SLOTS: usize = 28;

/// The first of those slots.
const FIRST_PCI_SLOT: usize = 2;

/// The devices that fit into a slot: functions of one device (PCI Local Bus Specification 3.0, 6.2.1).
const PCI_FUNCTIONS: usize = 8;

/// The devices that the root bus takes beside the board's own.
pub const PCI_DEVICES: usize = PCI_SLOTS * PCI_FUNCTIONS;

/// How many devices fit into the slots below that of the ports for devices that are plugged in later.
const BELOW_PORTS: usize = (template::PORTS_SLOT - FIRST_PCI_SLOT) * PCI_FUNCTIONS;

/// The guest's driver of the device by which it reports which pages it has freed, so that the host has them again. The device
/// is not used to take memory from it.
pub(crate) const BALLOON_MODULE: &str = "virtio_balloon";

/// What the VM is given besides memory and CPUs.
pub struct Attached<'a> {
    /// How host volumes reach it.
    pub sharing: Option<&'a Sharing>,
    /// Whose the files of its host volumes are.
    pub ownership: Ownership,
    pub disks: &'a [Disk],
    pub network: Option<&'a PodNetwork>,
}

/// The QEMU command line.
///
/// # Errors
/// [`Fault::Host`] when there are more devices than slots.
pub fn qemu(vm: &Vm, accel: Accelerator, host: &HostFacts, attached: &Attached<'_>) -> Result<Qemu, Fault> {
    let Attached {
        sharing,
        ownership,
        disks,
        network,
    } = attached;
    let mut chardevs = vec![Chardev {
        id: "agent",
        path: layout::AGENT_SOCKET.into(),
    }];
    let mut fsdevs = Vec::new();
    let mut devices = agent_devices();
    devices.extend(disks.iter().enumerate().map(disk_device));
    match sharing {
        Some(Sharing {
            transport: Transport::Virtiofs(_),
            ..
        }) => {
            chardevs.push(Chardev {
                id: "share",
                path: layout::VIRTIOFSD_SOCKET.into(),
            });
            devices.push(device(
                "vhost-user-fs-pci",
                [
                    ("chardev", "share".to_owned()),
                    ("tag", layout::SHARE_TAG.to_owned()),
                ],
            ));
        }
        Some(sharing) => {
            for (fsdev, tag) in nine_p(sharing, host.user, *ownership) {
                let properties = [("fsdev", fsdev.id.clone()), ("mount_tag", tag)];
                devices.push(device("virtio-9p-pci", properties));
                fsdevs.push(fsdev);
            }
        }
        None => {}
    }
    devices.extend(network.iter().flat_map(|network| network.devices()));
    // Last: the guest numbers disks and interfaces by their order.
    if host.guest.modules.contains(BALLOON_MODULE) {
        let reporting = ("free-page-reporting", "on".to_owned());
        devices.push(device("virtio-balloon-pci", [reporting]));
    }
    let architecture = host.guest.architecture;
    check_devices(&devices)?;
    let ports = network.is_some_and(PodNetwork::may_join_others) && pci_devices(&devices) <= BELOW_PORTS;
    share_slots(&mut devices, if ports { PCI_SLOTS - 1 } else { PCI_SLOTS });
    if ports {
        // First: those that say no slot get what is left.
        devices.splice(0..0, template::ports());
    }
    Ok(Qemu {
        architecture,
        program: PathBuf::from(board::program(architecture)),
        machine: board::board(architecture, accel),
        cpu: board::cpu(architecture, accel).to_owned(),
        smp: vm.cpus,
        memory_mib: vm.memory_mib,
        firmware: board::firmware(architecture, host.qboot),
        kernel: host.guest.kernel.clone(),
        initrd: Some(host.guest.initrd.clone()),
        append: kernel::parameters(architecture, vm.cpus, accel),
        serial: Serial::Stdout,
        chardevs,
        blockdevs: disks.iter().enumerate().map(blockdev).collect(),
        fsdevs,
        netdevs: network.map(PodNetwork::netdevs).unwrap_or_default(),
        devices,
        origin: VmOrigin::Booted,
    })
}

fn device<const N: usize>(driver: &'static str, properties: [(&'static str, String); N]) -> Device {
    Device {
        driver,
        properties: properties.into(),
    }
}

/// What the agent speaks to the host through.
fn agent_devices() -> Vec<Device> {
    let port = [
        ("chardev", "agent".to_owned()),
        ("name", isopod_contract::PORT_NAME.to_owned()),
    ];
    vec![device("virtio-serial-pci", []), device("virtserialport", port)]
}

fn disk_device((i, disk): (usize, &Disk)) -> Device {
    let mut device = device("virtio-blk-pci", [("drive", format!("disk{i}"))]);
    if !disk.read_only {
        // Where the host has no room, QEMU would stop the VM and wait for some: the app that writes is to know.
        device.properties.push(("werror", "report".to_owned()));
    }
    device
}

fn blockdev((i, disk): (usize, &Disk)) -> Blockdev {
    Blockdev {
        node_name: format!("disk{i}"),
        filename: disk.file.clone(),
        read_only: disk.read_only,
    }
}

/// The 9p servers: one for the pod's share, or one for each volume.
fn nine_p(sharing: &Sharing, user: HostUser, ownership: Ownership) -> Vec<(Fsdev, String)> {
    let security_model = match (user, ownership) {
        (HostUser::Root, _) | (_, Ownership::Mapped(_)) => SecurityModel::Passthrough,
        (HostUser::Ordinary { .. }, _) => SecurityModel::None,
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
fn share_slots(devices: &mut [Device], slots: usize) {
    if pci_devices(devices) <= slots {
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

fn pci_devices(devices: &[Device]) -> usize {
    devices.iter().filter(|device| device.is_pci()).count()
}

fn check_devices(devices: &[Device]) -> Result<(), Fault> {
    let used = pci_devices(devices);
    if used <= PCI_DEVICES {
        return Ok(());
    }
    Err(Fault::Host {
        what: "cannot give the VM all its devices".into(),
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
            let disk = |i| device("virtio-blk-pci", [("drive", format!("disk{i}"))]);
            let mut devices: Vec<Device> = (0..count).map(disk).collect();
            check_devices(&devices)?;
            share_slots(&mut devices, PCI_SLOTS);
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
}
