//! A pod that is opened without being run: who does so has its lock, and leaves it as it was.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use isopod_plan::layout;

use super::state::Place;
use super::{Claim, PodsError, failed};

/// Whether somebody has opened the pod at `dir`.
pub(super) fn is_opened(dir: &Path) -> bool {
    File::open(dir.join(layout::OPENED_LOCK)).is_ok_and(|file| file.try_lock_shared().is_err())
}

/// A pod whose lock is held by who opens it: to everybody else it is what it was.
#[derive(Debug)]
pub struct OpenedClaim {
    claim: Claim,
    /// Where it was.
    place: Place,
    _lock: File,
}

impl Claim {
    /// Marks it as one that is opened. A pod that was never started is where those are that were, meanwhile: its processes know it
    /// by that path.
    ///
    /// # Errors
    /// [`PodsError`].
    pub fn open(mut self) -> Result<OpenedClaim, PodsError> {
        let path = self.path.join(layout::OPENED_LOCK);
        let lock = File::create(&path).and_then(|file| file.lock().map(|()| file));
        let lock = lock.map_err(failed("lock", &path))?;
        let place = self.place;
        if place != Place::Started {
            self.go_to(Place::Started)?;
        }
        Ok(OpenedClaim {
            claim: self,
            place,
            _lock: lock,
        })
    }
}

impl OpenedClaim {
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Puts it back as it was.
    ///
    /// # Errors
    /// [`PodsError`].
    pub fn close(mut self) -> Result<(), PodsError> {
        if self.claim.place != self.place {
            self.claim.go_to(self.place)?;
        }
        let path = self.claim.path.join(layout::OPENED_LOCK);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }
}
