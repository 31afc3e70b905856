//! From stored policies and bindings to what is evaluated. What cannot be compiled fails when it is asked, as its failure
//! policy says.

use crate::admission::matching::Match;
use cel::Program;
use cel::policy::{Role, Scope};
use serde_json::Value;
use std::sync::Arc;

/// What the expressions of a tenant may weigh together, in bytes of their sources. Policies past it fail.
const SOURCES_MAX: usize = 4 << 20;

/// The policies of a tenant that are bound.
pub struct TenantPolicies {
    pub validating: Vec<Policy>,
    pub mutating: Vec<Policy>,
}

/// A policy and its bindings.
pub struct Policy {
    pub name: String,
    /// Whether what fails is refused.
    pub fails: bool,
    pub matching: Match,
    pub param_kind: Option<(String, String)>,
    pub conditions: Vec<(String, Arc<Program>)>,
    pub variables: Vec<(String, Arc<Program>)>,
    pub rules: Rules,
    pub reinvoked: bool,
    pub bindings: Vec<Binding>,
    /// Why it cannot be asked.
    pub broken: Option<String>,
}

pub enum Rules {
    Validating { validations: Vec<Validation>, annotations: Vec<(String, Arc<Program>)> },
    Mutating(Vec<Mutation>),
}

pub struct Validation {
    pub source: String,
    pub program: Program,
    pub message: String,
    pub message_program: Option<Program>,
    pub reason: String,
}

pub struct Mutation {
    pub source: String,
    pub program: Program,
    pub is_json_patch: bool,
}

pub struct Binding {
    pub name: String,
    pub matching: Option<Match>,
    pub param_ref: Value,
    pub actions: Vec<String>,
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl TenantPolicies {
    /// Compiles policies, each kind with its bindings.
    pub fn compile(validating: (&[Value], &[Value]), mutating: (&[Value], &[Value])) -> TenantPolicies {
        let mut weight = 0;
        let mut of = |(policies, bindings): (&[Value], &[Value]), mutating: bool| -> Vec<Policy> {
            let bound = |policy: &&Value| {
                bindings.iter().any(|binding| binding["spec"]["policyName"] == policy["metadata"]["name"])
            };
            policies.iter().filter(bound).map(|policy| self::policy(policy, bindings, mutating, &mut weight)).collect()
        };
        TenantPolicies { validating: of(validating, false), mutating: of(mutating, true) }
    }

    pub fn is_empty(&self) -> bool {
        self.validating.is_empty() && self.mutating.is_empty()
    }
}

fn policy(policy: &Value, bindings: &[Value], mutating: bool, weight: &mut usize) -> Policy {
    let (spec, name) = (&policy["spec"], text(&policy["metadata"], "name"));
    let params = &spec["paramKind"];
    let bindings = bindings.iter().filter(|binding| text(&binding["spec"], "policyName") == name);
    let mut compiled = Policy {
        name: name.to_owned(),
        fails: text(spec, "failurePolicy") != "Ignore",
        matching: Match::of(&spec["matchConstraints"]),
        param_kind: params
            .is_object()
            .then(|| (text(params, "apiVersion").to_owned(), text(params, "kind").to_owned())),
        conditions: Vec::new(),
        variables: Vec::new(),
        rules: Rules::Mutating(Vec::new()),
        reinvoked: text(spec, "reinvocationPolicy") == "IfNeeded",
        bindings: bindings.map(binding).collect(),
        broken: None,
    };
    let mut compiler = Compiler { weight, scope: Scope::of_policy(params.is_object()) };
    compiled.broken = compiler.compile(spec, mutating, &mut compiled).err();
    compiled
}

fn binding(binding: &Value) -> Binding {
    let spec = &binding["spec"];
    let actions = items(&spec["validationActions"]).iter().filter_map(Value::as_str);
    Binding {
        name: text(&binding["metadata"], "name").to_owned(),
        matching: spec["matchResources"].is_object().then(|| Match::of(&spec["matchResources"])),
        param_ref: spec["paramRef"].clone(),
        actions: actions.map(str::to_owned).collect(),
    }
}

struct Compiler<'a> {
    weight: &'a mut usize,
    scope: Scope,
}

impl Compiler<'_> {
    fn weigh(&mut self, source: &str) -> Result<(), String> {
        *self.weight += source.len();
        if *self.weight > SOURCES_MAX {
            return Err(format!("the expressions of all policies together are longer than {SOURCES_MAX} bytes"));
        }
        Ok(())
    }

    fn program(&mut self, source: &str, role: Role) -> Result<Program, String> {
        self.weigh(source)?;
        self.scope.compile(source, role)
    }

    fn compile(&mut self, spec: &Value, mutating: bool, into: &mut Policy) -> Result<(), String> {
        for condition in items(&spec["matchConditions"]) {
            let source = text(condition, "expression");
            into.conditions.push((source.to_owned(), Arc::new(self.program(source, Role::Condition)?)));
        }
        for variable in items(&spec["variables"]) {
            let (name, source) = (text(variable, "name"), text(variable, "expression"));
            self.weigh(source)?;
            into.variables.push((name.to_owned(), Arc::new(self.scope.declare(name, source)?)));
        }
        into.rules = if mutating { self.mutations(spec)? } else { self.validations(spec)? };
        Ok(())
    }

    fn validations(&mut self, spec: &Value) -> Result<Rules, String> {
        let (mut validations, mut annotations) = (Vec::new(), Vec::new());
        for validation in items(&spec["validations"]) {
            let (source, message_source) = (text(validation, "expression"), text(validation, "messageExpression"));
            let composed = !message_source.trim().is_empty();
            validations.push(Validation {
                source: source.trim().to_owned(),
                program: self.program(source, Role::Validation)?,
                message: text(validation, "message").trim().to_owned(),
                message_program: composed.then(|| self.program(message_source, Role::Message)).transpose()?,
                reason: text(validation, "reason").to_owned(),
            });
        }
        for annotation in items(&spec["auditAnnotations"]) {
            let program = self.program(text(annotation, "valueExpression"), Role::AuditAnnotation)?;
            annotations.push((text(annotation, "key").to_owned(), Arc::new(program)));
        }
        Ok(Rules::Validating { validations, annotations })
    }

    fn mutations(&mut self, spec: &Value) -> Result<Rules, String> {
        let mut mutations = Vec::new();
        for mutation in items(&spec["mutations"]) {
            let is_json_patch = text(mutation, "patchType") == "JSONPatch";
            let (field, role) = match is_json_patch {
                true => ("jsonPatch", Role::JsonPatch),
                false => ("applyConfiguration", Role::ApplyConfiguration),
            };
            let source = text(&mutation[field], "expression");
            let program = self.program(source, role)?;
            mutations.push(Mutation { source: source.to_owned(), program, is_json_patch });
        }
        Ok(Rules::Mutating(mutations))
    }
}
