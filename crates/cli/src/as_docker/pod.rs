//! A pod as docker shows a container: a row of `ps` and a document of `inspect`. Of a pod of several apps the fields of a
//! container are those of the first, and `Apps` has all of them.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use isopod_plan::layout::LOGS;
use isopod_plan::vm::network;
use isopod_runtime::logs::stamp;
use isopod_runtime::pods::PodEntry;
use isopod_runtime::pods::files::{AppRecord, AppState, AppStatus, HealthState, Keep, PodRecord};
use isopod_runtime::pods::state::PodState;
use isopod_runtime::pods::volumes::MountRecord;
use isopod_spec::{
    App, AppRoot, EmptyVolume, ImageReference, ImageSource, JoinedNetwork, LogLimits, Medium, Network,
    PodSpec, PortForward, RestartPolicy, RootfsAccess, Sysctl, VolumeKind, VolumeName,
};
use serde_json::{Map, Value, json};

use crate::show::is_paused;

use super::template::LABELS;
use super::time::human;

/// A row of `ps`, with docker's fields and `Apps`, `UUID` and `Name`, at that time in milliseconds since 1970.
pub(crate) fn pod_row(pod: &PodEntry, spec: Option<&PodSpec>, now_ms: u64) -> Value {
    let record = pod.record.as_ref();
    let apps: Vec<&AppRecord> = record
        .iter()
        .flat_map(|record| record.present())
        .map(|(_, app)| app)
        .collect();
    let created = record.map(|record| record.created_ms);
    let images: Vec<String> = apps.iter().map(|app| image_name(app, spec)).collect();
    let labels = spec.map(|spec| &spec.labels);
    let labels = labels
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={value}"));
    let mounts = apps.iter().flat_map(|app| &app.mounts);
    json!({
        "ID": pod.uuid,
        "UUID": pod.uuid,
        "Names": pod.label(),
        "Name": record.and_then(|record| record.name.as_ref()),
        "Image": images.join(","),
        "Command": apps.first().map(|app| format!("\"{}\"", app.argv.join(" "))),
        "CreatedAt": created.map(created_at),
        "RunningFor": created.map(|created| ago(created, now_ms)),
        "Ports": record.map(|record| record.ports.iter().map(published).collect::<Vec<_>>().join(", ")),
        "State": state(pod),
        "Status": status_words(pod, now_ms),
        "Labels": labels.collect::<Vec<_>>().join(","),
        "Mounts": mounts.map(|mount| mount.volume.to_string()).collect::<Vec<_>>().join(","),
        "LocalVolumes": record.map_or(0, |record| record.volumes.len()).to_string(),
        "Networks": spec.map(network_mode).unwrap_or_default(),
        "Size": "0B",
        "Apps": apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>().join(","),
        LABELS: spec.map(|spec| &spec.labels),
    })
}

/// docker's document of a container. What there is of it that a pod does not have is left out.
/// `image_config` has what the config of the image with an ID says of how it is run (OCI's `config`).
pub(crate) fn inspected(
    pod: &PodEntry,
    spec: Option<&PodSpec>,
    image_config: &dyn Fn(&str) -> Option<Value>,
) -> Value {
    let record = pod.record.as_ref();
    let apps = record.iter().flat_map(|record| record.present());
    let documents: Vec<Value> = apps
        .map(|(index, _)| of_app(pod, spec, index, image_config))
        .collect();
    let mut document = documents.first().cloned().unwrap_or_else(|| json!({}));
    let fields = json!({
        "Id": pod.uuid,
        "Name": format!("/{}", pod.label()),
        "Created": record.map(|record| time(record.created_ms)),
        "Platform": "linux",
        "Driver": "erofs",
        "LogPath": documents.first().and_then(|app| app["Name"].as_str()).map(|app| {
            pod.path.join(LOGS).join(format!("{app}.log")).display().to_string()
        }),
        "State": pod_state(pod),
        "NetworkSettings": network_settings(record, spec),
        "Apps": documents,
    });
    merge(&mut document, fields);
    document
}

fn merge(document: &mut Value, fields: Value) {
    if let (Value::Object(document), Value::Object(fields)) = (document, fields) {
        document.extend(fields);
    }
}

