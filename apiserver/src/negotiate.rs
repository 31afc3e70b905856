//! What a client accepts and how an answer is written: JSON, YAML or protobuf, as the object, a Table, or its metadata alone.
//!
//! Two questions are asked as upstream asks them: whether the route has any of the media types at all, by name alone, and
//! which of the ranges can be served with all its parameters, best quality first.

use api::{Error, Kind, Reason, Result};

/// The shape of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Object,
    Table,
    PartialMetadata,
    PartialMetadataList,
}

/// The encoding of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    /// For people: indented.
    PrettyJson,
    Yaml,
    Protobuf,
}

impl Encoding {
    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Json | Encoding::PrettyJson => JSON,
            Encoding::Yaml => YAML,
            Encoding::Protobuf => PROTOBUF,
        }
    }

    /// Of a stream of events.
    pub fn stream_type(self) -> &'static str {
        match self {
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            Encoding::Json | Encoding::PrettyJson | Encoding::Yaml => self.content_type(),
        }
    }

    fn of(media: &str) -> Option<Encoding> {
        match media {
            JSON => Some(Encoding::Json),
            YAML => Some(Encoding::Yaml),
            PROTOBUF => Some(Encoding::Protobuf),
            _ => None,
        }
    }
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What a request says about its answer, taken from it before its body is read.
#[derive(Clone, Debug, Default)]
pub struct Accepting {
    /// The Accept header; empty when there is none.
    pub accept: String,
    /// Whether JSON is to be indented, as the query says or because a person's tool asks.
    pub pretty: bool,
}

impl Accepting {
    pub fn of(head: &http::request::Parts) -> Accepting {
        let text = |name| crate::handler::header_text(&head.headers, &name).unwrap_or_default();
        Accepting {
            accept: text(http::header::ACCEPT).to_owned(),
            pretty: is_pretty(head.uri.query().unwrap_or_default(), text(http::header::USER_AGENT)),
        }
    }

    /// How a Status is written: as accepted where that can be, and as indented JSON otherwise.
    pub fn for_status(&self) -> Encoding {
        negotiate(&self.accept, self.pretty, Offer::DOCUMENT).map_or(Encoding::PrettyJson, |accepted| accepted.encoding)
    }

    /// What an answer without other forms is written as. 406 when it can be none of what is accepted.
    pub fn document(&self) -> Result<Encoding> {
        self.routed(false)?;
        let accepted = negotiate(&self.accept, self.pretty, Offer::DOCUMENT);
        accepted.map(|accepted| accepted.encoding).ok_or_else(|| not_acceptable(ALL))
    }

    /// What the answer to a request for objects is written as. 406 when it can be none of what is accepted.
    pub fn objects(&self, kind: &Kind, verb: &str) -> Result<Accepted> {
        if self.accept.is_empty() && !self.pretty {
            return Ok(Accepted::JSON);
        }
        self.routed(matches!(verb, "list" | "watch"))?;
        let protobuf = schema::protobuf::knows(schema::builtin(), &kind.group, &kind.version, &kind.kind);
        let offer = Offer { objects: true, protobuf };
        let accepted = negotiate(&self.accept, self.pretty, offer);
        let accepted = accepted.ok_or_else(|| not_acceptable(offer.media_types()))?;
        if verb == "watch" && accepted.encoding == Encoding::Yaml {
            return Err(not_acceptable(STREAMS));
        }
        Ok(accepted)
    }

    /// Whether the route produces any of the accepted media types, parameters aside.
    fn routed(&self, streams: bool) -> Result<()> {
        let accept = self.accept.trim();
        let named = |range: &str| matches!(media(range), "*/*" | JSON | YAML | PROTOBUF);
        if accept.is_empty() || accept.split(',').any(named) {
            return Ok(());
        }
        let more = if streams { format!(", {STREAMS}") } else { String::new() };
        let text = format!("406: Not Acceptable\n\nAvailable representations: {ALL}{more}");
        Err(Error::new(Reason::NotAcceptable, text).with_details())
    }
}

const ALL: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const STREAMS: &str = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

fn not_acceptable(media_types: &str) -> Error {
    let text = format!("only the following media types are accepted: {media_types}");
    Error::new(Reason::NotAcceptable, text)
}

fn media(range: &str) -> &str {
    range.split(';').next().unwrap_or_default().trim()
}

/// What a route can answer.
#[derive(Clone, Copy)]
struct Offer {
    /// Tables, metadata alone and streams.
    objects: bool,
    /// Whether there is a protobuf encoding.
    protobuf: bool,
}

