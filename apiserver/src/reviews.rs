//! Kinds that are answered and not stored: reviews of access and of tokens, and new tokens.

use crate::authn;
use crate::authz;
use crate::registry::Call;
use crate::server::Server;
use api::{Error, Identity, Kind, Result, TenantName};
use policy::authn::{Bound, TokenSpec};
use policy::rbac::Attributes;
use policy::tenancy::{Requested, decide};
use serde_json::{Value, json};
use std::time::Duration;

/// Tokens live at least and at most so long, whatever is asked for.
const TOKEN_LIFETIME_MIN: Duration = Duration::from_secs(600);
const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(1 << 32);
const TOKEN_LIFETIME_DEFAULT: Duration = Duration::from_secs(3600);

/// A projected token that asks for this odd number of seconds gets a year, and is warned about after an hour, as
/// upstream extends tokens of pods for clients that do not read them again.
const EXTENDED_REQUEST: Duration = Duration::from_secs(3607);
const EXTENDED_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// Answers the create of a kind that is not stored; `None` for kinds that this server does not answer.
pub fn review(call: Call<'_>, mut value: Value) -> Option<Result<Value>> {
    let answered = match (call.kind.group.as_str(), call.kind.kind.as_str()) {
        ("authorization.k8s.io", "SelfSubjectAccessReview") => {
            access(call, call.identity, &value["spec"]).map(|status| value["status"] = status)
        }
        ("authorization.k8s.io", "LocalSubjectAccessReview") => {
            policy::review::check_local(&value["spec"], call.namespace)
                .and_then(|()| subject(call, &value["spec"]))
                .and_then(|who| access(call, &who, &value["spec"]))
                .map(|status| value["status"] = status)
        }
        ("authorization.k8s.io", "SubjectAccessReview") => subject(call, &value["spec"])
            .and_then(|who| access(call, &who, &value["spec"]))
            .map(|status| value["status"] = status),
        ("authorization.k8s.io", "SelfSubjectRulesReview") => {
            rules(call, &value["spec"]).map(|status| value["status"] = status)
        }
        ("authentication.k8s.io", "SelfSubjectReview") => {
            value["status"] = json!({"userInfo": user_info(call.identity)});
            Ok(())
        }
        ("authentication.k8s.io", "TokenReview") => {
            value["status"] = token_review(call, &value["spec"]);
            Ok(())
        }
        _ => return None,
    };
    if value["metadata"].is_null() {
        value["metadata"] = json!({});
    }
    Some(answered.map(|()| value))
}

/// Who an access review asks about: a user of the tenant that the request works in.
fn subject(call: Call<'_>, spec: &Value) -> Result<Identity> {
    let tenant = call.target.tenant().cloned().ok_or_else(|| Error::bad_request("a review needs one tenant"))?;
    let groups = spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let groups: Vec<&str> = groups.collect();
    let user = spec["user"].as_str().unwrap_or_default();
    if user.is_empty() && groups.is_empty() {
        let cause = api::Cause {
            reason: "FieldValueInvalid".into(),
            message: "Invalid value: \"\": at least one of user or group must be specified".into(),
            field: "spec.user".into(),
        };
        return Err(Error::invalid(&call.kind.group, &call.kind.kind, "", vec![cause]));
    }
    // The review asks about exactly these groups.
    let mut who = Identity::new(tenant, user, &[]);
    who.groups = groups.into_iter().map(str::to_owned).collect();
    Ok(who)
}

fn access(call: Call<'_>, who: &Identity, spec: &Value) -> Result<Value> {
    let server = call.server;
    let is_cluster = |group: &str, plural: &str| {
        server.kinds.kinds().iter().any(|k| k.group == group && k.plural == plural && k.scope == api::Scope::Cluster)
    };
    let what = policy::review::attributes(spec, call.target.tenant(), &is_cluster)?;
    let requested = match call.target.tenant() {
        Some(tenant) => Requested::Named(tenant.clone()),
        None => Requested::All,
    };
    match decide(who, &requested, &what) {
        Ok(decision) => authz::review(server, who, &what, &decision),
        Err(_) => Ok(json!({"allowed": false})),
    }
}

fn rules(call: Call<'_>, spec: &Value) -> Result<Value> {
    let namespace = spec["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Error::bad_request("no namespace on request"));
    }
    let rules = call.server.rules.of(call.server, &call.identity.tenant)?.rules_for(call.identity, namespace);
    let (paths, resources): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| !rule.non_resource_urls.is_empty());
    let paths = paths.iter().map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
    let resources = resources.iter().map(|rule| {
        let mut value = json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
        if !rule.resource_names.is_empty() {
            value["resourceNames"] = json!(rule.resource_names);
        }
        value
    });
    Ok(
        json!({"resourceRules": resources.collect::<Vec<_>>(), "nonResourceRules": paths.collect::<Vec<_>>(), "incomplete": false}),
    )
}

fn user_info(who: &Identity) -> Value {
    let mut info = json!({"username": who.user, "groups": who.groups, "tenant": who.tenant.as_str()});
    if !who.uid.is_empty() {
        info["uid"] = json!(who.uid);
    }
    if !who.extra.is_empty() {
        info["extra"] = json!(who.extra);
    }
    info
}

