//! Cells that several kinds print alike.

use crate::table::{Column, explained};
use crate::value::{int, is_empty, list, members, text};
use serde_json::{Value, json};

/// The column of the names of a template's containers.
pub(crate) const CONTAINERS: Column = explained("Containers", "Names of each container in the template.");

/// The column of their images.
pub(crate) const IMAGES: Column = explained("Images", "Images referenced by each container in the template.");

/// A number, 0 where nothing is.
pub(crate) fn number(value: &Value) -> Value {
    json!(int(value).unwrap_or(0))
}

/// A text, or `<none>`.
pub(crate) fn or_none(value: &Value) -> Value {
    if is_empty(value) { json!("<none>") } else { value.clone() }
}

/// A value, or `<unset>`.
pub(crate) fn or_unset(value: &Value) -> Value {
    if is_empty(value) { json!("<unset>") } else { value.clone() }
}

/// `True`, `False` or `<unset>`.
pub(crate) fn yes_or_no(value: &Value) -> Value {
    match value {
        Value::Bool(true) => json!("True"),
        Value::Bool(false) => json!("False"),
        _ => json!("<unset>"),
    }
}

/// The names and the images of the containers of a pod spec.
pub(crate) fn containers(spec: &Value) -> [Value; 2] {
    ["name", "image"].map(|field| json!(joined(list(&spec["containers"]).iter().map(|c| text(&c[field])))))
}

/// Texts with commas between.
pub(crate) fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(",")
}

/// `a=b,c=d`, or `<none>`.
pub(crate) fn labels(labels: &Value) -> Value {
    let labels: Vec<String> = members(labels).map(|(key, value)| format!("{key}={}", text(value))).collect();
    or_none(&json!(labels.join(",")))
}

/// A label selector as on a command line, or `<none>`.
pub(crate) fn selector(selector: &Value) -> Value {
    let mut terms: Vec<(&str, String)> =
        members(&selector["matchLabels"]).map(|(key, value)| (key, format!("{key}={}", text(value)))).collect();
    for term in list(&selector["matchExpressions"]) {
        let key = text(&term["key"]);
        let mut values: Vec<&str> = list(&term["values"]).iter().map(text).collect();
        values.sort_unstable();
        let values = values.join(",");
        let shown = match text(&term["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        terms.push((key, shown));
    }
    terms.sort_by_key(|(key, _)| *key);
    let terms: Vec<String> = terms.into_iter().map(|(_, shown)| shown).collect();
    or_none(&json!(terms.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_print_as_they_are_typed() {
        let term = |key: &str, operator: &str| json!({"key": key, "operator": operator, "values": ["y", "x"]});
        let terms = json!([term("d", "In"), term("b", "NotIn"), term("c", "Exists"), term("e", "DoesNotExist")]);
        let shown = selector(&json!({"matchLabels": {"a": "1"}, "matchExpressions": terms}));
        assert_eq!(shown, "a=1,b notin (x,y),c,d in (x,y),!e");
        assert_eq!(selector(&Value::Null), "<none>");
        assert_eq!(labels(&json!({"b": "2", "a": ""})), "a=,b=2");
    }
}
