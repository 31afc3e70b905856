//! Whether what one operation costs stays flat while the load grows. Pure.

use crate::figures::{Figures, Series};

/// How much an operation's cost may grow from the least size to the largest.
const GROWTH_MAX_PERCENT: f64 = 20.0;

/// What figures' names hold that are of one operation.
const COST: &str = "server CPU per";

/// A straight line through points, by least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub slope: f64,
    pub start: f64,
}

/// The line through points; `None` where they are fewer than two, or all above one another.
pub fn line(points: &[(f64, f64)]) -> Option<Line> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    if points.len() < 2 || spread == 0.0 {
        return None;
    }
    let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / spread;
    Some(Line { slope, start: y - slope * x })
}

/// The exponent with which costs grow over sizes, fitted where both are drawn by their logarithms: 0 for flat, 1 for twice
/// the cost at twice the size.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logarithms: Vec<_> = points.iter().filter(|p| p.0 > 0.0 && p.1 > 0.0).map(|p| (p.0.ln(), p.1.ln())).collect();
    line(&logarithms).map(|line| line.slope)
}

/// Growth of the fitted cost from the least size to the largest, in percent.
pub fn percent(points: &[(f64, f64)]) -> Option<f64> {
    let sizes = || points.iter().map(|p| p.0);
    let (least, most) = (sizes().reduce(f64::min)?, sizes().reduce(f64::max)?);
    Some(((most / least).powf(exponent(points)?) - 1.0) * 100.0)
}

/// What runs of one load at several multiples tell about growth.
pub fn figures(name: &str, runs: &[(u32, Figures)]) -> Figures {
    let mut grown = Figures::new(format!("growth of {name}"));
    let largest = runs.last().map_or(1, |run| run.0);
    let costs = runs.iter().flat_map(|run| &run.1.figures).filter(|figure| figure.name.contains(COST));
    let mut names: Vec<&str> = costs.map(|figure| figure.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let value = |of: &Figures| of.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value);
        let points: Vec<_> = runs.iter().filter_map(|(times, of)| Some((f64::from(*times), value(of)?))).collect();
        if let (Some(percent), Some(exponent)) = (percent(&points), exponent(&points)) {
            grown.add(format!("growth of {name}, 1 to {largest} times"), percent, "%", GROWTH_MAX_PERCENT);
            grown.add(format!("exponent of {name}"), exponent, "", None);
            grown.series.push(Series {
                name: name.to_owned(),
                unit: "µs".to_owned(),
                over: "times".to_owned(),
                points,
            });
        }
    }
    if grown.figures.is_empty() {
        grown.faults.push("too few runs told what an operation costs".to_owned());
    }
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_what_lies_on_it() {
        assert_eq!(line(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), Some(Line { slope: 2.0, start: 1.0 }));
        assert_eq!(line(&[(1.0, 1.0)]), None);
        assert_eq!(line(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }

    #[test]
    fn flat_linear_and_quadratic_costs_are_told_apart() {
        let costs = |of: fn(f64) -> f64| [1.0, 2.0, 4.0, 8.0].map(|size| (size, of(size)));
        for (of, wanted) in [(costs(|_| 5.0), 0.0), (costs(|x| 3.0 * x), 1.0), (costs(|x| x * x), 2.0)] {
            let found = exponent(&of).expect("points");
            assert!((found - wanted).abs() < 1e-9, "{found} is not {wanted}");
        }
        let grown = percent(&costs(|x| 3.0 * x)).expect("points");
        assert!((grown - 700.0).abs() < 1e-6, "{grown}");
    }

    #[test]
    fn a_cost_that_grows_misses_its_budget_and_one_that_is_flat_keeps_it() {
        let run = |times: u32, cost: f64| {
            let mut figures = Figures::new("run");
            figures.add("server CPU per pod", cost, "µs", None);
            figures.add("pods bound", 1.0, "/s", None);
            (times, figures)
        };
        let flat = [run(1, 10.0), run(2, 10.5), run(4, 10.0), run(8, 10.5)];
        assert!(figures("f", &flat).passes());
        let grown = [run(1, 10.0), run(2, 13.0), run(4, 17.0), run(8, 22.0)];
        assert!(!figures("g", &grown).passes());
        assert!(!figures("none", &[]).faults.is_empty());
    }
}
