//! The plan of an app that comes to a pod which runs, held against the plan of a pod that it starts with.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::fixture::{app, empty, facts, files, host, mount, read_only};
use isopod_contract::config::{Arrival, GuestApp};
use isopod_plan::arriving::{ArrivalPlan, RunningPod, arrive};
use isopod_plan::guest::tree::GuestTree;
use isopod_plan::hotplug::Share;
use isopod_plan::layout;
use isopod_plan::vm::file_server::Ownership;
use isopod_plan::{PodPlan, plan};
use isopod_spec::{EmptyVolume, Medium, PodSpec, RootfsAccess, Volume, VolumeKind};
use proptest::prelude::*;

fn on_disk(name: &str) -> Volume {
    Volume {
        kind: VolumeKind::Empty(EmptyVolume {
            medium: Medium::Disk,
            ..EmptyVolume::default()
        }),
        ..empty(name)
    }
}

/// A pod of these apps, which mount these volumes in the last one.
fn pod(apps: &[&str], rootfs: RootfsAccess, mounts: &[(u8, bool)]) -> PodSpec {
    let mut pod = PodSpec::new(apps.iter().map(|name| app(name)).collect());
    pod.hostname = Some("pod".into());
    pod.held = true;
    let last = pod.apps.last_mut().unwrap();
    last.rootfs = rootfs;
    for (i, (kind, reads)) in mounts.iter().enumerate() {
        let name = format!("v{i}");
        pod.volumes.push(match kind % 3 {
            0 => host(&name, format!("/srv/{i}")),
            1 => on_disk(&name),
            _ => files(&name, &[("file", 0o640)]),
        });
        last.mounts.push(match reads {
            true => read_only(&name, format!("/at/{i}")),
            false => mount(&name, format!("/at/{i}")),
        });
    }
    pod
}

fn running(plan: &PodPlan, changes: u32) -> RunningPod {
    RunningPod {
        apps: plan.apps.iter().map(|app| app.name.clone()).collect(),
        volumes: BTreeSet::new(),
        share: Share::Bound("virtiofs"),
        network: plan
            .network
            .as_ref()
            .map(|network| (network.guest.clone(), network.nameservers.clone())),
        images: plan.images.iter().map(|image| image.id.clone()).collect(),
        ownership: Ownership::ByNumber,
        changes,
        arrivals: 1,
        writable: true,
        slice: false,
    }
}

/// What is the app's own among the files, with the volumes of the host by their names.
fn own(tree: &GuestTree, binds: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let is_own = |path: &str| path.contains("/b/") || path.contains("/b.service") || path.contains("-b-");
    let text = |path: &Path| {
        let mut text = tree.text(path).unwrap_or_default();
        for (bound, name) in binds {
            text = text.replace(bound, name);
        }
        // The share itself is there, whoever mounted it.
        let of_share = |line: &&str| line.ends_with("=mnt.mount") || *line == "AssertPathIsMountPoint=/mnt";
        let lines = text.lines().filter(|line| !of_share(line));
        lines.map(|line| line.replace("mnt.mount ", "") + "\n").collect()
    };
    tree.iter()
        .map(|(path, _)| (path.display().to_string(), text(&path)))
        .filter(|(path, _)| is_own(path) && !path.ends_with("/mnt.mount"))
        .collect()
}

fn guest_app(tree: &GuestTree, name: &str) -> GuestApp {
    let text = tree.text(Path::new(layout::ARRIVAL)).unwrap();
    let arrival: Arrival = serde_json::from_str(&text).unwrap();
    arrival.apps.into_iter().find(|app| app.name == name).unwrap()
}

fn arrived(pod: &PodSpec, running: &RunningPod) -> ArrivalPlan {
    arrive(running, pod, &facts(pod, &["/at/"]), false).unwrap_or_else(|error| panic!("{error}"))
}

