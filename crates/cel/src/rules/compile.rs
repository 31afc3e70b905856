//! From schemas to compiled rules, and what is wrong with them in upstream's words.

use super::{Node, Path, Rule, Rules, cause, invalid};
use crate::check::Env;
use crate::program::Program;
use crate::schema::{Decl, ListKind, REQUEST_BYTES_MAX};
use crate::types::Type;
use api::Cause;
use serde_json::{Value as Json, json};
use std::sync::Arc;

const RULE_COST_MAX: u64 = 10_000_000;
const SCHEMA_COST_MAX: u64 = 100_000_000;
/// How many of the most expensive rules are named when all are too expensive together.
const EXPENSIVE_SHOWN: usize = 4;
const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
const HINT: &str = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and \
                    strings are declared)";
/// How deep a schema is followed; the decoder bounds schemas before.
const DEPTH_MAX: usize = 200;

pub(super) fn compile(schema: &Json, at: &str) -> (Rules, Vec<Cause>, Vec<Cause>) {
    let mut compiler = Compiler { written: Vec::new(), found: Vec::new(), total: 0, expensive: Vec::new(), depth: 0 };
    let root = Path::Root(at);
    let scope = Scope { cardinality: Some(1), root: true, uncorrelatable: None };
    let node = compiler.node(schema, &root, scope);
    if compiler.total > SCHEMA_COST_MAX {
        for (_, place) in &compiler.expensive {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            compiler.found.push(cause(&Path::Root(place), "FieldValueForbidden", format!("Forbidden: {why}")));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let why = too_expensive(what, compiler.total, SCHEMA_COST_MAX);
        compiler.found.push(cause(&root, "FieldValueForbidden", why));
    }
    (Rules { root: node }, compiler.written, compiler.found)
}

struct Compiler {
    /// What is wrong with how rules are written.
    written: Vec<Cause>,
    /// What is wrong with what they say.
    found: Vec<Cause>,
    total: u64,
    expensive: Vec<(u64, String)>,
    depth: usize,
}

/// Where a part of a schema stands.
#[derive(Clone, Copy)]
struct Scope<'a> {
    /// How often the part may occur in an object; `None` for any number.
    cardinality: Option<u64>,
    /// Whether it is a whole object with type and object metadata.
    root: bool,
    /// The list or map within which nothing old is known to belong to anything new.
    uncorrelatable: Option<&'a str>,
}

fn text<'a>(value: &'a Json, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a factor for people")]
fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!("Forbidden: {what} exceeds budget by factor of {factor} {HINT}")
}

/// A rule as upstream shows it: the JSON of its type, which escapes what HTML could misread.
fn shown(rule: &Json) -> String {
    let quoted = |field: &str| Json::from(text(rule, field)).to_string();
    let line = format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        quoted("rule"),
        quoted("message"),
        quoted("messageExpression"),
        rule["reason"],
        quoted("fieldPath"),
        rule["optionalOldSelf"],
    );
    line.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

impl Compiler {
    /// A part of a schema; `None` if there is no rule in it.
    fn node(&mut self, schema: &Json, at: &Path<'_>, scope: Scope<'_>) -> Option<Node> {
        if self.depth >= DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        let node = self.node_at(schema, at, scope);
        self.depth -= 1;
        node
    }

