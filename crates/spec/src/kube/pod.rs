//! The pod itself: what is not a container's or a volume's.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::claims::Bindings;
use super::container;
use super::context::Pod;
use super::downward::{ContainerResources, Downward};
use super::objects::Objects;
use super::quantity::Quantity;
use super::values::address;
use super::workloads::Template;
use super::{KubeSurroundings, Read, ReadPlaces, annotations, names, volumes};
use crate::located::{FaultKind, Node};
use crate::network::check_hostname;
use crate::size::{Need, PodNeed};
use crate::{
    AppName, AppRole, Dependency, DependencyCondition, HostAlias, Network, PidMode, PodName, PodSpec,
    PortForward, Resolver, RestartPolicy, Sysctl, Vm,
};

/// `terminationGracePeriodSeconds` where it is not said.
pub(super) const GRACE_SECONDS: u32 = 30;

/// The name of the namespace and of the service account where none is said.
const DEFAULT: &str = "default";

/// Reads the pod of `template`, whose form was checked.
pub(super) fn read<'a, 'o>(
    template: &'o Template<'a>,
    objects: &'o Objects<'a>,
    bindings: &'o Bindings<'o, 'a>,
    surroundings: &'a KubeSurroundings,
    uuid: &'o str,
) -> Option<Read<'a>> {
    let node = &template.node;
    let Some(spec) = node.get("spec") else {
        node.missing("spec");
        return None;
    };
    let name = surroundings.name.clone().or_else(|| pod_name(template));
    let (init, main) = (spec.items("initContainers"), spec.items("containers"));
    if main.is_empty() {
        match spec.get("containers") {
            Some(list) => list.rule("at least one container must be given"),
            None => return None,
        }
    }
    let containers = [&init[..], &main].concat();
    let own = container::resources(&spec, container::Report::Faults);
    check_resources(&spec, own, &containers);
    let vm = vm(&spec, own, (&init, &main), surroundings);
    let about = About {
        template,
        spec: &spec,
        name: name.as_ref(),
        uuid,
    };
    let downward = downward(&about, own, &vm, &containers, surroundings);
    let security = spec.get("securityContext");
    let mut places = ReadPlaces::default();
    let namespace = template
        .metadata
        .as_ref()
        .and_then(|metadata| Some(metadata.text("namespace")?.1));
    let host_network = spec.is_true("hostNetwork");
    let pod = Pod {
        objects: objects.seen_from(namespace),
        downward: &downward,
        security: security.clone(),
        restart: restart(&spec),
        grace: Duration::from_secs(grace(&spec).into()),
        template,
        bindings,
    };
    annotations::check(node, &containers);
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
    let ports = container::ports(&containers, host_network, &mut places);
    if let Some(node) = spec.get("hostNetwork").filter(|_| host_network) {
        note_host_network(&node, &ports);
    }
    let pod = PodSpec {
        name,
        hostname: hostname(&spec)
            .or_else(|| template.hostname.clone())
            .or_else(|| template.name.clone()),
        volumes: volumes.into_volumes(),
        vm,
        limits: own.for_pod(),
        network: Network::user(ports),
        sysctls: security.as_ref().map(sysctls).unwrap_or_default(),
        stop_timeout: Duration::from_secs(grace(&spec).into()),
        deadline: deadline(&spec, template.deadline.as_ref()),
        host_aliases: spec.items("hostAliases").iter().filter_map(host_alias).collect(),
        resolver: resolver(&spec),
        pid_mode: match spec.boolean("shareProcessNamespace") {
            Some(true) => PidMode::Pod,
            Some(false) | None => PidMode::Private,
        },
        ..PodSpec::new(apps)
    };
    check_os(&spec);
    Some(Read { pod, places })
}

/// What becomes of a pod that would be in the host's own network.
fn note_host_network(node: &Node<'_>, ports: &[PortForward]) {
    let named: Vec<String> = ports
        .iter()
        .map(|port| format!("{}/{}", port.host_port, port.protocol))
        .collect();
    let published = match named.is_empty() {
        true => "its containers name no `ports`, so none is: `-p PORT:PORT` publishes one".to_owned(),
        false => format!("the host's ports {} lead into it", named.join(", ")),
    };
    node.fault(FaultKind::Notice(format!(
        "the pod has its own network instead of the host's; {published}"
    )));
}

