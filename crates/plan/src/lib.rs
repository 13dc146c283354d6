//! From a pod and the facts about it to a plan: pure, so that whatever can go wrong with a mount can be tested without
//! a machine.
//!
//! ```text
//! PodSpec ──┐
//!           ├─ decide: what is mounted where (volumes), what is executed (process, users)
//! Facts ────┘    │
//!                ├─ machine: shares, devices, kernel command line ──> qemu: its switches
//!                ├─ mounts: what is mounted in the guest, in which order ──> units: as systemd reads it
//!                └─ guest_files: units, mount points, the agent's configuration ──> guest_tree: a tree of files
//! ```
//!
//! Nothing in this crate reads a file, a clock or the environment. [`survey`] lets the caller find out what planning
//! will ask of images and volumes.

pub mod apps;
mod decide;
pub mod facts;
pub mod fault;
pub mod guest;
pub mod layout;
mod notices;
pub mod output;
pub mod path;
mod plan;
pub mod profile;
mod rkt;
pub mod vm;
pub mod volumes;

pub use apps::lifecycle::Life;
pub use decide::survey;
pub use facts::Facts;
pub use fault::{Fault, PlanError};
pub use output::document::Document;
pub use output::explain::explain;
pub use output::graph::dot;
pub use output::picture::svg;
pub use plan::{AppPlan, ImagePlan, PodPlan, ROOT_DIRECTORIES, plan};
pub use rkt::{RktPlan, plan_rkt};
