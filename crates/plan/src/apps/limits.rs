//! What an app may take of the VM and which system calls it may make, decided: checked, and in the words of its
//! unit (systemd.resource-control(5), systemd.exec(5)) and of the agent, which binds by it what is executed in the app
//! later.

use std::collections::BTreeSet;

use isopod_contract::config::GuestRlimit;
use isopod_contract::launch::SyscallProgram;
use isopod_spec::seccomp::{
    Answer, ProfiledProcess, SeccompProfile, SyscallRules, errno_number, is_syscall, nearest_syscall,
};
use isopod_spec::words::shown;
use isopod_spec::{
    App, Architecture, OomKill, PodLimits, PodSpec, Refusal, Resources, Rlimit, RlimitKind, RunConfig,
    Seccomp, SyscallFilter, Vm,
};

use crate::apps::filter;
use crate::apps::pod::{MAX_OPEN_FILES, Pod, max_open_files};
use crate::fault::Fault;

/// The least memory that an app can be given, in bytes: docker's. With less not even its program is executed.
pub(super) const MIN_MEMORY_BYTES: u64 = 6 << 20;

/// The least processor time that the kernel can account for, in thousandths of a CPU.
pub(super) const MIN_CPU_MILLIS: u32 = 10;

/// What an app gets of the processors that says nothing: systemd's default, and ours of one that asks for 1000.
const DEFAULT_CPU_WEIGHT: u32 = 100;

/// The largest `CPUWeight=`.
const MAX_CPU_WEIGHT: u32 = 10_000;

/// What an app gets that asks for no limit of a kind: docker's, where the kernel's own are smaller. It counts processes by
/// its memory, of which a guest has little; the guest's own share is kept by the cgroup (`TasksMax=`), not by users.
fn default_rlimits(pod: &Pod, asked: &[Rlimit]) -> Vec<Rlimit> {
    let files = Some(pod.max_open_files.min(MAX_OPEN_FILES));
    let all = [
        (RlimitKind::Core, None),
        (RlimitKind::Nofile, files),
        (RlimitKind::Nproc, None),
    ];
    let limit = |(kind, limit)| Rlimit {
        kind,
        soft: limit,
        hard: limit,
    };
    let others = all.into_iter().map(limit);
    others
        .filter(|limit| asked.iter().all(|other| other.kind != limit.kind))
        .collect()
}

/// What an app may take and do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of the VM.
    pub resources: Resources,
    /// The limit of memory that was asked for, in bytes, where it is raised to the least that a program starts with.
    raised_from: Option<u64>,
    /// The limits of setrlimit(2) that were asked for, one a kind.
    pub rlimits: Vec<Rlimit>,
    /// Those that every app has where nothing else was asked for.
    defaults: Vec<Rlimit>,
    /// Whom the kernel kills when the app has outgrown its memory.
    pub oom_kill: OomKill,
    /// Whether it never gains privileges.
    pub no_new_privileges: bool,
    /// The system calls; `None`: all.
    pub syscalls: Option<Syscalls>,
}

/// Which system calls an app may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syscalls {
    /// What the kernel goes by.
    program: SyscallProgram,
    /// The same for people, in systemd's words.
    words: Vec<(&'static str, String)>,
}