    fn node_at(&mut self, schema: &Json, at: &Path<'_>, scope: Scope<'_>) -> Option<Node> {
        let here = at.to_string();
        let atomic_map = text(schema, "x-kubernetes-map-type") == "atomic";
        let inner = scope.uncorrelatable.or(atomic_map.then_some(here.as_str()));
        let times = |most: &Json| Some(scope.cardinality?.saturating_mul(u64::try_from(most.as_i64()?).unwrap_or(0)));
        let embedded = |schema: &Json| schema["x-kubernetes-embedded-resource"].as_bool() == Some(true);
        let additional_schema = &schema["additionalProperties"];
        let additional = additional_schema.is_object().then(|| {
            let cardinality = times(&schema["maxProperties"]);
            let scope = Scope { cardinality, root: embedded(additional_schema), uncorrelatable: inner };
            self.node(additional_schema, &Path::Field(at, "additionalProperties"), scope)
        });
        let properties_at = Path::Field(at, "properties");
        let mut properties = Vec::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let scope = Scope { cardinality: scope.cardinality, root: embedded(property), uncorrelatable: inner };
            if let Some(node) = self.node(property, &Path::Key(&properties_at, name), scope) {
                properties.push((name.clone(), node));
            }
        }
        let items = schema["items"].is_object().then(|| {
            let is_map = text(schema, "x-kubernetes-list-type") == "map";
            let uncorrelatable = scope.uncorrelatable.or((!is_map).then_some(here.as_str()));
            let cardinality = times(&schema["maxItems"]);
            let scope = Scope { cardinality, root: embedded(&schema["items"]), uncorrelatable };
            self.node(&schema["items"], &Path::Field(at, "items"), scope)
        });
        let decl = schema["x-kubernetes-validations"].as_array().filter(|rules| !rules.is_empty()).map(|rules| {
            let decl = Decl::of(schema, scope.root);
            let compiled = self.rules(schema, rules, decl.as_ref(), at, scope);
            (decl, compiled)
        });
        let (decl, rules) = decl.unwrap_or_default();
        let items = items.flatten().map(|node| (Box::new(node), list_kind(schema)));
        let additional = additional.flatten().map(Box::new);
        let empty = rules.is_empty() && properties.is_empty() && additional.is_none() && items.is_none();
        (!empty).then(|| Node {
            ty: text(schema, "type").to_owned(),
            nullable: schema["nullable"].as_bool().unwrap_or(false),
            decl,
            rules,
            properties,
            additional,
            items,
        })
    }

    fn rules(
        &mut self,
        schema: &Json,
        rules: &[Json],
        decl: Option<&Arc<Decl>>,
        at: &Path<'_>,
        scope: Scope<'_>,
    ) -> Vec<Rule> {
        let all_at = Path::Field(at, "x-kubernetes-validations");
        let mut compiled = Vec::new();
        for (i, rule) in rules.iter().enumerate() {
            self.written(schema, rule, &Path::Index(&all_at, i));
        }
        let Some(decl) = decl else { return compiled };
        for (i, rule) in rules.iter().enumerate() {
            if !text(rule, "rule").trim().is_empty() {
                compiled.extend(self.rule(schema, rule, decl, &Path::Index(&all_at, i), scope));
            }
        }
        compiled
    }

    /// What is wrong with how a rule is written.
    fn written(&mut self, schema: &Json, rule: &Json, at: &Path<'_>) {
        let required = |field: &str, why: &str| {
            cause(&Path::Field(at, field), "FieldValueRequired", format!("Required value: {why}"))
        };
        let wrong = |field: &str, why: &str| invalid(&Path::Field(at, field), &rule[field].to_string(), why);
        let breaks = |text: &str| text.contains(['\n', '\r']);
        let (source, message) = (text(rule, "rule").trim(), text(rule, "message").trim());
        let found = &mut self.written;
        if source.is_empty() {
            found.push(required("rule", "rule is not specified"));
        } else if message.is_empty() && !text(rule, "message").is_empty() {
            found.push(wrong("message", "message must be non-empty if specified"));
        } else if breaks(message) {
            found.push(wrong("message", "must not contain line breaks"));
        } else if breaks(source) && message.is_empty() {
            found.push(required("message", "message must be specified if rule contains line breaks"));
        }
        let expression = text(rule, "messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            found.push(required("messageExpression", "messageExpression must be non-empty if specified"));
        }
        if let Some(reason) = rule["reason"].as_str()
            && !REASONS.contains(&reason)
        {
            let supported = REASONS.map(|reason| format!("\"{reason}\"")).join(", ");
            let why = format!("Unsupported value: {}: supported values: {supported}", rule["reason"]);
            found.push(cause(&Path::Field(at, "reason"), "FieldValueNotSupported", why));
        }
        let path = text(rule, "fieldPath");
        if path.is_empty() {
            return;
        }
        if path.trim().is_empty() {
            found.push(wrong("fieldPath", "fieldPath must be non-empty if specified"));
        }
        if breaks(path) {
            found.push(wrong("fieldPath", "must not contain line breaks"));
        }
        if field_path(path, schema).is_none() {
            found.push(wrong("fieldPath", "must be a valid path"));
        }
    }

    fn rule(&mut self, schema: &Json, rule: &Json, decl: &Arc<Decl>, at: &Path<'_>, scope: Scope<'_>) -> Option<Rule> {
        let optional_old = rule["optionalOldSelf"].as_bool() == Some(true);
        let old = if optional_old { Type::optional(decl.ty()) } else { decl.ty() };
        let env = Env::new().with("self", decl.ty()).with("oldSelf", old);
        let (rule_at, message_at) = (Path::Field(at, "rule"), Path::Field(at, "messageExpression"));
        let program = match Program::compile(text(rule, "rule"), &env) {
            Ok(program) if *program.output() == Type::Bool => program,
            Ok(_) => {
                self.found.push(invalid(&rule_at, &shown(rule), "cel expression must evaluate to a bool"));
                return None;
            }
            Err(why) => {
                self.found.push(invalid(&rule_at, &shown(rule), &format!("compilation failed: {why}")));
                return None;
            }
        };
        let roots = [("self", &**decl), ("oldSelf", &**decl)];
        let often = scope.cardinality.unwrap_or(REQUEST_BYTES_MAX / (decl.min_size + 1));
        let cost = program.estimated_cost(&roots).saturating_mul(often);
        if cost > RULE_COST_MAX {
            let why = too_expensive("estimated rule cost", cost, RULE_COST_MAX);
            self.found.push(cause(&rule_at, "FieldValueForbidden", why));
        }
        self.observe(cost, &rule_at);
        let message_program = self.message(rule, &env, &message_at, &roots);
        let uses_old = program.uses("oldSelf");
        if uses_old {
            if let Some(within) = scope.uncorrelatable {
                let what = "oldSelf cannot be used on the uncorrelatable portion of the schema within";
                self.found.push(invalid(&rule_at, &rule["rule"].to_string(), &format!("{what} {within}")));
            }
        } else if !rule["optionalOldSelf"].is_null() {
            let why = "may not be set if oldSelf is not used in rule";
            let place = Path::Field(at, "optionalOldSelf");
            self.found.push(invalid(&place, &rule["optionalOldSelf"].to_string(), why));
        }
        Some(Rule {
            program,
            message_program,
            source: text(rule, "rule").trim().to_owned(),
            message: text(rule, "message").trim().to_owned(),
            reason: text(rule, "reason").to_owned(),
            field_path: field_path(text(rule, "fieldPath"), schema).unwrap_or_default(),
            uses_old,
            optional_old,
        })
    }

    fn message(&mut self, rule: &Json, env: &Env, at: &Path<'_>, roots: &[(&str, &Decl)]) -> Option<Program> {
        let source = text(rule, "messageExpression");
        if source.trim().is_empty() {
            return None;
        }
        let program = match Program::compile(source, env) {
            Ok(program) if *program.output() == Type::String => program,
            Ok(_) => {
                self.found.push(invalid(at, &shown(rule), "messageExpression must evaluate to a string"));
                return None;
            }
            Err(why) => {
                self.found.push(invalid(at, &shown(rule), &format!("messageExpression compilation failed: {why}")));
                return None;
            }
        };
        let cost = program.estimated_cost(roots);
        if cost > RULE_COST_MAX {
            let why = too_expensive("estimated messageExpression cost", cost, RULE_COST_MAX);
            self.found.push(cause(at, "FieldValueForbidden", why));
        }
        self.observe(cost, at);
        Some(program)
    }

    fn observe(&mut self, cost: u64, at: &Path<'_>) {
        self.total = self.total.saturating_add(cost);
        if cost < SCHEMA_COST_MAX / 100 {
            return;
        }
        self.expensive.push((cost, at.to_string()));
        self.expensive.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        self.expensive.truncate(EXPENSIVE_SHOWN);
    }
}

