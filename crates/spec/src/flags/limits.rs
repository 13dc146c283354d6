//! Flags that say what an app may take of the VM and do, in docker's words, and `--sysctl` of the pod.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::app::{AppFlag, keep, push};
use super::scalar::{read_bytes, utf8};
use super::{FlagFault, InvalidFlag};
use crate::words::{nearest, shown};
use crate::{LogLimits, Rlimit, RlimitKind, Seccomp, Sysctl};

/// The rows of the flags that limit an app. They hold within its pod's VM, which is as large as its apps ask for together unless
/// `--vm-memory` and `--vm-cpus` say otherwise.
pub const LIMITS: [AppFlag; 8] = [
    AppFlag::text(
        "memory",
        "SIZE",
        "Kill the app when it needs more memory than this, such as 64m",
        |app, text| {
            let limit = &mut app.resources.memory_limit_bytes;
            keep(limit, read_memory_bytes("--memory", text))
        },
    )
    .short('m'),
    AppFlag::text(
        "memory-reservation",
        "SIZE",
        "Memory that the app keeps as long as other apps have more than theirs",
        |app, text| {
            let request = &mut app.resources.memory_request_bytes;
            keep(request, read_memory_bytes("--memory-reservation", text))
        },
    ),
    AppFlag::text(
        "cpus",
        "N",
        "Give the app at most the time of N CPUs, such as 0.5",
        |app, text| keep(&mut app.resources.cpu_limit_millis, read_cpu_millis(text)),
    ),
    AppFlag::text(
        "cpu-shares",
        "N",
        "The app's weight where CPU time is short; an app without this flag has 1024",
        |app, text| keep(&mut app.resources.cpu_request_millis, read_cpu_shares(text)),
    )
    .short('c'),
    AppFlag::text(
        "pids-limit",
        "N",
        "Let the app have at most N processes and threads",
        |app, text| {
            app.resources.pids_limit = read_pids_limit(text)?;
            Ok(())
        },
    )
    .gap(
        |app| app.resources.pids_limit.is_some(),
        "a limit of processes",
        "a node has one, not a container",
    ),
    AppFlag::text(
        "oom-score-adj",
        "N",
        "How readily the kernel kills the app when the VM's memory runs out: -1000 (never) to 1000",
        |app, text| keep(&mut app.resources.oom_score_adj, read_oom_score_adj(text)),
    )
    .gap(
        |app| app.resources.oom_score_adj.is_some(),
        "its OOM score",
        "that follows from requests and limits there",
    ),
    AppFlag::text(
        "log-opt",
        "OPTION",
        "Limit the app's log: max-size=SIZE of a file [default: 10m], max-file=N files [default: 3]",
        |app, text| {
            app.log = read_log_opt(text)?.or(app.log);
            Ok(())
        },
    )
    .gap(
        |app| !app.log.is_default(),
        "the size of its log",
        "a node has one, not a container",
    ),
    AppFlag::text(
        "ulimit",
        "NAME=SOFT[:HARD]",
        "Set a limit of setrlimit(2), such as nofile=1024",
        |app, text| push(&mut app.rlimits, read_ulimit(text)),
    )
    .gap(
        |app| !app.rlimits.is_empty(),
        "its limits of setrlimit(2)",
        "it has no field for them",
    ),
];

/// CPU shares that stand for one CPU (docker's default of a container).
const SHARES_PER_CPU: u64 = 1024;

pub(super) fn read<T>(
    flag: &'static str,
    text: &OsStr,
    read: impl FnOnce(&str) -> Result<T, FlagFault>,
) -> Result<T, InvalidFlag> {
    utf8(text)
        .and_then(read)
        .map_err(|fault| InvalidFlag::new(flag, text, fault))
}

pub(super) fn form(fault: &'static str, hint: &'static str) -> FlagFault {
    FlagFault::Form {
        fault,
        hint: Some(hint),
    }
}

/// Reads an app's `--memory` or `--memory-reservation`, a size as docker writes it, into bytes.
///
/// # Errors
/// [`InvalidFlag`] for what is not a size.
pub fn read_memory_bytes(flag: &'static str, text: &OsStr) -> Result<u64, InvalidFlag> {
    read(flag, text, |word| {
        read_bytes(word).ok_or(form("it is not a size", "write `64m` or `1.5g`"))
    })
}

/// The most files of a log.
const MAX_LOG_FILES: u32 = 1000;

