//! OCI images made without any tool (image-spec, `image-layout.md`): uncompressed layers, one config.
//!
//! The same description gives the same bytes, so a layout is written once and kept under its digest.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tar::EntryType;

/// Where Debian's `busybox-static` puts it.
const BUSYBOX: &str = "/bin/busybox";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    www:x:33:33:www:/srv/www:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\nwww:x:33:\nadm:x:4:www\naudio:x:29:root,www\nnogroup:x:65534:\n";

/// An image to be.
#[derive(Clone, Debug, Default)]
pub struct Image {
    entries: BTreeMap<String, Entry>,
    config: Map<String, Value>,
    architecture: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Entry {
    kind: EntryType,
    mode: u32,
    owner: (u64, u64),
    /// A file's content or a link's target.
    content: Vec<u8>,
}

impl Image {
    /// An image without any file.
    #[must_use]
    pub fn scratch() -> Self {
        Self::default()
    }

    /// For that processor, and not for the host's.
    #[must_use]
    pub fn of_architecture(mut self, architecture: &'static str) -> Self {
        self.architecture = Some(architecture);
        self
    }

    /// busybox, a link for each of its applets, the users `root`, `www` (in `adm` and `audio`) and `nobody`, `/tmp`.
    #[must_use]
    pub fn busybox() -> Self {
        let mut image = Self::scratch();
        for dir in [
            "bin", "dev", "etc", "proc", "run", "sbin", "srv", "sys", "usr", "usr/bin", "usr/sbin",
        ] {
            image = image.directory(dir, 0o755, (0, 0));
        }
        image = image
            .directory("root", 0o700, (0, 0))
            .directory("tmp", 0o1777, (0, 0))
            .directory("srv/www", 0o750, (33, 33))
            .program("bin/busybox")
            .file("etc/passwd", 0o644, PASSWD)
            .file("etc/group", 0o644, GROUP);
        let applets = Command::new(BUSYBOX)
            .arg("--list-full")
            .output()
            .expect("busybox-static");
        let applets = String::from_utf8(applets.stdout).expect("names of applets");
        for applet in applets.lines().filter(|applet| *applet != "bin/busybox") {
            image = image.symlink(applet, BUSYBOX);
        }
        image.config("Cmd", json!(["sh"]))
    }

    /// With busybox itself, a static binary, at `path`.
    #[must_use]
    pub fn program(self, path: &str) -> Self {
        self.file(path, 0o755, fs::read(BUSYBOX).expect("busybox-static"))
    }

    /// With a directory, in place of what is there.
    #[must_use]
    pub fn directory(self, path: &str, mode: u32, owner: (u64, u64)) -> Self {
        self.entry(
            path,
            Entry {
                kind: EntryType::Directory,
                mode,
                owner,
                content: Vec::new(),
            },
        )
    }