impl Offer {
    const DOCUMENT: Offer = Offer { objects: false, protobuf: true };

    fn media_types(self) -> &'static str {
        if self.protobuf { ALL } else { "application/json, application/yaml" }
    }
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub form: Form,
    pub encoding: Encoding,
    /// Whether the form is of `meta.k8s.io/v1beta1` instead of v1.
    pub beta: bool,
}

impl Accepted {
    pub const JSON: Accepted = Accepted { form: Form::Object, encoding: Encoding::Json, beta: false };

    /// The version of the form's type.
    pub fn meta_version(self) -> &'static str {
        if self.beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
    }
}

/// The first of the client's ranges that can be served, by quality.
fn negotiate(accept: &str, pretty: bool, offer: Offer) -> Option<Accepted> {
    let accept = accept.trim();
    let plain = Range { media: "*/*", params: Vec::new(), quality_millis: 1000 };
    let mut ranges: Vec<Range> =
        if accept.is_empty() { vec![plain] } else { accept.split(',').map(Range::parse).collect() };
    ranges.sort_by_key(|range| (std::cmp::Reverse(range.quality_millis), range.wildcards()));
    let accepted = ranges.iter().find_map(|range| range.accepted(offer))?;
    let pretty = pretty && accepted.encoding == Encoding::Json;
    Some(if pretty { Accepted { encoding: Encoding::PrettyJson, ..accepted } } else { accepted })
}

/// The query's `pretty`, or what people use at a terminal and in a browser.
fn is_pretty(query: &str, user_agent: &str) -> bool {
    let given = query.split('&').find_map(|pair| pair.strip_prefix("pretty=")).filter(|value| !value.is_empty());
    match given {
        Some(value) => matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
        None => ["curl", "Wget", "Mozilla/5.0"].iter().any(|tool| user_agent.starts_with(tool)),
    }
}

/// Whether an Accept header asks for aggregated discovery first, and in which encoding:
/// `g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList`.
pub fn aggregated_discovery(accepting: &Accepting) -> Option<Encoding> {
    let mut ranges: Vec<Range> = accepting.accept.split(',').map(Range::parse).collect();
    ranges.sort_by_key(|range| (std::cmp::Reverse(range.quality_millis), range.wildcards()));
    let first = ranges.iter().find(|range| range.param("as").is_none() || range.is_aggregated_discovery())?;
    let encoding = Encoding::of(first.media).filter(|_| first.is_aggregated_discovery())?;
    Some(if accepting.pretty && encoding == Encoding::Json { Encoding::PrettyJson } else { encoding })
}

