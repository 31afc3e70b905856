//! The report as Markdown: tables of figures beside budgets and records, what went wrong, and what changed.

use super::book::{Book, Row};
use super::compare::Change;
use super::records;
use crate::figures::shown;

/// A row of the table as texts: figure, measured, budget, verdict, record, its ratio.
pub fn cells(row: &Row<'_>) -> [String; 5] {
    let figure = row.figure;
    let with_unit = |value: f64| format!("{} {}", shown(value), figure.unit).trim_end().to_owned();
    let record = records::of(row.benchmark, &figure.name)
        .map_or_else(String::new, |record| format!("{} ({})", with_unit(record.value), record.of));
    [
        figure.name.clone(),
        with_unit(figure.value),
        figure.budget.map_or_else(String::new, with_unit),
        figure.verdict(),
        record,
    ]
}

pub fn render(book: &Book, changes: Option<&(Vec<Change>, Vec<String>)>) -> String {
    let mut text = format!("# Performance\n\n{}\n", book.summary());
    let faults = book.faults();
    if !faults.is_empty() {
        text += "\n## What went wrong\n\n";
        faults.iter().for_each(|fault| text += &format!("- {}\n", one_line(fault)));
    }
    if let Some((changes, missing)) = changes {
        text += "\n## Since the other report\n\n";
        text += &changed(changes, missing);
    }
    for measured in &book.measured {
        text += &format!("\n## {}\n\n`{}`, {:.0} s\n", measured.name, measured.command, measured.seconds);
        for document in &measured.figures {
            text +=
                &format!("\n{}\n\n| Figure | Measured | Budget | | Record |\n|---|---|---|---|---|\n", document.title);
            for figure in &document.figures {
                let row = Row { benchmark: &measured.name, title: &document.title, figure };
                text += &format!("| {} |\n", cells(&row).map(|cell| cell.replace('|', "\\|")).join(" | "));
            }
        }
    }
    text
}

/// What differs from another report by more than chance.
pub fn changed(changes: &[Change], missing: &[String]) -> String {
    if changes.is_empty() && missing.is_empty() {
        return "Nothing differs by more than chance.\n".to_owned();
    }
    let mut text = String::new();
    for change in changes {
        let Change { name, unit, before, after, better } = change;
        let word = if *better { "better" } else { "WORSE" };
        let (before, after) = (shown(*before), shown(*after));
        text += &format!("- {word}: {name}: {before} {unit} before, {after} {unit} now ({})\n", change.percent());
    }
    missing.iter().for_each(|name| text += &format!("- not measured now: {name}\n"));
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::book::sample;
    use super::super::compare::changes;
    use super::*;

    #[test]
    fn figures_budgets_records_faults_and_changes_are_all_there() {
        let mut book = sample(&[("get, rate", 1.0)]);
        book.measured[0].figures[0].add("start to ready, empty", 125.0, "ms", 100.0);
        book.measured[0].failure = Some("broken off\nafter 9 s".to_owned());
        let before = sample(&[("get, rate", 0.1)]);
        let text = render(&book, Some(&changes(&before, &book)));
        for wanted in [
            "| start to ready, empty | 125 ms | 100 ms | missed by 25 % | 2400 ms (kube-apiserver",
            "- api: broken off after 9 s",
            "- WORSE: api: get, rate: 0.10 ms before, 1.00 ms now (+900 %)",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
    }
}
