//! A plan for people and for other programs: [`document`] is the form from which text, graph and picture are made.

pub(crate) mod describe;
pub mod document;
pub(crate) mod explain;
pub(crate) mod graph;
pub mod host_unit;
pub(crate) mod picture;
