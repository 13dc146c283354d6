//! How often something may happen that a guest brings about: some at once, and then one at a time.

use std::time::{Duration, Instant};

/// A number of things that may happen at once, and how long each takes to come back.
#[derive(Debug)]
pub(super) struct Allowance {
    at_once: u32,
    every: Duration,
    left: u32,
    /// Up to when what came back is in `left`.
    counted: Instant,
    refused: u64,
}

impl Allowance {
    pub(super) fn new(at_once: u32, every: Duration) -> Self {
        Self {
            at_once,
            every,
            left: at_once,
            counted: Instant::now(),
            refused: 0,
        }
    }

    /// Whether it may happen now, and then how often it might not since the last time; otherwise it is counted.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.counted);
        let back = u32::try_from(passed.as_nanos() / self.every.as_nanos().max(1)).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(back).min(self.at_once);
        self.counted = match self.left == self.at_once {
            true => now,
            false => self.counted + self.every * back,
        };
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.refused))
            }
            None => {
                self.refused = self.refused.saturating_add(1);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_once_and_then_one_at_a_time() {
        let every = Duration::from_secs(10);
        let mut allowance = Allowance::new(3, every);
        let begun = Instant::now();
        let mut taken = Vec::new();
        // A thousand a second for a hundred seconds.
        for ms in 0..100_000 {
            taken.extend(allowance.take(begun + Duration::from_millis(ms)));
        }
        assert_eq!(taken.len(), 3 + 9, "{taken:?}");
        assert_eq!(taken[..3], [0, 0, 0]);
        assert_eq!(taken[4..].iter().sum::<u64>(), 8 * 9_999);
        // After a rest it is as it was at the beginning, and what was refused is taken.
        let later = begun + Duration::from_secs(1000);
        let taken: Vec<_> = (0..5).map(|_| allowance.take(later)).collect();
        assert_eq!((taken[1], taken[2], taken[3]), (Some(0), Some(0), None));
        assert!(taken[0] > Some(9_000), "{taken:?}");
        // A clock that went back is no reason for more.
        assert_eq!(allowance.take(begun), None);
    }
}
