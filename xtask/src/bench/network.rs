//! `cargo xtask bench network`: how fast a pod's network is, by each kind of router, side by side.
//!
//! ```text
//! qemu    --network user,by=qemu     the server on the host's loopback interface, at the router's address
//! passt   --network user,by=passt    the same
//! tap     --netns                    the server at the other end of a veth pair, in a network namespace of the benchmark's own
//!
//! streams   iperf3(1), SECONDS for each: from the pod and to it, 1 stream and 8; the kinds take turns, ROUNDS times
//! turns     1 byte there and back over TCP, one after the other
//! starts    `isopod run ... true`, alternating, by QEMU and by passt
//! ```
//!
//! The pods run the host's iperf3 and perl, from a volume. All of it is emulated, as the other benchmarks are: the guest's processor is
//! what bounds it, and ratios matter. Goals stand beside the figures; it judges nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::failed;
use crate::build::{self, Profile};
use crate::busybox;
use crate::command::{self, command};
use crate::failure::Failure;
use crate::{out, place};

const SECONDS: u32 = 5;
/// How often each kind has its turn; the median of each figure counts.
const ROUNDS: usize = 3;
const STARTS: usize = 7;
const IPERF_PORT: u16 = 52_110;
const TURN_PORT: u16 = 52_111;
/// The address of the server at the other end of the veth pair.
const HOST: &str = "10.126.0.1";
const ROUTER: &str = "10.0.2.2";

/// Answers each byte, for one connection.
const TURN_SERVER: &str = r#"$s = IO::Socket::INET->new(Listen => 1, LocalAddr => $ARGV[0], LocalPort => $ARGV[1], ReuseAddr => 1) or die;
    $c = $s->accept; setsockopt($c, 6, 1, 1); while (sysread($c, $b, 1)) { syswrite($c, $b) }"#;
/// Takes its turns for some seconds, and says how many microseconds one took.
const TURN_CLIENT: &str = r#"$c = IO::Socket::INET->new(PeerAddr => "$ARGV[0]:$ARGV[1]") or die $@; setsockopt($c, 6, 1, 1);
    $t = time; 1 while time == $t; $end = time + $ARGV[2];
    while (time < $end) { syswrite($c, "x"); sysread($c, $b, 1); $n++ } printf "turn %.0f\n", 1e6 * $ARGV[2] / $n;"#;

/// A kind of router, and what was measured with it.
struct Kind {
    name: &'static str,
    flags: Vec<String>,
    server: &'static str,
    /// The namespace of the servers; empty: this one.
    within: Vec<String>,
    /// MB/s from the pod and to it, with 1 stream and with 8, and microseconds for a turn.
    figures: Vec<f64>,
}

/// Two namespaces with a veth pair, which go with it.
struct Pair {
    names: [String; 2],
}

impl Pair {
    fn new() -> Result<Self, Failure> {
        let pair = Self {
            names: ["host", "pod"].map(|end| format!("isopod-bench-{end}")),
        };
        let [host, pod] = &pair.names;
        pair.delete();
        for words in [
            vec!["netns", "add", host],
            vec!["netns", "add", pod],
            vec![
                "-n", host, "link", "add", "v0", "type", "veth", "peer", "name", "eth0", "netns", pod,
            ],
            vec!["-n", host, "address", "add", "10.126.0.1/24", "dev", "v0"],
            vec!["-n", pod, "address", "add", "10.126.0.2/24", "dev", "eth0"],
            vec!["-n", host, "link", "set", "v0", "up"],
            vec!["-n", pod, "link", "set", "eth0", "up"],
        ] {
            command::run(&mut command("ip", words))?;
        }
        Ok(pair)
    }

