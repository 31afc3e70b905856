//! Kinds that are answered and not stored: reviews of access and of tokens, and new tokens.

use crate::authn;
use crate::authz;
use crate::options::WriteOptions;
use crate::registry::{self, Call};
use crate::server::Server;
use api::{Error, Identity, Kind, Result, TenantName};
use policy::authn::{Bound, TokenSpec};
use policy::rbac::Attributes;
use policy::review::Question;
use policy::tenancy::{Requested, decide};
use serde_json::{Value, json};
use std::time::Duration;

/// Tokens live at least and at most so many seconds.
const TOKEN_LIFETIME_MIN: i64 = 600;
const TOKEN_LIFETIME_MAX: i64 = 1 << 32;
const TOKEN_LIFETIME_DEFAULT: Duration = Duration::from_secs(3600);

/// A projected token that asks for this odd number of seconds gets a year, and is warned about after an hour, as
/// upstream extends tokens of pods for clients that do not read them again.
const EXTENDED_REQUEST: Duration = Duration::from_secs(3607);
const EXTENDED_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// Answers the create of a kind that is not stored; `None` for kinds that this server does not answer.
pub fn review(call: Call<'_>, options: &WriteOptions, mut value: Value) -> Option<Result<Value>> {
    if !value["metadata"].is_object() {
        value["metadata"] = json!({});
    }
    let kind = call.kind.kind.as_str();
    let managed = |value: &mut Value| {
        registry::of_unstored(call, options, (&call.kind.group, &call.kind.version, kind), "", value);
    };
    let answered = match (call.kind.group.as_str(), kind) {
        ("authorization.k8s.io", "SelfSubjectAccessReview" | "LocalSubjectAccessReview" | "SubjectAccessReview") => {
            if kind == "LocalSubjectAccessReview" {
                value["metadata"]["namespace"] = json!(call.namespace);
            }
            managed(&mut value);
            valid(call, &value).and_then(|()| {
                let spec = &value["spec"];
                let who =
                    if kind == "SelfSubjectAccessReview" { Ok(call.identity.clone()) } else { subject(call, spec) };
                access(call, &who?, spec)
            })
        }
        ("authorization.k8s.io", "SelfSubjectRulesReview") => {
            // As upstream, the answer does not repeat the question.
            return Some(rules(call, &value["spec"]).map(|status| {
                json!({"apiVersion": value["apiVersion"], "kind": kind, "metadata": {}, "spec": {}, "status": status})
            }));
        }
        ("authentication.k8s.io", "SelfSubjectReview") => {
            value["metadata"] = json!({"creationTimestamp": call.now.to_string()});
            Ok(json!({"userInfo": user_info(call.identity)}))
        }
        ("authentication.k8s.io", "TokenReview") => {
            managed(&mut value);
            token_review(call, &value["spec"])
        }
        _ => return None,
    };
    Some(answered.map(|status| {
        value["status"] = status;
        value
    }))
}

/// Refuses a review that asks nothing, or two things. Upstream names no kind in the refusal.
fn valid(call: Call<'_>, value: &Value) -> Result<()> {
    let causes = (kinds::strategy(call.kind).validate)(value);
    if causes.is_empty() { Ok(()) } else { Err(Error::invalid(&call.kind.group, "", "", causes)) }
}

/// Who an access review asks about: a user of the tenant that the request works in, with exactly the groups it names.
fn subject(call: Call<'_>, spec: &Value) -> Result<Identity> {
    let tenant = call.target.tenant().cloned().ok_or_else(|| Error::bad_request("a review needs one tenant"))?;
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    let extra = spec["extra"].as_object().into_iter().flatten();
    let extra = extra.map(|(key, values)| (key.to_lowercase(), texts(values))).collect();
    Ok(Identity { tenant, user: text("user"), uid: text("uid"), groups: texts(&spec["groups"]), extra })
}

