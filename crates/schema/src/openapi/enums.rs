//! Fields that hold one word of a closed set, as they are published: the set, and in the description what each word means.
//! One table holds them; validation has its own rules.

use serde_json::{Map, Value, json};

static TABLE: &str = include_str!("enums.txt");

/// Adds the sets to the definitions. The table is part of the program: a field that does not exist is a mistake of ours.
pub(super) fn add(definitions: &mut Map<String, Value>) {
    let mut words: Vec<(&str, &str)> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        if let Some(word) = line.strip_prefix(' ') {
            words.push(word.split_once(' ').unwrap_or((word, "")));
            continue;
        }
        for field in line.split(' ') {
            let (definition, field) = field.rsplit_once('.').expect("a field of a definition");
            let schema = &mut definitions[&format!("io.k8s.api.{definition}")]["properties"][field];
            let description = schema["description"].as_str().expect("a field with a description").to_owned();
            let meanings: String = words.iter().map(|(word, meaning)| meaning_of(word, meaning)).collect();
            schema["description"] = json!(format!("{description}\n\nPossible enum values:{meanings}"));
            schema["enum"] = words.iter().map(|(word, _)| *word).collect();
        }
        words.clear();
    }
}

fn meaning_of(word: &str, meaning: &str) -> String {
    let space = if meaning.is_empty() { "" } else { " " };
    format!("\n - `\"{word}\"`{space}{meaning}")
}
