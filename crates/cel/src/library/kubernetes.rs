//! Functions of the types that Kubernetes adds.

use super::Row;
use crate::context::{Context, Fault};
use crate::kubernetes::address::{self, Cidr};
use crate::kubernetes::semver::Semver;
use crate::kubernetes::url::Url;
use crate::kubernetes::{Foreign, formats};
use crate::value::{Entries, Map, Value};
use api::Quantity;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::rc::Rc;

const COMPARED: &[&str] = &["Quantity.(Quantity) bool", "Semver.(Semver) bool"];
const OF_IP: &[&str] = &["IP.() bool"];
const FORMAT: &[&str] = &["() NamedFormat"];

pub(super) const ROWS: &[Row] = &[
    ("url", |args, _| Ok(foreign(Foreign::Url(Rc::new(url(args)?)))), &["(string) URL"]),
    ("isURL", |args, _| Ok(Value::Bool(Url::parse(text(&args[0])?).is_ok())), &["(string) bool"]),
    ("getScheme", |args, _| of_url(args, |url| url.scheme.clone()), &["URL.() string"]),
    ("getHost", |args, _| of_url(args, |url| url.host.clone()), &["URL.() string"]),
    ("getHostname", |args, _| of_url(args, |url| url.hostname().to_owned()), &["URL.() string"]),
    ("getPort", |args, _| of_url(args, |url| url.port().to_owned()), &["URL.() string"]),
    ("getEscapedPath", |args, _| of_url(args, Url::escaped_path), &["URL.() string"]),
    ("getQuery", query, &["URL.() map(string, list(string))"]),
    ("quantity", |args, _| Ok(foreign(Foreign::Quantity(parse_quantity(text(&args[0])?)?))), &["(string) Quantity"]),
    ("isQuantity", |args, _| Ok(Value::Bool(parse_quantity(text(&args[0])?).is_ok())), &["(string) bool"]),
    ("sign", sign, &["(Quantity) int"]),
    ("isInteger", |args, _| Ok(Value::Bool(integer(&quantity(&args[0])?).is_some())), &["Quantity.() bool"]),
    ("asInteger", as_integer, &["Quantity.() int"]),
    ("asApproximateFloat", as_float, &["Quantity.() double"]),
    ("add", |args, _| combine(args, false), &["Quantity.(Quantity) Quantity", "Quantity.(int) Quantity"]),
    ("sub", |args, _| combine(args, true), &["Quantity.(Quantity) Quantity", "Quantity.(int) Quantity"]),
    ("isGreaterThan", |args, _| Ok(Value::Bool(compare(args)?.is_gt())), COMPARED),
    ("isLessThan", |args, _| Ok(Value::Bool(compare(args)?.is_lt())), COMPARED),
    ("compareTo", |args, _| Ok(Value::Int(compare(args)? as i64)), &["Quantity.(Quantity) int", "Semver.(Semver) int"]),
    (
        "ip",
        |args, _| match &args[0] {
            Value::Foreign(Foreign::Cidr(cidr)) => Ok(foreign(Foreign::Ip(cidr.address))),
            other => Ok(foreign(Foreign::Ip(address::parse_ip(text(other)?).map_err(Fault::new)?))),
        },
        &["(string) IP", "CIDR.() IP"],
    ),
    ("isIP", |args, _| Ok(Value::Bool(address::parse_ip(text(&args[0])?).is_ok())), &["(string) bool"]),
    ("ip.isCanonical", is_canonical, &["(string) bool"]),
    ("family", family, &["IP.() int"]),
    ("isUnspecified", |args, _| of_ip(args, |ip| ip.is_unspecified()), OF_IP),
    ("isLoopback", |args, _| of_ip(args, |ip| ip.is_loopback()), OF_IP),
    ("isLinkLocalMulticast", |args, _| of_ip(args, address::is_link_local_multicast), OF_IP),
    ("isLinkLocalUnicast", |args, _| of_ip(args, address::is_link_local_unicast), OF_IP),
    ("isGlobalUnicast", |args, _| of_ip(args, address::is_global_unicast), OF_IP),
    (
        "cidr",
        |args, _| Ok(foreign(Foreign::Cidr(Cidr::parse(text(&args[0])?).map_err(Fault::new)?))),
        &["(string) CIDR"],
    ),
    ("isCIDR", |args, _| Ok(Value::Bool(Cidr::parse(text(&args[0])?).is_ok())), &["(string) bool"]),
    ("containsIP", contains_ip, &["CIDR.(IP) bool", "CIDR.(string) bool"]),
    ("containsCIDR", contains_cidr, &["CIDR.(CIDR) bool", "CIDR.(string) bool"]),
    ("masked", |args, _| Ok(foreign(Foreign::Cidr(cidr(&args[0])?.masked()))), &["CIDR.() CIDR"]),
    ("prefixLength", |args, _| Ok(Value::Int(i64::from(cidr(&args[0])?.length))), &["CIDR.() int"]),
    (
        "semver",
        |args, _| Ok(foreign(Foreign::Semver(Rc::new(parse_semver(args)?.map_err(Fault::new)?)))),
        &["(string) Semver", "(string, bool) Semver"],
    ),
    ("isSemver", |args, _| Ok(Value::Bool(parse_semver(args)?.is_ok())), &["(string) bool", "(string, bool) bool"]),
    ("major", |args, _| number(args, 0), &["Semver.() int"]),
    ("minor", |args, _| number(args, 1), &["Semver.() int"]),
    ("patch", |args, _| number(args, 2), &["Semver.() int"]),
    ("format.named", named, &["(string) opt(NamedFormat)"]),
    ("validate", validate, &["NamedFormat.(string) opt(list(string))"]),
    ("format.dns1123Label", |_, _| Ok(foreign(Foreign::Format("dns1123Label"))), FORMAT),
    ("format.dns1123Subdomain", |_, _| Ok(foreign(Foreign::Format("dns1123Subdomain"))), FORMAT),
    ("format.dns1035Label", |_, _| Ok(foreign(Foreign::Format("dns1035Label"))), FORMAT),
    ("format.qualifiedName", |_, _| Ok(foreign(Foreign::Format("qualifiedName"))), FORMAT),
    ("format.dns1123LabelPrefix", |_, _| Ok(foreign(Foreign::Format("dns1123LabelPrefix"))), FORMAT),
    ("format.dns1123SubdomainPrefix", |_, _| Ok(foreign(Foreign::Format("dns1123SubdomainPrefix"))), FORMAT),
    ("format.dns1035LabelPrefix", |_, _| Ok(foreign(Foreign::Format("dns1035LabelPrefix"))), FORMAT),
    ("format.labelValue", |_, _| Ok(foreign(Foreign::Format("labelValue"))), FORMAT),
    ("format.uri", |_, _| Ok(foreign(Foreign::Format("uri"))), FORMAT),
    ("format.uuid", |_, _| Ok(foreign(Foreign::Format("uuid"))), FORMAT),
    ("format.byte", |_, _| Ok(foreign(Foreign::Format("byte"))), FORMAT),
    ("format.date", |_, _| Ok(foreign(Foreign::Format("date"))), FORMAT),
    ("format.datetime", |_, _| Ok(foreign(Foreign::Format("datetime"))), FORMAT),
];

