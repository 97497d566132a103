//! What a write changed, as sets of field paths, told the way upstream compares Go structs.
//!
//! A field that Go always writes (`template`, `resources`, `serviceName`) is not new when it is first set; one that is
//! absent without a value (`labels`, `ports`) is, and counts as a member of its own.
//! Sources: structured-merge-diff `typed/compare.go`, `value/structreflect.go`.

use super::fields::{FieldSet, below, item_step};
use crate::apiserver::layout::{Kind, Layout};
use crate::apiserver::merge_keys::{Shape, Type, is_atomic_item};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What one write did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Fields that are new or have another value.
    pub set: FieldSet,
    /// Fields that are gone.
    pub removed: FieldSet,
}

/// Where the walk is.
#[derive(Clone, Copy)]
struct Place {
    shape: Shape,
    kind: Type,
    /// Go struct, if known.
    layout: Option<usize>,
}

struct Walk<'a> {
    changes: Changes,
    path: Vec<String>,
    ignored: &'a dyn Fn(&[String]) -> bool,
}

static NOTHING: Value = Value::Null;

/// Compares two states of an object whose Go struct is at `layout`. Paths for which `ignored` holds are left out.
pub fn changes(
    kind: Type,
    layout: Option<usize>,
    old: &Value,
    new: &Value,
    ignored: &dyn Fn(&[String]) -> bool,
) -> Changes {
    let mut walk = Walk { changes: Changes::default(), path: Vec::new(), ignored };
    walk.node(Place { shape: Shape::Object(""), kind, layout }, Some(old), Some(new));
    walk.changes
}

impl Walk<'_> {
    fn node(&mut self, place: Place, old: Option<&Value>, new: Option<&Value>) {
        if (self.ignored)(&self.path) {
            return;
        }
        let all = |is: fn(&Value) -> bool| old.into_iter().chain(new).all(is);
        match place.shape {
            Shape::Object(_) if all(Value::is_object) => self.object(place, old, new),
            Shape::Items { item, apply_keys, .. } if !apply_keys.is_empty() && all(Value::is_array) => {
                let shape = if is_atomic_item(item) { Shape::Atomic } else { Shape::Object(item) };
                let inner = Place { shape, kind: Type::named(item), layout: place.layout };
                self.items(inner, old, new, &|it| item_step(it, apply_keys).ok());
            }
            Shape::Set if all(Value::is_array) => {
                let inner = Place { shape: Shape::Atomic, kind: Type::PLAIN, layout: None };
                self.items(inner, old, new, &|it| Some(format!("v:{it}")));
            }
            _ if old == new => {}
            _ => self.tell(new.is_some()),
        }
    }

    /// The present path was set, or is gone.
    fn tell(&mut self, is_set: bool) {
        let set = if is_set { &mut self.changes.set } else { &mut self.changes.removed };
        if !self.path.is_empty() {
            set.0.insert(self.path.clone());
        }
    }

    fn object(&mut self, place: Place, old: Option<&Value>, new: Option<&Value>) {
        if old.is_none() || new.is_none() {
            self.tell(new.is_some());
        }
        let fields = [old, new].into_iter().flatten().filter_map(Value::as_object).flat_map(Map::keys);
        let mut names: BTreeSet<&str> = fields.map(String::as_str).collect();
        let layout = Layout::get();
        if let (Some(at), None) = (place.layout, old) {
            // What Go writes whatever its value comes with the struct.
            let always = layout.fields(at).iter().filter(|it| !it.name.is_empty() && it.is_always_there());
            names.extend(always.map(|it| it.name));
        }
        let empty = Value::Object(Map::new());
        for name in names {
            let field = place.layout.and_then(|it| layout.field(it, name));
            let (shape, kind) = below(place.kind, name);
            let inner = match field.map(|it| it.kind) {
                Some(Kind::Struct(at)) if !field.is_some_and(|it| it.map) => Some(at),
                _ => None,
            };
            let (mut before, mut after) = (old.and_then(|it| it.get(name)), new.and_then(|it| it.get(name)));
            if let Some(field) = field.filter(|it| it.is_always_there()) {
                let is_struct = inner.is_some() && !field.list;
                let zero = if is_struct { &empty } else { &NOTHING };
                if old.is_some() && before.is_none() {
                    before = Some(zero);
                }
                if new.is_some() && after.is_none() {
                    after = Some(zero);
                }
                if let (Some(Value::Null), Some(value)) = (before, after)
                    && is_zero(value)
                {
                    before = after;
                }
            }
            // Go leaves out empty lists and maps.
            if field.is_some_and(|it| it.omit_empty && !it.pointer && (it.list || it.map)) {
                before = before.filter(|it| !is_empty(it));
                after = after.filter(|it| !is_empty(it));
            }
            self.path.push(format!("f:{name}"));
            self.node(Place { shape, kind, layout: inner }, listed(before, after), listed(after, before));
            self.path.pop();
        }
    }

    fn items(
        &mut self,
        inner: Place,
        old: Option<&Value>,
        new: Option<&Value>,
        step: &dyn Fn(&Value) -> Option<String>,
    ) {
        if old.is_none() || new.is_none() {
            self.tell(new.is_some());
        }
        let (old, new) = (keyed(old, step), keyed(new, step));
        for (index, (step, after)) in new.iter().enumerate() {
            // Of items that are there twice the first counts.
            if new[..index].iter().any(|it| it.0 == *step) {
                continue;
            }
            let before = old.iter().find(|it| it.0 == *step).map(|it| it.1);
            self.path.push(step.clone());
            if before.is_none() && !after.is_object() {
                self.tell(true);
            }
            self.node(inner, before, Some(after));
            self.path.pop();
        }
        for (step, before) in &old {
            if !new.iter().any(|it| it.0 == *step) {
                self.path.push(step.clone());
                self.node(inner, Some(before), None);
                self.path.pop();
            }
        }
    }
}

/// The items of a list, each with the step that leads to it; one that has none is left out.
fn keyed<'a>(list: Option<&'a Value>, step: &dyn Fn(&Value) -> Option<String>) -> Vec<(String, &'a Value)> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|it| Some((step(it)?, it))).collect()
}

/// A null where the other side has a list is an empty list.
fn listed<'a>(value: Option<&'a Value>, other: Option<&Value>) -> Option<&'a Value> {
    static EMPTY: Value = Value::Array(Vec::new());
    match (value, other) {
        (Some(Value::Null), Some(Value::Array(_))) => Some(&EMPTY),
        _ => value,
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(flag) => !flag,
        Value::Array(items) => items.is_empty(),
        _ => value.is_null(),
    }
}
