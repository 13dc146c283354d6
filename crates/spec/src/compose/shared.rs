//! What the services of a project have together: volumes, network, names, kernel parameters, /dev/shm.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::keys;
use super::profiles::Chosen;
use super::values::{boolean, pairs, word_at, words};
use super::{ComposeSurroundings, values};
use crate::flags::{self, HostAddress};
use crate::located::{FaultKind, Node};
use crate::network::check_hostname;
use crate::{
    HostAlias, Network, NetworkJoin, NetworkName, PidMode, PodName, PodSpec, PortForward, PortProtocol,
    Resolver, Sysctl, UserMapping, Volume,
};

/// What is gathered of all services.
pub(super) struct Shared<'a> {
    pub(super) file: Node<'a>,
    pub(super) env: &'a BTreeMap<String, String>,
    host_ip: IpAddr,
    /// The services that are started.
    pub(super) chosen: Vec<Chosen<'a>>,
    /// The volumes of the pod so far.
    pub(super) volumes: Vec<Volume>,
    project: PodName,
    names: Vec<String>,
    ports: Vec<PortForward>,
    /// Who listens on which port of the pod.
    listens: BTreeMap<(u16, PortProtocol), String>,
    aliases: Vec<HostAlias>,
    resolver: Option<Resolver>,
    sysctls: Vec<Sysctl>,
    /// Which processes the services see.
    pid_mode: PidMode,
    shm_bytes: Option<u64>,
    storage_bytes: Option<u64>,
    user_mapping: Option<UserMapping>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    stop_timeout: Option<Duration>,
    without_network: usize,
    /// The networks that are there without the project.
    joins: Vec<NetworkJoin>,
    own_volumes: Vec<String>,
    external_volumes: Vec<String>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(
        file: &Node<'a>,
        project: &PodName,
        chosen: &[Chosen<'a>],
        surroundings: &ComposeSurroundings<'a>,
    ) -> Self {
        note_networks(file);
        Self {
            file: file.clone(),
            env: surroundings.env,
            host_ip: surroundings.host_ip,
            chosen: chosen.to_vec(),
            volumes: Vec::new(),
            project: project.clone(),
            names: Vec::new(),
            ports: Vec::new(),
            listens: BTreeMap::new(),
            aliases: Vec::new(),
            resolver: None,
            sysctls: Vec::new(),
            pid_mode: PidMode::default(),
            shm_bytes: None,
            storage_bytes: None,
            user_mapping: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            stop_timeout: None,
            without_network: 0,
            joins: Vec::new(),
            own_volumes: Vec::new(),
            external_volumes: Vec::new(),
        }
    }

    /// Takes what a service says of all of them.
    pub(super) fn take(&mut self, service: &Chosen<'a>) {
        let node = &service.node;
        self.take_names(service);
        self.take_network(service);
        self.take_processes(service);
        for pair in pairs(node, "extra_hosts", &['=', ':']) {
            let text = format!("{}={}", pair.name, pair.value.unwrap_or_default());
            if let Some((name, address)) = values::flag(&pair.node, flags::read_add_host(OsStr::new(&text))) {
                let address = match address {
                    HostAddress::Ip(address) => address,
                    HostAddress::Gateway => self.host_ip,
                };
                self.aliases.push(HostAlias {
                    address,
                    names: vec![name],
                });
            }
        }
        for (node, word) in words(node, "dns") {
            if let Some(address) = values::flag(&node, flags::read_dns(OsStr::new(&word))) {
                self.resolver.get_or_insert_default().nameservers.push(address);
            }
        }
        for (_, word) in words(node, "dns_search") {
            self.resolver.get_or_insert_default().searches.push(word);
        }
        for (_, word) in words(node, "dns_opt") {
            self.resolver.get_or_insert_default().options.push(word);
        }
        for pair in pairs(node, "sysctls", &['=']) {
            let text = format!("{}={}", pair.name, pair.value.unwrap_or_default());
            self.sysctls
                .extend(values::flag(&pair.node, flags::read_sysctl(OsStr::new(&text))));
        }
        let shm = values::flag_at(node, "shm_size", |text| {
            flags::read_memory_bytes("shm_size", text)
        });
        self.shm_bytes = self.shm_bytes.max(shm);
        for pair in pairs(node, "storage_opt", &['=']) {
            let text = format!("{}={}", pair.name, pair.value.unwrap_or_default());
            let size = values::flag(&pair.node, flags::read_storage_opt(OsStr::new(&text)));
            self.storage_bytes = self.storage_bytes.max(size);
        }
        self.take_users(node);
        let grace = values::flag_at(node, "stop_grace_period", |text| {
            flags::read_health_time("stop_grace_period", text)
        });
        self.stop_timeout = self.stop_timeout.max(grace.map(Option::unwrap_or_default));
        let labels = node
            .get("deploy")
            .map(|deploy| pairs(&deploy, "labels", &['=']))
            .unwrap_or_default();
        for pair in labels.into_iter().chain(pairs(node, "labels", &['='])) {
            self.labels.insert(pair.name, pair.value.unwrap_or_default());
        }
        for pair in pairs(node, "annotations", &['=']) {
            self.annotations.insert(pair.name, pair.value.unwrap_or_default());
        }
    }

    /// Whose files those of the host's volumes are, which all services have from one server of files.
    fn take_users(&mut self, service: &Node<'a>) {
        let mapping = values::flag_at(service, "userns_mode", flags::read_userns);
        match (self.user_mapping, mapping) {
            (_, None) => {}
            (Some(other), Some(mapping)) if other != mapping => {
                if let Some((mode, _)) = word_at(service, "userns_mode") {
                    mode.rule("another service has another one, and the services of a project are one pod");
                }
            }
            (_, mapping) => self.user_mapping = mapping,
        }
    }

    /// The names by which a service is found.
    fn take_names(&mut self, service: &Chosen<'a>) {
        let node = &service.node;
        let own = [
            Some((node.clone(), service.name.to_owned())),
            word_at(node, "container_name"),
            word_at(node, "hostname"),
        ];
        let linked = words(node, "links").into_iter().filter_map(|(node, link)| {
            let (_, alias) = link.split_once(':')?;
            Some((node, alias.to_owned()))
        });
        let aliases = self.take_networks(node);
        for (node, name) in own.into_iter().flatten().chain(linked).chain(aliases) {
            // An underscore counts as a letter: no rule of host names has it, and every resolver takes it.
            match check_hostname(&name.replace('_', "x")) {
                Err(why) => node.rule(format!("`{name}` is not a valid host name: {why}")),
                Ok(()) if self.names.contains(&name) => {}
                Ok(()) => self.names.push(name),
            }
        }
    }

    /// Joins the external networks of a service; gives the names that it has in all of them.
    fn take_networks(&mut self, service: &Node<'a>) -> Vec<(Node<'a>, String)> {
        let Some(networks) = service.get("networks") else {
            return Vec::new();
        };
        let mut named: Vec<(String, Option<Node<'a>>)> = Vec::new();
        match values::is_object(&networks) {
            true => named.extend(
                values::fields(&networks)
                    .into_iter()
                    .map(|(key, network)| (key.text.clone(), Some(network))),
            ),
            false => named.extend(
                words(service, "networks")
                    .into_iter()
                    .map(|(_, name)| (name, None)),
            ),
        }
        let mut all = Vec::new();
        for (name, network) in named {
            let network = network.filter(|network| !network.map().is_empty());
            let aliases = network.as_ref().map(|network| {
                keys::check(network, "service network");
                words(network, "aliases")
            });
            let aliases = aliases.unwrap_or_default();
            let external = self.external_network(&name);
            match (external, &network) {
                (Some(external), _) => self.join(external, network.as_ref(), &aliases),
                (None, Some(network)) => {
                    for key in ["ipv4_address", "ipv6_address", "mac_address"] {
                        if let Some((node, _)) = word_at(network, key) {
                            node.unsupported(
                                "an address in a network of the project's own is",
                                None,
                                "the services of a project share one address: they find each other by their names",
                            );
                        }
                    }
                }
                (None, None) => {}
            }
            all.extend(aliases);
        }
        all
    }

    /// The full name of a network of the file that is there without the project.
    fn external_network(&self, name: &str) -> Option<NetworkName> {
        let declared = self.file.entries("networks");
        let (_, network) = declared.iter().find(|(known, _)| *known == name)?;
        if keys::says_nothing(network) || boolean(network, "external") != Some(true) {
            return None;
        }
        let (node, full) = word_at(network, "name").unwrap_or_else(|| (network.clone(), name.to_owned()));
        match NetworkName::new(full) {
            Ok(full) => Some(full),
            Err(invalid) => {
                node.rule(invalid.to_string());
                None
            }
        }
    }

    /// Has the pod join a network, in which a service is to have these names.
    fn join(&mut self, name: NetworkName, network: Option<&Node<'a>>, aliases: &[(Node<'a>, String)]) {
        let found = self.joins.iter().position(|join| join.network == name);
        let at = found.unwrap_or_else(|| {
            self.joins.push(NetworkJoin::new(name));
            self.joins.len() - 1
        });
        let Some(join) = self.joins.get_mut(at) else {
            return;
        };
        for (_, alias) in aliases {
            if !join.aliases.contains(alias) {
                join.aliases.push(alias.clone());
            }
        }
        if let Some(network) = network {
            one_of(network, "ipv4_address", &mut join.ipv4);
            one_of(network, "ipv6_address", &mut join.ipv6);
            one_of(network, "mac_address", &mut join.mac);
        }
    }

    /// Which processes the service sees: those of all, where it asks for those of another.
    fn take_processes(&mut self, service: &Chosen<'a>) {
        let Some((mode, word)) = word_at(&service.node, "pid") else {
            return;
        };
        match word.split_once(':') {
            Some(("service", name)) if self.chosen.iter().any(|chosen| chosen.name == name) => {
                self.pid_mode = PidMode::Pod;
            }
            Some(("service", name)) => mode.rule(format!("there is no service `{name}` that is started")),
            _ => mode.unsupported(
                "seeing the processes of the host, or of another container, is",
                None,
                "name a service: `pid: service:NAME`",
            ),
        }
    }

    fn take_network(&mut self, service: &Chosen<'a>) {
        let node = &service.node;
        if let Some((mode, word)) = word_at(node, "network_mode") {
            match word.as_str() {
                "none" => self.without_network += 1,
                "bridge" | "default" => {}
                word if word.starts_with("service:") => {}
                "host" => mode.unsupported(
                    "the host's network is",
                    None,
                    "publish the ports: `ports: [\"PORT:PORT\"]`",
                ),
                _ => mode.unsupported(
                    "the network is",
                    None,
                    "the services of a project share one network: leave it out",
                ),
            }
        }
        for port in node
            .get("ports")
            .map(|ports| ports.own_items())
            .unwrap_or_default()
        {
            for forward in forwards(&port) {
                self.listen(service, &port, forward.pod_port, forward.protocol);
                // The same port may be published at several addresses.
                if !self.ports.contains(&forward) {
                    self.ports.push(forward);
                }
            }
        }
        for (node, word) in words(node, "expose") {
            let ports = values::flag(&node, flags::read_expose(OsStr::new(&word)));
            for (port, protocol) in ports.into_iter().flatten() {
                self.listen(service, &node, port, protocol);
            }
        }
    }

    /// Notes that a service listens on a port, which is its alone.
    fn listen(&mut self, service: &Chosen<'a>, node: &Node<'a>, port: u16, protocol: PortProtocol) {
        let other = self
            .listens
            .entry((port, protocol))
            .or_insert_with(|| service.name.to_owned());
        if other != service.name {
            let other = other.clone();
            node.fault(FaultKind::Rule(format!(
                "service `{other}` has port {port}/{protocol} too, and the services of a project share one network: let one of \
                 them listen on another port, or put it into a project of its own"
            )));
        }
    }

    /// The full name of a named volume that the file declares.
    pub(super) fn volume_name(&mut self, node: &Node<'a>, name: &str) -> Option<String> {
        let declared = self.file.entries("volumes");
        let known = declared.iter().find(|(known, _)| *known == name);
        let Some((_, volume)) = known else {
            node.fault(FaultKind::NotFound {
                what: "volume".to_owned(),
                name: name.to_owned(),
                nearest: crate::words::nearest(name, declared.iter().map(|(known, _)| *known))
                    .map(str::to_owned),
            });
            return None;
        };
        let is_plain = keys::says_nothing(volume);
        if !is_plain {
            keys::check(volume, "volume");
            if let Some((driver, word)) = word_at(volume, "driver")
                && word != "local"
            {
                driver.unsupported(
                    "the driver is",
                    None,
                    "mount the volume on the host, and write its path into the service's `volumes`",
                );
            }
        }
        let external = !is_plain && boolean(volume, "external") == Some(true);
        let named = (!is_plain)
            .then(|| word_at(volume, "name"))
            .flatten()
            .map(|(_, name)| name);
        let full = match (named, external) {
            (Some(named), _) => named,
            (None, true) => name.to_owned(),
            (None, false) => format!("{}_{name}", self.project.as_str()),
        };
        let list = match external {
            true => &mut self.external_volumes,
            false => &mut self.own_volumes,
        };
        if !list.contains(&full) {
            list.push(full.clone());
        }
        Some(full)
    }

    /// Gives the pod what its services have together; the named volumes, the project's own and the others, come back.
    pub(super) fn finish(mut self, pod: &mut PodSpec) -> (Vec<String>, Vec<String>) {
        pod.volumes = self.volumes;
        let all = self.chosen.len();
        pod.network = match self.without_network {
            0 if !self.joins.is_empty() => Network::Named {
                joins: self.joins,
                ports: self.ports,
            },
            0 => Network::user(self.ports),
            count if count == all && self.ports.is_empty() && self.joins.is_empty() => Network::None,
            _ => {
                self.file.rule("some services have `network_mode: none`, or publish ports with it: the services of a project share one network");
                Network::None
            }
        };
        pod.host_aliases = vec![HostAlias {
            address: Ipv4Addr::LOCALHOST.into(),
            names: std::mem::take(&mut self.names),
        }];
        pod.host_aliases.append(&mut self.aliases);
        pod.resolver = self.resolver.map(|resolver| Resolver {
            with_host: resolver.nameservers.is_empty(),
            ..resolver
        });
        pod.pid_mode = self.pid_mode;
        pod.sysctls = self.sysctls;
        pod.shm_bytes = self.shm_bytes;
        pod.storage_bytes = self.storage_bytes;
        pod.user_mapping = self.user_mapping.unwrap_or_default();
        pod.labels = self.labels;
        pod.labels
            .insert(PROJECT_LABEL.to_owned(), self.project.as_str().to_owned());
        pod.annotations = self.annotations;
        if let Some(timeout) = self.stop_timeout {
            pod.stop_timeout = timeout;
        }
        (self.own_volumes, self.external_volumes)
    }
}

