//! What the benchmark of the API measured, as a table beside the budgets.

use crate::figures::Figures;
use crate::measure::{Spent, micros, millis, percentile};
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
    /// Operations per second, at least.
    pub rate_budget: Option<f64>,
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

struct Shown {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    cpu: Option<Duration>,
    first_byte: Option<Duration>,
}

impl Row {
    fn shown(&self) -> Shown {
        let mut latencies = self.latencies.clone();
        let mut first_bytes = self.first_bytes.clone();
        let operations = self.operations.max(1) as f64;
        Shown {
            per_second: self.operations as f64 / self.spent.wall.as_secs_f64().max(1e-9),
            p50: percentile(&mut latencies, 0.5),
            p99: percentile(&mut latencies, 0.99),
            cpu: self.spent.cpu.map(|cpu| cpu.div_f64(operations)),
            first_byte: (!first_bytes.is_empty()).then(|| percentile(&mut first_bytes, 0.5)),
        }
    }

    fn add_to(&self, figures: &mut Figures) {
        let name = self.name;
        let Shown { per_second, p50, p99, cpu, first_byte } = self.shown();
        if let Some(cpu) = cpu {
            figures.add(format!("{name}, server CPU each"), micros(cpu), "µs", micros(self.budget));
        }
        figures.add(format!("{name}, rate"), per_second, "/s", self.rate_budget);
        figures.add(format!("{name}, p50"), millis(p50), "ms", None);
        figures.add(format!("{name}, p99"), millis(p99), "ms", None);
        if let Some(first) = first_byte {
            figures.add(format!("{name}, first byte"), millis(first), "ms", self.first_byte_budget.map(millis));
        }
    }
}

impl Start {
    fn add_to(&self, figures: &mut Figures) {
        let median = percentile(&mut self.ready_after.clone(), 0.5);
        figures.add("start to ready, empty", millis(median), "ms", millis(self.ready_budget));
        if let Some(memory) = self.idle_memory {
            figures.add("idle memory", megabytes(memory), "MB", megabytes(self.memory_budget));
        }
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
    pub fn figures(&self) -> Figures {
        let mut figures = Figures::new(self.setting.clone());
        if let Some(start) = &self.start {
            start.add_to(&mut figures);
        }
        self.rows.iter().for_each(|row| row.add_to(&mut figures));
        figures
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
            let Shown { per_second, p50, p99, cpu, first_byte } = row.shown();
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
            rate_budget: Some(600.0),
            first_byte_budget: None,
            note: String::new(),
        };
        let report = Report { start: None, rows: vec![row], setting: "here".to_owned() };
        let figures = report.figures().figures;
        let shown: Vec<_> = figures.iter().map(|f| (f.name.as_str(), f.value, f.budget)).collect();
        assert_eq!(shown[..2], [("get, server CPU each", 20.0, Some(20.0)), ("get, rate", 500.0, Some(600.0))]);
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
        let mut figures = Figures::default();
        start.add_to(&mut figures);
        assert_eq!(figures.figures[0].value, 70.0);
        let shown = "start    ready after 70.0 ms, the median of 3 (50.0 to 90.0; budget 100)\n\
                     idle     36.0 MB resident after 3 s (budget 30)\n";
        assert_eq!(start.to_string(), shown);
    }
}
