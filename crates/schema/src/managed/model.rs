//! What managers of fields do, again, by a model that shares nothing with the code: an object is a map of paths, a manager a
//! set of them, and every rule a loop over both. Schemas, objects and stories are random, and each story is told twice. Of a
//! container, only what is in it is compared: whether an emptied one stays is not.

use super::tests::{Story, Thing};
use super::types::Types;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many stories are told, quickly and in full.
const STORIES: u64 = 1_000;
const ALL_STORIES: u64 = 10_000;

const STEPS: u64 = 6;
const DEPTH: u64 = 3;

/// Numbers that look random and are the same for a seed.
struct Dice(u64);

impl Dice {
    /// Less than `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn text(&mut self) -> Value {
        json!(["x", "y", "z"][usize::from(self.roll(3) as u8)])
    }

    /// Some of a few names, and at least one.
    fn names(&mut self) -> BTreeSet<&'static str> {
        (0..=self.roll(3)).map(|_| ["a", "b", "c"][usize::from(self.roll(3) as u8)]).collect()
    }
}

/// A random schema.
enum Shape {
    Text,
    /// A map or a list that is one value.
    AtomicMap,
    AtomicList,
    Set,
    Map,
    Struct(Vec<Shape>),
    /// A list of objects with the key `name` and these fields.
    Items(Vec<Shape>),
}

fn field(i: usize) -> String {
    format!("f{i}")
}

impl Shape {
    fn random(dice: &mut Dice, depth: u64) -> Shape {
        let fields = |dice: &mut Dice| (0..=dice.roll(3)).map(|_| Shape::random(dice, depth - 1)).collect();
        match dice.roll(if depth == 0 { 5 } else { 9 }) {
            0 => Shape::Text,
            1 => Shape::AtomicMap,
            2 => Shape::AtomicList,
            3 => Shape::Set,
            4 => Shape::Map,
            5 | 6 => Shape::Struct(fields(dice)),
            _ => Shape::Items(fields(dice)),
        }
    }

