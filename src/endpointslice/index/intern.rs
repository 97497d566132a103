//! Texts and ports that many pods have in common are kept once.
//!
//! Pods of a cluster share label keys, most label values, nodes, subdomains and named ports. Without this they are half of
//! the memory of a pod.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use crate::endpointslice::model::{NamedPort, PodView};

/// How many pods may come before a first sweep.
const FEW: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct Interner {
    texts: HashSet<Arc<str>>,
    ports: HashSet<Arc<[NamedPort]>>,
    /// Pods since the last sweep, and texts kept then: sweeping costs each pod a constant time.
    pods: usize,
    kept: usize,
}

impl Interner {
    /// Lets a pod share what is known, and now and then forgets what no pod has any more.
    pub fn share(&mut self, pod: &mut PodView) {
        for (key, value) in pod.labels.texts_mut() {
            one(&mut self.texts, key);
            one(&mut self.texts, value);
        }
        one(&mut self.texts, &mut pod.node_name);
        one(&mut self.texts, &mut pod.subdomain);
        one(&mut self.ports, &mut pod.ports);
        self.pods += 1;
        if self.pods > self.kept + FEW {
            self.texts.retain(|it| Arc::strong_count(it) > 1);
            (self.pods, self.kept) = (0, self.texts.len());
            self.ports.retain(|it| Arc::strong_count(it) > 1);
        }
    }
}

fn one<T: Eq + Hash + ?Sized>(known: &mut HashSet<Arc<T>>, it: &mut Arc<T>) {
    match known.get(&*it) {
        Some(shared) => *it = Arc::clone(shared),
        None => drop(known.insert(Arc::clone(it))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::endpointslice::narrow::from_json;

    fn pod(app: &str) -> PodView {
        let pod = json!({
            "metadata": {"name": "web-0", "labels": {"app": app}},
            "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "http", "containerPort": 80}]}]},
        });
        from_json(pod).unwrap().unwrap()
    }

    #[test]
    fn what_is_equal_is_shared_and_what_is_not_used_is_forgotten() {
        let mut interner = Interner::default();
        let (mut one, mut other) = (pod("web"), pod("web"));
        interner.share(&mut one);
        interner.share(&mut other);
        assert_eq!(one, pod("web"), "sharing changes nothing");
        assert!(Arc::ptr_eq(&one.node_name, &other.node_name) && Arc::ptr_eq(&one.ports, &other.ports));
        assert!(std::ptr::eq(one.labels.get("app").unwrap(), other.labels.get("app").unwrap()));
        drop(one);
        for number in 0..3 * FEW {
            interner.share(&mut pod(&number.to_string()));
        }
        assert!(interner.texts.len() < FEW + 10, "{}", interner.texts.len());
        assert!(interner.texts.contains("web"), "a pod has it");
    }
}
