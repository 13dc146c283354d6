//! Roots that are directories of the host: shared as volumes are, written to or below a layer, and looked into as images are.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::collections::BTreeSet;
use std::path::Path;

use crate::fixture::{app, facts, host, mount};
use isopod_contract::config::{BIND, EarlyMount};
use isopod_plan::arriving::{RunningPod, arrive};
use isopod_plan::facts::{Facts, FileId, HostUser, MountNames, Namespaces, Owner, RootOrigin};
use isopod_plan::hotplug::Share;
use isopod_plan::path::{Node, NodeKind};
use isopod_plan::vm::file_server::Ownership;
use isopod_plan::{Document, PodPlan, RootPlan, Writes, explain, layout, plan};
use isopod_spec::{App, AppRoot, PodSpec, RootDirectory, RootWrites, RootfsAccess};

const ID: FileId = FileId { device: 3, inode: 4 };

fn of_directory(name: &str, path: &str, writes: RootWrites) -> App {
    let root = RootDirectory {
        path: path.into(),
        writes,
    };
    let mut app = App {
        root: AppRoot::Directory(root),
        ..app(name)
    };
    app.overrides.args = Some(vec!["/bin/app".into()]);
    app
}

/// Facts of a pod, whose directories hold `/bin/app`, `/etc` and what else is named.
fn known(spec: &PodSpec, more: &[&str]) -> Facts {
    let entries: Vec<&str> = ["/etc/"].iter().chain(more).copied().collect();
    let mut facts = facts(spec, &entries);
    for (app, facts) in spec.apps.iter().zip(&mut facts.apps) {
        if let (Some(directory), Some(root)) = (app.directory(), &mut facts.root) {
            root.origin = RootOrigin::Directory {
                path: directory.path.clone(),
                id: ID,
                mounts: MountNames::Plain,
            };
            root.config = isopod_spec::RunConfig::default();
        }
    }
    facts
}

fn root<'a>(plan: &'a PodPlan, app: &str) -> &'a EarlyMount {
    let place = format!("/opt/stage2/{app}/rootfs");
    plan.early_mounts
        .iter()
        .find(|mount| mount.mount_point == place)
        .unwrap()
}

#[test]
fn one_takes_its_writes_the_other_lies_below_a_layer() {
    let mut spec = PodSpec::new(vec![
        app("image"),
        of_directory("through", "/srv/root", RootWrites::Through),
        of_directory("layer", "/srv/root", RootWrites::Layer),
        of_directory("reads", "/srv/other", RootWrites::Through),
    ]);
    spec.apps[3].rootfs = RootfsAccess::ReadOnly;
    // A volume may be called as a root is.
    spec.volumes = vec![host("rootfs-layer", "/srv/data")];
    spec.apps[1].mounts = vec![mount("rootfs-layer", "/data")];
    let plan = plan(&spec, &known(&spec, &[])).unwrap();

    let sharing = plan.sharing.as_ref().unwrap();
    let shared = |root: &isopod_plan::vm::sharing::SharedVolume| {
        let source = root.source.display().to_string();
        (root.name.to_string(), source, root.read_only, root.id)
    };
    let roots: Vec<_> = sharing.roots.iter().map(shared).collect();
    assert_eq!(
        roots,
        [
            ("rootfs-through".into(), "/srv/root".into(), false, Some(ID)),
            ("rootfs2-layer".into(), "/srv/root".into(), true, Some(ID)),
            ("rootfs-reads".into(), "/srv/other".into(), true, Some(ID)),
        ]
    );
    // One image, one disk; the share is there before the roots, and by no mount ahead a second time.
    assert_eq!(plan.images.len(), 1);
    let place = |at: &str| plan.early_mounts.iter().position(|mount| mount.mount_point == at);
    assert!(place("/mnt").unwrap() < place("/opt/stage2/through/rootfs").unwrap());
    let arrival: isopod_contract::config::Arrival =
        serde_json::from_str(&plan.guest.text(Path::new(layout::ARRIVAL)).unwrap()).unwrap();
    assert!(
        arrival
            .mounts_ahead
            .iter()
            .all(|mount| mount.mount_point != "/mnt")
    );
    assert!(arrival.shares.contains(&"/mnt".to_owned()));

    let through = root(&plan, "through");
    assert_eq!(
        (
            through.source.as_str(),
            through.fs_type.as_str(),
            through.laid.as_deref()
        ),
        ("/mnt/rootfs-through", BIND, Some("/isopod/apps/through/seed"))
    );
    let layer = root(&plan, "layer");
    assert_eq!(
        layer.options,
        "lowerdir=/isopod/apps/layer/seed:/mnt/rootfs2-layer/.,upperdir=/isopod/writable/apps/layer/upper,\
         workdir=/isopod/writable/apps/layer/work"
    );
    let reads = root(&plan, "reads");
    assert!(
        reads.read_only && reads.options.contains(":/mnt/rootfs-reads/.,")
            || reads.options.contains("/mnt/rootfs-reads/.,")
    );
    let writes: Vec<Writes> = plan.apps.iter().map(|app| app.writes).collect();
    assert_eq!(
        writes,
        [Writes::OnDisk, Writes::Through, Writes::OnDisk, Writes::InMemory]
    );

    // What the directory has is not made, what it lacks is, and files cover what is there.
    let seed = |path: &str| {
        let seed = Path::new("/isopod/apps/through/seed").join(path);
        plan.guest.entries.get(&seed).is_some()
    };
    assert!(seed("proc") && seed("run") && seed("data") && seed("etc/hosts"));
    assert!(!seed("bin") && !seed("etc/mtab"));

    let text = explain(&Document::from(&plan));
    assert!(
        text.contains("  root   /srv/root, which takes what the app writes\n"),
        "{text}"
    );
    assert!(
        text.contains("  root   /srv/root, below a layer that takes"),
        "{text}"
    );
    assert!(text.contains("  root   /srv/other, read-only\n"), "{text}");
}

