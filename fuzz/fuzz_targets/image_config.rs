//! The documents of an OCI image: `INDEX \0 MANIFEST \0 CONFIG`. In each, `@M`, `@C` and `@L` stand for the digest of the
//! manifest, the config and an empty layer, `@m`, `@c` and `@l` for their sizes, and `@A` for this host's architecture.

#![no_main]

use std::fs;

use isopod_fuzz::Jail;
use isopod_image::config::ImageConfig;
use isopod_image::{Digest, Limits, Store};
use isopod_spec::{Architecture, LocalReference, Transport};
use libfuzzer_sys::fuzz_target;

/// A layer with nothing in it: the end of a tar.
const LAYER: [u8; 1024] = [0; 1024];

fuzz_target!(|text: &str| {
    let mut documents = text.splitn(3, '\0');
    let mut next = || {
        documents
            .next()
            .unwrap_or_default()
            .replace("@A", &Architecture::HOST.to_string())
    };
    let (index, manifest, config) = (next(), next(), next());
    if let Ok(config) = ImageConfig::read(config.as_bytes()) {
        let _ = config.check_platform(Architecture::HOST);
    }
    let jail = Jail::new();
    let layout = jail.inside().join("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).expect("a directory");
    let blob = |(upper, lower): (&str, &str), bytes: &[u8], document: String| {
        let digest = Digest::of(bytes);
        fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).expect("a blob");
        document
            .replace(upper, &digest.to_string())
            .replace(lower, &bytes.len().to_string())
    };
    let config = blob(("@L", "@l"), &LAYER, config);
    let manifest = blob(("@L", "@l"), &LAYER, manifest);
    let manifest = blob(("@C", "@c"), config.as_bytes(), manifest);
    let index = blob(("@M", "@m"), manifest.as_bytes(), index);
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
    fs::write(layout.join("index.json"), index).expect("a file");
    let limits = Limits {
        document_bytes: 1 << 20,
        ..Limits::default()
    };
    let store = Store::open(&jail.inside().join("store"))
        .expect("a store")
        .with_limits(limits);
    let reference = |name: Option<&str>| LocalReference {
        transport: Transport::Oci,
        path: layout.clone(),
        name: name.map(str::to_owned),
    };
    for name in [None, Some("x")] {
        if let Ok(image) = store.import(&reference(name)) {
            assert!(store.verify(&image).is_empty());
        }
    }
    jail.assert_nothing_outside();
});
