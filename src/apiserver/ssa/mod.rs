//! Server-side apply: the live object and one manager's configuration in, the merged object out.
//!
//! A field belongs to every manager that applied it with its present value. Applying takes the configuration's
//! values, gives up what the manager applied before and omits now (the field goes when nobody else owns it),
//! and is refused when it would change what others own, unless forced. Ordinary writes are recorded by [`updates`].
//! Source: structured-merge-diff `merge/update.go`; KEP-555.

mod changes;
mod fields;
pub mod updates;

use crate::apiserver::layout::Layout;
use crate::apiserver::merge_keys::{Shape, Type, is_atomic_item};
use crate::apiserver::resources::Resource;
use crate::apiserver::{defaults, validate};
use changes::Changes;
use fields::{FieldSet, Path, below, in_order, item_step, shown};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Who applies, and how.
#[derive(Debug, Clone, Copy)]
pub struct ApplyOptions<'a> {
    /// `fieldManager` of the request.
    pub manager: &'a str,
    /// Take over fields that others own instead of reporting a conflict.
    pub force: bool,
    /// Subresource the request was sent to, empty for the object itself.
    pub subresource: &'a str,
    /// RFC 3339, whole seconds: `time` of the managedFields entry; empty for none, as through `scale`.
    pub now: &'a str,
}

/// Why an apply was refused, by the answer it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyError {
    /// 409: others own fields this manager wants to change.
    Conflict {
        /// `Apply failed with 1 conflict: …`, ready for the Status object.
        message: String,
        /// (message, field) of each cause, reason FieldManagerConflict.
        causes: Vec<(String, String)>,
    },
    /// 400: the configuration cannot be applied.
    BadRequest(String),
    /// 500 without a reason: the configuration does not fit the schema.
    Typed(String),
}

/// One managedFields entry with its set decoded.
#[derive(Debug)]
pub struct Entry {
    raw: Value,
    owned: FieldSet,
}

impl Entry {
    /// An entry of an ordinary write.
    fn update(
        manager: &str,
        version: &str,
        subresource: &str,
        time: Option<String>,
        owned: FieldSet,
    ) -> Self {
        let mut raw = json!({"manager": manager, "operation": "Update", "apiVersion": version, "fieldsType": "FieldsV1"});
        if let Some(time) = time {
            raw["time"] = time.into();
        }
        if !subresource.is_empty() {
            raw["subresource"] = subresource.into();
        }
        Self { raw, owned }
    }

    fn is_mine(&self, options: &ApplyOptions<'_>) -> bool {
        self.raw["manager"] == options.manager
            && self.raw["operation"] == "Apply"
            && self.raw["subresource"].as_str().unwrap_or_default() == options.subresource
    }

    /// `"m"` for appliers, `"m" using apps/v1` for others.
    fn title(&self) -> String {
        let text = |field: &str| self.raw[field].as_str().unwrap_or_default();
        let subresource = match text("subresource") {
            "" => String::new(),
            name => format!(" with subresource {name:?}"),
        };
        let version = match text("operation") {
            "Apply" => String::new(),
            _ => format!(" using {}", text("apiVersion")),
        };
        format!("{:?}{subresource}{version}", text("manager"))
    }
}

