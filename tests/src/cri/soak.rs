//! Lives of sandboxes in which a SIGKILL ends a process at a random moment, and what a kubelet does then.
//!
//! ```text
//! life     RunPodSandbox ─ CreateContainer ─ StartContainer ─ ExecSync ─ ... ─ StopContainer ─ StopPodSandbox ─ RemovePodSandbox
//!             └──────────── SIGKILL during one of these steps; no later step is requested ────────────┘
//! reports  every container that executed has ended, without a request; or it continues, if containerd alone was killed
//! kubelet  stops and removes what containerd lists, until there is nothing
//! left     nothing: no process, mount, network namespace, cgroup, directory, socket
//! ```
//!
//! A moment counts from the first sight of the process that is killed, and is drawn from the time that the step takes here.

mod events;
mod left;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::wire::Message;
use super::{Container, ContainerConfig, Containerd, EXITED, RUNNING, Refused, Sandbox};
use crate::Bench;
use crate::random::Random;
use crate::running::kill;
use events::Events;
use left::Before;

/// How long containerd may take to report an end, a kubelet to remove a pod, and the rest to be gone.
const PATIENCE: Duration = Duration::from_secs(90);

/// gRPC's code of what is not there.
const NOT_FOUND: &str = "5";

/// `PodSandboxState`.
const NOT_READY: i64 = 1;

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SandboxVictim {
    Shim,
    Qemu,
    Virtiofsd,
    /// It is started again after a random time.
    Containerd,
}

/// One, or two at once.
const VICTIMS: [&[SandboxVictim]; 8] = [
    &[SandboxVictim::Shim],
    &[SandboxVictim::Qemu],
    &[SandboxVictim::Virtiofsd],
    &[SandboxVictim::Containerd],
    &[SandboxVictim::Shim, SandboxVictim::Containerd],
    &[SandboxVictim::Qemu, SandboxVictim::Containerd],
    &[SandboxVictim::Qemu, SandboxVictim::Virtiofsd],
    &[SandboxVictim::Virtiofsd, SandboxVictim::Shim],
];

impl SandboxVictim {
    fn word(self) -> &'static str {
        match self {
            Self::Shim => "the shim",
            Self::Qemu => "QEMU",
            Self::Virtiofsd => "virtiofsd",
            Self::Containerd => "containerd",
        }
    }

    /// Whether the process with that command line is one.
    fn is(self, line: &str) -> bool {
        let program = line.split(' ').next().unwrap_or_default();
        match self {
            // The server, not the commands `start` and `delete`.
            Self::Shim => {
                program.contains("containerd-shim-isopod")
                    && !["start", "delete"]
                        .iter()
                        .any(|word| line.trim_end().ends_with(word))
            }
            Self::Qemu => program.contains("qemu-system"),
            // Not the one that is only asked for its version.
            Self::Virtiofsd => program.contains("virtiofsd") && line.contains("--fd="),
            Self::Containerd => false,
        }
    }
}

/// A step of a pod's life, and the call of CRI that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    RunPodSandbox,
    CreateContainer,
    StartContainer,
    ExecSync,
    /// Nothing is requested.
    Running,
    StopContainer,
    StopPodSandbox,
    RemovePodSandbox,
}

impl Step {
    const ALL: [Step; 8] = [
        Step::RunPodSandbox,
        Step::CreateContainer,
        Step::StartContainer,
        Step::ExecSync,
        Step::Running,
        Step::StopContainer,
        Step::StopPodSandbox,
        Step::RemovePodSandbox,
    ];
}

/// How many lives, and which.
#[derive(Clone, Copy, Debug)]
pub struct SandboxSoak {
    /// How many.
    pub sandboxes: usize,
    /// Where the randomness begins: the same seed draws the same victims and moments.
    pub seed: u64,
}

/// What was seen, by victim.
#[derive(Clone, Debug, Default)]
pub struct SandboxTally(BTreeMap<String, SandboxRow>);

#[derive(Clone, Debug, Default)]
struct SandboxRow {
    lives: usize,
    /// In how many of them all victims were there.
    there: usize,
    /// How long a kubelet needed at most to stop and remove the pod.
    slowest: Duration,
}