/// Only tokens of the tenant that asks are told about.
fn token_review(call: Call<'_>, spec: &Value) -> Value {
    let token = spec["token"].as_str().unwrap_or_default();
    let audiences: Vec<&str> = spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let visible = |tenant: &TenantName| call.target.tenant().is_none_or(|target| target == tenant);
    if let Some(who) = call.server.token_file.find(token).filter(|who| visible(&who.tenant)) {
        return json!({"authenticated": true, "user": user_info(&who)});
    }
    match authn::service_account(call.server, token, &audiences, call.now) {
        Ok(verified) if visible(&verified.tenant) => {
            json!({"authenticated": true, "user": user_info(&verified.identity), "audiences": verified.audiences})
        }
        Ok(_) | Err(_) => json!({"user": {}, "error": "invalid bearer token"}),
    }
}

/// Issues a token of the service account `name`: the answer to a create of `serviceaccounts/NAME/token`.
pub fn issue_token(call: Call<'_>, name: &str, request: &Value) -> Result<Value> {
    let tenant = call.target.tenant().ok_or_else(|| Error::bad_request("a token needs one tenant"))?;
    let account = call.current(name)?;
    let what = Attributes {
        verb: "create",
        tenant: Some(tenant),
        version: "v1",
        resource: "serviceaccounts",
        subresource: "token",
        namespace: call.namespace,
        name,
        ..Attributes::default()
    };
    authz::admit_node(call.server, call.identity, &what, request, None)?;
    let spec = &request["spec"];
    let asked = spec["expirationSeconds"].as_u64().map_or(TOKEN_LIFETIME_DEFAULT, Duration::from_secs);
    if asked < TOKEN_LIFETIME_MIN || asked > TOKEN_LIFETIME_MAX {
        let why = if asked < TOKEN_LIFETIME_MIN {
            "may not specify a duration less than 10 minutes"
        } else {
            "may not specify a duration larger than 2^32 seconds"
        };
        let cause = api::Cause {
            reason: "FieldValueInvalid".into(),
            message: format!("Invalid value: {}: {why}", asked.as_secs()),
            field: "spec.expirationSeconds".into(),
        };
        return Err(Error::invalid("authentication.k8s.io", "TokenRequest", "", vec![cause]));
    }
    let audiences: Vec<String> =
        spec["audiences"].as_array().into_iter().flatten().filter_map(|a| a.as_str().map(str::to_owned)).collect();
    let bound = bound_object(call, tenant, &spec["boundObjectRef"])?;
    let extended = asked == EXTENDED_REQUEST && bound.pod.is_some();
    let token = call.server.service_account_key().issue(
        &TokenSpec {
            tenant,
            namespace: call.namespace,
            service_account: Bound { name: name.to_owned(), uid: account.header.uid.to_string() },
            audiences: &audiences,
            lifetime: if extended { EXTENDED_LIFETIME } else { asked },
            warn_after: extended.then_some(asked),
            pod: bound.pod,
            secret: bound.secret,
            node: bound.node,
            id: &uuid::Uuid::new_v4().to_string(),
        },
        call.now,
    );
    let mut answer = request.clone();
    answer["kind"] = json!("TokenRequest");
    answer["apiVersion"] = json!("authentication.k8s.io/v1");
    answer["metadata"] = json!({"name": name, "namespace": call.namespace, "creationTimestamp": call.now.to_string()});
    answer["spec"]["expirationSeconds"] = json!(asked.as_secs());
    if audiences.is_empty() {
        answer["spec"]["audiences"] = json!([policy::authn::AUDIENCE]);
    }
    answer["status"] = json!({"token": token, "expirationTimestamp": call.now.plus(asked).to_string()});
    Ok(answer)
}

#[derive(Default)]
struct BoundObject {
    pod: Option<Bound>,
    secret: Option<Bound>,
    node: Option<Bound>,
}

/// The pod or secret that a token is to end with; it must exist, in the same tenant and namespace.
fn bound_object(call: Call<'_>, tenant: &TenantName, reference: &Value) -> Result<BoundObject> {
    let Some(kind) = reference["kind"].as_str() else { return Ok(BoundObject::default()) };
    let plural = match kind {
        "Pod" => "pods",
        "Secret" => "secrets",
        other => {
            return Err(Error::bad_request(format!("cannot bind token for serviceaccount to object kind {other}")));
        }
    };
    let name = reference["name"].as_str().unwrap_or_default();
    let key = api::ObjectKey::new(
        api::ResourceId::new("", plural),
        api::Space::Tenant(tenant.clone()),
        call.namespace,
        name,
    )?;
    let snapshot = call.server.store.snapshot();
    let object = snapshot.get(&key).ok_or_else(|| Error::not_found("", plural, name))?;
    let given = reference["uid"].as_str().unwrap_or_default();
    if !given.is_empty() && given != &*object.header.uid {
        let why = format!(
            "the UID in the bound object reference ({given}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Error::conflict("", plural, name, &why));
    }
    let bound = Bound { name: name.to_owned(), uid: object.header.uid.to_string() };
    if plural == "secrets" {
        return Ok(BoundObject { secret: Some(bound), ..BoundObject::default() });
    }
    let node = object.field("spec.nodeName");
    let node_uid = node_uid(call.server, node);
    Ok(BoundObject { pod: Some(bound), secret: None, node: node_uid.map(|uid| Bound { name: node.to_owned(), uid }) })
}

fn node_uid(server: &Server, node: &str) -> Option<String> {
    let key = api::ObjectKey::new(api::ResourceId::new("", "nodes"), api::Space::Cluster, "", node).ok()?;
    server.store.snapshot().get(&key).map(|node| node.header.uid.to_string())
}

/// Whether a kind is answered by [`review`].
pub fn answers(kind: &Kind) -> bool {
    matches!(kind.group.as_str(), "authorization.k8s.io" | "authentication.k8s.io")
}
