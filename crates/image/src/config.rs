//! The OCI image configuration (image-spec, config.md; Docker's is the same with more fields): what Isopod takes
//! from it, and what is refused.
//!
//! Docker's health check is among what is taken. Fields that say nothing about how to run the image (history, labels,
//! author) are not read; the store keeps the document as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use isopod_spec::appc::{PodManifestErrors, read_image_manifest};
use isopod_spec::{Architecture, HealthCheck, HealthTest, ImagePort, MountPoint, RunConfig, VolumeName};
use serde::Deserialize;

use crate::digest::Digest;
use crate::null::or_empty;

/// An image's configuration, as far as it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    /// How to run it.
    pub run: RunConfig,
    /// The processor architecture, as Go names it (`amd64`).
    pub architecture: String,
    /// The operating system (`linux`).
    pub os: String,
    /// When it was built, as RFC 3339 has it.
    pub created: Option<String>,
    /// The digests of the uncompressed layers, the lowest first.
    pub diff_ids: Vec<Digest>,
    /// Entries of its environment that are no variables, `NAME=VALUE`, and left out.
    pub odd_env: Vec<String>,
}

/// Why an image configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not an image configuration.
    #[error("it is not an OCI image configuration")]
    Parse(#[source] serde_json::Error),
    /// A field has a value that it may not.
    #[error("invalid `{field}` `{value}`: {reason}")]
    Field {
        /// The field, as the specification names it.
        field: &'static str,
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The manifest of an ACI cannot be used.
    #[error("its appc manifest cannot be used")]
    Manifest(#[source] PodManifestErrors),
    /// It does not say for which platform the image is.
    #[error("it has no `{0}`, so the image's platform is unknown")]
    NoPlatform(&'static str),
    /// The image is for another platform.
    #[error("the image is for `{os}/{architecture}`, and not for `linux/{wanted}`")]
    Platform {
        /// The image's operating system.
        os: String,
        /// The image's architecture.
        architecture: String,
        /// The one that is wanted.
        wanted: Architecture,
    },
}

#[derive(Deserialize)]
struct Document {
    #[serde(default, deserialize_with = "or_empty")]
    architecture: String,
    #[serde(default, deserialize_with = "or_empty")]
    os: String,
    created: Option<String>,
    config: Option<Execution>,
    #[serde(deserialize_with = "or_empty")]
    rootfs: Rootfs,
    /// Where an ACI came from: its manifest says how to run it.
    #[serde(rename = "aciManifest")]
    aci_manifest: Option<String>,
}

#[derive(Default, Deserialize)]
struct Rootfs {
    #[serde(deserialize_with = "or_empty")]
    diff_ids: Vec<Digest>,
}

/// Every field may be missing or null.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Execution {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    healthcheck: Option<Healthcheck>,
    shell: Option<Vec<String>>,
    exposed_ports: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

/// Docker's `HealthConfig` (Docker Image Specification 1.2): times are in nanoseconds, and 0 is the default.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Healthcheck {
    test: Option<Vec<String>>,
    interval: Option<i64>,
    timeout: Option<i64>,
    start_period: Option<i64>,
    start_interval: Option<i64>,
    retries: Option<i64>,
}

impl ImageConfig {
    /// Reads an image configuration.
    ///
    /// # Errors
    /// [`ConfigError`] when it is none, or has a value that would have to be guessed at.
    pub fn read(document: &[u8]) -> Result<Self, ConfigError> {
        let document: Document = serde_json::from_slice(document).map_err(ConfigError::Parse)?;
        let mut config = document.config.unwrap_or_default();
        let env = config.env.take().unwrap_or_default();
        let (env, odd_env) = env.into_iter().partition(|entry| is_variable(entry));
        config.env = Some(env);
        let run = match document.aci_manifest {
            Some(manifest) => aci_run_config(&manifest)?,
            None => run_config(config)?,
        };
        Ok(Self {
            run,
            architecture: document.architecture,
            os: document.os,
            created: document.created,
            diff_ids: document.rootfs.diff_ids,
            odd_env,
        })
    }

    /// Checks that the image is for that processor.
    ///
    /// # Errors
    /// [`ConfigError::Platform`] when it is not, [`ConfigError::NoPlatform`] when it does not say.
    pub fn check_platform(&self, wanted: Architecture) -> Result<(), ConfigError> {
        let given = [("architecture", &self.architecture), ("os", &self.os)];
        if let Some((field, _)) = given.into_iter().find(|(_, value)| value.is_empty()) {
            return Err(ConfigError::NoPlatform(field));
        }
        if self.os == "linux" && self.architecture == wanted.name() {
            return Ok(());
        }
        Err(ConfigError::Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            wanted,
        })
    }
}

/// How an ACI's manifest says that it is to be run.
fn aci_run_config(manifest: &str) -> Result<RunConfig, ConfigError> {
    let manifest = read_image_manifest(manifest, "manifest").map_err(ConfigError::Manifest)?;
    Ok(RunConfig {
        image_name: Some(manifest.name),
        ..manifest.run.unwrap_or_default()
    })
}

/// Refuses a NUL: no argument, variable or path can hold one.
fn check_nul(config: &Execution) -> Result<(), ConfigError> {
    let one = |text: &Option<String>| text.iter().cloned().collect::<Vec<_>>();
    let many = |texts: &Option<Vec<String>>| texts.clone().unwrap_or_default();
    let fields = [
        ("User", one(&config.user)),
        ("Env", many(&config.env)),
        ("Entrypoint", many(&config.entrypoint)),
        ("Cmd", many(&config.cmd)),
        (
            "Volumes",
            config.volumes.iter().flat_map(BTreeMap::keys).cloned().collect(),
        ),
        ("WorkingDir", one(&config.working_dir)),
        ("StopSignal", one(&config.stop_signal)),
    ];
    for (field, values) in fields {
        if let Some(value) = values.into_iter().find(|value| value.contains('\0')) {
            let value = value.escape_debug().to_string();
            return Err(ConfigError::Field {
                field,
                value,
                reason: "it must not contain NUL",
            });
        }
    }
    Ok(())
}

/// A port of `ExposedPorts`: `80`, `80/tcp` or a range, `8000-8009/udp`. They inform, so one that is not one is left out.
fn exposed_port((text, _): (&String, &serde::de::IgnoredAny)) -> Option<ImagePort> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let number = |text: &str| text.parse::<u16>().ok().filter(|number| *number > 0);
    let (first, last) = (number(first)?, number(last)?);
    Some(ImagePort {
        name: format!("{numbers}-{protocol}"),
        protocol: protocol.to_owned(),
        first,
        count: last.checked_sub(first)?.checked_add(1)?,
    })
}

