//! `aci:FILE`, with images that GNU tar made of a directory, as `actool build` does.

#![allow(clippy::unwrap_used)]

mod make;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use isopod_image::{Image, NodeKind, Reader, Store};
use isopod_spec::{LocalReference, Transport};
use make::{chain, reference, run};
use tempfile::TempDir;

const MANIFEST: &str = r#"{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/worker",
    "labels": [{"name": "version", "value": "1.0.0"}, {"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
    "app": {"exec": ["/bin/worker", "--quiet"], "user": "7", "group": "8", "workingDirectory": "/bin",
            "isolators": [{"name": "os/linux/no-new-privileges", "value": true}]}}"#;

struct World {
    dir: TempDir,
    store: Store,
}

impl World {
    /// With a directory that becomes an image.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let layout = dir.path().join("layout");
        fs::create_dir_all(layout.join("rootfs/bin")).unwrap();
        fs::write(layout.join("manifest"), MANIFEST).unwrap();
        fs::write(layout.join("rootfs/bin/worker"), "#!/bin/sh\n").unwrap();
        fs::hard_link(layout.join("rootfs/bin/worker"), layout.join("rootfs/bin/again")).unwrap();
        symlink("/bin/worker", layout.join("rootfs/link")).unwrap();
        Self { dir, store }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("layout").join(name)
    }

    fn manifest(&self, from: &str, to: &str) {
        assert!(MANIFEST.contains(from));
        fs::write(self.path("manifest"), MANIFEST.replace(from, to)).unwrap();
    }

    /// An ACI of these members, made with those flags.
    fn aci(&self, flags: &[&str], members: &[&str]) -> LocalReference {
        let file = self.dir.path().join("image.aci");
        let layout = self.dir.path().join("layout");
        let fixed = [
            "--sort=name",
            "--mtime=@0",
            "-cf",
            file.to_str().unwrap(),
            "-C",
            layout.to_str().unwrap(),
        ];
        run("tar", &[flags, &fixed, members].concat());
        reference(Transport::Aci, &file, None)
    }

    fn import(&self, reference: &LocalReference) -> Image {
        let import = self.store.import(reference);
        import.unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    fn refused(&self, reference: &LocalReference) -> String {
        let error = self.store.import(reference).expect_err("this must be refused");
        let left = fs::read_dir(self.dir.path().join("store/images"))
            .unwrap()
            .count();
        assert_eq!(left, 0, "a refused import must leave nothing");
        chain(&error).replace(self.dir.path().to_str().unwrap(), "DIR")
    }
}

fn kind(image: &Image, path: &str) -> Option<NodeKind> {
    let reader = Reader::open(&image.rootfs).unwrap();
    Some(reader.lookup(Path::new(path)).unwrap()?.kind)
}

const BOTH: [&str; 2] = ["manifest", "rootfs"];

#[test]
fn an_aci_is_an_image_however_it_is_compressed() {
    let world = World::new();
    let plain = world.import(&world.aci(&[], &BOTH));
    assert_eq!(plain.config.entrypoint, ["/bin/worker", "--quiet"]);
    assert_eq!(
        (plain.config.user.as_deref(), plain.config.group.as_deref()),
        (Some("7"), Some("8"))
    );
    assert!(plain.config.no_new_privileges);
    assert_eq!(plain.names, ["example.com/worker:1.0.0"]);
    assert_eq!(kind(&plain, "/bin/worker"), Some(NodeKind::File));
    assert_eq!(kind(&plain, "/bin/again"), Some(NodeKind::File));
    let target = "/bin/worker".into();
    assert_eq!(kind(&plain, "/link"), Some(NodeKind::Symlink { target }));
    assert_eq!((kind(&plain, "/manifest"), kind(&plain, "/rootfs")), (None, None));
    let reader = Reader::open(&plain.rootfs).unwrap();
    let node = reader.lookup(Path::new("/bin/again")).unwrap().unwrap();
    assert_eq!(reader.read(&node, 100).unwrap(), b"#!/bin/sh\n");
    for flags in [&["-z"][..], &["-J"], &["--zstd"]] {
        assert_eq!(world.import(&world.aci(flags, &BOTH)).id, plain.id, "{flags:?}");
    }
    // The manifest may stand last, and names may begin with `./`.
    let other = world.import(&world.aci(&["-z"], &["./rootfs", "./manifest"]));
    assert_eq!(kind(&other, "/bin/worker"), Some(NodeKind::File));
}

#[test]
fn a_whitelist_leaves_nothing_else() {
    let world = World::new();
    world.manifest(r#""app":"#, r#""pathWhitelist": ["/bin/worker"], "app":"#);
    let image = world.import(&world.aci(&[], &BOTH));
    let there = ["/bin", "/bin/worker", "/bin/again", "/link"].map(|path| kind(&image, path).is_some());
    assert_eq!(there, [true, true, false, false]);
}

#[test]
fn what_is_no_aci_is_refused_by_name() {
    let world = World::new();
    let refused = |members: &[&str]| world.refused(&world.aci(&[], members));
    assert!(refused(&["rootfs"]).contains("has no complete member `manifest`"));
    assert!(refused(&["manifest"]).contains("has no complete member `rootfs`"));
    fs::write(world.path("more"), "x").unwrap();
    assert!(
        refused(&["manifest", "rootfs", "more"]).contains("it holds `more` beside its manifest and `rootfs`")
    );
    let twice = world.aci(&["--hard-dereference"], &["manifest", "rootfs", "manifest"]);
    assert!(world.refused(&twice).contains("it holds `manifest` beside"));
    fs::write(world.path("rootfs/bin/.wh.worker"), "").unwrap();
    assert!(refused(&BOTH).contains("`rootfs/bin/.wh.worker` has the name of a whiteout"));
    fs::remove_file(world.path("rootfs/bin/.wh.worker")).unwrap();
    let climbing = world.aci(&["-P", "--transform=s,rootfs/link,rootfs/../../evil,"], &BOTH);
    assert!(world.refused(&climbing).contains("contains `..`"));
    let bzip2 = world.aci(&["-j"], &BOTH);
    assert!(
        world
            .refused(&bzip2)
            .contains("bzip2 compression is not supported")
    );

    let file = world.dir.path().join("cut.aci");
    let whole = fs::read(world.aci(&["-z"], &BOTH).path).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    world.refused(&reference(Transport::Aci, &file, None));
    fs::write(&file, "-----BEGIN PGP MESSAGE-----").unwrap();
    world.refused(&reference(Transport::Aci, &file, None));
}

#[test]
fn manifests_that_cannot_be_kept_are_refused() {
    for (from, to, fault) in [
        (r#""amd64""#, r#""aarch64""#, "the image is for `linux/arm64`"),
        (r#""linux""#, r#""freebsd""#, "the image is for `freebsd/amd64`"),
        (
            r#""app":"#,
            r#""dependencies": [{"imageName": "example.com/base"}], "app":"#,
            "depends on others is not supported",
        ),
        (
            r#""/bin/worker""#,
            r#""worker""#,
            "`worker` must be an absolute path",
        ),
        (
            r#"os/linux/no-new-privileges"#,
            r#"os/linux/selinux-context"#,
            "isolator `os/linux/selinux-context` is not supported",
        ),
        (
            r#""ImageManifest""#,
            r#""PodManifest""#,
            "`PodManifest` must be `ImageManifest`",
        ),
    ] {
        let world = World::new();
        world.manifest(from, to);
        let said = world.refused(&world.aci(&[], &BOTH));
        assert!(said.contains(fault), "{fault}: {said}");
    }
}
