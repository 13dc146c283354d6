//! The apps' standard streams: into the logs, and to and from the caller where it wants them.
//!
//! The logs are files of the host, so writing them waits for nobody: a caller that does not read holds up its own
//! pod, and somebody who reads the logs holds up none.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use isopod_spec::AppName;
use isopod_vm::agent;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc};

use crate::control::Refusal;
use crate::logs::{self, LogWriter, Stream};
use crate::pods::files::{AppRecord, PodRecord};
use crate::run::report::Watcher;

/// What is copied at a time from a stream of an app.
const COPY_BYTES: usize = 64 * 1024;

/// A stream of the caller that several apps write to, whole pieces at a time.
#[derive(Clone)]
struct Sink {
    stream: Arc<Mutex<Box<dyn AsyncWrite + Unpin + Send>>>,
    /// Takes a message when the stream takes nothing any more; `None`: it is reported to nobody.
    broken: Option<mpsc::UnboundedSender<io::Error>>,
}

impl Sink {
    /// A stream of one app alone: the pod continues when that takes nothing any more.
    fn own(stream: Box<dyn AsyncWrite + Unpin + Send>) -> Self {
        Self {
            stream: Arc::new(Mutex::new(stream)),
            broken: None,
        }
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = self.stream.lock().await;
        let written = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        written.await.inspect_err(|error| {
            let same = error.raw_os_error().map(io::Error::from_raw_os_error);
            let Some(broken) = &self.broken else { return };
            let _ = broken.send(same.unwrap_or_else(|| error.kind().into()));
        })
    }
}

/// Where the apps' output goes.
pub(super) struct Outputs {
    dir: PathBuf,
    caller: Option<[Sink; 2]>,
    logs: Vec<Option<Log>>,
    ends: Vec<LogEnd>,
    names: Vec<AppName>,
    watcher: Option<Arc<dyn Watcher>>,
    /// Who has each stream besides.
    taps: BTreeMap<(usize, Stream), Arc<std::sync::Mutex<Tap>>>,
}

/// Who has a stream of an app besides its log.
#[derive(Default)]
enum Tap {
    /// Nobody.
    #[default]
    Free,
    Taken(Sink),
    /// The stream has ended.
    Ended,
}

/// The end of what an app wrote, as much as may be its last words.
type LogEnd = Arc<std::sync::Mutex<Vec<u8>>>;

/// The most bytes and lines of an app's log that are its last words (the kubelet's `FallbackToLogsOnError`).
const MAX_END_BYTES: usize = 2048;
const MAX_END_LINES: usize = 80;

/// The log of an app, which its two streams share.
type Log = Arc<std::sync::Mutex<LogWriter>>;

impl Outputs {
    /// Logs in `dir`, and the caller's standard output and standard error; `broken` receives a message when one of them takes nothing
    /// any more.
    pub(super) fn new(
        dir: &Path,
        record: &PodRecord,
        caller: Option<[Box<dyn AsyncWrite + Unpin + Send>; 2]>,
        watcher: Option<Arc<dyn Watcher>>,
        broken: &mpsc::UnboundedSender<io::Error>,
    ) -> Self {
        let sink = |stream| Sink {
            stream: Arc::new(Mutex::new(stream)),
            broken: Some(broken.clone()),
        };
        Self {
            dir: dir.to_owned(),
            caller: caller.map(|streams| streams.map(sink)),
            logs: record
                .apps
                .iter()
                .map(|app| match watcher {
                    Some(_) => None,
                    None => open_log(dir, app),
                })
                .collect(),
            ends: record.apps.iter().map(|_| LogEnd::default()).collect(),
            names: record.apps.iter().map(|app| app.name.clone()).collect(),
            watcher,
            taps: BTreeMap::new(),
        }
    }

    /// One more app's.
    pub(super) fn add(&mut self, app: &AppRecord) {
        self.logs.push(match self.watcher {
            Some(_) => None,
            None => open_log(&self.dir, app),
        });
        self.names.push(app.name.clone());
        self.ends.push(LogEnd::default());
    }

    /// What app number `app` writes to one of its streams from now on goes to `to`, too.
    pub(super) fn give(
        &mut self,
        app: usize,
        stream: Stream,
        to: impl AsyncWrite + Unpin + Send + 'static,
    ) -> Result<(), Refusal> {
        if app >= self.names.len() {
            return Err("there is no such app".to_owned().into());
        }
        let Ok(mut tap) = self.taps.entry((app, stream)).or_default().lock() else {
            return Err("its output is lost".to_owned().into());
        };
        match *tap {
            Tap::Free => *tap = Tap::Taken(Sink::own(Box::new(to))),
            Tap::Taken(_) => return Err("another command has its output".to_owned().into()),
            Tap::Ended => return Err("the app has ended".to_owned().into()),
        }
        Ok(())
    }

