//! How host volumes are served: virtiofsd's options, and whose files the host's are in the guest.

use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use crate::fixture::{self, facts, host, mount, pod, volume_name};
use isopod_plan::facts::{Facts, HostUser, IdRange, MountNames, Namespaces, Owner, Sizes, SubordinateIds};
use isopod_plan::plan;
use isopod_plan::vm::file_server::Ownership;
use isopod_plan::vm::qemu::SecurityModel;
use isopod_spec::{Mount, Owners, PodSpec, Propagation, ShareTransport, UserMapping, VolumeKind};

/// Handles in place of descriptors: as root, and where mountinfo writes every mount point as it is.
#[test]
fn virtiofsd_holds_no_descriptor_for_each_file_where_it_need_not() {
    let pod = |propagation: &str| {
        let mut pod = pod();
        let mut volume = host("data", "/srv");
        let VolumeKind::Host(of_host) = &mut volume.kind else {
            unreachable!()
        };
        if propagation == "rslave" {
            of_host.propagation = Propagation::Rslave;
        }
        pod.volumes = vec![volume];
        pod.apps[0].mounts = vec![mount("data", "/d")];
        pod
    };
    let handles = |pod: &PodSpec, facts: &Facts, shared: &str| {
        let command = plan(pod, facts).unwrap().virtiofsd.unwrap();
        let argv = command.argv(Path::new(shared));
        argv.iter().any(|arg| arg == "--inode-file-handles=prefer")
    };
    let reported = |pod: &PodSpec, facts: &Facts| {
        let hints = plan(pod, facts).unwrap().hints;
        hints
            .iter()
            .any(|hint| hint.starts_with("virtiofsd may have 20000 files open"))
    };
    let private = pod("private");
    let mut known = facts(&private, &[]);
    known.host.open_files = Some(20_000);
    assert!(handles(&private, &known, "/pods/share") && !reported(&private, &known));
    assert!(!handles(&private, &known, "/my pods/share"));
    let later = pod("rslave");
    assert!(!handles(&later, &known, "/pods/share") && !reported(&later, &known));
    let mut odd = known.clone();
    odd.sources.get_mut(&volume_name("data")).unwrap().mounts = MountNames::Any;
    assert!(!handles(&private, &odd, "/pods/share"));
    let mut latin = known.clone();
    latin.sources.get_mut(&volume_name("data")).unwrap().path =
        std::ffi::OsString::from_vec(b"/srv/\xe9".to_vec()).into();
    assert!(!handles(&private, &latin, "/pods/share"));
    known.host.user = HostUser::Ordinary { uid: 1000 };
    assert!(!handles(&private, &known, "/pods/share") && reported(&private, &known));
    known.host.open_files = None;
    assert!(!reported(&private, &known));
}

