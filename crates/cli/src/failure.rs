//! How a command fails: with one report or several, each with what to do about it. Errors of the libraries become reports
//! by `?`, and bring their hints; nothing is printed before `main` prints it.

use std::error::Error;
use std::process::ExitCode;

use isopod_runtime::hotplug::AttachError;

use crate::FAILURE;
use crate::output::{self, Report};

/// Why a command failed, all of it: at least one report.
#[derive(Debug)]
pub(crate) struct Failure {
    reports: Vec<Report>,
}

impl Failure {
    /// What these errors report, each.
    pub(crate) fn of<'e, E: Explained + 'e>(errors: impl IntoIterator<Item = &'e E>) -> Self {
        Self {
            reports: errors.into_iter().map(Report::of).collect(),
        }
    }

    /// `Ok` when there is nothing to report.
    ///
    /// # Errors
    /// The reports, when there is one.
    pub(crate) fn unless_empty(reports: Vec<Report>) -> Result<(), Self> {
        match reports.is_empty() {
            true => Ok(()),
            false => Err(Self { reports }),
        }
    }

    /// Prints it; the exit status is the first report's that is not 125, or else 125.
    pub(crate) fn print(&self) -> ExitCode {
        for report in &self.reports {
            output::fail(report);
        }
        let statuses = self.reports.iter().map(Report::status);
        ExitCode::from(
            statuses
                .into_iter()
                .find(|status| *status != FAILURE)
                .unwrap_or(FAILURE),
        )
    }
}

impl Report {
    /// What a user reads of `error`: it and its sources, with its hint.
    pub(crate) fn of(error: &impl Explained) -> Self {
        Self::new(error)
            .hint(error.hint())
            .exit_status(error.exit_status())
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self {
            reports: vec![report],
        }
    }
}

impl From<Vec<Report>> for Failure {
    fn from(reports: Vec<Report>) -> Self {
        Self { reports }
    }
}

impl<E: Explained> From<E> for Failure {
    fn from(error: E) -> Self {
        Report::of(&error).into()
    }
}

impl<E: Explained> From<E> for Report {
    fn from(error: E) -> Self {
        Self::of(&error)
    }
}

/// An error that a user reads.
pub(crate) trait Explained: Error {
    /// What to do about it.
    fn hint(&self) -> Option<String>;

    /// The exit status of a command that fails by it.
    fn exit_status(&self) -> u8 {
        FAILURE
    }
}

/// Errors that say themselves what to do about them, by an own `hint`.
macro_rules! with_hints {
    ($($error:ty),+ $(,)?) => {
        $(impl Explained for $error {
            fn hint(&self) -> Option<String> {
                self.hint()
            }
        })+
    };
}

/// Errors about which there is nothing to do but what they say.
macro_rules! without_hints {
    ($($error:ty),+ $(,)?) => {
        $(impl Explained for $error {
            fn hint(&self) -> Option<String> {
                None
            }
        })+
    };
}

with_hints! {
    isopod_image::CommitError,
    isopod_image::ImportError,
    isopod_image::ExportError,
    isopod_image::FindError,
    isopod_image::ListError,
    isopod_image::LoadError,
    isopod_image::RemoveError,
    isopod_image::SetNameError,
    isopod_image::StoreError,
    isopod_image::registry::LoginError,
    isopod_image::registry::PullError,
    isopod_runtime::control::ControlError,
    isopod_runtime::gather::GatherFault,
    isopod_runtime::logs::LogError,
    isopod_runtime::networks::NetworkError,
    isopod_runtime::pods::ClaimError,
    isopod_runtime::pods::FindError,
    isopod_runtime::pods::NameError,
    isopod_runtime::pods::PodsError,
    isopod_runtime::ports::PortError,
    isopod_runtime::prepare::PrepareError,
    isopod_runtime::run::RunError,
    isopod_runtime::state_dir::StateDirError,
    isopod_runtime::template_maker::MakeError,
    isopod_runtime::write_tree::WriteTreeError,
    isopod_spec::Gap,
    isopod_spec::check::PodFault,
    isopod_spec::compose::one_off::OneOffError,
    isopod_spec::flags::InvalidFlag,
    isopod_spec::located::Fault,
}

without_hints! {
    isopod_guest::GcError,
    isopod_protocol::codec::ReadMessageError,
    isopod_protocol::exec::ReceiveError,
    isopod_runtime::events::EventError,
    serde_json::Error,
    std::io::Error,
}

impl Explained for isopod_plan::Fault {
    fn hint(&self) -> Option<String> {
        self.hint()
    }

    fn exit_status(&self) -> u8 {
        self.exit_status()
    }
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Plan(error) => Self::of(&error.faults),
            AttachError::Source(fault) => fault.into(),
            error => Report::new(&error).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Whoever fails has not printed anything, and what to do about it has come along.
    #[test]
    fn an_error_brings_its_hint_and_several_end_by_the_special_status() {
        fn find() -> Result<ExitCode, Failure> {
            Err(isopod_runtime::pods::FindError::None("web".into()))?;
            Ok(ExitCode::SUCCESS)
        }
        let failure = find().unwrap_err();
        let [report] = &failure.reports[..] else {
            panic!("{failure:?}")
        };
        let text = anstream::adapter::strip_str(&report.render()).to_string();
        assert_eq!(
            text,
            "error: there is no pod `web`\nhint: `isopod list` lists the pods"
        );
        let plain = || Report::from(io::Error::other("no"));
        let failure = Failure::from(vec![plain(), plain().exit_status(127), plain().exit_status(126)]);
        assert_eq!(failure.print(), ExitCode::from(127));
        assert_eq!(Failure::from(plain()).print(), ExitCode::from(FAILURE));
        assert!(Failure::unless_empty(Vec::new()).is_ok());
    }
}
