//! Image references: names of images in registries, as docker and podman write them, and the transports of
//! containers-transports(5).
//!
//! ```text
//! docker://REGISTRY/NAME[:TAG][@DIGEST]   registry.rs   a registry
//! [REGISTRY/]NAME[:TAG][@DIGEST]          registry.rs   the store or a registry
//! TRANSPORT:PATH[:NAME]                   local.rs      a directory or a file
//! ```
//!
//! A reference is read here, not followed: whether anything is at its place is a question for isopod-image.

mod local;
mod registry;

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

pub use local::{LocalReference, Transport};
pub use registry::{DOCKER_HUB, RegistryReference};

use crate::AppName;
use crate::words::shown;

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageReference {
    /// A directory or a file.
    Local(LocalReference),
    /// A registry, or for a name that the store has, the store.
    Registry(RegistryReference),
}

/// Why a text is not an image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid image reference `{reference}`: {reason}")]
pub struct InvalidReference {
    /// The text as it was given, control characters escaped.
    pub reference: String,
    /// What is wrong with it.
    pub reason: String,
    hint: Option<String>,
}

impl InvalidReference {
    /// What would be right.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// What a reference to a registry begins with.
const DOCKER: &str = "docker://";

/// Transports of containers-transports(5), and older ones of the same library, that are not read.
const UNREADABLE: [&str; 6] = [
    "containers-storage",
    "docker-daemon",
    "ostree",
    "atomic",
    "sif",
    "tarball",
];

/// Endings of archive files that say nothing about the image.
const ARCHIVE_ENDINGS: [&str; 12] = [
    ".aci",
    ".tar",
    ".tgz",
    ".txz",
    ".tzst",
    ".gz",
    ".xz",
    ".zst",
    ".bz2",
    ".oci",
    ".oci-archive",
    ".docker-archive",
];

impl ImageReference {
    /// Reads a reference. A `docker-archive:` name without a tag gets `:latest`, as in containers-transports(5); a
    /// name without a registry stays short unless it follows `docker://`.
    ///
    /// # Errors
    /// [`InvalidReference`] for a transport that cannot be read, an empty path or name, what looks like the path of a
    /// file, and a name outside of its grammar.
    pub fn parse(reference: &OsStr) -> Result<Self, InvalidReference> {
        let bytes = reference.as_bytes();
        let fail = |reason: String| InvalidReference {
            reference: shown(reference),
            reason,
            hint: None,
        };
        if let Some(name) = bytes.strip_prefix(DOCKER.as_bytes()) {
            let name = std::str::from_utf8(name).map_err(|_| fail("the name is not UTF-8".to_owned()))?;
            let read = RegistryReference::read_full(name);
            return read.map(Self::Registry).map_err(fail);
        }
        let (prefix, rest) = split_at_colon(bytes);
        if let Some(image) = rest.and_then(|rest| at_port(reference, rest)) {
            return Ok(image);
        }
        match (Transport::from_prefix(prefix), rest) {
            (Some(transport), Some(rest)) => LocalReference::read(transport, rest)
                .map(Self::Local)
                .map_err(fail),
            (_, Some(_)) if is_unreadable(prefix) => Err(unreadable(reference, prefix)),
            _ => read_name(reference),
        }
    }

    /// Whether `text` begins with the name of a transport, one that can be read or not.
    #[must_use]
    pub fn names_transport(text: &str) -> bool {
        let (prefix, rest) = split_at_colon(text.as_bytes());
        text.starts_with(DOCKER)
            || rest.is_some_and(|rest| at_port(text.as_ref(), rest).is_none())
                && (Transport::from_prefix(prefix).is_some() || is_unreadable(prefix))
    }

    /// The name of an app whose user gave it none: the last part of the image's name, without registry and tag; for a
    /// mere tag or no name, the path's last part without the endings of archives. `None` when no letter and no digit
    /// is left.
    #[must_use]
    pub fn default_app_name(&self) -> Option<AppName> {
        let local = match self {
            Self::Registry(image) => return AppName::nearest(image.repository.rsplit('/').next()?),
            Self::Local(local) => local,
        };
        if let Some(name) = local.full_name() {
            let last = name.rsplit('/').next().unwrap_or(name);
            return AppName::nearest(last.split([':', '@']).next().unwrap_or(last));
        }
        let file = local.path.file_name()?.to_string_lossy().into_owned();
        let mut stem = file.as_str();
        while let Some(shorter) = ARCHIVE_ENDINGS
            .iter()
            .find_map(|ending| stem.strip_suffix(ending))
        {
            stem = shorter;
        }
        AppName::nearest(stem).or_else(|| AppName::nearest(&file))
    }
}

/// The bytes before the first colon, and those after it where there is one.
fn split_at_colon(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|b| *b == b':') {
        Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
        None => (text, None),
    }
}

/// The image, where what follows the colon is a port with a name behind it: then what stands before is a registry's host, as
/// with docker, whatever it is called. A directory of such a name is `./5000/name`.
fn at_port(reference: &OsStr, rest: &[u8]) -> Option<ImageReference> {
    let read = begins_with_port(rest).then(|| read_name(reference))?;
    read.ok()
}

/// Whether these are digits and a slash.
fn begins_with_port(rest: &[u8]) -> bool {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && rest.get(digits) == Some(&b'/')
}

fn is_unreadable(prefix: &[u8]) -> bool {
    UNREADABLE.iter().any(|name| name.as_bytes() == prefix)
}

/// The error for a reference that begins with a transport that cannot be read.
fn unreadable(reference: &OsStr, prefix: &[u8]) -> InvalidReference {
    let text = shown(reference);
    let reason = format!(
        "the transport `{}:` cannot be read",
        String::from_utf8_lossy(prefix)
    );
    let hint = format!(
        "`docker://NAME[:TAG]`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, \
         `docker-archive:FILE[:NAME:TAG]`, `aci:FILE` and `dir:DIR` can be read; `skopeo copy {text} oci:DIR` makes one"
    );
    InvalidReference {
        reference: text,
        reason,
        hint: Some(hint),
    }
}

/// Reads a reference without a transport: a name, if it does not look like the path of a file.
fn read_name(reference: &OsStr) -> Result<ImageReference, InvalidReference> {
    let text = shown(reference);
    let fail = |reason: &str, hint: Option<String>| InvalidReference {
        reference: text.clone(),
        reason: reason.to_owned(),
        hint,
    };
    if text.is_empty() {
        return Err(fail("it is empty", None));
    }
    let is_path = text.starts_with(['/', '.', '~']);
    if ARCHIVE_ENDINGS.iter().any(|ending| text.ends_with(ending)) {
        let or_name = match is_path {
            true => String::new(),
            false => format!(", `docker://{text}` pulls an image of that name"),
        };
        let hint = match text.ends_with(".aci") {
            true => format!("`aci:{text}` reads that file{or_name}"),
            false => format!("`oci-archive:{text}` or `docker-archive:{text}` reads that file{or_name}"),
        };
        return Err(fail("it names no transport", Some(hint)));
    }
    if is_path {
        let hint = format!("`oci:{text}` reads that directory");
        return Err(fail("it names no transport", Some(hint)));
    }
    let name = reference
        .to_str()
        .ok_or_else(|| fail("the name is not UTF-8", None))?;
    RegistryReference::read(name)
        .map(ImageReference::Registry)
        .map_err(|reason| {
            let lower = name.to_lowercase();
            let hint = (lower != name && RegistryReference::read(&lower).is_ok())
                .then(|| format!("`{lower}` would be valid"));
            fail(&reason, hint)
        })
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(local) => local.fmt(f),
            Self::Registry(image) => image.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
