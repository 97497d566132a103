//! What stands behind the invariants: every state, every fault, random histories, two leaders.
//!
//! [`exhaustive`] judges plans. Everything else drives the whole reconcile code in one thread, with the embedded API
//! server behind a gateway that fails on purpose, caches that trail as they are told, and a clock that only moves
//! when told: the same seed gives the same history.
//!
//! `cargo test` runs a sample of each family; `ORDINAL_PROOF=full` (`.ci/run proof`) all of them.

mod acts;
mod cluster;
mod controller;
mod exhaustive;
mod faults;
mod gateway;
mod leaders;
mod random;
mod rules;
mod takeover;
mod upstream;
mod world;

/// How much to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// What every `cargo test` can afford.
    Small,
    /// Every case, and 10 000 random histories.
    Full,
}

fn effort() -> Effort {
    match std::env::var("ORDINAL_PROOF").as_deref() {
        Ok("full") => Effort::Full,
        _ => Effort::Small,
    }
}
