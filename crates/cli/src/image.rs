//! `isopod image`: what is in the store, what comes to it and what goes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use isopod_image::{Digest, FindError, Image, Store};
use isopod_runtime::Settings;
use isopod_runtime::pods::PodEntry;
use isopod_spec::{ImageReference, PullPolicy};
use serde_json::{Value, json};

use crate::args::{Format, ImageCommand};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::show::{self, pretty};
use crate::table::table;

/// The exit status of `verify` when something is damaged.
const DAMAGED: u8 = 1;

/// Does what `command` says.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn image(command: &ImageCommand, settings: &Settings) -> Result<ExitCode, Failure> {
    let store = Store::open(&settings.state_dir)?;
    let images = Images { store, settings };
    match command {
        ImageCommand::Fetch { references, pull } => images.fetch(references, (*pull).into()),
        ImageCommand::Import { reference, name } => images.import(reference, name.as_deref()),
        ImageCommand::List { quiet, format } => images.list(*quiet, *format),
        ImageCommand::Inspect { images: words } => images.inspect(words),
        ImageCommand::Tag { image, name } => images.tag(image, name),
        ImageCommand::Rm { images: words, force } => images.rm(words, *force),
        ImageCommand::Gc { all } => images.gc(*all),
        ImageCommand::Export { image, file } => images.export(image, file),
        ImageCommand::Verify { images: words } => images.verify(words),
        ImageCommand::CatManifest { image } => images.cat_manifest(image),
    }
}

struct Images<'a> {
    store: Store,
    settings: &'a Settings,
}

