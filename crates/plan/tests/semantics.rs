//! What a pod's volumes mean, rule by rule (docs/volumes.md has the rules for users).

mod fixture;

use std::path::Path;

use fixture::{app, empty, facts, host, launch, mount, pod, read_only, tree, volume_name};
use isopod_plan::facts::{Facts, HostUser, Namespaces, SourceKind, VirtiofsdFlavour};
use isopod_plan::guest::entry::{Content, EntryKind};
use isopod_plan::output::document::{Document, ReadOnly};
use isopod_plan::path::{Node, NodeKind};
use isopod_plan::{PodPlan, plan};
use isopod_spec::flags::Published;
use isopod_spec::{
    AppRoot, Capabilities, Dependency, DependencyCondition, EmptyVolume, EnvVar, ImagePort, ImageReference,
    ImageSource, ImplicitVolumes, Medium, MountFlags, MountPoint, Network, PodSpec, RootfsAccess,
    ShareTransport, UserNetwork, UserRouter, VolumeKind,
};

fn planned(pod: &PodSpec, image: &[&str]) -> PodPlan {
    plan(pod, &facts(pod, image)).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(pod: &PodSpec, facts: &Facts) -> String {
    plan(pod, facts).expect_err("must be refused").to_string()
}

/// Each mount of the first app: target, who keeps it read-only.
fn access(plan: &PodPlan) -> Vec<(String, ReadOnly)> {
    let document = Document::from(plan);
    document.apps[0]
        .mounts
        .iter()
        .map(|m| (m.target.shown(), m.read_only))
        .collect()
}

fn places(plan: &PodPlan) -> Vec<String> {
    plan.apps[0]
        .mounts
        .iter()
        .map(|m| m.place.display().to_string())
        .collect()
}

fn unit(plan: &PodPlan, name: &str) -> String {
    let path = Path::new(isopod_plan::layout::UNIT_DIR).join(name);
    plan.guest
        .text(&path)
        .unwrap_or_else(|| panic!("no unit `{name}`"))
}

fn point(name: &str, path: &str, read_only: bool) -> MountPoint {
    MountPoint {
        name: volume_name(name),
        path: path.into(),
        read_only,
    }
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
        [
            "volume `both` is read-only for app `web` by the guest alone, since another mount of it is writable"
        ]
    );
    assert!(unit(&plan, "opt-stage2-web-rootfs-ro.mount").contains("Options=bind,private,ro\n"));
}

#[test]
fn nested_targets_are_mounted_parent_first_and_systemd_is_told() {
    let mut pod = pod();
    pod.volumes = vec![empty("inner"), host("outer", "/o"), empty("deep")];
    pod.apps[0].mounts = vec![
        mount("deep", "/a/b/c"),
        mount("inner", "/a/b"),
        mount("outer", "/a"),
    ];
    let plan = planned(&pod, &[]);
    assert_eq!(places(&plan), ["/a", "/a/b", "/a/b/c"]);
    let text = unit(&plan, "opt-stage2-web-rootfs-a-b-c.mount");
    let before = "isopod-volumes-deep.mount opt-stage2-web-rootfs-a-b.mount";
    assert!(text.contains(&format!("After={before}\n")), "{text}");
    assert!(text.contains(&format!("Requires={before}\n")), "{text}");
    let text = unit(&plan, "opt-stage2-web-rootfs-a.mount");
    assert!(text.contains("After=mnt.mount\n"), "{text}");
}

#[test]
fn links_of_the_image_are_followed_inside_the_apps_root() {
    let mut pod = pod();
    pod.volumes = vec![empty("a"), empty("b"), empty("c")];
    pod.apps[0].mounts = vec![mount("a", "/var/run/x"), mount("b", "/up"), mount("c", "/rel/y")];
    let image = [
        "/var/run -> /run",
        "/run/",
        "/up -> ../../../../etc/conf",
        "/etc/conf/",
        "/rel -> var/run/../lib",
        "/var/lib/",
    ];
    let plan = planned(&pod, &image);
    // `..` behind a link is that of where it leads: /var/run/.. is /.
    assert_eq!(places(&plan), ["/etc/conf", "/lib/y", "/run/x"]);
    let mut pod = pod.clone();
    pod.apps[0].mounts = vec![mount("a", "/loop/x")];
    let facts = facts(&pod, &["/loop -> /loop"]);
    assert!(refused(&pod, &facts).contains("too many symbolic links, `/loop` is among them"));
}

#[test]
fn two_targets_that_are_one_place_are_refused() {
    let mut pod = pod();
    pod.volumes = vec![empty("a"), empty("b")];
    pod.apps[0].mounts = vec![mount("a", "/var/run/x"), mount("b", "/run/x")];
    let facts = facts(&pod, &["/var/run -> /run", "/run/"]);
    let words = refused(&pod, &facts);
    assert!(
        words.contains("mounts both volume `b` and volume `a` at `/run/x`")
            || words.contains("mounts both volume `a` and volume `b` at `/run/x`"),
        "{words}"
    );
}

#[test]
fn a_link_may_lead_a_shallow_target_below_a_deeper_one() {
    let mut pod = pod();
    pod.volumes = vec![empty("deep"), empty("shallow")];
    pod.apps[0].mounts = vec![mount("shallow", "/l"), mount("deep", "/x/y")];
    let plan = planned(&pod, &["/l -> /x/y/z", "/x/y/z/"]);
    assert_eq!(places(&plan), ["/x/y", "/x/y/z"]);
}

