//! Credentials for registries: containers-auth.json(5) and docker's `config.json`, which are one format, and the
//! credential helpers that both can name.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use isopod_spec::reference::DOCKER_HUB;
use serde::Deserialize;

use super::PullError;
use super::conf::read_file;
use crate::null::or_empty;

/// How docker names its hub in `config.json`.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name that says that the secret is an identity token (docker-credential-helpers).
const TOKEN_USER: &str = "<token>";

/// What opens a registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// A user name and a password.
    Password(String, String),
    /// A token that a token server changes for another.
    Identity(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthFile {
    #[serde(deserialize_with = "or_empty")]
    auths: BTreeMap<String, Option<Auth>>,
    creds_store: Option<String>,
    #[serde(deserialize_with = "or_empty")]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase", default)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// The credentials for `name` (`HOST[:PORT]/REPOSITORY`) in the first of `files` that has some.
pub(super) fn find(
    name: &str,
    files: &[PathBuf],
    search_path: &[PathBuf],
) -> Result<Option<Credentials>, PullError> {
    for path in files {
        let Some(text) = read_file(path)?.filter(|text| !text.trim().is_empty()) else {
            continue;
        };
        let file: AuthFile = serde_json::from_str(&text).map_err(|source| PullError::Credentials {
            path: path.clone(),
            source,
        })?;
        if let Some(found) = in_file(name, &file, path, search_path)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn in_file(
    name: &str,
    file: &AuthFile,
    path: &Path,
    search_path: &[PathBuf],
) -> Result<Option<Credentials>, PullError> {
    let host = name.split('/').next().unwrap_or(name);
    let server = if host == DOCKER_HUB { DOCKER_HUB_KEY } else { host };
    let helper = [host, server]
        .iter()
        .find_map(|key| Some((file.cred_helpers.get(*key)?, *key)));
    if let Some((helper, key)) = helper {
        return ask_helper(helper, key, search_path);
    }
    if let Some(store) = file.creds_store.as_ref().filter(|store| !store.is_empty())
        && let Some(found) = ask_helper(store, server, search_path)?
    {
        return Ok(Some(found));
    }
    // The most specific first: `host/team/web`, `host/team`, `host`.
    let mut key = name;
    loop {
        let auth = file.auths.iter().find(|(other, _)| normal(other) == key);
        let auth = auth.and_then(|(_, auth)| auth.as_ref());
        if let Some(found) = auth.and_then(|auth| read_auth(auth).transpose()) {
            return found.map(Some).map_err(|reason| PullError::Secret {
                path: path.to_owned(),
                key: key.to_owned(),
                reason,
            });
        }
        match key.rfind('/') {
            Some(slash) => key = &key[..slash],
            None => return Ok(None),
        }
    }
}

/// A key as it is compared: docker's have a scheme and a version, and its hub's a host of its own.
pub(super) fn normal(key: &str) -> &str {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let bare = match bare {
        Some(url) => url.split('/').next().unwrap_or(url),
        None => key,
    };
    match bare {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        bare => bare,
    }
}

fn read_auth(auth: &Auth) -> Result<Option<Credentials>, &'static str> {
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(token) = some(&auth.identitytoken) {
        return Ok(Some(Credentials::Identity(token)));
    }
    if let (Some(user), Some(password)) = (some(&auth.username), some(&auth.password)) {
        return Ok(Some(Credentials::Password(user, password)));
    }
    let Some(encoded) = some(&auth.auth) else {
        return Ok(None);
    };
    let encoded = encoded.trim().trim_end_matches('=');
    let decoded = STANDARD_NO_PAD
        .decode(encoded)
        .map_err(|_| "`auth` is not base64")?;
    let decoded = String::from_utf8(decoded).map_err(|_| "`auth` is not UTF-8")?;
    let (user, password) = decoded.split_once(':').ok_or("`auth` has no colon in it")?;
    // Docker wrote a NUL at the end once.
    let password = password.trim_end_matches('\0');
    Ok(Some(Credentials::Password(user.to_owned(), password.to_owned())))
}

/// The value of the header `Authorization` for a user name and a password (RFC 7617).
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Asks `docker-credential-HELPER`, whose protocol is docker-credential-helpers'. One that is not there knows nothing, as
/// for docker: a `config.json` of another host stops no public image.
fn ask_helper(helper: &str, server: &str, search_path: &[PathBuf]) -> Result<Option<Credentials>, PullError> {
    let failed = |reason: String| PullError::Helper {
        helper: helper.escape_debug().to_string(),
        reason,
    };
    if helper.contains('/') {
        return Err(failed("its name has a slash in it".to_owned()));
    }
    let program = search_path
        .iter()
        .map(|dir| dir.join(format!("docker-credential-{helper}")))
        .find(|path| path.is_file());
    let Some(program) = program else {
        tracing::warn!(
            "credential helper `docker-credential-{helper}` for `{server}` is not in the search path: it is not asked"
        );
        return Ok(None);
    };
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read has ended, and says why.
        let _ = writeln!(stdin, "{server}");
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
            .trim()
            .to_owned();
        return match words.contains("credentials not found") {
            true => Ok(None),
            false => Err(failed(format!("{}: {}", output.status, words.escape_debug()))),
        };
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&output.stdout).map_err(|_| failed("its answer is not JSON".to_owned()))?;
    Ok(match answer.username.as_str() {
        "" => None,
        TOKEN_USER => Some(Credentials::Identity(answer.secret)),
        _ => Some(Credentials::Password(answer.username, answer.secret)),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn user(found: Option<Credentials>) -> Option<String> {
        found.map(|found| match found {
            Credentials::Password(user, password) => format!("{user}/{password}"),
            Credentials::Identity(token) => format!("<{token}>"),
        })
    }

    #[test]
    fn the_most_specific_entry_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("auth.json"), dir.path().join("config.json"));
        let entry = |user: &str| format!("{{\"auth\":\"{}\"}}", STANDARD.encode(format!("{user}:p:w")));
        let text = format!(
            "{{\"auths\":{{\"a.b\":{},\"a.b/team\":{},\"a.b:5000\":{},\"bad.net\":{{\"auth\":\"!\"}},\"empty.net\":{{}}}}}}",
            entry("host"),
            entry("team"),
            entry("port")
        );
        fs::write(&one, text).unwrap();
        let text = format!(
            "{{\"auths\":{{\"https://index.docker.io/v1/\":{},\"https://a.b\":{{\"identitytoken\":\"t\"}}, \
             \"x.net\":{{\"identitytoken\":\"t\"}}}}}}",
            entry("hub")
        );
        fs::write(&two, text).unwrap();
        let files = [dir.path().join("none"), one, two];
        let find = |name: &str| find(name, &files, &[]);
        for (name, expected) in [
            ("a.b/web", Some("host/p:w")),
            ("a.b/team/web", Some("team/p:w")),
            ("a.b/teams/web", Some("host/p:w")),
            ("a.b:5000/x", Some("port/p:w")),
            ("docker.io/library/alpine", Some("hub/p:w")),
            ("x.net/y", Some("<t>")),
            ("empty.net/y", None),
            ("other.net/y", None),
        ] {
            assert_eq!(user(find(name).unwrap()).as_deref(), expected, "{name}");
        }
        assert!(find("bad.net/y").unwrap_err().to_string().contains("not base64"));
    }

    #[test]
    fn null_is_empty_and_a_store_that_is_not_there_leaves_what_is_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.json");
        let find = |text: &str| {
            fs::write(&config, text).unwrap();
            user(find("a.b/x", std::slice::from_ref(&config), &[]).unwrap())
        };
        assert_eq!(find(r#"{"auths":null,"credHelpers":null}"#), None);
        assert_eq!(find(r#"{"auths":{"a.b":null}}"#), None);
        let auths = r#"{"credsStore":"desktop","auths":{"a.b":{"username":"u","password":"p"}}}"#;
        assert_eq!(find(auths).as_deref(), Some("u/p"));
    }

    #[test]
    fn helpers_are_asked() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.json");
        fs::write(
            &config,
            "{\"credsStore\":\"all\",\"credHelpers\":{\"one.net\":\"one\",\"no.net\":\"none\"}}",
        )
        .unwrap();
        let helper = |name: &str, script: &str| {
            let path = dir.path().join(format!("docker-credential-{name}"));
            fs::write(&path, format!("#!/bin/sh\nread server\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        helper(
            "one",
            "echo '{\"ServerURL\":\"x\",\"Username\":\"u\",\"Secret\":\"'$server'\"}'",
        );
        helper("all", "echo 'credentials not found in native keychain'; exit 1");
        let path = [dir.path().to_owned()];
        let files = [config];
        let find = |name: &str| find(name, &files, &path);
        assert_eq!(user(find("one.net/x").unwrap()).as_deref(), Some("u/one.net"));
        assert_eq!(find("other.net/x").unwrap(), None);
        assert_eq!(find("no.net/x").unwrap(), None, "a helper that is not there");
        helper(
            "all",
            "echo '{\"Username\":\"<token>\",\"Secret\":\"'$server'\"}'",
        );
        assert_eq!(
            user(find("docker.io/x").unwrap()),
            Some(format!("<{DOCKER_HUB_KEY}>"))
        );
        helper("all", "echo broken >&2; exit 3");
        assert!(find("other.net/x").unwrap_err().to_string().contains("broken"));
    }
}
