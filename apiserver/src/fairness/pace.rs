//! Who asks, how often of late, and how long that took the server: a request costs some counters.

use super::Load;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// So many windows after a tenant has asked, it still counts as one who asks.
const SHARED_WINDOWS: u64 = 125;

/// Who asks for more than so much within a window gives way to others, where there are others.
const AT_ONCE: u64 = 8;

/// Whose work takes more than one part of so many of a processor's time gives way to others, too.
const TIME_PARTS: u64 = 10;

/// When a tenant asked last, and how often.
#[derive(Default)]
pub struct Recent {
    window: AtomicU64,
    count: AtomicU64,
}

/// How long a tenant's work took, in nanoseconds of the last window in which there was some, and of the one before that.
#[derive(Default)]
pub struct Spent {
    window: AtomicU64,
    nanos: AtomicU64,
    before: AtomicU64,
}

impl Spent {
    fn add(&self, window: u64, nanos: u64) {
        let last = self.window.swap(window, Ordering::Relaxed);
        if last == window {
            self.nanos.fetch_add(nanos, Ordering::Relaxed);
        } else {
            let of_last = self.nanos.swap(nanos, Ordering::Relaxed);
            self.before.store(if last + 1 == window { of_last } else { 0 }, Ordering::Relaxed);
        }
    }

    /// The most of a window and the one before.
    fn of_late(&self, window: u64) -> u64 {
        let nanos = self.nanos.load(Ordering::Relaxed);
        match window.saturating_sub(self.window.load(Ordering::Relaxed)) {
            0 => nanos.max(self.before.load(Ordering::Relaxed)),
            1 => nanos,
            _ => 0,
        }
    }
}

/// Who asked last, and whether several ask.
pub struct Pace {
    started: Instant,
    /// How long "of late" is.
    window_nanos: u64,
    /// The address of a tenant's load: it only tells tenants apart.
    last: AtomicUsize,
    shared_until: AtomicU64,
}

/// What is known when a tenant asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Others have asked of late, too.
    pub is_shared: bool,
    /// They are to be let go first.
    pub gives_way: bool,
}

impl Pace {
    pub fn new(window: Duration) -> Pace {
        let (last, shared_until) = (AtomicUsize::new(0), AtomicU64::new(0));
        Pace { started: Instant::now(), window_nanos: nanos(window).max(1), last, shared_until }
    }

    /// Notes that a tenant asks.
    pub fn turn(&self, load: &Arc<Load>) -> Turn {
        self.turn_at(load, self.window_at(Instant::now()))
    }

    /// Notes that a tenant's work took a processor's time.
    pub fn spent(&self, load: &Load, from: Instant, to: Instant) {
        load.spent.add(self.window_at(to), nanos(to.saturating_duration_since(from)));
    }

    /// Whether a tenant's work takes so long, now or in the window before, that it is to be carried out after others'.
    pub fn is_long(&self, load: &Load, now: Instant) -> bool {
        self.is_long_at(load, self.window_at(now))
    }

    fn is_long_at(&self, load: &Load, window: u64) -> bool {
        let most = self.window_nanos / TIME_PARTS;
        !load.is_system && load.spent.of_late(window) > most && self.shared_until.load(Ordering::Relaxed) >= window
    }

    /// Windows are counted from 1.
    fn window_at(&self, now: Instant) -> u64 {
        1 + nanos(now.saturating_duration_since(self.started)) / self.window_nanos
    }

    /// [`Pace::turn`] within a window.
    fn turn_at(&self, load: &Arc<Load>, window: u64) -> Turn {
        let asks = Arc::as_ptr(load) as usize;
        let last = self.last.load(Ordering::Relaxed);
        if last != asks {
            self.last.store(asks, Ordering::Relaxed);
            if last != 0 {
                self.shared_until.store(window + SHARED_WINDOWS, Ordering::Relaxed);
            }
        }
        let is_shared = self.shared_until.load(Ordering::Relaxed) >= window;
        let recent = &load.pace;
        let count = if recent.window.swap(window, Ordering::Relaxed) == window {
            recent.count.fetch_add(1, Ordering::Relaxed) + 1
        } else {
            recent.count.store(1, Ordering::Relaxed);
            1
        };
        Turn { is_shared, gives_way: is_shared && count > AT_ONCE }
    }
}

/// Up to 584 years of them.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_often_gives_way_and_only_to_others() {
        let (pace, [often, seldom]) = (Pace::new(Duration::from_millis(8)), [(); 2].map(|()| Arc::<Load>::default()));
        for _ in 0..100 {
            assert_eq!(pace.turn_at(&often, 1), Turn { is_shared: false, gives_way: false });
        }
        assert_eq!(pace.turn_at(&seldom, 1), Turn { is_shared: true, gives_way: false });
        assert_eq!(pace.turn_at(&often, 1), Turn { is_shared: true, gives_way: true });
        // The next window: what was asked before counts no more, who asked does.
        assert_eq!(pace.turn_at(&often, 2), Turn { is_shared: true, gives_way: false });
        let later = 3 + SHARED_WINDOWS;
        assert_eq!(pace.turn_at(&often, later), Turn { is_shared: false, gives_way: false });
    }
    #[test]
    fn who_takes_long_gives_way_as_long_as_others_ask_and_until_a_window_without() {
        let (pace, [long, short]) = (Pace::new(Duration::from_millis(8)), [(); 2].map(|()| Arc::<Load>::default()));
        let is_long = |load: &Load, windows: &[u64]| -> Vec<bool> {
            windows.iter().map(|&window| pace.is_long_at(load, window)).collect()
        };
        for _ in 0..9 {
            long.spent.add(1, 100_000);
        }
        short.spent.add(1, 100_000);
        assert_eq!(is_long(&long, &[1]), [false], "nobody else asks");
        pace.turn_at(&long, 1);
        pace.turn_at(&short, 1);
        assert_eq!(is_long(&long, &[1, 2, 3]), [true, true, false]);
        assert_eq!(is_long(&short, &[1, 2, 3]), [false; 3]);
        let system = Load { is_system: true, ..Load::default() };
        system.spent.add(1, 900_000);
        assert_eq!(is_long(&system, &[1]), [false], "nodes are not held up by tenants");
        // What it does meanwhile with what is left to it does not make it forget at once.
        long.spent.add(2, 1);
        assert_eq!(is_long(&long, &[2, 3]), [true, false]);
    }
}
