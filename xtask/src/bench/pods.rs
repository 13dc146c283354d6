//! `cargo xtask bench pods`: what pods that run cost, in time and in memory.
//!
//! ```text
//! exec    `isopod exec POD -- true` in a pod that runs, and beside it `isopod list`, the floor of a command, and `isopod app add`
//! list    `isopod list` with 1,000 prepared pods
//! many    20 pods at once, 160 MiB each, booted and then restored: when the last has started, and what each takes beside its guest's memory
//! logs    an app writes as fast as it can, `isopod logs -f` reads
//! ```
//!
//! Goals stand beside the figures; it judges nothing else. All of it is emulated (`--accel tcg`), as the other benchmarks are.

mod memory;

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::failed;
use super::stats::Summary;
use crate::build::{self, Profile};
use crate::busybox;
use crate::command::{self, command};
use crate::failure::Failure;
use crate::{out, place};

/// How often a command is measured.
const COMMANDS: usize = 30;

/// How many pods are listed.
const LISTED: usize = 1000;

/// How many pods run at once.
const AT_ONCE: usize = 20;

/// What an app writes for the measure of logs.
const LOGGED_BYTES: u64 = 64 << 20;

/// A row of the table: what, the median, the smallest, the largest, the goal.
type Row = (String, String, &'static str);

/// Measures and prints the table.
pub(crate) fn pods() -> Result<(), Failure> {
    let isopod = build::isopod(Profile::Release)?;
    let dir = place::absolute(&place::target().join("bench"));
    let image = busybox::make(&place::target().join("bench/busybox"))?;
    let bench = PodsBench {
        isopod: place::absolute(&isopod),
        state: dir.join("pods-state"),
        image: format!("oci:{}:latest", place::absolute(&image.layout).display()),
    };
    bench.clean()?;
    let mut rows = Vec::new();
    for part in [exec, list, many, logs] {
        rows.extend(part(&bench)?);
    }
    bench.clean()?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut table = String::from("| | median | min | max | goal |\n|---|---|---|---|---|\n");
    for (what, figures, goal) in rows {
        table += &format!("| {what} | {figures} | {goal} |\n");
    }
    out::say(&format!(
        "\n`cargo xtask bench pods`: `--accel tcg`, on {processors} processors.\n\n{table}"
    ));
    Ok(())
}

/// Where it is measured, and with what.
struct PodsBench {
    isopod: PathBuf,
    state: PathBuf,
    image: String,
}

impl PodsBench {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = command(&self.isopod, ["--dir"]);
        command.arg(&self.state).args(words);
        command.env("PATH", place::search_path()).stdin(Stdio::null());
        command
    }

    /// A pod of the image, with words of its own before it and a script behind.
    fn pod(&self, subcommand: &str, flags: &[&str], script: &str) -> Command {
        let mut command = self.command(&[subcommand, "--accel", "tcg"]);
        command.args(flags).args([&self.image, "sh", "-c", script]);
        command
    }

    /// Runs a command to its end, and gives what it printed and how long it took.
    fn run(&self, mut command: Command) -> Result<(String, Duration), Failure> {
        let begun = Instant::now();
        let output = command
            .output()
            .map_err(|error| command::not_started(&command, error))?;
        let took = begun.elapsed();
        if output.status.success() {
            return Ok((String::from_utf8_lossy(&output.stdout).trim().to_owned(), took));
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(command::failed(&command, output.status).hint(said))
    }

    /// Removes every pod; what was imported and built stays.
    fn clean(&self) -> Result<(), Failure> {
        let (uuids, _) = self.run(self.command(&["list", "-q"]))?;
        for uuids in uuids.lines().collect::<Vec<_>>().chunks(100) {
            let mut remove = self.command(&["rm", "-f"]);
            remove.args(uuids);
            self.run(remove)?;
        }
        Ok(())
    }
}

fn milliseconds(times: &[Duration], digits: usize) -> String {
    Summary::of(times.iter().map(|time| time.as_secs_f64() * 1000.0).collect()).cells(digits)
}

fn exec(bench: &PodsBench) -> Result<Vec<Row>, Failure> {
    out::part("exec");
    let (uuid, _) = bench.run(bench.pod("run", &["-d", "--hold"], "exec sleep 100000"))?;
    let (mut execs, mut lists, mut adds) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..COMMANDS {
        let app = format!("app{i}");
        let add = [
            "app",
            "add",
            &uuid,
            "--app-name",
            &app,
            &bench.image,
            "sleep",
            "100000",
        ];
        adds.push(bench.run(bench.command(&add))?.1);
        bench.run(bench.command(&["app", "rm", "-f", &uuid, &app]))?;
        execs.push(bench.run(bench.command(&["exec", &uuid, "--", "true"]))?.1);
        lists.push(bench.run(bench.command(&["list"]))?.1);
    }
    bench.clean()?;
    let added: Vec<Duration> = adds
        .iter()
        .zip(&execs)
        .map(|(add, exec)| add.saturating_sub(*exec))
        .collect();
    Ok(vec![
        ("`exec POD -- true`, ms".into(), milliseconds(&execs, 0), ""),
        (
            "`list` beside it, one pod, ms".into(),
            milliseconds(&lists, 1),
            "",
        ),
        (
            "`app add` until the app runs, ms".into(),
            milliseconds(&adds, 0),
            "",
        ),
        (
            "the same less `exec`, round by round, ms".into(),
            milliseconds(&added, 0),
            "< 200",
        ),
    ])
}

fn list(bench: &PodsBench) -> Result<Vec<Row>, Failure> {
    out::part(&format!("{LISTED} pods are prepared"));
    let mut prepares = Vec::new();
    for _ in 0..LISTED {
        let (_, took) = bench.run(bench.pod("prepare", &[], "true"))?;
        prepares.push(took);
    }
    let measure = |words: &[&str]| -> Result<Vec<Duration>, Failure> {
        let times = (0..COMMANDS).map(|_| bench.run(bench.command(words)).map(|(_, took)| took));
        times.collect()
    };
    let rows = vec![
        (
            format!("`list` of {LISTED} pods, ms"),
            milliseconds(&measure(&["list"])?, 0),
            "< 100",
        ),
        (
            format!("`list --format json` of {LISTED} pods, ms"),
            milliseconds(&measure(&["list", "--format", "json"])?, 0),
            "",
        ),
        (
            format!("`prepare` beside up to {LISTED} pods, ms"),
            milliseconds(&prepares, 0),
            "",
        ),
    ];
    bench.clean()?;
    Ok(rows)
}

fn many(bench: &PodsBench) -> Result<Vec<Row>, Failure> {
    let mut rows = many_started(bench, "cold")?;
    rows.extend(many_started(bench, "warm")?);
    let flags = ["-d", "--vm-memory", "160m", "--start", "cold"];
    bench.run(bench.pod("run", &flags, "exec sleep 100000"))?;
    let qemu = memory::command_line_of_qemu()?;
    bench.clean()?;
    rows.push(kvm(bench, &qemu)?);
    bench.clean()?;
    Ok(rows)
}

fn many_started(bench: &PodsBench, mode: &str) -> Result<Vec<Row>, Failure> {
    out::part(&format!("{AT_ONCE} pods at once, {mode}"));
    if mode == "warm" {
        bench.run(bench.command(&["template", "make", "--accel", "tcg", "--vm-memory", "160m"]))?;
    }
    let flags = [
        "-d",
        "--vm-memory",
        "160m",
        "--boot-timeout",
        "900",
        "--start",
        mode,
    ];
    let alone = bench.run(bench.pod("run", &flags, "exec sleep 100000"))?.1;
    bench.clean()?;
    let begun = Instant::now();
    let starts: Vec<Result<Duration, Failure>> = std::thread::scope(|scope| {
        let start = || {
            bench.run(bench.pod("run", &flags, "exec sleep 100000"))?;
            Ok(begun.elapsed())
        };
        let starts: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(start)).collect();
        let lost = || Failure::new("a thread of the benchmark's ended");
        starts
            .into_iter()
            .map(|start| start.join().unwrap_or_else(|_| Err(lost())))
            .collect()
    });
    let starts = starts.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut rows = vec![
        (
            format!("a pod of 160 MiB alone, started, {mode}, s"),
            format!("{:.1} | |", alone.as_secs_f64()),
            "",
        ),
        (
            format!("{AT_ONCE} at once, each started, {mode}, s"),
            Summary::of(starts.iter().map(Duration::as_secs_f64).collect()).cells(1),
            "all come up",
        ),
    ];
    let (uuids, _) = bench.run(bench.command(&["list", "-q"]))?;
    let memory = memory::rows(uuids.lines())?.into_iter();
    rows.extend(memory.map(|(what, figures, goal)| (format!("{mode}: {what}"), figures, goal)));
    bench.clean()?;
    Ok(rows)
}

