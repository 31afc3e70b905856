//! What an expression costs: each call when it runs, and at most and at least before it runs, from what its schema
//! says about sizes. The numbers decide which rules may be written, so they are upstream's.

use crate::ast::{Call, Const, Expr, Fold, Kind, Select};
use crate::library::Overload;
use crate::schema::Decl;
use crate::types::Type;
use crate::value::Value;
use std::collections::HashMap;
use std::sync::Arc;

const TRAVERSAL: f64 = 0.1;
const PATTERN: f64 = 0.25;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "saturates")]
fn scaled(size: u64, factor: f64) -> u64 {
    if size == u64::MAX { u64::MAX } else { (size as f64 * factor).ceil() as u64 }
}

/// What a call costs, given its arguments with the target first.
pub(crate) fn actual(function: &str, args: &[Value<'_>]) -> u64 {
    let size = |i: usize| args.get(i).map_or(0, Value::cost_size);
    let traversal = |i: usize| scaled(size(i), TRAVERSAL);
    let deep = |value: &Value<'_>| match value {
        Value::List(list) => list.iter().fold(list.len() as u64, |sum, item| {
            sum + item.as_ref().map_or(0, |item| match item {
                Value::String(_) | Value::Bytes(_) => scaled(item.cost_size(), TRAVERSAL),
                _ => 0,
            })
        }),
        other => scaled(other.cost_size(), TRAVERSAL),
    };
    match function {
        "check" => 350_000,
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => args.first().map_or(0, deep),
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "cidr" | "isIP" | "isCIDR" | "ip" | "quantity"
        | "isQuantity" | "bytes" | "string" | "format" | "strings.quote" | "isURL" | "semver" | "isSemver"
        | "validate" => traversal(0).max(traversal(1)).max(1),
        "replace" | "split" | "ip.isCanonical" => scaled(size(0), 2.0 * TRAVERSAL),
        "matches" | "find" | "findAll" => {
            scaled(size(0).saturating_add(1), TRAVERSAL).saturating_mul(scaled(size(1), PATTERN))
        }
        "contains" => traversal(0).saturating_mul(traversal(1)),
        "startsWith" | "endsWith" => traversal(1),
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => scaled(size(0).min(size(1)), TRAVERSAL),
        "_+_" => match (&args[0], &args[1]) {
            (Value::String(_) | Value::Bytes(_), _) => scaled(size(0) + size(1), TRAVERSAL),
            // Joining does not copy upstream; here it does.
            (Value::List(_), Value::List(_)) => 1 + (size(0) + size(1)) / 10,
            _ => 1,
        },
        "@in" if matches!(args.get(1), Some(Value::List(_))) => size(1),
        "sets.contains" | "sets.equivalent" | "sets.intersects" => size(0).saturating_mul(size(1)).saturating_add(1),
        "distinct" => size(0).saturating_mul(size(0)).saturating_add(1),
        "sort" | "@sortByAssociatedKeys" | "reverse" | "flatten" | "slice" => size(0).saturating_add(1),
        _ => 1,
    }
}

/// At least and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub min: u64,
    pub max: u64,
}

impl Range {
    const NOTHING: Range = Range { min: 0, max: 0 };
    const UNKNOWN: Range = Range { min: 0, max: u64::MAX };

    fn exactly(n: u64) -> Range {
        Range { min: n, max: n }
    }

