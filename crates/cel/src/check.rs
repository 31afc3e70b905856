//! The types of an expression and its parts, and what calls mean.

use crate::ast::{Call, Const, Expr, Fold, Kind, Select};
use crate::issue::Issue;
use crate::library;
use crate::types::{Members, Type};
use crate::unify::{Variables, is_less_specific};
use std::sync::Arc;

/// What an expression may name.
#[derive(Clone, Debug, Default)]
pub struct Env {
    variables: Vec<(Arc<str>, Type)>,
    mutation: bool,
}

impl Env {
    pub fn new() -> Env {
        Env::default()
    }

    /// Declares a variable; its name may have dots.
    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Env {
        self.variables.retain(|(held, _)| **held != *name);
        self.variables.push((name.into(), ty));
        self
    }

    /// Lets expressions make objects and JSON patches.
    #[must_use]
    pub fn mutating(mut self) -> Env {
        self.mutation = true;
        self
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Type> {
        self.variables.iter().find(|(held, _)| **held == *name).map(|(_, ty)| ty)
    }
}

/// Gives every part of an expression its type, and every call its overloads.
///
/// # Errors
/// All that is wrong.
pub(crate) fn check(expr: &mut Expr, env: &Env) -> Result<(), Vec<Issue>> {
    let mut checker = Checker { env, scopes: Vec::new(), variables: Variables::default(), issues: Vec::new() };
    checker.check(expr);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    checker.settle(expr);
    Ok(())
}

struct Checker<'e> {
    env: &'e Env,
    scopes: Vec<(Arc<str>, Type)>,
    variables: Variables,
    issues: Vec<Issue>,
}

fn optional_of(ty: &Type) -> (&Type, bool) {
    match ty {
        Type::Optional(of) => (of, true),
        other => (other, false),
    }
}

