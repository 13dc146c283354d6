//! Which kernel modules the guest gets, and in which order they load.
//!
//! Reads what depmod(8) left beside the modules: `modules.dep`, `modules.softdep`, `modules.alias`, `modules.builtin` and
//! `modules.builtin.modinfo`. The host's /etc/modprobe.d does not count: it configures the host, not the guest. Nothing
//! is loaded here; the agent does that in the guest.
//!
//! # The guest's `/isopod/modules`
//! `NAME.ko` for every module, decompressed, and `order`, a text file with a line for each:
//!
//! ```text
//! NAME[ DEP...]     load each DEP in this order, then NAME; what is loaded already is skipped
//! NAME builtin      the kernel has it; there is nothing to load
//! ```
//!
//! Lines are sorted by name. Names are those of /proc/modules (`-` is written `_`). A module without a line does not exist
//! for this kernel. The list of DEPs is complete: nothing has to be looked up for them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use isopod_contract::layout::MODULES;

use crate::debug_tables;
use crate::inputs::{Inputs, ReadError};

/// A module that a pod may need.
#[derive(Clone, Copy, Debug)]
pub struct WantedModule {
    /// Its name, with `_` for `-`.
    pub name: &'static str,
    pub reason: &'static str,
}

const fn wanted(name: &'static str, reason: &'static str) -> WantedModule {
    WantedModule { name, reason }
}

/// Where the guest has a file of its modules.
pub(crate) fn path(name: &str) -> String {
    format!("{MODULES}/{name}")
}

/// These modules, and what they depend on: what docker, podman, buildah, WireGuard, OpenVPN, Tailscale and network labs ask
/// for. What the kernel does not have is left out.
pub const MORE: &[&str] = &[
    // Devices, and file systems on them.
    "tun",
    "fuse",
    "loop",
    "squashfs",
    "isofs",
    "vfat",
    "nls_iso8859_1",
    "nls_cp437",
    "nls_utf8",
    "dm_mod",
    "overlay",
    // Interfaces.
    "8021q",
    "bonding",
    "bridge",
    "br_netfilter",
    "dummy",
    "geneve",
    "gre",
    "ifb",
    "ip6_gre",
    "ip6_tunnel",
    "ip_gre",
    "ipip",
    "ipvlan",
    "ipvtap",
    "macvlan",
    "macvtap",
    "sit",
    "team",
    "veth",
    "vrf",
    "vxlan",
    "wireguard",
    // Traffic control and diagnosis.
    "act_mirred",
    "cls_u32",
    "inet_diag",
    "sch_fq_codel",
    "sch_htb",
    "sch_ingress",
    "sch_netem",
    "sch_prio",
    "sch_tbf",
    "tcp_bbr",
    "tcp_diag",
    "udp_diag",
    "unix_diag",
    // IPsec.
    "ah4",
    "esp4",
    "esp6",
    "xfrm_interface",
    "xfrm_user",
    // nftables.
    "nf_conntrack_netlink",
    "nf_tables",
    "nft_chain_nat",
    "nft_compat",
    "nft_ct",
    "nft_fib",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_hash",
    "nft_limit",
    "nft_log",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_quota",
    "nft_redir",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_socket",
    "nft_tproxy",
    // iptables and ipset.
    "ip6_tables",
    "ip6t_REJECT",
    "ip6table_filter",
    "ip6table_mangle",
    "ip6table_nat",
    "ip6table_raw",
    "ip_set",
    "ip_set_bitmap_port",
    "ip_set_hash_ip",
    "ip_set_hash_ipport",
    "ip_set_hash_net",
    "ip_set_list_set",
    "ip_tables",
    "ipt_REJECT",
    "iptable_filter",
    "iptable_mangle",
    "iptable_nat",
    "iptable_raw",
    "xt_CT",
    "xt_LOG",
    "xt_MASQUERADE",
    "xt_REDIRECT",
    "xt_TCPMSS",
    "xt_TPROXY",
    "xt_addrtype",
    "xt_cgroup",
    "xt_comment",
    "xt_connmark",
    "xt_conntrack",
    "xt_hashlimit",
    "xt_limit",
    "xt_mac",
    "xt_mark",
    "xt_multiport",
    "xt_nat",
    "xt_owner",
    "xt_physdev",
    "xt_recent",
    "xt_set",
    "xt_socket",
    "xt_state",
    "xt_statistic",
    "xt_string",
    "xt_tcpudp",
    "xt_u32",
];

