//! What the processes of a benchmark take while it runs: CPU, memory and bytes written, by what each process is.

use crate::figures::{Figures, Series};
use crate::measure::{cpu_of, memory_of, written_of};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two samples.
pub const EVERY: Duration = Duration::from_millis(500);

/// Past this, every second sample is dropped, so that a day of them is no more to draw than a minute.
const SAMPLES_MAX: usize = 600;

/// What all processes of one role take.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    cpu: Duration,
    memory: u64,
    written: u64,
}

/// Looks at a process and all that it has started.
pub struct Sampler {
    root: u32,
    began: Instant,
    /// By role, with the time of each look.
    samples: Vec<(f64, BTreeMap<String, Taken>)>,
    /// Of processes: what they had taken when they were last seen. Those that have ended keep it.
    seen: BTreeMap<u32, (String, Taken)>,
    /// Every so many looks one sample is kept.
    stride: usize,
    looks: usize,
}

impl Sampler {
    pub fn new(root: u32) -> Sampler {
        Sampler { root, began: Instant::now(), samples: Vec::new(), seen: BTreeMap::new(), stride: 1, looks: 0 }
    }

    pub fn look(&mut self) {
        let living = descendants(self.root, &parents());
        for (_, taken) in self.seen.values_mut() {
            taken.memory = 0;
        }
        for pid in living {
            let (Some(role), Some(cpu)) = (role_of(pid), cpu_of(pid)) else { continue };
            let taken = Taken { cpu, memory: memory_of(pid).unwrap_or(0), written: written_of(pid).unwrap_or(0) };
            self.seen.insert(pid, (role, taken));
        }
        self.looks += 1;
        if self.looks.is_multiple_of(self.stride) {
            self.samples.push((self.began.elapsed().as_secs_f64(), sums(self.seen.values())));
        }
        if self.samples.len() > SAMPLES_MAX {
            let mut number = 0;
            self.samples.retain(|_| {
                number += 1;
                number % 2 == 0
            });
            self.stride *= 2;
        }
    }

    /// Adds the series, and what each role took in all.
    pub fn add_to(&self, figures: &mut Figures) {
        let Some((_, last)) = self.samples.last() else { return };
        let is_there = |role: &str, all: &BTreeMap<String, Taken>| all.get(role).is_some_and(|of| of.memory > 0);
        let lasts = |role: &str| self.samples.iter().filter(|(_, all)| is_there(role, all)).count() > 1;
        // Commands that run for a moment tell nothing.
        for (role, sum) in last.iter().filter(|(role, _)| lasts(role)) {
            let of = |what: &str| format!("{role}: {what}");
            let memory = self.series(&of("memory"), "MB", |_, _, now| now.memory as f64 / 1e6, role);
            let most = memory.points.iter().map(|p| p.1).fold(0.0, f64::max);
            figures.add(of("most memory"), most, "MB", None);
            figures.add(of("CPU in all"), sum.cpu.as_secs_f64(), "s", None);
            figures.add(of("written in all"), sum.written as f64 / 1e6, "MB", None);
            figures.series.push(self.series(
                &of("CPU"),
                "cores",
                |seconds, then, now| now.cpu.saturating_sub(then.cpu).as_secs_f64() / seconds,
                role,
            ));
            figures.series.push(memory);
            figures.series.push(self.series(
                &of("written"),
                "MB/s",
                |seconds, then, now| now.written.saturating_sub(then.written) as f64 / 1e6 / seconds,
                role,
            ));
        }
    }

    /// What two samples after one another tell, over time.
    fn series(&self, name: &str, unit: &str, tell: impl Fn(f64, Taken, Taken) -> f64, role: &str) -> Series {
        let of = |sample: &BTreeMap<String, Taken>| sample.get(role).copied().unwrap_or_default();
        let points = self.samples.windows(2).map(|pair| {
            let seconds = (pair[1].0 - pair[0].0).max(1e-3);
            (pair[1].0, tell(seconds, of(&pair[0].1), of(&pair[1].1)))
        });
        Series { name: name.to_owned(), unit: unit.to_owned(), over: "s".to_owned(), points: points.collect() }
    }
}

fn sums<'a>(seen: impl Iterator<Item = &'a (String, Taken)>) -> BTreeMap<String, Taken> {
    let mut sums: BTreeMap<String, Taken> = BTreeMap::new();
    for (role, taken) in seen {
        let sum = sums.entry(role.clone()).or_default();
        sum.cpu += taken.cpu;
        sum.memory += taken.memory;
        sum.written += taken.written;
    }
    sums
}

/// The parent of every process.
fn parents() -> BTreeMap<u32, u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, parent(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// A process and those below it.
fn descendants(root: u32, parents: &BTreeMap<u32, u32>) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let of = found[at];
        found.extend(parents.iter().filter(|(_, parent)| **parent == of).map(|(pid, _)| *pid));
        at += 1;
    }
    found
}

/// `server` for `ursa server …`, `load` for the program that measures, and else the program's name.
fn role_of(pid: u32) -> Option<String> {
    role(&std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?)
}

fn role(cmdline: &str) -> Option<String> {
    let mut words = cmdline.split('\0').filter(|word| !word.is_empty());
    let program = words.next()?.rsplit('/').next()?;
    Some(match program {
        "ursa" => words.next().unwrap_or(program).to_owned(),
        "perf" => "load".to_owned(),
        other => other.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_found_and_told_apart() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 2), (5, 4), (6, 1)]);
        assert_eq!(descendants(2, &parents), [2, 3, 4, 5]);
        assert_eq!(parent("7 (a) b (c) S 3 7 7 0"), Some(3));
        let cases = [
            ("/x/ursa\0server\0--data-dir\0", "server"),
            ("ursa\0hollow-nodes\0", "hollow-nodes"),
            ("/x/perf\0tenants\0", "load"),
            ("/usr/bin/etcd\0--name\0a\0", "etcd"),
        ];
        for (cmdline, wanted) in cases {
            assert_eq!(role(cmdline).as_deref(), Some(wanted));
        }
        assert_eq!(role(""), None);
    }

    #[test]
    fn what_a_process_takes_is_seen() {
        let mut sampler = Sampler::new(std::process::id());
        sampler.look();
        sampler.look();
        let mut figures = Figures::default();
        sampler.add_to(&mut figures);
        assert!(figures.figures.iter().any(|f| f.name.ends_with("most memory") && f.value > 0.0), "{figures}");
        assert_eq!(figures.series[0].points.len(), 1);
    }
}
