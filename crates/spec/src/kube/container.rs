//! Containers: each becomes an app.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::context::Pod;
use super::downward::ContainerResources;
use super::env::Variables;
use super::names;
use super::objects::Secrecy;
use super::quantity::Quantity;
use super::values::{address, image, pull_policy};
use super::volumes::Volumes;
use super::{ReadPlaces, probes, security};
use crate::check::{MAX_PORTS, clean};
use crate::located::Part;
use crate::located::{AppPlaces, FaultKind, Node};
use crate::size::Need;
use crate::{
    App, AppName, AppRole, Device, ImageSource, LastWords, Mount, Overrides, PortForward, PortProtocol,
    RestartPolicy, RootOnRestart, VolumeName,
};

/// The resource that is room on disk.
pub(super) const STORAGE: &str = "ephemeral-storage";

/// Which of the pod's lists a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Init,
    Main,
}

/// Whether an init container runs on beside the others.
pub(super) fn is_sidecar(node: &Node<'_>) -> bool {
    node.text("restartPolicy")
        .is_some_and(|(_, policy)| policy == "Always")
}

/// Reads a container; its places are added to `places` where it gives an app.
pub(super) fn read<'a>(
    node: &Node<'a>,
    order: Order,
    pod: &Pod<'a, '_>,
    volumes: &Volumes,
    places: &mut ReadPlaces<'a>,
) -> Option<App> {
    let name = node.text("name").and_then(|(name_node, name)| {
        if !names::check(&name_node, name, "name of a container", names::dns_label) {
            return None;
        }
        AppName::new(name)
            .map_err(|error| name_node.fault(FaultKind::Name(error)))
            .ok()
    });
    let image = image(node, "image");
    let own_name = node.text("name").map_or("", |(_, name)| name);
    let mut variables = Variables::read(node, own_name, pod.objects, pod.downward);
    variables.add_missing(&pod.template.env);
    let mut overrides = Overrides {
        resources: resources(node, Report::Nothing).for_app(),
        tty: node.boolean("tty").unwrap_or(false),
        ..security::overrides(node.get("securityContext").as_ref(), pod.security.as_ref())
    };
    command(node, &variables, &mut overrides);
    overrides.working_dir = node.text("workingDir").map(|(_, dir)| PathBuf::from(dir));
    let (mounts, mount_places) = mounts(node, &variables, volumes);
    overrides.devices = devices(node, volumes);
    overrides.env = variables.into_env();
    let (role, restart) = restart(node, order, pod.restart, pod.template.max_retries);
    let probes = probes::probes(node);
    let lifecycle = probes::lifecycle(node, pod.grace, &mut overrides);
    if order == Order::Init && role == AppRole::Main {
        refuse_around_init(node);
    }
    let pull = pull_policy(node, "imagePullPolicy", image.as_ref());
    // An app with another name stays for the checks that follow: there is a fault already.
    let name = name.or_else(|| AppName::nearest(own_name))?;
    let (container, location) = (node.clone(), node.get("name")?.location());
    places.parts.push((Part::App(name.clone()), location));
    for (mount, place) in mounts.iter().zip(&mount_places) {
        if let Some(path) = place.get("mountPath") {
            let part = Part::Target(name.clone(), clean(&mount.target));
            places.parts.push((part, path.location()));
        }
    }
    places.of.apps.push(AppPlaces {
        app: container,
        mounts: mount_places,
    });
    Some(App {
        overrides,
        mounts,
        rootfs: security::rootfs(node),
        restart,
        root_on_restart: RootOnRestart::Fresh,
        role,
        probes,
        lifecycle,
        last_words: last_words(node),
        pull,
        // Without an image there is a fault already; the app stays for the checks of its names.
        ..App::new(
            name,
            image.unwrap_or(ImageSource::Stored { id: None, name: None }),
        )
    })
}

