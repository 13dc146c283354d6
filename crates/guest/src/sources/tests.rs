use super::*;

fn host(kernels: &[&str], modules: &[&str]) -> tempfile::TempDir {
    host_in("lib/modules", kernels, modules)
}

fn host_in(parent: &str, kernels: &[&str], modules: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: String| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    };
    kernels.iter().for_each(|path| write((*path).to_owned()));
    modules
        .iter()
        .for_each(|release| write(format!("{parent}/{release}/modules.dep")));
    write("usr/libexec/isopod/isopod-agent".into());
    dir
}

fn options(dir: &tempfile::TempDir) -> FindOptions {
    FindOptions {
        root: dir.path().to_owned(),
        ..FindOptions::default()
    }
}

/// The first that is found.
fn best(options: &FindOptions) -> Sources {
    Sources::find(options).unwrap().remove(0)
}

#[test]
fn the_newest_kernel_with_modules_is_taken() {
    let dir = host(
        &[
            "boot/vmlinuz-6.9.0-1-amd64",
            "boot/vmlinuz-6.10.0-1-amd64",
            "boot/vmlinuz-6.11.0-1-amd64",
            "boot/other",
        ],
        &["6.9.0-1-amd64", "6.10.0-1-amd64"],
    );
    let sources = best(&options(&dir));
    assert_eq!(sources.release, "6.10.0-1-amd64");
    assert_eq!(sources.kernel, dir.path().join("boot/vmlinuz-6.10.0-1-amd64"));
    assert_eq!(sources.modules_dir, dir.path().join("lib/modules/6.10.0-1-amd64"));
    assert_eq!(sources.agent, dir.path().join("usr/libexec/isopod/isopod-agent"));
    let all = Sources::find(&options(&dir)).unwrap();
    assert_eq!((all.len(), all[1].release.as_str()), (2, "6.9.0-1-amd64"));
}

/// The host's own comes first where it has its modules, which an update may have removed (Arch).
#[test]
fn the_running_kernel_is_taken_where_it_is_complete() {
    let dir = host(
        &["boot/vmlinuz-6.9.0", "boot/vmlinuz-6.10.0", "boot/vmlinuz-6.8.0"],
        &["6.9.0", "6.10.0"],
    );
    let release = |running: &str| {
        let options = FindOptions {
            running: Some(running.into()),
            ..options(&dir)
        };
        best(&options).release
    };
    assert_eq!(release("6.9.0"), "6.9.0");
    assert_eq!(release("6.8.0"), "6.10.0");
}

/// A distribution, its kernels, the releases that have modules, and what is taken: the release and the kernel.
struct Layout {
    name: &'static str,
    kernels: &'static [&'static str],
    modules: &'static [&'static str],
    release: &'static str,
    kernel: &'static str,
}

#[test]
fn each_distributions_layout_is_known() {
    let layouts = [
        Layout {
            name: "Fedora",
            kernels: &[
                "usr/lib/modules/6.17.4-300.fc43.x86_64/vmlinuz",
                "boot/vmlinuz-6.17.4-300.fc43.x86_64",
                "boot/vmlinuz-0-rescue-0123456789abcdef",
            ],
            modules: &["6.17.4-300.fc43.x86_64"],
            release: "6.17.4-300.fc43.x86_64",
            kernel: "boot/vmlinuz-6.17.4-300.fc43.x86_64",
        },
        Layout {
            name: "Arch",
            kernels: &["usr/lib/modules/6.17.5-arch1-1/vmlinuz", "boot/vmlinuz-linux"],
            modules: &["6.17.5-arch1-1"],
            release: "6.17.5-arch1-1",
            kernel: "usr/lib/modules/6.17.5-arch1-1/vmlinuz",
        },
        Layout {
            name: "RHEL",
            kernels: &["usr/lib/modules/5.14.0-570.12.1.el9_6.x86_64/vmlinuz"],
            modules: &["5.14.0-570.12.1.el9_6.x86_64", "5.14.0-503.el9.x86_64"],
            release: "5.14.0-570.12.1.el9_6.x86_64",
            kernel: "usr/lib/modules/5.14.0-570.12.1.el9_6.x86_64/vmlinuz",
        },
        Layout {
            name: "Ubuntu",
            kernels: &[
                "boot/vmlinuz",
                "boot/vmlinuz.old",
                "boot/vmlinuz-6.8.0-117-generic",
                "boot/vmlinuz-6.8.0-1017-aws",
            ],
            modules: &["6.8.0-117-generic", "6.8.0-1017-aws"],
            release: "6.8.0-117-generic",
            kernel: "boot/vmlinuz-6.8.0-117-generic",
        },
        Layout {
            name: "Debian",
            kernels: &[
                "boot/vmlinuz-6.12.38+deb13-amd64",
                "boot/vmlinuz-6.12.120+deb13-cloud-amd64",
            ],
            modules: &["6.12.38+deb13-amd64", "6.12.120+deb13-cloud-amd64"],
            release: "6.12.38+deb13-amd64",
            kernel: "boot/vmlinuz-6.12.38+deb13-amd64",
        },
    ];
    for Layout {
        name,
        kernels,
        modules,
        release,
        kernel,
    } in layouts
    {
        let dir = host_in("usr/lib/modules", kernels, modules);
        let found = best(&options(&dir));
        assert_eq!(found.release, release, "{name}");
        assert_eq!(found.kernel, dir.path().join(kernel), "{name}");
        assert_eq!(
            found.modules_dir,
            dir.path().join("usr/lib/modules").join(release),
            "{name}"
        );
    }
}

