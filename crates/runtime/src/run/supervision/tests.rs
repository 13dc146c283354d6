//! What holds of a supervision whatever happens in whatever order, and some pods from their beginning to their end.

use isopod_spec::AppName;
use proptest::prelude::*;

use super::*;

const GRACE: Duration = Duration::from_secs(10);

fn terms(roles: &[AppRole], on_failure: FailurePolicy, allowed: Option<u64>, silence: Option<u64>) -> Terms {
    let app = |(i, role): (usize, &AppRole)| AppTerms {
        name: AppName::new(format!("app{i}")).unwrap(),
        role: *role,
        probed: false,
        reports_readiness: i == 1,
        words_from_log: i == 0,
    };
    Terms {
        held: false,
        apps: roles.iter().enumerate().map(app).collect(),
        grace: GRACE,
        allowed: allowed.map(Duration::from_secs),
        silence: silence.map(Duration::from_secs),
        on_failure,
    }
}

/// A supervision and the time.
struct Run {
    supervision: Supervision,
    now: Instant,
    actions: Vec<Action>,
}

impl Run {
    fn new(terms: Terms) -> Self {
        let now = Instant::now();
        let mut supervision = Supervision::new(terms, now, now);
        let actions = supervision.begin();
        Self {
            supervision,
            now,
            actions,
        }
    }

    /// What is done about an input; all actions are kept.
    fn on(&mut self, input: Input) -> usize {
        let new = self.supervision.on(input, self.now);
        let count = new.len();
        self.actions.extend(new);
        count
    }

    /// Lets the time pass, with a beat of the guest every three seconds, or without.
    fn pass(&mut self, seconds: u64, beats: bool) {
        let end = self.now + Duration::from_secs(seconds);
        let mut beat = self.now;
        while self.now < end && self.end().is_none() {
            let next = match beats {
                true => beat + Duration::from_secs(3),
                false => end,
            };
            let due = self.supervision.due().map(|due| due.max(self.now));
            match due {
                Some(due) if due <= next.min(end) => {
                    self.now = due;
                    self.on(Input::Due);
                }
                _ => {
                    self.now = next.min(end);
                    beat = next;
                    if beats {
                        self.on(Input::Guest(Event::Beat));
                    }
                }
            }
        }
    }

    fn end(&self) -> Option<&SupervisionEnd> {
        self.actions.iter().find_map(|action| match action {
            Action::End(end) => Some(end),
            _ => None,
        })
    }

    /// The graces of the stops that the agent was asked for, in seconds.
    fn stops(&self) -> Vec<u64> {
        let stop = |action: &Action| match action {
            Action::Stop(grace) => Some(grace.as_secs()),
            _ => None,
        };
        self.actions.iter().filter_map(stop).collect()
    }

    fn milestones(&self) -> Vec<Milestone> {
        let milestone = |action: &Action| match action {
            Action::Reach(milestone) => Some(*milestone),
            _ => None,
        };
        self.actions.iter().filter_map(milestone).collect()
    }

    fn exited(&mut self, app: usize, code: i32) {
        let status = ExitStatus::Code(code);
        self.on(Input::Guest(Event::App(app, AppReport::Exited { status })));
    }

    /// All apps have ended, and the rest follows.
    fn finish(&mut self) {
        self.on(Input::Guest(Event::AllEnded));
        self.on(Input::OutputWritten);
        self.on(Input::Guest(Event::Synced { failed: Vec::new() }));
    }
}

const MAIN: AppRole = AppRole::Main;

#[test]
fn a_pod_ends_with_its_apps() {
    let mut run = Run::new(terms(&[MAIN, MAIN], FailurePolicy::Continue, None, None));
    run.on(Input::Guest(Event::App(0, AppReport::Started { uptime_ms: 7 })));
    assert!(run.milestones().is_empty());
    run.on(Input::Guest(Event::App(1, AppReport::Started { uptime_ms: 8 })));
    run.on(Input::Guest(Event::App(1, AppReport::Ready)));
    run.on(Input::Guest(Event::App(1, AppReport::Ready)));
    assert_eq!(run.milestones(), [Milestone::Ready]);
    run.exited(0, 3);
    run.exited(1, 0);
    run.pass(100, true);
    assert_eq!(run.end(), None);
    run.finish();
    assert_eq!(run.end(), Some(&SupervisionEnd::Synced(Vec::new())));
    assert!(run.stops().is_empty());
    let outcome = run.supervision.outcome(Vec::new());
    assert_eq!((outcome.exit_status(), outcome.first_failed), (3, Some(0)));
    assert_eq!(outcome.timings.first_app_ms, 7);
}

