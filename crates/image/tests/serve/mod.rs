//! A real registry for the tests (Debian's `docker-registry`), and a proxy in front of it that can go wrong.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::make::run;

/// A registry that ends with its value.
pub(crate) struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
    pub(crate) dir: PathBuf,
}

impl Registry {
    /// A registry that keeps its images below `dir`; `more` is added to the section `http` of its configuration, and
    /// `sections` behind it.
    pub(crate) fn start(dir: &Path, more: &str, sections: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        // A port that is free now may be taken a moment later.
        for _ in 0..20 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let host = listener.local_addr().unwrap().to_string();
            drop(listener);
            let config = dir.join("config.yml");
            let root = dir.join("data");
            let text = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: '{}'}}}}\n\
                 http:\n  addr: {host}\n{more}{sections}",
                root.display()
            );
            fs::write(&config, text).unwrap();
            let mut child = Command::new("docker-registry")
                .arg("serve")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(fs::File::create(dir.join("log")).unwrap())
                .spawn()
                .expect("this test needs `docker-registry`");
            let deadline = Instant::now() + Duration::from_secs(20);
            while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
                if TcpStream::connect(&host).is_ok() {
                    return Self {
                        child,
                        host,
                        dir: dir.to_owned(),
                    };
                }
                thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("no registry: {}", fs::read_to_string(dir.join("log")).unwrap());
    }

    /// Pushes what `source` means to skopeo as `name`.
    pub(crate) fn push(&self, source: &str, name: &str, flags: &[&str]) {
        let target = format!("docker://{}/{name}", self.host);
        let mut args = vec!["copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"];
        args.extend(flags);
        args.extend([source, &target]);
        run("skopeo", &args);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request, as the proxy saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
}

impl Request {
    pub(crate) fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }
}

/// How long a byte takes that drips: 50 a second, and never silent for long.
const DRIP: Duration = Duration::from_millis(20);

/// What the proxy does with a request.
pub(crate) enum Answer {
    /// What the registry says.
    Pass,
    /// That, broken off after so many bytes of its body.
    Cut(usize),
    /// That, with one bit of its body turned.
    Tamper,
    /// That, after a while.
    Slow(Duration),
    /// That, what follows so many bytes of its body a byte at a time ([`DRIP`]).
    Drip(usize),
    /// What is given, then the rest a byte at a time.
    SayDripping(String, String),
    /// A status with headers, each with its line end, and a body.
    Say(&'static str, String, String),
}

/// A proxy on the loopback interface that does not say that it is one.
pub(crate) struct Proxy {
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Proxy {
    /// Stands before `upstream`; `answer` is asked for each request, with how many were before it.
    pub(crate) fn start(
        upstream: &str,
        answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, upstream, answer) = (Arc::clone(&seen), upstream.to_owned(), Arc::new(answer));
        // It ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (log, upstream, answer) = (Arc::clone(&log), upstream.clone(), Arc::clone(&answer));
                thread::spawn(move || serve(client, &upstream, &log, &*answer));
            }
        });
        Self { host, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn blobs(&self) -> usize {
        self.seen().iter().filter(|request| request.is_blob()).count()
    }
}

fn serve(
    client: TcpStream,
    upstream: &str,
    log: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request, usize) -> Answer,
) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            // A TLS client says something else.
            Err(_) | Ok(0) => return,
            Ok(_) if line == "\r\n" => break,
            Ok(_) => lines.push(line.trim_end().to_owned()),
        }
    }
    let header = |name: &str| {
        let value = lines.iter().find_map(|line| {
            line.split_once(": ")
                .filter(|(n, _)| n.eq_ignore_ascii_case(name))
        });
        value.map(|(_, value)| value.to_owned())
    };
    let request = Request {
        path: lines[0].split(' ').nth(1).unwrap_or_default().to_owned(),
        range: header("range"),
        authorization: header("authorization"),
    };
    let before = {
        let mut log = log.lock().unwrap();
        log.push(request.clone());
        log.len() - 1
    };
    let mut client = client;
    let mut dripping = None;
    let (cut, tamper) = match answer(&request, before) {
        Answer::SayDripping(head, rest) => {
            let _ = client.write_all(head.as_bytes());
            return drip(&mut client, rest.as_bytes());
        }
        Answer::Drip(bytes) => {
            dripping = Some(bytes);
            (None, false)
        }
        Answer::Say(status, headers, body) => {
            let _ = write!(
                client,
                "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            return;
        }
        Answer::Pass => (None, false),
        Answer::Cut(bytes) => (Some(bytes), false),
        Answer::Tamper => (None, true),
        Answer::Slow(pause) => {
            thread::sleep(pause);
            (None, false)
        }
    };
    let Ok(mut server) = TcpStream::connect(upstream) else {
        return;
    };
    let mut head = lines[0].clone() + "\r\n";
    for line in &lines[1..] {
        let lower = line.to_ascii_lowercase();
        if !lower.starts_with("connection:") && !lower.starts_with("authorization: bearer") {
            head.push_str(line);
            head.push_str("\r\n");
        }
    }
    head.push_str("Connection: close\r\n\r\n");
    server.write_all(head.as_bytes()).unwrap();
    let mut all = Vec::new();
    let _ = server.read_to_end(&mut all);
    let body = all
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(0, |at| at + 4);
    if tamper && let Some(byte) = all[body..].get_mut(20) {
        *byte ^= 1;
    }
    let end = cut
        .or(dripping)
        .map_or(all.len(), |cut| (body + cut).min(all.len()));
    let _ = client.write_all(&all[..end]);
    if dripping.is_some() {
        drip(&mut client, &all[end..]);
    }
    let _ = client.shutdown(Shutdown::Both);
}

/// Writes a byte at a time, until nobody listens.
fn drip(client: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        if client.write_all(&[*byte]).is_err() {
            return;
        }
        thread::sleep(DRIP);
    }
}
