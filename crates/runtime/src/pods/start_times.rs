//! Where the time of a pod's start went.
//!
//! ```text
//! booted     0 ── guest's clock ── first process ── systemd ── agent ── arrival ── unpacked ── mounted ── asked ── each app
//! restored   0 ───────── the agent receives the pod ────────── arrival ── unpacked ── mounted ── asked ── each app
//! ```
//!
//! The guest reports its times by its own clock, which began in another VM where this one was restored. Both clocks meet when the
//! agent answers that the pod has arrived.

use std::time::Duration;

use isopod_spec::AppName;
use isopod_vm::agent::{ArrivalTimes, BootTimes};
use serde::{Deserialize, Serialize};

/// When a pod's start reached what, as its supervisor writes it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StartTimes {
    /// Whether the VM was restored from a template.
    pub restored: bool,
    /// When the agent had answered that the pod has arrived, in milliseconds since the first of the pod's processes was started.
    pub arrived_ms: u64,
    /// The guest's boot: where it was restored, that of the template.
    pub boot: BootTimes,
    pub arrival: ArrivalTimes,
    /// The apps that came with the pod and have started, in the order in which they did.
    pub apps: Vec<AppTime>,
}

/// When an app's program was executed first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AppTime {
    pub name: AppName,
    /// In milliseconds of the guest's clock.
    pub executed_ms: u64,
}

/// A part of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub what: String,
    pub side: Side,
    /// When it began, in milliseconds since the first of the pod's processes was started.
    pub from_ms: u64,
    pub to_ms: u64,
}

/// Whose time it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Host,
    Guest,
    /// The guest's, for one app.
    App,
}

impl Side {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Guest => "guest",
            Self::App => "app",
        }
    }
}

impl StartTimes {
    /// The times of a pod that has just arrived in its guest.
    #[must_use]
    pub fn of_arrival(since_start: Duration, restored: bool, arrival: ArrivalTimes) -> Self {
        Self {
            restored,
            arrived_ms: since_start.as_millis().try_into().unwrap_or(u64::MAX),
            boot: BootTimes::default(),
            arrival,
            apps: Vec::new(),
        }
    }

    /// An app's program was executed; that it was restarted later is no part of the start.
    pub(crate) fn app_executed(&mut self, name: &AppName, executed_ms: u64) {
        if self.apps.iter().all(|app| app.name != *name) {
            self.apps.push(AppTime {
                name: name.clone(),
                executed_ms,
            });
        }
    }

    /// The parts of the start in their order; those of apps last, side by side.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let (boot, arrival) = (&self.boot, &self.arrival);
        // The agent answers when it has asked systemd to start the apps.
        let zero = i128::from(self.arrived_ms) - i128::from(arrival.asked_ms);
        let at = |guest_ms: u64| u64::try_from(zero + i128::from(guest_ms)).unwrap_or(0);
        let mut marks: Vec<(&str, Side, u64)> = Vec::new();
        if self.restored {
            let restore = "processes start, the VM is restored, the agent receives the pod";
            marks.push((restore, Side::Host, at(arrival.begun_ms)));
        } else {
            marks.push(("processes start, QEMU loads the guest", Side::Host, at(0)));
            marks.push(("kernel", Side::Guest, at(boot.init_ms)));
            marks.push((
                "modules for the connection to the host",
                Side::Guest,
                at(boot.systemd_begun_ms),
            ));
            marks.push(("systemd, up to the agent", Side::Guest, at(boot.agent_started_ms)));
            marks.push(("agent and host connect", Side::Guest, at(arrival.begun_ms)));
        }
        marks.push(("the pod's files", Side::Guest, at(arrival.unpacked_ms)));
        marks.push((
            "modules, disks, mounts, network",
            Side::Guest,
            at(arrival.mounted_ms),
        ));
        marks.push(("systemd reads the units", Side::Guest, at(arrival.asked_ms)));
        let mut spans: Vec<Span> = Vec::new();
        for (what, side, to_ms) in marks {
            let from_ms = spans.last().map_or(0, |last| last.to_ms);
            spans.push(Span {
                what: what.to_owned(),
                side,
                from_ms,
                to_ms: to_ms.max(from_ms),
            });
        }
        let asked = spans.last().map_or(0, |last| last.to_ms);
        spans.extend(self.apps.iter().map(|app| Span {
            what: format!("unit of app `{}`", app.name),
            side: Side::App,
            from_ms: asked,
            to_ms: at(app.executed_ms).max(asked),
        }));
        spans
    }

    /// When the last of it had ended.
    #[must_use]
    pub fn total_ms(&self) -> u64 {
        self.spans().iter().map(|span| span.to_ms).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn booted() -> StartTimes {
        StartTimes {
            restored: false,
            arrived_ms: 1500,
            boot: BootTimes {
                init_ms: 400,
                systemd_begun_ms: 500,
                agent_started_ms: 900,
                systemd_ms: 950,
                connected_ms: 1000,
            },
            arrival: ArrivalTimes {
                begun_ms: 1000,
                unpacked_ms: 1020,
                mounted_ms: 1100,
                asked_ms: 1200,
            },
            apps: ["web", "db"]
                .map(|name| AppTime {
                    name: name.parse().unwrap(),
                    executed_ms: 1400,
                })
                .into(),
        }
    }

    #[test]
    fn the_parts_of_a_boot_follow_each_other_and_apps_stand_side_by_side() {
        let spans = booted().spans();
        let ends: Vec<(u64, u64)> = spans.iter().map(|span| (span.from_ms, span.to_ms)).collect();
        assert_eq!(
            ends,
            [
                (0, 300),
                (300, 700),
                (700, 800),
                (800, 1200),
                (1200, 1300),
                (1300, 1320),
                (1320, 1400),
                (1400, 1500),
                (1500, 1700),
                (1500, 1700),
            ]
        );
        assert_eq!(booted().total_ms(), 1700);
    }

    #[test]
    fn the_clock_of_a_restored_guest_began_in_another_vm() {
        let times = StartTimes {
            restored: true,
            arrived_ms: 300,
            arrival: ArrivalTimes {
                begun_ms: 5000,
                unpacked_ms: 5010,
                mounted_ms: 5060,
                asked_ms: 5100,
            },
            apps: vec![AppTime {
                name: "web".parse().unwrap(),
                executed_ms: 5150,
            }],
            boot: BootTimes::default(),
        };
        let spans = times.spans();
        assert_eq!((spans[0].side, spans[0].to_ms), (Side::Host, 200));
        assert_eq!((spans.len(), times.total_ms()), (5, 350));
        // Nothing that a guest reports overflows.
        let odd = StartTimes {
            arrived_ms: u64::MAX,
            boot: BootTimes {
                connected_ms: 1,
                ..BootTimes::default()
            },
            ..booted()
        };
        assert!(odd.total_ms() > 0);
    }
}
