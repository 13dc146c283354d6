//! Volumes that are the pod's own: empty ones, and those that images want.

use std::path::Path;

use isopod_plan::guest::entry::EntryKind;
use isopod_plan::path::{Node, NodeKind};
use isopod_plan::plan;
use isopod_spec::{EmptyVolume, ImplicitVolumes, Medium, PodSpec, VolumeKind};

use super::{planned, point, refused, unit};
use crate::fixture::{app, empty, facts, host, mount, pod};

#[test]
fn an_images_volume_gets_an_empty_one_with_the_images_owner() {
    let pod = pod();
    let mut known = facts(&pod, &["/var/lib/db/"]);
    let image = known.apps[0].root.as_mut().unwrap();
    image.config.mount_points = vec![point("volume-var-lib-db", "/var/lib/db", false)];
    let node = Node {
        kind: NodeKind::Directory,
        mode: 0o700,
        uid: 999,
        gid: 998,
    };
    image.tree.0.insert("/var/lib/db".into(), node);
    let made = plan(&pod, &known).unwrap();
    let Some(VolumeKind::Empty(empty)) = made.volumes.first().map(|volume| &volume.kind) else {
        panic!("{:?}", made.volumes)
    };
    assert_eq!(
        (empty.mode, empty.uid, empty.gid),
        (Some(0o700), Some(999), Some(998))
    );
    // It is laid over the image's directory, whose content is seen so.
    let text = unit(&made, "opt-stage2-web-rootfs-var-lib-db.mount");
    let over = "What=/isopod/images/0\nWhere=/opt/stage2/web/rootfs/var/lib/db\nType=overlay\n\
                Options=private,X-mount.subdir=var/lib/db,X-isopod.upper=/isopod/writable/volumes/web-volume-var-lib-db\n";
    assert!(text.contains(over), "{text}");
    assert_eq!(
        made.notices,
        [
            "app `web`: its image declares a volume at `/var/lib/db`: it gets one of its own, with the image's files"
        ]
    );
    // Also where a link is the mount point: what it leads to begins so.
    let mut linked = known.clone();
    let image = linked.apps[0].root.as_mut().unwrap();
    image.config.mount_points = vec![point("db", "/db", false)];
    let link = Node {
        kind: NodeKind::Symlink("/var/lib/db".into()),
        mode: 0o777,
        uid: 0,
        gid: 0,
    };
    image.tree.0.insert("/db".into(), link);
    let linked = plan(&pod, &linked).unwrap();
    assert!(unit(&linked, "opt-stage2-web-rootfs-var-lib-db.mount").contains("X-mount.subdir=var/lib/db,"));
    let strict = PodSpec {
        implicit_volumes: ImplicitVolumes::Refuse,
        ..pod.clone()
    };
    assert_eq!(
        refused(&strict, &known),
        "no volume for mount point `volume-var-lib-db` (`/var/lib/db`) of app `web`"
    );
    // A volume of the mount point's name is bound to it.
    let mut named = pod.clone();
    named.volumes = vec![host("volume-var-lib-db", "/srv/db")];
    known.sources = facts(&named, &[]).sources;
    let bound = plan(&named, &known).unwrap();
    assert!(bound.notices.is_empty());
    assert_eq!(bound.apps[0].mounts[0].volume.as_str(), "volume-var-lib-db");
}

#[test]
fn two_apps_of_one_image_do_not_share_implicit_volumes() {
    let mut pod = pod();
    pod.apps.push(app("db"));
    let mut known = facts(&pod, &[]);
    for app in &mut known.apps {
        app.root.as_mut().unwrap().config.mount_points = vec![point("data", "/data", false)];
    }
    let plan = plan(&pod, &known).unwrap();
    let names: Vec<&str> = plan
        .apps
        .iter()
        .map(|app| app.mounts[0].volume.as_str())
        .collect();
    assert_eq!(names, ["web-data", "db-data"]);
    assert_eq!(plan.images.len(), 1, "one image is attached once");
}

#[test]
fn empty_volumes_have_mode_owner_and_size() {
    let mut pod = pod();
    let sized = EmptyVolume {
        mode: Some(0o1777),
        uid: Some(7),
        size_bytes: Some(65536),
        ..EmptyVolume::default()
    };
    pod.volumes = vec![empty("plain"), empty("sized")];
    pod.volumes[1].kind = VolumeKind::Empty(sized);
    pod.apps[0].mounts = vec![mount("plain", "/p"), mount("sized", "/s")];
    let made = planned(&pod, &[]);
    let text = unit(&made, "isopod-volumes-sized.mount");
    assert!(
        text.contains("Type=tmpfs\nOptions=size=65536,mode=1777,uid=7,gid=0\n"),
        "{text}"
    );
    assert!(unit(&made, "opt-stage2-web-rootfs-s.mount").contains("After=isopod-volumes-sized.mount\n"));
}

/// One without a size is a file system of its own as well, and all of them together are less than the VM's memory.
#[test]
fn volumes_in_memory_leave_memory_to_the_pod() {
    let mut pod = pod();
    pod.vm.memory_mib = 512;
    pod.volumes = vec![empty("one")];
    pod.apps[0].mounts = vec![mount("one", "/1")];
    assert!(
        unit(&planned(&pod, &[]), "isopod-volumes-one.mount").contains("Options=size=201326592,mode=755")
    );
    pod.volumes.push(empty("two"));
    pod.apps[0].mounts.push(mount("two", "/2"));
    let made = planned(&pod, &[]);
    for name in ["one", "two"] {
        let text = unit(&made, &format!("isopod-volumes-{name}.mount"));
        assert!(text.contains("Options=size=100663296,mode=755"), "{text}");
    }
    assert!(made.notices.is_empty(), "{:?}", made.notices);
    pod.volumes[0].kind = VolumeKind::Empty(EmptyVolume {
        size_bytes: Some(1 << 30),
        ..EmptyVolume::default()
    });
    let notices = planned(&pod, &[]).notices;
    assert!(
        notices[0].contains("ask for 1024 MiB together and get 288 MiB, since the VM has 512 MiB"),
        "{notices:?}"
    );
}

#[test]
fn empty_volumes_may_be_kept_on_disk() {
    let mut pod = pod();
    let on_disk = EmptyVolume {
        medium: Medium::Disk,
        size_bytes: Some(64 << 20),
        ..EmptyVolume::default()
    };
    pod.volumes = vec![empty("scratch")];
    pod.volumes[0].kind = VolumeKind::Empty(on_disk);
    pod.apps[0].mounts = vec![mount("scratch", "/s")];
    let mut known = facts(&pod, &[]);
    let made = plan(&pod, &known).unwrap();
    assert!(unit(&made, "isopod-volumes-scratch.mount").contains("What=/isopod/disks/scratch\n"));
    let link = &made.guest.entries[Path::new("/isopod/disks/scratch")];
    assert_eq!(
        link.kind,
        EntryKind::Symlink("/dev/vdb".into()),
        "the disk behind the image's"
    );
    assert!(!made.qemu.blockdevs[2].read_only);
    known.host.mkfs = None;
    assert!(refused(&pod, &known).contains("`mkfs.ext4` and `debugfs` were not found"));
}
