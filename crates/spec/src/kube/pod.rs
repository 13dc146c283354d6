//! The pod itself: what is not a container's or a volume's.

use std::net::IpAddr;
use std::time::Duration;

use super::container::{self, Pod};
use super::downward::{Downward, Resources};
use super::node::Node;
use super::objects::Objects;
use super::quantity::Quantity;
use super::{Places, Read, Surroundings, volumes};
use crate::network::check_hostname;
use crate::{
    AppName, AppRole, Dependency, DependencyCondition, HostAlias, Machine, Network, PodName, PodSpec,
    Resolver, RestartPolicy, Sysctl,
};

/// `terminationGracePeriodSeconds` where it is not said.
pub(super) const GRACE_SECONDS: u32 = 30;

/// What the guest itself takes of the machine's memory beside the containers' limits, in MiB.
pub(super) const GUEST_MIB: u64 = 128;

/// The name of the namespace and of the service account where none is said.
const DEFAULT: &str = "default";

/// Reads the Pod `node`, whose form was checked.
pub(super) fn read<'a>(
    node: &Node<'a>,
    objects: &Objects<'a>,
    surroundings: &'a Surroundings,
) -> Option<Read<'a>> {
    let Some(spec) = node.get("spec") else {
        node.missing("spec");
        return None;
    };
    let name = surroundings.name.clone().or_else(|| read_name(node));
    let (init, main) = (spec.items("initContainers"), spec.items("containers"));
    if main.is_empty() {
        match spec.get("containers") {
            Some(list) => list.rule("there must be at least one container"),
            None => return None,
        }
    }
    let machine = machine(&spec, &init, &main, surroundings);
    let downward = downward(
        node,
        &spec,
        name.as_ref(),
        &machine,
        &[&init[..], &main].concat(),
        surroundings,
    );
    let security = spec.get("securityContext");
    let mut places = Places::default();
    let pod = Pod {
        objects,
        downward: &downward,
        security: security.clone(),
        restart: restart(&spec),
    };
    let volumes = volumes::read(&spec, &pod, surroundings, &mut places);
    let mut apps = Vec::new();
    let mut gates: Vec<Dependency> = Vec::new();
    for container in &init {
        let Some(mut app) = container::read(container, container::Order::Init, &pod, &volumes, &mut places)
        else {
            continue;
        };
        app.depends_on.clone_from(&gates);
        gates.push(gate(&app.name, app.role, app.probes.startup.is_some()));
        apps.push(app);
    }
    for container in &main {
        let read = container::read(container, container::Order::Main, &pod, &volumes, &mut places);
        apps.extend(read.map(|mut app| {
            app.depends_on.clone_from(&gates);
            app
        }));
    }
    let ports = container::ports(&init, &main, &mut places);
    let pod = PodSpec {
        name,
        hostname: hostname(&spec),
        volumes: volumes.into_volumes(),
        machine,
        network: Network::User { ports },
        sysctls: security.as_ref().map(sysctls).unwrap_or_default(),
        stop_timeout: Duration::from_secs(grace(&spec).into()),
        deadline: deadline(&spec),
        host_aliases: spec.items("hostAliases").iter().filter_map(host_alias).collect(),
        resolver: resolver(&spec),
        ..PodSpec::new(apps)
    };
    check_os(&spec);
    Some(Read { pod, places })
}

/// What follows an init container waits for that.
fn gate(app: &AppName, role: AppRole, has_startup_probe: bool) -> Dependency {
    Dependency {
        app: app.clone(),
        condition: gate_condition(role, has_startup_probe),
    }
}

/// How far an init container of that role must have come before what follows it.
pub(super) fn gate_condition(role: AppRole, has_startup_probe: bool) -> DependencyCondition {
    match (role, has_startup_probe) {
        (AppRole::Main, _) => DependencyCondition::Succeeded,
        (AppRole::Sidecar, true) => DependencyCondition::Healthy,
        (AppRole::Sidecar, false) => DependencyCondition::Started,
    }
}

