use std::io::Write;

use super::*;

fn tree(dependencies: &str, softdep: &str, alias: &str, builtin: &str, modinfo: &str) -> Tree {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("modules.dep", dependencies),
        ("modules.softdep", softdep),
        ("modules.alias", alias),
        ("modules.builtin", builtin),
        ("modules.builtin.modinfo", modinfo),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    Tree::read(dir.path(), &mut Inputs::default()).unwrap()
}

const DEP: &str = "kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2.ko.xz kernel/lib/crc16.ko.xz\n\
        kernel/fs/jbd2.ko.xz:\n\
        kernel/lib/crc16.ko.xz:\n\
        kernel/arch/x86/crypto/crc32c-intel.ko.xz:\n\
        kernel/crypto/crc32c_generic.ko.xz:\n";
const SOFT: &str = "# comment\nsoftdep ext4 pre: crypto-crc32c\nsoftdep jbd2 pre: crypto-crc32c post: later\n\
        softdep crc16 post: jbd2\n";
const ALIAS: &str =
    "alias crypto-crc32c crc32c_intel\nalias crypto-crc32c crc32c_generic\nalias fs-ext? nothing\n";

#[test]
fn dependencies_and_soft_ones_load_first_and_once() {
    let tree = tree(DEP, SOFT, ALIAS, "kernel/fs/9p/9p-net.ko\n", "");
    assert_eq!(
        tree.load_order("ext4").unwrap(),
        ["crc16", "crc32c_generic", "jbd2", "ext4"]
    );
    assert_eq!(tree.load_order("9p_net").unwrap(), [""; 0]);
    assert_eq!(tree.load_order("absent"), None);
}

#[test]
fn a_soft_dependency_that_is_built_in_needs_nothing() {
    let tree = tree(
        DEP,
        SOFT,
        ALIAS,
        "kernel/crypto/crc32c_fast.ko\n",
        "crc32c_fast.alias=crypto-crc32c\0",
    );
    assert_eq!(tree.load_order("ext4").unwrap(), ["crc16", "jbd2", "ext4"]);
}

#[test]
fn only_special_ones_are_better_than_none() {
    let dependencies = DEP.replace("kernel/crypto/crc32c_generic.ko.xz:\n", "");
    let tree = tree(&dependencies, SOFT, "alias crypto-crc32c crc32c_intel\n", "", "");
    assert_eq!(tree.load_order("jbd2").unwrap(), ["crc32c_intel", "jbd2"]);
}

#[test]
fn a_circle_ends() {
    let tree = tree("a.ko: b.ko\nb.ko: a.ko\n", "", "", "", "");
    assert_eq!(tree.load_order("a").unwrap(), ["b", "a"]);
}

#[test]
fn a_circle_of_soft_dependencies_ends() {
    let tree = tree(
        "a.ko:\nb.ko:\n",
        "softdep a pre: b\nsoftdep b pre: a\n",
        "",
        "",
        "",
    );
    assert_eq!(tree.load_order("a").unwrap(), ["b", "a"]);
}

#[test]
fn damage_is_named() {
    let parse = |text| {
        parse_dependencies(text, Path::new("/m/modules.dep"))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        parse("nonsense\n"),
        "`/m/modules.dep` has a line without a colon: `nonsense`"
    );
    assert_eq!(
        parse("a/b-c.ko: d/e.ko\n"),
        "module `b_c` needs `d/e.ko`, which `modules.dep` does not have"
    );
}

proptest::proptest! {
    /// Any graph of five modules, circles of soft edges included: what a module needs comes before it, and
    /// nothing comes twice.
    #[test]
    fn an_order_is_complete_and_without_repetition(edges in proptest::collection::btree_set((0usize..5, 0usize..5, proptest::bool::ANY), 0..12)) {
        let mut needs: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); 5];
        let mut soft = String::new();
        for (from, to, hard) in edges {
            if hard && to < from {
                let below = needs[to].clone();
                needs[from].extend(below);
                needs[from].insert(to);
            } else {
                soft.push_str(&format!("softdep m{from} pre: m{to}\n"));
            }
        }
        // As depmod writes it: everything that is needed, the first to load last.
        let line = |(module, needs): (usize, &BTreeSet<usize>)| {
            let needs: Vec<String> = needs.iter().rev().map(|need| format!("m{need}.ko")).collect();
            format!("m{module}.ko: {}\n", needs.join(" "))
        };
        let dependencies: String = needs.iter().enumerate().map(line).collect();
        let tree = tree(&dependencies, &soft, "", "", "");
        for (module, needs) in needs.iter().enumerate() {
            let order = tree.load_order(&format!("m{module}")).unwrap();
            let at = |number: &usize| order.iter().position(|name| *name == format!("m{number}"));
            assert!(needs.iter().all(|need| at(need).is_some_and(|need| Some(need) < at(&module))), "{order:?}");
            assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), order.len());
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,80}", module in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
        let _ = parse_dependencies(&text, Path::new("modules.dep"));
        let _ = parse_softdep(&text);
        let _ = parse_aliases(&text, &text);
        let _ = without_signature([&module[..], SIGNATURE_MAGIC].concat());
    }
}

#[test]
fn modules_are_decompressed_by_their_extension() {
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    xz.write_all(b"module").unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"module").unwrap();
    for (name, content) in [
        ("a.ko", b"module".to_vec()),
        ("a.ko.xz", xz.finish().unwrap()),
        ("a.ko.gz", gzip.finish().unwrap()),
        ("a.ko.zst", zstd::encode_all(&b"module"[..], 3).unwrap()),
    ] {
        assert_eq!(decompress(Path::new(name), content).unwrap(), b"module", "{name}");
    }
    assert!(decompress(Path::new("a.ko.lz"), b"module".to_vec()).is_err());
    assert!(decompress(Path::new("a.ko.xz"), b"module".to_vec()).is_err());
}

#[test]
fn signatures_are_cut_off() {
    let mut signed = b"module".to_vec();
    signed.extend(b"sig");
    signed.extend([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    signed.extend(SIGNATURE_MAGIC);
    assert_eq!(without_signature(signed.clone()), b"module");
    assert_eq!(without_signature(b"module".to_vec()), b"module");
    let longer = [
        &signed[..signed.len() - SIGNATURE_MAGIC.len() - 1],
        &[99],
        SIGNATURE_MAGIC,
    ]
    .concat();
    assert_eq!(without_signature(longer.clone()), longer);
}