/// Where the container may say why it ended.
fn last_words(node: &Node<'_>) -> LastWords {
    let path = node.text("terminationMessagePath").map(|(path_node, path)| {
        // The kubelet takes one without a slash in front from the root as well.
        let clean = clean(Path::new(path));
        if clean == Path::new("/") || path.contains(['\n', '\r']) {
            path_node.reject(path, "a file's path");
        }
        clean
    });
    let from_log = match node.text("terminationMessagePolicy") {
        None | Some((_, "File")) => false,
        Some((_, "FallbackToLogsOnError")) => true,
        Some((node, other)) => {
            node.reject(other, "`File` or `FallbackToLogsOnError`");
            false
        }
    };
    LastWords {
        path: path.filter(|path| path != Path::new(LastWords::PATH)),
        from_log,
    }
}

/// `command` and `args`: the image's entry point and command in their place.
fn command(node: &Node<'_>, variables: &Variables, overrides: &mut Overrides) {
    let expanded = |list: &str| -> Option<Vec<(String, Secrecy)>> {
        let words = node.texts(list)?;
        let words = words.into_iter();
        Some(words.filter_map(|word| variables.expand(node, word)).collect())
    };
    let mut words = expanded("command").unwrap_or_default().into_iter();
    let args = expanded("args").filter(|args| !args.is_empty());
    if let Some((program, secrecy)) = words.next() {
        if secrecy == Secrecy::Secret {
            node.get("command")
                .iter()
                .for_each(|node| node.rule("the program's name contains a secret"));
        }
        overrides.exec = Some(program);
    } else if args.is_none() {
        return;
    }
    let args: Vec<_> = words.chain(args.into_iter().flatten()).collect();
    let secret = args
        .iter()
        .enumerate()
        .filter(|(_, (_, secrecy))| *secrecy == Secrecy::Secret);
    overrides.secret_args = secret.map(|(index, _)| index).collect::<BTreeSet<_>>();
    overrides.args = Some(args.into_iter().map(|(word, _)| word).collect());
}

/// The `restartPolicy` of a pod or container.
pub(super) fn restart_policy(node: &Node<'_>) -> Option<RestartPolicy> {
    let (node, policy) = node.text("restartPolicy")?;
    match policy {
        "Always" => Some(RestartPolicy::Always),
        "OnFailure" => Some(RestartPolicy::OnFailure { max_retries: None }),
        "Never" => Some(RestartPolicy::No),
        other => {
            node.reject(other, "`Always`, `OnFailure` or `Never`");
            None
        }
    }
}

fn restart(
    node: &Node<'_>,
    order: Order,
    pod: RestartPolicy,
    max_retries: Option<u32>,
) -> (AppRole, RestartPolicy) {
    let own = restart_policy(node);
    let policy = match own.unwrap_or(pod) {
        RestartPolicy::OnFailure { .. } => RestartPolicy::OnFailure { max_retries },
        other => other,
    };
    match (order, policy) {
        (Order::Main, policy) => (AppRole::Main, policy),
        (Order::Init, RestartPolicy::Always) if own.is_some() => (AppRole::Sidecar, RestartPolicy::Always),
        // It must end before the others begin, so one that succeeds is not restarted.
        (Order::Init, RestartPolicy::Always) => {
            (AppRole::Main, RestartPolicy::OnFailure { max_retries: None })
        }
        (Order::Init, policy) => (AppRole::Main, policy),
    }
}

/// What the API refuses of an init container that is no sidecar.
fn refuse_around_init(node: &Node<'_>) {
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        node.get(field)
            .iter()
            .for_each(|node| node.rule("an init container that ends has no probes"));
    }
    let lifecycle = node.get("lifecycle");
    for field in ["postStart", "preStop"] {
        let handler = lifecycle.as_ref().and_then(|lifecycle| lifecycle.get(field));
        handler
            .iter()
            .for_each(|node| node.rule("an init container that ends has no handlers"));
    }
}