fn of_app(
    pod: &PodEntry,
    spec: Option<&PodSpec>,
    index: usize,
    image_config: &dyn Fn(&str) -> Option<Value>,
) -> Value {
    let Some((record, app)) = pod
        .record
        .as_ref()
        .and_then(|record| Some((record, record.apps.get(index)?)))
    else {
        return json!({});
    };
    let asked = spec.and_then(|spec| spec.apps.iter().find(|asked| asked.name == app.name));
    let status = pod.status.as_ref().and_then(|status| status.apps.get(index));
    // In memory is what `HostConfig.Tmpfs` has: docker shows each in one place.
    let (in_memory, kept): (Vec<_>, Vec<_>) = app
        .mounts
        .iter()
        .partition(|mount| spec.is_some_and(|spec| memory_volume(&mount.volume, spec).is_some()));
    let mounts: Vec<Value> = kept.into_iter().map(|mount| mounted(mount, record)).collect();
    let tmpfs: Map<String, Value> = in_memory
        .into_iter()
        .map(|mount| (mount.target.clone(), tmpfs_options(mount, spec).into()))
        .collect();
    let mut host_config = host_config(app, asked, spec, &record.ports);
    host_config["Tmpfs"] = tmpfs.into();
    host_config["Binds"] = binds(&mounts);
    host_config["AutoRemove"] = (record.keep != Keep::UntilRemoved).into();
    let image = app.root.image_id().and_then(image_config).unwrap_or(Value::Null);
    json!({
        "Name": app.name,
        "Image": app.root.image_id(),
        "Path": app.executable,
        "Args": app.argv.get(1..).unwrap_or_default(),
        "RestartCount": status.map_or(0, |status| status.restarts),
        "State": app_state(status),
        "Mounts": mounts,
        "Config": config(record, app, asked, spec, &image),
        "HostConfig": host_config,
    })
}

/// The mounts of the host's directories and of named volumes, as they are written for `-v`.
fn binds(mounts: &[Value]) -> Value {
    let text = |mount: &Value, field: &str| mount[field].as_str().unwrap_or_default().to_owned();
    let bind = |mount: &Value| {
        let source = match text(mount, "Type").as_str() {
            "bind" => text(mount, "Source"),
            "volume" if !text(mount, "Source").is_empty() => text(mount, "Name"),
            _ => return None,
        };
        let access = if mount["RW"] == true { "" } else { ":ro" };
        Some(Value::from(format!(
            "{source}:{}{access}",
            text(mount, "Destination")
        )))
    };
    mounts.iter().filter_map(bind).collect()
}