#[test]
fn a_pod_stops_once_for_a_reason_of_its_own() {
    let sidecar = AppRole::Sidecar;
    for (roles, on_failure, allowed, code) in [
        ([MAIN, MAIN], FailurePolicy::Stop, None, 1),
        ([MAIN, sidecar], FailurePolicy::Continue, None, 0),
        ([MAIN, MAIN], FailurePolicy::Continue, Some(5), 0),
    ] {
        let mut run = Run::new(terms(&roles, on_failure, allowed, None));
        run.exited(0, code);
        run.pass(6, true);
        assert_eq!(run.stops(), [10], "{roles:?}");
        run.exited(1, 0);
        run.finish();
        let outcome = run.supervision.outcome(Vec::new());
        let timed_out = if allowed.is_some() { 124 } else { code as u8 };
        assert_eq!(outcome.exit_status(), timed_out);
    }
}

/// It is behind all that has happened: when the others have ended too, nothing is stopped.
#[test]
fn a_failure_stops_nobody_where_all_have_ended() {
    let mut run = Run::new(terms(&[MAIN, MAIN], FailurePolicy::Stop, None, None));
    run.exited(0, 1);
    assert!(run.supervision.due().is_some_and(|due| due <= run.now));
    run.exited(1, 0);
    run.finish();
    assert!(run.stops().is_empty());
}

#[test]
fn a_caller_stops_in_order_then_at_once_then_kills() {
    let mut run = Run::new(terms(&[MAIN], FailurePolicy::Continue, None, None));
    run.on(Input::CallerStop);
    run.on(Input::CallerStop);
    assert_eq!((run.stops(), run.end()), (vec![10, 0], None));
    assert_eq!(run.milestones(), [Milestone::Stopping]);
    run.on(Input::CallerStop);
    assert_eq!(run.end(), Some(&SupervisionEnd::Killed));
}

#[test]
fn a_guest_that_does_not_stop_its_apps_is_given_up() {
    let mut run = Run::new(terms(&[MAIN], FailurePolicy::Continue, None, None));
    run.on(Input::Stop(Some(Duration::from_secs(100))));
    run.pass(5, true);
    run.on(Input::Stop(None));
    run.pass(39, true);
    assert_eq!(run.end(), None);
    run.pass(2, true);
    assert_eq!(run.end(), Some(&SupervisionEnd::NotStopped(GRACE + KILL_SLACK)));
}

#[test]
fn the_last_words_are_the_apps_own_or_the_end_of_its_log() {
    let mut run = Run::new(terms(&[MAIN, MAIN], FailurePolicy::Continue, None, None));
    let text = "said".to_owned();
    run.on(Input::Guest(Event::App(1, AppReport::LastWords { text })));
    run.exited(1, 1);
    run.exited(0, 1);
    let words = run.actions.iter().filter_map(|action| match action {
        Action::LastWords { app, words, from_log } => Some((*app, words.as_deref(), *from_log)),
        _ => None,
    });
    assert_eq!(
        words.collect::<Vec<_>>(),
        [(1, Some("said"), false), (0, None, true)]
    );
}

/// What may happen, but for streams.
fn input() -> impl Strategy<Value = Input> {
    let app = 0..4usize;
    let status = prop_oneof![Just(ExitStatus::Code(0)), Just(ExitStatus::Code(1))];
    prop_oneof![
        1 => Just(()).prop_map(|()| Input::OutputWritten),
        1 => any::<bool>().prop_map(|pipe| Input::OutputBroken(match pipe {
            true => io::ErrorKind::BrokenPipe.into(),
            false => io::ErrorKind::Other.into(),
        })),
        1 => Just(()).prop_map(|()| Input::CallerStop),
        1 => proptest::option::of(0..50u64).prop_map(|grace| Input::Stop(grace.map(Duration::from_secs))),
        1 => (proptest::option::of(app.clone()), any::<u8>())
            .prop_map(|(app, signal)| Input::Signal { app, signal }),
        4 => Just(()).prop_map(|()| Input::Due),
        2 => Just(()).prop_map(|()| Input::Guest(Event::Beat)),
        1 => Just(()).prop_map(|()| Input::Guest(Event::AllEnded)),
        1 => Just(()).prop_map(|()| Input::Guest(Event::Synced { failed: Vec::new() })),
        1 => app.clone().prop_map(|app| Input::Guest(Event::App(app, AppReport::Started { uptime_ms: 1 }))),
        1 => app.clone().prop_map(|app| Input::Guest(Event::App(app, AppReport::Ready))),
        1 => app.clone().prop_map(|app| Input::Guest(Event::App(app, AppReport::Unready))),
        1 => (app.clone(), status.clone()).prop_map(|(app, status)| Input::Guest(Event::App(app, AppReport::Restarting { status, in_ms: 0, count: 1 }))),
        2 => (app, status).prop_map(|(app, status)| Input::Guest(Event::App(app, AppReport::Exited { status }))),
    ]
}

