//! Actions on what runs of a pod: a CustomAction that is posted to a pod becomes an Action, which the pod's node carries out.
//!
//! Who may post it needs no right to Actions. They go with their pod, which owns them.

use crate::objects::Answer;
use crate::options::WriteOptions;
use crate::registry::{self, Call, Managers, Written};
use api::{Error, Identity, Result};
use axum::body::Body;
use http::Response;
use serde_json::{Value, json};

/// Who writes the Action.
const WRITER: &str = "system:apiserver";

/// Makes the Action and tells which.
pub async fn act(answer: Answer<'_>, name: &str, asked: &Value, options: &WriteOptions) -> Result<Response<Body>> {
    let call = answer.call;
    let pod = call.current(name)?.to_value()?;
    let (operation, spec) = kinds::action_for(&pod, asked)?;
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod["metadata"]["uid"]});
    let action = json!({
        "apiVersion": "v1",
        "kind": "Action",
        "metadata": {"generateName": format!("{operation}-"), "ownerReferences": [owner]},
        "spec": spec,
    });
    let kind = call.server.kinds.find("", "v1", "actions").ok_or_else(Error::no_such_path)?;
    let tenant = call.target.tenant().cloned().ok_or_else(|| Error::bad_request("this request needs one tenant"))?;
    let identity = Identity::new(tenant, WRITER, &["system:masters"]);
    let call = Call { kind, identity: &identity, ..call };
    let made = match registry::create(call, action, Managers::Kept, options, &mut Vec::new()).await? {
        Written::Stored { object, .. } => object.to_value()?,
        Written::Unstored { value, .. } => value,
    };
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "message": format!("Created action '{operation}' for Pod '{name}'"),
        "details": {"name": made["metadata"]["name"], "kind": "Action", "uid": made["metadata"]["uid"]},
        "code": 201,
    });
    answer.value(201, &status)
}
