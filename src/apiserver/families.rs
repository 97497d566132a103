//! IP families of Services: which a Service gets, and what of it may change.
//!
//! [`normalize`] (old clients know one address, new ones a list) ─▶ [`settle`] (what is left out, what cannot be had) ─▶
//! addresses from `allocate` ─▶ [`related`] and [`changes`] as part of validation. Pure.
//! Sources: KEP-563; kubernetes `pkg/registry/core/service/storage` (`normalizeClusterIPs`, `patchAllocatedValues`,
//! `initIPFamilyFields`), `pkg/apis/core/validation` (`ValidateServiceClusterIPsRelatedFields`,
//! `validateUpgradeDowngrade…`).

use crate::apiserver::validate::FieldError;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Nothing but a name: no address is allocated.
const NONE: &str = "None";
const POLICY: &str = "spec.ipFamilyPolicy";

/// An IP family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// As `ipFamilies` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::V4, Self::V6].into_iter().find(|it| it.name() == text)
    }

    fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Whether it has `clusterIP`, be it `None`.
pub fn has_address(service: &Value) -> bool {
    service["spec"]["type"] != "ExternalName"
}

/// `clusterIP: None`.
fn is_headless(service: &Value) -> bool {
    let spec = &service["spec"];
    spec["clusterIP"] == NONE
        || spec["clusterIPs"].as_array().is_some_and(|it| it.len() == 1 && it[0] == NONE)
}

fn texts(service: &Value, field: &str) -> Vec<String> {
    let items = service["spec"][field].as_array().into_iter().flatten();
    items.map(|it| it.as_str().unwrap_or_default().to_owned()).collect()
}

/// `spec.clusterIPs`.
pub fn addresses(service: &Value) -> Vec<String> {
    texts(service, "clusterIPs")
}

/// `spec.ipFamilies`; what is none is left out.
pub fn families(service: &Value) -> Vec<Family> {
    texts(service, "ipFamilies").iter().filter_map(|it| Family::parse(it)).collect()
}

fn one<'a>(service: &'a Value, field: &str) -> &'a str {
    service["spec"][field].as_str().unwrap_or_default()
}

fn set(service: &mut Value, field: &str, value: Value) {
    let Some(spec) = service["spec"].as_object_mut() else { return };
    let is_nothing = value.as_array().is_some_and(Vec::is_empty) || value == "";
    if is_nothing {
        spec.remove(field);
    } else {
        spec.insert(field.to_owned(), value);
    }
}

fn set_families(service: &mut Value, families: &[Family]) {
    let names: Vec<_> = families.iter().map(|it| it.name()).collect();
    set(service, "ipFamilies", json!(names));
}

/// Guesses what a client meant that sent one of `clusterIP` and `clusterIPs`, or none: what an update leaves out stays.
pub fn normalize(old: Option<&Value>, new: &mut Value) {
    let Some(old) = old else {
        let address = one(new, "clusterIP").to_owned();
        if !address.is_empty() && addresses(new).is_empty() {
            set(new, "clusterIPs", json!([address]));
        }
        return;
    };
    if has_address(old) && has_address(new) {
        if one(new, "clusterIP").is_empty() {
            set(new, "clusterIP", one(old, "clusterIP").into());
        }
        if addresses(new).is_empty() {
            set(new, "clusterIPs", json!(addresses(old)));
        }
    }
    let (before, after) = (one(old, "clusterIP").to_owned(), one(new, "clusterIP").to_owned());
    if before != after && addresses(old) == addresses(new) {
        let follows = if after.is_empty() { json!([]) } else { json!([after]) };
        set(new, "clusterIPs", follows);
    }
}

/// Whether nothing is to be done: a Service that prefers two families is not given another one in passing.
pub fn stays(old: Option<&Value>, new: &Value) -> bool {
    let Some(old) = old else { return false };
    let prefers = |it: &Value| it["spec"]["ipFamilyPolicy"] == "PreferDualStack";
    prefers(new)
        && (prefers(old) || old["spec"]["ipFamilyPolicy"].is_null())
        && old["spec"]["type"] == new["spec"]["type"]
        && has_address(new)
        && addresses(old) == addresses(new)
        && texts(old, "ipFamilies") == texts(new, "ipFamilies")
}

