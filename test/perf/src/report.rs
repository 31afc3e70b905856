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

/// Of a server that was started to be measured.
pub struct Start {
    /// From the start of the process to its first answer that it is ready, of each start.
    pub ready_after: Vec<Duration>,
    pub ready_budget: Duration,
    /// Bytes resident in the last of them, which was left alone for a while.
    pub idle_memory: Option<u64>,
    pub idle_for: Duration,
    pub memory_budget: u64,
}

/// All lines.
pub struct Report {
    pub start: Option<Start>,
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

impl Start {
    fn to_json(&self) -> Value {
        json!({
            "readyAfterMicros": self.ready_after.iter().copied().map(micros).collect::<Vec<f64>>(),
            "readyAfterMedianMicros": micros(percentile(&mut self.ready_after.clone(), 0.5)),
            "readyBudgetMicros": micros(self.ready_budget),
            "idleMemoryBytes": self.idle_memory, "idleSeconds": self.idle_for.as_secs_f64(),
            "memoryBudgetBytes": self.memory_budget,
        })
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times = self.ready_after.clone();
        let median = percentile(&mut times, 0.5);
        let (first, last) = (times.first().copied().unwrap_or_default(), times.last().copied().unwrap_or_default());
        writeln!(
            f,
            "start    ready after {:.1} ms, the median of {} ({:.1} to {:.1}; budget {:.0})",
            millis(median),
            times.len(),
            millis(first),
            millis(last),
            millis(self.ready_budget),
        )?;
        let memory = self.idle_memory.map_or("-".to_owned(), |bytes| format!("{:.1}", megabytes(bytes)));
        let (seconds, budget) = (self.idle_for.as_secs_f64(), megabytes(self.memory_budget));
        writeln!(f, "idle     {memory} MB resident after {seconds} s (budget {budget:.0})")
    }
}

impl Report {
    pub fn to_json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        json!({"start": self.start.as_ref().map(Start::to_json), "setting": self.setting, "rows": rows})
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(start) = &self.start {
            write!(f, "{start}")?;
        }
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

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
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
        let report = Report { start: None, rows: vec![row], setting: "here".to_owned() };
        let json = &report.to_json()["rows"][0];
        assert_eq!(json["operationsPerSecond"], 500.0);
        assert_eq!(json["serverCpuMicrosPerOperation"], 20.0);
        let table = report.to_string();
        let words: Vec<&str> = table.lines().nth(2).expect("a row").split_whitespace().collect();
        assert_eq!(words, ["get", "1000", "500", "1.00", "1.00", "20.0", "20.0"]);
    }

    #[test]
    fn a_start_is_told_by_its_median() {
        let start = Start {
            ready_after: [70, 50, 90].map(Duration::from_millis).to_vec(),
            ready_budget: Duration::from_millis(100),
            idle_memory: Some(36_000_000),
            idle_for: Duration::from_secs(3),
            memory_budget: 30_000_000,
        };
        assert_eq!(start.to_json()["readyAfterMedianMicros"], 70_000.0);
        let shown = "start    ready after 70.0 ms, the median of 3 (50.0 to 90.0; budget 100)\n\
                     idle     36.0 MB resident after 3 s (budget 30)\n";
        assert_eq!(start.to_string(), shown);
    }
}
