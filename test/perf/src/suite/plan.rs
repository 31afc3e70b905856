//! What the suite runs: every benchmark that has a figure of the specification, how much of it, and for how long at most.

use clap::ValueEnum;
use std::time::Duration;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Size {
    /// Seconds: shows that everything runs, not how fast.
    Tiny,
    /// All within ten minutes on two cores: a share of every load.
    Quick,
    /// The loads that the goals are about: hours.
    Full,
}

/// One run of this program.
pub struct Benchmark {
    pub name: &'static str,
    /// The same at every size.
    args: &'static [&'static str],
    /// What is added at each size; `None` where it is left out.
    tiny: Option<&'static [&'static str]>,
    quick: &'static [&'static str],
    full: &'static [&'static str],
    /// It is broken off after so many seconds, quick and full.
    patience: (u64, u64),
}

/// A command of this program, with what each size adds.
pub struct Run {
    pub name: String,
    pub args: Vec<String>,
    pub patience: Duration,
}

pub const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "api",
        args: &[],
        tiny: Some(&["--tiny"]),
        quick: &["--seconds=3"],
        full: &["--seconds=20", "--events=20000"],
        patience: (90, 600),
    },
    Benchmark {
        name: "store",
        args: &["store"],
        tiny: Some(&["--objects=2000", "--seconds=0.2", "--watchers=100"]),
        quick: &["--objects=200000", "--seconds=2"],
        full: &["--seconds=10"],
        patience: (60, 600),
    },
    Benchmark {
        name: "decisions",
        args: &["decisions"],
        tiny: Some(&["--share=0.01", "--seconds=0.05"]),
        quick: &["--seconds=1"],
        full: &["--seconds=10"],
        patience: (60, 300),
    },
    Benchmark {
        name: "controllers",
        args: &["controllers"],
        tiny: Some(&["--pods=20"]),
        quick: &["--pods=5000"],
        full: &["--pods=100000"],
        patience: (90, 1800),
    },
    Benchmark {
        name: "tenant-life",
        args: &["tenants"],
        tiny: Some(&["--count=5"]),
        quick: &["--count=2000"],
        full: &["--count=100000"],
        patience: (120, 3600),
    },
    Benchmark {
        name: "tenant-deployments",
        args: &["tenants", "--deployments"],
        tiny: None,
        quick: &["--count=500"],
        full: &["--count=10000"],
        patience: (90, 1800),
    },
    Benchmark {
        name: "noise",
        args: &["noise"],
        tiny: None,
        quick: &["--seconds=1.5"],
        full: &["--seconds=20"],
        patience: (60, 600),
    },
];

/// Of each workload's load, tiny and quick; of the first whose name begins so.
const TINY_SHARE: f64 = 0.002;
const QUICK_SHARES: [(&str, f64); 6] = [
    ("scheduling-basic-50000", 0.05),
    ("scheduling-", 0.2),
    ("churn", 0.005),
    ("density", 0.01),
    ("tenants", 0.02),
    ("", 0.05),
];

/// A workload stops by itself so long before it is broken off, and tells what it has.
const TO_TELL: u64 = 20;

/// A workload is broken off after so many seconds.
const WORKLOAD_PATIENCE: (u64, u64) = (90, 5400);

/// The sizes that growth is measured over, as multiples of the least.
const GROWTH: [u32; 4] = [1, 2, 4, 8];
const GROWTH_SHARE: f64 = 0.125;

/// Quick growth is of these alone, from so small a share on.
const QUICK_GROWTH: [(&str, f64); 2] = [("density", 0.0025), ("scheduling-basic-5000", 0.05)];

/// Of these there is none: they are not about what an operation costs.
const NO_GROWTH: [&str; 2] = ["churn", "restart-under-load"];

impl Benchmark {
    /// What is run at a size; `None` where it is left out.
    pub fn run(&self, size: Size) -> Option<Run> {
        let (more, seconds) = match size {
            Size::Tiny => (self.tiny?, self.patience.0),
            Size::Quick => (self.quick, self.patience.0),
            Size::Full => (self.full, self.patience.1),
        };
        let args = self.args.iter().chain(more).map(ToString::to_string).collect();
        Some(Run { name: self.name.to_owned(), args, patience: Duration::from_secs(seconds) })
    }
}

/// A workload's run at a size.
pub fn workload(name: &str, file: &str, size: Size) -> Run {
    let (share, seconds) = match size {
        Size::Tiny => (TINY_SHARE, WORKLOAD_PATIENCE.0),
        Size::Quick => {
            let share = QUICK_SHARES.iter().find(|(start, _)| name.starts_with(start)).map_or(0.0, |of| of.1);
            (share, WORKLOAD_PATIENCE.0)
        }
        Size::Full => (1.0, WORKLOAD_PATIENCE.1),
    };
    Run { name: name.to_owned(), args: shared(file, share, seconds), patience: Duration::from_secs(seconds) }
}

/// A workload's runs from which its growth is told, each with its multiple; none where it is left out.
pub fn growth(name: &str, file: &str, size: Size) -> Vec<(u32, Run)> {
    let quick = QUICK_GROWTH.iter().find(|quick| quick.0 == name);
    let (least, seconds) = match (size, quick) {
        (Size::Quick, Some((_, share))) => (*share, WORKLOAD_PATIENCE.0),
        (Size::Full, _) if !NO_GROWTH.contains(&name) => (GROWTH_SHARE, WORKLOAD_PATIENCE.1),
        _ => return Vec::new(),
    };
    let run = |times: u32| Run {
        name: format!("{name} × {times}"),
        args: shared(file, least * f64::from(times), seconds),
        patience: Duration::from_secs(seconds),
    };
    GROWTH.into_iter().map(|times| (times, run(times))).collect()
}

fn shared(file: &str, share: f64, seconds: u64) -> Vec<String> {
    let patience = seconds.saturating_sub(TO_TELL);
    vec!["workload".to_owned(), file.to_owned(), format!("--share={share}"), format!("--patience={patience}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_adds_its_own() {
        let api = &BENCHMARKS[0];
        assert_eq!(api.run(Size::Tiny).map(|run| run.args), Some(vec!["--tiny".to_owned()]));
        assert!(BENCHMARKS.iter().all(|each| each.run(Size::Quick).is_some() && each.run(Size::Full).is_some()));
        let noise = BENCHMARKS.iter().find(|each| each.name == "noise").expect("it is there");
        assert!(noise.run(Size::Tiny).is_none());
    }

    #[test]
    fn growth_doubles_up_to_the_whole_load() {
        let shares = |name, size| -> Vec<String> {
            growth(name, "f", size).into_iter().map(|(_, run)| run.args[2].clone()).collect()
        };
        assert_eq!(shares("load", Size::Full), ["--share=0.125", "--share=0.25", "--share=0.5", "--share=1"]);
        assert!(shares("load", Size::Quick).is_empty() && !shares("density", Size::Quick).is_empty());
    }
}
