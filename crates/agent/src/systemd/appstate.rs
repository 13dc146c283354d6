//! What a unit's state means for its app: a pure function of what systemd says (systemd.service(5), `src/core/service.c`).
//!
//! ```text
//!   inactive, start job waiting ──> activating ──> active ──> deactivating ──> inactive or failed, no job
//!            Pending                  Pending      Running       Running         Exited
//!               │                       └── the agent cannot be executed there ───────> Failed
//!               └── a dependency failed, the job was cancelled ────────────────> Failed
//! ```
//!
//! The app's unit is of `Type=exec`, so that `active` means that the agent was executed in the app's world, which becomes
//! the program at once or says why not ([`launch::failure`](crate::apps::launch::failure)); the unit has no
//! `Restart=` and no `RemainAfterExit=`, so that its end is an end.

use isopod_contract::message::ExitStatus;

/// `ActiveState` of a unit, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Activity {
    /// `inactive`: at rest.
    #[default]
    Inactive,
    /// `failed`, at rest after a failure.
    Failed,
    /// `active` and `reloading`.
    Active,
    /// `activating`, `deactivating` and whatever else is on the way.
    Changing,
}

impl Activity {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "inactive" => Self::Inactive,
            "failed" => Self::Failed,
            "active" | "reloading" => Self::Active,
            _ => Self::Changing,
        }
    }
}

/// What systemd says of an app's unit. Names are those of its D-Bus properties (org.freedesktop.systemd1(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceState {
    pub(crate) active: Activity,
    /// Whether a job is queued or running for the unit.
    pub(crate) job: bool,
    /// `ActiveEnterTimestampMonotonic` in microseconds; 0: it never was active.
    pub(crate) active_enter_us: u64,
    /// `ExecMainStartTimestampMonotonic` in microseconds; 0: the main process was never forked.
    pub(crate) exec_main_start_us: u64,
    /// `ExecMainCode`: waitid(2)'s `si_code`.
    pub(crate) exec_main_code: i32,
    /// `ExecMainStatus`: the exit status or the signal.
    pub(crate) exec_main_status: i32,
    /// `ExecMainPID` of a process that a signal killed; 0 otherwise.
    pub(crate) killed_pid: u32,
}

impl ServiceState {
    /// What systemd says of the unit's present life: times of an earlier one, `seen`, count as none.
    pub(crate) fn since(self, seen: (u64, u64)) -> Self {
        let new = |time, seen| if time == seen { 0 } else { time };
        Self {
            active_enter_us: new(self.active_enter_us, seen.0),
            exec_main_start_us: new(self.exec_main_start_us, seen.1),
            ..self
        }
    }
}

/// Where an app is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppState {
    /// Nothing to report yet.
    Pending,
    /// Its program is executing.
    Running {
        /// When its process was started, in milliseconds of uptime.
        uptime_ms: u64,
    },
    /// It ran, and has ended.
    Exited {
        /// When its process was started, in milliseconds of uptime.
        uptime_ms: u64,
        status: ExitStatus,
    },
    NeverRan {
        /// What systemd could not do for its process, where it came so far: one of systemd's own exit codes.
        step: Option<i32>,
    },
}

/// waitid(2).
const CLD_EXITED: i32 = 1;
pub(crate) const CLD_KILLED: i32 = 2;
const CLD_DUMPED: i32 = 3;

/// systemd.exec(5), "Process Exit Codes": from `EXIT_CHDIR` on, what failed between fork and execution.
const SYSTEMD_EXIT_CODES: std::ops::RangeInclusive<i32> = 200..=245;

/// How a process ended, from waitid(2)'s `si_code` and `si_status`; `None`: it has not.
pub(crate) fn exit_status(code: i32, status: i32) -> Option<ExitStatus> {
    let signal = |core| ExitStatus::Signal { signal: status, core };
    match code {
        CLD_EXITED => Some(ExitStatus::Code(status)),
        CLD_KILLED => Some(signal(false)),
        CLD_DUMPED => Some(signal(true)),
        _ => None,
    }
}

