//! A sorted set of small values that is cheap to copy and to change: the storage of `dns::reverse`.
//!
//! A B+ tree whose nodes are shared between copies. A change copies the nodes on one path (a leaf of at most [`MAX_LEAF`]
//! values and inner nodes of at most [`MAX_INNER`] children), and copies nothing that no other copy shares, so a batch of
//! changes to one copy costs one path each at most. A range is one search and then a walk.
//! Invariants: no node is empty except the root leaf of an empty set; values ascend without repetition.

use std::ops::ControlFlow;
use std::sync::Arc;

/// Most values of a leaf: a kilobyte of IPv4 hints, which copies in tens of nanoseconds.
const MAX_LEAF: usize = 128;
/// Most children of an inner node: each costs a reference count when a path is copied.
const MAX_INNER: usize = 16;

/// A sorted set; cloning shares everything.
#[derive(Debug, Clone)]
pub struct Tree<T> {
    root: Arc<Node<T>>,
}

#[derive(Debug, Clone)]
enum Node<T> {
    Leaf(Vec<T>),
    /// The least value below each child, and the child.
    Inner(Vec<(T, Arc<Node<T>>)>),
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())) }
    }
}

impl<T: Copy + Ord> Tree<T> {
    /// Builds from values in any order, repetitions allowed.
    pub fn from_values(mut values: Vec<T>) -> Self {
        values.sort_unstable();
        values.dedup();
        // Three quarters full, so that the first changes do not split every node.
        let leaves = values.chunks(MAX_LEAF * 3 / 4).map(|it| (it[0], Arc::new(Node::Leaf(it.to_vec()))));
        let mut level: Vec<(T, Arc<Node<T>>)> = leaves.collect();
        while level.len() > 1 {
            let nodes = level.chunks(MAX_INNER * 3 / 4);
            level = nodes.map(|it| (it[0].0, Arc::new(Node::Inner(it.to_vec())))).collect();
        }
        level.pop().map_or_else(Self::default, |(_, root)| Self { root })
    }

    /// Adds a value; one that is there already stays.
    pub fn insert(&mut self, value: T) {
        if let Some(right) = self.root.insert(value) {
            let left = std::mem::take(self).root;
            let least = left.least().expect("a node that was split has values");
            self.root = Arc::new(Node::Inner(vec![(least, left), right]));
        }
    }

    /// Removes a value; one that is not there is no error.
    pub fn remove(&mut self, value: T) {
        if self.contains(value) {
            Node::remove(&mut self.root, value);
            while let Node::Inner(children) = &*self.root {
                match &children[..] {
                    [] => *self = Self::default(),
                    [(_, only)] => self.root = only.clone(),
                    _ => break,
                }
            }
        }
    }

    /// Whether the value is there.
    pub fn contains(&self, value: T) -> bool {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Leaf(values) => return values.binary_search(&value).is_ok(),
                Node::Inner(children) => node = &children[child_of(children, value)].1,
            }
        }
    }

    /// Calls `visit` with the values from `first` to `last`, both included and ascending, until it breaks.
    pub fn range<B>(&self, first: T, last: T, visit: &mut impl FnMut(T) -> ControlFlow<B>) -> ControlFlow<B> {
        self.root.range(first, last, visit)
    }
}

/// The child that `value` is in or belongs into.
fn child_of<T: Copy + Ord, N>(children: &[(T, N)], value: T) -> usize {
    children.partition_point(|(least, _)| *least <= value).saturating_sub(1)
}

/// A node split off to the right, with its least value.
type Split<T> = Option<(T, Arc<Node<T>>)>;

impl<T: Copy + Ord> Node<T> {
    fn least(&self) -> Option<T> {
        match self {
            Node::Leaf(values) => values.first().copied(),
            Node::Inner(children) => children.first().map(|(least, _)| *least),
        }
    }