/// The same VMs with KVM, as many at once, each in the directory of a prepared pod: what their QEMU takes does not
/// depend on whether the guest comes up, which it may not where KVM is only half there.
fn kvm(bench: &PodsBench, qemu: &[OsString]) -> Result<Row, Failure> {
    let what = "`qemu-system-x86_64` with KVM, beside its guest's memory, MiB".to_owned();
    if OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_err()
    {
        return Ok((what, "no KVM here | |".into(), "< 40"));
    }
    out::part(&format!("{AT_ONCE} VMs with KVM"));
    let mut vms = Vec::new();
    for _ in 0..AT_ONCE {
        let (uuid, _) = bench.run(bench.pod("prepare", &["--vm-memory", "160m"], "true"))?;
        let dir = bench.state.join("pods/prepared").join(uuid);
        let socket = dir.join("agent.sock");
        let agent = UnixListener::bind(&socket).map_err(|error| failed("listen at", &socket, error))?;
        let mut command = command(&qemu[0], with_kvm(&qemu[1..]));
        command
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let vm = command.spawn();
        vms.push((vm.map_err(|error| command::not_started(&command, error))?, agent));
    }
    std::thread::sleep(KVM_TIME);
    let sizes: Result<Vec<f64>, Failure> = vms.iter().map(|(vm, _)| memory::of_process(vm.id())).collect();
    for (vm, _) in &mut vms {
        let _ = vm.kill();
        let _ = vm.wait();
    }
    Ok((what, Summary::of(sizes?).cells(1), "< 40"))
}

