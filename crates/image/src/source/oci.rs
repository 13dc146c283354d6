//! OCI image layouts (image-spec, image-layout.md), as a directory or in a tar file: from `index.json` to the one
//! manifest that is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::archive::Archive;
use super::{Section, Source, SourceError, read_document};
use crate::config::host_architecture;
use crate::digest::Digest;
use crate::limits::Limits;

/// The annotation that names an image in an index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// How deep indexes may lie in each other. Buildx writes one level.
const MAX_DEPTH: u32 = 4;

const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const CONFIGS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
    variant: Option<String>,
}

impl Descriptor {
    fn name(&self) -> Option<&str> {
        self.annotations.as_ref()?.get(REF_NAME).map(String::as_str)
    }

    /// Whether it may be for this machine.
    fn fits(&self) -> bool {
        let fits = |p: &Platform| p.os == "linux" && p.architecture == host_architecture();
        self.platform.as_ref().is_none_or(fits)
    }

    fn platform(&self) -> String {
        let show = |p: &Platform| match &p.variant {
            Some(variant) => format!("{}/{}/{variant}", p.os, p.architecture),
            None => format!("{}/{}", p.os, p.architecture),
        };
        self.platform.as_ref().map_or_else(|| "unknown".to_owned(), show)
    }
}

/// Where the files of a layout are.
pub(super) enum Layout {
    Directory(PathBuf),
    Archive(Archive, PathBuf),
}

impl Layout {
    pub(super) fn path(&self) -> &Path {
        match self {
            Layout::Directory(path) | Layout::Archive(_, path) => path,
        }
    }

    fn file(&self, name: &str) -> Result<Section, SourceError> {
        match self {
            Layout::Directory(dir) => {
                let path = dir.join(name);
                Section::open(&path).map_err(|source| SourceError::file(&path, source))
            }
            Layout::Archive(archive, path) => archive.member(name).ok_or_else(|| SourceError::NoMember {
                path: path.clone(),
                member: name.to_owned(),
            }),
        }
    }

    /// A blob of the right size; its digest is still to be checked.
    fn blob(&self, descriptor: &Descriptor) -> Result<Section, SourceError> {
        let blob = self.file(&format!("blobs/sha256/{}", descriptor.digest.hex()))?;
        if blob.len() != descriptor.size {
            let Descriptor { digest, size, .. } = *descriptor;
            return Err(SourceError::BlobSize {
                digest,
                expected: size,
                actual: blob.len(),
            });
        }
        Ok(blob)
    }

    /// A blob that is a document, checked.
    fn document(&self, descriptor: &Descriptor, limits: &Limits) -> Result<Vec<u8>, SourceError> {
        let name = descriptor.digest.to_string();
        let document = read_document(self.blob(descriptor)?, &name, self.path(), limits)?;
        let actual = Digest::of(&document);
        if actual != descriptor.digest {
            return Err(SourceError::BlobDigest {
                expected: descriptor.digest,
                actual,
            });
        }
        Ok(document)
    }

    fn parse<T: DeserializeOwned>(&self, document: &[u8], name: &str) -> Result<T, SourceError> {
        serde_json::from_slice(document).map_err(|source| SourceError::Document {
            path: self.path().to_owned(),
            name: name.to_owned(),
            source,
        })
    }
}

/// The image `name` of a layout, or the only one for this machine.
pub(super) fn open(layout: &Layout, name: Option<&str>, limits: &Limits) -> Result<Source, SourceError> {
    let index = read_document(layout.file("index.json")?, "index.json", layout.path(), limits)?;
    let index: Index = layout.parse(&index, "index.json")?;
    let top = choose_named(layout, index.manifests, name)?;
    let descriptor = choose_platform(layout, top, limits)?;
    let text = descriptor.digest.to_string();
    let manifest: Manifest = layout.parse(&layout.document(&descriptor, limits)?, &text)?;
    if !CONFIGS.contains(&manifest.config.media_type.as_str()) {
        return Err(media_type(&manifest.config));
    }
    let config = layout.document(&manifest.config, limits)?;
    let layers = manifest.layers.iter().map(|layer| {
        check_layer_type(layer)?;
        Ok((layout.blob(layer)?, Some(layer.digest)))
    });
    let layers: Vec<_> = layers.collect::<Result<_, SourceError>>()?;
    Source::new(
        Some(descriptor.digest),
        config,
        layers,
        top_name(name, &descriptor),
    )
}