    fn add(self, other: Range) -> Range {
        Range { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Range) -> Range {
        Range { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn scaled(self, factor: f64) -> Range {
        Range { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }

    fn union(self, other: Range) -> Range {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// What an expression costs at most, if its variables are declared so.
pub(crate) fn estimate(expr: &Expr, roots: &[(&str, &Decl)]) -> u64 {
    let mut estimator = Estimator { roots, facts: HashMap::new(), locals: Vec::new() };
    estimator.cost(expr).max
}

/// What is known of an expression besides its cost.
#[derive(Clone, Default)]
struct Fact {
    path: Option<Vec<Arc<str>>>,
    size: Option<Range>,
    /// The sizes of keys or places, and of values.
    entries: Option<(Range, Range)>,
}

struct Estimator<'s> {
    roots: &'s [(&'s str, &'s Decl)],
    facts: HashMap<*const Expr, Fact>,
    locals: Vec<(Arc<str>, Fact)>,
}

impl Estimator<'_> {
    fn fact(&self, expr: &Expr) -> Fact {
        self.facts.get(&std::ptr::from_ref(expr)).cloned().unwrap_or_default()
    }

    fn declared(&self, path: &[Arc<str>]) -> Option<Range> {
        let (first, rest) = path.split_first()?;
        // Upstream follows every path from the one declaration that it has, whatever its first part is called.
        let root = self.roots.iter().find(|(name, _)| **name == **first).or(self.roots.first())?;
        root.1
            .follow(rest)
            .map(|decl| Range { min: 0, max: decl.max_elements })
            .or_else(|| (rest.last().map(|last| &**last) == Some("@keys")).then_some(Range::NOTHING))
    }

    fn size_of(&self, fact: &Fact, ty: &Type) -> Range {
        let by_path = || fact.path.as_deref().and_then(|path| self.declared(path));
        fact.size.or_else(by_path).unwrap_or(match ty {
            Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Type(_) | Type::Uint => {
                Range::exactly(1)
            }
            _ => Range::UNKNOWN,
        })
    }

    fn size(&self, expr: &Expr) -> Range {
        let mut fact = self.fact(expr);
        if fact.size.is_none() {
            fact.size = literal_size(expr);
        }
        self.size_of(&fact, &expr.ty)
    }

    /// As Kubernetes' own estimates see it: scalars have no known size.
    fn size_or_unknown(&self, expr: &Expr) -> Range {
        let fact = self.fact(expr);
        let by_path = || fact.path.as_deref().and_then(|path| self.declared(path));
        fact.size.or_else(|| literal_size(expr)).or_else(by_path).unwrap_or(Range::UNKNOWN)
    }

    fn item_size(&self, list: &Expr) -> Range {
        let path = self.fact(list).path;
        path.and_then(|path| self.declared(&extended(&path, "@items"))).unwrap_or(Range::UNKNOWN)
    }

    fn note(&mut self, expr: &Expr, fact: Fact) {
        self.facts.insert(std::ptr::from_ref(expr), fact);
    }

    fn cost(&mut self, expr: &Expr) -> Range {
        match &expr.kind {
            Kind::Const(_) => Range::NOTHING,
            Kind::Ident(name) => {
                let local = self.locals.iter().rev().find(|(held, _)| held == name).map(|(_, fact)| fact.clone());
                let fact = local.unwrap_or_else(|| Fact { path: Some(vec![name.clone()]), ..Fact::default() });
                self.note(expr, fact);
                Range::exactly(1)
            }
            Kind::Select(select) => self.select(expr, select),
            Kind::Call(call) => self.call(expr, call),
            Kind::List(list) => {
                let mut sum = Range::exactly(10);
                let mut items = Range { min: if list.items.is_empty() { 0 } else { u64::MAX }, max: 0 };
                for item in &list.items {
                    sum = sum.add(self.cost(item));
                    items = items.union(self.size(item));
                }
                self.note(expr, Fact { entries: Some((Range::exactly(1), items)), ..Fact::default() });
                sum
            }
            Kind::Map(entries) => {
                let mut sum = Range::exactly(30);
                let empty = Range { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
                let (mut keys, mut values) = (empty, empty);
                for entry in entries {
                    sum = sum.add(self.cost(&entry.key)).add(self.cost(&entry.value));
                    keys = keys.union(self.size(&entry.key));
                    values = values.union(self.size(&entry.value));
                }
                self.note(expr, Fact { entries: Some((keys, values)), ..Fact::default() });
                sum
            }
            Kind::Object(object) => {
                object.fields.iter().fold(Range::exactly(40), |sum, field| sum.add(self.cost(&field.value)))
            }
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn select(&mut self, expr: &Expr, select: &Select) -> Range {
        let mut sum = self.cost(&select.operand);
        if select.test {
            return sum;
        }
        if matches!(select.operand.ty, Type::Map(..) | Type::Object(_) | Type::Var(_)) {
            sum = sum.add(Range::exactly(1));
        }
        let path = extended(&self.fact(&select.operand).path.unwrap_or_default(), &select.field);
        self.note(expr, Fact { path: Some(path), ..Fact::default() });
        sum
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Range {
        let mut sum = self.cost(&fold.range).add(self.cost(&fold.init));
        let init = Fact { size: literal_size(&fold.init), ..self.fact(&fold.init) };
        self.locals.push((fold.accumulator.clone(), init));
        let range = self.fact(&fold.range);
        let is_list = matches!(fold.range.ty, Type::List(_));
        let part = |name: &str, size: Option<Range>| Fact {
            path: Some(extended(range.path.as_deref().unwrap_or_default(), name)),
            size,
            entries: None,
        };
        let keys = range.entries.map(|(keys, _)| keys);
        let values = range.entries.map(|(_, values)| values);
        let depth = self.locals.len();
        match (&fold.var2, is_list) {
            (None, true) => self.locals.push((fold.var.clone(), part("@items", values))),
            (None, false) => self.locals.push((fold.var.clone(), part("@keys", keys))),
            (Some(var2), list) => {
                self.locals.push((fold.var.clone(), part(if list { "@indices" } else { "@keys" }, keys)));
                self.locals.push((var2.clone(), part(if list { "@items" } else { "@values" }, values)));
            }
        }
        let condition = self.cost(&fold.condition);
        let step = self.cost(&fold.step);
        let stepped = self.fact(&fold.step).entries;
        self.locals.truncate(depth);
        sum = sum.add(self.cost(&fold.result));
        let result = self.fact(&fold.result);
        self.locals.truncate(depth - 1);
        let count = self.size(&fold.range);
        sum = sum.add(count.times(step.add(condition)));
        let fact = match &fold.init.kind {
            // A name for a value: what is known of the result stays known.
            _ if matches!(&fold.condition.kind, Kind::Const(Const::Bool(false))) => result,
            Kind::Const(_) => Fact { size: literal_size(&fold.init), ..Fact::default() },
            Kind::List(_) | Kind::Map(_) => Fact { size: Some(count), entries: stepped, path: None },
            _ => Fact::default(),
        };
        self.note(expr, fact);
        sum
    }

    fn call(&mut self, expr: &Expr, call: &Call) -> Range {
        if &*call.function == "dyn" && call.args.len() == 1 {
            let cost = self.cost(&call.args[0]);
            let mut fact = self.fact(&call.args[0]);
            fact.size = fact.size.or_else(|| literal_size(&call.args[0]));
            self.note(expr, fact);
            return cost.add(Range::exactly(1));
        }
        let costs: Vec<Range> = call.args.iter().map(|arg| self.cost(arg)).collect();
        let target = call.target.as_ref().map_or(Range::NOTHING, |target| self.cost(target));
        let (mut total, mut fact) = (Range { min: u64::MAX, max: 0 }, Fact::default());
        for overload in &call.overloads {
            let (cost, size) = self.overload(call, overload, &costs);
            total = total.union(cost);
            fact.size = match (fact.size, size) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b),
            };
            if &*call.function == "_[_]" {
                let held = self.fact(&call.args[0]);
                let list = matches!(overload.params[0], Type::List(_));
                fact.size = held.entries.map(|(_, values)| values);
                let part = if list { "@items" } else { "@values" };
                fact.path = Some(extended(&held.path.unwrap_or_default(), part));
            }
        }
        if &*call.function == "_?._"
            && let [operand, Expr { kind: Kind::Const(Const::String(name)), .. }] = &call.args[..]
        {
            fact.path = self.fact(operand).path.map(|path| extended(&path, name));
        }
        self.note(expr, fact);
        if call.overloads.is_empty() { Range::NOTHING } else { target.add(total) }
    }

    /// What one overload costs with its arguments, and how large its result is.
    fn overload(&mut self, call: &Call, overload: &Overload, costs: &[Range]) -> (Range, Option<Range>) {
        let all = costs.iter().fold(Range::NOTHING, |sum, cost| sum.add(*cost));
        if let Some((cost, size)) = self.kubernetes(call, overload) {
            return (cost.add(all), size);
        }
        let args = &call.args;
        let size = |i: usize| args.get(i).map_or(Range::UNKNOWN, |arg| self.size(arg));
        let text = |i: usize| matches!(overload.params.get(i), Some(Type::String | Type::Bytes));
        match (&*call.function, &call.target) {
            ("format", Some(target)) => (self.size(target).scaled(TRAVERSAL).add(all), None),
            ("bytes", None) if text(0) && overload.params[0] == Type::String => {
                let size = size(0);
                (size.scaled(TRAVERSAL).add(all), Some(Range { min: size.min, max: size.max.saturating_mul(4) }))
            }
            ("string", None) if overload.params[0] == Type::Bytes => {
                let size = size(0);
                (size.scaled(TRAVERSAL).add(all), Some(Range { min: size.min / 4, max: size.max }))
            }
            ("strings.quote", None) => {
                let size = size(0);
                let quoted = |n: u64, by: u64| n.saturating_mul(by).saturating_add(2);
                (size.scaled(TRAVERSAL).add(all), Some(Range { min: quoted(size.min, 1), max: quoted(size.max, 2) }))
            }
            ("startsWith" | "endsWith", Some(_)) => (size(0).scaled(TRAVERSAL).add(all), None),
            ("@in", None) if matches!(overload.params[1], Type::List(_)) => (size(1).scaled(1.0).add(all), None),
            ("matches", Some(target)) => {
                let subject = self.size(target).add(Range::exactly(1)).scaled(TRAVERSAL);
                (subject.times(size(0).scaled(PATTERN)).add(all), None)
            }
            ("contains", Some(target)) => {
                (self.size(target).scaled(TRAVERSAL).times(size(0).scaled(TRAVERSAL)).add(all), None)
            }
            ("_&&_" | "_||_", None) => (Range { min: costs[0].min, max: costs[0].add(costs[1]).max }, None),
            ("_?_:_", None) => (costs[0].add(costs[1].union(costs[2])), Some(size(1).union(size(2)))),
            ("_+_", None) if matches!(overload.params[0], Type::List(_)) => {
                (Range::exactly(1).add(all), Some(size(0).add(size(1))))
            }
            ("_+_", None) if text(0) => {
                let sum = size(0).add(size(1));
                (sum.scaled(TRAVERSAL).add(all), Some(sum))
            }
            ("_==_" | "_!=_", None) => (compared(size(0), size(1)).add(all), None),
            ("_<_" | "_<=_" | "_>_" | "_>=_", None) if text(0) => (compared(size(0), size(1)).add(all), None),
            _ => (Range::exactly(1).add(all), None),
        }
    }

    /// The functions that Kubernetes adds or weighs in its own way.
    fn kubernetes(&self, call: &Call, overload: &Overload) -> Option<(Range, Option<Range>)> {
        let args = &call.args;
        let size = |i: usize| args.get(i).map_or(Range::UNKNOWN, |arg| self.size_or_unknown(arg));
        let one = Some((Range::exactly(1), None));
        let target = call.target.as_ref();
        let target_size = || target.map_or(Range::UNKNOWN, |target| self.size_or_unknown(target));
        match &*call.function {
            "check" => Some((Range::exactly(350_000), None)),
            "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name" | "allowed"
            | "reason" | "error" | "errored" | "fieldSelector" | "labelSelector" => one,
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let target = target?;
                let Type::List(of) = &target.ty else { return Some((target_size().scaled(TRAVERSAL), None)) };
                let mut each = Range::exactly(1);
                if matches!(**of, Type::String | Type::Bytes) {
                    each = each.add(self.item_size(target).scaled(TRAVERSAL));
                }
                Some((target_size().times(each), None))
            }
            "url" if args.len() == 1 => Some((size(0).scaled(TRAVERSAL), None)),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                target?;
                Some((target_size().scaled(TRAVERSAL), Some(target_size())))
            }
            "replace" if args.len() >= 2 => {
                target?;
                let held = target_size();
                Some((held.scaled(2.0 * TRAVERSAL), Some(replaced(held, size(0), size(1)))))
            }
            "split" => {
                target?;
                let held = target_size();
                let most = match args.get(1).map(|arg| &arg.kind) {
                    Some(Kind::Const(Const::Int(n))) => u64::try_from(*n).unwrap_or(u64::MAX),
                    _ => held.max,
                };
                Some((held.scaled(2.0 * TRAVERSAL), Some(Range { min: 0, max: most })))
            }
            "join" => {
                let list = target_size();
                let mut joined = list.times(self.item_size(target?));
                if !args.is_empty() {
                    let separators = Range { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
                    joined = joined.add(size(0).times(separators));
                }
                Some((joined.scaled(TRAVERSAL), Some(joined)))
            }
            "find" | "findAll" => {
                target?;
                let held = target_size();
                let subject = held.add(Range::exactly(1)).scaled(TRAVERSAL);
                Some((subject.times(size(0).scaled(PATTERN)), Some(Range { min: 0, max: held.max })))
            }
            "ip" if target.is_some() => one,
            "masked"
            | "prefixLength"
            | "family"
            | "isUnspecified"
            | "isLoopback"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast"
            | "isGlobalUnicast" => one,
            "containsIP" | "containsCIDR" => {
                let bytes = Range { min: 4, max: 16 };
                let mut cost = bytes.add(bytes).scaled(TRAVERSAL);
                if &*call.function == "containsCIDR" {
                    cost = cost.add(bytes.scaled(TRAVERSAL)).add(Range::exactly(1));
                }
                if overload.params.get(1) == Some(&Type::String) {
                    cost = cost.add(size(0).scaled(TRAVERSAL));
                }
                Some((cost, None))
            }
            "quantity" | "isQuantity" | "semver" | "isSemver" => Some((size(0).scaled(TRAVERSAL), None)),
            "validate" => Some((size(0).scaled(TRAVERSAL), None)),
            "sign" | "asInteger" | "isInteger" | "asApproximateFloat" | "isGreaterThan" | "isLessThan"
            | "compareTo" | "add" | "sub" | "major" | "minor" | "patch" => one,
            "_==_" | "_!=_" if matches!(args[0].ty, Type::Opaque(_)) && args[0].ty == args[1].ty => one,
            "sets.contains" | "sets.intersects" | "sets.equivalent" if args.len() == 2 => {
                let cost = size(0).times(size(1));
                let twice = if &*call.function == "sets.equivalent" { 2 } else { 1 };
                Some((Range { min: 1, max: cost.max.saturating_mul(twice).saturating_add(1) }, None))
            }
            _ => None,
        }
    }
}

/// A path with one more part. What has no path starts an empty one, as upstream's does: its first part is then not
/// looked at, and the size is that of the variable.
fn extended(path: &[Arc<str>], part: &str) -> Vec<Arc<str>> {
    let mut path = path.to_vec();
    path.push(part.into());
    path
}

fn literal_size(expr: &Expr) -> Option<Range> {
    Some(Range::exactly(match &expr.kind {
        Kind::Const(Const::String(text)) => text.chars().count() as u64,
        Kind::Const(Const::Bytes(bytes)) => bytes.len() as u64,
        Kind::Const(_) => 1,
        Kind::List(list) => list.items.len() as u64,
        Kind::Map(entries) => entries.len() as u64,
        _ => return None,
    }))
}

fn compared(a: Range, b: Range) -> Range {
    let max = a.max.min(b.max);
    Range { min: u64::from(max > 0), max }.scaled(TRAVERSAL)
}

fn replaced(held: Range, old: Range, new: Range) -> Range {
    let count = |size: u64, by: u64| if size == u64::MAX { u64::MAX } else { size.div_ceil(by.max(1)) };
    let (most, most_kept) = if old.min == 0 {
        (held.max.saturating_add(1), held.max)
    } else if new.max <= old.min {
        (0, held.max)
    } else {
        (count(held.max, old.min), 0)
    };
    let (fewest, fewest_kept) = if old.max == 0 {
        (held.min.saturating_add(1), held.min)
    } else if old.max <= new.min {
        (0, held.min)
    } else {
        (count(held.min, old.max), 0)
    };
    Range { min: fewest, max: most }.times(new).add(Range { min: fewest_kept, max: most_kept })
}
