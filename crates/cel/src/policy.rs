//! What expressions of admission see, and what they must evaluate to: policies and their variables, and the match
//! conditions of policies and webhooks.

use crate::check::Env;
use crate::context::{Context, Fault};
use crate::eval::Bindings;
use crate::program::Program;
use crate::types::Type;
use crate::value::{Fields, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What the expressions of one policy may cost for one request.
pub const POLICY_BUDGET: u64 = 10_000_000;

/// What all match conditions together may cost for one request.
pub const CONDITIONS_BUDGET: u64 = 2_500_000;

/// What an expression is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Condition,
    Variable,
    Validation,
    Message,
    AuditAnnotation,
    ApplyConfiguration,
    JsonPatch,
}

/// What the expressions of a policy may name.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Whether there are parameters.
    pub params: bool,
    variables: BTreeMap<String, Type>,
    /// Whether variables can be named at all: webhooks have none.
    policy: bool,
}

impl Scope {
    pub fn of_policy(params: bool) -> Scope {
        Scope { params, variables: BTreeMap::new(), policy: true }
    }

    pub fn of_webhook() -> Scope {
        Scope::default()
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// Why it cannot be used, as upstream words it after the expression's value.
    pub fn compile(&self, source: &str, role: Role) -> Result<Program, String> {
        let program = Program::compile(source, &self.env(role)).map_err(|why| format!("compilation failed: {why}"))?;
        let wanted: &[Type] = match role {
            Role::Condition | Role::Validation => &[Type::Bool],
            Role::Message => &[Type::String],
            Role::AuditAnnotation => &[Type::String, Type::Null],
            Role::ApplyConfiguration => &[Type::open_object("Object")],
            Role::JsonPatch => &[Type::list(Type::open_object("JSONPatch"))],
            Role::Variable => return Ok(program),
        };
        let output = program.output();
        // A list that is written empty has no type of its own.
        let empty = role == Role::JsonPatch && *output == Type::list(Type::Dyn);
        if wanted.contains(output) || empty {
            return Ok(program);
        }
        let names: Vec<String> = wanted.iter().map(Type::full_name).collect();
        let got = output.full_name();
        Err(match &names[..] {
            [one] => format!("must evaluate to {one} but got {got}"),
            all => format!("must evaluate to one of [{}] but got {got}", all.join(" ")),
        })
    }

    /// Compiles a variable, which those that follow may name.
    ///
    /// # Errors
    /// As [`Scope::compile`].
    pub fn declare(&mut self, name: &str, source: &str) -> Result<Program, String> {
        let program = self.compile(source, Role::Variable)?;
        self.variables.insert(name.to_owned(), program.output().clone());
        Ok(program)
    }

    fn env(&self, role: Role) -> Env {
        let mut env = Env::new()
            .with("object", Type::Dyn)
            .with("oldObject", Type::Dyn)
            .with("namespaceObject", namespace_type())
            .with("request", request_type());
        if self.params {
            env = env.with("params", Type::Dyn);
        }
        if role != Role::Message {
            env = env
                .with("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
                .with("authorizer.requestResource", Type::Opaque("kubernetes.authorization.ResourceCheck"));
        }
        if self.policy && role != Role::Condition {
            env = env.with("variables", Type::object("kubernetes.variables", self.variables.clone()));
        }
        match role {
            Role::ApplyConfiguration | Role::JsonPatch => env.mutating(),
            _ => env,
        }
    }
}

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    Type::object(name, fields.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())))
}

fn request_type() -> Type {
    let text = || Type::String;
    let kind = || object("kubernetes.GroupVersionKind", &[("group", text()), ("version", text()), ("kind", text())]);
    let resource =
        || object("kubernetes.GroupVersionResource", &[("group", text()), ("version", text()), ("resource", text())]);
    let extra = Type::map(text(), Type::list(text()));
    let user = [("username", text()), ("uid", text()), ("groups", Type::list(text())), ("extra", extra)];
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", text()),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", object("kubernetes.UserInfo", &user)),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

fn namespace_type() -> Type {
    let texts = || Type::map(Type::String, Type::String);
    let metadata = [
        ("name", Type::String),
        ("generateName", Type::String),
        ("namespace", Type::String),
        ("labels", texts()),
        ("annotations", texts()),
        ("UID", Type::String),
        ("creationTimestamp", Type::Dyn),
        ("deletionGracePeriodSeconds", Type::Int),
        ("deletionTimestamp", Type::Dyn),
        ("generation", Type::Int),
        ("resourceVersion", Type::String),
        ("finalizers", Type::list(Type::String)),
    ];
    object(
        "kubernetes.Namespace",
        &[
            ("metadata", object("kubernetes.NamespaceMetadata", &metadata)),
            ("spec", object("kubernetes.NamespaceSpec", &[("finalizers", Type::list(Type::String))])),
            ("status", object("kubernetes.NamespaceStatus", &[("phase", Type::String)])),
        ],
    )
}