/// Decides what `app` may take and do; `capabilities` are those that it may have, `profile` is the profile of system calls
/// that it names, if it does.
///
/// # Errors
/// Everything that is wrong with it, in sentences.
pub(crate) fn limits(
    app: &App,
    config: &RunConfig,
    pod: &Pod,
    capabilities: &BTreeSet<String>,
    profile: Option<&SeccompProfile>,
) -> Result<Limits, Vec<String>> {
    let mut resources = app.overrides.resources.or(config.resources);
    let raised_from = resources
        .memory_limit_bytes
        .filter(|limit| *limit < MIN_MEMORY_BYTES);
    if raised_from.is_some() {
        resources.memory_limit_bytes = Some(MIN_MEMORY_BYTES);
    }
    resources.cpu_limit_millis = resources
        .cpu_limit_millis
        .map(|millis| millis.max(MIN_CPU_MILLIS));
    let mut faults = resource_faults(&resources);
    let mut rlimits: Vec<Rlimit> = Vec::new();
    for rlimit in &app.overrides.rlimits {
        rlimits.retain(|earlier| earlier.kind != rlimit.kind);
        rlimits.push(*rlimit);
        faults.extend(rlimit_fault(rlimit));
    }
    let around = ProfiledProcess {
        architecture: pod.architecture,
        capabilities,
        kernel: &pod.kernel,
    };
    let by_default = match app.overrides.privileged {
        true => Seccomp::Unconfined,
        false => Seccomp::RuntimeDefault,
    };
    let asked = app.overrides.seccomp.as_ref().or(config.seccomp.as_ref());
    let syscalls = match asked.unwrap_or(&by_default) {
        Seccomp::Unconfined => Ok(None),
        Seccomp::RuntimeDefault => match SeccompProfile::runtime_default() {
            Ok(profile) => of_profile(&profile, &around).map(Some),
            Err(invalid) => Err(vec![invalid.to_string()]),
        },
        Seccomp::Profile(path) => match profile {
            Some(profile) => of_profile(profile, &around).map(Some),
            None => Err(vec![format!(
                "its profile of system calls, `{}`, was not read",
                shown(path)
            )]),
        },
        Seccomp::Retain(filter) => syscalls(pod.architecture, filter, true).map(Some),
        Seccomp::Remove(filter) => syscalls(pod.architecture, filter, false).map(Some),
    };
    // What every app has is not worth a word.
    let syscalls = syscalls.map(|syscalls| match asked {
        None => syscalls.map(|syscalls| Syscalls {
            words: Vec::new(),
            ..syscalls
        }),
        Some(_) => syscalls,
    });
    match syscalls {
        Ok(syscalls) if faults.is_empty() => Ok(Limits {
            resources,
            raised_from,
            defaults: default_rlimits(pod, &rlimits),
            rlimits,
            oom_kill: app.overrides.oom_kill,
            no_new_privileges: app
                .overrides
                .no_new_privileges
                .unwrap_or(config.no_new_privileges),
            syscalls,
        }),
        Ok(_) => Err(faults),
        Err(found) => {
            faults.extend(found);
            Err(faults)
        }
    }
}

fn resource_faults(resources: &Resources) -> Vec<String> {
    let mut faults = Vec::new();
    let of_app = |what, bytes| format!("its {what} of {bytes} bytes");
    if let Some(limit) = resources.memory_limit_bytes
        && let Some(request) = resources.memory_request_bytes.filter(|request| *request > limit)
    {
        let what = of_app("reservation of memory", request);
        faults.push(format!("{what} is more than its limit, {limit}"));
    }
    if let Some(limit) = resources.cpu_limit_millis
        && resources
            .cpu_request_millis
            .is_some_and(|request| request > limit)
    {
        faults.push("its request for CPU time is more than its limit".to_owned());
    }
    if resources.pids_limit == Some(0) {
        faults.push("its limit of processes is 0; the least is 1".to_owned());
    }
    if let Some(adj) = resources
        .oom_score_adj
        .filter(|adj| !(-1000..=1000).contains(adj))
    {
        faults.push(format!(
            "its OOM score adjustment {adj} is not between -1000 and 1000"
        ));
    }
    faults
}

fn rlimit_fault(rlimit: &Rlimit) -> Option<String> {
    let name = rlimit.kind.name();
    let (soft, hard) = (rlimit.soft.unwrap_or(u64::MAX), rlimit.hard.unwrap_or(u64::MAX));
    (soft > hard).then(|| format!("its soft limit `{name}` is above the hard one"))
}