/// Notes which networks of a file change nothing.
fn note_networks(file: &Node<'_>) {
    let Some(networks) = file.get("networks") else {
        return;
    };
    for (key, network) in values::fields(&networks) {
        if !keys::says_nothing(&network) && boolean(&network, "external") == Some(true) {
            keys::check(&network, "network");
        } else {
            let why = "it changes nothing: the services of a project share one network".to_owned();
            networks.report(key, FaultKind::Notice(why));
        }
    }
}

/// What a service says of the pod's one address.
fn one_of<T: std::str::FromStr + PartialEq>(network: &Node<'_>, key: &str, slot: &mut Option<T>) {
    let Some((node, word)) = word_at(network, key) else {
        return;
    };
    match word.parse() {
        Err(_) => node.rule(format!(
            "`{}` is not an address of that kind",
            crate::words::shown(&word)
        )),
        Ok(address) if slot.as_ref().is_some_and(|other| *other != address) => node.rule(
            "another service has another address there, and the services of a project share one".to_owned(),
        ),
        Ok(address) => *slot = Some(address),
    }
}

/// The label by which a project's pod is found, which is compose's.
pub const PROJECT_LABEL: &str = "com.docker.compose.project";

/// The forwards of an item of `ports`.
fn forwards(port: &Node<'_>) -> Vec<PortForward> {
    let text = match values::is_object(port) {
        false => values::word(port),
        true => {
            keys::check(port, "port");
            let word = |name: &str| word_at(port, name).map(|(_, word)| word);
            let Some(target) = word("target") else {
                port.missing("target");
                return Vec::new();
            };
            let published = word("published").unwrap_or_default();
            let before = match (word("host_ip"), published.is_empty()) {
                (Some(ip), _) if ip.contains(':') => format!("[{ip}]:{published}:"),
                (Some(ip), _) => format!("{ip}:{published}:"),
                (None, true) => String::new(),
                (None, false) => format!("{published}:"),
            };
            Some(format!(
                "{before}{target}/{}",
                word("protocol").unwrap_or_else(|| "tcp".to_owned())
            ))
        }
    };
    let read = text.and_then(|text| values::flag(port, flags::read_publish(OsStr::new(&text))));
    read.unwrap_or_default()
}
