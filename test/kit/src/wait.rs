//! Waiting on a condition. For a time alone, nothing waits but a measurement.

use std::fmt::Display;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at what is awaited.
const POLL: Duration = Duration::from_millis(50);

/// The same, where the time until it is there is measured.
const FINE_POLL: Duration = Duration::from_millis(1);

/// Looks again and again until `probe` is `Ok`, and returns what it found. `Err` is the state that it saw instead.
///
/// # Panics
/// After `deadline`, with what was awaited and the last state.
pub async fn wait_for<T, S: Display>(what: &str, deadline: Duration, probe: impl AsyncFnMut() -> Result<T, S>) -> T {
    look(what, deadline, POLL, probe).await
}

/// As [`wait_for`], and tells how long it took, to about a millisecond.
pub(crate) async fn time_until<S: Display>(
    what: &str,
    deadline: Duration,
    probe: impl AsyncFnMut() -> Result<(), S>,
) -> Duration {
    let start = Instant::now();
    look(what, deadline, FINE_POLL, probe).await;
    start.elapsed()
}

/// Lets time pass while a process is measured that has nothing to do. Tests wait for conditions.
pub async fn leave_alone(duration: Duration) {
    tokio::time::sleep(duration).await;
}

async fn look<T, S: Display>(
    what: &str,
    deadline: Duration,
    poll: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, S>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(state) if Instant::now() >= end => {
                panic!("waited {} s for {what}; the last state: {state}", deadline.as_secs_f32())
            }
            Err(_) => tokio::time::sleep(poll).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_true_is_returned() {
        let mut looks = 0;
        let found = wait_for("the third look", Duration::from_secs(1), async || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(looks) }
        });
        assert_eq!(found.await, 3);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "waited 2 s for a pod; the last state: Pending")]
    async fn what_stays_false_is_told_with_its_last_state() {
        wait_for("a pod", Duration::from_secs(2), async || Err::<(), _>("Pending")).await;
    }
}