/// How long VMs with KVM have to get as far as they get.
const KVM_TIME: Duration = Duration::from_secs(10);

/// The arguments of an emulated VM, for one with KVM.
fn with_kvm(args: &[OsString]) -> Vec<OsString> {
    let mut args = args.to_vec();
    for (switch, value) in [("-accel", "kvm"), ("-cpu", "host")] {
        if let Some(at) = args.iter().position(|arg| arg == switch) {
            args[at + 1] = value.into();
        }
    }
    args
}

fn logs(bench: &PodsBench) -> Result<Vec<Row>, Failure> {
    out::part("logs");
    let line = "0123456789abcdef".repeat(6);
    let script = format!("sleep 5; yes {line} | head -c {LOGGED_BYTES}; exec sleep 100000");
    let (uuid, _) = bench.run(bench.pod("run", &["-d"], &script))?;
    let mut command = bench.command(&["logs", "-f", &uuid]);
    let follower = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut follower = follower.map_err(|error| command::not_started(&command, error))?;
    let mut stdout = follower.stdout.take().ok_or_else(|| Failure::new("no pipe"))?;
    let mut buffer = vec![0; 1 << 16];
    let (mut bytes, mut begun, mut last) = (0, None, Instant::now());
    while bytes < LOGGED_BYTES {
        let n = stdout
            .read(&mut buffer)
            .map_err(|error| failed("read", Path::new("logs -f"), error))?;
        if n == 0 {
            break;
        }
        begun.get_or_insert_with(Instant::now);
        last = Instant::now();
        bytes += u64::try_from(n).unwrap_or(0);
    }
    let _ = follower.kill();
    let _ = follower.wait();
    let took = last.duration_since(begun.unwrap_or(last)).as_secs_f64();
    let kept = fs::read_dir(bench.state.join("pods/started").join(&uuid).join("logs"));
    let kept: u64 = kept
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum();
    bench.clean()?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(vec![
        (
            "an app writes, `logs -f` reads, MiB/s".into(),
            format!("{:.1} | |", mib(bytes) / took),
            "",
        ),
        (
            format!("of {:.0} MiB written the follower got, MiB", mib(LOGGED_BYTES)),
            format!("{:.1} | |", mib(bytes)),
            "",
        ),
        (
            "on disk then, MiB".into(),
            format!("{:.1} | |", mib(kept)),
            "< 30",
        ),
    ])
}
