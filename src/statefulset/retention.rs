//! Who should own a claim, so that the garbage collector deletes it when the retention policy says so.
//!
//! The controller never deletes a claim (INV-5); it only sets and removes its own owner references.
//! Sources: KEP-1847; kubernetes `pkg/controller/statefulset/stateful_set_utils.go` (claim owner references).

use super::model::{ClaimView, Owner, PodView, Retain, SetSpec};
use super::revision::set_owner;

/// What to do about the owners of one claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The owner references to write; `None`: leave them as they are.
    pub owners: Option<Vec<Owner>>,
    /// Somebody else controls the claim, so the policy can not be kept.
    pub conflict: bool,
}

const AS_IS: Verdict = Verdict { owners: None, conflict: false };

/// Owners of a claim created for an ordinal in range.
pub fn owners_at_creation(set: &SetSpec) -> Vec<Owner> {
    if set.retention.when_deleted == Retain::Delete { vec![set_owner(set)] } else { Vec::new() }
}

/// Whether the claim still belongs to an earlier pod of this name, so that it is about to be collected and a
/// new pod must not use it.
pub fn is_stale(set: &SetSpec, pod_name: &str, claim: &ClaimView) -> bool {
    set.retention.when_scaled == Retain::Delete && claim.owners.iter().any(|it| is_pod(it, pod_name))
}

/// Decides about the claim of an existing pod.
pub fn verdict(set: &SetSpec, pod: &PodView, claim: &ClaimView) -> Verdict {
    let retain = set.retention.when_deleted == Retain::Retain && set.retention.when_scaled == Retain::Retain;
    if claim.owners.is_empty() && retain {
        return AS_IS;
    }
    let stale = |it: &Owner| {
        (is_set(it, &set.key.name) && it.uid != set.uid) || (is_pod(it, &pod.key.name) && it.uid != pod.uid)
    };
    if claim.owners.iter().any(stale) {
        // The collector may be about to delete it; whether it does is not ours to decide.
        return Verdict { owners: None, conflict: !retain };
    }
    let ours = |it: &Owner| is_set(it, &set.key.name) || is_pod(it, &pod.key.name);
    let conflict = !retain && claim.owners.iter().any(|it| it.controller && !ours(it));
    let condemned = pod.ordinal.is_some_and(|it| !set.in_range(it));
    let by_pod = condemned && set.retention.when_scaled == Retain::Delete;
    let by_set = !by_pod && set.retention.when_deleted == Retain::Delete;

    let wanted = if conflict {
        None
    } else if by_pod {
        Some(pod_owner(pod))
    } else if by_set {
        Some(set_owner(set))
    } else {
        None
    };
    let present: Vec<_> = claim.owners.iter().filter(|it| ours(it)).collect();
    let right = match (&wanted, present.as_slice()) {
        (None, []) => true,
        (Some(wanted), [it]) => it.controller && it.uid == wanted.uid && it.kind == wanted.kind,
        _ => false,
    };
    if right {
        return Verdict { owners: None, conflict };
    }
    let others = claim.owners.iter().filter(|it| !ours(it)).cloned();
    Verdict { owners: Some(others.chain(wanted).collect()), conflict }
}

fn is_set(it: &Owner, name: &str) -> bool {
    it.kind == "StatefulSet" && it.name == name && it.api_version.starts_with("apps/")
}

fn is_pod(it: &Owner, name: &str) -> bool {
    it.kind == "Pod" && it.name == name && it.api_version == "v1"
}

fn pod_owner(pod: &PodView) -> Owner {
    Owner {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.key.name.clone(),
        uid: pod.uid.clone(),
        controller: true,
        block: Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::super::notation::{claim, pod, set};
    use super::*;

    #[test]
    fn owners() {
        // Owners: "set" and "pod" are ours, "set~" and "pod~" have another UID, "-" after a name: no controller
        // flag, "x" is another controller, "y-" another owner.
        #[rustfmt::skip]
        let cases = [
            // policy, pod, owners before, owners after
            ("retain=RR", "0A", "",          "as is"),
            ("retain=RR", "0A", "set",       ""),
            ("retain=RR", "9A", "pod",       ""),
            ("retain=RR", "0A", "x",         "as is"),
            ("retain=DR", "0A", "",          "set"),
            ("retain=DR", "9A", "",          "set"),
            ("retain=DR", "0A", "set",       "as is"),
            ("retain=DR", "9A", "set pod",   "set"),
            ("retain=RD", "0A", "",          "as is"),
            ("retain=RD", "0A", "pod",       ""),
            ("retain=RD", "9A", "",          "pod"),
            ("retain=RD", "9A", "set",       "pod"),
            ("retain=DD", "0A", "",          "set"),
            ("retain=DD", "9A", "set",       "pod"),
            ("retain=DD", "0A", "pod",       "set"),
            ("retain=DD", "9A", "pod",       "as is"),
            ("retain=DR", "0A", "set~",      "as is conflict"),
            ("retain=DD", "9A", "pod~ set",  "as is conflict"),
            ("retain=RR", "0A", "set~",      "as is"),
            ("retain=DR", "0A", "x",         "as is conflict"),
            ("retain=DR", "0A", "x set",     "x conflict"),
            ("retain=DR", "0A", "y-",        "y- set"),
            ("retain=DR", "0A", "set-",      "set"),
        ];
        for (policy, name, before, want) in cases {
            let set = set(&format!("3xA {policy}"));
            let pod = pod(name);
            let claim = claim(&set, pod.ordinal.unwrap(), before);
            let it = verdict(&set, &pod, &claim);
            let owners = it.owners.map(|it| {
                let mut words: Vec<_> = it
                    .iter()
                    .map(|it| match it.kind.as_str() {
                        "StatefulSet" => "set".to_owned(),
                        "Pod" => "pod".to_owned(),
                        _ => format!("{}{}", it.name, if it.controller { "" } else { "-" }),
                    })
                    .collect();
                words.extend(it.iter().any(|it| it.uid.ends_with('~')).then(|| "stale".to_owned()));
                words.join(" ")
            });
            let mut got = owners.unwrap_or("as is".to_owned());
            if it.conflict {
                got.push_str(" conflict");
            }
            assert_eq!(got.trim(), want, "{policy} {name} [{before}]");
        }
    }
}
