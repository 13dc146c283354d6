//! A host of a test's own: one network namespace stands for the host and another for the world outside, so that nothing of this host's own
//! network is touched.

#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a test is its caller"
)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A host of a test's own, with a cable to the world outside. The thread that makes it is on that host from then on, with all that it
/// starts.
pub struct Host {
    /// Its network namespace.
    pub name: String,
    /// That of the world outside.
    pub outside: String,
}

impl Host {
    /// `None` where there can be none: not root.
    #[must_use]
    pub fn new(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let name = format!("isopod-{test}-{}", std::process::id());
        let host = Self {
            outside: format!("{name}-out"),
            name,
        };
        for space in [&host.name, &host.outside] {
            run(&["ip", "netns", "add", space]);
            run(&["ip", "-n", space, "link", "set", "lo", "up"]);
        }
        run(&[
            "ip",
            "-n",
            &host.name,
            "link",
            "add",
            "up0",
            "type",
            "veth",
            "peer",
            "name",
            "up1",
            "netns",
            &host.outside,
        ]);
        for (space, link, address, address6) in [
            (&host.name, "up0", "192.0.2.1/24", "2001:db8::1/64"),
            (&host.outside, "up1", "192.0.2.2/24", "2001:db8::2/64"),
        ] {
            run(&["ip", "-n", space, "address", "add", address, "dev", link]);
            run(&[
                "ip", "-n", space, "address", "add", address6, "dev", link, "nodad",
            ]);
            run(&["ip", "-n", space, "link", "set", link, "up"]);
        }
        run(&[
            "ip",
            "-n",
            &host.name,
            "route",
            "add",
            "default",
            "via",
            "192.0.2.2",
        ]);
        host.go_to(&host.name);
        Some(host)
    }

    /// Goes on in that namespace.
    pub fn go_to(&self, space: &str) {
        let space = File::open(format!("/run/netns/{space}")).unwrap();
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// A server outside, or on the host itself.
    pub fn serve(&self, space: &str, address: &str, words: &'static str) {
        self.go_to(space);
        let server = TcpListener::bind(address).unwrap();
        self.go_to(&self.name);
        std::thread::spawn(move || {
            for stream in server.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{words}\n").as_bytes());
            }
        });
    }

    /// The servers that pods are to reach, or not: one outside, one on every address of the host, one on its loopback interface.
    pub fn serve_all(&self) {
        self.serve(&self.outside, "192.0.2.2:80", "the world outside");
        self.serve(&self.name, "0.0.0.0:7000", "the host");
        self.serve(&self.name, "127.0.0.1:7001", "the host's loopback");
    }

    /// What a server answers to somebody in `space`.
    #[must_use]
    pub fn ask_from(&self, space: &str, address: &str) -> String {
        self.go_to(space);
        let answer = ask(address);
        self.go_to(&self.name);
        answer
    }

    /// What of the host's network is there beside its own: interfaces, rules of the firewall but for chains that have none, name servers.
    #[must_use]
    pub fn left(&self) -> String {
        let links = run(&["ip", "-o", "link", "show"]);
        let links = links
            .lines()
            .filter(|line| !line.contains(": lo:") && !line.contains(": up0"));
        let rules = ["iptables-save", "ip6tables-save"].map(|save| run(&[save]));
        let rules = rules.iter().flat_map(|rules| rules.lines());
        let of_pods = |line: &&str| {
            ["10.90", "10.91", "fd49", "isopod"]
                .iter()
                .any(|word| line.contains(word))
        };
        let servers = run(&["ss", "-Hln"]);
        let servers = servers.lines().filter(|line| line.contains(":53 "));
        let left: Vec<&str> = links.chain(rules.filter(of_pods)).chain(servers).collect();
        left.join("\n")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for name in [&self.name, &self.outside] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// What a command that succeeds prints.
pub fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a pod executes that is asked by others.
pub const SERVER: &str =
    "mkdir /tmp/www; echo one says hi > /tmp/www/hi; exec httpd -f -p [::]:80 -h /tmp/www";

/// Words of the shell that show what becomes of asking for each of these.
#[must_use]
pub fn asking(urls: &[&str]) -> String {
    let urls = urls.join(" ");
    format!(
        "for url in {urls}; do echo \"$url: $(timeout 3 wget -q -O - http://$url/hi 2>/dev/null || echo no)\"; done; "
    )
}

/// What a server says, or why it does not.
#[must_use]
pub fn ask(address: &str) -> String {
    let ask = || {
        let address = address.parse().unwrap();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(b"GET /hi HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    ask().unwrap_or_else(|error| error.to_string())
}
