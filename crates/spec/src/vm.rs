//! The VM as the user asks for it.

use serde::{Deserialize, Serialize};

/// The VM the pod runs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// Guest memory, in MiB.
    pub memory_mib: u32,
    /// Virtual CPUs.
    pub cpus: u32,
    /// KVM or emulation.
    pub accel: Accel,
    /// How host volumes reach the guest.
    pub transport: ShareTransport,
    /// Booted or restored.
    #[serde(default, skip_serializing_if = "StartMode::is_auto")]
    pub start: StartMode,
}

impl Default for Vm {
    fn default() -> Self {
        Self {
            memory_mib: 512,
            cpus: 1,
            accel: Accel::Auto,
            transport: ShareTransport::Auto,
            start: StartMode::Auto,
        }
    }
}

/// Whether the VM is booted, or restored from a template: one like it that was booted and saved before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartMode {
    /// Restored where there is a template; otherwise booted, and a template is made for the next.
    #[default]
    Auto,
    /// Restored: the template is made first where there is none.
    Warm,
    /// Booted.
    Cold,
}

impl StartMode {
    /// Whether nothing was said.
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// How the guest's CPU is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accel {
    /// KVM where a guest was seen to run with it, otherwise emulation.
    #[default]
    Auto,
    /// KVM, or an error.
    Kvm,
    /// QEMU's emulation.
    Tcg,
}

/// How host volumes are shared into the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShareTransport {
    /// virtiofs where a virtiofsd that works here is found, otherwise 9p.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// virtiofs, or an error.
    #[serde(rename = "virtiofs")]
    Virtiofs,
    /// 9p.
    #[serde(rename = "9p")]
    NineP,
}