    /// Removes the log of an app that has gone.
    pub(super) fn remove(&mut self, app: usize, name: &AppName) {
        if let Some(log) = self.logs.get_mut(app) {
            *log = None;
        }
        self.taps.retain(|(number, _), _| *number != app);
        logs::remove(&self.dir, name);
    }

    /// Copies what app number `app` writes to one of its streams, until that has ended.
    pub(super) fn copy(
        &mut self,
        app: usize,
        stream: Stream,
        output: agent::Output,
    ) -> impl Future<Output = ()> + use<> {
        let sink = self.caller.as_ref().map(|[stdout, stderr]| match stream {
            Stream::Stdout => stdout.clone(),
            Stream::Stderr => stderr.clone(),
        });
        let own = self.watcher.as_ref().zip(self.names.get(app));
        let own = own.and_then(|(watcher, name)| watcher.output(name, stream));
        let sink = own.map(Sink::own).or(sink);
        let tap = self.taps.entry((app, stream)).or_default().clone();
        if let Ok(mut tap) = tap.lock()
            && matches!(*tap, Tap::Ended)
        {
            *tap = Tap::Free;
        }
        let destinations = Destinations {
            log: self.logs.get(app).cloned().flatten(),
            caller: sink,
            tap,
            end: self.ends.get(app).cloned().unwrap_or_default(),
        };
        copy(output, stream, destinations)
    }

    /// The end of what app number `app` wrote since this was asked last.
    pub(super) fn take_end(&self, app: usize) -> Option<String> {
        let bytes = std::mem::take(&mut *self.ends.get(app)?.lock().ok()?);
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let last = lines[lines.len().saturating_sub(MAX_END_LINES)..].concat();
        Some(last).filter(|last| !last.is_empty())
    }
}

/// An app's log; what cannot be logged is no reason not to run.
fn open_log(dir: &Path, app: &AppRecord) -> Option<Log> {
    match LogWriter::open(dir, &app.name, app.log.into()) {
        Ok(log) => Some(Arc::new(std::sync::Mutex::new(log))),
        Err(error) => {
            tracing::warn!("app `{}` is not logged: {error}", app.name);
            None
        }
    }
}

/// Adds to the end of what an app wrote, of which the rest is forgotten.
fn keep_end(end: &LogEnd, bytes: &[u8]) {
    if let Ok(mut end) = end.lock() {
        end.extend_from_slice(&bytes[bytes.len().saturating_sub(MAX_END_BYTES)..]);
        let surplus = end.len().saturating_sub(MAX_END_BYTES);
        end.drain(..surplus);
    }
}

/// Where a stream of an app goes.
struct Destinations {
    log: Option<Log>,
    caller: Option<Sink>,
    tap: Arc<std::sync::Mutex<Tap>>,
    end: LogEnd,
}

async fn copy(mut output: agent::Output, stream: Stream, mut to: Destinations) {
    let mut buffer = vec![0; COPY_BYTES];
    while let Ok(n @ 1..) = output.read(&mut buffer).await {
        keep_end(&to.end, &buffer[..n]);
        if let Some(mut log) = to.log.as_ref().and_then(|log| log.lock().ok()) {
            log.write(stream, &buffer[..n], SystemTime::now());
            if let Some(outage) = log.lost() {
                tracing::warn!("{outage}");
            }
        }
        if let Some(caller) = &to.caller
            && caller.write(&buffer[..n]).await.is_err()
        {
            to.caller = None;
        }
        let tapped = match to.tap.lock().as_deref() {
            Ok(Tap::Taken(sink)) => Some(sink.clone()),
            _ => None,
        };
        if let Some(sink) = tapped
            && sink.write(&buffer[..n]).await.is_err()
        {
            set(&to.tap, Tap::Free);
        }
    }
    set(&to.tap, Tap::Ended);
}

fn set(tap: &std::sync::Mutex<Tap>, state: Tap) {
    if let Ok(mut tap) = tap.lock() {
        *tap = state;
    }
}

/// Gives an app its standard input, and its end.
pub(super) async fn feed(mut stdin: Box<dyn AsyncRead + Unpin + Send>, mut input: agent::Input) {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => {
                if input.write_all(&buffer[..n]).await.is_err() || input.flush().await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = input.shutdown().await;
}