    fn delete(&self) {
        for name in &self.names {
            let _ = Command::new("ip")
                .args(["netns", "del", name])
                .stderr(Stdio::null())
                .status();
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.delete();
    }
}

struct NetworkBench {
    isopod: PathBuf,
    state: PathBuf,
    image: String,
}

/// Measures and prints the table.
pub(crate) fn network() -> Result<(), Failure> {
    let isopod = match std::env::var_os("ISOPOD_BIN") {
        Some(path) => path.into(),
        None => place::absolute(&build::isopod(Profile::Release)?),
    };
    let dir = place::absolute(&place::target().join("bench"));
    let image = busybox::make(&place::target().join("bench/busybox"))?;
    let bench = NetworkBench {
        isopod,
        state: dir.join("network-state"),
        image: format!("oci:{}:latest", place::absolute(&image.layout).display()),
    };
    let pair = Pair::new()?;
    let user = |name, by: &str| Kind {
        name,
        flags: vec!["--network".into(), format!("user,by={by},host-loopback=yes")],
        server: ROUTER,
        within: Vec::new(),
        figures: Vec::new(),
    };
    let mut kinds = [
        user("qemu", "qemu"),
        user("passt", "passt"),
        Kind {
            name: "tap",
            flags: vec!["--netns".into(), format!("/run/netns/{}", pair.names[1])],
            server: HOST,
            within: ["ip", "netns", "exec", &pair.names[0]].map(str::to_owned).into(),
            figures: Vec::new(),
        },
    ];
    let mut rounds: Vec<Vec<Vec<f64>>> = vec![Vec::new(); kinds.len()];
    for _ in 0..ROUNDS {
        for (kind, rounds) in kinds.iter().zip(&mut rounds) {
            let figures = bench.measure(kind)?;
            out::say(&format!("{}: {figures:.0?}", kind.name));
            rounds.push(figures);
        }
    }
    for (kind, rounds) in kinds.iter_mut().zip(&rounds) {
        kind.figures = medians(rounds);
    }
    let starts = bench.starts(&kinds)?;
    out::say(&table(&kinds, &starts));
    let _ = fs::remove_dir_all(&bench.state);
    Ok(())
}

/// The host's own programs, in a pod.
const LOADER: &str = "/host/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path /host/lib/x86_64-linux-gnu:/host/lib/x86_64-linux-gnu/perl-base";

impl NetworkBench {
    fn run(&self, flags: &[String]) -> Command {
        let mut command = command(&self.isopod, [Path::new("--dir"), &self.state]);
        command.args(["run", "--accel", "tcg"]).args(flags);
        command.env("PATH", place::search_path());
        command
    }

    fn measure(&self, kind: &Kind) -> Result<Vec<f64>, Failure> {
        let address = if kind.within.is_empty() { "127.0.0.1" } else { HOST };
        let script = std::env::temp_dir().join("isopod-bench-turns.pl");
        fs::write(&script, TURN_SERVER).map_err(|error| failed("write", &script, error))?;
        let iperf = Server::start(
            kind,
            &["iperf3", "-s", "-B", address, "-p", &IPERF_PORT.to_string()],
        )?;
        let path = script.display().to_string();
        let turns = [
            "perl",
            "-MIO::Socket::INET",
            &path,
            address,
            &TURN_PORT.to_string(),
        ];
        let turns = Server::start(kind, &turns)?;
        std::thread::sleep(std::time::Duration::from_millis(500));
        let server = kind.server;
        let iperf3 = format!("{LOADER} /host/bin/iperf3 -c {server} -p {IPERF_PORT} -t {SECONDS} -f m -i 0");
        let perl = format!(
            "{LOADER} /host/bin/perl -I /host/lib/x86_64-linux-gnu/perl-base \
             -MIO::Socket::INET -e '{TURN_CLIENT}' {server} {TURN_PORT} {SECONDS}"
        );
        let streams: String = ["", "-P 8", "-R", "-R -P 8"]
            .map(|way| format!("echo measured; {iperf3} {way}; "))
            .concat();
        let mut pod = self.run(&kind.flags);
        pod.args([
            "-v",
            "/usr:/host:ro",
            &self.image,
            "sh",
            "-c",
            &format!("{streams} {perl}"),
        ]);
        let output = pod.output().map_err(|error| failed("run", &self.isopod, error))?;
        drop((iperf, turns));
        let said = String::from_utf8_lossy(&output.stdout);
        let mut figures: Vec<f64> = said.split("measured\n").skip(1).filter_map(received).collect();
        let turn = said
            .lines()
            .find_map(|line| line.strip_prefix("turn ")?.parse::<f64>().ok());
        figures.extend(turn);
        match figures.len() {
            5 => Ok(figures),
            _ => Err(Failure::new(format!(
                "{}: not all was measured: {said}{}",
                kind.name,
                String::from_utf8_lossy(&output.stderr)
            ))),
        }
    }

