//! Templates: VMs that were booted and saved when the agent waited for the host, of which others are restored.
//!
//! ```text
//! booted      disks, share, network, balloon on the command line
//! template    the serial port, ports for devices (empty), vmgenid; memory in a file, saved with the state of the devices
//! restored    the same switches; disks, share, network are plugged into the ports before it continues
//! ```
//!
//! A template has no device of a pod, so that one is enough for all pods whose VMs have as much memory and as many CPUs. Its key is a
//! digest of all that a saved VM depends on: what has another key is another template.

use std::hash::Hasher as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use isopod_spec::{Architecture, StartMode};
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::facts::TemplateFacts;
use crate::fault::Fault;
use crate::vm::qemu::{Device, Mapping, Qemu, VmOrigin};

/// Changes whenever the same inputs would give another template.
const FORMAT: u64 = 1;

/// The ports that a template has for devices. Each takes eight, and 5 ms of the template's boot.
pub(crate) const PORTS: usize = 4;

/// The functions of the one device that a port takes (PCI Local Bus Specification 3.0, 6.2.1).
const FUNCTIONS: usize = 8;

/// The largest VM that has the template's pages in common with others, in MiB. A larger one may take much and free it, which the host gets back only
/// where all pages are the VM's own.
const MOST_COMMON_MIB: u32 = 512;

/// How many devices a VM that is restored may have.
pub const PLACES: usize = PORTS * FUNCTIONS;

/// How a pod's VM starts, and why so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartPlan {
    /// Booted, or restored.
    pub kind: StartKind,
    /// Why, for people.
    pub reason: String,
    /// What was asked for.
    pub mode: StartMode,
    /// What it is restored from, or what is made for the next one; `None`: nothing to do with templates.
    pub template: Option<TemplatePlan>,
}

/// Booted, or restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartKind {
    Cold,
    /// Restored; made before where it is not there.
    Warm,
}

impl StartKind {
    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }
}

/// Whether VMs of that architecture are restored. `virt` does not inform its guest of a change of generation (vmgenid) without tables of
/// ACPI, which it has none of without firmware.
fn has_templates(architecture: Architecture) -> bool {
    match architecture {
        Architecture::Amd64 => true,
        Architecture::Arm64 => false,
    }
}

/// A template, and the VM that is restored from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplatePlan {
    pub key: String,
    /// The pod's VM, restored.
    pub restored: Qemu,
}

/// Decides how the VM that `qemu` would boot starts.
///
/// # Errors
/// [`Fault::Host`] where it is to be restored and cannot be.
pub fn start(mode: StartMode, qemu: &Qemu, facts: &TemplateFacts) -> Result<StartPlan, Fault> {
    let asked = mode;
    let mode = match asked {
        StartMode::Auto => facts.otherwise,
        asked => asked,
    };
    let cold = |reason: String, template| StartPlan {
        kind: StartKind::Cold,
        reason,
        mode,
        template,
    };
    if mode == StartMode::Cold {
        let by = if asked == StartMode::Cold {
            "`--start cold`"
        } else {
            "`ISOPOD_START=cold`"
        };
        return Ok(cold(by.into(), None));
    }
    let cannot = |reason: String, hint: &str| match mode {
        StartMode::Warm => Err(Fault::Host {
            what: "cannot restore the VM (`--start warm`)".into(),
            reason,
            hint: hint.into(),
        }),
        StartMode::Auto | StartMode::Cold => Ok(cold(reason, None)),
    };
    if !has_templates(qemu.architecture) {
        let reason = format!("VMs for {} cannot be saved", qemu.architecture);
        return cannot(reason, "leave `--start` out: the VM is booted then");
    }
    let Some(restored) = restored(qemu) else {
        let reason = format!("it has more than {PLACES} devices, for which a template has no places");
        return cannot(reason, "leave `--start` out, or let apps share an image");
    };
    let key = key(&template(qemu), facts);
    let template = TemplatePlan { key, restored };
    let size = format!("{} MiB and {} CPU(s)", qemu.memory_mib, qemu.smp);
    let there = facts.there.contains(&template.key);
    Ok(match (mode, there) {
        (StartMode::Auto, false) => cold(
            format!("there is no template of {size} yet: the first start makes one for the next"),
            Some(template),
        ),
        (_, there) => StartPlan {
            kind: StartKind::Warm,
            reason: match there {
                true => format!("there is a template of {size}"),
                false => format!("a template of {size} is made first"),
            },
            mode,
            template: Some(template),
        },
    })
}

/// The template that the VM which `pod` would boot is restored from.
#[must_use]
pub fn template(pod: &Qemu) -> Qemu {
    Qemu {
        chardevs: pod
            .chardevs
            .iter()
            .filter(|dev| dev.id == AGENT)
            .cloned()
            .collect(),
        blockdevs: Vec::new(),
        fsdevs: Vec::new(),
        netdevs: Vec::new(),
        origin: VmOrigin::Template,
        ..in_common(pod)
    }
}