/// What stands against an app's limits in the VM that `spec` asks for.
pub(crate) fn vm_fault(spec: &PodSpec, app: &App, limits: &Limits) -> Option<Fault> {
    let nofile = limits
        .rlimits
        .iter()
        .find(|limit| limit.kind == RlimitKind::Nofile)?;
    let most = max_open_files(spec);
    let above = nofile.hard.is_none_or(|hard| hard > most);
    above.then(|| Fault::App {
        app: app.name.clone(),
        reason: format!(
            "its limit `nofile` is above {most}, the most that the kernel allows; the pod's sysctl `fs.nr_open` sets that"
        ),
    })
}

/// A limit that is raised to the least that the kernel accounts for, as the kubelet does it, for a notice.
pub(crate) fn raised(app: &App, config: &RunConfig) -> Option<String> {
    let asked = app.overrides.resources.or(config.resources).cpu_limit_millis?;
    (asked < MIN_CPU_MILLIS).then(|| {
        format!(
            "app `{}` is limited to {MIN_CPU_MILLIS} thousandths of a CPU instead of {asked}: that is the \
             kernel's lowest limit",
            app.name
        )
    })
}

/// The settings of the slice that all apps of a pod are in (systemd.resource-control(5)); none where nothing binds them
/// together.
pub(crate) fn slice_settings(limits: PodLimits) -> Vec<(&'static str, String)> {
    let memory = limits.memory_bytes.map(|bytes| ("MemoryMax", bytes.to_string()));
    let cpu = limits
        .cpu_millis
        .map(|millis| ("CPUQuota", percent(millis.max(MIN_CPU_MILLIS))));
    memory.into_iter().chain(cpu).collect()
}

/// What an app's limits are beyond that VM, for a notice.
pub(crate) fn beyond(vm: &Vm, app: &App, limits: &Limits) -> Vec<String> {
    let mut notices = Vec::new();
    if let Some(asked) = limits.raised_from {
        notices.push(format!(
            "app `{}` is limited to {} MiB of memory instead of {asked} bytes: no program starts with less",
            app.name,
            MIN_MEMORY_BYTES >> 20
        ));
    }
    let memory = u64::from(vm.memory_mib) << 20;
    let more = |what: &str, flag: &str| {
        format!(
            "app `{}` may take more {what} than its VM has (`{flag}`)",
            app.name
        )
    };
    if limits
        .resources
        .memory_limit_bytes
        .is_some_and(|limit| limit > memory)
    {
        notices.push(more("memory", "--vm-memory"));
    }
    if limits
        .resources
        .cpu_limit_millis
        .is_some_and(|limit| limit > vm.cpus * 1000)
    {
        notices.push(more("processor time", "--vm-cpus"));
    }
    notices
}

