//! Where the host keeps what the guest image is made of: the kernels that have their modules, and the agent.
//!
//! Looks only at directories; nothing is read or checked that the build will read anyway. The environment is not asked:
//! who calls says what is where, or leaves it to the distribution's places.
//!
//! ```text
//! /boot/vmlinuz-RELEASE                                  Debian, Ubuntu, RHEL, openSUSE
//! /usr/lib/modules/RELEASE/vmlinuz, /lib/modules/...     Fedora, Arch, openSUSE
//! /run/booted-system/{kernel,kernel-modules}             NixOS; then /run/current-system/...
//! ```

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use isopod_spec::Architecture;

use crate::elf;
use crate::inputs::ReadError;
use crate::kernel;
use crate::kernels::{Kernel, in_order};

/// The agent's name where it is of the architecture of all around it.
const AGENT: &str = "isopod-agent";
/// Where an installed agent is looked for, below a root.
const AGENT_DIRS: &[&str] = &["usr/libexec/isopod", "usr/lib/isopod"];
/// Where systemd is, below a root.
const SYSTEMD_PATHS: &[&str] = &["usr/lib/systemd/systemd", "lib/systemd/systemd"];
/// `sizeof(Elf64_Ehdr)` (elf(5)).
const ELF_HEADER_BYTES: u64 = 64;
/// Where distributions keep a release's modules.
const MODULES_PARENTS: &[&str] = &["usr/lib/modules", "lib/modules"];
/// Where NixOS has a kernel, without its release in the name, and the parent of its modules.
const NIX_SYSTEMS: &[&str] = &["run/booted-system", "run/current-system"];
/// How much of a kernel image is read for its release: the header and the text that it points to.
const KERNEL_HEAD_BYTES: u64 = 64 << 10;

/// What the caller knows better than the search.
#[derive(Clone, Debug)]
pub struct FindOptions {
    /// The architecture that the guest is for.
    pub architecture: Architecture,
    /// The directory below which the distribution's files are.
    pub root: PathBuf,
    /// The kernel, as distributions ship it or as QEMU starts it; the best below `root` if not given.
    pub kernel: Option<PathBuf>,
    /// The release that the kernel is to have; any if not given.
    pub release: Option<String>,
    /// The directory with the kernel's modules (`/lib/modules/RELEASE`); found by the kernel's release if not given.
    pub modules_dir: Option<PathBuf>,
    /// The agent, a static binary; an installed one if not given.
    pub agent: Option<PathBuf>,
    /// The release of the kernel that the host runs.
    pub running: Option<String>,
}

impl Default for FindOptions {
    fn default() -> Self {
        Self {
            architecture: Architecture::HOST,
            root: "/".into(),
            kernel: None,
            release: None,
            modules_dir: None,
            agent: None,
            running: None,
        }
    }
}

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The architecture that the guest is for.
    pub architecture: Architecture,
    /// The directory below which the distribution's files are.
    pub root: PathBuf,
    /// The kernel, as distributions ship it or as QEMU starts it.
    pub kernel: PathBuf,
    /// The kernel's release, as uname(1) says it.
    pub release: String,
    /// The directory with the kernel's modules.
    pub modules_dir: PathBuf,
    pub agent: PathBuf,
}

