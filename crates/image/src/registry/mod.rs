//! Registries: the pull half of the OCI distribution specification.
//!
//! ```text
//! conf.rs         registries.conf(5): which registries a name means, mirrors, what is blocked
//! credentials.rs  containers-auth.json(5), docker's config.json, credential helpers
//! challenge.rs    WWW-Authenticate, as a registry writes it
//! agent.rs        connections: certificates, proxies, deadlines
//! pace.rs         the least speed of an answer
//! client.rs       requests to one repository: authorisation, patience with what passes
//! login.rs        credentials that a registry takes, kept and forgotten
//! pull.rs         a name to its manifest, through mirrors; a blob to a file, resumed where it was cut off
//! ```
//!
//! Nothing here knows the store, the environment or the terminal: [`Settings`] names the files to read, and none is
//! read before a registry is needed. What a registry sends is believed only as far as digests and sizes confirm it.

mod agent;
mod challenge;
mod client;
mod conf;
mod credentials;
mod error;
mod login;
mod pace;
mod pull;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use isopod_spec::RegistryReference;

use crate::digest::Digest;
use conf::Conf;
pub use error::PullError;
pub use login::LoginError;
pub(crate) use pull::{Remote, Stop, download};

/// What the caller's world says about registries.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Places of `registries.conf`; the first that is there is read.
    pub conf_files: Vec<PathBuf>,
    /// Directories of additions to it (`*.conf`), read in their order, which take precedence.
    pub conf_dirs: Vec<PathBuf>,
    /// Files with credentials, `auth.json` or docker's `config.json`; the first that has some for a registry counts.
    pub auth_files: Vec<PathBuf>,
    /// Directories with a directory of certificates for each `HOST[:PORT]` (containers-certs.d(5)).
    pub cert_dirs: Vec<PathBuf>,
    /// Places of the certificates of authorities that are trusted; the first that is there is read.
    pub ca_files: Vec<PathBuf>,
    /// Where credential helpers (`docker-credential-*`) are.
    pub search_path: Vec<PathBuf>,
    /// The proxy for `http:`, a URL.
    pub http_proxy: Option<String>,
    /// The proxy for `https:`, a URL.
    pub https_proxy: Option<String>,
    /// Hosts that are spoken to without a proxy, with commas between them.
    pub no_proxy: String,
    /// How failures that may pass are met.
    pub patience: Patience,
}

/// How failures that may pass are met: connections that break, answers 429 and 5xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How often something is tried.
    pub attempts: u32,
    /// The pause before the second try; it doubles from try to try, up to 30 times that.
    pub pause: Duration,
    /// How long a connection may be silent, and for how long an answer may come more slowly than `floor`.
    pub silence: Duration,
    /// The least speed of an answer, in bytes a second.
    pub floor: u64,
}

impl Default for Patience {
    /// Four pauses, some 7 seconds in all; a minute of silence, or of less than 1 KiB a second: a tenth of what the slowest
    /// mobile networks (EDGE) give.
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_millis(500),
            silence: Duration::from_secs(60),
            floor: 1 << 10,
        }
    }
}

/// Receives how far downloads are. Called from several threads.
pub trait Progress: Send + Sync {
    /// `blob` has so many of its bytes.
    fn at(&self, blob: &Digest, bytes: u64, of: u64);
    /// Nothing more comes of `blob`.
    fn end(&self, blob: &Digest);
}

/// The registries, as far as this process may know them.
#[derive(Clone, Default)]
pub struct Registries {
    settings: Settings,
    progress: Option<Arc<dyn Progress>>,
    conf: OnceLock<Conf>,
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registries")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Registries {
    /// The registries as `settings` describe them.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// With nobody who receives the progress of downloads.
    #[must_use]
    pub fn without_progress(self) -> Self {
        Self {
            progress: None,
            ..self
        }
    }

    /// With somebody who receives the progress of downloads.
    #[must_use]
    pub fn with_progress(self, progress: Arc<dyn Progress>) -> Self {
        Self {
            progress: Some(progress),
            ..self
        }
    }

    /// The full names that `reference` may mean, in the order in which they are to be tried: itself unless it is
    /// short.
    ///
    /// # Errors
    /// [`PullError`] when registries.conf cannot be read.
    pub fn candidates(&self, reference: &RegistryReference) -> Result<Vec<RegistryReference>, PullError> {
        if !reference.is_short() {
            return Ok(vec![reference.clone()]);
        }
        Ok(self.conf()?.candidates(reference))
    }

    fn conf(&self) -> Result<&Conf, PullError> {
        if let Some(conf) = self.conf.get() {
            return Ok(conf);
        }
        let conf = Conf::read(&self.settings.conf_files, &self.settings.conf_dirs)?;
        Ok(self.conf.get_or_init(|| conf))
    }

    pub(crate) fn progress(&self) -> Option<&dyn Progress> {
        self.progress.as_deref()
    }
}