    /// Seconds of each start, by QEMU and by passt.
    fn starts(&self, kinds: &[Kind]) -> Result<[Vec<f64>; 2], Failure> {
        let mut starts = [Vec::new(), Vec::new()];
        for _ in 0..STARTS {
            for (kind, starts) in kinds.iter().zip(&mut starts) {
                let mut pod = self.run(&kind.flags);
                pod.args([&*self.image, "true"]).stderr(Stdio::null());
                let begun = Instant::now();
                command::status(&mut pod)?;
                starts.push(begun.elapsed().as_secs_f64());
            }
        }
        starts
            .iter_mut()
            .for_each(|starts| starts.sort_by(f64::total_cmp));
        Ok(starts)
    }
}

/// The median of each figure over the rounds.
fn medians(rounds: &[Vec<f64>]) -> Vec<f64> {
    let count = rounds.first().map_or(0, Vec::len);
    let median = |figure: usize| {
        let mut all: Vec<f64> = rounds.iter().map(|round| round[figure]).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    (0..count).map(median).collect()
}

/// A program of the host, which ends with it.
struct Server(Child);

impl Server {
    fn start(kind: &Kind, words: &[&str]) -> Result<Self, Failure> {
        let words: Vec<&str> = kind
            .within
            .iter()
            .map(String::as_str)
            .chain(words.iter().copied())
            .collect();
        let (program, args) = words.split_first().ok_or_else(|| Failure::new("no program"))?;
        let mut command = command(program, args);
        command.stdout(Stdio::null()).stdin(Stdio::null());
        Ok(Self(
            command
                .spawn()
                .map_err(|error| failed("run", Path::new(program), error))?,
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What iperf3 says was received, in MB/s: of all streams where there are several.
fn received(said: &str) -> Option<f64> {
    let of = |line: &str| -> Option<f64> {
        let before = line.split(" Mbits/sec").next()?;
        Some(before.split_whitespace().next_back()?.parse::<f64>().ok()? / 8.0)
    };
    let mut lines = said
        .lines()
        .filter(|line| line.contains("Mbits/sec") && line.contains("receiver"));
    let last = lines.next_back()?;
    of(last)
}

fn table(kinds: &[Kind], starts: &[Vec<f64>; 2]) -> String {
    let rows = [
        "pod to host, 1 stream",
        "pod to host, 8 streams",
        "host to pod, 1 stream",
        "host to pod, 8 streams",
    ];
    let mut table = "| MB/s | qemu | passt | tap | passt / qemu (goal 2) | tap / qemu (goal 3) |\n|---|---|---|---|---|---|\n".to_owned();
    let figure = |kind: usize, row: usize| kinds[kind].figures[row];
    for (row, name) in rows.iter().enumerate() {
        let [qemu, passt, tap] = [0, 1, 2].map(|kind| figure(kind, row));
        table += &format!(
            "| {name} | {qemu:.0} | {passt:.0} | {tap:.0} | {:.1} | {:.1} |\n",
            passt / qemu,
            tap / qemu
        );
    }
    let [qemu, passt, tap] = [0, 1, 2].map(|kind| figure(kind, 4));
    table += &format!(
        "| 1 byte there and back, in µs | {qemu:.0} | {passt:.0} | {tap:.0} | {:.1} | {:.1} |\n",
        passt / qemu,
        tap / qemu
    );
    let [qemu, passt] = starts.each_ref().map(|starts| starts[starts.len() / 2]);
    table
        + &format!(
            "| a start, in s (median of {STARTS}) | {qemu:.2} | {passt:.2} | | {:.2} | |\n",
            passt / qemu
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_each_figure_counts() {
        let rounds = [vec![1.0, 9.0], vec![3.0, 7.0], vec![2.0, 8.0]];
        assert_eq!(medians(&rounds), [2.0, 8.0]);
        assert!(medians(&[]).is_empty());
    }

    #[test]
    fn what_all_streams_received_counts() {
        let one = "[  5]   0.00-5.00   sec   100 MBytes   168 Mbits/sec    0             sender\n\
                   [  5]   0.00-5.01   sec  99.0 MBytes   160 Mbits/sec                  receiver\n";
        assert_eq!(received(one), Some(20.0));
        let all =
            format!("{one}[SUM]   0.00-5.00   sec   1 GBytes   1600 Mbits/sec   receiver\n\niperf Done.\n");
        assert_eq!(received(&all), Some(200.0));
        assert_eq!(received("iperf3: error"), None);
    }
}