    fn schema(&self) -> Value {
        let text = json!({"type": "string"});
        let properties = |fields: &[Shape]| -> Map<String, Value> {
            fields.iter().enumerate().map(|(i, shape)| (field(i), shape.schema())).collect()
        };
        match self {
            Shape::Text => text,
            Shape::AtomicMap => {
                json!({"type": "object", "additionalProperties": text, "x-kubernetes-map-type": "atomic"})
            }
            Shape::AtomicList => json!({"type": "array", "items": text}),
            Shape::Set => json!({"type": "array", "items": text, "x-kubernetes-list-type": "set"}),
            Shape::Map => json!({"type": "object", "additionalProperties": text}),
            Shape::Struct(fields) => json!({"type": "object", "properties": properties(fields)}),
            Shape::Items(fields) => {
                let mut properties = properties(fields);
                properties.insert("name".to_owned(), text);
                json!({"type": "array", "items": {"type": "object", "properties": properties},
                    "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]})
            }
        }
    }

    /// A value that is not empty.
    fn value(&self, dice: &mut Dice) -> Value {
        let fields = |dice: &mut Dice, shapes: &[Shape]| -> Map<String, Value> {
            let some = shapes.iter().enumerate().filter_map(|(i, shape)| {
                let is_there = dice.roll(3) > 0;
                is_there.then(|| (field(i), shape.value(dice)))
            });
            some.collect()
        };
        let texts = |dice: &mut Dice| -> Value {
            let names = dice.names();
            names.into_iter().map(|name| (name.to_owned(), dice.text())).collect::<Map<_, _>>().into()
        };
        match self {
            Shape::Text => dice.text(),
            Shape::AtomicMap | Shape::Map => texts(dice),
            Shape::AtomicList => (0..=dice.roll(3)).map(|_| dice.text()).collect(),
            Shape::Set => dice.names().into_iter().map(Value::from).collect(),
            Shape::Struct(shapes) => match fields(dice, shapes) {
                some if some.is_empty() => json!({field(0): shapes[0].value(dice)}),
                some => some.into(),
            },
            Shape::Items(shapes) => {
                let names = dice.names();
                let item = |name: &str| {
                    let mut item = fields(dice, shapes);
                    item.insert("name".to_owned(), json!(name));
                    Value::Object(item)
                };
                names.into_iter().map(item).collect()
            }
        }
    }
}

type Path = Vec<String>;

/// What is at a path.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// Of its own value.
    Leaf(Value),
    /// The key of an item, which is there as long as the item.
    Key(Value),
    Item,
    /// A struct, map or list with something in it.
    Container,
}

type Parts = BTreeMap<Path, Part>;

fn parts(shape: &Shape, value: &Value, at: &Path, found: &mut Parts) {
    let below = |at: &Path, step: String| -> Path { at.iter().cloned().chain([step]).collect() };
    let leaf = |value: &Value| Part::Leaf(value.clone());
    if matches!(shape, Shape::Text | Shape::AtomicMap | Shape::AtomicList) {
        found.insert(at.clone(), leaf(value));
        return;
    }
    found.insert(at.clone(), Part::Container);
    match (shape, value) {
        // What is left of a container that was emptied.
        (_, Value::Null) => {}
        (Shape::Set, Value::Array(items)) => {
            found.extend(items.iter().map(|item| (below(at, format!("v:{item}")), leaf(item))));
        }
        (Shape::Map, Value::Object(map)) => {
            found.extend(map.iter().map(|(name, value)| (below(at, format!("f:{name}")), leaf(value))));
        }
        (Shape::Struct(shapes), Value::Object(map)) => {
            for (i, shape) in shapes.iter().enumerate() {
                if let Some(value) = map.get(&field(i)) {
                    parts(shape, value, &below(at, format!("f:{}", field(i))), found);
                }
            }
        }
        (Shape::Items(shapes), Value::Array(items)) => {
            for item in items {
                let at = below(at, format!("k:{}", json!({"name": item["name"]})));
                found.insert(below(&at, "f:name".to_owned()), Part::Key(item["name"].clone()));
                for (i, shape) in shapes.iter().enumerate() {
                    if let Some(value) = item.get(field(i)) {
                        parts(shape, value, &below(&at, format!("f:{}", field(i))), found);
                    }
                }
                found.insert(at, Part::Item);
            }
        }
        (_, other) => panic!("{other} is not of its schema"),
    }
}

fn is_below(path: &Path, parent: &Path) -> bool {
    path.len() > parent.len() && path.starts_with(parent)
}

/// Managers by name, and whether they apply.
type Managers = BTreeMap<(String, bool), BTreeSet<Path>>;

#[derive(Default)]
struct Model {
    parts: Parts,
    managers: Managers,
}

impl Model {
    /// What became another value or was not there; and what went.
    fn change(&self, new: &Parts) -> (BTreeSet<Path>, BTreeSet<Path>) {
        let wanted = new.iter().filter(|(path, part)| self.parts.get(*path) != Some(*part));
        let gone = self.parts.keys().filter(|path| !new.contains_key(*path));
        (wanted.map(|(path, _)| path.clone()).collect(), gone.cloned().collect())
    }

    fn update(&mut self, manager: &str, new: Parts, is_new: bool) {
        let (wanted, gone) = self.change(&new);
        let was_managed = !self.managers.is_empty();
        self.parts = new;
        if !is_new && !was_managed {
            return;
        }
        for set in self.managers.values_mut() {
            set.retain(|path| !wanted.contains(path) && !gone.contains(path));
        }
        self.managers.entry((manager.to_owned(), false)).or_default().extend(wanted);
        self.managers.retain(|_, set| !set.is_empty());
    }

