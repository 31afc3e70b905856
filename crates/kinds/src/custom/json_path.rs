//! The part of JSONPath that columns of tables use, as kubectl's and the server's templates have it: `.spec.list[0].name`,
//! `[*]`, `['quoted']`, slices, `..name`, and filters `[?(@.type=="Ready")]`.

use serde_json::Value;

/// A path, parsed.
#[derive(Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, PartialEq)]
enum Step {
    Field(String),
    /// Every item or field.
    Each,
    /// Everything below, the value itself too.
    Descend,
    Index(i64),
    Slice(Option<i64>, Option<i64>, usize),
    Filter(Filter),
}

#[derive(Debug, PartialEq)]
struct Filter {
    left: Operand,
    /// Nothing asks whether the left side is there.
    compare: Option<(Comparison, Operand)>,
}

#[derive(Debug, PartialEq)]
enum Operand {
    Path(JsonPath),
    Constant(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// How many values one step may come to.
const VALUES_MAX: usize = 10_000;

impl JsonPath {
    /// Parses a path that starts with a dot; `None` for what is none.
    pub fn parse(text: &str) -> Option<JsonPath> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                steps.push(Step::Descend);
                rest = after;
                if !rest.starts_with('[') {
                    let (name, after) = name(rest)?;
                    steps.push(named(name));
                    rest = after;
                }
            } else if let Some(after) = rest.strip_prefix('.') {
                if after.starts_with('[') || after.is_empty() {
                    rest = after;
                    continue;
                }
                let (name, after) = name(after)?;
                steps.push(named(name));
                rest = after;
            } else {
                let inner = rest.strip_prefix('[')?;
                let end = bracket_end(inner)?;
                steps.push(bracket(inner[..end].trim())?);
                rest = &inner[end + 1..];
            }
        }
        Some(JsonPath(steps))
    }

    /// The first value that the path leads to.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.find(value).into_iter().next()
    }

    fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut values = vec![value];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in values {
                step.take(value, &mut next);
                if next.len() > VALUES_MAX {
                    break;
                }
            }
            values = next;
        }
        values
    }
}

impl Step {
    fn take<'a>(&self, value: &'a Value, into: &mut Vec<&'a Value>) {
        match (self, value) {
            (Step::Field(name), Value::Object(map)) => into.extend(map.get(name)),
            (Step::Each, Value::Array(items)) => into.extend(items),
            (Step::Each, Value::Object(map)) => into.extend(map.values()),
            (Step::Descend, value) => descend(value, into),
            (Step::Index(index), Value::Array(items)) => into.extend(position(*index, items.len()).map(|i| &items[i])),
            (Step::Slice(from, to, every), Value::Array(items)) => {
                let bound = |at: Option<i64>, none: usize| match at {
                    None => none,
                    Some(at) => position(at, items.len()).unwrap_or(if at < 0 { 0 } else { items.len() }),
                };
                let (from, to) = (bound(*from, 0), bound(*to, items.len()));
                into.extend(items.get(from..to).into_iter().flatten().step_by(*every));
            }
            (Step::Filter(filter), Value::Array(items)) => into.extend(items.iter().filter(|item| filter.holds(item))),
            (Step::Field(_) | Step::Each | Step::Index(_) | Step::Slice(..) | Step::Filter(_), _) => {}
        }
    }
}

fn descend<'a>(value: &'a Value, into: &mut Vec<&'a Value>) {
    if into.len() > VALUES_MAX {
        return;
    }
    into.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| descend(item, into)),
        Value::Object(map) => map.values().for_each(|value| descend(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        let of = |operand: &Operand| match operand {
            Operand::Path(path) => path.first(item).cloned(),
            Operand::Constant(constant) => Some(constant.clone()),
        };
        let Some(left) = of(&self.left) else { return false };
        let Some((comparison, right)) = &self.compare else { return true };
        let Some(right) = of(right) else { return false };
        let order = match (&left, &right) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            _ => None,
        };
        match comparison {
            Comparison::Equal => left == right || order.is_some_and(std::cmp::Ordering::is_eq),
            Comparison::NotEqual => left != right && !order.is_some_and(std::cmp::Ordering::is_eq),
            Comparison::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Comparison::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
            Comparison::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
            Comparison::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let at = if index < 0 { index + length } else { index };
    usize::try_from(at).ok().filter(|_| at < length)
}

fn named(name: String) -> Step {
    if name == "*" { Step::Each } else { Step::Field(name) }
}

/// A name, with escaped dots, and what follows.
fn name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next()?.1),
            '.' | '[' => {
                end = at;
                break;
            }
            ' ' | '{' | '}' | ']' => return None,
            c => name.push(c),
        }
    }
    (!name.is_empty()).then(|| (name, &text[end..]))
}

