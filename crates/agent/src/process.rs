//! What apps and commands in them have in common: their [`processes`], whom those become ([`assume`]), and terminals ([`pty`]).

pub(crate) mod assume;
pub(crate) mod processes;
pub(crate) mod pty;