/// Merges `config` into `live`; `None` creates. Defaulting and validation of the result are the caller's.
pub fn apply(
    resource: &Resource,
    live: Option<&Value>,
    config: &Value,
    options: &ApplyOptions<'_>,
) -> Result<Value, ApplyError> {
    let bad = |it: String| ApplyError::BadRequest(it);
    if !config.is_object() {
        return Err(bad("the applied configuration must be an object".into()));
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(bad("metadata.managedFields must be nil".into()));
    }
    let typed_patch = |detail: String| {
        let text = |field: &str| config["metadata"][field].as_str().unwrap_or_default();
        let version = resource.api_version();
        let (namespace, name, kind) = (text("namespace"), text("name"), resource.kind);
        let slash = if resource.group.is_empty() { "/" } else { "" };
        ApplyError::Typed(format!(
            "failed to create typed patch object ({namespace}/{name}; {slash}{version}, Kind={kind}): {detail}"
        ))
    };
    let unknown = validate::find_unknown(resource, config).map_err(typed_patch)?;
    if let Some(field) = unknown.first() {
        return Err(typed_patch(format!(".{field}: field not declared in schema")));
    }
    let mut config = config.clone();
    defaults::normalize(resource, &mut config);
    keep_own_part(resource, options.subresource, &mut config);

    let kind = Type::of(resource);
    let wanted = FieldSet::of(kind, &config, &unowned).map_err(typed_patch)?;
    let empty = json!({});
    let live = live.unwrap_or(&empty);
    let mut entries = entries(live);
    if entries.is_empty() && live["metadata"].get("uid").is_some() {
        entries.push(updates::before_first_apply(resource, live));
    }
    let mut merged = merge(Shape::Object(""), kind, Some(live), &config);
    if let Some(mine) = entries.iter().find(|it| it.is_mine(options)) {
        let mut dropped: Vec<&Path> = mine.owned.0.difference(&wanted.0).collect();
        // Items before their fields: without its key field an item could not be found any more.
        dropped.sort_by_key(|it| it.len());
        for path in dropped {
            let others = entries.iter().any(|it| !it.is_mine(options) && it.owned.covers(path));
            if !others && !wanted.covers(path) {
                remove(kind, &mut merged, path);
            }
        }
    }
    let has_status = resource.has_status() && options.subresource != "status";
    let ignored = |path: &[String]| unowned(path) || has_status && path == ["f:status"];
    let layout = Layout::get().find(&resource.api_version(), resource.kind);
    let changes = changes::changes(kind, layout, live, &merged, &ignored);
    let conflicts = conflicts(&changes, &entries, options);
    if !conflicts.is_empty() {
        let paths = || conflicts.iter().map(|it| &it.1);
        if !options.force && !were_applied_by_kubectl(kind, live, paths(), options) {
            return Err(refusal(&conflicts, &entries));
        }
        for (index, path) in &conflicts {
            entries[*index].owned.0.remove(path);
        }
    }
    for entry in entries.iter_mut().filter(|it| !it.is_mine(options)) {
        entry.owned.0.retain(|it| !changes.removed.0.contains(it));
    }
    write_entries(resource, entries, wanted, options, changes == Changes::default(), &mut merged);
    Ok(merged)
}

/// Whether all of `paths` are fields that `kubectl apply` without `--server-side` set: `kubectl` may take those over.
fn were_applied_by_kubectl<'a>(
    kind: Type,
    live: &Value,
    mut paths: impl Iterator<Item = &'a Path>,
    options: &ApplyOptions<'_>,
) -> bool {
    const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let annotation = live["metadata"]["annotations"][LAST_APPLIED].as_str();
    let Some(text) = annotation.filter(|_| options.manager == "kubectl") else { return false };
    let Ok(config) = serde_json::from_str::<Value>(text) else { return false };
    FieldSet::of(kind, &config, &unowned).is_ok_and(|known| paths.all(|it| known.0.contains(it)))
}

/// An apply to `/status` is about the status, any other about everything else.
fn keep_own_part(resource: &Resource, subresource: &str, config: &mut Value) {
    let Some(map) = config.as_object_mut() else { return };
    if subresource == "status" {
        map.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
        if let Some(metadata) = map.get_mut("metadata").filter(|_| resource.kind == "Deployment") {
            metadata.as_object_mut().map(|it| it.remove("labels"));
        }
    } else if resource.has_status() {
        map.remove("status");
    }
}

/// Fields without owners.
fn unowned(path: &[String]) -> bool {
    match path {
        [one] => matches!(one.as_str(), "f:apiVersion" | "f:kind"),
        [metadata, field] if metadata == "f:metadata" => matches!(
            field.as_str(),
            "f:name"
                | "f:namespace"
                | "f:uid"
                | "f:resourceVersion"
                | "f:generation"
                | "f:creationTimestamp"
                | "f:selfLink"
                | "f:managedFields"
        ),
        _ => false,
    }
}

