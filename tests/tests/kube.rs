//! Pods of Kubernetes pod files, in a guest.

mod ends;
mod fields;
mod pods;
mod reading;
