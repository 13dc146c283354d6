//! The volumes that come to a pod and go while it runs: one change after the other, each whole or undone.
//!
//! ```text
//! attach:  the planner's value ─> bound in the server's namespace ─> the guest mounts it ─> recorded, answered
//! detach:  in use? the guest unmounts it ─> unbound ─> recorded, answered
//! ```
//!
//! The client that asked may go at any time: what was begun is ended. When the pod ends meanwhile, the mounts end with
//! the server's process, and nothing is left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use isopod_contract::arrival::DepartureAnswer;
use isopod_contract::hotplug::{HotplugVolume, User, VolumeAnswer};
use isopod_contract::message::HostStream;
use isopod_plan::hotplug as planner;
use isopod_plan::layout;
use isopod_protocol::codec::read_message;
use isopod_spec::words::shown;
use isopod_spec::{AppName, VolumeName};
use isopod_vm::agent::Agent;
use isopod_vm::launch;
use isopod_vm::launcher::change::{Action, Change};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::Settings;
use crate::control::{AddApp, Attach, Done, Refusal, VolumeChange};
use crate::pods::files::ArrivedRecord;
use crate::pods::files::PodRecord;
use crate::pods::volumes::AttachedRecord;

/// How long the agent may take: some mounts, each with a patience of its own. A guest that says nothing holds up the
/// changes behind for so long, and nothing else.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);

/// Changes that wait for those before them.
const QUEUE: usize = 16;

/// A change that was tried: what the pod has then, and the answer.
pub(super) struct ChangedVolumes {
    pub(super) attached: Vec<AttachedRecord>,
    /// How many changes there have been.
    pub(super) count: u32,
    /// What it was to an app.
    pub(super) app: Option<OfApp>,
    pub(super) done: Done,
    pub(super) result: Result<(), Refusal>,
}

/// What a change is to an app.
pub(super) enum OfApp {
    /// What comes with it is bound.
    Bound(Box<AddApp>, Vec<u8>),
    /// That of this number goes.
    Gone(usize),
}

/// Where changes go to and come from. Ends with this.
pub(super) struct Volumes {
    wanted: mpsc::Sender<(VolumeChange, Done)>,
    changed: mpsc::Receiver<ChangedVolumes>,
    task: AbortHandle,
}

impl Volumes {
    /// Those of a pod whose file server is the process `server`.
    pub(super) fn begin(
        record: &PodRecord,
        dir: &Path,
        settings: &Settings,
        agent: Agent,
        server: Option<u32>,
    ) -> Self {
        let (wanted, mut to_do) = mpsc::channel(QUEUE);
        let (sender, changed) = mpsc::channel(QUEUE);
        let mut keeper = VolumeKeeper {
            dir: dir.to_owned(),
            images: record.images.len(),
            isopod: settings.isopod.clone(),
            server,
            agent,
            apps: record.apps.iter().map(|app| app.name.clone()).collect(),
            declared: record.volumes.iter().map(|volume| volume.name.clone()).collect(),
            attached: Vec::new(),
            count: 0,
        };
        let task = tokio::spawn(async move {
            while let Some((change, done)) = to_do.recv().await {
                let mut app = None;
                let result = match change {
                    VolumeChange::Attach(attach) => keeper.attach(*attach).await,
                    VolumeChange::Detach { name, force } => keeper.detach(&name, force).await,
                    VolumeChange::Bind(add, files) => {
                        let bound = keeper.bind(&add).await;
                        app = Some(OfApp::Bound(add, files));
                        bound
                    }
                    VolumeChange::Unbind(serials) => keeper.unbind(&serials).await,
                    VolumeChange::Remove { app: number, arrived } => {
                        app = Some(OfApp::Gone(number));
                        keeper.remove(&arrived).await
                    }
                };
                let changed = ChangedVolumes {
                    attached: keeper.attached.iter().map(|one| one.record.clone()).collect(),
                    count: keeper.count,
                    app,
                    done,
                    result,
                };
                if sender.send(changed).await.is_err() {
                    return;
                }
            }
        });
        Self {
            wanted,
            changed,
            task: task.abort_handle(),
        }
    }

