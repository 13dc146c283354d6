//! Connections to one host: which certificates are trusted, which proxy is taken, how long is waited.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy};

use super::{PullError, Settings};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(30);
/// How many redirections are followed; a registry sends a client to where its blobs are.
const MAX_REDIRECTS: u32 = 5;

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// TLS, certificates checked.
    Verified,
    /// TLS with whatever certificate.
    Unverified,
    /// Plain HTTP.
    None,
}

impl Security {
    /// The scheme of its URLs.
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Verified | Self::Unverified => "https",
            Self::None => "http",
        }
    }
}

/// An agent for requests to `host`.
pub(super) fn new(settings: &Settings, host: &str, security: Security) -> Result<Agent, PullError> {
    let silence = Some(settings.patience.silence);
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // Not from one that is encrypted to one that is not, whatever a registry sends its clients to.
        .https_only(security != Security::None)
        .max_redirects(MAX_REDIRECTS)
        .proxy(proxy(settings, security.scheme())?)
        .user_agent(concat!("isopod/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(silence)
        .timeout_per_read(silence)
        .timeout_per_write(silence)
        .tls_config(tls(settings, host, security)?)
        .build();
    Ok(config.new_agent())
}

fn tls(settings: &Settings, host: &str, security: Security) -> Result<TlsConfig, PullError> {
    let mut roots = Vec::new();
    let authorities = settings.ca_files.iter().find(|path| path.is_file());
    authorities.map_or(Ok(()), |path| add_certificates(path, &mut roots))?;
    let mut client = None;
    for dir in settings.cert_dirs.iter().map(|dir| dir.join(host)) {
        for path in files(&dir)? {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => add_certificates(&path, &mut roots)?,
                Some("cert") if client.is_none() => client = Some(client_certificate(&path)?),
                _ => {}
            }
        }
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .disable_verification(security == Security::Unverified)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// The files of a directory, sorted; none where there is no such directory.
fn files(dir: &Path) -> Result<Vec<PathBuf>, PullError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(PullError::File {
                path: dir.to_owned(),
                source: error,
            });
        }
        Err(_) => return Ok(Vec::new()),
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>, PullError> {
    fs::read(path).map_err(|source| PullError::File {
        path: path.to_owned(),
        source,
    })
}

fn invalid(path: &Path) -> impl Fn(ureq::Error) -> PullError {
    move |source| PullError::Pem {
        path: path.to_owned(),
        source: Box::new(source),
    }
}

fn add_certificates(path: &Path, roots: &mut Vec<Certificate<'static>>) -> Result<(), PullError> {
    for item in parse_pem(&read(path)?) {
        if let PemItem::Certificate(certificate) = item.map_err(invalid(path))? {
            roots.push(certificate);
        }
    }
    Ok(())
}

/// `NAME.cert`, with its key in `NAME.key` beside it (containers-certs.d(5)).
fn client_certificate(path: &Path) -> Result<ClientCert, PullError> {
    let mut chain = Vec::new();
    add_certificates(path, &mut chain)?;
    let key = path.with_extension("key");
    let private = PrivateKey::from_pem(&read(&key)?).map_err(invalid(&key))?;
    Ok(ClientCert::new_with_certs(&chain, private))
}

/// The proxy for `scheme`. A host in `no_proxy` stands for those below it too, as curl and Go have it; the loopback
/// interface is never reached through a proxy.
fn proxy(settings: &Settings, scheme: &'static str) -> Result<Option<Proxy>, PullError> {
    let url = match scheme {
        "https" => &settings.https_proxy,
        _ => &settings.http_proxy,
    };
    let Some(url) = url.as_deref().filter(|url| !url.is_empty()) else {
        return Ok(None);
    };
    let invalid = |_| PullError::Proxy { scheme };
    let given = Proxy::new(url).map_err(invalid)?;
    let mut builder = Proxy::builder(given.protocol())
        .host(given.host())
        .port(given.port());
    if let Some(user) = given.username() {
        builder = builder.username(user);
    }
    if let Some(password) = given.password() {
        builder = builder.password(password);
    }
    for host in ["localhost", "127.*", "[::1]", "::1"] {
        builder = builder.no_proxy(host);
    }
    for host in settings
        .no_proxy
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
    {
        let bare = host.trim_start_matches(['*', '.']);
        match bare.is_empty() {
            true => builder = builder.no_proxy("*"),
            false if host == bare => builder = builder.no_proxy(bare).no_proxy(&format!(".{bare}")),
            false => builder = builder.no_proxy(&format!(".{bare}")),
        }
    }
    builder.build().map(Some).map_err(invalid)
}
