//! A pod that is one's own: its lock is held.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use isopod_plan::layout;

use super::files::{self, PodRecord, Status};
use super::state::{Lock, Phase, Place, Verb, observe};
use super::{ClaimError, Pods, PodsError, failed, state_error};
use crate::events::{Event, EventKind, EventLog};
use crate::{joining, json_file};

/// A pod whose lock is held: by this process, until this is dropped.
#[derive(Debug)]
pub struct Claim {
    pub(super) root: PathBuf,
    pub(super) dir: File,
    pub(super) path: PathBuf,
    pub(super) place: Place,
    pub(super) uuid: String,
}

impl Claim {
    /// A claim that another process took and gave on: an open directory whose lock is held.
    ///
    /// # Errors
    /// [`PodsError`] where that is not the pod's directory.
    pub fn inherited(pods: &Pods, uuid: &str, dir: OwnedFd) -> Result<Self, PodsError> {
        let (path, dir) = (pods.path(Place::Started, uuid), File::from(dir));
        if !is_at(&dir, &path) {
            return Err(failed("take over", &path)(io::ErrorKind::NotFound.into()));
        }
        Ok(Self {
            root: pods.root.clone(),
            dir,
            path,
            place: Place::Started,
            uuid: uuid.to_owned(),
        })
    }

    /// The lock, for another process to hold.
    ///
    /// # Errors
    /// [`PodsError`] when there are no descriptors left.
    pub fn handle(&self) -> Result<OwnedFd, PodsError> {
        Ok(self.dir.try_clone().map_err(failed("share", &self.path))?.into())
    }

    pub(super) fn check(self, verb: Verb) -> Result<Self, ClaimError> {
        // With the lock in hand nobody else's word counts.
        let state = observe(self.place, Lock::Free, None);
        match state.refusal(verb) {
            Some(reason) => Err(state_error(verb, &self.uuid, reason)),
            None => Ok(self),
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// What was prepared.
    ///
    /// # Errors
    /// [`PodsError`], also for a pod of another version of isopod.
    pub fn record(&self) -> Result<PodRecord, PodsError> {
        let path = self.path.join(layout::RECORD);
        let record: Option<PodRecord> =
            json_file::read(&self.path, layout::RECORD).map_err(failed("read", &path))?;
        match record {
            Some(record) if record.version == files::VERSION => Ok(record),
            Some(_) => Err(failed("read", &path)(io::Error::other(
                "another version of isopod prepared the pod; remove it and prepare it again",
            ))),
            None => Err(failed("read", &path)(io::ErrorKind::NotFound.into())),
        }
    }

    /// Makes a pod that was written one that can be started.
    ///
    /// # Errors
    /// [`PodsError`].
    pub fn publish(&mut self) -> Result<(), PodsError> {
        self.go_to(Place::Prepared)?;
        self.emit(EventKind::Prepared, |_| {});
        Ok(())
    }

    /// Where events of the pod's go.
    pub(crate) fn events(&self) -> EventLog {
        EventLog::below(&self.root)
    }

    fn emit(&self, kind: EventKind, more: impl FnOnce(&mut Event)) {
        let name = self.record().ok().and_then(|record| record.name);
        let mut event = Event::now(kind, &self.uuid, name.as_ref());
        more(&mut event);
        self.events().add(&event);
    }

    /// Reports the pod's end, where its supervisor was killed before it could.
    fn emit_lost_end(&self) {
        let status: Option<Status> = json_file::read(&self.path, layout::STATUS).ok().flatten();
        if let Some(status) = status.filter(|status| status.phase != Phase::Exited) {
            self.emit(EventKind::Exited, |event| {
                event.exit_status = Some(125);
                event.reason = Some(status.exit_reason());
            });
        }
    }

    /// Makes it one that was started; the lock says that it runs. What became of an earlier life is forgotten.
    ///
    /// # Errors
    /// [`PodsError`].
    pub fn begin(&mut self) -> Result<(), PodsError> {
        if self.place != Place::Started {
            return self.go_to(Place::Started);
        }
        self.emit_lost_end();
        let path = self.path.join(layout::STATUS);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    pub(super) fn go_to(&mut self, place: Place) -> Result<(), PodsError> {
        let path = self.root.join(place.dir_name()).join(&self.uuid);
        fs::rename(&self.path, &path).map_err(failed("rename", &self.path))?;
        (self.place, self.path) = (place, path);
        Ok(())
    }

    /// Removes the pod and its name.
    ///
    /// # Errors
    /// [`PodsError`]; what is left is garbage, which [`Pods::sweep`] removes.
    pub fn remove(mut self) -> Result<(), PodsError> {
        let record = self.record().ok();
        // Of a VM that was killed there may be something left.
        if let Some(netns) = record.as_ref().and_then(|record| record.netns.as_ref()) {
            netns.release();
        }
        if let Some((record, networks)) = record.as_ref().and_then(|it| Some((it, it.networks.as_ref()?))) {
            let pod = joining::JoiningPod {
                uuid: self.uuid.clone(),
                dir: self.path.clone(),
                ports: record.ports.clone(),
            };
            networks.now(&self.path).down(&pod, None);
        }
        let name = record.and_then(|record| record.name);
        let seen = matches!(self.place, Place::Prepared | Place::Started);
        if seen {
            self.emit_lost_end();
        }
        if self.place != Place::Garbage {
            self.go_to(Place::Garbage)?;
        }
        if let Some(name) = &name {
            let link = self.root.join("names").join(name.as_str());
            if fs::read_link(&link).is_ok_and(|target| target.as_os_str() == self.uuid.as_str()) {
                let _ = fs::remove_file(link);
            }
        }
        // Nothing is mounted below it in this namespace, so this removes files of the pod's only.
        let removed = fs::remove_dir_all(&self.path).map_err(failed("remove", &self.path));
        if seen {
            let event = Event::now(EventKind::Removed, &self.uuid, name.as_ref());
            self.events().add(&event);
        }
        removed
    }
}

/// Whether `dir` is what `path` names.
pub(super) fn is_at(dir: &File, path: &Path) -> bool {
    let same = |(a, b): (fs::Metadata, fs::Metadata)| (a.dev(), a.ino()) == (b.dev(), b.ino());
    dir.metadata()
        .ok()
        .zip(path.symlink_metadata().ok())
        .is_some_and(same)
}
