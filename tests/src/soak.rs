//! Lives of pods that a SIGKILL ends at a random moment, beside pods that nobody touches.
//!
//! ```text
//! neighbours   started ────────────────────────────────────────────────────────> looked at after every round
//! round        life ── kill ── what is left? what is reported?  ┐
//!              life ── kill ── ...                              ├─ gc ── nothing is left but the neighbours
//!              life ── kill ── ...                              ┘
//! ```
//!
//! A life's processes are known by a variable in their environment. Moments are drawn over the whole of a life: they
//! count from the first sight of the process that is killed, over one and a half times what a start takes here beside the others.

mod lives;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::host::Host;
use crate::random::Random;
use crate::{Bench, leftovers};
use lives::Place;

/// Marks the processes of one life.
const LIFE: &str = "ISOPOD_TEST_LIFE";

/// The network that half of the lives are in.
const NETWORK: &str = "soak";

/// How long what was killed may take to be gone, on a VM with other things to do.
const PATIENCE: Duration = Duration::from_secs(90);

/// What an app does all its life: something with its volume and something with its streams.
const WORK: &str = "n=0; while :; do n=$((n + 1)); echo $n >/data/n; echo line $n; sleep 0.2; done";

/// Whom the kill is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// `isopod prepare` in a state of its own: it imports the image, builds the guest image and writes the pod.
    Import,
    /// `isopod prepare` where images are there.
    Prepare,
    /// `isopod run` in the foreground: the supervisor of its pod.
    Run,
    /// `isopod run -d`, while it waits for the supervisor that it started.
    Detacher,
    /// The supervisor of a pod in the background.
    Supervisor,
    /// QEMU, or the launcher that is about to become it.
    Qemu,
    /// virtiofsd, or its launcher.
    Virtiofsd,
    /// The agent in the guest.
    Agent,
    /// `isopod stop`, `rm -f` or `exec` of a pod that runs.
    Client,
    /// QEMU, which is stopped: its guest falls silent.
    Silent,
}

impl Victim {
    /// Each as often as there is something to find.
    const DRAWN: [Victim; 21] = [
        Victim::Supervisor,
        Victim::Qemu,
        Victim::Import,
        Victim::Run,
        Victim::Virtiofsd,
        Victim::Detacher,
        Victim::Agent,
        Victim::Supervisor,
        Victim::Prepare,
        Victim::Silent,
        Victim::Qemu,
        Victim::Client,
        Victim::Run,
        Victim::Supervisor,
        Victim::Import,
        Victim::Virtiofsd,
        Victim::Agent,
        Victim::Detacher,
        Victim::Supervisor,
        Victim::Qemu,
        Victim::Prepare,
    ];

    fn word(self) -> &'static str {
        match self {
            Victim::Import => "`isopod prepare`, importing",
            Victim::Prepare => "`isopod prepare`",
            Victim::Run => "`isopod run`, its supervisor",
            Victim::Detacher => "`isopod run -d`",
            Victim::Supervisor => "the supervisor",
            Victim::Qemu => "QEMU",
            Victim::Virtiofsd => "virtiofsd",
            Victim::Agent => "the agent",
            Victim::Client => "`isopod stop`, `rm -f`, `exec`",
            Victim::Silent => "nobody: QEMU is stopped",
        }
    }

    /// What may be reported of a pod that has exited by this.
    fn reasons(self) -> &'static [&'static str] {
        match self {
            Victim::Run | Victim::Supervisor => &["its supervisor was killed"],
            Victim::Qemu => &["QEMU ended with signal: 9"],
            Victim::Virtiofsd => &["virtiofsd ended with signal: 9"],
            Victim::Agent => &[
                "the guest ended before its apps did",
                "lost the agent in the guest",
            ],
            Victim::Import | Victim::Prepare => &[],
            Victim::Detacher => &["its supervisor was killed before it had begun"],
            Victim::Client => &["it was stopped"],
            Victim::Silent => &["the guest did not answer for 20 s"],
        }
    }
}

