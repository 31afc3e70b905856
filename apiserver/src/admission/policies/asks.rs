//! What expressions ask about permissions, answered by the tenant's rules.

use crate::registry::Call;
use api::Identity;
use cel::{Authorizer, Question, Verdict};
use policy::rbac::{Attributes, is_operators_path};

/// Answers for the caller of a request, or for a service account of its tenant.
pub struct Asks<'a>(pub Call<'a>);

impl Authorizer for Asks<'_> {
    fn decide(&self, question: &Question) -> Verdict {
        let call = self.0;
        let Some(tenant) = call.target.tenant() else { return Verdict::default() };
        let account = question
            .service_account
            .as_ref()
            .map(|(namespace, name)| Identity::service_account(tenant.clone(), namespace, name));
        let identity = account.as_ref().unwrap_or(call.identity);
        let cluster_scoped = match &question.path {
            Some(path) => is_operators_path(path),
            None => {
                let mut kinds = call.server.kinds.kinds().iter();
                let kind = kinds.find(|kind| kind.group == question.group && kind.plural == question.resource);
                kind.is_some_and(|kind| kind.scope == api::Scope::Cluster)
            }
        };
        let what = Attributes {
            verb: &question.verb,
            tenant: (!cluster_scoped).then_some(tenant),
            group: &question.group,
            version: if question.version.is_empty() { "*" } else { &question.version },
            resource: &question.resource,
            subresource: &question.subresource,
            namespace: &question.namespace,
            name: &question.name,
            path: question.path.as_deref(),
            cluster_scoped,
            ..Attributes::default()
        };
        match crate::authz::review(call.server, identity, &what, call.target.decision()) {
            Ok(status) => Verdict {
                allowed: status["allowed"].as_bool().unwrap_or(false),
                reason: status["reason"].as_str().unwrap_or_default().to_owned(),
                error: None,
            },
            Err(error) => Verdict { error: Some(error.message().to_owned()), ..Verdict::default() },
        }
    }
}
