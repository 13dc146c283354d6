//! From a full name to the manifest that some endpoint has under it, and from a digest to a file.
//!
//! A download goes to a file that may have its beginning already: from an earlier process, or because the connection
//! broke. What is there is hashed and the rest asked for (`Range`, RFC 9110, 14.2), which every registry may refuse by
//! sending the whole. A file whose content turns out wrong is emptied, and when its beginning was an older process',
//! begun again once.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use isopod_spec::RegistryReference;
use ureq::Body;
use ureq::http::Response;

use super::agent::Security;
use super::client::{Client, Tries};
use super::conf::Endpoint;
use super::error::speaks_no_tls;
use super::{Progress, PullError, Registries};
use crate::digest::{Digest, Hasher};

/// As much is read and written at a time, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// How often a download is continued, though enough came of every try.
const MAX_CONTINUED: u32 = 1000;

/// What may be under a name.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                              application/vnd.docker.distribution.manifest.list.v2+json, \
                              application/vnd.docker.distribution.manifest.v2+json";

/// An image in a registry, its manifest or index read.
pub(crate) struct Remote {
    client: Client,
    /// The media type that the registry says it has.
    pub(crate) media_type: String,
    pub(crate) document: Vec<u8>,
    pub(crate) digest: Digest,
}

/// Says to several downloads that one has failed.
#[derive(Default)]
pub(crate) struct Stop(AtomicBool);