proptest! {
    /// A pod of two apps is a pod of one to which the other comes: units, files, mounts and what the agent receives are the
    /// same, but for where what is the host's is bound.
    #[test]
    fn a_pod_is_the_fold_of_its_arrivals(
        writes in any::<bool>(),
        mounts in prop::collection::vec((any::<u8>(), any::<bool>()), 0..5),
        changes in 0..3u32,
    ) {
        let rootfs = if writes { RootfsAccess::Writable } else { RootfsAccess::ReadOnly };
        let both = pod(&["a", "b"], rootfs, &mounts);
        let whole = plan(&both, &facts(&both, &["/at/"])).unwrap();
        let first = pod(&["a"], RootfsAccess::Writable, &[]);
        let first = plan(&first, &facts(&first, &["/at/"])).unwrap();
        let then = arrived(&pod(&["b"], rootfs, &mounts), &running(&first, changes));

        prop_assert_eq!(then.binds.len(), mounts.iter().filter(|(kind, _)| kind % 3 == 0).count());
        let binds = then.binds.iter().map(|(serial, shared)| {
            let at = layout::attached_volume(*serial).display().to_string();
            (at, layout::shared_volume(&shared.name).display().to_string())
        });
        let binds: BTreeMap<String, String> = binds.collect();
        prop_assert_eq!(own(&then.guest, &binds), own(&whole.guest, &binds));
        let mut one = guest_app(&whole.guest, "b");
        one.mounts.retain(|mount| mount.unit != "mnt.mount");
        let other = guest_app(&then.guest, "b");
        prop_assert_eq!(one, other);
        prop_assert_eq!(&whole.apps[1], &then.app);
        // All that came goes again.
        for (path, _) in then.guest.iter() {
            let path = path.display().to_string();
            let is_unit = path.starts_with(layout::UNIT_DIR) && !path.ends_with("pod.slice");
            let goes = then.departure.paths.iter().any(|gone| path.starts_with(gone.as_str()));
            let is_parent = then.departure.paths.iter().any(|gone| gone.starts_with(path.as_str()));
            prop_assert!(goes || is_parent || path == layout::ARRIVAL || !is_unit && !path.contains("/b"), "{}", path);
        }
    }
}

/// The file of an image that the pod has not is bound, mounted by its number, and goes with the app.
#[test]
fn an_image_comes_as_a_file() {
    let first = pod(&["a"], RootfsAccess::Writable, &[]);
    let first = plan(&first, &facts(&first, &[])).unwrap();
    let known = RunningPod {
        images: vec!["sha256-other".into()],
        arrivals: 3,
        changes: 7,
        ..running(&first, 0)
    };
    let then = arrived(&pod(&["b"], RootfsAccess::Writable, &[(0, false)]), &known);
    let numbers: Vec<u32> = then.binds.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [8, 9]);
    let text = then.guest.text(Path::new(layout::ARRIVAL)).unwrap();
    let arrival: Arrival = serde_json::from_str(&text).unwrap();
    let image = &arrival.early_mounts[0];
    assert_eq!(
        (&*image.source, &*image.mount_point),
        ("/mnt/@8", "/isopod/images/4")
    );
    assert_eq!(arrival.modules, ["loop"]);
    assert_eq!((arrival.identity, &*arrival.unit), (None, "arrival-3.target"));
    assert!(
        then.departure
            .mount_points
            .contains(&"/isopod/images/4".to_owned())
    );
    assert_eq!(then.departure.units, ["arrival-3.target", "b.service"]);
    assert_eq!(then.departure.app, 1);
}

#[test]
fn what_cannot_come_is_refused_with_the_reason() {
    let first = pod(&["a"], RootfsAccess::Writable, &[]);
    let first = plan(&first, &facts(&first, &[])).unwrap();
    let why = |pod: &PodSpec, running: &RunningPod| {
        let refused = arrive(running, pod, &facts(pod, &[]), false).unwrap_err();
        refused.to_string()
    };
    let b = pod(&["b"], RootfsAccess::Writable, &[]);
    let known = running(&first, 0);
    assert!(why(&pod(&["a"], RootfsAccess::Writable, &[]), &known).contains("each name is used once"));
    for share in [Share::None, Share::Devices] {
        let known = RunningPod {
            share,
            ..known.clone()
        };
        assert!(why(&b, &known).contains("the pod"), "{share:?}");
    }
    let mut sized = pod(&["b"], RootfsAccess::Writable, &[]);
    sized.volumes = vec![Volume {
        kind: VolumeKind::Empty(EmptyVolume {
            medium: Medium::Disk,
            size_bytes: Some(1 << 30),
            ..EmptyVolume::default()
        }),
        ..empty("own")
    }];
    sized.apps[0].mounts = vec![mount("own", "/own")];
    assert!(why(&sized, &known).contains("a disk of its own"));
}
