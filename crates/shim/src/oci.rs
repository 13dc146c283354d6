//! From OCI's words to a pod's: what an engine hands over for a sandbox, a container and a command, as the types that the planner
//! takes. Pure: everything is decided by what is passed.

mod process;
mod role;
mod sizes;
pub(crate) mod spec;
mod volumes;

use std::path::{Path, PathBuf};

use isopod_spec::{
    App, AppName, AppRoot, Network, PidMode, PodSpec, RootDirectory, RootWrites, RootfsAccess, Seccomp,
    Sysctl, Vm, Volume, VolumeName,
};

pub(crate) use process::command;
pub(crate) use role::{Role, name};
pub(crate) use sizes::{update, vm};
use spec::Spec;

/// Why a container cannot run in a VM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {why}")]
pub(crate) struct Refused {
    what: String,
    why: &'static str,
}

impl Refused {
    fn new(what: impl Into<String>, why: &'static str) -> Self {
        Self {
            what: what.into(),
            why,
        }
    }
}

/// Whose network a sandbox has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NetworkOf {
    /// What is in this namespace, which is there.
    Namespace(PathBuf),
    /// A namespace that the shim makes, and the engine fills, if anybody does, before it starts the container (docker).
    Own,
}

/// Whose network the sandbox of `spec` has.
///
/// # Errors
/// [`Refused`]: the host's.
pub(crate) fn network(spec: &Spec) -> Result<NetworkOf, Refused> {
    match spec.namespace("network") {
        Some(namespace) if namespace.path.as_os_str().is_empty() => Ok(NetworkOf::Own),
        Some(namespace) => Ok(NetworkOf::Namespace(namespace.path.clone())),
        None => Err(Refused::new(
            "the host's network (`hostNetwork`)",
            "is not available in a VM: leave it out, or run the pod with another runtime",
        )),
    }
}

/// The pod in which the containers of the sandbox run, which has none yet. `network` is the namespace that its VM takes over,
/// where there is something in it.
///
/// # Errors
/// [`Refused`].
pub(crate) fn pod(spec: &Spec, network: Option<&Path>) -> Result<PodSpec, Refused> {
    let is_the_hosts = |kind| spec.namespace(kind).is_none();
    if is_the_hosts("ipc") {
        return Err(Refused::new(
            "the host's IPC namespace (`hostIPC`)",
            "is not available in a VM: leave it out, or run the pod with another runtime",
        ));
    }
    let mut pod = without_containers(sizes::vm(spec)?, network);
    pod.hostname = Some(spec.hostname.clone()).filter(|name| !name.is_empty());
    let sysctls = spec.linux.sysctl.iter();
    pod.sysctls = sysctls
        .map(|(name, value)| Sysctl {
            name: name.clone(),
            value: value.clone(),
        })
        .collect();
    pod.labels = role::labels(spec);
    Ok(pod)
}

/// The pod of a sandbox that is not known yet, in whose place it has the network of the namespace `network`.
pub(crate) fn spare(memory_mib: u32, cpus: u32, network: &Path) -> PodSpec {
    let vm = Vm {
        memory_mib,
        cpus,
        ..Vm::default()
    };
    let mut pod = without_containers(vm, Some(network));
    pod.hostname = Some("spare".to_owned());
    pod.spare = true;
    pod
}

fn without_containers(vm: Vm, network: Option<&Path>) -> PodSpec {
    let mut pod = PodSpec::new(Vec::new());
    pod.held = true;
    // What containers write goes through to their snapshots.
    pod.storage_bytes = Some(0);
    pod.vm = vm;
    pod.network = match network {
        Some(path) => Network::Namespace {
            path: path.to_owned(),
        },
        None => Network::None,
    };
    pod
}

/// What comes to a pod that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewContainer {
    pub(crate) app: App,
    pub(crate) volumes: Vec<Volume>,
    /// Those of them that are to hold what a directory of the host's does, as it changes.
    pub(crate) mirrors: Vec<Mirror>,
    /// The filter of system calls that is to be in [`Given::seccomp`].
    pub(crate) seccomp: Option<String>,
    /// Which processes it sees.
    pub(crate) processes: PidMode,
}

/// A volume of files that is to hold what a directory of the host's does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) volume: VolumeName,
    pub(crate) source: PathBuf,
}

/// What a mount's source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nothing is there.
    Missing,
    /// A file of any kind.
    File,
    Directory,
    /// One that the kubelet updates ([`crate::mirror`]), of a size that fits into the guest's memory.
    Updated,
}

