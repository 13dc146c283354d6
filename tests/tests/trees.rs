//! The tree that a guest boots with is the tree that umoci unpacks, entry for entry, of an image that buildah built.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use isopod_tests::Bench;

/// What an entry is, but for what the guest itself mounts: type, mode, owner, links, device, time, target of a link;
/// of files the digest too. The same program says it on both sides.
const LIST: &str = "
    find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /etc/hosts -o -path /etc/hostname \
        -o -path /etc/resolv.conf \\) -prune -o -exec stat -c '%N|%a|%F|%u:%g|%h|%t:%T|%Y' {} + | sed 's/^/tree /'
    find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /etc \\) -prune \
        -o -type f -exec sha256sum {} + | sed 's/^/sum /'";

/// What makes the first layer, in the directory `$root`.
const LOWER: &str = "
    cd $root && mkdir -p bin dev etc proc sys run tmp root usr var nodes old/sub opaque/sub many && chmod 1777 tmp
    cp /bin/busybox bin/busybox && for applet in sh find stat sed sort sha256sum cat su; do ln -s busybox bin/$applet; done
    printf 'root:x:0:0::/:/bin/sh\\nuser:x:1000:1000::/:/bin/sh\\n' > etc/passwd; : > etc/hosts; : > etc/hostname; : > etc/resolv.conf
    echo one > file && ln file hard-1 && ln file many/hard-2 && chown 7:8 file && chmod 4711 file
    mknod nodes/null c 1 3 && mknod nodes/disk b 259 70000 && mkfifo -m 600 nodes/fifo
    echo secret > secret && chmod 600 secret
    cp bin/busybox bin/busybox-reads-all && setcap cap_dac_override+ep bin/busybox-reads-all
    echo x > old/sub/x && echo x > opaque/old && echo x > opaque/sub/x && echo x > replaced && mkdir becomes-file && echo x > becomes-file/x
    truncate -s 20M sparse && echo end >> sparse
    touch -d '2001-02-03 04:05:06.789' file && ln -s ../file many/link && ln -s /nowhere dangling
    echo n > \"many/$(printf 'n%.0s' $(seq 250))\" && echo u > 'many/ünï côdé'
    chown 3000000000:4000000000 many && chmod 2750 many";

/// And the second.
const UPPER: &str = "
    cd $root && rm -r old && rm -r opaque && mkdir opaque && echo new > opaque/new && rm -r becomes-file && echo file > becomes-file
    echo two > replaced && rm hard-1 && ln many/hard-2 hard-3 && chown 9:9 opaque && chmod 700 nodes";

/// Builds the image with buildah in two layers: the layout `dir/oci`, tag `v2`.
fn build(dir: &Path) {
    let script = format!(
        "set -eu
        buildah() {{ command buildah --root {dir}/storage --runroot {dir}/run --storage-driver overlay \"$@\"; }}
        commit() {{ buildah commit --quiet --format oci --disable-compression=$3 $1 $2 >/dev/null; }}
        cd {dir}; one=$(buildah from scratch); root=$(buildah mount $one); ( {LOWER} )
        buildah config --cmd /bin/sh --env PATH=/bin $one
        buildah umount $one >/dev/null; commit $one oci:lower:v1 true
        two=$(buildah from oci:lower:v1); root=$(buildah mount $two); ( {UPPER} )
        buildah umount $two >/dev/null; commit $two oci:oci:v2 false
        buildah rm --all >/dev/null; buildah rmi --all --force >/dev/null",
        dir = dir.display()
    );
    let built = Command::new("sh").args(["-c", &script]).output().expect("sh");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
}

/// The lines; of the two directories that the guest adds files to without links and time.
fn lines(text: &str) -> BTreeSet<String> {
    let line = |line: &str| {
        let mut fields: Vec<&str> = line.split('|').collect();
        if matches!(fields[0], "tree /" | "tree /etc") {
            fields.truncate(4);
        }
        fields.join("|")
    };
    text.lines().map(line).collect()
}

#[test]
fn a_guest_boots_the_tree_that_umoci_unpacks() {
    let Some(bench) = Bench::of_root() else {
        return;
    };
    let work = tempfile::tempdir().expect("a directory");
    let layout = work.path().join("oci");
    build(work.path());

    let bundle = work.path().join("bundle");
    let image = format!("{}:v2", layout.display());
    let unpacked = Command::new("umoci")
        .args(["unpack", "--image", &image])
        .arg(&bundle)
        .output();
    let unpacked = unpacked.expect("umoci");
    assert!(
        unpacked.status.success(),
        "{}",
        String::from_utf8_lossy(&unpacked.stderr)
    );
    let expected = Command::new("/usr/sbin/chroot")
        .arg(bundle.join("rootfs"))
        .args(["/bin/busybox", "sh", "-c", LIST])
        .env("PATH", "/bin")
        .output()
        .expect("chroot");
    assert!(expected.status.success());
    let expected = lines(&String::from_utf8_lossy(&expected.stdout));
    assert!(expected.len() > 40, "{expected:#?}");
    assert!(expected.iter().all(|line| !line.contains("/old")));

    // A file's capability works in the guest too.
    let script = format!("{LIST}; echo \"read $(su user -c '/bin/busybox-reads-all cat /secret')\"");
    let out = bench
        .pod()
        .app(&format!("oci:{image}"))
        .sh(&script)
        .run()
        .expect(0);
    let mut actual = lines(out.text());
    assert!(actual.remove("read secret"), "{}", out.text());
    // What container runtimes add to an image.
    let added = actual.extract_if(.., |line| {
        line.starts_with("tree '/etc/mtab' -> '/proc/self/mounts'|")
    });
    assert_eq!(added.count(), 1, "{}", out.text());
    let missing: Vec<_> = expected.difference(&actual).collect();
    let surplus: Vec<_> = actual.difference(&expected).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "missing: {missing:#?}\nsurplus: {surplus:#?}"
    );
}