impl Images<'_> {
    fn obtain(&self, reference: &ImageReference, pull: PullPolicy) -> Result<Image, Report> {
        let (image, _) = self.store.obtain(reference, pull, &self.settings.registries)?;
        Ok(image)
    }

    fn fetch(&self, references: &[ImageReference], pull: PullPolicy) -> Result<ExitCode, Failure> {
        let mut reports = Vec::new();
        for reference in references {
            match self.obtain(reference, pull) {
                Ok(image) => output::data(&format!("{}\n", image.id)),
                Err(report) => reports.push(report),
            }
        }
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }

    fn import(&self, reference: &ImageReference, name: Option<&str>) -> Result<ExitCode, Failure> {
        let image = self.obtain(reference, PullPolicy::Always)?;
        if let Some(name) = name {
            self.store.set_name(name, &image)?;
        }
        output::data(&format!("{}\n", image.id));
        Ok(ExitCode::SUCCESS)
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
        Ok(show::pods(self.settings)?.list()?)
    }

    fn list(&self, quiet: bool, format: Format) -> Result<ExitCode, Failure> {
        let images = self.store.list()?;
        output::data(&match (quiet, format) {
            (true, _) => images.iter().map(|image| format!("{}\n", image.id)).collect(),
            (false, Format::Text) => lines(&images),
            (false, Format::Json) => {
                let images: Vec<Value> = images.iter().map(document).collect();
                pretty(&json!({ "version": 1, "images": images }))
            }
        });
        Ok(ExitCode::SUCCESS)
    }

    fn inspect(&self, words: &[String]) -> Result<ExitCode, Failure> {
        let pods = self.pods()?;
        let mut documents = Vec::new();
        for word in words {
            let image = self.find(word)?;
            let config = self.store.config(&image)?;
            let layer = |layer: &Digest| {
                let size = self.store.layer_bytes(*layer);
                json!({ "digest": layer.to_string(), "sizeBytes": size })
            };
            let mut document = document(&image);
            document["rootfs"] = json!({
                "path": image.rootfs,
                "digest": image.rootfs_digest.to_string(),
            });
            document["layers"] = image.layers.iter().map(layer).collect();
            document["pods"] = users(&pods, image.id)
                .map(|pod| Value::from(pod.uuid.clone()))
                .collect();
            document["config"] = serde_json::from_slice(&config)?;
            documents.push(document);
        }
        output::data(&pretty(&json!({ "version": 1, "images": documents })));
        Ok(ExitCode::SUCCESS)
    }

    fn tag(&self, word: &str, name: &str) -> Result<ExitCode, Failure> {
        let image = self.find(word)?;
        self.store.set_name(name, &image)?;
        Ok(ExitCode::SUCCESS)
    }

    /// What each word means is settled before anything goes: names and the ID of one image may come in one call.
    fn rm(&self, words: &[String], force: bool) -> Result<ExitCode, Failure> {
        let mut reports = Vec::new();
        let mut meant: Vec<Meant> = Vec::new();
        for word in words {
            let found = self.find(word);
            let found = found.and_then(|image| Ok((self.name_of(&image, word)?, image)));
            match found {
                Err(report) if force => match self.remove_unreadable(word) {
                    Some(removed) => {
                        removed.map_or_else(|report| reports.push(report), |done| output::data(&done))
                    }
                    None => reports.push(report),
                },
                Err(report) => reports.push(report),
                Ok((name, image)) => Meant::add(&mut meant, word, name, image),
            }
        }
        for meant in meant {
            match self.remove(&meant, force) {
                Ok(done) => output::data(&done),
                Err(report) => reports.push(report),
            }
        }
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Removes the image that `word` means where it cannot be read; `None` where there is none such.
    fn remove_unreadable(&self, word: &str) -> Option<Result<String, Report>> {
        let id = self.store.identify(word).ok()?;
        let removed = self.store.remove(id);
        let removed = removed.map_err(Report::from);
        Some(removed.map(|()| format!("removed {id}\n")))
    }

    fn remove(&self, meant: &Meant, force: bool) -> Result<String, Report> {
        let (image, word) = (&meant.image, &meant.word);
        match meant.removal(force) {
            Removal::Names => {
                for name in &meant.names {
                    self.store.remove_name(name)?;
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
        let pods = self.pods()?;
        let used: Vec<String> = users(&pods, image.id)
            .map(|pod| format!("`{}`", pod.label()))
            .collect();
        if !used.is_empty() && !force {
            return Err(Report::text(format!("image `{word}` is used by pod {}", used.join(", ")))
                .hint(Some("remove the pod first: `isopod rm POD`, or use `--force`: the pod keeps a link of its own".into())));
        }
        self.store.remove(image.id)?;
        let untagged = image.names.iter().map(|name| format!("untagged {name}\n"));
        Ok(untagged.chain([format!("removed {}\n", image.id)]).collect())
    }

    fn gc(&self, all: bool) -> Result<ExitCode, Failure> {
        let pods = self.pods()?;
        let is_used = |id| users(&pods, id).next().is_some();
        let collected = self.store.collect(all, is_used)?;
        output::data(
            &collected
                .images
                .iter()
                .map(|id| format!("removed {id}\n"))
                .collect::<String>(),
        );
        if collected.bytes > 0 {
            output::notice(&format!("{} freed", size(collected.bytes)));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn export(&self, word: &str, file: &Path) -> Result<ExitCode, Failure> {
        let image = self.find(word)?;
        let export = |out: &mut dyn Write| -> Result<(), Report> {
            let result = self.store.export(&image, out);
            let id = result?;
            if id != image.id {
                output::notice(&format!(
                    "the layers of image `{word}` are not kept, since it came from a file, or was there already when it was fetched by this name: \
                     it is written as one layer, as image `{id}`"
                ));
            }
            Ok(())
        };
        if file == Path::new("-") {
            let mut out = io::stdout().lock();
            if out.is_terminal() {
                return Err(Report::text("an archive is not for a terminal")
                    .hint(Some("name a file, or send standard output to one".into()))
                    .into());
            }
            export(&mut out)?;
            return Ok(ExitCode::SUCCESS);
        }
        let failed = |e: io::Error| Report::text(format!("cannot write `{}`: {e}", file.display()));
        let new = Unfinished(with_ending(file, ".isopod-new"));
        let mut out = File::create(&new.0).map_err(failed)?;
        export(&mut out)?;
        out.sync_all().map_err(failed)?;
        fs::rename(&new.0, file).map_err(failed)?;
        Ok(ExitCode::SUCCESS)
    }

    fn verify(&self, words: &[String]) -> Result<ExitCode, Failure> {
        let (images, unreadable) = match words {
            [] => self.store.list_all()?,
            words => {
                let found = words.iter().map(|word| self.find(word));
                (found.collect::<Result<_, _>>()?, Vec::new())
            }
        };
        let mut status = ExitCode::SUCCESS;
        for (id, error) in unreadable {
            status = ExitCode::from(DAMAGED);
            output::data(&format!("{id} damaged\n"));
            output::fail(&Report::new(&error).hint(Some(renew(id))));
        }
        for image in images {
            let mut damage = self.store.verify(&image);
            let mut word = "ok";
            if damage.iter().any(|damage| damage.path == image.rootfs) && self.store.repair(&image)? {
                let image = self.find(&image.id.to_string())?;
                (word, damage) = ("repaired", self.store.verify(&image));
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

    fn cat_manifest(&self, word: &str) -> Result<ExitCode, Failure> {
        let image = self.find(word)?;
        let manifest = self.store.manifest(&image)?;
        let manifest = manifest.ok_or_else(|| {
            Report::text(format!("image `{word}` came without a manifest")).hint(Some(
                "`isopod image inspect` shows its config; `isopod image export` makes a manifest".into(),
            ))
        })?;
        let mut text = String::from_utf8_lossy(&manifest).into_owned();
        if !io::stdout().is_terminal() {
            output::document(&text);
            return Ok(ExitCode::SUCCESS);
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        output::data(&text);
        Ok(ExitCode::SUCCESS)
    }
}

/// How an image becomes whole again whose parts are not kept.
fn renew(id: Digest) -> String {
    format!(
        "`isopod image rm --force {}` removes the image, then fetch or import it again",
        &id.hex()[..12]
    )
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
    /// All of it.
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

/// The pods with an app or a volume of the image `id`.
fn users(pods: &[PodEntry], id: Digest) -> impl Iterator<Item = &PodEntry> {
    let id = id.to_string();
    pods.iter().filter(move |pod| {
        let images = pod.record.iter().flat_map(|record| &record.images);
        images.into_iter().any(|image| *image == id)
    })
}

fn lines(images: &[Image]) -> String {
    let rows: Vec<[String; 4]> = images
        .iter()
        .map(|image| {
            let created = image.created.as_deref().unwrap_or_default();
            [
                image.id.hex()[..12].to_owned(),
                size(image.rootfs_bytes),
                created.chars().take(10).collect(),
                image.names.join(", "),
            ]
        })
        .collect();
    table(["IMAGE ID", "SIZE", "BUILT", "NAMES"], &rows)
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

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A file that goes unless it got its final name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(names: &[&str]) -> Image {
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
