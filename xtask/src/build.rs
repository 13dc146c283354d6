//! Builds `isopod`, its agent and containerd's shim, and puts them side by side.
//!
//! ```text
//! debug      target/dist-debug    the tests' programs too; the agent as users have it
//! release    target/dist          all of them, for people
//! quick      target/dist-quick    `isopod` and its agent, in one profile, so that they have what they depend on in common
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{self, command};
use crate::failure::Failure;
use crate::place;

/// Which build of `isopod`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For the tests. The agent is that of `Release`.
    Debug,
    /// For people. The agent is made small, for the guest's sake.
    Release,
    /// Quick to build: for who wants to see a pod run. No shim.
    Quick,
}

impl Profile {
    /// Where its programs are put, below the target directory.
    fn dist(self) -> &'static str {
        match self {
            Self::Debug => "dist-debug",
            Self::Release => "dist",
            Self::Quick => "dist-quick",
        }
    }
}

/// containerd's shim, by the name that containerd looks for.
const SHIM: &str = "containerd-shim-isopod-v2";

/// How the agent is built.
const AGENT: [&str; 7] = [
    "rustc",
    "--profile",
    "agent",
    "-p",
    "isopod-agent",
    "--bin",
    "isopod-agent",
];

/// Static, since the guest image has no libraries when it runs first; at a fixed address, since it is executed several times in each
/// start, and moving it took a thirtieth of all that is translated there.
const CODE: [&str; 5] = [
    "--",
    "-C",
    "target-feature=+crt-static",
    "-C",
    "relocation-model=static",
];

/// How the agent of another architecture is built quickly: the test that boots it needs no small one.
const QUICK: [(&str, &str); 3] = [
    ("CARGO_PROFILE_AGENT_LTO", "off"),
    ("CARGO_PROFILE_AGENT_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_AGENT_CODEGEN_UNITS", "16"),
];

/// The architecture of guests that is not this host's, as the kernel calls it.
fn foreign() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "aarch64",
        _ => "x86_64",
    }
}

/// What the agent for guests of the other architecture is called.
pub(crate) fn foreign_agent_name() -> String {
    format!("isopod-agent-{}", foreign())
}

fn foreign_triple() -> String {
    format!("{}-unknown-linux-gnu", foreign())
}

/// Gets rustc's library for the other architecture from Rust's own server, which not every host reaches.
pub(crate) fn foreign_library() -> Result<(), Failure> {
    match command::exists("rustup") {
        true => command::run(command("rustup", ["target", "add"]).arg(foreign_triple())),
        false => Ok(()),
    }
}

/// Builds the agent for guests of the other architecture, `isopod-agent-ARCH`, beside `isopod`. It takes rustc's library for
/// that, which rustup fetches, and Debian's cross compiler.
pub(crate) fn foreign_agent(profile: Profile) -> Result<PathBuf, Failure> {
    foreign_library()?;
    let arch = foreign();
    let triple = foreign_triple();
    let compiler = format!("{arch}-linux-gnu-gcc");
    let linker = format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase().replace('-', "_"));
    let cargo = |words: &[&str]| {
        let mut cargo = command("cargo", words);
        cargo
            .env(&linker, &compiler)
            .env(format!("CC_{}", triple.replace('-', "_")), &compiler);
        cargo
    };
    let mut agent = cargo(&AGENT);
    if profile == Profile::Debug {
        agent.envs(QUICK);
    }
    command::run(agent.arg("--target").arg(&triple).args(CODE))?;
    let dist = place::target().join(profile.dist());
    fs::create_dir_all(&dist)
        .map_err(|error| Failure::new(format!("cannot create `{}`", dist.display())).caused_by(error))?;
    let built = place::target().join(&triple).join("agent/isopod-agent");
    let place = dist.join(foreign_agent_name());
    replace(&built, &place)?;
    Ok(place)
}

/// The program through which Cargo calls rustc in a quick build: the agent alone is linked statically, and all is built together, since what
/// both depend on would be built twice otherwise, for either's features.
const STATIC_AGENT: &str = "xtask/src/static-agent.sh";

/// Builds them.
///
/// Returns the path of `isopod`, with the agent beside it as `isopod-agent`, and containerd's shim.
pub(crate) fn isopod(profile: Profile) -> Result<PathBuf, Failure> {
    // The tests' programs come with their tests: built apart from these, all dependencies would be built for either.
    let (programs, built): (&[&str], _) = match profile {
        Profile::Debug => (&["--workspace", "--bins", "--tests"], "debug"),
        Profile::Release => (&["--release", "-p", "isopod-cli", "-p", "isopod-shim"], "release"),
        Profile::Quick => (
            &["--profile", "quick", "-p", "isopod-cli", "-p", "isopod-agent"],
            "quick",
        ),
    };
    let mut cargo = command("cargo", ["build"]);
    cargo.args(programs);
    if profile == Profile::Quick {
        let wrapper = place::absolute(Path::new(STATIC_AGENT));
        cargo.env("RUSTC_WORKSPACE_WRAPPER", wrapper);
        command::run(cargo.env("ISOPOD_AGENT_CODE", CODE[1..].join(" ")))?;
    } else {
        command::run(&mut cargo)?;
        // Without `--target`, so that one directory of build products serves both.
        command::run(command("cargo", AGENT).args(CODE))?;
    }
    let target = place::target();
    let dist = target.join(profile.dist());
    fs::create_dir_all(&dist)
        .map_err(|error| Failure::new(format!("cannot create `{}`", dist.display())).caused_by(error))?;
    let built = target.join(built);
    let agents = match profile {
        Profile::Quick => built.clone(),
        Profile::Debug | Profile::Release => target.join("agent"),
    };
    replace(&agents.join("isopod-agent"), &dist.join("isopod-agent"))?;
    replace(&built.join("isopod"), &dist.join("isopod"))?;
    if profile != Profile::Quick {
        replace(&built.join(SHIM), &dist.join(SHIM))?;
    }
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
