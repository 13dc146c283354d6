//! `isopod info`.

use std::process::ExitCode;

use isopod_image::Store;
use isopod_runtime::Settings;
use isopod_runtime::pods::state::PodState;
use serde_json::{Value, json};

use crate::as_docker::{self, Layout, layout};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::pods;
use crate::show::pretty;

/// Show the host, and how many pods and images there are
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Info {
    /// How to print it: text, json, or a Go template over docker's fields
    #[arg(short, long, value_name = "FORMAT", default_value = "text", value_parser = layout)]
    format: Layout,
}

impl Info {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        output::data(&print(&info(settings)?, &self.format)?);
        Ok(ExitCode::SUCCESS)
    }
}

/// A document: as JSON, by a template, or its fields in lines.
///
/// # Errors
/// A [`Report`] where the template does not fit.
pub(super) fn print(document: &Value, layout: &Layout) -> Result<String, Report> {
    match layout {
        Layout::Text => Ok(lines(document, "")),
        Layout::Json => Ok(pretty(document)),
        Layout::Template(text) | Layout::Table(text) => {
            as_docker::one(text, document).map(|text| text + "\n")
        }
    }
}

/// A line for each field, those within others behind their names.
fn lines(document: &Value, above: &str) -> String {
    let fields = document.as_object().into_iter().flatten();
    let line = |(name, value): (&String, &Value)| match value {
        Value::Object(_) => lines(value, &format!("{above}{name}.")),
        Value::String(text) => format!("{:<20} {text}\n", format!("{above}{name}")),
        value => format!("{:<20} {value}\n", format!("{above}{name}")),
    };
    fields.map(line).collect()
}

fn info(settings: &Settings) -> Result<Value, Failure> {
    let found = pods(settings)?.list()?;
    let count = |is: fn(PodState) -> bool| found.iter().filter(|pod| is(pod.state)).count();
    let images = Store::open(&settings.state_dir)?.list()?.len();
    let host = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    Ok(json!({
        "Containers": found.len(),
        "ContainersRunning": count(PodState::is_live),
        "ContainersPaused": 0,
        "ContainersStopped": count(|state| !state.is_live()),
        "Images": images,
        "Driver": "erofs",
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "KernelVersion": text(host.release()),
        "OperatingSystem": operating_system(),
        "OSType": "linux",
        "Architecture": text(host.machine()),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": memory_bytes(),
        "DockerRootDir": settings.state_dir,
        "Name": text(host.nodename()),
    }))
}

/// The host's system, as os-release(5) names it.
fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|total| total.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_lines() {
        let document = json!({ "Client": { "Version": "1" }, "NCPU": 2 });
        assert_eq!(
            lines(&document, ""),
            "Client.Version       1\nNCPU                 2\n"
        );
    }
}
