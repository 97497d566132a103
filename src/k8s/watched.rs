//! An object of a list or watch, reduced while it is read, so that the whole of it never exists.
//!
//! JSON ──serde──▶ [`Kind::Raw`], the fields that are read ──[`Kind::reduce`]──▶ [`Watched`] ──kube's watches──▶ a cache

use std::borrow::Cow;
use std::fmt::{Debug, Formatter};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Deserializer};

use super::watch::key_of;
use crate::model::ObjectKey;

/// A kind of objects: where the API server has them and what they mean to their reader.
pub trait Kind: Clone + Debug + Send + Sync + Sized + 'static {
    /// What is read.
    type Raw<'a>: Deserialize<'a>;
    /// What an object means.
    type View: Clone + Debug + Send + Sync + 'static;
    /// API group, empty for the core group. The version is `v1`.
    const GROUP: &'static str;
    /// In the singular.
    const KIND: &'static str;
    /// As in paths.
    const PLURAL: &'static str;

    /// The metadata the client library needs (name, namespace, resourceVersion), and what the object means.
    fn reduce(raw: Self::Raw<'_>) -> (ObjectMeta, Self::View);
}

/// An object, reduced while it was read.
#[derive(Clone)]
pub struct Watched<T: Kind> {
    meta: ObjectMeta,
    /// What it means.
    pub view: T::View,
}

impl<T: Kind> Watched<T> {
    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        key_of(self)
    }
}

impl<T: Kind> Debug for Watched<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(T::KIND).field("meta", &self.meta).field("view", &self.view).finish()
    }
}

impl<'de, T: Kind> Deserialize<'de> for Watched<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (meta, view) = T::reduce(T::Raw::deserialize(deserializer)?);
        Ok(Self { meta, view })
    }
}

impl<T: Kind> Resource for Watched<T> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        T::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        T::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        T::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