/// Where the bracket that is open ends.
fn bracket_end(text: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0);
    for (at, c) in text.char_indices() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (_, Some(_)) => {}
            ('\'' | '"', None) => quote = Some(c),
            ('[', None) => depth += 1,
            (']', None) if depth == 0 => return Some(at),
            (']', None) => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::Each);
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return filter_of(filter.trim()).map(Step::Filter);
    }
    if let Some(quoted) = unquoted(text) {
        return Some(Step::Field(quoted));
    }
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        digits => digits.parse::<i64>().ok().map(Some),
    };
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [index] => Some(Step::Index(number(index)??)),
        [from, to] => Some(Step::Slice(number(from)?, number(to)?, 1)),
        [from, to, every] => {
            let every = number(every)?.unwrap_or(1);
            Some(Step::Slice(number(from)?, number(to)?, usize::try_from(every).ok().filter(|n| *n > 0)?))
        }
        _ => None,
    }
}

fn unquoted(text: &str) -> Option<String> {
    let inner = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('\'').or_else(|| inner('"')).map(str::to_owned)
}

fn filter_of(text: &str) -> Option<Filter> {
    const SIGNS: [(&str, Comparison); 6] = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    for (sign, comparison) in SIGNS {
        if let Some((left, right)) = text.split_once(sign) {
            return Some(Filter { left: operand(left.trim())?, compare: Some((comparison, operand(right.trim())?)) });
        }
    }
    Some(Filter { left: operand(text)?, compare: None })
}

fn operand(text: &str) -> Option<Operand> {
    if let Some(path) = text.strip_prefix('@') {
        return JsonPath::parse(path).map(Operand::Path);
    }
    if let Some(quoted) = unquoted(text) {
        return Some(Operand::Constant(quoted.into()));
    }
    match text {
        "true" | "false" => Some(Operand::Constant((text == "true").into())),
        _ => serde_json::from_str(text).ok().filter(Value::is_number).map(Operand::Constant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_their_first_value() {
        let object = json!({
            "spec": {"a": "x", "l": [{"name": "x", "n": 1}, {"name": "y", "n": 2}], "o.p": 3},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        for (path, expected) in [
            (".spec.a", json!("x")),
            (".spec.l[1].name", json!("y")),
            (".spec.l[-1].n", json!(2)),
            (".spec.l[*].name", json!("x")),
            (".spec.l[1:].name", json!("y")),
            (".spec['o.p']", json!(3)),
            (r".spec.o\.p", json!(3)),
            (".status.conditions[?(@.type==\"Ready\")].status", json!("True")),
            (".status.conditions[?(@.type=='Other')].status", Value::Null),
            (".spec.l[?(@.n > 1)].name", json!("y")),
            ("..type", json!("Ready")),
            (".spec.none.at.all", Value::Null),
        ] {
            let parsed = JsonPath::parse(path).expect(path);
            assert_eq!(parsed.first(&object).cloned().unwrap_or_default(), expected, "{path}");
        }
        assert_eq!(JsonPath::parse(".spec["), None);
        assert_eq!(JsonPath::parse(".spec[x]"), None);
    }

    #[test]
    fn damaged_paths_are_read_or_refused() {
        let value = serde_json::json!({"spec": {"a.b": [{"type": "x", "v": 1}]}});
        fuzz::fuzz(&[".spec.a\\.b[?(@.type==\"x\")].v", "{.spec['a.b'][0:1].v}", "..*"], |bytes| {
            if let Some(path) = JsonPath::parse(&String::from_utf8_lossy(bytes)) {
                let _ = path.first(&value);
            }
        });
    }
}
