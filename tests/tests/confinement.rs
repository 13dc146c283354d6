//! What whoever breaks out of a guest finds: looked at from the host, in the roots of a running pod's processes.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use isopod_tests::Bench;
use isopod_tests::faults::{guest_memory, pods};

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

fn root_of(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root"))
}

/// `path` as the process with that root sees it.
fn seen(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").expect("an absolute path"))
}

fn status(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.expect("the field").trim().to_owned()
}

/// Fails unless the process sees the system, its own `/proc`, some devices, its pod's directory, and nothing else.
fn assert_sees_only(pid: i32, pod: &Path, of_pod: &[&str], bench: &Bench, programs: &[&str]) {
    let root = root_of(pid);
    let state_top = pod
        .components()
        .nth(1)
        .expect("a component")
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    let mut allowed: BTreeSet<String> = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu"]
        .into_iter()
        .chain(["usr", "dev", "etc", "proc", "tmp"])
        .map(str::to_owned)
        .collect();
    allowed.insert(state_top);
    let top = names(&root);
    assert!(top.is_subset(&allowed), "{top:?}");
    // It has nothing in it but the way to the pod's directory, where that leads through it.
    assert!(pod.starts_with("/tmp") || names(&root.join("tmp")).is_empty());
    let expected: BTreeSet<String> = [pid.to_string(), "self".into(), "sys".into()].into();
    assert_eq!(names(&root.join("proc")), expected, "other processes");
    let devices = ["full", "kvm", "null", "random", "urandom", "zero"].map(str::to_owned);
    assert!(
        names(&root.join("dev")).is_subset(&devices.into()),
        "{:?}",
        names(&root.join("dev"))
    );
    let etc = ["alternatives", "ld.so.cache", "resolv.conf"].map(str::to_owned);
    assert!(
        names(&root.join("etc")).is_subset(&etc.into()),
        "{:?}",
        names(&root.join("etc"))
    );
    let of_pod: BTreeSet<String> = of_pod.iter().copied().map(str::to_owned).collect();
    assert_eq!(names(&seen(&root, pod)), of_pod);
    let here: BTreeSet<String> = names(&seen(&root, bench.dir()));
    let programs: BTreeSet<String> = programs.iter().copied().map(str::to_owned).collect();
    assert!(here.is_subset(&programs), "{here:?}");
    let others = names(pod.parent().expect("a directory of pods"));
    assert!(others.len() > 1, "another pod is there to be hidden: {others:?}");
    assert_eq!(
        names(seen(&root, pod).parent().expect("pods")).len(),
        1,
        "other pods"
    );
    // What it sees of the host is read-only, and so is the root itself.
    for line in fs::read_to_string(format!("/proc/{pid}/mountinfo"))
        .expect("mountinfo")
        .lines()
    {
        let fields: Vec<&str> = line.split(' ').collect();
        let (place, options) = (fields[4], fields[5]);
        let writable = options.split(',').any(|option| option == "rw");
        let own = Path::new(place).starts_with(pod) || place.starts_with("/dev/");
        assert!(!writable || own || place == format!("/proc/{pid}"), "{line}");
    }
}

