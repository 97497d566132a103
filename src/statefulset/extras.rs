//! What a set asks for beyond Kubernetes, in annotations of its metadata.
//!
//! Each is off unless its annotation is there, and gone with it. A value that is not understood changes nothing and
//! is told in a Warning event that quotes it. None of them makes a revision or restarts a pod by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::model::{ClaimTemplate, MaxUnavailable, PodManagement};
use super::plan::Warning;
use super::reserved::Reserved;
use crate::model::{duration, quantity::Quantity};

/// Replace an outdated pod that holds up OrderedReady; the only value is `outdated`.
pub const UNSTICK: &str = "ordinal.dev/unstick";
/// How old such a pod has to be, such as `5m`.
pub const UNSTICK_AFTER: &str = "ordinal.dev/unstick-after";
/// `maxUnavailable` for API servers that drop the field: a number or a percentage.
pub const MAX_UNAVAILABLE: &str = "ordinal.dev/max-unavailable";
/// Sizes of claims, such as `{"data":{"storage":"20Gi"}}`.
pub const CLAIMS: &str = "ordinal.dev/claims";
/// What happens to claims that exist: `InPlace`, `OnPodUpdate` or `OnClaimDelete`.
pub const CLAIM_UPDATE: &str = "ordinal.dev/claim-update";
/// Ordinals without a pod, such as `1,3-5`.
pub const RESERVE_ORDINALS: &str = "ordinal.dev/reserve-ordinals";
/// Takes the place of `spec.podManagementPolicy`.
pub const POD_MANAGEMENT_POLICY: &str = "ordinal.dev/pod-management-policy";

/// When the size of a claim that exists follows [`CLAIMS`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClaimUpdate {
    /// At once.
    InPlace,
    /// Before its pod is created again.
    OnPodUpdate,
    /// Never: only a claim made anew has the new size.
    #[default]
    OnClaimDelete,
}

/// The annotations of a set as values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extras {
    /// Replace a pod that blocks OrderedReady if it is outdated and at least this old.
    pub unstick: Option<Duration>,
    /// Used where `spec.updateStrategy.rollingUpdate.maxUnavailable` is absent.
    pub max_unavailable: Option<MaxUnavailable>,
    /// Takes the place of `spec.podManagementPolicy`.
    pub management: Option<PodManagement>,
    /// Ordinals to leave out.
    pub reserved: Reserved,
    /// Storage to request, by name of the claim template; never less than the template asks for.
    pub claims: BTreeMap<String, Quantity>,
    /// What happens to claims that exist.
    pub claim_update: ClaimUpdate,
    /// What was not understood.
    pub refused: Vec<Warning>,
}

impl Extras {
    /// Reads the annotations of a set with these claim templates.
    pub fn parse(annotations: &BTreeMap<String, String>, templates: &[ClaimTemplate]) -> Self {
        let mut refused = Vec::new();
        let unstick = read(annotations, UNSTICK, &mut refused, |it| match it {
            "outdated" => Ok(()),
            _ => Err("the only value is \"outdated\"".to_owned()),
        });
        let age = read(annotations, UNSTICK_AFTER, &mut refused, duration::parse);
        let max_unavailable = read(annotations, MAX_UNAVAILABLE, &mut refused, max_unavailable);
        let management = read(annotations, POD_MANAGEMENT_POLICY, &mut refused, |it| match it {
            "OrderedReady" => Ok(PodManagement::OrderedReady),
            "Parallel" => Ok(PodManagement::Parallel),
            _ => Err("the values are \"OrderedReady\" and \"Parallel\"".to_owned()),
        });
        let reserved = read(annotations, RESERVE_ORDINALS, &mut refused, Reserved::parse);
        let claims = read(annotations, CLAIMS, &mut refused, |it| sizes(it, templates));
        let claim_update = read(annotations, CLAIM_UPDATE, &mut refused, |it| match it {
            "InPlace" => Ok(ClaimUpdate::InPlace),
            "OnPodUpdate" => Ok(ClaimUpdate::OnPodUpdate),
            "OnClaimDelete" => Ok(ClaimUpdate::OnClaimDelete),
            _ => Err("the values are \"InPlace\", \"OnPodUpdate\" and \"OnClaimDelete\"".to_owned()),
        });
        // An age that can not be read must not make the remedy come sooner.
        let age_refused = age.is_none() && annotations.contains_key(UNSTICK_AFTER);
        Self {
            unstick: unstick.filter(|()| !age_refused).map(|()| age.unwrap_or_default()),
            max_unavailable,
            management,
            reserved: reserved.unwrap_or_default(),
            claims: claims.unwrap_or_default(),
            claim_update: claim_update.unwrap_or_default(),
            refused,
        }
    }
}

fn read<T>(
    annotations: &BTreeMap<String, String>,
    name: &str,
    refused: &mut Vec<Warning>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    let text = annotations.get(name)?;
    match parse(text.trim()) {
        Ok(it) => Some(it),
        Err(why) => {
            let message = format!("annotation {name}: {text:?} is not understood and has no effect: {why}");
            refused.push(Warning { reason: "InvalidAnnotation", message });
            None
        }
    }
}

