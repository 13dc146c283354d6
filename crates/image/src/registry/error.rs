//! Why nothing comes from a registry.

use std::io;
use std::path::PathBuf;

use isopod_spec::RegistryReference;

use super::pace::TooSlow;
use crate::digest::Digest;

/// Why an image cannot be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// A file of the settings cannot be read.
    #[error("cannot read `{path}`")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A registries.conf is not one.
    #[error("invalid registry configuration `{path}`: {reason}")]
    Conf {
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file with credentials is not JSON.
    #[error("invalid credentials file `{path}`")]
    Credentials {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// An entry of a file with credentials is malformed.
    #[error("invalid entry `{key}` in credentials file `{path}`: {reason}")]
    Secret {
        path: PathBuf,
        /// The entry.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A credential helper does not help.
    #[error("credential helper `docker-credential-{helper}` failed: {reason}")]
    Helper {
        /// Its name.
        helper: String,
        reason: String,
    },
    /// A file with certificates or a key is malformed.
    #[error("invalid certificate or key `{path}`")]
    Pem {
        path: PathBuf,
        #[source]
        source: Box<ureq::Error>,
    },
    /// A proxy's URL is none.
    #[error("invalid URL of the proxy for `{scheme}:`")]
    Proxy {
        /// For which scheme it is.
        scheme: &'static str,
    },
    /// registries.conf forbids it.
    #[error("`{name}` is blocked: registries.conf blocks `{prefix}`")]
    Blocked {
        /// The image.
        name: String,
        /// What is blocked.
        prefix: String,
    },
    #[error("no answer from `{url}`{}", by_way_of(.proxy))]
    Request {
        /// What was asked for.
        url: String,
        /// The proxy that should have passed it on, without credentials.
        proxy: Option<String>,
        #[source]
        source: Box<ureq::Error>,
    },
    /// An answer broke off.
    #[error("the answer from `{url}` was cut off")]
    Body {
        /// What was asked for.
        url: String,
        #[source]
        source: io::Error,
    },
    /// An answer that does not help.
    #[error("`{url}` answers {status}{}", colon(.reason))]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says, may be empty.
        reason: String,
    },
    /// The registry, or its token server, wants credentials or others.
    #[error("registry `{registry}` refuses access to `{repository}`{}", colon(.reason))]
    Refused {
        /// `HOST[:PORT]`.
        registry: String,
        repository: String,
        /// What the registry says, may be empty.
        reason: String,
        /// Whether credentials were sent.
        credentials: bool,
    },
    /// The registry asks for what this client cannot do.
    #[error("registry `{registry}` asks for an authorisation that is not supported: {reason}")]
    Challenge {
        /// `HOST[:PORT]`.
        registry: String,
        /// What it asked for.
        reason: String,
    },
    /// There is no such image.
    #[error("registry `{registry}` has no `{image}`{}", colon(.reason))]
    NotFound {
        /// `HOST[:PORT]`.
        registry: String,
        /// Repository and tag or digest.
        image: String,
        /// What the registry says, may be empty.
        reason: String,
    },
    /// No registry has it.
    #[error("none of {} can be pulled", list(.tried))]
    Nowhere {
        /// The names that were tried.
        tried: Vec<RegistryReference>,
        /// Why not the last one.
        #[source]
        source: Box<PullError>,
    },
    /// A document is larger than is believed.
    #[error("the answer from `{url}` has more than {max} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        max: u64,
    },
    /// Content is not what it was asked for by.
    #[error("`{url}` sent content with digest `{actual}`, not `{expected}`")]
    Digest {
        /// What was asked for.
        url: String,
        /// What it should have.
        expected: Digest,
        actual: Digest,
    },
    /// A blob has another size than the manifest says.
    #[error("`{url}` sent another size than the {expected} bytes of the manifest")]
    Size {
        /// What was asked for.
        url: String,
        /// What the manifest says.
        expected: u64,
    },
    /// The file that a blob goes to cannot be written.
    #[error("cannot write the downloaded data")]
    Write(#[source] io::Error),
    /// Another download of the same image failed.
    #[error("the download was cancelled")]
    Stopped,
}

fn colon(reason: &str) -> String {
    match reason.is_empty() {
        true => String::new(),
        false => format!(": {reason}"),
    }
}

fn by_way_of(proxy: &Option<String>) -> String {
    let name = |proxy| format!(" through the proxy `{proxy}`");
    proxy.as_ref().map(name).unwrap_or_default()
}

fn list(names: &[RegistryReference]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

impl PullError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused {
                registry,
                credentials: false,
                ..
            } => Some(format!(
                "is the name right? A private image needs credentials: `isopod login {registry}` stores them"
            )),
            Self::Refused { registry, .. } => Some(format!(
                "the stored credentials for `{registry}` do not give access to it: `isopod login {registry}` \
                 replaces them"
            )),
            Self::Request { source, proxy, .. } => match &**source {
                error if is_untrusted(error) => Some(
                    "put the certificate of its authority into `/etc/containers/certs.d/HOST:PORT/ca.crt`"
                        .to_owned(),
                ),
                error if speaks_no_tls(error) => Some(
                    "a registry that speaks plain HTTP needs `insecure = true` in registries.conf".to_owned(),
                ),
                ureq::Error::ConnectProxyFailed(reason) if reason.contains("407") => Some(
                    "the proxy needs a user name and a password: `https_proxy=http://USER:PASSWORD@HOST:PORT`"
                        .to_owned(),
                ),
                _ if proxy.is_some() => Some(
                    "`http_proxy` and `https_proxy` name the proxy, `no_proxy` the registries that are reached without"
                        .to_owned(),
                ),
                ureq::Error::Timeout(_) => Some(FAR_REGISTRY.to_owned()),
                ureq::Error::Io(error) if is_too_slow(error) => Some(FAR_REGISTRY.to_owned()),
                error if is_unknown_host(error) => {
                    Some("is the registry's name right, and is there a network?".to_owned())
                }
                _ => None,
            },
            Self::Body { source, .. } if is_too_slow(source) => Some(FAR_REGISTRY.to_owned()),
            Self::Status { status: 429, .. } => {
                Some("the registry limits how often it is asked: wait, or log in".to_owned())
            }
            Self::Conf { .. } => Some("containers-registries.conf(5) describes the format".to_owned()),
            Self::Nowhere { source, .. } => source.hint(),
            _ => None,
        }
    }

    /// Whether a registry said, or could not say, that it has the image: then another may have it.
    pub(crate) fn is_about_one_registry(&self) -> bool {
        !matches!(
            self,
            Self::File { .. } | Self::Conf { .. } | Self::Write(_) | Self::Stopped | Self::Blocked { .. }
        )
    }

    /// Whether a download that meets it can continue: the registry may be starting again.
    pub(super) fn is_interruption(&self) -> bool {
        match self {
            Self::Body { .. } => true,
            Self::Request { source, .. } => {
                matches!(&**source, ureq::Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused)
            }
            _ => false,
        }
    }

    /// Whether the registry was not reached, or could not answer.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::Request { .. } | Self::Body { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Nowhere { source, .. } => source.is_silence(),
            _ => false,
        }
    }
}