/// What the image says of how it is run, and what the user says instead.
fn config(
    record: &PodRecord,
    app: &AppRecord,
    asked: Option<&App>,
    spec: Option<&PodSpec>,
    image: &Value,
) -> Value {
    let hostname = &record.hostname;
    let overrides = asked.map(|asked| &asked.overrides);
    let said = overrides
        .iter()
        .flat_map(|overrides| &overrides.env)
        .filter(|variable| !variable.secret);
    let said: Vec<(&str, &str)> = said
        .filter_map(|variable| Some((variable.name.as_str(), variable.value.as_deref()?)))
        .collect();
    let kept = image["Env"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let kept = kept.filter(|line| {
        let name = line.split('=').next().unwrap_or_default();
        said.iter().all(|(other, _)| *other != name)
    });
    let env = kept
        .map(str::to_owned)
        .chain(said.iter().map(|(name, value)| format!("{name}={value}")));
    let program = overrides.and_then(|overrides| overrides.exec.as_ref());
    let entrypoint = match program {
        Some(program) if program.is_empty() => Value::Null,
        Some(program) => json!([program]),
        None => image["Entrypoint"].clone(),
    };
    let args = overrides.and_then(|overrides| overrides.args.as_ref());
    let secret = overrides.is_some_and(|overrides| !overrides.secret_args.is_empty());
    let cmd = match (args, program) {
        // The record has them without what is secret.
        _ if secret => json!(app.argv),
        (Some(args), _) => json!(args),
        (None, Some(_)) => Value::Null,
        (None, None) => image["Cmd"].clone(),
    };
    let mut labels = image["Labels"].as_object().cloned().unwrap_or_default();
    let own = spec.iter().flat_map(|spec| &spec.labels);
    labels.extend(own.map(|(name, value)| (name.clone(), value.clone().into())));
    let or_image = |own: Option<Value>, field: &str| own.unwrap_or_else(|| image[field].clone());
    let text = |value: Option<String>| value.map(Value::from);
    json!({
        "Hostname": hostname,
        "User": or_image(text(overrides.and_then(|overrides| overrides.user.clone())), "User"),
        "Tty": app.tty,
        "Env": env.collect::<Vec<_>>(),
        "Cmd": cmd,
        "Image": asked.map(name_of),
        "WorkingDir": or_image(overrides.and_then(|overrides| overrides.working_dir.as_ref()).map(|dir| json!(dir)), "WorkingDir"),
        "Entrypoint": entrypoint,
        "Labels": labels,
        "ExposedPorts": image["ExposedPorts"],
        "Volumes": image["Volumes"],
        "StopSignal": or_image(text(overrides.and_then(|overrides| overrides.stop_signal.clone())), "StopSignal"),
        "StopTimeout": spec.map(|spec| spec.stop_timeout.as_secs()),
    })
}

/// What was asked for of a log, under docker's names: texts, the size in bytes.
fn log_options(log: &LogLimits) -> Value {
    let size = log.file_bytes.map(|bytes| ("max-size", bytes.to_string()));
    let files = log.files.map(|files| ("max-file", files.to_string()));
    let options = size.into_iter().chain(files);
    Value::Object(
        options
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect(),
    )
}

fn host_config(app: &AppRecord, asked: Option<&App>, spec: Option<&PodSpec>, ports: &[PortForward]) -> Value {
    let overrides = asked.map(|asked| &asked.overrides);
    let resources = overrides.map(|overrides| overrides.resources).unwrap_or_default();
    let (policy, count) = match app.restart {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::OnFailure { max_retries } => ("on-failure", max_retries.unwrap_or(0)),
    };
    let sysctls = spec.iter().flat_map(|spec| &spec.sysctls);
    let sysctls: Map<String, Value> = sysctls
        .map(|Sysctl { name, value }| (name.clone(), value.clone().into()))
        .collect();
    json!({
        "NetworkMode": spec.map(network_mode),
        // The pod's own logs are in containerd's format.
        "LogConfig": { "Type": "k8s-file", "Config": log_options(&app.log) },
        "PortBindings": bindings(ports),
        "RestartPolicy": { "Name": policy, "MaximumRetryCount": count },
        "CapAdd": overrides.map(|overrides| &overrides.cap_add),
        "CapDrop": overrides.map(|overrides| &overrides.cap_drop),
        "Privileged": overrides.is_some_and(|overrides| overrides.privileged),
        "ReadonlyRootfs": app.rootfs == RootfsAccess::ReadOnly,
        "ShmSize": spec.and_then(|spec| spec.shm_bytes).unwrap_or(64 << 20),
        "Memory": resources.memory_limit_bytes.unwrap_or(0),
        "MemoryReservation": resources.memory_request_bytes.unwrap_or(0),
        "NanoCpus": u64::from(resources.cpu_limit_millis.unwrap_or(0)) * 1_000_000,
        "PidsLimit": resources.pids_limit,
        "OomScoreAdj": resources.oom_score_adj.unwrap_or(0),
        "Sysctls": sysctls,
    })
}

/// The volume of that name, if it is in the VM's memory.
fn memory_volume<'a>(name: &VolumeName, spec: &'a PodSpec) -> Option<&'a EmptyVolume> {
    let volume = spec.volumes.iter().find(|volume| volume.name == *name)?;
    match &volume.kind {
        VolumeKind::Empty(empty) if empty.medium == Medium::Memory => Some(empty),
        _ => None,
    }
}

/// As mount(8) would be called.
fn tmpfs_options(mount: &MountRecord, spec: Option<&PodSpec>) -> String {
    let access = if mount.read_only { "ro" } else { "rw" };
    match spec.and_then(|spec| memory_volume(&mount.volume, spec)?.size_bytes) {
        Some(bytes) => format!("{access},size={bytes}"),
        None => access.to_owned(),
    }
}

