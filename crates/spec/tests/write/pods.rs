//! Pods of every kind that a Kubernetes pod file can say, for property tests.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use isopod_spec::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Texts that YAML, the API's `$(VAR)` or a shell could take for something else.
pub(crate) fn text() -> BoxedStrategy<String> {
    prop_oneof![
        "[ -~]{0,20}",
        "\\$?\\$?\\(?[A-C]{0,2}\\)?\\$?",
        "(yes|no|on|~|null|0644|1e3|0x1f|1:30|2001-01-01|- a|a: b|#c|\\*x|&x|!t|%p|@q|`r|\\||>|[?]|\\{|\\[)",
        "[ -~\n\t]{0,120}",
        "\n? ?[a-z ]{0,9}\n{0,3} ?[a-z]{0,3}\n{0,2}",
        "\\PC{0,12}",
        any::<String>().prop_map(|text| text.replace('\0', "")),
    ]
    .boxed()
}

fn word() -> BoxedStrategy<String> {
    "[a-zA-Z0-9/._-]{1,12}".boxed()
}

fn seconds() -> BoxedStrategy<Duration> {
    (1_u64..5000).prop_map(Duration::from_secs).boxed()
}

fn id() -> BoxedStrategy<u32> {
    prop_oneof![0_u32..5, 1000_u32..1005, 0_u32..=i32::MAX.unsigned_abs()].boxed()
}

fn reference() -> BoxedStrategy<ImageSource> {
    let names = prop_oneof![
        Just("nginx"),
        Just("nginx:1.27"),
        Just("docker://quay.io/a/b:latest"),
        Just("oci:/images/busybox"),
        Just("oci:./images/b c:tag"),
        Just("docker-archive:/a.tar:x:1"),
    ];
    names
        .prop_map(|name| ImageSource::Reference(ImageReference::parse(name.as_ref()).unwrap()))
        .boxed()
}

fn pull() -> BoxedStrategy<PullPolicy> {
    prop_oneof![
        Just(PullPolicy::Missing),
        Just(PullPolicy::Always),
        Just(PullPolicy::Never)
    ]
    .boxed()
}

fn address() -> BoxedStrategy<IpAddr> {
    any::<IpAddr>().boxed()
}

fn http_get() -> BoxedStrategy<HttpGet> {
    let header = ("[A-Za-z-]{1,8}", "[ -~]{0,12}");
    (
        any::<bool>(),
        option::of(address()),
        1_u16..,
        "/[a-z0-9?=&/]{0,9}",
        vec(header, 0..2),
    )
        .prop_map(|(tls, host, port, path, headers)| HttpGet {
            tls,
            host,
            port,
            path,
            headers,
        })
        .boxed()
}

fn argv() -> BoxedStrategy<Vec<String>> {
    (word(), vec(text(), 0..3))
        .prop_map(|(program, args)| [vec![program], args].concat())
        .boxed()
}

fn probe(readiness: bool) -> BoxedStrategy<Probe> {
    let action = prop_oneof![
        argv().prop_map(ProbeAction::Exec),
        http_get().prop_map(ProbeAction::HttpGet),
        (option::of(address()), 1_u16..).prop_map(|(host, port)| ProbeAction::Tcp { host, port }),
        (any::<bool>(), 1_u16.., "[a-z.]{0,5}").prop_map(|(tls, port, service)| ProbeAction::Grpc {
            tls,
            port,
            service
        }),
    ];
    (
        action,
        seconds(),
        seconds(),
        seconds(),
        1_u32..9,
        1_u32..9,
        option::of(seconds()),
    )
        .prop_map(
            move |(action, initial_delay, period, timeout, successes, failures, grace)| Probe {
                initial_delay,
                period,
                timeout,
                success_threshold: if readiness { successes } else { 1 },
                failure_threshold: failures,
                termination_grace: grace.filter(|_| !readiness),
                ..Probe::new(action)
            },
        )
        .boxed()
}

fn handler() -> BoxedStrategy<Handler> {
    prop_oneof![
        argv().prop_map(Handler::Exec),
        http_get().prop_map(Handler::HttpGet),
        seconds().prop_map(Handler::Sleep),
    ]
    .boxed()
}

fn probes() -> BoxedStrategy<(Probes, Lifecycle)> {
    let probes = (
        option::of(probe(false)),
        option::of(probe(false)),
        option::of(probe(true)),
    );
    (probes, option::of(handler()), option::of(handler()))
        .prop_map(|((startup, liveness, readiness), post_start, pre_stop)| {
            let probes = Probes {
                startup,
                liveness,
                readiness,
            };
            (probes, Lifecycle { post_start, pre_stop })
        })
        .boxed()
}

