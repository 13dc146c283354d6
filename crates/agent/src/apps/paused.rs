//! Apps that are held: the kernel's freezer of their cgroups (Linux, `Documentation/admin-guide/cgroup-v2.rst`,
//! `cgroup.freeze`), and who has to know of it.
//!
//! systemd's own `FreezeUnit` is the same write, but it answers only when all processes are held, and the session, which
//! alone speaks to systemd, is not to wait so long. What systemd does with a unit that is held, it finds out from the kernel.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isopod_contract::message::AppIndex;
use tokio::sync::watch;

/// How long the processes may take until all are held: one that waits for a disk is only afterwards.
const PATIENCE: Duration = match cfg!(test) {
    false => Duration::from_secs(10),
    true => Duration::from_millis(50),
};
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The apps that are held. Cheap to clone, and one for a session.
#[derive(Clone, Debug)]
pub(crate) struct Paused {
    /// Where systemd has its cgroups.
    cgroups: PathBuf,
    /// The cgroup of each.
    held: Arc<watch::Sender<BTreeMap<AppIndex, PathBuf>>>,
}

impl Paused {
    /// No app, of those whose cgroups are below `cgroups`.
    pub(crate) fn new(cgroups: &Path) -> Self {
        Self {
            cgroups: cgroups.to_owned(),
            held: Arc::new(watch::Sender::new(BTreeMap::new())),
        }
    }

    pub(crate) fn contains(&self, app: AppIndex) -> bool {
        self.held.borrow().contains_key(&app)
    }

    /// Holds an app that runs in this cgroup.
    ///
    /// # Errors
    /// Why it is not held, in words.
    pub(crate) async fn pause(&self, app: AppIndex, cgroup: &str) -> Result<(), String> {
        let relative = cgroup.trim_start_matches('/');
        if relative.is_empty() {
            return Err("the app has no cgroup of its own".to_owned());
        }
        let cgroup = self.cgroups.join(relative);
        // First of all, so that nothing new begins in it.
        let new = self
            .held
            .send_if_modified(|held| held.insert(app, cgroup.clone()).is_none());
        if !new {
            return Err("the app is already paused".to_owned());
        }
        let frozen = freeze(&cgroup).await;
        frozen.map_err(|error| {
            let _ = self.unpause(app);
            format!("cannot freeze the app's processes: {error}")
        })
    }

    /// Lets it continue.
    ///
    /// # Errors
    /// That it is not held, or cannot continue.
    pub(crate) fn unpause(&self, app: AppIndex) -> Result<(), String> {
        let mut cgroup = None;
        self.held.send_if_modified(|held| {
            cgroup = held.get(&app).cloned();
            cgroup.is_some()
        });
        let cgroup = cgroup.ok_or_else(|| "the app is not paused".to_owned())?;
        match thaw(&cgroup) {
            // One that is gone holds nobody.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("cannot let the app continue: {error}"))
            }
            _ => {
                self.forget(app);
                Ok(())
            }
        }
    }

    /// Lets all continue.
    pub(crate) fn unpause_all(&self) {
        let apps: Vec<AppIndex> = self.held.borrow().keys().copied().collect();
        for app in apps {
            let _ = self.unpause(app);
        }
    }

    /// An app's life has ended, and its cgroup with it.
    pub(crate) fn forget(&self, app: AppIndex) {
        self.held.send_if_modified(|held| held.remove(&app).is_some());
    }

    /// Waits until an app is held, or until it is not.
    pub(crate) async fn until(&self, app: AppIndex, paused: bool) {
        let mut held = self.held.subscribe();
        let is_so = |held: &BTreeMap<AppIndex, PathBuf>| held.contains_key(&app) == paused;
        // It cannot fail while the sender is here.
        let _ = held.wait_for(is_so).await;
    }
}

async fn freeze(cgroup: &Path) -> io::Result<()> {
    std::fs::write(cgroup.join("cgroup.freeze"), "1")?;
    let since = Instant::now();
    while !is_frozen(cgroup)? {
        if since.elapsed() > PATIENCE {
            return Err(io::Error::other("one of them waits for a device"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn thaw(cgroup: &Path) -> io::Result<()> {
    std::fs::write(cgroup.join("cgroup.freeze"), "0")
}

fn is_frozen(cgroup: &Path) -> io::Result<bool> {
    let events = std::fs::read_to_string(cgroup.join("cgroup.events"))?;
    Ok(events.lines().any(|line| line == "frozen 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_app_is_held_once_and_until_it_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = dir.path().join("a.service");
        std::fs::create_dir(&cgroup).unwrap();
        let state = || std::fs::read_to_string(cgroup.join("cgroup.freeze")).unwrap();
        let events = |text: &str| std::fs::write(cgroup.join("cgroup.events"), text).unwrap();
        let paused = Paused::new(dir.path());
        assert_eq!(paused.unpause(0).unwrap_err(), "the app is not paused");
        assert!(paused.pause(0, "/").await.is_err());

        // What does not come to a halt continues.
        events("populated 1\nfrozen 0\n");
        let error = paused.pause(0, "/a.service").await.unwrap_err();
        assert!(error.contains("waits for a device"), "{error}");
        assert_eq!((paused.contains(0), state().as_str()), (false, "0"));

        events("populated 1\nfrozen 1\n");
        paused.pause(0, "/a.service").await.unwrap();
        assert_eq!((paused.contains(0), state().as_str()), (true, "1"));
        paused.until(0, true).await;
        paused.until(1, false).await;
        let again = paused.pause(0, "/a.service").await;
        assert_eq!(again.unwrap_err(), "the app is already paused");
        paused.unpause(0).unwrap();
        assert_eq!((paused.contains(0), state().as_str()), (false, "0"));

        paused.pause(0, "/a.service").await.unwrap();
        std::fs::remove_dir_all(&cgroup).unwrap();
        paused.unpause_all();
        assert!(!paused.contains(0));
    }
}
