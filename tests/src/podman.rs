//! Podman on the same host, for the lines that both it and `isopod` are given.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Bench, Output, say};

/// Limits that every host lets podman set.
const CONF: &str = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";

/// Podman with a storage of its own, as it runs where control groups and limits are not the caller's to set. Its
/// containers end with it.
pub struct Podman {
    state: PathBuf,
}

/// What a line gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gave {
    /// Its exit status.
    pub status: i32,
    /// What it printed on standard output.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
}

impl Podman {
    /// Podman, where it runs containers of the image `reference` on this host; otherwise what keeps it from that is said.
    ///
    /// # Panics
    /// Where it is not installed.
    #[must_use]
    pub fn here(bench: &Bench, reference: &str) -> Option<Self> {
        let state = bench.source("podman", &[("containers.conf", CONF)]);
        let podman = Self { state };
        let can = podman.run(["run", "--rm", "--network", "none", reference, "true"], b"");
        if can.status == 0 {
            return Some(podman);
        }
        let why = can.stderr.lines().last().unwrap_or_default().to_owned();
        say(&format!(
            "without podman, which runs no container on this host: {why}"
        ));
        None
    }

    /// Gives the image `reference` a name.
    ///
    /// # Panics
    /// Where it cannot.
    pub fn name(&self, reference: &str, name: &str) {
        let pulled = self.run(["pull", "-q", reference], b"");
        let id = pulled.stdout.trim().to_owned();
        let named = self.run(["tag", &id, name], b"");
        assert!(named.status == 0, "{pulled:?} {named:?}");
    }

    /// Runs it with these words, and gives it `input`.
    ///
    /// # Panics
    /// Where it is not installed.
    pub fn run<I: IntoIterator<Item: AsRef<std::ffi::OsStr>>>(&self, words: I, input: &[u8]) -> Gave {
        let mut command = Command::new("podman");
        command
            .env("CONTAINERS_CONF", self.state.join("containers.conf"))
            .current_dir(&self.state)
            .arg("--root")
            .arg(self.state.join("root"))
            .arg("--runroot")
            .arg(self.state.join("run"))
            .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"])
            .args(["--events-backend", "file", "--runtime", "runc"])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("podman is installed");
        // A line that reads nothing closes it.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input));
        let output = child.wait_with_output().expect("its output");
        Gave {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.run(["rm", "-fa", "-t", "0"], b"");
    }
}

impl Gave {
    /// What `isopod` gave.
    #[must_use]
    pub fn of(output: &Output) -> Self {
        Self {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: output.stderr.clone(),
        }
    }

    /// Without what is its own: an ID is any ID, blanks at ends of lines are none.
    #[must_use]
    pub fn comparable(&self) -> (i32, String) {
        let line = |line: &str| if is_id(line) { "ID" } else { line }.trim_end().to_owned() + "\n";
        (self.status, self.stdout.lines().map(line).collect())
    }
}

fn is_id(text: &str) -> bool {
    text.len() >= 32 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// A mount as `inspect` prints it: type, source or name, destination, whether it can be written to.
pub type Mounted = (String, String, String, bool);

/// The mounts of the one that was inspected. A volume without a name has none.
///
/// # Panics
/// Where that is no JSON.
#[must_use]
pub fn mounts(inspected: &str) -> BTreeSet<Mounted> {
    let all: Value = serde_json::from_str(inspected).expect("JSON");
    let mounts = all[0]["Mounts"].as_array().cloned().unwrap_or_default();
    let mount = |mount: Value| {
        let text = |key: &str| mount[key].as_str().unwrap_or_default().to_owned();
        let what = match mount["Type"] == "volume" {
            // podman's is random, and Isopod's is called after the app.
            true if is_id(&text("Name")) || text("Name").contains("-volume-") => String::new(),
            true => text("Name"),
            false => text("Source"),
        };
        let writable = mount["RW"].as_bool().unwrap_or_default();
        (text("Type"), what, text("Destination"), writable)
    };
    mounts.into_iter().map(mount).collect()
}
