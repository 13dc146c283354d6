//! `isopod image history`.

use std::process::ExitCode;
use std::time::SystemTime;

use isopod_image::{Digest, Image};
use isopod_runtime::Settings;
use isopod_spec::Architecture;
use serde_json::{Value, json};

use super::Images;
use super::fetch::platform;
use crate::args::switch;
use crate::as_docker::{self, Layout, layout};
use crate::failure::Failure;
use crate::output;
use crate::show::{JSON_VERSION, pretty};
use crate::table::table;
use crate::time::time;

/// How much of a command is shown.
const COMMAND: usize = 45;

/// Show how an image was made, the newest step first
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(mut_arg("human", switch::on))]
pub(crate) struct ImageHistory {
    /// The image: a name, an ID or its beginning
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Show whole commands and IDs
    #[arg(long)]
    no_trunc: bool,
    /// Show sizes and times in words; otherwise in bytes, and as they are written
    #[arg(short = 'H', long)]
    human: bool,
    /// Print the image's ID, and `<missing>` for each step before
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// Only where it is of this platform, linux/amd64 or linux/arm64
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Architecture>,
    /// How to print it: text, json, or a Go template over docker's fields, with `table` before it under their names
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = layout)]
    format: Layout,
}

impl ImageHistory {
    /// Prints it, as the image's config has it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let image = images.find_of(&self.image, self.platform)?;
        let config: Value = serde_json::from_slice(&images.store.config(&image)?)?;
        let bytes = |layer: &Digest| images.store.layer_bytes(*layer);
        let steps = steps(&image, &config, bytes);
        if let Layout::Json = self.format {
            output::data(&pretty(
                &json!({ "version": JSON_VERSION, "history": steps.iter().map(document).collect::<Vec<_>>() }),
            ));
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<Value> = steps.iter().map(|step| self.row(step)).collect();
        let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        output::data(&match &self.format {
            _ if self.quiet => rows.iter().map(|row| format!("{}\n", text(row, "ID"))).collect(),
            Layout::Text => {
                let fields = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"];
                let rows: Vec<[String; 5]> = rows
                    .iter()
                    .map(|row| fields.map(|field| text(row, field)))
                    .collect();
                table(["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows)
            }
            layout => as_docker::rows(layout, &rows)?,
        });
        Ok(ExitCode::SUCCESS)
    }

    /// A step with docker's fields.
    fn row(&self, step: &Step) -> Value {
        let id = step.id.map(|id| match self.no_trunc {
            true => id.to_string(),
            false => id.hex()[..12].to_owned(),
        });
        let since = match self.human {
            true => as_docker::since(time("created", &step.created).ok(), SystemTime::now()),
            false => step.created.clone(),
        };
        let size = step.bytes.map(|bytes| match self.human {
            true => as_docker::size(bytes),
            false => bytes.to_string(),
        });
        let command = &step.created_by;
        let shown: String = match self.no_trunc || command.chars().count() <= COMMAND {
            true => command.clone(),
            false => command.chars().take(COMMAND - 1).chain(['…']).collect(),
        };
        json!({
            "ID": id.unwrap_or_else(|| "<missing>".to_owned()),
            "CreatedAt": step.created,
            "CreatedSince": since,
            "CreatedBy": shown,
            "Size": size.unwrap_or_else(|| "N/A".to_owned()),
            "Comment": step.comment,
        })
    }
}

/// A step in which an image was made.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// The image's, of its last step.
    id: Option<Digest>,
    created: String,
    created_by: String,
    comment: String,
    /// Of its layer as it was fetched; 0 where the step made none, `None` where the store does not keep it.
    bytes: Option<u64>,
}

fn document(step: &Step) -> Value {
    json!({
        "id": step.id.map(|id| id.to_string()),
        "created": step.created,
        "createdBy": step.created_by,
        "comment": step.comment,
        "layerBytes": step.bytes,
    })
}

/// The steps of the image's config, the newest first.
fn steps(image: &Image, config: &Value, bytes: impl Fn(&Digest) -> Option<u64>) -> Vec<Step> {
    let mut layers = image.layers.iter();
    let mut steps = Vec::new();
    for step in config["history"].as_array().into_iter().flatten() {
        let text = |field: &str| {
            step[field]
                .as_str()
                .unwrap_or_default()
                .replace(['\n', '\t'], " ")
        };
        steps.push(Step {
            id: None,
            created: text("created"),
            created_by: text("created_by"),
            comment: text("comment"),
            bytes: match step["empty_layer"].as_bool() {
                Some(true) => Some(0),
                _ => layers.next().and_then(&bytes),
            },
        });
    }
    steps.reverse();
    if let Some(last) = steps.first_mut() {
        last.id = Some(image.id);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::command;
    use crate::commands::OtherCommand;
    use crate::commands::image::ImageCommand;
    use crate::commands::image::rm::tests::image;

    fn history(line: &str) -> ImageHistory {
        match command(line) {
            OtherCommand::Image(ImageCommand::History(history)) => history,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn steps_have_dockers_fields() {
        let mut image = image(&["a:1"]);
        image.layers = vec![Digest::of(b"layer")];
        let config = json!({ "history": [
            { "created": "2026-11-23T20:08:36Z", "created_by": "RUN a\t\n".to_owned() + &"b".repeat(60) },
            { "created": "2026-11-23T20:08:37Z", "created_by": "CMD x", "empty_layer": true, "comment": "c" },
        ] });
        let steps = steps(&image, &config, |_| Some(4_210_000));
        let [last, first] = &steps[..] else {
            panic!("{steps:?}")
        };
        assert_eq!((last.id, first.id), (Some(image.id), None));

        let row = history("history a").row(first);
        let command = row["CreatedBy"].as_str().unwrap();
        assert_eq!(command.chars().count(), COMMAND);
        assert!(
            command.starts_with("RUN a  b") && command.ends_with('…'),
            "{command}"
        );
        assert_eq!(
            (&row["ID"], &row["Size"]),
            (&json!("<missing>"), &json!("4.21MB"))
        );

        let row = history("history --no-trunc -H=false a").row(last);
        assert_eq!((&row["Size"], &row["Comment"]), (&json!("0"), &json!("c")));
        assert_eq!(row["CreatedSince"], json!("2026-11-23T20:08:37Z"));
        assert_eq!(row["ID"], json!(image.id.to_string()));
    }
}
