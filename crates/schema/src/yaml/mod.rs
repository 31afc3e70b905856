//! YAML: read as Kubernetes' YAML 1.1 reader does, for request bodies, and written for answers.

mod read;
mod resolve;
mod write;

pub(crate) use read::read;
pub use write::encode;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_written_reads_back() {
        let value = json!({
            "words": ["1", 1, null, true, "true", "yes", "~", "", "x: y", "# no", "0x1f", "1e3", "2026-01-02", "- a", "a b"],
            "lines": ["multi\nline\n", "multi\nline", "a\n\n", " lead\nx", "\ttab\n", "trail \nx", "\n", "a\r\nb", "quote\"d\\"],
            "empty": {"object": {}, "list": []}, "nested": [[1, [2]], {"a": {"b": [{"c": 1, "d": 2}]}}],
            "odd keys": {"yes": 1, "1": 2, "": 3, "a: b": 4, "é": "ü\u{7}\u{2028}\u{feff}"}, "numbers": [-1, 1.5, 1e300],
        });
        let text = encode(&value);
        assert_eq!(read(text.as_bytes()).expect("YAML").value, value, "{text}");
    }

    #[test]
    fn objects_are_written_as_people_write_them() {
        let value = json!({"kind": "Pod", "spec": {"containers": [{"name": "a", "args": ["x", "y z"]}]}, "data": {"k": "a\nb\n"}});
        let expected = "data:\n  k: |\n    a\n    b\nkind: Pod\nspec:\n  containers:\n  - args:\n    - x\n    - y z\n    name: a\n";
        assert_eq!(encode(&value), expected);
    }

    #[test]
    fn strings_are_quoted_and_folded_as_go_does() {
        let long = "only the following media types are accepted: application/json;stream=watch, application/yaml";
        let value = json!({
            "a": "say \"x\" not y", "b": "", "c": "yes", "d": "x: y", "e": "'it' is", "f": "1", "g": "2026-01-02",
            "h": "tab\there", "i": " lead\nx", "j": "a\n\n", "k": "1:20", "l": "# no", "m": "x", "long": long,
            "n": {"o": [long.replace(": ", " ")]}, "p": "a\n", "t": "*",
        });
        let expected = r#"a: say "x" not y
b: ""
c: "yes"
d: 'x: y'
e: '''it'' is'
f: "1"
g: "2026-01-02"
h: "tab\there"
i: |2-
   lead
  x
j: |+
  a

k: "1:20"
l: '# no'
long: 'only the following media types are accepted: application/json;stream=watch,
  application/yaml'
m: x
"n":
  o:
  - only the following media types are accepted application/json;stream=watch, application/yaml
p: |
  a
t: '*'
"#;
        assert_eq!(encode(&value), expected);
        assert_eq!(read(expected.as_bytes()).expect("YAML").value, value);
    }

    /// An object that holds a value so many levels down.
    fn wrapped(value: Value, levels: usize) -> Value {
        (0..levels).fold(value, |value, _| json!({ "k": value }))
    }

    #[test]
    fn what_is_deep_is_written_as_everything_else() {
        let text = encode(&wrapped(json!({"a": "x\ny", "l": [1, {"b": 2}]}), 99));
        assert_eq!(text.lines().count(), 99 + 6, "{text}");
        let indent = " ".repeat(198);
        let end = format!("{indent}a: |-\n{indent}  x\n{indent}  y\n{indent}l:\n{indent}- 1\n{indent}- b: 2\n");
        assert!(text.ends_with(&end), "{text}");
    }

    #[test]
    fn indents_do_not_multiply_what_is_written() {
        let numbers = json!(vec![1; 20_000]);
        let lines = json!("a\n".repeat(20_000));
        let objects =
            json!(vec![json!({"yes": "no", "": [[]], "a: b": "\u{7}é\u{2028}\n", "n": [null, -1.5, true]}); 1_000]);
        let deep = wrapped(json!({"fields": [numbers, lines], "objects": objects}), 95);
        for value in [wrapped(numbers.clone(), 95), wrapped(lines.clone(), 95), deep] {
            let (text, json) = (encode(&value), value.to_string());
            assert!(text.len() < 2 * json.len() + 100_000, "{} of {}", text.len(), json.len());
            assert_eq!(read(text.as_bytes()).expect("YAML").value, value);
        }
    }
}
