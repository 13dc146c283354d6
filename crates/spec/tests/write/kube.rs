//! Pods as Kubernetes pod files: what is written is read back as the same pod.

use std::fs;
use std::path::Path;

use isopod_spec::kube::{self, File, Unsupported};
use isopod_spec::*;
use proptest::prelude::*;

use crate::golden::surroundings;
use crate::pods;

fn read(text: &str) -> PodSpec {
    let file = File {
        name: "written.yaml",
        text,
    };
    match kube::read(&[file], &surroundings(), Unsupported::Refuse) {
        Ok(files) => files.pods.into_iter().next().unwrap().pod,
        Err(errors) => panic!(
            "{:#?}\n{text}",
            errors.faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        ),
    }
}

fn write(pod: &PodSpec) -> String {
    match kube::write(pod, Unsupported::Refuse) {
        Ok(written) => written.text,
        Err(gaps) => panic!("{:#?}", gaps.iter().map(ToString::to_string).collect::<Vec<_>>()),
    }
}

/// `pod` with everything said where a pod file says it, in the way it says it.
fn normal(pod: &PodSpec) -> PodSpec {
    let mut pod = pod.clone();
    for volume in &mut pod.volumes {
        if let VolumeKind::Host(host) = &mut volume.kind
            && host.must_be == SourceRule::Any
        {
            host.must_be = SourceRule::AnyOrCreate;
        }
        let kept = matches!(&volume.kind, VolumeKind::Host(host) if host.must_be == SourceRule::Kept);
        let literal = matches!(volume.kind, VolumeKind::Files(_) | VolumeKind::Image(_));
        let by_volume = kept && volume.read_only == Some(true);
        let mounts = pod.apps.iter_mut().flat_map(|app| &mut app.mounts);
        for mount in mounts.filter(|mount| mount.volume == volume.name) {
            let read_only = volume.read_only.or(mount.read_only).unwrap_or(false);
            mount.read_only = (!literal && !by_volume).then_some(read_only);
        }
        volume.read_only = by_volume.then_some(true);
        if let VolumeKind::Empty(empty) = &mut volume.kind {
            empty.mode = Some(empty.mode.unwrap_or(0o755));
        }
    }
    for app in &mut pod.apps {
        let mut env: Vec<EnvVar> = Vec::new();
        for variable in app.overrides.env.drain(..) {
            env.retain(|other| other.name != variable.name);
            env.push(variable);
        }
        app.overrides.env = env;
        if app.overrides.exec.is_some() {
            app.overrides.args.get_or_insert_default();
        }
        for mount in &mut app.mounts {
            mount.target = check::clean(&mount.target);
        }
    }
    pod
}

#[test]
fn every_pod_file_that_is_read_is_written_as_the_same_pod() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kube");
    let mut read_ones = 0;
    for folder in fs::read_dir(&root).unwrap() {
        let text = fs::read_to_string(folder.unwrap().path().join("pod.yaml")).unwrap();
        let file = File {
            name: "pod.yaml",
            text: &text,
        };
        let Ok(found) = kube::read(&[file], &surroundings(), Unsupported::Ignore) else {
            continue;
        };
        for pod in found.pods.iter().map(|file| &file.pod) {
            let written = write(pod);
            assert_eq!(read(&written), normal(pod), "{written}");
            assert_eq!(write(&read(&written)), written);
            read_ones += 1;
        }
    }
    assert!(read_ones >= 7, "{read_ones}");
}