/// Every module that goes into the image where the kernel has it. What they depend on follows.
pub const WANTED: &[WantedModule] = &[
    wanted("virtio_pci", "the bus that every virtio device is on"),
    wanted("virtio_blk", "the apps' root file systems are block devices"),
    wanted("virtio_console", "the port on which the agent talks to the host"),
    wanted("virtio_net", "the pod's network"),
    wanted(
        "virtio_balloon",
        "memory that the guest has freed, given back to the host",
    ),
    wanted("virtio_rng", "entropy, where the VM's CPU has no RDRAND"),
    wanted("erofs", "the file system of an app's image"),
    wanted("overlay", "makes an app's image writable"),
    wanted("ext4", "the disks that apps write to"),
    wanted("loop", "the images of apps that come later"),
    wanted("virtiofs", "host volumes, shared by virtiofsd"),
    wanted("9p", "host volumes, shared by QEMU itself"),
    wanted(
        "9pnet_virtio",
        "9p's transport: the kernel would ask modprobe for it, which the guest does not have",
    ),
];

/// Appended by the kernel's scripts/sign-file to a module that is signed.
const SIGNATURE_MAGIC: &[u8] = b"~Module signature appended~\n";
/// `struct module_signature`: five one-byte fields, three bytes of padding, a big-endian length.
const SIGNATURE_HEADER_BYTES: usize = 12;

/// Why the modules of a kernel could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// A file is missing or may not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A line is not as depmod(8) writes it.
    #[error("`{}` has a line without a colon: `{line}`", .path.display())]
    Line { path: PathBuf, line: String },
    /// A module depends on one that has no entry of its own.
    #[error("module `{name}` needs `{dependency}`, which `modules.dep` does not have")]
    Dependency {
        /// The module.
        name: String,
        /// The path of the other, as `modules.dep` has it.
        dependency: String,
    },
    /// A compressed module is damaged, or compressed in an unknown way.
    #[error("cannot decompress `{}`", .path.display())]
    Decompress {
        /// The module.
        path: PathBuf,
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
}

impl ModulesError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.hint(),
            Self::Line { .. } | Self::Dependency { .. } => Some("run depmod(8) for this kernel".into()),
            Self::Decompress { .. } => None,
        }
    }
}

/// What depmod(8) knows of a kernel's modules.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    dir: PathBuf,
    /// By name: the path below `dir`, and the names it needs, in load order.
    modules: BTreeMap<String, (String, Vec<String>)>,
    builtin: BTreeSet<String>,
    /// By name: what should be there before it, as names or aliases.
    soft: BTreeMap<String, Vec<String>>,
    /// By alias: the modules that answer to it. Only aliases without wildcards: hardware is not looked for.
    aliases: BTreeMap<String, Vec<String>>,
}

impl Tree {
    pub(crate) fn read(dir: &Path, inputs: &mut Inputs) -> Result<Self, ModulesError> {
        let mut text = |name: &str| -> Result<String, ReadError> {
            Ok(String::from_utf8_lossy(&inputs.read(&dir.join(name))?).into_owned())
        };
        let dependencies = text("modules.dep")?;
        let builtin = text("modules.builtin")?;
        let softdep = text("modules.softdep")?;
        let alias = text("modules.alias")?;
        let modinfo = inputs
            .read_optional(&dir.join("modules.builtin.modinfo"))?
            .unwrap_or_default();
        let mut tree = Self {
            dir: dir.to_owned(),
            ..Self::default()
        };
        tree.modules = parse_dependencies(&dependencies, &dir.join("modules.dep"))?;
        tree.builtin = builtin.lines().map(module_name).collect();
        tree.soft = parse_softdep(&softdep);
        tree.aliases = parse_aliases(&alias, &String::from_utf8_lossy(&modinfo));
        Ok(tree)
    }

