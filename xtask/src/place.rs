//! Where things are in the checkout. Paths are relative to its root, which is the working directory of every task.
//!
//! ```text
//! target/dist/isopod           release build, and beside it the static agent, where isopod looks for it
//! target/dist/isopod-agent
//! target/dist-debug/           the same with the debug build: what the tests run
//! target/dist-quick/           the same with the build of the quickstart
//! target/tools/bin/virtiofsd   for the tests
//! target/quickstart/busybox/   an OCI image layout
//! target/quickstart/data/      the host volume
//! target/bench/                the benchmark's state and files
//! ```
//!
//! `dist` is apart from `release` and `debug`, since Cargo puts its own, dynamic builds of the agent there.

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Cargo's target directory: where this program is, but for `debug/xtask`.
pub(crate) fn target() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    let target = here.ancestors().nth(2).unwrap_or(Path::new("target"));
    target.strip_prefix(root()).unwrap_or(target).to_owned()
}

/// A file of the target directory as an absolute path, for programs that run elsewhere.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    root().join(path)
}

/// The directory of programs that the tests need beside the distribution's.
pub(crate) fn tools_bin() -> PathBuf {
    target().join("tools/bin")
}

/// The search path with [`tools_bin`] before everything else.
pub(crate) fn search_path() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(absolute(&tools_bin())).chain(std::env::split_paths(&path));
    // Only a colon in the checkout's own path makes this fail; the tools are not found then.
    std::env::join_paths(dirs).unwrap_or(path)
}
