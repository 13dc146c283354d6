//! Volumes that come to a pod while it runs, and go: what its apps see, what the host keeps, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

mod comes_and_goes;
mod ends;
mod ordinary_user;
mod refused;

use std::ffi::OsString;
use std::path::Path;

use isopod_tests::faults::eventually;
use isopod_tests::{Bench, Output};
use serde_json::Value;

/// An app that does nothing.
const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 0.2; done";

fn isopod(bench: &Bench, line: &str) -> Output {
    bench.isopod_command(line.split_whitespace())
}

#[track_caller]
fn text(bench: &Bench, line: &str) -> String {
    isopod(bench, line).expect(0).text().to_owned()
}

/// What a shell script in an app of the pod `p` says.
#[track_caller]
fn sh(bench: &Bench, app: &str, script: &str) -> String {
    let out = bench.isopod_command(["exec", "--app", app, "p", "--", "sh", "-c", script]);
    out.expect(0).text().to_owned()
}

/// Waits until the first app was restarted.
fn runs_again(bench: &Bench) {
    eventually("it runs again", || {
        let status: Value = serde_json::from_str(&text(bench, "status --format json p")).unwrap();
        status["apps"][0]["restarts"] == 1 && status["apps"][0]["state"] == "running"
    });
}

/// A field of a CSV record in quotes, whatever is in it.
fn quoted(key: &str, value: &str) -> String {
    format!("\"{key}={}\"", value.replace('"', "\"\""))
}

fn attach(bench: &Bench, name: &str, source: &Path, mounts: &[&str]) -> Output {
    let source = quoted("source", source.to_str().unwrap());
    let mut words: Vec<OsString> = ["volume", "attach", "p", "--volume"].map(OsString::from).into();
    words.push(format!("{name},kind=host,{source}").into());
    for mount in mounts {
        words.push("--mount".into());
        words.push(format!("volume={name},{mount}").into());
    }
    bench.isopod_command(words)
}

#[track_caller]
fn attached(bench: &Bench, name: &str, source: &Path, mounts: &[&str]) {
    let out = attach(bench, name, source, mounts).expect(0);
    assert_eq!(out.text(), format!("{name}\n"));
}

#[track_caller]
fn refused(out: &Output, words: &str) {
    assert!(out.status == 125 && out.stderr.starts_with(words), "{out:?}");
    assert_eq!(out.text(), "");
}

fn volumes(bench: &Bench) -> Vec<String> {
    let list: Value = serde_json::from_str(&text(bench, "volume list p --format json")).unwrap();
    let volumes = list["volumes"].as_array().unwrap();
    volumes
        .iter()
        .map(|volume| volume["name"].as_str().unwrap().to_owned())
        .collect()
}
