//! A session with a made-up systemd, real pipes and a host that speaks the protocol.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use isopod_contract::arrival::ArrivalTimes;
use isopod_contract::config::{
    ARRIVAL_VERSION, Arrival, DependencyCondition, GuestApp, GuestDependency, GuestRestart, RestartAfter,
};
use isopod_contract::message::{AppReport, GuestStream, WriteBack};
use isopod_protocol::mux::{Accept, Grant, Incoming};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

mod health;
mod lives;

use super::*;
use crate::arrival::{Arrived, Purpose};
use crate::systemd::appstate::{Activity, ServiceState};
use crate::systemd::{UnitProcess, UnitState};

/// A systemd that is given its units, and remembers what it was asked to do.
#[derive(Clone, Default)]
struct Puppet {
    states: Arc<Mutex<HashMap<String, ServiceState>>>,
    asked: Arc<Mutex<Vec<String>>>,
    post_stops: Arc<Mutex<HashMap<String, ExitStatus>>>,
}

impl Manager for Puppet {
    fn watch(&self, _: &str) {}

    fn forget(&self, _: &str) {}

    async fn reset_failed(&self, _: &str) -> Result<(), ManagerError> {
        Ok(())
    }

    async fn service(&self, unit: &str) -> Result<ServiceState, ManagerError> {
        let waiting = ServiceState {
            job: true,
            ..ServiceState::default()
        };
        Ok(self.states.lock().unwrap().get(unit).cloned().unwrap_or(waiting))
    }

    async fn unit(&self, _: &str) -> Result<UnitState, ManagerError> {
        Ok(UnitState {
            load: "not-found".to_owned(),
            ..UnitState::default()
        })
    }

    async fn reload(&self) -> Result<(), ManagerError> {
        self.asked.lock().unwrap().push("reload".to_owned());
        Ok(())
    }

    async fn rest(&self, _: &str) -> Result<Option<Activity>, ManagerError> {
        Ok(Some(Activity::Active))
    }

    async fn start(&self, unit: &str) -> Result<(), ManagerError> {
        // What has come is started once, which is not reported.
        if !unit.ends_with(".target") {
            self.asked.lock().unwrap().push(format!("start {unit}"));
        }
        Ok(())
    }

    async fn process(&self, unit: &str) -> Result<UnitProcess, ManagerError> {
        let states = self.states.lock().unwrap();
        Ok(UnitProcess {
            active: states.get(unit).map(|state| state.active).unwrap_or_default(),
            ..UnitProcess::default()
        })
    }

    async fn cgroup(&self, _: &str) -> Result<String, ManagerError> {
        Ok(String::new())
    }

    async fn post_stop(&self, unit: &str) -> Result<Option<ExitStatus>, ManagerError> {
        Ok(self.post_stops.lock().unwrap().get(unit).copied())
    }

    async fn set(&self, unit: &str, properties: &[(String, u64)]) -> Result<(), ManagerError> {
        self.asked
            .lock()
            .unwrap()
            .push(format!("set {unit} {properties:?}"));
        Ok(())
    }

    async fn stop(&self, unit: &str) -> Result<(), ManagerError> {
        self.asked.lock().unwrap().push(format!("stop {unit}"));
        Ok(())
    }

    async fn kill(&self, unit: &str, whom: Whom, signal: u8) -> Result<(), ManagerError> {
        self.asked
            .lock()
            .unwrap()
            .push(format!("kill {unit} {whom:?} {signal}"));
        Ok(())
    }
}

/// Both ends of a session.
struct Stage {
    puppet: Puppet,
    changes: mpsc::UnboundedSender<String>,
    control: MuxStream,
    incoming: Incoming,
    dir: tempfile::TempDir,
}

/// The states of an app's unit.
fn running() -> ServiceState {
    ServiceState {
        active: Activity::Active,
        active_enter_us: 2_000_000,
        exec_main_start_us: 1_900_000,
        ..ServiceState::default()
    }
}

fn exited(status: i32) -> ServiceState {
    ServiceState {
        active: Activity::Inactive,
        exec_main_code: 1,
        exec_main_status: status,
        ..running()
    }
}