#[test]
fn a_missing_mount_point_is_made_or_refused() {
    let mut pod = pod();
    pod.volumes = vec![host("parent", "/p"), empty("child")];
    pod.apps[0].mounts = vec![read_only("parent", "/a"), mount("child", "/a/b")];
    let mut known = facts(&pod, &[]);
    let words = refused(&pod, &known);
    assert!(
        words.ends_with(
            "it does not exist, and the app may not write to volume `parent`, in which it would be"
        ),
        "{words}"
    );
    known.sources.get_mut(&volume_name("parent")).unwrap().tree = tree(&["/b/"]);
    assert_eq!(places(&plan(&pod, &known).unwrap()), ["/a", "/a/b"]);
    // The mount alone is read-only, and the volume is not.
    pod.apps[0].mounts = vec![read_only("parent", "/a")];
    pod.apps[0].mounts[0].sub_path = Some("new".into());
    let faults = plan(&pod, &known).unwrap_err().faults;
    let words = faults[0].to_string();
    assert!(
        words.ends_with(
            "it does not exist, and the app may not write to volume `parent`, in which it would be"
        ),
        "{words}"
    );
    let hint = "create `new` in volume `parent`'s source, or let the app write to that volume";
    assert_eq!(faults[0].hint().as_deref(), Some(hint));
    // In the image: with the owners and modes of what is there already.
    let mut pod = pod.clone();
    pod.apps[0].mounts = vec![mount("child", "/opt/x/y")];
    let mut known = facts(&pod, &["/opt/"]);
    let node = Node {
        kind: NodeKind::Directory,
        mode: 0o750,
        uid: 3,
        gid: 4,
    };
    known.apps[0]
        .root
        .as_mut()
        .unwrap()
        .tree
        .0
        .insert("/opt".into(), node);
    let plan = plan(&pod, &known).unwrap();
    let upper = |path: &str| {
        let entry = &plan.guest.entries[Path::new("/isopod/apps/web/seed").join(path).as_path()];
        (entry.mode, entry.uid, entry.gid)
    };
    assert_eq!(
        [upper("opt"), upper("opt/x"), upper("opt/x/y")],
        [(0o750, 3, 4), (0o755, 0, 0), (0o755, 0, 0)]
    );
}

/// What an app finds below `/dev` and `/sys` is the guest's, whatever its image has there: a volume is mounted in that.
#[test]
fn volumes_below_dev_and_at_sys_are_where_the_app_sees_them() {
    let mut pod = pod();
    pod.volumes = vec![empty("shm"), host("log", "/l"), empty("cgroup")];
    pod.apps[0].mounts = vec![
        mount("shm", "/dev/shm"),
        mount("log", "/dev/log"),
        mount("cgroup", "/sys/fs/cgroup"),
    ];
    let plan = planned(&pod, &["/dev/", "/dev/shm -> /run/shm", "/sys -> /elsewhere"]);
    assert_eq!(places(&plan), ["/dev/shm", "/dev/log", "/sys/fs/cgroup"]);
    let guest: Vec<_> = plan
        .mounts
        .iter()
        .map(|mount| mount.place.display().to_string())
        .collect();
    assert_eq!(
        guest[3..],
        ["dev/shm", "dev/log", "sys/fs/cgroup"].map(|place| format!("/isopod/apps/web/{place}"))
    );
    let service = unit(&plan, "web.service");
    let binds = "BindPaths=/isopod/apps/web/dev:/dev /isopod/apps/web/sys:/sys\n";
    assert!(service.contains(binds), "{service}");
    // One that is `/sys` itself hides what is below.
    pod.apps[0].mounts = vec![mount("cgroup", "/sys"), mount("log", "/sys/new")];
    let plan = planned(&pod, &[]);
    assert_eq!(places(&plan), ["/sys", "/sys/new"]);
}

/// Every app opens a container's devices and no others: not the pod's disk, and none of a neighbour's.
#[test]
fn apps_open_a_containers_devices() {
    let service = unit(&planned(&pod(), &[]), "web.service");
    assert!(service.contains("\nDevicePolicy=strict\n"), "{service}");
    let allowed: Vec<&str> = service
        .lines()
        .filter_map(|line| line.strip_prefix("DeviceAllow="))
        .collect();
    assert_eq!(
        allowed,
        [
            "/dev/null rwm",
            "/dev/zero rwm",
            "/dev/full rwm",
            "/dev/random rwm",
            "/dev/urandom rwm",
            "/dev/tty rwm",
            "/dev/console m",
            "/dev/ptmx rw",
            "char-pts rw"
        ]
    );
}

/// The image has nothing at `/srv`; below it is a volume, and what that one holds counts.
#[test]
fn a_volume_is_looked_into_wherever_it_is_mounted() {
    let mut pod = pod();
    pod.volumes = vec![host("site", "/s"), empty("upload"), empty("linked")];
    pod.apps[0].mounts = vec![
        read_only("site", "/srv/www"),
        mount("upload", "/srv/www/upload"),
        mount("linked", "/srv/www/link/x"),
    ];
    let mut known = facts(&pod, &[]);
    let entries = ["/upload/", "/link -> /there", "/inner/"];
    known.sources.get_mut(&volume_name("site")).unwrap().tree = tree(&entries);
    // A link of the volume's leads where it leads in the app: out of the volume, and never out of the app's root.
    let made = plan(&pod, &known).unwrap();
    assert_eq!(places(&made), ["/srv/www", "/there/x", "/srv/www/upload"]);
}

