//! Permissions: member functions of the stages of a check.

use super::Row;
use crate::context::Fault;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("path", |args, _| call("path", args), &["Authorizer.(string) PathCheck"]),
    ("group", |args, _| call("group", args), &["Authorizer.(string) GroupCheck"]),
    ("serviceAccount", |args, _| call("serviceAccount", args), &["Authorizer.(string, string) Authorizer"]),
    ("resource", |args, _| call("resource", args), &["GroupCheck.(string) ResourceCheck"]),
    ("subresource", |args, _| call("subresource", args), &["ResourceCheck.(string) ResourceCheck"]),
    ("namespace", |args, _| call("namespace", args), &["ResourceCheck.(string) ResourceCheck"]),
    ("name", |args, _| call("name", args), &["ResourceCheck.(string) ResourceCheck"]),
    ("fieldSelector", |args, _| call("fieldSelector", args), &["ResourceCheck.(string) ResourceCheck"]),
    ("labelSelector", |args, _| call("labelSelector", args), &["ResourceCheck.(string) ResourceCheck"]),
    ("check", |args, _| call("check", args), &["PathCheck.(string) Decision", "ResourceCheck.(string) Decision"]),
    ("errored", |args, _| call("errored", args), &["Decision.() bool"]),
    ("error", |args, _| call("error", args), &["Decision.() string"]),
    ("allowed", |args, _| call("allowed", args), &["Decision.() bool"]),
    ("reason", |args, _| call("reason", args), &["Decision.() string"]),
];

fn call<'a>(function: &str, args: &[Value<'a>]) -> Result<Value<'a>, Fault> {
    let Some((Value::Grant(grant), rest)) = args.split_first() else { return Err(Fault::no_overload()) };
    let mut texts = Vec::with_capacity(rest.len());
    for arg in rest {
        match arg {
            Value::String(text) => texts.push(&**text),
            _ => return Err(Fault::no_overload()),
        }
    }
    grant.call(function, &texts)
}
