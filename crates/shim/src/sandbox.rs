//! A sandbox with its containers: what containerd asks is done here, by way of the pod. Which of it may be done when is decided by
//! [`Tasks`].

mod container;
mod create;
mod end;
mod rehearsal;
mod start;
mod watcher;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use isopod_contract::change::AppChange;
use isopod_contract::exec::WindowSize;
use isopod_contract::message::HostStream;
use isopod_runtime::Settings;
use isopod_runtime::control::{self, Request};
use isopod_spec::AppName;
use isopod_vm::netns::OwnNetns;
use tokio::sync::{mpsc, watch};

use crate::commands::Command;
use crate::hooks;
use crate::numbers::Numbers;
use crate::oci::spec::{Resources, Spec};
use crate::oci::{self, Role};
use crate::pod::{Phase, Phases, Pod, words};
use crate::publish::{Creation, Publisher};
use crate::stdio::logger::Whose;
use crate::tasks::{End, Key, News, Refusal, State, Stdio, Tasks};
use container::Container;

/// How long a pod whose sandbox is deleted may take to end in order.
const END_WITHIN: Duration = Duration::from_secs(30);

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// It may not be done now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A VM has nothing of that kind.
    #[error("{0}")]
    Unsupported(String),
    /// It was tried.
    #[error("{0}")]
    Failed(String),
}

impl From<oci::Refused> for SandboxError {
    fn from(refused: oci::Refused) -> Self {
        Self::Unsupported(refused.to_string())
    }
}

fn failed(error: impl std::error::Error + 'static) -> SandboxError {
    SandboxError::Failed(words(&error))
}

/// What all tasks of the sandbox are.
#[derive(Default)]
struct Inner {
    tasks: Tasks,
    containers: BTreeMap<String, Container>,
    commands: BTreeMap<Key, Command>,
    /// How often each name was used: none is twice.
    names: BTreeMap<String, u32>,
    pod: Option<Arc<Pod>>,
    /// Whether that pod ends for another one to take its place, so that its end is no container's.
    dismissing: bool,
}

/// Whose sandbox it is.
pub(crate) struct Engine {
    pub(crate) publisher: Publisher,
    /// containerd's.
    pub(crate) namespace: String,
}

pub(crate) struct Sandbox {
    settings: Arc<Settings>,
    /// Not known of a spare.
    engine: OnceLock<Engine>,
    numbers: Numbers,
    /// The network namespace that the VM of a spare has until it has another one; its pod names it as long as it is there.
    first_network: Mutex<Option<OwnNetns>>,
    inner: Mutex<Inner>,
    phases: Phases,
    /// Takes a message when this process is to end.
    shutdown: mpsc::UnboundedSender<()>,
}

