//! What every benchmark comes to: figures beside their budgets, and how something went over time. One form for people, and one
//! as JSON, which the report is made of.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One figure, and what the design wants it to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    pub name: String,
    pub value: f64,
    /// `/s` for a rate and `times` for a gain, of which more is better; of everything else less is.
    pub unit: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<f64>,
}

/// Something over time, or over sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    pub name: String,
    pub unit: String,
    /// Of the first number of each point.
    pub over: String,
    pub points: Vec<(f64, f64)>,
}

/// What one benchmark came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// What was measured, and how much of it.
    pub title: String,
    pub figures: Vec<Figure>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Series>,
    /// What went wrong, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

impl Figure {
    pub fn more_is_better(&self) -> bool {
        matches!(&*self.unit, "/s" | "times")
    }

    /// Whether it keeps its budget, where it has one.
    pub fn passes(&self) -> Option<bool> {
        self.missed_by().map(|share| share <= 0.0)
    }

    /// By which share of the budget it is missed: 0.25 for a quarter too much, or too little; below zero where it is kept.
    pub fn missed_by(&self) -> Option<f64> {
        let budget = self.budget?;
        let over = if self.more_is_better() { budget - self.value } else { self.value - budget };
        // Of nothing there is no share: one too many is missed by the whole.
        Some(if budget == 0.0 { over.signum() * f64::from(u8::from(over != 0.0)) } else { over / budget })
    }

    /// `pass`, or by how much it is missed; nothing without a budget.
    pub fn verdict(&self) -> String {
        match self.missed_by() {
            None => String::new(),
            Some(share) if share <= 0.0 => "pass".to_owned(),
            Some(share) => format!("missed by {:.0} %", (share * 100.0).max(1.0)),
        }
    }
}

impl Figures {
    pub fn new(title: impl Into<String>) -> Figures {
        Figures { title: title.into(), ..Figures::default() }
    }

    pub fn add(&mut self, name: impl Into<String>, value: f64, unit: &str, budget: impl Into<Option<f64>>) {
        self.figures.push(Figure { name: name.into(), value, unit: unit.to_owned(), budget: budget.into() });
    }

    /// Whether all budgets are kept and nothing went wrong.
    pub fn passes(&self) -> bool {
        self.faults.is_empty() && self.figures.iter().all(|figure| figure.passes().unwrap_or(true))
    }

    /// Prints one line of JSON, or a table.
    pub fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::json!(self));
        } else {
            print!("{self}");
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<48} {:>12} {:>12}", self.title, "measured", "budget")?;
        for figure in &self.figures {
            let budget = figure.budget.map_or_else(|| "-".to_owned(), shown);
            let line = format!(
                "{:<48} {:>12} {budget:>12} {:<4} {}",
                figure.name,
                shown(figure.value),
                figure.unit,
                figure.verdict()
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        self.faults.iter().try_for_each(|fault| writeln!(f, "    {fault}"))
    }
}

/// A number with about three digits that tell something.
pub fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small == 0.0 || small >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, unit: &str, budget: Option<f64>) -> Figure {
        Figure { name: "n".to_owned(), value, unit: unit.to_owned(), budget }
    }

    #[test]
    fn of_rates_more_is_better_and_of_all_else_less() {
        let cases = [
            (figure(90.0, "/s", Some(100.0)), "missed by 10 %"),
            (figure(110.0, "/s", Some(100.0)), "pass"),
            (figure(110.0, "ms", Some(100.0)), "missed by 10 %"),
            (figure(100.0, "ms", Some(100.0)), "pass"),
            (figure(0.0, "", Some(0.0)), "pass"),
            (figure(3.0, "", Some(0.0)), "missed by 100 %"),
            (figure(3.0, "ms", None), ""),
        ];
        for (figure, verdict) in cases {
            assert_eq!(figure.verdict(), verdict, "{figure:?}");
        }
    }

    #[test]
    fn figures_come_back_from_their_json_as_they_were() {
        let mut figures = Figures::new("here");
        figures.add("a", 1.5, "ms", 2.0);
        figures.add("b", 2.0, "/s", None);
        figures.series.push(Series {
            name: "s".to_owned(),
            unit: "MB".to_owned(),
            over: "s".to_owned(),
            points: vec![(0.0, 1.0)],
        });
        assert!(figures.passes());
        figures.faults.push("one is lost".to_owned());
        assert!(!figures.passes());
        let text = serde_json::to_string(&figures).expect("JSON");
        assert_eq!(serde_json::from_str::<Figures>(&text).expect("the same"), figures);
    }
}
