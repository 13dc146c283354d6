//! `isopod pod lock`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use isopod_runtime::{Settings, gather};
use isopod_spec::ImageSource;
use isopod_spec::lock::{self, LockedImage, VERSION, sources};

use crate::args::FileArgs;
use crate::failure::Failure;
use crate::lock::place;
use crate::output::{self, Report};
use crate::pod_files;
use crate::pod_files::Purpose;

/// Write the digests of a pod file's images to FILE.lock, for `run --locked`
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct PodLock {
    /// The pod file, or several that belong together; the lock is beside the first one
    #[arg(value_name = "FILE", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
}

impl PodLock {
    /// Brings the images of the pods into the store and writes down which they are.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let path = place(&self.files)?;
        let args = FileArgs {
            files: self.files.clone(),
            // What cannot be honoured is reported when the pod is run.
            ignore_unsupported: true,
            ..FileArgs::default()
        };
        let pods = pod_files::pods(&args, None, &Purpose::Show, settings)?;
        let mut images = BTreeMap::new();
        for pod in pods.iter().map(|file| &file.pod) {
            let found = gather::all_images(pod, settings).map_err(|error| Failure::of(&error.faults))?;
            for (source, image) in sources(pod).into_iter().zip(found) {
                let ImageSource::Reference(reference) = source else {
                    continue;
                };
                let locked = LockedImage {
                    id: image.id.to_string(),
                    manifest: image.manifest.map(|digest| digest.to_string()),
                };
                images.insert(reference.to_string(), locked);
            }
        }
        let lock = lock::Lock {
            version: VERSION,
            images,
        };
        let text = lock.write()?;
        std::fs::write(settings.working_dir.join(&path), text)
            .map_err(|error| Report::text(format!("cannot write the lock `{}`: {error}", path.display())))?;
        output::data(&format!("{}\n", path.display()));
        Ok(ExitCode::SUCCESS)
    }
}