fn read_name(node: &Node<'_>) -> Option<PodName> {
    let metadata = node.get("metadata")?;
    let (name_node, name) = metadata.text("name")?;
    let read = PodName::new(name);
    if let Err(error) = &read {
        name_node.rule(error.to_string());
    }
    read.ok()
}

fn restart(spec: &Node<'_>) -> RestartPolicy {
    container::restart_policy(spec).unwrap_or(RestartPolicy::Always)
}

fn grace(spec: &Node<'_>) -> u32 {
    spec.number("terminationGracePeriodSeconds", "a number of seconds")
        .unwrap_or(GRACE_SECONDS)
}

fn deadline(spec: &Node<'_>) -> Option<Duration> {
    const SECONDS: &str = "a number of seconds, at least 1";
    let node = spec.get("activeDeadlineSeconds")?;
    let seconds: u32 = node.as_number(SECONDS)?;
    if seconds == 0 {
        node.reject("0", SECONDS);
    }
    Some(Duration::from_secs(seconds.into()))
}

fn check_os(spec: &Node<'_>) {
    if let Some((node, name)) = spec.get("os").as_ref().and_then(|os| os.text("name"))
        && name != "linux"
    {
        node.reject(name, "`linux`");
    }
}

/// The machine: as large as the caller says, or as the limits of its containers need, and never smaller than the default.
fn machine(spec: &Node<'_>, init: &[Node<'_>], main: &[Node<'_>], surroundings: &Surroundings) -> Machine {
    let default = Machine::default();
    let of = |nodes: &[&Node<'_>], which: fn(&Resources) -> Option<Quantity>| {
        let each = nodes
            .iter()
            .filter_map(|node| which(&container::resources(node, container::Say::Nothing)));
        each.fold(Quantity::default(), Quantity::plus)
    };
    // Sidecars run beside the main containers; the other init containers one after the other before them.
    let sidecars = init.iter().filter(|node| container::is_sidecar(node));
    let together: Vec<&Node<'_>> = main.iter().chain(sidecars).collect();
    let own = container::resources(spec, container::Say::Faults);
    let needed = |which: fn(&Resources) -> Option<Quantity>| {
        let alone = init
            .iter()
            .map(|node| of(&[node], which))
            .max()
            .unwrap_or_default();
        which(&own).unwrap_or_else(|| of(&together, which).max(alone))
    };
    let memory = needed(|resources| resources.memory_limit)
        .units()
        .div_ceil(1 << 20);
    let memory = u32::try_from(memory.saturating_add(GUEST_MIB)).unwrap_or(u32::MAX);
    // What lies in memory is there beside what the containers may use.
    let in_memory = u32::try_from(super::volumes::in_memory(spec).div_ceil(1 << 20)).unwrap_or(u32::MAX);
    let cpus = needed(|resources| resources.cpu_limit).units();
    let cpus = u32::try_from(cpus)
        .unwrap_or(u32::MAX)
        .min(crate::flags::MAX_CPUS);
    Machine {
        memory_mib: surroundings
            .memory_mib
            .unwrap_or(memory.max(default.memory_mib).saturating_add(in_memory)),
        cpus: surroundings.cpus.unwrap_or(cpus.max(default.cpus)),
        ..default
    }
}

fn downward<'a>(
    node: &Node<'a>,
    spec: &Node<'a>,
    name: Option<&PodName>,
    machine: &Machine,
    containers: &[Node<'a>],
    surroundings: &'a Surroundings,
) -> Downward<'a> {
    let metadata = node.get("metadata");
    let texts = |name: &str| {
        let entries = metadata
            .as_ref()
            .map(|metadata| metadata.entries(name))
            .unwrap_or_default();
        entries
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_text()?)))
            .collect()
    };
    let text = |node: Option<&Node<'a>>, name| {
        let text = node.and_then(|node| node.text(name));
        text.map_or(DEFAULT, |(_, text)| text)
    };
    let named = |node: &Node<'a>| {
        let (_, name) = node.text("name")?;
        Some((name, container::resources(node, container::Say::Faults)))
    };
    Downward {
        surroundings,
        name: name.map_or_else(|| surroundings.uuid.clone(), ToString::to_string),
        namespace: text(metadata.as_ref(), "namespace"),
        service_account: text(Some(spec), "serviceAccountName"),
        labels: texts("labels"),
        annotations: texts("annotations"),
        machine: Resources {
            cpu_limit: Some(Quantity::whole(machine.cpus.into())),
            memory_limit: Some(Quantity::whole(u64::from(machine.memory_mib) << 20)),
            ..Resources::default()
        },
        containers: containers.iter().filter_map(named).collect(),
    }
}