/// Reads an app's `--log-opt`, one of docker's options of its log driver `json-file`.
///
/// # Errors
/// [`InvalidFlag`] for another option, and for what is not a size or not a number of files.
pub fn read_log_opt(text: &OsStr) -> Result<LogLimits, InvalidFlag> {
    read("--log-opt", text, |word| match word.split_once('=') {
        Some(("max-size", size)) => Ok(LogLimits {
            file_bytes: Some(
                read_bytes(size)
                    .filter(|bytes| *bytes > 0)
                    .ok_or(form("it is not a size above 0", "write `max-size=10m`"))?,
            ),
            files: None,
        }),
        Some(("max-file", count)) => {
            let count = count.parse().ok();
            Ok(LogLimits {
                file_bytes: None,
                files: Some(
                    count
                        .filter(|count| (1..=MAX_LOG_FILES).contains(count))
                        .ok_or(form(
                            "it is not a number of files from 1 to 1000",
                            "write `max-file=3`",
                        ))?,
                ),
            })
        }
        _ => Err(form(
            "it is not an option of the log",
            "there are `max-size=SIZE` and `max-file=N`",
        )),
    })
}

/// The smallest disk that apps can be given, in bytes.
const LEAST_STORAGE_BYTES: u64 = 16 << 20;

/// Reads a pod's `--storage-opt`, `size=` and a size as docker writes it, into bytes.
///
/// # Errors
/// [`InvalidFlag`] for another option, and for what is not a size or less than 16 MiB.
pub fn read_storage_opt(text: &OsStr) -> Result<u64, InvalidFlag> {
    read("--storage-opt", text, |word| {
        let size = word.strip_prefix("size=").ok_or(form(
            "it is not an option of the disk",
            "write `size=20g`: the size is all that can be chosen",
        ))?;
        let bytes = read_bytes(size).filter(|bytes| *bytes >= LEAST_STORAGE_BYTES);
        bytes.ok_or(form(
            "it is not a size of at least 16 MiB",
            "write `size=512m` or `size=20g`",
        ))
    })
}

/// Reads an app's `--cpus`, a number of CPUs with at most nine decimals as docker has it, into thousandths, rounded up.
///
/// # Errors
/// [`InvalidFlag`] for anything else.
pub fn read_cpu_millis(text: &OsStr) -> Result<u32, InvalidFlag> {
    let millis = |word: &str| {
        let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
            return None;
        }
        let billionths: u64 = format!("{whole}{fraction:0<9}").parse().ok()?;
        u32::try_from(billionths.div_ceil(1_000_000)).ok()
    };
    read("--cpus", text, |word| {
        millis(word).ok_or(form(
            "it is not a number of CPUs",
            "write `0.5` or `2`; nine decimals are the most",
        ))
    })
}

/// Reads `--cpu-quota`, in microseconds; 0 is no limit, as is `-1`.
///
/// # Errors
/// [`InvalidFlag`] for what is not a whole number.
pub fn read_cpu_quota(text: &OsStr) -> Result<u64, InvalidFlag> {
    read("--cpu-quota", text, |word| match word {
        "-1" => Ok(0),
        _ => word.parse().map_err(|_| {
            form(
                "it is not a number of microseconds",
                "write `50000`, or `--cpus 0.5`",
            )
        }),
    })
}

/// Reads `--cpu-period`, in microseconds.
///
/// # Errors
/// [`InvalidFlag`] for what is not a whole number from 1000 to 1000000, the kernel's bounds.
pub fn read_cpu_period(text: &OsStr) -> Result<u64, InvalidFlag> {
    read("--cpu-period", text, |word| {
        let micros = word.parse().ok();
        micros
            .filter(|micros| (1_000..=1_000_000).contains(micros))
            .ok_or(form(
                "it is not a number of microseconds from 1000 to 1000000",
                "write `100000`, or `--cpus` instead of both",
            ))
    })
}

/// Reads `--cpu-shares`, a weight of which 1024 stand for one CPU, into thousandths of a CPU.
///
/// # Errors
/// [`InvalidFlag`] for what is not a whole number from 2 to 262144 (docker's bounds).
pub fn read_cpu_shares(text: &OsStr) -> Result<u32, InvalidFlag> {
    read("--cpu-shares", text, |word| {
        let shares = word
            .parse::<u64>()
            .ok()
            .filter(|shares| (2..=262_144).contains(shares));
        let millis = shares.map(|shares| (shares * 1000).div_ceil(SHARES_PER_CPU));
        millis.and_then(|millis| u32::try_from(millis).ok()).ok_or(form(
            "it is not a whole number from 2 to 262144",
            "1024 stand for one CPU",
        ))
    })
}