/// A mount as docker has it: of the host's directory a `bind`, of one that is kept a `volume`.
fn mounted(mount: &MountRecord, record: &isopod_runtime::pods::files::PodRecord) -> Value {
    let volume = record.volumes.iter().find(|volume| volume.name == mount.volume);
    let host = volume
        .and_then(|volume| volume.host.as_ref())
        .map(|host| host.path());
    let named = host.as_ref().and_then(|path| {
        let parent = path.parent()?.file_name()?;
        (parent == "volumes").then(|| path.file_name())?
    });
    json!({
        "Type": match (&host, named, volume.map(|volume| volume.kind.as_str())) {
            (Some(_), None, _) => "bind",
            (_, _, Some("image")) => "image",
            _ => "volume",
        },
        "Name": named.map_or_else(|| mount.volume.to_string(), |name| name.to_string_lossy().into_owned()),
        "Source": host.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        "Destination": mount.target,
        "Driver": "local",
        "Mode": if mount.read_only { "ro" } else { "" },
        "RW": !mount.read_only,
        "Propagation": "rprivate",
    })
}

/// docker's settings of the first interface; of a pod in a network namespace those that the namespace has.
fn network_settings(record: Option<&PodRecord>, spec: Option<&PodSpec>) -> Value {
    let ports = record.map(|record| &record.ports[..]).unwrap_or_default();
    let netns = record.and_then(|record| record.netns.as_ref());
    let joined = joined(record);
    let guest = record.and_then(|record| Some(&record.network.as_ref()?.0));
    let guest = guest.filter(|_| netns.is_some() || !joined.is_empty());
    let interface = guest.and_then(|guest| guest.interfaces.first());
    let user = (network::ADDRESS, network::GATEWAY);
    let (address, gateway, address6, mac) = match (interface, spec.map(|spec| &spec.network)) {
        (Some(interface), _) => {
            let of_kind = |is: fn(&IpAddr) -> bool| {
                let mut addresses = interface.addresses.iter().map(|address| address.address);
                addresses
                    .find(is)
                    .map(|address| address.to_string())
                    .unwrap_or_default()
            };
            let routers = interface
                .routes
                .iter()
                .filter(|route| route.destination.prefix_len == 0);
            let gateway = routers.filter_map(|route| route.gateway).find(IpAddr::is_ipv4);
            (
                of_kind(IpAddr::is_ipv4),
                gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
                of_kind(IpAddr::is_ipv6),
                interface
                    .mac
                    .map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"))
                    .unwrap_or_default(),
            )
        }
        (None, Some(Network::None)) => Default::default(),
        (None, _) => (
            user.0.to_string(),
            user.1.to_string(),
            String::new(),
            String::new(),
        ),
    };
    let of_user = matches!(spec.map(|spec| &spec.network), Some(Network::User { .. }));
    let networks = match of_user {
        // docker calls the network of a container so that nobody says another of.
        true => json!({ "bridge": {
            "IPAddress": address,
            "IPPrefixLen": network::PREFIX_LEN,
            "Gateway": gateway,
            "GlobalIPv6Address": address6,
            "MacAddress": mac,
        } }),
        false => networks(joined),
    };
    json!({
        "IPAddress": address,
        "Gateway": gateway,
        "GlobalIPv6Address": address6,
        "MacAddress": mac,
        "Networks": networks,
        "SandboxKey": netns.map(|netns| netns.path.display().to_string()).unwrap_or_default(),
        "Ports": bindings(ports),
    })
}

/// docker's map from a port of the pod to those of the host.
fn bindings(ports: &[PortForward]) -> Value {
    let mut bindings: Map<String, Value> = Map::new();
    for port in ports {
        let name = format!("{}/{}", port.pod_port, port.protocol);
        let host = json!({ "HostIp": port.address(), "HostPort": port.host_port.to_string() });
        if let Value::Array(hosts) = bindings.entry(name).or_insert_with(|| json!([])) {
            hosts.push(host);
        }
    }
    bindings.into()
}

