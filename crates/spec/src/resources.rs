//! What an app may take of the VM: memory, processor time, processes, and the limits of setrlimit(2).
//!
//! They hold within the pod's VM, whose own size is [`Vm`](crate::Vm)'s. Nothing here says how they are
//! enforced.

use serde::{Deserialize, Serialize};

/// What an app may take of its VM. `None`: what the VM has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// The most memory, in bytes; an app that needs more is killed (`--memory`, Kubernetes' `limits.memory`).
    pub memory_limit_bytes: Option<u64>,
    /// Memory that is taken from others first, in bytes (`--memory-reservation`, Kubernetes' `requests.memory`).
    pub memory_request_bytes: Option<u64>,
    /// The most processor time, in thousandths of a CPU (`--cpus 0.5` is 500, Kubernetes' `limits.cpu`).
    pub cpu_limit_millis: Option<u32>,
    /// The share of the processors when they do not suffice for all, in thousandths of a CPU (Kubernetes'
    /// `requests.cpu`; `--cpu-shares 1024` is 1000). An app that says nothing has the share of one that says 1000.
    pub cpu_request_millis: Option<u32>,
    /// The most processes and threads (`--pids-limit`).
    pub pids_limit: Option<u64>,
    /// How readily the kernel kills it when the VM's memory runs out, -1000 to 1000 (`--oom-score-adj`,
    /// proc_pid_oom_score_adj(5)).
    pub oom_score_adj: Option<i16>,
}

/// The kernel's period for a quota of processor time, where none is given, in microseconds.
const CPU_PERIOD_MICROS: u64 = 100_000;

impl Resources {
    /// Limits the processor time to `quota` in each `period`, both in microseconds (`--cpu-quota`, compose's `cpu_quota`).
    pub fn limit_cpu(&mut self, quota: u64, period: Option<u64>) {
        let millis = quota.saturating_mul(1000) / period.unwrap_or(CPU_PERIOD_MICROS).max(1);
        self.cpu_limit_millis = Some(u32::try_from(millis).unwrap_or(u32::MAX).max(1));
    }

    /// Whether `memory_and_swap` bytes together (`--memory-swap`, compose's `memswap_limit`) ask for swap space, which no guest
    /// has; 0 asks for nothing.
    #[must_use]
    pub fn asks_for_swap(&self, memory_and_swap: u64) -> bool {
        memory_and_swap > 0 && self.memory_limit_bytes != Some(memory_and_swap)
    }

    /// These, and where they say nothing what `base` says: of what that asks for, no more than these allow.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        fn within<T: Ord + Copy>(request: Option<T>, limit: Option<T>) -> Option<T> {
            request.map(|request| limit.map_or(request, |limit| request.min(limit)))
        }
        Self {
            memory_limit_bytes: self.memory_limit_bytes.or(base.memory_limit_bytes),
            memory_request_bytes: self
                .memory_request_bytes
                .or(within(base.memory_request_bytes, self.memory_limit_bytes)),
            cpu_limit_millis: self.cpu_limit_millis.or(base.cpu_limit_millis),
            cpu_request_millis: self
                .cpu_request_millis
                .or(within(base.cpu_request_millis, self.cpu_limit_millis)),
            pids_limit: self.pids_limit.or(base.pids_limit),
            oom_score_adj: self.oom_score_adj.or(base.oom_score_adj),
        }
    }
}

/// What the apps of a pod may take together. `None`: what the VM has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodLimits {
    /// The most memory, in bytes; an app is killed when they need more (a Pod's `resources.limits.memory`).
    pub memory_bytes: Option<u64>,
    /// The most processor time, in thousandths of a CPU (a Pod's `resources.limits.cpu`).
    pub cpu_millis: Option<u32>,
}

/// How large an app's log on the host may become (`--log-opt`). `None`: as every log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// The size of a file after which the next is begun, in bytes (`max-size`).
    pub file_bytes: Option<u64>,
    /// How many files are kept, the one that is written included (`max-file`).
    pub files: Option<u32>,
}

impl LogLimits {
    /// Whether it is as every log.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// These, and where they say nothing `base`.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        Self {
            file_bytes: self.file_bytes.or(base.file_bytes),
            files: self.files.or(base.files),
        }
    }
}

/// A limit of setrlimit(2) (`--ulimit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// What is limited.
    pub kind: RlimitKind,
    /// What holds; `None`: no limit.
    pub soft: Option<u64>,
    /// As far as the app may raise it; `None`: no limit.
    pub hard: Option<u64>,
}

/// What setrlimit(2) limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RlimitKind {
    /// `RLIMIT_AS`.
    As,
    /// `RLIMIT_CORE`.
    Core,
    /// `RLIMIT_CPU`.
    Cpu,
    /// `RLIMIT_DATA`.
    Data,
    /// `RLIMIT_FSIZE`.
    Fsize,
    /// `RLIMIT_LOCKS`.
    Locks,
    /// `RLIMIT_MEMLOCK`.
    Memlock,
    /// `RLIMIT_MSGQUEUE`.
    Msgqueue,
    /// `RLIMIT_NICE`.
    Nice,
    /// `RLIMIT_NOFILE`.
    Nofile,
    /// `RLIMIT_NPROC`.
    Nproc,
    /// `RLIMIT_RSS`.
    Rss,
    /// `RLIMIT_RTPRIO`.
    Rtprio,
    /// `RLIMIT_RTTIME`.
    Rttime,
    /// `RLIMIT_SIGPENDING`.
    Sigpending,
    /// `RLIMIT_STACK`.
    Stack,
}

impl RlimitKind {
    /// All of them, by name.
    pub const ALL: [Self; 16] = [
        Self::As,
        Self::Core,
        Self::Cpu,
        Self::Data,
        Self::Fsize,
        Self::Locks,
        Self::Memlock,
        Self::Msgqueue,
        Self::Nice,
        Self::Nofile,
        Self::Nproc,
        Self::Rss,
        Self::Rtprio,
        Self::Rttime,
        Self::Sigpending,
        Self::Stack,
    ];

    /// Its name: setrlimit(2)'s without `RLIMIT_` and in lower case, as docker writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::As => "as",
            Self::Core => "core",
            Self::Cpu => "cpu",
            Self::Data => "data",
            Self::Fsize => "fsize",
            Self::Locks => "locks",
            Self::Memlock => "memlock",
            Self::Msgqueue => "msgqueue",
            Self::Nice => "nice",
            Self::Nofile => "nofile",
            Self::Nproc => "nproc",
            Self::Rss => "rss",
            Self::Rtprio => "rtprio",
            Self::Rttime => "rttime",
            Self::Sigpending => "sigpending",
            Self::Stack => "stack",
        }
    }
}

/// A parameter of the guest's kernel that the pod sets (sysctl(8)). The kernel is the pod's own: every one may be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// Its name, with dots (`net.core.somaxconn`).
    pub name: String,
    pub value: String,
}