    /// The names by which the kernel may ask for modules: each alias with its module, where that is among `names`.
    pub(crate) fn aliases_of<'a>(&'a self, names: &BTreeSet<&str>) -> Vec<(&'a str, &'a str)> {
        let all = self.aliases.iter().flat_map(|(alias, answers)| {
            let answers = answers.iter().map(String::as_str);
            answers.map(move |name| (alias.as_str(), name))
        });
        all.filter(|(_, name)| names.contains(name)).collect()
    }

    /// A module and all before it, in load order, as modprobe(8) would load them; `None` where the kernel does not have
    /// it, an empty list where it is built in.
    fn load_order(&self, name: &str) -> Option<Vec<String>> {
        if !self.modules.contains_key(name) {
            return self.builtin.contains(name).then(Vec::new);
        }
        let mut order = Vec::new();
        self.visit(name, &mut Vec::new(), &mut order);
        Some(order)
    }

    /// Appends a module behind all that it needs. `open` are the modules that wait for this one: a soft dependency that
    /// needs one of them would close a circle, and is left out, since only the hard ones must hold.
    fn visit<'tree>(&'tree self, name: &'tree str, open: &mut Vec<&'tree str>, order: &mut Vec<String>) {
        if open.contains(&name) || order.iter().any(|loaded| loaded == name) {
            return;
        }
        open.push(name);
        for need in self.needs(name) {
            self.visit(need, open, order);
        }
        for alias in self.soft.get(name).into_iter().flatten() {
            for soft in self.resolve(alias) {
                if !self
                    .needs(soft)
                    .chain([soft])
                    .any(|module| open.contains(&module))
                {
                    self.visit(soft, open, order);
                }
            }
        }
        open.pop();
        order.push(name.to_owned());
    }

    fn needs(&self, name: &str) -> impl Iterator<Item = &str> {
        self.modules
            .get(name)
            .into_iter()
            .flat_map(|(_, needs)| needs)
            .map(String::as_str)
    }

    /// The modules that a soft dependency names. Of several that do the same (`crypto-crc32c`), the ones for special CPUs
    /// (below `arch/`) are left out: they refuse to load elsewhere, and the portable one is always enough.
    fn resolve(&self, alias: &str) -> Vec<&str> {
        let name = module_name(alias);
        if let Some((name, _)) = self.modules.get_key_value(&name) {
            return vec![name];
        }
        let answers = self.aliases.get(&name).map(Vec::as_slice).unwrap_or_default();
        if answers.iter().any(|answer| self.builtin.contains(answer)) {
            return Vec::new();
        }
        let portable = |name: &&String| {
            self.modules
                .get(*name)
                .is_some_and(|(path, _)| !path.contains("/arch/"))
        };
        let mut chosen: Vec<&str> = answers.iter().filter(portable).map(String::as_str).collect();
        if chosen.is_empty() {
            chosen = answers.iter().map(String::as_str).collect();
        }
        chosen
    }
}

/// The modules of an image.
#[derive(Debug, Default)]
pub(crate) struct ModuleSet {
    /// The file `order`.
    pub(crate) order: String,
    /// The modules as the kernel reads them, by name.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Likewise those that only some pods get ([`crate::more_modules`]).
    pub(crate) more: BTreeMap<String, Vec<u8>>,
    /// Those of [`WANTED`] and of the others that the kernel has, as a file or built in.
    pub(crate) present: BTreeSet<String>,
}

/// Whether a module keeps its signature. Checking one costs the kernel about two milliseconds under emulation, and an
/// unsigned module loads all the same (it taints the kernel) unless the kernel insists. A module that keeps it is as it was
/// signed; another loses [`debug_tables`] too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signatures {
    Keep,
    Strip,
}

/// Reads every wanted module that the kernel has, and what they need.
pub(crate) fn collect(
    tree: &Tree,
    signatures: Signatures,
    inputs: &mut Inputs,
) -> Result<ModuleSet, ModulesError> {
    let mut set = ModuleSet::default();
    let mut lines = BTreeMap::new();
    let names = WANTED.iter().map(|wanted| (wanted.name, true));
    for (wanted, always) in names.chain(MORE.iter().map(|name| (*name, false))) {
        let Some(order) = tree.load_order(wanted) else {
            continue;
        };
        set.present.insert(wanted.to_owned());
        if order.is_empty() {
            lines.insert(wanted.to_owned(), "builtin".to_owned());
        }
        for name in order {
            let mut before = tree.load_order(&name).unwrap_or_default();
            before.pop();
            lines.insert(name.clone(), before.join(" "));
            if set.files.contains_key(&name) || set.more.contains_key(&name) {
                continue;
            }
            let path = tree.dir.join(&tree.modules[&name].0);
            let content = decompress(&path, inputs.read(&path)?)?;
            let content = match signatures {
                Signatures::Keep => content,
                Signatures::Strip => debug_tables::without(without_signature(content)),
            };
            let files = if always { &mut set.files } else { &mut set.more };
            files.insert(name, content);
        }
    }
    for (name, before) in lines {
        set.order.push_str(format!("{name} {before}").trim_end());
        set.order.push('\n');
    }
    Ok(set)
}

