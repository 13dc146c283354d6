//! The heartbeats that show the host that the agent runs, and the answers, which have the time.

use std::time::{Duration, Instant};

use isopod_contract::BEAT_EVERY;
use isopod_protocol::handshake::HostTime;

use crate::host::clock::Clock;

/// How long an answer is waited for before another beat: a host that is stopped finds few of them when it continues.
const ANSWER_WITHIN: Duration = Duration::from_secs(9);

/// The beats of a session.
pub(super) struct Heartbeat {
    clock: Clock,
    /// The number of the last beat.
    number: u32,
    /// When it was, until its answer has come.
    asked: Option<Instant>,
    next: Instant,
    /// Whether the clock could not be set the last time, of which one message is enough.
    failed: bool,
}

impl Heartbeat {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            number: 0,
            asked: None,
            next: Instant::now(),
            failed: false,
        }
    }

    /// When the next beat is due.
    pub(super) fn next_beat(&self) -> Instant {
        self.next
    }

    /// Beats; gives the number.
    pub(super) fn beat(&mut self, now: Instant) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.asked = Some(now);
        self.next = now + ANSWER_WITHIN;
        self.number
    }

    /// The host has answered; gives what is to be said of it.
    pub(super) fn answered(&mut self, number: u32, unix_ns: u64, received: Instant) -> Option<String> {
        // An answer to an earlier beat does not say when it was asked.
        let asked = self.asked.filter(|_| number == self.number)?;
        self.asked = None;
        self.next = asked + BEAT_EVERY;
        let time = HostTime {
            unix_ns,
            received,
            round_trip: received.saturating_duration_since(asked),
        };
        let error = self.clock.follow(&time).err();
        let before = std::mem::replace(&mut self.failed, error.is_some());
        error
            .filter(|_| !before)
            .map(|error| format!("cannot set the guest's clock: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_beats_when_the_last_was_answered_or_was_long_ago() {
        let mut heartbeat = Heartbeat::new(Clock::default());
        let begun = heartbeat.next_beat();
        assert_eq!(heartbeat.beat(begun), 1);
        assert_eq!(heartbeat.next_beat(), begun + ANSWER_WITHIN);
        // Out of turn, it says nothing.
        assert_eq!(heartbeat.answered(7, 0, begun), None);
        assert_eq!(heartbeat.next_beat(), begun + ANSWER_WITHIN);
    }
}
