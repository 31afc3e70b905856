//! Evaluation: a walk over a checked tree that pays for every step.

use crate::ast::{Call, Const, Expr, Fold, Kind, Select};
use crate::context::{Context, Fault, FaultKind};
use crate::cost;
use crate::library::{self, operators_insert};
use crate::types::Type;
use crate::value::{Entries, List, Made, Map, Text, Value, no_such_key};
use std::rc::Rc;
use std::sync::Arc;

/// The values of variables, by their declared names.
pub type Bindings<'a> = [(&'static str, Value<'a>)];

type Found<'a> = Result<Value<'a>, Fault>;

pub(crate) struct Evaluator<'e, 'a> {
    context: &'e Context,
    bindings: &'e Bindings<'a>,
    scopes: Vec<(Arc<str>, Found<'a>)>,
}

impl<'e, 'a> Evaluator<'e, 'a> {
    pub fn new(context: &'e Context, bindings: &'e Bindings<'a>) -> Evaluator<'e, 'a> {
        Evaluator { context, bindings, scopes: Vec::new() }
    }

    pub fn eval(&mut self, expr: &Expr) -> Found<'a> {
        match &expr.kind {
            Kind::Const(value) => Ok(constant(value)),
            Kind::Ident(name) => self.ident(name),
            Kind::Select(select) => self.select(select),
            Kind::Call(call) => self.call(call),
            Kind::List(list) => {
                self.context.charge(10)?;
                let mut items = Vec::with_capacity(list.items.len());
                for (i, item) in list.items.iter().enumerate() {
                    self.context.allocate(size_of::<Value<'_>>())?;
                    match self.eval(item)? {
                        value if !list.optional.contains(&i) => items.push(value),
                        Value::Optional(Some(value)) => items.push((*value).clone()),
                        Value::Optional(None) => {}
                        _ => return Err(Fault::no_overload()),
                    }
                }
                Ok(Value::list(items))
            }
            Kind::Map(entries) => {
                self.context.charge(30)?;
                let mut made = Entries::default();
                for entry in entries {
                    self.context.allocate(2 * size_of::<Value<'_>>())?;
                    let key = self.eval(&entry.key)?;
                    let value = match self.eval(&entry.value)? {
                        value if !entry.optional => value,
                        Value::Optional(Some(value)) => (*value).clone(),
                        Value::Optional(None) => continue,
                        _ => return Err(Fault::no_overload()),
                    };
                    made.insert(key, value)?;
                }
                Ok(Value::Map(Map::Made(Rc::new(made))))
            }
            Kind::Object(object) => {
                self.context.charge(40)?;
                let mut fields = Vec::with_capacity(object.fields.len());
                for field in &object.fields {
                    self.context.allocate(size_of::<Value<'_>>())?;
                    let value = match self.eval(&field.value)? {
                        value if !field.optional => value,
                        Value::Optional(Some(value)) => (*value).clone(),
                        Value::Optional(None) => continue,
                        _ => return Err(Fault::no_overload()),
                    };
                    fields.push((field.name.clone(), value));
                }
                Ok(Value::Object(Rc::new(Made { name: object.name.clone(), fields })))
            }
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn ident(&self, name: &str) -> Found<'a> {
        self.context.charge(1)?;
        if let Some((_, value)) = self.scopes.iter().rev().find(|(held, _)| **held == *name) {
            return value.clone();
        }
        if let Some((_, value)) = self.bindings.iter().find(|(held, _)| *held == name) {
            return Ok(value.clone());
        }
        match library::named_type(name) {
            Some(ty) => Ok(Value::Type(ty)),
            None => Err(Fault::new(format!("no such attribute(s): {name}"))),
        }
    }

    fn select(&mut self, select: &Select) -> Found<'a> {
        let operand = self.eval(&select.operand)?;
        if select.test {
            return self.has(&operand, &select.field).map(Value::Bool);
        }
        self.context.charge(1)?;
        self.field(&operand, &select.field)
    }

    fn field(&self, operand: &Value<'a>, name: &str) -> Found<'a> {
        match operand {
            Value::Map(map) => {
                let key = Value::String(Text::Borrowed(name));
                map.get(&key).unwrap_or_else(|| Err(no_such_key(&key)))
            }
            Value::Lazy(fields) => fields.field(operand, name, self.context),
            Value::Object(made) => match made.fields.iter().find(|(held, _)| **held == *name) {
                Some((_, value)) => Ok(value.clone()),
                None => Err(Fault::new(format!("no such field '{name}'"))),
            },
            Value::Optional(_) => self.optional_field(operand, name),
            _ => Err(Fault::no_overload()),
        }
    }

    fn has(&self, operand: &Value<'a>, name: &str) -> Result<bool, Fault> {
        match operand {
            Value::Map(map) => Ok(map.get(&Value::String(Text::Borrowed(name))).is_some()),
            Value::Lazy(fields) => Ok(fields.field(operand, name, self.context).is_ok()),
            Value::Object(made) => Ok(made.fields.iter().any(|(held, _)| **held == *name)),
            Value::Optional(None) => Ok(false),
            Value::Optional(Some(value)) => self.has(value, name),
            _ => Err(Fault::no_overload()),
        }
    }

    fn optional_field(&self, operand: &Value<'a>, name: &str) -> Found<'a> {
        let operand = match operand {
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(value)) => value,
            value => value,
        };
        if self.has(operand, name)? { self.field(operand, name).map(Value::some) } else { Ok(Value::Optional(None)) }
    }

    fn call(&mut self, call: &Call) -> Found<'a> {
        match (&*call.function, &call.target, &call.args[..]) {
            ("_&&_", None, [a, b]) => self.logic(a, b, false),
            ("_||_", None, [a, b]) => self.logic(a, b, true),
            ("_?_:_", None, [condition, yes, no]) => match self.eval(condition)? {
                Value::Bool(true) => self.eval(yes),
                Value::Bool(false) => self.eval(no),
                _ => Err(Fault::no_overload()),
            },
            ("@not_strictly_false", None, [arg]) => match self.eval(arg) {
                Err(fault) if fault.kind() == FaultKind::Budget => Err(fault),
                Ok(Value::Bool(value)) => Ok(Value::Bool(value)),
                _ => Ok(Value::Bool(true)),
            },
            ("_?._", None, [operand, Expr { kind: Kind::Const(Const::String(name)), .. }]) => {
                let operand = self.eval(operand)?;
                self.context.charge(1)?;
                self.optional_field(&operand, name)
            }
            ("or" | "orValue", Some(target), [other]) => match self.eval(target)? {
                Value::Optional(None) => self.eval(other),
                Value::Optional(Some(value)) if &*call.function == "orValue" => Ok((*value).clone()),
                held @ Value::Optional(_) => Ok(held),
                _ => Err(Fault::no_overload()),
            },
            _ => self.function(call),
        }
    }

    fn function(&mut self, call: &Call) -> Found<'a> {
        let mut args = Vec::with_capacity(call.args.len() + 1);
        if let Some(target) = &call.target {
            args.push(self.eval(target)?);
        }
        for arg in &call.args {
            args.push(self.eval(arg)?);
        }
        let function = library::function(&call.function).ok_or_else(Fault::no_overload)?;
        // What is linear in its arguments is paid for before it is done.
        self.context.charge(cost::actual(&call.function, &args))?;
        if let (Some(pattern), "matches", [Value::String(subject), _]) = (&call.regex, &*call.function, &args[..]) {
            return Ok(Value::Bool(pattern.is_match(subject)));
        }
        match ((function.run)(&args, self.context)?, &*call.function, &args[..]) {
            // An empty list does not say of what its sum is nothing.
            (Value::Int(0), "sum", [Value::List(list)]) if list.len() == 0 => Ok(zero(call)),
            (Value::String(text), "join", _) => {
                self.context.charge((text.len() as u64 * 2).div_ceil(10))?;
                Ok(Value::String(text))
            }
            (value, ..) => Ok(value),
        }
    }

    fn logic(&mut self, a: &Expr, b: &Expr, decides: bool) -> Found<'a> {
        let first = self.eval(a);
        match &first {
            Ok(Value::Bool(value)) if *value == decides => return first,
            Err(fault) if fault.kind() == FaultKind::Budget => return first,
            _ => {}
        }
        let second = self.eval(b);
        match (first, second) {
            (_, Ok(Value::Bool(value))) if value == decides => Ok(Value::Bool(value)),
            (_, Err(fault)) if fault.kind() == FaultKind::Budget => Err(fault),
            (Ok(Value::Bool(_)), Ok(Value::Bool(value))) => Ok(Value::Bool(value)),
            (Err(fault), _) | (Ok(_), Err(fault)) => Err(fault),
            (Ok(_), Ok(_)) => Err(Fault::no_overload()),
        }
    }

