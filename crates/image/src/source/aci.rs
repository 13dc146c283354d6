//! `aci:FILE`: an App Container Image (appc specification 0.8.11, "App Container Image"): a tar file, mostly compressed,
//! of `manifest` and `rootfs/`.
//!
//! The file is read twice: here for the manifest, which may stand anywhere, and for the digest of the tar stream; later as
//! a layer whose entries below `rootfs/` are the image's ([`Entries::Rootfs`]). The image's document in the store is an OCI
//! config that carries the manifest as it stands, so that an ACI is an image like any other from then on.
//! Encrypted images and signatures are not read.

use std::io::{self, BufReader, Read};
use std::path::Path;

use isopod_spec::appc::{self, ImageManifest};
use isopod_spec::{Architecture, ImageReference, words::shown};
use serde::Serialize;

use super::{Bounded, Source, SourceError};
use crate::config::{ConfigError, ImageConfig};
use crate::digest::{Digest, HashingReader};
use crate::layer::{Entries, LayerBlob, decoder};
use crate::limits::Limits;
use crate::section::Section;
use isopod_archive::reader::{self, EntryKind, Skip, TarReader};

const MANIFEST: &str = "manifest";
const ROOTFS: &str = "rootfs";

/// The prefix of a whiteout: an ACI has none, and the merger would take it for one.
const WHITEOUT: &[u8] = b".wh.";

/// The document that stands for an ACI in the store.
#[derive(Serialize)]
struct AciConfig<'a> {
    architecture: &'a str,
    os: &'a str,
    created: Option<&'a str>,
    rootfs: AciRootfs,
    /// The manifest, as it stands.
    #[serde(rename = "aciManifest")]
    manifest: &'a str,
}

#[derive(Serialize)]
struct AciRootfs {
    r#type: &'static str,
    diff_ids: [Digest; 1],
}

/// Finds the image in `path`.
pub(super) fn open(path: &Path, limits: &Limits) -> Result<Source, SourceError> {
    let blob = Section::open(path).map_err(|source| SourceError::file(path, source))?;
    let (diff_id, text) = scan(blob.clone(), path, limits)?;
    let invalid = |reason: String| SourceError::Aci {
        path: path.to_owned(),
        reason,
    };
    let text = String::from_utf8(text).map_err(|_| invalid("its manifest is not UTF-8".to_owned()))?;
    let manifest = appc::read_image_manifest(&text, MANIFEST).map_err(|errors| invalid(errors.all()))?;
    let document = AciConfig {
        architecture: architecture(&manifest, limits.architecture),
        os: manifest.os.as_deref().unwrap_or("linux"),
        created: manifest.created.as_deref(),
        rootfs: AciRootfs {
            r#type: "layers",
            diff_ids: [diff_id],
        },
        manifest: &text,
    };
    let document = serde_json::to_vec(&document).map_err(|source| SourceError::Document {
        path: path.to_owned(),
        name: MANIFEST.to_owned(),
        source,
    })?;
    let id = Digest::of(&document);
    let unfit = |source: ConfigError| SourceError::Config { id, source };
    let config = ImageConfig::read(&document).map_err(unfit)?;
    config.check_platform(limits.architecture).map_err(unfit)?;
    Ok(Source {
        manifest: None,
        manifest_document: None,
        id,
        document,
        layers: vec![LayerBlob {
            blob,
            digest: None,
            diff_id,
            entries: Entries::rootfs(&manifest.path_whitelist),
        }],
        names: name(&manifest).into_iter().collect(),
    })
}

/// The architecture as Go names it, the wanted one where it is not said. appc's own name for 64-bit ARM is the kernel's.
fn architecture(manifest: &ImageManifest, wanted: Architecture) -> &str {
    match manifest.arch.as_deref() {
        None => wanted.name(),
        Some("aarch64") => "arm64",
        Some("i386") => "386",
        Some(arch) => arch,
    }
}

/// What the store calls it, where that can be a name there.
fn name(manifest: &ImageManifest) -> Option<String> {
    let name = format!(
        "{}:{}",
        manifest.name,
        manifest.version.as_deref().unwrap_or("latest")
    );
    matches!(
        ImageReference::parse(name.as_ref()),
        Ok(ImageReference::Registry(_))
    )
    .then_some(name)
}

/// The digest of the tar stream in `blob`, and its manifest.
fn scan(blob: Section, path: &Path, limits: &Limits) -> Result<(Digest, Vec<u8>), SourceError> {
    let failed = |source| SourceError::file(path, source);
    let invalid = |reason: String| SourceError::Aci {
        path: path.to_owned(),
        reason,
    };
    let plain = decoder(BufReader::new(blob)).map_err(failed)?;
    let mut hashing = HashingReader::new(Bounded {
        inner: plain,
        left: limits.uncompressed_bytes,
    });
    let mut reader = TarReader::new(ReadOnlyStream(&mut hashing));
    let (mut manifest, mut rootfs, mut count) = (None, false, 0);
    while let Some(entry) = reader.next_entry().map_err(|source| SourceError::Archive {
        path: path.to_owned(),
        source,
    })? {
        count += 1;
        if count > limits.entries {
            return Err(SourceError::TooManyMembers {
                path: path.to_owned(),
                max: limits.entries,
            });
        }
        let name = reader::show(&entry.name);
        let parts: Vec<&[u8]> = parts(&entry.name).collect();
        if parts.contains(&&b".."[..]) {
            return Err(invalid(format!("the name of its entry `{name}` contains `..`")));
        }
        match (parts.as_slice(), entry.kind) {
            ([], EntryKind::Directory) => {}
            ([b"manifest"], EntryKind::File) if manifest.is_none() => {
                if entry.size > limits.document_bytes {
                    return Err(SourceError::DocumentSize {
                        path: path.to_owned(),
                        name: MANIFEST.to_owned(),
                        max: limits.document_bytes,
                    });
                }
                let mut text = Vec::new();
                reader.read_to_end(&mut text).map_err(failed)?;
                manifest = Some(text);
            }
            ([b"rootfs"], EntryKind::Directory) => rootfs = true,
            ([b"rootfs", rest @ ..], _) if !rest.is_empty() => {
                rootfs = true;
                if rest.iter().any(|part| part.starts_with(WHITEOUT)) {
                    return Err(invalid(format!("its entry `{name}` has the name of a whiteout")));
                }
            }
            _ => {
                return Err(invalid(format!(
                    "it holds `{name}` beside its manifest and `rootfs`"
                )));
            }
        }
    }
    let missing = |member: &str| SourceError::NoMember {
        path: path.to_owned(),
        member: member.to_owned(),
    };
    if !rootfs {
        return Err(missing(ROOTFS));
    }
    let manifest = manifest.ok_or_else(|| missing(MANIFEST))?;
    Ok((hashing.finish().map_err(failed)?, manifest))
}

/// The components of a name that matter.
fn parts(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
}

/// A stream that can only be read.
struct ReadOnlyStream<R>(R);

impl<R: Read> Read for ReadOnlyStream<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl<R: Read> Skip for ReadOnlyStream<R> {}

/// All of the faults, for a message of one line.
trait All {
    fn all(&self) -> String;
}

impl All for appc::PodManifestErrors {
    fn all(&self) -> String {
        let faults = self.faults.iter().map(|fault| match fault.hint() {
            Some(hint) => format!("{fault} ({hint})"),
            None => fault.to_string(),
        });
        shown(faults.collect::<Vec<_>>().join("; "))
    }
}
