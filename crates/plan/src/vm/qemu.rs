//! A QEMU command line as data: one struct per switch, named as QEMU names it (qemu(1)), rendered by [`Qemu::argv`].
//!
//! Nothing here opens a file or a socket; paths are relative to the pod directory unless they are absolute.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use isopod_spec::{Architecture, PortProtocol};

/// The whole command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    /// What it runs programs of.
    pub architecture: Architecture,
    pub program: PathBuf,
    /// `-machine`.
    pub machine: Machine,
    /// `-cpu`.
    pub cpu: String,
    /// `-smp`.
    pub smp: u32,
    /// `-bios`, where it is not the board's own firmware.
    pub firmware: Option<&'static str>,
    /// `-m`, in MiB, and the object that backs it.
    pub memory_mib: u32,
    /// `-kernel`.
    pub kernel: PathBuf,
    /// `-initrd`.
    pub initrd: Option<PathBuf>,
    /// `-append`.
    pub append: String,
    /// `-serial`: where the console goes.
    pub serial: Serial,
    /// `-chardev`.
    pub chardevs: Vec<Chardev>,
    /// `-blockdev`.
    pub blockdevs: Vec<Blockdev>,
    /// `-fsdev`.
    pub fsdevs: Vec<Fsdev>,
    /// `-netdev`.
    pub netdevs: Vec<Netdev>,
    /// `-device`.
    pub devices: Vec<Device>,
    /// Where what its memory holds comes from.
    pub origin: VmOrigin,
}

/// Where what a VM's memory holds comes from ([`template`](super::template)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VmOrigin {
    #[default]
    Booted,
    /// It boots to be saved: nothing of the host is at the other ends of its character devices.
    Template,
    Restored {
        /// How it has the template's memory.
        mapping: Mapping,
        /// The devices that it gets before it continues (QMP's `device_add`), in that order.
        added: Vec<Device>,
    },
}

/// How a VM has its memory file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// It is its own; the process of a vhost-user device has it too, where there is one.
    Shared,
    /// It is that of all VMs of one template; what this VM writes is its own.
    Private,
}

/// The descriptor of the memory file that a template, or a VM that is restored, inherits.
pub const MEMORY_DESCRIPTOR: i32 = 900;

/// The descriptor of the socket of its monitor.
pub const MONITOR_DESCRIPTOR: i32 = 901;

/// `-machine`, with the accelerator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    pub board: &'static str,
    /// Switches of the board, for devices that no guest here uses.
    pub options: &'static str,
    /// How the CPU is run.
    pub accel: Accelerator,
}

/// `-accel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The kernel's KVM.
    Kvm,
    /// QEMU's emulation.
    Tcg {
        /// `tb-size=`: how much translated code is kept, in MiB.
        tb_size_mib: u32,
    },
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kvm => f.write_str("kvm"),
            Self::Tcg { tb_size_mib } => write!(f, "tcg,tb-size={tb_size_mib}"),
        }
    }
}

/// `-serial`: where the guest's console goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serial {
    /// To standard output, which whoever starts QEMU reads, and bounds.
    Stdout,
    /// To a file, however much it is.
    File(PathBuf),
}

impl Serial {
    fn value(&self) -> OsString {
        match self {
            Serial::Stdout => "stdio".into(),
            Serial::File(path) => join(&["file:".as_ref(), &option(path)]),
        }
    }

    fn file(&self) -> Option<&PathBuf> {
        match self {
            Serial::Stdout => None,
            Serial::File(path) => Some(path),
        }
    }
}

/// `-chardev socket`: QEMU connects to a socket that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chardev {
    pub id: &'static str,
    pub path: PathBuf,
}

/// `-blockdev`: a file as a raw disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blockdev {
    pub node_name: String,
    pub filename: PathBuf,
    /// Whether it can be written to.
    pub read_only: bool,
}

/// `-fsdev local`: a directory for 9p.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fsdev {
    pub id: String,
    pub path: PathBuf,
    /// Who owns what the guest creates.
    pub security_model: SecurityModel,
    /// Whether the guest can write to it.
    pub read_only: bool,
}

