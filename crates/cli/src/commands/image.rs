//! `isopod image`: work with the image store.

pub(crate) mod cat_manifest;
pub(crate) mod export;
pub(crate) mod fetch;
pub(crate) mod filter;
pub(crate) mod gc;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod rm;
pub(crate) mod save;
pub(crate) mod tag;
pub(crate) mod verify;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::Subcommand;
use isopod_image::{Digest, FindError, Image, Store};
use isopod_runtime::Settings;
use isopod_runtime::pods::PodEntry;
use isopod_spec::{Architecture, ImageReference, PullPolicy};
use serde_json::{Value, json};

use crate::args::invalid;
use crate::failure::Failure;
use crate::output::Report;

const REFERENCES: &str = "\
References:
  [REGISTRY/]NAME[:TAG][@DIGEST]    a name in the store, or in a registry
  docker://REGISTRY/NAME[:TAG]      a name in that registry
  oci:DIR[:TAG]                     a directory with an OCI image layout
  oci-archive:FILE[:TAG]            a tar file of one
  docker-archive:FILE[:NAME[:TAG]]  the output of `docker save`
  dir:DIR                           a directory that skopeo wrote
";

/// Work with the images in the store
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum ImageCommand {
    Fetch(fetch::ImageFetch),
    Import(import::ImageImport),
    List(list::ImageList),
    Inspect(inspect::ImageInspect),
    History(history::ImageHistory),
    Tag(tag::ImageTag),
    Rm(rm::ImageRm),
    Gc(gc::ImageGc),
    Export(export::ImageExport),
    Save(save::ImageSave),
    Load(load::ImageLoad),
    Verify(verify::ImageVerify),
    CatManifest(cat_manifest::ImageCatManifest),
}

impl ImageCommand {
    /// Executes the command.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        match self {
            Self::Fetch(command) => command.execute(settings),
            Self::Import(command) => command.execute(settings),
            Self::List(command) => command.execute(settings),
            Self::Inspect(command) => command.execute(settings),
            Self::History(command) => command.execute(settings),
            Self::Tag(command) => command.execute(settings),
            Self::Rm(command) => command.execute(settings),
            Self::Gc(command) => command.execute(settings),
            Self::Export(command) => command.execute(settings),
            Self::Save(command) => command.execute(settings),
            Self::Load(command) => command.execute(settings),
            Self::Verify(command) => command.execute(settings),
            Self::CatManifest(command) => command.execute(settings),
        }
    }
}

/// The store, and what is needed to find an image in it.
struct Images<'a> {
    store: Store,
    settings: &'a Settings,
}

impl<'a> Images<'a> {
    fn open(settings: &'a Settings) -> Result<Self, Report> {
        let store = Store::open(&settings.state_dir)?;
        Ok(Self { store, settings })
    }

    fn obtain(&self, reference: &ImageReference, pull: PullPolicy) -> Result<Image, Report> {
        let (image, _) = self.store.obtain(reference, pull, &self.settings.registries)?;
        Ok(image)
    }

    /// The image that the user calls `word`: by a name in the store, by what it would be pulled by, or by its ID.
    fn find(&self, word: &str) -> Result<Image, Report> {
        let error = match self.store.find(None, Some(word)) {
            Ok(image) => return Ok(image),
            Err(error) => error,
        };
        match (&error, ImageReference::parse(word.as_ref())) {
            (FindError::NoName(_), Ok(ImageReference::Registry(reference))) => {
                Ok(self.store.find_named(&reference, &self.settings.registries)?)
            }
            _ => Err(error.into()),
        }
    }

    /// As [`find`](Self::find), where it is of that platform.
    fn find_of(&self, word: &str, platform: Option<Architecture>) -> Result<Image, Report> {
        let image = self.find(word)?;
        match platform {
            Some(wanted) if Architecture::read(&image.architecture) != Some(wanted) => {
                let what = format!("image `{word}` is for linux/{}", image.architecture);
                let hint = format!(
                    "a name has one platform: `isopod pull --platform linux/{} {word}`",
                    wanted.name()
                );
                Err(Report::text(what).hint(Some(hint)))
            }
            _ => Ok(image),
        }
    }

    /// That of the image's names which `word` is, if it is one.
    fn name_of(&self, image: &Image, word: &str) -> Result<Option<String>, Report> {
        let mut names = vec![word.to_owned(), format!("{word}:latest")];
        if let Ok(ImageReference::Registry(reference)) = ImageReference::parse(word.as_ref()) {
            let candidates = self.settings.registries.candidates(&reference)?;
            names.extend(candidates.iter().map(|name| name.stored_name()));
        }
        Ok(names.into_iter().find(|name| image.names.contains(name)))
    }

    fn pods(&self) -> Result<Vec<PodEntry>, Report> {
        Ok(crate::pods::pods(self.settings)?.list()?)
    }
}

/// The pods with an app or a volume of the image `id`.
fn users(pods: &[PodEntry], id: Digest) -> impl Iterator<Item = &PodEntry> {
    let id = id.to_string();
    pods.iter().filter(move |pod| {
        let images = pod.record.iter().flat_map(|record| &record.images);
        images.into_iter().any(|image| *image == id)
    })
}

fn document(image: &Image) -> Value {
    json!({
        "id": image.id.to_string(),
        "names": image.names,
        "manifest": image.manifest.map(|digest| digest.to_string()),
        "architecture": image.architecture,
        "os": image.os,
        "created": image.created,
        "sizeBytes": image.rootfs_bytes,
    })
}

fn size(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn reference(text: OsString) -> Result<ImageReference, String> {
    let read = ImageReference::parse(OsStr::new(&text));
    read.map_err(|error| invalid(&error.reason, error.hint()))
}
