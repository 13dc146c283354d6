//! Requests to one repository of one registry: authorised where the registry asks for it, repeated where a failure
//! may pass.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher as _};
use std::io::Read as _;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use super::agent::{self, Security};
use super::challenge::{self, Challenge};
use super::conf::Endpoint;
use super::credentials::{self, Credentials};
use super::error::may_pass;
use super::{Patience, PullError, Settings};

/// The longest pause that a registry may ask for (`Retry-After`).
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// As much is read of an answer that says what is wrong.
const MAX_REASON_BYTES: u64 = 16 << 10;
/// As much is read of a token server's answer.
const MAX_TOKEN_BYTES: u64 = 1 << 20;
/// As much of a registry's words is shown, in characters.
const MAX_REASON_CHARS: usize = 300;

/// A repository.
pub(crate) struct Client {
    agent: Agent,
    security: Security,
    host: String,
    repository: String,
    credentials: Option<Credentials>,
    /// The header `Authorization`, once the registry asked for one.
    authorization: Mutex<Option<String>>,
    pub(super) patience: Patience,
}

/// The answer of a token server.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Client {
    pub(super) fn new(
        endpoint: &Endpoint,
        security: Security,
        settings: &Settings,
    ) -> Result<Self, PullError> {
        Ok(Self {
            agent: agent::new(settings, &endpoint.host, security)?,
            security,
            host: endpoint.host.clone(),
            repository: endpoint.repository.clone(),
            credentials: credentials::find(&endpoint.name, &settings.auth_files, &settings.search_path)?,
            authorization: Mutex::new(None),
            patience: settings.patience,
        })
    }

    /// The same with other patience.
    pub(super) fn with_attempts(mut self, attempts: u32) -> Self {
        self.patience.attempts = attempts;
        self
    }

    pub(super) fn url(&self, path: &str) -> String {
        let (scheme, host, repository) = (self.security.scheme(), &self.host, &self.repository);
        format!("{scheme}://{host}/v2/{repository}/{path}")
    }

    /// The same with these credentials, whatever the files have.
    pub(super) fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Asks the registry whether it is one, and takes the credentials.
    pub(super) fn greet(&self) -> Result<(), PullError> {
        let url = format!("{}://{}/v2/", self.security.scheme(), self.host);
        let response = self.fetch(&url, &[])?;
        match response.status().as_u16() {
            200..=299 => Ok(()),
            status => {
                let reason = reason(response);
                Err(PullError::Status { url, status, reason })
            }
        }
    }

    /// Gets `path` of the repository (`manifests/TAG`, `blobs/DIGEST`). The answer has a status below 300.
    pub(super) fn get(&self, path: &str, headers: &[(&str, String)]) -> Result<Response<Body>, PullError> {
        let url = self.url(path);
        let response = self.fetch(&url, headers)?;
        match response.status().as_u16() {
            200..=299 => Ok(response),
            404 => {
                let (_, version) = path.split_once('/').unwrap_or(("", path));
                let separator = if version.contains(':') { '@' } else { ':' };
                Err(PullError::NotFound {
                    registry: self.host.clone(),
                    image: format!("{}{separator}{version}", self.repository),
                    reason: reason(response),
                })
            }
            status => {
                let reason = reason(response);
                Err(PullError::Status { url, status, reason })
            }
        }
    }

    /// Gets a URL of the registry, authorised where it asks for that.
    fn fetch(&self, url: &str, headers: &[(&str, String)]) -> Result<Response<Body>, PullError> {
        let mut authorized = false;
        loop {
            let authorization = self.authorization();
            let response = self.send(url, || {
                let request = self.agent.get(url);
                let all = headers.iter().map(|(name, value)| (*name, value));
                let all = all.chain(authorization.iter().map(|value| ("Authorization", value)));
                all.fold(request, |request, (name, value)| request.header(name, value))
                    .call()
            })?;
            match response.status().as_u16() {
                401 if !authorized => {
                    self.authorize(response.headers(), authorization)?;
                    authorized = true;
                }
                401 | 403 => return Err(self.refused(reason(response))),
                _ => return Ok(response),
            }
        }
    }

    /// Sends a request, again when a failure may pass.
    fn send(
        &self,
        url: &str,
        request: impl Fn() -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, PullError> {
        let mut tries = Tries::new(self.patience);
        loop {
            let (error, after) = match request() {
                Ok(response) if !is_temporary(response.status().as_u16()) => return Ok(response),
                Ok(response) => {
                    let (url, status) = (url.to_owned(), response.status().as_u16());
                    let after = retry_after(response.headers());
                    let reason = reason(response);
                    (PullError::Status { url, status, reason }, after)
                }
                Err(source) => {
                    let passes = may_pass(&source);
                    let error = PullError::Request {
                        url: url.to_owned(),
                        proxy: self.proxy(url),
                        source: Box::new(source),
                    };
                    if !passes {
                        return Err(error);
                    }
                    (error, None)
                }
            };
            if !tries.pause(&error, after) {
                return Err(error);
            }
        }
    }

    /// The proxy that is asked for `url`.
    fn proxy(&self, url: &str) -> Option<String> {
        let proxy = self.agent.config().proxy()?;
        let passed = url.parse().is_ok_and(|url| !proxy.is_no_proxy(&url));
        let scheme = proxy.protocol().to_string().to_lowercase();
        passed.then(|| format!("{scheme}://{}:{}", proxy.host(), proxy.port()))
    }

    fn authorization(&self) -> Option<String> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gets what the registry asks for in `headers`, unless another thread already replaced what was `used`.
    fn authorize(&self, headers: &HeaderMap, used: Option<String>) -> Result<(), PullError> {
        let mut authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        if *authorization != used {
            return Ok(());
        }
        let values = headers.get_all("www-authenticate").iter();
        let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        let challenges: Vec<_> = values.iter().flat_map(|value| challenge::parse(value)).collect();
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => Some((realm, service, scope)),
            Challenge::Basic => None,
        });
        *authorization = Some(match (bearer, &self.credentials) {
            (Some((realm, service, scope)), _) => {
                format!(
                    "Bearer {}",
                    self.token(realm, service.as_deref(), scope.as_deref())?
                )
            }
            (None, Some(Credentials::Password(user, password))) if challenges.contains(&Challenge::Basic) => {
                credentials::basic(user, password)
            }
            (None, None) if challenges.contains(&Challenge::Basic) => return Err(self.refused(String::new())),
            _ => {
                let reason = values.join(", ").escape_debug().to_string();
                let registry = self.host.clone();
                return Err(PullError::Challenge { registry, reason });
            }
        });
        Ok(())
    }

    /// Gets a token (distribution's token authentication; OAuth 2 for identity tokens).
    fn token(&self, realm: &str, service: Option<&str>, scope: Option<&str>) -> Result<String, PullError> {
        let default = format!("repository:{}:pull", self.repository);
        let scope = scope.unwrap_or(&default);
        let response = self.send(realm, || match &self.credentials {
            Some(Credentials::Identity(token)) => self.agent.post(realm).send_form([
                ("grant_type", "refresh_token"),
                ("service", service.unwrap_or_default()),
                ("client_id", "isopod"),
                ("scope", scope),
                ("refresh_token", token),
            ]),
            other => {
                let mut request = self.agent.get(realm).query("scope", scope);
                if let Some(service) = service {
                    request = request.query("service", service);
                }
                if let Some(Credentials::Password(user, password)) = other {
                    request = request.header("Authorization", credentials::basic(user, password));
                }
                request.call()
            }
        })?;
        let (url, status) = (realm.to_owned(), response.status().as_u16());
        match status {
            200..=299 => {}
            401 | 403 => return Err(self.refused(reason(response))),
            _ => {
                let reason = reason(response);
                return Err(PullError::Status { url, status, reason });
            }
        }
        let mut text = Vec::new();
        let read = response
            .into_body()
            .into_reader()
            .take(MAX_TOKEN_BYTES)
            .read_to_end(&mut text);
        read.map_err(|source| PullError::Body {
            url: url.clone(),
            source,
        })?;
        let token = serde_json::from_slice::<Token>(&text).ok();
        token
            .and_then(|token| token.token.or(token.access_token))
            .ok_or_else(|| PullError::Status {
                url,
                status,
                reason: "there is no token in its answer".to_owned(),
            })
    }

    fn refused(&self, reason: String) -> PullError {
        PullError::Refused {
            registry: self.host.clone(),
            repository: self.repository.clone(),
            reason,
            credentials: self.credentials.is_some(),
        }
    }
}