/// What is known of a container beside its `config.json`.
#[derive(Clone)]
pub(crate) struct Given<'a> {
    /// What the app is called, which no other of the pod was.
    pub(crate) name: AppName,
    /// Its root filesystem, where it is on the host.
    pub(crate) rootfs: &'a Path,
    /// Whether it has a standard input.
    pub(crate) stdin: bool,
    /// Whether its streams are a terminal.
    pub(crate) terminal: bool,
    /// Where a filter of system calls is written for the planner to read.
    pub(crate) seccomp: &'a Path,
    /// What a source of a mount is.
    pub(crate) source: &'a dyn Fn(&Path) -> Source,
    /// Whether something is mounted below a source.
    pub(crate) covered: &'a dyn Fn(&Path) -> bool,
    /// The processes that the container sees whose namespace of them this is; `None`: it is the sandbox's.
    pub(crate) processes_of: &'a dyn Fn(&Path) -> Option<PidMode>,
}

/// The app that the container of `spec` is.
///
/// # Errors
/// [`Refused`].
pub(crate) fn app(spec: &Spec, given: &Given<'_>) -> Result<NewContainer, Refused> {
    let root = RootDirectory {
        path: given.rootfs.to_owned(),
        writes: RootWrites::Through,
    };
    let mut app = App::of_root(given.name.clone(), AppRoot::Directory(root));
    app.rootfs = match spec.root.readonly {
        false => RootfsAccess::Writable,
        true => RootfsAccess::ReadOnly,
    };
    let processes = process::sees(spec, given.processes_of)?;
    process::fill(&mut app, spec, processes)?;
    app.overrides.tty = given.terminal;
    app.overrides.stdin = given.stdin;
    app.overrides.resources = sizes::resources(&spec.linux.resources, spec.process.oom_score_adj);
    let (volumes, mirrors) = volumes::fill(&mut app, spec, given.source, given.covered)?;
    let seccomp = spec.linux.seccomp.as_ref().map(ToString::to_string);
    app.overrides.seccomp = Some(match &seccomp {
        Some(_) => Seccomp::Profile(given.seccomp.to_owned()),
        None => Seccomp::Unconfined,
    });
    Ok(NewContainer {
        app,
        volumes,
        mirrors,
        seccomp,
        processes,
    })
}

#[cfg(test)]
mod tests {
    use isopod_spec::{Capabilities, FilesVolume, SourceRule, StartMode, Submounts, VolumeKind};
    use serde_json::{Value, json};

    use super::*;

    /// What containerd hands over, as it was seen.
    fn sample(name: &str) -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../../shared/kubernetes")
            .join(name);
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn spec(value: &Value) -> Spec {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn coming(value: &Value) -> Result<NewContainer, Refused> {
        app(
            &spec(value),
            &Given {
                name: AppName::new("web").unwrap(),
                rootfs: Path::new("/bundle/rootfs"),
                stdin: false,
                terminal: false,
                seccomp: Path::new("/bundle/seccomp"),
                source: &|path| match path == Path::new("/kubelet/config") {
                    true => Source::Updated,
                    false => Source::File,
                },
                covered: &|path| path == Path::new("/disks"),
                processes_of: &|path| match path.to_str()? {
                    "/proc/77/ns/pid" => Some(PidMode::Private),
                    "/proc/78/ns/pid" => Some(PidMode::Vm),
                    _ => None,
                },
            },
        )
    }

    #[test]
    fn a_kubelets_container_is_an_app() {
        let value = sample("container.config.json");
        assert_eq!(
            Role::of(&spec(&value)),
            Role::Container {
                sandbox: "1534f7b31df64fb4594315f27f2b6a77909bc843f5a58d649d064bda1d45ea77".to_owned()
            }
        );
        let NewContainer {
            app,
            volumes,
            seccomp,
            processes,
            mirrors,
        } = coming(&value).unwrap();
        assert!(mirrors.is_empty());
        assert_eq!((seccomp, processes), (None, PidMode::Pod));
        let config = app.run_config.unwrap();
        assert_eq!(config.entrypoint[..2], ["sh", "-c"]);
        assert_eq!(config.env[1], ("HOSTNAME".to_owned(), "p1".to_owned()));
        assert_eq!(
            (config.user.as_deref(), config.group.as_deref()),
            (Some("0"), Some("0"))
        );
        let Some(Capabilities::Retain(capabilities)) = config.capabilities else {
            panic!()
        };
        assert_eq!(capabilities.len(), 14);
        assert_eq!(app.overrides.resources.memory_limit_bytes, Some(64 << 20));
        // What the guest mounts itself is none of its volumes.
        let targets: Vec<String> = app
            .mounts
            .iter()
            .map(|mount| mount.target.display().to_string())
            .collect();
        assert_eq!(targets, ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]);
        assert!(
            volumes
                .iter()
                .all(|volume| matches!(&volume.kind, VolumeKind::Host(host) if host.recursive))
        );
        assert!(!app.overrides.privileged, "`/sys` is read-only");
    }

