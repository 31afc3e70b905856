//! Interned texts: labels' keys and values of nodes, so that comparing them is comparing numbers.
//!
//! Invariant: only nodes' own labels are interned. A selector of a pod looks texts up and adds none, so that tenants
//! cannot make the table grow.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// A text of the table that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(NonZeroU32);

impl Symbol {
    /// Below the number of symbols.
    pub fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The table.
#[derive(Default)]
pub struct Symbols {
    by_text: HashMap<Arc<str>, Symbol>,
    texts: Vec<Arc<str>>,
}

impl Symbols {
    pub fn intern(&mut self, text: &str) -> Symbol {
        if let Some(&symbol) = self.by_text.get(text) {
            return symbol;
        }
        let text: Arc<str> = text.into();
        self.texts.push(text.clone());
        let number = u32::try_from(self.texts.len()).ok().and_then(NonZeroU32::new);
        let symbol = Symbol(number.expect("nodes have between 1 and 2^32 labels"));
        self.by_text.insert(text, symbol);
        symbol
    }

    /// The symbol of a text, if any node has it.
    pub fn find(&self, text: &str) -> Option<Symbol> {
        self.by_text.get(text).copied()
    }

    pub fn text(&self, symbol: Symbol) -> &str {
        &self.texts[symbol.index()]
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }
}

/// A node's labels: sorted by key.
pub type Labels = Box<[(Symbol, Symbol)]>;

/// The value of a label.
pub fn value_of(labels: &[(Symbol, Symbol)], key: Symbol) -> Option<Symbol> {
    labels.binary_search_by_key(&key, |&(k, _)| k).ok().map(|at| labels[at].1)
}
