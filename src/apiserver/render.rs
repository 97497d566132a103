//! Stored objects as JSON, Tables and partial metadata.

use crate::apiserver::negotiate::Media;
use crate::apiserver::object::{Object, body_of};
use crate::apiserver::resources::Resource;
use crate::apiserver::store::stored_as;
use crate::apiserver::table;
use crate::apiserver::views;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a Table row carries besides its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// PartialObjectMetadata.
    Metadata,
    /// The object.
    Object,
}

impl IncludeObject {
    /// Reads `includeObject`.
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("None") => Self::None,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// How one client wants objects of one resource.
#[derive(Debug, Clone)]
pub struct View {
    /// The resource it asked for.
    pub resource: &'static Resource,
    /// The shape.
    pub media: Media,
    /// Content of Table rows.
    pub include: IncludeObject,
    /// Time that ages are counted to.
    pub now: Timestamp,
}

/// Metadata of a list.
#[derive(Debug, Clone, Default)]
pub struct ListMeta {
    /// Resource version of the list.
    pub version: u64,
    /// Where the next page starts.
    pub continuation: Option<String>,
    /// Objects after this page.
    pub remaining: Option<usize>,
}

impl ListMeta {
    fn to_value(&self) -> Value {
        let mut meta = json!({"resourceVersion": self.version.to_string()});
        if let Some(token) = &self.continuation {
            meta["continue"] = token.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            meta["remainingItemCount"] = remaining.into();
        }
        meta
    }
}

/// Whether a Table carries its column definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// Yes.
    Defined,
    /// No: an earlier event of the same watch did.
    Omitted,
}

impl View {
    /// Writes one object in this shape.
    pub fn object(&self, object: &Object, columns: Columns, out: &mut Vec<u8>) {
        match self.media {
            Media::Table(version) => {
                let meta = ListMeta { version: object.version, ..ListMeta::default() };
                write_value(out, &self.table(version, std::iter::once(object), &meta, columns));
            }
            Media::Partial(version) | Media::PartialList(version) => {
                write_value(out, &partial(&object.value.read(), version));
            }
            Media::Json | Media::Discovery(_) => {
                let body = if views::is_view(self.resource) {
                    body_of(&views::from_stored(self.resource, &object.value.read()))
                } else {
                    object.body.clone()
                };
                write_type(out, &self.resource.api_version(), self.resource.kind);
                out.extend_from_slice(&body[1..]);
            }
        }
    }

    /// Writes a list in this shape.
    pub fn list(&self, objects: &[Arc<Object>], meta: &ListMeta) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + objects.iter().map(|it| it.body.len() + 1).sum::<usize>());
        match self.media {
            Media::Table(version) => {
                let table = self.table(version, objects.iter().map(AsRef::as_ref), meta, Columns::Defined);
                write_value(&mut out, &table);
            }
            Media::Partial(version) | Media::PartialList(version) => {
                let items: Vec<Value> = objects.iter().map(|it| partial(&it.value.read(), version)).collect();
                let list = json!({
                    "kind": "PartialObjectMetadataList",
                    "apiVersion": format!("meta.k8s.io/{version}"),
                    "metadata": meta.to_value(),
                    "items": items,
                });
                write_value(&mut out, &list);
            }
            Media::Json | Media::Discovery(_) => {
                write_type(&mut out, &self.resource.api_version(), &format!("{}List", self.resource.kind));
                out.extend_from_slice(b"\"metadata\":");
                write_value(&mut out, &meta.to_value());
                out.extend_from_slice(b",\"items\":[");
                for (index, object) in objects.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    if views::is_view(self.resource) {
                        out.extend_from_slice(&body_of(&views::from_stored(
                            self.resource,
                            &object.value.read(),
                        )));
                    } else {
                        out.extend_from_slice(&object.body);
                    }
                }
                out.extend_from_slice(b"]}");
            }
        }
        out
    }

    /// The object of a BOOKMARK event.
    pub fn bookmark(&self, version: u64, initial_events_end: bool) -> Value {
        let (api_version, kind) = match self.media {
            Media::Table(version) => (format!("meta.k8s.io/{version}"), "Table"),
            Media::Partial(version) | Media::PartialList(version) => {
                (format!("meta.k8s.io/{version}"), "PartialObjectMetadata")
            }
            Media::Json | Media::Discovery(_) => (self.resource.api_version(), self.resource.kind),
        };
        let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut bookmark = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
        if matches!(self.media, Media::Table(_)) {
            bookmark["columnDefinitions"] = Value::Null;
            bookmark["rows"] = json!([]);
        }
        bookmark
    }

    fn table<'a>(
        &self,
        version: &str,
        objects: impl Iterator<Item = &'a Object>,
        meta: &ListMeta,
        columns: Columns,
    ) -> Value {
        let resource = stored_as(self.resource);
        let definitions = match columns {
            Columns::Omitted => Value::Null,
            Columns::Defined => table::columns(resource)
                .iter()
                .map(|it| {
                    json!({
                        "name": it.name,
                        "type": it.type_,
                        "format": it.format,
                        "description": it.description,
                        "priority": it.priority,
                    })
                })
                .collect(),
        };
        let rows: Vec<Value> = objects
            .map(|object| {
                let value = object.value.read();
                let mut row = json!({"cells": table::cells(resource, &value, self.now)});
                if let Some(conditions) = table::conditions(resource, &value) {
                    row["conditions"] = conditions;
                }
                match self.include {
                    IncludeObject::None => {}
                    IncludeObject::Metadata => row["object"] = partial(&value, version),
                    IncludeObject::Object => {
                        row["object"] = views::from_stored(self.resource, &value);
                    }
                }
                row
            })
            .collect();
        json!({
            "kind": "Table",
            "apiVersion": format!("meta.k8s.io/{version}"),
            "metadata": meta.to_value(),
            "columnDefinitions": definitions,
            "rows": rows,
        })
    }
}

fn partial(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object["metadata"],
    })
}

/// Serialises into a buffer.
pub fn write_value(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a JSON value always serialises");
}

fn write_type(out: &mut Vec<u8>, api_version: &str, kind: &str) {
    out.extend_from_slice(b"{\"apiVersion\":\"");
    out.extend_from_slice(api_version.as_bytes());
    out.extend_from_slice(b"\",\"kind\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",");
}
