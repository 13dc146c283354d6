//! Images in registries, as far as their documents go; [`crate::fetch`] downloads the layers.

use std::path::{Path, PathBuf};

use isopod_spec::RegistryReference;

use super::SourceError;
use super::oci::{Descriptor, Documents, Found, find_one};
use crate::limits::Limits;
use crate::registry::{PullError, Registries, Remote};

/// A registry's documents about one image.
struct RegistrySource {
    remote: Remote,
    /// The image's name, for messages.
    place: PathBuf,
}

impl Documents for RegistrySource {
    fn place(&self) -> &Path {
        &self.place
    }

    fn manifest(&self, descriptor: &Descriptor, limits: &Limits) -> Result<Vec<u8>, SourceError> {
        let document = self.remote.manifest(&descriptor.digest, limits.document_bytes)?;
        check_size(document, descriptor)
    }

    fn config(&self, descriptor: &Descriptor, limits: &Limits) -> Result<Vec<u8>, SourceError> {
        let document = self.remote.config(&descriptor.digest, limits.document_bytes)?;
        check_size(document, descriptor)
    }
}

fn check_size(document: Vec<u8>, descriptor: &Descriptor) -> Result<Vec<u8>, SourceError> {
    match document.len() as u64 {
        actual if actual == descriptor.size => Ok(document),
        actual => Err(SourceError::BlobSize {
            digest: descriptor.digest,
            expected: descriptor.size,
            actual,
        }),
    }
}

/// Finds the image `reference`, a full name, and says where its layers are to be had.
pub(crate) fn find(
    registries: &Registries,
    reference: &RegistryReference,
    limits: &Limits,
) -> Result<(Found, Remote), SourceError> {
    let remote = Remote::open(registries, reference, limits.document_bytes)?;
    let (document, media_type) = (remote.document.clone(), remote.media_type.clone());
    let place = PathBuf::from(reference.to_string());
    let registry = RegistrySource { remote, place };
    let found = find_one(&registry, &document, &media_type, limits)?;
    Ok((found, registry.remote))
}

impl From<PullError> for SourceError {
    fn from(error: PullError) -> Self {
        Self::Pull(Box::new(error))
    }
}
