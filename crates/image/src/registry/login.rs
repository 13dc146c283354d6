//! Logging in: credentials that a registry takes are kept in the first of the files in which they are looked for
//! (containers-auth.json(5)), beside what others wrote there.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isopod_spec::ImageReference;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::conf::read_file;
use super::credentials::{Credentials, normal};
use super::error::speaks_no_tls;
use super::pull::ways;
use super::{PullError, Registries};

/// Why nobody could log in or out.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// It names no registry.
    #[error("`{0}` is not a registry: it must be `HOST[:PORT]`")]
    Registry(String),
    /// The registry does not take the credentials, or does not answer.
    #[error("cannot log in to `{registry}`")]
    Refused {
        registry: String,
        #[source]
        source: Box<PullError>,
    },
    /// The file of credentials cannot be read.
    #[error(transparent)]
    Read(Box<PullError>),
    /// There is no place for credentials.
    #[error("no file for credentials is known")]
    NoFile,
    /// The file of credentials cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl LoginError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(_) => Some("such as `registry.example.org:5000`".to_owned()),
            Self::NoFile => Some("name one: `REGISTRY_AUTH_FILE=FILE`".to_owned()),
            Self::Refused { .. } | Self::Read(_) | Self::Write { .. } => None,
        }
    }
}

impl Registries {
    /// Asks `registry` whether it takes a user's password, and keeps both; gives the file in which they are.
    ///
    /// # Errors
    /// [`LoginError`]; nothing is kept then.
    pub fn log_in(&self, registry: &str, user: &str, password: &str) -> Result<PathBuf, LoginError> {
        let refused = |source| LoginError::Refused {
            registry: registry.to_owned(),
            source: Box::new(source),
        };
        let reference = ImageReference::parse(format!("{registry}/login").as_ref());
        let Ok(ImageReference::Registry(reference)) = reference else {
            return Err(LoginError::Registry(registry.to_owned()));
        };
        // The registry itself stands behind its mirrors.
        let endpoints = self
            .conf()
            .and_then(|conf| conf.endpoints(&reference))
            .map_err(refused)?;
        let endpoint = endpoints
            .last()
            .ok_or_else(|| LoginError::Registry(registry.to_owned()))?;
        let ways = ways(endpoint);
        for (index, way) in ways.iter().enumerate() {
            let credentials = Credentials::Password(user.to_owned(), password.to_owned());
            let client = Client::new(endpoint, *way, &self.settings).map_err(refused)?;
            match client.with_credentials(credentials).greet() {
                Err(PullError::Request { source, .. })
                    if index + 1 < ways.len() && speaks_no_tls(&source) => {}
                greeted => {
                    greeted.map_err(refused)?;
                    break;
                }
            }
        }
        let path = self.settings.auth_files.first().ok_or(LoginError::NoFile)?;
        let mut file = read(path)?;
        let entry = json!({ "auth": STANDARD.encode(format!("{user}:{password}")) });
        file.entry("auths")
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .ok_or_else(|| no_object(path, "auths"))?
            .insert(registry.to_owned(), entry);
        write(path, &file)?;
        Ok(path.clone())
    }

    /// Forgets the credentials for `registry` in every file; gives the files that had some.
    ///
    /// # Errors
    /// [`LoginError`].
    pub fn log_out(&self, registry: &str) -> Result<Vec<PathBuf>, LoginError> {
        let mut changed = Vec::new();
        for path in self.settings.auth_files.iter().filter(|path| path.is_file()) {
            let mut file = read(path)?;
            let Some(auths) = file.get_mut("auths").and_then(Value::as_object_mut) else {
                continue;
            };
            let before = auths.len();
            auths.retain(|key, _| normal(key) != registry);
            if auths.len() < before {
                write(path, &file)?;
                changed.push(path.clone());
            }
        }
        Ok(changed)
    }
}

/// A file of credentials; an empty one where it is not there.
fn read(path: &Path) -> Result<Map<String, Value>, LoginError> {
    let failed = |error| LoginError::Read(Box::new(error));
    let text = read_file(path)
        .map_err(failed)?
        .filter(|text| !text.trim().is_empty());
    let value: Value = match text {
        None => json!({}),
        Some(text) => serde_json::from_str(&text).map_err(|source| {
            failed(PullError::Credentials {
                path: path.to_owned(),
                source,
            })
        })?,
    };
    match value {
        Value::Object(file) => Ok(file),
        _ => Err(no_object(path, "")),
    }
}

/// That something in the file is not what it must be: it stays as it is, whoever wrote it.
fn no_object(path: &Path, key: &str) -> LoginError {
    LoginError::Read(Box::new(PullError::Secret {
        path: path.to_owned(),
        key: key.to_owned(),
        reason: "it must be an object of JSON",
    }))
}

/// Writes it, for its owner alone, and whole or not at all.
fn write(path: &Path, file: &Map<String, Value>) -> Result<(), LoginError> {
    let written = || -> io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let new = path.with_extension(format!("json.{}", std::process::id()));
        let mut options = fs::OpenOptions::new();
        let mut out = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        serde_json::to_writer_pretty(&out, file)?;
        out.write_all(b"\n")?;
        out.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(|source| LoginError::Write {
        path: path.to_owned(),
        source,
    })
}
