//! Connections to one host: which certificates are trusted, which proxy is taken, how long is waited and how slow an
//! answer may be.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    ConnectProxyConnector, Connector as _, RustlsConnector, SocksConnector, TcpConnector,
};
use ureq::{Agent, Proxy};

use super::pace::Paced;
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
        .proxy(proxy(settings, host, security.scheme())?)
        .user_agent(concat!("isopod/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(silence)
        .timeout_per_read(silence)
        .timeout_per_write(silence)
        .tls_config(tls(settings, host, security)?)
        .build();
    // The library's own chain, but for the least speed.
    let connector =
        ().chain(SocksConnector::default())
            .chain(ConnectProxyConnector::default())
            .chain(TcpConnector::default())
            .chain(Paced(settings.patience))
            .chain(RustlsConnector::default());
    Ok(Agent::with_parts(config, connector, DefaultResolver::default()))
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

/// The proxy for `scheme`, as curl and Go take it from the environment, but that the loopback interface is never reached
/// through one. `host` is the registry's.
fn proxy(settings: &Settings, host: &str, scheme: &'static str) -> Result<Option<Proxy>, PullError> {
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
    let entries = settings.no_proxy.split(',').map(str::trim);
    let direct = entries.flat_map(|entry| direct(entry, host));
    for pattern in ["localhost", "127.*", "[::1]"]
        .map(str::to_owned)
        .into_iter()
        .chain(direct)
    {
        builder = builder.no_proxy(&pattern);
    }
    builder.build().map(Some).map_err(invalid)
}

/// What an entry of `no_proxy` says, as patterns of the library's: `*`, a name, which stands for those below it too,
/// `.NAME` and `*.NAME`, which stand for those alone, an address. One with a port or a range of addresses
/// (`10.0.0.0/8`) is compared with the registry's `host`, an address that is written as such.
fn direct(entry: &str, host: &str) -> Vec<String> {
    let bare = entry.trim_start_matches(['*', '.']);
    let (name, port) = split_port(host);
    let own = || vec![name.to_owned()];
    match bare {
        "" if entry.is_empty() => Vec::new(),
        "" => vec!["*".to_owned()],
        _ if bare.contains('/') => match address(name).is_some_and(|address| is_within(address, bare)) {
            true => own(),
            false => Vec::new(),
        },
        _ if let Some(address) = address(bare) => match address.is_ipv6() {
            true => vec![format!("[{address}]")],
            false => vec![address.to_string()],
        },
        _ => match split_port(bare) {
            (wanted, Some(_)) => {
                let fits = name == wanted || name.ends_with(&format!(".{wanted}"));
                match fits && split_port(bare).1 == port {
                    true => own(),
                    false => Vec::new(),
                }
            }
            _ if entry == bare => vec![bare.to_owned(), format!(".{bare}")],
            _ => vec![format!(".{bare}")],
        },
    }
}

/// A host's name, or its address with its brackets, and its port.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

fn address(text: &str) -> Option<IpAddr> {
    text.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether `address` is in `range`, `ADDRESS/BITS`.
fn is_within(address: IpAddr, range: &str) -> bool {
    let Some((base, bits)) = range.split_once('/') else {
        return false;
    };
    let (base, bits) = (base.parse::<IpAddr>().ok(), bits.parse::<u32>().ok());
    match (address, base, bits) {
        (IpAddr::V4(address), Some(IpAddr::V4(base)), Some(bits @ 0..=32)) => {
            (address.to_bits() ^ base.to_bits()).leading_zeros() >= bits
        }
        (IpAddr::V6(address), Some(IpAddr::V6(base)), Some(bits @ 0..=128)) => {
            (address.to_bits() ^ base.to_bits()).leading_zeros() >= bits
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the proxy is asked for that registry.
    fn is_passed(no_proxy: &str, host: &str) -> bool {
        let settings = Settings {
            https_proxy: Some("http://proxy:3128".into()),
            no_proxy: no_proxy.into(),
            ..Settings::default()
        };
        let proxy = proxy(&settings, host, "https").unwrap().unwrap();
        !proxy.is_no_proxy(&format!("https://{host}/v2/").parse().unwrap())
    }

    #[test]
    fn no_proxy_means_what_curl_and_go_mean_by_it() {
        for (no_proxy, host, direct) in [
            ("", "example.com", false),
            ("", "localhost:5000", true),
            ("", "127.0.0.1:5000", true),
            ("", "[::1]:5000", true),
            ("*", "example.com", true),
            ("other, example.com", "example.com:5000", true),
            ("example.com", "registry.example.com", true),
            ("EXAMPLE.com", "Registry.Example.com", true),
            ("example.com", "badexample.com", false),
            (".example.com", "registry.example.com", true),
            (".example.com", "example.com", false),
            ("*.example.com", "registry.example.com", true),
            ("example.com:5000", "registry.example.com:5000", true),
            ("example.com:5000", "example.com:5001", false),
            ("example.com:5000", "example.com", false),
            ("10.1.2.3", "10.1.2.3:5000", true),
            ("10.1.2.3", "10.1.2.30", false),
            ("10.0.0.0/8", "10.1.2.3:5000", true),
            ("10.0.0.0/8", "11.1.2.3:5000", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("10.0.0.0/8", "ten.example.com", false),
            ("10.0.0.0/33,10/8,/8,10.0.0.0/", "10.1.2.3", false),
            ("fd00::/8", "[fd00::1]:5000", true),
            ("fd00::/8", "[fe80::1]", false),
            ("fd00::1", "[fd00::1]:5000", true),
            ("[fd00::1]", "[fd00::1]", true),
        ] {
            assert_eq!(is_passed(no_proxy, host), !direct, "`{no_proxy}` and {host}");
        }
    }
}
