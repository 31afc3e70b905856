//! The report as data: what was measured on what, and whether it passed.

use super::run::Measured;
use crate::connection::{Error, text};
use crate::figures::{Figure, Figures};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Everything that one run of the suite found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Book {
    /// Seconds since 1970 at the begin.
    pub began: u64,
    pub size: String,
    /// `release`, or `debug`, whose figures mean little.
    pub build: String,
    pub machine: Machine,
    pub measured: Vec<Measured>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    pub processor: String,
    pub processors: usize,
    pub memory_bytes: u64,
    pub kernel: String,
}

/// One figure with where it is from.
pub struct Row<'a> {
    pub benchmark: &'a str,
    pub title: &'a str,
    pub figure: &'a Figure,
}

impl Row<'_> {
    /// What names the same figure in another book.
    pub fn key(&self) -> (&str, &str, &str) {
        (self.benchmark, self.title, &self.figure.name)
    }
}

impl Book {
    pub fn new(size: &str) -> Book {
        Book {
            began: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            size: size.to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            machine: Machine::here(),
            measured: Vec::new(),
        }
    }

    pub fn read(file: &Path) -> Result<Book, Error> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|e| format!("{shown}: {e}"))?;
        serde_json::from_str(&text).map_err(|e| format!("{shown}: {e}"))
    }

    pub fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string_pretty(self).map_err(text)
    }

    /// All figures, in the order in which they were measured.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.documents().flat_map(|(benchmark, document)| {
            let row = move |figure| Row { benchmark, title: &document.title, figure };
            document.figures.iter().map(row)
        })
    }

    pub fn documents(&self) -> impl Iterator<Item = (&str, &Figures)> {
        self.measured.iter().flat_map(|one| one.figures.iter().map(|figures| (one.name.as_str(), figures)))
    }

    /// What went wrong, a sentence each.
    pub fn faults(&self) -> Vec<String> {
        let failures = self.measured.iter().filter_map(|one| Some(format!("{}: {}", one.name, one.failure.as_ref()?)));
        let faults =
            self.documents().flat_map(|(name, of)| of.faults.iter().map(move |fault| format!("{name}: {fault}")));
        failures.chain(faults).collect()
    }

    pub fn passes(&self) -> bool {
        self.measured.iter().all(Measured::passes)
    }

    /// A sentence: how many budgets were kept, and where.
    pub fn summary(&self) -> String {
        let verdicts: Vec<bool> = self.rows().filter_map(|row| row.figure.passes()).collect();
        let kept = verdicts.iter().filter(|kept| **kept).count();
        let Machine { processor, processors, memory_bytes, kernel } = &self.machine;
        format!(
            "{kept} of {} budgets kept, {} faults. Size {}, {} build, on {processors} × {processor}, {:.0} GB, Linux {kernel}.",
            verdicts.len(),
            self.faults().len(),
            self.size,
            self.build,
            *memory_bytes as f64 / 1e9,
        )
    }
}

impl Machine {
    fn here() -> Machine {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(value.trim_start_matches([' ', '\t', ':']).to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kib = memory.split(' ').next().and_then(|digits| digits.parse::<u64>().ok());
        Machine {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kib.unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// A book for tests: one benchmark with these figures, in milliseconds without a budget.
#[cfg(test)]
pub fn sample(figures: &[(&str, f64)]) -> Book {
    let mut document = Figures::new("a run");
    figures.iter().for_each(|(name, value)| document.add(*name, *value, "ms", None));
    let measured = Measured {
        name: "api".to_owned(),
        command: "perf --tiny".to_owned(),
        seconds: 1.0,
        figures: vec![document],
        failure: None,
    };
    Book {
        began: 0,
        size: "tiny".to_owned(),
        build: "debug".to_owned(),
        machine: Machine::default(),
        measured: vec![measured],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_comes_back_from_its_json_and_counts_its_budgets() {
        let mut book = sample(&[("p50", 1.0)]);
        book.measured[0].figures[0].add("rate", 5.0, "/s", 10.0);
        book.measured[0].figures[0].faults.push("one is lost".to_owned());
        let again: Book = serde_json::from_str(&book.to_json().expect("JSON")).expect("a book");
        assert_eq!(again, book);
        assert!(book.summary().starts_with("0 of 1 budgets kept, 1 faults."), "{}", book.summary());
        assert_eq!(book.faults(), ["api: one is lost"]);
        assert!(!book.passes());
    }

    #[test]
    fn the_machine_is_known() {
        let machine = Machine::here();
        assert!(machine.processors > 0 && machine.memory_bytes > 0 && !machine.kernel.is_empty(), "{machine:?}");
    }
}
