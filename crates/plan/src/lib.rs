//! From a pod and the facts about it to a plan: pure, so that whatever can go wrong with a mount can be tested without
//! a VM.
//!
//! ```text
//! PodSpec ──┐
//!           ├─ decide: what is mounted where (volumes), what is executed (apps)
//! Facts ────┘    │
//!                └─ plan ──> vm:    shares, disks, devices, kernel command line, QEMU's switches
//!                        └─> guest: mounts in their order, units, the agent's configuration ──> a tree of files
//!                                   │
//!                         PodPlan ──┴─> output: for people and other programs
//! ```
//!
//! [`rkt`] plans volumes as rkt did; no other plan comes through it.
//!
//! Nothing in this crate reads a file, a clock or the environment. [`survey`] lets the caller find out what planning
//! will ask of images and volumes.

pub mod apps;
mod decide;
pub mod distribution;
pub mod doctor;
pub mod facts;
pub mod fault;
pub mod guest;
pub mod hotplug;
pub mod layout;
pub mod networks;
mod notices;
pub mod output;
pub mod path;
mod plan;
mod pod_plan;
mod quoted;
mod rkt;
pub mod systemd;
pub mod vm;
pub mod volumes;

pub use apps::lifecycle::AppLifecycle;
pub use apps::{AppPlan, ImagePlan, RootPlan, Writes};
pub use decide::survey;
pub use facts::Facts;
pub use fault::{Fault, PlanError};
pub use output::document::Document;
pub use output::explain::explain;
pub use output::graph::dot;
pub use output::picture::svg;
pub use plan::{arriving, plan};
pub use pod_plan::PodPlan;
pub use rkt::document::RktHypervisor;
pub use rkt::{RktPlan, plan_rkt};
