//! Volumes whose content comes with the pod: literal files, and images.

use std::path::Path;

use crate::fixture::{app, facts, files, image, mount, pod};
use isopod_plan::facts::RootOrigin;
use isopod_plan::guest::entry::EntryKind;
use isopod_plan::{PodPlan, plan};
use isopod_spec::{Mount, PodSpec, Volume, VolumeKind};

fn planned(pod: &PodSpec) -> PodPlan {
    plan(pod, &facts(pod, &[])).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(pod: &PodSpec) -> String {
    plan(pod, &facts(pod, &[]))
        .expect_err("it was planned")
        .to_string()
}

fn sub_path(volume: &str, target: &str, path: &str) -> Mount {
    Mount {
        sub_path: Some(path.into()),
        ..mount(volume, target)
    }
}

/// A pod whose one app has these mounts of that volume.
fn with(volume: Volume, mounts: Vec<Mount>) -> PodSpec {
    let mut pod = pod();
    pod.volumes = vec![volume];
    pod.apps[0].mounts = mounts;
    pod
}

#[test]
fn files_are_in_the_guest_and_read_only_in_the_app() {
    let volume = files("conf", &[("a.conf", 0o600), ("sub/b", 0o444)]);
    let mut pod = with(volume, vec![mount("conf", "/etc/conf")]);
    // Whatever the pod says.
    pod.volumes[0].read_only = Some(false);
    pod.apps[0].mounts[0].read_only = Some(false);
    let plan = planned(&pod);
    let entry = |path: &str| {
        let entry = &plan.guest.entries[&*Path::new("/isopod/volumes/conf").join(path)];
        let content = match &entry.kind {
            EntryKind::File(content) => String::from_utf8(content.bytes().unwrap().into_owned()).unwrap(),
            kind => format!("{kind:?}"),
        };
        (content, entry.mode, entry.uid, entry.gid)
    };
    assert_eq!(entry("a.conf"), ("a.conf".into(), 0o600, 0, 5));
    assert_eq!(entry("sub"), ("Directory".into(), 0o755, 0, 5));
    assert_eq!(entry("sub/b"), ("sub/b".into(), 0o444, 0, 5));
    assert_eq!(plan.guest.entries[Path::new("/isopod/volumes/conf")].gid, 5);
    let bind = plan.mounts.iter().next().unwrap();
    assert_eq!(bind.what.to_str(), Some("/isopod/volumes/conf"));
    assert_eq!(bind.place.to_str(), Some("/opt/stage2/web/rootfs/etc/conf"));
    assert!(bind.read_only && bind.options.iter().any(|option| option == "ro"));
    assert!(plan.sharing.is_none() && plan.virtiofsd.is_none());
}

#[test]
fn one_file_of_a_volume_is_mounted_as_a_file() {
    let volume = || files("conf", &[("a.conf", 0o644), ("sub/b", 0o644)]);
    let pod = with(
        volume(),
        vec![
            sub_path("conf", "/etc/a.conf", "a.conf"),
            sub_path("conf", "/etc/sub", "sub"),
        ],
    );
    let plan = planned(&pod);
    let whats: Vec<String> = plan
        .mounts
        .iter()
        .map(|mount| mount.source().display().to_string())
        .collect();
    assert_eq!(whats, ["/isopod/volumes/conf/a.conf", "/isopod/volumes/conf/sub"]);
    let point = &plan.guest.entries[Path::new("/isopod/apps/web/seed/etc/a.conf")];
    assert!(matches!(point.kind, EntryKind::File(_)), "{point:?}");
    let missing = refused(&with(volume(), vec![sub_path("conf", "/x", "none")]));
    assert!(missing.contains("cannot mount its path `none`"), "{missing}");
    let below = refused(&with(volume(), vec![sub_path("conf", "/x", "a.conf/y")]));
    assert!(below.contains("`/a.conf` is not a directory"), "{below}");
}

#[test]
fn a_file_that_leads_out_is_refused() {
    let mut pod = with(files("conf", &[("a/../../b", 0o644)]), vec![mount("conf", "/c")]);
    assert!(
        refused(&pod).contains("volume `conf`: `a/../../b` is not a path within it"),
        "{}",
        refused(&pod)
    );
    let VolumeKind::Files(volume) = &mut pod.volumes[0].kind else {
        panic!()
    };
    volume.files[0].path = "b".into();
    planned(&pod);
}

#[test]
fn an_image_is_one_disk_more_however_often_it_is_mounted() {
    let mut pod = with(
        image("model"),
        vec![
            mount("model", "/model"),
            // Through the image's own link.
            sub_path("model", "/weights", "current/weights"),
        ],
    );
    pod.apps.push(app("other"));
    pod.apps[1].mounts = vec![mount("model", "/m")];
    let plan = planned(&pod);
    assert_eq!(plan.images.len(), 2);
    let disks: Vec<_> = plan
        .qemu
        .blockdevs
        .iter()
        .map(|disk| disk.filename.as_path())
        .collect();
    assert_eq!(disks, ["images/0", "images/1", "writable"].map(Path::new));
    let early: Vec<&str> = plan
        .early_mounts
        .iter()
        .map(|mount| mount.mount_point.as_str())
        .collect();
    assert_eq!(
        early,
        [
            "/isopod/images/0",
            "/isopod/images/1",
            "/isopod/writable",
            "/opt/stage2/web/rootfs",
            "/opt/stage2/other/rootfs"
        ]
    );
    let binds: Vec<(String, bool)> = plan
        .mounts
        .iter()
        .map(|mount| (mount.source().display().to_string(), mount.read_only))
        .collect();
    let bind = |source: &str| (source.to_owned(), true);
    assert_eq!(
        binds,
        [
            bind("/isopod/images/1"),
            bind("/isopod/images/1/current/weights"),
            bind("/isopod/images/1")
        ]
    );
    let missing = refused(&with(image("model"), vec![sub_path("model", "/x", "nothing")]));
    assert!(missing.contains("cannot mount its path `nothing`"), "{missing}");
}

#[test]
fn an_image_that_no_app_mounts_is_no_disk() {
    let mut pod = pod();
    pod.volumes = vec![image("model")];
    let plan = planned(&pod);
    assert_eq!(plan.images.len(), 1);
    assert!(
        plan.notices
            .iter()
            .any(|notice| notice.contains("mounted by no app"))
    );
}

#[test]
fn an_app_and_a_volume_of_one_image_share_its_disk() {
    let pod = with(image("model"), vec![mount("model", "/model")]);
    let mut known = facts(&pod, &[]);
    let RootOrigin::Image { rootfs, .. } = known.apps[0].root.as_ref().unwrap().origin.clone() else {
        panic!("it is an image")
    };
    known.volume_images.values_mut().next().unwrap().rootfs = rootfs;
    let plan = plan(&pod, &known).unwrap();
    assert_eq!(plan.images.len(), 1);
    assert_eq!(
        plan.mounts.iter().next().unwrap().what.to_str(),
        Some("/isopod/images/0")
    );
}