/// The variables of a policy, each evaluated once, when it is first named.
pub struct Variables<'a> {
    programs: &'a [(String, Arc<Program>)],
    base: Vec<(&'static str, Value<'a>)>,
    known: RefCell<HashMap<String, Result<Value<'a>, Fault>>>,
}

impl<'a> Variables<'a> {
    /// Adds `variables` to the values that expressions of a policy see.
    pub fn bind(programs: &'a [(String, Arc<Program>)], base: &Bindings<'a>) -> Vec<(&'static str, Value<'a>)> {
        let mut all = base.to_vec();
        let fields = Variables { programs, base: base.to_vec(), known: RefCell::new(HashMap::new()) };
        all.push(("variables", Value::Lazy(std::rc::Rc::new(fields))));
        all
    }
}

impl<'a> Fields<'a> for Variables<'a> {
    fn field(&self, this: &Value<'a>, name: &str, context: &Context) -> Result<Value<'a>, Fault> {
        if let Some(known) = self.known.borrow().get(name) {
            return known.clone();
        }
        let program = self.programs.iter().rev().find(|(held, _)| held == name).map(|(_, program)| program);
        let program = program.ok_or_else(|| Fault::new(format!("no such key: {name}")))?;
        let mut bindings = self.base.clone();
        bindings.push(("variables", this.clone()));
        let found = program.evaluate(&bindings, context);
        self.known.borrow_mut().insert(name.to_owned(), found.clone());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CALL_BUDGET;
    use serde_json::json;

    #[test]
    fn results_have_the_type_that_their_role_asks_for() {
        let scope = Scope::of_policy(false);
        for (source, role, expected) in [
            ("1 + 1", Role::Validation, "must evaluate to bool but got int"),
            ("1", Role::AuditAnnotation, "must evaluate to one of [string null_type] but got int"),
            ("object.a", Role::Message, "must evaluate to string but got dyn"),
            ("'x'", Role::ApplyConfiguration, "must evaluate to Object but got string"),
            ("1", Role::JsonPatch, "must evaluate to list(JSONPatch) but got int"),
        ] {
            assert_eq!(scope.compile(source, role).err().as_deref(), Some(expected), "{source}");
        }
        for (source, role) in [
            ("request.userInfo.username == 'a' && has(request.dryRun)", Role::Condition),
            ("null", Role::AuditAnnotation),
            ("Object{spec: Object.spec{a: 1}}", Role::ApplyConfiguration),
            ("[]", Role::JsonPatch),
            ("authorizer.requestResource.check('get').allowed()", Role::Validation),
        ] {
            assert_eq!(scope.compile(source, role).err(), None, "{source}");
        }
        for (source, role, why) in [
            ("authorizer.path('/').check('get').reason()", Role::Message, "undeclared reference to 'authorizer'"),
            ("params.a == 1", Role::Validation, "undeclared reference to 'params'"),
            ("variables.a == 1", Role::Condition, "undeclared reference to 'variables'"),
            ("variables.a == 1", Role::Validation, "undefined field 'a'"),
            ("request.nope == 1", Role::Validation, "undefined field 'nope'"),
        ] {
            assert!(scope.compile(source, role).is_err_and(|found| found.contains(why)), "{source}");
        }
    }

    #[test]
    fn variables_are_evaluated_once_and_in_terms_of_those_before() {
        let mut scope = Scope::of_policy(false);
        let a = scope.declare("a", "object.list.map(x, x * 2)").unwrap();
        let b = scope.declare("b", "variables.a.size() + 1").unwrap();
        let bad = scope.declare("bad", "1 / 0").unwrap();
        let validation = scope.compile("variables.b == 3 && variables.b == 3", Role::Validation).unwrap();
        let object = json!({"list": [1, 2]});
        let programs: Vec<_> =
            [("a", a), ("b", b), ("bad", bad)].map(|(name, program)| (name.to_owned(), Arc::new(program))).into();
        let bindings = Variables::bind(&programs, &[("object", Value::of(&object))]);
        let context = Context::new(CALL_BUDGET);
        assert!(matches!(validation.evaluate(&bindings, &context), Ok(Value::Bool(true))));
        let once = context.spent();
        validation.evaluate(&bindings, &context).ok();
        assert!(context.spent() - once < once, "the second time is cheaper");
    }
}
