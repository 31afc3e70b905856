//! The objects that are created: of a given size, told apart by their names alone.

use crate::Kind;
use bytes::Bytes;

/// Objects of one kind in one namespace.
#[derive(Clone, Debug)]
pub struct Objects {
    pub kind: Kind,
    pub namespace: String,
    /// Bytes of the JSON that is sent.
    pub size: usize,
}

impl Objects {
    /// The path of their collection.
    pub fn collection(&self) -> String {
        let plural = match self.kind {
            Kind::Configmaps => "configmaps",
            Kind::Pods => "pods",
        };
        format!("/api/v1/namespaces/{}/{plural}", self.namespace)
    }

    pub fn path(&self, prefix: &str, number: usize) -> String {
        format!("{}/{}", self.collection(), name(prefix, number))
    }

    /// The JSON of one.
    pub fn body(&self, prefix: &str, number: usize) -> Bytes {
        let name = name(prefix, number);
        let (before, after) = match self.kind {
            Kind::Configmaps => (
                format!(
                    r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"filling":""#
                ),
                r#""}}"#,
            ),
            Kind::Pods => (
                format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","annotations":{{"filling":""#),
                concat!(
                    r#""}},"spec":{"schedulerName":"none","automountServiceAccountToken":false,"containers":[{"name":"c","#,
                    r#""image":"example.com/app:1","resources":{"requests":{"cpu":"100m","memory":"64Mi"}}}]}}"#,
                ),
            ),
        };
        let filling = self.size.saturating_sub(before.len() + after.len());
        Bytes::from(before + &"x".repeat(filling) + after)
    }
}

/// Of fixed length, so that all objects have the same size.
fn name(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number:08}")
}

/// The number in an object that [`Objects::body`] made with this prefix, as a server shows it.
pub fn number(prefix: &str, object: &[u8]) -> Option<usize> {
    let mark = format!("\"name\":\"{prefix}-");
    let at = object.windows(mark.len()).position(|window| window == mark.as_bytes())? + mark.len();
    std::str::from_utf8(object.get(at..at + 8)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_the_size_that_is_asked_for_and_their_number_is_found() {
        for kind in [Kind::Configmaps, Kind::Pods] {
            let objects = Objects { kind, namespace: "n".to_owned(), size: 1024 };
            let body = objects.body("a", 77);
            assert_eq!(body.len(), 1024);
            assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
            assert_eq!(number("a", &body), Some(77));
            assert_eq!(number("b", &body), None);
        }
    }
}
