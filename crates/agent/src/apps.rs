//! The apps: how each is executed, its streams, its health, and when it is started and stopped. What happens in its lives is
//! decided by [`lifecycle`].
//!
//! | what | modules |
//! |---|---|
//! | its program is executed | [`becoming`], which begins its processes ([`processes`](crate::process::processes)) and becomes who the app is ([`assume`](crate::process::assume)); [`format`] says why a program could not be executed; [`launch`] reads that |
//! | its streams and what it says of itself | [`pipes`], [`terminal`], [`notify`], [`last_words`] |
//! | its health | [`probe_schedule`] decides when to probe, [`check`] does it |
//! | it is held | [`paused`] |
//! | its turn | [`order`] decides whether it may start and stop, [`restart`] whether it is started again |

pub(crate) mod becoming;
pub(crate) mod check;
pub(crate) mod format;
pub(crate) mod last_words;
pub(crate) mod launch;
pub(crate) mod lifecycle;
pub(crate) mod notify;
pub(crate) mod order;
pub(crate) mod paused;
pub(crate) mod pipes;
pub(crate) mod probe_schedule;
pub(crate) mod restart;
pub(crate) mod streams;
pub(crate) mod terminal;