fn app(dir: &Path, name: &str) -> GuestApp {
    let path = |stream: &str| dir.join(format!("{name}.{stream}")).to_str().unwrap().to_owned();
    for stream in ["stdout", "stderr"] {
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, path(stream), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }
    GuestApp {
        name: name.to_owned(),
        unit: format!("{name}.service"),
        stdin: Some(path("stdin")),
        stdout: path("stdout"),
        stderr: path("stderr"),
        ..GuestApp::default()
    }
}

impl Stage {
    async fn set(names: &[&str]) -> Self {
        Self::set_with(names, |_| {}).await
    }

    /// A stage whose apps are changed before they are played.
    async fn set_with(names: &[&str], change: impl Fn(&mut GuestApp)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let apps: Vec<GuestApp> = names.iter().map(|name| app(dir.path(), name)).collect();
        let apps = apps.into_iter().map(|mut app| {
            change(&mut app);
            app
        });
        let apps: Vec<GuestApp> = apps.collect();
        let shares = vec![
            dir.path().to_str().unwrap().to_owned(),
            "/nonexistent/share".to_owned(),
        ];
        let arrival = Arrival {
            version: ARRIVAL_VERSION,
            identity: Some(Identity::default()),
            unit: "arrival-0.target".to_owned(),
            modules: Vec::new(),
            early_mounts: Vec::new(),
            mounts_ahead: Vec::new(),
            shares,
            disks: vec!["/nonexistent/disk".to_owned()],
            apps,
        };
        let (host, guest) = tokio::io::duplex(4096);
        let puppet = Puppet::default();
        let (changes, changed) = mpsc::unbounded_channel();
        let (begun, begins) = tokio::sync::oneshot::channel();
        tokio::task::spawn_local(serve(guest, arrival, puppet.clone(), changed, begun));
        let limits = Limits {
            incoming: Accept::Total(Grant::of(STREAMS_PER_APP * names.len())),
            outgoing: 1 + MAX_HOST_STREAMS,
        };
        let (opener, incoming, driver) = mux::start(host, Side::Host, limits);
        tokio::spawn(driver.run());
        let control = opener.open(&HostStream::Control).await.unwrap();
        begins.await.unwrap();
        Self {
            puppet,
            changes,
            control,
            incoming,
            dir,
        }
    }

    async fn stream(&mut self) -> (GuestStream, MuxStream) {
        let mut stream = self.incoming.next().await.unwrap();
        (read_message(&mut stream).await.unwrap().unwrap(), stream)
    }

    /// What the agent says, its beats left out.
    async fn receive(&mut self) -> GuestMessage {
        loop {
            match read_message(&mut self.control).await.unwrap().unwrap() {
                GuestMessage::Beat { .. } => {}
                message => return message,
            }
        }
    }

    async fn order(&mut self, order: HostMessage) {
        write_message(&mut self.control, &order).await.unwrap();
    }

    fn change(&self, app: &str, state: ServiceState) {
        self.puppet
            .states
            .lock()
            .unwrap()
            .insert(format!("{app}.service"), state);
        self.changes.send(format!("{app}.service")).unwrap();
    }

    fn writer(&self, pipe: &str) -> std::fs::File {
        std::fs::OpenOptions::new()
            .write(true)
            .open(self.dir.path().join(pipe))
            .unwrap()
    }
}

async fn serve(
    port: DuplexStream,
    arrival: Arrival,
    puppet: Puppet,
    changes: mpsc::UnboundedReceiver<String>,
    begun: tokio::sync::oneshot::Sender<()>,
) {
    let times = BootTimes::default();
    let mut session = Session::begin(port, puppet, Clock::default(), times, Vec::new())
        .await
        .unwrap();
    let arrived = Arrived {
        arrival,
        purpose: Purpose::Run,
        warnings: vec!["a warning".to_owned()],
        times: ArrivalTimes::default(),
    };
    session.arrive(arrived).await.unwrap();
    begun.send(()).unwrap();
    session.run(changes).await.unwrap_err();
}