fn syscalls(
    architecture: Architecture,
    filter: &SyscallFilter,
    allowed: bool,
) -> Result<Syscalls, Vec<String>> {
    let unknown = filter.names.iter().filter(|name| !is_syscall(name));
    let mut faults: Vec<String> = unknown
        .map(|name| match nearest_syscall(name) {
            Some(near) => format!("`{}` is not a system call; did you mean `{near}`?", shown(name)),
            None => format!("`{}` is not a system call; syscalls(2) lists them", shown(name)),
        })
        .collect();
    if filter.names.is_empty() {
        faults.push("its filter of system calls is empty".to_owned());
    }
    if let Refusal::Errno(name) = &filter.refusal
        && errno_number(name).is_none()
    {
        faults.push(format!(
            "`{}` is not an error name; errno(3) lists them",
            shown(name)
        ));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let names: BTreeSet<&str> = filter.names.iter().map(String::as_str).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let tilde = if allowed { "" } else { "~" };
    let refusal = match &filter.refusal {
        Refusal::Kill => "kill".to_owned(),
        Refusal::Errno(name) => name.clone(),
    };
    let words = vec![
        ("SystemCallFilter", format!("{tilde}{}", names.join(" "))),
        ("SystemCallErrorNumber", refusal),
    ];
    let mut filter = filter.clone();
    if allowed {
        filter.names.extend(ALWAYS_ALLOWED.map(str::to_owned));
    }
    confined(architecture, &SyscallRules::of_list(&filter, allowed), words)
}

fn of_profile(profile: &SeccompProfile, around: &ProfiledProcess<'_>) -> Result<Syscalls, Vec<String>> {
    let rules = profile.rules(around);
    let allowed = !rules.default.allows();
    let mut names = BTreeSet::new();
    for rule in rules.rules.iter().filter(|rule| rule.answer.allows() == allowed) {
        let by_arguments = if rule.arguments.is_empty() {
            ""
        } else {
            ":arguments"
        };
        names.extend(rule.names.iter().map(|name| format!("{name}{by_arguments}")));
    }
    let names: Vec<String> = names.into_iter().collect();
    let tilde = if allowed { "" } else { "~" };
    let words = vec![
        ("SystemCallFilter", format!("{tilde}{}", names.join(" "))),
        ("SystemCallErrorNumber", answer_word(rules.default)),
    ];
    confined(around.architecture, &rules, words)
}

fn confined(
    architecture: Architecture,
    rules: &SyscallRules,
    words: Vec<(&'static str, String)>,
) -> Result<Syscalls, Vec<String>> {
    match filter::program(architecture, rules) {
        Some(program) => Ok(Syscalls { program, words }),
        None => Err(vec![
            "its rules on system calls exceed the kernel's limit (4096 instructions)".to_owned(),
        ]),
    }
}

/// An answer as a profile names it.
fn answer_word(answer: Answer) -> String {
    match answer {
        Answer::KillProcess => "kill".to_owned(),
        Answer::KillThread => "kill-thread".to_owned(),
        Answer::Trap => "trap".to_owned(),
        Answer::Errno(number) => number.to_string(),
        Answer::Trace(number) => format!("trace {number}"),
        Answer::Log => "log".to_owned(),
        Answer::Allow => "allow".to_owned(),
    }
}

impl Limits {
    /// `OOMPolicy=`: whether an app that has outgrown its own memory ends as a whole. Whom the kernel kills when the VM's
    /// memory runs out is the kernel's choice, and the app's others continue.
    pub(crate) fn oom_policy(&self) -> &'static str {
        match (self.resources.memory_limit_bytes, self.oom_kill) {
            (Some(_), OomKill::App) => "kill",
            _ => "continue",
        }
    }

    /// The other settings of the app's service. What is a process's own is the agent's to set, for the app and for commands
    /// in it: its user, its limits, its system calls. systemd forbids new privileges with every filter of a user.
    ///
    /// `helpers` processes of the agent are counted with the app's own.
    pub(crate) fn settings(&self, helpers: u32) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        let resources = &self.resources;
        let mut set = |name, value: Option<String>| settings.extend(value.map(|value| (name, value)));
        set(
            "MemoryMax",
            resources.memory_limit_bytes.map(|bytes| bytes.to_string()),
        );
        set(
            "MemoryLow",
            resources.memory_request_bytes.map(|bytes| bytes.to_string()),
        );
        set("CPUQuota", resources.cpu_limit_millis.map(percent));
        set(
            "CPUWeight",
            resources
                .cpu_request_millis
                .map(|millis| cpu_weight(millis).to_string()),
        );
        set(
            "TasksMax",
            resources
                .pids_limit
                .map(|limit| limit.saturating_add(helpers.into()).to_string()),
        );
        set(
            "OOMScoreAdjust",
            resources.oom_score_adj.map(|adj| adj.to_string()),
        );
        settings
    }

    /// The limits of setrlimit(2), as settings.
    fn limit_settings(rlimits: &[Rlimit]) -> Vec<(&'static str, String)> {
        let value = |limit: Option<u64>| limit.map_or("infinity".to_owned(), |limit| limit.to_string());
        let setting = |rlimit: &Rlimit| {
            let value = format!("{}:{}", value(rlimit.soft), value(rlimit.hard));
            (directive(rlimit.kind), value)
        };
        rlimits.iter().map(setting).collect()
    }

    /// All that was asked for, for people and records: the settings of the unit, and in systemd's words what the agent sees to.
    pub(crate) fn words(&self) -> Vec<(&'static str, String)> {
        let mut words = self.settings(0);
        words.extend(Self::limit_settings(&self.rlimits));
        words.extend(
            self.no_new_privileges
                .then(|| ("NoNewPrivileges", "yes".to_owned())),
        );
        words.extend(self.syscalls.iter().flat_map(|syscalls| syscalls.words.clone()));
        words
    }

    /// What the agent binds by what is executed in the app.
    pub(crate) fn guest_rlimits(&self) -> Vec<GuestRlimit> {
        let of_guest = |rlimit: &Rlimit| GuestRlimit {
            name: rlimit.kind.name().to_owned(),
            soft: rlimit.soft,
            hard: rlimit.hard,
        };
        self.rlimits.iter().chain(&self.defaults).map(of_guest).collect()
    }

    /// As [`Self::guest_rlimits`], the system calls: what the agent binds the app itself by, too.
    pub(crate) fn program(&self) -> Option<SyscallProgram> {
        self.syscalls.as_ref().map(|syscalls| syscalls.program.clone())
    }
}

