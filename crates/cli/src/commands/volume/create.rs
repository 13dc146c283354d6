//! `isopod volume create`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use isopod_runtime::pods::new_uuid;
use isopod_runtime::{Settings, named_volume as runtime};
use isopod_spec::flags::read_named_volume;

use crate::args::invalid_flag;
use crate::failure::Failure;
use crate::output::{self, Report};

/// Make a named volume, and print its name; one that exists stays as it is
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct VolumeCreate {
    /// Its name [default: a new one]
    #[arg(value_name = "NAME", value_parser = OsStringValueParser::new().try_map(named_volume))]
    name: Option<String>,
    /// `local` alone: a directory in the state directory
    #[arg(short, long, value_name = "DRIVER", value_parser = driver)]
    driver: Option<String>,
    /// Give it a label; may be repeated
    #[arg(short, long = "label", value_name = "NAME[=VALUE]", value_parser = label)]
    labels: Vec<(String, String)>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    match name.is_empty() {
        true => Err("it has no name".to_owned()),
        false => Ok((name.to_owned(), value.to_owned())),
    }
}

fn driver(text: &str) -> Result<String, String> {
    match text {
        "local" => Ok(text.to_owned()),
        _ => Err("a named volume is a directory of the host: mount another one there, and share it, `-v SOURCE:TARGET`"
            .to_owned()),
    }
}

impl VolumeCreate {
    /// Makes it, and prints its name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let name = self.name.clone().unwrap_or_else(new_uuid);
        let failed = |error: std::io::Error| {
            Report::text(format!("cannot make volume `{name}`")).because(error.to_string())
        };
        let labels = self.labels.iter().cloned().collect();
        runtime::create(&settings.state_dir, &name, &labels).map_err(failed)?;
        output::data(&format!("{name}\n"));
        Ok(ExitCode::SUCCESS)
    }
}

fn named_volume(text: OsString) -> Result<String, String> {
    read_named_volume(&text).map_err(invalid_flag)
}
