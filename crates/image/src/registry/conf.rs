//! `registries.conf`, version 2 (containers-registries.conf(5)), as far as pulling needs it: the registries that a
//! short name is looked for in, aliases of short names, and per registry its location, mirrors, and whether it is
//! insecure or blocked.
//!
//! Not read: `credential-helpers` (auth.json names them), `short-name-mode` (nobody is asked; the registries are tried
//! in their order) and what concerns containers/storage.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use isopod_spec::reference::DOCKER_HUB;
use isopod_spec::{ImageReference, RegistryReference};
use serde::Deserialize;

use super::PullError;

/// Where docker's hub answers.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// What the files say together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Conf {
    unqualified_search_registries: Option<Vec<String>>,
    #[serde(default, rename = "registry")]
    registries: Vec<RegistryEntry>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct RegistryEntry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    #[serde(rename = "mirror")]
    mirrors: Vec<Mirror>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
}

/// A place where an image may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `HOST[:PORT]`.
    pub(super) host: String,
    pub(super) repository: String,
    /// The name that credentials are looked up by.
    pub(super) name: String,
    /// Whether certificates are not checked, and plain HTTP will do.
    pub(super) insecure: bool,
}

impl Conf {
    /// Reads the first of `files` that is there, and the `*.conf` in `dirs` over it.
    pub(super) fn read(files: &[PathBuf], dirs: &[PathBuf]) -> Result<Self, PullError> {
        let mut conf = Self::default();
        for path in files {
            if let Some(text) = read_file(path)? {
                conf = Self::parse(path, &text)?;
                break;
            }
        }
        for dir in dirs {
            for path in additions(dir)? {
                if let Some(text) = read_file(&path)? {
                    conf.add(Self::parse(&path, &text)?);
                }
            }
        }
        Ok(conf)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, PullError> {
        let invalid = |reason: String| PullError::Conf {
            path: path.to_owned(),
            reason,
        };
        let text = text.trim_start_matches('\u{feff}');
        let value: toml::Table = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
        if value.contains_key("registries") {
            return Err(invalid(
                "it is version 1 of the format (`[registries]`)".to_owned(),
            ));
        }
        let mut conf: Self = value
            .try_into()
            .map_err(|error: toml::de::Error| invalid(error.to_string()))?;
        for registry in &mut conf.registries {
            if registry.prefix.is_empty() {
                registry.prefix.clone_from(&registry.location);
            }
            if registry.prefix.is_empty() {
                return Err(invalid(
                    "a `[[registry]]` has neither `prefix` nor `location`".to_owned(),
                ));
            }
            for mirror in &registry.mirrors {
                if !["", "all", "digest-only", "tag-only"].contains(&mirror.pull_from_mirror.as_str()) {
                    return Err(invalid(format!(
                        "`pull-from-mirror` is `{}`, not `all`, `digest-only` or `tag-only`",
                        mirror.pull_from_mirror.escape_debug()
                    )));
                }
            }
        }
        Ok(conf)
    }

    /// Lays `other` over this.
    fn add(&mut self, other: Self) {
        if other.unqualified_search_registries.is_some() {
            self.unqualified_search_registries = other.unqualified_search_registries;
        }
        for registry in other.registries {
            self.registries.retain(|old| old.prefix != registry.prefix);
            self.registries.push(registry);
        }
        self.aliases.extend(other.aliases);
    }

    /// The full names that the short name `reference` may mean. An alias is the only one; without any registries to
    /// search, docker's hub is, as with docker.
    pub(super) fn candidates(&self, reference: &RegistryReference) -> Vec<RegistryReference> {
        let alias = self
            .aliases
            .get(&reference.repository)
            .filter(|alias| !alias.is_empty());
        if let Some(ImageReference::Registry(full)) =
            alias.and_then(|alias| ImageReference::parse(alias.as_ref()).ok())
            && !full.is_short()
        {
            return vec![RegistryReference {
                tag: reference.tag.clone().or(full.tag),
                digest: reference.digest.clone().or(full.digest),
                ..full
            }];
        }
        let hub = [DOCKER_HUB.to_owned()];
        let search = self.unqualified_search_registries.as_deref();
        search
            .filter(|registries| !registries.is_empty())
            .unwrap_or(&hub)
            .iter()
            .map(|registry| reference.in_registry(registry))
            .collect()
    }

    /// Where the image `reference`, a full name, is to be asked for, the mirrors first.
    pub(super) fn endpoints(&self, reference: &RegistryReference) -> Result<Vec<Endpoint>, PullError> {
        let name = reference.name();
        let Some((registry, matched)) = self.find(reference) else {
            return Ok(vec![endpoint(&name, false)]);
        };
        if registry.blocked {
            return Err(PullError::Blocked {
                name,
                prefix: registry.prefix.clone(),
            });
        }
        let at = |location: &str, insecure| match location.is_empty() {
            true => endpoint(&name, insecure),
            false => endpoint(
                &format!("{location}{}", &name[matched.min(name.len())..]),
                insecure,
            ),
        };
        let by_digest = reference.digest.is_some();
        let is_meant = |mirror: &&Mirror| match mirror.pull_from_mirror.as_str() {
            "digest-only" => by_digest,
            "tag-only" => !by_digest,
            _ => by_digest || !registry.mirror_by_digest_only,
        };
        let mirrors = registry.mirrors.iter().filter(is_meant);
        let mirrors = mirrors.map(|mirror| at(&mirror.location, mirror.insecure));
        Ok(mirrors
            .chain([at(&registry.location, registry.insecure)])
            .collect())
    }

    /// The registry with the longest prefix that fits, and how much of the name that prefix is, in bytes.
    fn find(&self, reference: &RegistryReference) -> Option<(&RegistryEntry, usize)> {
        let name = format!("{}:{}", reference.name(), reference.version());
        let fits = |registry: &RegistryEntry| -> Option<usize> {
            let prefix = registry.prefix.as_str();
            if let Some(domain) = prefix.strip_prefix('*') {
                let host = name.split('/').next()?;
                let host_only = host.split(':').next()?;
                return [host, host_only]
                    .iter()
                    .find(|host| host.len() > domain.len() && host.ends_with(domain))
                    .map(|host| host.len());
            }
            let rest = name.strip_prefix(prefix)?;
            (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(prefix.len())
        };
        self.registries
            .iter()
            .filter_map(|registry| Some((registry, fits(registry)?)))
            .max_by_key(|(registry, _)| registry.prefix.len())
    }
}

/// The place of `HOST[:PORT]/REPOSITORY`.
fn endpoint(name: &str, insecure: bool) -> Endpoint {
    let (host, repository) = name.split_once('/').unwrap_or((name, ""));
    Endpoint {
        host: match host {
            DOCKER_HUB => DOCKER_HUB_HOST.to_owned(),
            host => host.to_owned(),
        },
        repository: repository.to_owned(),
        name: name.to_owned(),
        insecure,
    }
}

/// The text of a file, `None` where it is not there.
pub(super) fn read_file(path: &Path) -> Result<Option<String>, PullError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(source) => Err(PullError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The `*.conf` in `dir`, sorted.
fn additions(dir: &Path) -> Result<Vec<PathBuf>, PullError> {
    let failed = |source: io::Error| PullError::File {
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Conf {
        Conf::parse(Path::new("registries.conf"), text).unwrap()
    }

    fn name(text: &str) -> RegistryReference {
        match ImageReference::parse(text.as_ref()).unwrap() {
            ImageReference::Registry(reference) => reference,
            other => panic!("{other:?}"),
        }
    }

    fn candidates(conf: &Conf, text: &str) -> Vec<String> {
        conf.candidates(&name(text))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn places(conf: &Conf, text: &str) -> Vec<String> {
        let endpoints = conf.endpoints(&name(text)).unwrap();
        let show = |e: &Endpoint| format!("{}/{}{}", e.host, e.repository, if e.insecure { "!" } else { "" });
        endpoints.iter().map(show).collect()
    }

    #[test]
    fn short_names() {
        let none = Conf::default();
        assert_eq!(candidates(&none, "alpine"), ["docker.io/library/alpine"]);
        assert_eq!(candidates(&none, "team/web:1"), ["docker.io/team/web:1"]);
        let some = conf(
            "unqualified-search-registries = ['quay.io', 'docker.io']\n[aliases]\n'web' = 'ghcr.io/team/web'\n\
             'gone' = ''",
        );
        assert_eq!(candidates(&some, "x:1"), ["quay.io/x:1", "docker.io/library/x:1"]);
        assert_eq!(candidates(&some, "web:2"), ["ghcr.io/team/web:2"]);
        assert_eq!(
            candidates(&some, "gone"),
            ["quay.io/gone", "docker.io/library/gone"]
        );
    }

    #[test]
    fn locations_and_mirrors() {
        assert_eq!(
            places(&Conf::default(), "docker://alpine"),
            ["registry-1.docker.io/library/alpine"]
        );
        let conf = conf(
            "[[registry]]\nprefix = 'example.com/a'\nlocation = 'other.net/b'\ninsecure = true\n\
             [[registry.mirror]]\nlocation = 'mirror.net/c'\n\
             [[registry.mirror]]\nlocation = 'digests.net'\npull-from-mirror = 'digest-only'\n\
             [[registry]]\nlocation = 'example.com'\n\
             [[registry]]\nprefix = '*.test.org'\nlocation = 'all.test'\n\
             [[registry]]\nprefix = 'bad.net'\nblocked = true",
        );
        assert_eq!(
            places(&conf, "example.com/a/x:1"),
            ["mirror.net/c/x", "other.net/b/x!"]
        );
        assert_eq!(places(&conf, "example.com/ab:1"), ["example.com/ab"]);
        let digest = format!("example.com/a@sha256:{}", "0".repeat(64));
        assert_eq!(
            places(&conf, &digest),
            ["mirror.net/c", "digests.net/", "other.net/b!"]
        );
        assert_eq!(places(&conf, "x.test.org/y"), ["all.test/y"]);
        let blocked = conf.endpoints(&name("bad.net/x")).unwrap_err();
        assert!(matches!(blocked, PullError::Blocked { .. }), "{blocked}");
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for (text, reason) in [
            ("[registries.search]\nregistries = []", "version 1"),
            ("[[registry]]\nblocked = true", "neither"),
            (
                "[[registry]]\nlocation = 'a'\n[[registry.mirror]]\npull-from-mirror = 'x'",
                "pull-from-mirror",
            ),
            ("x = ", "expected"),
        ] {
            let error = Conf::parse(Path::new("f"), text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