/// Its own pod's kernel and image file, and none of the volumes, for QEMU; the volumes, and none of the pod's files, for
/// virtiofsd. Root's pod has a port below 1024 too, and its router no other privilege than to bind it.
fn confined(bench: &Bench, low_port: Option<u16>) {
    let volume = bench.source("data", &[("in-volume", "x")]);
    let secret = bench.source("secret", &[("private", "y")]);
    let pod = bench.pod().host("data", &volume, "").app(&bench.busybox());
    let pod = pod.mount("data", "/data", "").env("SECRET", "value");
    let pod = match low_port {
        Some(port) => pod.flags([
            "--network",
            "user,by=passt",
            "-p",
            &format!("127.0.0.1:{port}:80"),
        ]),
        None => pod.flags(["--network", "none"]),
    };
    // What the caller has open is for nobody else.
    let left_open = format!("exec 9<'{}'; exec \"$@\"", secret.display());
    let pod = pod.within(["sh", "-c", &left_open, "sh"].map(str::to_owned).into());
    let pod = pod.flags(["-d", "--name", "confined"]).with(["-e", "SECRET"]);
    let _ = pod.sh("exec sleep 1000").start().wait().expect(0);
    assert!(secret.join("private").exists());
    // A neighbour that is not to be seen.
    let neighbour = bench
        .state()
        .join("pods/started")
        .join("00000000-0000-0000-0000-000000000000");
    fs::create_dir_all(&neighbour).expect("a neighbour");
    let dir = pods(bench)
        .into_iter()
        .find(|dir| dir.join("console.log").exists())
        .expect("a pod directory");
    let dir = fs::canonicalize(dir).expect("a pod directory");

    let qemu = bench.process("qemu-system");
    for (pid, line) in bench.processes() {
        assert_inherits_nothing(pid, &line, &secret);
    }
    let of_qemu = ["agent.sock", "images", "writable"];
    let virtiofs = dir.join("virtiofsd.sock").exists();
    let mut of_pod = of_qemu.to_vec();
    of_pod.push(if virtiofs { "virtiofsd.sock" } else { "share" });
    of_pod.extend(low_port.map(|_| "network.sock"));
    assert_sees_only(qemu, &dir, &of_pod, bench, &["state"]);
    assert_eq!(
        (&*status(qemu, "Seccomp"), &*status(qemu, "NoNewPrivs")),
        ("2", "1")
    );
    if virtiofs {
        assert_eq!(status(qemu, "CapBnd"), format!("{:016x}", 0));
        assert_eq!(status(qemu, "CapEff"), format!("{:016x}", 0));
        let virtiofsd = bench.process("virtiofsd");
        assert_own_namespaces(virtiofsd, &["pid", "ipc", "net"]);
        assert_leaves_no_memory(virtiofsd);
        let share = seen(&root_of(virtiofsd), &dir.join("share"));
        // The daemon may have made the share its root.
        let share = if share.exists() { share } else { root_of(virtiofsd) };
        assert_eq!(names(&share), ["data".to_owned()].into());
        assert_eq!(names(&share.join("data")), ["in-volume".to_owned()].into());
    }
    assert_own_namespaces(qemu, &["pid", "ipc", "net"]);
    if low_port.is_some() {
        assert_passt_is_confined(passt_of(bench), status(qemu, "Uid"));
    }
    assert_leaves_no_memory(qemu);
    let memory = fs::read_to_string(format!("/proc/{qemu}/smaps")).expect("its memory");
    let guest = guest_memory(&memory).expect("the guest's memory");
    let flags = guest
        .lines()
        .find(|line| line.starts_with("VmFlags:"))
        .expect("flags");
    assert!(
        flags.split(' ').any(|flag| flag == "dd"),
        "in no core dump: {flags}"
    );
    // Root's QEMU is a user that nobody is; where it serves volumes itself, and an ordinary user's, the caller.
    let users = status(qemu, "Uid");
    let user: u32 = users
        .split('\t')
        .next()
        .and_then(|uid| uid.parse().ok())
        .expect("a user");
    let own = 0x7000_0000..0x7800_0000;
    let is_root = fs::metadata(&dir).expect("its metadata").uid() == 0;
    assert_eq!(own.contains(&user), is_root && virtiofs, "{users}");
    assert!(users.split('\t').all(|one| one == user.to_string()), "{users}");
    assert_private(&dir, user);
    let _ = bench.isopod_command(["rm", "--force", "confined"]).expect(0);
    fs::remove_dir_all(&neighbour).ok();
    bench.assert_nothing_left();
}

/// passt, which a launcher waits for: it has left everything that names the pod.
fn passt_of(bench: &Bench) -> i32 {
    let is_launcher = |line: &str| line.contains("internal-launcher") && line.contains("/passt ");
    let launchers = bench
        .processes()
        .into_iter()
        .filter(|(_, line)| is_launcher(line));
    let children = launchers.filter_map(|(pid, _)| {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    });
    let found: Vec<i32> = children.collect();
    assert_eq!(found.len(), 1, "{:?}", bench.processes());
    found[0]
}

