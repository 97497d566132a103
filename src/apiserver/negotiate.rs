//! The shape of an answer, chosen from the Accept header.

use crate::apiserver::resources::Resource;
use crate::apiserver::status::Status;

/// A shape this server can answer in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// The object or list itself.
    Json,
    /// `meta.k8s.io` Table, version `v1` or `v1beta1`.
    Table(&'static str),
    /// Metadata only, version `v1` or `v1beta1`; lists become PartialObjectMetadataList.
    Partial(&'static str),
    /// The same, asked for as a list.
    PartialList(&'static str),
    /// Aggregated discovery, version `v2` or `v2beta1`.
    Discovery(&'static str),
}

impl Media {
    /// 406 when metadata of one object is asked for and the answer is a list, or the other way round.
    pub fn check(self, resource: &Resource, named: bool) -> Result<(), Status> {
        // The Go package of the kind.
        let package = match resource.group {
            "" | "events.k8s.io" => "core",
            group => group.split('.').next().unwrap_or_default(),
        };
        let kind = resource.kind;
        let what = match (self, named) {
            (Media::Partial(_), false) => {
                format!("PartialObjectMetadata, but the requested object is a list (*{package}.{kind}List)")
            }
            (Media::PartialList(_), true) => {
                format!(
                    "PartialObjectMetadataList, but the requested object is not a list (*{package}.{kind})"
                )
            }
            _ => return Ok(()),
        };
        Err(Status { message: format!("you requested {what}"), ..Status::not_acceptable() })
    }
}

/// What a path can be answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Objects and lists: JSON, Table, PartialObjectMetadata.
    Objects,
    /// `/api` and `/apis`: JSON, aggregated discovery.
    Discovery,
}

/// The first servable entry of an Accept header; absent means JSON. 406 when nothing fits.
///
/// Order decides, not `q`: kubectl and client-go list their preference in order.
pub fn choose(accept: Option<&str>, offer: Offer) -> Result<Media, Status> {
    let Some(accept) = accept.filter(|it| !it.trim().is_empty()) else { return Ok(Media::Json) };
    accept.split(',').find_map(|entry| entry_media(entry, offer)).ok_or_else(Status::not_acceptable)
}

/// Whether the first servable entry asks for YAML.
pub fn wants_yaml(accept: Option<&str>) -> bool {
    let mut entries = accept.unwrap_or_default().split(',');
    let first = entries
        .find(|it| entry_media(it, Offer::Objects).is_some() || entry_media(it, Offer::Discovery).is_some());
    first.is_some_and(|it| it.trim_start().starts_with("application/yaml"))
}

fn entry_media(entry: &str, offer: Offer) -> Option<Media> {
    let mut parts = entry.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    if !matches!(
        kind.as_str(),
        "application/json" | "application/yaml" | "application/*" | "*/*" | "text/*" | "text/plain"
    ) {
        return None;
    }
    let (mut shape, mut group, mut version) = ("", "", "");
    for part in parts {
        match part.split_once('=') {
            Some(("as", value)) => shape = value,
            Some(("g", value)) => group = value,
            Some(("v", value)) => version = value,
            _ => {}
        }
    }
    let meta_version = || match (group, version) {
        ("meta.k8s.io", "v1") => Some("v1"),
        ("meta.k8s.io", "v1beta1") => Some("v1beta1"),
        _ => None,
    };
    match (shape, offer) {
        ("", _) => Some(Media::Json),
        ("Table", Offer::Objects) => meta_version().map(Media::Table),
        ("PartialObjectMetadata", Offer::Objects) => meta_version().map(Media::Partial),
        ("PartialObjectMetadataList", Offer::Objects) => meta_version().map(Media::PartialList),
        ("APIGroupDiscoveryList", Offer::Discovery) => match (group, version) {
            ("apidiscovery.k8s.io", "v2") => Some(Media::Discovery("v2")),
            ("apidiscovery.k8s.io", "v2beta1") => Some(Media::Discovery("v2beta1")),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_servable_entry_wins() {
        #[rustfmt::skip]
        let cases = [
            (None, Offer::Objects, Some(Media::Json)),
            (Some("*/*"), Offer::Objects, Some(Media::Json)),
            (Some("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), Offer::Objects, Some(Media::Table("v1"))),
            (Some("application/json;as=Table;g=meta.k8s.io;v=v1beta1, application/json"), Offer::Objects, Some(Media::Table("v1beta1"))),
            (Some("application/vnd.kubernetes.protobuf,application/json"), Offer::Objects, Some(Media::Json)),
            (Some("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"), Offer::Objects, Some(Media::PartialList("v1"))),
            (Some("application/vnd.kubernetes.protobuf"), Offer::Objects, None),
            (Some("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"), Offer::Discovery, Some(Media::Discovery("v2"))),
            (Some("application/json;v=v2beta1;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList"), Offer::Discovery, Some(Media::Discovery("v2beta1"))),
            (Some("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), Offer::Discovery, Some(Media::Json)),
        ];
        for (accept, offer, want) in cases {
            assert_eq!(choose(accept, offer).ok(), want, "{accept:?}");
        }
    }
}
