//! What apps know the network by: `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of each, in the layer that takes the
//! app's writes. An app may change them, as in a container of docker, and its image's own are not changed.
//!
//! Beside them `/etc/mtab`, a link, where the image has none.
//!
//! Where a volume is mounted at one of them, above it or below, the volume stays and the file is left out.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use isopod_contract::config::GuestNetwork;
use isopod_spec::{AppName, HostAlias, Resolver};

use crate::apps::{AppPlan, Writes};
use crate::facts::RootFacts;
use crate::guest::tree::GuestTree;
use crate::layout::{MTAB, NAMES_DIR};
use crate::path::{self, Lookup, Node, NodeKind, Tree};
use crate::vm::network::PodNetwork;

/// What apps know of a network.
#[derive(Clone, Copy)]
pub(crate) struct KnownNetwork<'a> {
    /// The guest's half.
    pub guest: &'a GuestNetwork,
    /// The name servers that are the host's.
    pub nameservers: &'a [IpAddr],
}

impl<'a> KnownNetwork<'a> {
    pub(crate) fn of(network: &'a PodNetwork) -> Self {
        Self {
            guest: &network.guest,
            nameservers: &network.nameservers,
        }
    }
}

/// The names of a pod.
pub(crate) struct Names<'a> {
    /// The guest's host name.
    pub hostname: &'a str,
    /// What there is beside the loopback interface.
    pub network: Option<KnownNetwork<'a>>,
    /// The host's search domains.
    pub search_domains: &'a [String],
    /// Further names of addresses.
    pub aliases: &'a [HostAlias],
    /// How names are found; `None`: as the host does.
    pub resolver: Option<&'a Resolver>,
    /// The pod's apps.
    pub apps: Vec<&'a AppName>,
}

impl Names<'_> {
    /// Gives `app` its files; a notice where its image leaves no place for them.
    pub(crate) fn write(&self, tree: &mut GuestTree, app: &AppPlan, root: &RootFacts) -> Option<String> {
        let image = &root.tree;
        let dir = match path::resolve(image, Path::new(NAMES_DIR)) {
            Ok(found) if found.node.as_ref().is_none_or(is_directory) => found.path,
            _ => {
                return Some(format!(
                    "app `{}`: its image's `{NAMES_DIR}` is not a directory, so it gets no `{NAMES_DIR}/hosts`",
                    app.name
                ));
            }
        };
        let seed = app.seed();
        for (name, content) in self.files() {
            let place = dir.join(name);
            if !is_free(app, &place) {
                continue;
            }
            make_directory(tree, &seed, image, &dir);
            tree.file(&path::below(&seed, &place), content, 0o644);
        }
        write_mtab(tree, app, image, &dir);
        None
    }

    fn files(&self) -> Vec<(&'static str, String)> {
        let mut files = vec![
            ("hosts", self.hosts()),
            ("hostname", format!("{}\n", self.hostname)),
        ];
        if self.network.is_some() {
            files.push(("resolv.conf", self.resolv_conf()));
        }
        files
    }

    /// hosts(5). The host name is the pod's addresses, as in a container; the other apps' names are the loopback
    /// interface's, for a program that expects another at its name (`db:5432`) finds it there.
    fn hosts(&self) -> String {
        let short = self.hostname.split('.').next().unwrap_or_default();
        let mut own = vec![self.hostname];
        own.extend((short != self.hostname).then_some(short));
        let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
        let guest = self.network.map(|network| network.guest);
        let mut addresses: Vec<IpAddr> = guest.map_or(Vec::new(), |guest| guest.addresses().collect());
        if addresses.is_empty() {
            addresses.push(Ipv4Addr::LOCALHOST.into());
        }
        for address in addresses {
            text += &format!("{address}\t{}\n", own.join(" "));
        }
        own.push("localhost");
        for app in self.apps.iter().map(|app| app.as_str()) {
            if !own.contains(&app) {
                text += &format!("127.0.0.1\t{app}\n");
            }
        }
        for HostAlias { address, names } in self.aliases {
            text += &format!("{address}\t{}\n", names.join(" "));
        }
        text
    }

    /// resolv.conf(5).
    fn resolv_conf(&self) -> String {
        let default = Resolver {
            with_host: true,
            ..Resolver::default()
        };
        let resolver = self.resolver.unwrap_or(&default);
        let network = self.network.filter(|_| resolver.with_host);
        let host = network.map_or(&[][..], |network| network.nameservers);
        let mut text = String::new();
        for address in host.iter().chain(&resolver.nameservers) {
            text += &format!("nameserver {address}\n");
        }
        let domains = if resolver.with_host {
            self.search_domains
        } else {
            &[]
        };
        let domains: Vec<&str> = domains
            .iter()
            .chain(&resolver.searches)
            .map(String::as_str)
            .collect();
        if !domains.is_empty() {
            text += &format!("search {}\n", domains.join(" "));
        }
        if !resolver.options.is_empty() {
            text += &format!("options {}\n", resolver.options.join(" "));
        }
        text
    }
}

