//! `isopod system df`.

use std::fs;
use std::process::ExitCode;

use isopod_image::Store;
use isopod_runtime::templates::Templates;
use isopod_runtime::{Settings, named_volume, state_dir};
use serde_json::{Value, json};

use crate::as_docker::{self, Layout, layout, size};
use crate::commands::volume::named;
use crate::failure::Failure;
use crate::output;
use crate::pods::pods;
use crate::room::taken;
use crate::show::pretty;
use crate::table::table;

/// Show how much of the disk pods, images, volumes and templates take
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct SystemDf {
    /// Show each of them
    #[arg(short, long, conflicts_with = "format")]
    verbose: bool,
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
        let kinds = kinds(settings)?;
        if self.verbose {
            output::data(&kinds.iter().map(EntryKind::table).collect::<Vec<_>>().join("\n"));
            return Ok(ExitCode::SUCCESS);
        }
        let uses: Vec<Use> = kinds.iter().map(EntryKind::sum).collect();
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
}

/// One thing that takes room.
struct Thing {
    name: String,
    bytes: u64,
    /// Whether a pod that runs, or of images and volumes any pod, has it.
    active: bool,
    /// How many pods have it, where that may be any number.
    users: Option<usize>,
}

/// The things of one kind.
struct EntryKind {
    name: &'static str,
    things: Vec<Thing>,
}

impl EntryKind {
    fn sum(&self) -> Use {
        let bytes = |active: bool| {
            let counted = self.things.iter().filter(|thing| active || !thing.active);
            counted.map(|thing| thing.bytes).sum()
        };
        Use {
            kind: self.name,
            total: self.things.len(),
            active: self.things.iter().filter(|thing| thing.active).count(),
            bytes: bytes(true),
            reclaimable_bytes: bytes(false),
        }
    }

    fn table(&self) -> String {
        let row = |thing: &Thing| {
            let users = match (thing.users, thing.active) {
                (Some(users), _) => users.to_string(),
                (None, true) => "yes".to_owned(),
                (None, false) => "no".to_owned(),
            };
            [thing.name.clone(), size(thing.bytes), users]
        };
        let rows: Vec<[String; 3]> = self.things.iter().map(row).collect();
        let users = match self.things.iter().any(|thing| thing.users.is_some()) {
            true => "PODS",
            false => "IN USE",
        };
        format!("{}:\n{}", self.name, table(["NAME", "SIZE", users], &rows))
    }
}

fn kinds(settings: &Settings) -> Result<Vec<EntryKind>, Failure> {
    let found = pods(settings)?.list()?;
    let records = || found.iter().flat_map(|pod| &pod.record);
    let images = Store::open(&settings.state_dir)?.list()?;
    let images = images.iter().map(|image| {
        let id = image.id.to_string();
        let users = records().filter(|record| record.images.contains(&id)).count();
        Thing {
            name: image
                .names
                .first()
                .cloned()
                .unwrap_or_else(|| image.id.hex()[..12].to_owned()),
            bytes: image.rootfs_bytes,
            active: users > 0,
            users: Some(users),
        }
    });
    let pods = found.iter().map(|pod| Thing {
        name: pod.label(),
        bytes: taken(&pod.path),
        active: pod.state.is_live(),
        users: None,
    });
    let users = named::users_of(settings)?;
    let dir = named_volume::dir(&settings.state_dir);
    let names = named::names(settings)?;
    let volumes = names.iter().map(|name| {
        let users = users.get(name).map_or(0, Vec::len);
        Thing {
            name: name.clone(),
            bytes: taken(&dir.join(name)),
            active: users > 0,
            users: Some(users),
        }
    });
    let guests = fs::read_dir(settings.state_dir.join(state_dir::GUEST))
        .into_iter()
        .flatten()
        .flatten();
    let guests = guests.filter(|entry| entry.path().is_dir()).map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let users = records().filter(|record| record.guest == name).count();
        Thing {
            bytes: taken(&entry.path()),
            active: users > 0,
            users: Some(users),
            name,
        }
    });
    let templates = Templates::of(&settings.state_dir).list();
    // Whoever was restored from one needs it no more.
    let templates = templates.iter().map(|template| Thing {
        name: template.key.clone(),
        bytes: template.disk_bytes,
        active: false,
        users: None,
    });
    let kind = |name, things| EntryKind { name, things };
    Ok(vec![
        kind("Images", images.collect()),
        kind("Containers", pods.collect()),
        kind("Local Volumes", volumes.collect()),
        kind("Guest Images", guests.collect()),
        kind("Templates", templates.collect()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_active_cannot_be_reclaimed() {
        let thing = |bytes, users| Thing {
            name: format!("of {bytes}"),
            bytes,
            active: users > 0,
            users: Some(users),
        };
        let images = EntryKind {
            name: "Images",
            things: vec![thing(1000, 2), thing(200, 0), thing(30, 0)],
        };
        assert_eq!(images.sum().row(), ["Images", "3", "1", "1.23kB", "230B"]);
        assert_eq!(
            images.table(),
            "Images:\nNAME     SIZE  PODS\nof 1000  1kB   2\nof 200   200B  0\nof 30    30B   0\n"
        );
    }
}