/// `-netdev`: the host's end of a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Netdev {
    /// `-netdev user`.
    User(UserNetdev),
    /// `-netdev stream`, since QEMU 7.2: frames, each behind its length, through a socket that QEMU connects to.
    Stream { id: String, path: PathBuf },
    /// `-netdev tap`: a descriptor that QEMU is born with.
    Tap {
        id: String,
        /// The descriptor.
        fd: i32,
        /// Where the host's kernel serves it: that of `/dev/vhost-net`.
        vhost: Option<i32>,
    },
}

/// `-netdev user`: a network in the QEMU process. Neither SMB nor TFTP are served, which only options would turn on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserNetdev {
    pub id: String,
    /// `net=`: the network and the length of its prefix.
    pub network: (Ipv4Addr, u8),
    /// `host=`: the router.
    pub host: Ipv4Addr,
    /// `dns=`: the name server.
    pub dns: Ipv4Addr,
    /// `dhcpstart=`: the guest's address.
    pub dhcp_start: Ipv4Addr,
    /// `hostfwd=`.
    pub forwards: Vec<Forward>,
}

/// `hostfwd=`: a port of the host that leads into the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    pub protocol: PortProtocol,
    /// The host's address and port.
    pub host: (IpAddr, u16),
    /// The guest's address and port.
    pub guest: (Ipv4Addr, u16),
}

/// `security_model=` of an `-fsdev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityModel {
    /// The guest's owners are the host's: needs root.
    Passthrough,
    /// Everything belongs to the user that runs QEMU; failures to change owners are ignored.
    None,
}

/// `-device`: a driver and its properties, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub driver: &'static str,
    pub properties: Vec<(&'static str, String)>,
}

impl Device {
    fn value(&self) -> OsString {
        let mut value = OsString::from(self.driver);
        for (key, property) in &self.properties {
            value = join(&[&value, format!(",{key}=").as_ref(), &option(property)]);
        }
        value
    }

    /// The same as the arguments of QMP's `device_add`, whose two-state properties are no texts.
    #[must_use]
    pub fn arguments(&self) -> serde_json::Value {
        let driver = ("driver".to_owned(), self.driver.into());
        let properties = self.properties.iter().map(|(key, property)| {
            let value = match property.as_str() {
                "on" => true.into(),
                "off" => false.into(),
                text => text.into(),
            };
            ((*key).to_owned(), value)
        });
        serde_json::Value::Object(std::iter::once(driver).chain(properties).collect())
    }

    /// Whether it takes one of the board's PCI slots.
    #[must_use]
    pub fn is_pci(&self) -> bool {
        self.driver.ends_with("-pci")
    }
}

/// Doubles commas, QEMU's only escape in option lists.
fn option(value: impl AsRef<OsStr>) -> OsString {
    let mut out = Vec::new();
    for &byte in value.as_ref().as_bytes() {
        out.push(byte);
        if byte == b',' {
            out.push(byte);
        }
    }
    OsString::from_vec(out)
}

fn join(parts: &[&OsStr]) -> OsString {
    parts.iter().copied().collect()
}

