//! A sandbox with its containers: what containerd asks is done here, by way of the pod. Which of it may be done when is decided by
//! [`Tasks`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use containerd_shim_protos::api::Mount;
use isopod_contract::change::AppChange;
use isopod_contract::exec::WindowSize;
use isopod_contract::message::{ExitStatus, HostStream};
use isopod_runtime::Settings;
use isopod_runtime::control::{self, Request};
use isopod_runtime::logs::Stream;
use isopod_runtime::run::{AppNews, Watcher};
use isopod_spec::{AppName, PidMode, PodSpec};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::pipe::Sender;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::commands::Command;
use crate::logger::Whose;
use crate::numbers::Numbers;
use crate::oci::spec::{Process, Resources, Spec};
use crate::oci::{self, Given, Mirror, NetworkOf, Role};
use crate::pod::{Phase, Phases, Pod, words};
use crate::publish::{Creation, Publisher};
use crate::stdio::{self, Input, Output};
use crate::tasks::{End, KILLED, Key, NOT_RUN, News, Refusal, State, Stdio, Tasks};
use crate::{hooks, mirror, relay, rootfs};

/// How long a pod whose sandbox is deleted may take to end in order.
const END_WITHIN: Duration = Duration::from_secs(30);

/// How long a pod that is killed has to write back what its containers wrote.
const FORCE_AFTER: Duration = Duration::from_secs(8);

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

/// How far the first process of a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Launch {
    Coming,
    Executes,
    /// It will not, for this reason.
    Failed(String),
}

/// A container, beside its state.
struct Container {
    role: Role,
    spec: Spec,
    bundle: PathBuf,
    /// Where its root is; `None`: it has none, or none was mounted.
    rootfs: Option<PathBuf>,
    name: AppName,
    /// The processes that it sees.
    processes: PidMode,
    /// Its number in the pod, once it has come.
    app: Option<u16>,
    launch: watch::Sender<Launch>,
    input: Option<Box<dyn AsyncRead + Unpin + Send>>,
    /// Keeps its input from ending.
    input_open: Option<Sender>,
    outputs: [Option<Output>; 2],
    /// Bring what changes in its volumes.
    mirrors: JoinSet<()>,
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
}

/// The sandbox.
pub(crate) struct Sandbox {
    settings: Arc<Settings>,
    publisher: Publisher,
    /// containerd's.
    namespace: String,
    numbers: Numbers,
    inner: Mutex<Inner>,
    phases: Phases,
    /// Takes a message when this process is to end.
    shutdown: mpsc::UnboundedSender<()>,
}

