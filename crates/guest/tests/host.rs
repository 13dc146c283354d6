//! Builds an image from the kernel and the packages of the host that the tests run on, and takes it apart again.
//!
//! Skipped, with a word on stderr, where no kernel is installed. Nothing is booted here.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says why it fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use isopod_guest::{BuildError, FindOptions, GuestImage, MORE, Sources, WANTED, gc};
use object::LittleEndian;
use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::{Dyn, FileHeader};

/// An archive's entry: mode, device, content.
struct Entry {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

type Entries = BTreeMap<String, Entry>;

fn entries(initrd: &Path) -> Entries {
    let file = std::fs::read(initrd).unwrap();
    assert_eq!(file.len() % 512, 0);
    let mut rest = file.as_slice();
    let mut entries = BTreeMap::new();
    let mut inodes = BTreeSet::new();
    loop {
        let mut reader = cpio::newc::Reader::new(rest).unwrap();
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        let entry = reader.entry().clone();
        rest = reader.finish().unwrap();
        if entry.is_trailer() {
            assert!(rest.iter().all(|byte| *byte == 0));
            return entries;
        }
        assert_eq!(entry.mtime(), 0, "{}", entry.name());
        assert_eq!((entry.uid(), entry.gid()), (0, 0), "{}", entry.name());
        assert!(inodes.insert(entry.ino()), "{} shares its inode", entry.name());
        if let Some((parent, _)) = entry.name().rsplit_once('/') {
            let parent: &Entry = entries
                .get(parent)
                .unwrap_or_else(|| panic!("no parent of {}", entry.name()));
            assert_eq!(parent.mode & 0o170_000, 0o040_000);
        }
        let device = (entry.rdev_major(), entry.rdev_minor());
        entries.insert(
            entry.name().to_owned(),
            Entry {
                mode: entry.mode(),
                device,
                content,
            },
        );
    }
}

/// A host with a kernel, and an agent that is just enough of an ELF file.
struct Host {
    dir: tempfile::TempDir,
    sources: Sources,
}

fn host() -> Option<Host> {
    let dir = tempfile::tempdir().unwrap();
    let agent = dir.path().join("agent");
    std::fs::write(&agent, elf_header()).unwrap();
    let options = FindOptions {
        agent: Some(agent),
        ..FindOptions::default()
    };
    match Sources::find(&options) {
        Ok(mut found) => Some(Host {
            dir,
            sources: found.remove(0),
        }),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// An x86-64 ELF file without any segment.
fn elf_header() -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0");
    file[52] = 64;
    file[54] = 56;
    file[58] = 64;
    file
}

/// The image of these sources alone.
fn ensure(sources: &Sources, cache: &Path) -> Result<GuestImage, BuildError> {
    isopod_guest::ensure(std::slice::from_ref(sources), cache).map(|ensured| ensured.image)
}

fn build(host: &Host) -> (GuestImage, Entries) {
    let image = ensure(&host.sources, &host.dir.path().join("cache")).unwrap();
    let entries = entries(&image.initrd);
    (image, entries)
}

#[test]
fn the_kernel_is_the_hosts_own() {
    let Some(host) = host() else { return };
    let (image, _) = build(&host);
    let kernel = std::fs::read(&image.kernel).unwrap();
    let banner = format!("Linux version {} ", image.release);
    assert!(
        kernel
            .windows(banner.len())
            .any(|window| window == banner.as_bytes())
    );
}

#[test]
fn the_root_file_system_has_what_init_and_apps_need() {
    let Some(host) = host() else { return };
    let (image, entries) = build(&host);
    assert!(image.systemd_version >= 249);
    let mode = |path: &str| entries.get(path).unwrap_or_else(|| panic!("no {path}")).mode;
    let text = |path: &str| String::from_utf8(entries[path].content.clone()).unwrap();

    assert_eq!(mode("init"), 0o120_777);
    assert_eq!(text("init"), "/isopod/agent");
    assert_eq!(entries["isopod/agent"].content, elf_header());
    for program in ["isopod/agent", "usr/lib/systemd/systemd"] {
        assert_eq!(mode(program), 0o100_755, "{program}");
    }
    assert_eq!(
        [text("usr/bin/mount"), text("usr/bin/umount")],
        ["/isopod/agent", "/isopod/agent"]
    );
    for link in ["bin", "sbin", "lib", "lib64"] {
        assert_eq!(text(link), format!("usr/{link}"));
    }
    assert_eq!(mode("tmp"), 0o041_777);
    assert_eq!(mode("opt/stage2"), 0o040_755);
    assert_eq!(mode("isopod/errors"), 0o040_700);
    for (node, device) in [
        ("null", (1, 3)),
        ("zero", (1, 5)),
        ("full", (1, 7)),
        ("random", (1, 8)),
        ("urandom", (1, 9)),
        ("tty", (5, 0)),
    ] {
        assert_eq!(mode(&format!("isopod/dev/{node}")), 0o020_666);
        assert_eq!(entries[&format!("isopod/dev/{node}")].device, device);
    }
    assert_eq!(text("isopod/dev/ptmx"), "pts/ptmx");
    assert_eq!(text("etc/machine-id").trim().len(), 32);
    assert_eq!(text("etc/passwd").lines().count(), 2);
    assert!(
        !entries.contains_key("etc/initrd-release"),
        "systemd would take the guest for an initrd"
    );
    let units = entries
        .keys()
        .filter_map(|path| path.strip_prefix("usr/lib/systemd/system/"));
    assert_eq!(
        units.collect::<Vec<_>>(),
        [
            "default.target",
            "default.target.wants",
            "default.target.wants/isopod-agent.service",
            "isopod-agent.service"
        ],
        "all others are the planner's"
    );
}

#[test]
fn every_library_that_a_program_needs_is_there() {
    let Some(host) = host() else { return };
    let (_, entries) = build(&host);
    let files: BTreeSet<&str> = entries
        .keys()
        .filter_map(|path| path.rsplit('/').next())
        .collect();
    let mut checked = 0;
    for (path, entry) in &entries {
        if !path.starts_with("usr/") || !entry.content.starts_with(b"\x7fELF") {
            continue;
        }
        for library in needed(&entry.content) {
            assert!(files.contains(library.as_str()), "{path} needs {library}");
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
    assert!(entries.contains_key("usr/lib64/ld-linux-x86-64.so.2"));
}

/// What the host's own linker takes is what the guest gets, byte for byte.
#[test]
fn the_libraries_are_those_that_ldd_finds() {
    let Some(host) = host() else { return };
    let (_, entries) = build(&host);
    for program in ["/usr/lib/systemd/systemd"] {
        let output = Command::new("ldd")
            .arg(program)
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        for path in output
            .split_ascii_whitespace()
            .filter(|word| word.starts_with('/'))
        {
            let guest = path.trim_start_matches('/');
            let guest = if guest.starts_with("usr/") {
                guest.to_owned()
            } else {
                format!("usr/{guest}")
            };
            let on_host = std::fs::read(path).unwrap();
            let found = entries.get(&guest);
            assert_eq!(
                found.map(|found| &found.content),
                Some(&on_host),
                "{program} needs {path}"
            );
        }
    }
}

fn needed(file: &[u8]) -> Vec<String> {
    let header = FileHeader64::<LittleEndian>::parse(file).unwrap();
    let endian = header.endian().unwrap();
    let sections = header.sections(endian, file).unwrap();
    let Some((entries, strings)) = sections.dynamic(endian, file).unwrap() else {
        return Vec::new();
    };
    let strings = sections.strings(endian, file, strings).unwrap();
    let needed = entries.iter().filter(|entry| entry.tag(endian) == DT_NEEDED);
    needed
        .map(|entry| String::from_utf8(entry.string(endian, strings).unwrap().to_vec()).unwrap())
        .collect()
}

/// modprobe(8) is the oracle, save for the one liberty taken: accelerated variants of a soft dependency are left out.
#[test]
fn modules_load_in_modprobes_order() {
    let Some(host) = host() else { return };
    let (image, mut entries) = build(&host);
    let mut more = crate::entries(&image.more_modules);
    let is_directory = |entry: &Entry| entry.mode & 0o170_000 == 0o040_000;
    assert!(
        more.iter()
            .all(|(path, entry)| is_directory(entry) || !entries.contains_key(path))
    );
    assert_eq!(more["usr/sbin/modprobe"].content, b"/isopod/agent");
    let aliases = String::from_utf8(more["isopod/modules/aliases"].content.clone()).unwrap();
    for line in ["rtnl_link_veth veth", "char_major_10_200 tun"] {
        assert!(aliases.lines().any(|alias| alias == line), "{line}");
    }
    more.retain(|path, _| path.ends_with(".ko"));
    entries.append(&mut more);
    let order = String::from_utf8(entries["isopod/modules/order"].content.clone()).unwrap();
    let lines: BTreeMap<&str, Vec<&str>> = order
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            (words.next().unwrap(), words.collect())
        })
        .collect();
    assert!(order.lines().is_sorted());
    let always = WANTED.iter().map(|wanted| wanted.name);
    let wanted: BTreeSet<&str> = always.chain(MORE.iter().copied()).collect();
    assert!(image.modules.iter().all(|name| wanted.contains(name.as_str())));
    for name in lines.keys().copied().chain(wanted.iter().copied()) {
        let needs = lines.get(name).map(Vec::as_slice).unwrap_or_default();
        let Some(expected) = modprobe(&image.release, name, needs) else {
            assert!(
                !lines.contains_key(name) && !image.modules.contains(name),
                "{name} does not exist"
            );
            continue;
        };
        let found = &lines[name];
        assert_eq!(image.modules.contains(name), wanted.contains(name));
        if expected.is_empty() {
            assert_eq!(*found, ["builtin"], "{name}");
            continue;
        }
        let found: Vec<&str> = found.iter().copied().chain([name]).collect();
        assert_eq!(found, expected, "{name}");
        for module in found {
            assert!(
                entries[&format!("isopod/modules/{module}.ko")]
                    .content
                    .starts_with(b"\x7fELF")
            );
        }
    }
    let files = entries.keys().filter(|path| path.ends_with(".ko")).count();
    assert_eq!(
        files,
        lines.values().filter(|before| **before != ["builtin"]).count()
    );
}

/// What modprobe would load for a module, where that is portable or among `needs`; `None` where it knows no such module.
fn modprobe(release: &str, name: &str, needs: &[&str]) -> Option<Vec<String>> {
    let output = Command::new("/usr/sbin/modprobe")
        .args(["-C", "/dev/null", "-S", release, "--show-depends", name])
        .output()
        .unwrap();
    output.status.success().then_some(())?;
    let lines = String::from_utf8(output.stdout).unwrap();
    let modules = lines
        .lines()
        .filter_map(|line| line.strip_prefix("insmod "))
        .map(PathBuf::from);
    let name_of = |path: &Path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .split(".ko")
            .next()
            .unwrap()
            .replace('-', "_")
    };
    let loaded = modules.filter_map(|path| {
        let module = name_of(&path);
        let portable = !path.to_string_lossy().contains("/arch/");
        (portable || module == name || needs.contains(&module.as_str())).then_some(module)
    });
    Some(loaded.collect())
}

#[test]
fn the_same_sources_give_the_same_bytes() {
    let Some(host) = host() else { return };
    let build = |name: &str| ensure(&host.sources, &host.dir.path().join(name)).unwrap();
    let (one, two) = (build("one"), build("two"));
    assert_eq!(one.digest, two.digest);
    assert_eq!(
        std::fs::read(one.initrd).unwrap(),
        std::fs::read(two.initrd).unwrap()
    );
}

#[test]
fn an_image_is_kept_until_a_source_changes_or_it_is_damaged() {
    let Some(host) = host() else { return };
    let cache = host.dir.path().join("cache");
    let first = ensure(&host.sources, &cache).unwrap();
    let built = std::fs::metadata(&first.initrd).unwrap().modified().unwrap();
    let modified = |image: &GuestImage| std::fs::metadata(&image.initrd).unwrap().modified().unwrap();

    let start = Instant::now();
    let again = ensure(&host.sources, &cache).unwrap();
    let took = start.elapsed();
    assert_eq!((&again, modified(&again)), (&first, built));
    assert!(
        took < Duration::from_millis(50),
        "looking up an image took {took:?}"
    );

    std::fs::OpenOptions::new()
        .write(true)
        .open(&first.initrd)
        .unwrap()
        .set_len(512)
        .unwrap();
    let mended = ensure(&host.sources, &cache).unwrap();
    assert_eq!(
        (&mended, std::fs::metadata(&mended.initrd).unwrap().len() > 512),
        (&first, true)
    );

    let mut agent = elf_header();
    agent.push(0);
    std::fs::write(&host.sources.agent, agent).unwrap();
    let other = ensure(&host.sources, &cache).unwrap();
    assert_ne!((&other.key, &other.digest), (&first.key, &first.digest));
    assert!(first.initrd.exists());

    let names = |cache: &Path| std::fs::read_dir(cache.join("guest")).unwrap().count();
    // What a build that was killed left: a directory, or the list of inputs on its way.
    std::fs::create_dir(cache.join("guest/.new-x")).unwrap();
    std::fs::write(cache.join("guest/.new-inputs"), "").unwrap();
    assert_eq!(gc(&cache, &BTreeSet::from([other.key.clone()])).unwrap(), 1);
    assert!(!first.initrd.exists() && other.initrd.exists());
    // The lock, the list of inputs and the one image.
    assert_eq!(names(&cache), 3);
    assert_eq!(gc(Path::new("/nonexistent"), &BTreeSet::new()).unwrap(), 0);
}

#[test]
fn calls_at_the_same_time_build_one_image() {
    let Some(host) = host() else { return };
    let cache = host.dir.path().join("cache");
    let images: Vec<GuestImage> = std::thread::scope(|scope| {
        let calls = [(); 4].map(|()| scope.spawn(|| ensure(&host.sources, &cache).unwrap()));
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(images.iter().all(|image| *image == images[0]));
}

#[test]
fn what_cannot_be_used_is_named() {
    let Some(mut host) = host() else { return };
    let cache = host.dir.path().join("cache");
    let agent = std::mem::replace(&mut host.sources.agent, "/usr/bin/mount".into());
    let error = ensure(&host.sources, &cache).unwrap_err();
    assert!(matches!(error, BuildError::AgentNotStatic { .. }));
    assert_eq!(error.to_string(), "agent `/usr/bin/mount` is not a static binary");

    host.sources.agent = agent;
    let kernel = std::mem::replace(&mut host.sources.kernel, "/usr/bin/mount".into());
    let error = ensure(&host.sources, &cache).unwrap_err();
    assert_eq!(error.to_string(), "cannot use kernel `/usr/bin/mount`");
    assert!(error.hint().unwrap().contains("CONFIG_PVH"));

    host.sources.kernel = kernel;
    host.sources.modules_dir = "/nonexistent".into();
    let error = ensure(&host.sources, &cache).unwrap_err();
    assert_eq!(error.to_string(), "cannot collect the kernel's modules");
    // Nothing unfinished is left behind.
    let left = std::fs::read_dir(cache.join("guest")).unwrap();
    assert_eq!(left.count(), 1);
}

/// The newest kernel of a host that is broken does not end the run, and is not read again until it changes.
#[test]
fn a_kernel_that_cannot_be_used_is_passed_over() {
    let Some(host) = host() else { return };
    let cache = host.dir.path().join("cache");
    let broken = Sources {
        kernel: host.dir.path().join("vmlinuz-9.9.9"),
        release: "9.9.9".into(),
        ..host.sources.clone()
    };
    std::fs::write(&broken.kernel, "no kernel").unwrap();
    let both = [broken.clone(), host.sources.clone()];
    for _ in 0..2 {
        let ensured = isopod_guest::ensure(&both, &cache).unwrap();
        assert_eq!(ensured.image.release, host.sources.release);
        let [passed] = &ensured.passed_over[..] else {
            panic!("{ensured:?}")
        };
        assert_eq!(passed.kernel, broken.kernel);
        assert!(passed.reason.contains("not an x86 kernel image"), "{passed:?}");
    }
    let noted = std::fs::read_dir(cache.join("guest")).unwrap();
    let noted = noted.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("unusable-")
    });
    assert_eq!(noted.count(), 1);
    // One that is there no more is passed over as well, and where none is left the best one's error is reported.
    std::fs::remove_file(&broken.kernel).unwrap();
    let ensured = isopod_guest::ensure(&both, &cache).unwrap();
    assert!(
        ensured.passed_over[0].reason.contains("No such file"),
        "{ensured:?}"
    );
    let error = isopod_guest::ensure(&[broken.clone(), broken], &cache).unwrap_err();
    assert!(matches!(error, BuildError::Read(_)));
}
