//! The pods of a state directory. A pod is a directory; its state is where that is and who holds its lock.
//!
//! ```text
//! STATE/pods/preparing/UUID/   being written; its writer holds the lock
//! STATE/pods/prepared/UUID/    written, never started
//! STATE/pods/started/UUID/     started: its supervisor holds the lock, or it has exited, or is opened for a copy ([`opened`])
//! STATE/pods/garbage/UUID/     being removed
//! STATE/pods/names/NAME        -> UUID; a link whose pod is gone names nobody
//! STATE/pods/lock              held while a name is given
//! STATE/pods/events.jsonl      what happened to all of them (see [`crate::events`])
//! ```
//!
//! The lock is flock(2) on the directory itself, so it comes along when the directory is renamed and is gone with the
//! last process that holds it, however that ends. Every change of state is one rename by whoever holds the lock.
//! [`state`] says which states there are, [`files`] what is in a directory besides [`isopod_plan::layout`]'s files.

pub mod arrived;
mod claim;
mod error;
pub mod files;
mod memberships;
pub mod opened;
pub mod os_text;
mod rename;
pub mod start_times;
pub mod state;
pub mod updates;
pub mod volumes;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isopod_plan::layout;
use isopod_spec::{JoinedNetwork, PodName};

use files::{Asked, PodRecord, Status};
use state::{Lock, Place, PodState, Verb, observe};
use updates::Updates;

use crate::events::EventLog;
use crate::{clock, json_file, state_dir};
pub use claim::Claim;
use claim::is_at;
pub(crate) use error::failed;
pub use error::{ClaimError, FindError, NameError, PodsError};

/// How long a lock is waited for that somebody holds: who only looks holds it for microseconds.
const LOOK: Duration = Duration::from_millis(200);

/// How long one is waited for that somebody has opened, who copies something.
const OPENED: Duration = Duration::from_secs(60);

/// The pods of a state directory.
#[derive(Clone, Debug)]
pub struct Pods {
    root: PathBuf,
}

/// A pod that was seen.
#[derive(Clone, Debug)]
pub struct PodEntry {
    pub uuid: String,
    /// Its directory, when it was seen.
    pub path: PathBuf,
    pub state: PodState,
    /// Whether somebody was at it.
    pub lock: Lock,
    /// What was prepared; `None` while it is being prepared, and where it cannot be read.
    pub record: Option<PodRecord>,
    /// What became of it; `None` before it was started.
    pub status: Option<Status>,
}

impl PodEntry {
    /// Its name, or the beginning of its UUID.
    #[must_use]
    pub fn label(&self) -> String {
        let name = self.record.as_ref().and_then(|record| record.name.as_ref());
        name.map_or_else(
            || self.uuid[..self.uuid.len().min(8)].to_owned(),
            ToString::to_string,
        )
    }

    /// What it has of networks with names.
    #[must_use]
    pub fn joined(&self) -> &[JoinedNetwork] {
        let networks = self.record.as_ref().and_then(|record| record.networks.as_ref());
        networks.map_or(&[], |networks| &networks.joined)
    }

    /// Who does not answer any more, of a pod that is live.
    #[must_use]
    pub fn silence(&self) -> Option<Silence> {
        let status = self.status.as_ref().filter(|_| self.state.is_live())?;
        if status
            .supervisor
            .is_some_and(|supervisor| supervisor.is_stopped())
        {
            return Some(Silence::Supervisor);
        }
        let since = status.silent_since_ms?;
        let silent = Duration::from_millis(clock::boot_ms().saturating_sub(since));
        Some(Silence::Guest(silent))
    }

    /// What was asked for, with what was changed of its apps since; `None` where another version of
    /// isopod wrote it.
    ///
    /// # Errors
    /// [`PodsError`].
    pub fn asked(&self) -> Result<Option<Asked>, PodsError> {
        let mut asked = self.asked_at_first()?;
        if let Some(asked) = &mut asked {
            Updates::read(&self.path).apply_to_spec(&mut asked.spec);
        }
        Ok(asked)
    }

