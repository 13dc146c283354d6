//! The VM as the user asks for it.

use std::ffi::OsStr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Architecture;

/// The VM the pod runs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// Guest memory, in MiB.
    pub memory_mib: u32,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Who says its memory.
    #[serde(default, skip_serializing_if = "SizedBy::is_pod")]
    pub memory_by: SizedBy,
    /// Who says its CPUs.
    #[serde(default, skip_serializing_if = "SizedBy::is_pod")]
    pub cpus_by: SizedBy,
    /// KVM or emulation.
    pub accel: Accel,
    /// How host volumes reach the guest.
    pub transport: ShareTransport,
    /// Booted or restored.
    #[serde(default, skip_serializing_if = "StartMode::is_auto")]
    pub start: StartMode,
    /// Its processor's, where that is said: images are for it, and so is the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    #[serde(default, skip_serializing_if = "GuestKernel::is_default")]
    pub kernel: GuestKernel,
}

impl Default for Vm {
    fn default() -> Self {
        Self {
            memory_mib: crate::size::ROOM_MIB,
            cpus: 1,
            memory_by: SizedBy::Pod,
            cpus_by: SizedBy::Pod,
            accel: Accel::Auto,
            transport: ShareTransport::Auto,
            start: StartMode::Auto,
            architecture: None,
            kernel: GuestKernel::default(),
        }
    }
}

/// Who says how large a VM is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SizedBy {
    /// The pod: a flag, or a file, which says what its containers need.
    #[default]
    Pod,
    /// Its apps, by their limits: those of flags, which the size follows already, and those of their images, which only the
    /// planner knows ([`Vm::for_apps`]).
    Apps,
}

impl SizedBy {
    fn is_pod(&self) -> bool {
        *self == Self::Pod
    }
}

/// What the guest is made of, where that is not what the host itself runs, with the best kernel that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestKernel {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelChoice>,
    /// The directory with its modules, where that is not `/lib/modules/RELEASE`.
    #[serde(
        default,
        with = "crate::raw_path::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub modules: Option<PathBuf>,
    /// The directory with the distribution that kernel, systemd and libraries are taken from, where that is not the host's root.
    #[serde(
        default,
        with = "crate::raw_path::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub root: Option<PathBuf>,
}

impl GuestKernel {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a kernel is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelChoice {
    File(#[serde(with = "crate::raw_path")] PathBuf),
    /// By its release, as uname(1) says it.
    Release(String),
}

impl KernelChoice {
    /// Reads `FILE|VERSION`: a file's name has a slash, which no release has. `None` where it is empty, or a release that is no text.
    #[must_use]
    pub fn read(text: &OsStr) -> Option<Self> {
        match text.as_encoded_bytes() {
            [] => None,
            bytes if bytes.contains(&b'/') => Some(Self::File(text.into())),
            _ => text.to_str().map(|release| Self::Release(release.to_owned())),
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
    Cold,
}

impl StartMode {
    /// The mode of that name: `auto`, `warm` or `cold`; `None`: there is none.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "warm" => Some(Self::Warm),
            "cold" => Some(Self::Cold),
            _ => None,
        }
    }

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
