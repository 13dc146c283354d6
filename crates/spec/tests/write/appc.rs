//! Pods as appc pod manifests: what is written is read back as the same pod.

use std::path::PathBuf;

use isopod_spec::kube::Unsupported;
use isopod_spec::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::pods;

fn read(text: &str) -> PodSpec {
    match appc::read_pod_manifest(text, "written.json") {
        Ok(pod) => pod,
        Err(errors) => panic!(
            "{:#?}\n{text}",
            errors.faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        ),
    }
}

fn write(pod: &PodSpec) -> String {
    match appc::write(pod, Unsupported::Refuse) {
        Ok(written) => written.text,
        Err(unsaid) => panic!(
            "{:#?}",
            unsaid.iter().map(ToString::to_string).collect::<Vec<_>>()
        ),
    }
}

fn argv() -> BoxedStrategy<Vec<String>> {
    ("/[a-z]{1,6}", vec(pods::text(), 0..3))
        .prop_map(|(program, args)| [vec![program], args].concat())
        .boxed()
}

fn resources() -> BoxedStrategy<Resources> {
    let amount = || {
        option::of(prop_oneof![
            (1_u64..4000).prop_map(|mib| mib << 20),
            1_u64..1 << 40
        ])
    };
    let millis = || {
        option::of(prop_oneof![
            1000_u32..4000,
            (1_u32..4).prop_map(|cpus| cpus * 1000)
        ])
    };
    (
        amount(),
        amount(),
        millis(),
        millis(),
        option::of(-1000_i16..1001),
    )
        .prop_map(|(memory, request, cpu, share, oom_score_adj)| Resources {
            memory_limit_bytes: memory,
            memory_request_bytes: request,
            cpu_limit_millis: cpu,
            cpu_request_millis: share.map(|share| share.min(cpu.unwrap_or(share))),
            pids_limit: None,
            oom_score_adj,
        })
        .boxed()
}

fn confinement() -> BoxedStrategy<(Option<Capabilities>, Option<Seccomp>)> {
    let names = || {
        vec(
            select(vec!["CAP_NET_ADMIN", "CAP_CHOWN"]).prop_map(str::to_owned),
            1..3,
        )
    };
    let capabilities = prop_oneof![
        names().prop_map(Capabilities::Retain),
        names().prop_map(Capabilities::Remove)
    ];
    let calls = vec(select(vec!["read", "mount"]).prop_map(str::to_owned), 1..3);
    let refusal = prop_oneof![Just(Refusal::Kill), Just(Refusal::Errno("EPERM".into()))];
    let seccomp = (calls, refusal, 0_u8..3).prop_map(|(names, refusal, kind)| match kind {
        0 => Seccomp::Unconfined,
        1 => Seccomp::Retain(SyscallFilter { names, refusal }),
        _ => Seccomp::Remove(SyscallFilter { names, refusal }),
    });
    (option::of(capabilities), option::of(seccomp)).boxed()
}

fn run_config() -> BoxedStrategy<RunConfig> {
    let user = || prop_oneof![Just("0"), Just("www-data"), Just("/bin/ping")].prop_map(str::to_owned);
    let env = vec(pods::text(), 0..3).prop_map(|values| {
        let name = |(index, value)| (format!("V{index}"), value);
        values.into_iter().enumerate().map(name).collect::<Vec<_>>()
    });
    let point = (select(vec!["one", "none"]), any::<bool>());
    let places = (vec(point, 0..3), option::of("/[a-z]{1,5}"), vec(0_u32..9, 0..3));
    let handlers = (option::of(argv()), option::of(argv()));
    (
        argv(),
        (user(), user()),
        env,
        places,
        handlers,
        (resources(), confinement(), any::<bool>()),
    )
        .prop_map(
            |(entrypoint, (user, group), env, (points, dir, gids), handlers, limits)| {
                let (resources, (capabilities, seccomp), no_new_privileges) = limits;
                let point = |(index, (name, read_only)): (usize, (&str, bool))| MountPoint {
                    name: VolumeName::new(name).unwrap(),
                    path: format!("/point/{index}").into(),
                    read_only,
                };
                RunConfig {
                    entrypoint,
                    env,
                    user: Some(user),
                    group: Some(group),
                    supplementary_gids: gids,
                    working_dir: dir.map(PathBuf::from),
                    mount_points: points.into_iter().enumerate().map(point).collect(),
                    capabilities,
                    resources,
                    no_new_privileges,
                    seccomp,
                    event_handlers: EventHandlers {
                        pre_start: handlers.0,
                        post_stop: handlers.1,
                    },
                    ..RunConfig::default()
                }
            },
        )
        .boxed()
}

