//! What a client accepts and how an answer is written: JSON or YAML, as the object, a Table, or its metadata alone.

use api::{Error, Reason, Result};

/// The shape of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Object,
    Table,
    PartialMetadata,
}

/// The encoding of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Yaml,
}

impl Encoding {
    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
        }
    }
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub form: Form,
    pub encoding: Encoding,
}

impl Accepted {
    pub const JSON: Accepted = Accepted { form: Form::Object, encoding: Encoding::Json };

    /// The first of the client's media ranges that can be served, by quality. 406 when there is none.
    pub fn parse(header: Option<&str>) -> Result<Accepted> {
        let header = header.unwrap_or_default().trim();
        if header.is_empty() {
            return Ok(Accepted::JSON);
        }
        let mut ranges: Vec<Range> = header.split(',').map(Range::parse).collect();
        ranges.sort_by_key(|range| std::cmp::Reverse(range.quality_millis));
        ranges.iter().find_map(Range::accepted).ok_or_else(not_acceptable)
    }
}

fn not_acceptable() -> Error {
    Error::new(Reason::NotAcceptable, "only the following media types are accepted: application/json, application/yaml")
        .with_details()
}

/// Whether an Accept header asks for aggregated discovery, `g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList`.
pub fn wants_aggregated_discovery(header: Option<&str>) -> bool {
    header.unwrap_or_default().split(',').map(Range::parse).any(|range| {
        let param = |name| range.params.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        range.media == "application/json"
            && param("as") == Some("APIGroupDiscoveryList")
            && param("g") == Some("apidiscovery.k8s.io")
            && param("v") == Some("v2")
    })
}

/// One media range of an Accept header.
struct Range<'a> {
    media: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality_millis: u32,
}

impl Range<'_> {
    fn parse(text: &str) -> Range<'_> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let params: Vec<_> = parts.filter_map(|p| p.split_once('=')).collect();
        let quality = params.iter().find(|(n, _)| *n == "q").and_then(|(_, q)| q.parse::<f64>().ok()).unwrap_or(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000")]
        let quality_millis = (quality.clamp(0.0, 1.0) * 1000.0) as u32;
        Range { media, params, quality_millis }
    }

    /// `None` when this range cannot be served.
    fn accepted(&self) -> Option<Accepted> {
        let encoding = match self.media {
            "application/json" | "*/*" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            _ => return None,
        };
        let param = |name| self.params.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let meta = param("g") == Some("meta.k8s.io") && matches!(param("v"), Some("v1" | "v1beta1"));
        let form = match param("as") {
            None => Form::Object,
            Some("Table") if meta => Form::Table,
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if meta => Form::PartialMetadata,
            Some(_) => return None,
        };
        Some(Accepted { form, encoding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, form: Form, encoding: Encoding) {
        assert_eq!(Accepted::parse(Some(header)).expect(header), Accepted { form, encoding }, "{header}");
    }

    #[test]
    fn the_best_servable_range_wins() {
        check("", Form::Object, Encoding::Json);
        check("*/*", Form::Object, Encoding::Json);
        check("application/vnd.kubernetes.protobuf, application/json", Form::Object, Encoding::Json);
        check("application/yaml;q=0.5, application/json;q=0.9", Form::Object, Encoding::Json);
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Form::Table, Encoding::Json);
        check("application/json;as=Fable;v=v1;g=meta.k8s.io, application/yaml", Form::Object, Encoding::Yaml);
        assert_eq!(Accepted::parse(Some("text/html")).expect_err("html").code(), 406);
    }

    #[test]
    fn aggregated_discovery_is_asked_for_by_name() {
        let header = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert!(wants_aggregated_discovery(Some(header)));
        assert!(!wants_aggregated_discovery(Some("application/json")));
    }
}
