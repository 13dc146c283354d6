//! The commands on images: a table for reading and for help.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, OsStringValueParser, TypedValueParser as _};
use clap::{ArgMatches, Command, FromArgMatches, Subcommand, ValueEnum};
use isopod_spec::{ImageReference, PullPolicy};

use super::life::Format;

const REFERENCES: &str = "\
References:
  [REGISTRY/]NAME[:TAG][@DIGEST]    a name in the store, or in a registry
  docker://REGISTRY/NAME[:TAG]      a name in that registry
  oci:DIR[:TAG]                     a directory with an OCI image layout
  oci-archive:FILE[:TAG]            a tar file of one
  docker-archive:FILE[:NAME[:TAG]]  the output of `docker save`
  dir:DIR                           a directory that skopeo wrote
";

/// A command on images.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum ImageCommand {
    /// Fetch images from registries, and print their IDs
    #[command(visible_alias = "pull", after_help = REFERENCES)]
    Fetch {
        /// The images
        #[arg(required = true, value_name = "REFERENCE", value_parser = OsStringValueParser::new().try_map(reference))]
        references: Vec<ImageReference>,
        /// Ask the registry always, only for what the store lacks (missing), or unless it does not answer (newer)
        /// [default: always]
        #[arg(
            long,
            value_name = "POLICY",
            default_value = "always",
            hide_default_value = true
        )]
        pull: Pull,
    },
    /// Read an image into the store, and print its ID
    #[command(after_help = REFERENCES)]
    Import {
        /// Where it is
        #[arg(value_name = "REFERENCE", value_parser = OsStringValueParser::new().try_map(reference))]
        reference: ImageReference,
        /// The image's name in the store, beside the one it brings
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        name: Option<String>,
    },
    /// List the images in the store
    #[command(visible_alias = "ls")]
    List {
        /// Print IDs only
        #[arg(short, long, conflicts_with = "format")]
        quiet: bool,
        /// How to print them
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// Print all that is known of images, as JSON
    Inspect {
        /// The images: names, IDs or their beginnings
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Give an image a name
    Tag {
        /// The image: a name, an ID or its beginning
        #[arg(value_name = "IMAGE")]
        image: String,
        /// The name; an image that has it loses it
        #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Remove images, or of an image with several names the one that is given
    #[command(visible_alias = "remove")]
    Rm {
        /// The images: names, IDs or their beginnings
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
        /// Remove an image that a pod uses, or that has several names; the pod keeps its own link to it
        #[arg(short, long)]
        force: bool,
    },
    /// Remove the images that have no name and no pod, and what is left of downloads
    #[command(visible_alias = "prune")]
    Gc {
        /// And those that have a name, but no pod
        #[arg(short, long)]
        all: bool,
    },
    /// Write an image to a file, as an oci-archive: with its own digests, or as one layer where its layers are not kept
    Export {
        /// The image: a name, an ID or its beginning
        #[arg(value_name = "IMAGE")]
        image: String,
        /// The file, which is replaced; `-` is standard output
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Read all that is kept of images, compare it with its digests, and mend root filesystems of which the layers are kept
    Verify {
        /// The images: names, IDs or their beginnings [default: all]
        #[arg(value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Print an image's manifest as it came, or of an archive of `docker save` what its layers make
    CatManifest {
        /// The image: a name, an ID or its beginning
        #[arg(value_name = "IMAGE")]
        image: String,
    },
}

/// When `image fetch` asks a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// For what the store lacks.
    Missing,
    /// Always.
    Always,
    /// Always, if it answers.
    Newer,
}

impl From<Pull> for PullPolicy {
    fn from(pull: Pull) -> Self {
        match pull {
            Pull::Missing => Self::Missing,
            Pull::Always => Self::Always,
            Pull::Newer => Self::Newer,
        }
    }
}

/// The command `image`, with all of them.
pub(super) fn command() -> Command {
    let image = Command::new("image")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true);
    ImageCommand::augment_subcommands(image).about("Work with the images in the store")
}

/// The command that `matches` holds, which is one of these.
pub(super) fn read(matches: &ArgMatches) -> Result<ImageCommand, clap::Error> {
    ImageCommand::from_arg_matches(matches)
}

fn reference(text: OsString) -> Result<ImageReference, String> {
    let read = ImageReference::parse(OsStr::new(&text));
    read.map_err(|error| match error.hint() {
        Some(hint) => format!("{} ({hint})", error.reason),
        None => error.reason,
    })
}
