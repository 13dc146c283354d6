//! Manifests and indexes (image-spec, manifest.md and image-index.md; Docker's are the same by other names): from a
//! document to the one image that is meant. And OCI image layouts (image-layout.md), as a directory or in a tar file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use isopod_spec::Architecture;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::archive::Archive;
use super::platform::Platform;
use super::{Source, SourceError, read_document};
use crate::digest::Digest;
use crate::limits::Limits;
use crate::null::or_empty;
use crate::section::Section;

/// The annotation that names an image in an index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// How deep indexes may lie in each other. Buildx writes one level.
const MAX_DEPTH: u32 = 4;
/// Of how many images that do not say their platform the configs are read.
const MAX_CONFIGS: usize = 64;

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
    #[serde(deserialize_with = "or_empty")]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Descriptor,
    #[serde(deserialize_with = "or_empty")]
    layers: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    platform: Option<Platform>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    fn name(&self) -> Option<&str> {
        self.annotations.as_ref()?.get(REF_NAME).map(String::as_str)
    }

    /// Whether it may be for that processor.
    fn fits(&self, architecture: Architecture) -> bool {
        let platform = self.platform.as_ref();
        platform.is_none_or(|platform| platform.fits(architecture))
    }

    fn platform(&self) -> String {
        self.platform
            .as_ref()
            .map_or_else(|| "unknown".to_owned(), Platform::to_string)
    }
}

/// Where the documents of images are.
pub(super) trait Documents {
    /// The place, for messages.
    fn place(&self) -> &Path;

    /// A manifest or an index, checked.
    fn manifest(&self, descriptor: &Descriptor, limits: &Limits) -> Result<Vec<u8>, SourceError>;

    /// A config, checked.
    fn config(&self, descriptor: &Descriptor, limits: &Limits) -> Result<Vec<u8>, SourceError>;
}

/// An image whose documents were read.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) manifest: Digest,
    pub(crate) manifest_document: Vec<u8>,
    pub(crate) config: Vec<u8>,
    /// Digests and sizes, the lowest first.
    pub(crate) layers: Vec<(Digest, u64)>,
    /// What an index calls it.
    name: Option<String>,
}

/// Where the files of a layout are.
pub(super) enum LayoutFiles {
    Directory(PathBuf),
    Archive(Archive, PathBuf),
}

impl Documents for LayoutFiles {
    fn place(&self) -> &Path {
        match self {
            LayoutFiles::Directory(path) | LayoutFiles::Archive(_, path) => path,
        }
    }

    fn manifest(&self, descriptor: &Descriptor, limits: &Limits) -> Result<Vec<u8>, SourceError> {
        check(
            self.blob(descriptor.digest, descriptor.size)?,
            descriptor,
            self.place(),
            limits,
        )
    }

    fn config(&self, descriptor: &Descriptor, limits: &Limits) -> Result<Vec<u8>, SourceError> {
        self.manifest(descriptor, limits)
    }
}

impl LayoutFiles {
    fn file(&self, name: &str) -> Result<Section, SourceError> {
        match self {
            LayoutFiles::Directory(dir) => {
                let path = dir.join(name);
                Section::open(&path).map_err(|source| SourceError::file(&path, source))
            }
            LayoutFiles::Archive(archive, path) => {
                archive.member(name).ok_or_else(|| SourceError::NoMember {
                    path: path.clone(),
                    member: name.to_owned(),
                })
            }
        }
    }

    /// A blob of the right size; its digest is still to be checked.
    fn blob(&self, digest: Digest, size: u64) -> Result<Section, SourceError> {
        let blob = self.file(&format!("blobs/sha256/{}", digest.hex()))?;
        check_size(blob, digest, size)
    }
}

/// `blob`, if it has the right size.
pub(super) fn check_size(blob: Section, digest: Digest, expected: u64) -> Result<Section, SourceError> {
    match blob.len() {
        actual if actual == expected => Ok(blob),
        actual => Err(SourceError::BlobSize {
            digest,
            expected,
            actual,
        }),
    }
}

/// Reads a document of the right size, and checks its digest.
pub(super) fn check(
    blob: Section,
    descriptor: &Descriptor,
    place: &Path,
    limits: &Limits,
) -> Result<Vec<u8>, SourceError> {
    let document = read_document(blob, &descriptor.digest.to_string(), place, limits)?;
    let (expected, actual) = (descriptor.digest, Digest::of(&document));
    match actual == expected {
        true => Ok(document),
        false => Err(SourceError::BlobDigest { expected, actual }),
    }
}

fn parse<T: DeserializeOwned>(place: &Path, document: &[u8], name: &str) -> Result<T, SourceError> {
    serde_json::from_slice(document).map_err(|source| SourceError::Document {
        path: place.to_owned(),
        name: name.to_owned(),
        source,
    })
}

/// The image `name` of a layout, or the only one for this host.
pub(super) fn open(layout: &LayoutFiles, name: Option<&str>, limits: &Limits) -> Result<Source, SourceError> {
    let index = read_document(layout.file("index.json")?, "index.json", layout.place(), limits)?;
    let index: Index = parse(layout.place(), &index, "index.json")?;
    let top = choose_named(layout.place(), index.manifests, name)?;
    let found = find(layout, top, limits)?;
    let layers = found.layers.iter();
    let layers = layers.map(|(digest, size)| Ok((layout.blob(*digest, *size)?, Some(*digest))));
    let layers = layers.collect::<Result<_, SourceError>>()?;
    let name = name.map(str::to_owned).or_else(|| found.name.clone());
    Source::of(found, limits.architecture, layers, name.into_iter().collect())
}

