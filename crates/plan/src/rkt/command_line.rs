//! The hypervisor's command line: kvmtool's, which was rkt's, and QEMU's.

use std::ffi::OsString;
use std::path::PathBuf;

use isopod_spec::Architecture;

use crate::layout;
use crate::rkt::RktPlan;
use crate::vm::qemu::{self, Accelerator, Device, Fsdev, Qemu, SecurityModel, Serial, VmOrigin};

impl RktPlan {
    /// The arguments that share the volumes with `lkvm`, in the order of declaration.
    #[must_use]
    pub fn lkvm_share_args(&self) -> Vec<OsString> {
        let share = |(tag, source): &(String, PathBuf)| {
            let mut arg = OsString::from("--9p=");
            arg.push(source);
            arg.push(format!(",{tag}"));
            arg
        };
        self.shares.iter().map(share).collect()
    }

    /// The whole command line of `lkvm`: the kernel and the directory of the guest's root are relative to where it is
    /// run, as rkt had it.
    #[must_use]
    pub fn lkvm_argv(&self) -> Vec<OsString> {
        let mut argv: Vec<OsString> = ["lkvm", "run", "--name", "isopod", "--no-dhcp", "--console=virtio"]
            .map(OsString::from)
            .to_vec();
        let (cpus, memory) = (self.cpus.to_string(), self.memory_mib.to_string());
        for (switch, value) in [
            ("--cpu", cpus.as_str()),
            ("--mem", &memory),
            ("--kernel", "bzImage"),
            ("--disk", ROOT),
            ("--params", &format!("console=hvc0 {PARAMETERS}")),
        ] {
            argv.extend([switch.into(), value.into()]);
        }
        argv.extend(self.lkvm_share_args());
        argv
    }

    /// The arguments that share the volumes with QEMU.
    #[must_use]
    pub fn qemu_share_args(&self) -> Vec<OsString> {
        self.qemu().share_args()
    }

    /// The whole command line of QEMU.
    #[must_use]
    pub fn qemu_argv(&self) -> Vec<OsString> {
        let qemu = self.qemu();
        std::iter::once(qemu.program.clone().into_os_string())
            .chain(qemu.argv())
            .collect()
    }

    fn qemu(&self) -> Qemu {
        let shares =
            std::iter::once(("/dev/root".to_owned(), PathBuf::from(ROOT))).chain(self.shares.iter().cloned());
        let mut fsdevs = Vec::new();
        let mut devices = Vec::new();
        for (i, (tag, path)) in shares.enumerate() {
            let id = format!("share{i}");
            let properties = vec![("fsdev", id.clone()), ("mount_tag", tag)];
            devices.push(Device {
                driver: "virtio-9p-pci",
                properties,
            });
            fsdevs.push(Fsdev {
                id,
                path,
                security_model: SecurityModel::Passthrough,
                read_only: false,
            });
        }
        Qemu {
            architecture: Architecture::Amd64,
            program: PathBuf::from("qemu-system-x86_64"),
            machine: qemu::Machine {
                board: "q35",
                options: "vmport=off",
                accel: Accelerator::Kvm,
            },
            cpu: "host".into(),
            smp: self.cpus,
            memory_mib: self.memory_mib,
            firmware: None,
            kernel: "bzImage".into(),
            initrd: None,
            append: format!("console=ttyS0 root=/dev/root rootfstype=9p rootflags=trans=virtio {PARAMETERS}"),
            serial: Serial::File(layout::CONSOLE_LOG.into()),
            chardevs: Vec::new(),
            blockdevs: Vec::new(),
            fsdevs,
            netdevs: Vec::new(),
            devices,
            origin: VmOrigin::Booted,
        }
    }
}

/// The directory of the guest's root, relative to where the hypervisor is run (rkt's name for it).
const ROOT: &str = "stage1/rootfs";

/// What both hypervisors' kernels get.
const PARAMETERS: &str = "rw init=/usr/lib/systemd/systemd quiet";