/// Why there is nothing to make an image of.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// No kernel, or none whose modules are installed.
    #[error("no kernel below `{}` that has its modules installed", .root.display())]
    NoKernel {
        /// Where it was looked for.
        root: PathBuf,
    },
    /// A release was named, and no kernel of it is there with its modules.
    #[error(
        "no kernel `{release}` that has its modules installed; there is {}",
        shown(there)
    )]
    NoSuchRelease {
        release: String,
        /// Those that are there.
        there: Vec<String>,
    },
    /// A directory of modules was named, and no kernel of its release is there.
    #[error("no kernel for the modules in `{}`", .modules_dir.display())]
    NoKernelOf { modules_dir: PathBuf },
    /// A kernel was named, but its modules are not there.
    #[error("kernel `{}` is release `{release}`, which has no modules below `{}`", .kernel.display(), .root.display())]
    NoModules {
        kernel: PathBuf,
        release: String,
        /// Where the modules were looked for.
        root: PathBuf,
    },
    /// A kernel was named that does not say its release.
    #[error("cannot determine the release of kernel `{}`", .kernel.display())]
    NoRelease { kernel: PathBuf },
    /// No agent is installed.
    #[error("the guest agent (`{name}`) is neither beside `isopod` nor installed below `{}`", .root.display())]
    NoAgent {
        /// What it is called here.
        name: String,
        /// Where it was looked for.
        root: PathBuf,
    },
    /// A file that was named is not there, or may not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl FindError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoKernel { root } if root != Path::new("/") => Some(format!(
                "install the distribution's kernel package there; where its scripts could not run, `sudo depmod -b {} VERSION` makes the \
                 list of its modules",
                root.display()
            )),
            Self::NoKernel { .. } => Some("install the distribution's kernel package".into()),
            Self::NoSuchRelease { .. } => {
                Some("a kernel that is elsewhere is named by its path: `--kernel FILE --modules DIR`".into())
            }
            Self::NoKernelOf { .. } => Some("name its kernel too: `--kernel FILE`".into()),
            Self::NoModules { release, .. } => Some(format!(
                "install the modules of kernel `{release}`, or name their directory: `--modules DIR`"
            )),
            Self::NoRelease { .. } => Some("name the directory with its modules: `--modules DIR`".into()),
            Self::NoAgent { name, .. } if name == AGENT => Some(format!(
                "`cargo install` brings the command only: build the agent in a checkout with `cargo xtask build`, and install it \
                 as `/{}/{name}`, put it beside `isopod`, or name it in ISOPOD_AGENT",
                AGENT_DIRS[0]
            )),
            Self::NoAgent { name, .. } => Some(format!(
                "build it in a checkout with `cargo xtask build --foreign`, and install it as `/{}/{name}`, or put it beside `isopod`",
                AGENT_DIRS[0]
            )),
            Self::Read(error) => error.hint(),
        }
    }
}

impl Sources {
    /// Finds the kernels that have their modules, the best first ([`crate::kernels`]), each with the agent: at least one. A kernel
    /// that was named is the only one.
    ///
    /// # Errors
    /// Nothing found, or something that was named is not there.
    pub fn find(options: &FindOptions) -> Result<Vec<Self>, FindError> {
        let root = options.root.clone();
        let kernels = match &options.kernel {
            Some(kernel) => vec![named_kernel(kernel, options)?],
            None => found_kernels(options)?,
        };
        let agent = match &options.agent {
            Some(agent) => must_exist(agent)?,
            None => installed_agent(options).ok_or_else(|| FindError::NoAgent {
                name: agent_name(options.architecture),
                root: root.clone(),
            })?,
        };
        let sources = |kernel: Kernel| Self {
            architecture: options.architecture,
            root: root.clone(),
            kernel: kernel.file,
            release: kernel.release,
            modules_dir: kernel.modules_dir,
            agent: agent.clone(),
        };
        Ok(kernels.into_iter().map(sources).collect())
    }
}

/// What the agent is called on this host: that of another architecture stands beside its own.
#[must_use]
pub fn agent_name(architecture: Architecture) -> String {
    match architecture == Architecture::HOST {
        true => AGENT.to_owned(),
        false => format!("{AGENT}-{}", architecture.kernel_name()),
    }
}

/// The agent that a package has installed: on the host, or else in the directory that the guest is made of.
fn installed_agent(options: &FindOptions) -> Option<PathBuf> {
    let on_host = agent_name(options.architecture);
    let places = |root: &Path, name: &str| -> Vec<PathBuf> {
        AGENT_DIRS.iter().map(|dir| root.join(dir).join(name)).collect()
    };
    let host = Path::new("/");
    let mut all = places(&options.root, AGENT);
    if options.root != host {
        all.splice(0..0, places(host, &on_host));
    }
    all.into_iter().find(|path| path.is_file())
}

/// The architecture of the distribution below `root`: that of its systemd; `None` where there is none, or of an unknown one.
#[must_use]
pub fn architecture_of(root: &Path) -> Option<Architecture> {
    let head = |path: &&str| {
        let mut head = Vec::new();
        let file = fs::File::open(root.join(path)).ok()?;
        file.take(ELF_HEADER_BYTES).read_to_end(&mut head).ok()?;
        Some(head)
    };
    elf::architecture(&SYSTEMD_PATHS.iter().find_map(head)?)
}

fn named_kernel(kernel: &Path, options: &FindOptions) -> Result<Kernel, FindError> {
    let release = named_release(kernel, options.architecture)?;
    let file = kernel.to_owned();
    if let Some(dir) = &options.modules_dir {
        let modules_dir = must_exist(dir)?;
        let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
        let release = release.or(name);
        return match release {
            Some(release) => Ok(Kernel {
                file,
                release,
                modules_dir,
            }),
            None => Err(FindError::NoRelease { kernel: file }),
        };
    }
    let Some(release) = release else {
        return Err(FindError::NoRelease { kernel: file });
    };
    match modules_of(&options.root, &release) {
        Some(modules_dir) => Ok(Kernel {
            file,
            release,
            modules_dir,
        }),
        None => Err(FindError::NoModules {
            kernel: file,
            release,
            root: options.root.clone(),
        }),
    }
}

