//! A command that runs, and what it said and how it ended.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How often a command is looked at.
const PERIOD: Duration = Duration::from_millis(5);

/// A command that runs. It is killed when this goes.
pub struct Running {
    child: Child,
    begun: Instant,
    deadline: Instant,
    stdout: Stream,
    stderr: Stream,
    ended: bool,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit status; 1000 and the signal's number where it was killed.
    pub status: i32,
    /// What it wrote on standard output.
    pub stdout: Vec<u8>,
    /// What it wrote on standard error.
    pub stderr: String,
    /// How long it ran.
    pub duration: Duration,
}

impl Output {
    /// Standard output as text.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text on standard output")
    }

    /// Fails the test unless the exit status is `status`; shows all that was said then.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    #[must_use]
    pub fn expect(self, status: i32) -> Self {
        assert!(
            self.status == status,
            "exit status {} instead of {status} after {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            self.duration,
            String::from_utf8_lossy(&self.stdout),
            self.stderr
        );
        self
    }

    /// Fails the test unless it ended with `status`, nothing on standard output, and on standard error just `words`.
    ///
    /// # Panics
    /// When it is otherwise.
    #[track_caller]
    pub fn assert_refused(&self, status: i32, words: &str) {
        let said = String::from_utf8_lossy(&self.stdout);
        assert_eq!((self.status, &*said, self.stderr.trim_end()), (status, "", words));
    }
}

/// A stream that is read while the command runs.
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn read(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 64 * 1024];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                into.lock().expect("the bytes").extend(&buffer[..n]);
            }
        });
        Self {
            bytes,
            reader: Some(reader),
        }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().expect("the bytes").clone()
    }
}

impl Running {
    pub(crate) fn new(command: &mut Command, input: Option<Vec<u8>>, deadline: Duration) -> Self {
        command.stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        let begun = Instant::now();
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // The command may end before it has read all.
            std::thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let stdout = Stream::read(child.stdout.take().expect("a pipe"));
        let stderr = Stream::read(child.stderr.take().expect("a pipe"));
        Self {
            child,
            begun,
            deadline: begun + deadline,
            stdout,
            stderr,
            ended: false,
        }
    }

    /// The command's own process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends a signal to the command.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Waits until standard output holds `words`.
    ///
    /// # Panics
    /// When the command ends first, or the deadline passes.
    pub fn wait_for(&mut self, words: &str) {
        let holds = |bytes: &[u8]| {
            bytes
                .windows(words.len())
                .any(|window| window == words.as_bytes())
        };
        while !holds(&self.stdout.so_far()) {
            let ended = self.child.try_wait().expect("the command's state").is_some();
            assert!(
                !ended || holds(&self.stdout.so_far()),
                "ended without `{words}`: {}",
                self.said()
            );
            assert!(
                Instant::now() < self.deadline,
                "no `{words}` in time: {}",
                self.said()
            );
            std::thread::sleep(PERIOD);
        }
    }

    fn said(&self) -> String {
        let text = |stream: &Stream| String::from_utf8_lossy(&stream.so_far()).into_owned();
        format!(
            "\n--- stdout\n{}\n--- stderr\n{}",
            text(&self.stdout),
            text(&self.stderr)
        )
    }

    /// Waits for the command's end.
    ///
    /// # Panics
    /// When it does not come in time; the command is killed then.
    #[must_use]
    pub fn wait(mut self) -> Output {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the command's state") {
                break status;
            }
            assert!(
                Instant::now() < self.deadline,
                "did not end in time: {}",
                self.said()
            );
            std::thread::sleep(PERIOD);
        };
        self.ended = true;
        let duration = self.begun.elapsed();
        for stream in [&mut self.stdout, &mut self.stderr] {
            // A process that is left may hold the pipe open: what it says later is nobody's.
            let reader = stream.reader.take().expect("a reader");
            let patience = Instant::now() + Duration::from_secs(2);
            while !reader.is_finished() && Instant::now() < patience {
                std::thread::sleep(PERIOD);
            }
        }
        Output {
            status: status
                .code()
                .unwrap_or_else(|| 1000 + status.signal().unwrap_or(0)),
            stdout: self.stdout.so_far(),
            stderr: String::from_utf8_lossy(&self.stderr.so_far()).into_owned(),
            duration,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // The processes of its VM die with it.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to a process.
pub(crate) fn kill(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a process");
    let _ = rustix::process::kill_process(pid, signal);
}
