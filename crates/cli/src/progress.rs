//! Progress bars of downloads: on a terminal, on standard error.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use isopod_image::Digest;
use isopod_image::registry::Progress;

const BAR: &str = "{prefix} [{bar:30}] {bytes:>11} / {total_bytes:<11} {bytes_per_sec}";

/// A bar for each blob that is downloaded.
#[derive(Default)]
pub(crate) struct Bars {
    all: MultiProgress,
    bars: Mutex<BTreeMap<Digest, ProgressBar>>,
}

impl Progress for Bars {
    fn at(&self, blob: &Digest, bytes: u64, of: u64) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bars.entry(*blob).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(of));
            if let Ok(style) = ProgressStyle::with_template(BAR) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.with_prefix(blob.hex()[..12].to_owned())
        });
        bar.set_position(bytes);
    }

    fn end(&self, blob: &Digest) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bars.remove(blob) {
            bar.finish_and_clear();
        }
    }
}