impl Qemu {
    /// The arguments, the program left out.
    #[must_use]
    pub fn argv(&self) -> Vec<OsString> {
        let mut argv: Vec<OsString> = Vec::new();
        let mut switch = |name: &str, value: OsString| argv.extend([OsString::from(name), value]);
        switch("-name", "isopod".into());
        // What a guest that broke into QEMU could do with the host's kernel (qemu(1), `-sandbox`).
        switch(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".into(),
        );
        let Machine {
            board,
            options,
            accel,
        } = self.machine;
        switch(
            "-machine",
            format!("{board},{options},memory-backend=memory").into(),
        );
        switch("-accel", accel.to_string().into());
        switch("-cpu", self.cpu.clone().into());
        switch("-smp", self.smp.to_string().into());
        switch("-m", self.memory_mib.to_string().into());
        switch("-object", self.memory().into());
        if let Some(firmware) = self.firmware {
            switch("-bios", firmware.into());
        }
        switch("-kernel", self.kernel.clone().into());
        if let Some(initrd) = &self.initrd {
            switch("-initrd", initrd.clone().into());
        }
        switch("-append", self.append.clone().into());
        switch("-serial", self.serial.value());
        for chardev in &self.chardevs {
            let value = match self.origin {
                VmOrigin::Template => format!("null,id={}", chardev.id).into(),
                VmOrigin::Booted | VmOrigin::Restored { .. } => chardev.value(),
            };
            switch("-chardev", value);
        }
        if self.has_monitor() {
            switch(
                "-chardev",
                format!("socket,id=monitor,fd={MONITOR_DESCRIPTOR}").into(),
            );
            switch("-mon", "chardev=monitor,mode=control".into());
        }
        for blockdev in &self.blockdevs {
            switch("-blockdev", blockdev.value());
        }
        for fsdev in &self.fsdevs {
            switch("-fsdev", fsdev.value());
        }
        for netdev in &self.netdevs {
            switch("-netdev", netdev.value());
        }
        for device in &self.devices {
            switch("-device", device.value());
        }
        // The kernel is there already: SeaBIOS is not to look for one on the disks. What it would keep of them lies at
        // the end of the memory and makes the kernel move the guest image, which takes 80 ms under emulation.
        switch("-boot", "strict=on".into());
        if let VmOrigin::Restored { .. } = self.origin {
            switch("-incoming", "defer".into());
        }
        argv.extend(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"].map(OsString::from));
        argv
    }
}

impl Qemu {
    /// The VM of a pod that is opened and not run: it has the pod's disks and shares, and no network.
    #[must_use]
    pub fn without_network(&self) -> Self {
        let is_networks = |device: &Device| {
            let joins = device.properties.iter().any(|(key, _)| *key == "netdev");
            joins || device.driver == "pcie-root-port"
        };
        let others = self.devices.iter().filter(|device| !is_networks(device));
        Self {
            netdevs: Vec::new(),
            devices: others.cloned().collect(),
            ..self.clone()
        }
    }

    /// The memory's back end.
    pub(super) fn memory(&self) -> String {
        let share = match self.origin {
            // Without shared memory no vhost-user device can reach the guest's buffers.
            VmOrigin::Booted => {
                return format!(
                    "memory-backend-memfd,id=memory,size={}M,share=on",
                    self.memory_mib
                );
            }
            VmOrigin::Template => "on",
            VmOrigin::Restored {
                mapping: Mapping::Shared,
                ..
            } => "on",
            VmOrigin::Restored {
                mapping: Mapping::Private,
                ..
            } => "off",
        };
        format!(
            "memory-backend-file,id=memory,size={}M,mem-path=/proc/self/fd/{MEMORY_DESCRIPTOR},share={share}",
            self.memory_mib
        )
    }

    /// Whether somebody speaks with it: devices come later.
    #[must_use]
    pub fn has_monitor(&self) -> bool {
        self.origin != VmOrigin::Booted
            || self
                .devices
                .iter()
                .any(|device| device.driver == "pcie-root-port")
    }

    /// All its devices: those of its command line, and those that it gets later.
    pub fn all_devices(&self) -> impl Iterator<Item = &Device> {
        let added = match &self.origin {
            VmOrigin::Restored { added, .. } => added.as_slice(),
            VmOrigin::Booted | VmOrigin::Template => &[],
        };
        self.devices.iter().chain(added)
    }
}

/// What a process does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    /// It writes, or connects.
    Write,
}

