//! What an expression may ask about permissions: a check that is built step by step.

use crate::context::Fault;
use crate::value::Value;
use std::rc::Rc;

/// Answers whether somebody may do something. The embedder has the rules.
pub trait Authorizer {
    fn decide(&self, question: &Question) -> Verdict;
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Another than the one who makes the request: a service account's namespace and name.
    pub service_account: Option<(String, String)>,
    pub verb: String,
    /// Set for paths that are no resources.
    pub path: Option<String>,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// A stage of a check.
pub struct Grant<'a> {
    authorizer: &'a dyn Authorizer,
    stage: Stage,
}

#[derive(Clone)]
enum Stage {
    Start(Question),
    Path(Question),
    Group(Question),
    Resource(Question),
    Decision(Verdict),
}

impl<'a> Grant<'a> {
    /// The variable `authorizer`.
    pub fn start(authorizer: &'a dyn Authorizer) -> Value<'a> {
        Grant { authorizer, stage: Stage::Start(Question::default()) }.value()
    }

    /// The field `authorizer.requestResource`.
    pub fn resource(authorizer: &'a dyn Authorizer, question: Question) -> Value<'a> {
        Grant { authorizer, stage: Stage::Resource(question) }.value()
    }

    fn value(self) -> Value<'a> {
        Value::Grant(Rc::new(self))
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Start(_) => "kubernetes.authorization.Authorizer",
            Stage::Path(_) => "kubernetes.authorization.PathCheck",
            Stage::Group(_) => "kubernetes.authorization.GroupCheck",
            Stage::Resource(_) => "kubernetes.authorization.ResourceCheck",
            Stage::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    /// A member function of this stage.
    pub(crate) fn call(&self, function: &str, args: &[&str]) -> Result<Value<'a>, Fault> {
        let next = |stage: Stage| Ok(Grant { authorizer: self.authorizer, stage }.value());
        match (&self.stage, function, args) {
            (Stage::Start(question), "serviceAccount", [namespace, name]) => {
                let account = Some(((*namespace).to_owned(), (*name).to_owned()));
                next(Stage::Start(Question { service_account: account, ..question.clone() }))
            }
            (Stage::Start(question), "path", [path]) => {
                next(Stage::Path(Question { path: Some((*path).to_owned()), ..question.clone() }))
            }
            (Stage::Start(question), "group", [group]) => {
                next(Stage::Group(Question { group: (*group).to_owned(), ..question.clone() }))
            }
            (Stage::Group(question), "resource", [resource]) => {
                next(Stage::Resource(Question { resource: (*resource).to_owned(), ..question.clone() }))
            }
            (Stage::Resource(question), field, [value]) if field != "check" => {
                let mut question = question.clone();
                *match field {
                    "subresource" => &mut question.subresource,
                    "namespace" => &mut question.namespace,
                    "name" => &mut question.name,
                    "fieldSelector" => &mut question.field_selector,
                    "labelSelector" => &mut question.label_selector,
                    _ => return Err(Fault::no_overload()),
                } = (*value).to_owned();
                next(Stage::Resource(question))
            }
            (Stage::Path(question) | Stage::Resource(question), "check", [verb]) => {
                let question = Question { verb: (*verb).to_owned(), ..question.clone() };
                next(Stage::Decision(self.authorizer.decide(&question)))
            }
            (Stage::Decision(verdict), "allowed", []) => Ok(Value::Bool(verdict.allowed)),
            (Stage::Decision(verdict), "reason", []) => Ok(Value::text(verdict.reason.as_str())),
            (Stage::Decision(verdict), "errored", []) => Ok(Value::Bool(verdict.error.is_some())),
            (Stage::Decision(verdict), "error", []) => Ok(Value::text(verdict.error.as_deref().unwrap_or_default())),
            _ => Err(Fault::no_overload()),
        }
    }
}