fn foreign<'a>(value: Foreign) -> Value<'a> {
    Value::Foreign(value)
}

fn text<'b>(value: &'b Value<'_>) -> Result<&'b str, Fault> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Fault::no_overload()),
    }
}

fn url(args: &[Value<'_>]) -> Result<Url, Fault> {
    Url::parse(text(&args[0])?)
        .map_err(|why| Fault::new(format!("URL parse error during conversion from string: {why}")))
}

fn of_url<'a>(args: &[Value<'a>], part: fn(&Url) -> String) -> Result<Value<'a>, Fault> {
    match &args[0] {
        Value::Foreign(Foreign::Url(url)) => Ok(Value::text(part(url))),
        _ => Err(Fault::no_overload()),
    }
}

fn query<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let Value::Foreign(Foreign::Url(url)) = &args[0] else { return Err(Fault::no_overload()) };
    let mut entries = Entries::default();
    for (key, values) in url.query() {
        context.allocate(size_of::<Value<'_>>() * (values.len() + 2))?;
        entries.insert(Value::text(key), Value::list(values.into_iter().map(Value::text).collect()))?;
    }
    Ok(Value::Map(Map::Made(Rc::new(entries))))
}

fn parse_quantity(text: &str) -> Result<Quantity, Fault> {
    Quantity::parse(text).ok_or_else(|| {
        let number = text.trim_start_matches(['+', '-']);
        let suffix = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let letters = suffix.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == '+');
        let shaped = suffix.len() < number.len() && letters.chars().all(|c| "eEinumkKMGTP".contains(c));
        Fault::new(match shaped {
            true => "unable to parse quantity's suffix",
            false => "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        })
    })
}

fn quantity(value: &Value<'_>) -> Result<Quantity, Fault> {
    match value {
        Value::Foreign(Foreign::Quantity(quantity)) => Ok(*quantity),
        _ => Err(Fault::no_overload()),
    }
}

fn sign<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    Ok(Value::Int(quantity(&args[0])?.cmp(&Quantity::ZERO) as i64))
}