#[test]
fn files_are_mounted_on_files() {
    let mut pod = pod();
    pod.volumes = vec![host("conf", "/etc/app.conf"), host("dir", "/srv")];
    pod.apps[0].mounts = vec![mount("conf", "/etc/app/conf"), mount("dir", "/new")];
    let mut known = facts(&pod, &["/etc/app/"]);
    known.sources.get_mut(&volume_name("conf")).unwrap().kind = SourceKind::File;
    let plan = plan(&pod, &known).unwrap();
    let entry = &plan.guest.entries[Path::new("/isopod/apps/web/seed/etc/app/conf")];
    assert_eq!(entry.kind, EntryKind::File(Content::Bytes(Vec::new())));
    for (volume, target, words) in [
        (
            "conf",
            "/etc/app",
            "it is a directory, and a file cannot be mounted there",
        ),
        (
            "dir",
            "/bin/app",
            "it is a file, and a directory cannot be mounted there",
        ),
        ("conf", "/bin/app/x", "`/bin/app` is not a directory"),
        ("dir", "/", "it is the app's root filesystem"),
        (
            "dir",
            "/proc/self",
            "it is a directory that the guest itself mounts",
        ),
        ("dir", "/dev", "it is a directory that the guest itself mounts"),
        (
            "dir",
            "/dev/pts",
            "it is in `/dev`, where this is the guest's own",
        ),
        (
            "conf",
            "/dev/ptmx",
            "it is in `/dev`, where this is the guest's own",
        ),
        (
            "conf",
            "/dev/stdout",
            "it is a directory that the guest itself mounts",
        ),
        (
            "dir",
            "/dev/null",
            "it is a file, and a directory cannot be mounted there",
        ),
        (
            "dir",
            "/sys/new",
            "it is in `/sys`, where the guest's kernel has no such directory and none can be made",
        ),
    ] {
        pod.apps[0].mounts = vec![mount(volume, target)];
        let text = refused(&pod, &known);
        assert!(text.ends_with(words), "{target}: {text}");
    }
}

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
            "app `web`: its image wants a volume at `/var/lib/db`: it gets one of its own, which begins as the image has it"
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
fn an_explicit_mount_is_told_from_a_mount_point_by_its_path() {
    // rkt told them apart by the volume, and lost one of the two.
    let mut pod = pod();
    pod.volumes = vec![host("data", "/srv")];
    pod.apps[0].mounts = vec![mount("data", "/elsewhere")];
    let mut known = facts(&pod, &[]);
    known.apps[0].root.as_mut().unwrap().config.mount_points = vec![point("data", "/data", true)];
    let plan = plan(&pod, &known).unwrap();
    assert_eq!(places(&plan), ["/elsewhere", "/data"]);
}

#[test]
fn a_path_within_a_volume_never_leaves_it() {
    let mut pod = pod();
    pod.volumes = vec![host("data", "/srv")];
    let mut known = facts(&pod, &[]);
    known.sources.get_mut(&volume_name("data")).unwrap().tree = tree(&[
        "/in/",
        "/in/file",
        "/out -> /etc",
        "/etc/",
        "/up -> ../../../in",
        "/sock -> /dev/null",
    ]);
    let mut with = |sub: &str| {
        pod.apps[0].mounts = vec![mount("data", "/d")];
        pod.apps[0].mounts[0].sub_path = Some(sub.into());
        plan(&pod, &known).map(|plan| {
            let mount = plan.mounts.last().unwrap();
            // The guest follows the links once more, in the volume.
            let asked = format!("bind,private,X-mount.subdir={}", sub.trim_matches(['.', '/']));
            let options = mount.option_text();
            assert!(options.trim_end_matches(",X-mount.mkdir") == asked, "{options}");
            assert_eq!(&*mount.what, Path::new("/mnt/data"));
            let found = Path::new("/mnt/data").join(&plan.apps[0].mounts[0].sub_path);
            (found.display().to_string(), plan.apps[0].mounts[0].kind)
        })
    };
    let directory = |path: &str| Ok((path.to_owned(), SourceKind::Directory));
    assert_eq!(with("in"), directory("/mnt/data/in"));
    assert_eq!(with("./in/"), directory("/mnt/data/in"));
    assert_eq!(
        with("in/file"),
        Ok(("/mnt/data/in/file".into(), SourceKind::File))
    );
    // Links mean what they mean with the volume as the root.
    assert_eq!(with("out"), directory("/mnt/data/etc"));
    assert_eq!(with("up"), directory("/mnt/data/in"));
    assert_eq!(with("new/deep"), directory("/mnt/data/new/deep"));
    for bad in ["../x", "in/../..", "/in"] {
        assert!(
            with(bad)
                .unwrap_err()
                .to_string()
                .contains("must stay within the volume"),
            "{bad}"
        );
    }
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
        notices[0].contains("are to hold 1024 MiB and get 288 MiB together, since the VM has 512 MiB"),
        "{notices:?}"
    );
}