/// What a template has in common with what is restored from it; the rest is the pod's. Its firmware is the board's own: qboot stops at
/// the table of `vmgenid`, which has it write where the guest keeps the number.
fn in_common(pod: &Qemu) -> Qemu {
    Qemu {
        firmware: None,
        append: format!("{} {WORD}", pod.append),
        devices: own_devices(pod),
        ..pod.clone()
    }
}

/// The VM which `pod` would boot, restored; `None` where it has more devices than there are places.
#[must_use]
pub fn restored(pod: &Qemu) -> Option<Qemu> {
    let others = pod
        .devices
        .iter()
        .filter(|device| !is_own(device) && device.driver != PORT);
    let with_other_processes = others
        .clone()
        .any(|device| device.driver.starts_with("vhost-user-"));
    let mapping = if with_other_processes || pod.memory_mib > MOST_COMMON_MIB {
        Mapping::Shared
    } else {
        Mapping::Private
    };
    // To give the host freed pages back QEMU makes holes in the memory's file, which here is other VMs' too.
    let balloon = |device: &&Device| device.driver == "virtio-balloon-pci" && mapping == Mapping::Private;
    let plugged: Vec<Device> = others
        .filter(|device| !balloon(device))
        .enumerate()
        .map(plugged)
        .collect();
    if plugged.len() > PLACES {
        return None;
    }
    // What is at a port is seen when its function 0 comes, which must therefore come last.
    let added = plugged
        .chunks(FUNCTIONS)
        .flat_map(|port| port.iter().rev().cloned())
        .collect();
    Some(Qemu {
        origin: VmOrigin::Restored { mapping, added },
        ..in_common(pod)
    })
}

/// By which the guest knows that it will be saved: it loads the modules that some pods need.
const WORD: &str = "isopod.template";

/// The agent's character device.
const AGENT: &str = "agent";

/// Whether a template has it, too.
fn is_own(device: &Device) -> bool {
    ["virtio-serial-pci", "virtserialport"].contains(&device.driver)
}

/// The devices that a template and what is restored from it have alike: those of the command line.
fn own_devices(pod: &Qemu) -> Vec<Device> {
    let mut devices: Vec<Device> = pod
        .devices
        .iter()
        .filter(|device| is_own(device))
        .cloned()
        .collect();
    for device in &mut devices {
        device.properties.retain(|(key, _)| !PLACE.contains(key));
        if device.driver == "virtserialport" {
            // By which events name it.
            device.properties.push(("id", AGENT.to_owned()));
        }
    }
    devices.push(Device {
        driver: "vmgenid",
        properties: vec![("guid", "auto".to_owned())],
    });
    devices.extend(ports());
    devices
}

/// The driver of a port for devices.
const PORT: &str = "pcie-root-port";

/// The name of a port.
pub(crate) fn port(number: usize) -> String {
    format!("port{number}")
}

/// The ports for devices that are plugged in later, empty.
pub(crate) fn ports() -> impl Iterator<Item = Device> {
    (0..PORTS).map(|number| Device {
        driver: PORT,
        properties: vec![
            ("id", port(number)),
            ("chassis", (number + 1).to_string()),
            ("slot", (number + 1).to_string()),
            ("addr", format!("{PORTS_SLOT:#x}.{number:#x}")),
            ("multifunction", if number == 0 { "on" } else { "off" }.to_owned()),
        ],
    })
}

/// The slot of the root bus whose functions the ports are.
pub(crate) const PORTS_SLOT: usize = 0x10;

/// The properties that say where a device is.
const PLACE: [&str; 2] = ["addr", "multifunction"];

/// A device, at a port.
fn plugged((i, device): (usize, &Device)) -> Device {
    let mut device = device.clone();
    device.properties.retain(|(key, _)| !PLACE.contains(key));
    device.properties.extend([
        ("bus", port(i / FUNCTIONS)),
        ("addr", format!("0x0.{:#x}", i % FUNCTIONS)),
        ("multifunction", "on".to_owned()),
    ]);
    device
}

/// What names a template.
#[must_use]
pub fn key(template: &Qemu, facts: &TemplateFacts) -> String {
    let mut hasher = SipHasher24::new();
    hasher.write_u64(FORMAT);
    let mut word = |word: &[u8]| {
        hasher.write_usize(word.len());
        hasher.write(word);
    };
    word(facts.qemu.as_bytes());
    word(facts.cpu.as_bytes());
    word(template.program.as_os_str().as_bytes());
    for arg in located_by_guest(template).argv() {
        word(arg.as_bytes());
    }
    let digest = hasher.finish128();
    format!("{:016x}{:016x}", digest.h1, digest.h2)
}

/// With the guest image's files as they are in its directory, which is named by what is in them: wherever the state directory is.
fn located_by_guest(template: &Qemu) -> Qemu {
    let within = |path: &Path| {
        let dir = path.parent().and_then(Path::file_name).unwrap_or_default();
        Path::new(dir).join(path.file_name().unwrap_or_default())
    };
    Qemu {
        kernel: within(&template.kernel),
        initrd: template.initrd.as_deref().map(within),
        ..template.clone()
    }
}

#[cfg(test)]
mod tests;
