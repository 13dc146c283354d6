//! `isopod image rm`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use isopod_image::{FindError, Image};
use isopod_runtime::Settings;
use isopod_spec::Architecture;

use super::fetch::platform;
use super::{Images, users};
use crate::failure::Failure;
use crate::output::{self, Report};

/// Remove images; of an image with several names, the one that is given
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "remove")]
pub(crate) struct ImageRm {
    /// The images: names, IDs or their beginnings
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Remove an image that a pod uses, or that has several names; the pod keeps its own link to it. An image that does not exist is not an
    /// error
    #[arg(short, long)]
    force: bool,
    /// An image that does not exist is not an error
    #[arg(short, long)]
    ignore: bool,
    /// No effect: an image has no parents that could go with it
    #[arg(long)]
    no_prune: bool,
    /// Only where it is of this platform, linux/amd64 or linux/arm64
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Architecture>,
}

impl ImageRm {
    /// Removes each. What each word means is settled before anything goes: names and the ID of one image may come in one call.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let mut reports = Vec::new();
        let mut meant: Vec<Meant> = Vec::new();
        for word in &self.images {
            let found = images.find_of(word, self.platform);
            let found = found.and_then(|image| Ok((images.name_of(&image, word)?, image)));
            match found {
                Err(report) if self.force => match remove_unreadable(&images, word) {
                    Some(removed) => {
                        removed.map_or_else(|report| reports.push(report), |done| output::data(&done))
                    }
                    // docker's rule, and podman's.
                    None if is_absent(&images, word) => output::note(&report.line()),
                    None => reports.push(report),
                },
                Err(report) if self.ignore && is_absent(&images, word) => output::note(&report.line()),
                Err(report) => reports.push(report),
                Ok((name, image)) => Meant::add(&mut meant, word, name, image),
            }
        }
        for meant in meant {
            match remove(&images, &meant, self.force) {
                Ok(done) => output::data(&done),
                Err(report) => reports.push(report),
            }
        }
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Removes the image that `word` means where it cannot be read; `None` where there is none such.
fn remove_unreadable(images: &Images<'_>, word: &str) -> Option<Result<String, Report>> {
    let id = images.store.identify(word).ok()?;
    let removed = images.store.remove(id);
    let removed = removed.map_err(Report::from);
    Some(removed.map(|()| format!("removed {id}\n")))
}

fn is_absent(images: &Images<'_>, word: &str) -> bool {
    use FindError as E;
    let found = images.store.identify(word);
    matches!(found, Err(E::NoId(_) | E::NoName(_) | E::InvalidId(_)))
}

fn remove(images: &Images<'_>, meant: &Meant, force: bool) -> Result<String, Report> {
    let (image, word) = (&meant.image, &meant.word);
    match meant.removal(force) {
        Removal::Names => {
            for name in &meant.names {
                images.store.remove_name(name)?;
            }
            return Ok(meant
                .names
                .iter()
                .map(|name| format!("untagged {name}\n"))
                .collect());
        }
        Removal::Refused => {
            let names = image.names.join("`, `");
            return Err(
                Report::text(format!("image `{word}` has several names: `{names}`"))
                    .hint(Some("remove one by its name, or the image with `--force`".into())),
            );
        }
        Removal::Image => {}
    }
    let pods = images.pods()?;
    let used: Vec<String> = users(&pods, image.id)
        .map(|pod| format!("`{}`", pod.label()))
        .collect();
    if !used.is_empty() && !force {
        return Err(
            Report::text(format!("image `{word}` is used by pod {}", used.join(", "))).hint(Some(
                "remove the pod first: `isopod rm POD`, or use `--force`: the pod keeps a link of its own"
                    .into(),
            )),
        );
    }
    images.store.remove(image.id)?;
    let untagged = image.names.iter().map(|name| format!("untagged {name}\n"));
    Ok(untagged.chain([format!("removed {}\n", image.id)]).collect())
}

/// An image that `rm` is to remove something of, and by what it was meant.
struct Meant {
    image: Image,
    /// The first word that means it.
    word: String,
    /// Those of its names that were given.
    names: BTreeSet<String>,
    /// Whether its ID was given.
    by_id: bool,
}

/// What `rm` removes of an image.
#[derive(Debug, PartialEq, Eq)]
enum Removal {
    /// The names that were given.
    Names,
    Image,
    /// Nothing: who gave its ID may not know of its names.
    Refused,
}

impl Meant {
    fn add(all: &mut Vec<Self>, word: &str, name: Option<String>, image: Image) {
        let by_id = name.is_none();
        match all.iter_mut().find(|meant| meant.image.id == image.id) {
            Some(meant) => {
                meant.names.extend(name);
                meant.by_id |= by_id;
            }
            None => all.push(Self {
                image,
                word: word.to_owned(),
                names: name.into_iter().collect(),
                by_id,
            }),
        }
    }

    fn removal(&self, force: bool) -> Removal {
        let others = self
            .image
            .names
            .iter()
            .filter(|name| !self.names.contains(*name))
            .count();
        match (self.by_id, others) {
            (_, 0) => Removal::Image,
            (false, _) => Removal::Names,
            (true, _) if force || self.image.names.len() == 1 => Removal::Image,
            (true, _) => Removal::Refused,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use isopod_image::Digest;

    use super::*;

    pub(crate) fn image(names: &[&str]) -> Image {
        let id = Digest::of(b"");
        Image {
            id,
            manifest: None,
            names: names.iter().map(|&name| name.to_owned()).collect(),
            config: isopod_spec::RunConfig::default(),
            rootfs: PathBuf::new(),
            rootfs_bytes: 0,
            rootfs_digest: id,
            layers: Vec::new(),
            architecture: "amd64".into(),
            os: "linux".into(),
            created: None,
        }
    }

    #[test]
    fn names_and_the_id_of_one_image_may_come_in_one_call() {
        for (names, words, force, expected) in [
            (&["a:1"][..], &["a:1", "ID"][..], false, Removal::Image),
            (&["a:1"], &["ID", "a:1"], false, Removal::Image),
            (&["a:1"], &["ID", "ID"], false, Removal::Image),
            (&["a:1"], &["a:1", "a:1"], false, Removal::Image),
            (&[], &["ID"], false, Removal::Image),
            (&["a:1", "b:1"], &["a:1"], false, Removal::Names),
            (&["a:1", "b:1"], &["a:1"], true, Removal::Names),
            (&["a:1", "b:1"], &["a:1", "b:1"], false, Removal::Image),
            (&["a:1", "b:1"], &["a:1", "ID", "b:1"], false, Removal::Image),
            (&["a:1", "b:1"], &["ID"], false, Removal::Refused),
            (&["a:1", "b:1"], &["a:1", "ID"], false, Removal::Refused),
            (&["a:1", "b:1"], &["ID"], true, Removal::Image),
        ] {
            let mut meant = Vec::new();
            for word in words {
                let name = Some((*word).to_owned()).filter(|word| word != "ID");
                Meant::add(&mut meant, word, name, image(names));
            }
            let [meant] = &meant[..] else { panic!("{words:?}") };
            assert_eq!(meant.removal(force), expected, "{names:?} {words:?} {force}");
        }
    }
}