/// What others that come first may make is not made before them: neither a part of a volume nor a mount point in one, nor
/// what is mounted in those.
#[test]
fn what_earlier_apps_may_make_is_mounted_when_its_own_app_starts() {
    let mut pod = pod();
    pod.apps.push(app("main"));
    pod.apps[1].depends_on = vec![Dependency {
        app: pod.apps[0].name.clone(),
        condition: DependencyCondition::Succeeded,
    }];
    pod.volumes = vec![host("h", "/srv"), empty("e"), empty("in")];
    let part = |volume, target, part: &str| {
        let mut mount = mount(volume, target);
        mount.sub_path = Some(part.into());
        mount
    };
    let mounts = vec![
        mount("h", "/whole"),
        part("h", "/h", "sub"),
        part("e", "/e", "a, b"),
        mount("in", "/e/in"),
        mount("in", "/whole/there"),
        mount("in", "/whole/new"),
    ];
    pod.apps[0].mounts.clone_from(&mounts);
    pod.apps[1].mounts = mounts;
    let mut known = facts(&pod, &[]);
    known.sources.get_mut(&volume_name("h")).unwrap().tree = tree(&["/there/"]);
    let made = plan(&pod, &known).unwrap();
    let late = |app: &str| {
        let root = format!("/opt/stage2/{app}/rootfs");
        let mounts = made.mounts.iter().filter(|mount| mount.late);
        let places = mounts.filter_map(|mount| mount.place.strip_prefix(&root).ok());
        places
            .map(|place| place.display().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(late("web"), Vec::<String>::new());
    assert_eq!(late("main"), ["h", "e", "e/in", "whole/new"]);
    let config = &made.guest.entries[Path::new("/isopod/arrival.json")];
    let EntryKind::File(content) = &config.kind else {
        panic!()
    };
    let config: serde_json::Value = serde_json::from_slice(&content.bytes().unwrap()).unwrap();
    let ahead = config["mountsAhead"].to_string();
    assert!(
        ahead.contains("/web/rootfs/h\"") && !ahead.contains("/main/rootfs/h\""),
        "{ahead}"
    );
    // A comma is none between options, and a file that comes to be there is mounted as one.
    let text = unit(&made, "opt-stage2-main-rootfs-e.mount");
    assert!(text.contains("What=/isopod/volumes/e\n"), "{text}");
    assert!(
        text.contains("Options=bind,private,X-mount.subdir=a%%2C%%20b,X-mount.mkdir\n"),
        "{text}"
    );
    // A part of a volume that the app only reads may be made by then.
    pod.apps[1].mounts = vec![part("h", "/h", "sub")];
    pod.apps[1].mounts[0].read_only = Some(true);
    plan(&pod, &known).unwrap();
    pod.apps[0].mounts = pod.apps[1].mounts.clone();
    assert!(refused(&pod, &known).contains("it does not exist, and the app may not write to volume `h`"));
}

/// The file in which an app says why it ended is there wherever it is asked for, and anybody in the app may write to it.
#[test]
fn an_app_finds_the_file_for_its_last_words() {
    let mut pod = pod();
    let image = ["/var/run -> /run", "/run/", "/etc/dir/"];
    let at = |made: &PodPlan, path: &str| made.guest.entries.get(Path::new(path)).map(|entry| entry.mode);
    let made = planned(&pod, &image);
    assert_eq!(at(&made, "/isopod/apps/web/dev/termination-log"), Some(0o666));
    pod.apps[0].last_words.path = Some("/var/run/a b".into());
    let made = planned(&pod, &image);
    assert_eq!(at(&made, "/isopod/apps/web/last-words"), Some(0o666));
    assert!(
        at(&made, "/isopod/apps/web/seed/run/a b").is_some(),
        "its mount point"
    );
    let text = unit(&made, "web.service");
    let bound = "BindPaths=\"/isopod/apps/web/last-words\":\"/run/a b\"\n";
    assert!(text.contains(bound), "{text}");
    for (path, words) in [
        ("/etc/dir", "the image has a directory there"),
        ("/proc/x", "the guest itself mounts"),
    ] {
        pod.apps[0].last_words.path = Some(path.into());
        assert!(refused(&pod, &facts(&pod, &image)).contains(words), "{path}");
    }
}

/// A working directory in a volume is made there, as container runtimes do it.
#[test]
fn a_working_directory_in_a_volume_is_made_in_it() {
    let mut pod = pod();
    pod.volumes = vec![empty("v")];
    pod.apps[0].mounts = vec![mount("v", "/data")];
    pod.apps[0].overrides.working_dir = Some("/data/a b".into());
    let text = unit(&planned(&pod, &[]), "opt-stage2-web-rootfs-data.mount");
    assert!(
        text.contains("Options=bind,private,X-isopod.workdir=/a%%20b\n"),
        "{text}"
    );
    pod.apps[0].mounts = vec![read_only("v", "/data")];
    let text = unit(&planned(&pod, &[]), "opt-stage2-web-rootfs-data.mount");
    assert!(text.contains("Options=bind,private,ro\n"), "{text}");
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

#[test]
fn flags_of_a_mount_are_options_of_its_unit() {
    let mut pod = pod();
    pod.volumes = vec![empty("a")];
    pod.apps[0].mounts = vec![read_only("a", "/a")];
    pod.apps[0].mounts[0].flags = MountFlags {
        nosuid: true,
        nodev: true,
        noexec: true,
    };
    assert!(
        unit(&planned(&pod, &[]), "opt-stage2-web-rootfs-a.mount")
            .contains("Options=bind,private,ro,nosuid,nodev,noexec\n")
    );
}

#[test]
fn all_faults_come_at_once() {
    let mut pod = pod();
    pod.apps.push(app("web"));
    pod.volumes = vec![empty("a"), empty("a")];
    pod.apps[0].mounts = vec![mount("nope", "/x"), mount("a", "/proc/x"), mount("a", "/y\n")];
    let words = refused(&pod, &facts(&pod, &[]));
    for part in [
        "two apps",
        "two volumes",
        "no such volume",
        "`/proc/x`",
        "line break",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[test]
fn programs_are_found_as_in_a_container() {
    let mut pod = pod();
    pod.volumes = vec![empty("v")];
    let image = ["/usr/local/bin/tool", "/bin/data/", "/opt/rel"];
    let mut with = |exec: &str, dir: Option<&str>| {
        pod.apps[0].overrides.exec = Some(exec.into());
        pod.apps[0].overrides.working_dir = dir.map(Into::into);
        pod.apps[0].mounts = vec![mount("v", "/vol")];
        let error = |e: isopod_plan::PlanError| (e.faults[0].exit_status(), e.to_string());
        plan(&pod, &facts(&pod, &image))
            .map(|p| p.apps[0].process.executable.display().to_string())
            .map_err(error)
    };
    assert_eq!(with("tool", None), Ok("/usr/local/bin/tool".into()));
    assert_eq!(with("./rel", Some("/opt")), Ok("/opt/rel".into()));
    assert_eq!(with("/vol/made/later", None), Ok("/vol/made/later".into()));
    assert_eq!(with("nothing", None).unwrap_err().0, 127);
    assert_eq!(with("/no/thing", None).unwrap_err().0, 127);
    assert_eq!(with("data", None).unwrap_err().0, 126);
}

/// Another app, or the host, may put it on a volume before the app starts: what is mounted counts, not the image alone.
#[test]
fn a_program_of_a_volume_is_found_through_the_path() {
    let mut pod = pod();
    pod.volumes = vec![empty("v"), host("h", "/srv/tools")];
    let image = [
        "/bin/app",
        "/bin/plain",
        "/usr/local/bin/",
        "/opt/link -> /usr/local",
    ];
    let mut with = |exec: &str, target: &str, volume: &str| {
        pod.apps[0].overrides.exec = Some(exec.into());
        pod.apps[0].mounts = vec![mount(volume, target)];
        let known = facts(&pod, &image);
        let refused = |e: isopod_plan::PlanError| e.faults[0].exit_status();
        plan(&pod, &known)
            .map(|p| p.apps[0].process.executable.display().to_string())
            .map_err(refused)
    };
    for volume in ["v", "h"] {
        assert_eq!(with("tool", "/usr/local/bin", volume), Ok("tool".into()));
        assert_eq!(with("tool", "/usr/local", volume), Ok("tool".into()));
        assert_eq!(with("tool", "/opt/link/bin", volume), Ok("tool".into()));
        assert_eq!(with("tool", "/opt/bin", volume), Err(127));
        // A volume over the directory hides what the image has there.
        assert_eq!(with("/bin/app", "/bin", volume), Ok("/bin/app".into()));
        assert_eq!(with("app", "/usr/local/bin", volume), Ok("/bin/app".into()));
    }
}

/// Every path goes to the agent as it is: systemd would refuse some (quotes, backslashes), and read others otherwise.
#[test]
fn a_program_may_be_called_anything() {
    for name in [
        "it's",
        "a\"b",
        "back\\slash",
        "50%",
        "$HOME",
        "two words",
        "-dash",
        "@at",
        "+p",
        "!e",
        ":c",
        "new\nline",
        "é\u{1}",
    ] {
        let path = format!("/opt/{name}");
        let mut pod = pod();
        pod.apps[0].overrides.exec = Some(path.clone());
        pod.apps[0].overrides.args = Some(vec![name.into()]);
        pod.apps[0].overrides.working_dir = Some(path.clone().into());
        let known = facts(&pod, &[&path]);
        let made = plan(&pod, &known).unwrap_or_else(|error| panic!("{name}: {error}"));
        let launched = launch(&made, "web");
        assert_eq!(launched.main, [path.clone(), name.to_owned()]);
        assert_eq!(launched.process.working_dir, path);
    }
}

#[test]
fn capabilities_are_dockers_and_can_be_changed() {
    let mut pod = pod();
    let capabilities = |pod: &PodSpec, base: Option<Capabilities>| {
        let mut known = facts(pod, &[]);
        known.apps[0].root.as_mut().unwrap().config.capabilities = base;
        plan(pod, &known).unwrap().apps[0].process.capabilities.clone()
    };
    assert_eq!(capabilities(&pod, None).len(), 14);
    let retained = capabilities(&pod, Some(Capabilities::Retain(vec!["CAP_SYS_TIME".into()])));
    assert_eq!(retained.into_iter().collect::<Vec<_>>(), ["CAP_SYS_TIME"]);
    pod.apps[0].overrides.cap_drop = vec!["all".into()];
    pod.apps[0].overrides.cap_add = vec!["chown".into()];
    assert_eq!(
        capabilities(&pod, None).into_iter().collect::<Vec<_>>(),
        ["CAP_CHOWN"]
    );
}

#[test]
fn environment_is_the_images_then_the_users() {
    let mut pod = pod();
    let var = |name: &str, value: Option<&str>| EnvVar {
        name: name.into(),
        value: value.map(Into::into),
        secret: false,
    };
    pod.apps[0].overrides.env = vec![var("A", Some("user")), var("FROM", None), var("GONE", None)];
    let mut known = facts(&pod, &[]);
    known.apps[0].caller_env.insert("FROM".into(), "caller".into());
    let env = &mut known.apps[0].root.as_mut().unwrap().config.env;
    *env = vec![
        ("A".into(), "image".into()),
        ("B".into(), "b\n\"$".into()),
        ("a.b".into(), "x".into()),
        ("c=d".into(), "x".into()),
    ];
    let made = plan(&pod, &known).unwrap();
    let env: Vec<_> = launch(&made, "web").env.into_iter().collect();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(
        env,
        [
            ("A", "user"),
            ("AC_APP_NAME", "web"),
            ("B", "b\n\"$"),
            ("FROM", "caller"),
            ("HOME", "/root"),
            ("HOSTNAME", &made.hostname),
            ("PATH", path),
            ("a.b", "x"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert_eq!(
        made.notices,
        ["app `web`: its image's variable `c=d` is left out: a program can have no such variable"]
    );
    // What the image or the user says wins.
    for (of_image, of_user, expected) in [
        (Some("image"), None, "image"),
        (Some("image"), Some("user"), "user"),
        (None, Some("user"), "user"),
    ] {
        let env = &mut known.apps[0].root.as_mut().unwrap().config.env;
        *env = of_image
            .map(|value| ("HOSTNAME".into(), value.into()))
            .into_iter()
            .collect();
        pod.apps[0].overrides.env = of_user
            .map(|value| var("HOSTNAME", Some(value)))
            .into_iter()
            .collect();
        let made = plan(&pod, &known).unwrap();
        assert_eq!(launch(&made, "web").env["HOSTNAME"], expected);
    }
    pod.apps[0].overrides.env = vec![var("", Some("x"))];
    assert!(refused(&pod, &known).contains("cannot set the variable ``"));
}

#[test]
fn transports_are_chosen_by_what_the_host_has() {
    let mut pod = pod();
    pod.volumes = vec![host("data", "/srv")];
    pod.apps[0].mounts = vec![mount("data", "/d")];
    let kind =
        |pod: &PodSpec, facts: &Facts| plan(pod, facts).map(|p| p.sharing.unwrap().transport.fs_type());
    let mut known = facts(&pod, &[]);
    assert_eq!(kind(&pod, &known), Ok("virtiofs"));
    let told = |facts: &Facts| plan(&pod, facts).unwrap().notices.concat();
    assert!(!told(&known).contains("9p"));
    known.host.virtiofsd = None;
    assert_eq!(kind(&pod, &known), Ok("9p"));
    assert!(
        told(&known)
            .contains("shared over 9p, which is slower and cannot do all that virtiofs can: no virtiofsd")
    );
    known.host.guest.modules.retain(|m| m == "virtiofs");
    assert!(refused(&pod, &known).contains("has no 9p (Debian's cloud kernels leave it out)"));
    pod.vm.transport = ShareTransport::Virtiofs;
    assert!(refused(&pod, &known).contains("no virtiofsd was found"));
    known.host.user = HostUser::Ordinary { uid: 1000 };
    assert!(refused(&pod, &known).contains("no virtiofsd that works without root was found"));
}

#[test]
fn without_a_namespace_every_volume_is_its_own_device() {
    let mut pod = pod();
    pod.volumes = vec![host("data", "/srv,x"), host(&"n".repeat(40), "/other")];
    pod.apps[0].mounts = vec![read_only("data", "/d"), mount(&"n".repeat(40), "/n")];
    let mut known = facts(&pod, &[]);
    known.host.namespaces = Namespaces::Unavailable("none".into());
    let made = plan(&pod, &known).unwrap();
    let argv: Vec<String> = made
        .qemu
        .share_args()
        .into_iter()
        .map(|a| a.into_string().unwrap())
        .collect();
    assert_eq!(
        argv[1],
        "local,id=share0,security_model=passthrough,multidevs=remap,readonly=on,path=/srv,,x"
    );
    assert!(
        argv.iter()
            .any(|a| a.len() < 80 && a.contains("mount_tag=nnnnnnnnnnnnnnnnnnnnnn-")),
        "{argv:?}"
    );
    assert!(unit(&made, "mnt-data.mount").contains("What=data\nWhere=/mnt/data\nType=9p\n"));
    known.sources.get_mut(&volume_name("data")).unwrap().kind = SourceKind::File;
    assert!(refused(&pod, &known).contains("a file as source needs a mount namespace"));
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

#[test]
fn what_the_mount_units_say_is_mounted_ahead_of_them_in_their_order() {
    let mut pod = pod();
    pod.volumes = vec![host("data", "/srv"), host("in", "/in")];
    pod.apps[0].mounts = vec![mount("in", "/d/in"), mount("data", "/d")];
    let made = planned(&pod, &[]);
    let EntryKind::File(json) = &made.guest.entries[Path::new("/isopod/arrival.json")].kind else {
        panic!("no configuration");
    };
    let config: isopod_contract::config::Arrival = serde_json::from_slice(&json.bytes().unwrap()).unwrap();
    let ahead = config.mounts_ahead.iter();
    let ahead: Vec<_> = ahead
        .map(|m| (m.mount_point.as_str(), m.options.as_str()))
        .collect();
    let root = "/opt/stage2/web/rootfs";
    assert_eq!(
        ahead,
        [
            ("/mnt", "private"),
            (&format!("{root}/d"), "bind,private"),
            (&format!("{root}/d/in"), "bind,private"),
        ]
    );
    let units: Vec<_> = made.mounts.iter().map(|m| m.place.to_str().unwrap()).collect();
    assert_eq!(units, ahead.iter().map(|(place, _)| *place).collect::<Vec<_>>());
}

#[test]
fn virtiofsds_of_both_kinds_are_told_what_they_understand() {
    let mut pod = pod();
    pod.volumes = vec![host("data", "/srv")];
    pod.apps[0].mounts = vec![mount("data", "/d")];
    let argv = |facts: &Facts| -> Vec<String> {
        let command = plan(&pod, facts).unwrap().virtiofsd.unwrap();
        command
            .argv(Path::new("/p,q/share"))
            .into_iter()
            .map(|a| a.into_string().unwrap())
            .collect()
    };
    let mut known = facts(&pod, &[]);
    assert!(argv(&known).contains(&"--shared-dir=/p,q/share".to_owned()));
    known.host.virtiofsd.as_mut().unwrap().flavour = VirtiofsdFlavour::C;
    assert_eq!(
        argv(&known)[3],
        "sandbox=chroot,cache=auto,xattr,source=/p\\,q/share"
    );
}

/// Which of the three files an app of that image gets where it mounts `target`, below its upper directory.
fn name_files(image: &[&str], target: Option<&str>) -> (Vec<String>, Vec<String>) {
    let mut spec = fixture::pod();
    if let Some(target) = target {
        spec.volumes.push(fixture::empty("v"));
        spec.apps[0].mounts.push(fixture::mount("v", target));
    }
    let plan = plan(&spec, &fixture::facts(&spec, image)).expect("a plan");
    let upper = "/isopod/apps/web/seed";
    let files = ["hosts", "hostname", "resolv.conf"];
    let found = plan.guest.entries.iter().filter(|(path, entry)| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        path.starts_with(upper) && files.contains(&name) && matches!(entry.kind, EntryKind::File(_))
    });
    let relative = |path: &Path| {
        path.strip_prefix(upper)
            .expect("it is below")
            .display()
            .to_string()
    };
    (found.map(|(path, _)| relative(path)).collect(), plan.notices)
}

#[test]
fn names_are_where_the_app_looks_for_them() {
    let all = |dir: &str| {
        ["hostname", "hosts", "resolv.conf"]
            .map(|name| format!("{dir}/{name}"))
            .to_vec()
    };
    for (image, dir) in [
        (&[][..], "etc"),
        (&["/etc/hosts"], "etc"),
        (&["/etc/resolv.conf -> ../run/stub"], "etc"),
        (&["/usr/etc/", "/etc -> usr/etc"], "usr/etc"),
        (&["/etc -> /nowhere"], "nowhere"),
        (&["/etc -> ../../.."], ""),
    ] {
        let (files, _) = name_files(image, None);
        let expected: Vec<String> = all(dir)
            .iter()
            .map(|f| f.trim_start_matches('/').to_owned())
            .collect();
        assert_eq!(files, expected, "{image:?}");
    }
    for (target, left) in [
        ("/etc", &[][..]),
        ("/etc/hosts", &["etc/hostname", "etc/resolv.conf"]),
        ("/etc/hosts/below", &["etc/hostname", "etc/resolv.conf"]),
        ("/etc/hosts.d", &["etc/hostname", "etc/hosts", "etc/resolv.conf"]),
    ] {
        assert_eq!(name_files(&[], Some(target)).0, left, "{target}");
    }
    for image in [["/etc"], ["/etc -> etc"]] {
        let (files, notices) = name_files(&image, None);
        assert!(files.is_empty(), "{files:?}");
        assert_eq!(
            notices,
            ["app `web`: its image's `/etc` is no directory, so it gets no `/etc/hosts`"]
        );
    }
}

#[test]
fn a_network_needs_what_the_host_has() {
    let mut spec = fixture::pod();
    let faults = |spec: &PodSpec, facts: &Facts| {
        let faults = plan(spec, facts).unwrap_err().faults;
        faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let mut facts = fixture::facts(&spec, &[]);
    facts.host.guest.modules.remove("virtio_net");
    assert_eq!(
        faults(&spec, &facts),
        ["cannot give the pod a network: the kernel 6.1.0 has no `virtio_net`"]
    );
    spec.network = Network::None;
    let alone = plan(&spec, &facts).unwrap();
    assert!(!alone.qemu.argv().iter().any(|arg| arg == "-netdev"));
    let user = |port: &str, options| Network::User {
        ports: isopod_spec::flags::read_publish(port.as_ref()).unwrap(),
        options,
    };
    let by = |by| UserNetwork {
        by: Some(by),
        ..UserNetwork::default()
    };
    spec.network = user("[::1]:80:80", by(UserRouter::Qemu));
    assert_eq!(
        faults(&spec, &fixture::facts(&spec, &[])),
        ["cannot publish port `[::1]:80:80/tcp`: QEMU's user network forwards IPv4 only"]
    );
    spec.network = user("127.0.0.1:8080-8081:80-81/udp", by(UserRouter::Qemu));
    let by_qemu = plan(&spec, &fixture::facts(&spec, &[])).unwrap();
    assert!(
        by_qemu.notices[0].starts_with("the pod reaches what listens on the host's own loopback interface"),
        "{:?}",
        by_qemu.notices
    );
    let argv = by_qemu.qemu.argv();
    let netdev = argv.iter().position(|arg| arg == "-netdev").unwrap() + 1;
    assert_eq!(
        argv[netdev],
        "user,id=net0,ipv6=off,net=10.0.2.0/24,host=10.0.2.2,dns=10.0.2.3,dhcpstart=10.0.2.15,\
         hostfwd=udp:127.0.0.1:8080-10.0.2.15:80,hostfwd=udp:127.0.0.1:8081-10.0.2.15:81"
    );
}

/// By the first app whose image has a port of that name.
#[test]
fn ports_are_published_by_their_names() {
    let port = |name: &str, protocol: &str, first, count| ImagePort {
        name: name.into(),
        protocol: protocol.into(),
        first,
        count,
    };
    let mut spec = PodSpec::new(vec![app("web"), app("dns")]);
    let mut facts = fixture::facts(&spec, &[]);
    for (facts, ports) in facts.apps.iter_mut().zip([
        vec![port("80-tcp", "tcp", 80, 1), port("odd", "sctp", 7, 1)],
        vec![port("dns", "udp", 53, 2), port("80-tcp", "tcp", 8000, 1)],
    ]) {
        facts.root.as_mut().unwrap().config.ports = ports;
    }
    let exposed = isopod_plan::vm::network::exposed(&spec, &facts);
    let exposed = exposed
        .iter()
        .map(|(port, protocol)| format!("{port}/{protocol}"));
    let expected = ["80/tcp", "53/udp", "54/udp", "8000/tcp"];
    assert_eq!(exposed.collect::<Vec<_>>(), expected);
    let mut planned = |flags: &[&str]| {
        spec.named_ports.clear();
        spec.network = Network::user(isopod_spec::flags::read_publish("9000:1".as_ref()).unwrap());
        for flag in flags {
            match isopod_spec::flags::read_published(flag.as_ref()).unwrap() {
                Published::Named(port) => spec.named_ports.push(port),
                Published::Forwards(_) => panic!("{flag}"),
            }
        }
        plan(&spec, &facts).map(|plan| plan.ports().iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let ports = planned(&["80-tcp:8080", "dns:127.0.0.1:5300"]).unwrap();
    let expected = [
        "9000:1/tcp",
        "8080:80/tcp",
        "127.0.0.1:5300:53/udp",
        "127.0.0.1:5301:54/udp",
    ];
    assert_eq!(ports, expected);
    for (flag, what, hint) in [
        (
            "http:80",
            "cannot publish port `http:80`: no image of the pod has a port named `http`",
            "they have `80-tcp`, `odd`, `dns`, `80-tcp`; or write its number, `HOST:POD`",
        ),
        (
            "odd:80",
            "cannot publish port `odd:80`: its protocol is `sctp`, and only `tcp` and `udp` can be published",
            "publish another port",
        ),
        (
            "80-tcp:9000",
            "cannot publish port `9000:80/tcp`: port `9000:1/tcp` is the same of the host's",
            "give one of them another port of the host",
        ),
        (
            "dns:65535",
            "cannot publish port `dns:65535`: its range must end at 65535 or before, on the host as well",
            "publish another port",
        ),
    ] {
        let faults = planned(&[flag]).unwrap_err().faults;
        assert_eq!((faults.len(), faults[0].to_string()), (1, what.to_owned()));
        assert_eq!(faults[0].hint().as_deref(), Some(hint));
    }
}

/// An app that nobody named has the name of its image's manifest, and not of the file.
#[test]
fn an_aci_is_called_by_its_manifest() {
    let image = |name: &str| ImageSource::Reference(ImageReference::parse(name.as_ref()).unwrap());
    let mut spec = PodSpec::new(vec![app("file"), app("mine")]);
    spec.apps[0].root = AppRoot::Image(image("aci:/images/file.aci"));
    spec.apps[1].root = AppRoot::Image(image("aci:/images/file.aci"));
    let mut facts = fixture::facts(&spec, &[]);
    for facts in &mut facts.apps {
        facts.root.as_mut().unwrap().config.image_name = Some("example.com/worker".into());
    }
    let plan = plan(&spec, &facts).unwrap();
    let names = plan
        .apps
        .iter()
        .map(|app| app.process.env["AC_APP_NAME"].as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["worker", "mine"]);
}
