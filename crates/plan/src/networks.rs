//! Networks with names, decided: what a new one is ([`create`]), and which address a pod gets in one ([`address`]).
//!
//! Whoever asks holds the lock of the networks, so that what is taken stays all that is taken until the answer is written down.

pub mod address;
mod create;

pub use create::{CreateFault, NetworkRequest, Surroundings, create};