/// The answer to an access review. It asks about the tenant that the request works in, unless it names another: of that
/// one, only what `system` grants is told.
fn access(call: Call<'_>, who: &Identity, spec: &Value) -> Result<Value> {
    let server = call.server;
    let is_cluster = |group: &str, plural: &str| {
        server.kinds.kinds().iter().any(|k| k.group == group && k.plural == plural && k.scope == api::Scope::Cluster)
    };
    let tenant = policy::review::named_tenant(spec)?.or_else(|| call.target.tenant().cloned());
    let question = Question::of(spec);
    let what = question.attributes(spec, tenant.as_ref(), &is_cluster);
    let requested = tenant.clone().map_or(Requested::All, Requested::Named);
    let mut status = match decide(who, &requested, &what) {
        Ok(decision) => authz::review(server, who, &what, &decision)?,
        Err(_) => json!({"allowed": false}),
    };
    let errors = [question.evaluation_error.as_str(), status["evaluationError"].as_str().unwrap_or_default()];
    let errors: Vec<&str> = errors.into_iter().filter(|error| !error.is_empty()).collect();
    if !errors.is_empty() {
        status["evaluationError"] = json!(errors.join("; "));
    }
    Ok(status)
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

/// Only tokens of the tenant that asks are told about: of others, nobody knows anything.
fn token_review(call: Call<'_>, spec: &Value) -> Result<Value> {
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Error::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<&str> = spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let visible = |tenant: &TenantName| call.target.tenant().is_none_or(|target| target == tenant);
    Ok(match authn::token(call.server, token, &audiences, call.target.tenant(), call.now) {
        #[cfg(test)]
        Ok(verified) if crate::planted::tells_of(&verified) => {
            json!({"authenticated": true, "user": user_info(&verified.identity)})
        }
        Ok(verified) if visible(&verified.identity.tenant) => {
            json!({"authenticated": true, "user": user_info(&verified.identity), "audiences": verified.audiences})
        }
        Ok(_) => json!({"user": {}, "error": authn::INVALID_TOKEN}),
        // What is wrong with it, as that its account is another by now, is its own tenant's to know.
        Err(_)
            if authn::tenant_of(call.server, token, &audiences, call.now).is_some_and(|tenant| !visible(&tenant)) =>
        {
            json!({"user": {}, "error": authn::INVALID_TOKEN})
        }
        Err(said) => {
            let error = if let [one] = said.as_slice() { one.clone() } else { format!("[{}]", said.join(", ")) };
            json!({"user": {}, "error": error})
        }
    })
}

/// Issues a token of the service account `name`: the answer to a create of `serviceaccounts/NAME/token`.
pub fn issue_token(call: Call<'_>, name: &str, request: &Value, options: &WriteOptions) -> Result<Value> {
    let tenant = call.target.tenant().ok_or_else(|| Error::bad_request("a token needs one tenant"))?;
    let account = call.current(name)?;
    let mut answer = request.clone();
    if !answer["metadata"].is_object() {
        answer["metadata"] = json!({});
    }
    token_names(&answer["metadata"], name)?;
    let metadata = &mut answer["metadata"];
    metadata["name"] = json!(name);
    metadata["namespace"] = json!(call.namespace);
    metadata["uid"] = json!(account.header.uid());
    metadata["creationTimestamp"] = json!(call.now.to_string());
    let spec = &mut answer["spec"];
    if spec["expirationSeconds"].is_null() {
        spec["expirationSeconds"] = json!(TOKEN_LIFETIME_DEFAULT.as_secs());
    }
    registry::of_unstored(call, options, ("authentication.k8s.io", "v1", "TokenRequest"), "token", &mut answer);
    let spec = &mut answer["spec"];
    if spec["audiences"].as_array().is_none_or(Vec::is_empty) {
        spec["audiences"] = json!([policy::authn::AUDIENCE]);
    }
    if spec["boundObjectRef"].is_null() {
        spec["boundObjectRef"] = Value::Null;
    }
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
    authz::admit_node(call.server, call.identity, &what, &answer, None)?;
    let spec = &answer["spec"];
    let asked = lifetime(&spec["expirationSeconds"])?;
    let audiences: Vec<String> =
        spec["audiences"].as_array().into_iter().flatten().filter_map(|a| a.as_str().map(str::to_owned)).collect();
    let bound = bound_object(call, tenant, name, &spec["boundObjectRef"])?;
    let for_api = audiences.iter().any(|audience| audience == policy::authn::AUDIENCE);
    let extended = asked == EXTENDED_REQUEST && bound.pod.is_some() && for_api;
    let token = call.server.service_account_key().issue(
        &TokenSpec {
            tenant,
            namespace: call.namespace,
            service_account: Bound { name: name.to_owned(), uid: account.header.uid().to_string() },
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
    answer["kind"] = json!("TokenRequest");
    answer["apiVersion"] = json!("authentication.k8s.io/v1");
    let token = if options.dry_run { String::new() } else { token };
    answer["status"] = json!({"token": token, "expirationTimestamp": call.now.plus(asked).to_string()});
    Ok(answer)
}

/// A request for a token may repeat the name of its account, and no other.
fn token_names(metadata: &Value, name: &str) -> Result<()> {
    let given = metadata["name"].as_str().unwrap_or_default();
    if given.is_empty() || given == name {
        return Ok(());
    }
    let cause = api::Cause {
        reason: "FieldValueInvalid".into(),
        message: format!("Invalid value: {given:?}: must match the service account name if specified"),
        field: "metadata.name".into(),
    };
    Err(Error::invalid("authentication.k8s.io", "TokenRequest", name, vec![cause]))
}

fn lifetime(seconds: &Value) -> Result<Duration> {
    let asked = seconds.as_i64().unwrap_or(i64::MAX);
    let why = if asked < TOKEN_LIFETIME_MIN {
        "may not specify a duration less than 10 minutes"
    } else if asked > TOKEN_LIFETIME_MAX {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(Duration::from_secs(asked.unsigned_abs()));
    };
    let cause = api::Cause {
        reason: "FieldValueInvalid".into(),
        message: format!("Invalid value: {asked}: {why}"),
        field: "spec.expirationSeconds".into(),
    };
    Err(Error::invalid("authentication.k8s.io", "TokenRequest", "", vec![cause]))
}

#[derive(Default)]
struct BoundObject {
    pod: Option<Bound>,
    secret: Option<Bound>,
    node: Option<Bound>,
}

/// The pod, secret or node that a token is to end with. Pods and secrets are in the same tenant and namespace, and a
/// pod runs as the account; a node belongs to the operators, who alone may bind to it.
fn bound_object(call: Call<'_>, tenant: &TenantName, account: &str, reference: &Value) -> Result<BoundObject> {
    if reference.is_null() {
        return Ok(BoundObject::default());
    }
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let of_tenant = api::Space::Tenant(tenant.clone());
    let (plural, space, namespace) = match (text("apiVersion"), text("kind")) {
        ("v1", "Pod") => ("pods", of_tenant, call.namespace),
        ("v1", "Secret") => ("secrets", of_tenant, call.namespace),
        ("v1", "Node") if tenant.is_system() => ("nodes", api::Space::Cluster, ""),
        ("v1", "Node") => return Err(Error::not_found("", "nodes", text("name"))),
        (version, kind) => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            return Err(Error::bad_request(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    let name = text("name");
    let key = api::ObjectKey::new(api::ResourceId::new("", plural), space, namespace, name)
        .map_err(|_| Error::not_found("", plural, name))?;
    let snapshot = call.server.store.snapshot();
    let object = snapshot.get(&key).ok_or_else(|| Error::not_found("", plural, name))?;
    if plural == "pods" && object.field("spec.serviceAccountName") != account {
        return Err(Error::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    let given = text("uid");
    if !given.is_empty() && given != object.header.uid() {
        let why = format!(
            "the UID in the bound object reference ({given}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Error::conflict("", text("kind"), name, &why));
    }
    let bound = Bound { name: name.to_owned(), uid: object.header.uid().to_string() };
    Ok(match plural {
        "secrets" => BoundObject { secret: Some(bound), ..BoundObject::default() },
        "nodes" => BoundObject { node: Some(bound), ..BoundObject::default() },
        _ => {
            let node = object.field("spec.nodeName");
            let node = node_uid(call.server, node).map(|uid| Bound { name: node.to_owned(), uid });
            BoundObject { pod: Some(bound), secret: None, node }
        }
    })
}

fn node_uid(server: &Server, node: &str) -> Option<String> {
    let key = api::ObjectKey::new(api::ResourceId::new("", "nodes"), api::Space::Cluster, "", node).ok()?;
    server.store.snapshot().get(&key).map(|node| node.header.uid().to_string())
}

/// Whether a kind is answered by [`review`].
pub fn answers(kind: &Kind) -> bool {
    matches!(kind.group.as_str(), "authorization.k8s.io" | "authentication.k8s.io")
}
