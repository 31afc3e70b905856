//! Controller revisions, and pod templates that stand alone.

use crate::causes::{Causes, Path};
use crate::pods::spec;
use crate::print::{self, CONTAINERS, IMAGES, number};
use crate::table::{AGE, NAME, age, column, explained};
use crate::value::{is_true, list, text};
use crate::{Revalidation, Strategy};
use serde_json::{Value, json};

pub(crate) static CONTROLLER_REVISIONS: Strategy = Strategy {
    validate: |object| {
        Causes::of(|causes| {
            causes.not_negative(&Path::new("revision"), &object["revision"]);
            match &object["data"] {
                Value::Null => causes.required(&Path::new("data"), "data is mandatory"),
                Value::Object(_) => {}
                _ => causes.required(&Path::new("data"), "data must be a valid JSON object"),
            }
        })
    },
    validate_update: |new, old| {
        Causes::of(|causes| {
            if new["data"] != old["data"] {
                causes.immutable(&Path::new("data"), &new["data"]);
            }
        })
    },
    columns: &[
        NAME,
        explained("Controller", "Controller of the object"),
        column("Revision", "io.k8s.api.apps.v1.ControllerRevision", "revision"),
        AGE,
    ],
    row: |object, now| {
        let owners = list(&object["metadata"]["ownerReferences"]);
        let controller =
            owners.iter().find(|owner| is_true(&owner["controller"])).map_or("<none>".to_owned(), |owner| {
                let group = text(&owner["apiVersion"]).rsplit_once('/').map_or("", |(group, _)| group);
                let dot = if group.is_empty() { "" } else { "." };
                format!("{}{dot}{group}/{}", text(&owner["kind"]).to_lowercase(), text(&owner["name"]))
            });
        vec![object["metadata"]["name"].clone(), json!(controller), number(&object["revision"]), age(object, now)]
    },
    ..Strategy::PLAIN
};

pub(crate) static POD_TEMPLATES: Strategy = Strategy {
    defaults: |object| super::template_defaults(object),
    validate: |object| Causes::of(|causes| spec::template(&object["template"], &Path::new("template"), causes)),
    update_revalidates: Revalidation::Content,
    generation: Some(|new, old| new["template"] != old["template"]),
    columns: &[NAME, CONTAINERS, IMAGES, explained("Pod Labels", "The labels for the pod template.")],
    row: |object, _| {
        let [names, images] = print::containers(&object["template"]["spec"]);
        let labels = print::labels(&object["template"]["metadata"]["labels"]);
        vec![object["metadata"]["name"].clone(), names, images, labels]
    },
    ..Strategy::PLAIN
};
