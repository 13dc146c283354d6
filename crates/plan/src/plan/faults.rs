//! What stands against apps as they were decided.

use std::path::Path;

use isopod_spec::{App, Dependency, DependencyCondition, Device, PodSpec, Readiness, VolumeKind};

use crate::apps::last_words;
use crate::decide::Decided;
use crate::facts::{Facts, GuestFacts};
use crate::fault::Fault;
use crate::layout;
use crate::path::Lookup;
use crate::volumes::{VolumeMount, VolumeTable};

/// What the guest's kernel does not have.
pub(super) fn devices(spec: &PodSpec, guest: &GuestFacts) -> Vec<Fault> {
    let apps = spec.apps.iter();
    let devices = apps.flat_map(|app| app.overrides.devices.iter().map(move |device| (app, device)));
    let missing = devices.filter(|(_, device)| !guest.modules.contains(device.module()));
    let fault = |(app, device): (&App, &Device)| Fault::App {
        app: app.name.clone(),
        reason: format!(
            "the kernel {} has no `{}`: it has no module `{}`",
            guest.release,
            device.path(),
            device.module()
        ),
    };
    missing.map(fault).collect()
}

/// Nothing finds an app healthy that has neither probes nor a health check.
pub(super) fn health(spec: &PodSpec, all: &[Decided]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for app in &spec.apps {
        let healthy = |d: &&Dependency| d.condition == DependencyCondition::Healthy;
        for dependency in app.depends_on.iter().filter(healthy) {
            let mut others = spec.apps.iter().zip(all);
            let other = others.find(|(other, _)| other.name == dependency.app);
            if other.is_some_and(|(_, decided)| !decided.health.has_probes()) {
                faults.push(Fault::App {
                    app: app.name.clone(),
                    reason: format!(
                        "it waits until app `{}` is healthy, which has neither probes nor a health check",
                        dependency.app
                    ),
                });
            }
        }
    }
    faults
}

/// An app's notification socket is bound below `/run`: a host volume there would get a file for it.
pub(super) fn notify(spec: &PodSpec, all: &[Decided], table: &VolumeTable) -> Vec<Fault> {
    let apps = spec.apps.iter().zip(all);
    let notifying = apps.filter(|(app, _)| app.readiness == Readiness::Notify);
    let fault = |(app, decided): (&App, &Decided)| {
        let covers = |m: &&VolumeMount| Path::new(layout::NOTIFY_SOCKET).starts_with(&m.place);
        let mount = decided.mounts.iter().rfind(covers)?;
        let volume = table.get(&mount.volume);
        let made = match volume.map(|volume| &volume.kind) {
            Some(VolumeKind::Empty(_)) => !mount.read_only,
            Some(VolumeKind::Files(_)) => true,
            _ => false,
        };
        (!made).then(|| Fault::App {
            app: app.name.clone(),
            reason: format!(
                "`--notify` needs `{}`, and volume `{}` at `{}` hides it",
                layout::NOTIFY_SOCKET,
                mount.volume,
                mount.place.display()
            ),
        })
    };
    notifying.filter_map(fault).collect()
}

/// The file in which an app says why it ended cannot be everywhere.
pub(super) fn last_words(spec: &PodSpec, facts: &Facts) -> Vec<Fault> {
    let apps = spec.apps.iter().zip(&facts.apps);
    let fault = |(app, facts): (&App, &crate::facts::AppFacts)| {
        let image = facts.root.as_ref().map(|root| &root.tree as &dyn Lookup);
        let reason = last_words::fault(app, image)?;
        let app = app.name.clone();
        Some(Fault::App { app, reason })
    };
    apps.filter_map(fault).collect()
}
