//! What is planned when a volume comes to a pod that runs: as when the pod starts with it, and refused where it cannot be.

use std::collections::BTreeMap;
use std::path::Path;

use crate::fixture::{self, app, empty, facts, host, mount, pod, read_only, tree, volume_name};
use isopod_plan::facts::{Owner, SourceKind};
use isopod_plan::hotplug::{AttachPlan, HotplugRequest, Running, RunningApp, Share, attach, detach};
use isopod_plan::path::{Lookup, Tree};
use isopod_plan::vm::file_server::Ownership;
use isopod_plan::volumes::Source;
use isopod_plan::{PodPlan, plan};
use isopod_spec::{AppName, Mount, MountFlags, PodSpec, RootfsAccess, Volume};
use proptest::prelude::*;

/// A pod that was planned and runs, and the volume `new` that comes to it.
struct Case {
    spec: PodSpec,
    plan: PodPlan,
    image: Tree,
    share: Share,
    ownership: Ownership,
    uid: u32,
    /// What the pod's own host volumes hold.
    held: Tree,
    source: (SourceKind, Tree),
    volume: Volume,
}

impl Case {
    fn new(spec: PodSpec, image: &[&str]) -> Self {
        let plan = plan(&spec, &facts(&spec, image)).unwrap_or_else(|error| panic!("{error}"));
        Self {
            plan,
            image: tree(image),
            share: Share::Bound("virtiofs"),
            ownership: Ownership::ByNumber,
            uid: 0,
            held: tree(&[]),
            source: (
                SourceKind::Directory,
                tree(&["/sub/", "/link -> sub", "/out -> /etc"]),
            ),
            volume: host("new", "/srv/new"),
            spec,
        }
    }

    fn attach(&self, mounts: &[(Option<&str>, Mount)]) -> Result<AttachPlan, String> {
        let apps = self
            .plan
            .apps
            .iter()
            .zip(&self.spec.apps)
            .map(|(planned, app)| RunningApp {
                name: planned.name.clone(),
                image: &self.image,
                rootfs: app.rootfs,
                uid: self.uid,
                mounts: planned.mounts.to_vec(),
            });
        let hosts = self.plan.sharing.iter().flat_map(|sharing| &sharing.volumes);
        let source = |tree| Source {
            kind: SourceKind::Directory,
            tree: tree as &dyn Lookup,
        };
        let sources: BTreeMap<_, _> = hosts
            .map(|volume| (volume.name.clone(), source(&self.held)))
            .collect();
        let running = Running {
            apps: apps.collect(),
            volumes: &self.plan.volumes,
            sources,
            share: self.share,
            systemd_version: 252,
            ownership: self.ownership,
            attached_before: 4,
        };
        let mounts: Vec<_> = mounts
            .iter()
            .map(|(app, mount)| {
                (
                    app.map(|app| AppName::new(app).expect("a valid name")),
                    mount.clone(),
                )
            })
            .collect();
        let coming = HotplugRequest {
            volume: &self.volume,
            path: "/srv/new".into(),
            source: Source {
                kind: self.source.0,
                tree: &self.source.1,
            },
            id: None,
            mounts: &mounts,
        };
        attach(&running, &coming).map_err(|error| error.to_string())
    }

    fn places(&self, mounts: &[(Option<&str>, Mount)]) -> Vec<(usize, String)> {
        let plan = self.attach(mounts).unwrap_or_else(|error| panic!("{error}"));
        let place = |(app, mount): &(usize, isopod_plan::volumes::VolumeMount)| {
            (*app, mount.place.display().to_string())
        };
        plan.mounts.iter().map(place).collect()
    }
}

fn two_apps() -> PodSpec {
    let mut spec = pod();
    spec.apps.push(app("db"));
    spec
}