fn max_unavailable(text: &str) -> Result<MaxUnavailable, String> {
    let form = || "write a number of at least 1 or a percentage from 1% to 100%".to_owned();
    let number = |it: &str| {
        let digits = !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
        it.parse::<i32>().ok().filter(|it| digits && *it > 0).map(i32::unsigned_abs).ok_or_else(form)
    };
    match text.strip_suffix('%') {
        Some(percent) => match number(percent)? {
            it @ 1..=100 => Ok(MaxUnavailable::Percent(it)),
            _ => Err(form()),
        },
        None => number(text).map(MaxUnavailable::Count),
    }
}

/// Claims only ever grow, so a size below that of the template is refused, too.
fn sizes(text: &str, templates: &[ClaimTemplate]) -> Result<BTreeMap<String, Quantity>, String> {
    let form = || "write it like {\"data\":{\"storage\":\"20Gi\"}}".to_owned();
    let raw: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_str(text).map_err(|_| form())?;
    let size = |(name, fields): (String, BTreeMap<String, Value>)| {
        let template = templates.iter().find(|it| it.name == name);
        let template = template.ok_or_else(|| format!("there is no volume claim template {name}"))?;
        let storage = fields.get("storage").filter(|_| fields.len() == 1).ok_or_else(form)?;
        let size = Quantity::from_json(storage).ok_or_else(|| format!("{storage} is not a quantity"))?;
        match template.storage() {
            Some(least) if size < least => Err(format!("{size} is less than the {least} of template {name}")),
            _ => Ok((name, size)),
        }
    };
    raw.into_iter().map(size).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Extras {
        let annotations = pairs.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned())).collect();
        let raw = json!({ "spec": { "resources": { "requests": { "storage": "10Gi" } } } });
        Extras::parse(&annotations, &[ClaimTemplate { name: "data".into(), raw }])
    }

    #[test]
    fn without_annotations_nothing_is_beyond_kubernetes() {
        assert_eq!(
            parse(&[("ordinal.dev/else", "x"), ("kubernetes.io/change-cause", "y")]),
            Extras::default()
        );
    }

    #[test]
    fn values_that_are_understood() {
        let it = parse(&[
            (UNSTICK, "outdated"),
            (UNSTICK_AFTER, "5m"),
            (MAX_UNAVAILABLE, "25%"),
            (POD_MANAGEMENT_POLICY, "Parallel"),
            (RESERVE_ORDINALS, "1,3-5"),
            (CLAIMS, r#"{"data":{"storage":"20Gi"}}"#),
            (CLAIM_UPDATE, "InPlace"),
        ]);
        assert_eq!(it.refused, []);
        assert_eq!(it.unstick, Some(Duration::from_secs(300)));
        assert_eq!(it.max_unavailable, Some(MaxUnavailable::Percent(25)));
        assert_eq!(it.management, Some(PodManagement::Parallel));
        assert_eq!(it.claims["data"], Quantity::parse("20Gi").unwrap());
        assert_eq!(it.claim_update, ClaimUpdate::InPlace);
        assert_eq!(parse(&[(UNSTICK, "outdated")]).unstick, Some(Duration::ZERO));
        assert_eq!(parse(&[(MAX_UNAVAILABLE, " 3 ")]).max_unavailable, Some(MaxUnavailable::Count(3)));
    }

    #[test]
    fn values_that_are_not_understood_are_quoted_and_change_nothing() {
        let cases = [
            (UNSTICK, "true"),
            (UNSTICK, ""),
            (UNSTICK_AFTER, "soon"),
            (MAX_UNAVAILABLE, "0"),
            (MAX_UNAVAILABLE, "-1"),
            (MAX_UNAVAILABLE, "+1"),
            (MAX_UNAVAILABLE, "101%"),
            (MAX_UNAVAILABLE, "0%"),
            (MAX_UNAVAILABLE, "many"),
            (MAX_UNAVAILABLE, "99999999999"),
            (POD_MANAGEMENT_POLICY, "parallel"),
            (RESERVE_ORDINALS, "5-3"),
            (RESERVE_ORDINALS, "a"),
            (CLAIMS, "20Gi"),
            (CLAIMS, r#"{"data":"20Gi"}"#),
            (CLAIMS, r#"{"logs":{"storage":"20Gi"}}"#),
            (CLAIMS, r#"{"data":{"storage":"20Qi"}}"#),
            (CLAIMS, r#"{"data":{"storage":"5Gi"}}"#),
            (CLAIMS, r#"{"data":{"storage":"20Gi","class":"x"}}"#),
            (CLAIM_UPDATE, "inplace"),
        ];
        for (name, value) in cases {
            let mut it = parse(&[(name, value)]);
            let [warning] = &it.refused[..] else { panic!("{name}={value:?}: {it:?}") };
            assert_eq!(warning.reason, "InvalidAnnotation");
            assert!(
                warning.message.contains(name) && warning.message.contains(&format!("{value:?}")),
                "{warning:?}"
            );
            it.refused.clear();
            assert_eq!(it, Extras::default(), "{name}={value:?}");
        }
        let it = parse(&[(UNSTICK, "outdated"), (UNSTICK_AFTER, "soon")]);
        assert_eq!(it.unstick, None, "nor does it come sooner than it was meant to");
    }
}
