//! Schemas of kinds, from the types of k8s-openapi and the facts those leave out.
//!
//! Made for each request and thrown away: a client asks once per build, and nobody else pays for them.

use super::facts;
use crate::apiserver::kinds::{self, Visitor};
use crate::apiserver::resources::Resource;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

struct Define<'a>(&'a mut SchemaGenerator);

impl Visitor for Define<'_> {
    type Output = Schema;

    fn visit<T: DeserializeOwned + Serialize + JsonSchema>(self) -> Schema {
        self.0.subschema_for::<T>()
    }
}

/// Definitions that are one of two JSON types.
const EITHER: &[(&str, [&str; 2])] = &[
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", ["integer", "string"]),
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", ["string", "number"]),
];

/// `components.schemas` of these kinds and of everything they refer to.
pub fn of<'a>(resources: impl Iterator<Item = &'a Resource>) -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let mut roots = Vec::new();
    for resource in resources {
        let Some(schema) = kinds::visit(resource, Define(&mut generator)) else { continue };
        let reference = schema.get("$ref").and_then(Value::as_str).unwrap_or_default();
        roots.push((reference.rsplit('/').next().unwrap_or_default().to_owned(), resource));
    }
    let mut definitions = generator.take_definitions(true);
    for (name, resource) in roots {
        if let Some(schema) = definitions.get_mut(&name) {
            schema["x-kubernetes-group-version-kind"] = json!([gvk(resource)]);
        }
    }
    for (name, kinds) in EITHER {
        if let Some(Value::Object(schema)) = definitions.get_mut(*name) {
            schema.retain(|key, _| key == "description");
            schema.insert("oneOf".to_owned(), kinds.iter().map(|it| json!({"type": it})).collect());
        }
    }
    if let Some(schema) = definitions.get_mut(EITHER[0].0) {
        schema["format"] = "int-or-string".into();
    }
    facts::add(&mut definitions);
    definitions
}

/// How documents name a kind.
pub fn gvk(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}
