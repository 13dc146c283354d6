//! A registry on the loopback interface, and what may stand before it.
//!
//! ```text
//! Registry   Debian's `docker-registry`, with TLS or without
//! Front      what a client takes for the registry: it notes every request and slows the answers down
//! Forward    a proxy that a client is configured with: it passes connections on (`CONNECT`, SOCKS 5) to one place
//! ```

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How much an answer is passed on at a time, in bytes.
const PIECE_BYTES: usize = 16 << 10;

/// A registry that ends with its value.
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub host: String,
}

impl Registry {
    /// A registry that keeps its images below `dir`, and speaks TLS with a certificate and its key, or plain HTTP.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(dir: &Path, tls: Option<(&Path, &Path)>) -> Self {
        let tls = tls.map(|(certificate, key)| {
            let (certificate, key) = (certificate.display(), key.display());
            format!("  tls: {{certificate: '{certificate}', key: '{key}'}}\n")
        });
        // A port that is free now may be taken a moment later.
        let started = (0..20).find_map(|_| {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let host = free.local_addr().expect("an address").to_string();
            drop(free);
            Self::at(host, dir, tls.as_deref().unwrap_or_default())
        });
        started.expect("docker-registry")
    }

    fn at(host: String, dir: &Path, tls: &str) -> Option<Self> {
        let config = dir.join("config.yml");
        let data = dir.join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: '{}'}}, delete: {{enabled: true}}}}\n\
             http:\n  addr: {host}\n{tls}",
            data.display()
        );
        std::fs::write(&config, text).expect("a configuration");
        let mut serve = Command::new("docker-registry");
        serve.arg("serve").arg(config);
        let child = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut registry = Self {
            child: child.expect("docker-registry"),
            host,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if registry.child.try_wait().expect("its state").is_some() {
                return None;
            }
            if TcpStream::connect(&registry.host).is_ok() {
                return Some(registry);
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Pushes what `source` means to skopeo as `name`, as it is.
    ///
    /// # Panics
    /// When it fails.
    pub fn push(&self, source: &str, name: &str) {
        let push = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--preserve-digests"])
            .args(["--dest-tls-verify=false", source])
            .arg(format!("docker://{}/{name}", self.host))
            .output()
            .expect("skopeo");
        assert!(push.status.success(), "{}", String::from_utf8_lossy(&push.stderr));
    }

    /// Takes the manifest of `name` away, as a registry's owner may.
    ///
    /// # Panics
    /// When it fails.
    pub fn delete(&self, name: &str) {
        let delete = Command::new("skopeo")
            .args(["delete", "--tls-verify=false"])
            .arg(format!("docker://{}/{name}", self.host))
            .output()
            .expect("skopeo");
        assert!(
            delete.status.success(),
            "{}",
            String::from_utf8_lossy(&delete.stderr)
        );
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `/v2/NAME/...`.
    pub path: String,
    /// Where the client wants the content from, in bytes.
    pub from: u64,
    /// How much of the content was passed on, in bytes.
    pub sent: u64,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    /// The most bytes of one answer's content in a second; 0 is as many as there are.
    rate: AtomicU64,
    /// How many connections there are.
    open: AtomicUsize,
}

/// What a client takes for the registry. It ends with the test's process.
pub struct Front {
    /// `127.0.0.1:PORT`.
    pub host: String,
    seen: Arc<Seen>,
}

impl Front {
    /// Stands before `registry`.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn start(registry: &Registry) -> Self {
        let seen = Arc::new(Seen::default());
        let (own, upstream) = (Arc::clone(&seen), registry.host.clone());
        let host = listen(move |client| {
            own.open.fetch_add(1, Ordering::SeqCst);
            // What fails is the client's to notice.
            let _ = answer(&client, &upstream, &own);
            let _ = client.shutdown(Shutdown::Both);
            own.open.fetch_sub(1, Ordering::SeqCst);
        });
        Self { host, seen }
    }

    /// Passes on as many bytes of each answer in a second; 0 is as many as there are.
    pub fn slow_down(&self, bytes: u64) {
        self.seen.rate.store(bytes, Ordering::SeqCst);
    }

    /// What was asked for of `blob` (`sha256:HEX`).
    #[must_use]
    pub fn requests_of(&self, blob: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.path.ends_with(&format!("/blobs/{blob}")));
        requests
    }

    /// Everything that was asked for.
    ///
    /// # Panics
    /// When a thread of this failed.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().expect("the requests").clone()
    }

    /// Forgets what was asked for, when all that was asked for is answered or given up.
    ///
    /// # Panics
    /// When that does not come.
    pub fn forget(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.seen.open.load(Ordering::SeqCst) > 0 {
            assert!(Instant::now() < deadline, "still busy: {:?}", self.requests());
            thread::sleep(Duration::from_millis(2));
        }
        self.seen.requests.lock().expect("the requests").clear();
    }
}

