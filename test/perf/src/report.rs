//! What was measured, as a table for people and as JSON for scripts, beside the budgets.

use crate::measure::{Spent, percentile};
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// One line of the table.
pub struct Row {
    pub name: &'static str,
    pub operations: usize,
    pub spent: Spent,
    /// Of each operation, from the request's start to the answer's end.
    pub latencies: Vec<Duration>,
    /// Until the answer's first byte, where it is looked at.
    pub first_bytes: Vec<Duration>,
    pub budget: Duration,
    pub first_byte_budget: Option<Duration>,
    /// What else is worth knowing.
    pub note: String,
}

/// All lines.
pub struct Report {
    pub rows: Vec<Row>,
    pub setting: String,
}

struct Figures {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    cpu: Option<Duration>,
    first_byte: Option<Duration>,
}

impl Row {
    fn figures(&self) -> Figures {
        let mut latencies = self.latencies.clone();
        let mut first_bytes = self.first_bytes.clone();
        let operations = self.operations.max(1) as f64;
        Figures {
            per_second: self.operations as f64 / self.spent.wall.as_secs_f64().max(1e-9),
            p50: percentile(&mut latencies, 0.5),
            p99: percentile(&mut latencies, 0.99),
            cpu: self.spent.cpu.map(|cpu| cpu.div_f64(operations)),
            first_byte: (!first_bytes.is_empty()).then(|| percentile(&mut first_bytes, 0.5)),
        }
    }

    fn to_json(&self) -> Value {
        let Figures { per_second, p50, p99, cpu, first_byte } = self.figures();
        json!({
            "name": self.name, "operations": self.operations, "seconds": self.spent.wall.as_secs_f64(),
            "operationsPerSecond": per_second, "p50Micros": micros(p50), "p99Micros": micros(p99),
            "serverCpuMicrosPerOperation": cpu.map(micros), "budgetMicrosPerOperation": micros(self.budget),
            "firstByteMicros": first_byte.map(micros), "firstByteBudgetMicros": self.first_byte_budget.map(micros),
            "note": self.note,
        })
    }
}

impl Report {
    pub fn to_json(&self) -> Value {
        json!({"setting": self.setting, "rows": self.rows.iter().map(Row::to_json).collect::<Vec<Value>>()})
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.setting)?;
        writeln!(
            f,
            "{:<8} {:>9} {:>10} {:>10} {:>10} {:>14} {:>10}  note",
            "", "count", "per s", "p50 ms", "p99 ms", "CPU µs each", "budget"
        )?;
        for row in &self.rows {
            let Figures { per_second, p50, p99, cpu, first_byte } = row.figures();
            let cpu = cpu.map_or("-".to_owned(), |cpu| format!("{:.1}", micros(cpu)));
            let mut note = row.note.clone();
            if let (Some(first), Some(budget)) = (first_byte, row.first_byte_budget) {
                note = format!("{note}, first byte {:.2} ms (budget {:.2})", millis(first), millis(budget));
            }
            writeln!(
                f,
                "{:<8} {:>9} {per_second:>10.0} {:>10.2} {:>10.2} {cpu:>14} {:>10.1}  {note}",
                row.name,
                row.operations,
                millis(p50),
                millis(p99),
                micros(row.budget),
            )?;
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_operation() {
        let row = Row {
            name: "get",
            operations: 1000,
            spent: Spent { wall: Duration::from_secs(2), cpu: Some(Duration::from_millis(20)) },
            latencies: vec![Duration::from_millis(1); 1000],
            first_bytes: Vec::new(),
            budget: Duration::from_micros(20),
            first_byte_budget: None,
            note: String::new(),
        };
        let report = Report { rows: vec![row], setting: "here".to_owned() };
        let json = &report.to_json()["rows"][0];
        assert_eq!(json["operationsPerSecond"], 500.0);
        assert_eq!(json["serverCpuMicrosPerOperation"], 20.0);
        let table = report.to_string();
        let words: Vec<&str> = table.lines().nth(2).expect("a row").split_whitespace().collect();
        assert_eq!(words, ["get", "1000", "500", "1.00", "1.00", "20.0", "20.0"]);
    }
}
