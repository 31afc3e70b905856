//! Paths to fields of a schema, as `.spec.color` and `.spec['odd name']`: of selectable fields and of rules.

use serde_json::Value;

/// The schema of the field that a path leads to, and the path with its parts parted by dots. The error says why it leads
/// nowhere.
pub fn resolve<'a>(path: &str, schema: &'a Value) -> Result<(&'a Value, String), String> {
    let (mut at, mut rest, mut parts) = (schema, path, Vec::new());
    if rest.is_empty() {
        return Err("must not be empty".to_owned());
    }
    while !rest.is_empty() {
        let (name, after, quoted) = if let Some(inner) = rest.strip_prefix('[') {
            let Some((name, after)) = quoted(inner) else { return Err("array notation is not allowed".to_owned()) };
            (name, after, true)
        } else if let Some(inner) = rest.strip_prefix('.') {
            let end = inner.find(['.', '[']).unwrap_or(inner.len());
            (inner[..end].to_owned(), &inner[end..], false)
        } else {
            return Err(format!("expected [ or . but got: {}", rest.chars().next().unwrap_or_default()));
        };
        if name.is_empty() && !quoted {
            return Err("unexpected end of JSON path".to_owned());
        }
        let below = &at["properties"][name.as_str()];
        let each = &at["additionalProperties"];
        at = match (below, each) {
            (Value::Object(_), _) => below,
            (_, Value::Object(_)) => each,
            _ => return Err("does not refer to a valid field".to_owned()),
        };
        parts.push(name);
        rest = after;
    }
    Ok((at, parts.join(".")))
}

/// The name in quotes before a closing bracket, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (name, after) = text[1..].split_once(quote)?;
    Some((name.to_owned(), after.strip_prefix(']')?))
}
