use super::*;

/// No link is followed, at the end of the path or above, and another file of the same name is not taken.
#[test]
fn a_source_is_shared_only_where_it_is_what_was_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let at = |name: &str| dir.join(name);
    std::fs::create_dir_all(at("real/data")).unwrap();
    std::fs::write(at("real/file"), "").unwrap();
    std::os::unix::fs::symlink("real", at("link")).unwrap();
    std::os::unix::fs::symlink("data", at("real/last")).unwrap();
    let tried = |source: &str, kind, id| {
        let volume = SharedVolume {
            name: VolumeName::new("v").unwrap(),
            source: at(source),
            kind,
            id,
            read_only: false,
            submounts: Submounts::ReadOnly,
            recursive: true,
            propagation: Propagation::Private,
            given_to: None,
        };
        copy(&volume).map_err(|(what, _)| what).unwrap_err()
    };
    for path in ["link/data", "real/last"] {
        let words = tried(path, SourceKind::Directory, None);
        assert!(
            words.starts_with("a symbolic link is in its path"),
            "{path}: {words}"
        );
    }
    let other = Some(FileId { device: 0, inode: 0 });
    for (path, kind) in [
        ("real/data", SourceKind::Directory),
        ("real/file", SourceKind::File),
    ] {
        assert_eq!(
            tried(path, kind, other),
            "it is another file or directory than when it was looked at"
        );
    }
    assert_eq!(
        tried("real/file", SourceKind::Directory, None),
        "it is no longer a directory"
    );
    assert_eq!(
        tried("real/data", SourceKind::File, None),
        "it is no longer a file"
    );
}

#[test]
fn arguments_come_back() {
    let volume = |name: &str, kind, read_only: bool, recursive: bool, propagation| SharedVolume {
        name: VolumeName::new(name).unwrap(),
        source: OsStr::from_bytes(b"/srv/\xff ,--").into(),
        kind,
        id: (kind == SourceKind::File).then_some(FileId {
            device: u64::MAX,
            inode: 7,
        }),
        read_only,
        submounts: match read_only && !recursive {
            true => Submounts::AsOnHost,
            false => Submounts::ReadOnly,
        },
        recursive,
        propagation,
        given_to: read_only.then_some(Owner {
            uid: 33,
            gid: u32::MAX,
        }),
    };
    let launcher = Launcher {
        parent: 7,
        share: Some((
            "share".into(),
            vec![
                volume("a", SourceKind::Directory, true, false, Propagation::Rslave),
                volume("b", SourceKind::File, false, true, Propagation::Private),
            ],
        )),
        root: Some(Root {
            proc: Proc::Namespace,
            dir: "/pod".into(),
            files: vec![(Access::Read, "--share".into()), (Access::Write, "/b".into())],
        }),
        owner: Owner { uid: 33, gid: 34 },
        maps: Some(UserMaps {
            newuidmap: "/usr/bin/new uidmap".into(),
            newgidmap: "/usr/bin/newgidmap".into(),
            users: vec![
                user_map::tests::line(0, 1000, 1),
                user_map::tests::line(1, 100_000, 65_536),
            ],
            groups: vec![user_map::tests::line(0, 1000, 1)],
        }),
        isolation: Isolation::Network,
        user: Some(0x7000_0001),
        capabilities: Capabilities::Dropped,
        command: vec!["--".into(), "--share".into(), "x".into()],
    };
    assert_eq!(
        Launcher::read(launcher.argv().into_iter().skip(1)).unwrap(),
        launcher
    );
    for capabilities in [Capabilities::Kept, Capabilities::BindsPorts] {
        let launcher = Launcher {
            parent: 1,
            share: None,
            root: None,
            owner: Owner { uid: 0, gid: 0 },
            maps: None,
            isolation: Isolation::Processes,
            user: None,
            capabilities,
            command: vec!["true".into()],
        };
        assert_eq!(
            Launcher::read(launcher.argv().into_iter().skip(1)).unwrap(),
            launcher
        );
    }
}
