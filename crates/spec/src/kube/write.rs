//! Writes a pod as a Kubernetes pod file, which [`read`](super::read) reads back as the same pod.
//!
//! ```text
//! PodSpec ── run_config.rs: appc's `app` sections ─┐
//!   ┌──────────────────────────────────────────────┘
//!   ├─ order.rs: which containers come first ─┐
//!   ├─ container.rs, probes.rs, security.rs ──┼─> Pod ───────────────────┐
//!   ├─ volumes.rs ────────────────────────────┘                          ├─> YAML documents
//!   └─ objects.rs: files and secret values ─────> ConfigMaps and Secrets ┘
//! ```
//!
//! What a pod file cannot say is reported, all of it. What belongs to a run rather than to a pod is left to the flags of that
//! run: the accelerator and the transport of host volumes.

mod container;
mod image;
mod objects;
mod order;
mod probes;
mod run_config;
mod security;
mod volumes;

use std::collections::BTreeMap;

use super::Unsupported;
use super::names;
use super::pod::GRACE_SECONDS;
use crate::gaps::{Gap, Gaps, Written};
use crate::size::{GUEST_MIB, Need, PodNeed};
use crate::tree::{Fields, Tree};
use crate::{
    App, AppRole, FailurePolicy, Handler, HostAlias, ImplicitVolumes, Medium, Network, PidMode, PodSpec,
    PortForward, PortProtocol, Resolver, RestartPolicy, UserNetwork, Vm, Volume, VolumeKind,
};
use objects::WrittenObjects;
use order::AppsByList;
use security::Groups;

/// How messages call the form.
const FORM: &str = "a Kubernetes Pod";

/// Writes `pod`: the Pod, and behind it the ConfigMaps and Secrets that it needs. The values of secrets are in it.
///
/// # Errors
/// Everything that the form cannot say, unless that is to be left out.
pub fn write(pod: &PodSpec, unsupported: Unsupported) -> Result<Written, Vec<Gap>> {
    let gaps = Gaps::of(FORM);
    let mut objects = WrittenObjects::new(pod.name.as_ref());
    let notes = |notes: &BTreeMap<String, String>| {
        notes.iter().fold(Fields::new(), |fields, (name, value)| {
            fields.with(name, value.as_str())
        })
    };
    let metadata = Fields::new()
        .with_some("name", name(pod, &gaps))
        .with_fields("labels", notes(&pod.labels))
        .with_fields("annotations", notes(&pod.annotations));
    let spec = spec(&run_config::as_overrides(pod, &gaps), &mut objects, &gaps);
    let document = Fields::new()
        .with("apiVersion", "v1")
        .with("kind", "Pod")
        .with("metadata", metadata)
        .with("spec", spec);
    let mut text = yaml(&document, &gaps);
    for object in objects.into_documents() {
        text.push_str("---\n");
        text.push_str(&yaml(&object, &gaps));
    }
    gaps.finish(text, unsupported)
}

/// The pod's name, where it is one there.
fn name<'a>(pod: &'a PodSpec, gaps: &Gaps) -> Option<&'a str> {
    let name = pod.name.as_ref()?.as_str();
    match names::dns_subdomain(name) {
        None => Some(name),
        Some(wrong) => {
            gaps.add_flag(format!("the name `{name}`"), wrong, &format!("--name {name}"));
            None
        }
    }
}

/// Reports the name of a part that is not one there.
fn check_name(what: &str, name: &str, gaps: &Gaps) {
    if let Some(wrong) = names::dns_label(name) {
        gaps.add_needed(format!("{what} `{name}`"), wrong, "give it another name");
    }
}

/// A document as people write it: literal blocks for lines, and nothing folded.
fn yaml(document: &Fields, gaps: &Gaps) -> String {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let written = serde_saphyr::to_string_with_options(document, options);
    written.unwrap_or_else(|error| gaps.not_written(&error))
}

