//! The agent as a program. What it does in its roles is tested beside the code of each, with this program where a role
//! takes a process of its own.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use std::process::{Command, Stdio};

#[test]
fn what_is_no_role_is_refused() {
    for args in [&[][..], &["serve", "more"], &["frobnicate"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_isopod-agent"))
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "sysexits(3): called wrongly");
        assert!(output.stderr.starts_with(b"isopod-agent: usage:"));
    }
}

#[test]
fn a_job_that_is_none_is_refused() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isopod-agent"));
    let status = command.arg("enter").stdin(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(1));
}
