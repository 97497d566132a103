//! Holds back what follows from a controller's write until the controller has told of that write.
//!
//! A pod is scheduled the moment it exists, often before the controller that made it has written its `SuccessfulCreate`.
//! Who reads the events would see an effect before its cause. So the events of such a pod wait for the one that names it; if
//! none comes in time, its controller counts as silent for a while, and nothing waits for it.
//! Only StatefulSets are waited for: they are what people follow pod by pod.
//!
//! Pure: time is an argument.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// How long an event waits for its cause.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long nothing waits for a controller that did not tell: by then it may speak again (client-go's spam filter).
const SILENCE: Duration = Duration::from_secs(300);
/// Causes remembered; those of pods that are new are among the last.
const REMEMBERED: usize = 1_024;

/// Why a pod exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// UID of its controller.
    pub controller: String,
    /// Name of the pod.
    pub pod: String,
}

impl Cause {
    fn is_told_by(&self, controller: &str, message: &str) -> bool {
        self.controller == controller && message.split_whitespace().any(|word| word == self.pod)
    }
}

struct Held<E> {
    cause: Cause,
    until: Instant,
    events: Vec<E>,
}

/// The events that wait, by UID of their pod.
pub struct Order<E> {
    held: HashMap<String, Held<E>>,
    /// Controllers and what they told, oldest first.
    told: VecDeque<(String, String)>,
    /// Controllers that did not tell, and until when that counts.
    silent: HashMap<String, Instant>,
}

impl<E> Default for Order<E> {
    fn default() -> Self {
        Self { held: HashMap::new(), told: VecDeque::new(), silent: HashMap::new() }
    }
}

impl<E> Order<E> {
    /// Gives the event back if it can be posted now. `cause`: what has to be told before; later events of a pod wait with
    /// the first.
    pub fn admit(&mut self, pod: &str, cause: Option<Cause>, event: E, now: Instant) -> Option<E> {
        if let Some(held) = self.held.get_mut(pod) {
            held.events.push(event);
            return None;
        }
        let cause = cause.filter(|it| {
            let told = self.told.iter().rev().any(|(controller, message)| it.is_told_by(controller, message));
            let silent = self.silent.get(&it.controller).is_some_and(|until| now < *until);
            !told && !silent
        });
        let Some(cause) = cause else { return Some(event) };
        self.held.insert(pod.to_owned(), Held { cause, until: now + PATIENCE, events: vec![event] });
        None
    }

    /// A controller told something: what waited for it.
    pub fn hear(&mut self, controller: &str, message: &str) -> Vec<E> {
        if self.told.len() == REMEMBERED {
            self.told.pop_front();
        }
        self.told.push_back((controller.to_owned(), message.to_owned()));
        self.silent.remove(controller);
        self.release(|it| it.cause.is_told_by(controller, message))
    }

    /// What waited long enough.
    pub fn expire(&mut self, now: Instant) -> Vec<E> {
        self.silent.retain(|_, until| now < *until);
        for it in self.held.values().filter(|it| it.until <= now) {
            self.silent.insert(it.cause.controller.clone(), now + SILENCE);
        }
        self.release(|it| it.until <= now)
    }

    /// When [`Order::expire`] has something next.
    pub fn due(&self) -> Option<Instant> {
        self.held.values().map(|it| it.until).min()
    }

    fn release(&mut self, ready: impl Fn(&Held<E>) -> bool) -> Vec<E> {
        let mut released: Vec<_> = self.held.extract_if(|_, it| ready(it)).map(|it| it.1).collect();
        released.sort_by_key(|it| it.until);
        released.into_iter().flat_map(|it| it.events).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(pod: &str) -> Cause {
        Cause { controller: "web".into(), pod: pod.into() }
    }

    #[test]
    fn effects_wait_for_their_cause() {
        let (now, mut it) = (Instant::now(), Order::default());
        assert_eq!(it.admit("u0", Some(cause("web-0")), "scheduled 0", now), None);
        assert_eq!(
            it.admit("u0", None, "started 0", now),
            None,
            "the next event of a pod waits with the first"
        );
        assert_eq!(it.admit("u9", None, "scheduled 9", now), Some("scheduled 9"), "others do not wait");
        assert_eq!(it.hear("web", "create Pod web-01 in StatefulSet web successful"), [""; 0]);
        assert_eq!(it.hear("other", "create Pod web-0 in StatefulSet web successful"), [""; 0]);
        assert_eq!(
            it.hear("web", "create Pod web-0 in StatefulSet web successful"),
            ["scheduled 0", "started 0"]
        );
        assert_eq!(it.due(), None);
        it.hear("web", "create Pod web-1 in StatefulSet web successful");
        assert_eq!(
            it.admit("u1", Some(cause("web-1")), "scheduled 1", now),
            Some("scheduled 1"),
            "told before"
        );
    }

    #[test]
    fn a_silent_controller_holds_up_nothing_for_long() {
        let (now, mut it) = (Instant::now(), Order::default());
        assert_eq!(it.admit("u0", Some(cause("web-0")), "0", now), None);
        assert_eq!(it.due(), Some(now + PATIENCE));
        assert_eq!(it.expire(now), [""; 0]);
        let later = now + PATIENCE;
        assert_eq!(it.expire(later), ["0"]);
        assert_eq!(it.admit("u1", Some(cause("web-1")), "1", later), Some("1"));
        it.hear("web", "something else");
        assert_eq!(it.admit("u2", Some(cause("web-2")), "2", later), None, "it speaks again");
    }
}