/// Takes the name out of a path, an alias or a name: without directories and `.ko...`, with `_` for `-`.
fn module_name(path: &str) -> String {
    let file = path.trim().rsplit('/').next().unwrap_or_default();
    let stem = file.find(".ko").map_or(file, |end| &file[..end]);
    stem.replace('-', "_")
}

type Dependencies = BTreeMap<String, (String, Vec<String>)>;

fn parse_dependencies(text: &str, file: &Path) -> Result<Dependencies, ModulesError> {
    let mut modules = BTreeMap::new();
    for line in text.lines() {
        let Some((path, needs)) = line.split_once(':') else {
            return Err(ModulesError::Line {
                path: file.to_owned(),
                line: line.to_owned(),
            });
        };
        modules.insert(module_name(path), (path.to_owned(), needs));
    }
    let resolve = |(name, (path, needs)): (&String, &(String, &str))| {
        // The last of a line loads first.
        let needs = needs.split_ascii_whitespace().rev().map(|need| {
            Some(module_name(need))
                .filter(|found| modules.contains_key(found))
                .ok_or_else(|| ModulesError::Dependency {
                    name: name.clone(),
                    dependency: need.to_owned(),
                })
        });
        Ok((name.clone(), (path.clone(), needs.collect::<Result<_, _>>()?)))
    };
    modules.iter().map(resolve).collect()
}

/// Lines are `softdep NAME [pre: MODULE...] [post: MODULE...]`. What should follow a module is of no use here: none of
/// the wanted ones has any.
fn parse_softdep(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut soft: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some("softdep"), Some(name)) = (words.next(), words.next()) else {
            continue;
        };
        let before = words
            .skip_while(|word| *word != "pre:")
            .skip(1)
            .take_while(|word| *word != "post:");
        soft.entry(module_name(name))
            .or_default()
            .extend(before.map(str::to_owned));
    }
    soft.retain(|_, before| !before.is_empty());
    soft
}

/// Lines of `modules.alias` are `alias ALIAS NAME`; entries of `modules.builtin.modinfo` are `NAME.alias=ALIAS`, each
/// ended by a zero byte.
fn parse_aliases(text: &str, modinfo: &str) -> BTreeMap<String, Vec<String>> {
    let loadable = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "alias").then_some(())?;
        Some((words.next()?, words.next()?))
    });
    let builtin = modinfo.split('\0').filter_map(|entry| {
        let (key, alias) = entry.split_once('=')?;
        Some((alias, key.strip_suffix(".alias")?))
    });
    let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (alias, name) in loadable
        .chain(builtin)
        .filter(|(alias, _)| !alias.contains(['*', '?', '[']))
    {
        aliases
            .entry(module_name(alias))
            .or_default()
            .push(module_name(name));
    }
    aliases
}

fn decompress(path: &Path, content: Vec<u8>) -> Result<Vec<u8>, ModulesError> {
    let mut module = Vec::new();
    let read = match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => return Ok(content),
        Some("xz") => liblzma::read::XzDecoder::new(&content[..]).read_to_end(&mut module),
        Some("gz") => flate2::read::GzDecoder::new(&content[..]).read_to_end(&mut module),
        Some("zst") => zstd::stream::copy_decode(&content[..], &mut module).map(|()| module.len()),
        _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
    };
    match read {
        Ok(_) => Ok(module),
        Err(source) => Err(ModulesError::Decompress {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Cuts off what scripts/sign-file appended: the signature, its header and the magic text.
fn without_signature(mut module: Vec<u8>) -> Vec<u8> {
    let cut = || {
        let body = module.strip_suffix(SIGNATURE_MAGIC)?;
        let header = body.len().checked_sub(SIGNATURE_HEADER_BYTES)?;
        let length = u32::from_be_bytes(body[header + 8..].try_into().ok()?);
        header.checked_sub(length as usize)
    };
    if let Some(end) = cut() {
        module.truncate(end);
    }
    module
}

#[cfg(test)]
mod tests;
