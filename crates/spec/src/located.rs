//! Files that describe a pod, YAML or JSON, as values that know their place, and what can be wrong there.
//!
//! ```text
//! text ─ value.rs: values with line and column ─ node.rs: with their field ─┬─> the reader of a language (appc, kube, compose)
//!                                                fault.rs: what is wrong  <─┤
//!                                                places.rs: where a part is ┘
//! ```

mod fault;
mod node;
mod places;
mod value;

pub use fault::{Fault, FaultKind, Location, Part};
pub(crate) use node::{Faults, Node, Origin};
pub(crate) use places::{AppPlaces, MountFields, PodPlaces};
pub(crate) use value::{At, Key, Kind, Tag, Value, read_json, read_yaml};
