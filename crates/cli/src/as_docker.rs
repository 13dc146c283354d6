//! Pods, images, volumes and events with the fields that docker has for them, for `--format` and `inspect -f`.
//!
//! ```text
//! PodEntry ─ pod.rs ──> a row of `ps`, a document of `inspect` ─┐
//! Image ──── image.rs ──────────────────────────────────────────┴─ template.rs ──> text
//! ```
//!
//! All of it is pure: what is known of a pod comes in, JSON values go out.

mod event;
mod format;
mod image;
mod layout;
mod pod;
mod template;
mod time;

pub(crate) use event::{action, event_row, event_type};
pub(crate) use format::{document, layout};
pub(crate) use image::{image_row, since};
pub(crate) use layout::Layout;
pub(crate) use pod::{inspected, pod_row};
pub(crate) use template::{inspection, one, rows};
pub(crate) use time::size;
