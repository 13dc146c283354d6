//! Debian's containerd in a network namespace of its own, and a client of its CRI service (Kubernetes' `runtime/v1`): what a kubelet
//! does. The numbers of fields are those of Kubernetes' `api.proto`.

mod container_config;
pub mod soak;
mod streams;
pub mod wire;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
pub use container_config::ContainerConfig;
use serde_json::json;
pub use streams::{Streams, ask};
use tokio::net::UnixStream;
use wire::{Message, Read};

use crate::{Bench, Image};

/// A variable of containerd's environment, which no process of a sandbox's is to have.
pub const OF_CONTAINERD: &str = "DATABASE_PASSWORD";

/// The image of all containers.
pub const IMAGE: &str = "docker.io/library/box:latest";

/// What a call may take, in an emulated VM on a busy host.
const CALL_WITHIN: Duration = Duration::from_secs(120);

/// A container runs (`ContainerState`).
pub const RUNNING: i64 = 1;
/// It has ended.
pub const EXITED: i64 = 2;

/// A refusal of containerd.
#[derive(Clone, Debug)]
pub struct Refused {
    /// gRPC's code.
    pub code: String,
    pub text: String,
}

/// A containerd with what it needs. Everything of it is below the bench's directory, or in a network namespace of its own.
pub struct Containerd {
    dir: PathBuf,
    netns: String,
    env: Vec<(&'static str, String)>,
    child: Mutex<Child>,
}

impl Containerd {
    /// Starts it, with [`IMAGE`].
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(bench: &Bench) -> Self {
        Self::start_with(bench, "cold")
    }

    /// Starts it, with VMs that begin so (`ISOPOD_START`).
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_with(bench: &Bench, start: &str) -> Self {
        Self::start_with_spares(bench, start, 0)
    }

    /// The same, with so many spares of each size (`ISOPOD_SPARES`).
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_with_spares(bench: &Bench, start: &str, spares: u32) -> Self {
        let dir = bench.dir().join("containerd");
        fs::create_dir_all(dir.join("cni")).expect("a directory");
        let netns = format!("isopod-cri-{}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &netns]));
        run(Command::new("ip").args(["-n", &netns, "link", "set", "lo", "up"]));
        fs::write(dir.join("config.toml"), config(&dir, spares > 0)).expect("containerd's configuration");
        let network = network(&dir).to_string();
        fs::write(dir.join("cni/10-test.conflist"), network).expect("CNI's configuration");
        // Debian's plugins, and those that a test adds.
        fs::create_dir_all(dir.join("cni-bin")).expect("a directory");
        for plugin in fs::read_dir("/usr/lib/cni").expect("CNI's plugins") {
            let plugin = plugin.expect("a plugin");
            let link = dir.join("cni-bin").join(plugin.file_name());
            std::os::unix::fs::symlink(plugin.path(), link).expect("a link");
        }
        let bin = bench.isopod().parent().expect("a directory").to_owned();
        let env = vec![
            ("PATH", format!("{}:{}", bin.display(), bench.path.display())),
            ("ISOPOD_DIR", bench.state().display().to_string()),
            ("ISOPOD_START", start.to_owned()),
            ("ISOPOD_SPARES", spares.to_string()),
            ("ISOPOD_BIN", bench.isopod().display().to_string()),
            (OF_CONTAINERD, "secret".to_owned()),
        ];
        let child = Mutex::new(spawn(&dir, &netns, &env));
        let containerd = Self {
            dir,
            netns,
            env,
            child,
        };
        containerd.await_answer();
        containerd.import(bench);
        containerd
    }

    fn await_answer(&self) {
        let begun = Instant::now();
        while let Err(refused) = self.try_call("Version", &Message::new()) {
            let late = begun.elapsed() > Duration::from_secs(60);
            assert!(!late, "containerd does not answer: {refused:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn import(&self, bench: &Bench) {
        let box_image = Image::busybox().config("Cmd", json!(["sleep", "1000000"]));
        let box_image = box_image.config("Env", json!(["PATH=/usr/bin:/bin:/usr/sbin:/sbin"]));
        let layout = bench.image(&box_image);
        let archive = self.dir.join("image.tar");
        let to = format!("docker-archive:{}:{IMAGE}", archive.display());
        run(Command::new("skopeo").args(["copy", "-q", "--insecure-policy", &layout, &to]));
        for namespace in ["k8s.io", "default"] {
            let import = ["images", "import", &archive.display().to_string()].map(str::to_owned);
            run(self.ctr(namespace).args(import));
        }
    }

    /// Lets a plugin, a script of the shell, be called behind the bridge for sandboxes from now on; `None`: none.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn with_plugin(&self, script: Option<&str>) {
        let list = self.dir.join("cni/05-more.conflist");
        let Some(script) = script else {
            return fs::remove_file(list).expect("CNI's configuration");
        };
        let plugin = self.dir.join("cni-bin/more");
        fs::write(&plugin, script).expect("a plugin");
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).expect("a program");
        let mut network = network(&self.dir);
        let plugins = network["plugins"].as_array_mut().expect("a list");
        plugins.push(json!({"type": "more"}));
        fs::write(list, network.to_string()).expect("CNI's configuration");
        // containerd follows the directory.
        std::thread::sleep(Duration::from_secs(1));
    }

    /// The command `ctr`.
    #[must_use]
    pub fn ctr(&self, namespace: &str) -> Command {
        let mut command = Command::new("ctr");
        command
            .arg("-a")
            .arg(self.socket())
            .args(["-n", namespace])
            .envs(self.env.iter().cloned());
        command
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("c.sock")
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills it.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(&self) {
        let mut child = self.child();
        child.kill().expect("a kill");
        child.wait().expect("its end");
    }

    /// Starts it again, when it was killed.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&self) {
        *self.child() = spawn(&self.dir, &self.netns, &self.env);
        self.await_answer();
    }

    /// Its directory, below which everything of it is: its root, its state, and the network namespaces that it makes.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The network namespace that it is in.
    #[must_use]
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// Calls a method of the runtime service.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn try_call(&self, method: &str, request: &Message) -> Result<Read, Refused> {
        let broken = |error: &dyn std::fmt::Display| Refused {
            code: "-".to_owned(),
            text: error.to_string(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| broken(&error))?;
        runtime.block_on(async {
            let called = tokio::time::timeout(CALL_WITHIN, call(&self.socket(), method, request)).await;
            match called {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => Err(broken(&error)),
                Err(_) => Err(broken(&format!("no answer within {} s", CALL_WITHIN.as_secs()))),
            }
        })
    }

    /// The same, where it must be done.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn call(&self, method: &str, request: &Message) -> Read {
        let answer = self.try_call(method, request);
        answer.unwrap_or_else(|refused| panic!("{method}: {refused:?}\n{}", self.log()))
    }

