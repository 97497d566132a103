//! Merge metadata of the served kinds.
