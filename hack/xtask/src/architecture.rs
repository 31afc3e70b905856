//! Holds ARCHITECTURE.md and the other documents to the code: the crates and who imports whom, and paths that exist.

use crate::tidy::{Finding, Package, Tree};
use std::collections::BTreeMap;

const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// The head of the table that says who may import whom: crate, what it holds, what it imports.
const TABLE_HEAD: &str = "| crate |";

/// Crates that any crate's tests may use.
const TEST_KITS: [&str; 3] = ["kit", "faultfs", "fuzz"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = match tree.files.get(ARCHITECTURE) {
        Some(document) => imports(document, &tree.packages),
        None => vec![Finding::new(ARCHITECTURE, 0, "is missing")],
    };
    for (path, document) in tree.files.iter().filter(|(path, _)| path.ends_with(".md")) {
        findings.extend(dead_paths(path, document, tree));
    }
    findings
}

/// Compares the table with what the crates import. Both ways: a table that allows what nobody needs is wrong too.
fn imports(document: &str, packages: &[Package]) -> Vec<Finding> {
    let table = table(document);
    let mut findings = Vec::new();
    for package in packages {
        let Some((line, allowed)) = table.get(package.name.as_str()) else {
            findings.push(Finding::new(ARCHITECTURE, 0, format!("the table of crates lacks `{}`", package.name)));
            continue;
        };
        for import in package.imports.iter().filter(|import| !allowed.contains(&import.as_str())) {
            let what = format!("`{}` imports `{import}`, which the table does not allow", package.name);
            findings.push(Finding::new(ARCHITECTURE, *line, what));
        }
        for import in allowed.iter().filter(|allowed| !package.imports.iter().any(|import| import == *allowed)) {
            let what = format!("`{}` does not import `{import}`: take it from the table", package.name);
            findings.push(Finding::new(ARCHITECTURE, *line, what));
        }
        let for_tests = |import: &&String| !TEST_KITS.contains(&import.as_str()) && !allowed.contains(&import.as_str());
        for import in package.test_imports.iter().filter(for_tests) {
            let what = format!("the tests of `{}` import `{import}`, which the table does not allow", package.name);
            findings.push(Finding::new(ARCHITECTURE, *line, what));
        }
    }
    for (name, (line, _)) in table {
        if !packages.iter().any(|package| package.name == name) {
            findings.push(Finding::new(ARCHITECTURE, line, format!("there is no crate `{name}`")));
        }
    }
    findings
}

/// Each crate of the table, with its line and the crates in its last column.
fn table(document: &str) -> BTreeMap<&str, (usize, Vec<&str>)> {
    let lines = document.lines().enumerate().skip_while(|(_, line)| !line.starts_with(TABLE_HEAD));
    let mut rows = BTreeMap::new();
    for (index, line) in lines.skip(2).take_while(|(_, line)| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let imports = cells.last().map(|cell| quoted(cell)).unwrap_or_default();
        for name in quoted(cells[0]) {
            rows.insert(name, (index + 1, imports.clone()));
        }
    }
    rows
}

/// What stands between backticks in a line.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// Paths of the checkout that a document names in backticks or links to, and that are not there.
fn dead_paths(path: &str, document: &str, tree: &Tree) -> Vec<Finding> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    let mut in_code_block = false;
    for (index, line) in document.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code_block = !in_code_block;
        } else if !in_code_block {
            let named = quoted(line).into_iter().filter(|name| starts_in_tree(name, tree)).map(str::to_owned);
            let linked = links(line).into_iter().map(|link| join(folder, link));
            for target in named.chain(linked).filter(|target| !exists(target, tree)) {
                findings.push(Finding::new(path, index + 1, format!("there is no {target}")));
            }
        }
    }
    findings
}

/// Whether a word is a path whose first folder is one of the checkout's.
fn starts_in_tree(word: &str, tree: &Tree) -> bool {
    let Some((first, _)) = word.split_once('/') else { return false };
    let first = format!("{first}/");
    !word.contains(|c: char| c.is_whitespace() || "<>{}$*".contains(c))
        && tree.files.keys().any(|file| file.starts_with(&first))
}

fn exists(path: &str, tree: &Tree) -> bool {
    let path = path.trim_end_matches('/');
    let folder = format!("{path}/");
    tree.files.contains_key(path) || tree.files.keys().any(|file| file.starts_with(&folder))
}

/// Targets of a line's links within the checkout, without what follows a `#`.
fn links(line: &str) -> Vec<&str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with('#')).map(without_anchor).collect()
}

fn without_anchor(target: &str) -> &str {
    target.split('#').next().unwrap_or_default()
}

/// A path as seen from a folder, with `..` resolved.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# Crates\n\n| crate | holds | imports |\n|---|---|---|\n| `api` | words | nothing |\n\
                         | `store` | revisions | `api` |\n\nThe end.\n";

    fn package(name: &str, imports: &[&str], test_imports: &[&str]) -> Package {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Package { name: name.to_owned(), imports: owned(imports), test_imports: owned(test_imports), roots: Vec::new() }
    }

    fn check_imports(packages: &[Package]) -> Vec<String> {
        imports(TABLE, packages).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_table_that_fits_has_no_findings() {
        assert!(check_imports(&[package("api", &[], &["kit"]), package("store", &["api"], &[])]).is_empty());
    }

    #[test]
    fn an_edge_that_the_table_lacks_is_found() {
        let found = check_imports(&[package("api", &["store"], &["store"]), package("store", &["api"], &[])]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], "ARCHITECTURE.md:5: `api` imports `store`, which the table does not allow");
    }

    #[test]
    fn an_edge_that_nobody_uses_is_found() {
        let found = check_imports(&[package("api", &[], &[]), package("store", &[], &[])]);
        assert_eq!(found, ["ARCHITECTURE.md:6: `store` does not import `api`: take it from the table"]);
    }

    #[test]
    fn crates_missing_from_the_table_and_invented_by_it_are_found() {
        let found = check_imports(&[package("api", &[], &[]), package("schema", &[], &[])]);
        assert_eq!(
            found,
            ["ARCHITECTURE.md: the table of crates lacks `schema`", "ARCHITECTURE.md:6: there is no crate `store`"]
        );
    }

    #[test]
    fn a_path_or_link_that_leads_nowhere_is_found() {
        let files = ["crates/api/src/lib.rs", "docs/a.md", "docs/b.md"];
        let tree = Tree { files: files.map(|path| (path.to_owned(), String::new())).into(), packages: Vec::new() };
        let document = "See `crates/api`, `crates/gone/x.rs`, `application/json` and [b](b.md#top), [c](../docs/c.md).\n\
                        ```\n`crates/gone` in an example\n```\n[site](https://example.com/x)\n";
        let found: Vec<_> = dead_paths("docs/a.md", document, &tree).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["docs/a.md:1: there is no crates/gone/x.rs", "docs/a.md:1: there is no docs/c.md"]);
    }
}
