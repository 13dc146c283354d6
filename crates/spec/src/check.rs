//! The rules between the parts of a pod that need no look at the world: unique names, mounts of volumes that exist,
//! one mount per target.
//!
//! Each reader applies them and says where in its own input the fault is. Targets are compared as they are written,
//! made clean lexically; what an image's symlinks make of them is the planner's to find out.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use crate::probe::rules;
use crate::words::{nearest, shown};
use crate::{
    App, AppName, DependencyCondition, Handler, Network, PodSpec, PortForward, PortProtocol, ProbeKind,
    RestartPolicy, VolumeName,
};

/// A rule that a pod breaks. The indices are those of [`PodSpec`]'s lists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PodFault {
    /// Two apps have one name.
    #[error("two apps are named `{name}`")]
    DuplicateApp {
        name: AppName,
        /// The second app that has it.
        app_index: usize,
    },
    /// Two volumes have one name.
    #[error("two volumes are named `{name}`")]
    DuplicateVolume {
        name: VolumeName,
        /// The second volume that has it.
        volume_index: usize,
    },
    /// A mount names a volume that the pod does not have.
    #[error(
        "app `{app}` mounts volume `{volume}` at `{}`, but the pod has no volume of that name",
        shown(target)
    )]
    UnknownVolume {
        app: AppName,
        /// The target, as it was written.
        target: PathBuf,
        /// The volume that is missing.
        volume: VolumeName,
        /// The volume that was perhaps meant.
        nearest: Option<VolumeName>,
        app_index: usize,
        /// Which of its mounts.
        mount_index: usize,
    },
    /// Two mounts of an app are at one target.
    #[error(
        "app `{app}` mounts both volume `{first}` and volume `{second}` at `{}`",
        shown(target)
    )]
    DoubledTarget {
        app: AppName,
        /// The target, clean.
        target: PathBuf,
        /// The volume of the first mount.
        first: VolumeName,
        /// The volume of the second mount.
        second: VolumeName,
        app_index: usize,
        /// The second mount.
        mount_index: usize,
    },
    /// Two ports of the pod's want one of the host.
    #[error("ports `{first}` and `{second}` are the same host port")]
    DoubledPort {
        /// The port declared first.
        first: PortForward,
        second: PortForward,
        /// Which the second is.
        port_index: usize,
    },
    /// More ports than QEMU's command line takes.
    #[error("the pod publishes more than {MAX_PORTS} ports")]
    TooManyPorts,
    /// An app depends on one that the pod does not have.
    #[error("app `{app}` depends on app `{dependency}`, but the pod has no app of that name")]
    UnknownDependency {
        app: AppName,
        /// The app that is missing.
        dependency: AppName,
        /// The app that was perhaps meant.
        nearest: Option<AppName>,
        app_index: usize,
    },
    /// Apps wait for each other.
    #[error("app {} depends on itself", in_a_circle(.apps))]
    DependencyCycle {
        /// The apps, each of which depends on the next, and the last on the first.
        apps: Vec<AppName>,
        /// Which is the first of them.
        app_index: usize,
    },
    /// An app waits for the success of one that never ends.
    #[error("app `{app}` waits for the success of app `{dependency}`, which is always restarted")]
    EndlessDependency {
        app: AppName,
        /// The app that never ends.
        dependency: AppName,
        app_index: usize,
    },
    /// A probe that cannot be run as it is.
    #[error("the {} probe of app `{app}` cannot be run: {reason}", .kind.as_str())]
    Probe {
        app: AppName,
        kind: ProbeKind,
        /// What is wrong with it.
        reason: &'static str,
        app_index: usize,
    },
    /// A handler that cannot be run as it is.
    #[error("the {handler} handler of app `{app}` cannot be run: {reason}")]
    Handler {
        app: AppName,
        /// Which handler, as its origin names it (`preStop`).
        handler: &'static str,
        /// What is wrong with it.
        reason: &'static str,
        app_index: usize,
    },
}

/// Apps that depend on each other: "`a`, by way of `b`,".
fn in_a_circle(apps: &[AppName]) -> String {
    let name = |app: &AppName| format!("`{app}`");
    match apps {
        [] => String::new(),
        [app] => name(app),
        [app, others @ ..] => {
            let others: Vec<String> = others.iter().map(name).collect();
            format!("{}, by way of {},", name(app), others.join(" and "))
        }
    }
}

/// The most ports that a pod may publish: they are one argument of QEMU, of which Linux takes 128 KiB.
pub const MAX_PORTS: usize = 1024;

impl PodFault {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownVolume {
                nearest: Some(name), ..
            } => Some(format!("did you mean `{name}`?")),
            Self::UnknownDependency {
                nearest: Some(name), ..
            } => Some(format!("did you mean `{name}`?")),
            Self::DependencyCycle { .. } => Some("leave one of the dependencies out".to_owned()),
            Self::EndlessDependency { .. } => {
                Some("let it depend on its start, or restart that app on failure only".to_owned())
            }
            Self::DuplicateApp { .. } => {
                Some("name one of them differently: `--app-name NAME`, or `name` in a file".to_owned())
            }
            Self::DuplicateVolume { .. } => Some("name one of them differently".to_owned()),
            Self::DoubledTarget { .. } => {
                Some("mount one of them at another path, or leave it out".to_owned())
            }
            Self::DoubledPort { .. } => Some("give one of them another port of the host".to_owned()),
            Self::TooManyPorts => Some("publish fewer".to_owned()),
            _ => None,
        }
    }
}

