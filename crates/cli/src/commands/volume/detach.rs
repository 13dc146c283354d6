//! `isopod volume detach`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::control::Request;
use isopod_spec::VolumeName;

use super::{failed, live};
use crate::args::invalid_name;
use crate::failure::Failure;
use crate::output::{self};
use crate::pods::{ask, pods};

/// Unmount an attached volume from a running pod
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct VolumeDetach {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// The volume
    #[arg(value_name = "NAME", value_parser = volume_name)]
    name: VolumeName,
    /// Also if it is in use: what is open stays open, and nothing more can be opened
    #[arg(short, long)]
    force: bool,
}

impl VolumeDetach {
    /// Detaches the volume, and prints its name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pod = live(&pods(settings)?, &self.pod)?;
        let request = Request::Detach {
            name: self.name.clone(),
            force: self.force,
        };
        match ask(&pod, &request) {
            Ok(()) => {
                output::data(&format!("{}\n", self.name));
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => Err(failed("detach", "from", &self.name, &pod, &error).into()),
        }
    }
}

fn volume_name(text: &str) -> Result<VolumeName, String> {
    VolumeName::new(text).map_err(invalid_name)
}