/// The devices of the guest that the container mounts, each once.
fn devices(node: &Node<'_>, volumes: &Volumes) -> Vec<Device> {
    let mut devices = Vec::new();
    for mount in node.items("volumeMounts") {
        let name = mount
            .text("name")
            .and_then(|(_, name)| VolumeName::new(name).ok());
        let device = name.and_then(|name| volumes.device(&name));
        devices.extend(device.filter(|device| !devices.contains(device)));
    }
    devices
}

fn mounts<'a>(node: &Node<'a>, variables: &Variables, volumes: &Volumes) -> (Vec<Mount>, Vec<Node<'a>>) {
    let read = |node: Node<'a>| Some((mount(&node, variables, volumes)?, node));
    node.items("volumeMounts").into_iter().filter_map(read).unzip()
}

fn mount(node: &Node<'_>, variables: &Variables, volumes: &Volumes) -> Option<Mount> {
    let (path_node, path) = node.text("mountPath")?;
    if path.contains(':') {
        path_node.reject(path, "a path without `:`");
    }
    let (name_node, name) = node.text("name")?;
    let volume = VolumeName::new(name)
        .map_err(|error| name_node.fault(FaultKind::Name(error)))
        .ok()?;
    if let Some(device) = volumes.device(&volume) {
        if clean(Path::new(path)) != Path::new(device.path()) || node.get("subPath").is_some() {
            path_node.reject(path, "the device's own path: it is the guest's");
        }
        return None;
    }
    let propagation = node.text("mountPropagation");
    let node_propagates = propagation.as_ref().is_some_and(|(_, text)| *text != "None");
    match propagation {
        None | Some((_, "None" | "HostToContainer")) => {}
        Some((node, "Bidirectional")) => {
            node.refuse(
                "mount propagation `Bidirectional` is",
                "nothing that a guest mounts reaches the host",
            );
        }
        Some((node, other)) => node.reject(other, "`None` or `HostToContainer`"),
    }
    let read_only = node.boolean("readOnly").unwrap_or(false);
    match node.text("recursiveReadOnly") {
        None | Some((_, "Disabled")) => {}
        Some((node, "IfPossible" | "Enabled")) => {
            if !read_only {
                node.rule("it needs `readOnly: true`");
            } else if node_propagates {
                node.rule("it is for mounts without `mountPropagation`");
            }
        }
        Some((node, other)) => node.reject(other, "`Disabled`, `IfPossible` or `Enabled`"),
    }
    let sub_path = sub_path(node, variables)?;
    Some(Mount {
        target: crate::check::clean(&PathBuf::from(path)),
        // Written out: an image's own mount point may say otherwise, and the API's default is writable.
        read_only: (!volumes.is_always_read_only(&volume)).then_some(read_only),
        volume,
        sub_path,
        flags: crate::MountFlags::default(),
        owners: crate::Owners::default(),
    })
}

/// `subPath` or `subPathExpr`; `None` where it is wrong.
fn sub_path(node: &Node<'_>, variables: &Variables) -> Option<Option<PathBuf>> {
    let (node, path) = match (node.text("subPath"), node.text("subPathExpr")) {
        (None, None) => return Some(None),
        (Some(_), Some((node, _))) => {
            node.rule("`subPath` is given too");
            return None;
        }
        (Some((node, path)), None) => (node, path.to_owned()),
        (None, Some((node, path))) => {
            if let Some(name) = variables.unknown_in(path) {
                node.rule(format!(
                    "the container has no variable `{}`",
                    crate::words::shown(&name)
                ));
                return None;
            }
            let (path, secrecy) = variables.expand(&node, path)?;
            if secrecy == Secrecy::Secret {
                node.rule("the path contains a secret");
                return None;
            }
            (node, path)
        }
    };
    let path = PathBuf::from(path);
    let stays = |c| matches!(c, std::path::Component::Normal(_) | std::path::Component::CurDir);
    if path.as_os_str().is_empty() || !path.components().all(stays) {
        node.reject(&path.to_string_lossy(), "a relative path without `..`");
        return None;
    }
    Some(Some(path))
}

