//! Makes images for the tests: OCI layouts and docker archives byte by byte, so that they can be wrong too.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::print_stdout)]

#[path = "../../../archive/src/reader/build.rs"]
mod build;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) use build::{Head, Tar};
use isopod_image::Digest;
use isopod_spec::Architecture;
use isopod_spec::{LocalReference, Transport};
use serde_json::{Value, json};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An OCI layout in a directory.
pub(crate) struct OciLayout {
    pub(crate) dir: PathBuf,
}

impl OciLayout {
    pub(crate) fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { dir: dir.to_owned() }
    }

    pub(crate) fn blob_path(&self, digest: &str) -> PathBuf {
        self.dir.join("blobs").join(digest.replace(':', "/"))
    }

    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes).to_string();
        fs::write(self.blob_path(&digest), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// A manifest's descriptor.
    pub(crate) fn image(&self, layers: &[Vec<u8>], change_config: impl FnOnce(&mut Value)) -> Value {
        let mut config = config(layers);
        change_config(&mut config);
        let config = self.blob(
            "application/vnd.oci.image.config.v1+json",
            &serde_json::to_vec(&config).unwrap(),
        );
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| self.blob("application/vnd.oci.image.layer.v1.tar", layer))
            .collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.blob(MANIFEST, &serde_json::to_vec(&manifest).unwrap())
    }

    pub(crate) fn index(&self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(self.dir.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    }

    pub(crate) fn reference(&self, name: Option<&str>) -> LocalReference {
        reference(Transport::Oci, &self.dir, name)
    }
}

/// An image's config for this host.
pub(crate) fn config(layers: &[Vec<u8>]) -> Value {
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    json!({
        "architecture": Architecture::HOST.name(),
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

/// A layer with one file.
pub(crate) fn layer(name: &str, data: &str) -> Vec<u8> {
    Tar::new().file(name, data.as_bytes()).finish()
}

pub(crate) fn with(mut descriptor: Value, field: &str, value: Value) -> Value {
    descriptor[field] = value;
    descriptor
}

pub(crate) fn named(descriptor: Value, name: &str) -> Value {
    with(
        descriptor,
        "annotations",
        json!({"org.opencontainers.image.ref.name": name}),
    )
}

pub(crate) fn reference(transport: Transport, path: &Path, name: Option<&str>) -> LocalReference {
    LocalReference {
        transport,
        path: path.to_owned(),
        name: name.map(str::to_owned),
    }
}

/// The message of an error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Runs a tool that the test needs; its absence is a failure.
pub(crate) fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("this test needs `{program}`: {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Whether the test runs as root; says so when not.
pub(crate) fn is_root(test: &str) -> bool {
    let root = run("id", &["-u"]).stdout == b"0\n";
    if !root {
        // The harness shows this with --nocapture.
        println!("{test}: skipped, it needs root");
    }
    root
}

/// A mounted file system, unmounted at the end.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    pub(crate) fn new(fstype: &str, options: &str, source: &Path, target: &Path) -> Self {
        fs::create_dir_all(target).unwrap();
        let (source, text) = (source.to_str().unwrap(), target.to_str().unwrap());
        run("mount", &["-t", fstype, "-o", options, source, text]);
        Self(target.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