/// What helps where a registry is silent or slow.
const FAR_REGISTRY: &str =
    "try again later: what was downloaded is kept; registries.conf may name a mirror that is nearer";

/// Whether an answer was given up for its speed, or for silence within it.
fn is_too_slow(error: &io::Error) -> bool {
    let cause = error.get_ref();
    cause.is_some_and(|cause| {
        cause.is::<TooSlow>() || matches!(cause.downcast_ref(), Some(ureq::Error::Timeout(_)))
    })
}

/// Whether the name has no address; the library does not distinguish other failures of a lookup.
fn is_unknown_host(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound => true,
        ureq::Error::Io(error) => error.to_string().contains("failed to lookup address"),
        _ => false,
    }
}

/// The TLS error that `error` comes from.
fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn is_untrusted(error: &ureq::Error) -> bool {
    matches!(tls_error(error), Some(rustls::Error::InvalidCertificate(_)))
}

/// Whether the other end does not seem to speak TLS.
pub(super) fn speaks_no_tls(error: &ureq::Error) -> bool {
    match tls_error(error) {
        Some(error) => matches!(error, rustls::Error::InvalidMessage(_)),
        None => matches!(error, ureq::Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof),
    }
}

/// Whether trying again may help.
pub(super) fn may_pass(error: &ureq::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, TimedOut, UnexpectedEof,
    };
    match error {
        ureq::Error::Io(e) if tls_error(error).is_none() => matches!(
            e.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | Interrupted | TimedOut | UnexpectedEof
        ),
        ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::Protocol(_) => true,
        _ => false,
    }
}