/// How many lives, which, and how many at once.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// How many.
    pub lives: usize,
    /// Where the randomness begins: the same seed draws the same victims and moments.
    pub seed: u64,
    /// How many lives a round has.
    pub side_by_side: usize,
}

/// What was seen, by victim: how often a pod was in which state when the kill came, and what was reported then.
#[derive(Clone, Debug, Default)]
pub struct Tally(BTreeMap<Victim, Row>);

#[derive(Clone, Debug, Default)]
struct Row {
    lives: usize,
    states: BTreeMap<String, usize>,
    reported: BTreeMap<String, usize>,
}

impl Tally {
    /// A table in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from("| killed | pods | the pod was | reported then |\n|---|---|---|---|\n");
        let counts = |counts: &BTreeMap<String, usize>| {
            let counts: Vec<String> = counts.iter().map(|(what, n)| format!("{what} {n}")).collect();
            counts.join(", ")
        };
        for (victim, row) in &self.0 {
            text += &format!(
                "| {} | {} | {} | {} |\n",
                victim.word(),
                row.lives,
                counts(&row.states),
                counts(&row.reported)
            );
        }
        let lives: usize = self.0.values().map(|row| row.lives).sum();
        text + &format!("| all | {lives} | | |\n")
    }

    fn add(&mut self, victim: Victim, seen: SeenLife) {
        let row = self.0.entry(victim).or_default();
        row.lives += 1;
        *row.states.entry(seen.state).or_default() += 1;
        *row.reported.entry(seen.reported).or_default() += 1;
    }
}

/// What became of a life.
struct SeenLife {
    state: String,
    reported: String,
}

/// A life to be.
#[derive(Clone, Debug)]
struct Life {
    number: usize,
    victim: Victim,
    /// The moment, as a part of the time that it is drawn from.
    moment: f64,
    transport: &'static str,
    /// Whether it is in a network with a name.
    networked: bool,
}

impl Life {
    fn name(&self) -> String {
        format!("life-{}", self.number)
    }
}

impl Soak {
    /// Runs them all; reports to `progress` how many have run, after each round.
    ///
    /// # Panics
    /// When something of a life is left that `gc` does not remove, or what is reported of it is not true, or a neighbour is
    /// not as it was.
    #[must_use]
    pub fn run(self, mut progress: impl FnMut(usize)) -> Tally {
        // An ordinary user's soak has no such host.
        let host = Host::new("soak");
        let bench = Bench::new();
        if host.is_some() {
            let _ = bench.isopod_command(["network", "create", NETWORK]).expect(0);
        }
        let neighbours = Neighbours::start(&bench);
        let place = Place {
            bench: &bench,
            host: host.as_ref(),
            image: bench.busybox(),
            uuids: std::sync::Mutex::default(),
            // Two processors start two VMs in the time of one.
            start: neighbours
                .start
                .mul_f64((self.side_by_side as f64 / 2.0).max(1.0)),
            import: time_import(&bench),
        };
        let mut random = Random(self.seed);
        let offset = (random.number() % Victim::DRAWN.len() as u64) as usize;
        let lives: Vec<Life> = (0..self.lives)
            .map(|number| Life {
                number,
                victim: Victim::DRAWN[(offset + number) % Victim::DRAWN.len()],
                moment: random.part(),
                transport: if random.part() < 0.8 { "virtiofs" } else { "9p" },
                networked: random.part() < 0.5,
            })
            .collect();
        let mut tally = Tally::default();
        for round in lives.chunks(self.side_by_side) {
            let seen = std::thread::scope(|scope| {
                let lives = round.iter().map(|life| (life, scope.spawn(|| place.live(life))));
                let lives: Vec<_> = lives.collect();
                lives
                    .into_iter()
                    .map(|(life, lived)| match lived.join() {
                        Ok(seen) => (life.victim, seen),
                        Err(_) => panic!("seed {}: {life:?}", self.seed),
                    })
                    .collect::<Vec<_>>()
            });
            seen.into_iter()
                .for_each(|(victim, seen)| tally.add(victim, seen));
            place.collect(&neighbours, round);
            progress(round.last().map_or(0, |life| life.number + 1));
        }
        neighbours.end(&bench);
        tally
    }
}