fn entries(live: &Value) -> Vec<Entry> {
    let raw = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    raw.map(|raw| Entry { raw: raw.clone(), owned: FieldSet::decode(&raw["fieldsV1"]) }).collect()
}

/// (entry, path) of every field that changes hands.
fn conflicts(changes: &Changes, entries: &[Entry], options: &ApplyOptions<'_>) -> Vec<(usize, Path)> {
    let mut found = Vec::new();
    for (index, entry) in entries.iter().enumerate().filter(|it| !it.1.is_mine(options)) {
        let mut paths: Vec<Path> = entry.owned.0.intersection(&changes.set.0).cloned().collect();
        paths.sort_by(|left, right| in_order(left, right));
        found.extend(paths.into_iter().map(|it| (index, it)));
    }
    found
}

fn refusal(conflicts: &[(usize, Path)], entries: &[Entry]) -> ApplyError {
    let mut by_manager: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut causes = Vec::new();
    for (index, path) in conflicts {
        let (title, field) = (entries[*index].title(), shown(path));
        causes.push((format!("conflict with {title}"), field.clone()));
        by_manager.entry(title).or_default().push(field);
    }
    let message = if let [(title, field)] = &causes[..] {
        format!("Apply failed with 1 conflict: {title}: {field}")
    } else {
        let mut lines = Vec::new();
        for (title, fields) in by_manager {
            lines.push(format!("conflicts with {title}:"));
            lines.extend(fields.into_iter().map(|it| format!("- {it}")));
        }
        format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
    };
    ApplyError::Conflict { message, causes }
}

/// Position of the item a step names.
fn position(items: &[Value], step: &str, shape: Shape) -> Option<usize> {
    match (shape, step.split_at(2)) {
        (Shape::Items { apply_keys, .. }, ("k:", _)) => {
            items.iter().position(|it| item_step(it, apply_keys).is_ok_and(|it| it == step))
        }
        (_, ("v:", _)) => items.iter().position(|it| format!("v:{it}") == step),
        _ => None,
    }
}

fn item_type(shape: Shape) -> Type {
    match shape {
        Shape::Items { item, .. } => Type::named(item),
        _ => Type::PLAIN,
    }
}

/// Configuration over live: maps by key, associative lists by item, everything else as a whole.
fn merge(shape: Shape, kind: Type, live: Option<&Value>, config: &Value) -> Value {
    match (shape, live, config) {
        (Shape::Object(_), Some(Value::Object(live)), Value::Object(config)) => {
            let mut merged = live.clone();
            for (key, value) in config {
                let (shape, child) = below(kind, key);
                merged.insert(key.clone(), merge(shape, child, live.get(key), value));
            }
            Value::Object(merged)
        }
        (Shape::Items { item, apply_keys, .. }, Some(Value::Array(live)), Value::Array(config))
            if !apply_keys.is_empty() =>
        {
            let step = |it: &Value| item_step(it, apply_keys).unwrap_or_default();
            let shape = if is_atomic_item(item) { Shape::Atomic } else { Shape::Object(item) };
            merge_items(live, config, &step, &|live, one| merge(shape, Type::named(item), live, one)).into()
        }
        (Shape::Set, Some(Value::Array(live)), Value::Array(config)) => {
            merge_items(live, config, &ToString::to_string, &|_, one| one.clone()).into()
        }
        _ => config.clone(),
    }
}

