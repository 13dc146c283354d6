//! A plan as text, for people: for every app what it runs and what is mounted where, and what was noticed.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use crate::output::document::{
    App, AppMount, Document, Interface, Mount, MountOrigin, Network, Port, ReadOnly, TextOrHex, Volume,
    VolumeMedium, VolumeType,
};
use crate::quoted::{command, quoted};

/// The text of a plan.
#[must_use]
pub fn explain(plan: &Document) -> String {
    let mut out = String::new();
    let vm = &plan.hypervisor;
    let _ = writeln!(
        out,
        "VM       {}, {} MiB, {} CPU, {} of {} PCI devices",
        vm.kind, vm.memory_mib, vm.cpus, vm.devices_used, vm.devices_available
    );
    if let Some(start) = &vm.start {
        let _ = writeln!(out, "start    {}: {}", start.kind, start.reason);
    }
    if !plan.limits.is_empty() {
        let _ = writeln!(out, "         all apps together: {}", plan.limits.join(", "));
    }
    if plan.stops_on_app_failure {
        out.push_str("         stops when an app has failed\n");
    }
    if let Some(bytes) = plan.writable_bytes {
        let _ = writeln!(out, "disk     {} for what the apps write", size(bytes));
    }
    explain_network(&mut out, plan);
    let index = Index::of(plan);
    for app in &plan.apps {
        explain_app(&mut out, app, &index);
    }
    explain_common(&mut out, plan);
    if !plan.notices.is_empty() {
        out.push('\n');
    }
    for notice in &plan.notices {
        let _ = writeln!(out, "note: {notice}");
    }
    out
}

fn explain_network(out: &mut String, plan: &Document) {
    let name = plan.hostname.as_deref().unwrap_or_default();
    match &plan.network {
        None => {}
        Some(Network::None) => {
            let _ = writeln!(out, "network  none but the loopback interface, host name {name}");
        }
        Some(Network::Namespace { path, interfaces, .. }) => {
            let _ = writeln!(
                out,
                "network  of the namespace {}, host name {name}",
                quoted(path)
            );
            for Interface { name, addresses, .. } in interfaces {
                let _ = writeln!(out, "address  {} at {}", addresses.join(", "), name);
            }
        }
        Some(Network::Networks {
            networks,
            interfaces,
            ports,
            ..
        }) => {
            let names: Vec<&str> = networks.iter().map(|network| &*network.name).collect();
            let _ = writeln!(out, "network  {}, host name {name}", names.join(", "));
            for (interface, network) in interfaces.iter().zip(networks) {
                let kind = if network.internal {
                    ", which is internal"
                } else {
                    ""
                };
                let (addresses, network) = (interface.addresses.join(", "), &network.name);
                let _ = writeln!(
                    out,
                    "address  {addresses} at {} in {network}{kind}",
                    interface.name
                );
            }
            explain_ports(out, ports);
        }
        Some(Network::User {
            router,
            host_loopback,
            interfaces,
            ports,
            ..
        }) => {
            let mut addresses = interfaces.iter().flat_map(|interface| &interface.addresses);
            let first = addresses.next().map(String::as_str).unwrap_or_default();
            let _ = writeln!(out, "network  user, by {router}, {first}, host name {name}");
            for address in addresses {
                let _ = writeln!(out, "address  {address}");
            }
            if *host_loopback {
                let _ = writeln!(out, "router   also the host's own loopback interface");
            }
            explain_ports(out, ports);
        }
    }
}

fn explain_ports(out: &mut String, ports: &[Port]) {
    for port in ports {
        let (ip, host, pod, protocol) = (&port.host_ip, port.host_port, port.pod_port, &port.protocol);
        let _ = writeln!(out, "port     {ip}:{host} of the host leads to {pod}/{protocol}");
    }
}

/// The parts of a plan by their names.
pub(crate) struct Index<'a> {
    volumes: HashMap<&'a str, &'a Volume>,
    mounts: HashMap<&'a str, &'a Mount>,
}

impl<'a> Index<'a> {
    pub(crate) fn of(plan: &'a Document) -> Self {
        Self {
            volumes: plan
                .volumes
                .iter()
                .map(|volume| (volume.name.as_str(), volume))
                .collect(),
            mounts: plan
                .mounts
                .iter()
                .map(|mount| (mount.unit.as_str(), mount))
                .collect(),
        }
    }

    /// Who may write, and what else the mount restricts.
    pub(crate) fn access(&self, mount: &AppMount) -> String {
        let mut access = match mount.read_only {
            ReadOnly::No => "writable".to_owned(),
            ReadOnly::Host => "read-only, by the host".to_owned(),
            ReadOnly::Guest => "read-only, in the guest only".to_owned(),
        };
        let options = self
            .mounts
            .get(mount.unit.as_str())
            .map(|unit| unit.options.as_slice());
        for option in options.unwrap_or_default() {
            if ["nosuid", "nodev", "noexec"].contains(&option.as_str()) {
                let _ = write!(access, ", {option}");
            }
        }
        let volume = self.volumes.get(mount.volume.as_str());
        if let Some([uid, gid]) = volume.and_then(|volume| volume.given_to) {
            let _ = write!(access, ", given to user {uid}, group {gid}");
        }
        access
    }
}