/// Beats come by themselves, and one answers a stop at once.
#[test]
fn it_shows_that_it_runs() {
    on_stage(async || {
        let mut stage = Stage::set(&["a"]).await;
        let mut beats = Vec::new();
        stage.order(HostMessage::Stop { grace_ms: 60_000 }).await;
        while beats.len() < 2 {
            if let GuestMessage::Beat { number } = read_message(&mut stage.control).await.unwrap().unwrap() {
                beats.push(number);
            }
        }
        assert_eq!(beats, [1, 2]);
    });
}

/// Runs a test as the agent runs: one thread, and a deadline.
fn on_stage(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local
        .block_on(&runtime, async {
            tokio::time::timeout(Duration::from_secs(30), test()).await
        })
        .unwrap();
}

#[test]
fn reports_an_app_from_start_to_end_with_all_its_output() {
    on_stage(async || {
        let mut stage = Stage::set(&["web"]).await;
        let (header, mut stdout) = stage.stream().await;
        assert_eq!(header, GuestStream::Stdout { app: 0 });
        let (header, mut stderr) = stage.stream().await;
        assert_eq!(header, GuestStream::Stderr { app: 0 });
        let (header, mut stdin) = stage.stream().await;
        assert_eq!(header, GuestStream::Stdin { app: 0 });
        assert_eq!(stage.receive().await, GuestMessage::Ready(BootTimes::default()));
        assert_eq!(
            stage.receive().await,
            GuestMessage::Warning {
                text: "a warning".to_owned()
            }
        );

        // What systemd does for the app: opens its streams, before a start is reported to the host.
        let mut input = std::fs::File::open(stage.dir.path().join("web.stdin")).unwrap();
        let (mut out, err) = (stage.writer("web.stdout"), stage.writer("web.stderr"));
        stage.change("web", running());
        assert_eq!(
            stage.receive().await,
            GuestMessage::App(0, AppReport::Started { uptime_ms: 1900 })
        );

        stdin.write_all(b"hello").await.unwrap();
        stdin.shutdown().await.unwrap();
        let read = tokio::task::spawn_blocking(move || std::io::read_to_string(&mut input).unwrap());
        assert_eq!(read.await.unwrap(), "hello");

        // More than the pipe holds at the very end, and nothing but the unit's state says that it is the end.
        out.write_all(&[b'x'; 60_000]).unwrap();
        drop((out, err));
        stage.change("web", exited(3));
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes.len(), 60_000);
        assert_eq!(stderr.read(&mut [0; 9]).await.unwrap(), 0);
        assert_eq!(
            stage.receive().await,
            GuestMessage::App(
                0,
                AppReport::Exited {
                    status: ExitStatus::Code(3)
                }
            )
        );
        assert_eq!(stage.receive().await, GuestMessage::AllEnded);

        // Those that are not there say what is written back.
        for (write_back, asked) in [
            (WriteBack::Shares, &["/nonexistent/share"][..]),
            (
                WriteBack::SharesAndDisks,
                &["/nonexistent/share", "/nonexistent/disk"],
            ),
        ] {
            stage.order(HostMessage::Finish { write_back }).await;
            let GuestMessage::Synced { failed } = stage.receive().await else {
                panic!()
            };
            let places: Vec<&str> = failed.iter().map(|failed| failed.mount_point.as_str()).collect();
            assert_eq!(places, asked);
            assert!(failed[0].error.contains("No such file"));
        }
    });
}

#[test]
fn an_app_that_ended_before_anyone_looked_is_reported_whole() {
    on_stage(async || {
        let mut stage = Stage::set(&["a", "b"]).await;
        stage.change("a", exited(0));
        stage.change("b", ServiceState::default());
        let mut received = Vec::new();
        for _ in 0..6 {
            received.push(stage.receive().await);
        }
        let cause = isopod_contract::message::FailureCause::Unit {
            unit: "b.service".to_owned(),
            result: "not-found".to_owned(),
            log: Vec::new(),
        };
        assert_eq!(
            received[2..],
            [
                GuestMessage::App(0, AppReport::Started { uptime_ms: 1900 }),
                GuestMessage::App(
                    0,
                    AppReport::Exited {
                        status: ExitStatus::Code(0)
                    }
                ),
                GuestMessage::App(1, AppReport::Failed { cause }),
                GuestMessage::AllEnded,
            ]
        );
    });
}

