//! A plan as text, for people: for every app what it runs and what is mounted where, and what was noticed.

use std::fmt::Write as _;

use crate::document::{App, AppMount, Document, MountOrigin, ReadOnly, Text, Volume, VolumeType};

/// The text of a plan.
#[must_use]
pub fn explain(plan: &Document) -> String {
    let mut out = String::new();
    let machine = &plan.hypervisor;
    let _ = writeln!(
        out,
        "machine  {}, {} MiB, {} CPU, {} of {} PCI devices",
        machine.kind, machine.memory_mib, machine.cpus, machine.devices_used, machine.devices_available
    );
    for app in &plan.apps {
        explain_app(&mut out, app, plan);
    }
    let first_of_apps = |unit: &str| {
        plan.apps
            .iter()
            .any(|app| app.mounts.iter().any(|m| m.unit == unit))
    };
    let own: Vec<_> = plan
        .mounts
        .iter()
        .filter(|mount| !first_of_apps(&mount.unit))
        .collect();
    let early = plan.early_mounts.iter().map(|m| {
        [
            m.place.shown(),
            m.fs_type.clone(),
            m.what.shown(),
            "before systemd".into(),
        ]
    });
    let own = own
        .iter()
        .map(|m| [m.place.shown(), m.fs_type.clone(), m.what.shown(), m.unit.clone()]);
    let rows: Vec<[String; 4]> = early.chain(own).collect();
    if !rows.is_empty() {
        out.push_str("\nmounted before them\n");
    }
    table(&mut out, &rows);
    for notice in &plan.notices {
        let _ = writeln!(out, "\nnote: {notice}");
    }
    out
}

fn explain_app(out: &mut String, app: &App, plan: &Document) {
    let _ = writeln!(out, "\napp {}  ({})", app.name, app.unit);
    if let Some(image) = &app.image {
        let rootfs = if app.readonly_rootfs {
            ", its root filesystem read-only"
        } else {
            ""
        };
        let _ = writeln!(out, "  image  {image}{rootfs}");
    }
    if let Some(process) = &app.process {
        let words: Vec<String> = process.argv.iter().map(|arg| quoted(arg)).collect();
        let _ = writeln!(out, "  runs   {}", words.join(" "));
        let (uid, gid, dir) = (process.uid, process.gid, process.working_dir.shown());
        let _ = writeln!(out, "  as     user {uid}, group {gid}, in {dir}");
    }
    if app.mounts.is_empty() {
        out.push_str("  no volumes\n");
        return;
    }
    out.push_str("  volumes, in the order of mounting\n");
    let rows: Vec<[String; 4]> = app
        .mounts
        .iter()
        .map(|mount| {
            let volume = plan.volumes.iter().find(|volume| volume.name == mount.volume);
            [
                target(mount),
                from(mount, volume),
                access(mount.read_only).to_owned(),
                mount.unit.clone(),
            ]
        })
        .collect();
    table(out, &rows);
}

fn target(mount: &AppMount) -> String {
    let target = mount.target.shown();
    if mount.place == mount.target {
        target
    } else {
        format!("{target} (= {})", mount.place.shown())
    }
}

fn from(mount: &AppMount, volume: Option<&Volume>) -> String {
    let mut text = mount.volume.clone();
    if let Some(path) = &mount.sub_path {
        let _ = write!(text, "/{}", path.shown());
    }
    let Some(volume) = volume else { return text };
    let source = volume.source.as_ref().map(Text::shown).unwrap_or_default();
    let transport = volume.transport.as_deref().unwrap_or("not shared");
    let _ = match (volume.kind, volume.size_bytes) {
        (VolumeType::HostDirectory, _) => write!(text, ": {source} over {transport}"),
        (VolumeType::HostFile, _) => write!(text, ": file {source} over {transport}"),
        (VolumeType::Empty, Some(size)) => write!(text, ": empty, at most {size} bytes"),
        (VolumeType::Empty, None) => write!(text, ": empty"),
    };
    if mount.origin == MountOrigin::Implicit {
        text.push_str(", its image's wish");
    }
    text
}

fn access(read_only: ReadOnly) -> &'static str {
    match read_only {
        ReadOnly::No => "writable",
        ReadOnly::Host => "read-only, by the host",
        ReadOnly::Guest => "read-only, by the guest alone",
    }
}

/// A word as a shell would want it, so that blanks can be seen.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/-_.:=+@,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("{word:?}")
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
