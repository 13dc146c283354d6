//! A command on a terminal of its own, with somebody who types and reads.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::running::kill;

/// How often the terminal is looked at.
const PERIOD: Duration = Duration::from_millis(5);

/// The words before a command that make standard input the terminal of a session of its own (setsid(1)).
pub(crate) const OWN_SESSION: [&str; 2] = ["setsid", "--ctty"];

/// The terminal, and the command on it. The command is killed when this goes.
pub struct Typist {
    child: Child,
    master: File,
    shown: Arc<Mutex<Vec<u8>>>,
    deadline: Instant,
    /// How much of what was shown was waited for.
    seen: usize,
    ended: bool,
}

impl Typist {
    /// Starts `command`, which begins a session, on a new terminal of 30 lines and 100 columns.
    pub(crate) fn new(command: &mut Command, deadline: Duration) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        let terminal: OwnedFd = ioctl_tiocgptpeer(&master, flags).expect("a terminal");
        let master = File::from(master);
        resize(&master, 30, 100);
        let clone = || terminal.try_clone().expect("a descriptor");
        command.stdin(clone()).stdout(clone()).stderr(clone());
        let child = command.spawn().expect("the command starts");
        // Not to be the reason why the terminal stays open.
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (into, mut from) = (shown.clone(), master.try_clone().expect("a descriptor"));
        // It stays open itself, so that its settings can be looked at when the command has ended.
        std::mem::forget(terminal);
        std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                into.lock().expect("the bytes").extend(&buffer[..n]);
            }
        });
        Self {
            child,
            master,
            shown,
            deadline: Instant::now() + deadline,
            seen: 0,
            ended: false,
        }
    }

    /// Types.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn type_keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("a terminal");
    }

    /// Gives the terminal another size.
    pub fn resize(&self, rows: u16, cols: u16) {
        resize(&self.master, rows, cols);
    }

    /// Waits until the terminal shows `words` behind what was waited for before.
    ///
    /// # Panics
    /// When the deadline passes.
    pub fn wait_for(&mut self, words: &str) {
        loop {
            let found = {
                let shown = self.shown.lock().expect("the bytes");
                let rest = &shown[self.seen..];
                let mut windows = rest.windows(words.len());
                windows.position(|window| window == words.as_bytes())
            };
            if let Some(at) = found {
                self.seen += at + words.len();
                return;
            }
            assert!(
                Instant::now() < self.deadline,
                "no `{words}` in time: {}",
                self.shown()
            );
            std::thread::sleep(PERIOD);
        }
    }

    /// All that was shown.
    #[must_use]
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("the bytes")).into_owned()
    }

    /// Whether the terminal shows what is typed and gives whole lines, as before the command.
    #[must_use]
    pub fn is_as_before(&self) -> bool {
        let modes = tcgetattr(&self.master).expect("a terminal").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Sends the command a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.child.id().cast_signed(), signal);
    }

    /// Waits for the command's end; its exit status, or 1000 and the signal's number.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn wait(&mut self) -> i32 {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the command's state") {
                break status;
            }
            assert!(
                Instant::now() < self.deadline,
                "did not end in time: {}",
                self.shown()
            );
            std::thread::sleep(PERIOD);
        };
        self.ended = true;
        status
            .code()
            .unwrap_or_else(|| 1000 + status.signal().unwrap_or(0))
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn resize(master: &File, rows: u16, cols: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).expect("a terminal");
}
