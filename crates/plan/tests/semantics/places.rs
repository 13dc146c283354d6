//! Where in an app's root a volume is mounted, and in which order.

use std::path::Path;

use isopod_plan::facts::SourceKind;
use isopod_plan::guest::entry::{Content, EntryKind};
use isopod_plan::path::{Node, NodeKind};
use isopod_plan::{PodPlan, plan};
use isopod_spec::{Dependency, DependencyCondition};

use super::{planned, point, refused, unit};
use crate::fixture::{app, empty, facts, host, mount, pod, read_only, tree, volume_name};

fn places(plan: &PodPlan) -> Vec<String> {
    plan.apps[0]
        .mounts
        .iter()
        .map(|m| m.place.display().to_string())
        .collect()
}

#[test]
fn nested_targets_are_mounted_parent_first_and_systemd_gets_their_order() {
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
fn an_explicit_mount_is_distinguished_from_a_mount_point_by_its_path() {
    // rkt distinguished them by the volume, and lost one of the two.
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