impl Checker<'_> {
    fn report(&mut self, at: u32, message: String) {
        self.issues.push(Issue::new(at, message));
    }

    fn check(&mut self, expr: &mut Expr) -> Type {
        let ty = self.type_of(expr);
        expr.ty = ty.clone();
        ty
    }

    fn type_of(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        if let Some(name) = qualified(expr)
            && matches!(&expr.kind, Kind::Select(select) if !select.test)
            && let Some(ty) = self.named(&name)
        {
            expr.kind = Kind::Ident(name.into());
            return ty;
        }
        match &mut expr.kind {
            Kind::Const(value) => match value {
                Const::Null => Type::Null,
                Const::Bool(_) => Type::Bool,
                Const::Int(_) => Type::Int,
                Const::Uint(_) => Type::Uint,
                Const::Double(_) => Type::Double,
                Const::String(_) => Type::String,
                Const::Bytes(_) => Type::Bytes,
            },
            Kind::Ident(name) => match self.named(name) {
                Some(ty) => ty,
                None => {
                    let why = format!("undeclared reference to '{name}' (in container '')");
                    self.report(at, why);
                    Type::Error
                }
            },
            Kind::Select(select) => self.select(at, select),
            Kind::Call(call) if &*call.function == "_?._" => self.optional_select(at, call),
            Kind::Call(call) => self.call(at, call),
            Kind::List(list) => {
                let mut element = None;
                for (i, item) in list.items.iter_mut().enumerate() {
                    let mut ty = self.check(item);
                    if list.optional.contains(&i) {
                        ty = self.unwrapped(item.at, &ty);
                    }
                    element = Some(self.join(element, ty));
                }
                let element = element.unwrap_or_else(|| self.variables.fresh());
                self.variables.resolve(&Type::list(element), false)
            }
            Kind::Map(entries) => {
                let (mut key, mut value) = (None, None);
                for entry in entries {
                    let ty = self.check(&mut entry.key);
                    key = Some(self.join(key, ty));
                    let mut ty = self.check(&mut entry.value);
                    if entry.optional {
                        ty = self.unwrapped(entry.value.at, &ty);
                    }
                    value = Some(self.join(value, ty));
                }
                let key = key.unwrap_or_else(|| self.variables.fresh());
                let value = value.unwrap_or_else(|| self.variables.fresh());
                self.variables.resolve(&Type::map(key, value), false)
            }
            Kind::Object(object) => {
                let root = object.name.split('.').next().unwrap_or_default();
                let known = self.env.mutation && (root == "Object" || &*object.name == "JSONPatch");
                let name = object.name.clone();
                if !known {
                    self.report(at, format!("undeclared reference to '{name}' (in container '')"));
                    for field in &mut object.fields {
                        self.check(&mut field.value);
                    }
                    return Type::Error;
                }
                for field in &mut object.fields {
                    let mut given = self.check(&mut field.value);
                    if field.optional {
                        given = self.unwrapped(field.value.at, &given);
                    }
                    let wanted = match (root, &*field.name) {
                        ("Object", _) | ("JSONPatch", "value") => Type::Dyn,
                        ("JSONPatch", "op" | "path" | "from") => Type::String,
                        (_, other) => {
                            let why = format!("undefined field '{other}'");
                            self.report(field.at, why);
                            Type::Error
                        }
                    };
                    if !self.variables.assign(&wanted, &given) {
                        let given = self.variables.resolve(&given, true);
                        let name = &field.name;
                        let why =
                            format!("expected type of field '{name}' is '{wanted}' but provided type is '{given}'");
                        self.issues.push(Issue::new(field.at, why));
                    }
                }
                Type::open_object(&name)
            }
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn named(&self, name: &str) -> Option<Type> {
        if let Some((_, ty)) = self.scopes.iter().rev().find(|(held, _)| **held == *name) {
            return Some(ty.clone());
        }
        let declared = self.env.variable(name).cloned();
        declared.or_else(|| library::named_type(name).map(|ty| Type::Type(Arc::new(ty))))
    }

    fn unwrapped(&mut self, at: u32, ty: &Type) -> Type {
        let ty = self.variables.resolve(ty, false);
        match &ty {
            Type::Optional(of) => (**of).clone(),
            Type::Dyn | Type::Error => ty,
            other => {
                self.report(at, format!("expected type 'optional_type({other})' but found '{other}'"));
                Type::Error
            }
        }
    }

    fn select(&mut self, at: u32, select: &mut Select) -> Type {
        let operand = self.check(&mut select.operand);
        let ty = self.field(at, &operand, &select.field, false);
        if select.test { Type::Bool } else { ty }
    }

    fn optional_select(&mut self, at: u32, call: &mut Call) -> Type {
        let [operand, field] = &mut call.args[..] else { return Type::Error };
        let operand = self.check(operand);
        field.ty = Type::String;
        call.overloads = library::function("_?._").map_or(Vec::new(), |f| f.overloads.iter().collect());
        match &field.kind {
            Kind::Const(Const::String(name)) => self.field(at, &operand, &name.clone(), true),
            _ => Type::Error,
        }
    }

    fn field(&mut self, at: u32, operand: &Type, name: &str, optional: bool) -> Type {
        let operand = self.variables.resolve(operand, false);
        let (target, was_optional) = optional_of(&operand);
        let ty = match target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => {
                let found = match &object.members {
                    Members::Any => Some(Type::Dyn),
                    Members::Declared(decl) => decl.field(name).map(|property| property.decl.ty()),
                    Members::Typed(fields) => fields.get(name).cloned(),
                };
                found.unwrap_or_else(|| {
                    self.report(at, format!("undefined field '{name}'"));
                    Type::Error
                })
            }
            Type::Var(_) => {
                self.variables.assign(&Type::Dyn, target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                self.report(at, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if was_optional || optional { Type::optional(ty) } else { ty }
    }

    fn call(&mut self, at: u32, call: &mut Call) -> Type {
        for arg in &mut call.args {
            self.check(arg);
        }
        let allowed = |name: &str| self.env.mutation || !name.starts_with("jsonpatch.");
        if let Some(target) = &call.target
            && let Some(name) = qualified(target)
        {
            let full = format!("{name}.{}", call.function);
            if let Some(function) = library::function(&full).filter(|_| allowed(&full)) {
                call.target = None;
                call.function = full.into();
                return self.resolve(at, call, function);
            }
        }
        if let Some(target) = &mut call.target {
            self.check(target);
        }
        // Names that only macros make are not for sources: no source can write them.
        match library::function(&call.function).filter(|_| allowed(&call.function)) {
            Some(function) => self.resolve(at, call, function),
            None => {
                let why = format!("undeclared reference to '{}' (in container '')", call.function);
                self.report(at, why);
                Type::Error
            }
        }
    }

    fn resolve(&mut self, at: u32, call: &mut Call, function: &'static library::Function) -> Type {
        let member = call.target.is_some();
        let given: Vec<Type> = call.target.iter().chain(&call.args).map(|arg| arg.ty.clone()).collect();
        let mut result: Option<Type> = None;
        for overload in function.overloads.iter().filter(|overload| overload.member == member) {
            let (params, returns) =
                self.variables.instantiate(&overload.params, &overload.result, overload.type_params);
            if !self.variables.assign_all(&params, &given) {
                continue;
            }
            call.overloads.push(overload);
            let returns = self.variables.resolve(&returns, false);
            result = Some(match result {
                None => returns,
                Some(before) if before == returns => before,
                Some(_) => Type::Dyn,
            });
        }
        if let Some(result) = result {
            return result;
        }
        let mut shown = given.iter().map(|ty| self.variables.resolve(ty, true).to_string());
        let target = if member { format!("{}.", shown.next().unwrap_or_default()) } else { String::new() };
        let args: Vec<String> = shown.collect();
        let applied = format!("{target}({})", args.join(", "));
        self.report(at, format!("found no matching overload for '{}' applied to '{applied}'", call.function));
        Type::Error
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        let range = self.check(&mut fold.range);
        let init = self.check(&mut fold.init);
        let range = self.variables.resolve(&range, false);
        let (first, second) = match &range {
            Type::List(of) if fold.var2.is_some() => (Type::Int, (**of).clone()),
            Type::List(of) => ((**of).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Error => (Type::Dyn, Type::Dyn),
            Type::Var(_) => {
                self.variables.assign(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let why = "cannot be range of a comprehension (must be list, map, or dynamic)";
                self.report(fold.range.at, format!("expression of type '{other}' {why}"));
                (Type::Error, Type::Error)
            }
        };
        let depth = self.scopes.len();
        self.scopes.push((fold.accumulator.clone(), init.clone()));
        self.scopes.push((fold.var.clone(), first));
        if let Some(var2) = &fold.var2 {
            self.scopes.push((var2.clone(), second));
        }
        self.check(&mut fold.condition);
        self.expect(&fold.condition, &Type::Bool);
        self.check(&mut fold.step);
        self.expect(&fold.step, &init);
        self.scopes.truncate(depth + 1);
        let result = self.check(&mut fold.result);
        self.scopes.truncate(depth);
        self.variables.resolve(&result, false)
    }

    fn expect(&mut self, expr: &Expr, wanted: &Type) {
        if !self.variables.assign(wanted, &expr.ty) {
            let wanted = self.variables.resolve(wanted, true);
            let given = self.variables.resolve(&expr.ty, true);
            self.report(expr.at, format!("expected type '{wanted}' but found '{given}'"));
        }
    }

    /// The type of items of both types.
    fn join(&mut self, before: Option<Type>, next: Type) -> Type {
        let Some(before) = before else { return next };
        if !self.variables.assign(&before, &next) {
            return Type::Dyn;
        }
        if is_less_specific(&before, &next) { before } else { next }
    }

    /// Writes what was found into every part.
    fn settle(&self, expr: &mut Expr) {
        expr.ty = self.variables.resolve(&expr.ty, true);
        match &mut expr.kind {
            Kind::Const(_) | Kind::Ident(_) => {}
            Kind::Select(select) => self.settle(&mut select.operand),
            Kind::Call(call) => call.target.iter_mut().chain(&mut call.args).for_each(|arg| self.settle(arg)),
            Kind::List(list) => list.items.iter_mut().for_each(|item| self.settle(item)),
            Kind::Map(entries) => {
                for entry in entries {
                    self.settle(&mut entry.key);
                    self.settle(&mut entry.value);
                }
            }
            Kind::Object(object) => object.fields.iter_mut().for_each(|field| self.settle(&mut field.value)),
            Kind::Fold(fold) => {
                let Fold { range, init, condition, step, result, .. } = &mut **fold;
                [range, init, condition, step, result].into_iter().for_each(|part| self.settle(part));
            }
        }
    }
}

/// `a.b.c` as a text, if an expression is nothing else.
fn qualified(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.to_string()),
        Kind::Select(select) if !select.test => Some(format!("{}.{}", qualified(&select.operand)?, select.field)),
        _ => None,
    }
}