/// It sees no file at all, has the host's network, no capability, and is who QEMU is.
fn assert_passt_is_confined(passt: i32, users: String) {
    assert!(names(&root_of(passt)).is_empty());
    assert_own_namespaces(passt, &["pid", "ipc"]);
    assert_eq!(
        (&*status(passt, "Seccomp"), &*status(passt, "NoNewPrivs")),
        ("2", "1")
    );
    assert_eq!(status(passt, "CapEff"), format!("{:016x}", 0));
    assert_eq!(status(passt, "Uid"), users);
}

/// Fails unless the process has namespaces of those kinds for itself.
fn assert_own_namespaces(pid: i32, kinds: &[&str]) {
    let of = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
    for kind in ["pid", "ipc", "net"] {
        let own = of(&pid.to_string(), kind) != of("self", kind);
        assert_eq!(own, kinds.contains(&kind), "{kind} of process {pid}");
    }
}

/// Fails unless neither a core file of the process nor what core(5) pipes has the guest's memory in it.
fn assert_leaves_no_memory(pid: i32) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("its limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let core: Vec<&str> = core.expect("a limit").split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{core:?}");
    let filter = fs::read_to_string(format!("/proc/{pid}/coredump_filter")).expect("its filter");
    assert_eq!(filter.trim(), "00000031");
}

/// Fails where a process has a variable of its caller, or something open that is not its own.
fn assert_inherits_nothing(pid: i32, line: &str, left_open: &Path) {
    let environment = fs::read(format!("/proc/{pid}/environ")).expect("its environment");
    let environment = String::from_utf8_lossy(&environment);
    let names = environment
        .split_terminator('\0')
        .filter_map(|variable| variable.split('=').next());
    // isopod itself looks for programs and its agent where its caller's isopod does.
    let own: &[&str] = match line.contains(" internal-supervise ") {
        true => &["ISOPOD_AGENT", "PATH"],
        false => &[],
    };
    assert_eq!(names.collect::<Vec<_>>(), own, "{line}");
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors") {
        let entry = entry.expect("a descriptor");
        let open = fs::read_link(entry.path()).unwrap_or_default();
        assert_ne!(open, left_open, "{line}");
    }
}

/// Nobody but the owner reads or enters anything of a pod.
fn assert_private(pod: &Path, qemu: u32) {
    let mode = |path: &Path| {
        fs::symlink_metadata(path)
            .expect("its metadata")
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(mode(pod), 0o700, "{}", pod.display());
    assert_eq!(mode(pod.parent().expect("pods")), 0o700);
    let owner = fs::metadata(pod).expect("its metadata").uid();
    let mut dirs = vec![pod.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)
            .expect("a directory")
            .map(|entry| entry.expect("an entry"))
        {
            let (path, kind) = (entry.path(), entry.file_type().expect("its type"));
            // Images are files of the store, by another name.
            if kind.is_symlink() || kind.is_socket() || path.starts_with(pod.join("images")) {
                continue;
            }
            let found = fs::symlink_metadata(&path).expect("its metadata").uid();
            let of_qemu = path.ends_with("writable") || path.starts_with(pod.join("disks/"));
            let is_dir = kind.is_dir();
            assert_eq!(
                found,
                if of_qemu && !is_dir { qemu } else { owner },
                "{}",
                path.display()
            );
            assert_eq!(
                mode(&path) & 0o077,
                0,
                "{} has mode {:o}",
                path.display(),
                mode(&path)
            );
            dirs.extend(kind.is_dir().then_some(path));
        }
    }
}

#[test]
fn a_pod_of_roots_is_confined() {
    if let Some(bench) = Bench::of_root() {
        let free = (600..1000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        confined(&bench, Some(free.expect("a free port")));
    }
}

#[test]
fn a_pod_of_an_ordinary_user_is_confined() {
    confined(&Bench::of_ordinary_user(), None);
}