impl Stop {
    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Remote {
    /// Asks for the image `reference`, a full name: its mirrors first, then its registry. Documents of more than
    /// `max` bytes are refused.
    pub(crate) fn open(
        registries: &Registries,
        reference: &RegistryReference,
        max: u64,
    ) -> Result<Self, PullError> {
        let mut endpoints = registries.conf()?.endpoints(reference)?.into_iter().peekable();
        while let Some(endpoint) = endpoints.next() {
            match at(registries, reference, &endpoint, max) {
                Err(error) if endpoints.peek().is_some() && error.is_about_one_registry() => {
                    tracing::info!("mirror `{}`: {error}", endpoint.host);
                }
                result => return result,
            }
        }
        unreachable!("a registry is an endpoint of itself")
    }

    /// A document of the image: a manifest by its digest.
    pub(crate) fn manifest(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, PullError> {
        if *digest == self.digest {
            return Ok(self.document.clone());
        }
        let accept = [("Accept", MANIFEST_TYPES.to_owned())];
        checked(&self.client, &format!("manifests/{digest}"), &accept, digest, max)
    }

    /// A document of the image: a small blob.
    pub(crate) fn config(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, PullError> {
        checked(&self.client, &format!("blobs/{digest}"), &[], digest, max)
    }
}

/// Asks one endpoint. A registry on the loopback interface may speak plain HTTP, as with docker; one that is insecure
/// may be anybody, with TLS or without.
fn at(
    registries: &Registries,
    reference: &RegistryReference,
    endpoint: &Endpoint,
    max: u64,
) -> Result<Remote, PullError> {
    let ways = ways(endpoint);
    for (i, way) in ways.iter().enumerate() {
        let mut client = Client::new(endpoint, *way, &registries.settings)?;
        let is_last = i + 1 == ways.len();
        if !is_last {
            client = client.with_attempts(1);
        }
        match ask(client, reference, max) {
            Err(PullError::Request { source, .. }) if !is_last && speaks_no_tls(&source) => {}
            // It may only have been a busy moment, for which there was no patience.
            Err(error) if !is_last && error.is_silence() => {
                return ask(Client::new(endpoint, *way, &registries.settings)?, reference, max);
            }
            Ok(mut remote) => {
                remote.client.patience = registries.settings.patience;
                return Ok(remote);
            }
            Err(error) => return Err(error),
        }
    }
    unreachable!("the last way is taken")
}

/// How an endpoint may be spoken to, the preferred way first.
pub(super) fn ways(endpoint: &Endpoint) -> &'static [Security] {
    match (endpoint.insecure, is_loopback(&endpoint.host)) {
        (true, _) => &[Security::Unverified, Security::None],
        (false, true) => &[Security::Verified, Security::None],
        (false, false) => &[Security::Verified],
    }
}

fn is_loopback(host: &str) -> bool {
    let (name, _) = host.rsplit_once(':').unwrap_or((host, ""));
    let name = if host.ends_with(']') { host } else { name };
    let address = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn ask(client: Client, reference: &RegistryReference, max: u64) -> Result<Remote, PullError> {
    let path = format!("manifests/{}", reference.version());
    let (document, response) = read(&client, &path, &[("Accept", MANIFEST_TYPES.to_owned())], max)?;
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    let media_type = header("content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
    let digest = Digest::of(&document);
    let claimed = header("docker-content-digest").and_then(|text| Digest::new(text).ok());
    let expected = match &reference.digest {
        Some(asked) => Digest::new(asked).ok(),
        None => claimed,
    };
    match expected.filter(|expected| *expected != digest) {
        Some(expected) => Err(PullError::Digest {
            url: client.url(&path),
            expected,
            actual: digest,
        }),
        None => Ok(Remote {
            client,
            media_type,
            document,
            digest,
        }),
    }
}

/// Reads a document whose digest is known.
fn checked(
    client: &Client,
    path: &str,
    headers: &[(&str, String)],
    expected: &Digest,
    max: u64,
) -> Result<Vec<u8>, PullError> {
    let (document, _) = read(client, path, headers, max)?;
    let actual = Digest::of(&document);
    match actual == *expected {
        true => Ok(document),
        false => Err(PullError::Digest {
            url: client.url(path),
            expected: *expected,
            actual,
        }),
    }
}

/// Reads a document to its end, from the beginning again when the connection breaks.
fn read(
    client: &Client,
    path: &str,
    headers: &[(&str, String)],
    max: u64,
) -> Result<(Vec<u8>, Response<()>), PullError> {
    let mut tries = Tries::new(client.patience);
    loop {
        let (parts, body) = client.get(path, headers)?.into_parts();
        let mut document = Vec::new();
        let url = client.url(path);
        match body.into_reader().take(max + 1).read_to_end(&mut document) {
            Ok(read) if read as u64 > max => return Err(PullError::TooLarge { url, max }),
            Ok(_) => return Ok((document, Response::from_parts(parts, ()))),
            Err(source) => {
                let error = PullError::Body { url, source };
                if !tries.pause(&error, None) {
                    return Err(error);
                }
            }
        }
    }
}

/// Downloads the blob `digest` of `size` bytes into `file`, which may have its beginning.
pub(crate) fn download(
    remote: &Remote,
    (digest, size): (Digest, u64),
    file: &mut File,
    progress: Option<&dyn Progress>,
    stop: &Stop,
) -> Result<(), PullError> {
    let mut download = Download {
        client: &remote.client,
        path: format!("blobs/{digest}"),
        digest,
        size,
        file,
        have: 0,
        hasher: Hasher::default(),
        progress,
        stop,
    };
    let result = download.run();
    if let Some(progress) = progress {
        progress.end(&digest);
    }
    result
}

struct Download<'a> {
    client: &'a Client,
    path: String,
    digest: Digest,
    size: u64,
    file: &'a mut File,
    /// How many bytes the file has, and `hasher` has seen.
    have: u64,
    hasher: Hasher,
    progress: Option<&'a dyn Progress>,
    stop: &'a Stop,
}

impl Download<'_> {
    fn run(&mut self) -> Result<(), PullError> {
        let mut inherited = self.take_over().map_err(PullError::Write)?;
        loop {
            self.fetch()?;
            let actual = std::mem::take(&mut self.hasher).finish();
            if actual == self.digest {
                return Ok(());
            }
            self.restart().map_err(PullError::Write)?;
            if !std::mem::take(&mut inherited) {
                return Err(PullError::Digest {
                    url: self.client.url(&self.path),
                    expected: self.digest,
                    actual,
                });
            }
        }
    }

    /// Hashes what the file has. Whether that is anything.
    fn take_over(&mut self) -> io::Result<bool> {
        let length = self.file.metadata()?.len();
        if length > self.size {
            self.restart()?;
            return Ok(false);
        }
        self.file.seek(SeekFrom::Start(0))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match self.file.read(&mut chunk)? {
                0 => return Ok(self.have > 0),
                n => self.add(&chunk[..n]),
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.have += bytes.len() as u64;
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.have, self.hasher) = (0, Hasher::default());
        Ok(())
    }

    /// Gets what is missing, with as many requests as it takes.
    fn fetch(&mut self) -> Result<(), PullError> {
        let mut tries = Tries::new(self.client.patience);
        for _ in 0..MAX_CONTINUED {
            if self.have == self.size {
                return Ok(());
            }
            let (before, begin) = (self.have, Instant::now());
            let error = match self.continue_once() {
                Ok(()) => continue,
                Err(error) if error.is_interruption() => error,
                Err(error) => return Err(error),
            };
            // One that brings a byte to every request would otherwise be asked a thousand times.
            let least = self.client.patience.floor as f64 * begin.elapsed().as_secs_f64();
            if self.have > before && (self.have - before) as f64 >= least {
                tries.succeeded();
            }
            if !tries.pause(&error, None) {
                return Err(error);
            }
        }
        Err(PullError::Size {
            url: self.client.url(&self.path),
            expected: self.size,
        })
    }

    /// One request, read until it ends or breaks.
    fn continue_once(&mut self) -> Result<(), PullError> {
        let range: Vec<_> = (self.have > 0)
            .then(|| ("Range", format!("bytes={}-", self.have)))
            .into_iter()
            .collect();
        let response = match self.client.get(&self.path, &range) {
            Err(PullError::Status { status: 416, .. }) if self.have > 0 => {
                return self.restart().map_err(PullError::Write);
            }
            result => result?,
        };
        if self.have > 0 && !is_rest(&response, self.have) {
            self.restart().map_err(PullError::Write)?;
        }
        let url = self.client.url(&self.path);
        let mut body = response.into_body().into_reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if self.stop.is_stopped() {
                return Err(PullError::Stopped);
            }
            let cut = |source| PullError::Body {
                url: url.clone(),
                source,
            };
            let n = body.read(&mut chunk).map_err(cut)?;
            if n == 0 {
                return match self.have == self.size {
                    true => Ok(()),
                    false => Err(cut(io::ErrorKind::UnexpectedEof.into())),
                };
            }
            if self.have + n as u64 > self.size {
                self.restart().map_err(PullError::Write)?;
                let expected = self.size;
                return Err(PullError::Size { url, expected });
            }
            self.file.write_all(&chunk[..n]).map_err(PullError::Write)?;
            self.add(&chunk[..n]);
            if let Some(progress) = self.progress {
                progress.at(&self.digest, self.have, self.size);
            }
        }
    }
}

/// Whether `response` begins at `from`.
fn is_rest(response: &Response<Body>, from: u64) -> bool {
    let range = response
        .headers()
        .get("content-range")
        .and_then(|range| range.to_str().ok());
    response.status() == 206 && range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.1.2.3",
            "[::1]:5000",
            "[::1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example.com",
            "10.0.0.1:5000",
            "example.com:443",
            "[fe80::1]:5000",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