impl Qemu {
    /// The files that it needs beside its own program's, and nothing else.
    #[must_use]
    pub fn files(&self) -> Vec<(Access, PathBuf)> {
        let kernel = std::iter::once(&self.kernel).chain(&self.initrd);
        let connected = self.origin != VmOrigin::Template;
        let sockets = self.chardevs.iter().filter(|_| connected);
        let sockets = sockets.map(|chardev| &chardev.path);
        let sockets = sockets.chain(self.netdevs.iter().filter_map(Netdev::socket));
        let disks = self.blockdevs.iter().map(|disk| match disk.read_only {
            true => (Access::Read, disk.filename.clone()),
            false => (Access::Write, disk.filename.clone()),
        });
        // The volumes below a share are read-only each for itself.
        let shares = self.fsdevs.iter().map(|fsdev| &fsdev.path);
        let written = self.serial.file().into_iter().chain(sockets).chain(shares);
        let written = written.map(|path| (Access::Write, path.clone()));
        kernel
            .map(|path| (Access::Read, path.clone()))
            .chain(disks)
            .chain(written)
            .collect()
    }

    /// Those of the arguments that share volumes: `-fsdev` and its devices.
    #[must_use]
    pub fn share_args(&self) -> Vec<OsString> {
        let fsdevs = self
            .fsdevs
            .iter()
            .flat_map(|fsdev| ["-fsdev".into(), fsdev.value()]);
        let of_share = |device: &&Device| matches!(device.driver, "virtio-9p-pci" | "vhost-user-fs-pci");
        let devices = self
            .all_devices()
            .filter(of_share)
            .flat_map(|device| ["-device".into(), device.value()]);
        fsdevs.chain(devices).collect()
    }
}

impl Chardev {
    fn value(&self) -> OsString {
        let head = format!("socket,id={},path=", self.id);
        join(&[head.as_ref(), &option(&self.path)])
    }
}

impl Blockdev {
    fn value(&self) -> OsString {
        let read_only = if self.read_only { "on" } else { "off" };
        let head = format!(
            "driver=raw,node-name={},read-only={read_only},discard=unmap,file.driver=file,file.locking=off,file.filename=",
            self.node_name
        );
        join(&[head.as_ref(), &option(&self.filename)])
    }
}

impl Fsdev {
    fn value(&self) -> OsString {
        let model = match self.security_model {
            SecurityModel::Passthrough => "passthrough",
            SecurityModel::None => "none",
        };
        let read_only = if self.read_only { ",readonly=on" } else { "" };
        // Several file systems below one share number their inodes alike; `remap` keeps them apart.
        let head = format!(
            "local,id={},security_model={model},multidevs=remap{read_only},path=",
            self.id
        );
        join(&[head.as_ref(), &option(&self.path)])
    }
}

impl Netdev {
    fn value(&self) -> OsString {
        match self {
            Self::User(user) => user.value().into(),
            Self::Stream { id, path } => {
                let head = format!("stream,id={id},server=off,addr.type=unix,addr.path=");
                join(&[head.as_ref(), &option(path)])
            }
            Self::Tap { id, fd, vhost } => {
                let vhost = vhost.map(|number| format!(",vhost=on,vhostfd={number}"));
                format!("tap,id={id},fd={fd}{}", vhost.unwrap_or_default()).into()
            }
        }
    }

    fn socket(&self) -> Option<&PathBuf> {
        match self {
            Self::User(_) | Self::Tap { .. } => None,
            Self::Stream { path, .. } => Some(path),
        }
    }
}

impl UserNetdev {
    fn value(&self) -> String {
        let ((network, prefix), host, dns) = (self.network, self.host, self.dns);
        let mut value = format!(
            "user,id={},ipv6=off,net={network}/{prefix},host={host},dns={dns},dhcpstart={}",
            self.id, self.dhcp_start
        );
        for forward in &self.forwards {
            let _ = write!(value, ",hostfwd={forward}");
        }
        value
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((host, host_port), (guest, guest_port)) = (self.host, self.guest);
        write!(f, "{}:{host}:{host_port}-{guest}:{guest_port}", self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_are_doubled() {
        let fsdev = Fsdev {
            id: "data".into(),
            path: "/srv/a,b".into(),
            security_model: SecurityModel::None,
            read_only: true,
        };
        assert_eq!(
            fsdev.value(),
            "local,id=data,security_model=none,multidevs=remap,readonly=on,path=/srv/a,,b"
        );
    }
}
