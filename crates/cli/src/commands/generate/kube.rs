//! `isopod generate kube`: a pod as a pod file.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_spec::kube::{self, Unsupported};

use super::{SUBJECTS, SubjectArgs};
use crate::failure::Failure;
use crate::output::{self};

const KUBE_NOTES: &str = "\
The output contains the values of secrets, as `kind: Secret`.

Examples:
  isopod generate kube web > web.yaml
  isopod generate kube --ignore-unsupported pod.json | isopod run -f -
";

/// Print a pod as a Kubernetes Pod, with the ConfigMaps and Secrets that it needs
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = format!("{SUBJECTS}\n{KUBE_NOTES}"))]
pub(crate) struct GenerateKube {
    #[command(flatten)]
    args: SubjectArgs,
}

impl GenerateKube {
    /// Prints it, and on standard error what was left out.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let found = self.args.find(settings)?;
        let unsupported = match self.args.ignore_unsupported {
            true => Unsupported::Ignore,
            false => Unsupported::Refuse,
        };
        let written = kube::write(&found.spec, unsupported).map_err(|gaps| Failure::of(&gaps))?;
        for gap in &written.left_out {
            output::warning(&gap.to_string());
        }
        output::document(&written.text);
        Ok(ExitCode::SUCCESS)
    }
}
