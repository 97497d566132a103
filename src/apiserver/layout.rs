//! How the Go structs behind the served kinds are laid out: protobuf numbers, JSON names, pointers, `omitempty`.
//!
//! Protobuf bodies are decoded by it, and managed fields are recorded by it: what a Go struct always has is not new
//! when it is first set. Read from `layout.tsv` when first asked for; `tests/envtest/kubernetes/wire` writes that file.

use std::collections::HashMap;
use std::sync::OnceLock;

const LAYOUT: &str = include_str!("layout.tsv");

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string, and the strings of enums.
    Text,
    /// A whole number.
    Int,
    /// A boolean.
    Bool,
    /// Bytes, base64 in JSON.
    Bytes,
    /// Seconds since 1970.
    Time,
    /// The same with microseconds.
    MicroTime,
    /// An amount such as `100m`.
    Quantity,
    /// A number or a name.
    IntOrString,
    /// JSON text inside a message.
    Raw,
    /// Not of interest.
    Ignored,
    /// A struct, by its place in the layout.
    Struct(usize),
}

/// One field of a struct.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about a field")]
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Number on the wire.
    pub number: u64,
    /// Name in JSON; empty when its own fields stand in its place.
    pub name: &'static str,
    /// Its content, or that of its items.
    pub kind: Kind,
    /// Absent and zero are two things.
    pub pointer: bool,
    /// A list of `kind`.
    pub list: bool,
    /// A map from text to `kind`.
    pub map: bool,
    /// JSON leaves out the zero value.
    pub omit_empty: bool,
}

impl Field {
    /// Whether Go writes this field into JSON whatever its value.
    pub fn is_always_there(&self) -> bool {
        // `omitempty` does nothing for structs.
        let of_struct = matches!(
            self.kind,
            Kind::Struct(_) | Kind::Time | Kind::MicroTime | Kind::Quantity | Kind::IntOrString
        );
        let is_struct = of_struct && !self.list && !self.map;
        (is_struct && !self.pointer) || !self.omit_empty
    }
}

/// All structs.
#[derive(Debug, Default)]
pub struct Layout {
    structs: Vec<Vec<Field>>,
    index: HashMap<&'static str, usize>,
}

impl Layout {
    /// The layout of the served kinds.
    pub fn get() -> &'static Layout {
        static PARSED: OnceLock<Layout> = OnceLock::new();
        PARSED.get_or_init(|| Layout::parse(LAYOUT))
    }

    fn parse(text: &'static str) -> Layout {
        let mut layout = Layout::default();
        for line in text.lines() {
            let name = line.split('\t').next().unwrap_or_default();
            let next = layout.index.len();
            layout.index.entry(name).or_insert(next);
        }
        layout.structs.resize(layout.index.len(), Vec::new());
        for line in text.lines() {
            let mut cells = line.split('\t');
            let mut next = || cells.next().unwrap_or_default();
            let (definition, number, name, mut spelled, flag) = (next(), next(), next(), next(), next());
            let (mut pointer, mut list, mut map) = (false, false, false);
            loop {
                if let Some(rest) = spelled.strip_prefix('*') {
                    (pointer, spelled) = (true, rest);
                } else if let Some(rest) = spelled.strip_prefix("[]") {
                    (list, spelled) = (true, rest);
                } else if let Some(rest) = spelled.strip_prefix("map:") {
                    (map, spelled) = (true, rest);
                } else {
                    break;
                }
            }
            let kind = match spelled {
                "text" => Kind::Text,
                "int" => Kind::Int,
                "bool" => Kind::Bool,
                "bytes" => Kind::Bytes,
                "time" => Kind::Time,
                "microtime" => Kind::MicroTime,
                "quantity" => Kind::Quantity,
                "intOrString" => Kind::IntOrString,
                "raw" => Kind::Raw,
                "ignored" => Kind::Ignored,
                definition => Kind::Struct(layout.index[definition]),
            };
            let number = number.parse().expect("the table holds numbers");
            let omit_empty = flag == "omitempty";
            let at = layout.index[definition];
            layout.structs[at].push(Field { number, name, kind, pointer, list, map, omit_empty });
        }
        layout
    }

    /// The struct of a top-level kind.
    pub fn find(&self, api_version: &str, kind: &str) -> Option<usize> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let package = match group.split('.').next().unwrap_or_default() {
            _ if kind == "DeleteOptions" => "io.k8s.apimachinery.pkg.apis.meta.v1".to_owned(),
            "" => format!("io.k8s.api.core.{version}"),
            "apiregistration" => format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{version}"),
            group => format!("io.k8s.api.{group}.{version}"),
        };
        self.index.get(format!("{package}.{kind}").as_str()).copied()
    }

    /// The fields of a struct.
    pub fn fields(&self, place: usize) -> &[Field] {
        &self.structs[place]
    }

    /// A field by its JSON name, looking into what is inlined.
    pub fn field(&self, place: usize, name: &str) -> Option<&Field> {
        self.structs[place].iter().find_map(|field| match field.kind {
            Kind::Struct(inner) if field.name.is_empty() => self.field(inner, name),
            _ => (field.name == name).then_some(field),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources::RESOURCES;

    #[test]
    fn every_kind_of_kubernetes_has_a_layout() {
        let layout = Layout::get();
        for resource in RESOURCES.iter().filter(|it| it.is_stored() && it.group != "snapshot.storage.k8s.io")
        {
            assert!(layout.find(&resource.api_version(), resource.kind).is_some(), "{}", resource.kind);
        }
    }

    #[test]
    fn fields_are_found_in_what_is_inlined() {
        let layout = Layout::get();
        let volume = layout.index["io.k8s.api.core.v1.Volume"];
        let claim = layout.field(volume, "persistentVolumeClaim").unwrap();
        assert!(claim.pointer && claim.omit_empty && !claim.is_always_there());
        let template = layout.field(layout.index["io.k8s.api.apps.v1.StatefulSetSpec"], "template").unwrap();
        assert!(template.is_always_there());
    }
}