    fn fold(&mut self, fold: &Fold) -> Found<'a> {
        let range = self.eval(&fold.range)?;
        let init = self.eval(&fold.init);
        let depth = self.scopes.len();
        self.scopes.push((fold.accumulator.clone(), init));
        let done = self.run_fold(fold, &range, depth);
        self.scopes.truncate(depth + 1);
        let result = match done {
            Ok(()) => self.eval(&fold.result),
            Err(fault) => Err(fault),
        };
        self.scopes.truncate(depth);
        result
    }

    fn run_fold(&mut self, fold: &Fold, range: &Value<'a>, depth: usize) -> Result<(), Fault> {
        let (count, keys) = match range {
            Value::List(list) => (list.len(), None),
            Value::Map(map) => {
                self.context.allocate(map.len() * size_of::<Value<'_>>())?;
                (map.len(), Some(map.keys()))
            }
            _ => return Err(Fault::new(format!("got '{}', expected iterable type", range.type_of().runtime_name()))),
        };
        for i in 0..count {
            self.context.tick()?;
            let (first, second) = match (range, &keys) {
                (Value::List(list), _) => {
                    let item = list.get(i).ok_or_else(Fault::no_overload)?;
                    let place = Value::Int(i64::try_from(i).unwrap_or(i64::MAX));
                    if fold.var2.is_some() { (Ok(place), Some(item)) } else { (item, None) }
                }
                (Value::Map(map), Some(keys)) => {
                    let key = keys[i].clone();
                    let value = fold.var2.is_some().then(|| map.get(&key).ok_or_else(Fault::no_overload)?);
                    (Ok(key), value)
                }
                _ => return Err(Fault::no_overload()),
            };
            self.scopes.truncate(depth + 1);
            self.scopes.push((fold.var.clone(), first));
            if let (Some(var2), Some(second)) = (&fold.var2, second) {
                self.scopes.push((var2.clone(), second));
            }
            match self.eval(&fold.condition)? {
                Value::Bool(true) => {}
                _ => return Ok(()),
            }
            let next = self.step(&fold.step, &fold.accumulator, depth);
            if let Err(fault) = &next
                && fault.kind() == FaultKind::Budget
            {
                return Err(fault.clone());
            }
            self.scopes[depth].1 = next;
        }
        Ok(())
    }

    /// One step of a fold. What only adds to the list or map that is gathered adds in place.
    fn step(&mut self, step: &Expr, accumulator: &str, slot: usize) -> Found<'a> {
        let Kind::Call(call) = &step.kind else { return self.eval(step) };
        let gathers = |arg: &Expr| matches!(&arg.kind, Kind::Ident(name) if **name == *accumulator);
        match (&*call.function, &call.args[..]) {
            ("_?_:_", [condition, yes, no]) if gathers(no) => match self.eval(condition)? {
                Value::Bool(true) => self.step(yes, accumulator, slot),
                Value::Bool(false) => {
                    self.context.charge(1)?;
                    std::mem::replace(&mut self.scopes[slot].1, Ok(Value::Null))
                }
                _ => Err(Fault::no_overload()),
            },
            ("_+_", [held, Expr { kind: Kind::List(more), .. }]) if gathers(held) => {
                self.context.charge(12)?;
                let mut items = Vec::with_capacity(more.items.len());
                for item in &more.items {
                    self.context.allocate(size_of::<Value<'_>>())?;
                    items.push(self.eval(item)?);
                }
                match std::mem::replace(&mut self.scopes[slot].1, Ok(Value::Null))? {
                    Value::List(List::Made(mut held)) => {
                        Rc::make_mut(&mut held).extend(items);
                        Ok(Value::List(List::Made(held)))
                    }
                    _ => Err(Fault::no_overload()),
                }
            }
            ("cel.@mapInsert", [held, what @ ..]) if gathers(held) => {
                self.context.charge(2)?;
                let mut values = Vec::with_capacity(what.len());
                for part in what {
                    values.push(self.eval(part)?);
                }
                match std::mem::replace(&mut self.scopes[slot].1, Ok(Value::Null))? {
                    Value::Map(Map::Made(mut held)) => {
                        operators_insert(Rc::make_mut(&mut held), &values, self.context)?;
                        Ok(Value::Map(Map::Made(held)))
                    }
                    _ => Err(Fault::no_overload()),
                }
            }
            _ => self.eval(step),
        }
    }
}

fn zero<'a>(call: &Call) -> Value<'a> {
    match call.overloads[..] {
        [overload] => match overload.result {
            Type::Duration => Value::Duration(0),
            Type::Double => Value::Double(0.0),
            Type::Uint => Value::Uint(0),
            _ => Value::Int(0),
        },
        _ => Value::Int(0),
    }
}

fn constant<'a>(value: &Const) -> Value<'a> {
    match value {
        Const::Null => Value::Null,
        Const::Bool(value) => Value::Bool(*value),
        Const::Int(value) => Value::Int(*value),
        Const::Uint(value) => Value::Uint(*value),
        Const::Double(value) => Value::Double(*value),
        Const::String(text) => Value::String(Text::Shared(text.clone())),
        Const::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}
