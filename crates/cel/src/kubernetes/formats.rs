//! Named formats: rules for texts, and upstream's words for what breaks them.

use super::url::Url;
use base64::Engine;

pub(crate) const NAMES: [&str; 13] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
     and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
     and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
     alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
     alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
     and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
     validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// What is wrong with a text; nothing if it has the format.
pub(crate) fn problems(format: &str, text: &str) -> Vec<String> {
    // A prefix may end with a dash: something will follow.
    let masked = || match text.strip_suffix('-') {
        Some(rest) if text.len() > 1 => format!("{rest}a"),
        _ => text.to_owned(),
    };
    match format {
        "dns1123Label" => label(text, LABEL, false),
        "dns1123LabelPrefix" => label(&masked(), LABEL, false),
        "dns1035Label" => label(text, LABEL_1035, true),
        "dns1035LabelPrefix" => label(&masked(), LABEL_1035, true),
        "dns1123Subdomain" => subdomain(text),
        "dns1123SubdomainPrefix" => subdomain(&masked()),
        "qualifiedName" => qualified_name(text),
        "labelValue" => {
            let mut found = longer_than(text, 63);
            if !text.is_empty() && !is_qualified(text) {
                found.push(LABEL_VALUE.to_owned());
            }
            found
        }
        "uri" => Url::parse(text).err().into_iter().collect(),
        "uuid" => one(is_uuid(text), "does not match the UUID format"),
        "byte" => one(base64::engine::general_purpose::STANDARD.decode(text).is_ok(), "invalid base64"),
        "date" => one(is_date(text), "invalid date"),
        _ => one(crate::format::parse_time(text).is_some(), "invalid datetime"),
    }
}

fn one(good: bool, why: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![why.to_owned()] }
}

fn longer_than(text: &str, most: usize) -> Vec<String> {
    one(text.len() <= most, &format!("must be no more than {most} characters"))
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

fn label(text: &str, why: &str, alphabetic: bool) -> Vec<String> {
    let mut found = longer_than(text, 63);
    let starts = !alphabetic || text.starts_with(|c: char| c.is_ascii_lowercase());
    found.extend(one(is_label(text) && starts, why));
    found
}

fn subdomain(text: &str) -> Vec<String> {
    let mut found = longer_than(text, 253);
    found.extend(one(text.split('.').all(is_label), SUBDOMAIN));
    found
}

fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn qualified_name(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let name = match text.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                found.push("prefix part must be non-empty".to_owned());
            } else {
                found.extend(subdomain(prefix).into_iter().map(|why| format!("prefix part {why}")));
            }
            name
        }
        _ => {
            let tail = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {QUALIFIED} {tail}")];
        }
    };
    if name.is_empty() {
        found.push("name part must be non-empty".to_owned());
    } else {
        found.extend(longer_than(name, 63).into_iter().map(|why| format!("name part {why}")));
    }
    found.extend(one(is_qualified(name), &format!("name part {QUALIFIED}")));
    found
}

fn is_uuid(text: &str) -> bool {
    let compact = text.replace('-', "");
    let dashed = text.len() == 32 || (text.len() == 36 && [8, 13, 18, 23].iter().all(|i| text.as_bytes()[*i] == b'-'));
    dashed && compact.len() == 32 && compact.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}