fn explain_app(out: &mut String, app: &App, index: &Index<'_>) {
    let _ = writeln!(out, "\napp {}  ({})", app.name, app.unit);
    if let Some(image) = &app.image {
        let rootfs = if app.readonly_rootfs {
            ", its root filesystem read-only"
        } else {
            ""
        };
        let _ = writeln!(out, "  image  {image}{rootfs}");
    }
    if let Some(root) = &app.root_directory {
        let written = match (root.written, app.readonly_rootfs) {
            (true, _) => ", which takes what the app writes",
            (false, true) => ", read-only",
            (false, false) => ", below a layer that takes what the app writes",
        };
        let _ = writeln!(out, "  root   {}{written}", path(&root.source));
    }
    if let Some(process) = &app.process {
        let _ = writeln!(out, "  runs   {}", command(&process.argv));
        let (uid, gid, dir) = (process.uid, process.gid, path(&process.working_dir));
        let terminal = if process.tty { ", with a terminal" } else { "" };
        let _ = writeln!(out, "  as     user {uid}, group {gid}, in {dir}{terminal}");
        if !process.limits.is_empty() {
            let limits: Vec<String> = process.limits.iter().map(|limit| shortened(limit)).collect();
            let _ = writeln!(out, "  within {}", limits.join(", "));
        }
    }
    if !app.depends_on.is_empty() {
        let _ = writeln!(out, "  after  {}", app.depends_on.join(", "));
    }
    if app.notifies {
        out.push_str("  ready  when it reports it\n");
    }
    if let Some(restart) = &app.restart {
        let _ = writeln!(out, "  policy restart {restart}");
    }
    for check in &app.health {
        let _ = writeln!(out, "  {}  {}", check.name, check.does);
    }
    if app.mounts.is_empty() {
        out.push_str("  no volumes\n");
        return;
    }
    out.push_str("  volumes, in the order of mounting\n");
    let row = |mount: &AppMount| {
        let volume = index.volumes.get(mount.volume.as_str()).copied();
        [
            target(mount),
            from(mount, volume),
            index.access(mount),
            mount.unit.clone(),
        ]
    };
    let rows: Vec<[String; 4]> = app.mounts.iter().map(row).collect();
    table(out, &rows);
}

/// A setting, of a long list its beginning: a filter may name hundreds of system calls.
fn shortened(setting: &str) -> String {
    const WORDS: usize = 4;
    match setting.match_indices(' ').nth(WORDS - 1) {
        Some((end, _)) => format!(
            "{} and {} more",
            &setting[..end],
            setting[end..].matches(' ').count()
        ),
        None => setting.to_owned(),
    }
}

/// The mounts that are no app's volume.
fn explain_common(out: &mut String, plan: &Document) {
    let of_apps: HashSet<&str> = plan
        .apps
        .iter()
        .flat_map(|app| &app.mounts)
        .map(|mount| mount.unit.as_str())
        .collect();
    let early = plan.early_mounts.iter().map(|m| {
        [
            path(&m.place),
            m.fs_type.clone(),
            path(&m.what),
            "by the agent".into(),
        ]
    });
    let own = plan
        .mounts
        .iter()
        .filter(|mount| !of_apps.contains(mount.unit.as_str()))
        .map(|m| [path(&m.place), m.fs_type.clone(), path(&m.what), m.unit.clone()]);
    let rows: Vec<[String; 4]> = early.chain(own).collect();
    if !rows.is_empty() {
        out.push_str("\nmounted before them\n");
    }
    table(out, &rows);
}

fn target(mount: &AppMount) -> String {
    if mount.place == mount.target {
        path(&mount.target)
    } else {
        format!("{} (= {})", path(&mount.target), path(&mount.place))
    }
}

fn from(mount: &AppMount, volume: Option<&Volume>) -> String {
    let mut text = mount.volume.clone();
    if let Some(sub_path) = &mount.sub_path {
        let _ = write!(text, ", in it {}", path(sub_path));
    }
    let Some(volume) = volume else { return text };
    let _ = write!(text, ": {}", contents(volume));
    if let Some(transport) = &volume.transport {
        let _ = write!(text, " over {transport}");
    }
    if mount.origin == MountOrigin::Implicit {
        text.push_str(", declared by the image");
    }
    text
}

/// What a volume is.
pub(crate) fn contents(volume: &Volume) -> String {
    let source = volume.source.as_ref().map(path).unwrap_or_default();
    let medium = if volume.medium == Some(VolumeMedium::Disk) {
        "empty, on disk"
    } else {
        "empty"
    };
    match (volume.kind, volume.size_bytes) {
        (VolumeType::HostDirectory, _) => source,
        (VolumeType::HostFile, _) => format!("file {source}"),
        (VolumeType::Empty, Some(bytes)) => format!("{medium}, at most {}", size(bytes)),
        (VolumeType::Empty, None) => medium.to_owned(),
        (VolumeType::Files, _) => "files of the pod".to_owned(),
        (VolumeType::Image, _) => match &volume.image {
            Some(id) => format!("image {id}"),
            None => "an image".to_owned(),
        },
    }
}

/// A size in the largest unit that leaves a whole number.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = |(shift, _): &(u32, &str)| bytes > 0 && bytes.trailing_zeros() >= *shift;
    match units.into_iter().find(whole) {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

/// A path, in quotes where it could be misread.
pub(crate) fn path(path: &TextOrHex) -> String {
    match path {
        TextOrHex::String(text) => quoted(text),
        TextOrHex::Bytes { .. } => format!("b\"{}\"", path.shown()),
    }
}

/// Rows in columns, indented; a long cell pushes only its own row.
fn table(out: &mut String, rows: &[[String; 4]]) {
    const MOST: usize = 48;
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .filter(|width| *width <= MOST)
            .max()
            .unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2)];
    for row in rows {
        out.push_str("   ");
        for (cell, width) in row.iter().zip(widths.iter().chain([&0])) {
            let _ = write!(out, " {cell:<width$} ");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
}