#[test]
fn units_are_those_of_a_volume_that_was_there_at_the_start() {
    let mut spec = pod();
    spec.volumes = vec![host("new", "/srv/new")];
    let everything = Mount {
        sub_path: Some("link".into()),
        flags: MountFlags {
            nosuid: true,
            nodev: true,
            noexec: true,
            ..MountFlags::default()
        },
        ..read_only("new", "/l/a b%")
    };
    spec.apps[0].mounts = vec![everything.clone()];
    let image = ["/l -> /real", "/real/"];
    let mut facts = facts(&spec, &image);
    if let Some(source) = facts.sources.get_mut(&volume_name("new")) {
        source.tree = tree(&["/sub/", "/link -> sub"]);
    }
    let at_start = plan(&spec, &facts).unwrap();
    let unit = &at_start.mounts[1];
    let later = Case::new(pod(), &image).attach(&[(None, everything)]).unwrap();
    let file = &later.guest.files[0];
    assert_eq!(file.path, unit.name());
    let started = at_start
        .guest
        .text(Path::new(&format!("/usr/lib/systemd/system/{}", unit.name())));
    // All but where the volume itself is.
    assert_eq!(file.text.replace("=/mnt/@5\n", "=/mnt/new\n"), started.unwrap());
    assert_eq!(
        later.shared.read_only,
        at_start.sharing.unwrap().volumes[0].read_only
    );
    assert_eq!((later.serial, &*later.guest.shared), (5, "/mnt/@5"));
    let drop_in = &later.guest.files[1];
    assert_eq!(drop_in.path, "web.service.d/volume-5.conf");
    let name = r"opt-stage2-web-rootfs-real-a\x20b\x25.mount";
    assert_eq!(
        drop_in.text,
        format!(
            "[Unit]\nRequires={name}\nAfter={name}\nAssertPathIsReadWrite=!/opt/stage2/web/rootfs/real/a b%%\n\
             AssertPathIsMountPoint=/opt/stage2/web/rootfs/real/a b%%\n"
        )
    );
}

#[test]
fn an_app_is_named_or_all_are_meant() {
    let case = Case::new(two_apps(), &[]);
    assert_eq!(
        case.places(&[(None, mount("new", "/x"))]),
        [(0, "/x".into()), (1, "/x".into())]
    );
    assert_eq!(
        case.places(&[(Some("db"), mount("new", "/x"))]),
        [(1, "/x".into())]
    );
    // An app's own wins at the same target, and adds to the others at another.
    let plan = case
        .attach(&[(None, mount("new", "/x")), (Some("db"), read_only("new", "/x/."))])
        .unwrap();
    let access: Vec<_> = plan
        .mounts
        .iter()
        .map(|(app, mount)| (*app, mount.read_only))
        .collect();
    assert_eq!(access, [(0, false), (1, true)]);
    assert!(!plan.shared.read_only);
    assert_eq!(
        plan.notices,
        ["volume `new` is read-only for app `db` in the guest only, since another mount of it is writable"]
    );
    assert_eq!(
        case.attach(&[(Some("nobody"), mount("new", "/x")), (None, mount("other", "/y"))]),
        Err("app `nobody`: the pod has no such app\nvolume `other`: it is not the one that is attached, which is `new`".into())
    );
    assert_eq!(
        case.attach(&[]),
        Err("volume `new`: no mount of it is given".into())
    );
}

#[test]
fn read_only_is_the_volumes_then_the_mounts() {
    let mut case = Case::new(pod(), &[]);
    for (volume, mount, expected) in [
        (None, None, false),
        (None, Some(true), true),
        (Some(false), Some(true), false),
        (Some(true), Some(false), true),
    ] {
        case.volume.read_only = volume;
        let wanted = Mount {
            read_only: mount,
            ..fixture::mount("new", "/x")
        };
        let plan = case.attach(&[(None, wanted)]).unwrap();
        assert_eq!(
            (plan.mounts[0].1.read_only, plan.shared.read_only),
            (expected, expected)
        );
    }
}

/// The pod has a host volume at `/d`, a read-only one at `/fixed`, an empty one at `/e`, and `/l` leads to `/d`.
fn mounted() -> Case {
    let mut spec = pod();
    spec.volumes = vec![host("d", "/srv/d"), host("fixed", "/srv/f"), empty("e")];
    spec.apps[0].mounts = vec![
        mount("d", "/d"),
        read_only("fixed", "/fixed"),
        mount("e", "/e/in/e"),
    ];
    let mut case = Case::new(spec, &["/l -> /d", "/etc/conf", "/e/"]);
    case.held = tree(&["/there/", "/file", "/in -> there"]);
    case
}

