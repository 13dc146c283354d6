//! Layers of an image, plain or compressed, the whole way to a root filesystem file, which is read to its end then.
//!
//! An input is up to four layers with `\nLAYER\n` between them. A tar becomes a layer as it is, or compressed where the
//! input's first byte says so; what is compressed already is decompressed, and refused at its end for its digest.

#![no_main]

use std::fs;
use std::io::Write as _;
use std::path::Path;

use isopod_fuzz::{Jail, parts, seal};
use isopod_image::{Digest, Limits, Node, NodeKind, Reader, Store};
use isopod_spec::{Architecture, LocalReference, Transport};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// Files of up to this size are read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

const LIMITS: Limits = Limits {
    uncompressed_bytes: 16 << 20,
    entries: 10_000,
    metadata_bytes: 4 << 20,
    document_bytes: 1 << 20,
    architecture: Architecture::HOST,
};

fuzz_target!(|bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else {
        return;
    };
    let jail = Jail::new();
    let layout = jail.inside().join("layout");
    let tars = parts(bytes, b"\nLAYER\n").take(4).map(|tar| {
        let mut tar = tar.to_vec();
        seal(&mut tar);
        tar
    });
    write_layout(&layout, &tars.collect::<Vec<_>>(), *how);
    let store = Store::open(&jail.inside().join("store")).expect("a store");
    let image = store.with_limits(LIMITS).import(&LocalReference {
        transport: Transport::Oci,
        path: layout,
        name: None,
    });
    if let Ok(image) = image {
        let reader = Reader::open(&image.rootfs).expect("an image that was just written");
        read_all(&reader, &reader.root().expect("its root"), 0);
    }
    jail.assert_nothing_outside();
});

fn compress(tar: &[u8], how: u8) -> Vec<u8> {
    match how % 4 {
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).expect("memory");
            encoder.finish().expect("memory")
        }
        2 => zstd::encode_all(tar, 1).expect("memory"),
        _ => tar.to_vec(),
    }
}

fn write_layout(layout: &Path, tars: &[Vec<u8>], how: u8) {
    fs::create_dir_all(layout.join("blobs/sha256")).expect("a directory");
    let blob = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).expect("a blob");
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    };
    let diff_ids: Vec<Value> = tars
        .iter()
        .map(|tar| Digest::of(tar).to_string().into())
        .collect();
    let config = json!({
        "architecture": Architecture::HOST.to_string(),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = blob(
        "application/vnd.oci.image.config.v1+json",
        config.to_string().as_bytes(),
    );
    let layers = tars
        .iter()
        .map(|tar| blob("application/vnd.oci.image.layer.v1.tar", &compress(tar, how)));
    let layers: Vec<Value> = layers.collect();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers});
    let manifest = blob(media_type, manifest.to_string().as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
    fs::write(layout.join("index.json"), index.to_string()).expect("a file");
}

/// Reads what is below `node`, at the depth that Linux allows a path.
fn read_all(reader: &Reader, node: &Node, depth: usize) {
    reader.xattrs(node).expect("attributes");
    match node.kind {
        NodeKind::File => match node.size <= MAX_FILE_BYTES {
            true => assert_eq!(
                reader.read(node, MAX_FILE_BYTES).expect("a file").len() as u64,
                node.size
            ),
            false => assert!(reader.read(node, MAX_FILE_BYTES).is_err()),
        },
        NodeKind::Directory if depth < 2048 => {
            for entry in reader.read_dir(node).expect("a directory") {
                if entry.name != "." && entry.name != ".." {
                    read_all(reader, &reader.node(entry.inode).expect("a node"), depth + 1);
                }
            }
        }
        _ => {}
    }
}