/// An app's name and, of each other that it waits for, name and condition.
type Waiting = (&'static str, &'static [(&'static str, DependencyCondition)]);

fn ordered(apps: &[Waiting]) -> PodSpec {
    let name = |name: &str| AppName::new(name).unwrap();
    let app = |(app, waits): &Waiting| {
        let image = ImageReference::parse("oci:/a".as_ref()).unwrap();
        App {
            depends_on: waits
                .iter()
                .map(|(app, condition)| Dependency {
                    app: name(app),
                    condition: *condition,
                })
                .collect(),
            ..App::new(name(app), ImageSource::Reference(image))
        }
    };
    PodSpec::new(apps.iter().map(app).collect())
}

fn reported(pod: &PodSpec) -> Vec<String> {
    let gaps = kube::write(pod, Unsupported::Refuse).err().unwrap_or_default();
    gaps.iter().map(ToString::to_string).collect()
}

#[test]
fn an_order_is_one_of_init_containers_or_refused() {
    use DependencyCondition::{Started, Succeeded};
    // What is declared last comes first, and a chain says all that is before.
    let pod = ordered(&[
        ("web", &[("second", Succeeded)]),
        ("second", &[("first", Succeeded)]),
        ("first", &[]),
    ]);
    let names: Vec<String> = read(&write(&pod))
        .apps
        .iter()
        .map(|app| app.name.to_string())
        .collect();
    assert_eq!(names, ["first", "second", "web"]);
    assert_eq!(
        reported(&ordered(&[("db", &[]), ("web", &[("db", Started)])])),
        [
            "app `web`: waiting until app `db` has started cannot be expressed in a Kubernetes Pod: containers \
             start all at \
          once, after the init containers, which start one after the other"
        ]
    );
    assert_eq!(
        reported(&ordered(&[
            ("make", &[]),
            ("web", &[("make", Succeeded)]),
            ("log", &[])
        ])),
        [
            "app `log`: starting without waiting for app `make` cannot be expressed in a Kubernetes Pod: whatever \
             one container \
          waits for, all that follow wait for"
        ]
    );
}

#[test]
fn files_that_are_more_than_an_object_holds_are_in_several() {
    let file = |name: &str| VolumeFile {
        path: name.into(),
        content: FileContent(vec![b'x'; 700 << 10]),
        mode: 0o644,
        uid: None,
        secret: false,
    };
    let mut pod = ordered(&[("web", &[])]);
    pod.volumes = vec![Volume {
        name: VolumeName::new("files").unwrap(),
        kind: VolumeKind::Files(FilesVolume {
            files: vec![file("a"), file("b")],
            gid: None,
        }),
        read_only: None,
    }];
    let written = write(&pod);
    assert_eq!(written.matches("kind: ConfigMap").count(), 2);
    assert_eq!(read(&written).volumes, pod.volumes);
}

/// The size that nobody asked for is none that a file would have to say; a volume in memory is added to what it comes to.
#[test]
fn the_default_size_is_not_said() {
    let app = App::new(
        AppName::new("a").unwrap(),
        ImageSource::Reference(ImageReference::parse("oci:/a".as_ref()).unwrap()),
    );
    let mut pod = PodSpec {
        name: Some(PodName::new("web").unwrap()),
        ..PodSpec::new(vec![app])
    };
    pod.volumes.push(Volume {
        name: VolumeName::new("cache").unwrap(),
        kind: VolumeKind::Empty(EmptyVolume {
            size_bytes: Some(200 << 20),
            ..EmptyVolume::default()
        }),
        read_only: None,
    });
    assert_eq!(pod.vm.memory_mib, 2048);
    assert_eq!(read(&write(&pod)).vm.memory_mib, 2248);
    pod.vm.memory_mib = 600;
    assert!(kube::write(&pod, Unsupported::Refuse).is_err());
    for mib in [712, 2100, 3001] {
        pod.vm.memory_mib = mib;
        assert_eq!(read(&write(&pod)).vm.memory_mib, mib);
    }
}

/// Something that a pod file has no words for.
const UNSAYABLE: [fn(&mut PodSpec); 20] = [
    |pod| {
        pod.resolver = Some(Resolver {
            with_host: true,
            nameservers: Vec::new(),
            searches: vec!["a..b".into()],
            options: Vec::new(),
        });
    },
    |pod| {
        pod.named_ports.push(NamedPort {
            name: "http".into(),
            host_ip: None,
            host_port: 8080,
        });
    },
    |pod| pod.network = Network::None,
    |pod| pod.on_failure = FailurePolicy::Stop,
    |pod| pod.implicit_volumes = ImplicitVolumes::Refuse,
    |pod| pod.vm.memory_mib = 200,
    |pod| pod.name = Some(PodName::new("Web_1").unwrap()),
    |pod| pod.apps[0].overrides.group = Some("4000000000".into()),
    |pod| pod.apps[0].overrides.resources.pids_limit = Some(9),
    |pod| pod.apps[0].overrides.resources.oom_score_adj = Some(9),
    |pod| pod.apps[0].overrides.user = Some("www".into()),
    |pod| pod.apps[0].overrides.health_check.retries = Some(9),
    |pod| pod.apps[0].readiness = Readiness::Notify,
    |pod| pod.apps[0].pull = PullPolicy::Newer,
    |pod| pod.apps[0].run_config = Some(RunConfig::default()),
    |pod| {
        let (name, value, secret) = ("HOME".into(), None, false);
        pod.apps[0].overrides.env.push(EnvVar { name, value, secret });
    },
    |pod| {
        let VolumeKind::Host(host) = &mut pod.volumes[0].kind else {
            return;
        };
        (host.recursive, host.must_be) = (false, SourceRule::Any);
    },
    |pod| {
        let VolumeKind::Empty(empty) = &mut pod.volumes[1].kind else {
            return;
        };
        (empty.uid, empty.mode) = (Some(9), Some(0o1777));
    },
    |pod| {
        let (kind, soft) = (RlimitKind::Nofile, Some(9));
        pod.apps[0].overrides.rlimits.push(Rlimit {
            kind,
            soft,
            hard: soft,
        });
    },
    |pod| {
        let refusal = Refusal::Kill;
        let names = vec!["read".into()];
        pod.apps[0].overrides.seccomp = Some(Seccomp::Retain(SyscallFilter { names, refusal }));
    },
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_pod_that_can_be_said_is_read_back_as_the_same_pod(pod in pods::pod()) {
        let written = write(&pod);
        let found = read(&written);
        prop_assert_eq!(&found, &normal(&pod), "{}", written);
        prop_assert_eq!(write(&found), written);
    }

    #[test]
    fn what_cannot_be_said_is_refused_or_left_out_and_the_rest_is_read(
        pod in pods::pod(),
        which in prop::sample::subsequence(UNSAYABLE.to_vec(), 1..4),
    ) {
        let mut pod = pod;
        which.iter().for_each(|change| change(&mut pod));
        let refused = kube::write(&pod, Unsupported::Refuse).unwrap_err();
        prop_assert!(refused.len() >= which.len(), "{refused:#?}");
        let written = kube::write(&pod, Unsupported::Ignore).unwrap();
        prop_assert_eq!(&written.left_out, &refused);
        read(&written.text);
    }
}