fn list_kind(schema: &Json) -> ListKind {
    match text(schema, "x-kubernetes-list-type") {
        "map" => {
            let none = json!([]);
            let keys = schema["x-kubernetes-list-map-keys"].as_array().or(none.as_array());
            ListKind::Map(keys.into_iter().flatten().filter_map(|key| key.as_str().map(str::to_owned)).collect())
        }
        _ => ListKind::Atomic,
    }
}

/// The parts of `.a.b['c']`, if each names a property or a value of a map.
fn field_path(path: &str, schema: &Json) -> Option<Vec<String>> {
    let (mut rest, mut schema, mut parts) = (path.trim(), schema, Vec::new());
    if rest.len() != path.len() {
        return None;
    }
    while !rest.is_empty() {
        let name = if let Some(after) = rest.strip_prefix("['") {
            let end = after.find("']")?;
            rest = &after[end + 2..];
            after[..end].to_owned()
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            rest = &after[end..];
            unescape(&after[..end])
        };
        if name.is_empty() {
            return None;
        }
        schema = if schema["properties"].is_object() {
            schema["properties"].get(&name)?
        } else if schema["additionalProperties"].is_object() {
            &schema["additionalProperties"]
        } else {
            return None;
        };
        parts.push(name);
    }
    Some(parts)
}

fn unescape(name: &str) -> String {
    let name = name.replace("__dot__", ".").replace("__dash__", "-").replace("__slash__", "/");
    name.replace("__underscores__", "__")
}
