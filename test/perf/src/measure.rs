//! Time and CPU: of one process from outside, and of many operations.

use std::time::{Duration, Instant};

/// `/proc/PID/stat` counts in these, whatever the kernel's own tick is.
const TICKS_PER_SECOND: u64 = 100;

/// The CPU that a process has used, user and system, to a hundredth of a second; `None` for a process that is not there.
pub fn cpu_of(pid: u32) -> Option<Duration> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The bytes of memory that a process has resident; `None` for a process that is not there.
pub fn memory_of(pid: u32) -> Option<u64> {
    parse_status(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The bytes that a process has had written to disks; `None` for a process that is not there or another user's.
pub fn written_of(pid: u32) -> Option<u64> {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

fn parse_status(status: &str) -> Option<u64> {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix("kB")?;
    Some(kib.trim().parse::<u64>().ok()? * 1024)
}

fn parse_stat(stat: &str) -> Option<Duration> {
    // The second field is the program's name in parentheses, which may itself hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks()? + ticks()?) * 1000 / TICKS_PER_SECOND))
}

/// Wall time, and the server's CPU where its process is known.
pub struct Meter {
    pid: Option<u32>,
    started: Instant,
    cpu: Option<Duration>,
}

/// What passed between a meter's start and its end.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub wall: Duration,
    pub cpu: Option<Duration>,
}

impl Meter {
    pub fn start(pid: Option<u32>) -> Meter {
        Meter { pid, started: Instant::now(), cpu: pid.and_then(cpu_of) }
    }

    pub fn stop(self) -> Spent {
        let wall = self.started.elapsed();
        let now = self.pid.and_then(cpu_of);
        let cpu = now.zip(self.cpu).map(|(now, then)| now.saturating_sub(then));
        Spent { wall, cpu }
    }
}

pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The value below which a share of the samples lies; zero for none. Sorts them.
pub fn percentile(samples: &mut [Duration], share: f64) -> Duration {
    samples.sort_unstable();
    let rank = (samples.len() as f64 * share).ceil() as usize;
    samples.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_samples() {
        let mut samples: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut samples, 0.5), Duration::from_millis(50));
        assert_eq!(percentile(&mut samples, 0.99), Duration::from_millis(99));
        assert_eq!(percentile(&mut [], 0.99), Duration::ZERO);
    }

    #[test]
    fn cpu_is_read_from_behind_the_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 100 1 2 3";
        assert_eq!(parse_stat(stat), Some(Duration::from_secs(3)));
        assert!(cpu_of(std::process::id()).is_some());
    }

    #[test]
    fn memory_is_what_is_resident() {
        let status = "Name:\tursa\nVmHWM:\t   40000 kB\nVmRSS:\t   36864 kB\nRssAnon:\t   20000 kB\n";
        assert_eq!(parse_status(status), Some(36 << 20));
        assert!(memory_of(std::process::id()).is_some());
    }
}