/// How long an import takes, from nothing to a prepared pod.
fn time_import(bench: &Bench) -> Duration {
    let state = bench.dir().join("first");
    let pod = bench.pod().state(&state).app(&bench.busybox()).sh(WORK);
    let out = pod.subcommand("prepare").start().wait().expect(0);
    let _ = fs::remove_dir_all(state);
    out.duration
}

/// Pods that nobody touches.
struct Neighbours {
    uuids: Vec<String>,
    /// Number, time of start and program of each of their processes.
    processes: Vec<(i32, String, String)>,
    volumes: Vec<PathBuf>,
    /// How long one took to start.
    start: Duration,
}

impl Neighbours {
    fn start(bench: &Bench) -> Self {
        let (mut uuids, mut volumes, mut start) = (Vec::new(), Vec::new(), Duration::ZERO);
        for name in ["neighbour-a", "neighbour-b"] {
            let volume = bench.source(name, &[]);
            let pod = bench
                .pod()
                .flags(["-d", "--name", name])
                .host("data", &volume, "")
                .app(&bench.busybox())
                .mount("data", "/data", "");
            let out = pod.sh(WORK).start().wait().expect(0);
            uuids.push(out.text().trim().to_owned());
            volumes.push(volume);
            start = start.max(out.duration);
        }
        let processes = identities(&leftovers::processes(bench.dir()));
        assert!(processes.len() >= 4, "{processes:?}");
        Self {
            uuids,
            processes,
            volumes,
            start,
        }
    }

    /// Fails unless they are as they were.
    fn check(&self, bench: &Bench) {
        let now = identities(&leftovers::processes(bench.dir()));
        assert_eq!(now, self.processes, "the neighbours' processes, and no others");
        for uuid in &self.uuids {
            let seen = status(bench, &bench.state(), uuid).expect("a neighbour");
            assert_eq!(seen["state"], "running", "{seen}");
            assert_eq!(seen["apps"][0]["state"], "running", "{seen}");
        }
        let counted = |volume: &PathBuf| fs::read_to_string(volume.join("n")).unwrap_or_default();
        let before: Vec<String> = self.volumes.iter().map(counted).collect();
        wait_until("the neighbours work on", || {
            let now = self.volumes.iter().map(counted);
            now.zip(&before).all(|(now, before)| now != *before)
        });
    }

    fn end(&self, bench: &Bench) {
        for uuid in &self.uuids {
            let _ = bench.isopod_command(["stop", "--time", "0", uuid]).expect(0);
            let _ = bench.isopod_command(["rm", uuid]).expect(0);
        }
        bench.assert_nothing_left();
    }
}

fn identities(processes: &[(i32, String)]) -> Vec<(i32, String, String)> {
    let mut found: Vec<_> = processes
        .iter()
        .filter_map(|(pid, line)| {
            // Behind the program's name, which may hold anything: field 22 is the time of its start (proc_pid_stat(5)).
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let started = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned();
            Some((*pid, started, line.split(' ').next()?.to_owned()))
        })
        .collect();
    found.sort();
    found
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What `status` prints about a pod; `None` where there is none.
fn status(bench: &Bench, state: &Path, pod: &str) -> Option<Value> {
    let words = ["status", "--format", "json", pod].map(OsString::from);
    let out = bench.pod().state(state).other(words.into());
    if out.status == 125 && out.stderr.starts_with("error: there is no pod") {
        return None;
    }
    let out = out.expect(0);
    Some(serde_json::from_slice(&out.stdout).expect("JSON"))
}