/// What the API refuses of the names of a container's ports.
fn check_port_names(ports: &[Node<'_>]) {
    let mut seen = BTreeSet::new();
    for (node, name) in ports.iter().filter_map(|port| port.text("name")) {
        if names::check(&node, name, "name of a port", names::port_name) && !seen.insert(name) {
            node.rule(format!(
                "the container has a second port `{}`",
                crate::words::shown(name)
            ));
        }
    }
}

/// The ports of the host that lead into the containers: those with a `hostPort`, and all of a pod that would be in the
/// host's own network.
pub(super) fn ports<'a>(
    containers: &[Node<'a>],
    host_network: bool,
    places: &mut ReadPlaces<'a>,
) -> Vec<PortForward> {
    let mut ports = Vec::new();
    let of_containers = containers.iter().flat_map(|node| {
        let ports = node.items("ports");
        check_port_names(&ports);
        ports
    });
    for port in of_containers {
        const NUMBER: &str = "a port from 1 to 65535";
        let number = |name: &str| match port.number::<u16>(name, NUMBER) {
            Some(0) => {
                port.get(name).iter().for_each(|node| node.reject("0", NUMBER));
                None
            }
            number => number,
        };
        let protocol = match port.text("protocol") {
            None | Some((_, "TCP")) => PortProtocol::Tcp,
            Some((_, "UDP")) => PortProtocol::Udp,
            Some((node, "SCTP")) => {
                if port.get("hostPort").is_some() {
                    node.refuse("protocol `SCTP` is", "only `TCP` and `UDP` can be published");
                }
                continue;
            }
            Some((node, other)) => {
                node.reject(other, "`TCP` or `UDP`");
                continue;
            }
        };
        let host_ip = port.text("hostIP").and_then(|(node, _)| address(&node));
        let pod_port = number("containerPort");
        // 0 is Go's way to say nothing.
        let asked = port
            .number::<u32>("hostPort", NUMBER)
            .is_some_and(|number| number > 0);
        let host_port = match asked {
            true => number("hostPort"),
            false => pod_port.filter(|_| host_network),
        };
        if let (Some(pod_port), Some(host_port)) = (pod_port, host_port)
            && ports.len() <= MAX_PORTS
        {
            if host_network && host_port != pod_port {
                port.rule("with `hostNetwork` a `hostPort` must be the `containerPort`");
            }
            ports.push(PortForward {
                host_ip,
                host_port,
                host_last: None,
                pod_port,
                protocol,
            });
            places.of.ports.push(port);
        }
    }
    ports
}

/// Whether faults are reported: resources are read more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Faults,
    Nothing,
}

/// The `resources` of a container or pod.
pub(super) fn resources(node: &Node<'_>, report: Report) -> ContainerResources {
    let mut resources = ContainerResources::default();
    let Some(node) = node.get("resources") else {
        return resources;
    };
    for (list, entries) in [
        ("limits", node.entries("limits")),
        ("requests", node.entries("requests")),
    ] {
        for (name, value) in entries {
            let Some(word) = value.as_word() else { continue };
            let Some(quantity) = Quantity::read(&word) else {
                if report == Report::Faults {
                    value.reject(&word, "a quantity such as `500m`, `2` or `64Mi`");
                }
                continue;
            };
            let place = match (list, name) {
                ("limits", "cpu") => &mut resources.cpu_limit,
                ("limits", "memory") => &mut resources.memory_limit,
                ("requests", "cpu") => &mut resources.cpu_request,
                ("requests", "memory") => &mut resources.memory_request,
                ("limits", STORAGE) => &mut resources.storage_limit,
                ("requests", STORAGE) => &mut resources.storage_request,
                (_, other) => {
                    if report == Report::Faults {
                        check_resource(&value, list, other);
                    }
                    continue;
                }
            };
            *place = Some(quantity);
        }
    }
    if report == Report::Faults {
        check_extended(&node);
    }
    let both = |limit: Option<Quantity>, request: Option<Quantity>| limit.zip(request);
    let pairs = [
        both(resources.cpu_limit, resources.cpu_request),
        both(resources.memory_limit, resources.memory_request),
        both(resources.storage_limit, resources.storage_request),
    ];
    if report == Report::Faults
        && pairs
            .into_iter()
            .flatten()
            .any(|(limit, request)| request > limit)
    {
        node.rule("a request is more than its limit");
    }
    resources
}