/// Whether an answer of this status may be another one later.
fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502..=599)
}

/// The pause that a registry asks for, in seconds; dates are not understood.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_PAUSE))
}

/// What a registry says is wrong (distribution specification, "Error codes").
fn reason(response: Response<Body>) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Fault>,
    }
    #[derive(Deserialize)]
    struct Fault {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let mut text = Vec::new();
    // What was read so far will do.
    let _ = response
        .into_body()
        .into_reader()
        .take(MAX_REASON_BYTES)
        .read_to_end(&mut text);
    let words = match serde_json::from_slice::<Errors>(&text) {
        Ok(Errors { errors }) => errors
            .iter()
            .map(|fault| [fault.code.as_str(), &fault.message].join(" ").trim().to_owned())
            .collect::<Vec<_>>()
            .join("; "),
        Err(_) => String::from_utf8_lossy(&text).trim().to_owned(),
    };
    words
        .chars()
        .take(MAX_REASON_CHARS)
        .flat_map(char::escape_debug)
        .collect()
}

/// Counts tries and waits between them: twice as long from time to time, and not exactly, so that many clients of one
/// registry do not come back together.
pub(super) struct Tries {
    patience: Patience,
    failed: u32,
}

impl Tries {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, failed: 0 }
    }

    /// Something came of the last try.
    pub(super) fn succeeded(&mut self) {
        self.failed = 0;
    }

    /// Waits, and says whether to try again. `after` is what the registry asked for.
    pub(super) fn pause(&mut self, error: &PullError, after: Option<Duration>) -> bool {
        self.failed += 1;
        if self.failed >= self.patience.attempts {
            return false;
        }
        let doubled = self.patience.pause * (1 << (self.failed - 1).min(5));
        let random = RandomState::new().build_hasher().finish() % 1000;
        let jittered = doubled.mul_f64(0.75 + random as f64 / 2000.0);
        let pause = after.map_or(jittered, |after| after.max(jittered));
        tracing::info!("{error}; trying again in {:.1} s", pause.as_secs_f64());
        thread::sleep(pause);
        true
    }
}
