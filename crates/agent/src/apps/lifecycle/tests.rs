//! What holds of the lives of apps whatever happens in whatever order. Whole conversations are in the session's tests.

use isopod_contract::config::{
    DependencyCondition, FreshRoot, GuestDependency, GuestHandler, GuestRestart, RestartAfter,
};
use proptest::prelude::*;

use super::*;
use crate::apps::notify::ReadinessReport;
use crate::apps::probe_schedule::tests::probe;

const APPS: usize = 3;

fn handler(name: &str) -> GuestHandler {
    GuestHandler {
        name: name.to_owned(),
        check: GuestCheck::Sleep { ms: 1 },
        on_failure: Some(GuestEnding {
            grace_ms: 1000,
            restarts: true,
        }),
    }
}

/// An app: whether it depends on the one before, is started again, has probes, says when it is ready, has handlers.
fn app(number: usize, [depends, restarts, probes, notifies, handlers]: [bool; 5]) -> GuestApp {
    let before = u16::try_from(number.saturating_sub(1)).unwrap();
    let dependency = GuestDependency {
        app: before,
        condition: DependencyCondition::Started,
    };
    let liveness = GuestProbe {
        on_failure: handler("").on_failure,
        ..probe("liveness")
    };
    let restart = GuestRestart {
        after: RestartAfter::AnyEnd,
        max_restarts: Some(2),
        first_delay_ms: 100,
        max_delay_ms: 1000,
        reset_after_ms: 10_000,
    };
    GuestApp {
        name: format!("app{number}"),
        unit: format!("app{number}.service"),
        depends_on: (depends && number > 0)
            .then_some(dependency)
            .into_iter()
            .collect(),
        restart: restarts.then_some(restart),
        fresh_root: restarts.then(|| FreshRoot {
            mount_point: "/root".to_owned(),
            seed: "/seed".to_owned(),
            upper: "/upper".to_owned(),
            work: "/work".to_owned(),
        }),
        probes: probes.then_some(liveness).into_iter().collect(),
        notify: notifies.then(|| "/notify".to_owned()),
        post_start: handlers.then(|| handler("postStart")),
        pre_stop: handlers.then(|| handler("preStop")),
        post_stop_ms: handlers.then_some(500),
        ..GuestApp::default()
    }
}

/// Something that happens, to be made an input of what the lifecycle knows.
#[derive(Clone, Debug)]
enum Happens {
    Runs(usize),
    Ends(usize, i32),
    NeverRuns(usize),
    IsNotTaken(usize),
    Reports(usize, bool),
    /// The oldest thing that was begun ends.
    IsDone(bool),
    IsSent,
    Stop(u64),
    Due,
}

fn happens() -> impl Strategy<Value = Happens> {
    let app = || 0..APPS;
    prop_oneof![
        4 => app().prop_map(Happens::Runs),
        3 => (app(), 0..2i32).prop_map(|(app, code)| Happens::Ends(app, code)),
        1 => app().prop_map(Happens::NeverRuns),
        1 => app().prop_map(Happens::IsNotTaken),
        2 => (app(), any::<bool>()).prop_map(|(app, ready)| Happens::Reports(app, ready)),
        4 => any::<bool>().prop_map(Happens::IsDone),
        2 => Just(Happens::IsSent),
        1 => (0..5000u64).prop_map(Happens::Stop),
        4 => Just(Happens::Due),
    ]
}

/// What the host knows of an app, which breaks the conversation off when it receives something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    runs: bool,
    ready: bool,
    restarts: u32,
    ended: bool,
    starts: u32,
    ends: u32,
    fresh_roots: u32,
}

struct Run {
    lifecycle: Lifecycle,
    now: Instant,
    known: Vec<Known>,
    checks: Vec<(usize, u32, What)>,
    stopping: bool,
    killed: Vec<usize>,
    asked: Vec<usize>,
    all_ended: u32,
}

impl Run {
    fn new(apps: &[GuestApp]) -> Result<Self, TestCaseError> {
        let mut run = Self {
            lifecycle: Lifecycle::default(),
            now: Instant::now(),
            known: vec![Known::default(); apps.len()],
            checks: Vec::new(),
            stopping: false,
            killed: Vec::new(),
            asked: Vec::new(),
            all_ended: 0,
        };
        let actions = run.lifecycle.add(apps, run.now);
        run.take(actions)?;
        Ok(run)
    }

