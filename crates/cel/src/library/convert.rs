//! Conversions between types.

use super::Row;
use crate::context::{Context, Fault};
use crate::format;
use crate::value::Value;
use std::sync::Arc;

pub(super) const ROWS: &[Row] = &[
    ("bool", to_bool, &["(bool) bool", "(string) bool"]),
    ("bytes", to_bytes, &["(bytes) bytes", "(string) bytes"]),
    ("double", to_double, &["(double) double", "(int) double", "(string) double", "(uint) double"]),
    ("duration", to_duration, &["(duration) duration", "(int) duration", "(string) duration"]),
    ("int", to_int, &["(int) int", "(double) int", "(duration) int", "(string) int", "(timestamp) int", "(uint) int"]),
    (
        "string",
        to_string,
        &[
            "(string) string",
            "(bool) string",
            "(bytes) string",
            "(double) string",
            "(duration) string",
            "(int) string",
            "(timestamp) string",
            "(uint) string",
            "(IP) string",
            "(CIDR) string",
        ],
    ),
    ("timestamp", to_timestamp, &["(timestamp) timestamp", "(int) timestamp", "(string) timestamp"]),
    ("uint", to_uint, &["(uint) uint", "(double) uint", "(int) uint", "(string) uint"]),
];

fn unconvertible(value: &Value<'_>, to: &str) -> Fault {
    match value {
        Value::String(_) => Fault::new(format!("type conversion error from 'string' to '{to}'")),
        _ => Fault::no_overload(),
    }
}

fn to_bool<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    match &args[0] {
        Value::Bool(_) => Ok(args[0].clone()),
        Value::String(text) => match &**text {
            "true" | "TRUE" | "True" | "t" | "T" | "1" => Ok(Value::Bool(true)),
            "false" | "FALSE" | "False" | "f" | "F" | "0" => Ok(Value::Bool(false)),
            _ => Err(unconvertible(&args[0], "bool")),
        },
        _ => Err(Fault::no_overload()),
    }
}

fn to_bytes<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    match &args[0] {
        Value::Bytes(_) => Ok(args[0].clone()),
        Value::String(text) => {
            context.allocate(text.len())?;
            Ok(Value::Bytes(Arc::from(text.as_bytes())))
        }
        _ => Err(Fault::no_overload()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "what the language asks for")]
fn to_double<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    match &args[0] {
        Value::Double(_) => Ok(args[0].clone()),
        Value::Int(value) => Ok(Value::Double(*value as f64)),
        Value::Uint(value) => Ok(Value::Double(*value as f64)),
        Value::String(text) => text.parse().map(Value::Double).map_err(|_| unconvertible(&args[0], "double")),
        _ => Err(Fault::no_overload()),
    }
}

fn to_duration<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    match &args[0] {
        Value::Duration(_) => Ok(args[0].clone()),
        Value::Int(nanos) => Ok(Value::Duration(*nanos)),
        Value::String(text) => {
            let nanos = format::parse_duration(text);
            nanos.map(Value::Duration).ok_or_else(|| unconvertible(&args[0], "google.protobuf.Duration"))
        }
        _ => Err(Fault::no_overload()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
fn to_int<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    let overflow = || Fault::new("integer overflow");
    match &args[0] {
        Value::Int(_) => Ok(args[0].clone()),
        Value::Uint(value) => i64::try_from(*value).map(Value::Int).map_err(|_| overflow()),
        Value::Double(value) if value.abs() < 9_223_372_036_854_775_807.0 => Ok(Value::Int(*value as i64)),
        Value::Double(_) => Err(overflow()),
        Value::Duration(nanos) => Ok(Value::Int(*nanos)),
        Value::Timestamp(time) => Ok(Value::Int(time.as_second())),
        Value::String(text) => text.parse().map(Value::Int).map_err(|_| unconvertible(&args[0], "int")),
        _ => Err(Fault::no_overload()),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
fn to_uint<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    let overflow = || Fault::new("unsigned integer overflow");
    match &args[0] {
        Value::Uint(_) => Ok(args[0].clone()),
        Value::Int(value) => u64::try_from(*value).map(Value::Uint).map_err(|_| overflow()),
        Value::Double(value) if *value >= 0.0 && *value < 18_446_744_073_709_551_615.0 => {
            Ok(Value::Uint(*value as u64))
        }
        Value::Double(_) => Err(overflow()),
        Value::String(text) => text.parse().map(Value::Uint).map_err(|_| unconvertible(&args[0], "uint")),
        _ => Err(Fault::no_overload()),
    }
}

fn to_string<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let text = match &args[0] {
        Value::String(_) => return Ok(args[0].clone()),
        Value::Bool(value) => value.to_string(),
        Value::Bytes(bytes) => {
            let text = String::from_utf8(bytes.to_vec());
            text.map_err(|_| Fault::new("invalid UTF-8 in bytes, cannot convert to string"))?
        }
        Value::Double(value) => format::double(*value),
        Value::Duration(nanos) => format::duration(*nanos),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Timestamp(time) => time.to_string(),
        Value::Foreign(foreign) if matches!(foreign.type_name(), "net.IP" | "net.CIDR") => foreign.to_string(),
        _ => return Err(Fault::no_overload()),
    };
    context.allocate(text.len())?;
    Ok(Value::text(text))
}

fn to_timestamp<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    match &args[0] {
        Value::Timestamp(_) => Ok(args[0].clone()),
        Value::Int(secs) => jiff::Timestamp::from_second(*secs)
            .ok()
            .filter(|time| (-62_135_596_800..=253_402_300_799).contains(&time.as_second()))
            .map(Value::Timestamp)
            .ok_or_else(|| Fault::new("timestamp overflow")),
        Value::String(text) => {
            let time = format::parse_time(text).map(Value::Timestamp);
            time.ok_or_else(|| unconvertible(&args[0], "google.protobuf.Timestamp"))
        }
        _ => Err(Fault::no_overload()),
    }
}
