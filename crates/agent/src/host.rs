//! The conversation with the host: [`serve`] begins it over the [`port`], [`session`] has it, and the [`streams`] that the
//! host opens beside it are commands, copies, statistics, [`processes`], what [comes](arriving) and [`hotplug`], which ask the session
//! [`questions`].

pub(crate) mod app;
pub(crate) mod arriving;
pub(crate) mod clock;
pub(crate) mod departing;
pub(crate) mod hotplug;
mod interfaces;
mod names;
mod nameservers;
pub(crate) mod port;
mod processes;
pub(crate) mod questions;
mod refilling;
pub(crate) mod serve;
pub(crate) mod session;
pub(crate) mod stats;
pub(crate) mod streams;
