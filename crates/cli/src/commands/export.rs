//! `isopod export`.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use isopod_contract::message::RootPart;
use isopod_runtime::Settings;
use isopod_spec::AppName;

use crate::args::app_name;
use crate::failure::Failure;
use crate::output::{NOT_READ, Report};
use crate::pods::{find, meant_app, pods};
use crate::reach::{Reach, with_agent};
use crate::root_of_app::{RootError, ToFile, read};

const NOTES: &str = "\
The archive has what the app finds in its root, without volumes, /proc, /sys and /dev.

Example:
  isopod export web | tar tv
";

/// Write an app's root as a tar archive
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Export {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// The app; the pod's only one needs no name
    #[arg(value_name = "APP", value_parser = app_name)]
    app: Option<AppName>,
    /// The file, which is replaced [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    /// Writes it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        if self.output.is_none() && io::stdout().is_terminal() {
            let report = Report::text("standard output is a terminal, and an archive is not text");
            return Err(report.hint(Some("name a file: `-o FILE`".into())).into());
        }
        let pods = pods(settings)?;
        let pod = find(&pods, &self.pod)?;
        let app = meant_app(&pod, self.app.as_ref(), "name one after the pod")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let work = async |reach: Reach<'_>| {
            match &self.output {
                None => read(&reach, app, RootPart::Whole, &mut tokio::io::stdout())
                    .await
                    .map_err(Failed::Root),
                Some(path) => {
                    // Beside it, so that there is the whole or what was there before.
                    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
                    let file = tempfile::NamedTempFile::new_in(dir.unwrap_or(".".as_ref()))?;
                    let mut out = ToFile(file.reopen()?);
                    read(&reach, app, RootPart::Whole, &mut out)
                        .await
                        .map_err(Failed::Root)?;
                    file.persist(path).map_err(|error| Failed::File(error.error))?;
                    Ok(())
                }
            }
        };
        let written = runtime.block_on(with_agent(settings, &pods, &pod, app, work));
        match written? {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(Failed::Root(RootError::NotRead)) => Ok(ExitCode::from(NOT_READ)),
            Err(Failed::Root(error)) => Err(Report::from(error).into()),
            Err(Failed::File(error)) => {
                let path = self.output.as_deref().unwrap_or("-".as_ref());
                Err(Report::text(format!("cannot write `{}`", path.display()))
                    .because(error.to_string())
                    .into())
            }
        }
    }
}

enum Failed {
    Root(RootError),
    File(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}