fn run_config(config: Execution) -> Result<RunConfig, ConfigError> {
    check_nul(&config)?;
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    let user = text(config.user);
    let (user, group) = match user
        .as_deref()
        .map(|user| user.split_once(':').unwrap_or((user, "")))
    {
        None => (None, None),
        Some((user, group)) => (text(Some(user.to_owned())), text(Some(group.to_owned()))),
    };
    Ok(RunConfig {
        ports: config
            .exposed_ports
            .iter()
            .flatten()
            .filter_map(exposed_port)
            .collect(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        cmd: config.cmd.unwrap_or_default(),
        env: config
            .env
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| entry.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        user,
        group,
        working_dir: text(config.working_dir).map(|dir| normalize(&dir)),
        mount_points: mount_points(config.volumes.unwrap_or_default().into_keys())?,
        stop_signal: text(config.stop_signal),
        health_check: health_check(config.healthcheck.unwrap_or_default(), config.shell)?,
        ..RunConfig::default()
    })
}

fn health_check(check: Healthcheck, shell: Option<Vec<String>>) -> Result<HealthCheck, ConfigError> {
    let invalid = |value: &str, reason| ConfigError::Field {
        field: "Healthcheck",
        value: value.escape_debug().to_string(),
        reason,
    };
    let words = check.test.unwrap_or_default();
    if let Some(word) = words.iter().find(|word| word.contains('\0')) {
        return Err(invalid(word, "it must not contain NUL"));
    }
    let test = match words.split_first().map(|(form, rest)| (form.as_str(), rest)) {
        None | Some(("", [])) => None,
        Some(("NONE", _)) => Some(HealthTest::Nothing),
        Some(("CMD", [program, ..])) if !program.is_empty() => Some(HealthTest::Command(words[1..].to_vec())),
        Some(("CMD-SHELL", [line])) => {
            let shell = shell.filter(|shell| !shell.is_empty());
            let mut argv = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            argv.push(line.clone());
            Some(HealthTest::Command(argv))
        }
        Some((form, _)) => {
            return Err(invalid(
                form,
                "it must be `NONE`, `CMD` with a program or `CMD-SHELL` with a line",
            ));
        }
    };
    let time = |nanoseconds: Option<i64>| {
        let nanoseconds = nanoseconds.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
        // Docker takes no less either.
        nanoseconds.map(|n| Duration::from_nanos(n).max(Duration::from_millis(1)))
    };
    Ok(HealthCheck {
        test,
        interval: time(check.interval),
        timeout: time(check.timeout),
        start_period: time(check.start_period),
        start_interval: time(check.start_interval),
        retries: check
            .retries
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0),
    })
}

