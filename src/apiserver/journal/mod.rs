//! Where the store's commits are kept beyond the life of the process: `--data-dir`.
//!
//! The store stays what it is, in memory, and hands every commit to its journal; this is the shell that writes them out.
//! No response, and no event of a watch, leaves before everything it may have seen is durable, so nothing that was ever
//! told is lost by a crash, and no version is given twice.
//! Source of that rule: etcd's guarantees (`Durability`, `Strict serializability`).

pub mod disk;
pub mod folder;
mod overlay;
#[cfg(test)]
mod tests;
