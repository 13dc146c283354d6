//! Where images come from: the transports of containers-transports(5).
//!
//! Opening a source reads and checks the small documents (index, manifest, config) and finds the layer blobs; it
//! reads none of them. Archives are not unpacked, only decompressed. Daemons and containers-storage are not sources.

mod aci;
mod archive;
mod dir;
mod docker;
mod oci;
mod platform;
pub(crate) mod remote;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use isopod_spec::{Architecture, LocalReference, Transport};

pub(crate) use archive::plain;
pub(crate) use oci::Found;

use crate::config::{ConfigError, ImageConfig};
use crate::digest::Digest;
use crate::layer::{Entries, LayerBlob};
use crate::limits::Limits;
use crate::section::Section;

/// An image that was found, its documents checked, its layers not read yet.
#[derive(Debug)]
pub(crate) struct Source {
    /// The digest of the manifest, where there is one.
    pub(crate) manifest: Option<Digest>,
    /// The manifest, as it stands.
    pub(crate) manifest_document: Option<Vec<u8>>,
    /// The digest of the config: the image's ID.
    pub(crate) id: Digest,
    /// The config, as it stands.
    pub(crate) document: Vec<u8>,
    /// The lowest first.
    pub(crate) layers: Vec<LayerBlob>,
    /// What the source calls it.
    pub(crate) names: Vec<String>,
}