fn integer(quantity: &Quantity) -> Option<i64> {
    let units = quantity.units();
    quantity.cmp(&Quantity::from_units(units)).is_eq().then_some(units)
}

fn as_integer<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    let whole = integer(&quantity(&args[0])?);
    whole.map(Value::Int).ok_or_else(|| Fault::new("cannot convert value to integer"))
}

fn as_float<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    Ok(Value::Double(quantity(&args[0])?.as_f64()))
}

fn combine<'a>(args: &[Value<'a>], negative: bool) -> Result<Value<'a>, Fault> {
    let by = match &args[1] {
        Value::Int(units) => Quantity::from_units(*units),
        other => quantity(other)?,
    };
    let held = quantity(&args[0])?;
    Ok(foreign(Foreign::Quantity(if negative { held.minus(by) } else { held.plus(by) })))
}

fn compare(args: &[Value<'_>]) -> Result<Ordering, Fault> {
    match args {
        [Value::Foreign(Foreign::Quantity(a)), Value::Foreign(Foreign::Quantity(b))] => Ok(a.cmp(b)),
        [Value::Foreign(Foreign::Semver(a)), Value::Foreign(Foreign::Semver(b))] => Ok(a.cmp(b)),
        _ => Err(Fault::no_overload()),
    }
}

fn ip(value: &Value<'_>) -> Result<IpAddr, Fault> {
    match value {
        Value::Foreign(Foreign::Ip(ip)) => Ok(*ip),
        _ => Err(Fault::no_overload()),
    }
}

fn of_ip<'a>(args: &[Value<'a>], test: fn(IpAddr) -> bool) -> Result<Value<'a>, Fault> {
    Ok(Value::Bool(test(ip(&args[0])?)))
}

fn family<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    Ok(Value::Int(if ip(&args[0])?.is_ipv4() { 4 } else { 6 }))
}

fn is_canonical<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    let text = text(&args[0])?;
    Ok(Value::Bool(address::parse_ip(text).map_err(Fault::new)?.to_string() == text))
}

fn cidr(value: &Value<'_>) -> Result<Cidr, Fault> {
    match value {
        Value::Foreign(Foreign::Cidr(cidr)) => Ok(*cidr),
        _ => Err(Fault::no_overload()),
    }
}

fn contains_ip<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    let address = match &args[1] {
        Value::String(text) => address::parse_ip(text).map_err(Fault::new)?,
        other => ip(other)?,
    };
    Ok(Value::Bool(cidr(&args[0])?.holds(address)))
}

fn contains_cidr<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    let other = match &args[1] {
        Value::String(text) => Cidr::parse(text).map_err(Fault::new)?,
        other => cidr(other)?,
    };
    Ok(Value::Bool(cidr(&args[0])?.covers(&other)))
}

fn parse_semver(args: &[Value<'_>]) -> Result<Result<Semver, String>, Fault> {
    let lenient = match args.get(1) {
        None => false,
        Some(Value::Bool(lenient)) => *lenient,
        Some(_) => return Err(Fault::no_overload()),
    };
    Ok(Semver::parse(text(&args[0])?, lenient))
}

fn number<'a>(args: &[Value<'a>], place: usize) -> Result<Value<'a>, Fault> {
    match &args[0] {
        Value::Foreign(Foreign::Semver(version)) => Ok(Value::Int(version.numbers[place].cast_signed())),
        _ => Err(Fault::no_overload()),
    }
}

fn named<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    let name = text(&args[0])?;
    let found = formats::NAMES.into_iter().find(|known| *known == name);
    Ok(found.map_or(Value::Optional(None), |name| Value::some(foreign(Foreign::Format(name)))))
}

fn validate<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let Value::Foreign(Foreign::Format(name)) = &args[0] else { return Err(Fault::no_overload()) };
    let found = formats::problems(name, text(&args[1])?);
    for problem in &found {
        context.allocate(problem.len())?;
    }
    if found.is_empty() {
        return Ok(Value::Optional(None));
    }
    Ok(Value::some(Value::list(found.into_iter().map(Value::text).collect())))
}
