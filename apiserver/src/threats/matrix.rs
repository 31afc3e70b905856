//! T61: who asks, by which form of path, for which tenant, with which verb, of which kind and part. Of what is not theirs
//! nobody gets anything, and whether the tenant or the object is there makes no difference to the answer.

use super::callers::{self, Caller, Right};
use super::{Answer, GONE, HELD, World, objects};
use api::{Kind, Verb};
use serde_json::json;
use std::ops::Range;
use std::sync::Arc;

/// A tenant that is there and one that is not, of one length.
const THERE: &str = "umbrella";
const ABSENT: &str = "nonesuch";

/// What a check came to.
#[derive(Debug, Default)]
pub struct Findings {
    /// How many questions were asked.
    pub asked: usize,
    /// Answers that succeeded, as those whose right it was.
    pub granted: usize,
    /// What must not be, a few of them.
    pub faults: Vec<String>,
}

impl Findings {
    pub fn fault(&mut self, what: String) {
        let what = what.chars().take(600).collect();
        if self.faults.len() < 20 {
            self.faults.push(what);
        }
    }

    pub fn add(&mut self, other: Findings) {
        self.asked += other.asked;
        self.granted += other.granted;
        other.faults.into_iter().for_each(|fault| self.fault(fault));
    }
}

/// One request, without the path's tenant.
struct Operation {
    verb: &'static str,
    method: &'static str,
    /// Whether it names an object.
    named: bool,
    subresource: String,
    query: &'static str,
}

fn operations(kind: &Kind) -> Vec<Operation> {
    let of = |verb, method, named, query| Operation { verb, method, named, subresource: String::new(), query };
    let mut all = vec![
        of("list", "GET", false, ""),
        of("watch", "GET", false, "watch=1"),
        of("create", "POST", false, "dryRun=All"),
        of("deletecollection", "DELETE", false, "dryRun=All"),
        of("get", "GET", true, ""),
        of("update", "PUT", true, "dryRun=All"),
        of("patch", "PATCH", true, "dryRun=All"),
        of("delete", "DELETE", true, "dryRun=All"),
    ];
    for sub in &kind.subresources {
        for verb in &sub.verbs {
            let (verb, method) = match verb {
                Verb::Get => ("get", "GET"),
                Verb::Create => ("create", "POST"),
                Verb::Update => ("update", "PUT"),
                Verb::Patch => ("patch", "PATCH"),
                Verb::Delete => ("delete", "DELETE"),
                _ => continue,
            };
            all.push(Operation { verb, method, named: true, subresource: sub.name.clone(), query: "dryRun=All" });
        }
    }
    all
}

/// The forms in which a path names a tenant.
const FORMS: usize = 3;

fn path(form: usize, tenant: &str, kind: &Kind, operation: &Operation, name: &str) -> String {
    let group = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    let (mut query, version) = (operation.query, &kind.version);
    // The older way to say it.
    let legacy = if form == 2 && query == "watch=1" { "/watch" } else { "" };
    if !legacy.is_empty() {
        query = "";
    }
    let mut path = match form {
        0 => format!("/tenants/{tenant}{group}/{version}"),
        1 => format!("{group}/{version}/tenants/{tenant}"),
        _ => format!("/tenants/{tenant}{group}/{version}{legacy}/tenants/{tenant}"),
    };
    if kind.namespaced() {
        path.push_str("/namespaces/default");
    }
    path.push('/');
    path.push_str(&kind.plural);
    if operation.named {
        path.push('/');
        path.push_str(name);
    }
    if !operation.subresource.is_empty() {
        path.push('/');
        path.push_str(&operation.subresource);
    }
    if !query.is_empty() {
        path.push('?');
        path.push_str(query);
    }
    path
}

/// What is the same whatever the names were, if the answer tells nothing.
fn masked(answer: &Answer, tenant: &str, name: &str) -> (u16, Vec<String>, String) {
    let mask = |text: &str| text.replace(tenant, "TENANT").replace(name, "NAME");
    let headers = answer.headers.iter().filter(|(name, _)| *name != "audit-id");
    let headers = headers.map(|(name, value)| format!("{name}: {}", mask(&String::from_utf8_lossy(value.as_bytes()))));
    (answer.code, headers.collect(), mask(&String::from_utf8_lossy(&answer.body)))
}

