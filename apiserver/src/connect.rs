//! Requests that connect to something, as the tenant's policies and webhooks are asked about them: what they connect to and
//! with which options.

use crate::admission::{self, Attempt};
use crate::options::Query;
use crate::path::ResourcePath;
use crate::proxy;
use crate::registry::Call;
use api::Result;
use serde_json::{Value, json};

/// The subresources that are connected to. Logs are only read.
const CONNECTED: [&str; 4] = ["exec", "attach", "portforward", proxy::PROXY];

/// Asks whether a connection may be made.
pub async fn admit(call: Call<'_>, path: &ResourcePath, query: &Query) -> Result<()> {
    let Some(subresource) = CONNECTED.into_iter().find(|known| *known == path.subresource) else { return Ok(()) };
    let name = match subresource {
        // Of a target that is proxied to, the name alone.
        proxy::PROXY => path.name.split(':').nth(usize::from(path.name.matches(':').count() > 1)).unwrap_or_default(),
        _ => &path.name,
    };
    let options = options(&call.kind.kind, subresource, query, &path.rest.join("/"));
    admission::ask(Attempt::connect(call, name, subresource), &options).await.map(drop)
}

/// `PodExecOptions` and its like.
fn options(kind: &str, subresource: &str, query: &Query, rest: &str) -> Value {
    let named = match subresource {
        "portforward" => "PortForward".to_owned(),
        other => format!("{}{}", other[..1].to_uppercase(), &other[1..]),
    };
    let mut options = json!({"kind": format!("{kind}{named}Options"), "apiVersion": "v1"});
    let flags: &[&str] =
        if matches!(subresource, "exec" | "attach") { &["stdin", "stdout", "stderr", "tty"] } else { &[] };
    for flag in flags.iter().filter(|flag| query.flag(flag)) {
        options[*flag] = json!(true);
    }
    if !flags.is_empty()
        && let Some(container) = query.get("container").filter(|container| !container.is_empty())
    {
        options["container"] = json!(container);
    }
    match subresource {
        "exec" => options["command"] = query.all("command").collect(),
        "portforward" => {
            let ports = query.all("ports").filter_map(|port| port.parse::<i64>().ok());
            options["ports"] = ports.collect();
        }
        "proxy" if !rest.is_empty() => options["path"] = json!(format!("/{rest}")),
        _ => {}
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_the_query() {
        let query = Query::parse(Some("command=sh&command=-c&stdin=true&container=a&ports=80"));
        let told = |kind: &str, subresource: &str| options(kind, subresource, &query, "a/b");
        assert_eq!(
            told("Pod", "exec"),
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdin": true, "container": "a", "command": ["sh", "-c"]})
        );
        assert_eq!(
            told("Pod", "portforward"),
            json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80]})
        );
        assert_eq!(
            told("Service", "proxy"),
            json!({"kind": "ServiceProxyOptions", "apiVersion": "v1", "path": "/a/b"})
        );
    }
}
