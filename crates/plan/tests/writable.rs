//! Where what apps write is kept: on one disk of the pod, in the guest's memory where there can be none, and what of it
//! ends when.

use std::path::Path;

use crate::fixture::{app, empty, facts, mount};
use isopod_contract::config::{EarlyMount, NewDirectory};
use isopod_plan::explain;
use isopod_plan::facts::Facts;
use isopod_plan::layout::ARRIVAL;
use isopod_plan::output::document::Document;
use isopod_plan::path::{Node, NodeKind};
use isopod_plan::{PodPlan, plan};
use isopod_spec::{
    EmptyVolume, Medium, MountPoint, PodSpec, RestartPolicy, RootOnRestart, RootfsAccess, Volume, VolumeKind,
    VolumeName,
};

const GIB: u64 = 1 << 30;

fn planned(pod: &PodSpec, known: &Facts) -> PodPlan {
    plan(pod, known).unwrap_or_else(|error| panic!("{error}"))
}

fn disk(plan: &PodPlan) -> Option<&EarlyMount> {
    plan.early_mounts
        .iter()
        .find(|mount| mount.mount_point == "/isopod/writable")
}

fn directory<'a>(plan: &'a PodPlan, path: &str) -> Option<&'a NewDirectory> {
    let directories = &disk(plan)?.directories;
    directories
        .iter()
        .find(|directory| directory.path == format!("/isopod/writable/{path}"))
}

fn on_disk(name: &str, size_bytes: Option<u64>) -> Volume {
    Volume {
        kind: VolumeKind::Empty(EmptyVolume {
            medium: Medium::Disk,
            mode: Some(0o777),
            size_bytes,
            ..EmptyVolume::default()
        }),
        ..empty(name)
    }
}

/// The disk is the last one, behind those of volumes, and the guest receives the error of a failed write to it.
#[test]
fn roots_and_volumes_without_a_size_share_a_disk() {
    let mut pod = PodSpec::new(vec![app("web"), app("db")]);
    pod.volumes = vec![on_disk("own", Some(GIB)), on_disk("data", None), empty("memory")];
    pod.apps[1].mounts = ["own", "data", "memory"]
        .map(|name| mount(name, format!("/{name}")))
        .into();
    let mut known = facts(&pod, &["/var/lib/db/"]);
    for app in &mut known.apps {
        let image = app.root.as_mut().unwrap();
        let root = Node {
            kind: NodeKind::Directory,
            mode: 0o711,
            uid: 5,
            gid: 6,
        };
        image.tree.0.insert("/".into(), root);
        image.config.mount_points = vec![MountPoint {
            name: VolumeName::new("db").unwrap(),
            path: "/var/lib/db".into(),
            read_only: false,
        }];
    }
    let plan = planned(&pod, &known);
    assert_eq!(plan.writable_bytes, Some(10 * GIB));
    let files: Vec<&str> = plan
        .qemu
        .blockdevs
        .iter()
        .map(|disk| disk.filename.to_str().unwrap())
        .collect();
    assert_eq!(files, ["images/0", "disks/own", "writable"]);
    let properties: Vec<_> = plan
        .qemu
        .devices
        .iter()
        .filter(|device| device.driver == "virtio-blk-pci")
        .collect();
    assert_eq!(properties[0].properties, [("drive", "disk0".to_owned())]);
    assert_eq!(
        properties[2].properties,
        [("drive", "disk2".to_owned()), ("werror", "report".to_owned())]
    );
    let writable = disk(&plan).unwrap();
    assert_eq!((&*writable.source, &*writable.fs_type), ("/dev/vdc", "ext4"));
    let attributes =
        |path| directory(&plan, path).map(|found| (found.mode, found.uid, found.gid, found.emptied));
    assert_eq!(attributes("apps/web/upper"), Some((0o711, 5, 6, false)));
    assert_eq!(attributes("apps/db/work"), Some((0o700, 0, 0, false)));
    assert_eq!(attributes("volumes/data"), Some((0o777, 0, 0, false)));
    // What begins as the image has it: the overlay on it has the directory's mode.
    assert_eq!(attributes("volumes/web-db"), Some((0o700, 0, 0, false)));
    assert_eq!(attributes("volumes/own").or(attributes("volumes/memory")), None);
    // Parents first.
    let paths: Vec<&str> = writable
        .directories
        .iter()
        .map(|directory| directory.path.as_str())
        .collect();
    for (i, path) in paths.iter().enumerate() {
        let parent = Path::new(path).parent().unwrap().to_str().unwrap();
        assert!(
            parent == "/isopod/writable" || paths[..i].contains(&parent),
            "{path}"
        );
    }
    let config: serde_json::Value =
        serde_json::from_str(&plan.guest.text(Path::new(ARRIVAL)).unwrap()).unwrap();
    assert_eq!(
        config["disks"],
        serde_json::json!(["/isopod/writable", "/isopod/volumes/own"])
    );
    let shown = explain(&Document::from(&plan));
    assert!(
        shown.contains("\ndisk     10 GiB for what the apps write\n"),
        "{shown}"
    );
}