/// What systemd adds to every list of allowed system calls (`systemd-analyze syscall-filter @default`, of systemd 252),
/// without those of other processors, and behind them what the agent's execution of a program takes.
const ALWAYS_ALLOWED: [&str; 51] = [
    "arch_prctl",
    "brk",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "execve",
    "exit",
    "exit_group",
    "futex",
    "futex_waitv",
    "get_robust_list",
    "get_thread_area",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getrandom",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getsid",
    "gettid",
    "gettimeofday",
    "getuid",
    "membarrier",
    "mmap",
    "mprotect",
    "munmap",
    "nanosleep",
    "pause",
    "prlimit64",
    "restart_syscall",
    "rseq",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_thread_area",
    "set_tid_address",
    "time",
    "uretprobe",
    "rt_sigaction",
    "rt_sigprocmask",
    "write",
    // Of programs of 32 bits.
    "clock_gettime64",
    "mmap2",
    "ugetrlimit",
];

/// Thousandths as systemd takes a quota: at most two decimals.
fn percent(millis: u32) -> String {
    match millis % 10 {
        0 => format!("{}%", millis / 10),
        tenth => format!("{}.{tenth}%", millis / 10),
    }
}

/// A share of the processors as cgroups have it: in proportion, 100 for a CPU.
pub(super) fn cpu_weight(millis: u32) -> u32 {
    (millis / (1000 / DEFAULT_CPU_WEIGHT)).clamp(1, MAX_CPU_WEIGHT)
}

fn directive(kind: RlimitKind) -> &'static str {
    match kind {
        RlimitKind::As => "LimitAS",
        RlimitKind::Core => "LimitCORE",
        RlimitKind::Cpu => "LimitCPU",
        RlimitKind::Data => "LimitDATA",
        RlimitKind::Fsize => "LimitFSIZE",
        RlimitKind::Locks => "LimitLOCKS",
        RlimitKind::Memlock => "LimitMEMLOCK",
        RlimitKind::Msgqueue => "LimitMSGQUEUE",
        RlimitKind::Nice => "LimitNICE",
        RlimitKind::Nofile => "LimitNOFILE",
        RlimitKind::Nproc => "LimitNPROC",
        RlimitKind::Rss => "LimitRSS",
        RlimitKind::Rtprio => "LimitRTPRIO",
        RlimitKind::Rttime => "LimitRTTIME",
        RlimitKind::Sigpending => "LimitSIGPENDING",
        RlimitKind::Stack => "LimitSTACK",
    }
}
