//! Messages about unusual fields, and the paths they name.
//!
//! Invariant: however large a body is, few messages are made of it, and none is long.

use std::collections::HashSet;
use std::fmt::Write;

/// As many messages as upstream tells at most.
pub(crate) const MAX_MESSAGES: usize = 100;

/// How many unusual fields are looked at: one that is told already costs as much as another.
const MAX_ATTEMPTS: usize = 100 * MAX_MESSAGES;

/// How many bytes of a path are kept: several times what the longest names of real objects make.
const MAX_PATH: usize = 4096;

/// Messages in the order in which they were found, each one once.
#[derive(Default)]
pub(crate) struct Messages {
    list: Vec<String>,
    told: HashSet<String>,
    attempts: usize,
}

impl Messages {
    /// Whether nothing more will be told.
    pub fn is_full(&self) -> bool {
        self.list.len() >= MAX_MESSAGES || self.attempts >= MAX_ATTEMPTS
    }

    /// Adds a message, which is made only if there is room for it.
    pub fn tell(&mut self, message: impl FnOnce() -> String) {
        if self.is_full() {
            return;
        }
        self.attempts += 1;
        let message = message();
        if self.told.insert(message.clone()) {
            self.list.push(message);
        }
    }

    pub fn into_list(self) -> Vec<String> {
        self.list
    }
}

/// Appends a field's name to a path.
pub(crate) fn push_field(path: &mut String, name: &str) {
    if !path.is_empty() && path.len() < MAX_PATH {
        path.push('.');
    }
    path.push_str(within(name, MAX_PATH.saturating_sub(path.len())));
}

/// Appends a field's name, or a key in brackets, to a path.
pub(crate) fn push_part(path: &mut String, name: &str, is_field: bool) {
    if is_field {
        return push_field(path, name);
    }
    if path.len() < MAX_PATH {
        path.push('[');
        path.push_str(within(name, MAX_PATH.saturating_sub(path.len())));
        path.push(']');
    }
}

/// Appends an index to a path.
pub(crate) fn push_index(path: &mut String, index: usize) {
    if path.len() < MAX_PATH {
        write!(path, "[{index}]").expect("a String takes all that is written");
    }
}

/// As much of a name as a message holds.
pub(crate) fn shown(name: &str) -> &str {
    within(name, MAX_PATH)
}

fn within(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_told_once_and_few_are() {
        let mut messages = Messages::default();
        for i in 0..3 * MAX_MESSAGES {
            messages.tell(|| (i / 2).to_string());
        }
        let expected: Vec<String> = (0..MAX_MESSAGES).map(|i| i.to_string()).collect();
        assert_eq!(messages.into_list(), expected);
    }

    #[test]
    fn one_message_is_not_made_without_end() {
        let (mut messages, mut made) = (Messages::default(), 0);
        for _ in 0..2 * MAX_ATTEMPTS {
            messages.tell(|| {
                made += 1;
                "again".to_owned()
            });
        }
        assert_eq!((made, messages.into_list()), (MAX_ATTEMPTS, vec!["again".to_owned()]));
    }

    #[test]
    fn a_path_does_not_grow_past_its_limit() {
        let mut path = "spec".to_owned();
        push_index(&mut path, 3);
        push_field(&mut path, "a");
        assert_eq!(path, "spec[3].a");
        for _ in 0..10 {
            push_field(&mut path, &"é".repeat(MAX_PATH / 3));
            push_index(&mut path, 0);
        }
        assert!(path.len() <= MAX_PATH + "[0]".len(), "{}", path.len());
    }
}
