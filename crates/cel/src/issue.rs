//! What is wrong with an expression, printed as cel-go prints it: the place, the line and a caret.

use std::fmt::Write;

/// A fault of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// In characters from the start.
    at: u32,
    message: String,
}

impl Issue {
    pub(crate) fn new(at: u32, message: impl Into<String>) -> Issue {
        Issue { at, message: message.into() }
    }
}

/// Issues that are printed of one source. Each shows its line, which may be all of the source.
const ISSUES_MAX: usize = 100;

/// The issues of a source, in the order of their places: `ERROR: <input>:1:6: …`, the line, and a caret below. The first of
/// them, and how many more there are.
pub(crate) fn print(source: &[char], mut issues: Vec<Issue>) -> String {
    issues.sort_by_key(|issue| issue.at);
    issues.dedup();
    let more = issues.len().saturating_sub(ISSUES_MAX);
    let mut out = String::new();
    for issue in issues.into_iter().take(ISSUES_MAX) {
        let at = (issue.at as usize).min(source.len());
        let start = source[..at].iter().rposition(|c| *c == '\n').map_or(0, |i| i + 1);
        let line: String = source[start..].iter().take_while(|c| **c != '\n').collect();
        let number = source[..at].iter().filter(|c| **c == '\n').count() + 1;
        let column = at - start;
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = write!(
            out,
            "ERROR: <input>:{number}:{}: {}\n | {}\n | ",
            column + 1,
            issue.message,
            line.replace('\t', " ")
        );
        for c in line.chars().take(column) {
            out.push(if c.len_utf8() > 1 { '．' } else { '.' });
        }
        out.push(if line.chars().nth(column).is_some_and(|c| c.len_utf8() > 1) { '＾' } else { '^' });
    }
    if more > 0 {
        let _ = write!(out, "\n{more} more errors were truncated");
    }
    out
}