    #[test]
    fn a_sandbox_is_a_pod_without_apps() {
        for name in ["sandbox.config.json", "sandbox-by-kubelet.config.json"] {
            let spec = spec(&sample(name));
            assert_eq!(Role::of(&spec), Role::Sandbox);
            let NetworkOf::Namespace(path) = network(&spec).unwrap() else {
                panic!("{name}")
            };
            assert!(path.starts_with("/var/run/netns"));
            let pod = pod(&spec, Some(&path)).unwrap();
            assert!(pod.held && pod.apps.is_empty());
            assert_eq!((pod.vm.memory_mib, pod.vm.cpus), (2048, 1));
            assert_eq!(pod.network, Network::Namespace { path });
            assert!(pod.labels.contains_key("io.kubernetes.pod.name"));
        }
    }

    #[test]
    fn the_vm_is_as_large_as_its_containers_limits_and_the_guest_need() {
        let size = |annotations: Value| {
            let mut value = sample("sandbox.config.json");
            value["annotations"] = annotations;
            let vm = pod(&spec(&value), None)?.vm;
            Ok::<_, Refused>((vm.memory_mib, vm.cpus, vm.start))
        };
        let limits = json!({
            "io.kubernetes.cri.sandbox-memory": "268435456",
            "io.kubernetes.cri.sandbox-cpu-quota": "150000",
            "io.kubernetes.cri.sandbox-cpu-period": "100000",
        });
        assert_eq!(size(limits).unwrap(), (512, 2, StartMode::Auto));
        let odd = json!({"io.kubernetes.cri.sandbox-memory": "268435457"});
        assert_eq!(size(odd).unwrap(), (768, 1, StartMode::Auto));
        let said = json!({"io.isopod.memory-mib": "300", "io.isopod.cpus": "3", "io.isopod.start": "cold"});
        assert_eq!(size(said).unwrap(), (300, 3, StartMode::Cold));
        for wrong in [
            json!({"io.isopod.cpus": "many"}),
            json!({"io.isopod.start": "hot"}),
        ] {
            assert!(size(wrong).is_err());
        }
    }

