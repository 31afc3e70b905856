//! One policy asked about one write: the values that its expressions see, its match conditions, and its parameters.

use super::asks::Asks;
use super::compile::{Binding, Policy};
use crate::admission::Attempt;
use crate::custom::Custom;
use api::selector::LabelSelector;
use api::{Identity, ObjectKey, ResourceId, Scope};
use cel::policy::{CONDITIONS_BUDGET, POLICY_BUDGET, Variables};
use cel::{Bindings, CALL_BUDGET, Context, Fault, FaultKind, Grant, Program, Question, Value as CelValue};
use serde_json::{Value, json};
use std::sync::Arc;

/// How many parameters a selector may find.
const PARAMS_MAX: usize = 1000;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Match conditions: their sources and what they compiled to.
pub type Conditions = [(String, Arc<Program>)];

/// A caller as policies and webhooks are told of it.
pub fn user_info(identity: &Identity) -> Value {
    let mut user = json!({"username": identity.user, "groups": identity.groups});
    if !identity.uid.is_empty() {
        user["uid"] = json!(identity.uid);
    }
    if !identity.extra.is_empty() {
        user["extra"] = json!(identity.extra);
    }
    user
}

/// What is the same for every policy that is asked about a write.
pub struct Asked<'a> {
    pub attempt: Attempt<'a>,
    request: Value,
    namespace: Value,
    asks: Asks<'a>,
}

impl<'a> Asked<'a> {
    pub fn new(attempt: Attempt<'a>, new: Option<&Value>) -> Asked<'a> {
        let call = attempt.call;
        let kind = call.kind;
        let group_kind = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let resource = json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
        let mut request = json!({
            "kind": group_kind, "resource": resource, "requestKind": group_kind, "requestResource": resource,
            "operation": attempt.operation.as_str(), "userInfo": user_info(call.identity),
            "dryRun": attempt.options.dry_run(), "options": attempt.options.value(attempt.operation),
        });
        let (name, namespace, sub) = (attempt.name(new), attempt.namespace(new), attempt.subresource());
        for (field, value) in
            [("name", name), ("namespace", namespace), ("subResource", sub), ("requestSubResource", sub)]
        {
            if !value.is_empty() {
                request[field] = json!(value);
            }
        }
        let stored = match call.namespace {
            "" => None,
            namespace => attempt.stored(ResourceId::new("", "namespaces"), "", namespace),
        };
        let namespace = stored.and_then(|namespace| namespace.to_value().ok()).unwrap_or_default();
        Asked { attempt, request, namespace, asks: Asks(call) }
    }

    /// The values that match conditions see.
    pub fn base<'b>(&'b self, new: Option<&'b Value>, params: &'b Value) -> Vec<(&'static str, CelValue<'b>)> {
        let call = self.attempt.call;
        let text = |field: &str| self.request[field].as_str().unwrap_or_default().to_owned();
        let question = Question {
            group: call.kind.group.clone(),
            version: call.kind.version.clone(),
            resource: call.kind.plural.clone(),
            subresource: text("subResource"),
            namespace: text("namespace"),
            name: text("name"),
            ..Question::default()
        };
        let value = |value: Option<&'b Value>| value.map_or(CelValue::Null, CelValue::of);
        vec![
            ("object", value(new)),
            ("oldObject", value(self.attempt.old)),
            ("request", CelValue::of(&self.request)),
            ("namespaceObject", CelValue::of(&self.namespace)),
            ("params", CelValue::of(params)),
            ("authorizer", Grant::start(&self.asks)),
            ("authorizer.requestResource", Grant::resource(&self.asks, question)),
        ]
    }