    /// Runs a sandbox.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn sandbox(&self, name: &str) -> Sandbox<'_> {
        self.sandbox_with(name, |config| config)
            .unwrap_or_else(|refused| panic!("{refused:?}\n{}", self.log()))
    }

    /// Runs a sandbox of which more is said.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn sandbox_with(
        &self,
        name: &str,
        more: impl FnOnce(Message) -> Message,
    ) -> Result<Sandbox<'_>, Refused> {
        self.sandbox_by("isopod", name, more)
    }

    /// The same by another runtime, to compare with.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn sandbox_by(
        &self,
        runtime: &str,
        name: &str,
        more: impl FnOnce(Message) -> Message,
    ) -> Result<Sandbox<'_>, Refused> {
        let logs = self.dir.join("logs").join(name);
        fs::create_dir_all(&logs).expect("a directory of logs");
        let metadata = Message::new()
            .text(1, name)
            .text(2, format!("uid-{name}"))
            .text(3, "default");
        let config = Message::new()
            .message(1, metadata)
            .text(2, name)
            .text(3, logs.as_os_str().as_encoded_bytes());
        let config = more(config);
        let request = Message::new().message(1, config.clone()).text(2, runtime);
        let answer = self.try_call("RunPodSandbox", &request)?;
        Ok(Sandbox {
            containerd: self,
            id: answer.text(1),
            config,
            logs,
        })
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // What a test that failed left behind.
        for sandbox in self
            .try_call("ListPodSandbox", &Message::new())
            .into_iter()
            .flat_map(|all| all.messages(1))
        {
            let of = Message::new().text(1, sandbox.text(1));
            let _ = self.try_call("StopPodSandbox", &of);
            let _ = self.try_call("RemovePodSandbox", &of);
        }
        let _ = self.child().kill();
        let _ = self.child().wait();
        let _ = Command::new("ip").args(["netns", "del", &self.netns]).status();
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("a program");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {words}");
}

