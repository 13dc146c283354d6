//! Pods, images and volumes with the fields that docker has for them, for `--format` and `inspect -f`.
//!
//! ```text
//! PodEntry ─ pod.rs ──> a row of `ps`, a document of `inspect` ─┐
//! Image ──── image.rs ──────────────────────────────────────────┴─ template.rs ──> text
//! ```
//!
//! All of it is pure: what is known of a pod comes in, JSON values go out.

mod format;
mod image;
mod layout;
mod pod;
mod template;
mod time;

pub(crate) use format::{document, layout};
pub(crate) use image::image_row;
pub(crate) use layout::Layout;
pub(crate) use pod::{inspected, pod_row};
pub(crate) use template::{inspection, one, rows};
pub(crate) use time::size;
