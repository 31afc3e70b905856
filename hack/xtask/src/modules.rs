//! Finds `.rs` files that no compiler ever sees, because no `mod` leads to them.

use crate::tidy::{Finding, Tree};
use std::collections::BTreeSet;

pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<String> = tree.packages.iter().flat_map(|package| package.roots.iter().cloned()).collect();
    let roots: BTreeSet<String> = next.iter().cloned().collect();
    while let Some(path) = next.pop() {
        if let Some(content) = tree.files.get(&path)
            && reached.insert(path.clone())
        {
            next.extend(declared(&path, roots.contains(&path), content));
        }
    }
    let sources = tree.files.keys().filter(|path| path.ends_with(".rs"));
    sources
        .filter(|path| !reached.contains(*path))
        .map(|path| Finding::new(path, 0, "no `mod` leads to this file: no compiler has seen it"))
        .collect()
}

/// The files that a file's `mod` items may mean.
fn declared(path: &str, is_root: bool, content: &str) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let own_folder = is_root || file == "mod.rs";
    let base = if own_folder { folder.to_owned() } else { path.trim_end_matches(".rs").to_owned() };
    let mut files = Vec::new();
    let mut at_path = None;
    for line in content.lines().map(str::trim) {
        if let Some(target) = line.strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")) {
            at_path = Some(target);
        } else if let Some(name) = module(line) {
            match at_path.take() {
                Some(target) => files.push(format!("{folder}/{target}")),
                None => files.extend([format!("{base}/{name}.rs"), format!("{base}/{name}/mod.rs")]),
            }
        }
    }
    files
}

/// The name in a line such as `pub(crate) mod name;`.
fn module(line: &str) -> Option<&str> {
    let line = line.strip_suffix(';')?;
    let (before, name) = line.rsplit_once("mod ")?;
    let visibility = before.trim();
    (visibility.is_empty() || visibility.starts_with("pub")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::Package;

    fn check_files(files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect();
        let package = Package {
            name: "a".to_owned(),
            imports: Vec::new(),
            test_imports: Vec::new(),
            roots: vec!["a/src/lib.rs".to_owned(), "a/tests/it/main.rs".to_owned()],
        };
        check(&Tree { files, packages: vec![package] }).into_iter().map(|finding| finding.path).collect()
    }

    #[test]
    fn files_that_modules_lead_to_are_fine() {
        let found = check_files(&[
            ("a/src/lib.rs", "mod b;\npub(crate) mod c;\n#[cfg(test)]\nmod tests;"),
            ("a/src/b.rs", "mod deep;"),
            ("a/src/b/deep.rs", ""),
            ("a/src/c/mod.rs", "#[path = \"odd.rs\"]\nmod even;"),
            ("a/src/c/odd.rs", ""),
            ("a/src/tests.rs", ""),
            ("a/tests/it/main.rs", "mod case;"),
            ("a/tests/it/case.rs", ""),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_file_that_no_module_leads_to_is_found() {
        let found = check_files(&[
            ("a/src/lib.rs", "// mod forgotten;\nmod tests { }"),
            ("a/src/forgotten.rs", "mod further;"),
            ("a/src/forgotten/further.rs", ""),
        ]);
        assert_eq!(found, ["a/src/forgotten.rs", "a/src/forgotten/further.rs"]);
    }
}
