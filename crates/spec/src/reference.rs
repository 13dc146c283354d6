//! Image references, as containers-transports(5) writes them.
//!
//! A reference is read here, not followed: whether anything is at its path is a question for isopod-image.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::AppName;
use crate::words::shown;

/// Where an image comes from: a transport, a path below it and, where the transport has one, a name within.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageReference {
    /// How the image is stored there.
    pub transport: Transport,
    /// The directory or file.
    pub path: PathBuf,
    /// For `oci:` and `oci-archive:`, the `org.opencontainers.image.ref.name` annotation; for `docker-archive:`, the
    /// `RepoTags` entry, always with a tag (`NAME:TAG`). `None` takes the only image there is.
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

/// Transports of containers-transports(5), and older ones of the same library, that are not read.
const UNREADABLE: [&str; 8] = [
    "docker",
    "dir",
    "containers-storage",
    "docker-daemon",
    "ostree",
    "atomic",
    "sif",
    "tarball",
];

/// What the transports that are read look like, for hints.
const READABLE: &str =
    "`oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]` and `docker-archive:FILE[:NAME:TAG]` can be read";

/// Endings of archive files that say nothing about the image.
const ARCHIVE_ENDINGS: [&str; 11] = [
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

    fn from_prefix(prefix: &[u8]) -> Option<Self> {
        [Self::Oci, Self::OciArchive, Self::DockerArchive]
            .into_iter()
            .find(|t| t.as_str().as_bytes() == prefix)
    }
}

impl ImageReference {
    /// Reads `TRANSPORT:PATH[:NAME]`. The path ends at the first colon after the transport's, so it cannot hold one,
    /// as in containers-transports(5). A `docker-archive:` name without a tag gets `:latest`, as there.
    ///
    /// # Errors
    /// [`InvalidReference`] for another transport or none, an empty path or name, and a name outside of its grammar.
    pub fn parse(reference: &OsStr) -> Result<Self, InvalidReference> {
        let (prefix, rest) = split_at_colon(reference.as_bytes());
        let Some(transport) = Transport::from_prefix(prefix) else {
            return Err(unreadable(reference, prefix, rest));
        };
        let (path, name) = split_at_colon(rest.unwrap_or_default());
        let fail = |reason: &str| InvalidReference {
            reference: shown(reference),
            reason: reason.to_owned(),
            hint: None,
        };
        if path.is_empty() {
            return Err(fail("the path is empty"));
        }
        if path.contains(&0) {
            return Err(fail("the path holds a NUL byte"));
        }
        let name = name
            .map(|name| read_name(transport, name))
            .transpose()
            .map_err(fail)?;
        Ok(Self {
            transport,
            path: PathBuf::from(OsStr::from_bytes(path)),
            name,
        })
    }

    /// Whether `text` begins with the name of a transport, one that can be read or not, and a colon.
    #[must_use]
    pub fn names_transport(text: &str) -> bool {
        let (prefix, rest) = split_at_colon(text.as_bytes());
        rest.is_some() && (Transport::from_prefix(prefix).is_some() || is_unreadable(prefix))
    }