fn any_terms() -> impl Strategy<Value = Terms> {
    let role = prop_oneof![3 => Just(AppRole::Main), 1 => Just(AppRole::Sidecar)];
    let on_failure = prop_oneof![Just(FailurePolicy::Stop), Just(FailurePolicy::Continue)];
    let seconds = || proptest::option::of(1..100u64);
    (
        proptest::collection::vec(role, 1..4),
        on_failure,
        seconds(),
        seconds(),
    )
        .prop_map(|(roles, on_failure, allowed, silence)| terms(&roles, on_failure, allowed, silence))
}

proptest! {
    #[test]
    fn whatever_happens(
        terms in any_terms(),
        inputs in proptest::collection::vec((input(), 0..20u64), 0..60),
    ) {
        let apps = terms.apps.len();
        let mut run = Run::new(terms);
        let mut ended = vec![false; apps];
        for (input, seconds) in inputs {
            run.now += Duration::from_secs(seconds);
            let deadline = run.supervision.deadline;
            let over = run.end().is_some();
            let all_ended = matches!(input, Input::Guest(Event::AllEnded) | Input::OutputWritten);
            if let Input::Guest(Event::App(app, AppReport::Exited { .. })) = &input
                && *app < apps
            {
                ended[*app] = true;
            }
            let is_due = matches!(input, Input::Due);
            let before = run.actions.len();
            let count = run.on(input);
            // Nothing comes behind the end.
            prop_assert!(!over || count == 0);
            // Time alone comes to an end: what is due is not due again at the same moment for ever.
            if is_due {
                for _ in 0..4 {
                    run.on(Input::Due);
                }
                prop_assert!(run.supervision.due().is_none_or(|due| due > run.now));
            }
            // A deadline moves to earlier times only.
            if let (Some((before, _)), false) = (deadline, all_ended) {
                prop_assert!(run.supervision.deadline.is_some_and(|(now, _)| now <= before));
            }
            // Nobody who has ended gets a signal.
            for action in &run.actions[before..] {
                if let Action::Signal { app, .. } = action {
                    prop_assert!(!ended[*app]);
                }
            }
        }
        let position = |wanted: fn(&Action) -> bool| {
            let found = run.actions.iter().enumerate().filter(|(_, action)| wanted(action));
            found.map(|(at, _)| at).collect::<Vec<_>>()
        };
        // The end is the last, and only one; shares are written back once, and after the output.
        let ends = position(|action| matches!(action, Action::End(_)));
        prop_assert!(ends.is_empty() || ends == [run.actions.len() - 1]);
        let awaits = position(|action| matches!(action, Action::AwaitOutput));
        let finishes = position(|action| matches!(action, Action::Finish));
        prop_assert!(awaits.len() <= 1 && finishes.len() <= awaits.len());
        prop_assert!(finishes.iter().zip(&awaits).all(|(finish, wait)| wait < finish));
        // Each milestone at most once, in their order.
        let milestones = run.milestones();
        let in_order = [Milestone::Ready, Milestone::Stopping];
        prop_assert!(milestones.len() <= 2);
        prop_assert!(in_order.iter().filter(|m| milestones.contains(m)).eq(&milestones), "{milestones:?}");
    }

    /// However a stop was asked for, a guest that continues to beat and does nothing else is given up in time.
    #[test]
    fn a_stop_always_ends(terms in any_terms(), graces in proptest::collection::vec(0..100u64, 1..4)) {
        let shortest = graces.iter().min().copied().unwrap_or_default();
        let mut run = Run::new(terms);
        for grace in graces {
            run.on(Input::Stop(Some(Duration::from_secs(grace))));
        }
        run.pass(shortest + KILL_SLACK.as_secs() + 1, true);
        prop_assert!(run.end().is_some());
    }

    /// A pod in which nothing happens ends only when it is silent for longer than it may.
    #[test]
    fn a_guest_that_does_not_answer(silence in proptest::option::of(16..100u64)) {
        let mut run = Run::new(terms(&[MAIN], FailurePolicy::Continue, None, silence));
        run.pass(1000, false);
        let expected = silence.map(|seconds| SupervisionEnd::Silent(Duration::from_secs(seconds)));
        prop_assert_eq!(run.end(), expected.as_ref());
        let silent = run.actions.iter().filter(|a| matches!(a, Action::Record(Note::Silent(_))));
        prop_assert_eq!(silent.count(), 1);
    }
}