fn pod_state(pod: &PodEntry) -> Value {
    let status = pod.status.as_ref();
    let first = status.and_then(|status| status.apps.first());
    let mut state = app_state(first);
    let running = pod.state.is_live();
    let exit_code = match running {
        true => 0,
        false => status.and_then(|status| status.exit_status).unwrap_or(0),
    };
    merge(
        &mut state,
        json!({
            "Status": self::state(pod),
            "Paused": is_paused(pod),
            "Running": running,
            "ExitCode": exit_code,
            "Pid": status.filter(|_| running).and_then(|status| status.supervisor).map_or(0, |process| process.pid),
            "StartedAt": time(status.map_or(0, |status| status.started_ms)),
            "FinishedAt": time(status.and_then(|status| status.ended_ms).unwrap_or(0)),
            "Error": status.and_then(|status| status.reason.clone()).unwrap_or_default(),
        }),
    );
    state
}

fn app_state(status: Option<&AppStatus>) -> Value {
    let running = status.is_some_and(|status| status.state == AppState::Running);
    let mut state = json!({
        "Status": status.map_or("created", |status| match status.state {
            AppState::Waiting => "created",
            AppState::Failed => "exited",
            AppState::Running if status.paused => "paused",
            state => state.as_str(),
        }),
        "Running": running,
        "Paused": status.is_some_and(|status| status.paused),
        "Restarting": status.is_some_and(|status| status.state == AppState::Restarting),
        "OOMKilled": false,
        "Dead": false,
        "ExitCode": status.and_then(|status| status.exit_status).unwrap_or(0),
        "StartedAt": time(status.and_then(|status| status.started_ms).unwrap_or(0)),
        "FinishedAt": time(status.and_then(|status| status.ended_ms).unwrap_or(0)),
    });
    if let Some(health) = status.and_then(|status| status.health) {
        merge(&mut state, json!({ "Health": { "Status": health.as_str() } }));
    }
    state
}

/// docker's word for a pod's state.
fn state(pod: &PodEntry) -> &'static str {
    match pod.state {
        _ if is_paused(pod) => "paused",
        PodState::Preparing | PodState::Prepared | PodState::Starting => "created",
        PodState::Running | PodState::Stopping => "running",
        PodState::Exited => "exited",
        PodState::Garbage => "removing",
    }
}

fn status_words(pod: &PodEntry, now_ms: u64) -> String {
    let status = pod.status.as_ref();
    match (pod.state, status) {
        (PodState::Exited, Some(status)) => {
            let ended = status.ended_ms.unwrap_or(status.started_ms);
            format!(
                "Exited ({}) {}",
                status.exit_status.unwrap_or(125),
                ago(ended, now_ms)
            )
        }
        (PodState::Exited, None) => "Exited (125)".into(),
        (PodState::Running | PodState::Stopping, Some(status)) => {
            let up = format!("Up {}", human(passed(status.started_ms, now_ms)));
            let found: Vec<HealthState> = status.apps.iter().filter_map(|app| app.health).collect();
            let worst = [
                HealthState::Unhealthy,
                HealthState::Starting,
                HealthState::Healthy,
            ];
            match worst.into_iter().find(|health| found.contains(health)) {
                _ if is_paused(pod) => format!("{up} (Paused)"),
                Some(HealthState::Starting) => format!("{up} (health: starting)"),
                Some(health) => format!("{up} ({})", health.as_str()),
                None => up,
            }
        }
        _ => "Created".into(),
    }
}

fn network_mode(spec: &PodSpec) -> String {
    match &spec.network {
        Network::None => "none".into(),
        Network::User { .. } => "bridge".into(),
        Network::Namespace { .. } => "ns".into(),
        Network::Named { joins, .. } => {
            let names: Vec<&str> = joins.iter().map(|join| join.network.as_str()).collect();
            names.join(",")
        }
    }
}

/// What the pod has of networks with names.
fn joined(record: Option<&PodRecord>) -> &[JoinedNetwork] {
    let networks = record.and_then(|record| record.networks.as_ref());
    networks.map_or(&[], |networks| &networks.joined)
}