fn resources() -> BoxedStrategy<Resources> {
    let amount = || {
        option::of(prop_oneof![
            (1_u64..4000).prop_map(|mib| mib << 20),
            1_u64..1 << 32
        ])
    };
    let millis = || option::of(prop_oneof![1_u32..4000, (1_u32..4).prop_map(|cpus| cpus * 1000)]);
    (amount(), amount(), millis(), millis())
        .prop_map(|(memory, request, cpu, share)| Resources {
            memory_limit_bytes: memory,
            memory_request_bytes: request.map(|request| request.min(memory.unwrap_or(request))),
            cpu_limit_millis: cpu,
            cpu_request_millis: share.map(|share| share.min(cpu.unwrap_or(share))),
            ..Resources::default()
        })
        .boxed()
}

fn capabilities() -> BoxedStrategy<Vec<String>> {
    let names = prop_oneof![Just("ALL"), Just("CAP_NET_ADMIN"), Just("CAP_CHOWN")];
    vec(names.prop_map(str::to_owned), 0..3).boxed()
}

fn seccomp() -> BoxedStrategy<Seccomp> {
    prop_oneof![
        Just(Seccomp::Unconfined),
        Just(Seccomp::RuntimeDefault),
        Just(Seccomp::Profile(
            "/var/lib/kubelet/seccomp/profiles/a.json".into()
        )),
    ]
    .boxed()
}

fn env() -> BoxedStrategy<Vec<EnvVar>> {
    let variable = ("[A-C_][A-C0-9_]{0,2}", text(), any::<bool>());
    vec(
        variable.prop_map(|(name, value, secret)| EnvVar {
            name,
            value: Some(value),
            secret,
        }),
        0..5,
    )
    .boxed()
}

/// A command; where `secret` says so, its last argument holds the last secret variable's value.
fn overrides() -> BoxedStrategy<Overrides> {
    let command = (
        option::of(text().prop_filter("a program", |text| !text.is_empty())),
        option::of(vec(text(), 1..4)),
    );
    let identity = (
        option::of(id()),
        option::of(id()),
        any::<bool>(),
        option::of(any::<bool>()),
    );
    let rest = (
        capabilities(),
        capabilities(),
        seccomp(),
        option::of(word()),
        option::of(Just("SIGUSR1")),
    );
    (command, env(), identity, rest, resources(), any::<[bool; 4]>())
        .prop_map(
            |(
                (exec, args),
                env,
                (user, group, must_not_be_root, no_new_privileges),
                rest,
                resources,
                [secret, tty, tun, fuse],
            )| {
                let (cap_add, cap_drop, seccomp, working_dir, stop_signal) = rest;
                let mut overrides = Overrides {
                    exec,
                    args,
                    env,
                    user: user.map(|id| id.to_string()),
                    // What every pod file has.
                    oom_kill: OomKill::App,
                    image_groups: group.map_or(ImageGroups::WithoutGroup, |_| ImageGroups::Always),
                    group: group.map(|id| id.to_string()),
                    must_not_be_root,
                    no_new_privileges,
                    cap_add,
                    cap_drop,
                    // Not distinguishable from the built-in one where none is asked for.
                    seccomp: Some(seccomp),
                    resources,
                    working_dir: working_dir.map(PathBuf::from),
                    tty,
                    devices: [(tun, Device::Tun), (fuse, Device::Fuse)]
                        .into_iter()
                        .filter_map(|(has, device)| has.then_some(device))
                        .collect(),
                    stop_signal: stop_signal.map(str::to_owned),
                    ..Overrides::default()
                };
                let last = overrides.env.last().filter(|last| last.secret && secret).cloned();
                let value = last.and_then(|last| last.value).filter(|value| !value.is_empty());
                if let (Some(args), Some(value)) = (&mut overrides.args, value) {
                    overrides.secret_args = [args.len()].into();
                    args.push(format!("${value}$$({value})"));
                }
                overrides
            },
        )
        .boxed()
}

fn app(name: &'static str, volumes: Vec<&'static str>) -> BoxedStrategy<App> {
    let mount = (
        prop::sample::select(volumes),
        text(),
        option::of(any::<bool>()),
        option::of("[a-z]{1,3}(/[a-z ]{1,3})?"),
    );
    let mounts = vec(mount, 0..4).prop_map(|mounts| {
        let mount =
            |(index, (volume, path, read_only, sub_path)): (usize, (&str, String, _, Option<String>))| {
                Mount {
                    volume: VolumeName::new(volume).unwrap(),
                    // No two at one place.
                    target: format!("/{index}/{}", path.replace([':', '.'], "")).into(),
                    read_only,
                    sub_path: sub_path.map(PathBuf::from),
                    flags: MountFlags::default(),
                    owners: Owners::default(),
                }
            };
        mounts.into_iter().enumerate().map(mount).collect::<Vec<_>>()
    });
    (
        reference(),
        pull(),
        overrides(),
        mounts,
        any::<bool>(),
        probes(),
        0_u8..3,
    )
        .prop_map(
            move |(image, pull, overrides, mounts, read_only, (probes, lifecycle), restart)| App {
                pull,
                overrides,
                mounts,
                rootfs: if read_only {
                    RootfsAccess::ReadOnly
                } else {
                    RootfsAccess::Writable
                },
                restart: match restart {
                    0 => RestartPolicy::No,
                    1 => RestartPolicy::Always,
                    _ => RestartPolicy::OnFailure { max_retries: None },
                },
                // What every pod file has.
                root_on_restart: RootOnRestart::Fresh,
                probes,
                lifecycle,
                ..App::new(AppName::new(name).unwrap(), image)
            },
        )
        .boxed()
}

