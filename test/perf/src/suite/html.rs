//! The report as one HTML file that needs nothing else: tables, and plots as SVG in it.

use super::book::{Book, Row};
use super::compare::Change;
use super::{markdown, plot};

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Performance</title><style>
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222; background: #fff }
table { border-collapse: collapse; margin: .5em 0 1em } th, td { text-align: left; padding: .15em .8em .15em 0; vertical-align: top }
tr { border-bottom: 1px solid #ddd } td:nth-child(2), td:nth-child(3) { text-align: right; white-space: nowrap }
.pass { color: #17692a } .missed, .fault { color: #a91515; font-weight: bold } td:last-child, .what { color: #666; font-size: 13px }
svg { margin: 0 .6em .6em 0 } svg text { font: 11px sans-serif; fill: #444 }
svg polyline { fill: none; stroke: #1c5fb0; stroke-width: 1.4 } svg .axis { fill: none; stroke: #999 }
</style></head><body>
"#;

pub fn render(book: &Book, changes: Option<&(Vec<Change>, Vec<String>)>) -> String {
    let mut html = format!("{HEAD}<h1>Performance</h1>\n<p>{}</p>\n", escape(&book.summary()));
    let items = |lines: Vec<String>| -> String {
        let items = lines.iter().map(|line| format!("<li>{}</li>\n", escape(line)));
        format!("<ul>\n{}</ul>\n", items.collect::<String>())
    };
    let faults = book.faults();
    if !faults.is_empty() {
        html += &format!("<h2 class=\"fault\">What went wrong</h2>\n{}", items(faults));
    }
    if let Some((changes, missing)) = changes {
        let lines = markdown::changed(changes, missing);
        let lines = lines.lines().map(|line| line.trim_start_matches("- ").to_owned()).collect();
        html += &format!("<h2>Since the other report</h2>\n{}", items(lines));
    }
    html += "<h2>Budgets</h2>\n";
    html += &table(book.rows().filter(|row| row.figure.budget.is_some()), true);
    for measured in &book.measured {
        html += &format!("<h2>{}</h2>\n", escape(&measured.name));
        html +=
            &format!("<p class=\"what\"><code>{}</code>, {:.0} s</p>\n", escape(&measured.command), measured.seconds);
        for document in &measured.figures {
            let (benchmark, title) = (measured.name.as_str(), document.title.as_str());
            html += &format!("<h3>{}</h3>\n", escape(title));
            html += &table(document.figures.iter().map(|figure| Row { benchmark, title, figure }), false);
            document.series.iter().for_each(|series| html += &plot::svg(series));
        }
    }
    html + "</body></html>\n"
}

fn table<'a>(rows: impl Iterator<Item = Row<'a>>, named: bool) -> String {
    let mut html = "<table><tr><th>Figure<th>Measured<th>Budget<th><th>Record</tr>\n".to_owned();
    for row in rows {
        let mut cells = markdown::cells(&row).map(|cell| escape(&cell));
        if named {
            cells[0] = format!("{}: {}", escape(row.benchmark), cells[0]);
        }
        let class = match row.figure.passes() {
            Some(true) => "pass",
            Some(false) => "missed",
            None => "",
        };
        let [name, value, budget, verdict, record] = cells;
        html += &format!("<tr><td>{name}<td>{value}<td>{budget}<td class=\"{class}\">{verdict}<td>{record}</tr>\n");
    }
    html + "</table>\n"
}

/// Text that is no markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::book::sample;
    use super::*;

    #[test]
    fn the_page_has_its_tables_and_asks_for_nothing_else() {
        let mut book = sample(&[("p50 <fast>", 1.0)]);
        book.measured[0].figures[0].add("start to ready, empty", 125.0, "ms", 100.0);
        let html = render(&book, None);
        assert!(
            html.contains("api: start to ready, empty<td>125 ms<td>100 ms<td class=\"missed\">missed by 25 %"),
            "{html}"
        );
        assert!(html.contains("p50 &lt;fast&gt;"), "{html}");
        for foreign in ["http:", "https:", "src=", "href=", "@import", "<script"] {
            assert!(!html.contains(foreign), "{foreign}");
        }
    }
}
