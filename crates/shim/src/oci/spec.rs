//! What is taken of a container's `config.json` (OCI runtime-spec, config.md). Fields that nothing here takes are not read, so that a
//! newer engine's do not keep a container from running; what is refused is said by those who translate.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

/// A field for which Go writes `null` where it has nothing.
fn nothing<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec {
    #[serde(deserialize_with = "nothing")]
    pub(crate) process: Process,
    #[serde(deserialize_with = "nothing")]
    pub(crate) root: Root,
    pub(crate) hostname: String,
    #[serde(deserialize_with = "nothing")]
    pub(crate) mounts: Vec<Mount>,
    #[serde(deserialize_with = "nothing")]
    pub(crate) hooks: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "nothing")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "nothing")]
    pub(crate) linux: Linux,
}

/// A process of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Process {
    pub(crate) terminal: bool,
    #[serde(deserialize_with = "nothing")]
    pub(crate) console_size: ConsoleSize,
    #[serde(deserialize_with = "nothing")]
    pub(crate) user: User,
    #[serde(deserialize_with = "nothing")]
    pub(crate) args: Vec<String>,
    #[serde(deserialize_with = "nothing")]
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    #[serde(deserialize_with = "nothing")]
    pub(crate) capabilities: Capabilities,
    #[serde(deserialize_with = "nothing")]
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) no_new_privileges: bool,
    pub(crate) oom_score_adj: Option<i32>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConsoleSize {
    pub(crate) height: u16,
    pub(crate) width: u16,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    #[serde(deserialize_with = "nothing")]
    pub(crate) additional_gids: Vec<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Capabilities {
    #[serde(deserialize_with = "nothing")]
    pub(crate) bounding: Vec<String>,
    #[serde(deserialize_with = "nothing")]
    pub(crate) permitted: Vec<String>,
    #[serde(deserialize_with = "nothing")]
    pub(crate) ambient: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Rlimit {
    /// `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) readonly: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Mount {
    pub(crate) destination: PathBuf,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) source: PathBuf,
    #[serde(deserialize_with = "nothing")]
    pub(crate) options: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Linux {
    #[serde(deserialize_with = "nothing")]
    pub(crate) namespaces: Vec<Namespace>,
    #[serde(deserialize_with = "nothing")]
    pub(crate) resources: Resources,
    pub(crate) cgroups_path: PathBuf,
    #[serde(deserialize_with = "nothing")]
    pub(crate) sysctl: BTreeMap<String, String>,
    #[serde(deserialize_with = "nothing")]
    pub(crate) devices: Vec<Device>,
    /// As it stands: docker's form of a profile, which others read.
    pub(crate) seccomp: Option<serde_json::Value>,
    #[serde(deserialize_with = "nothing")]
    pub(crate) masked_paths: Vec<PathBuf>,
    #[serde(deserialize_with = "nothing")]
    pub(crate) readonly_paths: Vec<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Namespace {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) path: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Device {
    pub(crate) path: PathBuf,
}

/// What a container may take. Also what comes with an update.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    #[serde(deserialize_with = "nothing")]
    pub(crate) memory: Memory,
    #[serde(deserialize_with = "nothing")]
    pub(crate) cpu: Cpu,
    #[serde(deserialize_with = "nothing")]
    pub(crate) pids: Pids,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    pub(crate) limit: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cpu {
    pub(crate) shares: Option<u64>,
    pub(crate) quota: Option<i64>,
    pub(crate) period: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pids {
    pub(crate) limit: Option<i64>,
}

impl Spec {
    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }

    /// The namespace of that kind, where the container is to have one other than the host's.
    pub(crate) fn namespace(&self, kind: &str) -> Option<&Namespace> {
        self.linux
            .namespaces
            .iter()
            .find(|namespace| namespace.kind == kind)
    }
}
