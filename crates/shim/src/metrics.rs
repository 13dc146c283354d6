//! What a container uses, as containerd passes it on (`io.containerd.cgroups.v2.Metrics`).

use containerd_shim_protos::cgroups_v2::metrics::{CPUStat, IOEntry, IOStat, MemoryStat, Metrics, PidsStat};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use isopod_contract::stats::{AppStats, Stats};

/// The type's name, as containerd registers it.
const TYPE: &str = "io.containerd.cgroups.v2.Metrics";

/// What container number `app` uses, which may have as much memory as `limit`; where it is the sandbox, the guest's own share of the VM.
pub(crate) fn of(stats: &Stats, app: Option<usize>, limit: Option<u64>) -> Any {
    let all = stats.guest.memory_total_bytes;
    let limit = limit.map_or(all, |limit| limit.min(all));
    let metrics = match app {
        Some(app) => container(&stats.apps.get(app).copied().unwrap_or_default(), limit),
        None => sandbox(stats),
    };
    Any {
        type_url: TYPE.to_owned(),
        value: metrics.write_to_bytes().unwrap_or_default(),
        ..Any::default()
    }
}

fn container(used: &AppStats, limit: u64) -> Metrics {
    let usage = used.memory_bytes.unwrap_or_default();
    Metrics {
        pids: MessageField::some(PidsStat {
            current: used.processes.into(),
            ..PidsStat::default()
        }),
        cpu: MessageField::some(CPUStat {
            usage_usec: used.cpu_usec.unwrap_or_default(),
            ..CPUStat::default()
        }),
        memory: MessageField::some(MemoryStat {
            usage,
            usage_limit: limit,
            max_usage: used.memory_peak_bytes.unwrap_or_default(),
            anon: used.memory_anonymous_bytes.unwrap_or_default(),
            inactive_file: used.memory_inactive_file_bytes.unwrap_or_default(),
            ..MemoryStat::default()
        }),
        io: MessageField::some(IOStat {
            usage: vec![IOEntry {
                rbytes: used.io_read_bytes.unwrap_or_default(),
                wbytes: used.io_write_bytes.unwrap_or_default(),
                ..IOEntry::default()
            }],
            ..IOStat::default()
        }),
        ..Metrics::default()
    }
}

/// What the VM uses that no container does.
fn sandbox(stats: &Stats) -> Metrics {
    let guest = &stats.guest;
    let used = guest
        .memory_total_bytes
        .saturating_sub(guest.memory_available_bytes);
    let apps: u64 = stats.apps.iter().filter_map(|app| app.memory_bytes).sum();
    Metrics {
        memory: MessageField::some(MemoryStat {
            usage: used.saturating_sub(apps),
            usage_limit: guest.memory_total_bytes,
            ..MemoryStat::default()
        }),
        ..Metrics::default()
    }
}
