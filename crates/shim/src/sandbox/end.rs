//! How containers and commands in them end, are killed and are deleted.

use std::time::{Duration, SystemTime};

use isopod_contract::message::ExitStatus;
use isopod_runtime::control::Request;
use rustix::process::Signal;

use super::{Sandbox, SandboxError, failed, run_hooks};
use crate::commands::Command;
use crate::oci::Role;
use crate::rootfs;
use crate::tasks::{End, KILLED, Key, NOT_RUN, Refusal, State};

/// How long a pod that is killed has to write back what its containers wrote, and a container that is killed to end.
pub(super) const FORCE_AFTER: Duration = Duration::from_secs(8);

impl Sandbox {
    /// Sends a signal to a container, or to a command in one.
    pub(crate) async fn kill(&self, key: &Key, signal: u32) -> Result<(), SandboxError> {
        let known = u8::try_from(signal).ok().filter(|known| (1..=64).contains(known));
        let unknown = || SandboxError::Failed(format!("there is no signal {signal}: signals are 1 to 64"));
        let signal = known.ok_or_else(unknown)?;
        let kills = i32::from(signal) == Signal::KILL.as_raw();
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
                pod.stop(kills);
                if kills {
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
                self.ask(&Request::Signal { app, signal }).await?;
                if kills {
                    self.force_where_silent(key)?;
                }
                Ok(())
            }
            (_, None, _) => {
                Err(Refusal::Precondition(format!("container `{}` is being started", key.container)).into())
            }
        }
    }

    /// Ends the VM where a container does not end by SIGKILL and the guest says nothing either. A kubelet stops no sandbox
    /// before its containers have ended: its pod would stay `Terminating` for good.
    fn force_where_silent(&self, key: &Key) -> Result<(), SandboxError> {
        let pod = self.pod()?;
        let mut end = self.inner().tasks.end_of(key)?;
        tokio::spawn(async move {
            let ended = end.wait_for(Option::is_some);
            let late = tokio::time::timeout(FORCE_AFTER, ended).await.is_err();
            if late && pod.is_silent().await {
                pod.stop(true);
                pod.stop(false);
            }
        });
        Ok(())
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

    /// A container will never run.
    pub(super) fn never_ran(&self, key: &Key) {
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
    pub(super) fn ended(&self, key: &Key, status: Option<ExitStatus>) {
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
}

/// An exit status as a shell shows it.
fn exit_status(status: ExitStatus) -> u32 {
    match status {
        ExitStatus::Code(code) => u32::from(code.cast_unsigned().to_le_bytes()[0]),
        ExitStatus::Signal { signal, .. } => 128 + signal.cast_unsigned(),
    }
}