/// Completes policy and families. `have` are those that the server has addresses of, its default first.
pub fn settle(have: &[Family], old: Option<&Value>, new: &mut Value) -> Vec<FieldError> {
    if !has_address(new) || stays(old, new) {
        return Vec::new();
    }
    let lacks_selector = new["spec"]["selector"].as_object().is_none_or(serde_json::Map::is_empty);
    let is_bare = new["spec"]["clusterIP"] == NONE && lacks_selector;
    if new["spec"]["ipFamilyPolicy"].is_null() {
        let before = old.map(|it| one(it, "ipFamilyPolicy")).filter(|it| !it.is_empty());
        let policy = before.unwrap_or(if is_bare { "RequireDualStack" } else { "SingleStack" });
        set(new, "ipFamilyPolicy", policy.into());
    }
    let errors = related(new);
    if !errors.is_empty() {
        return errors;
    }
    let policy = one(new, "ipFamilyPolicy").to_owned();
    let is_single = policy == "SingleStack";
    let mut errors = Vec::new();
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(POLICY, policy.as_str(), detail));
    if let Some(old) = old {
        if is_single {
            // Nothing else has changed, so that the intent is clear.
            if addresses(old) == addresses(new) && addresses(new).len() > 1 {
                set(new, "clusterIPs", json!(addresses(new)[..1]));
            }
            if families(old) == families(new) && families(new).len() > 1 {
                set_families(new, &families(new)[..1]);
            }
        } else {
            let fewer = |was: usize, is: usize| is > 0 && is < was;
            if fewer(addresses(old).len(), addresses(new).len()) {
                refuse("must be 'SingleStack' to release the secondary cluster IP");
            }
            if fewer(families(old).len(), families(new).len()) {
                refuse("must be 'SingleStack' to release the secondary IP family");
            }
        }
    }
    if is_single && addresses(new).len() == 2 {
        refuse("must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified");
    }
    if is_single && families(new).len() == 2 {
        refuse("must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified");
    }
    let mut all = families(new);
    for (index, address) in addresses(new).iter().enumerate().skip(all.len()) {
        let Ok(address) = address.parse() else { break };
        let family = Family::of(address);
        if have.contains(&family) {
            all.push(family);
        } else {
            let detail = format!("{} is not configured on this cluster", family.name());
            let value = json!(addresses(new));
            errors.push(FieldError::invalid(format!("spec.clusterIPs[{index}]"), value, detail));
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    let first = have.first().copied().unwrap_or(Family::V4);
    if is_bare {
        // Nobody knows what its endpoints will be, so that the families of the server do not matter.
        let first = all.first().copied().unwrap_or(first);
        if all.len() < 2 {
            all = if is_single { vec![first] } else { vec![first, first.other()] };
        }
        set_families(new, &all);
        return errors;
    }
    if policy == "RequireDualStack" && have.len() < 2 {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(POLICY, policy.as_str(), detail));
    }
    for (index, family) in all.iter().enumerate().filter(|it| !have.contains(it.1)) {
        let field = format!("spec.ipFamilies[{index}]");
        errors.push(FieldError::invalid(field, family.name(), "not configured on this cluster"));
    }
    if !errors.is_empty() {
        return errors;
    }
    if all.is_empty() {
        all.push(first);
    }
    if !is_single && all.len() == 1 && have.len() == 2 {
        all.push(all[0].other());
    }
    set_families(new, &all);
    errors
}