    #[test]
    fn mounts_are_volumes_of_their_kind() {
        let mut value = sample("container.config.json");
        value["mounts"] = json!([
            {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=750", "size=64k"]},
            {"destination": "/dev/termination-log", "type": "bind", "source": "/var/log/x", "options": ["bind", "ro"]},
            {"destination": "/data", "type": "", "source": "/srv", "options": ["rbind", "rslave"]},
            {"destination": "/dev/shm", "type": "bind", "source": "/run/shm", "options": ["rbind"]},
        ]);
        let NewContainer { app, volumes, .. } = coming(&value).unwrap();
        let VolumeKind::Empty(run) = &volumes[0].kind else {
            panic!()
        };
        assert_eq!((run.mode, run.size_bytes), (Some(0o750), Some(64 << 10)));
        assert!(app.mounts[0].flags.nosuid && app.mounts[1].read_only == Some(true));
        assert_eq!(app.mounts.len(), 3);
        for (kind, options) in [("bind", json!(["rbind", "rshared"])), ("nfs", json!([]))] {
            value["mounts"] =
                json!([{"destination": "/data", "type": kind, "source": "/srv", "options": options}]);
            assert!(coming(&value).is_err(), "{kind}");
        }
    }

    #[test]
    fn what_is_mounted_below_a_read_only_mount_is_as_on_the_host_unless_all_is_to_be_read_only() {
        let mut value = sample("container.config.json");
        for (source, options, read_only, expected) in [
            ("/disks", json!(["rbind", "ro"]), true, Submounts::AsOnHost),
            ("/disks", json!(["rbind", "rro"]), true, Submounts::ReadOnly),
            ("/disks", json!(["bind", "ro"]), true, Submounts::ReadOnly),
            ("/disks", json!(["rbind", "rw"]), false, Submounts::ReadOnly),
            ("/plain", json!(["rbind", "ro"]), true, Submounts::ReadOnly),
            // What may come.
            (
                "/plain",
                json!(["rbind", "rslave", "ro"]),
                true,
                Submounts::AsOnHost,
            ),
        ] {
            value["mounts"] =
                json!([{"destination": "/data", "type": "bind", "source": source, "options": options}]);
            let mount = &coming(&value).unwrap().app.mounts[0];
            assert_eq!(
                (mount.read_only, mount.flags.submounts),
                (Some(read_only), expected),
                "{options}"
            );
        }
    }

    #[test]
    fn what_the_kubelet_updates_is_mirrored_where_nobody_writes_to_it() {
        let mut value = sample("container.config.json");
        value["mounts"] = json!([
            {"destination": "/etc/config", "type": "bind", "source": "/kubelet/config", "options": ["rbind", "ro"]},
            {"destination": "/written", "type": "bind", "source": "/kubelet/config", "options": ["rbind", "rw"]},
        ]);
        let NewContainer { volumes, mirrors, .. } = coming(&value).unwrap();
        assert_eq!(volumes[0].kind, VolumeKind::Files(FilesVolume::default()));
        assert!(matches!(&volumes[1].kind, VolumeKind::Host(host) if host.must_be == SourceRule::Directory));
        let mirror = Mirror {
            volume: volumes[0].name.clone(),
            source: "/kubelet/config".into(),
        };
        assert_eq!(mirrors, [mirror]);
    }

    #[test]
    fn processes_are_the_containers_or_shared_ones_and_never_one_others() {
        let seen = |namespaces: Value| {
            let mut value = sample("container.config.json");
            value["linux"]["namespaces"] = namespaces;
            coming(&value).map(|coming| coming.processes)
        };
        assert_eq!(seen(json!([{"type": "pid"}])), Ok(PidMode::Private));
        assert_eq!(seen(json!([{"type": "network"}])), Ok(PidMode::Vm));
        let at = |number: u32| seen(json!([{"type": "pid", "path": format!("/proc/{number}/ns/pid")}]));
        assert_eq!((at(1), at(78)), (Ok(PidMode::Pod), Ok(PidMode::Vm)));
        assert!(at(77).unwrap_err().to_string().contains("--target"));
    }

    #[test]
    fn what_a_vm_cannot_have_is_refused_with_the_reason() {
        let sandbox = sample("sandbox.config.json");
        let without = |kind: &str| {
            let mut value = sandbox.clone();
            let namespaces = value["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != kind);
            spec(&value)
        };
        assert!(
            network(&without("network"))
                .unwrap_err()
                .to_string()
                .contains("hostNetwork")
        );
        assert!(
            pod(&without("ipc"), None)
                .unwrap_err()
                .to_string()
                .contains("hostIPC")
        );
        let container = sample("container.config.json");
        for (pointer, value, expected) in [
            ("/process/args", json!([]), "`args`"),
            (
                "/linux/devices",
                json!([{"path": "/dev/sda", "type": "b"}]),
                "/dev/sda",
            ),
            (
                "/hooks",
                json!({"startContainer": [{"path": "/bin/true"}]}),
                "startContainer",
            ),
            (
                "/process/rlimits",
                json!([{"type": "RLIMIT_WIT", "soft": 1, "hard": 1}]),
                "RLIMIT_WIT",
            ),
            ("/process/user", json!({"uid": 7, "gid": 7}), "ambient"),
        ] {
            let mut changed = container.clone();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            changed.pointer_mut(parent).unwrap()[name] = value;
            changed["process"]["capabilities"]["ambient"] = json!(["CAP_CHOWN"]);
            let refused = coming(&changed).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn a_command_is_who_oci_says() {
        let process = json!({
            "args": ["id"], "env": ["A=b=c", "nonsense"], "cwd": "/tmp", "noNewPrivileges": true,
            "user": {"uid": 7, "gid": 8, "additionalGids": [9]},
            "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_KILL", "CAP_NEWER"]},
        });
        let request = command(&serde_json::from_value(process).unwrap(), 3, true, true).unwrap();
        assert_eq!((request.app, request.stdin), (3, true));
        assert_eq!(request.env, [("A".to_owned(), "b=c".to_owned())]);
        let window = request.terminal.unwrap();
        assert_eq!((window.rows, window.cols), (24, 80));
        let exactly = request.exactly.unwrap();
        assert_eq!((exactly.uid, exactly.gid, &exactly.groups[..]), (7, 8, &[9][..]));
        assert_eq!(exactly.capabilities, 1 << 5, "CAP_KILL");
    }

    #[test]
    fn fields_that_nobody_knows_and_nulls_are_no_faults() {
        let value = json!({"ociVersion": "9", "process": null, "mounts": null, "novelty": {"a": 1}, "linux": {"devices": null}});
        assert!(spec(&value).mounts.is_empty());
    }
}
