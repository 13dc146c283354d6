//! containerd's task service, version 2: each request is one call of the [`Sandbox`], each refusal a code of gRPC's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest, PauseRequest,
    PidsRequest, PidsResponse, ProcessInfo, ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest,
    StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse, Status, UpdateTaskRequest,
    WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::{EnumOrUnknown, MessageField};
use containerd_shim_protos::shim_async::Task;
use containerd_shim_protos::ttrpc;
use containerd_shim_protos::ttrpc::Code;
use containerd_shim_protos::ttrpc::r#async::TtrpcContext;
use isopod_contract::exec::WindowSize;
use isopod_contract::message::HostStream;
use isopod_contract::stats::Stats;
use isopod_protocol::codec::read_message;

use crate::metrics;
use crate::oci::spec::{Process, Resources};
use crate::publish::timestamp;
use crate::sandbox::{Sandbox, SandboxError};
use crate::tasks::{End, Key, Refusal, State, Stdio};

/// How long the guest may take for what its containers use.
const STATS_WITHIN: Duration = Duration::from_secs(10);

pub(crate) struct Service(pub(crate) Arc<Sandbox>);

fn code(code: Code, text: impl ToString) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(ttrpc::get_status(code, text))
}

impl From<SandboxError> for ttrpc::Error {
    fn from(error: SandboxError) -> Self {
        let kind = match &error {
            SandboxError::Refused(Refusal::NotFound(_)) => Code::NOT_FOUND,
            SandboxError::Refused(Refusal::Exists(_)) => Code::ALREADY_EXISTS,
            SandboxError::Refused(Refusal::Precondition(_)) => Code::FAILED_PRECONDITION,
            SandboxError::Unsupported(_) => Code::UNIMPLEMENTED,
            SandboxError::Failed(_) => Code::UNKNOWN,
        };
        tracing::debug!("refused: {error}");
        code(kind, error)
    }
}

/// What was sent as JSON in an `Any`.
fn json<T: serde::de::DeserializeOwned>(
    any: &MessageField<containerd_shim_protos::protobuf::well_known_types::any::Any>,
) -> Result<T, ttrpc::Error> {
    let bytes = any.as_ref().map(|any| any.value.as_slice()).unwrap_or_default();
    serde_json::from_slice(bytes).map_err(|error| code(Code::INVALID_ARGUMENT, error))
}

fn window(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// Does what changes something to its end, also where whoever asked for it is gone: containerd may be restarted, and what is half
/// done would stay.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, SandboxError>> + Send + 'static,
) -> ttrpc::Result<T> {
    let done = tokio::spawn(work).await;
    Ok(done.map_err(|error| code(Code::INTERNAL, error))??)
}

#[async_trait]
impl Task for Service {
    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> ttrpc::Result<StateResponse> {
        let key = Key::new(&request.id, &request.exec_id);
        let (state, stdio, bundle) = self.0.state(&key)?;
        let (status, end) = match state {
            State::Created => (Status::CREATED, None),
            // Whether it runs is not known before it executes.
            State::Starting => (Status::CREATED, None),
            State::Running => (Status::RUNNING, None),
            State::Paused => (Status::PAUSED, None),
            State::Stopped(end) => (Status::STOPPED, Some(end)),
        };
        Ok(StateResponse {
            id: request.id,
            exec_id: request.exec_id,
            bundle: bundle.display().to_string(),
            pid: self.0.number(&key.container),
            status: EnumOrUnknown::new(status),
            stdin: stdio.stdin,
            stdout: stdio.stdout,
            stderr: stdio.stderr,
            terminal: stdio.terminal,
            exit_status: end.map_or(0, |end| end.status),
            exited_at: end.map_or_else(MessageField::none, |end| timestamp(end.at)),
            ..StateResponse::default()
        })
    }

