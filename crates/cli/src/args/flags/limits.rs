//! Flags that limit what an app may take. They hold within its pod's VM, which is as large as they
//! ask for together unless `--vm-memory` and `--vm-cpus` say otherwise.

use isopod_spec::flags;

use super::{Flag, keep, push};

pub(super) const FLAGS: &[Flag] = &[
    Flag::app(
        "memory",
        "SIZE",
        "Kill the app when it needs more memory than this, such as 64m",
        |app, text| {
            let limit = &mut app.overrides.resources.memory_limit_bytes;
            keep(limit, flags::read_memory_bytes("--memory", text))
        },
    )
    .short('m'),
    Flag::app(
        "memory-reservation",
        "SIZE",
        "Memory that the app keeps as long as other apps have more than theirs",
        |app, text| {
            let request = &mut app.overrides.resources.memory_request_bytes;
            keep(request, flags::read_memory_bytes("--memory-reservation", text))
        },
    ),
    Flag::app(
        "cpus",
        "N",
        "Give the app at most the time of N CPUs, such as 0.5",
        |app, text| {
            keep(
                &mut app.overrides.resources.cpu_limit_millis,
                flags::read_cpu_millis(text),
            )
        },
    ),
    Flag::app(
        "cpu-shares",
        "N",
        "The app's weight where CPU time is short; an app without this flag has 1024",
        |app, text| {
            keep(
                &mut app.overrides.resources.cpu_request_millis,
                flags::read_cpu_shares(text),
            )
        },
    )
    .short('c'),
    Flag::app(
        "pids-limit",
        "N",
        "Let the app have at most N processes and threads",
        |app, text| {
            app.overrides.resources.pids_limit = flags::read_pids_limit(text)?;
            Ok(())
        },
    ),
    Flag::app(
        "oom-score-adj",
        "N",
        "How readily the kernel kills the app when the VM's memory runs out: -1000 (never) to 1000",
        |app, text| {
            keep(
                &mut app.overrides.resources.oom_score_adj,
                flags::read_oom_score_adj(text),
            )
        },
    ),
    Flag::app(
        "ulimit",
        "NAME=SOFT[:HARD]",
        "Set a limit of setrlimit(2), such as nofile=1024",
        |app, text| push(&mut app.overrides.rlimits, flags::read_ulimit(text)),
    ),
];
