//! How large the VM is, and what a container may take of it.

use isopod_plan::apps::update::{NO_LIMIT, Update};
use isopod_spec::{Resources, StartMode, Vm};

use super::Refused;
use super::spec::{self, Spec};

/// What the guest takes for itself beside its containers, in MiB: kernel, systemd, agent, and room for files.
const GUEST_MIB: u64 = 256;

/// The memory is a multiple of this, in MiB: VMs of one size are restored from one template.
const STEP_MIB: u64 = 256;

/// Says how much memory the VM has, in MiB, in place of what its containers' limits come to.
const MEMORY: &str = "io.isopod.memory-mib";
/// Says how many processors it has.
const CPUS: &str = "io.isopod.cpus";
/// Says whether it is booted or restored: `auto`, `warm` or `cold`.
const START: &str = "io.isopod.start";

/// The VM of the sandbox of `spec`.
pub(crate) fn vm(spec: &Spec) -> Result<Vm, Refused> {
    let number = |name: &str| -> Result<Option<u64>, Refused> {
        let Some(text) = spec.annotation(name) else {
            return Ok(None);
        };
        let number = text.parse().map_err(|_| {
            let what = format!("annotation `{name}: {}`", text.escape_debug());
            Refused::new(what, "is not a whole number")
        })?;
        Ok(Some(number))
    };
    let memory = match number(MEMORY)? {
        Some(mib) => u32::try_from(mib).unwrap_or(u32::MAX),
        None => {
            let limit = number("io.kubernetes.cri.sandbox-memory")?.filter(|bytes| *bytes > 0);
            let own = spec
                .linux
                .resources
                .memory
                .limit
                .and_then(|limit| u64::try_from(limit).ok());
            match limit.or(own.filter(|limit| *limit > 0)) {
                Some(bytes) => {
                    let mib = bytes.div_ceil(1 << 20).saturating_add(GUEST_MIB);
                    u32::try_from(mib.next_multiple_of(STEP_MIB)).unwrap_or(u32::MAX)
                }
                None => Vm::default().memory_mib,
            }
        }
    };
    let quota = number("io.kubernetes.cri.sandbox-cpu-quota").ok().flatten();
    let period = number("io.kubernetes.cri.sandbox-cpu-period").ok().flatten();
    let own = millis(&spec.linux.resources.cpu);
    let cpus = match number(CPUS)? {
        Some(cpus) => cpus,
        None => match (
            quota.filter(|quota| *quota > 0),
            period.filter(|period| *period > 0),
        ) {
            (Some(quota), Some(period)) => quota.div_ceil(period),
            _ => u64::from(own.unwrap_or(1000).div_ceil(1000)),
        },
    };
    let start = match spec.annotation(START) {
        None => StartMode::Auto,
        Some(name) => StartMode::read(name).ok_or_else(|| {
            let what = format!("annotation `{START}: {}`", name.escape_debug());
            Refused::new(what, "is not auto, warm or cold")
        })?,
    };
    Ok(Vm {
        memory_mib: memory,
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX).max(1),
        start,
        ..Vm::default()
    })
}

/// The most processor time, in thousandths of a CPU.
fn millis(cpu: &spec::Cpu) -> Option<u32> {
    let quota = u64::try_from(cpu.quota?).ok().filter(|quota| *quota > 0)?;
    let period = cpu.period.filter(|period| *period > 0).unwrap_or(100_000);
    u32::try_from(quota.saturating_mul(1000).div_ceil(period)).ok()
}

/// The share of the processors, in thousandths of a CPU: 1024 shares stand for one.
fn share(cpu: &spec::Cpu) -> Option<u32> {
    let shares = cpu.shares.filter(|shares| *shares > 0)?;
    u32::try_from(shares.saturating_mul(1000).div_ceil(1024)).ok()
}

/// What a container may take.
pub(super) fn resources(of: &spec::Resources, oom_score_adj: Option<i32>) -> Resources {
    let positive = |limit: Option<i64>| {
        limit
            .and_then(|limit| u64::try_from(limit).ok())
            .filter(|limit| *limit > 0)
    };
    Resources {
        memory_limit_bytes: positive(of.memory.limit),
        memory_request_bytes: None,
        cpu_limit_millis: millis(&of.cpu),
        cpu_request_millis: share(&of.cpu),
        pids_limit: positive(of.pids.limit),
        oom_score_adj: oom_score_adj.and_then(|score| i16::try_from(score).ok()),
    }
}

/// What a container may take from now on; `None`: nothing of it is to be other than it was.
pub(crate) fn update(of: &spec::Resources) -> Option<Update> {
    let mut resources = resources(of, None);
    // A limit of -1 is none from now on.
    if of.memory.limit.is_some_and(|limit| limit < 0) {
        resources.memory_limit_bytes = Some(NO_LIMIT);
    }
    if of.pids.limit.is_some_and(|limit| limit < 0) {
        resources.pids_limit = Some(NO_LIMIT);
    }
    let update = Update {
        resources,
        restart: None,
    };
    (update != Update::default()).then_some(update)
}