/// One media range of an Accept header.
struct Range<'a> {
    media: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality_millis: u32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Range<'a> {
        let params = text.split(';').skip(1).filter_map(|p| p.split_once('='));
        let params: Vec<_> = params.map(|(name, value)| (name.trim(), value.trim())).collect();
        let quality = params.iter().find(|(n, _)| *n == "q").and_then(|(_, q)| q.parse::<f64>().ok()).unwrap_or(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000")]
        let quality_millis = (quality.clamp(0.0, 1.0) * 1000.0) as u32;
        Range { media: media(text), params, quality_millis }
    }

    fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }

    /// Ranges without come first.
    fn wildcards(&self) -> usize {
        self.media.matches('*').count()
    }

    fn is_aggregated_discovery(&self) -> bool {
        self.param("as") == Some("APIGroupDiscoveryList")
            && self.param("g") == Some("apidiscovery.k8s.io")
            && self.param("v") == Some("v2")
    }

    /// `None` when this range cannot be served.
    fn accepted(&self, offer: Offer) -> Option<Accepted> {
        let encoding = match self.media {
            "*/*" | "application/*" => Encoding::Json,
            media => Encoding::of(media)?,
        };
        if self.param("stream").is_some_and(|stream| stream != "watch" || !offer.objects) {
            return None;
        }
        let (group, version) = (self.param("g"), self.param("v"));
        let meta = group == Some("meta.k8s.io") && matches!(version, Some("v1" | "v1beta1"));
        let protobuf = encoding == Encoding::Protobuf;
        let form = match self.param("as") {
            None if group.is_some() || version.is_some() => return None,
            None if protobuf && !offer.protobuf => return None,
            None => Form::Object,
            Some(_) if !meta || !offer.objects => return None,
            Some("Table") if !protobuf => Form::Table,
            Some("PartialObjectMetadata") => Form::PartialMetadata,
            Some("PartialObjectMetadataList") => Form::PartialMetadataList,
            Some(_) => return None,
        };
        let pretty = encoding == Encoding::Json && self.param("pretty") == Some("1");
        let encoding = if pretty { Encoding::PrettyJson } else { encoding };
        Some(Accepted { form, encoding, beta: form != Form::Object && version == Some("v1beta1") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(accept: &str) -> Accepting {
        Accepting { accept: accept.to_owned(), pretty: false }
    }

    fn pods() -> &'static Kind {
        kinds::registry().find("", "v1", "pods").expect("pods")
    }

    #[track_caller]
    fn check(header: &str, form: Form, encoding: Encoding) {
        let accepted = accepting(header).objects(pods(), "get").expect(header);
        assert_eq!((accepted.form, accepted.encoding), (form, encoding), "{header}");
    }

    #[track_caller]
    fn check_refused(header: &str, verb: &str, message: &str) {
        let error = accepting(header).objects(pods(), verb).expect_err(header);
        assert_eq!((error.code(), error.message()), (406, message), "{header}");
    }

    #[test]
    fn the_best_servable_range_wins() {
        check("", Form::Object, Encoding::Json);
        check("*/*", Form::Object, Encoding::Json);
        check("application/vnd.kubernetes.protobuf, application/json", Form::Object, Encoding::Protobuf);
        check("application/yaml;q=0.5, application/json;q=0.9", Form::Object, Encoding::Json);
        check("*/*, application/yaml", Form::Object, Encoding::Yaml);
        check("application/json;q=0", Form::Object, Encoding::Json);
        check("application/json;pretty=1", Form::Object, Encoding::PrettyJson);
        check("application/json;stream=watch", Form::Object, Encoding::Json);
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Form::Table, Encoding::Json);
        check("application/json;as=Fable;v=v1;g=meta.k8s.io, application/yaml", Form::Object, Encoding::Yaml);
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        check(partial, Form::PartialMetadata, Encoding::Protobuf);
        let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json";
        check(table, Form::Object, Encoding::Json);
        let beta =
            accepting("application/json;as=Table;v=v1beta1;g=meta.k8s.io").objects(pods(), "get").expect("a table");
        assert_eq!(beta.meta_version(), "meta.k8s.io/v1beta1");
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_what_can() {
        let available = format!("406: Not Acceptable\n\nAvailable representations: {ALL}");
        check_refused("text/html", "get", &available);
        check_refused("application/*", "get", &available);
        check_refused("text/html", "list", &format!("{available}, {STREAMS}"));
        let only = format!("only the following media types are accepted: {ALL}");
        check_refused("application/json;as=Table;v=v1;g=nope", "list", &only);
        check_refused("application/yaml", "watch", &format!("only the following media types are accepted: {STREAMS}"));
        assert_eq!(accepting("text/html").for_status(), Encoding::PrettyJson);
        assert_eq!(
            accepting("application/json;as=Table;v=v1;g=meta.k8s.io,application/json").for_status(),
            Encoding::Json
        );
    }

    #[test]
    fn kinds_without_a_protobuf_encoding_are_answered_in_another() {
        let custom = Kind { kind: "Thing".into(), group: "example.com".into(), ..pods().clone() };
        let both = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(accepting(both).objects(&custom, "get").expect("JSON"), Accepted::JSON);
        assert!(accepting("application/vnd.kubernetes.protobuf").objects(&custom, "get").is_err());
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        assert!(accepting(partial).objects(&custom, "get").is_ok());
    }

    #[test]
    fn aggregated_discovery_is_asked_for_by_name() {
        let header = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert_eq!(aggregated_discovery(&accepting(header)), Some(Encoding::Json));
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        assert_eq!(aggregated_discovery(&accepting(beta)), None);
        assert!(accepting(beta).document().is_err());
        assert_eq!(aggregated_discovery(&accepting(&format!("{beta},{header}"))), Some(Encoding::Json));
        assert_eq!(aggregated_discovery(&accepting("application/json")), None);
    }

    #[test]
    fn people_get_indented_json() {
        assert!(is_pretty("", "curl/8.1") && is_pretty("a=b&pretty=true", "") && is_pretty("pretty=1", "x"));
        assert!(!is_pretty("pretty=false", "curl/8.1") && !is_pretty("", "kubectl/v1.32"));
    }
}