/// What a kernel says of its release. One for ARM says it in its midst only, for people.
fn named_release(kernel: &Path, architecture: Architecture) -> Result<Option<String>, ReadError> {
    match architecture {
        Architecture::Amd64 => Ok(kernel::release(&head(kernel)?)),
        Architecture::Arm64 => {
            let image = fs::read(kernel).map_err(|source| ReadError {
                path: kernel.to_owned(),
                source,
            })?;
            let image = kernel::startable(architecture, image).ok();
            Ok(image.and_then(|image| kernel::banner_release(&image)))
        }
    }
}

/// What is read of a kernel for its release.
fn head(kernel: &Path) -> Result<Vec<u8>, ReadError> {
    let error = |source| ReadError {
        path: kernel.to_owned(),
        source,
    };
    let mut head = Vec::new();
    let file = fs::File::open(kernel).map_err(error)?;
    file.take(KERNEL_HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(error)?;
    Ok(head)
}

/// The kernels in the distribution's places that fit what was named, the best first.
fn found_kernels(options: &FindOptions) -> Result<Vec<Kernel>, FindError> {
    let root = &options.root;
    let mut found = in_boot(options);
    found.extend(beside_modules(options));
    found.extend(of_nix(root));
    if let Some(dir) = &options.modules_dir {
        let dir = must_exist(dir)?;
        found.retain(|kernel| {
            dir.file_name()
                .is_some_and(|name| name == kernel.release.as_str())
        });
        if found.is_empty() {
            return Err(FindError::NoKernelOf { modules_dir: dir });
        }
    }
    let mut found = in_order(found, options.running.as_deref());
    if found.is_empty() {
        return Err(FindError::NoKernel { root: root.clone() });
    }
    if let Some(release) = &options.release {
        let there = found.iter().map(|kernel| kernel.release.clone()).collect();
        found.retain(|kernel| kernel.release == *release);
        if found.is_empty() {
            let release = release.clone();
            return Err(FindError::NoSuchRelease { release, there });
        }
    }
    Ok(found)
}

fn in_boot(options: &FindOptions) -> Vec<Kernel> {
    let kernel = |file: PathBuf| {
        let release = file.file_name()?.to_str()?.strip_prefix("vmlinuz-")?.to_owned();
        let named = options.modules_dir.clone();
        let modules_dir = named.or_else(|| modules_of(&options.root, &release))?;
        Some(Kernel {
            file,
            release,
            modules_dir,
        })
    };
    let files = entries(&options.root.join("boot"));
    files.into_iter().filter_map(kernel).collect()
}

fn beside_modules(options: &FindOptions) -> Vec<Kernel> {
    let kernel = |dir: PathBuf| {
        let (file, release) = (dir.join("vmlinuz"), dir.file_name()?.to_str()?.to_owned());
        let modules_dir = options.modules_dir.clone().unwrap_or(dir);
        let whole = file.is_file() && modules_dir.join("modules.dep").is_file();
        whole.then_some(Kernel {
            file,
            release,
            modules_dir,
        })
    };
    let parents = MODULES_PARENTS.iter().map(|parent| options.root.join(parent));
    parents
        .flat_map(|parent| entries(&parent))
        .filter_map(kernel)
        .collect()
}

/// NixOS's: what the kernel says of its release names its modules' directory.
fn of_nix(root: &Path) -> Vec<Kernel> {
    let kernel = |system: &&str| {
        let system = root.join(system);
        let file = system.join("kernel");
        let release = kernel::release(&head(&file).ok()?)?;
        let modules_dir = system.join("kernel-modules/lib/modules").join(&release);
        modules_dir.join("modules.dep").is_file().then_some(Kernel {
            file,
            release,
            modules_dir,
        })
    };
    NIX_SYSTEMS.iter().filter_map(kernel).collect()
}

fn modules_of(root: &Path, release: &str) -> Option<PathBuf> {
    let dirs = MODULES_PARENTS
        .iter()
        .map(|parent| root.join(parent).join(release));
    dirs.into_iter().find(|dir| dir.join("modules.dep").is_file())
}

/// A directory's entries; none where there is no such directory.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn must_exist(path: &Path) -> Result<PathBuf, ReadError> {
    match fs::metadata(path) {
        Ok(_) => Ok(path.to_owned()),
        Err(source) => Err(ReadError {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Names in a sentence.
fn shown(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

#[cfg(test)]
mod tests;
