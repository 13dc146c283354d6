//! The project's own commands, run as `cargo xtask COMMAND`: from a fresh Debian to a running pod, to the tests, to the
//! figures.
//!
//! ```text
//! quickstart ─ packages ─ build ─ busybox (an image) ─ isopod run
//! build      ─ build
//! test       ─ packages ─ virtiofsd ─ formatting, lints ─ build ─ nextest
//! bench boot ─ build ─ busybox ─ floor, watch ─ stats, timings
//! bench import ─ packages ─ build ─ watch ─ stats
//! bench pods ─ build ─ busybox ─ memory ─ stats
//! docs       ─ isopod internal-docs
//! package    ─ build ─ isopod internal-docs ─ dpkg-deb, tar
//! hosts      ─ packages ─ package ─ busybox ─ debootstrap ─ pods in each root
//! kvm-check  ─ packages ─ build ─ busybox ─ pods
//! soak       ─ packages ─ build ─ tests/src/soak.rs
//! bench plan ─ crates/runtime/benches/plan.rs
//! ```
//!
//! Nothing of this is part of `isopod`: it knows the distribution's package manager and the checkout, and `isopod` only
//! as the program that users run. Every command that changes anything is shown before it runs.

mod args;
mod bench;
mod build;
mod busybox;
mod command;
mod docs;
mod doctests;
mod failure;
mod hosts;
mod kvm_check;
mod out;
mod package;
mod packages;
mod place;
mod quickstart;
mod test;

use std::process::ExitCode;

use args::Task;
use build::Profile;
use failure::Failure;

fn main() -> ExitCode {
    let words = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned());
    match args::read(words).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out::failure(&failure);
            ExitCode::FAILURE
        }
    }
}

/// Runs a task in the checkout's root, so that every path shown can be pasted there.
fn run(task: Task) -> Result<(), Failure> {
    let root = place::root();
    std::env::set_current_dir(root)
        .map_err(|error| Failure::new(format!("cannot enter `{}`", root.display())).caused_by(error))?;
    match task {
        Task::Help => {
            out::say(args::USAGE);
            Ok(())
        }
        Task::Quickstart { consent } => quickstart::run(consent),
        Task::Build { foreign } => {
            let isopod = build::isopod(Profile::Release)?;
            out::say(&format!("built: {0} and {0}-agent", isopod.display()));
            if foreign {
                let agent = build::foreign_agent(Profile::Release)?;
                out::say(&format!("built: {}", agent.display()));
            }
            Ok(())
        }
        Task::Test { filters } => test::run(&filters),
        Task::BenchBoot { runs, binaries } => bench::boot(runs, binaries.as_deref()),
        Task::BenchImport { runs } => bench::import(runs),
        Task::BenchCri => bench::cri(),
        Task::BenchNetwork => bench::network(),
        Task::BenchDisk => bench::disk(),
        Task::BenchPods => bench::pods(),
        Task::Docs => docs::write(),
        Task::Package { binaries } => package::make(binaries.as_deref()).map(drop),
        Task::Hosts {
            binaries,
            more,
            suites,
        } => hosts::run(binaries.as_deref(), more, &suites),
        Task::KvmCheck { accel, binaries } => kvm_check::run(accel, binaries.as_deref()),
        Task::Soak { lives, seed } => test::soak(lives, seed),
        // Cargo's own benchmark prints its table.
        Task::BenchPlan => command::run(&mut command::command(
            "cargo",
            ["bench", "-p", "isopod-runtime", "--bench", "plan"],
        )),
    }
}
