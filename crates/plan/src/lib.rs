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

pub mod attach;
pub mod confinement;
mod decide;
pub mod document;
mod explain;
pub mod facts;
pub mod fault;
pub mod file_server;
mod filter;
mod graph;
mod guest_files;
pub mod guest_tree;
mod health;
pub mod host_unit;
mod kernel_places;
mod launch;
pub mod layout;

mod last_words;
mod life;
pub mod limits;
pub mod machine;
mod memory;
mod mounts;
mod names;
pub mod network;
mod notices;
pub mod path;
mod picture;
mod plan;
mod pod_config;
pub mod process;
pub mod profile;
pub mod qemu;
mod rkt;
mod sysctl;
pub mod unit;
pub mod unit_name;
pub mod units;
pub mod users;
pub mod volumes;

pub use decide::survey;
pub use document::Document;
pub use explain::explain;
pub use facts::Facts;
pub use fault::{Fault, PlanError};
pub use graph::dot;
pub use life::Life;
pub use picture::svg;
pub use plan::{AppPlan, ImagePlan, PodPlan, ROOT_DIRECTORIES, plan};
pub use rkt::{RktPlan, plan_rkt};