impl Sandbox {
    pub(crate) fn new(
        settings: Settings,
        publisher: Publisher,
        namespace: String,
        numbers: Numbers,
        shutdown: mpsc::UnboundedSender<()>,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings: Arc::new(settings),
            publisher,
            namespace,
            numbers,
            inner: Mutex::default(),
            phases: Arc::new(watch::Sender::new(Phase::Coming)),
            shutdown,
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a container's task on the host.
    pub(crate) fn number(&self, container: &str) -> u32 {
        self.numbers.of(container)
    }

    /// Of whose outputs a program that logs them is told.
    fn whose(&self, container: &str) -> Whose {
        Whose {
            id: container.to_owned(),
            namespace: self.namespace.clone(),
        }
    }

    fn publish(&self, news: impl IntoIterator<Item = News>) {
        for news in news {
            self.publisher.publish(&news, &Creation::default());
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

    /// Creates a container.
    pub(crate) async fn create(
        self: &Arc<Self>,
        id: &str,
        bundle: &Path,
        mounts: &[Mount],
        stdio: Stdio,
    ) -> Result<(), SandboxError> {
        let text = std::fs::read(bundle.join("config.json")).map_err(failed)?;
        let spec: Spec = serde_json::from_slice(&text).map_err(failed)?;
        let role = Role::of(&spec);
        let key = Key::new(id, "");
        let creation = Creation {
            bundle: bundle.display().to_string(),
            stdio: stdio.clone(),
        };
        let rootfs = bundle.join(&spec.root.path);
        let news = self.inner().tasks.add(key.clone(), stdio.clone())?;
        if matches!(role, Role::Container { .. })
            && let Err(error) = self.numbers.give(id)
        {
            tracing::warn!("container `{id}` has its sandbox's number: {error}");
        }
        let created = self.create_as(id, bundle, mounts, stdio, spec, role).await;
        if let Err(error) = created {
            let mut inner = self.inner();
            inner.tasks.forget(&key);
            inner.containers.remove(id);
            self.numbers.take_back(id);
            if !mounts.is_empty() {
                rootfs::take_away(&rootfs);
            }
            return Err(error);
        }
        self.publisher.publish(&news, &creation);
        Ok(())
    }

    async fn create_as(
        self: &Arc<Self>,
        id: &str,
        bundle: &Path,
        mounts: &[Mount],
        stdio: Stdio,
        spec: Spec,
        role: Role,
    ) -> Result<(), SandboxError> {
        let path = bundle.join(&spec.root.path);
        // The root of a sandbox is a pause container's, of which nothing runs.
        let rootfs = match role {
            Role::Sandbox => None,
            Role::Container { .. } | Role::Single => {
                rootfs::make(mounts, &path).map_err(failed)?;
                Some(path)
            }
        };
        let outputs = match role {
            Role::Sandbox => [None, None],
            _ => stdio::outputs(&stdio, &self.whose(id)).await.map_err(failed)?,
        };
        let container = {
            let mut inner = self.inner();
            let name = inner.name(&oci::name(&spec, id));
            let mut container = Container {
                role: role.clone(),
                spec,
                bundle: bundle.to_owned(),
                rootfs,
                name,
                processes: PidMode::Private,
                app: None,
                launch: watch::Sender::new(Launch::Coming),
                input: None,
                input_open: None,
                outputs,
                mirrors: JoinSet::new(),
            };
            if role != Role::Sandbox {
                container.open(&stdio)?;
            }
            let spec = container.spec.clone();
            inner.containers.insert(id.to_owned(), container);
            spec
        };
        match role {
            Role::Sandbox => self.begin(&container, bundle).await,
            Role::Container { .. } => self.add(id, &stdio, true).await,
            Role::Single => {
                // What cannot be is refused now; it begins when it is started, for its network may not be there yet.
                self.wanted(id, &stdio)?;
                oci::pod(&container, None)?;
                oci::network(&container)?;
                Ok(())
            }
        }
    }

    /// Begins the pod.
    async fn begin(self: &Arc<Self>, spec: &Spec, bundle: &Path) -> Result<(), SandboxError> {
        let network = match oci::network(spec)? {
            NetworkOf::Namespace(path) => Some(path),
            NetworkOf::Own => own_network(),
        };
        let wanted = oci::pod(spec, network.as_deref())?;
        let (this, watcher) = (self.clone(), self.clone());
        let ended = move || {
            let end = End {
                status: KILLED,
                at: SystemTime::now(),
            };
            let news = {
                let mut inner = this.inner();
                // What was opened for them is closed, for whoever reads it.
                inner.containers.values_mut().for_each(Container::close);
                inner.commands.clear();
                inner.tasks.all_ended(end)
            };
            this.publish(news);
        };
        let pod = Pod::begin(
            wanted,
            bundle,
            &self.settings,
            watcher,
            self.phases.clone(),
            ended,
        )
        .await;
        let pod = pod.map_err(SandboxError::Failed)?;
        self.inner().pod = Some(Arc::new(pod));
        Ok(())
    }

    /// What is asked of the planner for a container.
    fn wanted(&self, id: &str, stdio: &Stdio) -> Result<(PodSpec, Vec<Mirror>), SandboxError> {
        let inner = self.inner();
        let missing = || Refusal::NotFound(format!("container `{id}`"));
        let container = inner.containers.get(id).ok_or_else(missing)?;
        let rootfs = container.rootfs.clone().ok_or_else(missing)?;
        let seccomp = container.bundle.join("isopod-seccomp.json");
        let coming = oci::app(
            &container.spec,
            &Given {
                name: container.name.clone(),
                rootfs: &rootfs,
                stdin: !stdio.stdin.is_empty(),
                terminal: stdio.terminal,
                seccomp: &seccomp,
                source: &mirror::source,
                processes_of: &|path| {
                    let container = self.numbers.container_at(path)?;
                    Some(inner.containers.get(&container)?.processes)
                },
            },
        )?;
        if let Some(text) = &coming.seccomp {
            std::fs::write(&seccomp, text).map_err(failed)?;
        }
        let mut wanted = PodSpec::new(vec![coming.app]);
        wanted.volumes = coming.volumes;
        wanted.pid_mode = coming.processes;
        Ok((wanted, coming.mirrors))
    }

    /// Brings a container to the pod.
    async fn add(&self, id: &str, stdio: &Stdio, waits: bool) -> Result<(), SandboxError> {
        let ((wanted, mirrors), pod) = (self.wanted(id, stdio)?, self.pod()?);
        pod.up().await.map_err(SandboxError::Failed)?;
        let number = pod.add(&wanted, waits, &self.settings).await;
        let number = number.map_err(SandboxError::Failed)?;
        if let Some(container) = self.inner().containers.get_mut(id) {
            (container.app, container.processes) = (Some(number), wanted.pid_mode);
        }
        for mirror in mirrors {
            mirror::bring(pod.path(), &mirror).await.map_err(failed)?;
            if let Some(container) = self.inner().containers.get_mut(id) {
                container.mirrors.spawn(mirror::follow(pod.clone(), mirror));
            }
        }
        Ok(())
    }

    /// Starts a container, or a command in one, and waits until it executes.
    pub(crate) async fn start(self: &Arc<Self>, key: &Key) -> Result<(), SandboxError> {
        let stdio = self.inner().tasks.starts(key)?;
        let started = match key.is_exec() {
            true => self.start_command(key, &stdio).await,
            false => self.start_container(key, &stdio).await,
        };
        match started {
            Ok(()) => {
                let news = self.inner().tasks.started(key);
                self.publish(news);
                Ok(())
            }
            Err(error) => {
                self.never_ran(key);
                Err(error)
            }
        }
    }

    async fn start_container(self: &Arc<Self>, key: &Key, stdio: &Stdio) -> Result<(), SandboxError> {
        let id = &key.container;
        let (role, spec, bundle, launch, app) = {
            let inner = self.inner();
            let missing = || Refusal::NotFound(format!("container `{id}`"));
            let container = inner.containers.get(id).ok_or_else(missing)?;
            let launch = container.launch.subscribe();
            let (role, spec) = (container.role.clone(), container.spec.clone());
            (role, spec, container.bundle.clone(), launch, container.app)
        };
        for stage in ["prestart", "createRuntime"] {
            run_hooks(&spec, stage, id, &bundle, "created").await?;
        }
        match role {
            Role::Sandbox => {
                let pod = self.pod()?;
                pod.up().await.map_err(SandboxError::Failed)?;
                relay::begin(pod.path());
            }
            Role::Container { .. } => {
                let app =
                    app.ok_or_else(|| Refusal::Precondition(format!("container `{id}` has not come")))?;
                self.ask(&Request::StartApp { app }).await?;
                executes(launch).await?;
            }
            Role::Single => {
                self.begin(&spec, &bundle).await?;
                self.add(id, stdio, false).await?;
                executes(launch).await?;
            }
        }
        run_hooks(&spec, "poststart", id, &bundle, "running").await
    }

    async fn ask(&self, request: &Request) -> Result<(), SandboxError> {
        self.pod()?.ask(request).await.map_err(SandboxError::Failed)
    }

    /// Adds a command to a container.
    pub(crate) fn exec(&self, key: &Key, stdio: Stdio, process: Process) -> Result<(), SandboxError> {
        let news = {
            let mut inner = self.inner();
            // A VM's sandbox has no process in which something could be executed.
            inner.app(&key.container)?;
            let news = inner.tasks.add(key.clone(), stdio)?;
            inner.commands.insert(key.clone(), Command::Waits(process));
            news
        };
        self.publish([news]);
        Ok(())
    }

    async fn start_command(self: &Arc<Self>, key: &Key, stdio: &Stdio) -> Result<(), SandboxError> {
        let (app, process) = {
            let inner = self.inner();
            let process = match inner.commands.get(key) {
                Some(Command::Waits(process)) => process.clone(),
                _ => return Err(Refusal::NotFound(format!("exec `{}`", key.exec)).into()),
            };
            (inner.app(&key.container)?, process)
        };
        let request = oci::command(&process, app, !stdio.stdin.is_empty(), stdio.terminal)?;
        let input = stdio::input(&stdio.stdin).map_err(failed)?;
        let outputs = stdio::outputs(stdio, &self.whose(&key.container)).await;
        let outputs = outputs.map_err(failed)?;
        let this = self.clone();
        let of = key.clone();
        let ended = move |status: Option<ExitStatus>| this.ended(&of, status);
        let begun = Command::begin(self.pod()?.path(), request, input, outputs, ended).await;
        let command = begun.map_err(SandboxError::Failed)?;
        // Of one that has ended already nothing is kept, least of all its input.
        if let Some(place @ Command::Waits(_)) = self.inner().commands.get_mut(key) {
            *place = command;
        }
        Ok(())
    }

    /// A container will never run.
    fn never_ran(&self, key: &Key) {
        let end = End {
            status: NOT_RUN,
            at: SystemTime::now(),
        };
        let news = {
            let mut inner = self.inner();
            inner.close(key);
            inner.tasks.ended(key, end)
        };
        self.publish(news);
    }

    /// A container or a command has ended.
    fn ended(&self, key: &Key, status: Option<ExitStatus>) {
        let end = End {
            status: status.map_or(KILLED, exit_status),
            at: SystemTime::now(),
        };
        let news = {
            let mut inner = self.inner();
            inner.close(key);
            // Of a start that has just been answered.
            let started = inner.tasks.started(key);
            let ended = inner.tasks.ended(key, end);
            started.into_iter().chain(ended).collect::<Vec<_>>()
        };
        self.publish(news);
    }

    /// Sends a signal to a container, or to a command in one.
    pub(crate) async fn kill(&self, key: &Key, signal: u32) -> Result<(), SandboxError> {
        let known = u8::try_from(signal).ok().filter(|known| (1..=64).contains(known));
        let unknown = || SandboxError::Failed(format!("there is no signal {signal}: signals are 1 to 64"));
        let signal = known.ok_or_else(unknown)?;
        let state = self.inner().tasks.signals(key)?;
        if key.is_exec() {
            let command = self.inner().commands.get(key).and_then(Command::client);
            let missing = || Refusal::NotFound(format!("process of exec `{}`", key.exec));
            return command.ok_or_else(missing)?.signal(signal).await.map_err(failed);
        }
        let (role, app) = {
            let inner = self.inner();
            let container = inner.containers.get(&key.container);
            container.map_or((Role::Single, None), |container| {
                (container.role.clone(), container.app)
            })
        };
        match (role, app, state) {
            // Of a pause container, which ends by any signal that ends a process.
            (Role::Sandbox, ..) => {
                let Ok(pod) = self.pod() else {
                    // It has none yet, and is not to have one.
                    self.ended(key, None);
                    return Ok(());
                };
                pod.stop(signal == 9);
                if signal == 9 {
                    // A guest that does not answer ends by force.
                    tokio::spawn(async move {
                        if tokio::time::timeout(FORCE_AFTER, pod.gone()).await.is_err() {
                            pod.stop(false);
                        }
                    });
                }
                Ok(())
            }
            (_, Some(app), State::Created) => {
                self.ask(&Request::StopApp {
                    app,
                    grace_ms: Some(0),
                })
                .await
            }
            (_, None, State::Created) => {
                self.ended(key, None);
                Ok(())
            }
            (_, Some(app), _) => {
                let app = Some(app);
                self.ask(&Request::Signal { app, signal }).await
            }
            (_, None, _) => {
                Err(Refusal::Precondition(format!("container `{}` is being started", key.container)).into())
            }
        }
    }

    /// Deletes a container or a command that has ended.
    pub(crate) async fn delete(&self, key: &Key) -> Result<End, SandboxError> {
        let end = self.inner().tasks.deletable(key)?;
        if key.is_exec() {
            let mut inner = self.inner();
            inner.commands.remove(key);
            let news = inner.tasks.delete(key, end);
            drop(inner);
            self.publish([news]);
            return Ok(end);
        }
        let id = &key.container;
        let (role, app, rootfs, spec, bundle) = {
            let inner = self.inner();
            let missing = || Refusal::NotFound(format!("container `{id}`"));
            let container = inner.containers.get(id).ok_or_else(missing)?;
            let (role, app, rootfs) = (container.role.clone(), container.app, container.rootfs.clone());
            (
                role,
                app,
                rootfs,
                container.spec.clone(),
                container.bundle.clone(),
            )
        };
        let pod = self.inner().pod.clone();
        match (&role, pod) {
            (_, None) => {}
            (Role::Container { .. }, Some(pod)) if pod.has_ended() => {}
            (Role::Container { .. }, Some(pod)) => {
                if let Some(app) = app
                    && let Err(error) = pod.ask(&Request::RemoveApp { app }).await
                {
                    tracing::warn!("container `{id}` leaves something in its VM: {error}");
                }
            }
            (Role::Sandbox | Role::Single, Some(_)) => self.end().await,
        }
        if let Some(rootfs) = &rootfs {
            rootfs::take_away(rootfs);
        }
        if let Err(error) = run_hooks(&spec, "poststop", id, &bundle, "stopped").await {
            tracing::warn!("{error}");
        }
        let news = {
            let mut inner = self.inner();
            inner.containers.remove(id);
            inner.commands.retain(|command, _| command.container != *id);
            inner.tasks.delete(key, end)
        };
        self.publish([news]);
        self.numbers.take_back(id);
        Ok(end)
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

impl Container {
    /// Opens its streams.
    fn open(&mut self, stdio: &Stdio) -> Result<(), SandboxError> {
        if let Some(Input { reader, open }) = stdio::input(&stdio.stdin).map_err(failed)? {
            (self.input, self.input_open) = (Some(reader), Some(open));
        }
        Ok(())
    }

    fn close(&mut self) {
        (self.input, self.input_open, self.outputs) = (None, None, [None, None]);
        let ended = || Launch::Failed("it has ended".to_owned());
        self.launch.send_if_modified(|launch| {
            let coming = *launch == Launch::Coming;
            if coming {
                *launch = ended();
            }
            coming
        });
    }
}

/// Waits until a container executes.
async fn executes(mut launch: watch::Receiver<Launch>) -> Result<(), SandboxError> {
    let decided = launch.wait_for(|launch| *launch != Launch::Coming).await;
    match decided.as_deref() {
        Ok(Launch::Executes) => Ok(()),
        Ok(Launch::Failed(why)) => Err(SandboxError::Failed(format!("cannot start the container: {why}"))),
        _ => Err(SandboxError::Failed("the sandbox has ended".to_owned())),
    }
}

/// This process's own network namespace, where there is something in it.
fn own_network() -> Option<PathBuf> {
    let path = PathBuf::from(format!("/proc/{}/ns/net", std::process::id()));
    isopod_vm::netns::read(&path).ok().map(|_| path)
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

/// An exit status as a shell shows it.
fn exit_status(status: ExitStatus) -> u32 {
    match status {
        ExitStatus::Code(code) => u32::from(code.cast_unsigned().to_le_bytes()[0]),
        ExitStatus::Signal { signal, .. } => 128 + signal.cast_unsigned(),
    }
}

impl Sandbox {
    /// The container whose app has that name.
    fn container_of(&self, app: &AppName) -> Option<String> {
        let inner = self.inner();
        let found = inner
            .containers
            .iter()
            .find(|(_, container)| container.name == *app);
        found.map(|(id, _)| id.clone())
    }

    fn with<T>(&self, app: &AppName, change: impl FnOnce(&mut Container) -> Option<T>) -> Option<T> {
        let mut inner = self.inner();
        change(
            inner
                .containers
                .values_mut()
                .find(|container| container.name == *app)?,
        )
    }
}

impl Watcher for Sandbox {
    fn stdin(&self, app: &AppName) -> Option<Box<dyn AsyncRead + Unpin + Send>> {
        self.with(app, |container| container.input.take())
    }

    fn output(&self, app: &AppName, stream: Stream) -> Option<Box<dyn AsyncWrite + Unpin + Send>> {
        let number = match stream {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
        };
        self.with(app, |container| container.outputs[number].take())
    }

    fn app(&self, app: &AppName, news: AppNews) {
        let Some(id) = self.container_of(app) else {
            return;
        };
        let key = Key::new(&id, "");
        let launched = |launch: Launch| {
            self.with(app, |container| Some(container.launch.send_replace(launch)));
        };
        match news {
            AppNews::Started => launched(Launch::Executes),
            AppNews::OutOfMemory => self.publish([News::OutOfMemory(key)]),
            AppNews::Exited(status) => self.ended(&key, Some(status)),
            AppNews::Failed(why) => {
                launched(Launch::Failed(why));
                self.never_ran(&key);
            }
        }
    }

    fn running(&self) {
        self.phases.send_replace(Phase::Up);
    }
}