    /// The name of an app whose user gave it none: the last part of the image's name, without registry and tag; for a
    /// mere tag or no name, the path's last part without the endings of archives. `None` when no letter and no digit
    /// is left.
    #[must_use]
    pub fn default_app_name(&self) -> Option<AppName> {
        let is_tag =
            |name: &&String| self.transport != Transport::DockerArchive && !name.contains(['/', ':', '@']);
        if let Some(name) = self.name.as_ref().filter(|name| !is_tag(name)) {
            let last = name.rsplit('/').next().unwrap_or(name);
            return AppName::nearest(last.split([':', '@']).next().unwrap_or(last));
        }
        let file = self.path.file_name()?.to_string_lossy().into_owned();
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

fn is_unreadable(prefix: &[u8]) -> bool {
    UNREADABLE.iter().any(|name| name.as_bytes() == prefix)
}

/// The error for a reference that begins with no transport that can be read.
fn unreadable(reference: &OsStr, prefix: &[u8], rest: Option<&[u8]>) -> InvalidReference {
    let text = shown(reference);
    if rest.is_some() && is_unreadable(prefix) {
        let reason = format!(
            "the transport `{}:` cannot be read",
            String::from_utf8_lossy(prefix)
        );
        let hint = format!("{READABLE}; `skopeo copy {text} oci:DIR` makes one");
        return InvalidReference {
            reference: text,
            reason,
            hint: Some(hint),
        };
    }
    let is_archive = ARCHIVE_ENDINGS.iter().any(|ending| text.ends_with(ending));
    let hint = if is_archive {
        format!("`oci-archive:{text}` or `docker-archive:{text}` reads that file")
    } else if text.starts_with(['/', '.']) {
        format!("`oci:{text}` reads that directory")
    } else {
        format!(
            "images are not pulled by name; {READABLE}, and `skopeo copy docker://{text} oci:DIR` makes one"
        )
    };
    InvalidReference {
        reference: text,
        reason: "it names no transport".to_owned(),
        hint: Some(hint),
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

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.as_str(), self.path.display())?;
        self.name.iter().try_for_each(|name| write!(f, ":{name}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<ImageReference, InvalidReference> {
        ImageReference::parse(OsStr::new(text))
    }

    #[test]
    fn reads_the_three_transports() {
        for (text, transport, path, name) in [
            ("oci:dir", Transport::Oci, "dir", None),
            ("oci:/a/b c:3.20", Transport::Oci, "/a/b c", Some("3.20")),
            (
                "oci:dir:docker.io/library/alpine:3.20",
                Transport::Oci,
                "dir",
                Some("docker.io/library/alpine:3.20"),
            ),
            (
                "oci-archive:./x.tar:a--b",
                Transport::OciArchive,
                "./x.tar",
                Some("a--b"),
            ),
            ("docker-archive:x.tar", Transport::DockerArchive, "x.tar", None),
            (
                "docker-archive:x.tar:busybox",
                Transport::DockerArchive,
                "x.tar",
                Some("busybox:latest"),
            ),
            (
                "docker-archive:x.tar:host:5000/a/b:1",
                Transport::DockerArchive,
                "x.tar",
                Some("host:5000/a/b:1"),
            ),
            (
                "docker-archive:x.tar:host:5000/a/b",
                Transport::DockerArchive,
                "x.tar",
                Some("host:5000/a/b:latest"),
            ),
        ] {
            let expected = ImageReference {
                transport,
                path: path.into(),
                name: name.map(str::to_owned),
            };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_with_the_reason_and_what_would_be_right() {
        for (text, reason, hint) in [
            (
                "docker://alpine",
                "`docker:` cannot be read",
                "skopeo copy docker://alpine oci:DIR",
            ),
            ("dir:/x", "`dir:` cannot be read", "oci:DIR"),
            (
                "containers-storage:alpine",
                "`containers-storage:` cannot be read",
                "oci:DIR",
            ),
            (
                "docker-daemon:alpine:3",
                "`docker-daemon:` cannot be read",
                "oci:DIR",
            ),
            ("alpine", "no transport", "skopeo copy docker://alpine oci:DIR"),
            (
                "alpine:3.20",
                "no transport",
                "skopeo copy docker://alpine:3.20 oci:DIR",
            ),
            ("./image", "no transport", "`oci:./image`"),
            ("/a/image.tar", "no transport", "`oci-archive:/a/image.tar`"),
            ("", "no transport", "can be read"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {error}");
            assert!(error.hint().unwrap().contains(hint), "{text}: {:?}", error.hint());
        }
    }

    #[test]
    fn refuses_names_outside_of_their_grammar() {
        for text in [
            "oci:",
            "oci",
            "oci::tag",
            "oci:dir:",
            "oci:dir:-a",
            "oci:dir:a b",
            "oci:dir:a//b",
            "oci:dir:@1",
            "docker-archive:x:@0",
            "docker-archive:x:a@sha256:00",
            "docker-archive:x:a:",
            "docker-archive:x:a/:b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn default_app_names() {
        for (text, name) in [
            ("oci:/images/alpine", Some("alpine")),
            ("oci:/images/alpine:3.20", Some("alpine")),
            ("oci:store:ghcr.io/org/My_App:1.0", Some("my-app")),
            ("oci:store:redis:7", Some("redis")),
            ("oci-archive:web.oci.tar.gz", Some("web")),
            ("oci-archive:nginx-1.27.tar:latest", Some("nginx-1-27")),
            ("docker-archive:saved.tar", Some("saved")),
            ("docker-archive:saved.tar:localhost:5000/team/db:16", Some("db")),
            ("oci:.tar", Some("tar")),
            ("oci:.", None),
            ("oci:/", None),
            ("oci:日本", None),
        ] {
            let found = parse(text).unwrap().default_app_name();
            assert_eq!(found.as_ref().map(AppName::as_str), name, "{text}");
        }
    }

    #[test]
    fn knows_a_transport_from_a_name() {
        for text in [
            "oci:x",
            "oci-archive:x",
            "docker-archive:x",
            "docker://x",
            "dir:x",
        ] {
            assert!(ImageReference::names_transport(text), "{text}");
        }
        for text in ["example.com/web", "alpine:3.20", "oci", "docker"] {
            assert!(!ImageReference::names_transport(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "(oci|oci-archive):[^:\u{0}]{1,20}(:[a-z0-9]{1,9}([-._:@+/][a-z0-9]{1,5}){0,3})?") {
            prop_assert_eq!(parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = ImageReference::parse(OsStr::from_bytes(&bytes));
        }
    }
}
