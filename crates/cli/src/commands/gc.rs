//! `isopod gc`.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use isopod_runtime::pods::PodEntry;
use isopod_runtime::pods::files::Now;
use isopod_runtime::pods::state::PodState;
use isopod_runtime::templates::Templates;
use isopod_runtime::{Settings, state_dir};

use crate::args::duration;
use crate::ending::remove;
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::pods;
use crate::prune_filter::{PruneFilter, goes, prune_filter};

/// A guest image that is younger is kept: a pod that is being prepared may have chosen it.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// Remove exited pods, what killed processes left, guest images that no pod uses, and their templates
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Gc {
    /// Keep pods that have exited within this time
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = duration)]
    pub(super) grace: Duration,
    /// Of the pods only these: until=TIME (made before), label=NAME[=VALUE] or label!=NAME[=VALUE]; all must match
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = prune_filter)]
    pub(super) filters: Vec<PruneFilter>,
    /// No effect: isopod never asks
    #[arg(short, long)]
    pub(super) force: bool,
}

impl Gc {
    /// Removes them, and prints the UUID of each pod.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        for uuid in pods.sweep() {
            output::data(&format!("{uuid}\n"));
        }
        let found = pods.list()?;
        let now = Now::read();
        let mut guests: BTreeSet<String> = BTreeSet::new();
        let mut reports = Vec::new();
        for pod in found {
            if pod.state == PodState::Exited && exited_for(&pod, &now) >= self.grace && self.means(&pod)? {
                let label = pod.uuid.clone();
                match remove(&pods, pod, false) {
                    Ok(()) => output::data(&format!("{label}\n")),
                    Err(report) => reports.push(report),
                }
            } else if let Some(record) = pod.record {
                guests.insert(record.guest);
            }
        }
        guests.extend(fresh_guests(settings));
        // A store that is not there has nothing to remove.
        if let Ok(store) = isopod_image::Store::open(&settings.state_dir) {
            store.remove_leftovers();
        }
        isopod_runtime::writable::remove_leftovers(&settings.state_dir.join(state_dir::WRITABLE));
        if let Err(error) = isopod_guest::gc(&settings.state_dir, &guests) {
            reports.push(error.into());
        }
        for key in Templates::of(&settings.state_dir).sweep(&guests) {
            tracing::info!("removed template `{key}`, of another guest image or QEMU");
        }
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Gc {
    fn means(&self, pod: &PodEntry) -> Result<bool, Report> {
        if self.filters.is_empty() {
            return Ok(true);
        }
        let made = pod.record.as_ref().map(|record| record.created_ms);
        let made = made.map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
        let labels = pod.asked().ok().flatten().map(|asked| asked.spec.labels);
        goes(&self.filters, made, &labels.unwrap_or_default())
    }
}

/// How long ago a pod exited, or last wrote anything. One that never wrote anything is as old as it can be.
fn exited_for(pod: &PodEntry, now: &Now) -> Duration {
    pod.status
        .as_ref()
        .map_or(Duration::MAX, |status| status.age(now))
}

/// The keys of guest images that were built lately, and of the newest, which the next pod will most likely boot.
fn fresh_guests(settings: &Settings) -> Vec<String> {
    let entries = std::fs::read_dir(settings.state_dir.join(state_dir::GUEST))
        .into_iter()
        .flatten()
        .flatten();
    let mut guests: Vec<(SystemTime, String)> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| {
            let modified = entry.metadata().and_then(|m| m.modified()).ok()?;
            Some((modified, entry.file_name().into_string().ok()?))
        })
        .collect();
    guests.sort();
    let newest = guests.len().saturating_sub(1);
    let is_fresh = |time: SystemTime| SystemTime::now().duration_since(time).unwrap_or_default() < FRESH;
    let kept = guests
        .into_iter()
        .enumerate()
        .filter(|(i, (time, _))| *i == newest || is_fresh(*time));
    kept.map(|(_, (_, key))| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::command;
    use crate::commands::OtherCommand;

    #[test]
    fn the_grace_is_a_time() {
        let OtherCommand::Gc(gc) = command("gc --grace 2h") else {
            panic!()
        };
        assert_eq!(gc.grace, Duration::from_secs(7200));
    }
}