/// Whether an entry of the environment is `NAME=VALUE`.
fn is_variable(entry: &str) -> bool {
    entry.find('=').is_some_and(|at| at > 0)
}

/// As much is left of a volume's name where a number follows it, in bytes.
const MAX_NUMBERED_BYTES: usize = 240;

/// The mount points for `Volumes`, sorted by path, each with a name of its own: `volume-` and the path, and a number behind
/// it when `/a/b` and `/a-b` are both there.
fn mount_points(paths: impl Iterator<Item = String>) -> Result<Vec<MountPoint>, ConfigError> {
    let mut paths: Vec<PathBuf> = paths
        .map(|path| match normalize(&path) {
            normal if normal.as_os_str() == "/" => {
                let value = path.escape_debug().to_string();
                Err(ConfigError::Field {
                    field: "Volumes",
                    value,
                    reason: "a volume cannot be the root",
                })
            }
            normal => Ok(normal),
        })
        .collect::<Result<_, _>>()?;
    paths.sort();
    paths.dedup();
    let (mut taken, mut numbers) = (BTreeSet::new(), BTreeMap::new());
    let point = |path: PathBuf| {
        let nearest = |name: &str| VolumeName::nearest(name).expect("`volume` is a name");
        let mut name = nearest(&format!("volume-{}", path.display()));
        let short = name.as_str()[..name.as_str().len().min(MAX_NUMBERED_BYTES)].to_owned();
        while !taken.insert(name.clone()) {
            let number = numbers.entry(short.clone()).or_insert(1_u32);
            *number += 1;
            name = nearest(&format!("{short}-{number}"));
        }
        MountPoint {
            name,
            path,
            read_only: false,
        }
    };
    Ok(paths.into_iter().map(point).collect())
}