/// Reads `--pids-limit`; as with docker, 0 and -1 are no limit.
///
/// # Errors
/// [`InvalidFlag`] for what is not a whole number.
pub fn read_pids_limit(text: &OsStr) -> Result<Option<u64>, InvalidFlag> {
    read("--pids-limit", text, |word| match word {
        "0" | "-1" => Ok(None),
        word => match word.parse() {
            Ok(limit) => Ok(Some(limit)),
            Err(_) => Err(form("it is not a whole number", "`-1` is no limit")),
        },
    })
}

/// Reads `--oom-score-adj`.
///
/// # Errors
/// [`InvalidFlag`] for what is not a whole number from -1000 to 1000.
pub(crate) fn read_oom_score_adj(text: &OsStr) -> Result<i16, InvalidFlag> {
    read("--oom-score-adj", text, |word| {
        let adj = word.parse().ok().filter(|adj| (-1000..=1000).contains(adj));
        adj.ok_or(FlagFault::form("it is not a whole number from -1000 to 1000"))
    })
}

/// Reads `--ulimit NAME=SOFT[:HARD]`; as with docker, one number is both, and -1 is no limit.
///
/// # Errors
/// [`InvalidFlag`] for a limit that setrlimit(2) does not know, and for what is no number.
pub(crate) fn read_ulimit(text: &OsStr) -> Result<Rlimit, InvalidFlag> {
    read("--ulimit", text, |word| {
        let (name, limits) = word
            .split_once('=')
            .ok_or(form("it has no `=`", "write `nofile=1024` or `nofile=1024:4096`"))?;
        let kind = RlimitKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| FlagFault::Unknown {
            what: "limit",
            name: shown(name),
            hint: match nearest(name, RlimitKind::ALL.map(RlimitKind::name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", RlimitKind::ALL.map(RlimitKind::name).join(", ")),
            },
        })?;
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(None),
            text => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(form("a limit is not a whole number", "`-1` is no limit")),
            },
        };
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
            return Err(FlagFault::form("the soft limit is above the hard one"));
        }
        Ok(Rlimit { kind, soft, hard })
    })
}

/// What a `--security-opt` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecurityOption {
    /// `no-new-privileges[=BOOL]`.
    NoNewPrivileges(bool),
    /// `seccomp=unconfined`, `seccomp=builtin`, `seccomp=FILE`.
    Seccomp(Seccomp),
    /// `apparmor=unconfined`, `label=disable`: what an app in a VM is, whatever the host has of them.
    NoHostProfile,
}

