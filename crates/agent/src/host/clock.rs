//! The guest's clock follows the host's: it is set when the host is greeted, before any app runs, and then at every beat
//! slewed a little, or set where it is far off, as after a suspend of the host, or when somebody has set either clock.
//!
//! The guest's kernel starts with what a real-time clock says, whole seconds; and its clock runs as fast as QEMU's timers
//! were measured to, which under emulation may be some hundred millionths wrong.

use std::time::{Duration, Instant};

use clock_steering::unix::UnixClock;
use clock_steering::{Clock as _, TimeOffset};
use isopod_protocol::handshake::HostTime;
use rustix::time::{ClockId, clock_gettime};

/// A clock that is further off than this, in nanoseconds, is set.
const STEP_OVER_NS: i128 = 10_000_000;

/// In so many seconds a small difference is to be gone.
const SLEW_SECONDS: f64 = 6.0;

/// What of a difference is taken for the clock's own speed.
const DRIFT_PART: f64 = 0.3;

/// The kernel's clock is slewed by no more than this, in millionths (adjtimex(2)).
const MAX_PPM: f64 = 500.0;

/// What is to be done with the clock.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    /// It is to be set forth by so many nanoseconds.
    Step(i128),
    /// It is to run faster by so many millionths.
    Run(f64),
}

/// The guest's clock.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// By how many millionths it runs too slow.
    drift_ppm: f64,
    /// When it was compared last.
    compared: Option<Instant>,
}

impl Clock {
    /// Compares it with the host's and corrects it.
    ///
    /// # Errors
    /// What the kernel refuses it with.
    pub(crate) fn follow(&mut self, time: &HostTime) -> std::io::Result<()> {
        let passed = time.received.elapsed() + time.round_trip / 2;
        let now = clock_gettime(ClockId::Realtime);
        let own = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
        let hosts = i128::from(time.unix_ns) + i128::try_from(passed.as_nanos()).unwrap_or_default();
        let change = self.judge(hosts - own, time.round_trip / 2, time.received);
        let clock = UnixClock::CLOCK_REALTIME;
        match change {
            Change::Step(0) => Ok(()),
            Change::Step(by) => clock.step_clock(offset(by)).map(drop).map_err(Into::into),
            Change::Run(ppm) => clock.set_frequency(ppm).map(drop).map_err(Into::into),
        }
    }

    /// What to do with a clock that is `behind` the host's by so many nanoseconds, known up to `uncertainty`.
    fn judge(&mut self, behind: i128, uncertainty: Duration, at: Instant) -> Change {
        let uncertainty = i128::try_from(uncertainty.as_nanos()).unwrap_or(i128::MAX);
        let Some(compared) = self.compared else {
            self.compared = Some(at);
            return Change::Step(behind);
        };
        if behind.abs() > STEP_OVER_NS.saturating_add(uncertainty) {
            self.compared = Some(at);
            return Change::Step(behind);
        }
        if behind.abs() <= uncertainty {
            return Change::Run(self.drift_ppm);
        }
        // Nanoseconds in a second are thousandths of millionths.
        let since = at.saturating_duration_since(compared).as_secs_f64().max(1.0);
        self.compared = Some(at);
        let behind = behind as f64 / 1000.0;
        let clamp = |ppm: f64| ppm.clamp(-MAX_PPM, MAX_PPM);
        self.drift_ppm = clamp(self.drift_ppm + DRIFT_PART * behind / since);
        Change::Run(clamp(self.drift_ppm + behind / SLEW_SECONDS))
    }
}

/// A number of nanoseconds as the kernel takes it: whole seconds, and what is beyond, which is never negative.
fn offset(ns: i128) -> TimeOffset {
    let seconds = ns.div_euclid(1_000_000_000);
    TimeOffset {
        seconds: i64::try_from(seconds).unwrap_or_default(),
        nanos: u32::try_from(ns.rem_euclid(1_000_000_000)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i128 = 1_000_000;

    #[test]
    fn offsets_are_split_as_the_kernel_wants_them() {
        let split = |ns| (offset(ns).seconds, offset(ns).nanos);
        assert_eq!(split(1_500 * MS), (1, 500_000_000));
        assert_eq!(split(-1), (-1, 999_999_999));
        assert_eq!(split(-2_000 * MS), (-2, 0));
    }

    #[test]
    fn it_is_set_at_first_and_where_it_is_far_off() {
        let mut clock = Clock::default();
        let (begun, exact) = (Instant::now(), Duration::ZERO);
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(clock.judge(3 * MS, exact, at(0)), Change::Step(3 * MS));
        assert_eq!(clock.judge(11 * MS, exact, at(3)), Change::Step(11 * MS));
        assert_eq!(
            clock.judge(-86_400_000 * MS, exact, at(6)),
            Change::Step(-86_400_000 * MS)
        );
        // What may be due to a slow answer is no difference.
        let slow = Duration::from_millis(40);
        assert_eq!(clock.judge(39 * MS, slow, at(9)), Change::Run(0.0));
        assert_eq!(clock.judge(51 * MS, slow, at(12)), Change::Step(51 * MS));
    }

    /// However wrong it runs, up to what the kernel can correct, it comes to within a tenth of a millisecond and stays.
    #[test]
    fn a_clock_that_runs_wrong_is_kept() {
        for true_drift in [-300.0, -20.0, 0.0, 150.0, 400.0_f64] {
            let mut clock = Clock::default();
            let begun = Instant::now();
            let (mut behind, mut ppm) = (700.0 * 1e6, 0.0);
            for beat in 0..100_u32 {
                let at = begun + Duration::from_secs(3) * beat;
                match clock.judge(behind as i128, Duration::from_micros(50), at) {
                    Change::Step(by) => behind -= by as f64,
                    Change::Run(faster) => ppm = faster,
                }
                behind += 3.0 * 1000.0 * (true_drift - ppm);
                assert!(behind.abs() < 5e6, "{true_drift} {beat}: {behind}");
                assert!(
                    beat < 30 || behind.abs() < 1e5 * 3.0,
                    "{true_drift} {beat}: {behind}"
                );
            }
        }
    }
}
