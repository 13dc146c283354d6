//! Who keeps a volume read-only, and where nothing has to.

use isopod_plan::output::document::{Document, ReadOnly};
use isopod_plan::{PodPlan, plan};
use isopod_spec::{MountFlags, RootfsAccess, Submounts};

use super::{planned, point, unit};
use crate::fixture::{app, empty, facts, host, mount, pod, read_only};

/// Each mount of the first app: target, who keeps it read-only.
fn access(plan: &PodPlan) -> Vec<(String, ReadOnly)> {
    let document = Document::from(plan);
    document.apps[0]
        .mounts
        .iter()
        .map(|m| (m.target.shown(), m.read_only))
        .collect()
}

#[test]
fn read_only_is_the_volumes_then_the_mounts_then_the_images() {
    // volume says, mount says, image says at that path: result
    let cases = [
        (None, None, None, false),
        (None, None, Some(true), true),
        (None, Some(false), Some(true), false),
        (None, Some(true), Some(false), true),
        (Some(false), Some(true), Some(true), false),
        (Some(true), Some(false), None, true),
    ];
    for (volume, of_mount, image, expected) in cases {
        let mut pod = pod();
        pod.volumes = vec![host("data", "/srv")];
        pod.volumes[0].read_only = volume;
        pod.apps[0].mounts = vec![mount("data", "/d/")];
        pod.apps[0].mounts[0].read_only = of_mount;
        let mut facts = facts(&pod, &[]);
        let config = &mut facts.apps[0].root.as_mut().unwrap().config;
        config
            .mount_points
            .extend(image.map(|ro| point("other", "/d", ro)));
        let plan = plan(&pod, &facts).unwrap();
        assert_eq!(
            plan.apps[0].mounts[0].read_only, expected,
            "{volume:?} {of_mount:?} {image:?}"
        );
    }
}

#[test]
fn the_host_enforces_read_only_where_no_mount_is_writable() {
    let mut pod = pod();
    pod.apps.push(app("other"));
    pod.volumes = vec![host("both", "/b"), host("ro", "/r")];
    pod.apps[0].mounts = vec![read_only("both", "/both"), read_only("ro", "/ro")];
    pod.apps[1].mounts = vec![mount("both", "/both"), read_only("ro", "/ro")];
    let plan = planned(&pod, &[]);
    assert_eq!(
        access(&plan),
        [("/both".into(), ReadOnly::Guest), ("/ro".into(), ReadOnly::Host)]
    );
    let shared: Vec<(&str, bool)> = plan
        .sharing
        .as_ref()
        .unwrap()
        .volumes
        .iter()
        .map(|v| (v.name.as_str(), v.read_only))
        .collect();
    assert_eq!(shared, [("both", false), ("ro", true)]);
    assert_eq!(
        plan.notices,
        ["volume `both` is read-only for app `web` in the guest only, since another mount of it is writable"]
    );
    assert!(unit(&plan, "opt-stage2-web-rootfs-ro.mount").contains("Options=bind,private,ro\n"));
}

/// The guest has one mount where the host has several: so the guest's is writable, and the host keeps everything but the submounts read-only.
#[test]
fn the_host_alone_keeps_a_mount_read_only_whose_submounts_are_as_on_the_host() {
    let mut pod = pod();
    pod.apps.push(app("other"));
    pod.volumes = vec![host("data", "/d"), empty("memory")];
    pod.apps[0].mounts = vec![read_only("data", "/data"), read_only("memory", "/memory")];
    for mount in &mut pod.apps[0].mounts {
        mount.flags.submounts = Submounts::AsOnHost;
    }
    let unit_of = |plan: &PodPlan, name: &str| unit(plan, &format!("opt-stage2-web-rootfs-{name}.mount"));
    let shared = |plan: &PodPlan| {
        let shared = &plan.sharing.as_ref().unwrap().volumes[0];
        (shared.read_only, shared.submounts)
    };
    let plan = planned(&pod, &[]);
    assert_eq!(
        access(&plan),
        [
            ("/data".into(), ReadOnly::Host),
            ("/memory".into(), ReadOnly::Guest)
        ]
    );
    assert_eq!(shared(&plan), (true, Submounts::AsOnHost));
    assert!(unit_of(&plan, "data").contains("Options=bind,private\n"));
    // Nothing is mounted below a volume of the guest's, which the guest keeps read-only.
    assert!(unit_of(&plan, "memory").contains("Options=bind,private,ro\n"));
    // Not even another mount that says it is writable makes it so.
    pod.apps[1].mounts = vec![mount("data", "/data")];
    assert_eq!(shared(&planned(&pod, &[])), (true, Submounts::AsOnHost));
}

#[test]
fn flags_of_a_mount_are_options_of_its_unit() {
    let mut pod = pod();
    pod.volumes = vec![empty("a")];
    pod.apps[0].mounts = vec![read_only("a", "/a")];
    pod.apps[0].mounts[0].flags = MountFlags {
        nosuid: true,
        nodev: true,
        noexec: true,
        ..MountFlags::default()
    };
    assert!(
        unit(&planned(&pod, &[]), "opt-stage2-web-rootfs-a.mount")
            .contains("Options=bind,private,ro,nosuid,nodev,noexec\n")
    );
}

#[test]
fn a_read_only_root_is_never_writable_for_the_app() {
    let mut pod = pod();
    pod.apps[0].rootfs = RootfsAccess::ReadOnly;
    let made = planned(&pod, &[]);
    let root = made.early_mounts.last().unwrap();
    assert_eq!(
        (root.mount_point.as_str(), root.read_only),
        ("/opt/stage2/web/rootfs", true)
    );
}
