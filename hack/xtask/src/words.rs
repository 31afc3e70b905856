//! Rules on the text of a file: its opening, its length, and words that do not belong in it.

use crate::tidy::{Finding, Tree};

/// From this length on a file holds more than one concept. Tests at its end do not count.
const LINES_MAX: usize = 800;

/// Files that are longer, as "path lines". A ratchet: no entry may grow, and none may be added lightly.
const LONG_FILES: &str = "hack/xtask/long-files.txt";

/// This file names the words that it looks for.
const SELF: &str = "hack/xtask/src/words.rs";

/// The one place that waits by time, for everyone.
const MAY_SLEEP: &str = "test/kit/src/wait.rs";

/// What a file may not say anywhere, and why.
const WORDS: &[(&str, &str)] = &[
    ("FIXME", "finish it, or say in the documents what is missing"),
    ("TODO", "finish it, or say in the documents what is missing"),
    ("todo!(", "finish it"),
    ("unimplemented!(", "finish it"),
    ("#[ignore", "a test that nobody runs: assert what happens today, or remove it"),
    ("/work/", "a path of one machine"),
    ("index.crates.io", "a registry's host: builds take what the user's cargo is set to"),
    ("deb.debian.org", "a registry's host: apt takes what the user's machine is set to"),
];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let texts = tree.files.iter().filter(|(path, _)| !matches!(path.as_str(), "Cargo.lock" | "LICENSE" | SELF));
    for (path, content) in texts {
        findings.extend(forbidden(path, content));
        if path.ends_with(".rs") {
            findings.extend(opening(path, content));
            findings.extend(sleeps(path, content));
        }
    }
    findings.extend(lengths(tree));
    findings
}

fn forbidden(path: &str, content: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in content.lines().enumerate() {
        for (word, why) in WORDS.iter().filter(|(word, _)| line.contains(word)) {
            findings.push(Finding::new(path, index + 1, format!("says {word:?}: {why}")));
        }
    }
    findings
}

fn opening(path: &str, content: &str) -> Option<Finding> {
    let what = "opens without a `//!` comment that says what it is and guarantees";
    (!content.starts_with("//!")).then(|| Finding::new(path, 1, what))
}

/// Sleeps in tests: they make a test slow or flaky. Paused time is neither.
fn sleeps(path: &str, content: &str) -> Vec<Finding> {
    if path == MAY_SLEEP {
        return Vec::new();
    }
    let all_tests = path.starts_with("test/") || path.contains("/tests/") || path.ends_with("/tests.rs");
    let tests_from = if all_tests { 0 } else { code_lines(content) };
    let paused = content.contains("start_paused = true") || content.contains("time::pause()");
    let sleeps = |line: &str| line.contains("thread::sleep(") || (!paused && line.contains("time::sleep("));
    let lines = content.lines().enumerate().skip(tests_from).filter(|(_, line)| sleeps(line));
    lines
        .map(|(index, _)| {
            Finding::new(path, index + 1, "sleeps: wait for a condition with kit::wait_for, or pause the time")
        })
        .collect()
}

fn lengths(tree: &Tree) -> Vec<Finding> {
    let list = tree.files.get(LONG_FILES).map(String::as_str).unwrap_or_default();
    let mut findings = Vec::new();
    let mut listed = std::collections::BTreeMap::new();
    for (index, line) in list.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        match line.split_once(' ').and_then(|(path, lines)| Some((path, lines.parse::<usize>().ok()?))) {
            Some((path, lines)) => drop(listed.insert(path, (index + 1, lines))),
            None => findings.push(Finding::new(LONG_FILES, index + 1, "is not \"path lines\"")),
        }
    }
    for (path, content) in tree.files.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let lines = code_lines(content);
        match listed.remove(path.as_str()) {
            None if lines > LINES_MAX => {
                let what = format!("has {lines} lines before its tests, more than {LINES_MAX}: split it by concept");
                findings.push(Finding::new(path, 0, what));
            }
            Some((_, most)) if lines > most => {
                findings.push(Finding::new(
                    path,
                    0,
                    format!("has grown from {most} to {lines} lines: split it by concept"),
                ));
            }
            Some((line, most)) if lines < most => {
                let mend = if lines > LINES_MAX { format!("say {lines} there") } else { "remove the entry".to_owned() };
                findings.push(Finding::new(LONG_FILES, line, format!("{path} has shrunk to {lines} lines: {mend}")));
            }
            _ => {}
        }
    }
    findings
        .extend(listed.iter().map(|(path, (line, _))| Finding::new(LONG_FILES, *line, format!("there is no {path}"))));
    findings
}

/// The lines before a file's tests.
fn code_lines(content: &str) -> usize {
    let lines: Vec<&str> = content.lines().collect();
    let tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(tests).unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_files(files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect();
        check(&Tree { files, packages: Vec::new() }).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn leftovers_are_found_with_their_line() {
        let found = check_files(&[("a.rs", "//! A.\n// FIXME later\n")]);
        assert_eq!(found, ["a.rs:2: says \"FIXME\": finish it, or say in the documents what is missing"]);
    }

    #[test]
    fn a_source_without_an_opening_is_found() {
        let found = check_files(&[("a.rs", "fn main() {}\n")]);
        assert_eq!(found, ["a.rs:1: opens without a `//!` comment that says what it is and guarantees"]);
    }

    #[test]
    fn sleeps_are_found_in_tests_alone() {
        let wait = "//! A.\nfn back_off() { time::sleep(d) }\n#[cfg(test)]\nmod tests {\n    thread::sleep(d);\n}\n";
        let found = check_files(&[("a/src/a.rs", wait), ("a/tests/it/b.rs", "//! B.\ntime::sleep(d);\n")]);
        let places: Vec<&str> = found.iter().filter_map(|finding| finding.split(": ").next()).collect();
        assert_eq!(places, ["a/src/a.rs:5", "a/tests/it/b.rs:2"]);
        assert!(
            check_files(&[("a/tests/it/b.rs", "//! B.\n#[tokio::test(start_paused = true)]\ntime::sleep(d);\n")])
                .is_empty()
        );
    }

    #[test]
    fn a_long_file_needs_an_entry_that_only_shrinks() {
        let source = |lines: usize| format!("//! A.\n{}", "x\n".repeat(lines - 1));
        let check_length = |lines: usize, list: &str| check_files(&[("a.rs", &source(lines)), (LONG_FILES, list)]);
        assert!(check_length(800, "# path lines\n").is_empty());
        assert!(check_length(900, "a.rs 900\n").is_empty());
        assert_eq!(check_length(801, ""), ["a.rs: has 801 lines before its tests, more than 800: split it by concept"]);
        assert_eq!(check_length(901, "a.rs 900\n"), ["a.rs: has grown from 900 to 901 lines: split it by concept"]);
        let entry = "hack/xtask/long-files.txt:1: a.rs has shrunk to";
        assert_eq!(check_length(899, "a.rs 900\n"), [format!("{entry} 899 lines: say 899 there")]);
        assert_eq!(check_length(700, "a.rs 900\n"), [format!("{entry} 700 lines: remove the entry")]);
        assert_eq!(check_files(&[(LONG_FILES, "gone.rs 900\n")]), ["hack/xtask/long-files.txt:1: there is no gone.rs"]);
    }

    #[test]
    fn tests_do_not_count_towards_the_length() {
        let tests = "#[cfg(test)]\nmod tests {\n".to_owned() + &"    x\n".repeat(900) + "}\n";
        assert!(check_files(&[("a.rs", &format!("//! A.\n{tests}"))]).is_empty());
    }
}
