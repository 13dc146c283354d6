//! Events for containerd, in the order in which they happened: one task sends them, and tries again where containerd does not
//! answer, for it may be being restarted.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskIO, TaskOOM, TaskPaused,
    TaskResumed, TaskStart,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{self, Message, MessageField};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::topics;
use containerd_shim_protos::ttrpc::context;
use tokio::sync::{mpsc, oneshot};

use crate::numbers::Numbers;
use crate::tasks::{End, Key, News, Stdio};

/// How long containerd may take for an event.
const WITHIN: Duration = Duration::from_secs(5);

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// How many events wait for a containerd that does not answer; the oldest are dropped then.
const MOST: usize = 4096;

/// What comes with an event of a task's beginning.
#[derive(Clone, Debug, Default)]
pub(crate) struct Creation {
    pub(crate) bundle: String,
    pub(crate) stdio: Stdio,
}

/// A time as protobuf has it.
pub(crate) fn timestamp(at: SystemTime) -> MessageField<Timestamp> {
    MessageField::some(Timestamp::from(at))
}

/// A kind of event: its topic, and the name of its message. Both are containerd's.
type Kind = (&'static str, &'static str);

const CREATE: Kind = (topics::TASK_CREATE_EVENT_TOPIC, "TaskCreate");
const START: Kind = (topics::TASK_START_EVENT_TOPIC, "TaskStart");
const EXEC_ADDED: Kind = (topics::TASK_EXEC_ADDED_EVENT_TOPIC, "TaskExecAdded");
const EXEC_STARTED: Kind = (topics::TASK_EXEC_STARTED_EVENT_TOPIC, "TaskExecStarted");
const PAUSED: Kind = (topics::TASK_PAUSED_EVENT_TOPIC, "TaskPaused");
const RESUMED: Kind = (topics::TASK_RESUMED_EVENT_TOPIC, "TaskResumed");
const OUT_OF_MEMORY: Kind = (topics::TASK_OOM_EVENT_TOPIC, "TaskOOM");
const EXIT: Kind = (topics::TASK_EXIT_EVENT_TOPIC, "TaskExit");
const DELETE: Kind = (topics::TASK_DELETE_EVENT_TOPIC, "TaskDelete");

/// The kind of an event, and its message as bytes.
type Encoded = (Kind, protobuf::Result<Vec<u8>>);

/// The event that reports `news`, in containerd's envelope.
fn envelope(news: &News, creation: &Creation, namespace: &str, numbers: &Numbers) -> Option<Envelope> {
    let pid = numbers.of(&news.key().container);
    let ((topic, name), value) = event(news, creation, pid)?;
    Some(Envelope {
        timestamp: timestamp(SystemTime::now()),
        namespace: namespace.to_owned(),
        topic: topic.to_owned(),
        event: MessageField::some(Any {
            type_url: format!("containerd.events.{name}"),
            value: value.ok()?,
            ..Any::default()
        }),
        ..Envelope::default()
    })
}

fn event(news: &News, creation: &Creation, pid: u32) -> Option<Encoded> {
    let key = news.key();
    let (container_id, exec_id) = (key.container.clone(), key.exec.clone());
    Some(match news {
        News::Created(_) => (CREATE, created(container_id, creation, pid).write_to_bytes()),
        News::Started(_) if key.is_exec() => {
            let event = TaskExecStarted {
                container_id,
                exec_id,
                pid,
                ..TaskExecStarted::default()
            };
            (EXEC_STARTED, event.write_to_bytes())
        }
        News::Started(_) => {
            let event = TaskStart {
                container_id,
                pid,
                ..TaskStart::default()
            };
            (START, event.write_to_bytes())
        }
        News::ExecAdded(_) => {
            let event = TaskExecAdded {
                container_id,
                exec_id,
                ..TaskExecAdded::default()
            };
            (EXEC_ADDED, event.write_to_bytes())
        }
        News::Paused(_) => {
            let event = TaskPaused {
                container_id,
                ..TaskPaused::default()
            };
            (PAUSED, event.write_to_bytes())
        }
        News::Resumed(_) => {
            let event = TaskResumed {
                container_id,
                ..TaskResumed::default()
            };
            (RESUMED, event.write_to_bytes())
        }
        News::OutOfMemory(_) => {
            let event = TaskOOM {
                container_id,
                ..TaskOOM::default()
            };
            (OUT_OF_MEMORY, event.write_to_bytes())
        }
        News::Exited(_, end) => (EXIT, exited(key, end, pid).write_to_bytes()),
        // Of a command there is no such event.
        News::Deleted(..) if key.is_exec() => return None,
        News::Deleted(_, end) => {
            let event = TaskDelete {
                container_id,
                pid,
                exit_status: end.status,
                exited_at: timestamp(end.at),
                ..TaskDelete::default()
            };
            (DELETE, event.write_to_bytes())
        }
    })
}

