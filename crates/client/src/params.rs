//! What can be asked along with a verb: selectors, pages, preconditions.

/// What a list asks for. Empty fields ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListParams {
    /// A label selector in its query form.
    pub labels: String,
    /// A field selector in its query form.
    pub fields: String,
    /// 0 for everything at once.
    pub limit: u32,
    /// Continues a list that was limited.
    pub continue_token: String,
    pub resource_version: String,
    /// A text in the name or in the value of a label, of kinds whose lists know that: tenants.
    pub search: String,
}

impl ListParams {
    /// Everything that a field selector matches.
    pub fn fields(selector: impl Into<String>) -> ListParams {
        ListParams { fields: selector.into(), ..ListParams::default() }
    }
}

/// What a watch asks for: changes after `resource_version`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchParams {
    pub labels: String,
    pub fields: String,
    pub resource_version: String,
    /// The server ends the watch after this long; 0 leaves it to the server.
    pub timeout_secs: u32,
}

/// What becomes of the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl Propagation {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
    }
}

/// How to delete, and on which conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteParams {
    /// `None` for the kind's own default.
    pub grace_period_seconds: Option<u64>,
    /// `None` for the kind's own default.
    pub propagation: Option<Propagation>,
    /// Only if the object has this uid.
    pub uid: Option<String>,
    /// Only if the object is at this version.
    pub resource_version: Option<String>,
}

impl DeleteParams {
    /// Deletes exactly the object that was seen, not a later one of the same name.
    pub fn of_uid(uid: impl Into<String>) -> DeleteParams {
        DeleteParams { uid: Some(uid.into()), ..DeleteParams::default() }
    }

    pub(crate) fn to_value(&self) -> serde_json::Value {
        let mut options = serde_json::json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        if let Some(seconds) = self.grace_period_seconds {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(propagation) = self.propagation {
            options["propagationPolicy"] = propagation.as_str().into();
        }
        if let Some(uid) = &self.uid {
            options["preconditions"]["uid"] = uid.as_str().into();
        }
        if let Some(version) = &self.resource_version {
            options["preconditions"]["resourceVersion"] = version.as_str().into();
        }
        options
    }
}

/// How a patch's body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    Strategic,
}

impl PatchType {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            PatchType::Json => "application/json-patch+json",
            PatchType::Merge => "application/merge-patch+json",
            PatchType::Strategic => "application/strategic-merge-patch+json",
        }
    }
}
