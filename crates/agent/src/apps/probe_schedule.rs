//! When which probe of an app is due, and what their results make of its health: a pure state machine of one life of the
//! app, by the numbers of the planner. It runs nothing and reads no clock: times count from the start of the life.
//!
//! ```text
//!   probe:  unknown ── successes in a row ──> well <──> ill          (Kubernetes' worker: pkg/kubelet/prober/worker.go)
//!              └────── failures in a row ─────────────────^
//!   app:    starting, while a probe is unknown;  unhealthy, while one is ill;  otherwise healthy
//! ```
//!
//! A probe that holds the others (`startup`) is done when it is well; until then no other is due. A probe is never due
//! twice at a time. One that took longer than its period is due again at once.

use std::time::Duration;

use isopod_contract::config::{GuestEnding, GuestProbe};
use isopod_contract::message::Health;

/// What a probe's results have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Finding {
    #[default]
    Unknown,
    Well,
    Ill,
}

/// Where a probe is.
#[derive(Clone, Debug)]
struct Progress {
    finding: Finding,
    /// The last result, and how often it came in a row.
    last: bool,
    run: u32,
    /// When it is due next; `None`: it runs.
    due: Option<Duration>,
    /// When it began last.
    begun: Duration,
}

/// The probes of an app in one of its lives.
#[derive(Clone, Debug)]
pub(crate) struct ProbeSchedule {
    probes: Vec<(GuestProbe, Progress)>,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl ProbeSchedule {
    pub(crate) fn new(probes: &[GuestProbe]) -> Self {
        let begin = |probe: &GuestProbe| {
            let progress = Progress {
                finding: Finding::Unknown,
                last: false,
                run: 0,
                due: Some(ms(probe.initial_delay_ms)),
                begun: Duration::ZERO,
            };
            (probe.clone(), progress)
        };
        Self {
            probes: probes.iter().map(begin).collect(),
        }
    }

    /// Whether the probe may be done: those that hold the others first, and only until they are well.
    fn is_on(&self, probe: usize) -> bool {
        let holds = |(probe, progress): &(GuestProbe, Progress)| {
            probe.holds_others && progress.finding != Finding::Well
        };
        match self.probes[probe].0.holds_others {
            true => holds(&self.probes[probe]),
            false => !self.probes.iter().any(holds),
        }
    }

    /// When the next probe is due; `None`: not before a result.
    pub(crate) fn next(&self) -> Option<Duration> {
        let on = (0..self.probes.len()).filter(|&probe| self.is_on(probe));
        on.filter_map(|probe| self.probes[probe].1.due).min()
    }

    /// The probes to be done now; they run from now on.
    pub(crate) fn begin_due(&mut self, now: Duration) -> Vec<usize> {
        let is_due =
            |probe: &usize| self.is_on(*probe) && self.probes[*probe].1.due.is_some_and(|due| due <= now);
        let due: Vec<usize> = (0..self.probes.len()).filter(is_due).collect();
        for &probe in &due {
            let progress = &mut self.probes[probe].1;
            (progress.due, progress.begun) = (None, now);
        }
        due
    }

    /// Notes the result of a probe that ran; gives how the app is to be ended, where it is.
    pub(crate) fn ended(&mut self, probe: usize, now: Duration, success: bool) -> Option<GuestEnding> {
        let (config, progress) = self.probes.get_mut(probe)?;
        let unknown = progress.finding == Finding::Unknown;
        let lenient = unknown && progress.begun < ms(config.lenient_ms);
        if lenient && !success {
            progress.run = 0;
        } else if progress.run > 0 && progress.last == success {
            progress.run = progress.run.saturating_add(1);
        } else {
            (progress.last, progress.run) = (success, 1);
        }
        let threshold = match success {
            true => config.success_threshold,
            false => config.failure_threshold,
        };
        let found = progress.run >= threshold.max(1);
        if found {
            progress.finding = if success { Finding::Well } else { Finding::Ill };
        }
        let period = match lenient && progress.finding == Finding::Unknown {
            true => config.lenient_period_ms,
            false => config.period_ms,
        };
        progress.due = Some(progress.begun.saturating_add(ms(period)).max(now));
        if found && !success {
            config.on_failure
        } else {
            None
        }
    }

    /// What all of them find.
    pub(crate) fn health(&self) -> Health {
        let any = |finding| {
            self.probes
                .iter()
                .any(|(_, progress)| progress.finding == finding)
        };
        if any(Finding::Ill) {
            Health::Unhealthy
        } else if any(Finding::Unknown) {
            Health::Starting
        } else {
            Health::Healthy
        }
    }

    /// Whether those on which the app's readiness depends find it well.
    pub(crate) fn is_ready(&self) -> bool {
        let well = |(probe, progress): &(GuestProbe, Progress)| {
            progress.finding == Finding::Well || !(probe.readies || probe.holds_others)
        };
        self.probes.iter().all(well)
    }

    pub(crate) fn probe(&self, probe: usize) -> Option<&GuestProbe> {
        self.probes.get(probe).map(|(config, _)| config)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use isopod_contract::config::GuestCheck;
    use proptest::prelude::*;

    const ENDS: GuestEnding = GuestEnding {
        grace_ms: 0,
        restarts: true,
    };

    pub(crate) fn probe(name: &str) -> GuestProbe {
        GuestProbe {
            name: format!("{name} probe"),
            check: GuestCheck::Sleep { ms: 0 },
            initial_delay_ms: 0,
            period_ms: 1000,
            timeout_ms: 1000,
            success_threshold: 1,
            failure_threshold: 3,
            lenient_ms: 0,
            lenient_period_ms: 0,
            holds_others: name == "startup",
            readies: name == "readiness",
            on_failure: (name != "readiness").then_some(ENDS),
        }
    }

    /// Does every probe that is due until `end`, each instantly.
    fn play(
        schedule: &mut ProbeSchedule,
        from: u64,
        end: u64,
        result: impl Fn(usize, u64) -> bool,
    ) -> Vec<(u64, usize)> {
        let mut done = Vec::new();
        let mut now = ms(from);
        while now < ms(end) {
            for probe in schedule.begin_due(now) {
                let at = u64::try_from(now.as_millis()).unwrap();
                done.push((at, probe));
                schedule.ended(probe, now, result(probe, at));
            }
            now = schedule.next().unwrap().max(now + ms(1));
        }
        done
    }

    #[test]
    fn thresholds_count_results_in_a_row() {
        let mut schedule = ProbeSchedule::new(&[GuestProbe {
            success_threshold: 2,
            ..probe("liveness")
        }]);
        let mut feed = |success| {
            schedule.begin_due(ms(60_000));
            let end = schedule.ended(0, Duration::ZERO, success);
            (schedule.health(), end.is_some())
        };
        assert_eq!(feed(true), (Health::Starting, false));
        assert_eq!(feed(true), (Health::Healthy, false));
        assert_eq!(feed(false), (Health::Healthy, false));
        assert_eq!(feed(false), (Health::Healthy, false));
        assert_eq!(feed(true), (Health::Healthy, false));
        assert_eq!(feed(false), (Health::Healthy, false));
        assert_eq!(feed(false), (Health::Healthy, false));
        assert_eq!(feed(false), (Health::Unhealthy, true));
        assert_eq!(feed(true), (Health::Unhealthy, false));
        assert_eq!(feed(true), (Health::Healthy, false));
    }

    #[test]
    fn startup_holds_the_others_and_is_done_then() {
        let mut schedule = ProbeSchedule::new(&[
            GuestProbe {
                failure_threshold: 10,
                ..probe("startup")
            },
            GuestProbe {
                initial_delay_ms: 5000,
                ..probe("liveness")
            },
            probe("readiness"),
        ]);
        let done = play(&mut schedule, 0, 3000, |_, at| at >= 2000);
        assert_eq!(done[..3], [(0, 0), (1000, 0), (2000, 0)]);
        assert_eq!(done[3].1, 2, "readiness right behind");
        assert_eq!((schedule.health(), schedule.is_ready()), (Health::Starting, true));
        let done = play(&mut schedule, 3000, 5500, |_, _| true);
        assert!(done.contains(&(5000, 1)) && done.iter().all(|(_, probe)| *probe != 0));
        assert_eq!(schedule.health(), Health::Healthy);
    }

    #[test]
    fn readiness_comes_and_goes_and_ends_nothing() {
        let mut schedule = ProbeSchedule::new(&[probe("readiness"), probe("liveness")]);
        assert!(!schedule.is_ready());
        play(&mut schedule, 0, 500, |_, _| true);
        assert!(schedule.is_ready());
        play(&mut schedule, 500, 4500, |probe, _| probe != 0);
        assert_eq!(
            (schedule.is_ready(), schedule.health()),
            (false, Health::Unhealthy)
        );
        play(&mut schedule, 4500, 5500, |_, _| true);
        assert!(schedule.is_ready());
    }

    #[test]
    fn a_start_period_forgives_until_the_first_success() {
        let check = GuestProbe {
            initial_delay_ms: 100,
            lenient_ms: 2000,
            lenient_period_ms: 100,
            failure_threshold: 2,
            on_failure: None,
            ..probe("health")
        };
        let mut never = ProbeSchedule::new(std::slice::from_ref(&check));
        let done = play(&mut never, 0, 2000, |_, _| false);
        assert_eq!((done.len(), never.health()), (19, Health::Starting));
        play(&mut never, 2000, 4200, |_, _| false);
        assert_eq!(never.health(), Health::Unhealthy);
        let mut once = ProbeSchedule::new(&[check]);
        play(&mut once, 0, 200, |_, _| true);
        assert_eq!(once.health(), Health::Healthy);
        play(&mut once, 200, 2300, |_, _| false);
        assert_eq!(once.health(), Health::Unhealthy, "a success ends the leniency");
    }

    #[test]
    fn what_runs_is_not_due_and_what_is_late_is_due_at_once() {
        let mut schedule = ProbeSchedule::new(&[probe("liveness")]);
        assert_eq!(schedule.begin_due(ms(0)), [0]);
        assert_eq!((schedule.next(), schedule.begin_due(ms(5000)).len()), (None, 0));
        schedule.ended(0, ms(2500), true);
        assert_eq!(schedule.next(), Some(ms(2500)));
    }

    proptest! {
        #[test]
        fn findings_follow_the_last_results(
            results in proptest::collection::vec(any::<bool>(), 0..60),
            success_threshold in 1..4u32,
            failure_threshold in 1..4u32,
        ) {
            let mut schedule = ProbeSchedule::new(&[GuestProbe { success_threshold, failure_threshold, ..probe("readiness") }]);
            let mut now = Duration::ZERO;
            let mut ready = false;
            for (i, success) in results.iter().enumerate() {
                prop_assert_eq!(schedule.next(), Some(now));
                prop_assert_eq!(schedule.begin_due(now), [0]);
                prop_assert_eq!(schedule.ended(0, now, *success), None);
                let run = results[..=i].iter().rev().take_while(|other| *other == success).count();
                let threshold = if *success { success_threshold } else { failure_threshold };
                if run >= threshold as usize {
                    ready = *success;
                }
                prop_assert_eq!(schedule.is_ready(), ready);
                now += ms(1000);
            }
        }

        #[test]
        fn nothing_is_done_early_or_twice_at_a_time(
            delays in proptest::collection::vec((0..3000u64, 1..2000u64, 0..2500u64), 1..4),
            startup: bool,
        ) {
            let probes: Vec<GuestProbe> = delays
                .iter()
                .enumerate()
                .map(|(i, (initial_delay_ms, period_ms, _))| GuestProbe {
                    initial_delay_ms: *initial_delay_ms,
                    period_ms: *period_ms,
                    ..probe(if i == 0 && startup { "startup" } else { "liveness" })
                })
                .collect();
            let mut schedule = ProbeSchedule::new(&probes);
            let mut running: Vec<Option<Duration>> = vec![None; probes.len()];
            let mut last: Vec<Option<Duration>> = vec![None; probes.len()];
            let mut started = !startup;
            for step in 0..200u64 {
                let now = ms(step * 50);
                for (probe, running) in running.iter_mut().enumerate() {
                    if running.is_some_and(|end| end <= now) {
                        *running = None;
                        schedule.ended(probe, now, true);
                        started |= probe == 0 && startup;
                    }
                }
                for begun in schedule.begin_due(now) {
                    prop_assert!(running[begun].is_none());
                    prop_assert!(now >= ms(probes[begun].initial_delay_ms));
                    prop_assert!(last[begun].is_none_or(|last| now >= last + ms(probes[begun].period_ms)));
                    prop_assert!(started || (begun == 0 && startup));
                    prop_assert!(!(started && startup && begun == 0));
                    running[begun] = Some(now + ms(delays[begun].2));
                    last[begun] = Some(now);
                }
            }
        }
    }
}
