//! What the schemas say of single fields.

use crate::{overlay, sources};

/// The description of each field of a definition, empty for one that has none. Builds all schemas, so that none has to
/// be kept in memory for its texts: ask once for many.
pub fn descriptions(fields: &[(&str, &str)]) -> Vec<String> {
    let definitions = sources::definitions(&overlay::facts());
    let describe = |(definition, field): &(&str, &str)| {
        let schema = &definitions.get(*definition)?["properties"][*field];
        Some(schema["description"].as_str()?.to_owned())
    };
    fields.iter().map(|field| describe(field).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_described_and_an_unknown_one_is_not() {
        let name = ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "name");
        let found = descriptions(&[name, ("none", "name"), (name.0, "none")]);
        assert!(found[0].starts_with("Name must be unique"), "{}", found[0]);
        assert_eq!(found[1..], ["", ""]);
    }
}
