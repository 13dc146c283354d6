//! Which pods a command is about: those that are named, and podman's ways to name several.

use std::path::PathBuf;
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::pods::{FindError, PodEntry, Pods};

use crate::commands::ps::{PodFilter, passes, pod_filter};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::{each, pods};

/// Which pods are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Selection {
    /// The pods: names, UUIDs or their beginnings
    #[arg(value_name = "POD", required_unless_present_any = ["all", "latest", "cidfiles", "filters"])]
    pods: Vec<String>,
    /// All pods to which this applies
    #[arg(long, conflicts_with_all = ["pods", "latest", "cidfiles"])]
    all: bool,
    /// The pod that was made last
    #[arg(short, long, conflicts_with_all = ["pods", "cidfiles", "filters"])]
    latest: bool,
    /// The pod whose UUID is in FILE, as `run --cidfile` writes it; may be repeated
    #[arg(long = "cidfile", visible_alias = "pod-id-file", value_name = "FILE")]
    cidfiles: Vec<PathBuf>,
    /// The pods to which this applies and which pass a filter of `isopod ps`; may be repeated
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = pod_filter, conflicts_with_all = ["pods", "cidfiles"])]
    filters: Vec<PodFilter>,
}

/// What a pod that is not there is to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Fails,
    /// Noted, and no failure (`--ignore`).
    IsNoted,
}

impl Selection {
    /// Does it to each pod, and prints the name by which each was asked for; `can` says to which it can be done, for `--all` and
    /// `--filter`.
    ///
    /// # Errors
    /// A [`Failure`] for each pod with which it failed.
    pub(crate) fn each(
        &self,
        settings: &Settings,
        missing: Missing,
        can: impl Fn(&PodEntry) -> bool,
        action: impl Fn(&Pods, PodEntry) -> Result<(), Report>,
    ) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let mut queries = self.queries(&pods, missing, can, settings)?;
        if missing == Missing::IsNoted {
            queries.retain(|query| match pods.find(query) {
                Err(error @ FindError::None(_)) => {
                    output::note(&error.to_string());
                    false
                }
                _ => true,
            });
        }
        each(&queries, settings, action)
    }

    /// The names, UUIDs or their beginnings of those that are meant.
    ///
    /// # Errors
    /// A [`Failure`] where a file cannot be read, or the pods cannot.
    pub(crate) fn queries(
        &self,
        pods: &Pods,
        missing: Missing,
        can: impl Fn(&PodEntry) -> bool,
        settings: &Settings,
    ) -> Result<Vec<String>, Failure> {
        if self.all || !self.filters.is_empty() {
            let mut found = pods.list()?;
            found.retain(|pod| can(pod) && passes(pod, &self.filters));
            return Ok(found.into_iter().map(|pod| pod.uuid).collect());
        }
        if self.latest {
            let made = |pod: &PodEntry| pod.record.as_ref().map(|record| record.created_ms);
            let last = pods.list()?.into_iter().max_by_key(made);
            let last = last.ok_or_else(|| Report::text("there is no pod"))?;
            return Ok(vec![last.uuid]);
        }
        let mut queries = self.pods.clone();
        for file in &self.cidfiles {
            match std::fs::read_to_string(settings.working_dir.join(file)) {
                Ok(text) => queries.push(text.trim().to_owned()),
                Err(error) if missing == Missing::IsNoted && error.kind() == std::io::ErrorKind::NotFound => {
                }
                Err(error) => {
                    let what = format!("cannot read `{}`", file.display());
                    return Err(Report::text(what).because(error.to_string()).into());
                }
            }
        }
        Ok(queries)
    }

    /// The only one that is meant.
    ///
    /// # Errors
    /// A [`Failure`] where it is not one, with `what` for one alone.
    pub(crate) fn only(&self, pods: &Pods, what: &str, settings: &Settings) -> Result<String, Failure> {
        let mut queries = self.queries(pods, Missing::Fails, |_| true, settings)?;
        match (queries.pop(), queries.is_empty()) {
            (Some(query), true) => Ok(query),
            _ => Err(Report::text(format!("{what} is for one pod")).into()),
        }
    }

    /// Those that were named.
    #[cfg(test)]
    pub(crate) fn named(&self) -> &[String] {
        &self.pods
    }
}

#[cfg(test)]
mod tests {
    use crate::command_line::parse;

    #[test]
    fn pods_are_named_or_chosen() {
        let read = |line: &str| parse(line.split(' ').map(Into::into)).is_ok();
        for line in [
            "isopod stop a b",
            "isopod stop -a",
            "isopod stop --cidfile f --ignore",
            "isopod stop --filter name=a",
            "isopod rm -l",
            "isopod kill -a -s TERM",
            "isopod pause -f label=a",
            "isopod start --all",
        ] {
            assert!(read(line), "{line}");
        }
        for line in [
            "isopod stop",
            "isopod stop -a x",
            "isopod rm -l x",
            "isopod stop --filter colour=red",
        ] {
            assert!(!read(line), "{line}");
        }
    }
}