#[test]
fn targets_lead_through_what_is_mounted() {
    let case = mounted();
    assert_eq!(
        case.places(&[(None, mount("new", "/l/in/x"))]),
        [(0, "/d/there/x".into())]
    );
    assert_eq!(
        case.places(&[(None, mount("new", "/fixed/there"))]),
        [(0, "/fixed/there".into())]
    );
    assert_eq!(case.places(&[(None, mount("new", "/e/in/e/any/where"))]).len(), 1);
    let plan = case
        .attach(&[(None, mount("new", "/l/new/x")), (None, mount("new", "/l/new"))])
        .unwrap();
    let units: Vec<_> = plan.guest.files.iter().map(|file| file.text.clone()).collect();
    assert!(
        units[0].contains("Requires=mnt.mount opt-stage2-web-rootfs-d.mount\n"),
        "{}",
        units[0]
    );
    assert!(
        units[1].contains("Requires=mnt.mount opt-stage2-web-rootfs-d-new.mount\n"),
        "{}",
        units[1]
    );
    for (wanted, reason) in [
        ("/d", "app `web` mounts both volume `d` and volume `new` at `/d`"),
        ("/l", "app `web` mounts both volume `d` and volume `new` at `/d`"),
        (
            "/e",
            "app `web`, volume `new`: cannot mount at `/e`: it would hide volume `e` at `/e/in/e`",
        ),
        (
            "/",
            "app `web`, volume `new`: cannot mount at `/`: it is the app's root filesystem",
        ),
        (
            "/fixed/new",
            "app `web`, volume `new`: cannot mount at `/fixed/new`: it does not exist, and the app may not write to \
             volume `fixed`, in which it would be",
        ),
        (
            "/d/file",
            "app `web`, volume `new`: cannot mount at `/d/file`: it is a file, and a directory cannot be mounted there",
        ),
        (
            "/d/file/x",
            "app `web`, volume `new`: cannot mount at `/d/file/x`: `/d/file` is not a directory",
        ),
    ] {
        assert_eq!(
            case.attach(&[(None, mount("new", wanted))]),
            Err(reason.into()),
            "{wanted}"
        );
    }
}

#[test]
fn files_are_mounted_on_files() {
    let mut case = mounted();
    case.source = (SourceKind::File, tree(&[]));
    let plan = case
        .attach(&[
            (None, mount("new", "/etc/conf")),
            (None, mount("new", "/etc/new")),
        ])
        .unwrap();
    assert!(plan.guest.mounts.iter().all(|mount| mount.file));
    assert_eq!(
        case.places(&[(None, mount("new", "/d/file"))]),
        [(0, "/d/file".into())]
    );
    // As a directory would be, one is made where the app may write.
    assert_eq!(
        case.places(&[(None, mount("new", "/d/nofile"))]),
        [(0, "/d/nofile".into())]
    );
}

#[test]
fn a_root_that_is_read_only_is_not_added_to() {
    let mut spec = pod();
    spec.apps[0].rootfs = RootfsAccess::ReadOnly;
    let case = Case::new(spec, &["/there/"]);
    assert_eq!(case.places(&[(None, mount("new", "/there"))]).len(), 1);
    assert_eq!(
        case.attach(&[(None, mount("new", "/there/new"))]),
        Err("app `web`, volume `new`: cannot mount at `/there/new`: it does not exist, and the app's root filesystem is \
             read-only"
            .into())
    );
}

#[test]
fn a_pod_must_have_a_share() {
    let mut case = Case::new(pod(), &[]);
    case.share = Share::None;
    let words = "cannot attach volume `new`: the pod was started without a device for volumes of the host";
    assert_eq!(case.attach(&[(None, mount("new", "/x"))]), Err(words.into()));
    case.share = Share::Devices;
    case.volume = empty("new");
    assert_eq!(
        case.attach(&[(None, mount("new", "/x"))]),
        Err("cannot attach volume `new`: each volume of the pod is a device of its own, since there is no mount namespace \
             here\ncannot attach volume `new`: only a volume of kind `host` can be attached to a running pod"
            .into())
    );
    // Who names a transport gets the share without a volume, too.
    let mut spec = pod();
    spec.vm.transport = isopod_spec::ShareTransport::NineP;
    let plan = plan(&spec, &facts(&spec, &[])).unwrap();
    assert!(plan.sharing.is_some_and(|sharing| sharing.volumes.is_empty()));
    assert_eq!(plan.qemu.fsdevs.len(), 1);
    assert!(!plan.qemu.fsdevs[0].read_only, "what comes may be written to");
}

