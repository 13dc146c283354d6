//! Names of images in registries: `[REGISTRY/]NAME[:TAG][@DIGEST]`.
//!
//! The grammar is that of the distribution project's `reference` package, which docker, podman and Kubernetes share.
//! What a short name means (`alpine`) is not decided here: that depends on the store and on registries.conf(5).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Docker's own registry, which names without one mean to docker.
pub const DOCKER_HUB: &str = "docker.io";
/// What docker puts before a name of one part in [`DOCKER_HUB`].
const OFFICIAL: &str = "library/";
/// The tag of a name without tag and digest.
const LATEST: &str = "latest";
/// The longest name, registry and repository together, in bytes (`reference.NameTotalLengthMax`).
const MAX_NAME_BYTES: usize = 255;
/// The longest tag, in bytes (distribution specification, "Pulling manifests").
const MAX_TAG_BYTES: usize = 128;

/// An image in a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RegistryReference {
    /// `HOST[:PORT]`; `None` for a short name, which may be in the store or in one of several registries.
    pub registry: Option<String>,
    /// The repository in it, such as `library/alpine`.
    pub repository: String,
    /// The tag, where one was given. It says nothing when there is a digest.
    pub tag: Option<String>,
    /// The digest of a manifest or of an index, `sha256:` and 64 hexadecimal digits.
    pub digest: Option<String>,
}

impl RegistryReference {
    /// Reads a name as users write it; one without a registry stays without.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(read_digest(digest)?)),
            None => (text, None),
        };
        let (rest, tag) = split_tag(rest)?;
        let (registry, repository) = split_registry(rest)?;
        check_repository(repository)?;
        if rest.len() > MAX_NAME_BYTES {
            return Err(format!("the name is longer than {MAX_NAME_BYTES} bytes"));
        }
        let short = Self {
            registry: None,
            repository: repository.to_owned(),
            tag,
            digest,
        };
        Ok(match registry {
            Some(registry) => short.in_registry(registry),
            None => short,
        })
    }

    /// Reads what follows `docker://`: a short name means [`DOCKER_HUB`] (containers-transports(5)).
    pub(super) fn read_full(text: &str) -> Result<Self, String> {
        let read = Self::read(text)?;
        Ok(match read.registry {
            None => read.in_registry(DOCKER_HUB),
            Some(_) => read,
        })
    }

    /// The same repository, tag and digest in `registry`. A name of one part gets docker's `library/` on docker's hub.
    #[must_use]
    pub fn in_registry(&self, registry: &str) -> Self {
        let registry = match registry {
            "index.docker.io" => DOCKER_HUB,
            other => other,
        };
        let official = registry == DOCKER_HUB && !self.repository.contains('/');
        Self {
            registry: Some(registry.to_owned()),
            repository: match official {
                true => format!("{OFFICIAL}{}", self.repository),
                false => self.repository.clone(),
            },
            ..self.clone()
        }
    }

    /// Whether it says no registry.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.registry.is_none()
    }

    /// Registry and repository, without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.registry {
            Some(registry) => format!("{registry}/{}", self.repository),
            None => self.repository.clone(),
        }
    }

    /// What a registry is asked for: the digest, or else the tag, which is `latest` where none was given.
    #[must_use]
    pub fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or(LATEST)
    }

    /// Its name in the store: `NAME@DIGEST`, or else `NAME:TAG`.
    #[must_use]
    pub fn stored_name(&self) -> String {
        let separator = if self.digest.is_some() { '@' } else { ':' };
        format!("{}{separator}{}", self.name(), self.version())
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// Only SHA-256: it is the one algorithm that every registry and every client has.
fn read_digest(digest: &str) -> Result<String, String> {
    let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    match digest.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 && hex.bytes().all(is_hex) => Ok(digest.to_owned()),
        Some(_) => Err("a `sha256` digest has 64 lower-case hexadecimal digits".to_owned()),
        None => Err("what follows `@` must be a `sha256:` digest".to_owned()),
    }
}

/// Splits off the tag: what follows a colon that no slash follows. A port is always followed by one.
fn split_tag(text: &str) -> Result<(&str, Option<String>), String> {
    let Some((name, tag)) = text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) else {
        return Ok((text, None));
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_tag = tag.starts_with(is_word) && tag.chars().all(|c| is_word(c) || c == '.' || c == '-');
    match is_tag && tag.len() <= MAX_TAG_BYTES {
        true => Ok((name, Some(tag.to_owned()))),
        false => Err(format!(
            "the tag must be at most {MAX_TAG_BYTES} letters, digits, `_`, `.` and `-`, of which the last two do not begin it"
        )),
    }
}

/// The registry before the first slash. As with docker it is one if it could be no part of a repository: if it has
/// a dot, a port or a capital letter, or is `localhost`.
fn split_registry(name: &str) -> Result<(Option<&str>, &str), String> {
    let Some((first, rest)) = name.split_once('/') else {
        return Ok((None, name));
    };
    let is_registry =
        first.contains(['.', ':']) || first == "localhost" || first.chars().any(|c| c.is_ascii_uppercase());
    if !is_registry {
        return Ok((None, name));
    }
    match is_host_and_port(first) {
        true => Ok((Some(first), rest)),
        false => Err(format!("`{first}` is not a registry (`HOST[:PORT]`)")),
    }
}

fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| !port.starts_with('+') && port.parse::<u16>().is_ok_and(|port| port > 0);
    // RFC 1123 has no underscore, which networks of containers have in their names all the same.
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    is_host && port.is_none_or(is_port)
}

/// Parts of lower-case letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn check_repository(repository: &str) -> Result<(), String> {
    if repository.is_empty() {
        return Err("it names no repository".to_owned());
    }
    if repository.split('/').all(is_part) {
        return Ok(());
    }
    Err(match repository.chars().any(|c| c.is_ascii_uppercase()) {
        true => "the name of a repository has lower-case letters only".to_owned(),
        false => "the name of a repository has lower-case letters and digits, with `.`, `_`, `-` or `/` between them"
            .to_owned(),
    })
}

fn is_part(part: &str) -> bool {
    let is_alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut rest = part;
    loop {
        let trimmed = rest.trim_start_matches(is_alnum);
        if trimmed.len() == rest.len() {
            return false;
        }
        if trimmed.is_empty() {
            return true;
        }
        let separator = match trimmed.as_bytes() {
            [b'_', b'_', ..] => 2,
            [b'_' | b'.', ..] => 1,
            [b'-', ..] => trimmed.len() - trimmed.trim_start_matches('-').len(),
            _ => return false,
        };
        rest = &trimmed[separator..];
    }
}