fn spec(pod: &PodSpec, objects: &mut WrittenObjects, gaps: &Gaps) -> Fields {
    let order = AppsByList::of(pod, gaps);
    let groups = Groups::of(pod, gaps);
    let restart = order.main.first().map(|app| app.restart).unwrap_or_default();
    let context = container::Context { pod, restart, gaps };
    gaps_of_pod(pod, gaps);
    for app in &pod.apps {
        gaps_of_sleeps(app, pod.stop_timeout, gaps);
    }
    let apps = pod.apps.iter().map(|app| ("the name of app", app.name.as_str()));
    let volumes_named = pod
        .volumes
        .iter()
        .map(|volume| ("the name of volume", volume.name.as_str()));
    apps.chain(volumes_named)
        .for_each(|(what, name)| check_name(what, name, gaps));
    let ports = pod.network.ports();
    let init: Vec<Fields> = order
        .init
        .iter()
        .map(|app| container::write(app, container::ContainerList::Init, &[], &context, objects))
        .collect();
    let main = order.main.iter().enumerate().map(|(index, app)| {
        // A port is the pod's: that it stands at one of its containers says nothing.
        let ports = if index == 0 { ports } else { &[] };
        container::write(app, container::ContainerList::Main, ports, &context, objects)
    });
    let main: Vec<Fields> = main.collect();
    let (host_name, any_host_name) = match pod.hostname.as_deref() {
        Some(name) if names::dns_label(name).is_some() => (None, Some(name)),
        name => (name, None),
    };
    let signals = pod.apps.iter().any(|app| app.overrides.stop_signal.is_some());
    let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let grace = seconds(pod.stop_timeout);
    let (dns_policy, dns_config) = resolver(pod.resolver.as_ref(), gaps);
    Fields::new()
        .with_some("hostname", host_name)
        .with_some("hostnameOverride", any_host_name)
        .with_fields("os", Fields::new().with_some("name", signals.then_some("linux")))
        .with_some(
            "restartPolicy",
            (restart != RestartPolicy::Always).then(|| container::restart_policy(restart)),
        )
        .with_some(
            "terminationGracePeriodSeconds",
            (grace != i64::from(GRACE_SECONDS)).then_some(grace),
        )
        .with_some(
            "activeDeadlineSeconds",
            pod.deadline.map(|deadline| seconds(deadline).max(1)),
        )
        .with_list("hostAliases", pod.host_aliases.iter().map(host_alias))
        .with_some("dnsPolicy", dns_policy)
        .with_fields("dnsConfig", dns_config)
        .with_some(
            "shareProcessNamespace",
            (pod.pid_mode == PidMode::Pod).then_some(true),
        )
        .with_fields("securityContext", security::of_pod(pod, &groups))
        .with_fields("resources", resources(pod, &order, gaps))
        .with_list("initContainers", init)
        .with_list("containers", main)
        .with_list("volumes", volumes::write(pod, &groups, objects, gaps))
}

/// What no field of a Pod says.
fn gaps_of_pod(pod: &PodSpec, gaps: &Gaps) {
    if pod.network == Network::None {
        gaps.add_flag("a pod without a network", "every Pod has one", "--network none");
    }
    for join in pod.network.joins() {
        let flag = format!("--network {join}");
        gaps.add_flag("a network with a name", "no Pod names one", &flag);
    }
    if let Network::Namespace { path } = &pod.network {
        let flag = format!("--netns {}", path.display());
        gaps.add_flag(
            "a pod in a network namespace of the host",
            "no Pod names one",
            &flag,
        );
    }
    if let Network::User { options, .. } = &pod.network
        && *options != UserNetwork::default()
    {
        let flag = format!("--network {options}");
        gaps.add_flag("the options of the pod's network", "no Pod does", &flag);
    }
    if pod.held {
        gaps.add_flag(
            "that it waits for apps",
            "a Pod has all its containers from its start",
            "--hold",
        );
    }
    if pod.pid_mode == PidMode::Vm {
        gaps.add_flag("apps that see the VM's processes", "no Pod's do", "--pid vm");
    }
    if let Some(bytes) = pod.shm_bytes {
        let flag = format!("--shm-size {bytes}");
        gaps.add_flag(
            format!("a `/dev/shm` of {bytes} bytes"),
            "every Pod's has 64 MiB",
            &flag,
        );
    }
    if let Some(bytes) = pod.storage_bytes {
        let flag = format!("--storage-opt size={bytes}");
        gaps.add_flag(
            format!("a disk of {bytes} bytes for what its apps write"),
            "a Pod's containers have what the node has, each its limit of `ephemeral-storage`",
            &flag,
        );
    }
    for port in &pod.named_ports {
        let flag = format!("-p {port}");
        gaps.add_flag(
            format!("its port `{port}`"),
            "a `hostPort` leads to a number",
            &flag,
        );
    }
    if pod.on_failure == FailurePolicy::Stop {
        let what = "that one app's failure stops the others";
        gaps.add_flag(what, "containers end each for itself", "--on-app-failure stop");
    }
    if pod.implicit_volumes == ImplicitVolumes::Refuse {
        let what = "that an image's mount point must have a volume";
        gaps.add_flag(what, "it has no field for it", "--no-implicit-volumes");
    }
}

/// Handlers that sleep longer than the pod has to stop: the API takes none.
fn gaps_of_sleeps(app: &App, stop_timeout: std::time::Duration, gaps: &Gaps) {
    let handlers = [&app.lifecycle.post_start, &app.lifecycle.pre_stop];
    for time in handlers.into_iter().flatten().filter_map(Handler::sleep) {
        if time > stop_timeout {
            gaps.add_needed(
                format!("app `{}`: a handler that sleeps {} s", app.name, time.as_secs()),
                format!("the pod has {} s to stop", stop_timeout.as_secs()),
                "prepare the pod with a longer `--stop-timeout`",
            );
        }
    }
}

fn host_alias(alias: &HostAlias) -> Fields {
    Fields::new()
        .with("ip", alias.address.to_string())
        .with_list("hostnames", &alias.names)
}

