//! Whether and when an app that has ended is restarted: a pure state machine, by the numbers of the planner. It
//! starts nothing and reads no clock.
//!
//! As with docker, an app that ran for long gets the first delay again, and the count of restarts never goes back.

use std::time::Duration;

use isopod_contract::config::{GuestRestart, RestartAfter};

/// A restart that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    /// When, counted from the app's end.
    pub(crate) after: Duration,
    /// How often the app will have been restarted then.
    pub(crate) count: u32,
}

/// An app's restarts so far.
#[derive(Debug)]
pub(crate) struct Restarts {
    policy: GuestRestart,
    count: u32,
    last_delay_ms: Option<u64>,
}

impl Restarts {
    pub(crate) fn new(policy: GuestRestart) -> Self {
        Self {
            policy,
            count: 0,
            last_delay_ms: None,
        }
    }

    /// Another policy from now on.
    pub(crate) fn set(&mut self, policy: GuestRestart) {
        self.policy = policy;
    }

    /// Notes that the app has ended, with a failure or not, after it ran for `ran`; `None`: that end is for good.
    pub(crate) fn ended(&mut self, failed: bool, ran: Duration) -> Option<Restart> {
        let policy = &self.policy;
        let wanted = match policy.after {
            RestartAfter::Failure => failed,
            RestartAfter::AnyEnd => true,
        };
        let count = self.count.checked_add(1)?;
        if !wanted || policy.max_restarts.is_some_and(|most| count > most) {
            return None;
        }
        let long = ran >= Duration::from_millis(policy.reset_after_ms);
        let delay = match self.last_delay_ms {
            Some(last) if !long => last.saturating_mul(2),
            _ => policy.first_delay_ms,
        };
        let delay = delay.min(policy.max_delay_ms);
        (self.count, self.last_delay_ms) = (count, Some(delay));
        Some(Restart {
            after: Duration::from_millis(delay),
            count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(after: RestartAfter, max_restarts: Option<u32>) -> GuestRestart {
        GuestRestart {
            after,
            max_restarts,
            first_delay_ms: 100,
            max_delay_ms: 300_000,
            reset_after_ms: 10_000,
        }
    }

    const FAILED: bool = true;

    #[test]
    fn the_delay_doubles_up_to_the_longest_and_a_long_run_resets_it() {
        let mut restarts = Restarts::new(policy(RestartAfter::Failure, None));
        let mut ms = |ran_ms| {
            let restart = restarts.ended(FAILED, Duration::from_millis(ran_ms)).unwrap();
            restart.after.as_millis()
        };
        let delays: Vec<_> = (0..14).map(|_| ms(9_999)).collect();
        assert_eq!(delays[..4], [100, 200, 400, 800]);
        assert_eq!(delays[11..], [204_800, 300_000, 300_000]);
        assert_eq!((ms(10_000), ms(0)), (100, 200));
    }

    #[test]
    fn a_success_is_an_end_but_for_always() {
        let done = false;
        let mut on_failure = Restarts::new(policy(RestartAfter::Failure, None));
        assert_eq!(on_failure.ended(done, Duration::ZERO), None);
        assert_eq!(on_failure.ended(FAILED, Duration::ZERO).unwrap().count, 1);
        let mut always = Restarts::new(policy(RestartAfter::AnyEnd, None));
        assert_eq!(always.ended(done, Duration::ZERO).unwrap().count, 1);
    }

    proptest! {
        #[test]
        fn counts_are_consecutive_and_bounded_and_delays_within_limits(
            ends in proptest::collection::vec((0..3i32, 0..20_000u64), 0..60),
            max in proptest::option::of(0..5u32),
            always: bool,
        ) {
            let after = if always { RestartAfter::AnyEnd } else { RestartAfter::Failure };
            let mut restarts = Restarts::new(policy(after, max));
            let (mut count, mut last) = (0, 0);
            for (code, ran) in ends {
                match restarts.ended(code != 0, Duration::from_millis(ran)) {
                    None => prop_assert!((!always && code == 0) || max.is_some_and(|max| count >= max)),
                    Some(restart) => {
                        let ms = restart.after.as_millis();
                        prop_assert!(always || code != 0);
                        prop_assert_eq!(restart.count, count + 1);
                        prop_assert!(max.is_none_or(|max| restart.count <= max));
                        prop_assert!(ms == 100 || (ran < 10_000 && ms == (2 * last).min(300_000)));
                        (count, last) = (restart.count, ms);
                    }
                }
            }
        }
    }
}
