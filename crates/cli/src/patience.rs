//! When a command that passes signals on gives up: at the third Ctrl-C, and soon after a signal that asks for its end. Whom it
//! passes them on to may not answer at all.

use std::time::{Duration, Instant};

/// SIGINT's number.
const INTERRUPT: u8 = 2;

/// The Ctrl-C that ends the command.
const GIVE_UP_AT: u32 = 3;

/// What signals have asked for so far.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    interrupts: u32,
    /// The signal that ends the command, and when.
    last: Option<(u8, Instant)>,
}

impl Patience {
    /// How long what a signal was passed on to has to end.
    pub(crate) const AFTER_TERM: Duration = Duration::from_secs(2);

    /// A signal that asks for an end was sent.
    pub(crate) fn asked(&mut self, signal: u8, now: Instant) {
        self.interrupts += u32::from(signal == INTERRUPT);
        let end = match signal {
            INTERRUPT if self.interrupts < GIVE_UP_AT => return,
            INTERRUPT => now,
            _ => now + Self::AFTER_TERM,
        };
        if self.last.is_none_or(|(_, earlier)| end < earlier) {
            self.last = Some((signal, end));
        }
    }

    /// Whether it ends at once.
    pub(crate) fn is_over(&self) -> bool {
        self.last.is_some_and(|(_, end)| end <= Instant::now())
    }

    /// Waits for the end; gives the signal that it is due to.
    pub(crate) fn last(&self) -> impl Future<Output = u8> + use<> {
        let last = self.last;
        async move {
            match last {
                Some((signal, end)) => {
                    tokio::time::sleep_until(end.into()).await;
                    signal
                }
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_interrupts_or_one_other_end_it() {
        let now = Instant::now();
        let mut patience = Patience::default();
        for _ in 0..2 {
            patience.asked(2, now);
            assert_eq!(patience.last, None);
        }
        patience.asked(2, now);
        assert_eq!(patience.last, Some((2, now)));
        for signal in [15, 1] {
            let mut patience = Patience::default();
            patience.asked(signal, now);
            assert_eq!(patience.last, Some((signal, now + Patience::AFTER_TERM)));
            assert!(!patience.is_over());
            // Ctrl-C is faster.
            (0..3).for_each(|_| patience.asked(2, now));
            assert_eq!(patience.last, Some((2, now)));
            assert!(patience.is_over());
        }
    }
}
