//! Where the host keeps what the guest image is made of: the newest kernel that has its modules, and the agent.
//!
//! Looks only at directories; nothing is read or checked that the build will read anyway. The environment is not asked:
//! who calls says what is where, or leaves it to the distribution's places.

use std::cmp::{Ordering, Reverse};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::inputs::ReadError;
use crate::kernel;

/// Where an installed agent is looked for, below the root.
const AGENT_PATHS: &[&str] = &["usr/libexec/isopod/isopod-agent", "usr/lib/isopod/isopod-agent"];
/// Where distributions keep a release's modules.
const MODULES_PARENTS: &[&str] = &["usr/lib/modules", "lib/modules"];
/// How much of a kernel image is read for its release: the header and the text that it points to.
const KERNEL_HEAD_BYTES: u64 = 64 << 10;

/// What the caller knows better than the search.
#[derive(Clone, Debug)]
pub struct FindOptions {
    /// The directory below which the distribution's files are.
    pub root: PathBuf,
    /// The kernel, a bzImage or a `vmlinux`; the newest below `root` if not given.
    pub kernel: Option<PathBuf>,
    /// The directory with the kernel's modules (`/lib/modules/RELEASE`); found by the kernel's release if not given.
    pub modules_dir: Option<PathBuf>,
    /// The agent, a static binary; an installed one if not given.
    pub agent: Option<PathBuf>,
}

impl Default for FindOptions {
    fn default() -> Self {
        Self {
            root: "/".into(),
            kernel: None,
            modules_dir: None,
            agent: None,
        }
    }
}

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The directory below which the distribution's files are.
    pub root: PathBuf,
    /// The kernel, a bzImage or a `vmlinux`.
    pub kernel: PathBuf,
    /// The kernel's release, as uname(1) says it.
    pub release: String,
    /// The directory with the kernel's modules.
    pub modules_dir: PathBuf,
    /// The agent.
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
    /// A kernel was named, but its modules are not there.
    #[error("kernel `{}` is release `{release}`, which has no modules below `{}`", .kernel.display(), .root.display())]
    NoModules {
        /// The kernel.
        kernel: PathBuf,
        /// Its release.
        release: String,
        /// Where the modules were looked for.
        root: PathBuf,
    },
    /// A kernel was named that does not say its release.
    #[error("cannot tell the release of kernel `{}`", .kernel.display())]
    NoRelease {
        /// The kernel.
        kernel: PathBuf,
    },
    /// No agent is installed.
    #[error("the guest agent (`isopod-agent`) is neither beside `isopod` nor installed below `{}`", .root.display())]
    NoAgent {
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
            Self::NoKernel { .. } => {
                Some("install the distribution's kernel package (Debian: linux-image-amd64)".into())
            }
            Self::NoModules { release, .. } => Some(format!(
                "install the modules of kernel `{release}`, or name their directory"
            )),
            Self::NoRelease { .. } => Some("name the directory with its modules".into()),
            Self::NoAgent { .. } => Some(format!(
                "install the agent as `/{}`, put it beside `isopod`, or name it in ISOPOD_AGENT",
                AGENT_PATHS[0]
            )),
            Self::Read(error) => error.hint(),
        }
    }
}

impl Sources {
    /// Finds the newest kernel that has its modules, and the agent.
    ///
    /// # Errors
    /// Nothing found, or something that was named is not there.
    pub fn find(options: &FindOptions) -> Result<Self, FindError> {
        let root = options.root.clone();
        let (kernel, release, modules_dir) = match &options.kernel {
            Some(kernel) => named_kernel(kernel, options)?,
            None => newest_kernel(options)?,
        };
        let agent = match &options.agent {
            Some(agent) => must_exist(agent)?,
            None => AGENT_PATHS
                .iter()
                .map(|path| root.join(path))
                .find(|path| path.is_file())
                .ok_or_else(|| FindError::NoAgent { root: root.clone() })?,
        };
        Ok(Self {
            root,
            kernel,
            release,
            modules_dir,
            agent,
        })
    }
}

type Kernel = (PathBuf, String, PathBuf);

