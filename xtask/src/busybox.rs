//! A small image without any tool: Debian's static busybox as an OCI image layout (image-spec, `image-layout.md`).
//!
//! One uncompressed layer with `/bin/busybox`, a link for each of its applets, two users and `/tmp`. The same busybox
//! gives the same bytes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::command::{self, command};
use crate::failure::Failure;

/// Where `busybox-static` puts it.
const BUSYBOX: &str = "/bin/busybox";

/// The image's name in its layout.
const TAG: &str = "latest";

/// Directories of the image with their modes; those above another come before it.
const DIRECTORIES: [(&str, u32); 12] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// An image that was made.
pub(crate) struct Made {
    /// Its layout, a directory.
    pub(crate) layout: PathBuf,
    /// How many applets it has.
    pub(crate) applets: usize,
}

impl Made {
    /// How `isopod` gets it.
    pub(crate) fn reference(&self) -> String {
        format!("oci:{}:{TAG}", self.layout.display())
    }
}

/// Makes the image in the directory `layout`, in place of what is there.
pub(crate) fn make(layout: &Path) -> Result<Made, Failure> {
    let program = fs::read(BUSYBOX).map_err(|error| failed("read", Path::new(BUSYBOX)).caused_by(error))?;
    let applets = applets()?;
    let layer =
        layer(&program, &applets).map_err(|error| Failure::new("cannot pack a layer").caused_by(error))?;
    write(layout, &layer)?;
    Ok(Made {
        layout: layout.to_owned(),
        applets: applets.len(),
    })
}

/// The applets with their paths, without the leading slash.
fn applets() -> Result<Vec<String>, Failure> {
    let list = command::quiet(&mut command(BUSYBOX, ["--list-full"]));
    let list =
        list.ok_or_else(|| Failure::new(format!("`{BUSYBOX} --list-full` does not list any applets")))?;
    Ok(list
        .lines()
        .filter(|path| *path != "bin/busybox")
        .map(str::to_owned)
        .collect())
}

fn layer(program: &[u8], applets: &[String]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode) in DIRECTORIES {
        tar.append_data(&mut header(tar::EntryType::Directory, mode, 0), path, io::empty())?;
    }
    for (path, mode, content) in [
        ("bin/busybox", 0o755, program),
        ("etc/group", 0o644, GROUP.as_bytes()),
        ("etc/passwd", 0o644, PASSWD.as_bytes()),
    ] {
        let size = content.len() as u64;
        tar.append_data(&mut header(tar::EntryType::Regular, mode, size), path, content)?;
    }
    for path in applets {
        tar.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), path, BUSYBOX)?;
    }
    tar.into_inner()
}

/// The header of an entry that belongs to root, with the earliest time.
fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    for set in [tar::Header::set_uid, tar::Header::set_gid, tar::Header::set_mtime] {
        set(&mut header, 0);
    }
    header
}

fn write(layout: &Path, layer: &[u8]) -> Result<(), Failure> {
    let blobs = layout.join("blobs/sha256");
    match fs::remove_dir_all(layout) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", layout).caused_by(error));
        }
        _ => {}
    }
    fs::create_dir_all(&blobs).map_err(|error| failed("create", &blobs).caused_by(error))?;
    let blob = |media_type: &str, content: &[u8]| -> Result<Value, Failure> {
        let digest = sha256(content);
        write_file(&blobs.join(&digest), content)?;
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len() }))
    };
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let layer = blob("application/vnd.oci.image.layer.v1.tar", layer)?;
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Cmd": ["sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] },
        // Uncompressed, so the digest of the layer is that of its content.
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = blob(
        "application/vnd.oci.image.config.v1+json",
        config.to_string().as_bytes(),
    )?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer] });
    let mut manifest = blob(media_type, manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": TAG });
    write_file(
        &layout.join("oci-layout"),
        json!({ "imageLayoutVersion": "1.0.0" }).to_string().as_bytes(),
    )?;
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    write_file(&layout.join("index.json"), index.to_string().as_bytes())
}

fn write_file(path: &Path, content: &[u8]) -> Result<(), Failure> {
    fs::write(path, content).map_err(|error| failed("write", path).caused_by(error))
}

fn failed(action: &str, path: &Path) -> Failure {
    Failure::new(format!("cannot {action} `{}`", path.display()))
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(dir: &Path) -> String {
        let layer = layer(b"not really a program", &["bin/sh".into(), "usr/bin/[".into()]).unwrap();
        let layout = dir.join("busybox");
        write(&layout, &layer).unwrap();
        format!("oci:{}:{TAG}", layout.display())
    }

    #[test]
    fn skopeo_and_umoci_accept_the_image() {
        if !command::exists("skopeo") || !command::exists("umoci") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let reference = made(dir.path());
        // Copying checks every digest and size, unpacking the digest of the layer's content.
        let copy = format!("dir:{}", dir.path().join("copy").display());
        assert!(command::quiet(&mut command("skopeo", ["copy", &reference, &copy])).is_some());
        let bundle = dir.path().join("bundle");
        let mut unpack = command(
            "umoci",
            [
                "unpack",
                "--rootless",
                "--image",
                reference.strip_prefix("oci:").unwrap(),
            ],
        );
        assert!(command::quiet(unpack.arg(&bundle)).is_some());
        let rootfs = bundle.join("rootfs");
        assert_eq!(
            fs::read(rootfs.join("bin/busybox")).unwrap(),
            b"not really a program"
        );
        assert_eq!(
            fs::read_link(rootfs.join("usr/bin/[")).unwrap(),
            Path::new(BUSYBOX)
        );
        assert_eq!(fs::read_to_string(rootfs.join("etc/passwd")).unwrap(), PASSWD);
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let index = |dir: &Path| fs::read(dir.join("busybox/index.json")).unwrap();
        made(dir.path());
        let first = index(dir.path());
        made(dir.path());
        assert_eq!(index(dir.path()), first);
    }
}
