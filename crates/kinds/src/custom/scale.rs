//! The scale subresource of a kind that a tenant defines: where its objects keep what a Scale shows.

use crate::value::text;
use api::Cause;
use serde_json::{Map, Value, json};

/// Where an object keeps its numbers of replicas. Paths are `.spec.replicas`.
#[derive(Debug)]
pub struct Scale {
    spec: Box<str>,
    status: Box<str>,
    selector: Option<Box<str>>,
}

/// What stands at a path, or why it is not what it should be.
type Found<T> = Result<Option<T>, String>;

fn failed(why: String) -> api::Error {
    api::Error::new(api::Reason::InternalError, why)
}

impl Scale {
    pub(super) fn compile(declared: &Value) -> Scale {
        let selector = Some(text(&declared["labelSelectorPath"])).filter(|path| !path.is_empty());
        Scale {
            spec: text(&declared["specReplicasPath"]).into(),
            status: text(&declared["statusReplicasPath"]).into(),
            selector: selector.map(Into::into),
        }
    }

    /// The Scale of an object. 500 for one that has no number of replicas yet.
    pub fn of(&self, object: &Value) -> api::Result<Value> {
        let missing = || failed(format!("the spec replicas field {:?} does not exist", &*self.spec));
        Ok(self.show(object, number(object, &self.spec).map_err(failed)?.ok_or_else(missing)?))
    }

    /// The Scale that a change of it starts from. An object without a number of replicas starts from none.
    pub fn to_change(&self, object: &Value) -> api::Result<Value> {
        Ok(self.show(object, number(object, &self.spec).map_err(failed)?.unwrap_or(0)))
    }

    fn show(&self, object: &Value, wanted: i64) -> Value {
        let mut metadata = json!({});
        for field in ["name", "namespace", "tenant", "uid", "resourceVersion", "creationTimestamp"] {
            if !object["metadata"][field].is_null() {
                metadata[field] = object["metadata"][field].clone();
            }
        }
        let mut scale = json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": {},
            "status": {"replicas": number(object, &self.status).ok().flatten().unwrap_or(0)},
        });
        if wanted != 0 {
            scale["spec"]["replicas"] = json!(wanted);
        }
        if let Some(path) = &self.selector
            && let Ok(Some(selector)) = string(object, path)
            && !selector.is_empty()
        {
            scale["status"]["selector"] = json!(selector);
        }
        scale
    }

    /// Takes the number of replicas from a Scale. 400 where the object has no place for it.
    pub fn set(&self, object: &mut Value, scale: &Value) -> api::Result<()> {
        let wanted = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        let mut slot = object;
        for name in parts(&self.spec) {
            if slot.is_null() {
                *slot = Value::Object(Map::new());
            }
            let Some(map) = slot.as_object_mut() else {
                return Err(api::Error::bad_request(format!("{} is in no object", self.spec)));
            };
            slot = map.entry(name).or_insert(Value::Null);
        }
        *slot = json!(wanted);
        Ok(())
    }

    /// What is wrong with what an object keeps there.
    pub(super) fn causes(&self, object: &Value, spec_too: bool) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut add = |path: &str, shown: Value, why: String| {
            let message = format!("Invalid value: {shown}: {why}");
            causes.push(Cause { reason: "FieldValueInvalid".to_owned(), message, field: path.to_owned() });
        };
        let spec = spec_too.then_some(&self.spec);
        for path in spec.into_iter().chain([&self.status]) {
            match number(object, path) {
                Err(why) => add(path, json!(0), why),
                Ok(Some(replicas)) if replicas < 0 => {
                    add(path, json!(replicas), "should be a non-negative integer".to_owned());
                }
                Ok(Some(replicas)) if replicas > i64::from(i32::MAX) => {
                    let max = i32::MAX;
                    add(path, json!(replicas), format!("should be less than or equal to {max}"));
                }
                Ok(_) => {}
            }
        }
        if let Some(path) = &self.selector
            && let Err(why) = string(object, path)
        {
            add(path, json!(""), why);
        }
        causes
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('.').split('.')
}

fn number(object: &Value, path: &str) -> Found<i64> {
    let Some(found) = find(object, path)? else { return Ok(None) };
    found.as_i64().map(Some).ok_or_else(|| mistyped(path, found, "int64"))
}

fn string<'a>(object: &'a Value, path: &str) -> Found<&'a str> {
    let Some(found) = find(object, path)? else { return Ok(None) };
    found.as_str().map(Some).ok_or_else(|| mistyped(path, found, "string"))
}

fn find<'a>(object: &'a Value, path: &str) -> Found<&'a Value> {
    let mut at = object;
    let mut walked = String::new();
    for name in parts(path) {
        walked.push('.');
        walked.push_str(name);
        match at {
            Value::Object(map) => match map.get(name) {
                Some(below) => at = below,
                None => return Ok(None),
            },
            Value::Null => return Ok(None),
            other => return Err(mistyped(&walked, other, "map[string]interface{}")),
        }
    }
    Ok(Some(at))
}

fn mistyped(path: &str, found: &Value, expected: &str) -> String {
    let (shown, kind) = match found {
        Value::Null => ("<nil>".to_owned(), "<nil>"),
        Value::Bool(value) => (value.to_string(), "bool"),
        Value::Number(number) if number.is_f64() => (number.to_string(), "float64"),
        Value::Number(number) => (number.to_string(), "int64"),
        Value::String(text) => (text.clone(), "string"),
        Value::Array(_) => (found.to_string(), "[]interface {}"),
        Value::Object(_) => (found.to_string(), "map[string]interface {}"),
    };
    format!("{path} accessor error: {shown} is of the type {kind}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale() -> Scale {
        Scale::compile(&json!({
            "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }))
    }

    #[test]
    fn a_scale_is_read_and_written_where_the_definition_says() {
        let mut object = json!({"metadata": {"name": "a"}, "spec": {"replicas": 3}, "status": {"selector": "a=b"}});
        let shown = scale().of(&object).expect("a scale");
        assert_eq!(shown["spec"], json!({"replicas": 3}));
        assert_eq!(shown["status"], json!({"replicas": 0, "selector": "a=b"}));
        scale().set(&mut object, &json!({"spec": {"replicas": 5}})).expect("an object");
        assert_eq!(object["spec"]["replicas"], 5);
        assert!(scale().of(&json!({"spec": {}})).is_err());
        assert_eq!(scale().to_change(&json!({"spec": {}})).expect("a start")["spec"], json!({}));
    }

    #[test]
    fn what_is_no_number_of_replicas_is_told() {
        for (object, why) in [
            (
                json!({"spec": "text"}),
                ".spec.replicas accessor error: text is of the type string, expected map[string]interface{}",
            ),
            (
                json!({"spec": {"replicas": "x"}}),
                ".spec.replicas accessor error: x is of the type string, expected int64",
            ),
            (json!({"spec": {"replicas": -1}}), "should be a non-negative integer"),
        ] {
            let causes = scale().causes(&object, true);
            assert_eq!(causes.len(), 1);
            assert!(causes[0].message.ends_with(why), "{}", causes[0].message);
        }
    }
}
