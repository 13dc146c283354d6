//! How a container comes to the sandbox; the first of its kind brings the VM.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use containerd_shim_protos::api::Mount;
use isopod_spec::{PidMode, PodSpec};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::container::{Container, Launch};
use super::end::FORCE_AFTER;
use super::{Sandbox, SandboxError, failed};
use crate::oci::spec::Spec;
use crate::oci::{self, Given, Mirror, NetworkOf, Role};
use crate::pod::{Phase, Pod};
use crate::publish::Creation;
use crate::tasks::{End, KILLED, Key, Refusal, Stdio};
use crate::{mirror, rootfs, stdio, submounts};

impl Sandbox {
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
        self.publish_with(&news, &creation);
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
                launch: watch::Sender::new(Launch::Starting),
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
    pub(super) async fn begin(self: &Arc<Self>, spec: &Spec, bundle: &Path) -> Result<(), SandboxError> {
        let network = match oci::network(spec)? {
            NetworkOf::Namespace(path) => Some(path),
            NetworkOf::Own => own_network(),
        };
        let wanted = oci::pod(spec, network.as_deref())?;
        let spare = self.inner().pod.clone();
        if let Some(pod) = spare {
            self.inner().dismissing = true;
            let became = pod.become_another(wanted.clone(), bundle, &self.settings).await;
            if !matches!(became, Ok(false)) {
                self.inner().dismissing = false;
                return became.map(drop).map_err(SandboxError::Failed);
            }
            pod.stop(true);
            if tokio::time::timeout(FORCE_AFTER, pod.gone()).await.is_err() {
                pod.stop(false);
                pod.gone().await;
            }
            self.inner().dismissing = false;
            self.phases.send_replace(Phase::Starting);
        }
        self.begin_pod(wanted, bundle).await
    }

    /// Begins a pod that waits to become the sandbox's, and waits until it is up.
    pub(crate) async fn begin_spare(
        self: &Arc<Self>,
        wanted: PodSpec,
        dir: &Path,
    ) -> Result<(), SandboxError> {
        self.begin_pod(wanted, dir).await?;
        self.pod()?.up().await.map_err(SandboxError::Failed)
    }

    async fn begin_pod(self: &Arc<Self>, wanted: PodSpec, bundle: &Path) -> Result<(), SandboxError> {
        let (this, watcher) = (self.clone(), self.clone());
        let ended = move || {
            let end = End {
                status: KILLED,
                at: SystemTime::now(),
            };
            let news = {
                let mut inner = this.inner();
                if inner.dismissing {
                    inner.pod = None;
                    return;
                }
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
    pub(super) fn wanted(&self, id: &str, stdio: &Stdio) -> Result<(PodSpec, Vec<Mirror>), SandboxError> {
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
                covered: &submounts::exist,
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
    pub(super) async fn add(&self, id: &str, stdio: &Stdio, waits: bool) -> Result<(), SandboxError> {
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
}

/// This process's own network namespace, where there is something in it.
fn own_network() -> Option<PathBuf> {
    let path = PathBuf::from(format!("/proc/{}/ns/net", std::process::id()));
    isopod_vm::netns::read(&path).ok().map(|_| path)
}
