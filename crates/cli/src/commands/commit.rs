//! `isopod commit`: what an app wrote becomes the newest layer of an image.
//!
//! ```text
//! pause ─> the agent packs the upper layer ─> unpause ─> the store makes an image of its base, the layer and a config
//! ```

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use isopod_contract::change::AppChange;
use isopod_contract::message::RootPart;
use isopod_image::Store;
use isopod_runtime::Settings;
use isopod_runtime::control::Request;
use isopod_runtime::logs::stamp;
use isopod_runtime::pods::files::AppState;
use isopod_runtime::pods::state::PodState;
use isopod_runtime::pods::{PodEntry, Pods};
use isopod_spec::{AppName, ImageReference};
use serde_json::{Value, json};

use super::pause;
use crate::args::{app_name, invalid, switch};
use crate::failure::Failure;
use crate::image_change::{self, ConfigChange};
use crate::output::{self, Report};
use crate::pods::{ask, find, meant_app, pods};
use crate::reach::{Reach, with_agent};
use crate::root_of_app::{ToFile, read};

const NOTES: &str = "\
The image begins with the app's own. Its command, variables, user and working directory are those that the app was run \
with, without secrets; `--change` sets others. Volumes are left out.

Example:
  isopod commit -c 'CMD [\"nginx\"]' web localhost/web:2
";

/// Make an image from an app's image and what the app wrote
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = NOTES)]
#[command(mut_arg("pause", switch::on))]
pub(crate) struct Commit {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// The image's name; an image that has this name loses it
    #[arg(value_name = "NAME[:TAG]", value_parser = name)]
    name: Option<String>,
    /// The app; the pod's only one needs no name
    #[arg(long, value_name = "APP", value_parser = app_name)]
    app: Option<AppName>,
    /// Change the image's config, with a Dockerfile's CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME
    /// or WORKDIR
    #[arg(short, long = "change", value_name = "INSTRUCTION", value_parser = ConfigChange::parse)]
    changes: Vec<ConfigChange>,
    /// The author of the image
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// A comment on the image
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Pause the app meanwhile
    #[arg(short, long)]
    pause: bool,
    /// Write its ID to FILE, too
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// The image's form; there is only oci
    #[arg(short, long, value_name = "FORMAT", value_parser = ["oci"])]
    format: Option<String>,
    /// No effect: its ID alone is printed
    #[arg(short, long)]
    quiet: bool,
}

impl Commit {
    /// Makes it, and prints its ID.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let pod = find(&pods, &self.pod)?;
        let number = meant_app(&pod, self.app.as_ref(), "name one with `--app`")?;
        let index = usize::from(number);
        let record = pod.record.as_ref().and_then(|record| record.apps.get(index));
        let record = record.ok_or_else(|| Report::text("the pod's record has no such app"))?;
        let Some(image) = record.root.image_id() else {
            let report = Report::text(format!(
                "the root of app `{}` is a host directory, and not an image on which another can be based",
                record.name
            ));
            return Err(report
                .hint(Some(
                    "make an image of the directory, with buildah(1) or umoci(1)".into(),
                ))
                .into());
        };
        let store = Store::open(&settings.state_dir)?;
        let base = store.find(Some(image), None)?;

        let file = tempfile::tempfile_in(&settings.state_dir)?;
        self.bring(settings, &pods, &pod, number, &record.name, file.try_clone()?)?;
        let mut step = json!({
            "created": stamp(SystemTime::now()),
            "created_by": record.argv.join(" "),
        });
        for (key, value) in [("author", &self.author), ("comment", &self.message)] {
            if let Some(value) = value {
                step[key] = value.clone().into();
            }
        }
        let spec = pod.asked().ok().flatten().map(|asked| asked.spec);
        let asked = spec
            .iter()
            .flat_map(|spec| &spec.apps)
            .find(|app| app.name == record.name);
        let change = |config: &mut Value| {
            if let (Some(spec), Some(app)) = (&spec, asked) {
                image_change::as_run(config, &app.overrides, &spec.labels);
            }
            image_change::apply(config, &self.changes);
        };
        let names: Vec<String> = self.name.iter().cloned().collect();
        let image = store.commit(&base, file, &names, step, change)?;
        if let Some(file) = &self.iidfile {
            let written = std::fs::write(settings.working_dir.join(file), image.id.to_string());
            written.map_err(|error| {
                Report::text(format!("cannot write `{}`", file.display())).because(error.to_string())
            })?;
        }
        output::data(&format!("{}\n", image.id));
        Ok(ExitCode::SUCCESS)
    }

    /// Writes the layer to `file`. An app that is paused for it continues whatever comes of that.
    fn bring(
        &self,
        settings: &Settings,
        pods: &Pods,
        pod: &PodEntry,
        app: u16,
        name: &AppName,
        file: File,
    ) -> Result<(), Failure> {
        let status = pod
            .status
            .as_ref()
            .and_then(|status| status.apps.get(usize::from(app)));
        let runs = pod.state == PodState::Running;
        let pauses =
            self.pause && runs && status.is_some_and(|app| app.state == AppState::Running && !app.paused);
        if pauses {
            pause::change(pod, Some(name), &AppChange::Pause)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut file = ToFile(file);
        let work = async |reach: Reach<'_>| read(&reach, app, RootPart::Layer, &mut file).await;
        let read = runtime.block_on(with_agent(settings, pods, pod, app, work));
        if pauses {
            // As it was then it is not paused any more.
            let change = AppChange::Unpause;
            let continued = ask(pod, &Request::ChangeApp { app, change });
            if let Err(error) = continued {
                output::warning(&Report::of(&error).line_with_hint());
            }
        }
        Ok(read?.map_err(Report::from)?)
    }
}

/// A name as the store has it.
pub(super) fn name(text: &str) -> Result<String, String> {
    match ImageReference::parse(text.as_ref()) {
        Ok(ImageReference::Registry(reference)) if reference.digest.is_none() => Ok(reference.stored_name()),
        Ok(_) => Err("it is neither NAME nor NAME:TAG".to_owned()),
        Err(error) => Err(invalid(&error.reason, error.hint())),
    }
}
