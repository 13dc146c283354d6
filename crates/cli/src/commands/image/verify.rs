//! `isopod image verify`.

use std::process::ExitCode;

use isopod_image::Digest;
use isopod_runtime::Settings;

use super::Images;
use crate::failure::Failure;
use crate::output::{self, Report};

/// The exit status of a verification that found damage.
const DAMAGED: u8 = 1;

/// Compare all files of images with their digests, and repair root filesystems whose layers are kept
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct ImageVerify {
    /// The images: names, IDs or their beginnings [default: all]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

impl ImageVerify {
    /// Verifies them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let (found, unreadable) = match &self.images[..] {
            [] => images.store.list_all()?,
            words => {
                let found = words.iter().map(|word| images.find(word));
                (found.collect::<Result<_, _>>()?, Vec::new())
            }
        };
        let mut status = ExitCode::SUCCESS;
        for (id, error) in unreadable {
            status = ExitCode::from(DAMAGED);
            output::data(&format!("{id} damaged\n"));
            output::fail(&Report::new(&error).hint(Some(renew(id))));
        }
        for image in found {
            let mut damage = images.store.verify(&image);
            let mut word = "ok";
            if damage.iter().any(|damage| damage.path == image.rootfs) && images.store.repair(&image)? {
                let image = images.find(&image.id.to_string())?;
                (word, damage) = ("repaired", images.store.verify(&image));
            }
            if damage.is_empty() {
                output::data(&format!("{} {word}\n", image.id));
                continue;
            }
            status = ExitCode::from(DAMAGED);
            output::data(&format!("{} damaged\n", image.id));
            for damage in damage {
                let what = format!("`{}` is damaged: {}", damage.path.display(), damage.reason);
                output::fail(&Report::text(what).hint(Some(renew(image.id))));
            }
        }
        Ok(status)
    }
}

/// How an image becomes whole again whose parts are not kept.
fn renew(id: Digest) -> String {
    format!(
        "`isopod image rm --force {}` removes the image, then fetch or import it again",
        &id.hex()[..12]
    )
}
