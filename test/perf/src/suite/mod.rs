//! The suite: every benchmark, each as a process of its own, and one report of them all, which is written anew after each.

mod book;
mod compare;
pub mod growth;
mod html;
mod markdown;
mod plan;
mod plot;
mod records;
mod run;
mod sample;

pub use plan::Size;

use crate::connection::{Error, text};
use book::Book;
use clap::Args;
use run::Measured;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// What of the suite is run, and where its report goes.
#[derive(Args, Clone, Debug)]
pub struct Suite {
    #[arg(long, value_enum, default_value_t = Size::Quick)]
    size: Size,
    /// Only benchmarks and workloads whose name begins so; may be given again
    #[arg(long)]
    only: Vec<String>,
    /// The folder of the workloads
    #[arg(long, default_value = "test/perf/workloads")]
    workloads: PathBuf,
    /// Where report.html, report.md and report.json go
    #[arg(long, default_value = "target/perf")]
    out: PathBuf,
    /// Tell what became slower since this report.json
    #[arg(long)]
    compare: Option<PathBuf>,
}

/// Runs what is chosen. Whether nothing was slower than its budget; broken off by a signal, the rest is left out.
pub async fn run(suite: &Suite) -> Result<bool, Error> {
    let before = suite.compare.as_deref().map(Book::read).transpose()?;
    std::fs::create_dir_all(&suite.out).map_err(|e| format!("{}: {e}", suite.out.display()))?;
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).map_err(text)?, signal(SignalKind::terminate()).map_err(text)?);
    let mut writer = Writer { suite, before, book: Book::new(&format!("{:?}", suite.size).to_lowercase()) };
    let stopped = tokio::select! {
        done = all(suite, &mut writer) => done.map(|()| false)?,
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
    };
    if stopped {
        return Err("broken off; the report holds what was measured until then".to_owned());
    }
    Ok(writer.book.passes())
}

/// All chosen benchmarks, all workloads, and the growth of those.
async fn all(suite: &Suite, writer: &mut Writer<'_>) -> Result<(), Error> {
    let chosen = |name: &str| suite.only.is_empty() || suite.only.iter().any(|only| name.starts_with(only.as_str()));
    for benchmark in plan::BENCHMARKS.iter().filter(|benchmark| chosen(benchmark.name)) {
        if let Some(run) = benchmark.run(suite.size) {
            writer.add(run::run(&run).await)?;
        }
    }
    let workloads = workloads(&suite.workloads)?;
    let workloads = || workloads.iter().filter(|(name, _)| chosen(name));
    for (name, file) in workloads() {
        writer.add(run::run(&plan::workload(name, file, suite.size)).await)?;
    }
    for (name, file) in workloads() {
        let runs = plan::growth(name, file, suite.size);
        if !runs.is_empty() {
            writer.add(grown(name, runs).await)?;
        }
    }
    Ok(())
}

/// Runs one workload at several sizes, and tells how its costs grew.
async fn grown(name: &str, runs: Vec<(u32, plan::Run)>) -> Measured {
    let began = Instant::now();
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for (times, run) in runs {
        let measured = run::run(&run).await;
        failures.extend(measured.failure.map(|why| format!("{times} times: {why}")));
        found.extend(measured.figures.into_iter().next().map(|figures| (times, figures)));
    }
    Measured {
        name: format!("growth-{name}"),
        command: format!("perf workload {name} --share …"),
        seconds: began.elapsed().as_secs_f64(),
        figures: vec![growth::figures(name, &found)],
        failure: (!failures.is_empty()).then(|| failures.join("; ")),
    }
}

/// The workloads of a folder, by the names of their files.
fn workloads(folder: &Path) -> Result<Vec<(String, String)>, Error> {
    let shown = folder.display();
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{shown}: {e}"))?;
    let files = entries.filter_map(Result::ok).map(|entry| entry.path());
    let yaml = files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    let named = yaml.filter_map(|file| Some((file.file_stem()?.to_str()?.to_owned(), file.to_str()?.to_owned())));
    let mut found: Vec<_> = named.collect();
    found.sort();
    Ok(found)
}

/// Keeps the report on disk as it grows.
struct Writer<'a> {
    suite: &'a Suite,
    before: Option<Book>,
    book: Book,
}

impl Writer<'_> {
    fn add(&mut self, measured: Measured) -> Result<(), Error> {
        let seconds = Duration::from_secs_f64(measured.seconds);
        println!("== {} ({:.0} s)", measured.name, seconds.as_secs_f64());
        measured.figures.iter().for_each(|figures| print!("{figures}"));
        if let Some(why) = &measured.failure {
            println!("    FAILED: {why}");
        }
        self.book.measured.push(measured);
        let changes = self.before.as_ref().map(|before| compare::changes(before, &self.book));
        let pages = [
            ("report.json", self.book.to_json()?),
            ("report.md", markdown::render(&self.book, changes.as_ref())),
            ("report.html", html::render(&self.book, changes.as_ref())),
        ];
        for (name, page) in pages {
            let (path, partial) = (self.suite.out.join(name), self.suite.out.join(format!(".{name}")));
            let written = std::fs::write(&partial, page).and_then(|()| std::fs::rename(&partial, &path));
            written.map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(())
    }
}
