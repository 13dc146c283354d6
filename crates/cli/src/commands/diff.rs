//! `isopod diff`.

use std::process::ExitCode;

use isopod_contract::message::RootPart;
use isopod_runtime::Settings;
use isopod_spec::AppName;
use isopod_spec::words::shown;
use serde_json::{Value, json};

use crate::args::{Format, app_name};
use crate::failure::Failure;
use crate::output;
use crate::pods::{find, meant_app, pods};
use crate::reach::{Reach, with_agent};
use crate::root_of_app::read;
use crate::show::{JSON_VERSION, pretty};

const NOTES: &str = "\
A is what it added, C what it changed, D what it deleted. Volumes are left out.
";

/// Show what an app changed in its root
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Diff {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// The app; the pod's only one needs no name
    #[arg(value_name = "APP", value_parser = app_name)]
    app: Option<AppName>,
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl Diff {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let pod = find(&pods, &self.pod)?;
        let app = meant_app(&pod, self.app.as_ref(), "name one after the pod")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut list = Vec::new();
        let work = async |reach: Reach<'_>| read(&reach, app, RootPart::Changes, &mut list).await;
        let read = runtime.block_on(with_agent(settings, &pods, &pod, app, work));
        read?.map_err(crate::output::Report::from)?;
        let changes = changes(&list);
        output::data(&match self.format {
            Format::Text => changes
                .iter()
                .map(|(kind, path)| format!("{kind} {}\n", shown(path)))
                .collect(),
            Format::Json => {
                let change = |(kind, path): &(char, String)| json!({ "kind": word(*kind), "path": path });
                let changes: Vec<Value> = changes.iter().map(change).collect();
                pretty(&json!({ "version": JSON_VERSION, "changes": changes }))
            }
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// The changes in the agent's list; what is none is left out.
fn changes(list: &[u8]) -> Vec<(char, String)> {
    let lines = list.split(|byte| *byte == 0).filter_map(|line| {
        let [kind @ (b'A' | b'C' | b'D'), b' ', path @ ..] = line else {
            return None;
        };
        Some((char::from(*kind), String::from_utf8_lossy(path).into_owned()))
    });
    lines.collect()
}

fn word(kind: char) -> &'static str {
    match kind {
        'A' => "added",
        'C' => "changed",
        _ => "deleted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guest_says_is_not_trusted() {
        let list = b"C /etc\0A /etc/a\nb\0D /x\0X /y\0\0A";
        let expected =
            [('C', "/etc"), ('A', "/etc/a\nb"), ('D', "/x")].map(|(kind, path)| (kind, path.to_owned()));
        assert_eq!(changes(list), expected);
    }
}