    async fn create(
        &self,
        _: &TtrpcContext,
        request: CreateTaskRequest,
    ) -> ttrpc::Result<CreateTaskResponse> {
        if !request.checkpoint.is_empty() {
            return Err(code(
                Code::UNIMPLEMENTED,
                "a VM is not restored from a container's checkpoint",
            ));
        }
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let (sandbox, id) = (self.0.clone(), request.id.clone());
        whole(async move {
            let bundle = Path::new(&request.bundle);
            sandbox.create(&request.id, bundle, &request.rootfs, stdio).await
        })
        .await?;
        let pid = self.0.number(&id);
        Ok(CreateTaskResponse {
            pid,
            ..CreateTaskResponse::default()
        })
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> ttrpc::Result<StartResponse> {
        let (sandbox, key) = (self.0.clone(), Key::new(&request.id, &request.exec_id));
        whole(async move { sandbox.start(&key).await }).await?;
        let pid = self.0.number(&request.id);
        Ok(StartResponse {
            pid,
            ..StartResponse::default()
        })
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> ttrpc::Result<DeleteResponse> {
        let (sandbox, key) = (self.0.clone(), Key::new(&request.id, &request.exec_id));
        let pid = self.0.number(&request.id);
        let End { status, at } = whole(async move { sandbox.delete(&key).await }).await?;
        Ok(DeleteResponse {
            pid,
            exit_status: status,
            exited_at: timestamp(at),
            ..DeleteResponse::default()
        })
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> ttrpc::Result<PidsResponse> {
        self.0.state(&Key::new(&request.id, ""))?;
        let info = ProcessInfo {
            pid: self.0.number(&request.id),
            ..ProcessInfo::default()
        };
        Ok(PidsResponse {
            processes: vec![info],
            ..PidsResponse::default()
        })
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> ttrpc::Result<Empty> {
        let sandbox = self.0.clone();
        whole(async move { sandbox.pause(&Key::new(&request.id, ""), true).await }).await?;
        Ok(Empty::default())
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> ttrpc::Result<Empty> {
        let sandbox = self.0.clone();
        whole(async move { sandbox.pause(&Key::new(&request.id, ""), false).await }).await?;
        Ok(Empty::default())
    }

    async fn checkpoint(&self, _: &TtrpcContext, _: CheckpointTaskRequest) -> ttrpc::Result<Empty> {
        Err(code(
            Code::UNIMPLEMENTED,
            "a container in a VM cannot be checkpointed",
        ))
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> ttrpc::Result<Empty> {
        let (sandbox, key) = (self.0.clone(), Key::new(&request.id, &request.exec_id));
        whole(async move { sandbox.kill(&key, request.signal).await }).await?;
        Ok(Empty::default())
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> ttrpc::Result<Empty> {
        let process: Process = json(&request.spec)?;
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        if request.exec_id.is_empty() {
            return Err(code(Code::INVALID_ARGUMENT, "the command has no ID"));
        }
        self.0
            .exec(&Key::new(&request.id, &request.exec_id), stdio, process)?;
        Ok(Empty::default())
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> ttrpc::Result<Empty> {
        let size = WindowSize {
            rows: window(request.height),
            cols: window(request.width),
        };
        self.0
            .resize(&Key::new(&request.id, &request.exec_id), size)
            .await?;
        Ok(Empty::default())
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> ttrpc::Result<Empty> {
        if request.stdin {
            self.0.close_input(&Key::new(&request.id, &request.exec_id))?;
        }
        Ok(Empty::default())
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> ttrpc::Result<Empty> {
        let resources: Resources = json(&request.resources)?;
        let sandbox = self.0.clone();
        whole(async move { sandbox.update(&Key::new(&request.id, ""), &resources).await }).await?;
        Ok(Empty::default())
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> ttrpc::Result<WaitResponse> {
        let End { status, at } = self.0.wait(&Key::new(&request.id, &request.exec_id)).await?;
        Ok(WaitResponse {
            exit_status: status,
            exited_at: timestamp(at),
            ..WaitResponse::default()
        })
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> ttrpc::Result<StatsResponse> {
        let asked = self
            .0
            .agent(&Key::new(&request.id, ""), HostStream::Stats)
            .await?;
        let (mut stream, app, limit) = asked;
        let answer = tokio::time::timeout(STATS_WITHIN, read_message::<_, Stats>(&mut stream)).await;
        let stats = answer.ok().and_then(Result::ok).flatten();
        let stats = stats.ok_or_else(|| code(Code::UNAVAILABLE, "the agent in the guest does not answer"))?;
        Ok(StatsResponse {
            stats: MessageField::some(metrics::of(&stats, app, limit)),
            ..StatsResponse::default()
        })
    }

    async fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> ttrpc::Result<ConnectResponse> {
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: self.0.number(&request.id),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ConnectResponse::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, request: ShutdownRequest) -> ttrpc::Result<Empty> {
        self.0.shutdown(request.now);
        Ok(Empty::default())
    }
}