/// Links of the directory lead as those of an image, and its users are known by name.
#[test]
fn it_is_looked_into_as_an_image_is() {
    let mut spec = PodSpec::new(vec![of_directory("web", "/srv/root", RootWrites::Through)]);
    spec.volumes = vec![host("data", "/srv/data")];
    spec.apps[0].mounts = vec![mount("data", "/var/link/data")];
    spec.apps[0].overrides.user = Some("web".into());
    let mut facts = known(&spec, &["/real/"]);
    let known = facts.apps[0].root.as_mut().unwrap();
    known.passwd = "web:x:33:34::/:/bin/sh\n".into();
    let link = Node {
        kind: NodeKind::Symlink("/real".into()),
        mode: 0o777,
        uid: 0,
        gid: 0,
    };
    let dir = Node {
        kind: NodeKind::Directory,
        ..link.clone()
    };
    known.tree.0.insert("/var".into(), dir);
    known.tree.0.insert("/var/link".into(), link);
    let plan = plan(&spec, &facts).unwrap();
    let app = &plan.apps[0];
    assert_eq!(&*app.mounts[0].place, Path::new("/real/data"));
    assert_eq!((app.process.identity.uid, app.process.identity.gid), (33, 34));
}

#[test]
fn what_cannot_be_a_root_is_refused() {
    let refused = |spec: &PodSpec, facts: &Facts| plan(spec, facts).unwrap_err().to_string();
    let host_root = PodSpec::new(vec![of_directory("a", "/", RootWrites::Layer)]);
    assert!(refused(&host_root, &known(&host_root, &[])).contains("the host's own root"));

    let mut nothing = PodSpec::new(vec![of_directory("a", "/srv/root", RootWrites::Through)]);
    nothing.apps[0].overrides.args = None;
    assert!(refused(&nothing, &known(&nothing, &[])).contains("a directory names no program"));

    let alone = PodSpec::new(vec![of_directory("a", "/srv/root", RootWrites::Through)]);
    let mut facts = known(&alone, &[]);
    facts.host.namespaces = Namespaces::Unavailable("none".into());
    assert!(refused(&alone, &facts).contains("needs a mount namespace"));
}

/// Of an ordinary user's pod the files of a root are root's in the guest, whoever the app is.
#[test]
fn an_ordinary_users_root_is_roots() {
    let mut spec = PodSpec::new(vec![of_directory("a", "/srv/root", RootWrites::Through)]);
    spec.apps[0].overrides.user = Some("1000".into());
    let mut facts = known(&spec, &[]);
    facts.host.user = HostUser::Ordinary { uid: 1000 };
    let plan = plan(&spec, &facts).unwrap();
    if let Ownership::AllAsCaller(owner) = plan.ownership {
        assert_eq!(owner, Owner { uid: 0, gid: 0 });
    }
    assert!(
        plan.notices
            .iter()
            .any(|notice| notice.contains("runs as user 1000")),
        "{:?}",
        plan.notices
    );
}

#[test]
fn one_comes_to_a_pod_that_runs() {
    let running = RunningPod {
        apps: vec![app("first").name],
        volumes: BTreeSet::new(),
        share: Share::Bound("virtiofs"),
        network: None,
        images: vec!["sha256-0123456789ab".into()],
        ownership: Ownership::ByNumber,
        changes: 4,
        arrivals: 2,
        writable: true,
        slice: false,
    };
    let mut spec = PodSpec::new(vec![of_directory("late", "/srv/root", RootWrites::Through)]);
    spec.volumes = vec![host("data", "/srv/data")];
    spec.apps[0].mounts = vec![mount("data", "/data")];
    let facts = known(&spec, &[]);
    let plan = arrive(&running, &spec, &facts, true).unwrap();
    assert_eq!(plan.image, None);
    let binds: Vec<_> = plan
        .binds
        .iter()
        .map(|(at, shared)| (*at, shared.source.as_path()))
        .collect();
    assert_eq!(binds, [(5, Path::new("/srv/root")), (6, Path::new("/srv/data"))]);
    let RootPlan::Directory { place, .. } = &plan.app.root else {
        panic!("{:?}", plan.app.root)
    };
    assert_eq!(place, Path::new("/mnt/@5"));
    let arrival: isopod_contract::config::Arrival =
        serde_json::from_str(&plan.guest.text(Path::new(layout::ARRIVAL)).unwrap()).unwrap();
    let places: Vec<_> = arrival
        .early_mounts
        .iter()
        .map(|mount| mount.mount_point.as_str())
        .collect();
    assert_eq!(places.last(), Some(&"/opt/stage2/late/rootfs"));
    assert!(
        !places.contains(&"/mnt")
            && plan
                .departure
                .mount_points
                .contains(&"/opt/stage2/late/rootfs".to_owned())
    );
}