fn top_name(name: Option<&str>, descriptor: &Descriptor) -> Vec<String> {
    name.or(descriptor.name())
        .map(str::to_owned)
        .into_iter()
        .collect()
}

/// The entries of `index.json` that `name` means; without one, there must be no two names.
fn choose_named(
    layout: &Layout,
    manifests: Vec<Descriptor>,
    name: Option<&str>,
) -> Result<Vec<Descriptor>, SourceError> {
    let mut names: Vec<String> = manifests
        .iter()
        .filter_map(Descriptor::name)
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    let path = layout.path().to_owned();
    match name {
        None if names.len() > 1 => Err(SourceError::Ambiguous { path, names }),
        None => Ok(manifests),
        Some(name) => {
            let named: Vec<_> = manifests
                .into_iter()
                .filter(|entry| entry.name() == Some(name))
                .collect();
            match named.is_empty() {
                true => Err(SourceError::NoSuchName {
                    path,
                    name: name.to_owned(),
                    names,
                }),
                false => Ok(named),
            }
        }
    }
}

/// The one manifest for this machine that `entries` lead to, through indexes.
fn choose_platform(
    layout: &Layout,
    entries: Vec<Descriptor>,
    limits: &Limits,
) -> Result<Descriptor, SourceError> {
    let mut manifests = Vec::new();
    let mut seen = BTreeSet::new();
    let mut platforms = Vec::new();
    let mut pending: Vec<(Descriptor, u32)> = entries.into_iter().rev().map(|entry| (entry, 0)).collect();
    while let Some((entry, depth)) = pending.pop() {
        let kind = entry.media_type.as_str();
        if !entry.fits() {
            platforms.push(entry.platform());
        } else if !seen.insert(entry.digest) {
            // An index that names another many times is read once.
        } else if INDEXES.contains(&kind) && depth < MAX_DEPTH {
            let name = entry.digest.to_string();
            let index: Index = layout.parse(&layout.document(&entry, limits)?, &name)?;
            let outer = entry.annotations.clone();
            pending.extend(index.manifests.into_iter().rev().map(|inner| {
                (
                    Descriptor {
                        annotations: inner.annotations.clone().or(outer.clone()),
                        ..inner
                    },
                    depth + 1,
                )
            }));
        } else if MANIFESTS.contains(&kind) {
            manifests.push(entry);
        } else {
            return Err(media_type(&entry));
        }
    }
    choose_variant(manifests, layout, platforms)
}

/// Of several manifests, the one that says this machine's platform; of several such, the one without a variant
/// (`amd64/v3` asks for more than every machine has), then the only one.
fn choose_variant(
    mut manifests: Vec<Descriptor>,
    layout: &Layout,
    platforms: Vec<String>,
) -> Result<Descriptor, SourceError> {
    let is_exact = |entry: &Descriptor| entry.platform.is_some();
    let is_plain = |entry: &Descriptor| entry.platform.as_ref().is_some_and(|p| p.variant.is_none());
    for narrower in [is_exact, is_plain] {
        if manifests.len() > 1 && manifests.iter().any(narrower) {
            manifests.retain(narrower);
        }
    }
    let path = layout.path().to_owned();
    match (manifests.pop(), manifests.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(SourceError::NoPlatform {
            path,
            host: host_architecture(),
            platforms,
        }),
        (Some(last), false) => {
            manifests.push(last);
            let names = manifests
                .iter()
                .map(|m| m.name().map_or_else(|| m.digest.to_string(), str::to_owned));
            Err(SourceError::Ambiguous {
                path,
                names: names.collect(),
            })
        }
    }
}

/// Whether a layer is a tar stream; how it is compressed its bytes tell.
fn check_layer_type(layer: &Descriptor) -> Result<(), SourceError> {
    let kind = layer.media_type.as_str();
    let oci = kind
        .strip_prefix("application/vnd.oci.image.layer.v1.tar")
        .or_else(|| kind.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar"));
    let docker = kind
        .strip_prefix("application/vnd.docker.image.rootfs.diff.tar")
        .or_else(|| kind.strip_prefix("application/vnd.docker.image.rootfs.foreign.diff.tar"));
    match oci.or(docker) {
        Some("" | "+gzip" | "+zstd" | ".gzip" | ".zstd") => Ok(()),
        _ => Err(media_type(layer)),
    }
}

fn media_type(descriptor: &Descriptor) -> SourceError {
    SourceError::MediaType {
        digest: descriptor.digest,
        media_type: descriptor.media_type.clone(),
    }
}
