//! The examples of README.md and of every page in docs/ are run, each page's in a directory of its own, in their order,
//! and must print what the page says: one test for each page that has `console` blocks. What may differ is in
//! [`isopod_tests::Page`].
//!
//! The host that the pages speak of is made here, the same for all of them:
//!
//! ```text
//! ./busybox/       OCI image layout: busybox
//! ./web/           OCI image layout: busybox with volumes, links and a directory (described in docs/volumes.md)
//! /srv/data/       file, 2026/, latest -> 2026, out -> /etc
//! /srv/config/     empty
//! /srv/app.conf    color=blue
//! ```
//!
//! `/srv/demo` is the test's directory, and `/srv` is below it. `isopod` uses its own state there, and emulates its VMs. If
//! root runs the tests, the examples have their own namespaces for mounts and ports.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use isopod_tests::{Bench, Image, Page};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;

/// Pages whose examples mount file systems or print what only root gets.
const OF_ROOT: [&str; 2] = ["docs/pod-files.md", "docs/volumes.md"];

fn main() -> ExitCode {
    let mut trials = vec![
        Trial::test("links_lead_to_files", links_lead_to_files),
        Trial::test("modules_are_no_circles", no_circles),
        Trial::test("types_of_a_crate_have_one_name_each", one_name_each),
        Trial::test("errors_pass_hints_on", hints_are_passed_on),
        Trial::test("the_rust_version_is_that_of_cargo_toml", rust_version),
    ];
    let pages = Page::all(&root()).into_iter();
    trials.extend(pages.map(|page| Trial::test(page.path.clone(), move || examples_are_true(&page))));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.unwrap_or(Path::new(".")).to_owned()
}

fn examples_are_true(page: &Page) -> Result<(), Failed> {
    let bench = if OF_ROOT.contains(&&*page.path) {
        Bench::of_root()
    } else {
        Some(Bench::new())
    };
    let Some(bench) = bench else { return Ok(()) };
    prepare(&bench)?;
    let srv = format!("{}/", bench.dir().join("srv").display());
    let program = format!("{} --dir {}", bench.isopod().display(), bench.state().display());
    let demo = bench.dir().display().to_string();
    page.check(
        &bench,
        &[("/srv/demo", demo), ("/srv/", srv), ("/usr/bin/isopod", program)],
    )?;
    bench.assert_nothing_left();
    Ok(())
}

/// Makes what the pages say is on the host.
fn prepare(bench: &Bench) -> Result<(), std::io::Error> {
    let srv = bench.source("srv", &[("app.conf", "color=blue\n"), ("data/file", "")]);
    fs::create_dir(srv.join("data/2026"))?;
    symlink("2026", srv.join("data/latest"))?;
    symlink("/etc", srv.join("data/out"))?;
    fs::create_dir(srv.join("config"))?;
    let web = Image::busybox()
        .directory("var/www", 0o2770, (33, 33))
        .directory("real", 0o755, (0, 0))
        .symlink("link", "/real")
        .symlink("out", "../../../outside")
        .symlink("loop", "loop")
        .config("Volumes", json!({ "/var/www": {}, "/var/tmp/web": {} }));
    for (name, reference) in [("busybox", bench.busybox()), ("web", bench.image(&web))] {
        let layout = reference.trim_start_matches("oci:").trim_end_matches(":latest");
        symlink(layout, bench.dir().join(name))?;
    }
    let wrapper = bench.dir().join("bin/isopod");
    fs::create_dir(bench.dir().join("bin"))?;
    let script = format!(
        "#!/bin/sh\n\
         command=$1; shift\n\
         case $command in run|prepare|plan) set -- --accel tcg \"$@\";; esac\n\
         exec '{}' --dir '{}' \"$command\" \"$@\"\n",
        bench.isopod().display(),
        bench.state().display()
    );
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))
}

/// No module of a crate uses one that uses it.
fn no_circles() -> Result<(), Failed> {
    let crates = fs::read_dir(root().join("crates"))?
        .flatten()
        .map(|entry| entry.path());
    let others = ["tests", "xtask"].map(|name| root().join(name));
    let circles = crates.chain(others).filter_map(|dir| {
        let circle = isopod_tests::circle(&dir);
        (!circle.is_empty()).then(|| format!("{}: {}", dir.display(), circle.join(" -> ")))
    });
    let circles: Vec<String> = circles.collect();
    match circles.is_empty() {
        true => Ok(()),
        false => Err(circles.join("\n").into()),
    }
}

/// No two types of a crate have one name.
fn one_name_each() -> Result<(), Failed> {
    let crates = fs::read_dir(root().join("crates"))?
        .flatten()
        .map(|entry| entry.path());
    let others = ["tests", "xtask"].map(|name| root().join(name));
    let shared = crates.chain(others).filter_map(|dir| {
        let names = isopod_tests::shared_names(&dir);
        (!names.is_empty()).then(|| format!("{}: {}", dir.display(), names.join(", ")))
    });
    let shared: Vec<String> = shared.collect();
    match shared.is_empty() {
        true => Ok(()),
        false => Err(shared.join("\n").into()),
    }
}

/// What an error that is shown to users holds has its hint in it, too.
fn hints_are_passed_on() -> Result<(), Failed> {
    let text = fs::read_to_string(root().join("crates/cli/src/failure.rs"))?;
    let silent = text
        .split("\nwithout_hints! {")
        .nth(1)
        .and_then(|rest| rest.split('}').next());
    let names = silent.ok_or("no list of errors without hints")?.split(',');
    let names = names.filter_map(|name| name.trim().rsplit("::").next());
    let names = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let lost = isopod_tests::lost_hints(&root().join("crates"), &names);
    match lost.is_empty() {
        true => Ok(()),
        false => Err(lost.join("\n").into()),
    }
}

/// Relative links of every page: the file is there, and has a heading of that name. So are the tests that promises name.
fn links_lead_to_files() -> Result<(), Failed> {
    let mut faults = isopod_tests::broken_links(&root());
    faults.extend(isopod_tests::missing_tests(&root()));
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n").into())
    }
}

/// The version of Rust that README.md names is the least that Cargo takes.
fn rust_version() -> Result<(), Failed> {
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "));
    let version = version
        .ok_or("Cargo.toml has no `rust-version`")?
        .trim_matches('"');
    let said = format!("Rust {version} or later");
    let page = fs::read_to_string(root().join("README.md"))?;
    if page.contains(&said) {
        Ok(())
    } else {
        Err(format!("README.md does not say `{said}`").into())
    }
}