/// Whoever writes is the caller; the caller's files are those of the one user that the apps run as, or root's.
#[test]
fn an_ordinary_users_files_are_the_apps_own() {
    let mut pod = pod();
    pod.volumes = vec![host("data", "/srv")];
    pod.apps.push(fixture::app("db"));
    for (app, (user, group)) in pod.apps.iter_mut().zip([("33", "34"), ("0", "0")]) {
        app.mounts = vec![mount("data", "/d")];
        (app.overrides.user, app.overrides.group) = (Some(user.into()), Some(group.into()));
    }
    let mut known = facts(&pod, &[]);
    let translation = |pod: &PodSpec, facts: &Facts| -> Vec<String> {
        let command = plan(pod, facts).unwrap().virtiofsd.unwrap();
        let argv = command.argv(Path::new("/share"));
        let words = argv.iter().map(|arg| arg.to_str().unwrap().to_owned());
        words.filter(|word| word.contains("translate")).collect()
    };
    let reported = |pod: &PodSpec, facts: &Facts| -> Vec<String> {
        let notices = plan(pod, facts).unwrap().notices;
        notices
            .into_iter()
            .filter(|notice| notice.contains("runs as user"))
            .collect()
    };
    assert!(translation(&pod, &known).is_empty(), "root's pod");
    known.host.user = HostUser::Ordinary { uid: 1000 };
    assert_eq!(
        translation(&pod, &known),
        [
            "--translate-uid=squash-guest:0:0:4294967295",
            "--translate-uid=host:0:33:1",
            "--translate-gid=squash-guest:0:0:4294967295",
            "--translate-gid=host:0:34:1",
        ]
    );
    assert!(reported(&pod, &known).is_empty());
    // Two users that are not root: the files are root's, and what the others may do their modes say.
    pod.apps[1].overrides.user = Some("7".into());
    assert_eq!(translation(&pod, &known)[1], "--translate-uid=host:0:0:1");
    assert!(reported(&pod, &known)[0].contains("user 33, and your files in volume `data` belong to user 0"));
    // The same over 9p; where virtiofsd is too old, as it was.
    pod.apps.truncate(1);
    pod.vm.transport = ShareTransport::NineP;
    let owner = |pod: &PodSpec, facts: &Facts| plan(pod, facts).unwrap().ownership;
    assert_eq!(
        owner(&pod, &known),
        Ownership::AllAsCaller(Owner { uid: 33, gid: 34 })
    );
    pod.vm.transport = ShareTransport::Virtiofs;
    known.host.virtiofsd.as_mut().unwrap().version = (1, 12);
    assert!(translation(&pod, &known).is_empty());
    assert!(reported(&pod, &known)[0].contains("virtiofsd 1.13 or newer lets others write too"));
}

#[test]
fn files_without_their_sizes_are_reported() {
    let mut pod = pod();
    pod.volumes = vec![host("proc", "/proc/sys")];
    pod.apps[0].mounts = vec![mount("proc", "/d")];
    let mut known = facts(&pod, &[]);
    let reported = |pod: &PodSpec, facts: &Facts| plan(pod, facts).unwrap().notices.concat();
    assert_eq!(reported(&pod, &known), "");
    known.sources.get_mut(&volume_name("proc")).unwrap().sizes = Sizes::Untold;
    assert!(
        reported(&pod, &known).contains("over virtiofs most read as empty (`--transport 9p` reads them)")
    );
    pod.vm.transport = ShareTransport::NineP;
    assert_eq!(reported(&pod, &known), "");
}

/// `--userns`: the caller's subordinate users are the guest's others, over virtiofs and 9p; where there are none, or no namespace, it is
/// refused.
#[test]
fn owners_are_kept_by_subordinate_users() {
    let mut pod = pod();
    pod.volumes = vec![host("data", "/srv")];
    pod.apps[0].mounts = vec![mount("data", "/d")];
    pod.user_mapping = UserMapping::KeepId { uid: None, gid: None };
    let mut known = facts(&pod, &[]);
    let fault = |pod: &PodSpec, facts: &Facts| format!("{:?}", plan(pod, facts).unwrap_err());
    assert!(fault(&pod, &known).contains("root is not mapped"));

    known.host.user = HostUser::Ordinary { uid: 1000 };
    assert!(fault(&pod, &known).contains("no subordinate users"));
    let range = vec![IdRange {
        first: 100_000,
        count: 65_536,
    }];
    known.host.subordinates = Some(SubordinateIds {
        newuidmap: "/usr/bin/newuidmap".into(),
        newgidmap: "/usr/bin/newgidmap".into(),
        users: range.clone(),
        groups: range,
    });
    let planned = plan(&pod, &known).unwrap();
    let caller = Owner { uid: 1000, gid: 1000 };
    assert_eq!(planned.ownership, Ownership::Mapped(caller));
    let words = planned.virtiofsd.unwrap().argv(Path::new("/share"));
    assert!(
        !words
            .iter()
            .any(|word| word.to_string_lossy().contains("translate")),
        "{words:?}"
    );

    pod.vm.transport = ShareTransport::NineP;
    pod.user_mapping = UserMapping::Host;
    let planned = plan(&pod, &known).unwrap();
    assert_eq!(planned.ownership, Ownership::Mapped(Owner { uid: 0, gid: 0 }));
    assert_eq!(planned.qemu.fsdevs[0].security_model, SecurityModel::Passthrough);

    known.host.namespaces = Namespaces::Unavailable("so it is".into());
    assert!(fault(&pod, &known).contains("it needs a user namespace"));
}