/// Reads `--security-opt`: docker's options, as far as they mean something in a VM of the pod's own.
///
/// # Errors
/// [`InvalidFlag`] for others.
pub(crate) fn read_security_opt(text: &OsStr) -> Result<SecurityOption, InvalidFlag> {
    read("--security-opt", text, |word| {
        let (name, value) = match word.split_once(['=', ':']) {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match (name, value) {
            ("no-new-privileges", None | Some("true")) => Ok(SecurityOption::NoNewPrivileges(true)),
            ("no-new-privileges", Some("false")) => Ok(SecurityOption::NoNewPrivileges(false)),
            ("seccomp", Some("unconfined")) => Ok(SecurityOption::Seccomp(Seccomp::Unconfined)),
            ("seccomp", Some("builtin")) => Ok(SecurityOption::Seccomp(Seccomp::RuntimeDefault)),
            ("seccomp", Some(file)) if !file.is_empty() => {
                Ok(SecurityOption::Seccomp(Seccomp::Profile(PathBuf::from(file))))
            }
            ("apparmor", Some("unconfined")) | ("label", Some("disable")) => {
                Ok(SecurityOption::NoHostProfile)
            }
            ("apparmor" | "label" | "systempaths" | "writable-cgroups" | "credentialspec", _) => {
                Err(FlagFault::Unsupported {
                    what: name.to_owned(),
                    hint: "the pod's VM is what confines it; leave the option out",
                })
            }
            _ => Err(form(
                "there is no such option",
                "write `no-new-privileges`, `seccomp=unconfined`, `seccomp=builtin` or `seccomp=FILE`",
            )),
        }
    })
}

/// Reads `--sysctl NAME=VALUE`.
///
/// # Errors
/// [`InvalidFlag`] where it has no name or no value.
pub fn read_sysctl(text: &OsStr) -> Result<Sysctl, InvalidFlag> {
    read("--sysctl", text, |word| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok(Sysctl {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
        _ => Err(form(
            "it is not a name and a value",
            "write `net.core.somaxconn=1024`",
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn cpus_are_read_to_thousandths() {
        for (text, millis) in [
            ("2", 2000),
            ("0.5", 500),
            (".25", 250),
            ("1.125", 1125),
            ("0", 0),
            ("3.", 3000),
            ("0.3333", 334),
            ("0.000000001", 1),
        ] {
            assert_eq!(read_cpu_millis(os(text)).unwrap(), millis, "{text}");
        }
        for bad in ["", ".", "-1", "+1", "1.0000000001", "1,5", "a", "99999999"] {
            assert!(read_cpu_millis(os(bad)).is_err(), "{bad}");
        }
        for (text, millis) in [("2", 2), ("1024", 1000), ("512", 500), ("262144", 256_000)] {
            assert_eq!(read_cpu_shares(os(text)).unwrap(), millis, "{text}");
        }
        assert!(
            ["1", "262145", "", "x"]
                .iter()
                .all(|bad| read_cpu_shares(os(bad)).is_err())
        );
    }

    #[test]
    fn logs_are_limited_as_with_docker() {
        let limits = |file_bytes, files| LogLimits { file_bytes, files };
        for (text, expected) in [
            ("max-size=10m", limits(Some(10 << 20), None)),
            ("max-file=1", limits(None, Some(1))),
        ] {
            assert_eq!(read_log_opt(os(text)).unwrap(), expected, "{text}");
        }
        for bad in [
            "max-size=",
            "max-size=0",
            "max-size=-1",
            "max-file=0",
            "max-file=1001",
            "tag=a",
            "max-size",
        ] {
            assert!(read_log_opt(os(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn ulimits_are_dockers() {
        let limit = |kind, soft, hard| Rlimit { kind, soft, hard };
        for (text, expected) in [
            ("nofile=10:20", limit(RlimitKind::Nofile, Some(10), Some(20))),
            ("core=0", limit(RlimitKind::Core, Some(0), Some(0))),
            ("memlock=-1:-1", limit(RlimitKind::Memlock, None, None)),
            ("stack=1:unlimited", limit(RlimitKind::Stack, Some(1), None)),
        ] {
            assert_eq!(read_ulimit(os(text)).unwrap(), expected, "{text}");
        }
        for (bad, message) in [
            ("nofile", "it has no `=`"),
            ("nofiles=1", "unknown limit `nofiles`"),
            ("nofile=a", "a limit is not a whole number"),
            ("nofile=2:1", "the soft limit is above the hard one"),
            ("nofile=-1:1", "the soft limit is above the hard one"),
        ] {
            assert_eq!(read_ulimit(os(bad)).unwrap_err().fault.to_string(), message);
        }
        assert_eq!(
            read_ulimit(os("nofiles=1")).unwrap_err().hint().unwrap(),
            "did you mean `nofile`?"
        );
    }

    #[test]
    fn security_options_are_dockers() {
        let profile = Seccomp::Profile("/a/b.json".into());
        for (text, expected) in [
            ("no-new-privileges", SecurityOption::NoNewPrivileges(true)),
            ("no-new-privileges:true", SecurityOption::NoNewPrivileges(true)),
            ("no-new-privileges=false", SecurityOption::NoNewPrivileges(false)),
            ("seccomp=unconfined", SecurityOption::Seccomp(Seccomp::Unconfined)),
            (
                "seccomp=builtin",
                SecurityOption::Seccomp(Seccomp::RuntimeDefault),
            ),
            ("seccomp=/a/b.json", SecurityOption::Seccomp(profile)),
            ("apparmor=unconfined", SecurityOption::NoHostProfile),
            ("label:disable", SecurityOption::NoHostProfile),
        ] {
            assert_eq!(read_security_opt(os(text)).unwrap(), expected, "{text}");
        }
        for bad in ["apparmor=mine", "label=type:a_t", "seccomp=", "seccomp", "x"] {
            assert!(read_security_opt(os(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_others_are_numbers() {
        assert_eq!(read_pids_limit(os("-1")).unwrap(), None);
        assert_eq!(read_pids_limit(os("7")).unwrap(), Some(7));
        assert_eq!(read_oom_score_adj(os("-1000")).unwrap(), -1000);
        assert!(read_oom_score_adj(os("1001")).is_err() && read_pids_limit(os("-2")).is_err());
        assert_eq!(read_memory_bytes("--memory", os("64m")).unwrap(), 64 << 20);
        assert_eq!(read_sysctl(os("a.b=1=2")).unwrap().value, "1=2");
        assert!(
            ["a.b", "=1", "a.b="]
                .iter()
                .all(|bad| read_sysctl(os(bad)).is_err())
        );
    }
}
