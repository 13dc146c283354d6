//! Reads the values of command line flags: pure functions from a flag's text to a piece of a pod.
//!
//! ```text
//! --volume data,kind=host,source=/srv/data     -> volume.rs   records are read by record.rs
//! --mount volume=data,target=/data,readOnly    -> mount.rs
//! --volume ./src:/src:ro                       -> brought.rs  a volume and a mount in one
//! --restart --depends-on ...                   -> lifecycle.rs
//! --rootfs DIR[:O]                         -> rootfs.rs
//! --health-cmd --health-interval ...          -> health.rs
//! --publish --hostname --add-host ...          -> network.rs
//! --memory --cpus --ulimit ...                 -> limits.rs   and --security-opt and --sysctl
//! --tty --init --privileged ...                -> process.rs
//! --env --vm-memory --user --cap-add ...       -> scalar.rs
//! ```
//!
//! The rows of flags that change nothing but what an app asks for are here too ([`LIMITS`], [`PROCESS`]: `app.rs`). Which others
//! there are, in which order they stand and which app they belong to is the command's business. Nothing here
//! looks at the environment: `--env NAME` stays a name, a relative source stays relative.

mod app;
mod brought;
mod device;
mod env_file;
mod health;
mod lifecycle;
mod limits;
mod mount;
mod network;
mod process;
mod record;
mod rootfs;
mod scalar;
mod userns;
mod volume;
mod volumes_from;

pub use crate::size::{MAX_CPUS, MIN_MEMORY_MIB};
pub use app::{AppFlag, PodFileGap, ReadApp};
pub use brought::{Brought, VolumeFlag, read_named_volume, read_tmpfs, read_volume_flag};
pub(crate) use device::read_device;
pub use env_file::{EnvFileFault, read_env_file};
pub use health::{read_health_cmd, read_health_on_failure, read_health_retries, read_health_time};
pub use lifecycle::{Stream, read_attach, read_depends_on, read_restart, read_stop_signal};
pub use limits::{
    LIMITS, read_cpu_millis, read_cpu_shares, read_log_opt, read_memory_bytes, read_pids_limit,
    read_storage_opt, read_sysctl,
};
pub(crate) use limits::{SecurityOption, read_oom_score_adj, read_security_opt, read_ulimit};
pub use limits::{read_cpu_period, read_cpu_quota};
pub use mount::{read_app_mount, read_mount};
pub use network::{
    HostAddress, Published, read_add_host, read_dns, read_expose, read_hostname, read_ip, read_mac,
    read_netns, read_network, read_network_alias, read_publish, read_published,
};
pub use process::PROCESS;
pub use rootfs::{read_rootfs, rootfs_app_name};
pub(crate) use scalar::read_capability;
pub use scalar::{
    read_app_name, read_cpus, read_entrypoint, read_env, read_label, read_memory_mib, read_on_silent,
    read_pod_name, read_seconds, read_text, read_user, read_word, read_workdir,
};
pub use userns::read_userns;
pub use volume::read_volume;
pub(crate) use volume::{read_id, read_mode};
pub use volumes_from::{VolumesFrom, read_volumes_from, take_over};

use std::ffi::OsStr;

use crate::InvalidName;
use crate::words::shown;

/// Why a flag's value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid value `{value}` of `{flag}`")]
pub struct InvalidFlag {
    /// The flag, as it is documented (`--volume`).
    pub flag: &'static str,
    /// The value as it was given, control characters escaped.
    pub value: String,
    /// What is wrong with it.
    #[source]
    pub fault: FlagFault,
}

impl InvalidFlag {
    /// What would be right.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.fault.hint()
    }

    fn new(flag: &'static str, value: &OsStr, fault: FlagFault) -> Self {
        Self {
            flag,
            value: shown(value),
            fault,
        }
    }
}

/// What is wrong with a flag's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagFault {
    /// It does not have the form that it must have.
    #[error("{fault}")]
    Form {
        fault: &'static str,
        hint: Option<&'static str>,
    },
    /// A key, an option or a capability that does not exist.
    #[error("unknown {what} `{name}`")]
    Unknown {
        /// `key`, `option` or `capability`.
        what: &'static str,
        /// Its name, control characters escaped.
        name: String,
        /// What to write instead, or what there is.
        hint: String,
    },
    /// A key that is given twice.
    #[error("key `{key}` is given twice")]
    DoubledKey { key: &'static str },
    /// A key that must be there is not.
    #[error("key `{key}` is missing")]
    MissingKey { key: &'static str },
    /// A key that does not go with the volume's kind.
    #[error("key `{key}` does not apply to a volume of kind `{kind}`")]
    MisplacedKey { key: &'static str, kind: &'static str },
    /// A key has no value.
    #[error("key `{key}` has no value")]
    NoValue { key: &'static str },
    /// A key has a value that it cannot have.
    #[error("`{value}` is not a valid value of `{key}`: it must be {expected}")]
    Value {
        key: &'static str,
        /// Its value, control characters escaped.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// An image that is not one.
    #[error(transparent)]
    Reference(crate::InvalidReference),
    /// A name that is not one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Something that other tools know and this one does not do.
    #[error("`{what}` is not supported")]
    Unsupported {
        /// What is asked for.
        what: String,
        /// Why, or what to do instead.
        hint: &'static str,
    },
}

impl FlagFault {
    /// What would be right.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Form { hint, .. } => hint.map(str::to_owned),
            Self::Unknown { hint, .. } => Some(hint.clone()),
            Self::Unsupported { hint, .. } => Some((*hint).to_owned()),
            Self::Name(name) => name.hint(),
            Self::Reference(reference) => reference.hint(),
            Self::NoValue { key } => Some(format!("write `{key}=VALUE`")),
            Self::DoubledKey { .. }
            | Self::MissingKey { .. }
            | Self::MisplacedKey { .. }
            | Self::Value { .. } => None,
        }
    }

    fn form(fault: &'static str) -> Self {
        Self::Form { fault, hint: None }
    }

    fn value(key: &'static str, value: impl AsRef<OsStr>, expected: &'static str) -> Self {
        Self::Value {
            key,
            value: shown(value),
            expected,
        }
    }
}
