//! Pod templates: whether two are the same, and the hash that names a replica set after one.

use serde_json::Value;

/// The label by which the pods of one template are told from those of others.
pub const HASH_LABEL: &str = "pod-template-hash";

/// What names may be made of: no vowels and no digits that look like them, so that no word comes out.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Whether two templates make the same pods: the label of the hash is left out, and `null` is as good as nothing.
pub fn same(a: &Value, b: &Value) -> bool {
    same_members(a, b, &[])
}

fn same_members(a: &Value, b: &Value, path: &[&str]) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let counts =
                |key: &str, value: &Value| !value.is_null() && (path != ["metadata", "labels"] || key != HASH_LABEL);
            let within = |x: &serde_json::Map<String, Value>, y: &serde_json::Map<String, Value>| {
                x.iter().filter(|(k, v)| counts(k, v)).all(|(k, v)| {
                    let path = if path.len() < 2 { [path, &[k.as_str()]].concat() } else { vec![""; 3] };
                    same_members(v, y.get(k).unwrap_or(&Value::Null), &path)
                })
            };
            within(x, y) && y.iter().filter(|(k, v)| counts(k, v)).all(|(k, _)| x.get(k).is_some_and(|v| !v.is_null()))
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same_members(a, b, &[""; 3]))
        }
        _ => a == b,
    }
}

/// A short name for a template, the same for the same template. `collisions` tells apart those that share one.
pub fn hash(template: &Value, collisions: Option<i64>) -> String {
    let mut state = Fnv1a::new();
    state.value(template);
    if let Some(count) = collisions {
        state.bytes(&count.to_le_bytes());
    }
    let digits = state.0.to_string();
    digits.bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// The hash FNV-1a over JSON whose members are in the order of their names.
struct Fnv1a(u32);

impl Fnv1a {
    fn new() -> Fnv1a {
        Fnv1a(0x811c_9dc5)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().filter(|(_, v)| !v.is_null()).collect();
                members.sort_by_key(|(name, _)| name.as_str());
                self.bytes(b"{");
                for (name, member) in members {
                    self.bytes(name.as_bytes());
                    self.bytes(b"\0");
                    self.value(member);
                }
                self.bytes(b"}");
            }
            Value::Array(items) => {
                self.bytes(b"[");
                for item in items {
                    self.value(item);
                    self.bytes(b"\0");
                }
                self.bytes(b"]");
            }
            scalar => self.bytes(scalar.to_string().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(labels: Value, image: &str) -> Value {
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"image": image}]}})
    }

    #[test]
    fn templates_that_make_the_same_pods_are_the_same() {
        let plain = template(json!({"a": "b"}), "x");
        assert!(same(&plain, &template(json!({"a": "b", HASH_LABEL: "123"}), "x")));
        let with_null = json!({"metadata": {"labels": {"a": "b"}, "creationTimestamp": null}, "spec": plain["spec"]});
        assert!(same(&plain, &with_null) && same(&with_null, &plain));
        assert!(!same(&plain, &template(json!({"a": "b"}), "y")));
        assert!(!same(&plain, &template(json!({"a": "b", "c": "d"}), "x")));
        assert!(!same(&template(json!({"a": "b", "c": "d"}), "x"), &plain));
        let elsewhere = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"nodeSelector": {HASH_LABEL: "1"}}});
        assert!(!same(&elsewhere, &json!({"metadata": {"labels": {"a": "b"}}, "spec": {"nodeSelector": {}}})));
    }

    #[test]
    fn a_hash_is_stable_and_safe_in_names() {
        let plain = template(json!({"a": "b"}), "x");
        assert_eq!(hash(&plain, None), "8cc44fb4d");
        assert_ne!(hash(&plain, None), hash(&plain, Some(1)));
        assert_ne!(hash(&plain, Some(1)), hash(&plain, Some(2)));
        assert_ne!(hash(&plain, None), hash(&template(json!({"a": "b"}), "y"), None));
        assert!(hash(&plain, None).bytes().all(|b| ALPHABET.contains(&b)));
    }
}
