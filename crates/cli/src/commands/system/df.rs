//! `isopod system df`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;

use isopod_image::Store;
use isopod_runtime::templates::Templates;
use isopod_runtime::{Settings, named_volume, state_dir};
use serde_json::{Value, json};

use crate::args::{Layout, layout};
use crate::as_docker::{self, size};
use crate::commands::volume::named;
use crate::failure::Failure;
use crate::output;
use crate::pods::pods;
use crate::show::pretty;
use crate::table::table;

/// Show how much of the disk pods, images, volumes and templates take
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct SystemDf {
    /// How to print it: text, json, or a Go template over docker's fields, with `table` before it under their names
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = layout)]
    format: Layout,
}

impl SystemDf {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let uses = uses(settings)?;
        output::data(&match &self.format {
            Layout::Text => {
                let rows: Vec<[String; 5]> = uses.iter().map(Use::row).collect();
                table(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"], &rows)
            }
            Layout::Json => pretty(&uses.iter().map(Use::document).collect()),
            layout => as_docker::rows(layout, &uses.iter().map(Use::document).collect::<Vec<_>>())?,
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// What one kind of things takes.
struct Use {
    kind: &'static str,
    total: usize,
    /// How many of them a pod that runs, or of images and volumes any pod, has.
    active: usize,
    bytes: u64,
    /// What of that the others have.
    reclaimable_bytes: u64,
}

impl Use {
    fn row(&self) -> [String; 5] {
        [
            self.kind.to_owned(),
            self.total.to_string(),
            self.active.to_string(),
            size(self.bytes),
            size(self.reclaimable_bytes),
        ]
    }

    fn document(&self) -> Value {
        json!({
            "Type": self.kind,
            "TotalCount": self.total.to_string(),
            "Active": self.active.to_string(),
            "Size": size(self.bytes),
            "Reclaimable": size(self.reclaimable_bytes),
        })
    }

    /// Of things with their sizes, and whether each is active.
    fn of(kind: &'static str, things: &[(u64, bool)]) -> Self {
        let bytes = |active: bool| {
            things
                .iter()
                .filter(|thing| active || !thing.1)
                .map(|thing| thing.0)
                .sum()
        };
        Self {
            kind,
            total: things.len(),
            active: things.iter().filter(|thing| thing.1).count(),
            bytes: bytes(true),
            reclaimable_bytes: bytes(false),
        }
    }
}

fn uses(settings: &Settings) -> Result<Vec<Use>, Failure> {
    let found = pods(settings)?.list()?;
    let used: BTreeSet<&String> = found
        .iter()
        .flat_map(|pod| &pod.record)
        .flat_map(|record| &record.images)
        .collect();
    let images = Store::open(&settings.state_dir)?.list()?;
    let images: Vec<(u64, bool)> = images
        .iter()
        .map(|image| (image.rootfs_bytes, used.contains(&image.id.to_string())))
        .collect();
    let pods: Vec<(u64, bool)> = found
        .iter()
        .map(|pod| (taken(&pod.path), pod.state.is_live()))
        .collect();
    let users = named::used(settings)?;
    let dir = named_volume::dir(&settings.state_dir);
    let names = named::names(settings)?;
    let volumes: Vec<(u64, bool)> = names
        .iter()
        .map(|name| (taken(&dir.join(name)), users.contains(name)))
        .collect();
    let guests = fs::read_dir(settings.state_dir.join(state_dir::GUEST))
        .into_iter()
        .flatten()
        .flatten();
    let in_use: BTreeSet<&String> = found
        .iter()
        .flat_map(|pod| &pod.record)
        .map(|record| &record.guest)
        .collect();
    let guests: Vec<(u64, bool)> = guests
        .filter(|entry| entry.path().is_dir())
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (taken(&entry.path()), in_use.contains(&name))
        })
        .collect();
    let templates: Vec<(u64, bool)> = Templates::of(&settings.state_dir)
        .list()
        .iter()
        // Whoever was restored from one needs it no more.
        .map(|template| (template.disk_bytes, false))
        .collect();
    Ok(vec![
        Use::of("Images", &images),
        Use::of("Containers", &pods),
        Use::of("Local Volumes", &volumes),
        Use::of("Guest Images", &guests),
        Use::of("Templates", &templates),
    ])
}

/// How many bytes of the disk a file or a directory with all below it takes; of links, none.
fn taken(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    // stat(2): blocks of 512 bytes.
    let own = metadata.blocks() * 512;
    match metadata.is_dir() {
        false => own,
        true => {
            let below = fs::read_dir(path).into_iter().flatten().flatten();
            below.map(|entry| taken(&entry.path())).sum::<u64>() + own
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_active_cannot_be_reclaimed() {
        let used = Use::of("Images", &[(1000, true), (200, false), (30, false)]);
        assert_eq!(used.row(), ["Images", "3", "1", "1.23kB", "230B"]);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), vec![1; 10_000]).unwrap();
        assert!(taken(dir.path()) >= 10_000);
        assert_eq!(taken(&dir.path().join("none")), 0);
    }
}