    /// What was asked for when it was prepared.
    ///
    /// # Errors
    /// [`PodsError`].
    pub fn asked_at_first(&self) -> Result<Option<Asked>, PodsError> {
        let asked = json_file::read(&self.path, layout::SPEC)
            .map_err(failed("read", &self.path.join(layout::SPEC)))?;
        Ok(asked.filter(|asked: &Asked| asked.version == files::VERSION))
    }
}

/// Who does not answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The guest, for so long.
    Guest(Duration),
    /// The pod's supervisor: its process is stopped.
    Supervisor,
}

/// A UUID for a new pod.
#[must_use]
pub fn new_uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

impl Pods {
    /// The pods of `state_dir`; makes what is missing.
    ///
    /// # Errors
    /// [`PodsError`].
    pub fn open(state_dir: &Path) -> Result<Self, PodsError> {
        let root = state_dir.join(crate::state_dir::PODS);
        let places = Place::ALL.iter().map(|place| place.dir_name());
        for name in places.chain(["names"]) {
            let path = root.join(name);
            private_dir(&path).map_err(failed("create", &path))?;
        }
        Ok(Self { root })
    }

    /// Where a pod is once it is started: its processes know this path.
    #[must_use]
    pub fn started_path(&self, uuid: &str) -> PathBuf {
        self.path(Place::Started, uuid)
    }

    /// Where the file systems are that pods' writable disks begin as.
    pub(crate) fn formatted_dir(&self) -> PathBuf {
        self.root.with_file_name(state_dir::WRITABLE)
    }

    /// What happened to them.
    #[must_use]
    pub fn events(&self) -> EventLog {
        EventLog::below(&self.root)
    }

    fn path(&self, place: Place, uuid: &str) -> PathBuf {
        self.root.join(place.dir_name()).join(uuid)
    }

    /// Makes the directory of a new pod; nobody sees it before [`Claim::publish`].
    ///
    /// # Errors
    /// [`PodsError`].
    pub fn create(&self) -> Result<Claim, PodsError> {
        self.create_as(new_uuid())
    }

    /// Makes the directory of a new pod whose UUID was chosen before ([`new_uuid`]).
    ///
    /// # Errors
    /// [`PodsError`].
    pub fn create_as(&self, uuid: String) -> Result<Claim, PodsError> {
        let path = self.path(Place::Preparing, &uuid);
        // Who looks for leftovers between the two steps must not find this: it holds this lock.
        let _guard = self.guard()?;
        private_dir(&path).map_err(failed("create", &path))?;
        let dir = File::open(&path).and_then(|dir| dir.lock().map(|()| dir));
        let dir = dir.map_err(|source| {
            let _ = fs::remove_dir(&path);
            failed("lock", &path)(source)
        })?;
        Ok(Claim {
            root: self.root.clone(),
            dir,
            path,
            place: Place::Preparing,
            uuid,
        })
    }

    fn guard(&self) -> Result<File, PodsError> {
        let path = self.root.join("lock");
        let file = File::create(&path).map_err(failed("create", &path))?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(file)
    }

    /// Every pod, the newest last; those that only wait for their removal are left out.
    ///
    /// # Errors
    /// [`PodsError`].
    pub fn list(&self) -> Result<Vec<PodEntry>, PodsError> {
        let mut pods: Vec<PodEntry> = Vec::new();
        for (place, uuid) in self.uuids()? {
            // A pod that moved on while this looked was seen before.
            if pods.iter().rev().take(64).any(|pod| pod.uuid == uuid) {
                continue;
            }
            pods.extend(
                self.look(place, &uuid)
                    .filter(|pod| pod.state != PodState::Garbage),
            );
        }
        pods.sort_by_cached_key(|pod| {
            (
                pod.record.as_ref().map_or(u64::MAX, |r| r.created_ms),
                pod.uuid.clone(),
            )
        });
        pods.dedup_by(|a, b| a.uuid == b.uuid);
        Ok(pods)
    }

