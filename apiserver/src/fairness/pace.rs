//! Who asks, and how often of late: a request costs some counters.

use super::Load;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// So many windows after a tenant has asked, it still counts as one who asks.
const SHARED_WINDOWS: u64 = 125;

/// Who asks for more than so much within a window gives way to others, where there are others.
const AT_ONCE: u64 = 8;

/// When a tenant asked last, and how often.
#[derive(Default)]
pub struct Recent {
    window: AtomicU64,
    count: AtomicU64,
    /// How often in the window before.
    before: AtomicU64,
}

/// Who asked last, and whether several ask.
pub struct Pace {
    started: Instant,
    /// How long "of late" is.
    window: Duration,
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
        Pace { started: Instant::now(), window, last: AtomicUsize::new(0), shared_until: AtomicU64::new(0) }
    }

    /// Notes that a tenant asks.
    pub fn turn(&self, load: &Arc<Load>) -> Turn {
        self.turn_at(load, self.window())
    }

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
        let asked = recent.window.swap(window, Ordering::Relaxed);
        let count = if asked == window {
            recent.count.fetch_add(1, Ordering::Relaxed) + 1
        } else {
            let count = recent.count.swap(1, Ordering::Relaxed);
            recent.before.store(if asked + 1 == window { count } else { 0 }, Ordering::Relaxed);
            1
        };
        Turn { is_shared, gives_way: is_shared && count > AT_ONCE }
    }

    /// Whether a tenant asks so often, now or in the window before, that others are to be let go first.
    pub fn gives_way(&self, load: &Load) -> bool {
        self.gives_way_at(load, self.window())
    }

    fn gives_way_at(&self, load: &Load, window: u64) -> bool {
        let recent = &load.pace;
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let of_late = match window.saturating_sub(count(&recent.window)) {
            0 => count(&recent.count).max(count(&recent.before)),
            1 => count(&recent.count),
            _ => 0,
        };
        of_late > AT_ONCE && self.shared_until.load(Ordering::Relaxed) >= window
    }

    /// Windows are counted from 1.
    fn window(&self) -> u64 {
        let window = self.started.elapsed().as_nanos() / self.window.as_nanos().max(1);
        1 + u64::try_from(window).unwrap_or(u64::MAX - 1)
    }
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
        // That it asked often in the window before is still known, and forgotten with the next.
        assert_eq!([2, 3].map(|window| pace.gives_way_at(&often, window)), [true, false]);
        assert!(!pace.gives_way_at(&seldom, 2));
        let later = 3 + SHARED_WINDOWS;
        for _ in 0..100 {
            assert_eq!(pace.turn_at(&often, later), Turn { is_shared: false, gives_way: false });
        }
        assert!(!pace.gives_way_at(&often, later));
    }
}
