//! What is decided, and how it is written: one program of all files, since each would be linked anew whenever a crate changes.

mod fixture;

mod arriving;
mod attach;
mod containment;
mod file_server;
mod given;
mod golden;
mod lifecycle;
mod limits;
mod network;
mod networks;
mod rkt_conformance;
mod roots;
mod schema;
mod semantics;
mod systemd;
mod writable;