/// Items of both lists: those of the configuration in its order, the others where they were between them.
///
/// Source: structured-merge-diff `typed/merge.go`, `visitListItems`.
fn merge_items(
    live: &[Value],
    config: &[Value],
    step: &dyn Fn(&Value) -> String,
    merged: &dyn Fn(Option<&Value>, &Value) -> Value,
) -> Vec<Value> {
    let (old, new): (Vec<_>, Vec<_>) = (live.iter().map(step).collect(), config.iter().map(step).collect());
    let known = |name: &String| old.iter().position(|it| it == name).map(|it| &live[it]);
    let mut shared = new.iter().filter(|it| old.contains(it));
    let mut next_shared = shared.next();
    let mut done: Vec<&String> = Vec::new();
    let mut items = Vec::with_capacity(old.len().max(new.len()));
    let (mut left, mut right) = (0, 0);
    while left < old.len() || right < new.len() {
        if let (Some(ours), Some(theirs)) = (old.get(left), new.get(right)) {
            if ours == theirs {
                done.push(ours);
                items.push(merged(Some(&live[left]), &config[right]));
                (left, right) = (left + 1, right + 1);
                next_shared = shared.next();
                continue;
            }
            if new.contains(ours) && next_shared.is_some_and(|it| it != ours) {
                // Its turn comes with the configuration.
                left += 1;
                continue;
            }
        }
        if let Some(ours) = old.get(left) {
            if !new.contains(ours) {
                items.push(live[left].clone());
                left += 1;
                continue;
            }
            if done.contains(&ours) {
                left += 1;
            }
        }
        if let Some(theirs) = new.get(right) {
            done.push(theirs);
            items.push(merged(known(theirs), &config[right]));
            right += 1;
            if next_shared == Some(theirs) {
                next_shared = shared.next();
            }
        }
    }
    items
}

/// Takes the value at `path` out, and the maps and lists that become empty by it.
fn remove(kind: Type, object: &mut Value, path: &[String]) {
    remove_below(Shape::Object(""), kind, object, path);
}

fn remove_below(shape: Shape, kind: Type, at: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return };
    if let (Some(field), Value::Object(map)) = (step.strip_prefix("f:"), &mut *at) {
        let (shape, child) = below(kind, field);
        if rest.is_empty() {
            map.remove(field);
        } else if let Some(value) = map.get_mut(field) {
            remove_below(shape, child, value, rest);
            if is_empty(value) {
                map.remove(field);
            }
        }
    } else if let Value::Array(items) = at
        && let Some(index) = position(items, step, shape)
    {
        if rest.is_empty() {
            items.remove(index);
        } else {
            remove_below(Shape::Object(""), item_type(shape), &mut items[index], rest);
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Stores who owns what: the others' entries as they are, this manager's replaced.
fn write_entries(
    resource: &Resource,
    entries: Vec<Entry>,
    wanted: FieldSet,
    options: &ApplyOptions<'_>,
    is_same: bool,
    merged: &mut Value,
) {
    let mut written = Vec::new();
    // An apply that changes nothing but owners has no time of its own.
    let mut time = if is_same || options.now.is_empty() { Value::Null } else { options.now.into() };
    for mut entry in entries {
        if entry.is_mine(options) {
            if is_same {
                time = entry.raw["time"].clone();
            }
        } else if !entry.owned.0.is_empty() {
            entry.raw["fieldsV1"] = entry.owned.encode();
            written.push(entry.raw);
        }
    }
    if !wanted.0.is_empty() {
        let mut mine = json!({"manager": options.manager, "operation": "Apply", "apiVersion": resource.api_version(),
            "fieldsType": "FieldsV1", "fieldsV1": wanted.encode()});
        if !time.is_null() {
            mine["time"] = time;
        }
        if !options.subresource.is_empty() {
            mine["subresource"] = options.subresource.into();
        }
        written.push(mine);
    }
    sort(&mut written);
    if let Some(map) = merged.as_object_mut() {
        let metadata = map.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if metadata.is_object() {
            metadata["managedFields"] = written.into();
        }
    }
}

/// The order upstream lists them in.
fn sort(entries: &mut [Value]) {
    let order = |it: &Value| {
        ["operation", "time", "manager", "apiVersion", "subresource"]
            .map(|key| it[key].as_str().unwrap_or_default().to_owned())
    };
    entries.sort_by_key(order);
}

#[cfg(test)]
mod tests;
