//! What follows from a VM's architecture: QEMU's program, the board, the processor, the console.
//!
//! Sources: QEMU's documentation, "Arm System emulator / virt generic virtual platform" and "x86 System emulator / Microvm, q35"; the
//! kernel's Documentation/admin-guide/kernel-parameters.txt.

use isopod_spec::Architecture;

use crate::vm::qemu::{Accelerator, Machine};

/// QEMU's program for that architecture, by the name that it has everywhere but in RHEL.
#[must_use]
pub fn program(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Amd64 => "qemu-system-x86_64",
        Architecture::Arm64 => "qemu-system-aarch64",
    }
}

/// The board, with what no guest here uses switched off. What crashes leaves no memory of its guest behind.
#[must_use]
pub fn board(architecture: Architecture, accel: Accelerator) -> Machine {
    let (board, options) = match architecture {
        Architecture::Amd64 => (
            "q35",
            "vmport=off,smm=off,sata=off,smbus=off,i8042=off,graphics=off,usb=off,dump-guest-core=off",
        ),
        // The interrupt controller is the host's with KVM, and the newest that is emulated otherwise: version 2, the default, is for
        // 8 CPUs. Without firmware there is nobody who would read tables of ACPI.
        Architecture::Arm64 => ("virt", "gic-version=max,acpi=off,dump-guest-core=off"),
    };
    Machine {
        board,
        options,
        accel,
    }
}

/// A firmware that starts QEMU's kernel and nothing else ("x86 System emulator", `microvm`). QEMU has it since version 5.1, not every
/// distribution does.
pub const QBOOT: &str = "qboot.rom";

/// The firmware, where the board's own is not the best: SeaBIOS looks for disks, keyboards and option ROMs before the kernel, for 100 ms
/// under emulation, and leaves the kernel more to do. A VM with `vmgenid` does not start with qboot.
#[must_use]
pub fn firmware(architecture: Architecture, has_qboot: bool) -> Option<&'static str> {
    match architecture {
        Architecture::Amd64 => has_qboot.then_some(QBOOT),
        Architecture::Arm64 => None,
    }
}

/// The processor.
#[must_use]
pub fn cpu(architecture: Architecture, accel: Accelerator) -> &'static str {
    match (architecture, accel) {
        (_, Accelerator::Kvm) => "host",
        // Emulated string instructions go byte by byte; without these two flags the guest uses others.
        (Architecture::Amd64, Accelerator::Tcg { .. }) => "max,-erms,-fsrm",
        // Signatures of pointers are computed by QARMA otherwise, in thousands of instructions for each function.
        (Architecture::Arm64, Accelerator::Tcg { .. }) => "max,pauth-impdef=on",
    }
}

/// The serial port that is the guest's console.
#[must_use]
pub fn console(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Amd64 => "ttyS0",
        Architecture::Arm64 => "ttyAMA0",
    }
}
