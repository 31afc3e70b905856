//! The managers of fields in the way of a write: what a create, an update or an apply makes of them.

use super::{Call, Live};
use crate::options::WriteOptions;
use api::{Cause, Error, GroupVersion, Kind, Reason, Result};
use schema::managed::{self, Conflict, Managed, Refused, Sent, Typed, Versions, Writer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a change says of the managers of fields.
#[derive(Clone)]
pub enum Managers {
    /// The writer takes what it changed. A list in the object itself is where it starts from.
    Tracked,
    /// They stay: the server itself changes the object.
    Kept,
    /// They are this list, as text: fields were applied.
    Applied(String),
}

/// What a change makes of an object.
pub struct Changed {
    pub value: Value,
    pub managers: Managers,
}

impl Changed {
    /// A change of which managers need not know.
    pub fn untracked(value: Value) -> Changed {
        Changed { value, managers: Managers::Kept }
    }
}

impl From<Value> for Changed {
    fn from(value: Value) -> Changed {
        Changed { value, managers: Managers::Tracked }
    }
}

/// The managers of an object after a write, as text, and whether the client wrote some of them.
pub(super) struct Managing {
    pub text: String,
    pub sent: bool,
}

impl Managing {
    /// What is wrong with an object, with its managers in their place if a client wrote them.
    pub fn validated(&self, value: &mut Value, validate: impl FnOnce(&Value) -> Vec<Cause>) -> Vec<Cause> {
        if !self.sent {
            return validate(value);
        }
        show(value, &self.text);
        let causes = validate(value);
        drop(Sent::take(value));
        causes
    }
}

/// The managers of a new object, which is complete but for what the server adds to it. Takes their list out of it.
pub(super) fn of_new(call: Call<'_>, options: &WriteOptions, value: &mut Value, managers: Managers) -> Managing {
    let sent = Sent::take(value);
    if !kinds::generic::has_managers(call.kind) {
        return Managing { text: String::new(), sent: false };
    }
    if let Managers::Applied(text) = managers {
        return Managing { text, sent: false };
    }
    let list = match &sent {
        Sent::Text(text) => Managed::sent(text).unwrap_or_default(),
        Sent::Nothing | Sent::Reset => Managed::default(),
    };
    let sent = !list.is_empty();
    let text = with_writer(call, options, "", |writer| writer.create(list, value));
    Managing { text, sent }
}

/// Puts the managers into an object that is answered and not stored, of a type that need not be the call's kind.
pub fn of_unstored(
    call: Call<'_>,
    options: &WriteOptions,
    (group, version, kind): (&str, &str, &str),
    subresource: &str,
    value: &mut Value,
) {
    drop(Sent::take(value));
    let (api_version, now) = (format!("{group}/{version}"), call.now.to_string());
    let writer = Writer {
        manager: &options.manager,
        subresource,
        api_version: &api_version,
        now: &now,
        versions: &Views { call },
        ignored: &kinds::generic::reset_fields(call.kind, subresource),
        empty: managed::empty_object(group, version, kind),
    };
    let text = writer.create(Managed::default(), value);
    show(value, &text);
}

/// The managers of an object after an update. Takes their list out of `new`.
pub(super) fn of_update(
    call: Call<'_>,
    options: &WriteOptions,
    subresource: &str,
    live: Live<'_>,
    new: &mut Value,
    managers: Managers,
) -> Managing {
    let sent = Sent::take(new);
    let unsent = |text: String| Managing { text, sent: false };
    match managers {
        Managers::Kept => return unsent(live.managed.to_owned()),
        Managers::Applied(text) => return unsent(text),
        Managers::Tracked => {}
    }
    // A scale leaves out what is zero: nobody manages it then.
    let unscaled;
    let new = if subresource == "scale" && new["spec"]["replicas"] == 0 {
        let mut left = new.clone();
        if let Some(spec) = left["spec"].as_object_mut() {
            spec.remove("replicas");
        }
        unscaled = left;
        &unscaled
    } else {
        &*new
    };
    let update = |list| with_writer(call, options, subresource, |writer| writer.update(list, live.value, new).write());
    if subresource.is_empty() {
        match &sent {
            Sent::Reset => return unsent(String::new()),
            Sent::Text(text) => {
                if let Some(list) = Managed::sent(text).filter(|list| !list.is_empty()) {
                    return Managing { text: update(list), sent: true };
                }
            }
            Sent::Nothing => {}
        }
    }
    if live.managed.is_empty() {
        return unsent(String::new());
    }
    unsent(update(Managed::stored(live.managed)))
}

/// Applies `config` to the live object, or to none. The outcome is typed as `kind`, but not yet defaulted.
pub fn apply(
    call: Call<'_>,
    options: &WriteOptions,
    subresource: &str,
    live: Option<Live<'_>>,
    config: &Value,
) -> Result<Changed> {
    let list = live.map(|live| Managed::stored(live.managed)).unwrap_or_default();
    let applied = with_writer(call, options, subresource, |writer| {
        let applied = writer.apply(list, live.map(|live| live.value), config, options.force);
        applied.map(|(value, list)| Changed { value, managers: Managers::Applied(list.write()) })
    });
    applied.map_err(refusal)
}

fn with_writer<T>(call: Call<'_>, options: &WriteOptions, subresource: &str, run: impl FnOnce(Writer<'_>) -> T) -> T {
    let Kind { group, version, kind, .. } = &**call.kind;
    let (api_version, now) = (call.kind.api_version(), call.now.to_string());
    run(Writer {
        manager: &options.manager,
        subresource,
        api_version: &api_version,
        now: &now,
        versions: &Views { call },
        ignored: &kinds::generic::reset_fields(call.kind, subresource),
        empty: managed::empty_object(group, version, kind),
    })
}

