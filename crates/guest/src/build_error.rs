//! Why a guest image could not be built.

use std::io;
use std::path::PathBuf;

use crate::archive::ArchiveError;
use crate::elf::ElfError;
use crate::inputs::ReadError;
use crate::kernel::KernelError;
use crate::modules::ModulesError;
use crate::sources::Sources;

/// The oldest systemd that is taken: older ones come with a glibc whose user lookup needs plug-ins (before 2.34).
pub(crate) const OLDEST_SYSTEMD: u32 = 249;
/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No kernel was given.
    #[error("there is no kernel to build a guest image from")]
    NoSources,
    /// A file of the host is missing or may not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The kernel cannot be started directly.
    #[error("cannot use kernel `{}`", .path.display())]
    Kernel {
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KernelError,
    },
    /// The kernel's modules.
    #[error("cannot collect the kernel's modules")]
    Modules(#[from] ModulesError),
    /// The libraries of systemd and mount, or the agent.
    #[error("cannot collect the guest's programs")]
    Elf(#[from] ElfError),
    /// A program that the guest cannot do without.
    #[error("`{}` is not installed", .path.display())]
    ProgramMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// systemd does not say its version.
    #[error("cannot determine the version of `{}`", .path.display())]
    SystemdVersion { path: PathBuf },
    /// systemd is older than what the guest can be made of.
    #[error("`{}` is version {version}, the oldest supported is {OLDEST_SYSTEMD}", .path.display())]
    SystemdTooOld { path: PathBuf, version: u32 },
    /// The agent would need libraries before there are any.
    #[error("agent `{}` is not a static binary", .path.display())]
    AgentNotStatic { path: PathBuf },
    /// The files do not fit into an archive.
    #[error("cannot pack the guest's files")]
    Archive(#[from] ArchiveError),
    /// The directory that keeps the images.
    #[error("cannot write `{}`", .path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl BuildError {
    /// Whether it is about the kernel or its modules, and so another kernel may do.
    #[must_use]
    pub fn is_of_kernel(&self, sources: &Sources) -> bool {
        match self {
            Self::Kernel { .. } | Self::Modules(_) => true,
            Self::Read(error) => error.path == sources.kernel || error.path.starts_with(&sources.modules_dir),
            _ => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.hint(),
            Self::Kernel { source, .. } => source.hint(),
            Self::Modules(error) => error.hint(),
            Self::Elf(error) => error.hint(),
            Self::ProgramMissing { .. } => Some("install the distribution's package systemd".into()),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("make room there, or keep the state elsewhere: `--dir DIR`".into())
            }
            Self::AgentNotStatic { .. } => Some("build it with `-C target-feature=+crt-static`".into()),
            _ => None,
        }
    }
}