/// Reports a request of a device or of huge pages without a limit, or with another one: of these there is never more than
/// was asked for.
fn check_extended(node: &Node<'_>) {
    let limits = node.entries("limits");
    for (name, value) in node.entries("requests") {
        if !name.contains('/') && !name.starts_with("hugepages-") {
            continue;
        }
        let amount = |value: &Node<'_>| Quantity::read(&value.as_word()?);
        let limit = limits.iter().find(|(other, _)| *other == name);
        if limit.is_none_or(|(_, limit)| amount(limit) != amount(&value)) {
            let name = crate::words::shown(name);
            value.rule(format!("a request of `{name}` needs a limit of the same amount"));
        }
    }
}

/// Reports a resource that cannot be had, or that there is not.
fn check_resource(value: &Node<'_>, list: &str, name: &str) {
    let is_known = name.contains('/') || name.starts_with("hugepages-");
    let shown = crate::words::shown(name);
    if let Some(wrong) = names::qualified(name) {
        value.rule(format!("`{shown}` is not a valid resource name: {wrong}"));
    } else if !is_known {
        value.rule(format!(
            "there is no resource `{shown}`: there are `cpu`, `memory`, `ephemeral-storage` and those with a domain"
        ));
    } else if list == "limits" {
        value.refuse(
            format!("a limit of `{shown}` is"),
            "`cpu` and `memory` can be limited",
        );
    }
    // A request beyond these only chooses a node.
}

impl ContainerResources {
    /// What the VM must have for it: its limit, or else what it asks for.
    pub(super) fn need(self) -> Need {
        let memory = self.memory_limit.or(self.memory_request);
        let cpu = self.cpu_limit.or(self.cpu_request);
        Need {
            memory_bytes: memory.unwrap_or_default().units(),
            unlimited: self.memory_limit.is_none(),
            cpu_millis: cpu.unwrap_or_default().millis(),
        }
    }

    /// As a pod takes them: what binds all of its apps together.
    pub(super) fn for_pod(self) -> crate::PodLimits {
        let some = |quantity: Option<Quantity>| quantity.filter(|quantity| *quantity > Quantity::default());
        crate::PodLimits {
            memory_bytes: some(self.memory_limit).map(Quantity::units),
            cpu_millis: some(self.cpu_limit).map(|cpu| u32::try_from(cpu.millis()).unwrap_or(u32::MAX)),
        }
    }

    /// As an app takes them. A request that is not said is the limit's, as in the API.
    fn for_app(self) -> crate::Resources {
        let millis = |quantity: Quantity| u32::try_from(quantity.millis()).unwrap_or(u32::MAX);
        // 0 means that nothing was said.
        let some = |quantity: Option<Quantity>| quantity.filter(|quantity| *quantity > Quantity::default());
        crate::Resources {
            memory_limit_bytes: some(self.memory_limit).map(Quantity::units),
            memory_request_bytes: some(self.memory_request.or(self.memory_limit)).map(Quantity::units),
            cpu_limit_millis: some(self.cpu_limit).map(millis),
            cpu_request_millis: some(self.cpu_request.or(self.cpu_limit)).map(millis),
            ..crate::Resources::default()
        }
    }
}