    /// With a file of root.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.entry(
            path,
            Entry {
                kind: EntryType::Regular,
                mode,
                owner: (0, 0),
                content: content.into(),
            },
        )
    }

    /// With a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        let content = target.as_bytes().to_vec();
        self.entry(
            path,
            Entry {
                kind: EntryType::Symlink,
                mode: 0o777,
                owner: (0, 0),
                content,
            },
        )
    }

    /// With a field of the image's `config`: `Entrypoint`, `Cmd`, `Env`, `User`, `WorkingDir`, `Volumes`, ...
    #[must_use]
    pub fn config(mut self, field: &str, value: Value) -> Self {
        self.config.insert(field.to_owned(), value);
        self
    }

    fn entry(mut self, path: &str, entry: Entry) -> Self {
        self.entries.insert(path.to_owned(), entry);
        self
    }

    /// Makes a directory of what the image holds, whose entries are then `given` away.
    pub(crate) fn unpack(&self, root: &Path, given: impl Fn(&Path)) {
        fs::create_dir_all(root).expect("a directory for a root");
        given(root);
        for (path, entry) in &self.entries {
            let at = root.join(path);
            match entry.kind {
                EntryType::Directory => fs::create_dir_all(&at).expect("a directory"),
                EntryType::Symlink => {
                    let target = String::from_utf8_lossy(&entry.content).into_owned();
                    symlink(target, &at).expect("a link");
                }
                _ => fs::write(&at, &entry.content).expect("a file"),
            }
            let number = |id: u64| u32::try_from(id).ok();
            let (uid, gid) = entry.owner;
            // An ordinary user's are its own.
            let _ = lchown(&at, number(uid), number(gid));
            given(&at);
            if entry.kind != EntryType::Symlink {
                fs::set_permissions(&at, fs::Permissions::from_mode(entry.mode)).expect("a mode");
            }
        }
    }

    /// Writes the layout below `images`, under its digest, unless it is there; gives its directory.
    pub(crate) fn write_once(&self, images: &Path) -> PathBuf {
        let layers = [self.layer().expect("a layer")];
        let config = self.image_config(&layers);
        let layout = images.join(&sha256(config.to_string().as_bytes())[..16]);
        if layout.is_dir() {
            return layout;
        }
        fs::create_dir_all(images).expect("a directory for images");
        let new = tempfile::tempdir_in(images).expect("a directory for an image");
        write_layout(new.path(), &layers, &config).expect("an image layout");
        // Another test may have been faster: its layout is the same.
        let _ = fs::rename(new.path(), &layout);
        layout
    }

    /// Writes the layout into the directory `layout`, which is made.
    pub fn write(&self, layout: &Path) {
        self.write_above(&[], layout);
    }

    /// The same with the layers of other images below its own.
    pub fn write_above(&self, lower: &[Image], layout: &Path) {
        let layers = lower.iter().chain([self]).map(Self::layer);
        let layers: Vec<_> = layers.collect::<io::Result<_>>().expect("layers");
        write_layout(layout, &layers, &self.image_config(&layers)).expect("an image layout");
    }

    fn layer(&self) -> io::Result<Vec<u8>> {
        let mut layer = tar::Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(entry.kind);
            header.set_mode(entry.mode);
            header.set_uid(entry.owner.0);
            header.set_gid(entry.owner.1);
            header.set_mtime(0);
            if entry.kind == EntryType::Symlink {
                header.set_size(0);
                let target = String::from_utf8_lossy(&entry.content);
                layer.append_link(&mut header, path, &*target)?;
            } else {
                header.set_size(entry.content.len() as u64);
                layer.append_data(&mut header, path, &*entry.content)?;
            }
        }
        layer.into_inner()
    }

    fn image_config(&self, layers: &[Vec<u8>]) -> Value {
        let diff_ids = layers.iter().map(|layer| format!("sha256:{}", sha256(layer)));
        json!({
            "architecture": self.architecture.unwrap_or("amd64"),
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids.collect::<Vec<_>>() },
        })
    }
}

fn write_layout(layout: &Path, layers: &[Vec<u8>], config: &Value) -> io::Result<()> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let blob = |media_type: &str, content: &[u8]| -> io::Result<Value> {
        let digest = sha256(content);
        fs::write(blobs.join(&digest), content)?;
        let media_type = format!("application/vnd.oci.image.{media_type}");
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len() }))
    };
    let layers = layers.iter().map(|layer| blob("layer.v1.tar", layer));
    let layers: Vec<_> = layers.collect::<io::Result<_>>()?;
    let config = blob("config.v1+json", config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers,
    });
    let mut manifest = blob("manifest.v1+json", manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(
        layout.join("oci-layout"),
        json!({ "imageLayoutVersion": "1.0.0" }).to_string(),
    )?;
    fs::write(layout.join("index.json"), index.to_string())
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

    /// skopeo checks every digest and size, umoci the layer's own.
    #[test]
    fn skopeo_and_umoci_accept_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let layout = dir.path().join("layout");
        Image::busybox().write(&layout);
        let reference = format!("oci:{}:latest", layout.display());
        let copy = format!("dir:{}", dir.path().join("copy").display());
        let copied = Command::new("skopeo")
            .args(["copy", &reference, &copy])
            .output()
            .unwrap();
        assert!(
            copied.status.success(),
            "{}",
            String::from_utf8_lossy(&copied.stderr)
        );
        let image = format!("{}:latest", layout.display());
        let bundle = dir.path().join("bundle");
        let unpacked = Command::new("umoci")
            .args(["unpack", "--rootless", "--image", &image])
            .arg(&bundle)
            .output();
        let unpacked = unpacked.unwrap();
        assert!(
            unpacked.status.success(),
            "{}",
            String::from_utf8_lossy(&unpacked.stderr)
        );
        assert_eq!(
            fs::read_to_string(bundle.join("rootfs/etc/passwd")).unwrap(),
            PASSWD
        );
        assert_eq!(
            fs::read_link(bundle.join("rootfs/bin/sh")).unwrap(),
            Path::new(BUSYBOX)
        );
    }
}
