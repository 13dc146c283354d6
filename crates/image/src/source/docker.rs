//! `docker save` archives: `manifest.json` names the config and the layers of each image.
//!
//! Layers have no digest of their own here; what holds them is the config's list of uncompressed digests, and what
//! holds the config is that its digest is the image's ID. An image is to have a manifest all the same: the one that
//! `skopeo copy` would make of the archive's layers as they are.

use std::io::{self, Read as _};
use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use super::archive::Archive;
use super::{Source, SourceError, read_document};
use crate::config::ImageConfig;
use crate::digest::{Digest, HashingReader};
use crate::limits::Limits;
use crate::null::or_empty;
use crate::section::Section;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    #[serde(deserialize_with = "or_empty")]
    layers: Vec<String>,
}

/// The image `name` of `archive`, which is `path`, or the only one.
pub(super) fn open(
    archive: &Archive,
    path: &Path,
    name: Option<&str>,
    limits: &Limits,
) -> Result<Source, SourceError> {
    let member = |name: &str| -> Result<Section, SourceError> {
        let missing = || SourceError::NoMember {
            path: path.to_owned(),
            member: name.to_owned(),
        };
        archive.member(name).ok_or_else(missing)
    };
    let manifest = read_document(member("manifest.json")?, "manifest.json", path, limits)?;
    let items: Vec<Item> = serde_json::from_slice(&manifest).map_err(|source| SourceError::Document {
        path: path.to_owned(),
        name: "manifest.json".to_owned(),
        source,
    })?;
    let item = choose(items, name, path)?;
    let config = read_document(member(&item.config)?, &item.config, path, limits)?;
    check_config_name(&item.config, Digest::of(&config))?;
    let layers: Vec<_> = item
        .layers
        .iter()
        .map(|layer| Ok((member(layer)?, None)))
        .collect::<Result<_, SourceError>>()?;
    let sections: Vec<Section> = layers.iter().map(|(section, _)| section.clone()).collect();
    let manifest = make_manifest(&config, &sections).map_err(|source| SourceError::file(path, source))?;
    let names = name.map(|name| vec![normal(name)]);
    Source::new(
        manifest.map(|document: Vec<u8>| (Digest::of(&document), document)),
        config,
        limits.architecture,
        layers,
        names.unwrap_or_else(|| item.repo_tags.iter().flatten().map(|tag| normal(tag)).collect()),
    )
}

/// The manifest of an image of this config and these layers; `None` where they do not agree, which is an error later.
fn make_manifest(config: &[u8], layers: &[Section]) -> io::Result<Option<Vec<u8>>> {
    let Ok(read) = ImageConfig::read(config) else {
        return Ok(None);
    };
    if read.diff_ids.len() != layers.len() {
        return Ok(None);
    }
    let layers = layers.iter().zip(read.diff_ids).map(|(layer, diff_id)| {
        let mut magic = Vec::new();
        layer.clone().take(4).read_to_end(&mut magic)?;
        let (ending, digest) = match magic.as_slice() {
            [0x1f, 0x8b, ..] => ("+gzip", HashingReader::new(layer.clone()).finish()?),
            [0x28, 0xb5, 0x2f, 0xfd] => ("+zstd", HashingReader::new(layer.clone()).finish()?),
            _ => ("", diff_id),
        };
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{ending}");
        Ok(json!({ "mediaType": media_type, "digest": digest.to_string(), "size": layer.len() }))
    });
    let document = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(config).to_string(),
            "size": config.len(),
        },
        "layers": layers.collect::<io::Result<Vec<_>>>()?,
    });
    Ok(Some(serde_json::to_vec(&document)?))
}

fn choose(mut items: Vec<Item>, name: Option<&str>, path: &Path) -> Result<Item, SourceError> {
    let path = path.to_owned();
    let tags = |item: &Item| item.repo_tags.clone().unwrap_or_default();
    let names: Vec<String> = items.iter().flat_map(tags).collect();
    if let Some(name) = name {
        items.retain(|item| tags(item).iter().any(|tag| normal(tag) == normal(name)));
        return items.pop().ok_or_else(|| SourceError::NoSuchName {
            path,
            name: name.to_owned(),
            names,
        });
    }
    match items.len() {
        1 => Ok(items.remove(0)),
        0 => Err(SourceError::Empty { path }),
        _ => Err(SourceError::Ambiguous { path, names }),
    }
}

/// A name as `docker images` shows it, always with a tag: `busybox:latest` for `docker.io/library/busybox`.
fn normal(name: &str) -> String {
    let short = name.strip_prefix("docker.io/").unwrap_or(name);
    let short = short.strip_prefix("library/").unwrap_or(short);
    match short.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        true => short.to_owned(),
        false => format!("{short}:latest"),
    }
}

/// A config whose file is named after its digest must have it.
fn check_config_name(name: &str, actual: Digest) -> Result<(), SourceError> {
    let stem = name.rsplit('/').next().unwrap_or(name);
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    match Digest::from_hex(stem).filter(|expected| *expected != actual) {
        Some(expected) => Err(SourceError::BlobDigest { expected, actual }),
        None => Ok(()),
    }
}
