//! A proposal into a size: recent proposals, speed limits, bounds.
//!
//! Source: kubernetes `pkg/controller/podautoscaler/horizontal.go` (`normalizeDesiredReplicas`,
//! `normalizeDesiredReplicasWithBehaviors`); KEP-853.

use std::cmp::Ordering;

use jiff::Timestamp;

use super::Settings;
use super::model::{Behavior, Rules, Select};

/// What an autoscaler remembers between passes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Proposals, before any limit.
    pub recommendations: Vec<(Timestamp, u32)>,
    /// Pods added, when.
    pub added: Vec<(Timestamp, u32)>,
    /// Pods removed, when.
    pub removed: Vec<(Timestamp, u32)>,
}

impl Memory {
    /// Notes a change of size; only behaviour ever asks for it.
    pub fn note(&mut self, behavior: Option<&Behavior>, from: u32, to: u32, now: Timestamp) {
        let Some(behavior) = behavior else { return };
        let longest = |rules: &Rules| rules.policies.iter().map(|it| it.period).max().unwrap_or(0);
        let longest = longest(&behavior.up).max(longest(&behavior.down));
        for events in [&mut self.added, &mut self.removed] {
            events.retain(|it| since(it.0, now) < longest);
        }
        if to > from {
            self.added.push((now, to - from));
        } else if to < from {
            self.removed.push((now, from - to));
        }
    }

    fn in_period(events: &[(Timestamp, u32)], period: i64, now: Timestamp) -> i64 {
        events.iter().filter(|it| since(it.0, now) < period).map(|it| i64::from(it.1)).sum()
    }

    fn recommend(&mut self, replicas: u32, longest: i64, now: Timestamp) {
        self.recommendations.retain(|it| since(it.0, now) < longest);
        self.recommendations.push((now, replicas));
    }
}

/// Whole seconds that passed.
fn since(at: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(at).as_secs()
}

/// A size and the conditions that explain it: reason and message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// Replicas.
    pub replicas: u32,
    /// `AbleToScale`, always True.
    pub able: (&'static str, &'static str),
    /// Whether something limits the size.
    pub is_limited: bool,
    /// `ScalingLimited`.
    pub limit: (&'static str, &'static str),
}

const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const DOWN_STABILIZED: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_STABILIZED: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const WITHIN: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_MANY: (&str, &str) =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const UP_LIMIT: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: (&str, &str) =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

/// The size and its bounds.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Size now.
    pub current: u32,
    /// Smallest size.
    pub min: u32,
    /// Largest size.
    pub max: u32,
}

/// Without `spec.behavior`: the highest proposal of the window, then the bounds, and no more than twice the size.
pub fn plain(
    memory: &mut Memory,
    bounds: Bounds,
    proposed: u32,
    settings: &Settings,
    now: Timestamp,
) -> Limited {
    let window = settings.downscale_window.as_secs();
    let recent = memory.recommendations.iter().filter(|it| since(it.0, now) < window).map(|it| it.1);
    let stable = recent.max().unwrap_or(0).max(proposed);
    memory.recommend(proposed, window, now);
    let fast = (2 * bounds.current).max(4);
    let (most, above) = if bounds.max > fast { (fast, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
    let (replicas, limit) = if stable < bounds.min {
        (bounds.min, TOO_FEW)
    } else if stable > most {
        (most, above)
    } else {
        (stable, WITHIN)
    };
    let able = if stable != proposed { DOWN_STABILIZED } else { READY };
    Limited { replicas, able, is_limited: replicas != stable, limit }
}

/// With `spec.behavior`: windows of both directions, then the policies of the direction, then the bounds.
pub fn with_behavior(
    memory: &mut Memory,
    behavior: &Behavior,
    bounds: Bounds,
    proposed: u32,
    settings: &Settings,
    now: Timestamp,
) -> Limited {
    let up_window = behavior.up.window.unwrap_or(0);
    let down_window = behavior.down.window.unwrap_or(settings.downscale_window.as_secs());
    let recent = |window: i64| {
        let inside = memory.recommendations.iter().filter(move |it| since(it.0, now) < window);
        inside.map(|it| it.1)
    };
    let lowest = recent(up_window).min().unwrap_or(u32::MAX).min(proposed);
    let highest = recent(down_window).max().unwrap_or(0).max(proposed);
    let stable = bounds.current.max(lowest).min(highest);
    memory.recommend(proposed, up_window.max(down_window), now);
    let able = if stable == proposed {
        READY
    } else if proposed >= bounds.current {
        UP_STABILIZED
    } else {
        DOWN_STABILIZED
    };
    let (replicas, limit) = match stable.cmp(&bounds.current) {
        Ordering::Greater => {
            let fast = limit(memory, &behavior.up, bounds.current, Direction::Up, now).max(bounds.current);
            let (most, above) = if bounds.max > fast { (fast, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
            if stable > most { (most, above) } else { (stable, WITHIN) }
        }
        Ordering::Less => {
            let fast =
                limit(memory, &behavior.down, bounds.current, Direction::Down, now).min(bounds.current);
            let (least, below) = if bounds.min < fast { (fast, DOWN_LIMIT) } else { (bounds.min, TOO_FEW) };
            if stable < least { (least, below) } else { (stable, WITHIN) }
        }
        Ordering::Equal => (stable, WITHIN),
    };
    Limited { replicas, able, is_limited: replicas != stable, limit }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// How far the policies let a size go.
fn limit(memory: &Memory, rules: &Rules, current: u32, direction: Direction, now: Timestamp) -> u32 {
    if rules.select == Select::Disabled {
        return current;
    }
    let targets = rules.policies.iter().map(|it| {
        let added = Memory::in_period(&memory.added, it.period, now);
        let removed = Memory::in_period(&memory.removed, it.period, now);
        let base = i64::from(current) - added + removed;
        let share = it.value as f64 / 100.0;
        match (direction, it.percent) {
            (Direction::Up, false) => base + it.value,
            (Direction::Up, true) => (base as f64 * (1.0 + share)).ceil() as i64,
            (Direction::Down, false) => base - it.value,
            (Direction::Down, true) => (base as f64 * (1.0 - share)) as i64,
        }
    });
    let highest = (direction == Direction::Up) == (rules.select == Select::Max);
    let target = if highest { targets.max() } else { targets.min() };
    u32::try_from(target.unwrap_or(i64::from(current)).max(0)).unwrap_or(u32::MAX)
}