fn created(container_id: String, creation: &Creation, pid: u32) -> TaskCreate {
    let stdio = creation.stdio.clone();
    TaskCreate {
        container_id,
        bundle: creation.bundle.clone(),
        io: MessageField::some(TaskIO {
            stdin: stdio.stdin,
            stdout: stdio.stdout,
            stderr: stdio.stderr,
            terminal: stdio.terminal,
            ..TaskIO::default()
        }),
        pid,
        ..TaskCreate::default()
    }
}

fn exited(key: &Key, end: &End, pid: u32) -> TaskExit {
    TaskExit {
        container_id: key.container.clone(),
        // A container's own process is called as the container.
        id: match key.is_exec() {
            true => key.exec.clone(),
            false => key.container.clone(),
        },
        pid,
        exit_status: end.status,
        exited_at: timestamp(end.at),
        ..TaskExit::default()
    }
}

/// Where events go.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    namespace: String,
    numbers: Numbers,
    queue: mpsc::UnboundedSender<Queued>,
}

/// What is to be done in its turn.
#[derive(Debug)]
enum Queued {
    Event(Box<Envelope>),
    /// Say that everything before it was sent.
    Flush(oneshot::Sender<()>),
}

impl Publisher {
    /// Begins to send to containerd's socket for ttrpc.
    pub(crate) fn begin(namespace: &str, address: String, numbers: Numbers) -> Self {
        let (queue, queued) = mpsc::unbounded_channel();
        tokio::spawn(send(address, queued));
        Self {
            namespace: namespace.to_owned(),
            numbers,
            queue,
        }
    }

    /// Publishes the event.
    pub(crate) fn publish(&self, news: &News, creation: &Creation) {
        if let Some(envelope) = envelope(news, creation, &self.namespace, &self.numbers) {
            let _ = self.queue.send(Queued::Event(Box::new(envelope)));
        }
    }

    /// Waits until everything was sent, at most so long.
    pub(crate) async fn flush(&self, within: Duration) {
        let (flushed, done) = oneshot::channel();
        if self.queue.send(Queued::Flush(flushed)).is_ok() {
            let _ = tokio::time::timeout(within, done).await;
        }
    }
}

async fn send(address: String, mut queue: mpsc::UnboundedReceiver<Queued>) {
    let (mut waiting, mut client) = (VecDeque::new(), None);
    while let Some(queued) = queue.recv().await {
        waiting.push_back(queued);
        while let Some(next) = waiting.pop_front() {
            let envelope = match next {
                Queued::Flush(done) => {
                    let _ = done.send(());
                    continue;
                }
                Queued::Event(envelope) => envelope,
            };
            if let Err(error) = forward(&address, &mut client, &envelope).await {
                tracing::debug!("containerd does not take an event: {error}");
                client = None;
                waiting.push_front(Queued::Event(envelope));
                tokio::time::sleep(AGAIN).await;
                while let Ok(queued) = queue.try_recv() {
                    waiting.push_back(queued);
                }
                let surplus = waiting.len().saturating_sub(MOST);
                waiting.drain(..surplus);
            }
        }
    }
}

async fn forward(
    address: &str,
    client: &mut Option<EventsClient>,
    envelope: &Envelope,
) -> Result<(), String> {
    let text = |error: containerd_shim_protos::ttrpc::Error| error.to_string();
    let connected = match client {
        Some(connected) => connected,
        None => {
            let connected = Client::connect(&format!("unix://{address}"))
                .await
                .map_err(text)?;
            client.insert(EventsClient::new(connected))
        }
    };
    let request = ForwardRequest {
        envelope: MessageField::some(envelope.clone()),
        ..ForwardRequest::default()
    };
    let timeout = i64::try_from(WITHIN.as_nanos()).unwrap_or(i64::MAX);
    connected
        .forward(context::with_timeout(timeout), &request)
        .await
        .map(drop)
        .map_err(text)
}
