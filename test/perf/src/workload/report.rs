//! What a workload's steps came to, as figures. Pure.

use super::requests::Sent;
use crate::figures::{Figures, Series};
use crate::measure::{micros, millis, percentile};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Points of a series over time.
const POINTS: usize = 60;

/// What processes took while a step lasted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    pub wall: Duration,
    pub cpu: Duration,
    pub nodes_cpu: Duration,
    /// The server's, by which it grew, and what it is in the end.
    pub grown: i64,
    pub memory: u64,
    pub nodes_memory: u64,
    pub written: u64,
}

/// Adds what each of so many of something took.
pub fn add_each(figures: &mut Figures, taken: &Taken, what: &str, count: usize) {
    let each = count.max(1) as f64;
    figures.add(format!("server CPU per {what}"), micros(taken.cpu) / each, "µs", None);
    figures.add(format!("written per {what}"), taken.written as f64 / 1024.0 / each, "KiB", None);
}

/// Adds how fast pods were bound or started, and how long each took from its request, where that is known.
pub fn add_pods(
    figures: &mut Figures,
    names: (&str, &str),
    sent: &Sent,
    times: &HashMap<String, Instant>,
    began: Instant,
) {
    let (rate, latency) = names;
    let since: Vec<Instant> = times.values().copied().filter(|at| *at >= began).collect();
    add_rate(figures, rate, &since, began);
    let mut by_tenant: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let mut over_time = Vec::new();
    for (name, (asked, tenant)) in &sent.made {
        if let Some(at) = times.get(name) {
            by_tenant.entry(tenant).or_default().push(at.duration_since(*asked));
            over_time.push((*at, at.duration_since(*asked)));
        }
    }
    let mut all: Vec<Duration> = by_tenant.values().flatten().copied().collect();
    if all.is_empty() {
        return;
    }
    figures.add(format!("{latency} p50"), millis(percentile(&mut all, 0.5)), "ms", None);
    figures.add(format!("{latency} p99"), millis(percentile(&mut all, 0.99)), "ms", None);
    figures.series.push(latencies(&format!("{latency} p99"), &over_time, began));
    if by_tenant.len() > 1 {
        let p99s = by_tenant.values_mut().map(|of| percentile(of, 0.99)).max();
        figures.add(format!("{latency} p99, slowest tenant"), millis(p99s.unwrap_or_default()), "ms", None);
    }
}

/// Adds how many of something happened per second until the last of them.
pub fn add_rate(figures: &mut Figures, name: &str, at: &[Instant], began: Instant) {
    let seconds = at.iter().max().map_or(0.0, |last| last.duration_since(began).as_secs_f64()).max(1e-9);
    figures.add(name, at.len() as f64 / seconds, "/s", None);
    let mut counts = [0.0; POINTS];
    for one in at {
        counts[bucket(one.duration_since(began).as_secs_f64() / seconds)] += POINTS as f64 / seconds;
    }
    let points = counts.iter().enumerate().map(|(i, rate)| ((i + 1) as f64 * seconds / POINTS as f64, *rate));
    figures.series.push(Series {
        name: name.to_owned(),
        unit: "/s".to_owned(),
        over: "s".to_owned(),
        points: points.collect(),
    });
}

/// Adds the latencies of requests by verb and scope, as Kubernetes' service level indicators name them.
pub fn add_slis(figures: &mut Figures, answered: &BTreeMap<&'static str, Vec<(Instant, Duration)>>, began: Instant) {
    for (name, of) in answered {
        let mut times: Vec<Duration> = of.iter().map(|(_, took)| *took).collect();
        figures.add(format!("{name} p50"), millis(percentile(&mut times, 0.5)), "ms", None);
        figures.add(format!("{name} p99"), millis(percentile(&mut times, 0.99)), "ms", None);
        figures.series.push(latencies(&format!("{name} p99"), of, began));
    }
}

/// The p99 over time.
fn latencies(name: &str, of: &[(Instant, Duration)], began: Instant) -> Series {
    let seconds = of.iter().map(|(at, _)| at.duration_since(began).as_secs_f64()).fold(1e-9, f64::max);
    let mut buckets = vec![Vec::new(); POINTS];
    for (at, took) in of {
        buckets[bucket(at.duration_since(began).as_secs_f64() / seconds)].push(*took);
    }
    let filled = buckets.iter_mut().enumerate().filter(|(_, bucket)| !bucket.is_empty());
    let points = filled.map(|(i, of)| ((i + 1) as f64 * seconds / POINTS as f64, millis(percentile(of, 0.99))));
    Series { name: name.to_owned(), unit: "ms".to_owned(), over: "s".to_owned(), points: points.collect() }
}

fn bucket(share: f64) -> usize {
    ((share * POINTS as f64) as usize).min(POINTS - 1)
}

/// Gives figures the budgets of the workload's file. A budget without a figure is a fault.
pub fn set_budgets(figures: &mut Figures, budgets: &BTreeMap<String, f64>) {
    for (name, budget) in budgets {
        match figures.figures.iter_mut().find(|figure| figure.name == *name) {
            Some(figure) => figure.budget = Some(*budget),
            None => figures.faults.push(format!("{name} has a budget and was not measured")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_told_by_their_rate_and_the_slowest_tenant() {
        let began = Instant::now();
        let after = |millis| began + Duration::from_millis(millis);
        let mut sent = Sent::default();
        sent.made.insert("a".to_owned(), (began, "system".to_owned()));
        sent.made.insert("b".to_owned(), (after(100), "acme".to_owned()));
        let times = HashMap::from([("a".to_owned(), after(50)), ("b".to_owned(), after(500))]);
        let mut figures = Figures::default();
        add_pods(&mut figures, ("pods bound", "binding"), &sent, &times, began);
        let told: Vec<_> = figures.figures.iter().map(|f| (f.name.as_str(), f.value)).collect();
        let wanted = [
            ("pods bound", 4.0),
            ("binding p50", 50.0),
            ("binding p99", 400.0),
            ("binding p99, slowest tenant", 400.0),
        ];
        assert_eq!(told, wanted);
        assert_eq!(figures.series.len(), 2);
    }

    #[test]
    fn budgets_are_of_figures_that_are_there() {
        let mut figures = Figures::default();
        figures.add("pods bound", 5.0, "/s", None);
        set_budgets(&mut figures, &BTreeMap::from([("pods bound".to_owned(), 4.0)]));
        assert!(figures.passes() && figures.figures[0].budget == Some(4.0));
        set_budgets(&mut figures, &BTreeMap::from([("pods lost".to_owned(), 0.0)]));
        assert!(!figures.passes());
    }
}
