//! `cargo xtask test`: everything that must hold, from formatting to pods in VMs.
//!
//! Runs Cargo's and nextest's own commands and shows them; which tests there are is no business of this file. The tests
//! that boot VMs are the package `isopod-tests`; `ISOPOD_BIN` says which `isopod` they run.

use std::fs;

use crate::args::Lives;
use crate::build::{self, Profile};
use crate::command::{self, command};
use crate::failure::Failure;
use crate::packages::{self, Consent, Purpose};
use crate::{doctests, out, place};

/// The virtiofsd that is tested with beside Debian's: ordinary users need it on Debian 12.
const VIRTIOFSD: (&str, &str) = ("virtiofsd", "1.14.0");
/// What holds the dependencies against `deny.toml`. Advisories are looked up by whoever has the database of RustSec, by
/// `cargo deny check advisories`: it is a repository, which a build without the internet cannot reach.
const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");

/// Runs the tests whose names contain one of `filters`; without any, all tests and every other check.
pub(crate) fn run(filters: &[String]) -> Result<(), Failure> {
    out::part("what the tests need");
    packages::ensure(Purpose::Test, Consent::Given)?;
    tool(VIRTIOFSD.0, VIRTIOFSD.1, &[])?;
    if filters.is_empty() {
        out::part("formatting and lints");
        component("fmt", "rustfmt")?;
        component("clippy", "clippy")?;
        command::run(&mut command("cargo", ["fmt", "--all", "--check"]))?;
        let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        command::run(&mut command("cargo", lints))?;
        // Not of the workspace, which would not see that they are behind the crates.
        let fuzzing =
            "check -q --manifest-path fuzz/Cargo.toml --no-default-features --bins --target-dir target";
        command::run(&mut command("cargo", words(fuzzing)))?;
        out::part("licences and sources of dependencies");
        // It looks at one lock file: optimizing it would take longer than all that it does.
        tool(CARGO_DENY.0, CARGO_DENY.1, &["--debug"])?;
        let deny = place::absolute(&place::tools_bin().join(CARGO_DENY.0));
        command::run(&mut command(
            deny,
            words("--offline --log-level error check licenses bans sources"),
        ))?;
    }
    out::part("build isopod and its agent");
    let isopod = build::isopod(Profile::Debug)?;
    if filters.is_empty() || filters.iter().any(|filter| filter.contains("arm64")) {
        match build::foreign_library() {
            Ok(()) => drop(build::foreign_agent(Profile::Debug)?),
            Err(_) => out::say(
                "no pods of another architecture are tested: this host has no library for their agent",
            ),
        }
    }
    if filters.is_empty() && doctests::any() {
        out::part("examples in the documentation");
        command::run(&mut command("cargo", ["test", "--workspace", "--doc"]))?;
    }
    out::part("tests");
    let nextest = command::quiet(&mut command("cargo", ["nextest", "--version"])).is_some();
    let runs = if nextest {
        nextest_runs(filters)
    } else {
        test_runs(filters)
    };
    for args in runs {
        let mut tests = command("cargo", args);
        tests
            .env("ISOPOD_BIN", place::absolute(&isopod))
            .env("PATH", place::search_path());
        command::run(&mut tests)?;
    }
    Ok(())
}

/// Runs the soak of the tests' own package, which prints its table.
pub(crate) fn soak(lives: Lives, seed: Option<u64>) -> Result<(), Failure> {
    packages::ensure(Purpose::Test, Consent::Given)?;
    tool(VIRTIOFSD.0, VIRTIOFSD.1, &[])?;
    let isopod = build::isopod(Profile::Debug)?;
    let seed = seed.unwrap_or_else(|| {
        let now = std::time::UNIX_EPOCH.elapsed();
        now.map_or(0, |now| now.as_secs())
    });
    let (lives, flag, test) = match lives {
        Lives::Pods(lives) => (lives, "--lives", "faults::soak"),
        Lives::Sandboxes(lives) => (lives, "--sandboxes", "cri::deaths::soak"),
    };
    out::say(&format!(
        "{lives} lives; again the same: `cargo xtask soak {flag} {lives} --seed {seed}`"
    ));
    let args = words("test -q --workspace --test vms -- --ignored --exact --nocapture");
    let mut tests = command("cargo", args.chain([test.to_owned()]));
    tests
        .env("ISOPOD_BIN", place::absolute(&isopod))
        .env("ISOPOD_SOAK_LIVES", lives.to_string())
        .env("ISOPOD_SOAK_SEED", seed.to_string())
        .env("PATH", place::search_path());
    command::run(&mut tests)
}

/// nextest takes all filters at once.
fn nextest_runs(filters: &[String]) -> Vec<Vec<String>> {
    vec![
        words("nextest run --workspace")
            .chain(filters.iter().cloned())
            .collect(),
    ]
}

/// `cargo test` takes one filter. VMs that boot side by side on few processors run into deadlines, so the tests
/// that boot them come alone, one after the other.
fn test_runs(filters: &[String]) -> Vec<Vec<String>> {
    let everything = [String::new()];
    let filters = if filters.is_empty() { &everything } else { filters };
    let run = |args: &str, filter: &String| {
        words(args)
            .chain(Some(filter.clone()).filter(|f| !f.is_empty()))
            .collect()
    };
    filters
        .iter()
        .flat_map(|filter| {
            [
                run(
                    "test --workspace --exclude isopod-tests --lib --bins --tests --",
                    filter,
                ),
                run(
                    "test -p isopod-tests --lib --bins --tests -- --test-threads=1",
                    filter,
                ),
            ]
        })
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(' ').map(str::to_owned)
}

/// Installs a crate's program below the target directory, unless that very version is there.
fn tool(name: &str, version: &str, how: &[&str]) -> Result<(), Failure> {
    let tools = place::target().join("tools");
    let installed = fs::read_to_string(tools.join(".crates.toml")).unwrap_or_default();
    let wanted = format!("\"{name} {version} ");
    if installed.contains(&wanted) && place::tools_bin().join(name).is_file() {
        out::say(&format!(
            "installed: {} {version}",
            place::tools_bin().join(name).display()
        ));
        return Ok(());
    }
    let mut install = command(
        "cargo",
        ["install", name, "--version", version, "--locked", "--root"],
    );
    command::run(install.arg(place::absolute(&tools)).args(how))
}

/// Refuses with the way to get it where the toolchain lacks a component.
fn component(subcommand: &str, name: &str) -> Result<(), Failure> {
    let version = command::quiet(&mut command("cargo", [subcommand, "--version"]));
    version.map(drop).ok_or_else(|| {
        Failure::new(format!("the Rust toolchain has no `cargo {subcommand}`"))
            .hint(format!("rustup component add {name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_reach_the_runner() {
        let filters = ["mount".to_owned(), "exit".to_owned()];
        assert_eq!(
            nextest_runs(&filters)[0].join(" "),
            "nextest run --workspace mount exit"
        );
        assert_eq!(nextest_runs(&[])[0].join(" "), "nextest run --workspace");
        let lines: Vec<String> = test_runs(&filters[..1])
            .iter()
            .map(|args| args.join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "test --workspace --exclude isopod-tests --lib --bins --tests -- mount",
                "test -p isopod-tests --lib --bins --tests -- --test-threads=1 mount"
            ]
        );
        assert_eq!(test_runs(&[])[1].last().unwrap(), "--test-threads=1");
    }
}