/// What the API refuses of the pod's own resources beside those of its containers, and what is not kept of both.
fn check_resources(spec: &Node<'_>, own: ContainerResources, containers: &[Node<'_>]) {
    let each: Vec<(&Node<'_>, ContainerResources)> = containers
        .iter()
        .map(|node| (node, container::resources(node, container::Report::Nothing)))
        .collect();
    let more =
        |limit: Option<Quantity>, all: Option<Quantity>| limit.zip(all).is_some_and(|(l, all)| l > all);
    for (node, resources) in &each {
        if (more(resources.cpu_limit, own.cpu_limit) || more(resources.memory_limit, own.memory_limit))
            && let Some(node) = node.get("resources")
        {
            node.rule("a limit is more than the pod's own");
        }
    }
    if let Some(node) = spec.get("resources") {
        for (name, value) in ["limits", "requests"].iter().flat_map(|list| node.entries(list)) {
            if name == container::STORAGE {
                value.rule("a pod's own resources are `cpu` and `memory`");
            }
        }
    }
    // Once for all of them.
    let limited = each
        .iter()
        .find(|(_, resources)| resources.storage_limit.is_some());
    let place = limited.and_then(|(node, _)| {
        let limits = node.get("resources")?.entries("limits");
        limits.into_iter().find(|(name, _)| *name == container::STORAGE)
    });
    if let Some((_, node)) = place {
        node.fault(FaultKind::Notice(
            "a limit of `ephemeral-storage` is not enforced: what a container writes outside of its volumes is on the \
             pod's disk, whose size limits all of them together"
                .to_owned(),
        ));
    }
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

/// The name of a pod of that template.
pub(super) fn pod_name(template: &Template<'_>) -> Option<PodName> {
    let (node, name) = template.metadata.as_ref()?.text("name")?;
    // Said of the object itself already.
    names::dns_subdomain(name).is_none().then_some(())?;
    let read = PodName::new(template.name.as_deref().unwrap_or(name));
    if let Err(error) = &read {
        node.rule(error.to_string());
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

/// How long the pod may run: as it says itself, or what its job says where that is less.
fn deadline(spec: &Node<'_>, of_job: Option<&Node<'_>>) -> Option<Duration> {
    const SECONDS: &str = "a number of seconds, at least 1";
    let read = |node: &Node<'_>| {
        let seconds: u32 = node.as_number(SECONDS)?;
        if seconds == 0 {
            node.reject("0", SECONDS);
        }
        Some(Duration::from_secs(seconds.into()))
    };
    let own = spec.get("activeDeadlineSeconds").as_ref().and_then(read);
    let of_job = of_job.and_then(read);
    own.into_iter().chain(of_job).min()
}

fn check_os(spec: &Node<'_>) {
    if let Some((node, name)) = spec.get("os").as_ref().and_then(|os| os.text("name"))
        && name != "linux"
    {
        node.reject(name, "`linux`");
    }
}

/// The VM: as large as the caller says, or as the pod's own limits do, or as its containers need, and never smaller
/// than the default.
fn vm(
    spec: &Node<'_>,
    own: ContainerResources,
    (init, main): (&[Node<'_>], &[Node<'_>]),
    surroundings: &KubeSurroundings,
) -> Vm {
    let need = |node: &Node<'_>| container::resources(node, container::Report::Nothing).need();
    let all = Need::of_pod(
        init.iter().map(|node| (container::is_sidecar(node), need(node))),
        main.iter().map(need),
    );
    let (memory_mib, cpus) = all.vm_of_pod(PodNeed {
        need: own.need(),
        memory_limited: own.memory_limit.is_some(),
        cpus_limited: own.cpu_limit.is_some(),
    });
    // What lies in memory is there beside what the containers may use.
    let in_memory = u32::try_from(super::volumes::in_memory(spec).div_ceil(1 << 20)).unwrap_or(u32::MAX);
    Vm {
        memory_mib: surroundings
            .memory_mib
            .unwrap_or(memory_mib.saturating_add(in_memory)),
        cpus: surroundings.cpus.unwrap_or(cpus),
        ..Vm::default()
    }
}

/// What a pod is read from.
struct About<'a, 'o> {
    template: &'o Template<'a>,
    spec: &'o Node<'a>,
    name: Option<&'o PodName>,
    uuid: &'o str,
}

fn downward<'a, 'o>(
    about: &About<'a, 'o>,
    own: ContainerResources,
    vm: &Vm,
    containers: &[Node<'a>],
    surroundings: &'a KubeSurroundings,
) -> Downward<'a, 'o> {
    let node = &about.template.node;
    let metadata = node.get("metadata");
    let texts = |name: &str, more: &'o [(&'static str, String)]| {
        let entries = metadata
            .as_ref()
            .map(|metadata| metadata.entries(name))
            .unwrap_or_default();
        let own = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_text()?)));
        let more = more.iter().map(|(key, value)| (*key, value.as_str()));
        own.chain(more).collect()
    };
    let text = |node: Option<&Node<'a>>, name| {
        let text = node.and_then(|node| node.text(name));
        text.map_or(DEFAULT, |(_, text)| text)
    };
    let named = |node: &Node<'a>| {
        let (_, name) = node.text("name")?;
        Some((name, container::resources(node, container::Report::Faults)))
    };
    let memory = Quantity::whole(u64::from(vm.memory_mib) << 20);
    Downward {
        surroundings,
        uuid: about.uuid,
        name: about
            .name
            .map_or_else(|| about.uuid.to_owned(), ToString::to_string),
        namespace: text(about.template.metadata.as_ref(), "namespace"),
        service_account: text(Some(about.spec), "serviceAccountName"),
        labels: texts("labels", &about.template.labels),
        annotations: texts("annotations", &about.template.annotations),
        all: ContainerResources {
            cpu_limit: own.cpu_limit.or(Some(Quantity::whole(vm.cpus.into()))),
            memory_limit: own.memory_limit.or(Some(memory)),
            // Where it is until it is on a disk.
            storage_limit: Some(memory),
            ..ContainerResources::default()
        },
        containers: containers.iter().filter_map(named).collect(),
    }
}