#[test]
fn nixos_has_its_kernel_in_the_booted_system() {
    let dir = host(&[], &[]);
    let system = dir.path().join("nix/store/abc-nixos-system");
    let modules = system.join("kernel-modules/lib/modules/6.12.55");
    fs::create_dir_all(&modules).unwrap();
    fs::write(modules.join("modules.dep"), "").unwrap();
    let mut kernel = vec![0; 0x400];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    kernel[0x300..0x300 + 18].copy_from_slice(b"6.12.55 (nixbld@lo");
    fs::write(system.join("kernel"), kernel).unwrap();
    fs::create_dir_all(dir.path().join("run")).unwrap();
    std::os::unix::fs::symlink(
        "../nix/store/abc-nixos-system",
        dir.path().join("run/booted-system"),
    )
    .unwrap();
    let found = best(&options(&dir));
    assert_eq!(found.release, "6.12.55");
    assert_eq!(found.kernel, dir.path().join("run/booted-system/kernel"));
    assert!(found.modules_dir.ends_with("kernel-modules/lib/modules/6.12.55"));
}

#[test]
fn a_kernel_is_named_by_its_release_or_its_modules() {
    let dir = host(
        &["lib/modules/7.1.2.fc50/vmlinuz", "boot/vmlinuz-6.1.0"],
        &["7.1.2.fc50", "6.1.0"],
    );
    assert_eq!(best(&options(&dir)).release, "7.1.2.fc50");
    let older = FindOptions {
        modules_dir: Some(dir.path().join("lib/modules/6.1.0")),
        ..options(&dir)
    };
    assert_eq!(best(&older).release, "6.1.0");
    let of = |release: &str| FindOptions {
        release: Some(release.into()),
        ..options(&dir)
    };
    assert_eq!(best(&of("6.1.0")).kernel, dir.path().join("boot/vmlinuz-6.1.0"));
    assert_eq!(
        Sources::find(&of("6.2.0")).unwrap_err().to_string(),
        "no kernel `6.2.0` that has its modules installed; there is `7.1.2.fc50`, `6.1.0`"
    );
    fs::create_dir(dir.path().join("other")).unwrap();
    let other = FindOptions {
        modules_dir: Some(dir.path().join("other")),
        ..options(&dir)
    };
    assert!(matches!(Sources::find(&other), Err(FindError::NoKernelOf { .. })));
}

#[test]
fn what_is_missing_is_said() {
    let dir = host(&["boot/vmlinuz-6.1.0"], &[]);
    let error = Sources::find(&options(&dir)).unwrap_err();
    assert!(matches!(error, FindError::NoKernel { .. }));
    assert!(error.hint().unwrap().contains("kernel package"));

    let named = FindOptions {
        kernel: Some(dir.path().join("boot/vmlinuz-6.1.0")),
        ..options(&dir)
    };
    assert!(matches!(Sources::find(&named), Err(FindError::NoRelease { .. })));
    let absent = FindOptions {
        kernel: Some("/nonexistent/vmlinuz".into()),
        ..options(&dir)
    };
    assert_eq!(
        Sources::find(&absent).unwrap_err().to_string(),
        "cannot read `/nonexistent/vmlinuz`"
    );

    let dir = host(&["boot/vmlinuz-6.1.0"], &["6.1.0"]);
    fs::remove_file(dir.path().join("usr/libexec/isopod/isopod-agent")).unwrap();
    let error = Sources::find(&options(&dir)).unwrap_err();
    assert!(matches!(error, FindError::NoAgent { .. }));
    let absent = FindOptions {
        agent: Some("/nonexistent/agent".into()),
        ..options(&dir)
    };
    assert_eq!(
        Sources::find(&absent).unwrap_err().to_string(),
        "cannot read `/nonexistent/agent`"
    );
}
