//! Kernel modules in the guest image: `NAME.ko`, uncompressed, beside a text file `order` with one line per module:
//!
//! ```text
//! NAME[ DEP...]     the modules that must be loaded before it, in order
//! NAME builtin      part of the kernel
//! ```
//!
//! A module without a line is absent. No options, and no aliases for what the planner names.
//!
//! In a pod whose apps may ask for more, those modules are there too, beside a text file `aliases` with lines `ALIAS NAME`;
//! and the agent is `/sbin/modprobe`, which the kernel calls as `modprobe -q -- ALIAS`.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use isopod_contract::layout::{MODULES, MODULES_ALIASES, MODULES_ORDER};
use rustix::io::Errno;

/// Why a module was not loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleError {
    #[error("kernel module `{name}` is not in the guest image")]
    Absent { name: String },
    #[error("cannot load the kernel module `{}`", .path.display())]
    Load {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read `{}`", .path.display())]
    Order {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The file `order`: which modules there are and what they need.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LoadOrder<'t>(HashMap<&'t str, Vec<&'t str>>);

impl<'t> LoadOrder<'t> {
    pub(crate) fn parse(text: &'t str) -> Self {
        let lines = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            Some((words.next()?, words.collect()))
        });
        Self(lines.collect())
    }

    /// What to load for `wanted`, each module once and after what it needs; and the names that are absent.
    pub(crate) fn resolve<'n>(
        &self,
        wanted: impl IntoIterator<Item = &'n str>,
    ) -> (Vec<&'t str>, Vec<&'n str>) {
        let (mut load, mut absent) = (Vec::new(), Vec::new());
        for name in wanted {
            let Some((&name, needs)) = self.0.get_key_value(name) else {
                absent.push(name);
                continue;
            };
            if needs[..] == ["builtin"] {
                continue;
            }
            for module in needs.iter().copied().chain([name]) {
                if !load.contains(&module) {
                    load.push(module);
                }
            }
        }
        (load, absent)
    }
}

/// Loads the modules `wanted` from `dir` but for those in `loaded`, which it adds to, going on after an error: what needs a
/// missing module fails by itself, and with more to say.
pub(crate) fn load<'n>(
    dir: &Path,
    wanted: impl IntoIterator<Item = &'n str>,
    loaded: &mut BTreeSet<String>,
) -> Vec<ModuleError> {
    let path = dir.join(MODULES_ORDER);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return vec![ModuleError::Order { path, source }],
    };
    let order = LoadOrder::parse(&text);
    let (load, absent) = order.resolve(wanted);
    let absent = absent.into_iter().map(|name| ModuleError::Absent {
        name: name.to_owned(),
    });
    let mut errors: Vec<_> = absent.collect();
    for name in load {
        if !loaded.insert(name.to_owned()) {
            continue;
        }
        let path = dir.join(format!("{name}.ko"));
        if let Err(source) = load_one(&path) {
            errors.push(ModuleError::Load { path, source });
        }
    }
    errors
}

/// The modules that the kernel has loaded.
pub(crate) fn present() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

/// `modprobe`, as the kernel calls it: loads the modules of a name or an alias that it asks for. What is not there is not
/// reported: the kernel asks for much.
pub(crate) fn modprobe(args: &[&str]) -> Vec<ModuleError> {
    let dir = Path::new(MODULES);
    let wanted = args.iter().rfind(|arg| !arg.starts_with('-'));
    let Some(alias) = wanted.map(|alias| alias.replace('-', "_")) else {
        return Vec::new();
    };
    let order = std::fs::read_to_string(dir.join(MODULES_ORDER)).unwrap_or_default();
    let aliases = std::fs::read_to_string(dir.join(MODULES_ALIASES)).unwrap_or_default();
    let names = named(&LoadOrder::parse(&order), &aliases, &alias);
    load(dir, names.iter().map(String::as_str), &mut BTreeSet::new())
}

/// The modules that `alias` stands for, with `_` for `-`.
fn named(order: &LoadOrder<'_>, aliases: &str, alias: &str) -> Vec<String> {
    if order.0.contains_key(alias) {
        return vec![alias.to_owned()];
    }
    let lines = aliases.lines().filter_map(|line| line.split_once(' '));
    let named = lines.filter(|(known, _)| *known == alias);
    named.map(|(_, name)| name.to_owned()).collect()
}

fn load_one(path: &Path) -> io::Result<()> {
    let file = std::fs::File::open(path)?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str =
        "virtio builtin\nvirtio_pci virtio_ring\n9p 9pnet netfs\n9pnet_virtio 9pnet\n\n9pnet\n";

    #[test]
    fn loads_each_once_and_after_its_needs() {
        let order = LoadOrder::parse(ORDER);
        let (load, absent) = order.resolve(["virtio", "9p", "virtiofs", "9pnet_virtio", "9pnet"]);
        assert_eq!(load, ["9pnet", "netfs", "9p", "9pnet_virtio"]);
        assert_eq!(absent, ["virtiofs"]);
    }

    #[test]
    fn the_kernel_asks_by_names_and_aliases() {
        let order = LoadOrder::parse("tun\nnf_tables nfnetlink\nvirtio builtin\n");
        let aliases = "char_major_10_200 tun\nfs_x 9p\ndevname:net/tun tun\n";
        for (alias, names) in [
            ("tun", &["tun"][..]),
            ("char_major_10_200", &["tun"]),
            ("net_pf_99", &[]),
        ] {
            assert_eq!(named(&order, aliases, alias), names, "{alias}");
        }
    }

    #[test]
    fn names_the_module_that_is_absent_and_the_file_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("order"), ORDER).unwrap();
        let mut loaded = BTreeSet::from(["9p".to_owned(), "netfs".to_owned()]);
        let errors = load(dir.path(), ["virtiofs", "9p", "virtio"], &mut loaded);
        let texts: Vec<_> = errors.iter().map(|error| error.to_string()).collect();
        let ko = dir.path().join("9pnet.ko");
        assert_eq!(
            texts,
            [
                "kernel module `virtiofs` is not in the guest image".to_owned(),
                format!("cannot load the kernel module `{}`", ko.display()),
            ]
        );
    }
}
