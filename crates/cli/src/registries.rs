//! What the environment says about registries: the files that podman, skopeo and docker read, and proxies.

use std::env;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;

use isopod_image::registry::{Patience, Registries, Settings};

use crate::progress::Bars;

/// Where distributions keep the certificates of authorities (the places of Go's crypto/x509).
const AUTHORITIES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The registries as the environment describes them; `search_path` is where credential helpers are.
pub(crate) fn from_environment(search_path: &[PathBuf]) -> Registries {
    let home = path("HOME");
    let config = path("XDG_CONFIG_HOME").or_else(|| Some(home.clone()?.join(".config")));
    let containers = config.map(|config| config.join("containers"));
    let below = |dir: &Option<PathBuf>, name: &str| dir.iter().map(|dir| dir.join(name)).collect::<Vec<_>>();
    let own_or = |own: Option<PathBuf>, others: Vec<PathBuf>| match own {
        Some(own) => vec![own],
        None => others,
    };
    let mut conf_files = below(&containers, "registries.conf");
    conf_files.push("/etc/containers/registries.conf".into());
    let conf_dirs = match path("CONTAINERS_REGISTRIES_CONF") {
        Some(_) => Vec::new(),
        None => [
            vec!["/etc/containers/registries.conf.d".into()],
            below(&containers, "registries.conf.d"),
        ]
        .concat(),
    };
    let mut cert_dirs = below(&containers, "certs.d");
    cert_dirs.extend(["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from));
    let settings = Settings {
        conf_files: own_or(path("CONTAINERS_REGISTRIES_CONF"), conf_files),
        conf_dirs,
        auth_files: own_or(path("REGISTRY_AUTH_FILE"), auth_files(home, containers)),
        cert_dirs,
        ca_files: own_or(path("SSL_CERT_FILE"), AUTHORITIES.map(PathBuf::from).into()),
        search_path: search_path.to_owned(),
        http_proxy: either("http_proxy", "HTTP_PROXY"),
        https_proxy: either("https_proxy", "HTTPS_PROXY"),
        no_proxy: either("no_proxy", "NO_PROXY").unwrap_or_default(),
        patience: Patience::default(),
    };
    let registries = Registries::new(settings);
    let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
    match std::io::stderr().is_terminal() && !dumb {
        true => registries.with_progress(Arc::new(Bars::default())),
        false => registries,
    }
}

/// The places of containers-auth.json(5), then docker's.
fn auth_files(home: Option<PathBuf>, containers: Option<PathBuf>) -> Vec<PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    let runtime = path("XDG_RUNTIME_DIR").map(|dir| dir.join("containers"));
    let runtime = runtime.unwrap_or_else(|| format!("/run/containers/{uid}").into());
    let docker = path("DOCKER_CONFIG").or_else(|| Some(home?.join(".docker")));
    let mut files = vec![runtime.join("auth.json")];
    files.extend(containers.map(|dir| dir.join("auth.json")));
    files.extend(docker.map(|dir| dir.join("config.json")));
    files
}

fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn either(lower: &str, upper: &str) -> Option<String> {
    [lower, upper]
        .iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
}