fn host() -> BoxedStrategy<VolumeKind> {
    let rule = prop_oneof![
        Just(SourceRule::Any),
        Just(SourceRule::Directory),
        Just(SourceRule::DirectoryOrCreate),
        Just(SourceRule::File),
        Just(SourceRule::FileOrCreate),
        Just(SourceRule::Kept),
    ];
    (rule, text())
        .prop_map(|(must_be, path)| {
            let source = match must_be {
                SourceRule::Kept => "/state/claims/data.1".into(),
                _ => format!("/{}", path.replace('.', "")).into(),
            };
            VolumeKind::Host(HostVolume {
                source,
                recursive: true,
                propagation: Propagation::Private,
                must_be,
            })
        })
        .boxed()
}

fn empty() -> BoxedStrategy<VolumeKind> {
    (
        option::of(0_u32..0o1000),
        option::of(1_u64..1 << 40),
        any::<bool>(),
    )
        .prop_map(|(mode, size_bytes, disk)| {
            VolumeKind::Empty(EmptyVolume {
                mode,
                size_bytes,
                medium: if disk { Medium::Disk } else { Medium::Memory },
                ..EmptyVolume::default()
            })
        })
        .boxed()
}

fn files() -> BoxedStrategy<VolumeKind> {
    let content = prop_oneof![text().prop_map(String::into_bytes), vec(any::<u8>(), 0..20)];
    let file = (
        "[a-z.]{0,3}[a-z](/[a-z ]{0,2}b)?",
        content,
        prop_oneof![Just(0o644), 0_u32..0o1000],
        option::of(id()),
        any::<bool>(),
    );
    let file = file.prop_map(|(path, content, mode, uid, secret)| VolumeFile {
        path: path.into(),
        content: FileContent(content),
        mode,
        uid,
        secret,
    });
    vec(file, 0..4)
        .prop_map(|mut files| {
            // No two at one path.
            for (index, file) in files.iter_mut().enumerate() {
                file.path = format!("{index}{}", file.path.display()).into();
            }
            VolumeKind::Files(FilesVolume { files, gid: None })
        })
        .boxed()
}

fn image() -> BoxedStrategy<VolumeKind> {
    (reference(), pull())
        .prop_map(|(image, pull)| VolumeKind::Image(ImageVolume { image, pull }))
        .boxed()
}

fn volumes() -> BoxedStrategy<Vec<Volume>> {
    let volume = |name: &'static str, kind: BoxedStrategy<VolumeKind>| {
        (kind, option::of(any::<bool>())).prop_map(move |(kind, read_only)| Volume {
            name: VolumeName::new(name).unwrap(),
            kind,
            read_only,
        })
    };
    (
        volume("host", host().boxed()),
        volume("empty", empty().boxed()),
        volume("files", files().boxed()),
        volume("image", image().boxed()),
    )
        .prop_map(|(host, empty, files, image)| vec![host, empty, files, image])
        .boxed()
}

fn resolver() -> BoxedStrategy<Resolver> {
    (
        any::<bool>(),
        vec(address(), 1..4),
        vec("[a-z]{1,4}(\\.[a-z_]{1,4})?\\.?", 0..2),
        vec("[a-z0-9:]{1,9}", 0..3),
    )
        .prop_map(|(with_host, nameservers, searches, options)| Resolver {
            with_host,
            nameservers,
            searches,
            options,
        })
        .boxed()
}

fn ports() -> BoxedStrategy<Vec<PortForward>> {
    let port = (option::of(address()), 1_u16.., any::<bool>());
    vec(port, 0..3)
        .prop_map(|ports| {
            let port = |(index, (host_ip, pod_port, udp)): (u16, (Option<IpAddr>, u16, bool))| PortForward {
                host_ip,
                host_port: 1000 + index,
                host_last: None,
                pod_port,
                protocol: if udp { PortProtocol::Udp } else { PortProtocol::Tcp },
            };
            (0..).zip(ports).map(port).collect()
        })
        .boxed()
}

