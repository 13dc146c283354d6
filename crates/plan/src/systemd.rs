//! systemd's language: the text of units, and the names of those that belong to paths.

pub mod unit;
pub mod unit_name;