/// Serves each connection to a port of its own in a thread; gives `127.0.0.1:PORT`.
fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host = listener.local_addr().expect("an address").to_string();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(client));
        }
    });
    host
}

/// The lines up to an empty one, without their ends.
fn head(from: &mut impl BufRead) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => return Ok(lines),
            line => lines.push(line.to_owned()),
        }
    }
}

/// The value of a header, whatever case its name has.
fn header<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    let pairs = lines.iter().filter_map(|line| line.split_once(": "));
    pairs
        .filter(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .next()
}

fn answer(mut client: &TcpStream, upstream: &str, seen: &Seen) -> std::io::Result<()> {
    let lines = head(&mut BufReader::new(client))?;
    let from = header(&lines, "range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let index = {
        let mut requests = seen.requests.lock().expect("the requests");
        requests.push(Request {
            path: lines[0].split(' ').nth(1).unwrap_or_default().to_owned(),
            from: from.unwrap_or(0),
            sent: 0,
        });
        requests.len() - 1
    };
    let mut server = TcpStream::connect(upstream)?;
    let kept = lines
        .iter()
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let mut text: String = kept.map(|line| format!("{line}\r\n")).collect();
    text.push_str("Connection: close\r\n\r\n");
    server.write_all(text.as_bytes())?;
    let mut server = BufReader::new(server);
    let text: String = head(&mut server)?
        .iter()
        .map(|line| format!("{line}\r\n"))
        .collect();
    client.write_all(format!("{text}\r\n").as_bytes())?;
    let mut piece = [0; PIECE_BYTES];
    loop {
        let n = server.read(&mut piece)?;
        if n == 0 {
            return Ok(());
        }
        client.write_all(&piece[..n])?;
        seen.requests.lock().expect("the requests")[index].sent += n as u64;
        if let rate @ 1.. = seen.rate.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_secs_f64(n as f64 / rate as f64));
        }
    }
}

/// A proxy that a client is configured with. Wherever a client wants to, it gets to one place. It ends with the test's process.
pub struct Forward {
    /// `127.0.0.1:PORT`.
    pub host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Forward {
    /// A proxy to `upstream`. With `credentials`, the header's value, it refuses whoever does not have them.
    #[must_use]
    pub fn start(upstream: &str, credentials: Option<&'static str>) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (own, upstream) = (Arc::clone(&asked), upstream.to_owned());
        let host = listen(move |client| {
            // What fails is the client's to notice.
            let _ = forward(client, &upstream, credentials, &own);
        });
        Self { host, asked }
    }

    /// Where clients wanted to, `HOST:PORT`, since the last time.
    ///
    /// # Panics
    /// When a thread of this failed.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("what was asked"))
    }
}

fn forward(
    client: TcpStream,
    upstream: &str,
    credentials: Option<&str>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut first = [0];
    client.peek(&mut first)?;
    let place = match first {
        [5] => by_socks(&client)?,
        _ => {
            let lines = head(&mut BufReader::new(&client))?;
            if credentials.is_some_and(|wanted| header(&lines, "proxy-authorization") != Some(wanted)) {
                let text = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
                return (&client).write_all(text.as_bytes());
            }
            (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            lines[0]
                .strip_prefix("CONNECT ")
                .unwrap_or(&lines[0])
                .replace(" HTTP/1.1", "")
        }
    };
    asked.lock().expect("what was asked").push(place);
    let server = TcpStream::connect(upstream)?;
    let (mut there, mut back) = ((client.try_clone()?, server.try_clone()?), (server, client));
    let there = thread::spawn(move || {
        let _ = std::io::copy(&mut there.0, &mut there.1);
        let _ = there.1.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut back.0, &mut back.1);
    let _ = back.1.shutdown(Shutdown::Both);
    let _ = there.join();
    Ok(())
}

/// Where a client of SOCKS 5 wants to (RFC 1928); names alone, no authentication.
fn by_socks(mut client: &TcpStream) -> std::io::Result<String> {
    let mut head = [0; 2];
    client.read_exact(&mut head)?;
    client.read_exact(&mut vec![0; head[1].into()])?;
    client.write_all(&[5, 0])?;
    let mut request = [0; 5];
    client.read_exact(&mut request)?;
    assert_eq!(request[..4], [5, 1, 0, 3], "CONNECT to a name");
    let mut name = vec![0; usize::from(request[4]) + 2];
    client.read_exact(&mut name)?;
    let port = name.split_off(name.len() - 2);
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    Ok(format!("{}:{port}", String::from_utf8_lossy(&name)))
}
