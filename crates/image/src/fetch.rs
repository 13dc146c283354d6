//! From a reference to an image in the store:
//!
//! 1. a name that the store has is that image, unless the registry is to be asked;
//! 2. its manifest and config are read from the registry, or a mirror ([`crate::registry`]); when the store has that
//!    image already, that is all, but for the name;
//! 3. the image is locked: another process that wants it waits, and finds it;
//! 4. the layers that the store lacks are downloaded, several at a time ([`crate::store`]'s blobs);
//! 5. the image is written as an import writes it.

use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use isopod_spec::{ImageReference, PullPolicy, RegistryReference};

use crate::digest::Digest;
use crate::layer::LayerError;
use crate::registry::{PullError, Registries, Remote, Stop, download};
use crate::section::Section;
use crate::source::{Source, remote};
use crate::store::import::{ImportError, IncomingImage};
use crate::store::{FindError, Held, Image, Store};

/// How many layers are downloaded at a time, as with docker.
const DOWNLOADS: usize = 3;

impl Store {
    /// The image that `reference` means: from its place, from the store, or from a registry, as `pull` says. It is
    /// held in the store until the second value is dropped.
    ///
    /// # Errors
    /// [`ImportError`]; nothing but the beginnings of downloads is left in the store then.
    pub fn obtain(
        &self,
        reference: &ImageReference,
        pull: PullPolicy,
        registries: &Registries,
    ) -> Result<(Image, Held), ImportError> {
        // Until it is held no `gc` begins, which would take what was just downloaded.
        let _store = self.share().map_err(|source| ImportError::Store {
            path: self.lock_path("store"),
            source,
        })?;
        loop {
            let image = match reference {
                ImageReference::Local(local) => self.import(local)?,
                ImageReference::Registry(image) => self.named(image, pull, registries)?,
            };
            // Between the two it may have been removed by name.
            if let Some(held) = self.hold_image(&image)? {
                return Ok((image, held));
            }
        }
    }

    /// Holds an image that was found; `None` when it is gone.
    ///
    /// # Errors
    /// [`ImportError`] when the store cannot be written to.
    pub fn hold_image(&self, image: &Image) -> Result<Option<Held>, ImportError> {
        self.hold(image.id).map_err(|source| ImportError::Store {
            path: self.lock_path(&image.id.hex()),
            source,
        })
    }

    fn named(
        &self,
        reference: &RegistryReference,
        pull: PullPolicy,
        registries: &Registries,
    ) -> Result<Image, ImportError> {
        let stored = || match self.find_named(reference, registries) {
            Ok(image) => Ok(Some(image)),
            Err(FindError::NoName(_)) => Ok(None),
            // What is damaged is fetched again.
            Err(FindError::Load(error)) if error.is_damage() && pull != PullPolicy::Never => Ok(None),
            Err(error) => Err(ImportError::Find(error)),
        };
        match pull {
            PullPolicy::Never => stored()?.ok_or_else(|| ImportError::NotStored(reference.clone())),
            // The name of one for another processor goes to the one that comes, as with docker.
            PullPolicy::Missing => match stored()? {
                Some(image) if image.processor() == self.limits.architecture => Ok(image),
                _ => self.fetch(reference, registries),
            },
            PullPolicy::Always => self.fetch(reference, registries),
            PullPolicy::Newer => match (self.fetch(reference, registries), stored) {
                (Err(error), stored) if error.is_silence() => {
                    let image = stored()?.ok_or(error)?;
                    tracing::warn!("no registry answers for `{reference}`: the image in the store is used");
                    Ok(image)
                }
                (result, _) => result,
            },
        }
    }

    /// Fetches the image `reference` from a registry, as far as the store does not have it.
    fn fetch(&self, reference: &RegistryReference, registries: &Registries) -> Result<Image, ImportError> {
        let candidates = registries.candidates(reference)?;
        let mut last = None;
        for candidate in &candidates {
            match self.fetch_full(candidate, registries) {
                Err(error) if candidates.len() > 1 && error.is_about_one_registry() => {
                    tracing::info!("`{candidate}`: {error}");
                    last = Some(error);
                }
                result => return result,
            }
        }
        match last {
            Some(ImportError::Source(crate::source::SourceError::Pull(source))) => Err(PullError::Nowhere {
                tried: candidates,
                source,
            }
            .into()),
            Some(error) => Err(error),
            None => Err(ImportError::NotStored(reference.clone())),
        }
    }

    fn fetch_full(
        &self,
        reference: &RegistryReference,
        registries: &Registries,
    ) -> Result<Image, ImportError> {
        let _store = self.share().map_err(|source| ImportError::Store {
            path: self.lock_path("store"),
            source,
        })?;
        let (found, remote) = remote::find(registries, reference, &self.limits)?;
        let coming = IncomingImage {
            id: Digest::of(&found.config),
            names: vec![reference.stored_name()],
            manifest: Some((found.manifest, found.manifest_document.clone())),
            layers: found.layers.clone(),
        };
        self.keep(coming, || {
            let digests: Vec<Digest> = found.layers.iter().map(|(digest, _)| *digest).collect();
            let mut again = true;
            loop {
                let blobs = self.layers(&remote, &found.layers, registries)?;
                let blobs = blobs.into_iter().zip(digests.iter().map(|digest| Some(*digest)));
                let source = Source::of(
                    found.clone(),
                    self.limits.architecture,
                    blobs.collect(),
                    Vec::new(),
                )?;
                match self.write_image(source, digests.clone()) {
                    // What was kept since an earlier fetch was damaged: it is downloaded again, once.
                    Err(ImportError::Layer {
                        source: LayerError::Digest { expected, .. },
                        ..
                    }) if std::mem::take(&mut again) => {
                        tracing::warn!("layer `{expected}` in the image store was damaged");
                        let _ = std::fs::remove_file(self.blob_path(expected));
                    }
                    result => return result,
                }
            }
        })
    }

    /// The blobs of all `layers`, those downloaded that the store lacks.
    fn layers(
        &self,
        remote: &Remote,
        layers: &[(Digest, u64)],
        registries: &Registries,
    ) -> Result<Vec<Section>, ImportError> {
        let next = AtomicUsize::new(0);
        let stop = Stop::default();
        let failure: Mutex<Option<ImportError>> = Mutex::new(None);
        let work = || {
            while let Some((digest, size)) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                if stop.is_stopped() {
                    return;
                }
                if let Err(error) = self.layer(remote, *digest, *size, registries, &stop) {
                    stop.stop();
                    // The first is the cause; the others were stopped by it.
                    failure
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .get_or_insert(error);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..layers.len().min(DOWNLOADS) {
                scope.spawn(work);
            }
            work();
        });
        match failure
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
        {
            Some(error) => Err(error),
            None => layers
                .iter()
                .map(|(digest, size)| self.layer(remote, *digest, *size, registries, &stop))
                .collect(),
        }
    }

    fn layer(
        &self,
        remote: &Remote,
        digest: Digest,
        size: u64,
        registries: &Registries,
        stop: &Stop,
    ) -> Result<Section, ImportError> {
        let failed = |path, source| ImportError::Store { path, source };
        self.blob_or(digest, size, failed, |file: &mut File| {
            tracing::info!("downloading layer `{digest}`, {size} bytes");
            Ok(download(
                remote,
                (digest, size),
                file,
                registries.progress(),
                stop,
            )?)
        })
    }
}
