//! `isopod template list`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use isopod_runtime::Settings;
use isopod_runtime::templates::{Entry, Templates};
use serde_json::{Value, json};

use crate::as_docker::{self, Layout, layout, size};
use crate::failure::Failure;
use crate::output;
use crate::show::pretty;
use crate::table::{age, table};

/// List the templates: the memory and CPUs of their VMs, and the disk space that they take
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "ls")]
pub(crate) struct TemplateList {
    /// Print keys only
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// How to print them: text, json, or a Go template over the fields of json, with `table` before it under their names
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = layout)]
    format: Layout,
}

impl TemplateList {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let entries = Templates::of(&settings.state_dir).list();
        let documents = || entries.iter().map(document).collect::<Vec<_>>();
        output::data(&match &self.format {
            _ if self.quiet => entries.iter().map(|entry| format!("{}\n", entry.key)).collect(),
            Layout::Text => {
                let rows: Vec<[String; 6]> = entries.iter().map(row).collect();
                table(["KEY", "MEMORY", "CPUS", "ACCEL", "AGE", "SIZE"], &rows)
            }
            Layout::Json => pretty(&json!({ "version": 1, "templates": documents() })),
            layout => as_docker::rows(layout, &documents())?,
        });
        Ok(ExitCode::SUCCESS)
    }
}

fn row(entry: &Entry) -> [String; 6] {
    let found = &entry.description;
    let made = SystemTime::UNIX_EPOCH + Duration::from_millis(found.created_ms);
    [
        entry.key[..entry.key.len().min(12)].to_owned(),
        format!("{} MiB", found.memory_mib),
        found.cpus.to_string(),
        found.accel.clone(),
        age(SystemTime::now().duration_since(made).unwrap_or_default()),
        size(entry.disk_bytes),
    ]
}

fn document(entry: &Entry) -> Value {
    let found = &entry.description;
    json!({
        "key": entry.key,
        "memoryMib": found.memory_mib,
        "cpus": found.cpus,
        "accel": found.accel,
        "guest": found.guest,
        "createdMs": found.created_ms,
        "diskBytes": entry.disk_bytes,
    })
}
