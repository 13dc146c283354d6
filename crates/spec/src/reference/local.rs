//! Images in directories and files: `TRANSPORT:PATH[:NAME]` (containers-transports(5)).

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{begins_with_port, split_at_colon};

/// An image in a directory or a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LocalReference {
    /// How the image is stored there.
    pub transport: Transport,
    /// The directory or file.
    #[serde(with = "crate::raw_path")]
    pub path: PathBuf,
    /// For `oci:` and `oci-archive:`, the `org.opencontainers.image.ref.name` annotation; for `docker-archive:`, the
    /// `RepoTags` entry, always with a tag (`NAME:TAG`); `dir:` has none. `None` takes the only image there is.
    pub name: Option<String>,
}

/// The transports for directories and files that can be read (containers-transports(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// `oci:DIR[:TAG]`, an OCI image layout.
    Oci,
    /// `oci-archive:FILE[:TAG]`, a tar file of an OCI image layout.
    OciArchive,
    /// `docker-archive:FILE[:NAME:TAG]`, the output of `docker save`.
    DockerArchive,
    /// `aci:FILE`, an App Container Image (rkt's, in place of its bare file names).
    Aci,
    /// `dir:DIR`, what skopeo writes for people to look at.
    Dir,
}

impl Transport {
    pub const ALL: [Self; 5] = [
        Self::Oci,
        Self::OciArchive,
        Self::DockerArchive,
        Self::Aci,
        Self::Dir,
    ];

    /// The prefix of a reference, without the colon.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Oci => "oci",
            Transport::OciArchive => "oci-archive",
            Transport::DockerArchive => "docker-archive",
            Transport::Aci => "aci",
            Transport::Dir => "dir",
        }
    }

    pub(super) fn from_prefix(prefix: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str().as_bytes() == prefix)
    }
}

impl LocalReference {
    /// Reads what follows the transport's colon. The path ends at the first colon, so it cannot hold one, as in
    /// containers-transports(5).
    pub(super) fn read(transport: Transport, rest: &[u8]) -> Result<Self, String> {
        let (path, name) = split_at_colon(rest);
        if path.is_empty() {
            return Err("the path is empty".to_owned());
        }
        if path.contains(&0) {
            return Err("the path holds a NUL byte".to_owned());
        }
        let name = name.map(|name| read_name(transport, name)).transpose()?;
        Ok(Self {
            transport,
            path: PathBuf::from(OsStr::from_bytes(path)),
            name,
        })
    }

    /// The image's name where it is more than a tag.
    pub(super) fn full_name(&self) -> Option<&str> {
        let is_tag =
            |name: &&str| self.transport != Transport::DockerArchive && !name.contains(['/', ':', '@']);
        self.name.as_deref().filter(|name| !is_tag(name))
    }
}

impl fmt::Display for LocalReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not to be taken for a registry's port.
        let here = match begins_with_port(self.path.as_os_str().as_bytes()) {
            true => "./",
            false => "",
        };
        write!(f, "{}:{here}{}", self.transport.as_str(), self.path.display())?;
        self.name.iter().try_for_each(|name| write!(f, ":{name}"))
    }
}

fn read_name(transport: Transport, name: &[u8]) -> Result<String, &'static str> {
    let name = std::str::from_utf8(name).map_err(|_| "the name is not UTF-8")?;
    if name.is_empty() {
        return Err("the name after the path is empty");
    }
    match transport {
        Transport::Oci | Transport::OciArchive => read_ref_name(name),
        Transport::DockerArchive => read_docker_name(name),
        Transport::Aci => Err("an ACI holds one image: nothing follows its path"),
        Transport::Dir => Err("a `dir:` directory holds one image, without a name"),
    }
}

/// The grammar of `org.opencontainers.image.ref.name` (OCI image specification, annotations.md).
fn read_ref_name(name: &str) -> Result<String, &'static str> {
    if name.starts_with('@') {
        return Err("an image cannot be chosen by its index (`@N`)");
    }
    let is_separator = |c: char| "-._:@+".contains(c);
    let is_component = |component: &str| {
        let component = component.replace("--", "-");
        component
            .split(is_separator)
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric()))
    };
    if name.split('/').all(is_component) {
        Ok(name.to_owned())
    } else {
        Err(
            "the name holds letters, digits and single `-`, `.`, `_`, `:`, `@`, `+`, `/` between them, nothing else",
        )
    }
}

fn read_docker_name(name: &str) -> Result<String, &'static str> {
    if name.starts_with('@') {
        return Err("an image cannot be chosen by its index (`@N`)");
    }
    if name.contains('@') {
        return Err("a `docker-archive:` image has no digest");
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:/".contains(c);
    if !name.chars().all(allowed) || name.split(['/', ':']).any(str::is_empty) {
        return Err("the name must be `NAME[:TAG]` of letters, digits, `-`, `.`, `_` and `/`");
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    Ok(if last.contains(':') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    })
}