fn image() -> BoxedStrategy<ImageSource> {
    let reference = |text: &str| ImageSource::Reference(ImageReference::parse(text.as_ref()).unwrap());
    let references = select(vec![
        "oci:/images/a b",
        "docker://quay.io/a/b:1",
        "docker-archive:x.tar:a:b",
    ]);
    let id = option::of(Just("sha256-00ff".to_owned()));
    prop_oneof![
        references.prop_map(reference),
        (id, Just("example.com/a".to_owned()))
            .prop_map(|(id, name)| ImageSource::Stored { id, name: Some(name) }),
        Just(ImageSource::Stored {
            id: Some("sha256-ab".into()),
            name: None
        }),
    ]
    .boxed()
}

fn app(name: &'static str) -> BoxedStrategy<App> {
    let mount = (
        select(vec!["one", "two"]),
        pods::text(),
        option::of(any::<bool>()),
    );
    (image(), option::of(run_config()), vec(mount, 0..3), any::<bool>())
        .prop_map(move |(image, run_config, mounts, read_only)| {
            let mount = |(index, (volume, path, read_only)): (usize, (&str, String, Option<bool>))| Mount {
                volume: VolumeName::new(volume).unwrap(),
                target: format!("/{index}/{}", path.replace('.', "")).into(),
                // Of an image's own word nothing is known.
                read_only: read_only.filter(|_| run_config.is_some()),
                sub_path: None,
                flags: MountFlags::default(),
            };
            let mounts = mounts.into_iter().enumerate().map(mount).collect();
            App {
                run_config,
                mounts,
                rootfs: if read_only {
                    RootfsAccess::ReadOnly
                } else {
                    RootfsAccess::Writable
                },
                ..App::new(AppName::new(name).unwrap(), image)
            }
        })
        .boxed()
}

fn volumes() -> BoxedStrategy<Vec<Volume>> {
    let host = (pods::text(), any::<bool>()).prop_map(|(path, recursive)| {
        VolumeKind::Host(HostVolume {
            source: format!("/{path}").into(),
            recursive,
            propagation: Propagation::Private,
            must_be: SourceRule::Any,
        })
    });
    let empty = (
        option::of(0_u32..0o10000),
        option::of(0_u32..9),
        option::of(0_u32..9),
    )
        .prop_map(|(mode, uid, gid)| {
            VolumeKind::Empty(EmptyVolume {
                mode,
                uid,
                gid,
                ..EmptyVolume::default()
            })
        });
    let read_only = || option::of(any::<bool>());
    (host, read_only(), empty, read_only())
        .prop_map(|(host, host_access, empty, empty_access)| {
            let volume = |name, kind, read_only| Volume {
                name: VolumeName::new(name).unwrap(),
                kind,
                read_only,
            };
            vec![
                volume("one", host, host_access),
                volume("two", empty, empty_access),
            ]
        })
        .boxed()
}

fn pod() -> BoxedStrategy<PodSpec> {
    let port = (option::of(any::<std::net::IpAddr>()), 1_u16.., any::<bool>());
    let sysctls = option::of(pods::text());
    (
        app("a"),
        option::of(app("b")),
        volumes(),
        128_u32..9000,
        1_u32..9,
        vec(port, 0..3),
        sysctls,
    )
        .prop_map(|(a, b, volumes, memory_mib, cpus, ports, sysctl)| {
            let port = |(index, (host_ip, pod_port, udp)): (u16, (_, u16, bool))| PortForward {
                host_ip,
                host_port: 1000 + index,
                pod_port,
                protocol: if udp { PortProtocol::Udp } else { PortProtocol::Tcp },
            };
            let sysctl = sysctl.map(|value| Sysctl {
                name: "net.core.somaxconn".into(),
                value,
            });
            PodSpec {
                volumes,
                machine: Machine {
                    memory_mib,
                    cpus,
                    ..Machine::default()
                },
                network: Network::User {
                    ports: (0..).zip(ports).map(port).collect(),
                },
                sysctls: sysctl.into_iter().collect(),
                ..PodSpec::new([Some(a), b].into_iter().flatten().collect())
            }
        })
        .boxed()
}