/// Applies the rules to `pod` and reports every fault, in the order of declaration.
#[must_use]
pub fn check(pod: &PodSpec) -> Vec<PodFault> {
    let mut faults = names(pod);
    for (app_index, app) in pod.apps.iter().enumerate() {
        check_mounts(pod, app_index, app, &mut faults);
        check_probes(app_index, app, &mut faults);
    }
    check_dependencies(pod, &mut faults);
    check_ports(&pod.network, &mut faults);
    faults
}

/// The rules for names alone: no two volumes and no two apps have one.
#[must_use]
pub fn names(pod: &PodSpec) -> Vec<PodFault> {
    let mut faults = Vec::new();
    let mut seen = HashSet::new();
    for (volume_index, volume) in pod.volumes.iter().enumerate() {
        if !seen.insert(&volume.name) {
            faults.push(PodFault::DuplicateVolume {
                name: volume.name.clone(),
                volume_index,
            });
        }
    }
    let mut names = HashSet::new();
    for (app_index, app) in pod.apps.iter().enumerate() {
        if !names.insert(&app.name) {
            faults.push(PodFault::DuplicateApp {
                name: app.name.clone(),
                app_index,
            });
        }
    }
    faults
}

fn check_probes(app_index: usize, app: &App, faults: &mut Vec<PodFault>) {
    faults.extend(app.probes.iter().filter_map(|(kind, probe)| {
        let reason = rules::probe(kind, probe).err()?;
        let app = app.name.clone();
        Some(PodFault::Probe {
            app,
            kind,
            reason,
            app_index,
        })
    }));
    let events = app.run_config.as_ref().map(|config| &config.event_handlers);
    let program = |argv: &Option<Vec<String>>| argv.as_deref().map_or(Ok(()), rules::command);
    let hook = |hook: &Option<Handler>| hook.as_ref().map_or(Ok(()), rules::handler);
    let handlers = [
        (
            "pre-start",
            events.map_or(Ok(()), |events| program(&events.pre_start)),
        ),
        (
            "post-stop",
            events.map_or(Ok(()), |events| program(&events.post_stop)),
        ),
        ("postStart", hook(&app.lifecycle.post_start)),
        ("preStop", hook(&app.lifecycle.pre_stop)),
    ];
    faults.extend(handlers.into_iter().filter_map(|(handler, checked)| {
        Some(PodFault::Handler {
            app: app.name.clone(),
            handler,
            reason: checked.err()?,
            app_index,
        })
    }));
}

fn check_ports(network: &Network, faults: &mut Vec<PodFault>) {
    let ports = network.ports();
    if ports.len() > MAX_PORTS {
        faults.push(PodFault::TooManyPorts);
        return;
    }
    let mut seen: HashMap<(PortProtocol, u16), Vec<&PortForward>> = HashMap::new();
    for (port_index, second) in ports.iter().enumerate() {
        let others = seen.entry((second.protocol, second.host_port)).or_default();
        if let Some(first) = others.iter().find(|other| other.overlaps(second)) {
            faults.push(PodFault::DoubledPort {
                first: (*first).clone(),
                second: second.clone(),
                port_index,
            });
        }
        others.push(second);
    }
}

fn check_dependencies(pod: &PodSpec, faults: &mut Vec<PodFault>) {
    for (app_index, app) in pod.apps.iter().enumerate() {
        for dependency in &app.depends_on {
            let name = &dependency.app;
            let known = pod.apps.iter().find(|other| other.name == *name);
            let Some(other) = known else {
                let names = pod.apps.iter().map(|app| app.name.as_str());
                faults.push(PodFault::UnknownDependency {
                    app: app.name.clone(),
                    dependency: name.clone(),
                    nearest: nearest(name.as_str(), names).and_then(|name| AppName::new(name).ok()),
                    app_index,
                });
                continue;
            };
            let succeeds = dependency.condition == DependencyCondition::Succeeded;
            if succeeds && other.restart == RestartPolicy::Always {
                faults.push(PodFault::EndlessDependency {
                    app: app.name.clone(),
                    dependency: name.clone(),
                    app_index,
                });
            }
        }
    }
    faults.extend(cycle(pod).map(|circle| PodFault::DependencyCycle {
        apps: circle.iter().map(|&app| pod.apps[app].name.clone()).collect(),
        app_index: circle[0],
    }));
}

