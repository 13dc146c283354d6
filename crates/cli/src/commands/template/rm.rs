//! `isopod template rm`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::templates::Templates;

use crate::failure::Failure;
use crate::output::{self, Report};

/// Remove templates; VMs that were restored from them continue, and the next start makes a new one
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "remove")]
pub(crate) struct TemplateRm {
    /// Their keys, or the beginnings of them
    #[arg(required_unless_present = "all", value_name = "KEY")]
    keys: Vec<String>,
    /// All of them
    #[arg(short, long, conflicts_with = "keys")]
    all: bool,
}

impl TemplateRm {
    /// Removes each, and prints its key.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let templates = Templates::of(&settings.state_dir);
        let known: Vec<String> = templates.list().into_iter().map(|entry| entry.key).collect();
        let mut reports = Vec::new();
        let mut chosen = Vec::new();
        if self.all {
            chosen.clone_from(&known);
        }
        for wanted in &self.keys {
            match known
                .iter()
                .filter(|key| key.starts_with(wanted.as_str()))
                .collect::<Vec<_>>()[..]
            {
                [key] => chosen.push(key.clone()),
                [] => reports.push(missing(wanted)),
                _ => reports.push(
                    Report::text(format!(
                        "several templates have keys that begin with `{}`",
                        wanted.escape_debug()
                    ))
                    .hint(Some("give more of the key".into())),
                ),
            }
        }
        for key in chosen {
            match templates.remove(&key) {
                Ok(()) => output::data(&format!("{key}\n")),
                Err(error) => {
                    reports.push(
                        Report::text(format!("cannot remove template `{key}`")).because(error.to_string()),
                    );
                }
            }
        }
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn missing(wanted: &str) -> Report {
    Report::text(format!("there is no template `{}`", wanted.escape_debug()))
        .hint(Some("`isopod template list` lists the templates".into()))
}