/// In the test's network namespace, and no other: what containerd's plugins make stays there.
fn spawn(dir: &Path, netns: &str, env: &[(&'static str, String)]) -> Child {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .expect("a log");
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{netns}"))
        .args(["containerd", "--log-level", "debug", "-c"]);
    command
        .arg(dir.join("config.toml"))
        .env_clear()
        .envs(env.iter().cloned());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("containerd")
}

/// Network namespaces are in containerd's own directory, whose mounts reach nobody where those of the host's root do not; those in
/// `/run/netns` reach all.
fn config(dir: &Path, shared_namespaces: bool) -> String {
    let dir = dir.display();
    let own_namespaces = !shared_namespaces;
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs",
]
[grpc]
  address = "{dir}/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  # The tests' hosts may lack the right to lower the score.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = {own_namespaces}
  sandbox_image = "{IMAGE}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.isopod]
    runtime_type = "io.containerd.isopod.v2"
    pod_annotations = ["io.isopod.*"]
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{dir}/cni-bin"
    conf_dir = "{dir}/cni"
"#
    )
}

fn network(dir: &Path) -> serde_json::Value {
    json!({"cniVersion": "0.4.0", "name": "test", "plugins": [{
        "type": "bridge", "bridge": "br0", "isGateway": true, "ipam": {
            "type": "host-local", "dataDir": dir.join("ipam"),
            "ranges": [[{"subnet": "10.88.9.0/24"}], [{"subnet": "fd88:9::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        },
    }]})
}

/// One call over a connection of its own (gRPC over HTTP/2, "PROTOCOL-HTTP2").
async fn call(
    socket: &Path,
    method: &str,
    request: &Message,
) -> Result<Result<Read, Refused>, Box<dyn std::error::Error>> {
    let stream = UnixStream::connect(socket).await?;
    let (client, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    let uri = format!("http://localhost/runtime.v1.RuntimeService/{method}");
    let head = http::Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (answer, mut body) = client.ready().await?.send_request(head.body(())?, false)?;
    let bytes = request.bytes();
    // Not compressed, the length, the message.
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(bytes.len())?.to_be_bytes());
    frame.extend_from_slice(bytes);
    body.send_data(Bytes::from(frame), true)?;
    let answer = answer.await?;
    let at_once = answer.headers().clone();
    let mut body = answer.into_body();
    let mut read = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        read.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await?.unwrap_or(at_once);
    let trailer = |name: &str| {
        let value = trailers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    Ok(match &*trailer("grpc-status") {
        "0" => Ok(Read::of(read.get(5..).unwrap_or_default())),
        code => Err(Refused {
            code: code.to_owned(),
            text: trailer("grpc-message"),
        }),
    })
}

/// A pod's sandbox.
pub struct Sandbox<'a> {
    containerd: &'a Containerd,
    pub id: String,
    config: Message,
    logs: PathBuf,
}

impl<'a> Sandbox<'a> {
    /// Creates a container.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn try_create(&self, name: &str, config: ContainerConfig) -> Result<Container<'a>, Refused> {
        let security = config.security.message(3, config.namespaces);
        let linux = config.linux.message(2, security);
        let config = config
            .config
            .message(1, Message::new().text(1, name))
            .text(11, format!("{name}.log"));
        let config = config.message(15, linux);
        let request = Message::new()
            .text(1, &self.id)
            .message(2, config)
            .message(3, self.config.clone());
        let id = self.containerd.try_call("CreateContainer", &request)?.text(1);
        Ok(Container {
            containerd: self.containerd,
            id,
            log: self.logs.join(format!("{name}.log")),
        })
    }

    /// Creates and starts a container.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn try_start(&self, name: &str, config: ContainerConfig) -> Result<Container<'a>, Refused> {
        let container = self.try_create(name, config)?;
        self.containerd.try_call("StartContainer", &container.of())?;
        Ok(container)
    }

    /// The same, where it must start.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(&self, name: &str, config: ContainerConfig) -> Container<'a> {
        let started = self.try_start(name, config);
        started.unwrap_or_else(|refused| panic!("{name}: {refused:?}\n{}", self.containerd.log()))
    }

    /// Runs a container to its end: its exit status, the reason, and what it wrote.
    ///
    /// # Panics
    /// When it does not start or end.
    #[must_use]
    pub fn run(&self, name: &str, config: ContainerConfig) -> (i64, String, String) {
        let container = self.start(name, config);
        container.ended();
        let status = container.status();
        let output = container.output();
        container.remove();
        (status.number(7), status.text(10), output)
    }

    /// What is known of it, with what `crictl inspectp` shows (`PodSandboxStatusResponse`).
    #[must_use]
    pub fn status(&self) -> Read {
        let request = Message::new().text(1, &self.id).number(2, 1);
        self.containerd.call("PodSandboxStatus", &request)
    }

    fn info(&self) -> serde_json::Value {
        let status = self.status();
        let info = status
            .messages(2)
            .iter()
            .map(|entry| entry.text(2))
            .collect::<String>();
        serde_json::from_str(&info).expect("JSON")
    }

    /// The number of its task.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn pid(&self) -> i64 {
        self.info()["pid"].as_i64().expect("a number")
    }

    /// Its network namespace.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn namespace(&self) -> String {
        let info = self.info();
        let namespaces = info["runtimeSpec"]["linux"]["namespaces"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let network = namespaces.iter().find(|namespace| namespace["type"] == "network");
        network
            .and_then(|network| network["path"].as_str())
            .expect("a path")
            .to_owned()
    }

    pub fn stop(&self) {
        let _ = self
            .containerd
            .call("StopPodSandbox", &Message::new().text(1, &self.id));
    }

    /// Stops and removes it.
    pub fn remove(self) {
        self.stop();
        let _ = self
            .containerd
            .call("RemovePodSandbox", &Message::new().text(1, &self.id));
    }
}