/// The host name that the pod says, if it does.
fn hostname(spec: &Node<'_>) -> Option<String> {
    if let Some((node, name)) = spec.text("subdomain") {
        names::check(&node, name, "name of a subdomain", names::dns_label);
    }
    let own = spec.text("hostname");
    if let Some((node, name)) = &own
        && !names::check(node, name, "host name", names::dns_label)
    {
        return None;
    }
    let (node, name) = spec.text("hostnameOverride").or(own)?;
    if let Err(reason) = check_hostname(name) {
        node.rule(format!(
            "`{}` is not a valid host name: {reason}",
            crate::words::shown(name)
        ));
        return None;
    }
    Some(name.to_owned())
}

fn sysctls(security: &Node<'_>) -> Vec<Sysctl> {
    let mut seen = BTreeSet::new();
    let mut read = |node: &Node<'_>| {
        let (name_node, name) = node.text("name")?;
        // Both forms are sysctl(8)'s, and the API takes both.
        let name = name.replace('/', ".");
        if !seen.insert(name.clone()) {
            name_node.rule(format!("`{}` is set twice", crate::words::shown(&name)));
        }
        let value = node.get("value")?.as_text()?.to_owned();
        Some(Sysctl { name, value })
    };
    security.items("sysctls").iter().filter_map(&mut read).collect()
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
                "`{}` is not a valid host name: {reason}",
                crate::words::shown(text)
            )),
        }
    }
    (!names.is_empty()).then_some(HostAlias { address, names })
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
    let option = |node: &Node<'_>| {
        let Some((_, name)) = node.text("name") else {
            node.missing("name");
            return None;
        };
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
        searches: searches(&config),
        options: config.items("options").iter().filter_map(option).collect(),
    })
}

/// The domains that a `dnsConfig` has names looked for in.
fn searches(config: &Node<'_>) -> Vec<String> {
    const MOST: usize = 32;
    const MOST_BYTES: usize = 2048;
    let mut searches = Vec::new();
    for node in config.items("searches") {
        let Some(domain) = node.as_text() else { continue };
        match is_search_domain(domain) {
            true => searches.push(domain.to_owned()),
            false => node.reject(domain, "a DNS name"),
        }
    }
    let bytes = searches.iter().map(String::len).sum::<usize>() + searches.len().saturating_sub(1);
    if searches.len() > MOST || bytes > MOST_BYTES {
        config.rule("its `searches` are more than 32, or have more than 2048 bytes together");
    }
    searches
}

/// Whether names are looked for in `domain`: a DNS name, in which there may be `_` and at whose end a dot, or the root.
pub(super) fn is_search_domain(domain: &str) -> bool {
    let name = domain.strip_suffix('.').unwrap_or(domain);
    domain == "." || names::dns_subdomain(&name.replace('_', "a")).is_none()
}