    fn happens(&mut self, what: Happens) -> Result<(), TestCaseError> {
        let watched = |app: usize| self.lifecycle.is_watched(app);
        let input = match what {
            Happens::Runs(app) => LifecycleInput::Running {
                app,
                uptime_ms: 1,
                leaves: false,
                fault: None,
            },
            Happens::Ends(app, code) => LifecycleInput::Exited(AppExit {
                app,
                status: ExitStatus::Code(code),
                uptime_ms: Some(1),
                fault: None,
                last_words: Some("bye".to_owned()),
                out_of_memory: None,
                process_out_of_memory: None,
                times: (1, 1),
            }),
            Happens::NeverRuns(app) if watched(app) && !self.known[app].runs => LifecycleInput::NeverRan {
                app,
                cause: FailureCause::Stopped,
            },
            Happens::IsNotTaken(app) => LifecycleInput::NotStarted {
                app,
                text: "no".to_owned(),
            },
            Happens::Reports(app, ready) => LifecycleInput::Readiness {
                app,
                report: if ready {
                    ReadinessReport::Ready
                } else {
                    ReadinessReport::NotReady
                },
            },
            Happens::IsDone(success) if !self.checks.is_empty() => {
                let (app, run, what) = self.checks.remove(0);
                let done = match success {
                    true => Done {
                        success,
                        text: String::new(),
                    },
                    false => Done::failed("no"),
                };
                LifecycleInput::Done { app, run, what, done }
            }
            Happens::IsSent => LifecycleInput::LastSent,
            Happens::Stop(ms) => {
                self.stopping = true;
                LifecycleInput::Stop(Duration::from_millis(ms))
            }
            Happens::Due | Happens::NeverRuns(_) | Happens::IsDone(_) => LifecycleInput::Due,
        };
        let actions = self.lifecycle.on(input, self.now);
        self.take(actions)
    }

    /// Does what is said, and holds it against what the host takes.
    fn take(&mut self, actions: Vec<LifecycleAction>) -> Result<(), TestCaseError> {
        for action in actions {
            match action {
                LifecycleAction::Send(message) => self.receive(&message)?,
                LifecycleAction::End { app, last } => {
                    let known = &mut self.known[app];
                    prop_assert!(!known.ended, "{last:?}");
                    let exited = matches!(last, GuestMessage::App(_, AppReport::Exited { .. }));
                    prop_assert!(!known.runs || exited);
                    (known.ended, known.runs) = (true, false);
                }
                LifecycleAction::Start(app) => {
                    let known = &mut self.known[app];
                    prop_assert!(!self.stopping && !known.ended);
                    // One for each run but the first.
                    prop_assert_eq!(known.fresh_roots, known.restarts);
                    known.starts += 1;
                }
                LifecycleAction::Stop(app) => {
                    prop_assert!(!self.known[app].ended);
                    self.asked.push(app);
                }
                LifecycleAction::Kill(app) => self.killed.push(app),
                LifecycleAction::Check { app, run, what, .. } => {
                    prop_assert!(!self.known[app].ended);
                    self.checks.push((app, run, what));
                }
                LifecycleAction::Abandon(app) => self.checks.retain(|(of, ..)| *of != app),
                LifecycleAction::RenewRoot(app) => self.known[app].fresh_roots += 1,
                LifecycleAction::LeaveStdin(_) => {}
            }
        }
        Ok(())
    }