    /// Whether match conditions hold. One that does not hold outweighs those that fail.
    ///
    /// # Errors
    /// What the conditions met.
    pub fn conditions_hold(
        &self,
        conditions: &Conditions,
        new: Option<&Value>,
        params: &Value,
    ) -> Result<bool, String> {
        if conditions.is_empty() {
            return Ok(true);
        }
        let bindings = self.base(new, params);
        let mut purse = Purse(CONDITIONS_BUDGET);
        let mut failed = Vec::new();
        for (source, program) in conditions {
            match purse.evaluate(program, &bindings) {
                Ok(CelValue::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(fault) => failed.push(resulted(source, &fault)),
            }
        }
        match &failed[..] {
            [] => Ok(true),
            [one] => Err(one.clone()),
            all => Err(format!("[{}]", all.join(", "))),
        }
    }

    /// The objects that a binding gives to its policy as parameters; null where it has none.
    ///
    /// # Errors
    /// Why they cannot be had.
    pub fn params(&self, policy: &Policy, binding: &Binding) -> Result<Vec<Value>, String> {
        let (Some((version, kind)), true) = (&policy.param_kind, binding.param_ref.is_object()) else {
            return Ok(vec![Value::Null]);
        };
        let call = self.attempt.call;
        let (kind, custom) = self.param_kind(version, kind).ok_or("paramKind kind is not known")?;
        let text = |field: &str| binding.param_ref[field].as_str().unwrap_or_default();
        let namespaced = kind.scope == Scope::Namespaced;
        let namespace = match (text("namespace"), namespaced) {
            ("", false) => "",
            (_, false) => return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into()),
            ("", true) => self.request["namespace"].as_str().unwrap_or_default(),
            (namespace, true) => namespace,
        };
        if namespaced && namespace.is_empty() {
            let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Err(why.into());
        }
        let space = call.target.space(&kind).map_err(|error| error.message().to_owned())?;
        let snapshot = call.server.store.snapshot();
        let mut found = Vec::new();
        if text("name").is_empty() {
            let selector = LabelSelector::from_value(&binding.param_ref["selector"]);
            let selector = selector.map_err(|error| error.message().to_owned())?;
            let api::Space::Tenant(tenant) = space else { return Err("paramKind kind is not known".into()) };
            let scope = match namespace {
                "" => store::Scope::Tenant(kind.stored_as.clone(), tenant),
                namespace => store::Scope::Namespace(kind.stored_as.clone(), tenant, namespace.into()),
            };
            let selected = snapshot.range(&scope, None).filter(|object| selector.selects(&object.header));
            found.extend(selected.take(PARAMS_MAX).cloned());
        } else {
            let key = ObjectKey::new(kind.stored_as.clone(), space, namespace, text("name"));
            found.extend(key.ok().and_then(|key| snapshot.get(&key).cloned()));
        }
        if found.is_empty() && text("parameterNotFoundAction") == "Deny" {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
        }
        let shown = |object: &Arc<api::Object>| match &custom {
            Some(custom) => custom.view(object),
            None => object.to_value(),
        };
        found.iter().map(|object| shown(object).map_err(|error| error.message().to_owned())).collect()
    }

    /// The kind of parameters: a built-in one, or one of the tenant's own with its definition.
    fn param_kind(&self, version: &str, kind: &str) -> Option<(Arc<api::Kind>, Option<Custom>)> {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let call = self.attempt.call;
        if let Some(kind) = call.server.kinds.by_kind(group, version, kind) {
            return Some((kind.clone(), None));
        }
        let custom = call.server.catalogue.by_kind(call.server, call.target.tenant()?, group, version, kind);
        let custom = custom.ok().flatten()?;
        Some((custom.version.kind.clone(), Some(custom)))
    }

    /// Why a policy cannot be asked at all: it did not compile, or its parameters are of no kind.
    pub fn misconfigured(&self, policy: &Policy) -> Option<String> {
        if let Some(why) = &policy.broken {
            return Some(why.clone());
        }
        let (version, kind) = policy.param_kind.as_ref()?;
        if self.param_kind(version, kind).is_some() {
            return None;
        }
        Some(format!("failed to find resource referenced by paramKind: '{version}, Kind={kind}'"))
    }
}

/// What expressions of a policy may still cost.
pub struct Purse(u64);

impl Purse {
    pub fn of_policy() -> Purse {
        Purse(POLICY_BUDGET)
    }

    pub fn evaluate<'a>(&mut self, program: &Program, bindings: &Bindings<'a>) -> Result<CelValue<'a>, Fault> {
        let context = Context::new(CALL_BUDGET.min(self.0));
        let found = program.evaluate(bindings, &context);
        self.0 = self.0.saturating_sub(context.spent());
        match found {
            Err(fault) if fault.kind() == FaultKind::Budget && self.0 == 0 => Err(Fault::new(OUT_OF_BUDGET)),
            found => found,
        }
    }
}

/// How a failed expression is told.
pub fn resulted(source: &str, fault: &Fault) -> String {
    if fault.message() == OUT_OF_BUDGET {
        return OUT_OF_BUDGET.to_owned();
    }
    format!("expression '{source}' resulted in error: {}", fault.message())
}

/// The values that the expressions of a policy see beside its conditions.
pub fn with_variables<'b>(policy: &'b Policy, base: &Bindings<'b>) -> Vec<(&'static str, CelValue<'b>)> {
    Variables::bind(&policy.variables, base)
}
