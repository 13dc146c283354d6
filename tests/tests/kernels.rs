//! Which of the host's kernels a guest runs.

use std::path::PathBuf;
use std::process::Command;

use isopod_tests::Bench;

/// The newest kernel in /boot that has its modules, or else the only one.
fn release() -> String {
    let releases = std::fs::read_dir("/usr/lib/modules").expect("modules");
    let release = releases
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|release| PathBuf::from(format!("/boot/vmlinuz-{release}")).is_file());
    release.expect("a kernel with its modules")
}

/// A newer kernel that is broken does not end the run, and says so; one that is asked for is taken, or refused.
#[test]
fn a_broken_kernel_is_passed_over_and_a_named_one_taken() {
    let Some(bench) = Bench::of_root() else { return };
    let release = release();
    let dir = bench.dir().join("host");
    let script = format!(
        "mkdir -p {dir}/boot {dir}/modules/99.9.9\n\
         ln -sf {dir}/kernel-{release} {dir}/boot/vmlinuz-{release}\n\
         cp -n /boot/vmlinuz-{release} {dir}/kernel-{release}\n\
         echo no kernel > {dir}/boot/vmlinuz-99.9.9\n\
         touch {dir}/modules/99.9.9/modules.dep\n\
         cp -rn /usr/lib/modules/{release} {dir}/modules/\n",
        dir = dir.display()
    );
    let made = Command::new("sh").args(["-ec", &script]).status().expect("sh");
    assert!(made.success());
    let behind = format!(
        "mount --bind {dir}/boot /boot; mount --bind {dir}/modules /usr/lib/modules",
        dir = dir.display()
    );
    let pod = || {
        let pod = bench.pod().behind(&behind).flags(["--network", "none"]);
        pod.app(&bench.busybox()).sh("uname -r")
    };
    let out = pod().run().expect(0);
    assert_eq!(out.text(), format!("{release}\n"));
    let words =
        format!("note: the guest runs kernel {release}, since `/boot/vmlinuz-99.9.9` cannot be used: ");
    assert!(out.stderr.contains(&words), "{}", out.stderr);

    let named = |flags: &[String]| {
        let pod = bench.pod().behind(&behind).flags(["--network", "none"]);
        pod.flags(flags.to_vec()).app(&bench.busybox()).sh("uname -r")
    };
    let words = [
        "--kernel".to_owned(),
        format!("{}/kernel-{release}", dir.display()),
        format!("--modules={}/modules/{release}", dir.display()),
    ];
    let out = named(&words).run().expect(0);
    assert_eq!((out.text(), &out.stderr[..]), (&format!("{release}\n")[..], ""));
    named(&["--kernel".into(), "1.2.3".into()]).run().assert_refused(
        125,
        &format!(
            "error: cannot find what the guest image is made of\n  \
             caused by: no kernel `1.2.3` that has its modules installed; there is `99.9.9`, `{release}`\n\
             hint: a kernel that is elsewhere is named by its path: `--kernel FILE --modules DIR`"
        ),
    );
    let out = named(&["--kernel=99.9.9".into()]).run().expect(125);
    assert!(
        out.stderr.contains("cannot use kernel `/boot/vmlinuz-99.9.9`"),
        "{}",
        out.stderr
    );
}