#[test]
fn what_is_not_written_needs_no_disk() {
    let mut pod = PodSpec::new(vec![app("web")]);
    pod.volumes = vec![on_disk("unused", None), empty("memory")];
    pod.apps[0].rootfs = RootfsAccess::ReadOnly;
    pod.apps[0].mounts = vec![mount("memory", "/m")];
    let plan = planned(&pod, &facts(&pod, &[]));
    assert_eq!((plan.writable_bytes, disk(&plan)), (None, None));
    assert_eq!(plan.qemu.blockdevs.len(), 1);
}

/// As docker's, an app's root stays until the pod goes; as Kubernetes', it ends with the container.
#[test]
fn only_a_fresh_root_is_emptied() {
    let mut pod = PodSpec::new(vec![app("kept"), app("fresh")]);
    pod.apps[1].root_on_restart = RootOnRestart::Fresh;
    pod.apps[1].restart = RestartPolicy::Always;
    let plan = planned(&pod, &facts(&pod, &[]));
    let emptied = |path: &str| directory(&plan, path).unwrap().emptied;
    assert_eq!(
        [
            "apps/kept/upper",
            "apps/kept/work",
            "apps/fresh/upper",
            "apps/fresh/work"
        ]
        .map(emptied),
        [false, false, true, true]
    );
}

#[test]
fn it_is_as_large_as_asked_or_as_the_host_has_room() {
    let mut pod = PodSpec::new(vec![app("web")]);
    let mut known = facts(&pod, &[]);
    let mut size = |asked, free_bytes| {
        pod.storage_bytes = asked;
        known.host.free_bytes = free_bytes;
        planned(&pod, &known).writable_bytes
    };
    assert_eq!(size(None, 9 * GIB + 5), Some(9 * GIB));
    assert_eq!(size(None, 200 << 20), Some(192 << 20));
    assert_eq!(size(None, 63 << 20), None);
    assert_eq!(size(Some(20 * GIB), GIB), Some(20 * GIB));
    assert_eq!(size(Some(GIB), 200 * GIB), Some(GIB));
}

/// Nothing that was asked for is left out silently: what can do without the disk gets a note.
#[test]
fn without_a_file_system_it_is_the_memory_or_refused() {
    let mut pod = PodSpec::new(vec![app("web")]);
    pod.apps[0].anonymous = vec!["/data".into()];
    let mut known = facts(&pod, &[]);
    known.host.mkfs = None;
    let plan = planned(&pod, &known);
    assert_eq!(disk(&plan), None);
    assert_eq!(
        plan.notices,
        [
            "what the apps write is kept in the VM's memory, until the pod stops: `mkfs.ext4` was not found (`e2fsprogs` has it)"
        ]
    );
    let overlay = plan.early_mounts.last().unwrap();
    assert!(
        overlay
            .options
            .ends_with("upperdir=/isopod/apps/web/upper,workdir=/isopod/apps/web/work")
    );
    pod.storage_bytes = Some(GIB);
    let words = isopod_plan::plan(&pod, &known).unwrap_err().to_string();
    assert!(words.contains("`--storage-opt`"), "{words}");
    pod.storage_bytes = None;
    pod.volumes = vec![on_disk("data", None)];
    pod.apps[0].mounts = vec![mount("data", "/d")];
    assert!(isopod_plan::plan(&pod, &known).is_err());
    (known.host.mkfs, known.host.free_bytes) = (Some("/sbin/mkfs.ext4".into()), 1 << 20);
    let words = isopod_plan::plan(&pod, &known).unwrap_err().to_string();
    assert!(words.contains("has 1 MiB left"), "{words}");
}

/// The last device, which moves no other, and only where the guest's kernel has its driver.
#[test]
fn what_the_guest_frees_is_given_back() {
    let pod = PodSpec::new(vec![app("web")]);
    let mut known = facts(&pod, &[]);
    let balloon = |known: &Facts| {
        let plan = planned(&pod, known);
        let config = plan.guest.text(Path::new(ARRIVAL)).unwrap();
        let last = plan.qemu.devices.last().unwrap();
        (
            last.driver == "virtio-balloon-pci",
            config.contains("virtio_balloon"),
        )
    };
    assert_eq!(balloon(&known), (true, true));
    known.host.guest.modules.remove("virtio_balloon");
    assert_eq!(balloon(&known), (false, false));
}
