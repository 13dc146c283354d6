//! `isopod image history`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use serde_json::Value;

use super::Images;
use crate::failure::Failure;
use crate::output;
use crate::table::table;

/// How much of a command is shown.
const COMMAND: usize = 45;

/// Show how an image was made, the newest step first
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct ImageHistory {
    /// The image: a name, an ID or its beginning
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Show whole commands
    #[arg(long)]
    no_trunc: bool,
}

impl ImageHistory {
    /// Prints it, as the image's config tells it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let image = images.find(&self.image)?;
        let config: Value = serde_json::from_slice(&images.store.config(&image)?)?;
        let steps = config["history"].as_array().cloned().unwrap_or_default();
        let rows: Vec<[String; 3]> = steps.iter().rev().map(|step| row(step, self.no_trunc)).collect();
        output::data(&table(["CREATED", "CREATED BY", "COMMENT"], &rows));
        Ok(ExitCode::SUCCESS)
    }
}

fn row(step: &Value, whole: bool) -> [String; 3] {
    let text = |field: &str| {
        step[field]
            .as_str()
            .unwrap_or_default()
            .replace(['\n', '\t'], " ")
    };
    let command = text("created_by");
    let shown: String = match whole || command.chars().count() <= COMMAND {
        true => command,
        false => command.chars().take(COMMAND - 1).chain(['…']).collect(),
    };
    [text("created").chars().take(10).collect(), shown, text("comment")]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_commands_are_cut() {
        let step = json!({ "created": "2026-11-23T20:08:36Z", "created_by": "RUN a\t\n".to_owned() + &"b".repeat(60) });
        let [created, command, comment] = row(&step, false);
        assert_eq!(
            (created.as_str(), command.chars().count(), comment.as_str()),
            ("2026-11-23", COMMAND, "")
        );
        assert!(command.starts_with("RUN a  b") && command.ends_with('…'));
        assert_eq!(row(&step, true)[1].len(), 67);
    }
}
