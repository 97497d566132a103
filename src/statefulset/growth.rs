//! Claims that exist and should be larger, if the set asks for it ([`super::extras::CLAIMS`], [`ClaimUpdate`]).
//!
//! Claims only grow, only when bound, only when their storage class allows it, and never when somebody else controls
//! them (INV-5). A claim that stays small holds up no pod; it is told once per template.
//! Sources: KEP-4650 for the modes, KEP-284 for expansion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::extras::ClaimUpdate;
use super::model::{ClaimTemplate, ClaimView, KIND, Ordinal, SetSpec};
use super::plan::{Action, Draft, Observed};
use super::scale::CREATES_MAX;
use crate::model::quantity::Quantity;

/// Claims of one template that stay smaller than asked for.
#[derive(Debug)]
pub(super) struct Small {
    count: u32,
    /// Why the first of them does.
    why: String,
}

/// The size `claim` should grow to; `None` if it is large enough or none is asked for.
fn wanted(set: &SetSpec, template: &ClaimTemplate, claim: &ClaimView) -> Option<Quantity> {
    let size = *set.extras.claims.get(&template.name)?;
    claim.requested.is_none_or(|it| it < size).then_some(size)
}

/// Names of the storage classes that decide about claims of `observed`. Empty unless a claim is to grow.
pub fn classes(set: &SetSpec, observed: &Observed) -> BTreeSet<String> {
    if set.extras.claims.is_empty() || set.extras.claim_update == ClaimUpdate::OnClaimDelete {
        return BTreeSet::new();
    }
    let mut classes = BTreeSet::new();
    // A plan looks no further than this many ordinals.
    for ordinal in set.ordinals().take(CREATES_MAX + observed.pods.len()) {
        for template in &set.claim_templates {
            let Some(claim) = observed.claims.get(&set.claim_name(template, ordinal)) else { continue };
            if claim.bound && wanted(set, template, claim).is_some() {
                classes.insert(claim.class.clone());
            }
        }
    }
    classes
}

/// Why `claim` can not grow; `None` if it can.
fn obstacle(draft: &Draft, ordinal: Ordinal, claim: &ClaimView) -> Option<String> {
    let pod = draft.set.pod_name(ordinal);
    let ours = |name: &str, kind: &str| {
        (kind == KIND && name == draft.set.key.name) || (kind == "Pod" && name == pod)
    };
    if let Some(it) = claim.owners.iter().find(|it| it.controller && !ours(&it.name, &it.kind)) {
        return Some(format!("{} {} controls it", it.kind, it.name));
    }
    if !claim.bound {
        return Some("it is not bound".to_owned());
    }
    match draft.observed.expandable.get(&claim.class) {
        Some(true) => None,
        Some(false) => Some(format!("storage class {} does not allow volume expansion", claim.class)),
        None if claim.class.is_empty() => Some("it has no storage class".to_owned()),
        None => Some(format!("storage class {} can not be read", claim.class)),
    }
}

/// Plans the growth of the claims of `ordinal`.
pub(super) fn grow(draft: &mut Draft, ordinal: Ordinal, actions: &mut Vec<Action>) {
    let set = draft.set;
    if set.extras.claims.is_empty() {
        return;
    }
    for template in &set.claim_templates {
        let Some(claim) = draft.observed.claims.get(&set.claim_name(template, ordinal)) else { continue };
        let Some(size) = wanted(set, template, claim).filter(|_| !claim.deleting) else { continue };
        match obstacle(draft, ordinal, claim) {
            None => actions.push(Action::GrowClaim { ordinal, claim: Arc::clone(claim), size }),
            Some(why) => {
                let why = format!("{}: {why}", claim.key.name);
                draft.small.entry(template.name.clone()).or_insert(Small { count: 0, why }).count += 1;
            }
        }
    }
}

/// Tells of claims that stay small, once per template.
pub(super) fn tell(draft: &mut Draft) {
    for (template, Small { count, why }) in std::mem::take(&mut draft.small) {
        let Some(size) = draft.set.extras.claims.get(&template) else { continue };
        let claims = if count == 1 { "claim stays" } else { "claims stay" };
        let message =
            format!("volume claim template {template}: {count} {claims} smaller than {size}: {why}");
        draft.warn("ClaimNotGrown", message);
    }
}

/// Claims that stay small, by template.
pub(super) type SmallClaims = BTreeMap<String, Small>;
