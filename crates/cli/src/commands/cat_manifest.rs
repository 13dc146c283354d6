//! `isopod cat-manifest`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_spec::secrets::without_secrets;

use crate::failure::Failure;
use crate::output::{self};
use crate::pods::{find, kept, pods};
use crate::show::pretty;

/// Print a pod as it was asked for, as JSON
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct CatManifest {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
}

impl CatManifest {
    /// Prints it, without the values of secrets.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let mut asked = kept(&find(&pods(settings)?, &self.pod)?)?;
        asked.spec = without_secrets(&asked.spec);
        output::data(&pretty(&serde_json::to_value(asked)?));
        Ok(ExitCode::SUCCESS)
    }
}