impl Sandbox {
    pub(crate) fn new(
        settings: Settings,
        numbers: Numbers,
        shutdown: mpsc::UnboundedSender<()>,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings: Arc::new(settings),
            engine: OnceLock::new(),
            numbers,
            first_network: Mutex::default(),
            inner: Mutex::default(),
            phases: Arc::new(watch::Sender::new(Phase::Starting)),
            shutdown,
        })
    }

    /// Says whose it is, once; until then nobody learns of what becomes of its containers.
    pub(crate) fn belongs_to(&self, engine: Engine) {
        let _ = self.engine.set(engine);
    }

    /// Keeps the network namespace of a spare.
    pub(crate) fn keep(&self, network: OwnNetns) {
        *self.first_network.lock().unwrap_or_else(PoisonError::into_inner) = Some(network);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a container's task on the host.
    pub(crate) fn number(&self, container: &str) -> u32 {
        self.numbers.of(container)
    }

    /// Whose outputs a logging program receives.
    fn whose(&self, container: &str) -> Whose {
        Whose {
            id: container.to_owned(),
            namespace: self
                .engine
                .get()
                .map(|engine| engine.namespace.clone())
                .unwrap_or_default(),
        }
    }

    fn publish(&self, news: impl IntoIterator<Item = News>) {
        for news in news {
            self.publish_with(&news, &Creation::default());
        }
    }

    /// Waits until what was reported has been sent.
    pub(crate) async fn flush(&self, within: Duration) {
        if let Some(engine) = self.engine.get() {
            engine.publisher.flush(within).await;
        }
    }

    /// Waits until its pod has ended.
    pub(crate) async fn gone(&self) {
        if let Ok(pod) = self.pod() {
            pod.gone().await;
        }
    }

    fn publish_with(&self, news: &News, creation: &Creation) {
        if let Some(engine) = self.engine.get() {
            engine.publisher.publish(news, creation);
        }
    }

    fn pod(&self) -> Result<Arc<Pod>, SandboxError> {
        let pod = self.inner().pod.clone();
        pod.ok_or_else(|| Refusal::Precondition("the sandbox has no VM".to_owned()).into())
    }

    /// Whether nothing is left in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner().tasks.is_empty()
    }

    /// Ends this process, where nothing is left in the sandbox or `now` says so.
    pub(crate) fn shutdown(&self, now: bool) {
        if now || self.is_empty() {
            let _ = self.shutdown.send(());
        }
    }

    /// Ends what runs.
    pub(crate) async fn end(&self) {
        if let Ok(pod) = self.pod()
            && !pod.has_ended()
        {
            pod.stop(true);
            if tokio::time::timeout(END_WITHIN, pod.gone()).await.is_err() {
                tracing::warn!(
                    "the VM did not end within {} s; it ends with this process",
                    END_WITHIN.as_secs()
                );
            }
        }
    }

    async fn ask(&self, request: &Request) -> Result<(), SandboxError> {
        self.pod()?.ask(request).await.map_err(SandboxError::Failed)
    }

    /// Where a task is, and its streams and directory.
    pub(crate) fn state(&self, key: &Key) -> Result<(State, Stdio, PathBuf), SandboxError> {
        let inner = self.inner();
        let task = inner.tasks.get(key)?;
        let bundle = inner
            .containers
            .get(&key.container)
            .map(|container| container.bundle.clone());
        Ok((task.state, task.stdio.clone(), bundle.unwrap_or_default()))
    }

    /// Waits for the end of a task.
    pub(crate) async fn wait(&self, key: &Key) -> Result<End, SandboxError> {
        let mut end = self.inner().tasks.end_of(key)?;
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| *end);
        ended.ok_or_else(|| Refusal::NotFound(format!("container `{}`", key.container)).into())
    }

    /// Holds all processes of a container, or lets them continue.
    pub(crate) async fn pause(&self, key: &Key, paused: bool) -> Result<(), SandboxError> {
        let app = {
            let inner = self.inner();
            inner
                .tasks
                .runs(key, if paused { "be paused" } else { "be resumed" })?;
            inner.app(&key.container)?
        };
        let change = match paused {
            true => AppChange::Pause,
            false => AppChange::Unpause,
        };
        self.ask(&Request::ChangeApp { app, change }).await?;
        let news = self.inner().tasks.pause(key, paused)?;
        self.publish([news]);
        Ok(())
    }

    /// Gives a container other limits.
    pub(crate) async fn update(&self, key: &Key, resources: &Resources) -> Result<(), SandboxError> {
        let app = {
            let inner = self.inner();
            inner.tasks.get(key)?;
            inner.app(&key.container)?
        };
        match oci::update(resources) {
            Some(update) => self.ask(&Request::UpdateApp { app, update }).await,
            None => Ok(()),
        }
    }

    /// Gives a task's terminal another size.
    pub(crate) async fn resize(&self, key: &Key, size: WindowSize) -> Result<(), SandboxError> {
        if key.is_exec() {
            let command = self.inner().commands.get(key).and_then(Command::client);
            let missing = || Refusal::NotFound(format!("process of exec `{}`", key.exec));
            return command.ok_or_else(missing)?.resize(size).await.map_err(failed);
        }
        let app = self.inner().app(&key.container)?;
        self.ask(&Request::Resize { app, size }).await
    }

    /// No client that comes will write to a task's input any more.
    pub(crate) fn close_input(&self, key: &Key) -> Result<(), SandboxError> {
        let mut inner = self.inner();
        inner.tasks.get(key)?;
        match key.is_exec() {
            true => drop(inner.commands.get_mut(key).and_then(Command::close_input)),
            false => {
                let container = inner.containers.get_mut(&key.container);
                drop(container.and_then(|container| container.input_open.take()));
            }
        }
        Ok(())
    }

    /// Opens a stream to the guest's agent, and gives the number of the container in the pod, where it is not the sandbox, and its limit of memory.
    pub(crate) async fn agent(
        &self,
        key: &Key,
        header: HostStream,
    ) -> Result<(tokio::net::UnixStream, Option<usize>, Option<u64>), SandboxError> {
        let (app, limit) = {
            let inner = self.inner();
            inner.tasks.get(key)?;
            let container = inner.containers.get(&key.container);
            let limit = |container: &Container| container.spec.linux.resources.memory.limit;
            let limit = container
                .and_then(limit)
                .and_then(|limit| u64::try_from(limit).ok());
            (container.and_then(|container| container.app), limit)
        };
        let pod = self.pod()?;
        let stream = control::open(pod.path(), header).await.map_err(failed)?;
        Ok((stream, app.map(usize::from), limit))
    }
}

impl Inner {
    /// The number of a container in the pod.
    fn app(&self, id: &str) -> Result<u16, Refusal> {
        let container = self.containers.get(id);
        let container = container.ok_or_else(|| Refusal::NotFound(format!("container `{id}`")))?;
        container.app.ok_or_else(|| {
            Refusal::Precondition(match container.role {
                Role::Sandbox => "nothing runs in a sandbox by itself".to_owned(),
                _ => format!("container `{id}` does not run"),
            })
        })
    }

    /// A name that no app of the pod had.
    fn name(&mut self, wanted: &str) -> AppName {
        let nearest = AppName::nearest(wanted).map_or_else(|| "app".to_owned(), |name| name.to_string());
        let used = self.names.entry(nearest.clone()).or_default();
        *used += 1;
        let name = match *used {
            1 => nearest.clone(),
            number => format!("{nearest}-{number}"),
        };
        // As long as a name may be, it is cut; then the number alone is its own.
        AppName::new(name)
            .ok()
            .or_else(|| AppName::nearest(&format!("c{used}-{nearest}")))
            .unwrap_or_else(|| {
                // A letter and digits are a name.
                AppName::nearest("app").unwrap_or_else(|| unreachable!("`app` is a name"))
            })
    }

    /// Closes what was opened for a task that has ended.
    fn close(&mut self, key: &Key) {
        match key.is_exec() {
            true => drop(self.commands.insert(key.clone(), Command::Ended)),
            false => self
                .containers
                .get_mut(&key.container)
                .into_iter()
                .for_each(Container::close),
        }
    }
}

async fn run_hooks(
    spec: &Spec,
    stage: &'static str,
    id: &str,
    bundle: &Path,
    status: &'static str,
) -> Result<(), SandboxError> {
    if !spec.hooks.contains_key(stage) {
        return Ok(());
    }
    let (spec, id, bundle) = (spec.clone(), id.to_owned(), bundle.to_owned());
    let run = move || hooks::run(&spec, stage, &id, &bundle, status);
    tokio::task::spawn_blocking(run)
        .await
        .map_err(failed)?
        .map_err(failed)
}
