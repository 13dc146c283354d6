//! `dir:` directories, which `skopeo copy` writes: `manifest.json`, and every blob in a file named by its digits.

use std::path::Path;

use super::oci::{Descriptor, Documents, check, check_size, find_one};
use super::{Source, SourceError, read_document};
use crate::digest::Digest;
use crate::limits::Limits;
use crate::section::Section;

/// What the manifest is taken for when it does not say: OCI's, where it may leave that out.
const DEFAULT_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

struct DirSource<'a> {
    path: &'a Path,
    /// The digest of `manifest.json`.
    top: Digest,
}

impl DirSource<'_> {
    fn file(&self, name: &str) -> Result<Section, SourceError> {
        let path = self.path.join(name);
        Section::open(&path).map_err(|source| SourceError::file(&path, source))
    }
}

impl Documents for DirSource<'_> {
    fn place(&self) -> &Path {
        self.path
    }

    fn manifest(&self, descriptor: &Descriptor, limits: &Limits) -> Result<Vec<u8>, SourceError> {
        let name = match descriptor.digest == self.top {
            true => "manifest.json".to_owned(),
            false => format!("{}.manifest.json", descriptor.digest.hex()),
        };
        let blob = check_size(self.file(&name)?, descriptor.digest, descriptor.size)?;
        check(blob, descriptor, self.path, limits)
    }

    fn config(&self, descriptor: &Descriptor, limits: &Limits) -> Result<Vec<u8>, SourceError> {
        let blob = check_size(
            self.file(&descriptor.digest.hex())?,
            descriptor.digest,
            descriptor.size,
        )?;
        check(blob, descriptor, self.path, limits)
    }
}

/// The image in the directory `path`; of an index (`skopeo copy --all`), the one for this host.
pub(super) fn open(path: &Path, limits: &Limits) -> Result<Source, SourceError> {
    let mut directory = DirSource {
        path,
        top: Digest::of(b""),
    };
    let document = read_document(directory.file("manifest.json")?, "manifest.json", path, limits)?;
    directory.top = Digest::of(&document);
    let found = find_one(&directory, &document, DEFAULT_TYPE, limits)?;
    let layers = found.layers.iter();
    let layers = layers.map(|(digest, size)| {
        let blob = check_size(directory.file(&digest.hex())?, *digest, *size)?;
        Ok((blob, Some(*digest)))
    });
    let layers = layers.collect::<Result<_, SourceError>>()?;
    Source::of(found, limits.architecture, layers, Vec::new())
}