impl SandboxTally {
    /// A table in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text =
            String::from("| killed | sandboxes | it ran then | removed after at most |\n|---|---|---|---|\n");
        let mut all = SandboxRow::default();
        let line = |word: &str, row: &SandboxRow| {
            let slowest = row.slowest.as_secs_f64();
            format!("| {word} | {} | {} | {slowest:.1} s |\n", row.lives, row.there)
        };
        for (word, row) in &self.0 {
            text += &line(word, row);
            all.lives += row.lives;
            all.there += row.there;
            all.slowest = all.slowest.max(row.slowest);
        }
        text + &line("all", &all)
    }
}

/// A life to be.
#[derive(Clone, Debug)]
struct SandboxLife {
    number: usize,
    victims: &'static [SandboxVictim],
    step: Step,
    /// The moment, as a part of the time that the step takes.
    moment: f64,
    /// Restored from a template, not booted.
    warm: bool,
    containers: usize,
    /// Whether its containers ignore SIGTERM.
    stubborn: bool,
    /// How long containerd is away.
    away: Duration,
}

impl SandboxLife {
    fn kills(&self, victim: SandboxVictim) -> bool {
        self.victims.contains(&victim)
    }

    fn name(&self) -> String {
        format!("life-{}", self.number)
    }
}

/// What a life has made so far.
#[derive(Default)]
struct Made<'a> {
    sandbox: Option<Sandbox<'a>>,
    containers: Vec<Container<'a>>,
    /// Those of which `StartContainer` was answered.
    started: Vec<String>,
}

/// What a kill found.
struct Killed {
    /// All of the victims.
    all: bool,
    /// One without which there is no VM.
    vm: bool,
}

/// How long each step takes, of VMs that boot and of those that are restored.
type Durations = [BTreeMap<Step, Duration>; 2];

struct SandboxPlace<'a> {
    bench: &'a Bench,
    containerd: Containerd,
    durations: Durations,
}

impl SandboxSoak {
    /// Runs them all; reports to `progress` how many have run.
    ///
    /// # Panics
    /// When an end is not reported, a pod cannot be removed, or something of it is left.
    #[must_use]
    pub fn run(self, bench: &Bench, mut progress: impl FnMut(usize)) -> SandboxTally {
        let mut place = SandboxPlace {
            bench,
            containerd: Containerd::start(bench),
            durations: Durations::default(),
        };
        let lives = self.draw();
        place.durations = [false, true].map(|warm| match lives.iter().any(|life| life.warm == warm) {
            true => place.quiet(warm),
            false => BTreeMap::new(),
        });
        let mut tally = SandboxTally::default();
        for life in lives {
            let lived = std::thread::scope(|scope| scope.spawn(|| place.live(&life)).join());
            let Ok((killed, removed)) = lived else {
                panic!(
                    "seed {}: {life:?}; containerd's log:\n{}",
                    self.seed,
                    place.containerd.log()
                );
            };
            let words: Vec<&str> = life.victims.iter().map(|victim| victim.word()).collect();
            let row = tally.0.entry(words.join(" and ")).or_default();
            row.lives += 1;
            row.there += usize::from(killed.all);
            row.slowest = row.slowest.max(removed);
            progress(life.number + 1);
        }
        drop(place);
        left::remove_cgroups();
        tally
    }

    /// Every pair of victim and step comes once before one comes again.
    fn draw(self) -> Vec<SandboxLife> {
        let mut random = Random(self.seed);
        let mut pairs: Vec<(&[SandboxVictim], Step)> = Vec::new();
        for victims in VICTIMS {
            // Of a sandbox that was stopped nothing runs any more.
            let steps = Step::ALL.into_iter();
            let steps = steps
                .filter(|step| *step != Step::RemovePodSandbox || victims == [SandboxVictim::Containerd]);
            pairs.extend(steps.map(|step| (victims, step)));
        }
        for last in (1..pairs.len()).rev() {
            let other = (random.number() % (last as u64 + 1)) as usize;
            pairs.swap(last, other);
        }
        let pairs = pairs.into_iter().cycle().take(self.sandboxes).enumerate();
        let lives = pairs.map(|(number, (victims, step))| SandboxLife {
            number,
            victims,
            step,
            moment: random.part(),
            warm: random.part() < 0.6,
            containers: 1 + usize::from(random.part() < 0.5),
            stubborn: random.part() < 0.3,
            away: Duration::from_secs(2).mul_f64(random.part()),
        });
        lives.collect()
    }
}