    fn uuids(&self) -> Result<Vec<(Place, String)>, PodsError> {
        let mut found = Vec::new();
        for place in Place::ALL {
            let dir = self.root.join(place.dir_name());
            let entries = fs::read_dir(&dir).map_err(failed("read", &dir))?;
            let names = entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok());
            found.extend(names.map(|name| (place, name)));
        }
        Ok(found)
    }

    /// What a pod at `place` looks like; `None` when it has gone meanwhile.
    fn look(&self, place: Place, uuid: &str) -> Option<PodEntry> {
        let path = self.path(place, uuid);
        let dir = File::open(&path).ok()?;
        let lock = match dir.try_lock_shared() {
            Ok(()) => {
                let _ = dir.unlock();
                Lock::Free
            }
            Err(_) => Lock::Held,
        };
        // Read by way of the directory's handle, which stays the pod's when it moves.
        let at = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string());
        let lock = match lock {
            Lock::Held if opened::is_opened(&at) => Lock::Opened,
            lock => lock,
        };
        let status: Option<Status> = match place {
            Place::Started => json_file::read(&at, layout::STATUS).ok().flatten(),
            _ => None,
        };
        let state = observe(place, lock, status.as_ref().map(|status| status.phase));
        let record = match place {
            Place::Prepared | Place::Started => json_file::read(&at, layout::RECORD).ok().flatten(),
            Place::Preparing | Place::Garbage => None,
        };
        let record = record.map(|record: PodRecord| {
            let mut record = record.with_arrived(status.as_ref());
            Updates::read(&at).apply_to_record(&mut record);
            memberships::apply_to_record(&at, &mut record);
            record
        });
        Some(PodEntry {
            uuid: uuid.to_owned(),
            path,
            state,
            lock,
            record,
            status,
        })
    }

    /// The one pod that `query` names: by its name, its UUID, or the beginning of it.
    ///
    /// # Errors
    /// [`FindError`].
    pub fn find(&self, query: &str) -> Result<PodEntry, FindError> {
        let none = || FindError::None(query.escape_debug().to_string());
        if let Ok(name) = PodName::new(query)
            && let Some(uuid) = self.named(&name)
            && let Some(entry) = self.entry(&uuid)
        {
            return Ok(entry);
        }
        if query.is_empty() {
            return Err(none());
        }
        let mut found: Vec<String> = self.uuids()?.into_iter().map(|(_, uuid)| uuid).collect();
        found.retain(|uuid| uuid.starts_with(query));
        found.sort();
        found.dedup();
        match &found[..] {
            [] => Err(none()),
            [uuid] => self.entry(uuid).ok_or_else(none),
            _ => Err(FindError::Several {
                query: query.escape_debug().to_string(),
                found,
            }),
        }
    }

    /// The pod of this UUID; `None` when there is none, or only its removal is left.
    #[must_use]
    pub fn entry(&self, uuid: &str) -> Option<PodEntry> {
        // Twice: it may move on from a place before that is looked at, once.
        let look = || Place::ALL.into_iter().find_map(|place| self.look(place, uuid));
        look().or_else(look).filter(|pod| pod.state != PodState::Garbage)
    }

    /// Whose name `name` is.
    fn named(&self, name: &PodName) -> Option<String> {
        let target = fs::read_link(self.root.join("names").join(name.as_str())).ok()?;
        target.into_os_string().into_string().ok()
    }

    /// Gives a pod its name.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn name(&self, uuid: &str, name: &PodName) -> Result<(), NameError> {
        let _guard = self.guard()?;
        let link = self.root.join("names").join(name.as_str());
        if let Some(owner) = self.named(name) {
            if self.lives(&owner) {
                let name = name.clone();
                return Err(NameError::Taken { name, uuid: owner });
            }
            fs::remove_file(&link).map_err(failed("remove", &link))?;
        }
        symlink(uuid, &link).map_err(failed("create", &link))?;
        Ok(())
    }

    /// Takes a pod's lock, to do `verb` with it.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn claim(&self, uuid: &str, verb: Verb) -> Result<Claim, ClaimError> {
        let begun = Instant::now();
        loop {
            let Some((place, path)) = Place::ALL
                .into_iter()
                .map(|place| (place, self.path(place, uuid)))
                .find(|(_, path)| path.exists())
            else {
                return Err(ClaimError::Gone(uuid.to_owned()));
            };
            let Ok(dir) = File::open(&path) else { continue };
            match dir.try_lock() {
                // The directory may have moved before it was locked.
                Ok(()) if is_at(&dir, &path) => {
                    let claim = Claim {
                        root: self.root.clone(),
                        dir,
                        path,
                        place,
                        uuid: uuid.to_owned(),
                    };
                    return claim.check(verb);
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let seen = self.look(place, uuid);
                    let (lock, state) = seen.map(|pod| (pod.lock, pod.state)).unzip();
                    let patience = match lock {
                        Some(Lock::Opened) => OPENED,
                        _ => LOOK,
                    };
                    if begun.elapsed() > patience {
                        let refusal = state.and_then(|state| state.refusal(verb));
                        return Err(refusal.map_or_else(
                            || ClaimError::Held(uuid.to_owned()),
                            |reason| state_error(verb, uuid, reason),
                        ));
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source).into()),
            }
        }
    }

    /// Removes what nobody will ever use: half-written pods, half-removed ones, and pods that were to be removed when
    /// they ended and whose supervisor was killed before. Gives the UUIDs.
    pub fn sweep(&self) -> Vec<String> {
        let Ok(_guard) = self.guard() else {
            return Vec::new();
        };
        let Ok(uuids) = self.uuids() else {
            return Vec::new();
        };
        let mut removed = Vec::new();
        for (place, uuid) in uuids {
            let Some(pod) = self.look(place, &uuid) else {
                continue;
            };
            let keep = pod.record.map(|record| record.keep);
            let leftover = match pod.state {
                PodState::Garbage => true,
                // Prepared and not locked: its process ended between two renames.
                PodState::Prepared => keep == Some(files::Keep::UntilEnded),
                PodState::Exited => keep.is_some_and(|keep| keep != files::Keep::UntilRemoved),
                _ => false,
            };
            // Whoever is at it sees to it.
            if !leftover || pod.lock != Lock::Free {
                continue;
            }
            if let Ok(claim) = self.claim(&uuid, Verb::Remove)
                && claim.remove().is_ok()
            {
                removed.push(uuid);
            }
        }
        self.sweep_names();
        removed
    }

    /// Removes names that are nobody's any more: a pod goes before its name does. The caller holds the guard, so no name
    /// is being given.
    fn sweep_names(&self) {
        let entries = fs::read_dir(self.root.join("names"))
            .into_iter()
            .flatten()
            .flatten();
        for entry in entries {
            let owner = fs::read_link(entry.path())
                .ok()
                .and_then(|to| to.into_os_string().into_string().ok());
            if !owner.is_some_and(|owner| self.lives(&owner)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Whether there is a pod of this UUID that is not being removed.
    fn lives(&self, uuid: &str) -> bool {
        Place::ALL[..3]
            .iter()
            .any(|place| self.path(*place, uuid).exists())
    }
}

fn state_error(verb: Verb, uuid: &str, reason: &'static str) -> ClaimError {
    let verb = match verb {
        Verb::Start => "start",
        Verb::Open => "open",
        Verb::Speak => "speak to",
        Verb::Remove => "remove",
    };
    ClaimError::State {
        verb,
        uuid: uuid.to_owned(),
        reason,
    }
}

fn private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests;
