//! A server that does not answer is left alone for a while, so that what waits for it does not hold up everyone else. Pure:
//! the time is an argument.

use std::time::Duration;
use tokio::time::Instant;

/// How often in a row a server may fail to answer in time before it is left alone.
const MISSES_MAX: u32 = 3;

/// For how long it is left alone.
const REST: Duration = Duration::from_secs(10);

/// How a server has answered of late.
#[derive(Debug, Default)]
pub struct Rest {
    misses: u32,
    until: Option<Instant>,
}

impl Rest {
    /// Whether the server is left alone. After its rest it is asked once, and rests again if it does not answer.
    pub fn is_resting(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    pub fn missed(&mut self, now: Instant) {
        self.misses = self.misses.saturating_add(1);
        if self.misses >= MISSES_MAX {
            self.until = Some(now + REST);
        }
    }

    pub fn answered(&mut self) {
        *self = Rest::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_misses_again_and_again_rests_until_it_answers() {
        let (mut rest, start) = (Rest::default(), Instant::now());
        for _ in 1..MISSES_MAX {
            rest.missed(start);
            assert!(!rest.is_resting(start));
        }
        rest.missed(start);
        assert!(rest.is_resting(start) && rest.is_resting(start + REST / 2));
        let later = start + REST;
        assert!(!rest.is_resting(later), "it is asked again");
        rest.missed(later);
        assert!(rest.is_resting(later));
        rest.answered();
        rest.missed(later);
        assert!(!rest.is_resting(later));
    }
}