#[test]
fn a_stalled_reader_stalls_its_own_pipe_only() {
    const BYTES: usize = 10 << 20;
    on_stage(async || {
        let mut stage = Stage::set(&["web"]).await;
        let (_, stdout) = stage.stream().await;
        let (_, mut stderr) = stage.stream().await;
        stage.change("web", running());
        let (mut out, mut err) = (stage.writer("web.stdout"), stage.writer("web.stderr"));
        let stalled = std::thread::spawn(move || out.write_all(&[b'o'; BYTES]));
        let flowing = std::thread::spawn(move || err.write_all(&[b'e'; BYTES]));
        let mut left = BYTES;
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            left -= stderr.read(&mut buffer).await.unwrap();
        }
        flowing.join().unwrap().unwrap();
        assert!(
            !stalled.is_finished(),
            "10 MB do not fit into the windows of a stream"
        );
        // Hanging up lets the app continue, into nothing.
        drop(stdout);
        while !stalled.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stalled.join().unwrap().unwrap();
    });
}

#[test]
fn stops_in_order_and_kills_after_the_grace() {
    on_stage(async || {
        let mut stage = Stage::set(&["a", "b"]).await;
        stage.change("a", running());
        stage.change("b", running());
        stage.order(HostMessage::Signal { app: 1, signal: 10 }).await;
        stage.order(HostMessage::Stop { grace_ms: 3_600_000 }).await;
        stage.order(HostMessage::Stop { grace_ms: 20 }).await;
        let asked = |stage: &Stage| stage.puppet.asked.lock().unwrap().clone();
        while asked(&stage).len() < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(
            asked(&stage),
            [
                "kill b.service Main 10",
                "stop a.service",
                "stop b.service",
                "kill a.service All 9",
                "kill b.service All 9",
            ]
        );
        stage.order(HostMessage::Signal { app: 7, signal: 9 }).await;
        let mut received = stage.receive().await;
        while !matches!(&received, GuestMessage::Warning { text } if text.contains("no such app")) {
            received = stage.receive().await;
        }
    });
}

#[test]
fn input_that_nobody_reads_ends_the_hosts_stream() {
    on_stage(async || {
        let mut stage = Stage::set(&["web"]).await;
        let _outputs = (stage.stream().await, stage.stream().await);
        let (_, mut stdin) = stage.stream().await;
        let input = std::fs::File::open(stage.dir.path().join("web.stdin")).unwrap();
        stage.change("web", running());
        while !matches!(
            stage.receive().await,
            GuestMessage::App(_, AppReport::Started { .. })
        ) {}
        drop(input);
        while stdin.write_all(b"anyone?").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

/// An app that is restarted after a failure, soon and `max` times.
fn restarts(max: u32) -> impl Fn(&mut GuestApp) {
    move |app| {
        app.restart = Some(GuestRestart {
            after: RestartAfter::Failure,
            max_restarts: Some(max),
            first_delay_ms: 10,
            max_delay_ms: 60_000,
            reset_after_ms: 60_000,
        });
    }
}

/// The states of a unit's `run`th run.
fn living(run: u64, state: ServiceState) -> ServiceState {
    ServiceState {
        active_enter_us: 2_000_000 * run,
        exec_main_start_us: 1_900_000 * run,
        ..state
    }
}

impl Stage {
    async fn receive_past_greeting(&mut self) -> GuestMessage {
        loop {
            match self.receive().await {
                GuestMessage::Ready(_) | GuestMessage::Warning { .. } => {}
                message => return message,
            }
        }
    }

    async fn asked(&self, words: &str) {
        while !self
            .puppet
            .asked
            .lock()
            .unwrap()
            .iter()
            .any(|asked| asked == words)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

const FAILED: ExitStatus = ExitStatus::Code(1);

/// The second app waits for the first.
fn second_waits(condition: DependencyCondition) -> impl Fn(&mut GuestApp) {
    move |app| {
        if app.name == "b" {
            app.depends_on = vec![GuestDependency { app: 0, condition }];
        }
    }
}