    fn insert(self: &mut Arc<Self>, value: T) -> Split<T> {
        match Arc::make_mut(self) {
            Node::Leaf(values) => {
                let Err(place) = values.binary_search(&value) else { return None };
                values.reserve_exact(1);
                values.insert(place, value);
                (values.len() > MAX_LEAF).then(|| {
                    let right = values.split_off(MAX_LEAF / 2);
                    values.shrink_to_fit();
                    (right[0], Arc::new(Node::Leaf(right)))
                })
            }
            Node::Inner(children) => {
                let at = child_of(children, value);
                children[at].0 = children[at].0.min(value);
                let split = children[at].1.insert(value)?;
                children.reserve_exact(1);
                children.insert(at + 1, split);
                (children.len() > MAX_INNER).then(|| {
                    let right = children.split_off(MAX_INNER / 2);
                    children.shrink_to_fit();
                    (right[0].0, Arc::new(Node::Inner(right)))
                })
            }
        }
    }

    /// Removes a value that is there. Returns whether the node is empty now.
    fn remove(self: &mut Arc<Self>, value: T) -> bool {
        match Arc::make_mut(self) {
            Node::Leaf(values) => {
                if let Ok(place) = values.binary_search(&value) {
                    values.remove(place);
                }
                values.is_empty()
            }
            Node::Inner(children) => {
                let at = child_of(children, value);
                if children[at].1.remove(value) {
                    children.remove(at);
                } else if let Some(least) = children[at].1.least() {
                    children[at].0 = least;
                }
                children.is_empty()
            }
        }
    }

    fn range<B>(&self, first: T, last: T, visit: &mut impl FnMut(T) -> ControlFlow<B>) -> ControlFlow<B> {
        match self {
            Node::Leaf(values) => {
                let from = values.partition_point(|it| *it < first);
                values[from..].iter().take_while(|it| **it <= last).try_for_each(|it| visit(*it))
            }
            Node::Inner(children) => {
                let from = child_of(children, first);
                let within = children[from..].iter().take_while(|(least, _)| *least <= last);
                for (_, child) in within {
                    child.range(first, last, visit)?;
                }
                ControlFlow::Continue(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn within(tree: &Tree<u32>, first: u32, last: u32) -> Vec<u32> {
        let mut found = Vec::new();
        let _ = tree.range(first, last, &mut |it| {
            found.push(it);
            ControlFlow::<()>::Continue(())
        });
        found
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_set(
            start in proptest::collection::vec(0u32..60_000, 0..12_000),
            edits in proptest::collection::vec((any::<bool>(), 0u32..60_000), 0..900),
            sweep in 0u32..60_000,
            (low, high) in (0u32..60_000, 0u32..60_000),
        ) {
            let mut want: BTreeSet<u32> = start.iter().copied().collect();
            let mut got = Tree::from_values(start);
            let before = got.clone();
            let old: Vec<u32> = want.iter().copied().collect();
            for (add, value) in edits {
                if add {
                    want.insert(value);
                    got.insert(value);
                } else {
                    want.remove(&value);
                    got.remove(value);
                }
            }
            for value in 0..sweep {
                want.remove(&value);
                got.remove(value);
            }
            prop_assert_eq!(within(&got, 0, u32::MAX), want.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(within(&before, 0, u32::MAX), old, "a copy keeps what it had");
            let part: Vec<u32> = want.iter().copied().filter(|it| (low..=high).contains(it)).collect();
            prop_assert_eq!(within(&got, low, high), part);
            prop_assert!(want.iter().all(|it| got.contains(*it)));
        }
    }

    #[test]
    fn it_grows_from_nothing_and_shrinks_to_nothing() {
        let mut tree = Tree::default();
        for value in 0..20_000u32 {
            tree.insert(value.wrapping_mul(0x9e37_79b1));
        }
        assert_eq!(within(&tree, 0, u32::MAX).len(), 20_000);
        for value in 0..20_000u32 {
            tree.remove(value.wrapping_mul(0x9e37_79b1));
        }
        assert!(within(&tree, 0, u32::MAX).is_empty());
        tree.insert(7);
        assert_eq!(within(&tree, 7, 7), [7]);
    }
}