/// An absolute path without `.`, `..` and duplicate slashes, as Docker makes it (`filepath.Clean`).
fn normalize(path: &str) -> PathBuf {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str) -> Result<ImageConfig, ConfigError> {
        ImageConfig::read(
            format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},{config}}}"#)
                .as_bytes(),
        )
    }

    #[test]
    fn every_field_is_taken_over() {
        let config = read(
            r#""config":{"User":"www:data","Env":["PATH=/bin","A=b=c","E="],"Entrypoint":["/init"],"Cmd":["a","b"],
                "WorkingDir":"srv/","StopSignal":"SIGQUIT","Volumes":{"/var/lib/x":{},"/a/b":{},"/a-b":{},"/a/b/":{}},
                "Labels":{"x":"y"},"ExposedPorts":{"80-81/tcp":{},"53/udp":{},"odd":{},"0/tcp":{},"9-8/tcp":{}}}"#,
        );
        let run = config.unwrap().run;
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let ports = run.ports.iter().map(|port| (&*port.name, port.first, port.count));
        assert_eq!(
            ports.collect::<Vec<_>>(),
            [("53-udp", 53, 1), ("80-81-tcp", 80, 2)]
        );
        assert_eq!(run.env, [pair("PATH", "/bin"), pair("A", "b=c"), pair("E", "")]);
        assert_eq!(
            (run.user.as_deref(), run.group.as_deref()),
            (Some("www"), Some("data"))
        );
        assert_eq!(
            (run.entrypoint, run.cmd),
            (vec!["/init".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(run.working_dir, Some("/srv".into()));
        assert_eq!(run.stop_signal.as_deref(), Some("SIGQUIT"));
        let points: Vec<_> = run
            .mount_points
            .iter()
            .map(|p| (p.name.as_str(), p.path.to_str().unwrap()))
            .collect();
        assert_eq!(
            points,
            [
                ("volume-a-b", "/a/b"),
                ("volume-a-b-2", "/a-b"),
                ("volume-var-lib-x", "/var/lib/x")
            ]
        );
    }

    #[test]
    fn empty_missing_and_null_are_the_same() {
        let nulls = r#""config":{"User":"","Env":null,"Entrypoint":null,"Cmd":null,"Volumes":null,"WorkingDir":"",
            "StopSignal":null}"#;
        for config in [nulls, r#""config":{}"#, r#""config":null"#, r#""author":"x""#] {
            assert_eq!(read(config).unwrap().run, RunConfig::default());
        }
    }

    #[test]
    fn what_is_no_variable_is_left_out() {
        let config = read(r#""config":{"Env":["X","A=b","","=y","C="]}"#).unwrap();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(config.run.env, [pair("A", "b"), pair("C", "")]);
        assert_eq!(config.odd_env, ["X", "", "=y"]);
    }

    #[test]
    fn lists_that_are_null_are_empty_and_a_platform_must_be_said() {
        let message = |platform: &str| {
            let text = format!(r#"{{{platform}"rootfs":{{"type":"layers","diff_ids":null}}}}"#);
            let config = ImageConfig::read(text.as_bytes()).unwrap();
            assert_eq!(config.diff_ids, []);
            config.check_platform(Architecture::HOST).unwrap_err().to_string()
        };
        let unsaid = |field: &str| format!("it has no `{field}`, so the image's platform is unknown");
        assert_eq!(message(""), unsaid("architecture"));
        assert_eq!(message(r#""architecture":"","os":"","#), unsaid("architecture"));
        assert_eq!(message(r#""architecture":"amd64","os":null,"#), unsaid("os"));
    }

    #[test]
    fn dockers_health_check_is_read() {
        let check =
            |check: &str| read(&format!(r#""config":{{{check}}}"#)).map(|config| config.run.health_check);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let whole = check(
            r#""Healthcheck":{"Test":["CMD-SHELL","wget x || exit 1"],"Interval":5000000000,"Timeout":1,"Retries":2}"#,
        );
        let expected = HealthCheck {
            test: Some(HealthTest::Command(words(&["/bin/sh", "-c", "wget x || exit 1"]))),
            interval: Some(Duration::from_secs(5)),
            timeout: Some(Duration::from_millis(1)),
            retries: Some(2),
            ..HealthCheck::default()
        };
        assert_eq!(whole.unwrap(), expected);
        let test = |text: &str| check(text).unwrap().test;
        let direct = HealthTest::Command(words(&["/check", "-q"]));
        assert_eq!(
            test(r#""Healthcheck":{"Test":["CMD","/check","-q"]}"#),
            Some(direct)
        );
        assert_eq!(
            test(r#""Healthcheck":{"Test":["NONE"]}"#),
            Some(HealthTest::Nothing)
        );
        assert_eq!(
            test(r#""Healthcheck":{"Test":null,"Interval":-1,"Retries":0}"#),
            None
        );
        let bash = HealthTest::Command(words(&["/bin/bash", "-ec", "x"]));
        assert_eq!(
            test(r#""Shell":["/bin/bash","-ec"],"Healthcheck":{"Test":["CMD-SHELL","x"]}"#),
            Some(bash)
        );
        for broken in [r#"["CMD"]"#, r#"["RUN","x"]"#, r#"["CMD","a\u0000"]"#] {
            assert!(
                check(&format!(r#""Healthcheck":{{"Test":{broken}}}"#)).is_err(),
                "{broken}"
            );
        }
    }

    #[test]
    fn refuses_what_would_have_to_be_guessed() {
        let message = |config: &str| read(config).unwrap_err().to_string();
        assert_eq!(
            message(r#""config":{"Volumes":{"/..":{}}}"#),
            "invalid `Volumes` `/..`: a volume cannot be the root"
        );
        assert_eq!(
            message(r#""config":{"Cmd":"x"}"#),
            "it is not an OCI image configuration"
        );
    }

    #[test]
    fn long_volume_paths_keep_names_of_their_own() {
        let long = "x".repeat(300);
        let config = read(&format!(
            r#""config":{{"Volumes":{{"/{long}/a":{{}},"/{long}/b":{{}}}}}}"#
        ))
        .unwrap();
        let names: Vec<_> = config
            .run
            .mount_points
            .iter()
            .map(|point| point.name.as_str())
            .collect();
        assert_ne!(names[0], names[1]);
    }

    /// Each was once compared with all before it, as often as there were others with its name.
    #[test]
    fn very_many_volumes_have_names_of_their_own_in_time() {
        let long = "x".repeat(300);
        let paths = (0..30_000u32).map(|n| {
            // All the same for a name, or as far as a name goes.
            let odd: String = (0..16)
                .map(|bit| if n >> bit & 1 == 0 { '+' } else { '=' })
                .collect();
            format!(r#""/{}{odd}b":{{}}"#, if n % 2 == 0 { "a" } else { &long })
        });
        let paths: Vec<_> = paths.collect();
        let begun = std::time::Instant::now();
        let config = read(&format!(r#""config":{{"Volumes":{{{}}}}}"#, paths.join(","))).unwrap();
        let points = &config.run.mount_points;
        let names: BTreeSet<_> = points.iter().map(|point| &point.name).collect();
        assert_eq!((points.len(), names.len()), (30_000, 30_000));
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }

    #[test]
    fn refuses_other_platforms() {
        let mut config = read(r#""config":{}"#).unwrap();
        config.architecture = Architecture::HOST.name().to_owned();
        assert!(config.check_platform(Architecture::HOST).is_ok());
        config.os = "windows".to_owned();
        let error = config.check_platform(Architecture::HOST).unwrap_err().to_string();
        assert!(error.starts_with("the image is for `windows/"), "{error}");
    }
}
