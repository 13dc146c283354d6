//! The line in which `isopod run --log-level debug` says when what was reached: `timings: KEY=MS KEY=MS ...`, with
//! whatever the logger puts before it. Any key is read; [`phases`] knows these and makes lengths of time of them:
//!
//! ```text
//! host's clock    0 ── prepare_ms ─┬─────────── ready_ms ──────────── ended_ms ─ synced_ms ─ gone_ms ── end of the process
//!                    (its own 0)   0               │ = the same moment
//! guest's clock     0 ─ guest_init_ms ─ guest_systemd_begun_ms ─ guest_agent_ms ─ guest_arrival_ms ─ guest_mounted_ms
//!                     ─ guest_asked_ms ─ guest_first_app_ms
//! ```

/// Phases with their milliseconds, in `isopod`'s order.
pub(super) type Timings = Vec<(String, f64)>;

/// Reads the line; `None` where it is another one.
pub(super) fn read(line: &str) -> Option<Timings> {
    let (_, pairs) = line.split_once("timings:")?;
    let timings: Timings = pairs.split_whitespace().filter_map(pair).collect();
    (!timings.is_empty()).then_some(timings)
}

fn pair(word: &str) -> Option<(String, f64)> {
    let (key, value) = word.split_once('=')?;
    let milliseconds = value.strip_suffix("ms").unwrap_or(value).parse().ok()?;
    Some((key.to_owned(), milliseconds))
}

/// Several runs, by phase: each phase that any of them has, in the order of the first run that has it.
pub(super) fn columns(runs: &[Timings]) -> Vec<(String, Vec<f64>)> {
    let mut columns: Vec<(String, Vec<f64>)> = Vec::new();
    for (key, value) in runs.iter().flatten() {
        match columns.iter_mut().find(|(name, _)| name == key) {
            Some((_, values)) => values.push(*value),
            None => columns.push((key.clone(), vec![*value])),
        }
    }
    columns
}

/// Where the time of a run went that took `wall` milliseconds, in order; the parts add up to it. `None` where `timings`
/// lacks a key.
pub(super) fn phases(timings: &Timings, wall: f64) -> Option<Timings> {
    let at = |key: &str| {
        timings
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| *value)
    };
    let (prepare, ready, ended) = (at("prepare_ms")?, at("ready_ms")?, at("ended_ms")?);
    let (synced, gone) = (at("synced_ms")?, at("gone_ms")?);
    let (init, begun) = (at("guest_init_ms")?, at("guest_systemd_begun_ms")?);
    let (agent, app) = (at("guest_agent_ms")?, at("guest_first_app_ms")?);
    let (arrival, mounted) = (at("guest_arrival_ms")?, at("guest_mounted_ms")?);
    // The host's time when the guest's clock began: the host continues when the agent has answered that the pod has arrived.
    let boot = ready - at("guest_asked_ms")?;
    let phases = [
        ("host: image, plan, pod directory", prepare),
        ("host: processes, up to the start of the guest's clock", boot),
        ("guest: kernel", init),
        ("guest: modules for the way to the host", begun - init),
        ("guest: systemd, up to its first unit", agent - begun),
        ("guest: agent, greeting", arrival - agent),
        ("guest: the pod's files, modules, mounts", mounted - arrival),
        ("guest: systemd, up to the app", app - mounted),
        (
            "guest: the app, until the host knows of its end",
            ended - boot - app,
        ),
        ("guest: shares written back", synced - ended),
        ("guest: end of the VM", gone - synced),
        ("host: the rest", wall - prepare - gone),
    ];
    Some(phases.map(|(name, value)| (name.to_owned(), value)).into())
}

/// The same of a VM that was restored: its guest's clock does not begin with it.
pub(super) fn warm_phases(timings: &Timings, wall: f64) -> Option<Timings> {
    let at = |key: &str| {
        let found = timings.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| *value)
    };
    let (prepare, ready, ended) = (at("prepare_ms")?, at("ready_ms")?, at("ended_ms")?);
    let (synced, gone) = (at("synced_ms")?, at("gone_ms")?);
    let (arrival, unpacked) = (at("guest_arrival_ms")?, at("guest_unpacked_ms")?);
    let (mounted, asked) = (at("guest_mounted_ms")?, at("guest_asked_ms")?);
    // The host continues when the guest has said that the pod has come.
    let phases = [
        ("host: image, plan, pod directory", prepare),
        (
            "host: processes, restore, until the agent gets the pod",
            ready - (asked - arrival),
        ),
        ("guest: the pod's files", unpacked - arrival),
        ("guest: devices, mounts, network", mounted - unpacked),
        ("guest: systemd reads the units", asked - mounted),
        ("guest: the app, until the host knows of its end", ended - ready),
        ("guest: shares written back", synced - ended),
        ("guest: end of the VM", gone - synced),
        ("host: the rest", wall - prepare - gone),
    ];
    Some(phases.map(|(name, value)| (name.to_owned(), value)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log() {
        let timings = read("DEBUG isopod: timings: gather=12 kernel=1500.5ms odd note=x").unwrap();
        assert_eq!(
            timings,
            [("gather".to_owned(), 12.0), ("kernel".to_owned(), 1500.5)]
        );
        assert_eq!(read("DEBUG isopod: pod prepared"), None);
        assert_eq!(read("timings:"), None);
    }

    #[test]
    fn phases_add_up_to_the_whole() {
        let line = "timings: prepare_ms=50 ready_ms=3000 ended_ms=3600 synced_ms=3650 gone_ms=4000 guest_init_ms=1200 \
                    guest_systemd_begun_ms=1350 guest_agent_ms=2000 guest_systemd_ms=2100 guest_connected_ms=2200 \
                    guest_arrival_ms=2250 guest_mounted_ms=2400 guest_asked_ms=2500 guest_first_app_ms=2700";
        let phases = phases(&read(line).unwrap(), 4100.0).unwrap();
        let values: Vec<f64> = phases.iter().map(|(_, value)| *value).collect();
        assert_eq!(
            values,
            [
                50.0, 500.0, 1200.0, 150.0, 650.0, 250.0, 150.0, 300.0, 400.0, 50.0, 350.0, 50.0
            ]
        );
        assert_eq!(values.iter().sum::<f64>(), 4100.0);
        assert_eq!(super::phases(&read("timings: ready_ms=1").unwrap(), 5.0), None);
    }

    #[test]
    fn phases_of_a_restored_vm_add_up_too() {
        let line = "timings: prepare_ms=10 ready_ms=400 ended_ms=600 synced_ms=610 gone_ms=650 guest_arrival_ms=5000 \
                    guest_unpacked_ms=5020 guest_mounted_ms=5150 guest_asked_ms=5200";
        let phases = warm_phases(&read(line).unwrap(), 670.0).unwrap();
        let values: Vec<f64> = phases.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [10.0, 200.0, 20.0, 130.0, 50.0, 200.0, 10.0, 40.0, 10.0]);
        assert_eq!(values.iter().sum::<f64>(), 670.0);
    }

    #[test]
    fn runs_are_brought_together_by_phase() {
        let first = read("timings: a=1 b=2").unwrap();
        let second = read("timings: b=4 a=3 c=5").unwrap();
        assert_eq!(
            columns(&[first, second]),
            [
                ("a".to_owned(), vec![1.0, 3.0]),
                ("b".to_owned(), vec![2.0, 4.0]),
                ("c".to_owned(), vec![5.0])
            ]
        );
    }
}
