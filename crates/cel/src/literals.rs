//! Literals that would fail whenever they are evaluated are refused before: times, durations, patterns, formats, and
//! lists and maps of several types.

use crate::ast::{Const, Expr, Kind};
use crate::format;
use crate::issue::Issue;
use crate::regex;
use crate::types::Type;
use std::sync::Arc;

/// Refuses such literals, and keeps compiled patterns with their calls.
pub(crate) fn validate(expr: &mut Expr) -> Result<(), Vec<Issue>> {
    let mut issues = Vec::new();
    walk(expr, false, &mut issues);
    if issues.is_empty() { Ok(()) } else { Err(issues) }
}

fn text(expr: &Expr) -> Option<&str> {
    match &expr.kind {
        Kind::Const(Const::String(text)) => Some(text),
        _ => None,
    }
}

fn walk(expr: &mut Expr, exempt: bool, issues: &mut Vec<Issue>) {
    let mut exempt_below = exempt;
    match &mut expr.kind {
        Kind::Call(call) => {
            exempt_below |= &*call.function == "format";
            let (function, args) = (call.function.clone(), &call.args);
            let argument = args.last().and_then(|arg| Some((arg.at, text(arg)?)));
            match (&*function, argument) {
                ("duration", Some((at, text))) if format::parse_duration(text).is_none() => {
                    issues.push(Issue::new(at, "invalid duration argument"));
                }
                ("timestamp", Some((at, text))) if format::parse_time(text).is_none() => {
                    issues.push(Issue::new(at, "invalid timestamp argument"));
                }
                ("matches" | "find" | "findAll", Some((at, text))) => match regex::compile(text) {
                    Ok(pattern) => call.regex = Some(Arc::new(pattern)),
                    Err(_) if &*function == "matches" => issues.push(Issue::new(at, "invalid matches argument")),
                    Err(_) => {}
                },
                ("format", _) => {
                    if let (Some(pattern), [Expr { kind: Kind::List(list), .. }]) =
                        (call.target.as_ref().and_then(text), &args[..])
                    {
                        validate_format(pattern, call.args[0].at, &list.items, issues);
                    }
                }
                _ => {}
            }
            for arg in call.target.iter_mut().chain(&mut call.args) {
                walk(arg, exempt_below, issues);
            }
        }
        Kind::List(list) => {
            let items =
                list.items.iter().enumerate().map(|(i, item)| (item.at, inner(item, list.optional.contains(&i))));
            if !exempt {
                same_types(items, issues);
            }
            list.items.iter_mut().for_each(|item| walk(item, exempt, issues));
        }
        Kind::Map(entries) => {
            if !exempt {
                same_types(entries.iter().map(|entry| (entry.key.at, entry.key.ty.clone())), issues);
                let values = entries.iter().map(|entry| (entry.value.at, inner(&entry.value, entry.optional)));
                same_types(values, issues);
            }
            for entry in entries {
                walk(&mut entry.key, exempt, issues);
                walk(&mut entry.value, exempt, issues);
            }
        }
        Kind::Const(_) | Kind::Ident(_) => {}
        Kind::Select(select) => walk(&mut select.operand, exempt, issues),
        Kind::Object(object) => object.fields.iter_mut().for_each(|field| walk(&mut field.value, exempt, issues)),
        Kind::Fold(fold) => {
            for part in [&mut fold.range, &mut fold.init, &mut fold.condition, &mut fold.step, &mut fold.result] {
                walk(part, exempt, issues);
            }
        }
    }
}

fn inner(item: &Expr, optional: bool) -> Type {
    match &item.ty {
        Type::Optional(of) if optional => (**of).clone(),
        ty => ty.clone(),
    }
}

fn same_types(items: impl Iterator<Item = (u32, Type)>, issues: &mut Vec<Issue>) {
    let mut first: Option<Type> = None;
    for (at, ty) in items {
        match &first {
            None => first = Some(ty),
            Some(first) if *first != ty => {
                issues.push(Issue::new(at, format!("expected type '{first}' but found '{ty}'")));
                return;
            }
            Some(_) => {}
        }
    }
}

fn validate_format(pattern: &str, at: u32, items: &[Expr], issues: &mut Vec<Issue>) {
    let clauses = match format::clauses(pattern) {
        Ok(clauses) => clauses,
        Err(fault) => return issues.push(Issue::new(at, fault.message())),
    };
    if clauses.len() > items.len() {
        return issues.push(Issue::new(at, format!("index {} out of range", items.len())));
    }
    if clauses.len() < items.len() {
        let why =
            format!("too many arguments supplied to string.format (expected {}, got {})", clauses.len(), items.len());
        return issues.push(Issue::new(at, why));
    }
    for (clause, item) in clauses.iter().zip(items) {
        if let Some(why) = clause.refuses(&item.ty) {
            issues.push(Issue::new(item.at, format!("error during formatting: {why}")));
        }
    }
}
