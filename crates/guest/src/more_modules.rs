//! Kernel modules that no pod needs to start and an app may ask for: networks of its own, firewalls, tunnels, file
//! systems on loop devices. They are in an archive of their own, which a pod gets behind its files where one of its apps may
//! have modules loaded (docs/adr/0011), so that every other pod is not the slower for them.
//!
//! ```text
//! isopod/modules/NAME.ko      where the others are; their lines in `order` are in every guest image
//! isopod/modules/aliases      ALIAS NAME: by which names the kernel asks for a module
//! usr/sbin/modprobe           the agent: whom the kernel asks
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::archive::{Archive, Node};
use crate::modules::{ModuleSet, Tree};

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

/// The archive of what `set` has beside what every guest image has.
pub(crate) fn archive(tree: &Tree, set: &mut ModuleSet) -> Archive {
    let mut archive = Archive::default();
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let more = std::mem::take(&mut set.more);
    for (name, content) in more {
        archive.add(&format!("isopod/modules/{name}.ko"), Node::File(content), 0o644);
    }
    for line in set.order.lines() {
        names.extend(line.split_ascii_whitespace().next());
    }
    let mut aliases = String::new();
    for (alias, name) in tree.aliases_of(&names) {
        let _ = writeln!(aliases, "{alias} {name}");
    }
    archive.add("isopod/modules/aliases", Node::File(aliases.into_bytes()), 0o644);
    archive.add(
        "usr/sbin/modprobe",
        Node::Symlink("/isopod/agent".to_owned()),
        0o777,
    );
    archive
}