    /// False where somebody else manages what would change.
    fn apply(&mut self, manager: &str, config: &Parts, force: bool) -> bool {
        let before = self.managers.clone();
        if self.managers.is_empty() && !self.parts.is_empty() {
            let all = self.parts.keys().cloned().collect();
            self.managers.insert(("before-first-apply".to_owned(), false), all);
        }
        let id = (manager.to_owned(), true);
        let last = self.managers.remove(&id).unwrap_or_default();
        let own: BTreeSet<Path> =
            config.iter().filter(|(_, part)| **part != Part::Container).map(|(path, _)| path.clone()).collect();
        let mut new = self.parts.clone();
        new.extend(config.iter().map(|(path, part)| (path.clone(), part.clone())));
        let others: Vec<&BTreeSet<Path>> = self.managers.values().chain([&own]).collect();
        let is_named = |path: &Path| others.iter().any(|set| set.contains(path));
        let is_item = |path: &Path| path.last().is_some_and(|step| step.starts_with("k:"));
        // A field is there for what is in it; an item only for itself.
        let is_owned = |path: &Path| {
            is_named(path) || (!is_item(path) && others.iter().any(|set| set.iter().any(|p| is_below(p, path))))
        };
        // What holds nothing of anybody's goes too.
        let along = last.iter().flat_map(|path| (1..=path.len()).map(|length| path[..length].to_vec()));
        let along: BTreeSet<Path> = along.collect();
        let dropped: Vec<&Path> = along.iter().filter(|path| !is_owned(path)).collect();
        new.retain(|path, part| match part {
            Part::Key(_) => !dropped.iter().any(|gone| is_below(path, gone)),
            _ => !dropped.iter().any(|gone| path == *gone || is_below(path, gone)),
        });
        for path in along.iter().rev().filter(|path| !is_named(path)) {
            if new.get(path) == Some(&Part::Container) && !new.keys().any(|held| is_below(held, path)) {
                new.remove(path);
            }
        }
        let (wanted, gone) = self.change(&new);
        if !force && self.managers.values().any(|set| set.iter().any(|path| wanted.contains(path))) {
            self.managers = before;
            return false;
        }
        for set in self.managers.values_mut() {
            set.retain(|path| !wanted.contains(path) && !gone.contains(path));
        }
        self.parts = new;
        self.managers.insert(id, own);
        self.managers.retain(|_, set| !set.is_empty());
        true
    }
}

/// The members of a set as it is written.
fn members(set: &Value, at: &Path, found: &mut BTreeSet<Path>) {
    let fields = set.as_object().expect("a set is an object");
    if fields.is_empty() || fields.contains_key(".") {
        found.insert(at.clone());
    }
    for (name, below) in fields.iter().filter(|(name, _)| *name != ".") {
        members(below, &at.iter().cloned().chain([name.clone()]).collect(), found);
    }
}

/// What the code says of an object and its managers.
fn told(shape: &Shape, story: &Story) -> (Parts, Managers) {
    let at = vec!["f:spec".to_owned()];
    let mut found = Parts::new();
    if story.object.as_ref().is_some_and(|object| object.get("spec").is_some()) {
        parts(shape, story.spec(), &at, &mut found);
    }
    let managers = story.sets().into_iter().map(|(name, applies, set)| {
        let written: Value = serde_json::from_str(&set.to_string()).expect("JSON");
        let mut paths = BTreeSet::new();
        members(&written, &Vec::new(), &mut paths);
        ((name, applies), paths)
    });
    (found, managers.collect())
}

fn tell(seed: u64) {
    let mut dice = Dice(seed);
    let fields: Vec<Shape> = (0..=dice.roll(3)).map(|_| Shape::random(&mut dice, DEPTH)).collect();
    let shape = Shape::Struct(fields);
    let schema = json!({"type": "object", "properties": {"spec": shape.schema()}});
    let mut story = Story::of(Thing(Types::of_schema(&schema)));
    let mut model = Model::default();
    let mut said = vec![format!("seed {seed}: {}", shape.schema())];
    for _ in 0..=dice.roll(STEPS) {
        let spec = shape.value(&mut dice);
        let manager = ["m0", "m1", "m2"][usize::from(dice.roll(3) as u8)];
        let (applies, force) = (dice.roll(4) > 0, dice.roll(2) > 0);
        said.push(format!("{manager} applies={applies} force={force}: {spec}"));
        let mut wanted = Parts::new();
        parts(&shape, &spec, &vec!["f:spec".to_owned()], &mut wanted);
        if applies {
            let done = model.apply(manager, &wanted, force);
            assert_eq!(story.apply(manager, &spec, force).is_ok(), done, "{said:#?}");
        } else {
            model.update(manager, wanted, story.object.is_none());
            story.update(manager, &spec);
        }
        let (parts, managers) = told(&shape, &story);
        let is_told = |path: &Path| [&parts, &model.parts].iter().all(|all| all.get(path) != Some(&Part::Container));
        let held = |parts: &Parts| -> Parts {
            let held = parts.iter().filter(|(path, _)| is_told(path));
            held.map(|(path, part)| (path.clone(), part.clone())).collect()
        };
        let sets = |managers: &Managers| -> Managers {
            let told = |set: &BTreeSet<Path>| set.iter().filter(|path| is_told(path)).cloned().collect();
            let sets = managers.iter().map(|(id, set)| (id.clone(), told(set)));
            sets.filter(|(_, set): &(_, BTreeSet<Path>)| !set.is_empty()).collect()
        };
        assert_eq!(held(&parts), held(&model.parts), "{said:#?}");
        assert_eq!(sets(&managers), sets(&model.managers), "{said:#?}");
    }
}

/// T34.
#[test]
fn random_stories_over_random_schemas_end_as_the_model_says() {
    let full = std::env::var_os("URSA_TEST_FULL").is_some_and(|full| full == "1");
    (0..if full { ALL_STORIES } else { STORIES }).for_each(tell);
}
