//! Pulling from a real registry, and from one that goes wrong on the way.

#![allow(clippy::unwrap_used)]

mod exports;
mod fetching;
mod interruptions;
#[path = "../make/mod.rs"]
mod make;
#[path = "../serve/mod.rs"]
mod serve;
mod trust;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use isopod_image::registry::{Patience, Registries, Settings};
use isopod_image::{Image, ImportError, Store};
use isopod_spec::{ImageReference, PullPolicy};
use make::{OciLayout, Tar, chain, named};
use serde_json::json;
use serve::Registry;
use tempfile::TempDir;

/// A registry with nothing in it, and a store that knows of it what `settings` say.
struct World {
    dir: TempDir,
    registry: Registry,
    settings: Settings,
}

fn patience() -> Patience {
    Patience {
        attempts: 4,
        pause: Duration::from_millis(10),
        silence: Duration::from_secs(5),
        floor: 1 << 10,
    }
}

impl World {
    fn new() -> Self {
        Self::with("", "")
    }

    fn with(http: &str, sections: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::start(&dir.path().join("registry"), http, sections);
        let settings = Settings {
            patience: patience(),
            ..Settings::default()
        };
        Self {
            dir,
            registry,
            settings,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> Store {
        Store::open(&self.path("store")).unwrap()
    }

    /// Makes an image of these layers and pushes it as `name`.
    fn push(&self, layers: &[Vec<u8>], name: &str) {
        let layout = OciLayout::new(&self.path("oci"));
        layout.index(&[named(layout.image(layers, |_| {}), "x")]);
        self.registry
            .push(&format!("oci:{}:x", layout.dir.display()), name, &[]);
    }

    fn pull(&self, name: &str, pull: PullPolicy) -> Result<Image, ImportError> {
        let reference = ImageReference::parse(name.as_ref()).unwrap();
        let registries = Registries::new(self.settings.clone());
        self.store()
            .obtain(&reference, pull, &registries)
            .map(|(image, _)| image)
    }

    fn fetch(&self, name: &str) -> Image {
        self.pull(name, PullPolicy::Always)
            .unwrap_or_else(|error| panic!("{name}: {}", chain(&error)))
    }

    /// The message, with its causes and its hint.
    fn refused(&self, name: &str) -> String {
        let error = self.pull(name, PullPolicy::Always).unwrap_err();
        format!("{} ({})", chain(&error), error.hint().unwrap_or_default())
    }

    fn conf(&mut self, text: &str) {
        let path = self.path("registries.conf");
        fs::write(&path, text).unwrap();
        self.settings.conf_files = vec![path];
    }

    fn auth(&mut self, host: &str, user: &str) {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(user);
        let path = self.path("auth.json");
        fs::write(&path, json!({"auths": {host: {"auth": auth}}}).to_string()).unwrap();
        self.settings.auth_files = vec![path];
    }

    /// The blobs of the store, finished and not.
    fn blobs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("store/blobs")).into_iter().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// A layer that does not compress and takes many reads.
fn big(name: &str, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    let bytes: Vec<u8> = (0..600_000).map(|_| next()).collect();
    Tar::new().file(name, &bytes).finish()
}