    /// Queues a change; its answer comes by way of [`Volumes::changed`].
    pub(super) fn want(&self, change: VolumeChange, done: Done) {
        if let Err(error) = self.wanted.try_send((change, done)) {
            let (_, done) = error.into_inner();
            done.answer(Err("too many changes of its volumes are waiting"
                .to_owned()
                .into()));
        }
    }

    /// The next change that was tried. May be cancelled.
    pub(super) async fn changed(&mut self) -> Option<ChangedVolumes> {
        self.changed.recv().await
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn unanswered() -> String {
    format!(
        "the agent in the guest did not answer within {} s",
        ANSWER_DEADLINE.as_secs()
    )
}

struct VolumeKeeper {
    dir: PathBuf,
    /// How many images the pod started with.
    images: usize,
    isopod: PathBuf,
    server: Option<u32>,
    agent: Agent,
    apps: Vec<AppName>,
    declared: Vec<VolumeName>,
    attached: Vec<Attach>,
    count: u32,
}

impl VolumeKeeper {
    async fn attach(&mut self, attach: Attach) -> Result<(), Refusal> {
        let serial = attach.record.serial;
        // Planned on what was then: not the same any more.
        if serial != self.count.saturating_add(1) {
            return Err(Refusal::Outdated);
        }
        let Some(volume) = attach.record.volume.shared() else {
            return Err("it is not a volume of the host".to_owned().into());
        };
        self.count = serial;
        self.change(serial, Action::Attach(volume)).await?;
        let header = HostStream::AddVolume(attach.guest.clone());
        if let Err(refusal) = self.send(&header, &attach.guest).await {
            if let Err(error) = self.change(serial, Action::Detach).await {
                tracing::warn!("cannot take back volume `{}`: {error}", attach.record.volume.name);
            }
            return Err(refusal);
        }
        self.attached.push(attach);
        Ok(())
    }

    async fn detach(&mut self, name: &VolumeName, force: bool) -> Result<(), Refusal> {
        let app = |name: &AppName| self.apps.iter().position(|app| app == name);
        let of_mount = |mount: &'_ crate::pods::volumes::AttachedMountRecord| app(&mount.app);
        let places: Vec<_> = self
            .attached
            .iter()
            .map(|one| {
                let mounts = one.record.mounts.iter();
                let places = mounts.filter_map(|m| Some((of_mount(m)?, Path::new(&m.mount.place))));
                (&one.record.volume.name, places.collect())
            })
            .collect();
        planner::detach(name, &places, &self.declared)?;
        let Some(at) = self
            .attached
            .iter()
            .position(|one| one.record.volume.name == *name)
        else {
            return Err("the pod has no such volume".to_owned().into());
        };
        let attachment = self.attached[at].guest.clone();
        let header = HostStream::RemoveVolume {
            volume: attachment.clone(),
            force,
        };
        self.send(&header, &attachment).await?;
        self.count = self.count.saturating_add(1);
        let gone = self.attached.remove(at);
        self.change(gone.record.serial, Action::Detach).await
    }

    /// Binds what comes with an app; its image keeps a second name, in the pod's directory, even if the store's goes.
    async fn bind(&mut self, add: &AddApp) -> Result<(), Refusal> {
        // Planned on what was then: not the same any more.
        if add.changes != self.count {
            return Err(Refusal::Outdated);
        }
        if let (Some(rootfs), Some(number)) = (&add.rootfs, add.arrived.app.root.image_number()) {
            let rootfs = PathBuf::from(std::ffi::OsString::from(rootfs.clone()));
            let kept = self.dir.join(layout::host_image(number));
            if !kept.exists() {
                std::fs::hard_link(&rootfs, &kept)
                    .or_else(|_| std::os::unix::fs::symlink(&rootfs, &kept))
                    .map_err(|error| format!("cannot link the image to `{}`: {error}", kept.display()))?;
            }
        }
        self.apps.push(add.arrived.app.name.clone());
        self.declared
            .extend(add.arrived.volumes.iter().map(|volume| volume.name.clone()));
        for (serial, volume) in &add.binds {
            let shared = volume.shared();
            let shared = shared.ok_or_else(|| "it is not a volume of the host".to_owned())?;
            self.count = *serial;
            if let Err(refusal) = self.change(*serial, Action::Attach(shared)).await {
                let _ = self.unbind(&add.arrived.serials).await;
                self.apps.pop();
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Takes away what was bound; what is not there is as it should be.
    async fn unbind(&self, serials: &[u32]) -> Result<(), Refusal> {
        for serial in serials {
            self.change(*serial, Action::Detach).await?;
        }
        Ok(())
    }

    /// Takes an app that has ended, with all that came with it.
    async fn remove(&mut self, arrived: &ArrivedRecord) -> Result<(), Refusal> {
        let header = HostStream::Depart(arrived.departure.clone());
        let stream = self.agent.open(&header).await;
        let mut stream = stream.map_err(|error| format!("cannot ask the agent in the guest: {error}"))?;
        let answer = tokio::time::timeout(ANSWER_DEADLINE, read_message(&mut stream)).await;
        match answer.map_err(|_| unanswered())? {
            Ok(Some(DepartureAnswer::Done)) => {}
            Ok(Some(DepartureAnswer::Failed { text })) => return Err(shown(text).into()),
            Ok(None) => return Err("the agent in the guest did not answer".to_owned().into()),
            Err(error) => {
                return Err(format!("cannot read the answer of the agent in the guest: {error}").into());
            }
        }
        self.declared
            .retain(|name| !arrived.volumes.iter().any(|gone| gone.name == *name));
        self.unbind(&arrived.serials).await?;
        // What the pod started with has smaller numbers, and is not the app's alone.
        let late = arrived
            .app
            .root
            .image_number()
            .filter(|number| *number >= self.images);
        if let Some(number) = late {
            let _ = std::fs::remove_file(self.dir.join(layout::host_image(number)));
        }
        Ok(())
    }

    /// Changes what the server serves.
    async fn change(&self, serial: u32, action: Action) -> Result<(), Refusal> {
        let server = self.server.and_then(|pid| i32::try_from(pid).ok());
        let change = Change {
            parent: std::process::id(),
            server: server.ok_or_else(|| "the file server has ended".to_owned())?,
            share: self.dir.join(layout::HOST_SHARE_DIR),
            name: layout::attached_name(serial),
            action,
        };
        let output = Command::from(launch::command(&self.isopod))
            .args(change.argv())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| format!("cannot change what the file server serves: {error}"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into()),
        }
    }

    /// Sends it to the agent, and receives how it went. The text is the guest's: they are escaped.
    async fn send(&self, header: &HostStream, attachment: &HotplugVolume) -> Result<(), Refusal> {
        let stream = self.agent.open(header).await;
        let mut stream = stream.map_err(|error| format!("cannot ask the agent in the guest: {error}"))?;
        let answer = tokio::time::timeout(ANSWER_DEADLINE, read_message(&mut stream)).await;
        let answer = answer.map_err(|_| unanswered())?;
        match answer {
            Ok(Some(VolumeAnswer::Done)) => Ok(()),
            Ok(Some(VolumeAnswer::Failed { text })) => Err(shown(text).into()),
            Ok(Some(VolumeAnswer::Busy { users })) => Err(Refusal::Busy(self.busy(&users, attachment))),
            Ok(None) => Err("the agent in the guest did not answer".to_owned().into()),
            Err(error) => Err(format!("cannot read the answer of the agent in the guest: {error}").into()),
        }
    }

    fn busy(&self, users: &[User], attachment: &HotplugVolume) -> String {
        let app = |user: &User| match self.apps.get(usize::from(user.app)) {
            Some(app) => format!("app `{app}`"),
            None => "an app".to_owned(),
        };
        let user = |user: &User| format!("{}: `{}` (process {})", app(user), shown(&user.name), user.pid);
        let users: Vec<String> = users.iter().map(user).collect();
        match users.is_empty() {
            true => format!("volume `{}` is in use", attachment.volume),
            false => format!("volume `{}` is in use by {}", attachment.volume, users.join(", ")),
        }
    }
}
