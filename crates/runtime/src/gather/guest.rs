//! The guest image of a pod: of the kernel that it names, or else of the best one that the host has.

use std::io;
use std::path::{Path, PathBuf};

use isopod_guest::{BuildError, Ensured, FindError, FindOptions, ReadError, Sources};
use isopod_plan::distribution::{Distribution, Family, Need};
use isopod_spec::{Architecture, GuestKernel, KernelChoice, Vm};

use super::GatherFault;
use crate::{Settings, agent_of};

/// What a guest is made of.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// The architecture of the VM.
    pub(crate) architecture: Architecture,
    /// The kernel, and the directory with the distribution, by absolute paths.
    pub(crate) kernel: GuestKernel,
}

/// What the guest of a pod is made of. The architecture is the one that the pod says, else that of the directory that it names, else the
/// host's; a distribution of another architecture than the host's is in a directory of the pod's or of the settings.
pub(crate) fn wanted(vm: &Vm, settings: &Settings) -> Result<Choice, GatherFault> {
    let named = vm
        .kernel
        .root
        .as_ref()
        .map(|root| settings.working_dir.join(root));
    let found = named.as_deref().map(isopod_guest::architecture_of);
    let architecture = vm.architecture.or(found.flatten()).unwrap_or(Architecture::HOST);
    let root = match (named, found) {
        (Some(root), Some(found)) if found != Some(architecture) => {
            return Err(GatherFault::GuestRoot {
                root,
                found,
                wanted: architecture,
            });
        }
        (None, _) if architecture != Architecture::HOST => {
            let mut roots = settings.guest_roots.iter();
            let fits = |root: &&PathBuf| isopod_guest::architecture_of(root) == Some(architecture);
            let root = roots.find(fits);
            Some(root.ok_or(GatherFault::NoGuestRoot(architecture))?.clone())
        }
        (named, _) => named,
    };
    Ok(Choice {
        architecture,
        kernel: kernel(&vm.kernel, root, settings),
    })
}

/// The kernel that a pod is to have, by absolute paths: its own, or else the host's kernel that the settings choose.
fn kernel(asked: &GuestKernel, root: Option<PathBuf>, settings: &Settings) -> GuestKernel {
    let wanted = match asked.is_default() && root.is_none() {
        true => &settings.kernel,
        false => asked,
    };
    let absolute = |path: &PathBuf| settings.working_dir.join(path);
    GuestKernel {
        root,
        kernel: wanted.kernel.as_ref().map(|kernel| match kernel {
            KernelChoice::File(file) => KernelChoice::File(absolute(file)),
            KernelChoice::Release(release) => KernelChoice::Release(release.clone()),
        }),
        modules: wanted.modules.as_ref().map(absolute),
    }
}

/// The sources of guest images with that kernel, the best first.
pub(crate) fn sources(
    wanted: &Choice,
    settings: &Settings,
    distribution: &Distribution,
) -> Result<Vec<Sources>, GatherFault> {
    let Choice { architecture, kernel } = wanted;
    let (file, release) = match kernel.kernel.clone() {
        Some(KernelChoice::File(file)) => (Some(file), None),
        Some(KernelChoice::Release(release)) => (None, Some(release)),
        None => (None, None),
    };
    let running = || rustix::system::uname().release().to_string_lossy().into_owned();
    let options = FindOptions {
        architecture: *architecture,
        kernel: file,
        release,
        modules_dir: kernel.modules.clone(),
        agent: match *architecture == Architecture::HOST {
            true => settings.agent.clone(),
            false => agent_of(&settings.isopod, *architecture),
        },
        running: kernel.root.is_none().then(running),
        root: kernel.root.clone().unwrap_or_else(|| "/".into()),
    };
    Sources::find(&options).map_err(|source| GatherFault::GuestSources {
        hint: match &source {
            FindError::NoKernel { .. } if kernel.root.is_none() => Some(distribution.install(Need::Kernel)),
            FindError::Read(error) => unreadable(error, distribution),
            other => other.hint(),
        },
        source,
    })
}

/// The guest image with that kernel.
pub(crate) fn image(
    wanted: &Choice,
    settings: &Settings,
    distribution: &Distribution,
) -> Result<Ensured, GatherFault> {
    let sources = sources(wanted, settings, distribution)?;
    isopod_guest::ensure(&sources, &settings.state_dir).map_err(|source| GatherFault::Guest {
        hint: match &source {
            BuildError::Read(error) => unreadable(error, distribution),
            BuildError::ProgramMissing { .. } if distribution.family == Family::Nix => Some(
                "a guest is made of a systemd in /usr/lib, which NixOS has not: name a directory with another distribution, `--guest-root \
                 DIR`"
                    .into(),
            ),
            // Alpine has none; nor has Void.
            BuildError::ProgramMissing { .. } if distribution.family == Family::Other => Some(
                "a guest is made of systemd: install it, or, where this distribution has none, name a directory with one that has: \
                 `--guest-root DIR`"
                    .into(),
            ),
            BuildError::ProgramMissing { .. } => Some(distribution.install(Need::Systemd)),
            other => other.hint(),
        },
        source,
    })
}

/// What to do about a file that cannot be read. Ubuntu installs each kernel for root only: what lasts is a script that runs after each
/// installation (run-parts(8), `/etc/kernel/postinst.d`, whose first argument is the kernel's version).
fn unreadable(error: &ReadError, distribution: &Distribution) -> Option<String> {
    if error.source.kind() != io::ErrorKind::PermissionDenied {
        return error.hint();
    }
    Some(make_readable(&error.path, distribution))
}

/// How ordinary users get to read a kernel.
pub(crate) fn make_readable(kernel: &Path, distribution: &Distribution) -> String {
    let now = format!("let every user read it: `sudo chmod a+r {}`", kernel.display());
    let kernel_of_boot = kernel.starts_with("/boot");
    match distribution.family {
        Family::Debian | Family::Ubuntu if kernel_of_boot => format!(
            "{now}; and those of later updates: `printf '#!/bin/sh\\nchmod a+r /boot/vmlinuz-$1\\n' | sudo install -m 755 /dev/stdin \
             /etc/kernel/postinst.d/zz-readable`"
        ),
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_about_a_kernel_for_root_alone_lasts() {
        let ubuntu = Distribution::read("ID=ubuntu\nVERSION_ID=\"24.04\"\n");
        let hint = make_readable("/boot/vmlinuz-6.8.0-31-generic".as_ref(), &ubuntu);
        assert!(
            hint.starts_with("let every user read it: `sudo chmod a+r /boot/vmlinuz-6.8.0-31-generic`; and")
        );
        assert!(hint.contains("/etc/kernel/postinst.d/zz-readable"), "{hint}");
        let fedora = Distribution::read("ID=fedora\n");
        assert!(!make_readable("/boot/vmlinuz-6".as_ref(), &fedora).contains("postinst.d"));
    }
}