/// `dnsPolicy` and `dnsConfig`.
fn resolver(resolver: Option<&Resolver>, gaps: &Gaps) -> (Option<&'static str>, Fields) {
    let Some(resolver) = resolver else {
        return (None, Fields::new());
    };
    let option = |option: &String| match option.split_once(':') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Fields::new().with("name", name).with("value", value)
        }
        _ => Fields::new().with("name", option),
    };
    let is_said = |domain: &&String| {
        let is_domain = super::pod::is_search_domain(domain);
        if !is_domain {
            let what = format!("the search domain `{}`", crate::words::shown(domain));
            gaps.add_flag(what, "it is not a DNS name", "--dns-search");
        }
        is_domain
    };
    let config = Fields::new()
        .with_list(
            "nameservers",
            resolver.nameservers.iter().map(ToString::to_string),
        )
        .with_list("searches", resolver.searches.iter().filter(is_said))
        .with_list("options", resolver.options.iter().map(option));
    ((!resolver.with_host).then_some("None"), config)
}

/// The pod's own `resources`: what binds its containers together, and as `requests` what its VM has where that does
/// not follow from the rest.
fn resources(pod: &PodSpec, order: &AppsByList<'_>, gaps: &Gaps) -> Fields {
    let limits = pod.limits;
    let own = Need {
        memory_bytes: limits.memory_bytes.unwrap_or_default(),
        cpu_millis: limits.cpu_millis.map_or(0, u64::from),
        unlimited: false,
    };
    let containers = need(order);
    let (memory_mib, cpus) = containers.vm_of_pod(PodNeed {
        need: own,
        memory_limited: limits.memory_bytes.is_some(),
        cpus_limited: limits.cpu_millis.is_some(),
    });
    // What a request of the pod's own can come to.
    let (least_mib, _) = Need {
        unlimited: false,
        ..containers
    }
    .vm();
    let vm = &pod.vm;
    let refuse = |what: String, limited: bool, flag: String| {
        let why = match limited {
            true => "its size follows from the pod's limits",
            false => "it is as large as its containers need at least",
        };
        gaps.add_flag(what, why, &flag);
    };
    let own_mib = vm.memory_mib.saturating_sub(in_memory_mib(pod));
    let asked_memory = own_mib != memory_mib;
    // Nobody asked for the default: what the file comes to has room for as much, and for the volumes besides.
    let is_default = vm.memory_mib == Vm::default().memory_mib && limits.memory_bytes.is_none();
    let memory = (asked_memory && !is_default && limits.memory_bytes.is_none() && own_mib >= least_mib)
        .then(|| crate::words::bytes((u64::from(own_mib) - GUEST_MIB) << 20));
    if asked_memory && memory.is_none() && !is_default {
        let mib = vm.memory_mib;
        let limited = limits.memory_bytes.is_some();
        refuse(
            format!("a VM of {mib} MiB"),
            limited,
            format!("--vm-memory {mib}m"),
        );
    }
    let asked_cpus = vm.cpus != cpus;
    let requested =
        (asked_cpus && limits.cpu_millis.is_none() && vm.cpus > cpus).then(|| vm.cpus.to_string());
    if asked_cpus && requested.is_none() {
        let cpus = vm.cpus;
        let limited = limits.cpu_millis.is_some();
        refuse(
            format!("a VM of {cpus} CPUs"),
            limited,
            format!("--vm-cpus {cpus}"),
        );
    }
    let requests = Fields::new()
        .with_some("cpu", requested)
        .with_some("memory", memory);
    let limits = Fields::new()
        .with_some("cpu", limits.cpu_millis.map(crate::words::cpus))
        .with_some("memory", limits.memory_bytes.map(crate::words::bytes));
    Fields::new()
        .with_fields("requests", requests)
        .with_fields("limits", limits)
}

/// What the reader gives a VM besides for what its volumes may hold in memory, in MiB.
fn in_memory_mib(pod: &PodSpec) -> u32 {
    let of_volume = |volume: &Volume| match &volume.kind {
        VolumeKind::Empty(empty) if empty.medium == Medium::Memory => empty.size_bytes,
        _ => None,
    };
    let bytes = pod.volumes.iter().filter_map(of_volume);
    u32::try_from(bytes.fold(0, u64::saturating_add).div_ceil(1 << 20)).unwrap_or(u32::MAX)
}

/// What the reader finds that the containers need.
fn need(order: &AppsByList<'_>) -> Need {
    let of = |app: &&App| Need::of(&app.overrides.resources);
    let init = order.init.iter();
    let init = init.map(|app| (app.role == AppRole::Sidecar, of(app)));
    Need::of_pod(init, order.main.iter().map(of))
}

/// The pod's ports, at one of its containers.
fn port(port: &PortForward) -> Fields {
    Fields::new()
        .with("containerPort", port.pod_port)
        .with("hostPort", port.host_port)
        .with_some("hostIP", port.host_ip.map(|ip| ip.to_string()))
        .with_some("protocol", (port.protocol == PortProtocol::Udp).then_some("UDP"))
}

/// A path as text.
fn text(path: &std::path::Path) -> Option<Tree> {
    path.to_str().map(Tree::from)
}

/// Whether a path has no part that leads up, and is as it is written.
fn is_plain(path: &std::path::Path) -> bool {
    use std::path::Component::{CurDir, Normal, RootDir};
    path.components()
        .all(|part| matches!(part, Normal(_) | RootDir | CurDir))
}
