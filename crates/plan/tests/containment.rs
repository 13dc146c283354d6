//! Nothing is ever mounted outside of an app's root, nor anything from outside of a volume: whatever links images and
//! volumes hold, whatever targets and sub paths are asked for. Random trees, 3,000 pods of up to six mounts each.
//!
//! How links are followed is held against the kernel itself, on 1,000 trees of real files (openat2(2),
//! `RESOLVE_IN_ROOT`).
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use crate::fixture::{empty, facts, host, mount, pod, volume_name};
use isopod_plan::path::{self, Lookup, Node, NodeKind, ResolveError, Tree};
use isopod_plan::volumes::VolumeMount;
use isopod_plan::{PodPlan, layout};
use isopod_spec::Mount;
use proptest::prelude::*;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A tree: at each path a directory, a file or a link. What lies below no directory is left out.
fn tree() -> impl Strategy<Value = Tree> {
    let kind = prop_oneof![
        3 => Just(NodeKind::Directory),
        1 => Just(NodeKind::File),
        3 => "/{0,1}((\\.\\.|[abc]|\\.)/){0,3}(\\.\\.|[abc])".prop_map(|to| NodeKind::Symlink(to.into())),
    ];
    prop::collection::btree_map("/[abc](/[abc]){0,3}", kind, 0..12).prop_map(|entries| {
        let mut tree = Tree::default();
        for (path, kind) in entries {
            let above = Path::new(&path).parent().unwrap();
            let in_directory = tree
                .0
                .get(above)
                .is_some_and(|node: &Node| node.kind == NodeKind::Directory);
            if above == Path::new("/") || in_directory {
                tree.0.insert(
                    path.into(),
                    Node {
                        kind,
                        mode: 0o755,
                        uid: 0,
                        gid: 0,
                    },
                );
            }
        }
        tree
    })
}

const VOLUMES: [&str; 3] = ["one", "two", "none"];

fn mounts() -> impl Strategy<Value = Vec<Mount>> {
    let sub_path = prop::option::weighted(0.4, "(\\./)?([abc]/){0,2}[abc]");
    let wanted = (
        "(/(\\.\\.|[abc])){1,4}",
        sub_path,
        0..VOLUMES.len(),
        any::<Option<bool>>(),
    );
    prop::collection::vec(wanted, 1..=6).prop_map(|all| {
        let one = |(target, sub_path, volume, read_only): (String, Option<String>, usize, _)| Mount {
            read_only,
            sub_path: sub_path.map(PathBuf::from),
            ..mount(VOLUMES[volume], target)
        };
        all.into_iter().map(one).collect()
    })
}

/// What is at a path of the app's root when the volumes of `mounts` are mounted: the innermost one's, as the kernel sees
/// it.
struct Mounted<'a> {
    image: &'a Tree,
    sources: &'a BTreeMap<&'static str, Tree>,
    mounts: &'a [VolumeMount],
}

impl Mounted<'_> {
    fn is_link(&self, path: &Path) -> bool {
        let innermost = self
            .mounts
            .iter()
            .filter(|mount| path.starts_with(&mount.place))
            .max_by_key(|mount| mount.place.components().count());
        let node = match innermost {
            None => self.image.node(path),
            Some(mount) if *mount.place == *path => None,
            Some(mount) => self.sources.get(mount.volume.as_str()).and_then(|tree| {
                tree.node(
                    &Path::new("/")
                        .join(&mount.sub_path)
                        .join(path.strip_prefix(&mount.place).unwrap()),
                )
            }),
        };
        matches!(
            node,
            Some(Node {
                kind: NodeKind::Symlink(_),
                ..
            })
        )
    }
}

fn is_plain(path: &Path) -> bool {
    path.components()
        .all(|component| matches!(component, Component::Normal(_) | Component::RootDir))
}

