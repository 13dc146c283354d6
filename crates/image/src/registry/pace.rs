//! The least speed of an answer, at the socket: beneath TLS, so that it holds for all that a registry, its token
//! server or a proxy sends: handshakes, headers, redirections, chunk frames, bodies.
//!
//! A limit on silence alone lets a peer that sends a byte now and then hold a download, and with it the store's lock,
//! for ever. Only the time in which bytes are awaited counts, from an answer's first byte on: neither a registry that
//! thinks (there the limit on silence is the one) nor a slow disk of ours makes an answer slow. What is sent begins a
//! new answer.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use super::Patience;

/// An answer came too slowly.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooSlow {
    floor: u64,
    window: Duration,
}

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (floor, seconds) = (self.floor, self.window.as_secs_f64());
        write!(f, "it was slower than {floor} bytes a second for {seconds} s")
    }
}

impl std::error::Error for TooSlow {}

/// What came of an answer since the last look.
#[derive(Debug)]
struct Pace {
    limit: TooSlow,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn new(patience: Patience) -> Self {
        let (floor, window) = (patience.floor, patience.silence);
        Self {
            limit: TooSlow { floor, window },
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// A new answer is awaited.
    fn begin(&mut self) {
        (self.waited, self.bytes) = (Duration::ZERO, 0);
    }

    /// So many bytes came after so long.
    fn came(&mut self, bytes: usize, waited: Duration) -> Result<(), TooSlow> {
        let is_first = self.bytes == 0;
        self.bytes += bytes as u64;
        if is_first {
            return Ok(());
        }
        self.waited += waited;
        if self.waited < self.limit.window {
            return Ok(());
        }
        let speed = self.bytes as f64 / self.waited.as_secs_f64();
        match speed < self.limit.floor as f64 {
            true => Err(self.limit),
            false => {
                (self.waited, self.bytes) = (Duration::ZERO, 1);
                Ok(())
            }
        }
    }
}

/// Gives connections a least speed; stands in a chain of connectors where they are made, before TLS.
#[derive(Debug)]
pub(super) struct Paced(pub(super) Patience);

impl<In: Transport> Connector<In> for Paced {
    type Out = PacedTransport<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| PacedTransport {
            inner,
            pace: Pace::new(self.0),
        }))
    }
}

/// A connection with a least speed.
#[derive(Debug)]
pub(super) struct PacedTransport<T> {
    inner: T,
    pace: Pace,
}

impl<T: Transport> Transport for PacedTransport<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.pace.begin();
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let before = self.inner.buffers().input().len();
        let begin = Instant::now();
        let came = self.inner.await_input(timeout)?;
        let bytes = self.inner.buffers().input().len().saturating_sub(before);
        self.pace
            .came(bytes, begin.elapsed())
            .map_err(|slow| Error::Io(io::Error::new(io::ErrorKind::TimedOut, slow)))?;
        Ok(came)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(Patience {
            floor: 100,
            silence: Duration::from_secs(60),
            ..Patience::default()
        })
    }

    /// How many of these arrivals (bytes, seconds) pass.
    fn passed(pace: &mut Pace, arrivals: impl IntoIterator<Item = (usize, u64)>) -> usize {
        let came = |(bytes, seconds): (usize, u64)| pace.came(bytes, Duration::from_secs(seconds)).is_ok();
        arrivals.into_iter().map(came).take_while(|ok| *ok).count()
    }

    #[test]
    fn a_byte_now_and_then_is_too_slow() {
        assert_eq!(passed(&mut pace(), [(1, 2); 1000]), 30);
        assert_eq!(passed(&mut pace(), [(1, 59); 1000]), 2);
        // A good beginning helps for its own time alone.
        let begin = [(10_000, 1), (10_000, 59)];
        assert_eq!(passed(&mut pace(), begin.into_iter().chain([(1, 2); 1000])), 32);
    }

    #[test]
    fn what_is_slow_but_comes_is_not_given_up() {
        assert_eq!(passed(&mut pace(), [(200, 2); 1000]), 1000);
        // In gusts.
        assert_eq!(passed(&mut pace(), [(6000, 59), (1, 1)].repeat(500)), 1000);
    }

    #[test]
    fn neither_thought_nor_a_new_request_is_slow() {
        let mut pace = pace();
        for _ in 0..10 {
            pace.begin();
            assert_eq!(passed(&mut pace, [(10, 59), (10, 1), (10, 50)]), 3);
        }
    }
}
