//! What k8s-openapi's schemas leave out: how lists and maps merge, defaults, and the values of enums.
//!
//! The table was read from the documents of kube-apiserver 1.36 by `tests/envtest/openapi-facts`.

use serde_json::{Map, Value, json};

/// definition, field (empty: the definition itself), fact, value, what an enum's value does; separated by tabs.
const FACTS: &str = include_str!("facts.tsv");

/// One line of the table.
struct Fact<'a> {
    definition: &'a str,
    field: &'a str,
    name: &'a str,
    value: &'a str,
    text: &'a str,
}

fn facts() -> impl Iterator<Item = Fact<'static>> {
    FACTS.lines().map(|line| {
        let mut cells = line.split('\t');
        let mut next = || cells.next().unwrap_or_default();
        Fact { definition: next(), field: next(), name: next(), value: next(), text: next() }
    })
}

/// Writes the facts into the schemas they are about.
pub fn add(definitions: &mut Map<String, Value>) {
    for fact in facts() {
        let Some(definition) = definitions.get_mut(fact.definition) else { continue };
        let schema = match fact.field {
            "" => Some(definition),
            field => definition.get_mut("properties").and_then(|it| it.get_mut(field)),
        };
        if let Some(Value::Object(schema)) = schema {
            write(schema, &fact);
        }
    }
}

fn write(schema: &mut Map<String, Value>, fact: &Fact<'_>) {
    match fact.name {
        "default" => {
            let value = serde_json::from_str(fact.value).expect("the table holds JSON");
            schema.insert("default".to_owned(), value);
        }
        "list-map-keys" => {
            let keys: Vec<&str> = fact.value.split(',').collect();
            schema.insert("x-kubernetes-list-map-keys".to_owned(), json!(keys));
        }
        "enum" => {
            let heading = "\n\nPossible enum values:";
            let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            let heading = if text.contains(heading) { "" } else { heading };
            let line = format!(" - `{:?}` {}", fact.value, fact.text);
            let text = format!("{text}{heading}\n{}", line.trim_end());
            schema.insert("description".to_owned(), text.into());
            // Those of a list are the values of its items.
            let target = match schema.get_mut("items").and_then(Value::as_object_mut) {
                Some(items) => items,
                None => schema,
            };
            let values = target.entry("enum").or_insert_with(|| json!([]));
            values.as_array_mut().expect("made here").push(fact.value.into());
        }
        name => {
            schema.insert(format!("x-kubernetes-{name}"), fact.value.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::merge_keys::{Shape, Type};
    use crate::apiserver::resources::RESOURCES;

    #[test]
    fn every_fact_is_about_a_field_that_exists() {
        let mut definitions = super::super::schemas::of(RESOURCES.iter());
        add(&mut definitions);
        for fact in facts() {
            let definition =
                definitions.get(fact.definition).unwrap_or_else(|| panic!("{}", fact.definition));
            let known = fact.field.is_empty() || definition["properties"].get(fact.field).is_some();
            assert!(known, "{} {}", fact.definition, fact.field);
        }
    }

    /// Where the table of merge keys differs from the schema of `kind` below `definition`.
    fn compare(
        definitions: &Map<String, Value>,
        definition: &str,
        kind: Type,
        path: &str,
        wrong: &mut Vec<String>,
    ) {
        // Schemas of JSON values refer to themselves, and no object is this deep.
        if path.matches('.').count() > 14 {
            return;
        }
        let reference = |schema: &Value| {
            let direct = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
            direct.and_then(|it| it.rsplit('/').next()).map(str::to_owned)
        };
        let text = |schema: &Value, name: &str| schema[name].as_str().unwrap_or_default().to_owned();
        for (field, schema) in definitions[definition]["properties"].as_object().into_iter().flatten() {
            let at = format!("{path}.{field}");
            let shape = kind.field(field);
            if schema["type"] == "array" {
                let keys: Vec<String> = schema["x-kubernetes-list-map-keys"]
                    .as_array()
                    .map(|it| it.iter().map(|it| it.as_str().unwrap().to_owned()).collect())
                    .unwrap_or_default();
                let (patch_key, list) =
                    (text(schema, "x-kubernetes-patch-merge-key"), text(schema, "x-kubernetes-list-type"));
                let merges = text(schema, "x-kubernetes-patch-strategy").contains("merge");
                let item = reference(&schema["items"]);
                let right = match shape {
                    Some(Shape::Items { patch_key: ours, apply_keys, .. }) => {
                        ours == patch_key && (apply_keys == keys || apply_keys.is_empty() && list != "map")
                    }
                    Some(Shape::Set) => list == "set",
                    _ => !merges && list != "map" && list != "set",
                };
                if !right {
                    wrong.push(format!("{at}: {patch_key:?} {list} {keys:?}, not {shape:?}"));
                }
                if let (Some(item), Some(Shape::Items { item: ours, .. })) = (item, shape)
                    && !keys.is_empty()
                {
                    compare(definitions, &item, Type::named(ours), &at, wrong);
                }
                continue;
            }
            let child = reference(schema);
            let of_child = child.as_ref().map(|it| text(&definitions[it], "x-kubernetes-map-type"));
            let atomic =
                text(schema, "x-kubernetes-map-type") == "atomic" || of_child.as_deref() == Some("atomic");
            let replaced = schema["x-kubernetes-patch-strategy"] == "replace";
            let right = match shape {
                Some(Shape::Atomic) => atomic && !replaced,
                Some(Shape::Replaced) => atomic && replaced,
                _ => !atomic && !replaced,
            };
            if !right {
                wrong.push(format!("{at}: atomic {atomic}, replaced {replaced}, not {shape:?}"));
            }
            if let Some(child) = child
                && !atomic
            {
                compare(definitions, &child, kind.child(field), &at, wrong);
            }
        }
    }

    #[test]
    fn the_table_of_merge_keys_says_the_same() {
        let mut definitions = super::super::schemas::of(RESOURCES.iter());
        add(&mut definitions);
        let mut wrong = Vec::new();
        for resource in RESOURCES.iter().filter(|it| it.is_stored()) {
            let gvk = super::super::schemas::gvk(resource);
            let root = definitions.iter().find(|it| it.1["x-kubernetes-group-version-kind"][0] == gvk);
            let (name, _) = root.unwrap_or_else(|| panic!("{}", resource.kind));
            let path = format!("{}/{}", resource.group, resource.kind);
            compare(&definitions, name, Type::of(resource), &path, &mut wrong);
        }
        assert_eq!(wrong, [""; 0], "{} differences", wrong.len());
    }
}
