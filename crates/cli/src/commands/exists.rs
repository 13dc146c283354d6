//! `isopod exists`, podman's `container|pod|image|volume|network exists`.

use std::process::ExitCode;

use clap::ValueEnum;
use isopod_image::{FindError, Store};
use isopod_runtime::Settings;
use isopod_runtime::networks::Networks;
use isopod_runtime::pods;
use isopod_spec::ImageReference;

use crate::failure::Failure;

/// Check whether something exists: exit status 0 if it does, 1 if not
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Exists {
    /// What it is
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Its name, or for pods and images also its ID or the beginning of that
    #[arg(value_name = "NAME")]
    name: String,
}

/// What may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Pod,
    Image,
    Volume,
    Network,
}

impl Exists {
    /// Prints nothing.
    ///
    /// # Errors
    /// A [`Failure`] where that cannot be found out.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let name = &self.name;
        let is_there = match self.kind {
            Kind::Pod => match crate::pods::pods(settings)?.find(name) {
                Ok(_) => true,
                Err(pods::FindError::None(_)) => false,
                Err(error) => return Err(error.into()),
            },
            Kind::Image => image(name, settings)?,
            Kind::Volume => super::volume::named::names(settings)?.contains(name),
            Kind::Network => {
                let names = Networks::of(&settings.state_dir).names()?;
                names.iter().any(|known| known.to_string() == *name)
            }
        };
        Ok(ExitCode::from(u8::from(!is_there)))
    }
}

/// Whether the store has the image, by the name that it has there, by what it would be pulled by, or by its ID.
fn image(word: &str, settings: &Settings) -> Result<bool, Failure> {
    let store = Store::open(&settings.state_dir)?;
    let found = match (store.find(None, Some(word)), ImageReference::parse(word.as_ref())) {
        (Err(FindError::NoName(_)), Ok(ImageReference::Registry(reference))) => {
            store.find_named(&reference, &settings.registries)
        }
        (found, _) => found,
    };
    match found {
        Ok(_) => Ok(true),
        Err(FindError::NoName(_) | FindError::NoId(_) | FindError::InvalidId(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::command;
    use crate::commands::OtherCommand;

    #[test]
    fn podmans_words_lead_to_it() {
        for (line, kind) in [
            ("container exists web", Kind::Pod),
            ("pod exists web", Kind::Pod),
            ("image exists web", Kind::Image),
            ("volume exists web", Kind::Volume),
            ("network exists web", Kind::Network),
        ] {
            let OtherCommand::Exists(exists) = command(line) else {
                panic!("{line}")
            };
            assert_eq!((exists.kind, exists.name.as_str()), (kind, "web"), "{line}");
        }
    }
}
