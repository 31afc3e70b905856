//! Options in a request's query, parsed once: what a read asks for, and how a write is to be done.

use crate::path::decode;
use api::selector::{FieldSelector, LabelSelector, Selector};
use api::{Cause, Error, Object, Result, Revision};
use http::{HeaderMap, header};
use std::time::Duration;
use store::Version;

/// The decoded query of a request, in order.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes `a=b&c=d`, with `+` as a space. What is malformed is not there, as in Go.
    pub fn parse(raw: Option<&str>) -> Query {
        let pairs = raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        let text = |part: &str| decode(&part.replace('+', " "));
        let pairs = pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((text(name)?, text(value)?))
        });
        Query(pairs.collect())
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Absent, empty, `false` and `0` are false, as Go's conversion of query parameters has it.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(is_true)
    }

    /// A time limit must be a duration. It is not needed: what is not a watch has a limit of its own.
    pub fn check_timeout(&self) -> Result<()> {
        match self.get("timeout").filter(|text| !text.is_empty() && cel::parse_duration(text).is_none()) {
            None => Ok(()),
            Some(text) => Err(Error::bad_request(format!(
                "invalid timeout specified in the request URL - time: invalid duration {text:?}"
            ))),
        }
    }

    fn number(&self, name: &str) -> Result<Option<i64>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        let bad = |_| Error::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"));
        text.parse().map(Some).map_err(bad)
    }
}

fn is_true(text: &str) -> bool {
    !matches!(text.to_ascii_lowercase().as_str(), "false" | "0")
}

/// How a given resourceVersion is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    Exact,
    NotOlderThan,
}

/// The options of a list or a watch.
#[derive(Clone, Debug)]
pub struct ListOptions {
    pub selector: Selector,
    /// 0 for no limit.
    pub limit: usize,
    pub continue_token: String,
    /// `None` when not given; 0 stands for "any".
    pub resource_version: Option<Version>,
    pub version_match: Option<VersionMatch>,
    pub timeout: Option<Duration>,
    pub bookmarks: bool,
    pub send_initial_events: Option<bool>,
    /// Of tenants only those with this text in their name or the value of a label. Empty for all.
    pub search: String,
}

impl ListOptions {
    /// Whether a list covers an object.
    pub fn covers(&self, object: &Object) -> bool {
        self.selector.matches(object)
            && (self.search.is_empty()
                || object.key.name.contains(&self.search)
                || object.header.labels().any(|(_, value)| value.contains(&self.search)))
    }

    /// Reads and validates the options: 400 for what cannot be parsed, 422 for combinations that mean nothing.
    pub fn parse(query: &Query, watch: bool) -> Result<ListOptions> {
        let labels = LabelSelector::parse(query.get("labelSelector").unwrap_or_default())?;
        let fields = FieldSelector::parse(query.get("fieldSelector").unwrap_or_default())?;
        let causes = combination_causes(query, watch);
        if !causes.is_empty() {
            return Err(Error::invalid("meta.k8s.io", "ListOptions", "", causes));
        }
        let version_text = query.get("resourceVersion").unwrap_or_default();
        let resource_version = match Version::parse_each(version_text) {
            Some(each) => Some(each),
            None => parse_version(version_text)?.map(Version::At),
        };
        let continue_token = query.get("continue").unwrap_or_default().to_owned();
        if !watch && !continue_token.is_empty() && resource_version.as_ref().is_some_and(|v| v.newest() != 0) {
            return Err(Error::bad_request("specifying resource version is not allowed when using continue"));
        }
        Ok(ListOptions {
            selector: Selector { labels, fields },
            limit: query.number("limit")?.map_or(0, |limit| usize::try_from(limit).unwrap_or(0)),
            continue_token,
            resource_version,
            version_match: match query.get("resourceVersionMatch").unwrap_or_default() {
                "Exact" => Some(VersionMatch::Exact),
                "NotOlderThan" => Some(VersionMatch::NotOlderThan),
                _ => None,
            },
            timeout: query
                .number("timeoutSeconds")?
                .and_then(|secs| u64::try_from(secs).ok())
                .filter(|&secs| secs > 0)
                .map(Duration::from_secs),
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query.get("sendInitialEvents").map(is_true),
            search: String::new(),
        })
    }
}

/// Reads a resourceVersion: `None` for empty. 400 for what is no version.
pub fn parse_version(text: &str) -> Result<Option<Revision>> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad =
        || Error::bad_request(format!("Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"));
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    text.parse().map(Some).map_err(|_| bad())
}

