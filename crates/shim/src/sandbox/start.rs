//! How what a container or a command in one executes is started.

use std::sync::Arc;

use isopod_contract::message::ExitStatus;
use isopod_runtime::control::Request;
use tokio::sync::watch;

use super::container::Launch;
use super::{Sandbox, SandboxError, failed, run_hooks};
use crate::commands::Command;
use crate::oci::spec::Process;
use crate::oci::{self, Role};
use crate::tasks::{Key, Refusal, Stdio};
use crate::{names, relay, stdio};

impl Sandbox {
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
                // Before what leads every connection with a loopback address to the guest.
                let servers = names::begin(pod.path(), &spec).await;
                relay::begin(pod.path(), servers);
            }
            Role::Container { .. } => {
                let app =
                    app.ok_or_else(|| Refusal::Precondition(format!("container `{id}` has not come")))?;
                self.ask(&Request::StartApp { app }).await?;
                executes(launch).await?;
            }
            Role::Single => {
                self.begin(&spec, &bundle).await?;
                let pod = self.pod()?;
                pod.up().await.map_err(SandboxError::Failed)?;
                names::begin(pod.path(), &spec).await;
                self.add(id, stdio, false).await?;
                executes(launch).await?;
            }
        }
        run_hooks(&spec, "poststart", id, &bundle, "running").await
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
}

/// Waits until a container executes.
async fn executes(mut launch: watch::Receiver<Launch>) -> Result<(), SandboxError> {
    let decided = launch.wait_for(|launch| *launch != Launch::Starting).await;
    match decided.as_deref() {
        Ok(Launch::Executes) => Ok(()),
        Ok(Launch::Failed(why)) => Err(SandboxError::Failed(format!("cannot start the container: {why}"))),
        _ => Err(SandboxError::Failed("the sandbox has ended".to_owned())),
    }
}