/// Where the app of a unit in this state is.
pub(crate) fn judge(state: &ServiceState) -> AppState {
    let uptime_ms = state.exec_main_start_us / 1000;
    let was_active = state.active_enter_us > 0;
    let at_rest = matches!(state.active, Activity::Inactive | Activity::Failed) && !state.job;
    if !at_rest {
        return if was_active {
            AppState::Running { uptime_ms }
        } else {
            AppState::Pending
        };
    }
    let status = exit_status(state.exec_main_code, state.exec_main_status);
    let status = status.unwrap_or(ExitStatus::Code(state.exec_main_status));
    match status {
        _ if state.exec_main_start_us == 0 => AppState::NeverRan { step: None },
        status if was_active => AppState::Exited { uptime_ms, status },
        ExitStatus::Code(code) if SYSTEMD_EXIT_CODES.contains(&code) => {
            AppState::NeverRan { step: Some(code) }
        }
        // Killed before it was executed: stopped at once, or out of memory.
        status => AppState::Exited { uptime_ms, status },
    }
}

/// systemd's name for the step that an exit code of its own stands for, as it prints it: `226/NAMESPACE`.
pub(crate) fn step_name(code: i32) -> String {
    let name = match code {
        200 => "CHDIR",
        203 => "EXEC",
        205 => "LIMITS",
        207 => "CHROOT",
        208 => "STDIN",
        209 => "STDOUT",
        210 => "CHROOT",
        214 => "SETSCHEDULER",
        216 => "GROUP",
        217 => "USER",
        218 => "CAPABILITIES",
        219 => "CGROUP",
        222 => "STDERR",
        224 => "PAM",
        226 => "NAMESPACE",
        227 => "NO_NEW_PRIVILEGES",
        228 => "SECCOMP",
        _ => return code.to_string(),
    };
    format!("{code}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_rest(code: i32, status: i32, was_active: bool) -> ServiceState {
        ServiceState {
            active: Activity::Failed,
            job: false,
            active_enter_us: if was_active { 1_500_000 } else { 0 },
            exec_main_start_us: 1_400_000,
            exec_main_code: code,
            exec_main_status: status,
            killed_pid: 0,
        }
    }

    #[test]
    fn before_the_start_nothing_is_said() {
        let waiting = ServiceState {
            job: true,
            ..ServiceState::default()
        };
        assert_eq!(judge(&waiting), AppState::Pending);
        let starting = ServiceState {
            active: Activity::Changing,
            exec_main_start_us: 7,
            ..waiting
        };
        assert_eq!(judge(&starting), AppState::Pending);
    }

    #[test]
    fn active_is_running_and_so_is_deactivating() {
        for active in [Activity::Active, Activity::Changing] {
            let state = ServiceState {
                active,
                ..at_rest(0, 0, true)
            };
            assert_eq!(judge(&state), AppState::Running { uptime_ms: 1400 });
        }
    }

    #[test]
    fn ends_are_distinguished_from_failures() {
        let exited = |status| AppState::Exited {
            uptime_ms: 1400,
            status,
        };
        assert_eq!(judge(&at_rest(1, 3, true)), exited(ExitStatus::Code(3)));
        assert_eq!(
            judge(&at_rest(1, 203, true)),
            exited(ExitStatus::Code(203)),
            "the program's own 203"
        );
        assert_eq!(
            judge(&at_rest(2, 9, true)),
            exited(ExitStatus::Signal {
                signal: 9,
                core: false
            })
        );
        assert_eq!(
            judge(&at_rest(3, 6, true)),
            exited(ExitStatus::Signal {
                signal: 6,
                core: true
            })
        );
        assert_eq!(
            judge(&at_rest(1, 226, false)),
            AppState::NeverRan { step: Some(226) }
        );
        assert_eq!(
            judge(&at_rest(2, 15, false)),
            exited(ExitStatus::Signal {
                signal: 15,
                core: false
            })
        );
        assert_eq!(judge(&ServiceState::default()), AppState::NeverRan { step: None });
        assert_eq!(step_name(226), "226/NAMESPACE");
    }

    #[test]
    fn a_job_that_waits_is_not_an_end() {
        assert_eq!(
            judge(&ServiceState {
                job: true,
                ..at_rest(1, 0, true)
            }),
            AppState::Running { uptime_ms: 1400 }
        );
    }
}