/// Whether addresses, families and policy go together.
pub fn related(service: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !has_address(service) {
        return errors;
    }
    let (address, listed) = (one(service, "clusterIP"), addresses(service));
    let of_list = |detail: &str| FieldError::invalid("spec.clusterIPs", json!(listed), detail);
    match (address, listed.first()) {
        ("", Some(_)) => errors.push(of_list("must be empty when `clusterIP` is not specified")),
        ("", None) => {}
        (_, None) => errors.push(FieldError::required("spec.clusterIPs", "")),
        (address, Some(first)) if first != address => {
            errors.push(of_list("first value must match `clusterIP`"));
        }
        _ => {}
    }
    let names = texts(service, "ipFamilies");
    for (index, name) in names.iter().enumerate() {
        let field = format!("spec.ipFamilies[{index}]");
        if Family::parse(name).is_none() {
            errors.push(FieldError::not_supported(field.as_str(), name.as_str(), &["IPv4", "IPv6"]));
        }
        if names[..index].contains(name) {
            errors.push(FieldError::duplicate(field, name.as_str()));
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    let policy = one(service, "ipFamilyPolicy");
    if !service["spec"]["ipFamilyPolicy"].is_null() && !policies.contains(&policy) {
        errors.push(FieldError::not_supported(POLICY, policy, &policies));
    }
    let mut all_are_addresses = true;
    for (index, text) in listed.iter().enumerate() {
        if index == 0 && text == NONE {
            if listed.len() > 1 {
                all_are_addresses = false;
                errors.push(of_list("'None' must be the first and only value"));
            }
        } else if text.parse::<IpAddr>().is_err() {
            all_are_addresses = false;
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.push(FieldError::invalid(format!("spec.clusterIPs[{index}]"), text.as_str(), detail));
        }
    }
    if listed.len() > 2 {
        errors.push(of_list("may only hold up to 2 values"));
    }
    if !all_are_addresses {
        return errors;
    }
    let of: Vec<_> = listed.iter().filter_map(|it| it.parse().ok()).map(Family::of).collect();
    if of.len() > 1 && !(of.contains(&Family::V4) && of.contains(&Family::V6)) {
        errors.push(of_list("may specify no more than one IP for each IP family"));
    }
    for (index, (name, family)) in names.iter().zip(&of).enumerate() {
        if Family::parse(name).is_some_and(|it| it != *family) {
            let detail = format!("expected an {name} value as indicated by `ipFamilies[{index}]`");
            let field = format!("spec.clusterIPs[{index}]");
            errors.push(FieldError::invalid(field, listed[index].as_str(), detail));
        }
    }
    errors
}

/// What of addresses and families may not change. The second of two may come and go, the first stays for ever, unless the
/// Service turns into an `ExternalName` or out of one.
pub fn changes(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !has_address(old) || !has_address(new) {
        return errors;
    }
    let single = new["spec"]["ipFamilyPolicy"] == "SingleStack";
    let policy = new["spec"]["ipFamilyPolicy"].clone();
    if !(is_headless(old) && is_headless(new)) {
        let (before, after) = (addresses(old), addresses(new));
        let mut refuse = |index, detail| {
            errors.push(FieldError::invalid(format!("spec.clusterIPs[{index}]"), json!(after), detail));
        };
        if before.len() == after.len() {
            for index in (0..before.len()).filter(|it| before[*it] != after[*it]) {
                refuse(index, "may not change once set");
            }
        } else if after.is_empty() {
            refuse(0, "primary clusterIP can not be unset");
        } else if before.first().is_some_and(|it| *it != after[0]) {
            refuse(0, "may not change once set");
        }
        if before.len() > after.len() && after.len() == 1 && !single {
            let detail = "must be set to 'SingleStack' when releasing the secondary clusterIP";
            errors.push(FieldError::invalid(POLICY, policy.clone(), detail));
        }
    }
    if !is_headless(old) && !is_headless(new) {
        let (before, after) = (texts(old, "ipFamilies"), texts(new, "ipFamilies"));
        let shared = before.len().min(after.len());
        let differ = if before.len() == after.len() { shared } else { shared.min(1) };
        for _ in (0..differ).filter(|it| before[*it] != after[*it]) {
            errors.push(FieldError::invalid("spec.ipFamilies[0]", json!(after), "may not change once set"));
        }
        if before.len() > after.len() && after.len() == 1 && !single {
            let detail = "must be set to 'SingleStack' when releasing the secondary ipFamily";
            errors.push(FieldError::invalid(POLICY, policy, detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &[Family] = &[Family::V4];
    const BOTH: &[Family] = &[Family::V4, Family::V6];

    /// Families and policy of a new Service, or why there is none.
    fn settled(have: &[Family], spec: Value) -> String {
        let mut service = json!({"spec": spec});
        normalize(None, &mut service);
        let errors = settle(have, None, &mut service);
        match errors.first() {
            Some(error) => error.to_string(),
            None => {
                format!("{} {}", texts(&service, "ipFamilies").join(","), one(&service, "ipFamilyPolicy"))
            }
        }
    }

    #[test]
    fn what_a_new_service_gets() {
        let bare = json!({"clusterIP": "None"});
        let headless = json!({"clusterIP": "None", "selector": {"a": "b"}});
        let prefer = json!({"ipFamilyPolicy": "PreferDualStack"});
        let require = json!({"ipFamilyPolicy": "RequireDualStack"});
        let six = json!({"ipFamilies": ["IPv6"]});
        let cases = [
            (V4, json!({}), "IPv4 SingleStack"),
            (BOTH, json!({}), "IPv4 SingleStack"),
            (V4, bare.clone(), "IPv4,IPv6 RequireDualStack"),
            (BOTH, bare, "IPv4,IPv6 RequireDualStack"),
            (V4, headless.clone(), "IPv4 SingleStack"),
            (BOTH, headless, "IPv4 SingleStack"),
            (V4, prefer.clone(), "IPv4 PreferDualStack"),
            (BOTH, prefer, "IPv4,IPv6 PreferDualStack"),
            (BOTH, require.clone(), "IPv4,IPv6 RequireDualStack"),
            (
                V4,
                require,
                "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
            ),
            (BOTH, six.clone(), "IPv6 SingleStack"),
            (V4, six, "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"),
            (
                BOTH,
                json!({"ipFamilies": ["IPv6"], "ipFamilyPolicy": "PreferDualStack"}),
                "IPv6,IPv4 PreferDualStack",
            ),
            (BOTH, json!({"clusterIP": "fd00::1"}), "IPv6 SingleStack"),
            (
                V4,
                json!({"clusterIP": "fd00::1"}),
                "spec.clusterIPs[0]: Invalid value: [\"fd00::1\"]: IPv6 is not configured on this cluster",
            ),
        ];
        for (have, spec, want) in cases {
            assert_eq!(settled(have, spec.clone()), want, "{have:?} {spec}");
        }
    }

    fn service(addresses: &[&str], families: &[&str], policy: &str) -> Value {
        json!({"spec": {"type": "ClusterIP", "clusterIP": addresses[0], "clusterIPs": addresses, "ipFamilies": families,
            "ipFamilyPolicy": policy}})
    }

    #[test]
    fn the_second_family_comes_and_goes() {
        let one = service(&["10.0.0.1"], &["IPv4"], "SingleStack");
        let mut new = one.clone();
        new["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
        assert_eq!(settle(BOTH, Some(&one), &mut new), []);
        assert_eq!(families(&new), BOTH);
        assert_eq!(changes(&one, &new), []);

        let two = service(&["10.0.0.1", "fd00::1"], &["IPv4", "IPv6"], "RequireDualStack");
        let mut new = two.clone();
        new["spec"]["ipFamilyPolicy"] = "SingleStack".into();
        assert_eq!(settle(BOTH, Some(&two), &mut new), []);
        assert_eq!((addresses(&new), families(&new)), (vec!["10.0.0.1".to_owned()], V4.to_vec()));
        assert_eq!(changes(&two, &new), []);
        let mut new = two.clone();
        new["spec"]["ipFamilies"] = json!(["IPv4"]);
        let errors = settle(BOTH, Some(&two), &mut new);
        assert_eq!(
            errors[0].to_string(),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be 'SingleStack' to release the secondary IP family"
        );
    }

    #[test]
    fn the_first_address_stays() {
        let old = service(&["10.0.0.1"], &["IPv4"], "SingleStack");
        let mut new = old.clone();
        new["spec"]["clusterIP"] = "10.0.0.2".into();
        normalize(Some(&old), &mut new);
        assert_eq!(addresses(&new), ["10.0.0.2"], "an old client means the list as well");
        assert_eq!(
            changes(&old, &new)[0].to_string(),
            "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"
        );
        let mut new = json!({"spec": {"type": "ClusterIP"}});
        normalize(Some(&old), &mut new);
        assert_eq!((one(&new, "clusterIP"), addresses(&new)), ("10.0.0.1", vec!["10.0.0.1".to_owned()]));
    }
}