/// Gives `app` the list of its mounts where programs have looked for it since before there was a `/proc` (df(1) of some
/// images does), if its image has none.
fn write_mtab(tree: &mut GuestTree, app: &AppPlan, image: &Tree, dir: &Path) {
    let place = dir.join(MTAB);
    // A directory of the host's gets what is mounted at, and nothing else.
    if app.writes != Writes::Through && image.node(&place).is_none() && is_free(app, &place) {
        let seed = app.seed();
        make_directory(tree, &seed, image, dir);
        tree.symlink(&path::below(&seed, &place), "/proc/self/mounts");
    }
}

/// Whether no volume is at `place`, above it or below.
fn is_free(app: &AppPlan, place: &Path) -> bool {
    let mounted = |at: &Path| place.starts_with(at) || at.starts_with(place);
    !app.mounts.iter().any(|mount| mounted(&mount.place))
}

/// Has `dir` in the layer `seed`, as the image has it.
fn make_directory(tree: &mut GuestTree, seed: &Path, image: &Tree, dir: &Path) {
    for parent in path::ancestors_down(dir) {
        let at = path::below(seed, parent);
        if tree.entries.contains_key(&at) {
        } else if image.node(parent).is_some() {
            tree.copy_attributes(seed, parent, image);
        } else {
            tree.directory(&at, 0o755);
        }
    }
}

fn is_directory(node: &Node) -> bool {
    node.kind == NodeKind::Directory
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::NetworkFacts;
    use crate::vm::network;

    fn names<'a>(hostname: &'a str, network: bool, search_domains: &'a [String]) -> Names<'a> {
        let planned = || {
            let planned = network::user_network(network::Router::Qemu, Vec::new(), &NetworkFacts::default());
            &*Box::leak(Box::new(planned))
        };
        Names {
            hostname,
            network: network.then(planned).map(KnownNetwork::of),
            search_domains,
            aliases: &[],
            resolver: None,
            apps: Vec::new(),
        }
    }

    #[test]
    fn a_pod_adds_names_and_a_resolver_of_its_own() {
        let domains = ["corp.example".to_owned()];
        let aliases = [HostAlias {
            address: "10.1.2.3".parse().unwrap(),
            names: vec!["db".into(), "db.example".into()],
        }];
        let mut resolver = Resolver {
            with_host: true,
            nameservers: vec!["9.9.9.9".parse().unwrap()],
            searches: vec!["my.example".into()],
            options: vec!["ndots:2".into(), "edns0".into()],
        };
        let of = |resolver: &Resolver| {
            let names = Names {
                aliases: &aliases,
                resolver: Some(resolver),
                ..names("web", true, &domains)
            };
            (names.hosts(), names.resolv_conf())
        };
        let (hosts, conf) = of(&resolver);
        assert!(hosts.ends_with("\n10.1.2.3\tdb db.example\n"), "{hosts}");
        assert_eq!(
            conf,
            "nameserver 10.0.2.3\nnameserver 9.9.9.9\nsearch corp.example my.example\noptions ndots:2 edns0\n"
        );
        resolver.with_host = false;
        assert_eq!(
            of(&resolver).1,
            "nameserver 9.9.9.9\nsearch my.example\noptions ndots:2 edns0\n"
        );
    }

    #[test]
    fn a_host_name_with_a_domain_has_a_short_form() {
        let with = names("web.corp.example", true, &[]).hosts();
        assert!(with.ends_with("\n10.0.2.15\tweb.corp.example web\n"), "{with}");
        let without = names("web", false, &[]).hosts();
        assert!(without.ends_with("\n127.0.0.1\tweb\n"), "{without}");
    }

    #[test]
    fn the_hosts_search_domains_are_the_pods() {
        let domains = ["a.example".to_owned(), "b.example".to_owned()];
        assert_eq!(
            names("web", true, &domains).resolv_conf(),
            "nameserver 10.0.2.3\nsearch a.example b.example\n"
        );
        assert_eq!(names("web", true, &[]).resolv_conf(), "nameserver 10.0.2.3\n");
    }
}