#[test]
fn an_ordinary_users_apps_are_distinguished() {
    let mut case = Case::new(pod(), &[]);
    let reported = |case: &Case| case.attach(&[(None, mount("new", "/x"))]).unwrap().notices;
    (case.ownership, case.uid) = (Ownership::RootAsCaller("so it is"), 33);
    let notices = reported(&case);
    assert!(
        notices[0].starts_with("app `web` runs as user 33, but without root"),
        "{notices:?}"
    );
    case.ownership = Ownership::AllAsCaller(Owner { uid: 33, gid: 33 });
    assert!(reported(&case).is_empty());
    case.ownership = Ownership::AllAsCaller(Owner { uid: 0, gid: 0 });
    let notices = reported(&case);
    assert!(
        notices[0].contains("your files in volume `new` belong to user 0 in the guest"),
        "{notices:?}"
    );
}

#[test]
fn more_than_a_message_holds_is_refused() {
    let case = Case::new(pod(), &[]);
    let mounts: Vec<_> = (0..200).map(|i| (None, mount("new", format!("/x{i}")))).collect();
    let error = case.attach(&mounts).unwrap_err();
    assert_eq!(
        error,
        "volume `new`: it is mounted 200 times, which does not fit into one message"
    );
}

/// The agent reads and empties its own file there when the app ends: a volume's would be emptied, too.
#[test]
fn nothing_comes_in_place_of_the_file_for_last_words() {
    let mut case = Case::new(pod(), &[]);
    case.source.0 = SourceKind::File;
    let mounts = [(None, mount("new", "/dev/termination-log"))];
    let error = case.attach(&mounts).unwrap_err();
    assert!(
        error.contains("a volume can only be from the pod's start"),
        "{error}"
    );
}

#[test]
fn only_what_came_goes() {
    let (a, b, started) = (volume_name("a"), volume_name("b"), volume_name("started"));
    let (x, below, beside) = (Path::new("/x"), Path::new("/x/y"), Path::new("/xy"));
    let attached = [(&a, vec![(0, x)]), (&b, vec![(0, below), (1, x)])];
    let try_detach = |name| detach(name, &attached, [&started]).map_err(|fault| fault.to_string());
    assert_eq!(try_detach(&b), Ok(()));
    assert_eq!(
        try_detach(&a),
        Err("volume `a`: volume `b` is mounted in it, at `/x/y`: detach that one first".into())
    );
    assert_eq!(
        try_detach(&started),
        Err("volume `started`: the pod was started with it; only what was attached can be detached".into())
    );
    assert_eq!(
        try_detach(&volume_name("c")),
        Err("volume `c`: the pod has no such volume".into())
    );
    let attached = [(&a, vec![(0, x)]), (&b, vec![(0, beside), (1, below)])];
    assert_eq!(detach(&a, &attached, []), Ok(()));
}

proptest! {
    /// Whatever comes later is where it would have been from the start.
    #[test]
    fn places_are_those_of_the_start(targets in prop::collection::vec("(/(l|d|real|x y|%|\\.\\.|conf)){1,4}", 1..4)) {
        let image = ["/l -> /real", "/real/d -> /x y", "/conf -> real/../l"];
        let mut whole = pod();
        whole.volumes = vec![host("old", "/srv/old"), host("new", "/srv/new")];
        whole.apps[0].mounts = vec![mount("old", "/real/x y")];
        let mut before = whole.clone();
        before.volumes.pop();
        whole.apps[0].mounts.extend(targets.iter().map(|target| mount("new", target)));
        let case = Case::new(before, &image);
        let later: Vec<_> = targets.iter().map(|target| (None, mount("new", target))).collect();
        if let Ok(later) = case.attach(&later) {
            let at_start = plan(&whole, &facts(&whole, &image)).unwrap();
            let mut at_start: Vec<_> = at_start.apps[0].mounts.iter().filter(|m| m.volume == volume_name("new")).cloned().collect();
            let mut later: Vec<_> = later.mounts.into_iter().map(|(_, mount)| mount).collect();
            at_start.sort_by(|a, b| a.place.cmp(&b.place));
            later.sort_by(|a, b| a.place.cmp(&b.place));
            prop_assert_eq!(later, at_start);
        }
    }
}
