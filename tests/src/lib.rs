//! Tests of `isopod` as its users have it: the command is run, its pods boot, and what it says and leaves is looked at.
//!
//! ```text
//! Bench      a directory for one test, and who runs isopod there     target/vm-tests/run-*/
//! Image      an OCI image layout, made without any tool              target/vm-tests/images/HEX
//! Debian     programs of packages, for images                         target/vm-tests/debian/
//! Pod        a command line, built flag by flag
//! Running    a command that runs, and Output, one that ended
//! Scenarios  several of them over one pod
//! Typist     a command on a terminal of its own
//! leftovers  what a command must not leave behind
//! faults     broken guests and programs, for the tests of errors
//! Page       a page of the manual, and whether its examples are true
//! links      what the manual refers to
//! circles    modules of a crate that use each other
//! names      types of one name in one crate
//! hints      errors that do not pass a hint on
//! host       a host of a test's own, in network namespaces
//! registry   registries and proxies on the loopback interface
//! podman     podman on the same host, for the same lines
//! soak       lives that end at random moments, and what is left of them
//! ```
//!
//! A test in five lines:
//!
//! ```no_run
//! # use isopod_tests::Bench;
//! let bench = Bench::new();
//! let out = bench.pod().app(&bench.busybox()).sh("echo hello; exit 7").run();
//! assert_eq!((out.status, out.text()), (7, "hello\n"));
//! ```
//!
//! Every command has an environment of its own (`PATH` and little else), a deadline, and an emulated VM
//! (`--accel tcg`), so that the answer is the same wherever the tests run. Nothing here knows the crates of `isopod`:
//! what is tested is the program.
//!
//! `ISOPOD_BIN` names the program, with its agent beside it; `cargo xtask test` sets it.

mod bench;
mod circles;
pub mod cri;
mod debian;
pub mod faults;
mod hints;
pub mod host;
mod image;
mod leftovers;
mod links;
mod names;
mod page;
mod pod;
pub mod podman;
mod random;
pub mod registry;
mod running;
mod scenarios;
mod small_disk;
pub mod soak;
mod terminal;

pub use bench::{Bench, ORDINARY_UID, say};
pub use circles::circle;
pub use debian::{Debian, tree};
pub use hints::lost as lost_hints;
pub use image::Image;
pub use links::{broken_links, missing_tests};
pub use names::shared as shared_names;
pub use page::Page;
pub use pod::Pod;
pub use random::Random;
pub use running::{Output, Running};
pub use scenarios::Scenarios;
pub use small_disk::SmallDisk;
pub use terminal::Typist;