/// docker's settings of each network with a name.
fn networks(joined: &[JoinedNetwork]) -> Value {
    let of = |joined: &JoinedNetwork| {
        let is = |ipv4: bool| {
            joined
                .addresses
                .iter()
                .position(|address| address.is_ipv4() == ipv4)
        };
        let address = |at: Option<usize>| at.map(|at| joined.addresses[at].to_string()).unwrap_or_default();
        let subnet = |at: Option<usize>| at.and_then(|at| joined.network.subnets.get(at));
        let gateway = |at| {
            subnet(at)
                .map(|subnet| subnet.gateway.to_string())
                .unwrap_or_default()
        };
        let prefix_len = |at| subnet(at).map_or(0, |subnet| subnet.subnet.prefix_len());
        let (four, six) = (is(true), is(false));
        json!({
            "NetworkID": joined.network.id,
            "Aliases": joined.names,
            "DNSNames": joined.names,
            "MacAddress": joined.mac,
            "IPAddress": address(four),
            "IPPrefixLen": prefix_len(four),
            "Gateway": gateway(four),
            "GlobalIPv6Address": address(six),
            "GlobalIPv6PrefixLen": prefix_len(six),
            "IPv6Gateway": gateway(six),
        })
    };
    let named = joined
        .iter()
        .map(|joined| (joined.network.name.to_string(), of(joined)));
    Value::Object(named.collect())
}

/// The image as it was asked for; its ID where that was not kept.
fn image_name(app: &AppRecord, spec: Option<&PodSpec>) -> String {
    let asked = spec.and_then(|spec| spec.apps.iter().find(|asked| asked.name == app.name));
    let of_record = || match app.root.directory() {
        Some(directory) => directory.display().to_string(),
        None => app.root.image_id().unwrap_or_default().to_owned(),
    };
    asked.map_or_else(of_record, name_of)
}

fn name_of(app: &App) -> String {
    let shown = |reference: &ImageReference| reference.to_string();
    match &app.root {
        AppRoot::Image(ImageSource::Reference(reference) | ImageSource::Locked { reference, .. }) => {
            shown(reference)
        }
        AppRoot::Image(ImageSource::Stored { id, name }) => {
            name.clone().or_else(|| id.clone()).unwrap_or_default()
        }
        AppRoot::Directory(directory) => directory.path.display().to_string(),
    }
}

/// `0.0.0.0:8080->80/tcp`.
fn published(port: &PortForward) -> String {
    let host = std::net::SocketAddr::new(port.address(), port.host_port);
    format!("{host}->{}/{}", port.pod_port, port.protocol)
}

fn at(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

/// A time as docker's documents have it; year 1 is Go's for none.
fn time(ms: u64) -> String {
    match ms {
        0 => "0001-01-01T00:00:00Z".into(),
        ms => stamp(at(ms)),
    }
}

/// `2026-11-23 20:08:36 +0000 UTC`.
fn created_at(ms: u64) -> String {
    let stamp = stamp(at(ms));
    let (date, rest) = stamp.split_once('T').unwrap_or((&stamp, ""));
    let (clock, _) = rest.split_once('.').unwrap_or((rest, ""));
    format!("{date} {clock} +0000 UTC")
}

fn passed(from_ms: u64, now_ms: u64) -> Duration {
    // A clock that went back makes everything new.
    Duration::from_millis(now_ms.saturating_sub(from_ms))
}

fn ago(from_ms: u64, now_ms: u64) -> String {
    format!("{} ago", human(passed(from_ms, now_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_ports_are_as_docker_writes_them() {
        assert_eq!(created_at(1_700_000_000_123), "2023-11-14 22:13:20 +0000 UTC");
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123000000Z");
        assert_eq!(time(0), "0001-01-01T00:00:00Z");
        assert_eq!(ago(2_000, 1_000), "Less than a second ago");
        let ports = isopod_spec::flags::read_publish("127.0.0.1:8080-8081:80-81".as_ref()).unwrap();
        let shown: Vec<String> = ports.iter().map(published).collect();
        assert_eq!(shown, ["127.0.0.1:8080->80/tcp", "127.0.0.1:8081->81/tcp"]);
        let expected = json!({
            "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8080" }],
            "81/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8081" }],
        });
        assert_eq!(bindings(&ports), expected);
    }
}