impl SandboxPlace<'_> {
    /// How long each step takes when nothing is killed.
    fn quiet(&self, warm: bool) -> BTreeMap<Step, Duration> {
        let life = SandboxLife {
            number: 1_000_000 + usize::from(warm),
            victims: &[],
            step: Step::Running,
            moment: 0.0,
            warm,
            containers: 1,
            stubborn: false,
            away: Duration::ZERO,
        };
        let mut durations = BTreeMap::new();
        // The first one of a size has a template made.
        for _ in 0..=usize::from(warm) {
            let mut made = Made::default();
            for step in Step::ALL {
                let begun = Instant::now();
                let done = self.perform(step, &life, &mut made);
                done.unwrap_or_else(|refused| {
                    panic!("{step:?} without a kill: {refused:?}\n{}", self.containerd.log())
                });
                durations.insert(step, begun.elapsed());
            }
        }
        durations
    }

    fn live(&self, life: &SandboxLife) -> (Killed, Duration) {
        let before = Before::look(self.bench, &self.containerd);
        let events = Events::follow(&self.containerd, &life.name());
        let mut made = Made::default();
        let mut killed = None;
        for step in Step::ALL {
            if step != life.step {
                let done = self.perform(step, life, &mut made);
                done.unwrap_or_else(|refused| panic!("{step:?}, before the kill: {refused:?}"));
                continue;
            }
            let found = std::thread::scope(|scope| {
                let performed = scope.spawn(|| drop(self.perform(step, life, &mut made)));
                let found = self.kill(life, || performed.is_finished());
                performed.join().expect("the step");
                found
            });
            self.reports(life, &made, &found);
            killed = Some(found);
            break;
        }
        let removed = self.remove_all(&made);
        before.nothing_more();
        if !life.kills(SandboxVictim::Containerd) {
            events.are_complete(life.kills(SandboxVictim::Shim));
        }
        (killed.expect("a step of a life"), removed)
    }

    /// Does one step.
    fn perform<'a>(&'a self, step: Step, life: &SandboxLife, made: &mut Made<'a>) -> Result<(), Refused> {
        match step {
            Step::RunPodSandbox => {
                let start = if life.warm { "warm" } else { "cold" };
                let sandbox = self.containerd.sandbox_with(&life.name(), |config| {
                    config
                        .message(8, Message::new().text(1, format!("/{}", left::parent_cgroup())))
                        .entry(7, "io.isopod.memory-mib", "512")
                        .entry(7, "io.isopod.start", start)
                });
                made.sandbox = Some(sandbox?);
            }
            Step::CreateContainer => {
                for number in 0..life.containers {
                    let sandbox = made.sandbox.as_ref().expect("a sandbox");
                    let container = sandbox.try_create(&format!("c{number}"), self.config(life))?;
                    made.containers.push(container);
                }
            }
            Step::StartContainer => {
                for container in &made.containers {
                    self.containerd.try_call("StartContainer", &container.of())?;
                    made.started.push(container.id.clone());
                }
            }
            Step::ExecSync => {
                for container in &made.containers {
                    container.try_exec(&["sleep", "0.3"], 60)?;
                }
            }
            Step::Running => std::thread::sleep(Duration::from_millis(500)),
            Step::StopContainer => {
                for container in &made.containers {
                    self.stop_container(&container.id)?;
                }
            }
            Step::StopPodSandbox | Step::RemovePodSandbox => {
                let sandbox = made.sandbox.as_ref().expect("a sandbox");
                let of = Message::new().text(1, &sandbox.id);
                self.containerd.try_call(&format!("{step:?}"), &of)?;
            }
        }
        Ok(())
    }

    /// A container that writes to its volume and to its output all its life.
    fn config(&self, life: &SandboxLife) -> ContainerConfig {
        let volume = self.bench.source(&format!("data-{}", life.number), &[]);
        let trap = if life.stubborn { "''" } else { "'exit 7'" };
        let work = "n=0; while :; do n=$((n + 1)); echo $n >/data/n; echo line $n; sleep 0.1; done";
        ContainerConfig::sh(&format!("trap {trap} TERM; {work}")).mount(&volume, "/data", false)
    }

    fn stop_container(&self, id: &str) -> Result<(), Refused> {
        let request = Message::new().text(1, id).number(2, 1);
        self.containerd.try_call("StopContainer", &request).map(drop)
    }

    fn find(&self, victim: SandboxVictim) -> Option<i32> {
        let processes = self.bench.processes();
        let found = processes.iter().find(|(_, line)| victim.is(line));
        found.map(|(pid, _)| *pid)
    }

    /// Kills the victims during a step that has begun; `done` says that it has ended.
    fn kill(&self, life: &SandboxLife, done: impl Fn() -> bool) -> Killed {
        let first = life.victims[0];
        while first != SandboxVictim::Containerd && self.find(first).is_none() && !done() {
            std::thread::sleep(Duration::from_millis(3));
        }
        let step = self.durations[usize::from(life.warm)][&life.step];
        std::thread::sleep(step.mul_f64(life.moment));
        let mut killed = Killed { all: true, vm: false };
        for victim in life.victims {
            match (victim, self.find(*victim)) {
                (SandboxVictim::Containerd, _) => self.containerd.kill(),
                (_, Some(pid)) => {
                    kill(pid, Signal::KILL);
                    killed.vm = true;
                }
                (_, None) => killed.all = false,
            }
        }
        if life.kills(SandboxVictim::Containerd) {
            std::thread::sleep(life.away);
            self.containerd.start_again();
        }
        killed
    }

    /// What containerd reports of the containers that executed, before anything is requested.
    fn reports(&self, life: &SandboxLife, made: &Made<'_>, killed: &Killed) {
        let known = |method: &str, id: &str| {
            let asked = self.containerd.try_call(method, &Message::new().text(1, id));
            match asked {
                Ok(answer) => Some(answer.message(1)),
                Err(refused) if refused.code == NOT_FOUND => None,
                Err(refused) => panic!("{method}: {refused:?}"),
            }
        };
        if killed.vm {
            for id in &made.started {
                self.wait_until(&format!("container {id} is reported to have ended"), || {
                    known("ContainerStatus", id).is_none_or(|status| status.number(3) == EXITED)
                });
            }
            if let Some(sandbox) = &made.sandbox {
                self.wait_until("the sandbox is reported not to be ready", || {
                    known("PodSandboxStatus", &sandbox.id).is_none_or(|status| status.number(3) == NOT_READY)
                });
            }
        } else if matches!(life.step, Step::ExecSync | Step::Running) {
            for container in &made.containers {
                assert_eq!(
                    container.status().number(3),
                    RUNNING,
                    "container {}",
                    container.id
                );
                assert_eq!(container.sh("echo here"), "here\n");
            }
        }
    }

    /// Stops and removes what containerd lists, until there is nothing; how long that took.
    fn remove_all(&self, made: &Made<'_>) -> Duration {
        let begun = Instant::now();
        let mut refusals: Vec<String> = Vec::new();
        self.wait_until("everything is removed", || {
            let listed = |method: &str| {
                let all = self.containerd.call(method, &Message::new()).messages(1);
                all.iter().map(|one| one.text(1)).collect::<Vec<_>>()
            };
            let (containers, sandboxes) = (listed("ListContainers"), listed("ListPodSandbox"));
            let mut attempt = |done: Result<(), Refused>| {
                if let Err(refused) = done {
                    refusals.push(refused.text);
                    assert!(refusals.len() < 200, "refused again and again: {refusals:?}");
                }
            };
            for id in &containers {
                attempt(self.remove_container(id, made));
            }
            for id in &sandboxes {
                let of = Message::new().text(1, id);
                let stopped = self.containerd.try_call("StopPodSandbox", &of);
                let removed = stopped.and_then(|_| self.containerd.try_call("RemovePodSandbox", &of));
                attempt(removed.map(drop));
            }
            containers.is_empty() && sandboxes.is_empty()
        });
        begun.elapsed()
    }

    fn remove_container(&self, id: &String, made: &Made<'_>) -> Result<(), Refused> {
        self.stop_container(id)?;
        let of = Message::new().text(1, id);
        let status = self.containerd.try_call("ContainerStatus", &of)?.message(1);
        if made.started.contains(id) {
            assert_eq!(status.number(3), EXITED, "container {id}, which was stopped");
        }
        self.containerd.try_call("RemoveContainer", &of).map(drop)
    }

    fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
