//! `cargo xtask kvm-check`: what differs between KVM and emulation, tried in a few pods on a host with KVM.
//!
//! ```text
//! isopod doctor        a guest ran with KVM
//! isopod plan          QEMU's switches and the kernel's parameters are KVM's, and none is emulation's
//! pods                 one CPU and several, the clock, volumes over virtiofs and 9p, a port, a template, exec, memory given back
//! ```
//!
//! Nobody of the project has such a host: `docs/performance.md` has what the documentation of QEMU and of the kernel says of each
//! switch, and this is how somebody sees whether it is so. With `--accel tcg` the same runs under emulation, and expects
//! emulation's words: so the checks themselves are known to work.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::build::{self, Profile};
use crate::command::{self, command};
use crate::failure::Failure;
use crate::packages::{self, Consent, Purpose};
use crate::{busybox, out, place};

/// What runs the guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accel {
    Kvm,
    /// Emulation, for a try of the checks themselves.
    Tcg,
}

impl Accel {
    fn word(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// The exit status with which `isopod` says that it failed itself.
const OWN_FAILURE: i32 = 125;

/// How often each start is measured.
const STARTS: usize = 5;

/// What is wrong, in words.
type Checked = Result<String, String>;

struct Host {
    isopod: PathBuf,
    accel: Accel,
    /// What the checks make.
    dir: PathBuf,
    image: String,
}

/// A check: what it holds, and how.
type Check = (&'static str, fn(&Host) -> Checked);

const CHECKS: [Check; 11] = [
    ("switches and kernel parameters", switches),
    ("one CPU", |host| guest(host, 1)),
    ("as many CPUs as the host has, up to 4", |host| {
        guest(
            host,
            std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
        )
    }),
    ("the guest's clock", clock),
    ("a volume over virtiofs", |host| volume(host, "virtiofs")),
    ("a volume over 9p", |host| volume(host, "9p")),
    ("a port of the pod", port),
    ("a template, and VMs restored from it", restored),
    ("exec, stop, start", life),
    ("freed memory is the host's again", memory),
    ("times", times),
];

pub(crate) fn run(accel: Accel, binaries: Option<&Path>) -> Result<(), Failure> {
    packages::ensure(Purpose::Run, Consent::Ask)?;
    let isopod = match binaries {
        Some(dir) => dir.join("isopod"),
        None => build::isopod(Profile::Release)?,
    };
    let dir = place::absolute(&place::target().join("kvm-check"));
    if dir.exists() {
        fs::remove_dir_all(&dir)
            .map_err(|error| Failure::new(format!("cannot remove `{}`", dir.display())).caused_by(error))?;
    }
    let image = busybox::make(&dir.join("busybox"))?.reference();
    let host = Host {
        isopod: place::absolute(&isopod),
        accel,
        dir,
        image,
    };
    if accel == Accel::Kvm {
        kvm_works(&host)?;
    }
    let mut failed = 0;
    for (what, check) in CHECKS {
        let started = Instant::now();
        let checked = check(&host);
        let seconds = started.elapsed().as_secs_f64();
        let (word, said) = match &checked {
            Ok(said) => ("ok", said),
            Err(said) => ("FAILED", said),
        };
        failed += usize::from(checked.is_err());
        out::say(&format!(
            "{word:<6}  {what} ({seconds:.1} s)\n        {}",
            said.replace('\n', "\n        ")
        ));
    }
    match failed {
        0 => Ok(()),
        _ => Err(
            Failure::new(format!("{failed} of {} checks failed", CHECKS.len())).hint(format!(
                "what the pods left is in `{}`; tell the project, with the output of `isopod doctor`",
                host.dir.display()
            )),
        ),
    }
}

/// Refuses where KVM is missing or hangs its guests, as `isopod doctor` finds it.
fn kvm_works(host: &Host) -> Result<(), Failure> {
    let text = command::quiet(&mut host.isopod(&["doctor", "--format", "json"])).unwrap_or_default();
    let document: Value = serde_json::from_str(&text).unwrap_or_default();
    let findings = document["findings"].as_array().into_iter().flatten();
    let kvm = findings.into_iter().find(|finding| finding["topic"] == "KVM");
    match kvm {
        Some(kvm) if kvm["level"] == "ok" => {
            out::say(&format!("ok      {}", kvm["what"].as_str().unwrap_or_default()));
            Ok(())
        }
        Some(kvm) => Err(Failure::new("there is no KVM to be checked on this host")
            .caused_by(Failure::new(kvm["what"].as_str().unwrap_or_default()))
            .hint(format!(
                "{}; `cargo xtask kvm-check --accel tcg` tries the checks themselves under emulation",
                kvm["fix"].as_str().unwrap_or_default()
            ))),
        None => {
            Err(Failure::new("`isopod doctor` says nothing of KVM").hint("`isopod doctor` by hand says why"))
        }
    }
}

impl Host {
    fn isopod(&self, args: &[&str]) -> std::process::Command {
        let state = self.dir.join("state");
        let mut isopod = command(&self.isopod, [""; 0]);
        isopod.arg("--dir").arg(state).args(args).stdin(Stdio::null());
        isopod
    }

    /// What a command of `isopod` prints.
    fn said(&self, args: &[&str]) -> Checked {
        let mut isopod = self.isopod(args);
        let output = isopod.output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        match output.status.code() {
            Some(0) => Ok(text),
            code => Err(format!(
                "`isopod {}` ended with {code:?}: {text}{}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }

    /// What a pod of one app prints: `flags` of `run`, and a shell's script.
    fn pod(&self, flags: &[&str], script: &str) -> Checked {
        let mut args = vec!["run", "--accel", self.accel.word()];
        args.extend(flags);
        args.extend([&*self.image, "sh", "-c", script]);
        self.said(&args)
    }
}

fn holds(what: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    what.then_some(()).ok_or_else(otherwise)
}

/// QEMU's switches, as `isopod plan` has them.
fn switches(host: &Host) -> Checked {
    let plan = |cpus: &str| {
        let words = [
            "plan",
            "--accel",
            host.accel.word(),
            "--vm-cpus",
            cpus,
            "--format",
            "json",
            &host.image,
        ];
        let document: Value = serde_json::from_str(&host.said(&words)?).map_err(|error| error.to_string())?;
        let args = document["hypervisor"]["argv"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let args: Vec<String> = args
            .iter()
            .filter_map(|arg| Some(arg.as_str()?.to_owned()))
            .collect();
        Ok::<_, String>(args.join(" "))
    };
    let emulations = [
        "-accel tcg",
        "-cpu max",
        "mitigations=off",
        "clearcpuid",
        "nolapic_timer",
    ];
    for cpus in ["1", "2"] {
        let args = plan(cpus)?;
        for word in emulations {
            // The timer is the CPU's own where there are several.
            let expected = host.accel == Accel::Tcg && (word != "nolapic_timer" || cpus == "1");
            holds(
                args.contains(word) == expected || cfg!(not(target_arch = "x86_64")),
                || format!("{cpus} CPUs, `{word}`: {args}"),
            )?;
        }
        let kvms = args.contains("-accel kvm") && args.contains("-cpu host");
        holds(kvms == (host.accel == Accel::Kvm), || {
            format!("{cpus} CPUs: {args}")
        })?;
    }
    Ok(format!("as they should be for `--accel {}`", host.accel.word()))
}

/// A guest of that many CPUs knows what it runs on, and its kernel complains of nothing.
fn guest(host: &Host, cpus: usize) -> Checked {
    let count = cpus.to_string();
    let script = "nproc; cat /sys/devices/system/clocksource/clocksource0/current_clocksource; \
                  dmesg | grep -c 'Hypervisor detected: KVM'; \
                  dmesg | grep -E 'Call Trace|WARNING|BUG:|soft lockup|rcu.*stall|MSR access error' | head -5; exit 0";
    let text = host.pod(
        &["--vm-cpus", &count, "--start", "cold", "--cap-add", "SYSLOG"],
        script,
    )?;
    let lines: Vec<&str> = text.lines().collect();
    let [found, clock, detected, complaints @ ..] = &lines[..] else {
        return Err(text);
    };
    holds(**found == *count, || format!("it has {found} CPUs, not {count}"))?;
    holds(complaints.is_empty(), || {
        format!("its kernel says: {}", complaints.join("; "))
    })?;
    if cfg!(target_arch = "x86_64") {
        let is_kvm = *detected != "0";
        holds(is_kvm == (host.accel == Accel::Kvm), || {
            format!("KVM detected by the guest: {detected}")
        })?;
        let clocks: &[&str] = match host.accel {
            Accel::Kvm => &["kvm-clock", "tsc"],
            Accel::Tcg => &["tsc", "hpet", "acpi_pm"],
        };
        holds(clocks.contains(clock), || format!("its clock is `{clock}`"))?;
    }
    Ok(format!(
        "{found} CPUs, clock `{clock}`, no complaint of the kernel"
    ))
}

fn since_epoch() -> f64 {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0.0, |now| now.as_secs_f64())
}

/// Wall clock and rate, in a booted VM.
fn clock(host: &Host) -> Checked {
    let text = host.pod(&["--start", "cold"], "date +%s; sleep 3; date +%s")?;
    compared(&text, since_epoch())
}

/// The guest's time at the end is the host's, and three seconds are three.
fn compared(text: &str, now: f64) -> Checked {
    let times: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    let [first, last] = times[..] else {
        return Err(format!("no two times: {text}"));
    };
    let (off, passed) = (now - last, last - first);
    holds((2.9..=5.0).contains(&passed), || {
        format!("sleeping for 3 s took {passed} s of the guest's")
    })?;
    // The guest's end takes a moment; whole seconds are compared.
    holds((-1.5..=6.0).contains(&off), || {
        format!("the guest is {off:.0} s behind the host")
    })?;
    Ok(format!(
        "within {:.0} s of the host's, and 3 s took {passed:.0} s",
        off.abs().max(1.0)
    ))
}

fn volume(host: &Host, transport: &str) -> Checked {
    let dir = host.dir.join(format!("volume-{transport}"));
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    fs::create_dir_all(&dir).map_err(failed)?;
    // More than a page cache of read-ahead: its pages travel through memory that both sides have.
    let bytes: Vec<u8> = (0..8_u32 << 20)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    fs::write(dir.join("from-host"), &bytes).map_err(failed)?;
    let bind = format!("{}:/data", dir.display());
    let script = "mount | grep -c ' on /data type '; cp /data/from-host /data/from-guest && cmp /data/from-host /data/from-guest && echo same";
    let text = host.pod(&["--transport", transport, "-v", &bind], script)?;
    holds(text == "1\nsame", || text.clone())?;
    let back = fs::read(dir.join("from-guest")).map_err(failed)?;
    holds(back == bytes, || {
        "what the guest wrote is not what it read".into()
    })?;
    Ok(format!("{} MiB there and back", bytes.len() >> 20))
}

/// The network, as a user has it: a port of the host is the app's.
fn port(host: &Host) -> Checked {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.map_err(|error| error.to_string())?;
    let publish = format!("127.0.0.1:{}:80", address.port());
    let script = "echo from the pod > /tmp/index.html; exec httpd -f -h /tmp";
    host.said(&[
        "run",
        "-d",
        "--name",
        "port",
        "--accel",
        host.accel.word(),
        "-p",
        &publish,
        &host.image,
        "sh",
        "-c",
        script,
    ])?;
    let answer = ask(address);
    host.said(&["rm", "--force", "port"])?;
    let answer = answer?;
    holds(answer.contains("from the pod"), || {
        format!("it answers: {answer}")
    })?;
    Ok("an HTTP request was answered".into())
}

fn ask(address: SocketAddr) -> Checked {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut answer = String::new();
        let asked = TcpStream::connect(address).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        match asked {
            Ok(_) if !answer.is_empty() => return Ok(answer),
            _ if Instant::now() > deadline => return Err(format!("no answer at {address}: {asked:?}")),
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// A saved VM continues with a clock and a `boot_id` of its own, twice.
fn restored(host: &Host) -> Checked {
    let script = "cat /proc/sys/kernel/random/boot_id; date +%s; sleep 3; date +%s";
    let mut ids = Vec::new();
    let mut said = String::new();
    for _ in 0..2 {
        let text = host.pod(&["--start", "warm"], script)?;
        let (id, times) = text.split_once('\n').ok_or_else(|| text.clone())?;
        said = compared(times, since_epoch())?;
        ids.push(id.to_owned());
    }
    let listed = host.said(&["template", "list"])?;
    holds(listed.contains(host.accel.word()), || {
        format!("no template of `{}`: {listed}", host.accel.word())
    })?;
    holds(ids[0] != ids[1], || {
        format!("two VMs have one boot_id: {}", ids[0])
    })?;
    Ok(format!("two VMs restored; the clock: {said}"))
}

fn life(host: &Host) -> Checked {
    let accel = host.accel.word();
    host.said(&[
        "run",
        "-d",
        "--name",
        "life",
        "--accel",
        accel,
        &host.image,
        "sleep",
        "1000",
    ])?;
    for _ in 0..2 {
        let text = host.said(&["exec", "life", "sh", "-c", "echo here; exit 0"])?;
        holds(text == "here", || text.clone())?;
        host.said(&["stop", "life"])?;
        host.said(&["start", "life"])?;
    }
    host.said(&["rm", "--force", "life"])?;
    let ended = host
        .isopod(&["run", "--accel", accel, &host.image, "sh", "-c", "exit 7"])
        .output();
    let code = ended.map_err(|error| error.to_string())?.status.code();
    holds(code == Some(7), || {
        format!("an app's exit status 7 came as {code:?} ({OWN_FAILURE}: `isopod` failed)")
    })?;
    Ok("stopped and started twice; exit statuses come back".into())
}

/// What an app took and freed is not resident on the host any more.
fn memory(host: &Host) -> Checked {
    const TAKEN_MIB: u64 = 512;
    let script = "echo up; read x; dd if=/dev/zero of=/dev/shm/x bs=1M count=512 2> /dev/null; rm /dev/shm/x; sleep 1000";
    let flags = [
        "--vm-memory",
        "1536m",
        "--shm-size",
        "600m",
        "--start",
        "cold",
        "-i",
    ];
    let mut args = vec!["run", "--name", "memory", "--accel", host.accel.word()];
    args.extend(flags);
    args.extend([&*host.image, "sh", "-c", script]);
    let mut pod = host.isopod(&args);
    let mut pod = pod
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let checked = watch_memory(&mut pod, TAKEN_MIB);
    let removed = host.said(&["rm", "--force", "memory"]);
    let _ = pod.kill();
    let _ = pod.wait();
    removed?;
    checked
}

fn watch_memory(pod: &mut std::process::Child, taken_mib: u64) -> Checked {
    let id = pod.id();
    let (Some(stdin), Some(stdout)) = (&mut pod.stdin, &mut pod.stdout) else {
        return Err("it has no streams".into());
    };
    let mut up = [0; 3];
    stdout
        .read_exact(&mut up)
        .map_err(|error| format!("it did not come up: {error}"))?;
    let before = resident_mib(id);
    stdin.write_all(b"\n").map_err(|error| error.to_string())?;
    let (mut most, deadline) = (before, Instant::now() + Duration::from_secs(90));
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(250));
        let now = resident_mib(id);
        most = most.max(now);
        // Reporting goes by blocks of 2 MiB, and some of them stay in part.
        if most >= before + taken_mib / 2 && now <= before + taken_mib / 4 {
            return Ok(format!(
                "{before} MiB resident before, {most} at most, {now} after"
            ));
        }
    }
    Err(format!(
        "{before} MiB resident before, {most} at most, {} after 90 s",
        resident_mib(id)
    ))
}

/// What all processes below `pid` have resident, in MiB (proc_pid_status(5), `VmRSS`).
fn resident_mib(pid: u32) -> u64 {
    let children =
        |pid: u32| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let own = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: Option<u64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        kib.unwrap_or(0) >> 10
    };
    let (mut sum, mut waiting) = (0, vec![pid]);
    while let Some(pid) = waiting.pop() {
        sum += own(pid);
        waiting.extend(
            children(pid)
                .split_whitespace()
                .filter_map(|word| word.parse::<u32>().ok()),
        );
    }
    sum
}

/// How long a start takes: for docs/performance.md, which has emulation's.
fn times(host: &Host) -> Checked {
    let mut lines = Vec::new();
    for (name, flags) in [("cold", ["--start", "cold"]), ("warm", ["--start", "warm"])] {
        let mut seconds = Vec::new();
        for _ in 0..STARTS {
            let started = Instant::now();
            host.pod(&[&flags[..], &["--network", "none"]].concat(), "true")?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        lines.push(format!(
            "{name}: median {:.2} s, {:.2} to {:.2}",
            seconds[STARTS / 2],
            seconds[0],
            seconds[STARTS - 1]
        ));
    }
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_clock_is_compared_with_the_hosts() {
        assert_eq!(
            compared("100\n103", 104.2).unwrap(),
            "within 1 s of the host's, and 3 s took 3 s"
        );
        assert!(
            compared("100\n103", 110.0)
                .unwrap_err()
                .contains("behind the host")
        );
        assert!(compared("100\n109", 109.0).unwrap_err().contains("took 9 s"));
        assert!(compared("100", 109.0).is_err());
    }
}