/// podman's `U`: root's volumes are given by number, an ordinary user's in the namespace of his subordinates, and nobody's where the files
/// are the app's anyway.
#[test]
fn the_files_of_a_volume_are_given_to_the_app_that_asks() {
    let mut pod = pod();
    pod.volumes = vec![host("data", "/srv/data"), fixture::empty("tmp")];
    pod.apps[0].mounts = vec![Mount {
        owners: Owners::App,
        ..mount("data", "/d")
    }];
    (pod.apps[0].overrides.user, pod.apps[0].overrides.group) = (Some("33".into()), Some("34".into()));
    let mut known = facts(&pod, &[]);
    let given = |pod: &PodSpec, facts: &Facts| {
        let planned = plan(pod, facts).map_err(|error| error.to_string());
        planned.map(|planned| planned.sharing.unwrap().volumes[0].given_to)
    };
    let refused = |pod: &PodSpec, facts: &Facts| given(pod, facts).unwrap_err();
    let of_app = Some(Owner { uid: 33, gid: 34 });
    assert_eq!(given(&pod, &known), Ok(of_app));

    let mut other = pod.clone();
    other.apps.push(fixture::app("db"));
    other.apps[1].mounts.clone_from(&pod.apps[0].mounts);
    let mut known_other = facts(&other, &[]);
    let words = "volume `data`: its files cannot be given to app `db` (`U`): they are given to app `web`, which runs as another user";
    assert_eq!(refused(&other, &known_other), words);
    // Who does not ask takes nothing.
    other.apps[1].mounts[0].owners = Owners::Kept;
    assert_eq!(given(&other, &known_other), Ok(of_app));
    other.apps[0].mounts[0].sub_path = Some("part".into());
    assert!(refused(&other, &known_other).contains("mounts a part of it"));
    other.apps[0].mounts[0] = Mount {
        owners: Owners::App,
        ..mount("tmp", "/d")
    };
    known_other = facts(&other, &[]);
    assert!(refused(&other, &known_other).contains("not a directory or file of the host"));
    known.sources.get_mut(&volume_name("data")).unwrap().path = "/home/me".into();
    assert!(refused(&pod, &known).contains("`/home/me` is a system directory"));
    known.sources.get_mut(&volume_name("data")).unwrap().path = "/srv/data".into();

    known.host.user = HostUser::Ordinary { uid: 1000 };
    assert_eq!(given(&pod, &known), Ok(None), "they are the app's already");
    let two = &mut other;
    two.apps[0].mounts[0] = pod.apps[0].mounts[0].clone();
    (two.apps[1].overrides.user, two.apps[1].overrides.group) = (Some("7".into()), Some("7".into()));
    known_other.host.user = HostUser::Ordinary { uid: 1000 };
    known_other = Facts {
        host: known_other.host,
        ..facts(two, &[])
    };
    assert!(refused(two, &known_other).contains("`--userns keep-id` or `--userns host` keeps users apart"));

    pod.user_mapping = UserMapping::KeepId { uid: None, gid: None };
    let range = vec![IdRange {
        first: 100_000,
        count: 1_000,
    }];
    known.host.subordinates = Some(SubordinateIds {
        newuidmap: "/usr/bin/newuidmap".into(),
        newgidmap: "/usr/bin/newgidmap".into(),
        users: range.clone(),
        groups: range,
    });
    for transport in [ShareTransport::Virtiofs, ShareTransport::NineP] {
        pod.vm.transport = transport;
        assert_eq!(given(&pod, &known), Ok(of_app));
    }
    pod.apps[0].overrides.user = Some("2000".into());
    assert!(refused(&pod, &known).contains("user 2000, group 34 are beyond your subordinates"));
}