fn hostname(spec: &Node<'_>) -> Option<String> {
    let (node, name) = spec.text("hostnameOverride").or_else(|| spec.text("hostname"))?;
    if let Err(reason) = check_hostname(name) {
        node.rule(format!(
            "`{}` is no host name: {reason}",
            crate::words::shown(name)
        ));
        return None;
    }
    Some(name.to_owned())
}

fn sysctls(security: &Node<'_>) -> Vec<Sysctl> {
    let read = |node: &Node<'_>| {
        Some(Sysctl {
            // Both forms are sysctl(8)'s, and the API takes both.
            name: node.text("name")?.1.replace('/', "."),
            value: node.get("value")?.as_text()?.to_owned(),
        })
    };
    security.items("sysctls").iter().filter_map(read).collect()
}

fn host_alias(node: &Node<'_>) -> Option<HostAlias> {
    let address = address(&node.get("ip")?)?;
    let mut names = Vec::new();
    for name in node
        .get("hostnames")
        .map(|_| node.items("hostnames"))
        .unwrap_or_default()
    {
        let Some(text) = name.as_text() else { continue };
        match check_hostname(text) {
            Ok(()) => names.push(text.to_owned()),
            Err(reason) => name.rule(format!(
                "`{}` is no host name: {reason}",
                crate::words::shown(text)
            )),
        }
    }
    (!names.is_empty()).then_some(HostAlias { address, names })
}

pub(super) fn address(node: &Node<'_>) -> Option<IpAddr> {
    let text = node.as_text()?;
    let read = text.parse().ok();
    if read.is_none() {
        node.reject(text, "an IP address");
    }
    read
}

/// What `dnsPolicy` and `dnsConfig` say, where that is not what the host does.
fn resolver(spec: &Node<'_>) -> Option<Resolver> {
    let policy = spec.text("dnsPolicy");
    let with_host = match &policy {
        None | Some((_, "ClusterFirst" | "ClusterFirstWithHostNet" | "Default")) => true,
        Some((_, "None")) => false,
        Some((node, other)) => {
            node.reject(
                other,
                "`ClusterFirst`, `ClusterFirstWithHostNet`, `Default` or `None`",
            );
            true
        }
    };
    let Some(config) = spec.get("dnsConfig") else {
        if let (false, Some((node, _))) = (with_host, policy) {
            node.rule("`None` needs name servers in `dnsConfig`");
        }
        return None;
    };
    let words = |name: &str| {
        let mut words = Vec::new();
        for node in config.items(name) {
            let Some(word) = node.as_text() else { continue };
            match word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control()) {
                true => node.reject(word, "a word without blanks"),
                false => words.push(word.to_owned()),
            }
        }
        words
    };
    let option = |node: &Node<'_>| {
        let (_, name) = node.text("name")?;
        let value = node.text("value").map(|(_, value)| format!(":{value}"));
        let option = format!("{name}{}", value.unwrap_or_default());
        if option.contains(|c: char| c.is_whitespace() || c.is_control()) {
            node.rule("an option must be without blanks");
        }
        Some(option)
    };
    let nameservers: Vec<IpAddr> = config.items("nameservers").iter().filter_map(address).collect();
    if nameservers.len() > 3 {
        config.rule("there are more than three name servers, which is all that a resolver asks");
    }
    if nameservers.is_empty() && !with_host {
        config.rule("`dnsPolicy: None` needs at least one of `nameservers`");
    }
    Some(Resolver {
        with_host,
        nameservers,
        searches: words("searches"),
        options: config.items("options").iter().filter_map(option).collect(),
    })
}