/// The image for this host that `document`, a manifest or an index of type `media_type`, leads to.
pub(super) fn find_one(
    documents: &impl Documents,
    document: &[u8],
    media_type: &str,
    limits: &Limits,
) -> Result<Found, SourceError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
    }
    let digest = Digest::of(document);
    let typed: Typed = parse(documents.place(), document, &digest.to_string())?;
    let top = Descriptor {
        // What the document says of itself is covered by its digest.
        media_type: typed.media_type.unwrap_or_else(|| media_type.to_owned()),
        digest,
        size: document.len() as u64,
        platform: None,
        annotations: None,
    };
    find(documents, vec![top], limits)
}

/// The image for this host that `top` leads to.
fn find(documents: &impl Documents, top: Vec<Descriptor>, limits: &Limits) -> Result<Found, SourceError> {
    let descriptor = choose(documents, list(documents, top, limits)?, limits)?;
    let text = descriptor.digest.to_string();
    let document = documents.manifest(&descriptor, limits)?;
    let manifest: Manifest = parse(documents.place(), &document, &text)?;
    if !CONFIGS.contains(&manifest.config.media_type.as_str()) {
        return Err(media_type(&manifest.config));
    }
    manifest.layers.iter().try_for_each(check_layer_type)?;
    Ok(Found {
        manifest: descriptor.digest,
        manifest_document: document,
        config: documents.config(&manifest.config, limits)?,
        layers: manifest
            .layers
            .iter()
            .map(|layer| (layer.digest, layer.size))
            .collect(),
        name: descriptor.name().map(str::to_owned),
    })
}

/// The entries of `index.json` that `name` means; without one, there must be no two names.
fn choose_named(
    place: &Path,
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
    let path = place.to_owned();
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

/// The manifests that an index leads to, and what else it has.
#[derive(Default)]
struct Listed {
    /// Those that may be for this host, in the index's order.
    manifests: Vec<Descriptor>,
    /// The platforms of those that are not.
    platforms: Vec<String>,
    /// The first of a kind that is not known here; an index may have such (image-index.md, `mediaType`).
    unknown: Option<Descriptor>,
}

/// What `entries` lead to, through indexes.
fn list(
    documents: &impl Documents,
    entries: Vec<Descriptor>,
    limits: &Limits,
) -> Result<Listed, SourceError> {
    let mut listed = Listed::default();
    let mut seen = BTreeSet::new();
    let mut pending: Vec<(Descriptor, u32)> = entries.into_iter().rev().map(|entry| (entry, 0)).collect();
    while let Some((entry, depth)) = pending.pop() {
        let kind = entry.media_type.as_str();
        if !entry.fits(limits.architecture) {
            listed.platforms.push(entry.platform());
        } else if !seen.insert(entry.digest) {
            // An index that names another many times is read once.
        } else if INDEXES.contains(&kind) && depth < MAX_DEPTH {
            let name = entry.digest.to_string();
            let index: Index = parse(documents.place(), &documents.manifest(&entry, limits)?, &name)?;
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
            listed.manifests.push(entry);
        } else {
            listed.unknown.get_or_insert(entry);
        }
    }
    Ok(listed)
}

/// The one manifest for this host: the best of those that say their platform, the first of equals; else the only one
/// whose config says it.
fn choose(
    documents: &impl Documents,
    mut listed: Listed,
    limits: &Limits,
) -> Result<Descriptor, SourceError> {
    let exact = listed
        .manifests
        .iter()
        .filter_map(|entry| Some((entry.platform.as_ref()?.rank(), entry)));
    if let Some((_, best)) = exact.min_by_key(|(rank, _)| *rank) {
        return Ok(best.clone());
    }
    let path = documents.place().to_owned();
    if (2..=MAX_CONFIGS).contains(&listed.manifests.len()) {
        let mut fitting = Vec::new();
        for entry in listed.manifests {
            match platform_of(documents, &entry, limits)? {
                Some(platform) if !platform.fits(limits.architecture) => {
                    listed.platforms.push(platform.to_string())
                }
                Some(_) => fitting.push(entry),
                None => drop(listed.unknown.get_or_insert(entry)),
            }
        }
        listed.manifests = fitting;
    }
    match (listed.manifests.as_slice(), listed.unknown) {
        ([only], _) => Ok(only.clone()),
        ([], Some(unknown)) if listed.platforms.is_empty() => Err(media_type(&unknown)),
        ([], _) => Err(SourceError::NoPlatform {
            path,
            wanted: limits.architecture,
            platforms: listed.platforms,
        }),
        (several, _) => Err(SourceError::Ambiguous {
            path,
            names: several.iter().map(|entry| entry.digest.to_string()).collect(),
        }),
    }
}

/// The platform that the config of the manifest `entry` says; `None` when it is no container image.
fn platform_of(
    documents: &impl Documents,
    entry: &Descriptor,
    limits: &Limits,
) -> Result<Option<Platform>, SourceError> {
    let text = entry.digest.to_string();
    let manifest: Manifest = parse(documents.place(), &documents.manifest(entry, limits)?, &text)?;
    if !CONFIGS.contains(&manifest.config.media_type.as_str()) {
        return Ok(None);
    }
    let config = documents.config(&manifest.config, limits)?;
    let name = manifest.config.digest.to_string();
    parse(documents.place(), &config, &name).map(Some)
}

/// Whether a layer is a tar stream; its bytes show how it is compressed.
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
