//! The tidy check: reads every tracked file once, asks each rule, and prints what they found.

use crate::{architecture, modules, words};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What a rule found: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub path: String,
    /// 0 for the file as a whole.
    pub line: usize,
    pub what: String,
}

impl Finding {
    pub fn new(path: &str, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// The checkout as the rules see it.
pub struct Tree {
    /// Text files that git knows or would add, by path from the root.
    pub files: BTreeMap<String, String>,
    pub packages: Vec<Package>,
}

/// A crate of the workspace.
pub struct Package {
    pub name: String,
    /// Names of the workspace's crates that it depends on.
    pub imports: Vec<String>,
    /// The same, for its tests alone.
    pub test_imports: Vec<String>,
    /// Files that the compiler starts from, by path from the root.
    pub roots: Vec<String>,
}

pub fn run() -> ExitCode {
    let tree = match read() {
        Ok(tree) => tree,
        Err(why) => {
            eprintln!("tidy: {why}");
            return ExitCode::FAILURE;
        }
    };
    let mut findings = [architecture::check(&tree), modules::check(&tree), words::check(&tree)].concat();
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} files, {} findings", tree.files.len(), findings.len());
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read() -> Result<Tree, String> {
    let metadata =
        output(Command::new(env!("CARGO")).args(["metadata", "--no-deps", "--offline", "--format-version=1"]))?;
    let metadata: Value = serde_json::from_slice(&metadata).map_err(|e| format!("cargo metadata: {e}"))?;
    let root = PathBuf::from(text(&metadata["workspace_root"]));
    let listed = output(Command::new("git").current_dir(&root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut files = BTreeMap::new();
    for path in String::from_utf8_lossy(&listed).split_terminator('\0') {
        // A file that was deleted but not yet committed, or that is not text, concerns no rule.
        if let Ok(content) = std::fs::read_to_string(root.join(path)) {
            files.insert(path.to_owned(), content);
        }
    }
    let packages = elements(&metadata["packages"]).map(|package| read_package(package, &root)).collect();
    Ok(Tree { files, packages })
}

fn read_package(package: &Value, root: &Path) -> Package {
    let internal = |test: bool| {
        elements(&package["dependencies"])
            .filter(|dependency| dependency["path"].is_string() && (dependency["kind"] == "dev") == test)
            .map(|dependency| text(&dependency["name"]).to_owned())
            .collect()
    };
    let roots = elements(&package["targets"])
        .filter_map(|target| Path::new(text(&target["src_path"])).strip_prefix(root).ok())
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    Package { name: text(&package["name"]).to_owned(), imports: internal(false), test_imports: internal(true), roots }
}

fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
