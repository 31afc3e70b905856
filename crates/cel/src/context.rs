//! What one evaluation may use, and how it fails. Work, memory and compiled patterns are bounded.

use crate::regex::{self, Pattern};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// What a call of one expression may cost.
pub const CALL_BUDGET: u64 = 1_000_000;

/// What an evaluation may have allocated in all, in bytes: no cost of the language counts every byte.
const BYTES_MAX: u64 = 32 << 20;
/// Patterns that are not literals.
const PATTERNS_MAX: usize = 128;

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    message: String,
    kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A step of the expression failed.
    Failed,
    /// No function takes these arguments.
    NoOverload,
    /// The budget is spent.
    Budget,
}

impl Fault {
    pub fn new(message: impl ToString) -> Fault {
        Fault { message: message.to_string(), kind: FaultKind::Failed }
    }

    pub(crate) fn no_overload() -> Fault {
        Fault { message: "no such overload".into(), kind: FaultKind::NoOverload }
    }

    pub(crate) fn budget() -> Fault {
        Fault { message: "operation cancelled: actual cost limit exceeded".into(), kind: FaultKind::Budget }
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn kind(&self) -> FaultKind {
        self.kind
    }
}

/// The means of one evaluation.
pub struct Context {
    budget: u64,
    spent: Cell<u64>,
    ticks: Cell<u64>,
    bytes: Cell<u64>,
    patterns: RefCell<HashMap<String, Result<Pattern, String>>>,
}

impl Context {
    pub fn new(budget: u64) -> Context {
        let zero = || Cell::new(0);
        Context { budget, spent: zero(), ticks: zero(), bytes: zero(), patterns: RefCell::new(HashMap::new()) }
    }

    /// What was spent so far.
    pub fn spent(&self) -> u64 {
        self.spent.get()
    }

    pub(crate) fn charge(&self, cost: u64) -> Result<(), Fault> {
        let spent = self.spent.get().saturating_add(cost);
        self.spent.set(spent);
        if spent > self.budget { Err(Fault::budget()) } else { Ok(()) }
    }

    /// One step within a function; no function may take more than the budget allows steps, tenfold.
    pub(crate) fn tick(&self) -> Result<(), Fault> {
        self.ticks.set(self.ticks.get() + 1);
        if self.ticks.get() / 10 > self.budget { Err(Fault::budget()) } else { Ok(()) }
    }

    pub(crate) fn allocate(&self, bytes: usize) -> Result<(), Fault> {
        self.bytes.set(self.bytes.get().saturating_add(bytes as u64));
        if self.bytes.get() > BYTES_MAX { Err(Fault::budget()) } else { Ok(()) }
    }

    pub(crate) fn pattern(&self, source: &str) -> Result<Pattern, Fault> {
        let mut patterns = self.patterns.borrow_mut();
        if let Some(known) = patterns.get(source) {
            return known.clone().map_err(Fault::new);
        }
        if patterns.len() >= PATTERNS_MAX {
            return Err(Fault::budget());
        }
        let compiled = regex::compile(source);
        patterns.insert(source.to_owned(), compiled.clone());
        compiled.map_err(Fault::new)
    }
}