    fn receive(&mut self, message: &GuestMessage) -> Result<(), TestCaseError> {
        let known = |app: &AppIndex| usize::from(*app);
        match message {
            GuestMessage::App(app, AppReport::Started { .. }) => {
                let known = &mut self.known[known(app)];
                prop_assert!(!known.runs && !known.ended);
                known.runs = true;
            }
            GuestMessage::App(app, AppReport::Ready) | GuestMessage::App(app, AppReport::Unready) => {
                let known = &mut self.known[known(app)];
                let ready = matches!(message, GuestMessage::App(_, AppReport::Ready));
                prop_assert!(known.runs && known.ready != ready);
                known.ready = ready;
            }
            GuestMessage::App(app, AppReport::Restarting { count, .. }) => {
                let known = &mut self.known[known(app)];
                prop_assert!(known.runs && !self.stopping);
                prop_assert_eq!(*count, known.restarts + 1);
                (known.runs, known.ready, known.restarts) = (false, false, *count);
            }
            GuestMessage::App(app, AppReport::Health { .. })
            | GuestMessage::App(app, AppReport::LastWords { .. }) => {
                prop_assert!(self.known[known(app)].runs);
            }
            GuestMessage::App(app, AppReport::Ending { .. }) => {
                let known = &mut self.known[known(app)];
                known.ends += 1;
                prop_assert!(known.runs && !self.stopping);
            }
            GuestMessage::AllEnded => {
                prop_assert!(self.known.iter().all(|known| known.ended));
                self.all_ended += 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// Lets time pass in which nothing happens by itself but what is due.
    fn pass(&mut self, time: Duration) -> Result<(), TestCaseError> {
        let end = self.now + time;
        for _ in 0..1000 {
            match self.lifecycle.due() {
                Some(due) if due <= end => {
                    self.now = self.now.max(due);
                    self.happens(Happens::Due)?;
                }
                _ => break,
            }
        }
        self.now = end;
        Ok(())
    }
}

fn pod() -> impl Strategy<Value = Vec<GuestApp>> {
    proptest::collection::vec(any::<[bool; 5]>(), APPS).prop_map(|kinds| {
        let apps = kinds.into_iter().enumerate();
        apps.map(|(number, kind)| app(number, kind)).collect()
    })
}

proptest! {
    /// Whatever happens, the host receives what it accepts: see `isopod_vm::agent`, which breaks off otherwise.
    #[test]
    fn the_host_receives_what_it_accepts(
        pod in pod(),
        steps in proptest::collection::vec((happens(), 0..2000u64), 0..80),
    ) {
        let mut run = Run::new(&pod)?;
        for (what, ms) in steps {
            run.now += Duration::from_millis(ms);
            let is_due = matches!(what, Happens::Due);
            run.happens(what)?;
            // Time alone comes to an end.
            if is_due {
                prop_assert!(run.lifecycle.due().is_none_or(|due| due > run.now));
            }
        }
        prop_assert!(run.all_ended <= 1);
    }

    /// A stop after anything: in the end every app that is up was asked or killed, each that others need after those, and
    /// when all have ended, that is said once.
    #[test]
    fn a_stop_comes_to_its_end(
        pod in pod(),
        steps in proptest::collection::vec((happens(), 0..2000u64), 0..40),
        grace in 0..5000u64,
    ) {
        let mut run = Run::new(&pod)?;
        for (what, ms) in steps {
            run.now += Duration::from_millis(ms);
            run.happens(what)?;
        }
        (run.asked, run.killed) = (Vec::new(), Vec::new());
        run.happens(Happens::Stop(grace))?;
        run.pass(Duration::from_millis(grace) + stopping::LAST_MOMENT)?;
        // One that waits for others ends with them.
        let up: Vec<usize> = (0..APPS).filter(|app| is_up(&run.lifecycle.apps[*app])).collect();
        prop_assert!(up.iter().all(|app| run.killed.contains(app)), "{:?} of {up:?}", run.killed);
        for app in up {
            run.happens(Happens::Ends(app, 0))?;
        }
        for _ in 0..APPS {
            run.happens(Happens::IsSent)?;
        }
        prop_assert!(run.known.iter().all(|known| known.ended));
        prop_assert_eq!(run.all_ended, 1);
    }

    /// Without any time left, those that depend on others are asked first.
    #[test]
    fn dependents_are_asked_first(kinds in any::<[bool; APPS]>()) {
        let kind = |depends| [depends, false, false, false, false];
        let pod: Vec<GuestApp> = kinds.iter().enumerate().map(|(n, depends)| app(n, kind(*depends))).collect();
        let mut run = Run::new(&pod)?;
        for app in 0..APPS {
            run.happens(Happens::Runs(app))?;
        }
        run.happens(Happens::Stop(60_000))?;
        for app in (0..APPS).rev() {
            prop_assert!(run.asked.contains(&app));
            let before = usize::from(app > 0 && kinds[app]);
            prop_assert!(before == 0 || !run.asked.contains(&(app - 1)));
            run.happens(Happens::Ends(app, 0))?;
        }
    }
}