/// Every mount of the plan is where it says, in the app's root, and brings a part of its volume.
fn check(plan: &PodPlan, image: &Tree, sources: &BTreeMap<&'static str, Tree>) {
    let app = &plan.apps[0];
    let root = layout::app_root(&app.name);
    for (i, mount) in app.mounts.iter().enumerate() {
        // When it is mounted, those before it are there, parents among them.
        let mounted = Mounted {
            image,
            sources,
            mounts: &app.mounts[..i],
        };
        assert!(is_plain(&mount.place) && mount.place.is_absolute(), "{mount:?}");
        // Without links on its way, a path leads nowhere else: neither systemd nor the kernel has anything to follow.
        let linked = path::ancestors_down(&mount.place).find(|path| mounted.is_link(path));
        assert_eq!(linked, None, "{mount:?}");
        assert!(
            is_plain(&mount.sub_path) && mount.sub_path.is_relative(),
            "{mount:?}"
        );
        let source = sources.get(mount.volume.as_str());
        let inner = Path::new("/").join(&mount.sub_path);
        let linked = path::ancestors_down(&inner).find(|path| {
            let node = source.and_then(|tree| tree.node(path));
            matches!(
                node,
                Some(Node {
                    kind: NodeKind::Symlink(_),
                    ..
                })
            )
        });
        assert_eq!(linked, None, "{mount:?}");
    }
    let units = plan
        .mounts
        .iter()
        .filter(|unit| unit.options.first().is_some_and(|option| option == "bind"));
    let mut bound = 0;
    for unit in units {
        let volume = unit.volume.as_ref().unwrap();
        let (shared, own) = (layout::shared_volume(volume), layout::empty_volume(volume));
        assert!(
            unit.what.starts_with(shared) || unit.what.starts_with(own),
            "{unit:?}"
        );
        assert!(unit.place.starts_with(&root) && *unit.place != *root, "{unit:?}");
        assert!(is_plain(&unit.what) && is_plain(&unit.place), "{unit:?}");
        bound += 1;
    }
    assert_eq!(bound, app.mounts.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_mount_leaves_the_apps_root_or_its_volume(
        (image, one, two) in (tree(), tree(), tree()),
        mounts in mounts(),
    ) {
        let mut pod = pod();
        pod.volumes = vec![host("one", "/srv/one"), host("two", "/srv/two"), empty("none")];
        let sources = BTreeMap::from([("one", one), ("two", two)]);
        // One by one, so that a mount that is refused does not keep the others from being tried.
        let mut kept: Vec<Mount> = Vec::new();
        for mount in mounts {
            pod.apps[0].mounts = kept.iter().cloned().chain([mount.clone()]).collect();
            let mut known = facts(&pod, &[]);
            known.apps[0].root.as_mut().unwrap().tree.0.extend(image.0.clone());
            for (name, tree) in &sources {
                known.sources.get_mut(&volume_name(name)).unwrap().tree = tree.clone();
            }
            if let Ok(plan) = isopod_plan::plan(&pod, &known) {
                check(&plan, &known.apps[0].root.as_ref().unwrap().tree, &sources);
                kept.push(mount);
            }
        }
    }
}

/// Writes a tree below `dir`.
fn write(tree: &Tree, dir: &Path) {
    for (path, node) in &tree.0 {
        let path = path::below(dir, path);
        match &node.kind {
            NodeKind::Directory => std::fs::create_dir(path).unwrap(),
            NodeKind::Symlink(target) => symlink(target, path).unwrap(),
            NodeKind::File | NodeKind::Other => std::fs::write(path, "").unwrap(),
        }
    }
}

/// Where the kernel finds `path` with `dir` as the root.
fn kernel(dir: &Path, path: &Path) -> Result<PathBuf, Errno> {
    let root = rustix::fs::openat(CWD, dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let open = || rustix::fs::openat2(&root, path, OFlags::PATH, Mode::empty(), ResolveFlags::IN_ROOT);
    // Another process renames something somewhere: the kernel cannot be sure of a `..` then (openat2(2)).
    let mut tries = std::iter::repeat_with(open);
    let found = tries.find(|found| !matches!(found, Err(Errno::AGAIN))).unwrap()?;
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
    let real = std::fs::read_link(link).unwrap();
    Ok(Path::new("/").join(real.strip_prefix(dir).unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn links_are_followed_as_the_kernel_follows_them(
        tree in tree(),
        paths in prop::collection::vec("(/(\\.\\.|[abc])){1,5}", 1..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        write(&tree, &root);
        for path in paths.iter().map(Path::new) {
            let ours = path::resolve(&tree, path);
            match (kernel(&root, path), ours) {
                (Ok(found), Ok(ours)) => {
                    prop_assert_eq!(found, ours.path);
                    prop_assert!(ours.node.is_some());
                }
                (Err(Errno::LOOP), Err(ResolveError::Loop(_))) => {}
                (Err(Errno::NOTDIR), Err(ResolveError::NotADirectory(_))) => {}
                // What is missing is made, so for planning the path continues there, as far as it goes.
                (Err(Errno::NOENT), _) => {}
                (found, ours) => prop_assert!(false, "{path:?}: the kernel {found:?}, here {ours:?}"),
            }
        }
    }
}
