//! YAML: read as Kubernetes' YAML 1.1 reader does, for request bodies, and written for answers.

mod read;
mod resolve;
mod write;

pub(crate) use read::read;
pub use write::encode;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
}
