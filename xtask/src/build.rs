//! Builds `isopod`, its agent and containerd's shim, and puts them side by side.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{self, command};
use crate::failure::Failure;
use crate::place;

/// Which build of `isopod`. The agent's is the same in both: it is made small, for the guest's sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build: for the tests.
    Debug,
    /// Quick to run: for people.
    Release,
}

/// containerd's shim, by the name that containerd looks for.
const SHIM: &str = "containerd-shim-isopod-v2";

/// Builds them.
///
/// Returns the path of `isopod`, with the agent beside it as `isopod-agent`, and containerd's shim.
pub(crate) fn isopod(profile: Profile) -> Result<PathBuf, Failure> {
    // The tests' programs come with their tests: built apart from these, all dependencies would be built for either.
    let (programs, built, dist): (&[&str], _, _) = match profile {
        Profile::Debug => (&["--workspace", "--bins", "--tests"], "debug", "dist-debug"),
        Profile::Release => (
            &["--release", "-p", "isopod-cli", "-p", "isopod-shim"],
            "release",
            "dist",
        ),
    };
    command::run(command("cargo", ["build"]).args(programs))?;
    // Static, since the guest image has no libraries when it runs first; at a fixed address, since it is executed several
    // times in each start, and moving it took a thirtieth of all that is translated there; without `--target`, so that one
    // directory of build products serves both.
    let agent = [
        "rustc",
        "--profile",
        "agent",
        "-p",
        "isopod-agent",
        "--bin",
        "isopod-agent",
    ];
    let code = [
        "--",
        "-C",
        "target-feature=+crt-static",
        "-C",
        "relocation-model=static",
    ];
    command::run(command("cargo", agent).args(code))?;
    let target = place::target();
    let dist = target.join(dist);
    fs::create_dir_all(&dist)
        .map_err(|error| Failure::new(format!("cannot create `{}`", dist.display())).caused_by(error))?;
    replace(&target.join("agent/isopod-agent"), &dist.join("isopod-agent"))?;
    replace(&target.join(built).join("isopod"), &dist.join("isopod"))?;
    replace(&target.join(built).join(SHIM), &dist.join(SHIM))?;
    Ok(dist.join("isopod"))
}

/// Copies a program over one that may be running, whose file cannot be written.
fn replace(from: &Path, to: &Path) -> Result<(), Failure> {
    let new = to.with_extension("new");
    fs::copy(from, &new)
        .and_then(|_| fs::rename(&new, to))
        .map_err(|error| {
            Failure::new(format!("cannot copy `{}` to `{}`", from.display(), to.display())).caused_by(error)
        })
}