fn named_kernel(kernel: &Path, options: &FindOptions) -> Result<Kernel, FindError> {
    let error = |source| ReadError {
        path: kernel.to_owned(),
        source,
    };
    let mut head = Vec::new();
    let file = fs::File::open(kernel).map_err(error)?;
    file.take(KERNEL_HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(error)?;
    let kernel = kernel.to_owned();
    if let Some(dir) = &options.modules_dir {
        let dir = must_exist(dir)?;
        let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
        let release = kernel::release(&head).or(name).ok_or(FindError::NoRelease {
            kernel: kernel.clone(),
        })?;
        return Ok((kernel, release, dir));
    }
    let Some(release) = kernel::release(&head) else {
        return Err(FindError::NoRelease { kernel });
    };
    match modules_of(&options.root, &release) {
        Some(dir) => Ok((kernel, release, dir)),
        None => Err(FindError::NoModules {
            kernel,
            release,
            root: options.root.clone(),
        }),
    }
}

/// Debian and its kin keep kernels in `/boot/vmlinuz-RELEASE`, Fedora and Arch beside the modules.
fn newest_kernel(options: &FindOptions) -> Result<Kernel, FindError> {
    let root = &options.root;
    let mut found: Vec<Kernel> = Vec::new();
    for path in entries(&root.join("boot")) {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Some(release) = name.strip_prefix("vmlinuz-").map(str::to_owned) else {
            continue;
        };
        let dir = options.modules_dir.clone().or_else(|| modules_of(root, &release));
        found.extend(dir.map(|dir| (path, release, dir)));
    }
    for dir in MODULES_PARENTS
        .iter()
        .flat_map(|parent| entries(&root.join(parent)))
    {
        let release = dir.file_name().map(|name| name.to_string_lossy().into_owned());
        let kernel = dir.join("vmlinuz");
        if kernel.is_file() && options.modules_dir.as_ref().is_none_or(|wanted| *wanted == dir) {
            found.extend(release.map(|release| (kernel, release, dir)));
        }
    }
    if let Some(dir) = &options.modules_dir {
        found.retain(|(_, release, _)| dir.file_name().is_some_and(|name| name == release.as_str()));
    }
    found
        .into_iter()
        .max_by(|left, right| compare_releases(&left.1, &right.1))
        .ok_or_else(|| FindError::NoKernel { root: root.clone() })
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

/// Orders releases as people do: `6.10.0` after `6.9.0`. Of two builds of one version the shorter name wins: Debian's
/// `6.1.0-56-amd64` has more modules than its `6.1.0-56-cloud-amd64`.
fn compare_releases(left: &str, right: &str) -> Ordering {
    let rank = |release: &str| (version(release), Reverse(release.len()));
    rank(left).cmp(&rank(right)).then_with(|| left.cmp(right))
}

/// A release's numbers, up to the first part that is none.
fn version(release: &str) -> Vec<u64> {
    release
        .split(['.', '-', '_', '+'])
        .map_while(|part| part.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(kernels: &[&str], modules: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: String| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        kernels.iter().for_each(|path| write((*path).to_owned()));
        modules
            .iter()
            .for_each(|release| write(format!("lib/modules/{release}/modules.dep")));
        write("usr/libexec/isopod/isopod-agent".into());
        dir
    }

    fn options(dir: &tempfile::TempDir) -> FindOptions {
        FindOptions {
            root: dir.path().to_owned(),
            ..FindOptions::default()
        }
    }

    #[test]
    fn the_newest_kernel_with_modules_is_taken() {
        let dir = host(
            &[
                "boot/vmlinuz-6.9.0-1-amd64",
                "boot/vmlinuz-6.10.0-1-amd64",
                "boot/vmlinuz-6.11.0-1-amd64",
                "boot/other",
            ],
            &["6.9.0-1-amd64", "6.10.0-1-amd64"],
        );
        let sources = Sources::find(&options(&dir)).unwrap();
        assert_eq!(sources.release, "6.10.0-1-amd64");
        assert_eq!(sources.kernel, dir.path().join("boot/vmlinuz-6.10.0-1-amd64"));
        assert_eq!(sources.modules_dir, dir.path().join("lib/modules/6.10.0-1-amd64"));
        assert_eq!(sources.agent, dir.path().join("usr/libexec/isopod/isopod-agent"));
    }

    #[test]
    fn a_kernel_beside_its_modules_counts() {
        let dir = host(
            &["lib/modules/7.1.2.fc50/vmlinuz", "boot/vmlinuz-6.1.0"],
            &["7.1.2.fc50", "6.1.0"],
        );
        assert_eq!(Sources::find(&options(&dir)).unwrap().release, "7.1.2.fc50");
        let older = FindOptions {
            modules_dir: Some(dir.path().join("lib/modules/6.1.0")),
            ..options(&dir)
        };
        assert_eq!(Sources::find(&older).unwrap().release, "6.1.0");
    }

    #[test]
    fn what_is_missing_is_said() {
        let dir = host(&["boot/vmlinuz-6.1.0"], &[]);
        let error = Sources::find(&options(&dir)).unwrap_err();
        assert!(matches!(error, FindError::NoKernel { .. }));
        assert!(error.hint().unwrap().contains("linux-image-amd64"));

        let named = FindOptions {
            kernel: Some(dir.path().join("boot/vmlinuz-6.1.0")),
            ..options(&dir)
        };
        assert!(matches!(Sources::find(&named), Err(FindError::NoRelease { .. })));
        let absent = FindOptions {
            kernel: Some("/nonexistent/vmlinuz".into()),
            ..options(&dir)
        };
        assert_eq!(
            Sources::find(&absent).unwrap_err().to_string(),
            "cannot read `/nonexistent/vmlinuz`"
        );

        let dir = host(&["boot/vmlinuz-6.1.0"], &["6.1.0"]);
        fs::remove_file(dir.path().join("usr/libexec/isopod/isopod-agent")).unwrap();
        let error = Sources::find(&options(&dir)).unwrap_err();
        assert!(matches!(error, FindError::NoAgent { .. }));
        let absent = FindOptions {
            agent: Some("/nonexistent/agent".into()),
            ..options(&dir)
        };
        assert_eq!(
            Sources::find(&absent).unwrap_err().to_string(),
            "cannot read `/nonexistent/agent`"
        );
    }

    #[test]
    fn releases_are_ordered_by_their_numbers() {
        let sorted = [
            "6.1.0-9-amd64",
            "6.1.0-56-amd64",
            "6.9.0",
            "6.10.0-1-cloud-amd64",
            "6.10.0-1-amd64",
            "6.10.1",
        ];
        for pair in sorted.windows(2) {
            assert_eq!(compare_releases(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(compare_releases("6.1.0", "6.1.0"), Ordering::Equal);
    }
}
