//! A life of each kind: begun, its victim found, killed at its moment, and what is there afterwards looked at.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::{LIFE, Life, NETWORK, Neighbours, PATIENCE, SeenLife, Victim, WORK, status, wait_until};
use crate::host::Host;
use crate::running::kill;
use crate::{Bench, Output, Pod, faults, leftovers};

/// Where lives are lived.
pub(super) struct Place<'a> {
    pub(super) bench: &'a Bench,
    /// The host on which networks are, where there is one.
    pub(super) host: Option<&'a Host>,
    pub(super) image: String,
    /// How long a pod takes to start beside the others of its round.
    pub(super) start: Duration,
    /// How long an import takes.
    pub(super) import: Duration,
    /// The pods that each life was seen to have.
    pub(super) uuids: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Place<'_> {
    pub(super) fn live(&self, life: &Life) -> SeenLife {
        match life.victim {
            Victim::Import => self.import(life),
            Victim::Prepare => self.prepare(life),
            Victim::Run => self.run(life),
            Victim::Detacher => self.detach(life),
            Victim::Supervisor | Victim::Qemu | Victim::Virtiofsd => self.lose_process(life),
            Victim::Agent => self.lose_agent(life),
            Victim::Silent => self.fall_silent(life),
            Victim::Client => self.lose_client(life),
        }
    }

    fn pod(&self, life: &Life) -> Pod<'_> {
        let volume = self.bench.source(&format!("data-{}", life.number), &[]);
        let transport = if life.victim == Victim::Virtiofsd {
            "virtiofs"
        } else {
            life.transport
        };
        // An import is in a state of its own, which has no network.
        let networked = life.networked && self.host.is_some() && life.victim != Victim::Import;
        let network = ["--network", NETWORK].into_iter().filter(|_| networked);
        self.bench
            .pod()
            .flags(network)
            // Less than a command may take here: a guest that hangs must be reported.
            .flags(["--boot-timeout", "80", "--name", &life.name()])
            .flags(["--transport", transport])
            .env(LIFE, life.name())
            .host("data", &volume, "")
            .app(&self.image)
            .mount("data", "/data", "")
            .sh(WORK)
    }

    /// The processes of a life: its commands, and those of its pod, which may have left its name meanwhile.
    fn processes(&self, life: &Life) -> Vec<(i32, String)> {
        let name = self.bench.state().join("pods/names").join(life.name());
        let mut known = self.uuids.lock().expect("the pods");
        let uuids = known.entry(life.name()).or_default();
        if let Ok(uuid) = fs::read_link(name) {
            let uuid = uuid.to_string_lossy().into_owned();
            if !uuids.contains(&uuid) {
                uuids.push(uuid);
            }
        }
        leftovers::marked(self.bench.dir(), &format!("{LIFE}={}", life.name()), uuids)
    }

    /// The first process of a life that is one of these; `None` where all of its processes ended before.
    fn find(&self, life: &Life, is: impl Fn(&str) -> bool) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let processes = self.processes(life);
            if let Some((pid, _)) = processes.iter().find(|(_, line)| is(line)) {
                return Some(*pid);
            }
            assert!(Instant::now() < deadline, "no victim: {processes:?}");
            if processes.is_empty() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(4));
        }
    }

    /// The directory of a life's pod says what it was at last: below `pods`, and in its status.
    fn state(&self, life: &Life) -> String {
        let pods = self.bench.state().join("pods");
        let Ok(uuid) = fs::read_link(pods.join("names").join(life.name())) else {
            return "not yet there".to_owned();
        };
        let status = fs::read(pods.join("started").join(&uuid).join("status.json")).unwrap_or_default();
        let status: Value = serde_json::from_slice(&status).unwrap_or_default();
        if let Some(phase) = status["phase"].as_str() {
            return phase.to_owned();
        }
        let places = ["preparing", "prepared", "started", "garbage"];
        let place = places
            .into_iter()
            .find(|place| pods.join(place).join(&uuid).exists());
        match place.unwrap_or("gone") {
            "started" => "starting".to_owned(),
            place => place.to_owned(),
        }
    }

    fn all_gone(&self, life: &Life) {
        let mut left = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            left = self.processes(life);
            if left.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("left: {left:?}");
    }

    /// What is reported of a pod that has exited, and that it may be reported.
    fn reported(&self, life: &Life) -> String {
        let Some(seen) = status(self.bench, &self.bench.state(), &life.name()) else {
            return "no such pod".to_owned();
        };
        let state = seen["state"].as_str().expect("a state");
        if state == "prepared" {
            return state.to_owned();
        }
        assert_eq!(state, "exited", "{seen}");
        let reason = seen["exitReason"].as_str().expect("a reason");
        let allowed = life.victim.reasons();
        assert!(allowed.iter().any(|words| reason.starts_with(words)), "{reason}");
        if life.victim != Victim::Client {
            assert_eq!(seen["exitStatus"], 125, "{seen}");
        }
        let first = reason.lines().next().unwrap_or_default();
        format!("\"{}\"", first.trim_end_matches("; its last lines:"))
    }

    fn import(&self, life: &Life) -> SeenLife {
        let state = self.bench.dir().join(life.name());
        let running = self.pod(life).state(&state).subcommand("prepare").start();
        std::thread::sleep(self.import.mul_f64(life.moment));
        running.signal(Signal::KILL);
        let killed = running.wait().status == 1000 + 9;
        self.all_gone(life);
        let seen = match fs::exists(state.join("pods/prepared")) {
            Ok(true) => "the images are there",
            _ => "the images are not there yet",
        };
        // Whatever is there, the next one finds its way, and nothing half-made stays.
        let other = |words: &[&str]| {
            let words = words.iter().map(OsString::from).collect();
            self.bench.pod().state(&state).other(words)
        };
        let again = self.bench.pod().state(&state).app(&self.image).sh(WORK);
        let again = again.subcommand("prepare").start().wait().expect(0);
        let _ = other(&["gc", "--grace", "0"]).expect(0);
        let list = other(&["list", "-q"]).expect(0);
        assert!(list.text().contains(again.text().trim()), "{list:?}");
        for uuid in list.text().lines() {
            let _ = other(&["rm", uuid]).expect(0);
        }
        let left = [leftovers::pods(&state), unfinished(&state)].concat();
        assert!(left.is_empty(), "{left:?}");
        fs::remove_dir_all(&state).expect("the state is removed");
        SeenLife {
            state: if killed { seen } else { "prepared" }.to_owned(),
            reported: "the next one prepared".to_owned(),
        }
    }

    fn prepare(&self, life: &Life) -> SeenLife {
        let running = self.pod(life).subcommand("prepare").start();
        // What it does is done in a few milliseconds here.
        std::thread::sleep(Duration::from_millis(120).mul_f64(life.moment));
        let state = self.state(life);
        running.signal(Signal::KILL);
        let _ = running.wait();
        self.all_gone(life);
        let reported = self.reported(life);
        if reported == "prepared" {
            let _ = self.bench.isopod_command(["rm", &life.name()]).expect(0);
        }
        SeenLife { state, reported }
    }

    fn run(&self, life: &Life) -> SeenLife {
        let running = self.pod(life).flags(["--rm"]).start();
        std::thread::sleep(self.start.mul_f64(1.5 * life.moment));
        let state = self.state(life);
        running.signal(Signal::KILL);
        let _ = running.wait();
        self.all_gone(life);
        SeenLife {
            state,
            reported: self.reported(life),
        }
    }

    fn detach(&self, life: &Life) -> SeenLife {
        let running = self.pod(life).flags(["-d"]).start();
        std::thread::sleep(self.start.mul_f64(1.2 * life.moment));
        let state = self.state(life);
        running.signal(Signal::KILL);
        let _ = running.wait();
        // Its supervisor, where there is one already, does not need it.
        let mut seen = None;
        wait_until("it runs, or never will", || {
            seen = status(self.bench, &self.bench.state(), &life.name());
            let state = seen
                .as_ref()
                .map(|seen| seen["state"].as_str().unwrap_or_default().to_owned());
            state.is_none_or(|state| state == "running" || self.processes(life).is_empty())
        });
        let lives = seen.as_ref().is_some_and(|seen| seen["state"] == "running");
        let reported = if lives {
            "it runs".to_owned()
        } else {
            self.reported(life)
        };
        if seen.is_some() {
            let _ = self.bench.isopod_command(["rm", "-f", &life.name()]);
        }
        self.all_gone(life);
        SeenLife { state, reported }
    }

    fn lose_process(&self, life: &Life) -> SeenLife {
        let running = self.pod(life).flags(["-d"]).start();
        let victim = self.find(life, |line| match life.victim {
            Victim::Supervisor => line.contains(" internal-supervise "),
            Victim::Qemu => is_qemu(line),
            // Not the one that is only asked for its version.
            _ => {
                !is_launcher(line)
                    && line.contains("virtiofsd")
                    && line.contains("--fd=")
                    && !line.contains("qemu-system")
            }
        });
        let Some(victim) = victim else {
            panic!("there was no process to be killed: {:?}", running.wait());
        };
        std::thread::sleep(self.start.mul_f64(1.5 * life.moment));
        let state = self.state(life);
        kill(victim, Signal::KILL);
        if life.victim == Victim::Supervisor && life.number.is_multiple_of(2) {
            return self.start_again(life, state);
        }
        assert_said(&running.wait());
        self.all_gone(life);
        SeenLife {
            state,
            reported: self.reported(life),
        }
    }

    /// Started while its VM of before is perhaps still ending: it runs, with one VM and on its own files.
    fn start_again(&self, life: &Life, state: String) -> SeenLife {
        let words = ["start", &life.name()].map(OsString::from);
        let again = self
            .bench
            .pod()
            .env(LIFE, life.name())
            .other(words.into())
            .expect(0);
        assert_eq!(again.stderr, "");
        let seen = status(self.bench, &self.bench.state(), &life.name()).expect("a pod");
        assert_eq!(seen["state"], "running", "{seen}");
        let vms = self.processes(life);
        let vms = vms.iter().filter(|(_, line)| is_qemu(line));
        assert_eq!(vms.count(), 1);
        let _ = self.bench.isopod_command(["rm", "-f", &life.name()]).expect(0);
        self.all_gone(life);
        let reported = "started again at once, it runs".to_owned();
        SeenLife { state, reported }
    }

    fn lose_agent(&self, life: &Life) -> SeenLife {
        let pod = self.pod(life).flags(["-d", "--pid", "vm"]);
        let _ = pod.start().wait().expect(0);
        std::thread::sleep(self.start.mul_f64(life.moment / 2.0));
        let state = self.state(life);
        let script = "kill -9 $(pidof agent)";
        let _ = self
            .bench
            .isopod_command(["exec", &life.name(), "--", "sh", "-c", script]);
        self.all_gone(life);
        SeenLife {
            state,
            reported: self.reported(life),
        }
    }

    /// QEMU is stopped: it is seen, and either answers again or is killed.
    fn fall_silent(&self, life: &Life) -> SeenLife {
        let killed = life.number.is_multiple_of(2);
        let policy = if killed { "kill:20" } else { "report" };
        let pod = self.pod(life).flags(["-d", "--on-silent", policy]);
        let _ = pod.start().wait().expect(0);
        let qemu = self.find(life, is_qemu).expect("QEMU");
        std::thread::sleep(self.start.mul_f64(life.moment / 2.0));
        let state = self.state(life);
        kill(qemu, Signal::STOP);
        let seen = || status(self.bench, &self.bench.state(), &life.name()).expect("a pod");
        if killed {
            wait_until("it is killed", || seen()["state"] == "exited");
            self.all_gone(life);
            let reported = self.reported(life);
            return SeenLife { state, reported };
        }
        wait_until("it is silent", || seen()["silentMs"].as_u64().is_some());
        kill(qemu, Signal::CONT);
        wait_until("it answers again", || seen()["silentMs"].is_null());
        assert_eq!(seen()["state"], "running");
        let _ = self.bench.isopod_command(["rm", "-f", &life.name()]).expect(0);
        self.all_gone(life);
        let reported = "it was silent, and answered again".to_owned();
        SeenLife { state, reported }
    }

    fn lose_client(&self, life: &Life) -> SeenLife {
        let (bench, name) = (self.bench, life.name());
        let _ = self.pod(life).flags(["-d"]).start().wait().expect(0);
        let words: &[&str] = match life.number % 3 {
            0 => &["stop", "--time", "1", &name],
            1 => &["rm", "-f", &name],
            _ => &["exec", &name, "--", "sleep", "1000"],
        };
        let running = bench.isopod_start(words.iter().copied());
        std::thread::sleep(Duration::from_millis(400).mul_f64(life.moment));
        let state = self.state(life);
        running.signal(Signal::KILL);
        let _ = running.wait();
        let mut reported = format!("`{}`: ", words[0]);
        // Received or not: the pod continues, or ends as it was asked to.
        wait_until("the pod is at rest", || {
            status(bench, &bench.state(), &name).is_none_or(|seen| seen["state"] != "stopping")
        });
        match status(bench, &bench.state(), &name) {
            None => reported += "it is gone",
            Some(seen) if seen["state"] == "running" => {
                reported += "it runs";
                let _ = bench.isopod_command(["rm", "-f", &name]).expect(0);
            }
            Some(_) => reported += &self.reported(life),
        }
        self.all_gone(life);
        SeenLife { state, reported }
    }

    /// Nothing is left behind `gc` but the neighbours.
    pub(super) fn collect(&self, neighbours: &Neighbours, round: &[Life]) {
        let _ = self.bench.isopod_command(["gc", "--grace", "0"]).expect(0);
        let names = ["neighbour-a", "neighbour-b"].map(str::to_owned);
        let kept: Vec<&String> = neighbours.uuids.iter().chain(&names).collect();
        let state = self.bench.state();
        let mut left = leftovers::pods(&state);
        left.retain(|path| !kept.iter().any(|kept| path.ends_with(kept)));
        assert!(left.is_empty(), "left behind of {round:?}: {left:?}");
        let mounts = leftovers::mounts(self.bench.dir());
        assert!(mounts.is_empty(), "left behind of {round:?}: {mounts:?}");
        if let Some(host) = self.host {
            // The name server ends by itself.
            faults::eventually("nothing of a network is left", || host.left().is_empty());
        }
        neighbours.check(self.bench);
    }
}

/// A process that waits beside QEMU or virtiofsd, or has not become it yet.
fn is_launcher(line: &str) -> bool {
    line.contains(" internal-launcher ")
}

fn is_qemu(line: &str) -> bool {
    line.contains("qemu-system") && !is_launcher(line)
}

/// A command that started a pod which was killed says so, unless the pod had started before.
fn assert_said(out: &Output) {
    let began = out.status == 0 && out.stderr.is_empty();
    let reported = out.status == 125 && out.stderr.starts_with("error: ");
    assert!(began || reported, "{out:?}");
}

/// What is half-made in the stores of images and guest images.
fn unfinished(state: &Path) -> Vec<PathBuf> {
    let dirs = ["images", "guest"].map(|dir| fs::read_dir(state.join(dir)));
    let entries = dirs.into_iter().flatten().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".new"))
        .map(|entry| entry.path())
        .collect()
}