/// Why no image can be read from a source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It does not come from a registry.
    #[error(transparent)]
    Pull(Box<crate::registry::PullError>),
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A tar file is malformed.
    #[error("cannot read archive `{path}`")]
    Archive {
        path: PathBuf,
        #[source]
        source: isopod_archive::reader::TarError,
    },
    /// A compressed tar file cannot be read, or what is in it not be written.
    #[error("cannot decompress archive `{path}` into the image store")]
    Decompress {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A tar file is compressed in a way that is not read here.
    #[error("archive `{path}` is compressed with bzip2, which is not supported")]
    Bzip2 { path: PathBuf },
    /// [`Limits::entries`].
    #[error("archive `{path}` has more than {max} members")]
    TooManyMembers { path: PathBuf, max: u64 },
    /// A tar file lacks a member.
    #[error("archive `{path}` has no complete member `{member}`")]
    NoMember { path: PathBuf, member: String },
    /// A document is not what it should be.
    #[error("invalid document `{name}` in `{path}`")]
    Document {
        /// The directory or file.
        path: PathBuf,
        name: String,
        #[source]
        source: serde_json::Error,
    },
    /// [`Limits::document_bytes`].
    #[error("document `{name}` in `{path}` is larger than {max} bytes")]
    DocumentSize {
        /// The directory or file.
        path: PathBuf,
        name: String,
        max: u64,
    },
    /// A blob has another size than the descriptor says.
    #[error("blob `{digest}` has {actual} bytes, its descriptor says {expected}")]
    BlobSize {
        digest: Digest,
        /// What the descriptor says.
        expected: u64,
        actual: u64,
    },
    /// A blob has another digest than the descriptor says.
    #[error("blob `{expected}` has digest `{actual}`")]
    BlobDigest {
        /// What the descriptor says.
        expected: Digest,
        actual: Digest,
    },
    /// A blob is not part of a container image.
    #[error("`{digest}` has media type `{media_type}`, which is not that of a container image for Linux")]
    MediaType { digest: Digest, media_type: String },
    /// There is no image at all.
    #[error("`{path}` holds no image")]
    Empty {
        /// The directory or file.
        path: PathBuf,
    },
    /// There are several images and nothing says which.
    #[error("`{path}` holds several images: {}", list(.names))]
    Ambiguous {
        /// The directory or file.
        path: PathBuf,
        names: Vec<String>,
    },
    /// There is no image of that name.
    #[error("`{path}` holds no image `{name}`, only {}", list(.names))]
    NoSuchName {
        /// The directory or file.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
        /// The names that are there.
        names: Vec<String>,
    },
    /// There is no image for the processor that is wanted.
    #[error("`{path}` holds no image for `linux/{wanted}`, only for {}", list(.platforms))]
    NoPlatform {
        /// The directory or file.
        path: PathBuf,
        /// That processor.
        wanted: Architecture,
        /// The platforms that are there.
        platforms: Vec<String>,
    },
    /// An ACI is not as the specification has it, or asks for what cannot be done.
    #[error("cannot use the image `{path}`: {reason}")]
    Aci {
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The image's config cannot be used.
    #[error("invalid config of image `{id}`")]
    Config {
        id: Digest,
        #[source]
        source: ConfigError,
    },
    /// Manifest and config do not agree.
    #[error("image `{id}` has {layers} layers, its config lists {diff_ids}")]
    LayerCount {
        id: Digest,
        /// How many the manifest lists.
        layers: usize,
        /// How many the config lists.
        diff_ids: usize,
    },
}

fn list(names: &[String]) -> String {
    match names {
        [] => "images without a name".to_owned(),
        names => names
            .iter()
            .map(|name| format!("`{}`", name.escape_debug()))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

impl SourceError {
    fn file(path: &Path, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Pull(error) => error.hint(),
            Self::Bzip2 { path } => Some(format!("decompress it first: `bzip2 -dk {}`", path.display())),
            Self::Ambiguous { path, names } => {
                // Images without a name are listed by digest, and cannot be chosen.
                let name = names.iter().find(|name| !name.starts_with("sha256:"))?;
                Some(format!(
                    "put the name after the path: `{}:{name}`",
                    path.display()
                ))
            }
            Self::BlobSize { .. } | Self::BlobDigest { .. } => Some("copy the image again".to_owned()),
            _ => None,
        }
    }
}

impl Source {
    /// Finds the image that `reference` means. A compressed archive is decompressed into the directory `scratch`.
    pub(crate) fn open(
        reference: &LocalReference,
        limits: &Limits,
        scratch: &Path,
    ) -> Result<Self, SourceError> {
        let (path, name) = (reference.path.as_path(), reference.name.as_deref());
        let archive = || archive::Archive::open(path, limits, scratch);
        match reference.transport {
            Transport::Oci => oci::open(&oci::LayoutFiles::Directory(path.to_owned()), name, limits),
            Transport::OciArchive => oci::open(
                &oci::LayoutFiles::Archive(archive()?, path.to_owned()),
                name,
                limits,
            ),
            Transport::DockerArchive => docker::open(&archive()?, path, name, limits),
            Transport::Aci => aci::open(path, limits),
            Transport::Dir => dir::open(path, limits),
        }
    }

    /// The image that was `found`, with its layers.
    pub(crate) fn of(
        found: Found,
        architecture: Architecture,
        layers: Vec<(Section, Option<Digest>)>,
        names: Vec<String>,
    ) -> Result<Self, SourceError> {
        let manifest = Some((found.manifest, found.manifest_document));
        Self::new(manifest, found.config, architecture, layers, names)
    }

    /// Puts the parts together and checks that they agree.
    pub(crate) fn new(
        manifest: Option<(Digest, Vec<u8>)>,
        document: Vec<u8>,
        architecture: Architecture,
        layers: Vec<(Section, Option<Digest>)>,
        names: Vec<String>,
    ) -> Result<Self, SourceError> {
        let id = Digest::of(&document);
        let invalid = |source| SourceError::Config { id, source };
        let config = ImageConfig::read(&document).map_err(invalid)?;
        config.check_platform(architecture).map_err(invalid)?;
        if !config.odd_env.is_empty() {
            tracing::warn!(entries = ?config.odd_env, "left out entries of the image's environment that are not \
                 `NAME=VALUE`");
        }
        if config.diff_ids.len() != layers.len() {
            let (layers, diff_ids) = (layers.len(), config.diff_ids.len());
            return Err(SourceError::LayerCount { id, layers, diff_ids });
        }
        let layers = layers.into_iter().zip(&config.diff_ids);
        let layers = layers
            .map(|((blob, digest), &diff_id)| LayerBlob {
                blob,
                digest,
                diff_id,
                entries: Entries::All,
            })
            .collect();
        let (manifest, manifest_document) = manifest.unzip();
        Ok(Self {
            manifest,
            manifest_document,
            id,
            document,
            layers,
            names,
        })
    }
}

/// A stream that fails when it is longer than it may be.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| io::Error::other("the image is larger uncompressed than the limit"))?;
        Ok(n)
    }
}

/// Reads a whole document of a bounded size.
fn read_document(
    mut blob: Section,
    name: &str,
    path: &Path,
    limits: &Limits,
) -> Result<Vec<u8>, SourceError> {
    if blob.len() > limits.document_bytes {
        let (path, name) = (path.to_owned(), name.to_owned());
        return Err(SourceError::DocumentSize {
            path,
            name,
            max: limits.document_bytes,
        });
    }
    let mut document = Vec::new();
    blob.read_to_end(&mut document)
        .map_err(|source| SourceError::file(path, source))?;
    Ok(document)
}
