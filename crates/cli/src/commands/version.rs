//! `isopod version`.

use std::path::PathBuf;
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_spec::Architecture;
use isopod_vm::launch;
use serde_json::{Value, json};

use super::info::print;
use crate::as_docker::{Layout, layout};
use crate::failure::Failure;
use crate::output;

/// QEMU's program.
const QEMU: &str = "qemu-system-x86_64";

/// Show the versions of isopod and of the programs that it starts
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Version {
    /// How to print them: text, json, or a Go template over docker's fields
    #[arg(short, long, value_name = "FORMAT", default_value = "text", value_parser = layout)]
    format: Layout,
}

impl Version {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] where the template does not fit.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        output::data(&print(&version(settings), &self.format)?);
        Ok(ExitCode::SUCCESS)
    }
}

fn version(settings: &Settings) -> Value {
    let own =
        || json!({ "Version": env!("CARGO_PKG_VERSION"), "Os": "linux", "Arch": Architecture::HOST.name() });
    json!({
        "Client": own(),
        // There is no server: what docker's would do, this program does.
        "Server": own(),
        "Qemu": { "Version": version_of(QEMU, settings) },
        "Virtiofsd": { "Version": version_of("virtiofsd", settings) },
    })
}

/// What a program says of its version; empty where it is not there.
fn version_of(program: &str, settings: &Settings) -> String {
    let extra = [PathBuf::from("/usr/libexec"), PathBuf::from("/usr/lib/qemu")];
    let places = settings.search_path.iter().chain(&extra);
    let Some(found) = places.map(|dir| dir.join(program)).find(|path| path.is_file()) else {
        return String::new();
    };
    let output = launch::command(&found).arg("--version").output();
    let output = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let words = output.lines().next().unwrap_or_default().split_whitespace();
    let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    words.into_iter().find(number).unwrap_or_default().to_owned()
}