/// Whether a success is somebody's right.
fn may(caller: &Caller, tenant: &str, kind: &Kind, operation: &Operation) -> bool {
    let reads = matches!(operation.verb, "get" | "list" | "watch") && operation.subresource.is_empty();
    // What everyone may ask about itself: in its own tenant, and operators in all.
    let asks_itself = kind.plural.starts_with("selfsubject") && operation.verb == "create";
    if asks_itself && (caller.tenant == tenant || caller.tenant == "system") {
        return true;
    }
    match caller.right {
        Right::Everything => true,
        Right::Nothing => false,
        // Of the operators' kinds, a tenant reads its nodes and drivers alone.
        Right::OwnTenant => {
            let shown = matches!(kind.plural.as_str(), "nodes" | "csidrivers") && reads;
            caller.tenant == tenant && (kind.scope != api::Scope::Cluster || shown)
        }
        Right::PodsEverywhere => reads && kind.group.is_empty() && kind.plural == "pods",
        // Of `system`, where every node reads services, and drivers, which are the operators'.
        Right::Node => match kind.plural.as_str() {
            "csidrivers" => reads,
            // Its own alone, which the body names.
            "nodes" | "csinodes" => operation.verb == "create" && operation.subresource.is_empty(),
            "services" | "endpointslices" | "runtimeclasses" => reads && tenant == "system",
            "events" => matches!(operation.verb, "create" | "update" | "patch") && tenant == "system",
            _ => false,
        },
    }
}

/// One question, but for the tenant and the name.
struct Question<'a> {
    caller: &'a Caller,
    kind: &'a Kind,
    operation: &'a Operation,
    form: usize,
    body: &'a str,
}

impl Question<'_> {
    /// Asks it, and notes what must not be. The result says whether a success was the caller's right, and what the answer
    /// told.
    async fn ask(
        &self,
        world: &World,
        tenant: &str,
        name: &str,
        found: &mut Findings,
    ) -> (bool, (u16, Vec<String>, String)) {
        let Question { caller, kind, operation, form, body } = *self;
        let path = path(form, tenant, kind, operation, name);
        let answer = caller.ask(world, operation.method, &path, body).await;
        let code = answer.code;
        found.asked += 1;
        found.granted += usize::from(code < 300);
        let what = |why: &str| format!("{}: {} {path}: {code} {why}", caller.name, operation.method);
        if code >= 500 && code != 503 {
            found.fault(what(&answer.json()["message"].to_string()));
        }
        let granted = may(caller, tenant, kind, operation);
        let sees = caller.tenant == THERE || matches!(caller.right, Right::Everything | Right::PodsEverywhere);
        if answer.has_canary() && !sees {
            found.fault(what("shows the canary"));
        }
        if !granted && !matches!(code, 400 | 401 | 403 | 404) {
            found.fault(what(&String::from_utf8_lossy(&answer.body)));
        }
        // Else the questions would be of no use.
        let reads = operation.verb == "get" && operation.subresource.is_empty() && kind.allows(Verb::Get);
        let theirs = kind.scope != api::Scope::Cluster;
        let own = granted && theirs && tenant == caller.tenant && matches!(tenant, "umbrella" | "acme");
        if own && reads && Some(name) == objects::name(kind, HELD).as_deref() && code != 200 {
            found.fault(what("is not answered to whose it is"));
        }
        (granted, masked(&answer, tenant, name))
    }
}

/// Asks every question about some kinds.
pub async fn ask(world: &World, callers: &[Caller], kinds: &[Arc<Kind>], forms: Range<usize>) -> Findings {
    let mut found = Findings::default();
    for kind in kinds {
        let named = |word| objects::name(kind, word).unwrap_or_else(|| word.to_owned());
        let (held, gone) = (named(HELD), named(GONE));
        let body = objects::object(kind, HELD, "plain").unwrap_or_else(|| json!({})).to_string();
        for operation in &operations(kind) {
            for (form, caller) in forms.clone().flat_map(|form| callers.iter().map(move |caller| (form, caller))) {
                let question = Question { caller, kind, operation, form, body: &body };
                let mut told = Vec::with_capacity(4);
                for tenant in [THERE, ABSENT] {
                    told.push(question.ask(world, tenant, &held, &mut found).await);
                    if operation.named {
                        told.push(question.ask(world, tenant, &gone, &mut found).await);
                    }
                }
                let other = told.iter().find(|(_, masked)| *masked != told[0].1);
                // To whom both are foreign, they are alike.
                let foreign = caller.tenant != THERE && told.iter().all(|(granted, _)| !granted);
                if let Some((_, other)) = other.filter(|_| foreign) {
                    let what = format!("{} of {}/{}, form {form}", operation.verb, kind.plural, operation.subresource);
                    found.fault(format!("{}: {what} tells what is there: {:?}, {other:?}", caller.name, told[0].1));
                }
                // The other forms of these the questions about `umbrella` have shown.
                let rest = if form == 0 { &["system", "acme", "acme1", "all"][..] } else { &["all"] };
                for tenant in rest {
                    question.ask(world, tenant, &held, &mut found).await;
                }
            }
        }
    }
    found
}

#[tokio::test]
async fn only_whose_tenant_it_is_gets_anything_and_nobody_learns_what_is_there() {
    let world = World::planted().await;
    let callers = callers::all(&world).await;
    let found = ask(&world, &callers, &world.kinds(), 0..FORMS).await;
    println!("{} questions, {} answers that were somebody's right", found.asked, found.granted);
    assert!(found.faults.is_empty(), "{:#?}", found.faults);
    assert!(found.asked > 50_000 && found.granted > 1_000, "{} {}", found.asked, found.granted);
}
