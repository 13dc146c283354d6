//! Image references, as containers-transports(5) writes them.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where an image comes from: a transport, a path below it and, where the transport has one, a name within.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageReference {
    /// How the image is stored there.
    pub transport: Transport,
    /// The directory or file.
    pub path: PathBuf,
    /// For `oci:` and `oci-archive:`, the `org.opencontainers.image.ref.name` annotation; for `docker-archive:`, the
    /// `RepoTags` entry (`NAME:TAG`). `None` takes the only image there is.
    pub name: Option<String>,
}

/// The transports that can be read (containers-transports(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// `oci:DIR[:TAG]`, an OCI image layout.
    Oci,
    /// `oci-archive:FILE[:TAG]`, a tar file of an OCI image layout.
    OciArchive,
    /// `docker-archive:FILE[:NAME:TAG]`, the output of `docker save`.
    DockerArchive,
}

/// Why a text is not an image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid image reference `{reference}`: {reason}")]
pub struct InvalidReference {
    /// The text as it was given.
    pub reference: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

impl Transport {
    /// The prefix of a reference, without the colon.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Oci => "oci",
            Transport::OciArchive => "oci-archive",
            Transport::DockerArchive => "docker-archive",
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.as_str(), self.path.display())?;
        self.name.iter().try_for_each(|name| write!(f, ":{name}"))
    }
}
