//! Evaluation of compiled rules: down the object, with what was there before beside it.

use super::{Node, OBJECT_BUDGET, Path, Rule, cause, invalid};
use crate::context::{CALL_BUDGET, Context, Fault, FaultKind};
use crate::eval::Bindings;
use crate::schema::ListKind;
use crate::value::Value;
use api::Cause;
use serde_json::Value as Json;

const MESSAGE_BYTES_MAX: usize = 5 << 10;
/// How many causes are kept; the first refuses the object.
const CAUSES_MAX: usize = 1000;

pub(super) fn validate(root: &Node, new: &Json, old: Option<&Json>) -> Vec<Cause> {
    let mut run = Run { budget: OBJECT_BUDGET, causes: Vec::new(), stopped: false };
    run.node(root, new, old, &Path::Root(""));
    run.causes
}

struct Run {
    budget: u64,
    causes: Vec<Cause>,
    stopped: bool,
}

fn known(value: Option<&Json>) -> Option<&Json> {
    value.filter(|value| !value.is_null())
}

impl Run {
    fn node(&mut self, node: &Node, new: &Json, old: Option<&Json>, at: &Path<'_>) {
        if self.stopped || self.causes.len() >= CAUSES_MAX || (new.is_null() && node.nullable) {
            return;
        }
        let old = known(old);
        let unchanged = old == Some(new);
        for rule in &node.rules {
            if self.stopped {
                return;
            }
            // What did not change stays as it was allowed to be; what is said about changes is asked always.
            let skipped = if rule.uses_old { old.is_none() && !rule.optional_old } else { unchanged };
            if !skipped {
                self.rule(node, rule, new, old, at);
            }
        }
        for (name, child) in &node.properties {
            if let Some(value) = new.get(name) {
                self.node(child, value, old.and_then(|old| old.get(name)), &Path::Field(at, name));
            }
        }
        if let (Some(child), Some(values)) = (&node.additional, new.as_object()) {
            let declared = |name: &str| node.properties.iter().any(|(known, _)| known == name);
            for (name, value) in values.iter().filter(|(name, _)| !declared(name)) {
                self.node(child, value, old.and_then(|old| old.get(name)), &Path::Key(at, name));
            }
        }
        if let (Some((child, kind)), Some(items)) = (&node.items, new.as_array()) {
            let before = Correlated::new(kind, old);
            for (i, item) in items.iter().enumerate() {
                self.node(child, item, before.find(item), &Path::Index(at, i));
            }
        }
    }

    fn rule(&mut self, node: &Node, rule: &Rule, new: &Json, old: Option<&Json>, at: &Path<'_>) {
        let shown_type = Json::from(node.ty.as_str()).to_string();
        let decl = node.decl.as_deref();
        let values = || -> Result<[(&'static str, Value<'_>); 2], Fault> {
            let was = match old {
                Some(old) if rule.optional_old => Value::some(Value::read(old, decl)?),
                Some(old) => Value::read(old, decl)?,
                None => Value::Optional(None),
            };
            Ok([("self", Value::read(new, decl)?), ("oldSelf", was)])
        };
        let context = Context::new(CALL_BUDGET.min(self.budget));
        let bindings = values();
        let outcome = match &bindings {
            Ok(bindings) => rule.program.evaluate(bindings, &context),
            Err(fault) => Err(fault.clone()),
        };
        self.budget = self.budget.saturating_sub(context.spent());
        let source = &rule.source;
        match outcome {
            Ok(Value::Bool(true)) => {}
            Ok(Value::Bool(false)) => {
                let message = bindings.ok().and_then(|bindings| self.message(rule, &bindings));
                self.refuse(rule, new, message, at);
            }
            Ok(_) => self.causes.push(invalid(at, &shown_type, "cel expression evaluated to non-bool value")),
            Err(fault) if fault.kind() == FaultKind::Budget => {
                self.stopped = true;
                let why = if self.budget == 0 {
                    "validation failed due to running out of cost budget, no further validation rules will be run"
                        .to_owned()
                } else {
                    let what = "no further validation rules will be run due to call cost exceeds limit for rule";
                    format!("'{}': {what}: {source}", fault.message())
                };
                self.causes.push(invalid(at, &shown_type, &why));
            }
            Err(fault) if fault.kind() == FaultKind::NoOverload => {
                let what = "call arguments did not match a supported operator, function or macro signature for rule";
                self.causes.push(invalid(at, &shown_type, &format!("'no such overload': {what}: {source}")));
            }
            Err(fault) => {
                let why = format!("{} evaluating rule: {source}", fault.message());
                self.causes.push(invalid(at, &shown_type, &why));
            }
        }
    }

    /// What the rule's expression says, if it says something that can be shown.
    fn message(&mut self, rule: &Rule, bindings: &Bindings<'_>) -> Option<String> {
        let program = rule.message_program.as_ref()?;
        let context = Context::new(CALL_BUDGET.min(self.budget));
        let outcome = program.evaluate(bindings, &context);
        self.budget = self.budget.saturating_sub(context.spent());
        let Ok(Value::String(text)) = outcome else { return None };
        let text = text.trim();
        (!text.is_empty() && !text.contains('\n') && text.len() <= MESSAGE_BYTES_MAX).then(|| text.to_owned())
    }

    fn refuse(&mut self, rule: &Rule, value: &Json, message: Option<String>, at: &Path<'_>) {
        let written = || match rule.message.as_str() {
            "" => format!("failed rule: {}", rule.source),
            message => message.to_owned(),
        };
        let message = message.unwrap_or_else(written);
        // Objects and lists are not shown.
        let shown = if value.is_object() || value.is_array() { String::new() } else { format!(": {value}") };
        let (reason, text) = match rule.reason.as_str() {
            "FieldValueRequired" => ("FieldValueRequired", format!("Required value: {message}")),
            "FieldValueForbidden" => ("FieldValueForbidden", format!("Forbidden: {message}")),
            "FieldValueDuplicate" => ("FieldValueDuplicate", format!("Duplicate value{shown}")),
            _ => ("FieldValueInvalid", format!("Invalid value{shown}: {message}")),
        };
        self.causes.push(at_field(at, &rule.field_path, &|place| cause(place, reason, text.clone())));
    }
}

fn at_field(at: &Path<'_>, parts: &[String], make: &dyn Fn(&Path<'_>) -> Cause) -> Cause {
    match parts.split_first() {
        None => make(at),
        Some((first, rest)) => at_field(&Path::Field(at, first), rest, make),
    }
}

/// The items of an old list, to be found by the keys of new ones.
struct Correlated<'a> {
    keys: &'a [String],
    items: std::collections::HashMap<String, &'a Json>,
}

impl<'a> Correlated<'a> {
    fn new(kind: &'a ListKind, old: Option<&'a Json>) -> Correlated<'a> {
        let keys: &[String] = match kind {
            ListKind::Map(keys) => keys,
            ListKind::Atomic | ListKind::Set => &[],
        };
        let items = old.and_then(Json::as_array).into_iter().flatten().filter(|_| !keys.is_empty());
        Correlated { keys, items: items.map(|item| (key_of(item, keys), item)).collect() }
    }

    fn find(&self, item: &Json) -> Option<&'a Json> {
        if self.keys.is_empty() { None } else { self.items.get(&key_of(item, self.keys)).copied() }
    }
}

fn key_of(item: &Json, keys: &[String]) -> String {
    keys.iter().map(|key| item[key].to_string() + "\0").collect()
}