/// Apps that depend on each other in a circle, if there are any: each on the next, the last on the first.
fn cycle(pod: &PodSpec) -> Option<Vec<usize>> {
    let needs = |index: usize| {
        let names = pod.apps[index]
            .depends_on
            .iter()
            .map(|dependency| &dependency.app);
        names.filter_map(|name| pod.apps.iter().position(|app| app.name == *name))
    };
    // What has no dependency left is taken away, again and again: what stays is in a circle or leads to one.
    let mut left: HashSet<usize> = (0..pod.apps.len()).collect();
    loop {
        let stuck: HashSet<usize> = left
            .iter()
            .copied()
            .filter(|&app| needs(app).any(|other| left.contains(&other)))
            .collect();
        if stuck.len() == left.len() {
            break;
        }
        left = stuck;
    }
    let mut path = vec![*left.iter().min()?];
    loop {
        let last = *path.last()?;
        let next = needs(last).find(|other| left.contains(other))?;
        if let Some(start) = path.iter().position(|&app| app == next) {
            return Some(path.split_off(start));
        }
        path.push(next);
    }
}

fn check_mounts(pod: &PodSpec, app_index: usize, app: &App, faults: &mut Vec<PodFault>) {
    let mut targets = HashMap::new();
    for (mount_index, mount) in app.mounts.iter().enumerate() {
        if !pod.volumes.iter().any(|volume| volume.name == mount.volume) {
            let names = pod.volumes.iter().map(|volume| volume.name.as_str());
            faults.push(PodFault::UnknownVolume {
                app: app.name.clone(),
                target: mount.target.clone(),
                volume: mount.volume.clone(),
                nearest: nearest(mount.volume.as_str(), names).and_then(VolumeName::nearest),
                app_index,
                mount_index,
            });
        }
        let target = clean(&mount.target);
        if let Some(first) = targets.insert(target.clone(), &mount.volume) {
            faults.push(PodFault::DoubledTarget {
                app: app.name.clone(),
                target,
                first: first.clone(),
                second: mount.volume.clone(),
                app_index,
                mount_index,
            });
        }
    }
}

/// Cleans `path` as seen from a root: absolute, no `.`, no `..`, no duplicate or trailing slash; `..` at the root stays
/// there, as in a chroot. Links are not looked at, as in Go's `path.Clean`, which docker and rkt apply to targets.
#[must_use]
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => _ = out.pop(),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod of apps with these names, each with the names of those that it depends on.
    fn pod(apps: &[(&str, &[&str])]) -> PodSpec {
        let name = |name: &str| AppName::new(name).unwrap();
        let app = |(app, needs): &(&str, &[&str])| App {
            depends_on: needs
                .iter()
                .map(|other| crate::Dependency {
                    app: name(other),
                    condition: DependencyCondition::Succeeded,
                })
                .collect(),
            ..App::new(name(app), crate::ImageSource::Stored { id: None, name: None })
        };
        PodSpec::new(apps.iter().map(app).collect())
    }

    fn faults(pod: &PodSpec) -> Vec<String> {
        let with_hint = |fault: &PodFault| format!("{fault}; {}", fault.hint().unwrap_or_default());
        check(pod).iter().map(with_hint).collect()
    }

    #[test]
    fn dependencies_exist_end_and_do_not_run_in_circles() {
        assert!(faults(&pod(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])).is_empty());
        assert_eq!(
            faults(&pod(&[("web", &["dbb"]), ("db", &[])])),
            ["app `web` depends on app `dbb`, but the pod has no app of that name; did you mean `db`?"]
        );
        assert_eq!(
            faults(&pod(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])),
            ["app `b`, by way of `c`, depends on itself; leave one of the dependencies out"]
        );
        assert_eq!(
            faults(&pod(&[("a", &["a"])])),
            ["app `a` depends on itself; leave one of the dependencies out"]
        );
        let mut endless = pod(&[("a", &["b"]), ("b", &[])]);
        endless.apps[1].restart = RestartPolicy::Always;
        assert_eq!(faults(&endless).len(), 1);
        endless.apps[0].depends_on[0].condition = DependencyCondition::Started;
        assert!(faults(&endless).is_empty());
    }

    #[test]
    fn no_two_ports_are_one_of_the_hosts() {
        let doubled = |flags: &[&str]| {
            let read = |flag: &&str| crate::flags::read_publish(flag.as_ref()).unwrap();
            let network = Network::user(flags.iter().flat_map(read).collect());
            let mut faults = Vec::new();
            check_ports(&network, &mut faults);
            faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(doubled(&["80:1", "81:1", "80:1/udp"]).is_empty());
        assert!(doubled(&["127.0.0.1:80:1", "127.0.0.2:80:1", "[::]:80:1"]).is_empty());
        assert_eq!(
            doubled(&["127.0.0.1:80:1", "80:2"]),
            ["ports `127.0.0.1:80:1/tcp` and `80:2/tcp` are the same host port"]
        );
        assert_eq!(
            doubled(&["1-1025:1-1025"]),
            ["the pod publishes more than 1024 ports"]
        );
    }

    #[test]
    fn cleans_lexically() {
        for (path, expected) in [
            ("/", "/"),
            ("//a/./b/../c/", "/a/c"),
            ("/../a", "/a"),
            ("a/b", "/a/b"),
            ("/a//b/", "/a/b"),
            ("/a /b", "/a /b"),
        ] {
            assert_eq!(clean(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
