//! The `sim.ordinal/…` annotations of a pod, over the delays of the node.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;

use super::config::NodeConfig;

const PREFIX: &str = "sim.ordinal/";

/// Where a pod is to get stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// Stays ContainerCreating.
    Creating,
    /// Stays Terminating.
    Terminating,
}

/// What one pod is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knobs {
    /// From bound to Running.
    pub start_delay: Duration,
    /// From Running to Ready.
    pub ready_delay: Duration,
    /// From deletion to stopped.
    pub stop_delay: Duration,
    /// Readiness set by hand; `None` leaves it to the ready delay.
    pub ready: Option<bool>,
    /// Where the pod gets stuck.
    pub stuck: Option<Stuck>,
    /// Restarts to crash through; `u32::MAX` is for ever, 0 never.
    pub crashes: u32,
    /// Reason to fail with.
    pub fail: Option<String>,
}

impl Knobs {
    /// The node's defaults, without annotations.
    pub fn of(config: &NodeConfig) -> Self {
        Self {
            start_delay: config.start_delay,
            ready_delay: config.ready_delay,
            stop_delay: config.stop_delay,
            ready: None,
            stuck: None,
            crashes: 0,
            fail: None,
        }
    }
}

/// Reads the annotations. The second part tells, one message each, which were ignored.
pub fn parse(config: &NodeConfig, annotations: Option<&BTreeMap<String, String>>) -> (Knobs, Vec<String>) {
    let mut knobs = Knobs::of(config);
    let mut ignored = Vec::new();
    for (key, value) in annotations.into_iter().flatten() {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        // What a pod uses is not the node's business.
        if ["cpu", "memory", "metrics", "load"].iter().any(|it| name.starts_with(it)) {
            continue;
        }
        if set(&mut knobs, name, value).is_none() {
            ignored.push(format!("ignored annotation {key}={value:?}: unknown name or value"));
        }
    }
    (knobs, ignored)
}

/// Sets one knob; `None` if there is no such name or value.
fn set(knobs: &mut Knobs, name: &str, value: &str) -> Option<()> {
    match name {
        "start-delay" => knobs.start_delay = duration(value)?,
        "ready-delay" => knobs.ready_delay = duration(value)?,
        "stop-delay" => knobs.stop_delay = duration(value)?,
        "ready" => knobs.ready = Some(value.parse().ok()?),
        "stuck" => {
            knobs.stuck = Some(match value {
                "creating" => Stuck::Creating,
                "terminating" => Stuck::Terminating,
                _ => return None,
            });
        }
        "crash" => knobs.crashes = if value == "loop" { u32::MAX } else { value.parse().ok()? },
        "fail" if !value.is_empty() => knobs.fail = Some(value.to_owned()),
        _ => return None,
    }
    Some(())
}

fn duration(text: &str) -> Option<Duration> {
    text.parse::<SignedDuration>().ok().and_then(|it| Duration::try_from(it).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_override_the_node_and_bad_ones_are_named() {
        let annotations: BTreeMap<String, String> = [
            ("sim.ordinal/start-delay", "5s"),
            ("sim.ordinal/ready-delay", "-1s"),
            ("sim.ordinal/ready", "maybe"),
            ("sim.ordinal/stuck", "terminating"),
            ("sim.ordinal/crash", "loop"),
            ("sim.ordinal/fail", ""),
            ("sim.ordinal/colour", "blue"),
            ("example.com/ready", "false"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let (knobs, ignored) = parse(&NodeConfig::default(), Some(&annotations));
        let want = Knobs {
            start_delay: Duration::from_secs(5),
            stuck: Some(Stuck::Terminating),
            crashes: u32::MAX,
            ..Knobs::of(&NodeConfig::default())
        };
        assert_eq!(knobs, want);
        assert_eq!(ignored.len(), 4, "{ignored:?}");
        assert_eq!(ignored[0], "ignored annotation sim.ordinal/colour=\"blue\": unknown name or value");
    }
}
