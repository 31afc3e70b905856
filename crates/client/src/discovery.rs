//! Which kinds an API serves.

use crate::{Client, DiscoveredResource};
use api::Result;
use serde::Deserialize;

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    preferred_version: Version,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct Resources {
    resources: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    kind: String,
    namespaced: bool,
    #[serde(default)]
    verbs: Vec<String>,
}

/// Reads the core group and the preferred version of every other. An error of one group is an error of all: a caller
/// that deletes what it does not find must not take half an answer for the whole.
pub(crate) async fn discover(client: &Client) -> Result<Vec<DiscoveredResource>> {
    let groups: Groups = client.get_path("/apis").await?;
    let named = groups.groups.into_iter().map(|g| (g.name, g.preferred_version.version));
    let mut found = Vec::new();
    for (group, version) in std::iter::once((String::new(), "v1".to_owned())).chain(named) {
        let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let list: Resources = client.get_path(&path).await?;
        for row in list.resources.into_iter().filter(|r| !r.name.contains('/')) {
            found.push(DiscoveredResource {
                group: group.as_str().into(),
                version: version.as_str().into(),
                plural: row.name.into(),
                kind: row.kind.into(),
                namespaced: row.namespaced,
                verbs: row.verbs.into(),
            });
        }
    }
    Ok(found)
}