/// `pod` with everything said where a manifest says it, in the way it says it.
fn normal(pod: &PodSpec) -> PodSpec {
    let mut pod = pod.clone();
    for volume in &mut pod.volumes {
        let mounts = || {
            pod.apps
                .iter()
                .flat_map(|app| &app.mounts)
                .filter(|mount| mount.volume == volume.name)
        };
        if volume.read_only.is_none()
            && mounts().count() > 0
            && mounts().all(|mount| mount.read_only == Some(true))
        {
            volume.read_only = Some(true);
        }
    }
    let open: Vec<_> = pod
        .volumes
        .iter()
        .filter(|volume| volume.read_only.is_none())
        .collect();
    let open: Vec<_> = open.into_iter().map(|volume| volume.name.clone()).collect();
    for app in &mut pod.apps {
        if let Some(config) = &mut app.run_config {
            for mount in app
                .mounts
                .iter()
                .filter(|mount| mount.read_only == Some(true) && open.contains(&mount.volume))
            {
                config.mount_points.push(MountPoint {
                    name: mount.volume.clone(),
                    path: check::clean(&mount.target),
                    read_only: true,
                });
            }
        }
        for mount in &mut app.mounts {
            mount.read_only = None;
            mount.target = check::clean(&mount.target);
        }
    }
    pod
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_pod_that_can_be_said_is_read_back_as_the_same_pod(pod in pod()) {
        let written = write(&pod);
        let found = read(&written);
        prop_assert_eq!(&found, &normal(&pod), "{}", written);
        prop_assert_eq!(write(&found), written);
    }

    /// Of a pod that a pod file says.
    #[test]
    fn what_cannot_be_said_is_refused_or_left_out_and_the_rest_is_read(pod in pods::pod()) {
        if let Ok(written) = appc::write(&pod, Unsupported::Ignore) {
            read(&written.text);
        }
    }
}

#[test]
fn a_manifest_with_everything_is_written_as_the_same_pod() {
    let pod = read(include_str!("../data/whole.json"));
    let written = write(&pod);
    assert_eq!(read(&written), pod, "{written}");
}

#[test]
fn what_a_manifest_cannot_say_is_told_all_at_once() {
    let reference = ImageReference::parse("nginx".as_ref()).unwrap();
    let mut app = App::new(AppName::new("web").unwrap(), ImageSource::Reference(reference));
    app.restart = RestartPolicy::Always;
    app.overrides.user = Some("33".into());
    let mut pod = PodSpec::new(vec![app]);
    pod.network = Network::None;
    pod.hostname = Some("box".into());
    let told = |unsupported| {
        let unsaid = appc::write(&pod, unsupported).unwrap_err();
        unsaid
            .iter()
            .map(|unsaid| format!("{unsaid} / {}", unsaid.hint().unwrap()))
            .collect::<Vec<_>>()
    };
    let needed = "app `web`: the short name `nginx` cannot be said in an appc pod manifest: a name without a transport is \
                  one in the store, just as it is written / bring it into the store, `isopod image fetch nginx`, or name its \
                  registry: `docker://REGISTRY/nginx`";
    assert_eq!(
        told(Unsupported::Refuse),
        [
            "a pod without a network cannot be said in an appc pod manifest: it has no field for it / \
             give `--net none` beside what `--ignore-unsupported` prints",
            "the host name cannot be said in an appc pod manifest: it has no field for it / \
             give `--hostname box` beside what `--ignore-unsupported` prints",
            "app `web`: being started anew when it has ended cannot be said in an appc pod manifest: its apps run once, \
             side by side / print the pod without it (`--ignore-unsupported`)",
            needed,
            "app `web`: what is changed of its image's word cannot be said in an appc pod manifest: an `app` section says \
             all of it or nothing / print the pod without it (`--ignore-unsupported`)",
        ]
    );
    assert_eq!(told(Unsupported::Ignore), [needed]);
}