/// A group for the whole pod, and whether its volumes are that group's.
fn with_group(mut pod: PodSpec, groups: &[u32], of_volumes: bool) -> PodSpec {
    for app in &mut pod.apps {
        app.overrides.group_add = groups.iter().map(ToString::to_string).collect();
    }
    let Some(group) = groups.last().filter(|_| of_volumes) else {
        return pod;
    };
    for volume in &mut pod.volumes {
        match &mut volume.kind {
            VolumeKind::Empty(empty) => {
                empty.gid = Some(*group);
                empty.mode = Some(empty.mode.unwrap_or(0o777) | 0o2770);
            }
            VolumeKind::Files(files) => {
                files.gid = Some(*group);
                files.files.iter_mut().for_each(|file| file.mode |= 0o440);
            }
            VolumeKind::Host(_) | VolumeKind::Image(_) => {}
        }
    }
    pod
}

/// Lets the first `init` apps come before all that follow, each as an init container or a sidecar.
fn with_order(mut pod: PodSpec, init: usize, sidecars: &[bool]) -> PodSpec {
    let mut gates: Vec<Dependency> = Vec::new();
    for (index, app) in pod.apps.iter_mut().enumerate() {
        app.depends_on.clone_from(&gates);
        if index >= init {
            continue;
        }
        let condition = match sidecars[index] {
            true => {
                app.role = AppRole::Sidecar;
                app.restart = RestartPolicy::Always;
                match app.probes.startup {
                    Some(_) => DependencyCondition::Healthy,
                    None => DependencyCondition::Started,
                }
            }
            false => {
                app.probes = Probes::default();
                app.lifecycle = Lifecycle::default();
                if app.restart == RestartPolicy::Always {
                    app.restart = RestartPolicy::No;
                }
                DependencyCondition::Succeeded
            }
        };
        gates.push(Dependency {
            app: app.name.clone(),
            condition,
        });
    }
    pod
}

/// A pod that a Kubernetes pod file can say.
pub(crate) fn pod() -> BoxedStrategy<PodSpec> {
    let names = vec!["host", "empty", "files", "image"];
    let apps = (
        app("one", names.clone()),
        app("two", names.clone()),
        app("three", names),
    );
    let apps = (apps, 1_usize..4).prop_map(|((one, two, three), count)| {
        let mut apps = vec![one, two, three];
        apps.truncate(count);
        apps
    });
    let name = option::of("[a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?(\\.[a-z0-9]{1,3})?");
    let host = (
        name,
        option::of("[a-z]{1,5}(\\.[a-z]{1,5})?"),
        ports(),
        option::of(resolver()),
        vec((address(), "[a-z]{1,4}"), 0..2),
    );
    let life = (
        0_u64..100,
        option::of(seconds()),
        vec(("[a-z]{1,5}\\.[a-z]{1,5}", text()), 0..2),
    );
    // Three apps need no more.
    let vm = (13_000_u32..20_000, 12_u32..20);
    let shape = (
        0_usize..3,
        [any::<bool>(), any::<bool>()],
        vec(id(), 0..3),
        any::<bool>(),
    );
    (apps, volumes(), host, life, vm, shape)
        .prop_map(
            |(apps, volumes, (name, hostname, ports, resolver, aliases), life, vm, shape)| {
                let (stop, deadline, sysctls) = life;
                let (init, sidecars, groups, of_volumes) = shape;
                let init = init.min(apps.len() - 1);
                let handlers = |app: &App| [app.lifecycle.post_start.clone(), app.lifecycle.pre_stop.clone()];
                let sleeps = apps.iter().flat_map(handlers).flatten();
                let longest = sleeps.filter_map(|handler| handler.sleep()).max();
                let in_memory = |volume: &Volume| match &volume.kind {
                    VolumeKind::Empty(empty) if empty.medium == Medium::Memory => empty.size_bytes,
                    _ => None,
                };
                let in_memory = volumes
                    .iter()
                    .filter_map(in_memory)
                    .sum::<u64>()
                    .div_ceil(1 << 20);
                let alias = |(address, name)| HostAlias {
                    address,
                    names: vec![name],
                };
                let pod = PodSpec {
                    name: name.map(|name| PodName::new(name).unwrap()),
                    hostname,
                    volumes,
                    vm: Vm {
                        memory_mib: vm.0 + u32::try_from(in_memory).unwrap(),
                        cpus: vm.1,
                        ..Vm::default()
                    },
                    network: Network::user(ports),
                    sysctls: sysctls
                        .into_iter()
                        .map(|(name, value)| Sysctl { name, value })
                        .collect(),
                    stop_timeout: Duration::from_secs(stop).max(longest.unwrap_or_default()),
                    deadline,
                    host_aliases: aliases.into_iter().map(alias).collect(),
                    resolver,
                    ..PodSpec::new(apps)
                };
                with_order(with_group(pod, &groups, of_volumes), init, &sidecars)
            },
        )
        .boxed()
}
