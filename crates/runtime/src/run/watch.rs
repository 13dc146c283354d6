//! Whether the guest answers: the agent sends a heartbeat every few seconds ([`isopod_contract::BEAT_EVERY`]), and a guest of which
//! nothing comes for some time has fallen silent. It may answer again: an emulated one on a busy host stands still at times.
//!
//! ```text
//! answers ── SILENT_AFTER without a beat ──> silent ── as long as it may ──> to be killed, where that is asked for
//!   ^───────────────── a beat ────────────────┘
//! ```

use std::time::{Duration, Instant};

/// A guest that sends nothing for so long is silent.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(15);

/// A look that comes later than this was held up itself, with all that the guest said meanwhile.
const LATE: Duration = Duration::from_secs(2);

/// How long a guest may take to acknowledge its stop, at least; an emulated one on a busy host takes a second.
const STOP_ANSWERED: Duration = Duration::from_secs(4);

/// What it may take beyond the apps' grace.
const STOP_SLACK: Duration = Duration::from_secs(1);

/// What a look finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It has just fallen silent.
    Silent,
    /// It has been silent for longer than it may, which is this.
    TooLong(Duration),
    /// It was to stop, and has not acknowledged it within this time.
    StopUnanswered(Duration),
}

/// Watches a guest.
#[derive(Debug)]
pub(super) struct Watch {
    last_answer: Instant,
    silent: bool,
    kill_after: Option<Duration>,
    /// By when it must have acknowledged its stop, and within what time.
    stop: Option<(Instant, Duration)>,
}

impl Watch {
    /// A guest that has just answered.
    pub(super) fn new(now: Instant, kill_after: Option<Duration>) -> Self {
        Self {
            last_answer: now,
            silent: false,
            kill_after,
            stop: None,
        }
    }

    /// It has answered; whether it was silent before.
    pub(super) fn beat(&mut self, now: Instant) -> bool {
        self.last_answer = now;
        self.stop = None;
        std::mem::take(&mut self.silent)
    }

    /// It is asked to stop, and answers at once.
    pub(super) fn stopping(&mut self, now: Instant, grace: Duration) {
        let within = match self.silent {
            true => grace + STOP_SLACK,
            false => STOP_ANSWERED.max(grace + STOP_SLACK),
        };
        let by = now + within;
        if self.stop.is_none_or(|(earlier, _)| by < earlier) {
            self.stop = Some((by, within));
        }
    }

    /// When it answered last.
    pub(super) fn last_answer(&self) -> Instant {
        self.last_answer
    }

    /// When to look next; `None`: there is nothing to wait for.
    pub(super) fn due(&self) -> Option<Instant> {
        let silent = (!self.silent).then_some(SILENT_AFTER);
        let after = [silent, self.kill_after].into_iter().flatten().min();
        let silence = after.map(|after| self.last_answer + after);
        [silence, self.stop.map(|(by, _)| by)].into_iter().flatten().min()
    }

    pub(super) fn look(&mut self, now: Instant) -> Option<Found> {
        let due = self.due().filter(|due| *due <= now)?;
        if now > due + LATE {
            let by = now.saturating_duration_since(due);
            self.last_answer = now;
            self.stop = self.stop.map(|(at, within)| (at + by, within));
            return None;
        }
        if let Some((by, within)) = self.stop
            && by <= now
        {
            return Some(Found::StopUnanswered(within));
        }
        match self.kill_after {
            Some(after) if self.last_answer + after <= now => Some(Found::TooLong(after)),
            _ => {
                self.silent = true;
                Some(Found::Silent)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that is watched from now on, and the moments after that.
    fn watch(kill_after: Option<u64>) -> (Watch, impl Fn(u64) -> Instant) {
        let begun = Instant::now();
        let at = move |seconds| begun + Duration::from_secs(seconds);
        (Watch::new(begun, kill_after.map(Duration::from_secs)), at)
    }

    #[test]
    fn a_guest_that_does_not_answer_is_silent_until_it_does() {
        let (mut watch, at) = watch(None);
        assert!(!watch.beat(at(3)));
        assert_eq!(watch.due(), Some(at(18)));
        assert_eq!(watch.look(at(17)), None);
        assert_eq!(watch.look(at(18)), Some(Found::Silent));
        // OnStarted once.
        assert_eq!((watch.due(), watch.look(at(100))), (None, None));
        assert!(watch.beat(at(101)));
        assert_eq!(watch.due(), Some(at(116)));
    }

    #[test]
    fn one_that_may_not_be_silent_for_long_is_killed() {
        let (mut watch, at) = self::watch(Some(60));
        assert_eq!(watch.look(at(15)), Some(Found::Silent));
        assert_eq!(watch.due(), Some(at(60)));
        assert_eq!(watch.look(at(60)), Some(Found::TooLong(Duration::from_secs(60))));
        let (mut watch, at) = self::watch(Some(10));
        assert_eq!(watch.look(at(10)), Some(Found::TooLong(Duration::from_secs(10))));
    }

    /// A supervisor that was stopped, or a host that stood still, has received nothing either.
    #[test]
    fn who_looks_late_begins_anew() {
        let (mut watch, at) = watch(Some(60));
        assert_eq!(watch.look(at(1000)), None);
        assert_eq!(watch.due(), Some(at(1015)));
    }

    #[test]
    fn a_stop_is_answered_or_the_guest_is_silent() {
        let (mut watch, at) = self::watch(None);
        watch.stopping(at(1), Duration::from_secs(2));
        assert_eq!(watch.due(), Some(at(5)));
        assert_eq!(watch.look(at(5)), Some(Found::StopUnanswered(STOP_ANSWERED)));
        // One that is known to be silent gets the grace alone.
        let (mut watch, at) = self::watch(None);
        assert_eq!(watch.look(at(15)), Some(Found::Silent));
        watch.stopping(at(20), Duration::from_secs(2));
        assert_eq!(watch.due(), Some(at(23)));
        // One that answers has what the apps' stop takes.
        watch.beat(at(21));
        assert_eq!(watch.due(), Some(at(36)));
        watch.stopping(at(21), Duration::from_secs(10));
        assert_eq!(watch.due(), Some(at(32)));
        watch.stopping(at(22), Duration::ZERO);
        assert_eq!(watch.due(), Some(at(26)));
    }
}