/// The versions in which an object is served.
struct Views<'a> {
    call: Call<'a>,
}

impl Views<'_> {
    fn kind(&self, api_version: &str) -> Option<&Kind> {
        let own = self.call.kind;
        if own.api_version() == api_version {
            return Some(own);
        }
        let GroupVersion { group, version } = GroupVersion::parse(api_version);
        let kind = self.call.server.kinds.by_kind(&group, &version, &own.kind)?;
        (kind.stored_as == own.stored_as).then_some(kind)
    }
}

impl Versions for Views<'_> {
    fn typed(&self, api_version: &str) -> Option<Typed<'_>> {
        if let Some(custom) = self.call.custom {
            return Some(custom.compiled.definition.version(api_version)?.types.root());
        }
        let kind = self.kind(api_version)?;
        Some(managed::builtin_type(&kind.group, &kind.version, &kind.kind).unwrap_or_else(managed::deduced_type))
    }

    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value> {
        if let Some(custom) = self.call.custom {
            let mut converted = object.clone();
            let definition = &custom.compiled.definition;
            definition.convert(&mut converted, definition.version(to)?).ok()?;
            return Some(converted);
        }
        let (from, to) = (self.kind(from)?, self.kind(to)?);
        Some(kinds::convert(object.clone(), from, to))
    }
}

fn refusal(refused: Refused) -> Error {
    match refused {
        // Upstream's answer has the code of a fault of its own, and no reason.
        Refused::Invalid(why) => Error::new(Reason::Unknown, why),
        Refused::Conflicts(conflicts) => {
            let cause = |Conflict { manager, path }: &Conflict| Cause {
                reason: "FieldManagerConflict".into(),
                message: format!("conflict with {manager}"),
                field: path.clone(),
            };
            let causes = conflicts.iter().map(cause).collect();
            Error::new(Reason::Conflict, conflict_text(&conflicts)).with_causes(causes)
        }
    }
}

fn conflict_text(conflicts: &[Conflict]) -> String {
    if let [Conflict { manager, path }] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {manager}: {path}");
    }
    let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Conflict { manager, path } in conflicts {
        of.entry(manager).or_default().push(path);
    }
    let mut text = format!("Apply failed with {} conflicts:", conflicts.len());
    for (i, (manager, paths)) in of.iter().enumerate() {
        let space = if i == 0 { ' ' } else { '\n' };
        write!(text, "{space}conflicts with {manager}:").expect("a String takes all that is written");
        for path in paths {
            write!(text, "\n- {path}").expect("a String takes all that is written");
        }
    }
    text
}

/// The subresource through which a part is written; empty for the object itself.
pub fn subresource(part: super::Part) -> &'static str {
    match part {
        super::Part::Object => "",
        super::Part::Scale => "scale",
        super::Part::Status => "status",
        super::Part::Subresource(name) | super::Part::Own(name) => name,
    }
}

/// Puts the list into an object that is not stored.
pub fn show(value: &mut Value, managed: &str) {
    if let (Ok(list), Some(metadata)) = (serde_json::from_str(managed), value["metadata"].as_object_mut()) {
        let _: Option<Value> = metadata.insert("managedFields".to_owned(), list);
    }
}