pub struct Container<'a> {
    containerd: &'a Containerd,
    pub id: String,
    log: PathBuf,
}

impl Container<'_> {
    fn of(&self) -> Message {
        Message::new().text(1, &self.id)
    }

    /// What is known of it (`ContainerStatus`).
    #[must_use]
    pub fn status(&self) -> Read {
        self.containerd.call("ContainerStatus", &self.of()).message(1)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn ended(&self) {
        let begun = Instant::now();
        while self.status().number(3) != EXITED {
            assert!(
                begun.elapsed() < CALL_WITHIN,
                "it does not end: {}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it wrote, without the times and tags of Kubernetes' format; standard error with `!` before each line.
    #[must_use]
    pub fn output(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let mut text = String::new();
        for line in log.lines() {
            let [_, stream, tag, words] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else {
                continue;
            };
            text += if stream == "stderr" { "!" } else { "" };
            text += words;
            text += if tag == "F" { "\n" } else { "" };
        }
        text
    }

    /// Executes a command in it: exit status, standard output, standard error.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn try_exec(&self, command: &[&str], seconds: i64) -> Result<(i64, String, String), Refused> {
        let request = self.of().texts(2, command).number(3, seconds);
        let answer = self.containerd.try_call("ExecSync", &request)?;
        Ok((answer.number(3), answer.text(1), answer.text(2)))
    }

    /// What a shell's script writes in it.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn sh(&self, script: &str) -> String {
        let done = self.try_exec(&["sh", "-c", script], 60);
        let (_, out, error) = done.unwrap_or_else(|refused| panic!("{refused:?}\n{}", self.containerd.log()));
        out + &error
    }

    pub fn stop(&self, seconds: i64) {
        let _ = self
            .containerd
            .call("StopContainer", &self.of().number(2, seconds));
    }

    pub fn remove(self) {
        let _ = self.containerd.call("RemoveContainer", &self.of());
    }

    /// Calls a method whose request begins with a container's ID.
    #[must_use]
    pub fn call(&self, method: &str, more: impl FnOnce(Message) -> Message) -> Read {
        self.containerd.call(method, &more(self.of()))
    }

    /// Attaches to its streams.
    #[must_use]
    pub fn attach(&self, tty: bool) -> Streams {
        let request = |of: Message| {
            of.number(2, 1)
                .number(3, tty.into())
                .number(4, 1)
                .number(5, (!tty).into())
        };
        Streams::connect(&self.containerd.netns, &self.call("Attach", request).text(1))
    }

    /// Executes a command with streams.
    #[must_use]
    pub fn exec(&self, command: &[&str], tty: bool) -> Streams {
        let request = |of: Message| {
            let of = of
                .texts(2, command)
                .number(3, tty.into())
                .number(4, 1)
                .number(5, 1);
            of.number(6, (!tty).into())
        };
        Streams::connect(&self.containerd.netns, &self.call("Exec", request).text(1))
    }
}