/// The truth table of upstream's `ValidateListOptions`.
fn combination_causes(query: &Query, watch: bool) -> Vec<Cause> {
    let version = query.get("resourceVersion").unwrap_or_default();
    let matching = query.get("resourceVersionMatch").unwrap_or_default();
    let initial_events = query.get("sendInitialEvents").is_some();
    let forbidden = |field: &str, why: &str| Cause {
        reason: "FieldValueForbidden".into(),
        message: format!("Forbidden: {why}"),
        field: field.into(),
    };
    let unsupported = |supported: &str| Cause {
        reason: "FieldValueNotSupported".into(),
        message: format!("Unsupported value: {matching:?}: supported values: {supported}"),
        field: "resourceVersionMatch".into(),
    };
    let mut causes = Vec::new();
    if watch && query.get("continue").is_some_and(|token| !token.is_empty()) {
        causes.push(forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"));
    }
    if watch {
        if initial_events && matching != "NotOlderThan" {
            causes.push(forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if !matching.is_empty() {
            if !initial_events {
                causes.push(forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            if matching != "NotOlderThan" {
                causes.push(unsupported("\"NotOlderThan\""));
            }
        }
        return causes;
    }
    if !matching.is_empty() {
        if version.is_empty() {
            causes.push(forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if query.get("continue").is_some_and(|token| !token.is_empty()) {
            causes
                .push(forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            causes.push(unsupported("\"Exact\", \"NotOlderThan\", \"\""));
        } else if matching == "Exact" && version == "0" {
            causes.push(forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    if initial_events {
        causes.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    causes
}

/// Which write options are read: their names appear in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteVerb {
    Create,
    Update,
    Patch,
    Apply,
}

/// The options of a create, update or patch.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub validation: schema::FieldValidation,
    /// Who is said to have written the fields that are written.
    pub manager: String,
    /// The manager and the validation that the client named, as it named them.
    pub named: (String, String),
    /// Whether an apply takes fields from other managers.
    pub force: bool,
    /// Whether what is absent is created, whatever the kind says.
    pub creates: bool,
}

/// What a manager's name may weigh.
const MANAGER_BYTES_MAX: usize = 128;

impl WriteOptions {
    /// Reads and validates the options. Without a manager's name, the client's program is the manager.
    pub fn parse(query: &Query, headers: &HeaderMap, verb: WriteVerb) -> Result<WriteOptions> {
        let mut causes = Vec::new();
        let mut fault = |reason: &str, field: &str, message: String| {
            causes.push(Cause { reason: reason.into(), message, field: field.into() });
        };
        let manager = query.get("fieldManager").unwrap_or_default();
        match verb {
            WriteVerb::Apply if manager.is_empty() => {
                fault("FieldValueRequired", "fieldManager", "Required value: is required for apply patch".into());
            }
            WriteVerb::Patch if query.get("force").is_some() => {
                let why = "Forbidden: may not be specified for non-apply patch";
                fault("FieldValueForbidden", "force", why.into());
            }
            _ => {}
        }
        if manager.len() > MANAGER_BYTES_MAX {
            let why = format!("Too long: may not be more than {MANAGER_BYTES_MAX} bytes");
            fault("FieldValueTooLong", "fieldManager", why);
        }
        if manager.chars().any(char::is_control) {
            let why = format!("Invalid value: {manager:?}: should only contain printable characters");
            fault("FieldValueInvalid", "fieldManager", why);
        }
        let dry_run = dry_run(query.all("dryRun")).map_err(|cause| causes.push(cause));
        let validation = schema::FieldValidation::parse(query.get("fieldValidation").unwrap_or_default())
            .map_err(|cause| causes.push(cause));
        let (Ok(dry_run), Ok(validation), []) = (dry_run, validation, causes.as_slice()) else {
            let kind = match verb {
                WriteVerb::Create => "CreateOptions",
                WriteVerb::Update => "UpdateOptions",
                WriteVerb::Patch | WriteVerb::Apply => "PatchOptions",
            };
            return Err(Error::invalid("meta.k8s.io", kind, "", causes));
        };
        let named = (manager.to_owned(), query.get("fieldValidation").unwrap_or_default().to_owned());
        let manager = if manager.is_empty() { program(headers) } else { manager.to_owned() };
        let applies = verb == WriteVerb::Apply;
        Ok(WriteOptions {
            dry_run,
            validation,
            manager,
            named,
            force: applies && query.flag("force"),
            creates: applies,
        })
    }
}

/// The name of the client's program: its user agent up to the version.
fn program(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let name = agent.split('/').next().unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(MANAGER_BYTES_MAX).collect()
}

/// `All` is the only dry run there is.
pub fn dry_run<'a>(values: impl Iterator<Item = &'a str>) -> Result<bool, Cause> {
    let values: Vec<&str> = values.collect();
    if values.iter().all(|value| *value == "All") {
        return Ok(!values.is_empty());
    }
    Err(Cause {
        reason: "FieldValueNotSupported".into(),
        message: format!("Unsupported value: {}: supported values: \"All\"", serde_json::json!(values)),
        field: "dryRun".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(query: &str) -> Result<ListOptions> {
        ListOptions::parse(&Query::parse(Some(query)), false)
    }

    #[test]
    fn combinations_that_mean_nothing_are_refused() {
        let cases = [
            ("resourceVersionMatch=Exact", 422),
            ("resourceVersion=0&resourceVersionMatch=Exact", 422),
            ("resourceVersion=5&resourceVersionMatch=Exact&continue=x", 422),
            ("sendInitialEvents=true", 422),
            ("resourceVersion=5&continue=x", 400),
            ("resourceVersion=abc", 400),
            ("labelSelector=a=b,,", 400),
            ("limit=x", 400),
        ];
        for (query, code) in cases {
            assert_eq!(list(query).expect_err(query).code(), code, "{query}");
        }
    }

    #[test]
    fn a_list_reads_its_options() {
        let options =
            list("limit=3&labelSelector=a%3Db&resourceVersion=7&resourceVersionMatch=NotOlderThan").expect("options");
        assert_eq!((options.limit, options.resource_version), (3, Some(Version::At(7))));
        assert_eq!(options.version_match, Some(VersionMatch::NotOlderThan));
        assert_eq!(options.selector.labels.requirements[0].key, "a");
    }

    #[test]
    fn a_watch_with_initial_events_needs_a_match() {
        let watch = |query: &str| ListOptions::parse(&Query::parse(Some(query)), true);
        assert!(watch("sendInitialEvents=true").is_err());
        assert!(watch("resourceVersionMatch=NotOlderThan").is_err());
        assert!(watch("sendInitialEvents=true&resourceVersionMatch=NotOlderThan").is_ok());
    }
}
